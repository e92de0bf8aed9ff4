//! Checkpoint, image and start together, on a disk that loses power, fails and rots.
//!
//! In these tests the state is a map, and an entry of the log is a few changes to the map. The log is a list that loses
//! only what was purged. So the state after a crash can be compared with everything that was acknowledged.
//!
//! An ordinary run tries 300 crashes. `CRASH_POINTS=10000 cargo test --lib crash_points -- --nocapture` tries more.
//! `CRASH_SEED` begins with another seed.

#![expect(clippy::disallowed_methods, reason = "a measurement that people start by hand")]

mod from_a_peer;
mod with_log;

use super::checkpoint::{self, Change, CheckpointSource};
use super::checkpointer::{Checkpointer, Progress};
use super::disk::Disk;
use super::identity::Identity;
use super::records::FileError;
use super::start::{self, LogExtent, Source, StartError, Started};
use super::testing::{Dice, Failure, SimDisk};
use super::{CHECKPOINT_FILE, IMAGE_FILE, LOG_FOLDER, LogPosition, Meta, image};
use crate::model::Zxid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// All state, its place in the log, and what changed since the last checkpoint.
#[derive(Clone, Default)]
pub(crate) struct Model {
    map: Map,
    index: u64,
    dirty: BTreeSet<Vec<u8>>,
    /// The changes of a checkpoint in the making that were not handed out yet.
    pending: Vec<Change>,
}

impl Model {
    fn apply(&mut self, entry: &[Change]) {
        for (key, value) in entry {
            match value {
                Some(value) => self.map.insert(key.clone(), value.clone()),
                None => self.map.remove(key),
            };
            self.dirty.insert(key.clone());
        }
        self.index += 1;
    }

    /// The whole description follows from the place in the log. So a mix of two checkpoints would show.
    fn meta(&self) -> Meta {
        meta_at(self.index)
    }
}

fn meta_at(index: u64) -> Meta {
    Meta {
        position: (index > 0).then_some(LogPosition { term: 1 + index / 10, index }),
        membership: Some(index.to_le_bytes().to_vec()),
        zxid: Zxid(index * 3),
        digest: !index,
        format_level: 1,
    }
}

impl CheckpointSource for Model {
    fn begin(&mut self) -> Meta {
        let dirty = std::mem::take(&mut self.dirty);
        self.pending = dirty.into_iter().rev().map(|key| (key.clone(), self.map.get(&key).cloned())).collect();
        self.meta()
    }

    fn piece(&mut self, _bytes_max: usize, out: &mut Vec<Change>) -> bool {
        let kept = self.pending.len().saturating_sub(7);
        out.extend(self.pending.drain(kept..).rev());
        !self.pending.is_empty()
    }

    fn end(&mut self) {
        assert!(self.pending.is_empty());
    }
}

impl start::Load for Map {
    type State = Model;

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), FileError> {
        if self.last_key_value().is_some_and(|(last, _)| last.as_slice() >= key) {
            return Err(FileError::Damaged("records are out of order".into()));
        }
        self.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn finish(self, meta: &Meta) -> Result<Model, FileError> {
        let index = meta.position.map_or(0, |position| position.index);
        if *meta != meta_at(index) {
            return Err(FileError::Damaged("the description is a mix".into()));
        }
        Ok(Model { map: self, index, ..Model::default() })
    }
}

/// The log: everything that was acknowledged.
#[derive(Clone, Default)]
struct Ledger {
    entries: Vec<Vec<Change>>,
    purged: u64,
}

impl Ledger {
    fn extent(&self) -> LogExtent {
        LogExtent { purged: meta_at(self.purged).position, is_new: self.entries.is_empty() }
    }

    fn append(&mut self, dice: &mut Dice, model: &mut Model) {
        let mut entry = Vec::new();
        for _ in 0..1 + dice.below(12) {
            let key = format!("n/node-{:03}", dice.below(150)).into_bytes();
            // Some values take more than a page, or even a region of their own.
            let length = if dice.one_in(40) { dice.below(30_000) } else { dice.below(300) };
            let value = (!dice.one_in(5)).then(|| vec![dice.roll() as u8; length as usize]);
            entry.push((key, value));
        }
        model.apply(&entry);
        self.entries.push(entry);
    }

    /// The state that the whole log gives.
    fn replayed(&self) -> Model {
        let mut model = Model::default();
        for entry in &self.entries {
            model.apply(entry);
        }
        model
    }

    fn purge(&mut self, up_to: Option<LogPosition>) {
        self.purged = self.purged.max(up_to.map_or(0, |position| position.index));
    }
}

fn open(disk: &SimDisk, ledger: &Ledger) -> Result<Started<Model>, StartError> {
    start::identify(disk, Identity { cluster: 1, member: 1, incarnation: [1; 16], log_in_use: false })?;
    if disk.list(LOG_FOLDER)?.is_empty() {
        // A file where the log would be. The entries are in the ledger.
        disk.set_bytes("log/1.log", b"");
    }
    start::open(Arc::new(disk.clone()), ledger.extent(), 0, Map::new)
}

/// Starts, replays the log, and compares the state with everything that was acknowledged.
fn recover(disk: &SimDisk, ledger: &Ledger) -> Result<(Model, Checkpointer, Source), StartError> {
    let started = open(disk, ledger)?;
    let mut model = started.state.unwrap_or_default();
    assert!(model.index >= ledger.purged, "the log goes on only after {}", ledger.purged);
    for entry in &ledger.entries[model.index as usize..] {
        model.apply(entry);
    }
    let expected = ledger.replayed();
    assert_eq!(model.index, expected.index);
    assert!(model.map == expected.map, "the state is not the one that was acknowledged");
    Ok((model, started.checkpointer, started.source))
}

/// A data directory with a checkpoint, an image of an earlier checkpoint, and a log that is purged up to the image.
fn lived_in(seed: u64) -> (SimDisk, Ledger, Model) {
    let dice = &mut Dice::new(seed);
    let (disk, mut ledger) = (SimDisk::new(), Ledger::default());
    let (mut model, mut checkpointer, source) = recover(&disk, &ledger).unwrap();
    assert_eq!(source, Source::Log);
    for round in 0..4 {
        for _ in 0..20 {
            ledger.append(dice, &mut model);
        }
        let done = checkpointer.checkpoint(&Progress::default(), &mut model).unwrap();
        assert_eq!(done.meta, model.meta());
        if round == 2 {
            checkpointer.image(&Progress::default()).unwrap();
        }
        ledger.purge(done.purge_up_to);
    }
    ledger.append(dice, &mut model);
    drop(checkpointer);
    assert_eq!(ledger.purged, 60);
    (disk, ledger, model)
}

fn load_checkpoint(disk: &SimDisk) -> Result<Option<(Map, Meta)>, FileError> {
    let mut map = Map::new();
    let meta = checkpoint::load(disk, &mut |key, value| {
        map.insert(key.to_vec(), value.to_vec());
        Ok(())
    })?;
    Ok(meta.map(|meta| (map, meta)))
}

fn load_image(disk: &dyn Disk) -> Result<Option<(Map, Meta)>, FileError> {
    let mut map = Map::new();
    let found = image::load(disk, IMAGE_FILE, &mut |key, value| {
        map.insert(key.to_vec(), value.to_vec());
        Ok(())
    })?;
    Ok(found.map(|(meta, _)| (map, meta)))
}

#[test]
fn checkpoints_add_up_and_survive_a_clean_end_and_an_unclean_one() {
    let (disk, ledger, _) = lived_in(1);
    let (map, meta) = load_checkpoint(&disk).unwrap().unwrap();
    assert_eq!(meta, meta_at(80));
    let mut expected = Model::default();
    ledger.entries[..80].iter().for_each(|entry| expected.apply(entry));
    assert!(map == expected.map);
    disk.crash(3);
    assert!(load_checkpoint(&disk).unwrap().unwrap() == (map, meta));
}

#[test]
fn an_image_holds_what_the_checkpoint_held() {
    let (disk, ledger, _) = lived_in(2);
    let (map, meta) = load_image(&disk).unwrap().unwrap();
    let mut expected = Model::default();
    ledger.entries[..60].iter().for_each(|entry| expected.apply(entry));
    assert_eq!(meta, meta_at(60));
    assert!(map == expected.map);
}

#[test]
fn every_damaged_missing_or_added_byte_of_an_image_is_seen() {
    let (disk, mut ledger) = (SimDisk::new(), Ledger::default());
    let (mut model, mut checkpointer, _) = recover(&disk, &ledger).unwrap();
    let dice = &mut Dice::new(5);
    (0..3).for_each(|_| ledger.append(dice, &mut model));
    checkpointer.checkpoint(&Progress::default(), &mut model).unwrap();
    checkpointer.image(&Progress::default()).unwrap();
    let bytes = disk.bytes(IMAGE_FILE).unwrap();
    let scratch = SimDisk::new();
    // Every byte of the borders, and every seventh byte of the rest.
    for at in (0..bytes.len()).filter(|at| *at < 300 || bytes.len() - at < 40 || at % 7 == 0) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << dice.below(8);
        scratch.set_bytes(IMAGE_FILE, &damaged);
        assert!(matches!(load_image(&scratch), Err(FileError::Damaged(_))), "byte {at}");
        scratch.set_bytes(IMAGE_FILE, &bytes[..at]);
        assert!(matches!(load_image(&scratch), Err(FileError::Damaged(_))), "cut at {at}");
    }
    scratch.set_bytes(IMAGE_FILE, &[bytes.as_slice(), &[0]].concat());
    assert!(matches!(load_image(&scratch), Err(FileError::Damaged(_))));
    scratch.set_bytes(IMAGE_FILE, &bytes);
    assert!(load_image(&scratch).unwrap().unwrap().0 == model.map);
}

/// Damage to the checkpoint is harmless, or it is seen, or it brings back the checkpoint before. In each case the start
/// finds the whole state.
#[test]
fn a_flipped_byte_in_any_page_of_the_checkpoint_never_costs_anything() {
    const PAGE: u64 = 4096;
    let (disk, ledger, _) = lived_in(3);
    let whole = load_checkpoint(&disk).unwrap().unwrap();
    let length = disk.bytes(CHECKPOINT_FILE).unwrap().len() as u64;
    let dice = &mut Dice::new(9);
    // Every byte of redb's header, and some bytes of every page.
    let mut places: Vec<u64> = (0..512).collect();
    for page in 0..length / PAGE {
        places.extend([0, 1, 2, 3, 8].map(|at| page * PAGE + at));
        places.extend((0..4).map(|_| page * PAGE + dice.below(PAGE)));
    }
    let (mut harmless, mut before, mut seen, mut seen_by_writer) = (0, 0, 0, 0);
    for place in places {
        let disk = disk.fork();
        let mask = 1 << dice.below(8);
        assert!(disk.flip(CHECKPOINT_FILE, place, mask));
        let found = |ledger: &Ledger| recover(&disk, ledger).unwrap_or_else(|error| panic!("byte {place}: {error}"));
        let (mut model, mut checkpointer, source) = found(&ledger);
        let position = checkpointer.last().position();
        match source {
            Source::Checkpoint if position == whole.1.position => harmless += 1,
            Source::Checkpoint => before += 1,
            Source::Image => {
                assert!(disk.paths().contains(&"checkpoint.damaged-1".to_owned()));
                seen += 1;
                continue;
            }
            Source::Log => panic!("byte {place}: the log was purged"),
        }
        // Damage that does no harm to the reader may do harm to the writer.
        let mut ledger = ledger.clone();
        ledger.append(dice, &mut model);
        if let Err(error) = checkpointer.checkpoint(&Progress::default(), &mut model) {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "byte {place}: {error}");
            seen_by_writer += 1;
            assert_eq!(found(&ledger).2, Source::Image, "byte {place}");
        } else {
            drop(checkpointer);
            found(&ledger);
        }
    }
    println!("{harmless} harmless to the reader, {seen_by_writer} of them seen by the writer");
    println!("{before} brought back the checkpoint before, {seen} seen by the reader");
    assert!(seen > 0);
}

#[test]
fn a_truncated_checkpoint_is_replaced_from_the_image() {
    let (disk, ledger, _) = lived_in(4);
    let bytes = disk.bytes(CHECKPOINT_FILE).unwrap();
    for length in [0, 1, 100, 4096, bytes.len() / 2, bytes.len() - 1] {
        let disk = disk.fork();
        disk.set_bytes(CHECKPOINT_FILE, &bytes[..length]);
        let (mut model, mut checkpointer, source) = recover(&disk, &ledger).unwrap();
        assert_eq!(source, Source::Image, "cut at {length}");
        // The new checkpoint goes on where the image ends, and the next start believes it.
        checkpointer.checkpoint(&Progress::default(), &mut model).unwrap();
        drop(checkpointer);
        disk.crash(length as u64);
        assert_eq!(recover(&disk, &ledger).unwrap().2, Source::Checkpoint);
    }
}

#[test]
fn without_checkpoint_and_image_a_purged_log_is_refused_and_nothing_is_changed() {
    let (disk, ledger, _) = lived_in(5);
    disk.flip(IMAGE_FILE, 400, 1);
    disk.set_bytes(CHECKPOINT_FILE, b"not a database at all");
    for _ in 0..2 {
        let Err(StartError::NoState { sentence, .. }) = open(&disk, &ledger) else { panic!("it started") };
        for part in ["`checkpoint.redb`: ", "`image`: block 0 does not match", "begins only after entry 60", "backup"] {
            assert!(sentence.contains(part), "{part} in: {sentence}");
        }
        assert_eq!(disk.bytes(CHECKPOINT_FILE).unwrap(), b"not a database at all");
    }
    disk.remove(CHECKPOINT_FILE).unwrap();
    disk.remove(IMAGE_FILE).unwrap();
    let Err(StartError::NoState { sentence, .. }) = open(&disk, &ledger) else {
        panic!("an empty tree beside a purged log")
    };
    assert!(sentence.contains("`image`: it is missing"), "{sentence}");
}

#[test]
fn a_checkpoint_older_than_the_log_is_not_believed() {
    let (disk, mut ledger, _) = lived_in(6);
    ledger.purged = 81;
    let Err(StartError::NoState { sentence, .. }) = open(&disk, &ledger) else { panic!("entries 81 were skipped") };
    assert!(sentence.contains("it ends at entry 80, and the log begins only after entry 81"), "{sentence}");
}

#[test]
fn a_log_that_was_never_purged_makes_up_for_everything() {
    let (disk, mut ledger, _) = lived_in(7);
    ledger.purged = 0;
    disk.set_bytes(CHECKPOINT_FILE, &[7; 9000]);
    disk.remove(IMAGE_FILE).unwrap();
    assert_eq!(recover(&disk, &ledger).unwrap().2, Source::Log);
    assert_eq!(disk.paths(), ["checkpoint.damaged-1", CHECKPOINT_FILE, "identity", "log/1.log"]);
}

#[test]
fn a_damaged_image_is_written_again_with_the_next_checkpoint() {
    let (disk, mut ledger, _) = lived_in(8);
    disk.flip(IMAGE_FILE, 3, 0x20);
    let (mut model, mut checkpointer, source) = recover(&disk, &ledger).unwrap();
    assert_eq!(source, Source::Checkpoint);
    let done = checkpointer.checkpoint(&Progress::default(), &mut model).unwrap();
    assert!(done.image_written);
    ledger.purge(done.purge_up_to);
    drop(checkpointer);
    disk.remove(CHECKPOINT_FILE).unwrap();
    assert_eq!(recover(&disk, &ledger).unwrap().2, Source::Image);
}

#[test]
fn only_the_last_damaged_checkpoints_are_kept() {
    let (disk, ledger, _) = lived_in(9);
    for _ in 0..5 {
        disk.set_bytes(CHECKPOINT_FILE, b"damaged");
        recover(&disk, &ledger).unwrap();
    }
    let kept: Vec<_> = disk.paths().into_iter().filter(|path| path.contains("damaged")).collect();
    assert_eq!(kept, ["checkpoint.damaged-3", "checkpoint.damaged-4", "checkpoint.damaged-5"]);
}

/// The first call fails, then the second, and so on until a whole run passes. Each failure ends the process. The next
/// start finds everything, with and without a power loss in between.
#[test]
fn whichever_call_fails_everything_is_found_again() {
    for failure in [Failure::Medium, Failure::Full] {
        for nth in 1.. {
            let (disk, mut ledger, _) = lived_in(10);
            let dice = &mut Dice::new(nth);
            disk.fail_at(nth, failure);
            let calls = disk.calls();
            let life = (|| -> Result<(), StartError> {
                let (mut model, mut checkpointer, _) = recover(&disk, &ledger)?;
                ledger.append(dice, &mut model);
                checkpointer.checkpoint(&Progress::default(), &mut model)?;
                checkpointer.image(&Progress::default())?;
                Ok(())
            })();
            if let Err(StartError::Refused(sentence) | StartError::NoState { sentence, .. }) = &life {
                panic!("{failure:?} in call {nth}: {sentence}");
            }
            let reached = disk.calls() - calls >= nth;
            disk.restart();
            drop(recover(&disk, &ledger).unwrap_or_else(|error| panic!("{failure:?} in call {nth}: {error}")));
            disk.crash(nth);
            recover(&disk, &ledger).unwrap_or_else(|error| panic!("{failure:?} in call {nth}, then a crash: {error}"));
            if !reached {
                assert!(life.is_ok());
                break;
            }
        }
    }
}

/// One directory lives through many processes. Each ends with a power loss or a kill at an arbitrary call: while it
/// starts, while it writes a checkpoint or an image, or in between.
#[test]
fn crash_points_lose_nothing_and_mix_nothing() {
    let points = number("CRASH_POINTS", 300);
    let (mut done, mut seed) = (0, number("CRASH_SEED", 1));
    let mut sources = BTreeMap::new();
    while done < points {
        println!("CRASH_SEED={seed}");
        done += one_directory(seed, 30, &mut sources);
        seed += 1;
    }
    println!("{done} crash points, states came from {sources:?}");
}

/// Reads a number from an environment variable.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn one_directory(seed: u64, processes: u64, sources: &mut BTreeMap<String, u64>) -> u64 {
    let dice = &mut Dice::new(seed);
    let (disk, mut ledger) = (SimDisk::new(), Ledger::default());
    for _ in 0..processes {
        disk.crash_at(1 + dice.below(150));
        match recover(&disk, &ledger) {
            Ok((mut model, mut checkpointer, source)) => {
                *sources.entry(format!("{source:?}")).or_default() += 1;
                live(dice, &disk, &mut ledger, &mut model, &mut checkpointer);
            }
            Err(StartError::Io(_)) if disk.is_down() => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
        if dice.one_in(4) {
            disk.restart()
        } else {
            disk.crash(dice.roll())
        }
        // Now and then the medium rots too: one of the two files at a time.
        if dice.one_in(8) {
            let length = disk.bytes(CHECKPOINT_FILE).map_or(0, |bytes| bytes.len() as u64);
            disk.flip(CHECKPOINT_FILE, dice.below(length), 1 << dice.below(8));
        }
    }
    disk.restart();
    recover(&disk, &ledger).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    processes
}

/// Works until the power goes.
fn live(dice: &mut Dice, disk: &SimDisk, ledger: &mut Ledger, model: &mut Model, checkpointer: &mut Checkpointer) {
    for _ in 0..6 {
        for _ in 0..dice.below(8) {
            ledger.append(dice, model);
        }
        let progress = Progress::default();
        let result = checkpointer.checkpoint(&progress, model).and_then(|done| {
            assert_eq!(done.meta, model.meta());
            if dice.one_in(3) {
                checkpointer.image(&progress)?;
            }
            ledger.purge(checkpointer.purge_up_to());
            Ok(())
        });
        if result.is_err() {
            // Rot that only the writer meets also ends the process.
            let rot = result.is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidData);
            assert!(disk.is_down() || rot);
            return;
        }
    }
}

/// Measures memory and time of a large checkpoint on the real disk. Run it alone, because it measures the process's
/// high-water mark: `cargo test --lib storage::tests::a_million -- --ignored --nocapture`. It prints times and does not
/// judge them.
#[test]
#[ignore = "takes a gigabyte of disk and half a minute"]
fn a_million_records_take_little_memory() {
    struct Many {
        next: u64,
        count: u64,
        round: u64,
    }
    impl CheckpointSource for Many {
        fn begin(&mut self) -> Meta {
            self.next = 0;
            meta_at(1 + self.round)
        }
        fn piece(&mut self, bytes_max: usize, out: &mut Vec<Change>) -> bool {
            let mut bytes = 0;
            while bytes < bytes_max && self.next < self.count {
                // The first time every record, later every hundredth.
                if self.round == 0 || self.next % 100 == self.round {
                    let key = format!("n/some/where/node-{:09}", self.next).into_bytes();
                    out.push((key, Some(vec![self.next as u8 ^ self.round as u8; 180])));
                    bytes += 210;
                }
                self.next += 1;
            }
            self.next < self.count
        }
        fn end(&mut self) {
            self.round += 1;
        }
    }
    struct Count;
    impl start::Load for Count {
        type State = ();
        fn record(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), FileError> {
            Ok(())
        }
        fn finish(self, _meta: &Meta) -> Result<(), FileError> {
            Ok(())
        }
    }
    fn high_water_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(super::disk::RealDisk::new(folder.path()));
    let log = LogExtent { purged: None, is_new: false };
    let started = start::open(disk.clone(), log, 0, || Count).unwrap();
    let mut checkpointer = started.checkpointer;
    let mut source = Many { next: 0, count: 1_000_000, round: 0 };
    let before = high_water_kib();
    let say = |what: &str, since: std::time::Instant| {
        println!("{what}: {} ms, high water +{} KiB", since.elapsed().as_millis(), high_water_kib() - before);
    };
    let clock = std::time::Instant::now();
    checkpointer.checkpoint(&Progress::default(), &mut source).unwrap();
    say("first checkpoint of 1,000,000 records", clock);
    let clock = std::time::Instant::now();
    checkpointer.checkpoint(&Progress::default(), &mut source).unwrap();
    say("second, every hundredth changed", clock);
    let clock = std::time::Instant::now();
    checkpointer.image(&Progress::default()).unwrap();
    say("image", clock);
    drop(checkpointer);
    println!("checkpoint {} bytes", std::fs::metadata(folder.path().join(CHECKPOINT_FILE)).unwrap().len());
    let clock = std::time::Instant::now();
    let started = start::open(disk.clone(), log, 0, || Count).unwrap();
    say("load from the checkpoint", clock);
    assert_eq!(started.source, Source::Checkpoint);
    drop(started);
    disk.remove(CHECKPOINT_FILE).unwrap();
    let clock = std::time::Instant::now();
    let started = start::open(disk, log, 0, || Count).unwrap();
    say("load from the image, and a new checkpoint", clock);
    assert_eq!(started.source, Source::Image);
    assert_eq!(started.checkpointer.last().tally().count, 1_000_000);
}
