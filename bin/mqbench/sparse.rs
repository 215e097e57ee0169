//! A store as if much had been stored, in little space: whole segments of a few records each, closed
//! with a blank where the first record did not fit any more, and a hole behind it. Log, queues and
//! checkpoint are as a clean stop leaves them; there is no index and no topic table: the broker that
//! opens it gets the topic from whoever uses it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use callboard::protocol::message::record::{self, NewRecord};
use callboard::store::{
    checkpoint::{Checkpoint, CheckpointFile},
    consume_queue::{ConsumeQueue, DEFAULT_FILE_SIZE, Entry, QueueHome},
    fs::{Fs, RealFs},
};
use clap::Args;

use crate::setup::now_ms;

/// `mappedFileSizeCommitLog`.
const SEGMENT_LEN: u64 = 1 << 30;

/// What is made.
#[derive(Debug, Clone, Args)]
pub struct Sparse {
    /// `storePathRootDir`; it has to be absent or empty.
    #[arg(long)]
    store: PathBuf,
    /// Segments, of 1 GiB each.
    #[arg(long, default_value_t = 100)]
    segments: u64,
    /// Records in each segment.
    #[arg(long, default_value_t = 1000)]
    records: u64,
    /// Topic.
    #[arg(long, default_value = "sparse")]
    topic: String,
    /// Queues of the topic; the records go to them in turn.
    #[arg(long, default_value_t = 100)]
    queues: u32,
    /// Bytes of a message body.
    #[arg(long, default_value_t = 1024)]
    body: usize,
}

/// Makes the store and tells what it takes.
pub fn run(args: &Sparse) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    if fs::read_dir(&args.store).is_ok_and(|mut dir| dir.next().is_some()) {
        return Err(format!("{} is not empty", args.store.display()));
    }
    let log_dir = args.store.join("commitlog");
    fs::create_dir_all(&log_dir).map_err(text)?;
    let fs: Fs = RealFs::shared();
    let home = QueueHome::new(
        fs.clone(),
        args.store.join("consumequeue"),
        DEFAULT_FILE_SIZE,
    );
    let queues = (0..args.queues).map(|id| {
        let topic = args.topic.as_str().into();
        ConsumeQueue::recover(home.clone(), topic, id as i32)
    });
    let mut queues = queues
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let mut written = 0;
    let now = now_ms();
    for number in 0..args.segments {
        write_segment(args, &log_dir, number, now, &mut written, &mut queues)?;
    }
    for queue in &mut queues {
        queue.sync().map_err(|error| error.to_string())?;
    }
    let page = Checkpoint {
        physic_msg_timestamp: now,
        logics_msg_timestamp: now,
        index_msg_timestamp: now,
        ..Checkpoint::default()
    };
    CheckpointFile::open(&fs, &args.store.join("checkpoint"))
        .and_then(|(file, _)| file.save(&page))
        .map_err(|error| error.to_string())?;
    let (len, taken) = space(&args.store).map_err(text)?;
    println!(
        "{} records, {:.1} GiB that take {:.1} MiB of disk",
        written,
        len as f64 / (1_u64 << 30) as f64,
        taken as f64 / (1_u64 << 20) as f64
    );
    if taken > len / 2 {
        return Err("the files are not sparse here".to_owned());
    }
    Ok(())
}

fn write_segment(
    args: &Sparse,
    dir: &Path,
    number: u64,
    store_timestamp: i64,
    written: &mut u64,
    queues: &mut [ConsumeQueue],
) -> Result<(), String> {
    let start = number * SEGMENT_LEN;
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 10911));
    let body = vec![b'a'; args.body];
    let mut bytes = BytesMut::new();
    for _ in 0..args.records {
        let queue_id = *written % u64::from(args.queues);
        let queue = &mut queues[queue_id as usize];
        let queue_offset = queue.max_offset();
        let record = NewRecord {
            topic: &args.topic,
            queue_id: queue_id as i32,
            flag: 0,
            sys_flag: 0,
            born_timestamp: store_timestamp,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: b"",
        };
        let at = bytes.len();
        let len = record::encode_record(&record, &mut bytes).map_err(|e| e.to_string())?;
        if (bytes.len() + 8) as u64 > SEGMENT_LEN {
            return Err("so many records do not fit in a segment".to_owned());
        }
        let physical_offset = start as i64 + at as i64;
        record::patch_record(
            &mut bytes[at..],
            queue_offset,
            physical_offset,
            store_timestamp,
        );
        let entry = Entry {
            physical_offset,
            size: len as i32,
            tags_code: 0,
        };
        queue
            .append(queue_offset, &[entry])
            .map_err(|error| error.to_string())?;
        *written += 1;
    }
    if number + 1 < args.segments {
        let left = SEGMENT_LEN - bytes.len() as u64;
        bytes.extend_from_slice(&(left as u32).to_be_bytes());
        bytes.extend_from_slice(&record::MAGIC_BLANK.to_be_bytes());
    }
    let path = dir.join(format!("{start:020}"));
    let make = || {
        let file = File::create_new(&path)?;
        file.set_len(SEGMENT_LEN)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()
    };
    make().map_err(|error| format!("{}: {error}", path.display()))
}

/// Length of all files below a folder, and the bytes of disk that they take.
fn space(folder: &Path) -> std::io::Result<(u64, u64)> {
    let mut sum = (0, 0);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let of_one = match path.is_dir() {
            true => space(&path)?,
            false => fs::metadata(&path).map(|file| (file.len(), file.blocks() * 512))?,
        };
        sum = (sum.0 + of_one.0, sum.1 + of_one.1);
    }
    Ok(sum)
}
