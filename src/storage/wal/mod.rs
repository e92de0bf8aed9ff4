//! The log: a row of preallocated segment files, written by a thread of its own.
//!
//! A batch is everything that was queued when the log's thread looked. It takes one write and one fdatasync. That
//! thread also encodes the entries and computes the checksums. Batch k+1 is written only after batch k is durable; the
//! rules of recovery rest on that.
//!
//! Promises:
//! - A completion is called only when its command and every command before it are durable.
//! - An entry can be read as soon as it was handed in, durable or not.
//! - A failed write or sync is never tried again: Linux may have dropped the pages and call the next sync a success.
//!   `on_fatal` ends the process, and a restart finds every acknowledged batch.
//! - After a crash the last batch may be torn. It was never acknowledged. Recovery cuts it off and logs a warning. Any
//!   other batch that does not check is damage: `open` refuses with a sentence and never drops a batch that may have
//!   been acknowledged.
//!
//! A batch is torn if it is invalid, no later batch header lies behind it, and one of its sectors lacks a mark
//! (`format` draws the bytes). A flipped byte cannot look like that. One kind of damage does: a broken disk that
//! returns a whole sector of the very last batch as zeros.
//!
//! | file | what |
//! |---|---|
//! | `format` | bytes, drawn |
//! | `recover` | from files to an open log |
//! | `writer` | the thread that writes batches |
//! | `segments` | the thread that prepares and removes segment files |
//! | `index` | the recent entries in memory, the places of the others on disk |
//! | `lock` | one server to a data directory |

pub mod format;
mod index;
mod lock;
mod recover;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use crate::storage::LogPosition;
pub(crate) use format::Identity;
pub(crate) use lock::DirectoryLock;
pub(crate) use recover::OpenError;

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

/// A vote for a candidate or, if it is committed, for an elected leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    pub(crate) term: u64,
    pub(crate) voted_for: u64,
    pub(crate) committed: bool,
}

impl Vote {
    /// Whether a member that stored the vote `old` may store this vote. A member votes for one candidate a term. If
    /// another candidate wins the term, the member follows that leader, whose vote is committed.
    pub(crate) fn may_follow(&self, old: &Vote) -> bool {
        let same_candidate = self.voted_for == old.voted_for && self.committed >= old.committed;
        let other_leader = self.committed && !old.committed;
        self.term > old.term || self.term == old.term && (same_candidate || other_leader)
    }
}

/// What an entry carries. The log's thread encodes it. It is decoded only when the entry is read from the disk.
pub(crate) trait Payload: Clone + Send + Sync + 'static {
    fn encode(&self, out: &mut Vec<u8>);
    /// The error completes "entry 7 does not decode: ...".
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry<P> {
    pub at: LogPosition,
    pub payload: P,
}

/// Called once, on the log's thread. It must not block.
pub(crate) type Completion = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Called with a full sentence when the log cannot go on. It ends the process. In tests it returns, and the log stays
/// dead: every completion fails.
pub(crate) type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Called on the log's thread with the time that each sync of a batch took. It must not block.
pub(crate) type OnSync = Arc<dyn Fn(Duration) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Options {
    /// The log's folder, relative to the disk's root.
    pub(crate) folder: String,
    /// A random number, chosen when the data directory was made. Segments with another identity are refused.
    pub(crate) identity: Identity,
    pub(crate) segment_bytes: u64,
    pub(crate) cache_bytes_max: usize,
    pub(crate) on_fatal: OnFatal,
    pub(crate) on_sync: OnSync,
    pub(crate) drive: Drive,
}

/// What runs the writer.
#[derive(Clone)]
pub(crate) enum Drive {
    /// One thread for batches and a second thread for the segment files.
    Threads,
    /// One task, for the simulation. Each batch takes the time that `delay` returns.
    Task { runtime: tokio::runtime::Handle, delay: Arc<dyn Fn() -> Duration + Send + Sync> },
}

impl Options {
    /// The usual sizes. A fatal error prints its sentence and ends the process.
    pub(crate) fn new(folder: &str, identity: Identity) -> Options {
        Options {
            folder: folder.to_owned(),
            identity,
            segment_bytes: hooks::pace().log_segment_bytes,
            cache_bytes_max: limits::LOG_CACHE_BYTES_MAX,
            on_fatal: Arc::new(|sentence| {
                hooks::die(sentence);
                tracing::error!("{sentence}");
                eprintln!("wasmkeeper: {sentence}");
                #[expect(clippy::disallowed_methods, reason = "nothing may be written behind a failed write")]
                std::process::exit(1);
            }),
            on_sync: Arc::new(|_| {}),
            drive: Drive::Threads,
        }
    }
}

/// Counters since the start. `syncs` counts the syncs of batches. So `syncs / batches` is 1, and `entries / syncs` says
/// how much batching achieves. `segment_syncs` counts the syncs of new segments; no write waits for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) syncs: u64,
    pub(crate) segment_syncs: u64,
    pub(crate) batches: u64,
    pub(crate) entries: u64,
    /// Bytes written, with everything that the format adds.
    pub(crate) bytes: u64,
    /// How many segments are in use.
    pub(crate) segments: u64,
}

#[derive(Default)]
struct Counters {
    syncs: AtomicU64,
    segment_syncs: AtomicU64,
    batches: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
}

/// What the log's callers and its thread share.
struct Shared<P> {
    identity: Identity,
    index: Mutex<Index<P>>,
    queue: Mutex<Queue<P>>,
    /// Wakes the writer's thread when something was queued.
    filled: Condvar,
    /// Wakes the writer's task when something was queued.
    filled_for_task: Notify,
    counters: Counters,
}

struct Queue<P> {
    /// In the order of the calls. The callers bound it: consensus keeps at most a few batches in flight.
    commands: Vec<Command<P>>,
    /// The committed hint. It is written behind the commands of the next batch, whenever that is.
    committed: Option<LogPosition>,
    closed: bool,
    /// The sentence that `on_fatal` was told, if the log is dead.
    dead: Option<String>,
}

/// The open log. When the last handle is dropped, the log writes its queue and closes.
pub(crate) struct Wal<P: Payload> {
    shared: Arc<Shared<P>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl<P: Payload> Wal<P> {
    /// Recovers the folder's content and starts the log's thread.
    pub(crate) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Wal<P>, OpenError> {
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

    pub(crate) fn purged(&self) -> Option<LogPosition> {
        self.shared.index.lock().facts.purged
    }

    /// The last entry. If there is none behind the purge point, the purge point.
    pub(crate) fn last(&self) -> Option<LogPosition> {
        self.shared.index.lock().facts.last
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.shared.index.lock().facts.vote
    }

    /// A lower bound of what is committed. Never beyond the last entry.
    pub(crate) fn committed(&self) -> Option<LogPosition> {
        self.shared.index.lock().facts.committed
    }

    /// Appends entries, which follow the last entry without a gap. `done` is a watermark: if several appends wait in
    /// one batch, only the `done` of the last append is called, and stands for the others.
    pub(crate) fn append(&self, entries: Vec<Entry<P>>, done: Completion) {
        let first_ticket = self.shared.index.lock().append(&entries);
        self.queue(Command::Append { entries, first_ticket, done });
    }

    /// Saves a vote. It must be one that may follow the last (`Vote::may_follow`).
    pub(crate) fn save_vote(&self, vote: Vote, done: Completion) {
        self.shared.index.lock().set_vote(vote);
        self.queue(Command::Vote { vote, done });
    }

    /// Remembers what is committed, an entry of the log. It is written with the next batch. If it is lost, a restart
    /// only begins to serve later.
    pub(crate) fn save_committed(&self, at: LogPosition) {
        self.shared.index.lock().set_committed(at);
        self.shared.queue.lock().committed = Some(at);
    }

    /// Drops all entries behind `after`, an entry of the log. None drops every entry. Purged entries stay purged.
    pub(crate) fn truncate_after(&self, after: Option<LogPosition>) {
        let after = {
            let mut index = self.shared.index.lock();
            let Some(last) = index.facts.last else { return };
            if after.is_some_and(|after| after.index >= last.index) {
                return;
            }
            let after = after.max(index.facts.purged);
            index.truncate(after);
            after
        };
        self.queue(Command::Truncate { after });
    }

    /// Purges everything up to `upto`. `upto` may lie beyond the last entry. Then the state came from a peer's
    /// checkpoint, and the log goes on after that checkpoint.
    pub(crate) fn purge(&self, upto: LogPosition) {
        {
            let mut index = self.shared.index.lock();
            if index.facts.purged.is_some_and(|purged| purged.index >= upto.index) {
                return;
            }
            index.purge(upto);
        }
        self.queue(Command::Purge { upto });
    }

    /// The entries of `range` that are in the log, in order, up to about `bytes_max` encoded bytes. Returns at least
    /// one entry, if there is one.
    pub(crate) fn read(&self, mut range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry<P>>> {
        let mut out = Vec::new();
        let run = {
            let index = self.shared.index.lock();
            range.start = range.start.max(index.first_index());
            range.end = range.end.min(index.facts.last.map_or(0, |last| last.index.saturating_add(1)));
            if range.is_empty() {
                return Ok(out);
            }
            index.cached(&range, bytes_max, &mut out);
            if !out.is_empty() {
                return Ok(out);
            }
            // From the index of the first cached entry on, the disk may still have entries that were truncated, because
            // the truncation itself may not be on disk yet. So nothing is read from there.
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

    pub(crate) fn stats(&self) -> Stats {
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

/// The sentence for `on_fatal`. `trouble` begins it: "write segment 7 of the log at offset 512: ...".
fn fatal_sentence(trouble: &str) -> String {
    format!(
        "{trouble}; the server ends here, because what is on the disk is not known any more. Everything acknowledged is \
         safe: free room on the disk, or replace it, and start the server again"
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
            // The panic hook has reported a panic of that thread.
            let _ = thread.join();
        }
    }
}
