//! Bytes as the files that the store reads them from.

use std::path::Path;

/// Writes `bytes` as a run of files of equal length, the last one filled up with zeros; each is named after
/// the position of its first byte.
pub fn write_files(dir: &Path, file_len: usize, bytes: &[u8]) {
    std::fs::create_dir_all(dir).expect("folder");
    for (number, chunk) in bytes.chunks(file_len).enumerate() {
        let mut file = chunk.to_vec();
        file.resize(file_len, 0);
        let name = format!("{:020}", number * file_len);
        std::fs::write(dir.join(name), file).expect("file");
    }
}
