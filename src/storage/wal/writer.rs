//! The thread that writes batches. A second thread prepares and removes the segment files (`segments`), so that no
//! write waits for such work.

use super::format::{self, LogFacts, SegmentHeader};
use super::index::{Run, Segment};
use super::recover::{OpenError, Tail};
use super::segments::{FileJob, FileJobs, PreparedSegment, SegmentFiles};
use super::{Completion, Drive, Entry, LogPosition, OnFatal, Options, Payload, Shared, Vote, fatal_sentence};
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

pub(crate) enum Command<P> {
    Append { entries: Vec<Entry<P>>, first_ticket: u64, done: Completion },
    Vote { vote: Vote, done: Completion },
    Truncate { after: Option<LogPosition> },
    Purge { upto: LogPosition },
}

impl<P> Command<P> {
    pub(crate) fn complete(self, result: io::Result<()>) {
        match self {
            Command::Append { done, .. } | Command::Vote { done, .. } => done(result),
            Command::Truncate { .. } | Command::Purge { .. } => {}
        }
    }
}

/// Starts the writer behind `tail`. Returns its thread; None if a task drives it.
pub(crate) fn start<P: Payload>(
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
        Drive::Task { .. } => FileJobs::Inline(files),
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
        next_number,
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
pub(crate) struct CurrentSegment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the next batch begins. Invariant: a whole number of sectors, at most `capacity`.
    pub(crate) end: u64,
    /// The file's length.
    pub(crate) capacity: u64,
}

struct Writer<P: Payload> {
    shared: Arc<Shared<P>>,
    options: Options,
    jobs: FileJobs,
    ready: mpsc::Receiver<Result<PreparedSegment, String>>,
    current: Option<CurrentSegment>,
    /// The number of the segment to begin next. Invariant: one more than that of the current segment.
    next_number: u64,
    /// The sequence of the next batch.
    next_sequence: u64,
    /// The facts as of the last durable batch. Invariant: `LogFacts::check_follow` holds from each batch to the next.
    facts: LogFacts,
    /// The bytes of the batch that is being written.
    out: Vec<u8>,
}

/// A batch in the making.
struct Batch {
    /// Begins with room for the header.
    payload: Vec<u8>,
    /// The log's facts behind this batch.
    facts: LogFacts,
    /// Ticket and encoded length of each entry.
    entries: Vec<(u64, u32)>,
    first_index: Option<u64>,
    /// The last truncation. Invariant: it comes before all entries of its batch. A batch ends where a truncation would
    /// come behind an entry.
    truncated: Option<Option<LogPosition>>,
    purged: Option<LogPosition>,
    /// The completion of the last append. Earlier appends of the batch need none: it stands for them, too.
    watermark: Option<Completion>,
    votes: Vec<Completion>,
}

/// A batch that could not be made durable, and the sentence for `on_fatal`.
struct Failed {
    sentence: String,
    batch: Batch,
}

impl Batch {
    /// `buffer` is a used buffer, whose memory the batch takes over.
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
        let follows = self.facts.last.is_none_or(|last| last.index.checked_add(1) == Some(entry.at.index));
        assert!(follows, "entry {} does not follow what is written: {:?}", entry.at, self.facts);
        let bytes = format::put_entry_record(entry.at, &mut self.payload, |out| entry.payload.encode(out));
        self.entries.push((ticket, bytes));
        self.first_index.get_or_insert(entry.at.index);
        self.facts.last = Some(entry.at);
    }

    fn add_vote(&mut self, vote: Vote, done: Completion) {
        format::put_vote_record(&vote, &mut self.payload);
        self.facts.vote = Some(vote);
        self.votes.push(done);
    }

    fn add_truncation(&mut self, after: Option<LogPosition>) {
        assert!(self.entries.is_empty(), "a truncation comes behind the entries of its batch");
        assert!(after <= self.facts.last, "a truncation to {after:?} lies behind what is written: {:?}", self.facts);
        format::put_truncate_record(after, &mut self.payload);
        self.facts.last = after;
        self.truncated = Some(after);
    }

    fn add_purge(&mut self, upto: LogPosition) {
        format::put_purge_record(upto, &mut self.payload);
        self.facts.purged = Some(upto);
        if self.facts.last.is_none_or(|last| last.index < upto.index) {
            self.facts.last = Some(upto);
        }
        self.purged = Some(upto);
    }

    fn add_committed(&mut self, at: LogPosition) {
        let exists = self.facts.last.is_some_and(|last| at.index <= last.index);
        assert!(exists, "entry {at} is called committed before it is written: {:?}", self.facts);
        format::put_committed_record(at, &mut self.payload);
        self.facts.committed = Some(at);
    }

    fn complete(self, result: impl Fn() -> io::Result<()>) {
        for done in self.votes.into_iter().chain(self.watermark) {
            done(result());
        }
    }
}

/// Everything that was queued when the writer looked.
struct Taken<P> {
    commands: Vec<Command<P>>,
    committed: Option<LogPosition>,
}

impl<P: Payload> Writer<P> {
    fn run(mut self) {
        let _guard = FatalPanic(self.options.on_fatal.clone());
        let mut batch = Some(Batch::new(self.facts, Vec::new()));
        let mut commands = Vec::new();
        while let Some(next) = batch {
            {
                let mut queue = self.shared.queue.lock();
                while queue.commands.is_empty() && !queue.closed {
                    self.shared.filled.wait(&mut queue);
                }
                if queue.commands.is_empty() {
                    break;
                }
            }
            let taken = self.take(commands);
            (batch, commands) = self.work(taken, next);
        }
        self.jobs.end();
    }

    async fn run_as_task(mut self, delay: Arc<dyn Fn() -> Duration + Send + Sync>) {
        let mut batch = Some(Batch::new(self.facts, Vec::new()));
        let mut commands = Vec::new();
        let shared = self.shared.clone();
        while let Some(next) = batch {
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
                let taken = self.take(commands);
                tokio::time::sleep(delay()).await;
                (batch, commands) = self.work(taken, next);
            }
        }
    }

    /// Takes all that is queued. `commands` is an empty vector, whose memory the queue takes over.
    fn take(&self, mut commands: Vec<Command<P>>) -> Taken<P> {
        let mut queue = self.shared.queue.lock();
        std::mem::swap(&mut queue.commands, &mut commands);
        Taken { commands, committed: queue.committed.take() }
    }

    /// Writes all that was taken. Returns an empty batch to go on with, or None once the log is dead; and the emptied
    /// vector.
    fn work(&mut self, taken: Taken<P>, batch: Batch) -> (Option<Batch>, Vec<Command<P>>) {
        let Taken { mut commands, committed } = taken;
        let mut waiting = commands.drain(..);
        match self.write_all(&mut waiting, committed, batch) {
            Ok(next) => {
                drop(waiting);
                (Some(next), commands)
            }
            Err(failed) => {
                let rest: Vec<Command<P>> = waiting.collect();
                self.die(*failed, rest);
                (None, Vec::new())
            }
        }
    }

    /// Returns an empty batch to go on with.
    fn write_all(
        &mut self,
        waiting: &mut impl Iterator<Item = Command<P>>,
        committed: Option<LogPosition>,
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
                Command::Vote { vote, done } => batch.add_vote(vote, done),
                Command::Truncate { after } => {
                    if !batch.entries.is_empty() {
                        batch = self.write(batch)?;
                    }
                    batch.add_truncation(after);
                }
                Command::Purge { upto } => batch.add_purge(upto),
            }
        }
        // The hint is written after all commands. Otherwise a crash between two batches could leave a hint beyond the
        // last entry on disk.
        if let Some(at) = committed {
            batch.add_committed(at);
        }
        if batch.is_empty() { Ok(batch) } else { self.write(batch) }
    }

    /// Makes the batch durable, then calls its completions. Returns an empty batch to go on with.
    fn write(&mut self, mut batch: Batch) -> Result<Batch, Box<Failed>> {
        batch.facts.check_follow(&self.facts);
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

    /// Returns where the batch lies in the current segment, and whether it is the first batch of that segment.
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
        // The header of a new segment is written together with the segment's first batch.
        let write_at = if begun { 0 } else { offset };
        let end = write_at + self.out.len() as u64;
        assert!(end == offset + extent, "a batch of {extent} bytes at {offset} ends at {end}");
        assert!(end <= current.capacity, "a batch ends at {end}, behind its segment of {} bytes", current.capacity);
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
        current.end = end;
        self.next_sequence += 1;
        if begun {
            // This must not happen earlier. A crash must never leave a prepared segment after a segment that was not
            // begun.
            self.jobs.put(FileJob::Prepare(self.next_number));
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
        let prepared =
            self.ready.recv().unwrap_or_else(|_| Err(fatal_sentence("the log's second thread has ended")))?;
        assert!(prepared.number == self.next_number, "segment {} follows {}", prepared.number, self.next_number);
        let needed = format::SECTOR_BYTES + extent;
        let context =
            |error: io::Error| fatal_sentence(&format!("allocate segment {} of the log: {error}", prepared.number));
        let mut capacity = prepared.file.len().map_err(context)?;
        if capacity < needed {
            // An entry that is larger than a segment gets a segment of its own size.
            prepared.file.allocate(needed).map_err(context)?;
            capacity = needed;
        }
        let header = SegmentHeader { number: prepared.number, first_sequence: self.next_sequence, facts: self.facts };
        format::put_segment_header(&self.options.identity, &header, &mut self.out);
        let (number, file) = (prepared.number, prepared.file);
        self.current = Some(CurrentSegment { number, file, end: format::SECTOR_BYTES, capacity });
        self.next_number = number + 1;
        Ok(())
    }

    /// Puts a durable batch into the index, and removes the segments that the batch purged.
    fn publish(&mut self, batch: &Batch, offset: u64, begun: bool) {
        let Some(current) = &self.current else { return };
        let mut index = self.shared.index.lock();
        if begun {
            let segment = Segment { file: current.file.clone(), end: format::SECTOR_BYTES, last_index: None };
            index.add_segment(current.number, segment);
        }
        let behind = index.segments.get(&current.number).map(|segment| segment.end);
        assert!(behind == Some(offset), "a batch lies at {offset}, and the one before it ends at {behind:?}");
        let last_index = batch.facts.last.filter(|_| batch.first_index.is_some()).map(|last| last.index);
        index.extend_segment(current.number, current.end, last_index);
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

/// Ends the process if the writer's thread panics. Otherwise the server would wait for the log without end.
struct FatalPanic(OnFatal);

impl Drop for FatalPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)(
                "the log's thread panicked, so the server ends here: this is a bug, and the lines before say where. \
                 Everything acknowledged is safe: start the server again",
            );
        }
    }
}
