//! Blocks of the log that were read past the kernel's page cache, for readers that are far back.
//!
//! Who drains a backlog reads each byte of it once. By way of the page cache that takes a page of memory
//! for every 4 KiB of it, from the newest messages first, and the kernel's time to make and take back
//! these pages; where the memory is a virtual machine's, the host's time, too. A few blocks that are
//! used again cost neither. They are large, for the disk's sake, and several, because the messages of a
//! topic's queues lie side by side: what was read for the one queue is what the next one asks for.
//!
//! Only the file that still grows is read through the page cache: the kernel lets nobody append to a file
//! while it is read past it.
//!
//! One thread reads blocks ([`ColdBlocksReader::read`]), every thread takes slices of those that are there
//! ([`ColdBlocks::slices`]): from the disk to the socket no byte is copied in user space. The list of
//! blocks is behind a lock that is held for a look at it, never while something is read.
//!
//! What is in the page cache needs no disk, but a system call for each run of neighbours. Where a backlog
//! of messages that were sent one by one is drained, over all queues of a topic, a block is worth its copy
//! there as well ([`ColdBlocks::fill_from_memory`]).

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use smallvec::SmallVec;

use super::reader::{CommitLogReader, Range};
use crate::store::{
    error::StoreError,
    fs::{DIRECT_ALIGN, FileRef},
};

/// Bytes of one block, a multiple of [`DIRECT_ALIGN`].
pub const BLOCK_LEN: usize = 512 * 1024;

/// So many blocks there are before one is used again: 8 MiB.
const BLOCKS_MIN: usize = 16;

/// So many there are at most, when many readers are each within a block of their own: 32 MiB.
const BLOCKS_MAX: usize = 64;

/// Blocks of which somebody holds a slice live on. When there are so many in all, 64 MiB, what is wanted
/// of them is copied: a slow reader holds no more than it is answered with then.
const ALIVE_MAX: usize = 2 * BLOCKS_MAX;

/// See the module. Clones share the blocks.
#[derive(Debug, Clone)]
pub struct ColdBlocks {
    log: CommitLogReader,
    list: Arc<Mutex<List>>,
    /// How many blocks there is memory for, listed and not.
    alive: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct List {
    blocks: Vec<Listed>,
    /// Counts the uses of blocks.
    clock: u64,
    /// The block that somebody was told to read next.
    ahead: i64,
}

#[derive(Debug)]
struct Listed {
    block: Arc<Block>,
    /// Whether somebody has read its last byte.
    is_read: bool,
    /// When it was used last, on the clock.
    used: u64,
}

/// A part of the log.
#[derive(Debug)]
struct Block {
    /// Physical offset of its first byte.
    start: i64,
    /// Bytes that it holds.
    len: usize,
    memory: Memory,
}

/// Room for one block, aligned.
#[derive(Debug)]
struct Memory {
    bytes: Box<[u8]>,
    /// Where the aligned part begins.
    skip: usize,
    alive: Arc<AtomicUsize>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Memory {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        let alive = Arc::clone(alive);
        alive.fetch_add(1, Ordering::Relaxed);
        let bytes = vec![0; BLOCK_LEN + DIRECT_ALIGN].into_boxed_slice();
        let skip = bytes.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
        Self { bytes, skip, alive }
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.skip..][..BLOCK_LEN]
    }
}

/// Where a block lies.
struct Extent {
    /// Physical offset of its first byte.
    start: i64,
    /// Physical offset of its segment.
    segment: i64,
    /// Bytes of it that the log holds.
    readable: usize,
    /// Whether it lies in the segment that is appended to.
    still_grows: bool,
}

impl Extent {
    /// The block that has an offset in it; `None` where the log does not hold that.
    fn of(log: &CommitLogReader, offset: i64) -> Option<Self> {
        let segment = log.segment_start(offset);
        let start = offset - (offset - segment) % BLOCK_LEN as i64;
        let segment_end = segment + log.segment_len() as i64;
        let end = log.end().min(segment_end);
        let is_held = offset >= log.min_offset() && offset < end;
        is_held.then(|| Self {
            start,
            segment,
            readable: usize::try_from(end - start).unwrap_or(0).min(BLOCK_LEN),
            still_grows: end < segment_end,
        })
    }
}

/// Keeps a block alive for those who hold slices of it.
struct Held(Arc<Block>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        let Block { len, memory, .. } = &*self.0;
        &memory.bytes[memory.skip..][..*len]
    }
}

impl Block {
    fn end(&self) -> i64 {
        self.start + self.len as i64
    }

    fn holds(&self, offset: i64) -> bool {
        (self.start..self.end()).contains(&offset)
    }
}

impl List {
    fn find(&self, offset: i64) -> Option<usize> {
        let holds = |listed: &Listed| listed.block.holds(offset);
        self.blocks.iter().position(holds)
    }

    /// A block that is used now: it is the last one to be given up for another.
    fn used(&mut self, index: usize) -> &mut Listed {
        self.clock += 1;
        let listed = &mut self.blocks[index];
        listed.used = self.clock;
        listed
    }

    /// The end of the block that holds an offset, and that is used.
    fn end_of(&mut self, offset: i64) -> Option<i64> {
        let index = self.find(offset)?;
        Some(self.used(index).block.end())
    }

    /// The blocks of ranges, in order; `None` unless all of them are there.
    fn blocks_of(&mut self, ranges: &[Range]) -> Option<SmallVec<[Arc<Block>; 4]>> {
        let mut found: SmallVec<[Arc<Block>; 4]> = SmallVec::new();
        let mut last: Option<usize> = None;
        for range in ranges {
            let (mut at, end) = (range.offset, range.end());
            while at < end {
                let index = match last {
                    Some(index) if self.blocks[index].block.holds(at) => index,
                    _ => {
                        let index = self.find(at)?;
                        found.push(Arc::clone(&self.blocks[index].block));
                        last = Some(index);
                        index
                    }
                };
                let listed = self.used(index);
                listed.is_read |= end >= listed.block.end();
                at = listed.block.end();
            }
        }
        Some(found)
    }

    /// Takes out a block whose memory may be used again: of those that somebody has read to their ends the
    /// one that was not used for the longest time, or, when there are `most`, of all.
    fn take_one(&mut self, most: usize) -> Option<Arc<Block>> {
        let count = self.blocks.len();
        if count < BLOCKS_MIN {
            return None;
        }
        let oldest = |is_one: &dyn Fn(&Listed) -> bool| {
            let numbered = self.blocks.iter().enumerate();
            let ones = numbered.filter(|(_, listed)| is_one(listed));
            ones.min_by_key(|(_, listed)| listed.used)
                .map(|(index, _)| index)
        };
        let index = match oldest(&|listed| listed.is_read) {
            None if count >= most => oldest(&|_| true),
            found => found,
        };
        Some(self.blocks.swap_remove(index?).block)
    }
}

impl ColdBlocks {
    /// No block yet.
    pub fn new(log: CommitLogReader) -> Self {
        Self {
            log,
            list: Arc::default(),
            alive: Arc::default(),
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Nothing that is done under the lock leaves it half done.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ranges, one behind the other, out of the blocks that are there; `None` where one is missing.
    pub fn slices(&self, ranges: &[Range]) -> Option<SmallVec<[Bytes; 8]>> {
        let blocks = self.list().blocks_of(ranges)?;
        if ranges.first()?.offset < self.log.min_offset() {
            return None;
        }
        let mut slices = SmallVec::new();
        let mut blocks = blocks.into_iter().map(|block| {
            let reach = block.start..block.end();
            (reach, Bytes::from_owner(Held(block)))
        });
        let mut block = blocks.next()?;
        for range in ranges {
            let (mut at, end) = (range.offset, range.end());
            while at < end {
                if !block.0.contains(&at) {
                    block = blocks.next()?;
                }
                let (reach, bytes) = &block;
                let upto = end.min(reach.end);
                slices
                    .push(bytes.slice((at - reach.start) as usize..(upto - reach.start) as usize));
                at = upto;
            }
        }
        if self.alive.load(Ordering::Relaxed) > ALIVE_MAX {
            let copy = slices.concat();
            slices = SmallVec::from_iter([Bytes::from(copy)]);
        }
        Some(slices)
    }

    /// Copies the blocks of ranges that are not there out of the page cache, `at_once` of them at most;
    /// `false` where there are more, or not all of it is in memory, or in the log.
    ///
    /// # Errors
    /// As [`CommitLogReader::copy_in_memory`].
    pub fn fill_from_memory(&self, ranges: &[Range], at_once: usize) -> Result<bool, StoreError> {
        // What is given up too early costs another copy, and no disk.
        self.fill(ranges, (BLOCKS_MIN, at_once), |extent, room| {
            let room = &mut room[..extent.readable];
            self.log.read_in_memory_at(extent.start, room)
        })
    }

    /// Has `read` fill the blocks of ranges that are not there, so many at once, up to `most` in all; `false`
    /// where that is not enough, it does not get so far, or the log does not hold them.
    fn fill(
        &self,
        ranges: &[Range],
        (most, at_once): (usize, usize),
        mut read: impl FnMut(&Extent, &mut [u8]) -> Result<usize, StoreError>,
    ) -> Result<bool, StoreError> {
        let mut filled = 0;
        for range in ranges {
            let (mut at, end) = (range.offset, range.end());
            while at < end {
                let found = self.list().end_of(at);
                let upto = match found {
                    None if filled == at_once => None,
                    None => {
                        filled += 1;
                        self.fill_one(at, most, &mut read)?
                    }
                    found => found,
                };
                let Some(upto) = upto else { return Ok(false) };
                at = upto;
            }
        }
        Ok(true)
    }

    /// Fills the block that has an offset in it, and returns its end; `None` where it ends before.
    fn fill_one(
        &self,
        offset: i64,
        most: usize,
        read: &mut impl FnMut(&Extent, &mut [u8]) -> Result<usize, StoreError>,
    ) -> Result<Option<i64>, StoreError> {
        let Some(extent) = Extent::of(&self.log, offset) else {
            return Ok(None);
        };
        let old = self.list().take_one(most);
        // Somebody may still be copying out of it: then it goes when he is done.
        let memory = old.and_then(Arc::into_inner).map(|block| block.memory);
        let mut memory = memory.unwrap_or_else(|| Memory::new(&self.alive));
        let len = read(&extent, memory.room())?.min(extent.readable);
        let start = extent.start;
        let block = Block { start, len, memory };
        let (end, is_there) = (block.end(), block.holds(offset));
        let mut list = self.list();
        list.clock += 1;
        let used = list.clock;
        // One of the log's end that has grown meanwhile.
        list.blocks.retain(|listed| listed.block.start != start);
        if len > 0 {
            list.blocks.push(Listed {
                block: Arc::new(block),
                is_read: false,
                used,
            });
        }
        Ok(is_there.then_some(end))
    }

    /// Whether so much of the blocks is wanted that they are worth reading.
    pub fn are_worth_it(ranges: &[Range]) -> bool {
        /// A pull that finds its messages in one place may begin in one block and end in the next.
        const FREE: usize = 2;
        /// Of what is read beyond that, at least a half is wanted.
        const SHARE: usize = 2;
        let (mut touched, mut wanted, mut last) = (0, 0, None);
        for range in ranges {
            let block = |offset| offset / BLOCK_LEN as i64;
            let (from, to) = (block(range.offset), block(range.end() - 1));
            touched += usize::try_from(to - from).unwrap_or(0) + usize::from(last != Some(from));
            wanted += range.len;
            last = Some(to);
        }
        touched <= FREE + SHARE * wanted / BLOCK_LEN
    }

    /// What should be read next, after somebody has taken what lies before `offset`: the block behind, if
    /// he seems to go through the log. It is told once.
    pub fn ahead_of(&self, offset: i64) -> Option<Range> {
        let mut list = self.list();
        let (start, end) = {
            let block = &list.blocks[list.find(offset - 1)?].block;
            (block.start, block.end())
        };
        // Past the cache nothing can be read before it is written back.
        let is_durable = end + BLOCK_LEN as i64 <= self.log.flushed();
        if list.ahead == end || !is_durable || list.find(end).is_some() {
            return None;
        }
        list.find(start - 1)?;
        list.ahead = end;
        Some(Range {
            offset: end,
            len: 1,
        })
    }

    /// Whether nobody has used a block since the last call of this; then their memory is given back.
    pub fn forget_unused(&self) -> bool {
        let mut list = self.list();
        if list.clock > 0 {
            list.clock = 0;
            list.blocks.iter_mut().for_each(|listed| listed.used = 0);
            return false;
        }
        *list = List::default();
        true
    }
}

/// Reads blocks. For one thread.
#[derive(Debug)]
pub struct ColdBlocksReader {
    blocks: ColdBlocks,
    /// The file that was read last, and the physical offset of its first byte.
    file: Option<(i64, FileRef)>,
}

impl ColdBlocksReader {
    /// Reads into the blocks that others take slices of.
    pub fn new(blocks: ColdBlocks) -> Self {
        Self { blocks, file: None }
    }

    /// Reads the blocks of ranges that are not there; `false` where the log does not hold all of them.
    ///
    /// # Errors
    /// [`StoreError::Io`] from the disk.
    pub fn read(&mut self, ranges: &[Range]) -> Result<bool, StoreError> {
        let Self { blocks, file } = self;
        blocks.fill(ranges, (BLOCKS_MAX, usize::MAX), |extent, room| {
            read_block(&blocks.log, file, extent, room)
        })
    }

    /// See [`ColdBlocks::forget_unused`].
    pub fn forget_unused(&mut self) {
        if self.blocks.forget_unused() {
            self.file = None;
        }
    }
}

/// Reads a block, past the page cache where nobody appends to its file.
fn read_block(
    log: &CommitLogReader,
    last: &mut Option<(i64, FileRef)>,
    extent: &Extent,
    room: &mut [u8],
) -> Result<usize, StoreError> {
    let (start, segment) = (extent.start, extent.segment);
    // Those who send would wait for the disk, for a lock of the file's (ext4: that of the inode).
    if !extent.still_grows {
        let Some(file) = open_direct(log, last, segment)? else {
            return Ok(0);
        };
        match file.read_at(room, (start - segment) as u64) {
            Ok(read) => return Ok(read),
            // Some file systems take the flag when a file is opened, and refuse it when it is read.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => {
                let path = log.path_of(segment).unwrap_or_default();
                return Err(StoreError::io("read", &path, error));
            }
        }
    }
    log.read_at(start, &mut room[..extent.readable])
}

/// The file of a segment, to be read past the page cache; `None` when it is gone. `last` is the one that was
/// opened last.
fn open_direct(
    log: &CommitLogReader,
    last: &mut Option<(i64, FileRef)>,
    segment: i64,
) -> Result<Option<FileRef>, StoreError> {
    if let Some((own, file)) = last
        && *own == segment
    {
        return Ok(Some(FileRef::clone(file)));
    }
    let file = log.open_direct(segment)?;
    *last = file.clone().map(|file| (segment, file));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::store::commit_log::{
        CommitLogWriter, RecoverFrom,
        testing::{Place, unit},
    };

    /// Not a multiple of a block, nor of what is aligned to.
    const SEGMENT_LEN: u64 = 3 * BLOCK_LEN as u64 + 1000;

    fn filled(place: &Place, segments: i64) -> CommitLogWriter {
        let mut config = place.config();
        config.segment_len = SEGMENT_LEN;
        let from = RecoverFrom::default();
        let (mut writer, _) = CommitLogWriter::recover(&place.fs, config, &from).unwrap();
        let mut queue_offset = 0;
        while writer.reader().end() < segments * SEGMENT_LEN as i64 {
            let mut units: Vec<_> = (0..8).map(|at| unit(3000, queue_offset + at)).collect();
            writer.append(&mut units, 1).unwrap();
            queue_offset += 8;
        }
        writer
    }

    fn blocks(log: &CommitLogReader) -> (ColdBlocks, ColdBlocksReader) {
        let blocks = ColdBlocks::new(log.clone());
        let reader = ColdBlocksReader::new(blocks.clone());
        (blocks, reader)
    }

    fn expected(log: &CommitLogReader, ranges: &[Range]) -> Vec<u8> {
        let slices = ranges.iter();
        let slices = slices.flat_map(|range| log.slice(range.offset, range.len).unwrap());
        slices.collect()
    }

    #[test]
    fn copies_what_the_log_holds_and_nothing_else() {
        let place = Place::new();
        let mut writer = filled(&place, 5);
        let log = writer.reader();
        writer.flusher().flush(log.end()).unwrap();
        let (blocks, mut reader) = blocks(&log);
        let mut rng = StdRng::seed_from_u64(1);
        let segment_len = SEGMENT_LEN as i64;
        for _ in 0..500 {
            let ranges: Vec<_> = (0..rng.random_range(0..4))
                .map(|_| {
                    let offset = rng.random_range(0..log.end() - 1);
                    let end = log.end().min(log.segment_start(offset) + segment_len);
                    let len = rng.random_range(1..=(end - offset).min(BLOCK_LEN as i64 + 99));
                    Range {
                        offset,
                        len: len as usize,
                    }
                })
                .collect();
            assert!(reader.read(&ranges).unwrap());
            let slices = blocks.slices(&ranges).unwrap_or_default();
            assert_eq!(slices.concat(), expected(&log, &ranges), "{ranges:?}");
        }

        // What is appended later is seen by those that have read the block before.
        let last = Range {
            offset: log.end() - 10,
            len: 10,
        };
        assert!(reader.read(&[last]).unwrap());
        assert!(blocks.slices(&[last]).is_some());
        let beyond = Range {
            offset: log.end() - 10,
            len: 11,
        };
        assert!(!reader.read(&[beyond]).unwrap());
        assert_eq!(blocks.slices(&[beyond]), None);
        writer.append(&mut [unit(100, 0)], 1).unwrap();
        assert!(reader.read(&[beyond]).unwrap());
        let slices = blocks.slices(&[beyond]).unwrap();
        assert_eq!(slices.concat(), expected(&log, &[beyond]));
        let before = Range { offset: -5, len: 5 };
        assert!(!reader.read(&[before]).unwrap());
        assert_eq!(blocks.slices(&[before]), None);
    }

    #[test]
    fn what_is_in_memory_needs_no_reader() {
        let place = Place::new();
        let writer = filled(&place, 2);
        let log = writer.reader();
        writer.flusher().flush(log.end()).unwrap();
        let (blocks, _) = blocks(&log);
        let ranges = [10, 5_000, BLOCK_LEN as i64 - 50, log.end() - 100];
        let ranges = ranges.map(|offset| Range { offset, len: 100 });
        assert!(!blocks.fill_from_memory(&ranges, 2).unwrap());
        assert_eq!(blocks.list().blocks.len(), 2);
        assert!(blocks.fill_from_memory(&ranges, 2).unwrap());
        assert_eq!(blocks.list().blocks.len(), 3);
        let slices = blocks.slices(&ranges).unwrap();
        assert_eq!(slices.concat(), expected(&log, &ranges));

        let beyond = Range {
            offset: log.end() - 10,
            len: 11,
        };
        assert!(!blocks.fill_from_memory(&[beyond], 9).unwrap());
        let path = log.path_of(0).unwrap();
        let file = std::fs::File::open(path).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let behind = Range {
            offset: BLOCK_LEN as i64 * 2 + 9,
            len: 100,
        };
        // A file system in memory has it all the same.
        if blocks.fill_from_memory(&[behind], 9).unwrap() {
            let slices = blocks.slices(&[behind]).unwrap();
            assert_eq!(slices.concat(), expected(&log, &[behind]));
        }
    }

    #[test]
    fn who_appends_to_a_file_waits_for_nobody_who_reads_it() {
        let place = Place::new();
        let writer = filled(&place, 2);
        let log = writer.reader();
        writer.flusher().flush(log.end()).unwrap();
        let (blocks, mut reader) = blocks(&log);
        let range = |offset| Range { offset, len: 100 };
        let (first, last) = (range(10), range(log.end() - 100));
        assert!(log.segment_start(last.offset) > SEGMENT_LEN as i64);
        assert!(reader.read(&[last]).unwrap());
        assert!(reader.file.is_none());
        assert!(reader.read(&[first]).unwrap());
        assert_eq!(reader.file.as_ref().map(|file| file.0), Some(0));
        for range in [first, last] {
            let slices = blocks.slices(&[range]).unwrap();
            assert_eq!(slices.concat(), expected(&log, &[range]));
        }
    }

    #[test]
    fn one_reader_needs_few_blocks_and_many_get_one_each() {
        let place = Place::new();
        let log = filled(&place, 40).reader();
        let (blocks, mut reader) = blocks(&log);
        let count = || blocks.list().blocks.len();
        let end = 40 * SEGMENT_LEN as i64;
        let mut at = 0;
        while at < end {
            let len = 10_000.min(log.segment_start(at) + SEGMENT_LEN as i64 - at);
            let range = Range {
                offset: at,
                len: len as usize,
            };
            assert!(reader.read(&[range]).unwrap());
            assert!(blocks.slices(&[range]).is_some());
            at += len;
        }
        assert_eq!(count(), BLOCKS_MIN);

        // Each comes back to the block that it was in.
        let place_of = |number: i64| number * SEGMENT_LEN as i64 + 50;
        let piece = |offset| [Range { offset, len: 10 }];
        for number in 0..40 {
            assert!(reader.read(&piece(place_of(number))).unwrap());
        }
        assert!((40..=BLOCKS_MIN + 40).contains(&count()));
        assert!((0..40).all(|number| blocks.slices(&piece(place_of(number) + 10)).is_some()));
        for number in 0..3 * 40 {
            let offset = number % 40 * SEGMENT_LEN as i64 + number / 40 * BLOCK_LEN as i64;
            assert!(reader.read(&piece(offset)).unwrap());
            assert!(count() <= BLOCKS_MAX);
        }

        reader.forget_unused();
        assert!(count() > 0, "they were used since");
        reader.forget_unused();
        assert_eq!(count(), 0);
    }

    #[test]
    fn slices_outlive_their_blocks_and_hold_a_bounded_number_of_them() {
        let place = Place::new();
        let log = filled(&place, 100).reader();
        let (blocks, mut reader) = blocks(&log);
        let mut held = Vec::new();
        for number in 0..200 {
            let offset = number / 2 * SEGMENT_LEN as i64 + number % 2 * BLOCK_LEN as i64;
            let len = BLOCK_LEN;
            let range = Range { offset, len };
            assert!(reader.read(&[range]).unwrap());
            held.push((range, blocks.slices(&[range]).unwrap()));
            let alive = blocks.alive.load(Ordering::Relaxed);
            assert!(alive <= ALIVE_MAX + BLOCKS_MAX, "{alive}");
        }
        assert!(blocks.alive.load(Ordering::Relaxed) > ALIVE_MAX);
        for (range, slices) in &held {
            assert_eq!(slices.concat(), expected(&log, &[*range]), "{range:?}");
        }
        held.clear();
        reader.forget_unused();
        reader.forget_unused();
        assert_eq!(blocks.alive.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn scattered_messages_are_not_worth_a_block_each() {
        let ranges = |count, step, len| {
            let ranges = (0..count).map(|at| Range {
                offset: at * step,
                len,
            });
            ranges.collect::<Vec<_>>()
        };
        let block = BLOCK_LEN as i64;
        let is_worth_it = |ranges: Vec<Range>| ColdBlocks::are_worth_it(&ranges);
        assert!(is_worth_it(ranges(1, 0, 100)));
        assert!(
            is_worth_it(ranges(32, 8 * 1100, 1100)),
            "one queue of eight"
        );
        assert!(is_worth_it(ranges(1, 0, 4 << 20)), "a large message");
        assert!(is_worth_it(ranges(4, block, BLOCK_LEN / 2)));
        assert!(!is_worth_it(ranges(8, block, BLOCK_LEN / 8)));
        assert!(!is_worth_it(ranges(32, block / 2, 1100)));
    }

    #[test]
    fn who_goes_through_the_log_is_read_ahead_for() {
        let place = Place::new();
        let writer = filled(&place, 3);
        let log = writer.reader();
        let (blocks, mut reader) = blocks(&log);
        let piece = |block: i64| Range {
            offset: block * BLOCK_LEN as i64 + 5,
            len: 20,
        };
        let ahead_of = |block| blocks.ahead_of(piece(block).offset + 20);
        assert!(reader.read(&[piece(0)]).unwrap());
        assert_eq!(ahead_of(0), None, "one block is no walk");
        assert!(reader.read(&[piece(1)]).unwrap());
        assert_eq!(
            ahead_of(1),
            None,
            "what is not on the disk yet is in memory"
        );
        writer.flusher().flush(log.end()).unwrap();
        let ahead = ahead_of(1).expect("two are one");
        assert_eq!(ahead.offset, 2 * BLOCK_LEN as i64);
        assert_eq!(ahead_of(1), None, "it is told once");
        assert!(reader.read(&[ahead]).unwrap());
        assert!(blocks.slices(&[piece(2)]).is_some());
        assert_eq!(ahead_of(0), None, "it is there");
    }
}
