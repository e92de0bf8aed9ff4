//! The same tests with the real log on the same disk: identity, log, checkpoint and image of a directory that loses
//! power at arbitrary calls. Some of the calls are made by the log's threads.
//!
//! An entry counts as acknowledged when the log has completed it. After a crash the log may hold a few more entries,
//! never fewer. The state must be that of exactly the entries in the log.
//!
//! The order of calls between threads is not fixed. So a seed repeats the directory, and not always the crash.

use super::{Map, Model, meta_at, number};
use crate::storage::checkpoint::Change;
use crate::storage::checkpointer::{Checkpointer, Progress};
use crate::storage::identity::Identity;
use crate::storage::start::{self, LogExtent};
use crate::storage::testing::{Dice, SimDisk};
use crate::storage::wal::{Entry, Options, Payload, Vote, Wal};
use crate::storage::{CHECKPOINT_FILE, LOG_FOLDER, LogPosition};
use std::io;
use std::sync::{Arc, mpsc};

#[derive(Clone)]
pub(super) struct Changes(pub(super) Vec<Change>);

impl Payload for Changes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(postcard::to_allocvec(&self.0).expect("a vector takes it"));
    }

    fn decode(bytes: &[u8]) -> Result<Changes, String> {
        postcard::from_bytes(bytes).map(Changes).map_err(|error| error.to_string())
    }
}

/// What an outside observer knows.
#[derive(Default)]
struct Oracle {
    /// Every entry that was handed to the log. Entries that a crash lost are taken out after it.
    handed_in: Vec<Vec<Change>>,
    acknowledged: u64,
    voted: u64,
}

struct Process {
    wal: Wal<Changes>,
    model: Model,
    checkpointer: Checkpointer,
}

pub(super) fn position(index: u64) -> LogPosition {
    meta_at(index).position.expect("entries are counted from 1")
}

/// Small segments, so that there are several.
pub(super) fn log_options(identity: &Identity) -> Options {
    Options {
        segment_bytes: 96 << 10,
        cache_bytes_max: 8 << 10,
        on_fatal: Arc::new(|_| {}),
        ..Options::new(LOG_FOLDER, identity.incarnation)
    }
}

/// Starts as a server does. Any error is a sentence.
fn recover(disk: &SimDisk, oracle: &mut Oracle) -> Result<Process, String> {
    let new = Identity { cluster: 1, member: 1, incarnation: [7; 16], log_in_use: false };
    let identity = start::identify(disk, new).map_err(|error| error.to_string())?;
    let disk = Arc::new(disk.clone());
    let wal = Wal::<Changes>::open(disk.clone(), log_options(&identity)).map_err(|error| error.to_string())?;
    let log = LogExtent { purged: wal.purged(), is_new: wal.last().is_none() && wal.vote().is_none() };
    let started = start::open(disk, log, 0, Map::new).map_err(|error| error.to_string())?;
    let mut model = started.state.unwrap_or_default();
    let last = wal.last().map_or(0, |last| last.index);
    while model.index < last {
        let entries = wal.read(model.index + 1..last + 1, 4 << 10).map_err(|error| error.to_string())?;
        for entry in entries {
            assert_eq!(entry.at, position(model.index + 1));
            model.apply(&entry.payload.0);
        }
    }
    assert!(last >= oracle.acknowledged, "entry {} was acknowledged, the log ends at {last}", oracle.acknowledged);
    assert_eq!(model.index, last);
    let vote = wal.vote().map_or(0, |vote| vote.term);
    assert!(vote >= oracle.voted, "a vote for term {} is forgotten", oracle.voted);
    oracle.handed_in.truncate(last as usize);
    // The log returned these entries, so they are durable, as if they had been acknowledged.
    oracle.acknowledged = last;
    oracle.voted = vote;
    let mut expected = Model::default();
    oracle.handed_in.iter().for_each(|entry| expected.apply(entry));
    assert!(model.map == expected.map, "the state is not that of the {last} entries in the log");
    Ok(Process { wal, model, checkpointer: started.checkpointer })
}

/// Hands a command to the log and waits until it is durable.
pub(super) fn durable(hand_in: impl FnOnce(Box<dyn FnOnce(io::Result<()>) + Send>)) -> io::Result<()> {
    let (done, wait) = mpsc::channel();
    hand_in(Box::new(move |result| {
        let _ = done.send(result);
    }));
    wait.recv().unwrap_or_else(|_| Err(io::Error::other("the log dropped a completion")))
}

fn live(dice: &mut Dice, oracle: &mut Oracle, process: &mut Process) -> io::Result<()> {
    let Process { wal, model, checkpointer } = process;
    let progress = Progress::default();
    for _ in 0..12 {
        match dice.below(6) {
            0 => {
                let vote = Vote { term: oracle.voted + 1, voted_for: 1, committed: true };
                durable(|done| wal.save_vote(vote, done))?;
                oracle.voted = vote.term;
            }
            1 => {
                checkpointer.checkpoint(&progress, model)?;
                if dice.one_in(2) {
                    checkpointer.image(&progress)?;
                }
                if let Some(position) = checkpointer.purge_up_to() {
                    wal.purge(position);
                }
            }
            _ => {
                let mut entries = Vec::new();
                for _ in 0..1 + dice.below(5) {
                    let change = |dice: &mut Dice| {
                        let key = format!("n/node-{:03}", dice.below(150)).into_bytes();
                        let length = if dice.one_in(30) { dice.below(9_000) } else { dice.below(300) };
                        (key, (!dice.one_in(5)).then(|| vec![dice.roll() as u8; length as usize]))
                    };
                    let changes: Vec<Change> = (0..1 + dice.below(6)).map(|_| change(dice)).collect();
                    model.apply(&changes);
                    oracle.handed_in.push(changes.clone());
                    entries.push(Entry { at: position(model.index), payload: Changes(changes) });
                }
                durable(|done| wal.append(entries, done))?;
                oracle.acknowledged = model.index;
            }
        }
    }
    Ok(())
}

#[test]
fn crash_points_with_the_log_on_the_same_disk_lose_nothing_and_mix_nothing() {
    directories(|disk, dice| disk.crash(dice.roll()));
}

/// A killed process leaves bytes in the log that can be read and are not durable. The next process builds on them, so a
/// later power loss must not take them away.
#[test]
fn crash_points_after_a_kill_lose_nothing_that_was_built_on() {
    directories(|disk, dice| if dice.one_in(4) { disk.restart() } else { disk.crash(dice.roll()) });
}

/// Lets directories live through processes that end as `end` says.
fn directories(end: impl Fn(&SimDisk, &mut Dice)) {
    const PROCESSES: u64 = 30;
    let points = number("CRASH_POINTS", 300);
    let (mut done, mut seed) = (0, number("CRASH_SEED", 1));
    while done < points {
        println!("CRASH_SEED={seed}");
        let dice = &mut Dice::new(seed);
        let (disk, mut oracle) = (SimDisk::new(), Oracle::default());
        for _ in 0..PROCESSES {
            disk.crash_at(1 + dice.below(200));
            match recover(&disk, &mut oracle) {
                Ok(mut process) => {
                    if let Err(error) = live(dice, &mut oracle, &mut process) {
                        assert!(disk.is_down() || error.kind() == io::ErrorKind::InvalidData, "seed {seed}: {error}");
                    }
                }
                Err(sentence) => assert!(disk.is_down(), "seed {seed}: {sentence}"),
            }
            end(&disk, dice);
            if dice.one_in(8) {
                let length = disk.bytes(CHECKPOINT_FILE).map_or(0, |bytes| bytes.len() as u64);
                disk.flip(CHECKPOINT_FILE, dice.below(length), 1 << dice.below(8));
            }
        }
        disk.restart();
        recover(&disk, &mut oracle).unwrap_or_else(|sentence| panic!("seed {seed}: {sentence}"));
        done += PROCESSES;
        seed += 1;
    }
    println!("{done} crash points");
}
