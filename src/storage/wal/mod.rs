//! The log: segmented, preallocated, on a thread of its own.
//!
//! One batch is everything that waited when the thread came round: one write, one fdatasync. Encoding and checksums are
//! done on that thread too. Batch k+1 is written only after batch k is durable, and the recovery rules stand on that.
//!
//! Promises:
//! - A completion is called only once what it stands for, and everything handed in before it, is durable.
//! - What was handed in can be read at once, durable or not.
//! - A failed write or sync is never tried again: Linux may have dropped the pages and call the next sync a success.
//!   `on_fatal` ends the process, and a restart finds every acknowledged batch.
//! - After a crash the last batch may be torn: it was never acknowledged, is cut, and a warning says so. Anything else
//!   that does not check is damage, and `open` refuses with a sentence; it never drops a batch that may have been
//!   acknowledged.
//!
//! What torn means (`format` draws the bytes): an invalid batch with no later batch header behind it, of which some
//! sector lacks a mark. A flipped byte cannot look like that. What the rule does not tell from a torn batch: a whole
//! sector of the very last batch that a broken disk returns as zeros.
//!
//! | file | what |
//! |---|---|
//! | `format` | bytes, drawn |
//! | `recover` | from files to an open log |
//! | `writer` | the thread that writes |
//! | `segments` | the thread that prepares and removes files |
//! | `index` | recent entries in memory, the others' places on disk |
//! | `lock` | one server to a data directory |

pub mod format;
mod index;
mod lock;
mod recover;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::storage::LogPosition;
pub use format::Identity;
pub use lock::DirectoryLock;
pub use recover::OpenError;

use crate::hooks;
use crate::limits;
use crate::storage::disk::Disk;
use index::Index;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use writer::Command;

/// A promise to a candidate (or, committed, to a leader).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    pub term: u64,
    pub voted_for: u64,
    pub committed: bool,
}

/// What an entry carries: encoded on the log's thread, decoded only when it is read back.
pub trait Payload: Clone + Send + Sync + 'static {
    fn encode(&self, out: &mut Vec<u8>);
    /// The error completes "entry 7 does not decode: ...".
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry<P> {
    pub at: LogPosition,
    pub payload: P,
}

/// Called once, on the log's thread; it must not block.
pub type Completion = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Called with a full sentence when the log cannot go on. It ends the process; if it returns (tests), the log stays
/// dead: every completion fails.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Called on the log's thread with how long each sync of a batch took; it must not block.
pub type OnSync = Arc<dyn Fn(Duration) + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    /// Below the disk's root.
    pub folder: String,
    /// Random, chosen when the data directory was made: segments of another log are refused.
    pub identity: Identity,
    pub segment_bytes: u64,
    pub cache_bytes_max: usize,
    pub on_fatal: OnFatal,
    pub on_sync: OnSync,
    pub drive: Drive,
}

/// Who writes.
#[derive(Clone)]
pub enum Drive {
    /// A thread of the log's own, and a second one for its files.
    Threads,
    /// One task, for the simulation. Each batch lasts as long as `delay` says.
    Task { runtime: tokio::runtime::Handle, delay: Arc<dyn Fn() -> Duration + Send + Sync> },
}

impl Options {
    /// The usual sizes, and an end of the process that leaves a sentence in the log.
    pub fn new(folder: &str, identity: Identity) -> Options {
        Options {
            folder: folder.to_owned(),
            identity,
            segment_bytes: hooks::pace().log_segment_bytes,
            cache_bytes_max: limits::LOG_CACHE_BYTES_MAX,
            on_fatal: Arc::new(|sentence| {
                hooks::die(sentence);
                tracing::error!("{sentence}");
                eprintln!("wasmkeeper: {sentence}");
                std::process::exit(1);
            }),
            on_sync: Arc::new(|_| {}),
            drive: Drive::Threads,
        }
    }
}

/// Since the start. `syncs` counts those of batches, so `syncs / batches` is 1 and `entries / syncs` says what batching
/// does; those of new segments are `segment_syncs`, off the path of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub syncs: u64,
    pub segment_syncs: u64,
    pub batches: u64,
    pub entries: u64,
    /// Written, with everything the format adds.
    pub bytes: u64,
    /// Of the segments in use.
    pub segments: u64,
}

#[derive(Default)]
struct Counters {
    syncs: AtomicU64,
    segment_syncs: AtomicU64,
    batches: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
}

/// What the callers and the log's thread share.
struct Shared<P> {
    identity: Identity,
    index: Mutex<Index<P>>,
    queue: Mutex<Queue<P>>,
    /// Something was queued, for a thread and for a task.
    filled: Condvar,
    filled_for_task: Notify,
    counters: Counters,
}

struct Queue<P> {
    /// In the order of the calls. Bounded by the callers: consensus keeps at most a few batches in flight.
    commands: Vec<Command<P>>,
    /// Written with the next batch, whenever that is.
    committed: Option<LogPosition>,
    closed: bool,
    /// The sentence, once the log is dead.
    dead: Option<String>,
}

/// The open log. Closed, its queue written out, when the last handle goes away.
pub struct Wal<P: Payload> {
    shared: Arc<Shared<P>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl<P: Payload> Wal<P> {
    /// Recovers what is in the folder and starts the log's thread.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Wal<P>, OpenError> {
        let recovered = recover::recover::<P>(&*disk, &options)?;
        let shared = Arc::new(Shared {
            identity: options.identity,
            index: Mutex::new(recovered.index),
            queue: Mutex::new(Queue { commands: Vec::new(), committed: None, closed: false, dead: None }),
            filled: Condvar::new(),
            filled_for_task: Notify::new(),
            counters: Counters::default(),
        });
        let thread = writer::start(disk, options, shared.clone(), recovered.tail)?;
        Ok(Wal { shared, thread })
    }

    pub fn purged(&self) -> Option<LogPosition> {
        self.shared.index.lock().facts.purged
    }

    /// The last entry, or the purge point if there is none behind it.
    pub fn last(&self) -> Option<LogPosition> {
        self.shared.index.lock().facts.last
    }

    pub fn vote(&self) -> Option<Vote> {
        self.shared.index.lock().facts.vote
    }

    /// A lower bound of what is committed.
    pub fn committed(&self) -> Option<LogPosition> {
        self.shared.index.lock().facts.committed
    }

    /// Entries must follow the last one without a gap. `done` is a watermark: of those waiting in one batch only the
    /// last append's is called, and it stands for all before it.
    pub fn append(&self, entries: Vec<Entry<P>>, done: Completion) {
        let first_ticket = {
            let mut index = self.shared.index.lock();
            if let (Some(last), Some(first)) = (index.facts.last, entries.first()) {
                assert_eq!(first.at.index, last.index + 1, "an append leaves a hole in the log");
            }
            index.append(&entries)
        };
        self.queue(Command::Append { entries, first_ticket, done });
    }

    pub fn save_vote(&self, vote: Vote, done: Completion) {
        self.shared.index.lock().facts.vote = Some(vote);
        self.queue(Command::Vote { vote, done });
    }

    /// Remembered, and written with the next batch: losing it costs a restart nothing but a later start of serving.
    pub fn save_committed(&self, at: LogPosition) {
        self.shared.index.lock().facts.committed = Some(at);
        self.shared.queue.lock().committed = Some(at);
    }

    /// Drops all entries behind `after`; None drops every entry.
    pub fn truncate_after(&self, after: Option<LogPosition>) {
        let last = self.last();
        if last.is_none() || after.is_some_and(|after| last.is_some_and(|last| after.index >= last.index)) {
            return;
        }
        let after = after.max(self.purged());
        self.shared.index.lock().truncate(after);
        self.queue(Command::Truncate { after });
    }

    /// Everything up to `upto` may go. It may lie beyond the last entry: the state came from a peer's checkpoint then,
    /// and the log goes on behind it.
    pub fn purge(&self, upto: LogPosition) {
        {
            let mut index = self.shared.index.lock();
            if index.facts.purged.is_some_and(|purged| purged.index >= upto.index) {
                return;
            }
            index.purge(upto);
        }
        self.queue(Command::Purge { upto });
    }

    /// The entries of `range` that the log has, from its first on, at most about `bytes_max` of them (as encoded), at
    /// least one if there is one.
    pub fn read(&self, mut range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry<P>>> {
        let mut out = Vec::new();
        let run = {
            let index = self.shared.index.lock();
            range.start = range.start.max(index.first_index());
            range.end = range.end.min(index.facts.last.map_or(0, |last| last.index + 1));
            if range.is_empty() {
                return Ok(out);
            }
            index.cached(&range, bytes_max, &mut out);
            if !out.is_empty() {
                return Ok(out);
            }
            // What the disk has from there on may have been truncated since, and that need not be on disk yet.
            if let Some(cached) = index.cache.front() {
                range.end = range.end.min(cached.entry.at.index);
            }
            index.find(range.start)
        };
        let run = run.ok_or_else(|| missing_entry(range.start))?;
        run.read(&self.shared.identity, range.clone(), bytes_max, &mut out)?;
        match out.first() {
            Some(first) if first.at.index == range.start => Ok(out),
            _ => Err(missing_entry(range.start)),
        }
    }

    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        Stats {
            syncs: counters.syncs.load(Ordering::Relaxed),
            segment_syncs: counters.segment_syncs.load(Ordering::Relaxed),
            batches: counters.batches.load(Ordering::Relaxed),
            entries: counters.entries.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            segments: self.shared.index.lock().segments.len() as u64,
        }
    }

    fn queue(&self, command: Command<P>) {
        let mut queue = self.shared.queue.lock();
        if let Some(sentence) = &queue.dead {
            let error = io::Error::other(sentence.clone());
            drop(queue);
            return command.complete(Err(error));
        }
        queue.commands.push(command);
        drop(queue);
        self.shared.wake_writer();
    }
}

impl<P> Shared<P> {
    fn wake_writer(&self) {
        self.filled.notify_one();
        self.filled_for_task.notify_one();
    }
}

/// What `on_fatal` is told.
fn fatal_sentence(trouble: &str) -> String {
    format!(
        "{trouble}; the server ends here, since what is on the disk is not known any more. Everything acknowledged is safe: \
         free room on the disk, or replace it, and start again"
    )
}

fn missing_entry(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("read the log back: entry {index} should be in the log and is not"))
}

impl<P: Payload> Drop for Wal<P> {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake_writer();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook; there is nothing to add to it here.
            let _ = thread.join();
        }
    }
}
