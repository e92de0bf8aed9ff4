//! The log against torn writes, damage, failing calls and lost power.

use super::*;
use crate::storage::disk::DiskFile;
use crate::storage::testing::{Dice, Failure, SimDisk};
use std::sync::mpsc;

impl Payload for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(bytes.to_vec())
    }
}

type TestWal = Wal<Vec<u8>>;
type TestEntry = Entry<Vec<u8>>;

const FOLDER: &str = "log";
const FIRST_SEGMENT: &str = "log/0000000000000001.log";

/// Options with small segments and a small cache, and the sentences that `on_fatal` gets.
fn options() -> (Options, Arc<Mutex<Vec<String>>>) {
    let fatal = Arc::new(Mutex::new(Vec::new()));
    let told = fatal.clone();
    let options = Options {
        folder: FOLDER.to_owned(),
        identity: [7; 16],
        segment_bytes: 16 << 10,
        cache_bytes_max: 2000,
        on_fatal: Arc::new(move |sentence: &str| told.lock().push(sentence.to_owned())),
        on_sync: Arc::new(|_| {}),
        drive: Drive::Threads,
    };
    (options, fatal)
}

fn open(disk: &SimDisk) -> Result<TestWal, OpenError> {
    Wal::open(Arc::new(disk.clone()), options().0)
}

fn position(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

/// Odd entries are text, even ones zeros. Zeros are the hard case for telling written from unwritten.
fn entry(term: u64, index: u64, length: usize) -> TestEntry {
    let byte = if index.is_multiple_of(2) { 0 } else { b'a' + (index % 26) as u8 };
    Entry { at: position(term, index), payload: vec![byte; length] }
}

fn append(wal: &TestWal, entries: Vec<TestEntry>) -> io::Result<()> {
    let (done, outcome) = mpsc::channel();
    wal.append(entries, Box::new(move |result| done.send(result).unwrap()));
    outcome.recv().unwrap()
}

fn save_vote(wal: &TestWal, vote: Vote) -> io::Result<()> {
    let (done, outcome) = mpsc::channel();
    wal.save_vote(vote, Box::new(move |result| done.send(result).unwrap()));
    outcome.recv().unwrap()
}

/// Waits until everything that was handed in is durable.
fn settle(wal: &TestWal) {
    save_vote(wal, wal.vote().unwrap_or_default()).unwrap();
}

/// Everything in the log, read in small pieces.
fn all(wal: &TestWal) -> Vec<TestEntry> {
    let mut out: Vec<TestEntry> = Vec::new();
    loop {
        let start = out.last().map_or(0, |last| last.at.index + 1);
        let piece = wal.read(start..u64::MAX, 500).unwrap();
        if piece.is_empty() {
            return out;
        }
        out.extend(piece);
    }
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.list(FOLDER).unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let disk = SimDisk::new();
    let vote = Vote { term: 3, voted_for: 9, committed: true };
    let written: Vec<TestEntry> = (1..=5).map(|index| entry(3, index, 300 * index as usize)).collect();
    {
        let wal = open(&disk).unwrap();
        assert_eq!((wal.last(), wal.vote(), wal.purged()), (None, None, None));
        save_vote(&wal, vote).unwrap();
        append(&wal, written[..2].to_vec()).unwrap();
        wal.save_committed(position(3, 1));
        append(&wal, written[2..].to_vec()).unwrap();
        assert_eq!(all(&wal), written);
    }
    disk.crash(1);
    let wal = open(&disk).unwrap();
    assert_eq!((wal.last(), wal.vote(), wal.committed()), (Some(position(3, 5)), Some(vote), Some(position(3, 1))));
    assert_eq!(all(&wal), written);
}

#[test]
fn segments_follow_one_another_and_go_when_purged() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    let written: Vec<TestEntry> = (0..200).map(|index| entry(1, index, 700)).collect();
    for entry in &written {
        append(&wal, vec![entry.clone()]).unwrap();
    }
    assert!(segments(&disk).len() > 10);
    assert_eq!(all(&wal), written);
    drop(wal);

    let wal = open(&disk).unwrap();
    assert_eq!(all(&wal), written);
    let before = segments(&disk).len();
    wal.purge(position(1, 149));
    settle(&wal);
    assert_eq!(all(&wal), written[150..]);
    drop(wal);
    assert!(segments(&disk).len() < before / 2, "{:?}", segments(&disk));

    disk.crash(2);
    let wal = open(&disk).unwrap();
    assert_eq!(wal.purged(), Some(position(1, 149)));
    assert_eq!(all(&wal), written[150..]);
    append(&wal, vec![entry(1, 200, 10)]).unwrap();
    assert_eq!(all(&wal).len(), 51);
}

#[test]
fn a_purge_may_lie_beyond_the_end() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    append(&wal, (0..10).map(|index| entry(1, index, 100)).collect()).unwrap();
    wal.purge(position(4, 20));
    assert_eq!((wal.last(), all(&wal)), (Some(position(4, 20)), Vec::new()));
    settle(&wal);
    drop(wal);

    let wal = open(&disk).unwrap();
    assert_eq!((wal.last(), wal.purged(), all(&wal)), (Some(position(4, 20)), Some(position(4, 20)), Vec::new()));
    let written: Vec<TestEntry> = (21..60).map(|index| entry(4, index, 900)).collect();
    for entry in &written {
        append(&wal, vec![entry.clone()]).unwrap();
    }
    assert_eq!(all(&wal), written);
    drop(wal);
    assert_eq!(all(&open(&disk).unwrap()), written);
}

#[test]
fn a_truncation_in_a_batch_of_its_own_begins_a_new_run() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    append(&wal, (1..=10).map(|index| entry(1, index, 100)).collect()).unwrap();
    wal.truncate_after(Some(position(1, 4)));
    // Durable alone, before any entry comes behind it.
    save_vote(&wal, Vote { term: 2, ..Vote::default() }).unwrap();
    append(&wal, (5..=8).map(|index| entry(2, index, 100)).collect()).unwrap();
    // Large entries push the others out of the cache. So the others are read back from the disk.
    append(&wal, (9..=14).map(|index| entry(2, index, 2100)).collect()).unwrap();
    let terms: Vec<u64> = all(&wal).iter().map(|entry| entry.at.term).collect();
    assert_eq!(terms, [vec![1; 4], vec![2; 10]].concat());
}

#[test]
fn truncated_entries_do_not_come_back() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    append(&wal, (1..=10).map(|index| entry(1, index, 100)).collect()).unwrap();
    // Queued one behind the other, so that they may share a batch.
    wal.append(vec![entry(1, 11, 2100)], Box::new(|_| {}));
    wal.truncate_after(Some(position(1, 4)));
    wal.append((5..=7).map(|index| entry(2, index, 1000)).collect(), Box::new(|_| {}));
    wal.truncate_after(Some(position(2, 6)));
    append(&wal, vec![entry(3, 7, 1500), entry(3, 8, 1500)]).unwrap();
    let expected: Vec<(u64, u64)> = vec![(1, 1), (1, 2), (1, 3), (1, 4), (2, 5), (2, 6), (3, 7), (3, 8)];
    let positions = |wal: &TestWal| all(wal).iter().map(|entry| (entry.at.term, entry.at.index)).collect::<Vec<_>>();
    assert_eq!(positions(&wal), expected);
    drop(wal);
    let wal = open(&disk).unwrap();
    assert_eq!(positions(&wal), expected);
    wal.truncate_after(None);
    append(&wal, vec![entry(4, 0, 10)]).unwrap();
    drop(wal);
    assert_eq!(positions(&open(&disk).unwrap()), vec![(4, 0)]);
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_own() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    let written = vec![entry(1, 0, 10), entry(1, 1, 100_000), entry(1, 2, 10)];
    for entry in &written {
        append(&wal, vec![entry.clone()]).unwrap();
    }
    drop(wal);
    let wal = open(&disk).unwrap();
    assert_eq!(all(&wal), written);
    append(&wal, vec![entry(1, 3, 50_000)]).unwrap();
    assert_eq!(all(&wal).len(), 4);
}

#[test]
fn the_index_of_many_small_batches_stays_small() {
    let disk = SimDisk::new();
    let (mut options, _) = options();
    options.segment_bytes = 1 << 20;
    let wal: TestWal = Wal::open(Arc::new(disk.clone()), options).unwrap();
    for index in 0..500 {
        append(&wal, vec![entry(1, index, 40)]).unwrap();
    }
    let runs = wal.shared.index.lock().runs.len();
    assert!(runs <= 1 + 500 * 512 / limits::LOG_INDEX_STRIDE_BYTES as usize, "{runs}");
    assert!(wal.shared.index.lock().cache.len() <= 51);
    assert_eq!(all(&wal).len(), 500);
}

/// Makes a log of three batches in one segment. The last has two entries and several sectors. Returns the entries,
/// where the last batch begins and where it ends.
fn three_batches(disk: &SimDisk) -> (Vec<TestEntry>, u64, u64) {
    let wal = open(disk).unwrap();
    let written = vec![entry(1, 0, 20), entry(1, 1, 600), entry(1, 2, 1300), entry(1, 3, 10)];
    append(&wal, written[..1].to_vec()).unwrap();
    append(&wal, written[1..2].to_vec()).unwrap();
    let last_begins = wal.shared.index.lock().segments[&1].end;
    append(&wal, written[2..].to_vec()).unwrap();
    let end = wal.shared.index.lock().segments[&1].end;
    assert!(end - last_begins >= 3 * 512);
    (written, last_begins, end)
}

#[test]
fn a_flipped_byte_is_refused_or_harmless() {
    let disk = SimDisk::new();
    let (written, _, end) = three_batches(&disk);
    let whole = disk.bytes(FIRST_SEGMENT).unwrap();
    let mut harmless = 0;
    for offset in 0..end {
        for mask in [0xff, 1 << (offset % 8)] {
            assert!(disk.flip(FIRST_SEGMENT, offset, mask));
            match open(&disk) {
                Ok(wal) => {
                    assert_eq!(all(&wal), written, "offset {offset} mask {mask:x}");
                    harmless += 1;
                }
                Err(error) => {
                    let sentence = error.to_string();
                    assert!(sentence.contains(FIRST_SEGMENT) && sentence.contains("offset"), "{sentence}");
                    assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Foreign { .. }), "{sentence}");
                }
            }
            assert!(disk.flip(FIRST_SEGMENT, offset, mask));
            assert!(disk.bytes(FIRST_SEGMENT).unwrap() == whole, "offset {offset}: something was changed");
        }
    }
    // No checksum covers the empty rest of the segment header's sector, and its marks.
    assert!(harmless <= 2 * 395, "{harmless}");
}

#[test]
fn a_last_batch_cut_at_any_byte_is_dropped_and_the_log_goes_on() {
    let origin = SimDisk::new();
    let (written, last_begins, end) = three_batches(&origin);
    let whole = origin.bytes(FIRST_SEGMENT).unwrap();
    for cut in last_begins..=end {
        let mut torn = whole.clone();
        torn[cut as usize..].fill(0);
        let disk = origin.fork();
        disk.set_bytes(FIRST_SEGMENT, &torn);
        let wal = open(&disk).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let kept = if torn == whole { 4 } else { 2 };
        assert_eq!(all(&wal), written[..kept], "cut at {cut}");
        append(&wal, vec![entry(2, kept as u64, 50)]).unwrap();
        drop(wal);
        assert_eq!(all(&open(&disk).unwrap()).len(), kept + 1, "cut at {cut}");
    }
}

#[test]
fn a_last_batch_with_any_sector_missing_is_dropped() {
    let origin = SimDisk::new();
    let (written, last_begins, end) = three_batches(&origin);
    let whole = origin.bytes(FIRST_SEGMENT).unwrap();
    for sector in (last_begins..end).step_by(512) {
        let mut torn = whole.clone();
        torn[sector as usize..sector as usize + 512].fill(0);
        let disk = origin.fork();
        disk.set_bytes(FIRST_SEGMENT, &torn);
        assert_eq!(all(&open(&disk).unwrap()), written[..2], "sector at {sector}");
        // Nothing of the torn batch is left.
        assert!(disk.bytes(FIRST_SEGMENT).unwrap()[last_begins as usize..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_broken_batch_in_front_of_another_is_refused() {
    let origin = SimDisk::new();
    let (_, last_begins, _) = three_batches(&origin);
    let mut damaged = origin.bytes(FIRST_SEGMENT).unwrap();
    // The first sector of the second batch seems never written, but the third batch is there.
    damaged[1024..1536].fill(0);
    origin.set_bytes(FIRST_SEGMENT, &damaged);
    let error = open(&origin).err().unwrap().to_string();
    assert!(error.contains("offset 1024") && error.contains(&format!("follows at offset {last_begins}")), "{error}");
}

#[test]
fn a_missing_segment_is_refused() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    for index in 0..100 {
        append(&wal, vec![entry(1, index, 900)]).unwrap();
    }
    drop(wal);
    let names = segments(&disk);
    for name in &names[..names.len() - 2] {
        let disk = disk.fork();
        disk.remove(&format!("{FOLDER}/{name}")).unwrap();
        let error = open(&disk).err().unwrap_or_else(|| panic!("{name}")).to_string();
        assert!(error.contains("missing"), "{error}");
    }
}

#[test]
fn another_logs_segment_is_refused() {
    let disk = SimDisk::new();
    three_batches(&disk);
    let (mut options, _) = options();
    options.identity = [8; 16];
    let error = Wal::<Vec<u8>>::open(Arc::new(disk), options).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

/// What was acknowledged to a run of `work` when it ended.
#[derive(Default)]
struct Acknowledged {
    vote: Option<Vote>,
    /// By index. Truncations and purges count as done when they were asked for, which makes the check no weaker.
    entries: Vec<TestEntry>,
    purged: Option<LogPosition>,
}

/// Writes, truncates and purges until something fails.
fn work(disk: &SimDisk, seed: u64) -> Acknowledged {
    let mut known = Acknowledged::default();
    let mut dice = Dice::new(seed);
    for run in 0..3 {
        let (options, _) = options();
        let Ok(wal) = Wal::open(Arc::new(disk.clone()), options) else { return known };
        let term = run + 1;
        let vote = Vote { term, voted_for: 5, committed: true };
        if save_vote(&wal, vote).is_err() {
            return known;
        }
        known.vote = Some(vote);
        for _ in 0..8 {
            let Some(next) = wal.last().map_or(Some(0), |last| last.index.checked_add(1)) else { return known };
            let count = 1 + dice.below(3);
            let entries: Vec<TestEntry> =
                (next..next + count).map(|index| entry(term, index, dice.below(4000) as usize)).collect();
            known.entries.retain(|entry| entry.at.index < next);
            if append(&wal, entries.clone()).is_err() {
                return known;
            }
            known.entries.extend(entries);
            if let [.., last, _] = known.entries.as_slice()
                && dice.one_in(6)
            {
                wal.truncate_after(Some(last.at));
                known.entries.pop();
            }
            if dice.one_in(5) {
                let upto = known.entries[known.entries.len() / 2].at;
                known.purged = Some(upto);
                wal.purge(upto);
            }
        }
        // Nothing acknowledges a truncation. Until a later command is durable, the truncated entries may come back, and
        // the next run would build on them.
        if save_vote(&wal, vote).is_err() {
            return known;
        }
    }
    known
}

fn check(disk: &SimDisk, known: &Acknowledged, what: &str) {
    let wal = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(wal.vote().map(|vote| vote.term) >= known.vote.map(|vote| vote.term), "{what}: vote {:?}", wal.vote());
    let purged = wal.purged();
    assert!(purged <= known.purged, "{what}");
    let found = all(&wal);
    let expected = known.entries.iter().filter(|entry| purged.is_none_or(|purged| entry.at.index > purged.index));
    for (n, entry) in expected.enumerate() {
        assert!(found.get(n) == Some(entry), "{what}: entry {:?} is not there", entry.at);
    }
    let next = wal.last().map_or(0, |last| last.index + 1);
    append(&wal, vec![entry(9, next, 700)]).unwrap();
}

#[test]
fn crash_points_at_every_change_lose_nothing_acknowledged() {
    crash_points(2, 8);
}

/// `cargo test --lib -- --ignored more_crash_points`
#[test]
#[ignore = "takes a minute"]
fn more_crash_points() {
    crash_points(20, 40);
}

fn crash_points(workloads: u64, crashes_each: u64) {
    let mut crashes = 0;
    for workload in 0..workloads {
        for nth in 1.. {
            let disk = SimDisk::new();
            disk.crash_at(nth);
            let known = work(&disk, workload);
            let done = !disk.is_down();
            for seed in 0..crashes_each {
                let disk = disk.fork();
                disk.crash(seed);
                check(&disk, &known, &format!("workload {workload}, crash at change {nth}, seed {seed}"));
                crashes += 1;
            }
            if done {
                break;
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 100 * crashes_each, "{crashes}");
}

#[test]
fn a_failing_call_ends_the_log_and_loses_nothing_acknowledged() {
    for failure in [Failure::Medium, Failure::Full] {
        for nth in 1.. {
            let disk = SimDisk::new();
            disk.fail_at(nth, failure);
            let known = work(&disk, nth);
            let done = disk.calls() < nth;
            disk.crash(nth);
            check(&disk, &known, &format!("{failure:?} at call {nth}"));
            if done {
                break;
            }
        }
    }
}

#[test]
fn a_failed_sync_is_told_once_and_never_tried_again() {
    let disk = SimDisk::new();
    let (options, fatal) = options();
    let wal: TestWal = Wal::open(Arc::new(disk.clone()), options).unwrap();
    append(&wal, vec![entry(1, 0, 10)]).unwrap();
    // The segment that is prepared ahead must not disturb the counting.
    while wal.stats().segment_syncs < 2 {
        std::thread::yield_now();
    }
    disk.fail_at(2, Failure::Medium);
    assert!(append(&wal, vec![entry(1, 1, 10)]).is_err());
    assert!(append(&wal, vec![entry(1, 2, 10)]).is_err());
    assert!(save_vote(&wal, Vote::default()).is_err());
    let told = fatal.lock();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("sync segment 1 of the log at offset 1024"), "{}", told[0]);
}

/// One append becomes several batches, of which the first fails.
#[test]
fn an_append_that_fails_halfway_is_told_so() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    append(&wal, vec![entry(1, 0, 10)]).unwrap();
    while wal.stats().segment_syncs < 2 {
        std::thread::yield_now();
    }
    disk.fail_at(1, Failure::Medium);
    let large = |index| entry(1, index, limits::LOG_BATCH_BYTES_MAX / 2 + 1);
    let error = append(&wal, (1..=4).map(large).collect()).unwrap_err();
    assert!(error.to_string().contains("the server ends here"), "{error}");
}

/// Linux after a failed fdatasync: the page cache still has the batch, as clean pages, and the disk has not.
#[test]
fn a_batch_whose_sync_failed_is_made_durable_by_the_next_start() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    append(&wal, vec![entry(1, 0, 10)]).unwrap();
    while wal.stats().segment_syncs < 2 {
        std::thread::yield_now();
    }
    disk.fail_at(2, Failure::Medium);
    assert!(append(&wal, vec![entry(1, 1, 10)]).is_err());
    drop(wal);
    disk.restart();
    let wal = open(&disk).unwrap();
    assert_eq!(all(&wal).len(), 2);
    append(&wal, vec![entry(1, 2, 10)]).unwrap();
    drop(wal);
    for seed in 0..20 {
        let disk = disk.fork();
        disk.crash(seed);
        assert_eq!(all(&open(&disk).unwrap()).len(), 3, "seed {seed}");
    }
}

/// A disk on which each sync of a file waits for a permit, once `shut` has a receiver of permits.
struct Gate {
    disk: SimDisk,
    shut: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
}

struct GateFile {
    file: Arc<dyn DiskFile>,
    shut: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
}

impl Disk for Gate {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(GateFile { file: self.disk.open(path, create)?, shut: self.shut.clone() }))
    }
    fn exists(&self, path: &str) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }
    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.create_folder(folder)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }
}

impl DiskFile for GateFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        if let Some(permits) = &*self.shut.lock() {
            permits.recv().unwrap();
        }
        self.file.sync_data()
    }
}

#[test]
fn all_that_waits_takes_one_sync_and_only_the_last_completion() {
    let shut = Arc::new(Mutex::new(None));
    let gate = Gate { disk: SimDisk::new(), shut: shut.clone() };
    let wal: TestWal = Wal::open(Arc::new(gate), options().0).unwrap();
    append(&wal, vec![entry(1, 0, 10)]).unwrap();
    while wal.stats().segment_syncs < 2 {
        std::thread::yield_now();
    }
    let before = wal.stats();
    let (permit, permits) = mpsc::channel();
    *shut.lock() = Some(permits);
    let (done, completed) = mpsc::channel();
    let append_one = |index| {
        let done = done.clone();
        wal.append(vec![entry(1, index, 10)], Box::new(move |_| done.send(index).unwrap()));
    };
    append_one(1);
    // When the queue is empty, the first batch is on its way to the gate.
    while !wal.shared.queue.lock().commands.is_empty() {
        std::thread::yield_now();
    }
    (2..=9).for_each(append_one);
    permit.send(()).unwrap();
    permit.send(()).unwrap();
    assert_eq!(completed.recv().unwrap(), 1);
    assert_eq!(completed.recv().unwrap(), 9);
    let after = wal.stats();
    assert_eq!((after.syncs - before.syncs, after.batches - before.batches, after.entries - before.entries), (2, 2, 9));
    *shut.lock() = None;
}

#[test]
fn a_truncation_counts_at_once_for_a_read_that_begins_before_it() {
    let disk = SimDisk::new();
    append(&open(&disk).unwrap(), (1..=6).map(|index| entry(1, index, 50)).collect()).unwrap();
    // A log whose writer never runs, and that has nothing in memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let drive = Drive::Task { runtime: runtime.handle().clone(), delay: Arc::new(|| Duration::ZERO) };
    let wal: TestWal = Wal::open(Arc::new(disk.clone()), Options { drive, ..options().0 }).unwrap();
    wal.truncate_after(Some(position(1, 3)));
    wal.append(vec![entry(2, 4, 60), entry(2, 5, 60)], Box::new(|_| {}));
    let expected = [entry(1, 1, 50), entry(1, 2, 50), entry(1, 3, 50), entry(2, 4, 60), entry(2, 5, 60)];
    assert_eq!(all(&wal), expected);
}

/// The commands of one turn become two batches, and the power goes at any call.
#[test]
fn the_committed_hint_never_names_an_entry_that_a_crash_has_lost() {
    let mut without_the_last = 0;
    for nth in 1.. {
        let disk = SimDisk::new();
        // The writer is a task, so that its first turn finds all commands.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let drive = Drive::Task { runtime: runtime.handle().clone(), delay: Arc::new(|| Duration::ZERO) };
        let wal: TestWal = Wal::open(Arc::new(disk.clone()), Options { drive, ..options().0 }).unwrap();
        let (done, written) = tokio::sync::oneshot::channel();
        let large = |index| entry(1, index, limits::LOG_BATCH_BYTES_MAX / 2 + 1);
        wal.append((0..=3).map(large).collect(), Box::new(move |result| done.send(result).unwrap()));
        wal.save_committed(position(1, 3));
        disk.crash_at(nth);
        let through = runtime.block_on(written).unwrap().is_ok();
        drop(wal);
        for seed in 0..4 {
            let disk = disk.fork();
            disk.crash(seed);
            let wal = open(&disk).unwrap();
            let (committed, last) = (wal.committed(), wal.last());
            assert!(committed <= last, "call {nth}, seed {seed}: {committed:?} behind {last:?}");
            without_the_last += u32::from(last.is_some_and(|last| last.index < 3));
        }
        if through {
            break;
        }
    }
    assert!(without_the_last > 0, "no crash came between the two batches");
}

/// A member that voted for a candidate that lost the election stores the vote of the leader.
#[test]
fn a_vote_is_never_taken_back_and_a_leader_takes_its_place() {
    let vote = |term, voted_for, committed| Vote { term, voted_for, committed };
    for (old, new) in [
        (vote(3, 1, false), vote(3, 1, true)),
        (vote(3, 1, false), vote(3, 2, true)),
        (vote(3, 1, true), vote(3, 1, true)),
        (vote(3, 1, true), vote(4, 2, false)),
    ] {
        assert!(new.may_follow(&old), "{new:?} behind {old:?}");
    }
    for (old, new) in [
        (vote(3, 1, false), vote(3, 2, false)),
        (vote(3, 1, true), vote(3, 2, true)),
        (vote(3, 1, true), vote(3, 1, false)),
        (vote(3, 1, false), vote(2, 1, true)),
    ] {
        assert!(!new.may_follow(&old), "{new:?} behind {old:?}");
    }
}
