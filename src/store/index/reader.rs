//! Finding the records of a key.

use std::path::PathBuf;

use super::{
    INDEX_ENTRY_LEN, IndexEntry, IndexFile, IndexService,
    entry::{FIRST_ENTRY, SLOT_LEN},
    writer::Writer,
};
use crate::store::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// Entries that one query looks at, in all files together. Only a key with more messages than this
/// outside of the asked time reaches it.
const VISITED_MAX: usize = 2_000_000;

/// Answer of a query (RocketMQ's `QueryOffsetResult`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexQuery {
    /// Where records with the hash lie, newest first, each once.
    pub physical_offsets: Vec<i64>,
    /// Store time (ms) of the newest record in the index, 0 when there is none.
    pub last_update_timestamp: i64,
    /// Physical offset of the newest record in the index, 0 when there is none.
    pub last_update_physical: i64,
}

impl IndexService {
    /// At most `count_max` records with a key of this hash that were stored from `begin` to `end`
    /// (ms, both included). An entry knows its time to the second only.
    ///
    /// A file that cannot be read, or is damaged, is passed over and logged.
    pub fn query(&self, key_hash: i32, count_max: usize, begin: i64, end: i64) -> IndexQuery {
        let mut answer = IndexQuery::default();
        if let Some(newest) = self.files.last() {
            answer.last_update_timestamp = newest.header.end_timestamp;
            answer.last_update_physical = newest.header.end_physical;
        }
        let mut search = Search {
            key_hash: key_hash & i32::MAX,
            count_max,
            begin,
            end,
            visits_left: VISITED_MAX,
            found: &mut answer.physical_offsets,
        };
        for (age, file) in self.files.iter().rev().enumerate() {
            if file.header.overlaps(begin, end)
                && let Err(error) = self.search_file(file, age == 0, &mut search)
            {
                log::warn!("index query goes on without a file: {error}");
            }
            let is_done = search.found.len() >= count_max || search.visits_left == 0;
            if is_done || file.header.begin_timestamp < begin {
                break;
            }
        }
        if search.visits_left == 0 {
            log::warn!("index query gave up after {VISITED_MAX} entries, hash={key_hash}");
        }
        answer
    }

    fn search_file(
        &self,
        file: &IndexFile,
        is_newest: bool,
        search: &mut Search<'_>,
    ) -> Result<(), StoreError> {
        let source = match &self.writer {
            Some(writer) if is_newest => Source::Written(writer),
            _ => Source::open(&self.fs, self.path(&file.name))?,
        };
        let slot_at = self.shape.slot_at(self.shape.slot_of(search.key_hash));
        let slot = source.get::<{ SLOT_LEN as usize }>(slot_at)?;
        let mut number = u32::from_be_bytes(slot);
        let mut above = file
            .header
            .index_count
            .saturating_add(1)
            .min(self.shape.entries());
        // Links lead to ever smaller numbers, or the chain is damaged and ends.
        while (FIRST_ENTRY..above).contains(&number) && file.header.index_count > FIRST_ENTRY {
            let bytes = source.get::<{ INDEX_ENTRY_LEN as usize }>(self.shape.entry_at(number))?;
            let entry = IndexEntry::decode(&bytes);
            if !search.visit(number, &entry, file.header.begin_timestamp) {
                return Ok(());
            }
            above = number;
            number = u32::try_from(entry.previous).unwrap_or(0);
        }
        Ok(())
    }
}

/// Where the bytes of a file come from.
enum Source<'a> {
    Written(&'a Writer),
    File(PathBuf, FileRef),
}

impl Source<'_> {
    fn open(fs: &Fs, path: PathBuf) -> Result<Self, StoreError> {
        let file =
            (fs.open(&path, OpenMode::Read)).map_err(|e| StoreError::io("open", &path, e))?;
        Ok(Self::File(path, file))
    }

    fn get<const N: usize>(&self, at: u64) -> Result<[u8; N], StoreError> {
        match self {
            Self::Written(writer) => writer.get(at),
            Self::File(path, file) => {
                let mut bytes = [0; N];
                let read = file.read_at(&mut bytes, at);
                if read.map_err(|e| StoreError::io("read", path, e))? < N {
                    return Err(StoreError::corrupt(path, at, "file ends here"));
                }
                Ok(bytes)
            }
        }
    }
}

struct Search<'a> {
    key_hash: i32,
    count_max: usize,
    begin: i64,
    end: i64,
    visits_left: usize,
    found: &'a mut Vec<i64>,
}

impl Search<'_> {
    /// Takes what is asked for; `false` when the rest of the chain is not needed.
    fn visit(&mut self, number: u32, entry: &IndexEntry, begin_timestamp: i64) -> bool {
        if self.found.len() >= self.count_max || self.visits_left == 0 || entry.time_difference < 0
        {
            return false;
        }
        self.visits_left -= 1;
        // The begin timestamp is the first entry's, whose difference counts from somewhere else.
        let seconds = if number == FIRST_ENTRY {
            0
        } else {
            entry.time_difference
        };
        let time = begin_timestamp.saturating_add(i64::from(seconds) * 1000);
        if entry.key_hash == self.key_hash
            && (self.begin..=self.end).contains(&time)
            && !self.found.contains(&entry.physical_offset)
        {
            self.found.push(entry.physical_offset);
        }
        time >= self.begin
    }
}
