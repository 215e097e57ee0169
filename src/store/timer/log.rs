//! The folder `timerlog`: units one behind the other in files of one length (`TimerLog`).
//!
//! Files are named by the position of their first byte, twenty digits, and have their full length from
//! the start on. A file whose rest is too short for a unit and a blank ends with a blank.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::unit::{BLANK_LEN, Found, UNIT_LEN, Unit, encode_blank};
use crate::store::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// Units that are read at a time when files are walked.
const UNITS_PER_READ: usize = 1024;

/// The timer log; see the module.
#[derive(Debug)]
pub struct TimerLog {
    fs: Fs,
    dir: PathBuf,
    file_len: i64,
    /// Files by the position of their first byte.
    files: BTreeMap<i64, FileRef>,
    /// Where the next unit goes, unless the file has to be changed first.
    end: i64,
    /// Files that were written since the last look, by their first position.
    unsynced_from: i64,
}

/// Units that are going to be written; their positions are known already.
#[derive(Debug, Default)]
pub struct Batch {
    /// Bytes for the log, each run from its position on and within one file.
    runs: Vec<(i64, Vec<u8>)>,
    /// Behind the last unit.
    end: i64,
}

impl TimerLog {
    /// Opens the folder; what is in its files is looked at by [`TimerLog::find_end`].
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`]; [`StoreError::Corrupt`] for a file of another length,
    /// which only the last one may have: it is lengthened.
    pub fn open(fs: &Fs, dir: &Path, file_len: u64) -> Result<Self, StoreError> {
        let failed = |op| move |e| StoreError::io(op, dir, e);
        fs.create_dir_all(dir).map_err(failed("create"))?;
        let file_len = file_len as i64;
        let mut files = BTreeMap::new();
        let mut entries = fs.read_dir(dir).map_err(failed("list"))?;
        entries.retain(|entry| !entry.is_dir && entry.name.len() == 20);
        let last = entries.len().saturating_sub(1);
        for (at, entry) in entries.iter().enumerate() {
            let path = dir.join(&entry.name);
            let Ok(start) = entry.name.parse::<i64>() else {
                continue;
            };
            let is_short = entry.len < file_len as u64 && at == last;
            if start < 0 || start % file_len != 0 || (entry.len != file_len as u64 && !is_short) {
                let what = format!("{} bytes long, {file_len} are wanted", entry.len);
                return Err(StoreError::corrupt(&path, 0, what));
            }
            let open = || {
                let file = fs.open(&path, OpenMode::Write)?;
                if is_short {
                    file.set_len(file_len as u64)?;
                }
                Ok(file)
            };
            files.insert(start, open().map_err(|e| StoreError::io("open", &path, e))?);
        }
        let end = files.keys().next().copied().unwrap_or(0);
        Ok(Self {
            fs: fs.clone(),
            dir: dir.to_path_buf(),
            file_len,
            files,
            end,
            unsynced_from: end,
        })
    }

    /// The position of the first byte there is.
    pub fn start(&self) -> i64 {
        self.files.keys().next().copied().unwrap_or(self.end)
    }

    /// Behind the last unit.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Bytes of a file.
    pub fn file_len(&self) -> i64 {
        self.file_len
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn path(&self, start: i64) -> PathBuf {
        self.dir.join(format!("{start:020}"))
    }

    fn file_at(&self, pos: i64) -> Option<(i64, &FileRef)> {
        let (&start, file) = self.files.range(..=pos).next_back()?;
        (pos < start + self.file_len).then_some((start, file))
    }

    /// The unit at a position.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn unit(&self, pos: i64) -> Result<Option<Unit>, StoreError> {
        let Some((start, file)) = self.file_at(pos).filter(|_| pos < self.end) else {
            return Ok(None);
        };
        let mut bytes = [0; UNIT_LEN];
        let read = file.read_at(&mut bytes, (pos - start) as u64);
        let len = read.map_err(|e| StoreError::io("read", &self.path(start), e))?;
        Ok(
            match Unit::decode(bytes.get(..len).unwrap_or_default(), pos) {
                Found::Unit(unit) => Some(unit),
                Found::Blank | Found::Nothing => None,
            },
        )
    }

    /// Walks the units from the start of the file that holds `from` on, and makes the place behind the
    /// last whole one the log's end: what follows is wiped, and files behind it go
    /// (`recoverAndRevise`).
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn find_end(
        &mut self,
        from: i64,
        mut see: impl FnMut(i64, &Unit),
    ) -> Result<(), StoreError> {
        let first = self.file_at(from).map(|(start, _)| start);
        let first = first.unwrap_or_else(|| self.start());
        let starts: Vec<i64> = self.files.range(first..).map(|(&start, _)| start).collect();
        let mut torn = false;
        for start in starts {
            if torn {
                self.remove(start)?;
                continue;
            }
            // A gap between files: what is behind it belongs to nothing.
            if self.end != start && start != first {
                self.remove(start)?;
                torn = true;
                continue;
            }
            let (end, is_whole) = self.walk(start, &mut see)?;
            self.end = end;
            torn = !is_whole;
        }
        self.unsynced_from = self.end;
        self.wipe_tail()
    }

    /// Walks one file; yields behind its last unit, and whether the file is full.
    fn walk(
        &self,
        start: i64,
        see: &mut impl FnMut(i64, &Unit),
    ) -> Result<(i64, bool), StoreError> {
        let Some(file) = self.files.get(&start) else {
            return Ok((start, false));
        };
        let mut buf = vec![0; UNITS_PER_READ * UNIT_LEN];
        let mut pos = start;
        loop {
            let read = file.read_at(&mut buf, (pos - start) as u64);
            let len = read.map_err(|e| StoreError::io("read", &self.path(start), e))?;
            let read = buf.get(..len).unwrap_or_default();
            for bytes in read.chunks(UNIT_LEN) {
                match Unit::decode(bytes, pos) {
                    Found::Unit(unit) => see(pos, &unit),
                    Found::Blank => return Ok((start + self.file_len, true)),
                    Found::Nothing => return Ok((pos, false)),
                }
                pos += UNIT_LEN as i64;
            }
            if len < UNIT_LEN {
                return Ok((pos, false));
            }
        }
    }

    fn wipe_tail(&self) -> Result<(), StoreError> {
        let Some((start, file)) = self.file_at(self.end) else {
            return Ok(());
        };
        let at = (self.end - start) as u64;
        let zeroed = file.zero(at, self.file_len as u64 - at);
        zeroed.map_err(|e| StoreError::io("wipe", &self.path(start), e))
    }

    fn remove(&mut self, start: i64) -> Result<(), StoreError> {
        let path = self.path(start);
        self.files.remove(&start);
        let removed = self.fs.remove_file(&path);
        removed.map_err(|e| StoreError::io("remove", &path, e))
    }

    /// An empty batch for the log's end.
    pub fn batch(&self) -> Batch {
        Batch {
            runs: Vec::new(),
            end: self.end,
        }
    }

    /// Adds a unit to a batch, whose chain the caller knows, and tells its position.
    pub fn add(&self, batch: &mut Batch, unit: impl FnOnce(i64) -> Unit) -> i64 {
        let left = self.file_len - batch.end.rem_euclid(self.file_len);
        if left < (UNIT_LEN + BLANK_LEN) as i64 {
            batch.put(self.file_len, &encode_blank(left as usize));
            batch.end += left - BLANK_LEN as i64;
        }
        let pos = batch.end;
        batch.put(self.file_len, &unit(pos).encode());
        pos
    }

    /// Writes a batch that was begun at the log's end. On an error the end is where it was.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for (pos, bytes) in &batch.runs {
            let start = pos - pos.rem_euclid(self.file_len);
            let path = self.path(start);
            let file = self.file_for_writing(start, &path)?;
            let written = file.write_at(bytes, (pos - start) as u64);
            written.map_err(|e| StoreError::io("write", &path, e))?;
        }
        self.end = batch.end;
        Ok(())
    }

    fn file_for_writing(&mut self, start: i64, path: &Path) -> Result<FileRef, StoreError> {
        if let Some(file) = self.files.get(&start) {
            return Ok(file.clone());
        }
        let make = || {
            let file = self.fs.open(path, OpenMode::Create)?;
            file.set_len(self.file_len as u64)?;
            self.fs.sync_dir(&self.dir)?;
            Ok(file)
        };
        let file = make().map_err(|e| StoreError::io("create", path, e))?;
        self.files.insert(start, file.clone());
        Ok(file)
    }

    /// The files that hold what was written since the last call, to be synced.
    pub fn take_unsynced(&mut self) -> Vec<FileRef> {
        let from = self.unsynced_from;
        if from == self.end {
            return Vec::new();
        }
        self.unsynced_from = self.end;
        let first = from - from.rem_euclid(self.file_len);
        self.files
            .range(first..)
            .map(|(_, file)| file.clone())
            .collect()
    }

    /// Removes files from the front whose messages all lie below `min_offset` of the commit log
    /// (`deleteExpiredFileByOffsetForTimerLog`); the last file stays. Tells how many.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn delete_expired(&mut self, min_offset: i64) -> Result<usize, StoreError> {
        let unit_len = UNIT_LEN as i64;
        let usable = self.file_len - BLANK_LEN as i64;
        let last_unit = usable - usable % unit_len - unit_len;
        let mut removed = 0;
        while self.files.len() > 1 {
            let start = self.start();
            let last = self.unit(start + last_unit)?;
            if last.is_none_or(|unit| unit.physical_offset >= min_offset) {
                break;
            }
            self.remove(start)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Walks backwards over the newest units while their messages lie at or above `physical_offset`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn taken_since(&self, physical_offset: i64) -> Result<Vec<i64>, StoreError> {
        let mut found = Vec::new();
        let mut pos = self.last_before(self.end);
        while let Some(at) = pos {
            let Some(unit) = self.unit(at)? else { break };
            if unit.physical_offset < physical_offset {
                break;
            }
            found.push(unit.physical_offset);
            pos = self.last_before(at);
        }
        Ok(found)
    }

    /// The position of the last unit that ends at or before `pos`.
    pub fn last_before(&self, pos: i64) -> Option<i64> {
        let unit_len = UNIT_LEN as i64;
        let inside = pos.rem_euclid(self.file_len);
        let candidate = if inside >= unit_len {
            pos - inside + (inside / unit_len - 1) * unit_len
        } else {
            let usable = self.file_len - BLANK_LEN as i64;
            pos - inside - self.file_len + (usable / unit_len - 1) * unit_len
        };
        (candidate >= self.start() && candidate < self.end).then_some(candidate)
    }
}

impl Batch {
    fn put(&mut self, file_len: i64, bytes: &[u8]) {
        let same_file = self.runs.last_mut().filter(|(pos, run)| {
            *pos + run.len() as i64 == self.end
                && pos.div_euclid(file_len) == self.end.div_euclid(file_len)
        });
        match same_file {
            Some((_, run)) => run.extend_from_slice(bytes),
            None => self.runs.push((self.end, bytes.to_vec())),
        }
        self.end += bytes.len() as i64;
    }
}
