//! Compressed bodies. Producers here write zlib, which every RocketMQ client reads.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::protocol::message::sys_flag;

/// Level of the Java producer.
const LEVEL: u32 = 5;
/// Largest body that decompression may produce: far above any broker's message limit, and small
/// enough that a crafted body cannot exhaust memory.
const PLAIN_LEN_MAX: u64 = 64 * 1024 * 1024;

/// The compressed body and the bits of the sys flag that say so; None when it would not get
/// smaller.
pub(crate) fn compress(body: &Bytes) -> Option<(Bytes, i32)> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(LEVEL));
    encoder.write_all(body).ok()?;
    let zipped = encoder.finish().ok()?;
    let flag = sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB;
    (zipped.len() < body.len()).then(|| (zipped.into(), flag))
}

/// The plain body of a zlib-compressed one; None when the flag does not say compressed, or names
/// a method that is not known here (LZ4, ZSTD).
pub(crate) fn decompress(flag: i32, body: &Bytes) -> io::Result<Option<Bytes>> {
    if flag & sys_flag::COMPRESSED == 0 {
        return Ok(None);
    }
    match flag & sys_flag::COMPRESSION_MASK {
        // Old clients set no method; they only had zlib.
        0 | sys_flag::COMPRESSION_ZLIB => {
            let mut plain = Vec::with_capacity(body.len() * 2);
            let mut decoder = ZlibDecoder::new(&body[..]).take(PLAIN_LEN_MAX + 1);
            decoder.read_to_end(&mut plain)?;
            if plain.len() as u64 > PLAIN_LEN_MAX {
                let text = format!("more than {PLAIN_LEN_MAX} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            Ok(Some(plain.into()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let body = Bytes::from("callboard ".repeat(1_000));
        let (zipped, flag) = compress(&body).unwrap();
        assert!(zipped.len() < body.len());
        assert_eq!(decompress(flag, &zipped).unwrap().unwrap(), body);
        assert_eq!(
            decompress(sys_flag::COMPRESSED, &zipped).unwrap().unwrap(),
            body
        );
    }

    #[test]
    fn what_does_not_shrink_stays() {
        assert!(compress(&Bytes::from_static(b"x")).is_none());
    }

    #[test]
    fn others_are_left_alone_and_garbage_is_an_error() {
        let body = Bytes::from_static(b"not zlib");
        assert!(decompress(0, &body).unwrap().is_none());
        let lz4 = sys_flag::COMPRESSED | sys_flag::COMPRESSION_LZ4;
        assert!(decompress(lz4, &body).unwrap().is_none());
        assert!(decompress(sys_flag::COMPRESSED, &body).is_err());
    }
}
