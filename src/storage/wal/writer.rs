//! The thread that writes batches, and a second one that prepares segments and removes old ones, so that a write meets
//! neither.

use super::format::{self, LogFacts, SegmentHeader};
use super::index::{Run, Segment};
use super::recover::{OpenError, Tail};
use super::segments::{FileJob, FileJobs, PreparedSegment, SegmentFiles};
use super::{Completion, Drive, Entry, LogPosition, Options, Payload, Shared, Vote, fatal_sentence};
use crate::environment::Instant;
use crate::hooks;
use crate::limits;
use crate::storage::disk::{Disk, DiskFile};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

pub enum Command<P> {
    Append { entries: Vec<Entry<P>>, first_ticket: u64, done: Completion },
    Vote { vote: Vote, done: Completion },
    Truncate { after: Option<LogPosition> },
    Purge { upto: LogPosition },
}

impl<P> Command<P> {
    pub fn complete(self, result: io::Result<()>) {
        match self {
            Command::Append { done, .. } | Command::Vote { done, .. } => done(result),
            Command::Truncate { .. } | Command::Purge { .. } => {}
        }
    }
}

pub fn start<P: Payload>(
    disk: Arc<dyn Disk>,
    options: Options,
    shared: Arc<Shared<P>>,
    tail: Tail,
) -> Result<Option<JoinHandle<()>>, OpenError> {
    let thread = |error| OpenError::Io { doing: "start the log's thread".to_owned(), error };
    let (ready_sender, ready) = mpsc::channel();
    let next_number = tail.current.as_ref().map_or(tail.next_number, |current| current.number + 1);
    let counted = shared.clone();
    let files = SegmentFiles {
        disk,
        folder: options.folder.clone(),
        segment_bytes: options.segment_bytes,
        ready: ready_sender,
        synced: Box::new(move || {
            counted.counters.segment_syncs.fetch_add(1, Ordering::Relaxed);
        }),
    };
    let ready_now = tail.prepared.map(|prepared| files.ready.send(Ok(prepared)));
    let jobs = match options.drive {
        Drive::Threads => {
            let (sender, receiver) = mpsc::channel();
            let named = std::thread::Builder::new().name("log-files".to_owned());
            FileJobs::Threaded(sender, named.spawn(move || files.run(receiver)).map_err(thread)?)
        }
        Drive::Task { .. } => FileJobs::Here(files),
    };
    if ready_now.is_none() {
        jobs.put(FileJob::Prepare(next_number));
    }
    let drive = options.drive.clone();
    let writer = Writer {
        shared,
        options,
        jobs,
        ready,
        current: tail.current,
        next_sequence: tail.next_sequence,
        facts: tail.facts,
        out: Vec::new(),
    };
    match drive {
        Drive::Threads => {
            let named = std::thread::Builder::new().name("log".to_owned());
            named.spawn(move || writer.run()).map(Some).map_err(thread)
        }
        Drive::Task { runtime, delay } => {
            runtime.spawn(writer.run_as_task(delay));
            Ok(None)
        }
    }
}

/// The segment that is being written.
pub struct CurrentSegment {
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
    pub end: u64,
    pub capacity: u64,
}

struct Writer<P: Payload> {
    shared: Arc<Shared<P>>,
    options: Options,
    jobs: FileJobs,
    ready: mpsc::Receiver<Result<PreparedSegment, String>>,
    current: Option<CurrentSegment>,
    next_sequence: u64,
    /// As of the last durable batch.
    facts: LogFacts,
    out: Vec<u8>,
}

/// A batch in the making.
struct Batch {
    /// Begins with room for the header.
    payload: Vec<u8>,
    /// As of behind this batch.
    facts: LogFacts,
    /// Ticket and encoded bytes of each entry.
    entries: Vec<(u64, u32)>,
    first_index: Option<u64>,
    /// A truncation comes before all entries: a batch ends where one would come behind them.
    truncated: Option<Option<LogPosition>>,
    purged: Option<LogPosition>,
    /// The last append's: it stands for those before it.
    watermark: Option<Completion>,
    votes: Vec<Completion>,
}

/// A batch that could not be made durable, and what to say of it.
struct Failed {
    sentence: String,
    batch: Batch,
}

impl Batch {
    /// `buffer` is one to use again.
    fn new(facts: LogFacts, mut buffer: Vec<u8>) -> Batch {
        buffer.clear();
        buffer.shrink_to(limits::LOG_BUFFER_BYTES_KEPT);
        buffer.resize(format::BATCH_HEADER, 0);
        Batch {
            payload: buffer,
            facts,
            entries: Vec::new(),
            first_index: None,
            truncated: None,
            purged: None,
            watermark: None,
            votes: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.payload.len() == format::BATCH_HEADER
    }

    fn is_full(&self) -> bool {
        self.payload.len() >= limits::LOG_BATCH_BYTES_MAX
    }

    fn add_entry<P: Payload>(&mut self, entry: &Entry<P>, ticket: u64) {
        let bytes = format::put_entry_record(entry.at, &mut self.payload, |out| entry.payload.encode(out));
        self.entries.push((ticket, bytes));
        self.first_index.get_or_insert(entry.at.index);
        self.facts.last = Some(entry.at);
    }

    fn complete(self, result: impl Fn() -> io::Result<()>) {
        for done in self.votes.into_iter().chain(self.watermark) {
            done(result());
        }
    }
}

impl<P: Payload> Writer<P> {
    fn run(mut self) {
        let mut batch = Some(Batch::new(self.facts, Vec::new()));
        let mut commands = Vec::new();
        while let Some(mut next) = batch {
            {
                let mut queue = self.shared.queue.lock();
                while queue.commands.is_empty() && !queue.closed {
                    self.shared.filled.wait(&mut queue);
                }
                if queue.commands.is_empty() {
                    break;
                }
            }
            self.take(&mut commands, &mut next);
            batch = self.work(&mut commands, next);
        }
        self.jobs.end();
    }

    async fn run_as_task(mut self, delay: Arc<dyn Fn() -> Duration + Send + Sync>) {
        let mut batch = Some(Batch::new(self.facts, Vec::new()));
        let mut commands = Vec::new();
        let shared = self.shared.clone();
        while let Some(mut next) = batch {
            let (empty, closed) = {
                let queue = shared.queue.lock();
                (queue.commands.is_empty(), queue.closed)
            };
            if empty && closed {
                return;
            } else if empty {
                shared.filled_for_task.notified().await;
                batch = Some(next);
            } else {
                self.take(&mut commands, &mut next);
                tokio::time::sleep(delay()).await;
                batch = self.work(&mut commands, next);
            }
        }
    }

    /// Takes all that is queued.
    fn take(&self, commands: &mut Vec<Command<P>>, batch: &mut Batch) {
        let committed = {
            let mut queue = self.shared.queue.lock();
            std::mem::swap(&mut queue.commands, commands);
            queue.committed.take()
        };
        if let Some(at) = committed {
            format::put_committed_record(at, &mut batch.payload);
            batch.facts.committed = Some(at);
        }
    }

    /// Writes all that was taken. Returns an empty batch to go on with; None once the log is dead.
    fn work(&mut self, commands: &mut Vec<Command<P>>, batch: Batch) -> Option<Batch> {
        let mut waiting = commands.drain(..);
        match self.write_all(&mut waiting, batch) {
            Ok(next) => Some(next),
            Err(failed) => {
                let rest: Vec<Command<P>> = waiting.collect();
                self.die(*failed, rest);
                None
            }
        }
    }

    /// Returns an empty batch to go on with.
    fn write_all(
        &mut self,
        waiting: &mut impl Iterator<Item = Command<P>>,
        mut batch: Batch,
    ) -> Result<Batch, Box<Failed>> {
        for command in waiting {
            match command {
                Command::Append { entries, first_ticket, done } => {
                    for (entry, ticket) in entries.iter().zip(first_ticket..) {
                        if batch.is_full() {
                            batch = match self.write(batch) {
                                Ok(next) => next,
                                Err(mut failed) => {
                                    failed.batch.watermark = Some(done);
                                    return Err(failed);
                                }
                            };
                        }
                        batch.add_entry(entry, ticket);
                    }
                    batch.watermark = Some(done);
                }
                Command::Vote { vote, done } => {
                    format::put_vote_record(&vote, &mut batch.payload);
                    batch.facts.vote = Some(vote);
                    batch.votes.push(done);
                }
                Command::Truncate { after } => {
                    if !batch.entries.is_empty() {
                        batch = self.write(batch)?;
                    }
                    format::put_truncate_record(after, &mut batch.payload);
                    batch.facts.last = after;
                    batch.truncated = Some(after);
                }
                Command::Purge { upto } => {
                    format::put_purge_record(upto, &mut batch.payload);
                    batch.facts.purged = Some(upto);
                    if batch.facts.last.is_none_or(|last| last.index < upto.index) {
                        batch.facts.last = Some(upto);
                    }
                    batch.purged = Some(upto);
                }
            }
        }
        if batch.is_empty() { Ok(batch) } else { self.write(batch) }
    }

    /// Makes the batch durable and tells everyone; returns an empty one behind it.
    fn write(&mut self, mut batch: Batch) -> Result<Batch, Box<Failed>> {
        match self.write_to_disk(&mut batch.payload) {
            Ok((offset, begun)) => {
                self.facts = batch.facts;
                self.publish(&batch, offset, begun);
                let next = Batch::new(self.facts, std::mem::take(&mut batch.payload));
                batch.complete(|| Ok(()));
                Ok(next)
            }
            Err(sentence) => Err(Box::new(Failed { sentence, batch })),
        }
    }

    /// Returns where the batch lies in the current segment, and whether it is that segment's first.
    fn write_to_disk(&mut self, payload: &mut Vec<u8>) -> Result<(u64, bool), String> {
        let extent = format::extent(payload.len() - format::BATCH_HEADER);
        let begun = self.current.as_ref().is_none_or(|current| current.end + extent > current.capacity);
        self.out.clear();
        if begun {
            self.begin_segment(extent)?;
        }
        let Some(current) = &mut self.current else { return Err(fatal_sentence("the log has no segment")) };
        let (number, offset) = (current.number, current.end);
        format::put_batch(&self.options.identity, self.next_sequence, payload, &mut self.out);
        // The header of a new segment goes with its first batch, in the same write.
        let write_at = if begun { 0 } else { offset };
        let failed = |verb: &str, error: io::Error| {
            fatal_sentence(&format!("{verb} segment {number} of the log at offset {write_at}: {error}"))
        };
        if !hooks::write_precedes_sync() {
            current.file.sync_data().map_err(|error| failed("sync", error))?;
        }
        current.file.write_at(&self.out, write_at).map_err(|error| failed("write", error))?;
        let began = Instant::now();
        if hooks::write_precedes_sync() {
            current.file.sync_data().map_err(|error| failed("sync", error))?;
        }
        (self.options.on_sync)(began.elapsed());
        current.end += extent;
        self.next_sequence += 1;
        if begun {
            // Only now: a segment never lies ready behind one that a crash may find not begun.
            self.jobs.put(FileJob::Prepare(number + 1));
        }
        let counters = &self.shared.counters;
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(self.out.len() as u64, Ordering::Relaxed);
        self.out.clear();
        self.out.shrink_to(limits::LOG_BUFFER_BYTES_KEPT);
        Ok((offset, begun))
    }

    fn begin_segment(&mut self, extent: u64) -> Result<(), String> {
        let prepared = self.ready.recv().unwrap_or_else(|_| Err(fatal_sentence("the log's second thread is gone")))?;
        let needed = format::SECTOR as u64 + extent;
        let context =
            |error: io::Error| fatal_sentence(&format!("allocate segment {} of the log: {error}", prepared.number));
        let mut capacity = prepared.file.len().map_err(context)?;
        if capacity < needed {
            // One entry larger than a segment gets a segment of its own size.
            prepared.file.allocate(needed).map_err(context)?;
            capacity = needed;
        }
        let header = SegmentHeader { number: prepared.number, first_sequence: self.next_sequence, facts: self.facts };
        format::put_segment_header(&self.options.identity, &header, &mut self.out);
        self.current =
            Some(CurrentSegment { number: prepared.number, file: prepared.file, end: format::SECTOR as u64, capacity });
        Ok(())
    }

    /// Puts a durable batch into the index, and lets go of what it purged.
    fn publish(&mut self, batch: &Batch, offset: u64, begun: bool) {
        let Some(current) = &self.current else { return };
        let mut index = self.shared.index.lock();
        if begun {
            let segment = Segment { file: current.file.clone(), end: current.end, last_index: None };
            index.segments.insert(current.number, segment);
        }
        if let Some(segment) = index.segments.get_mut(&current.number) {
            segment.end = current.end;
            if batch.first_index.is_some() {
                segment.last_index = segment.last_index.max(batch.facts.last.map(|last| last.index));
            }
        }
        if let Some(after) = batch.truncated {
            index.truncate_runs(after);
        }
        if let Some(first_index) = batch.first_index {
            index.add_run(Run { first_index, segment: current.number, offset });
        }
        for (ticket, bytes) in &batch.entries {
            index.durable(*ticket, *bytes);
        }
        index.shrink_cache();
        self.shared.counters.entries.fetch_add(batch.entries.len() as u64, Ordering::Relaxed);
        let Some(upto) = batch.purged else { return };
        index.purge_runs(upto.index);
        let mut gone = Vec::new();
        while let Some(oldest) = index.segments.first_entry()
            && *oldest.key() != current.number
            && oldest.get().last_index.is_none_or(|last| last <= upto.index)
        {
            gone.push(*oldest.key());
            oldest.remove();
        }
        drop(index);
        if !gone.is_empty() {
            self.jobs.put(FileJob::Remove(gone));
        }
    }

    fn die(&mut self, failed: Failed, rest: Vec<Command<P>>) {
        let Failed { sentence, batch } = failed;
        let rest: Vec<Command<P>> = {
            let mut queue = self.shared.queue.lock();
            queue.dead = Some(sentence.clone());
            rest.into_iter().chain(queue.commands.drain(..)).collect()
        };
        (self.options.on_fatal)(&sentence);
        let error = || Err(io::Error::other(sentence.clone()));
        batch.complete(error);
        for command in rest {
            command.complete(error());
        }
    }
}
