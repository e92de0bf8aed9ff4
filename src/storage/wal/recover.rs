//! Makes an open log from the files in the log's folder.
//!
//! Recovery checks every batch, in order. Behind the last valid batch one of three things is true (`wal` defines them):
//! - Nothing follows: this is the end of the log.
//! - A torn batch follows: recovery zeroes it.
//! - Something is damaged: recovery returns `OpenError::Damaged` and changes nothing.
//!
//! Recovery then writes and syncs the last batch once more (`rewrite_last_batch`), because a batch that can be read
//! need not be durable.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

use super::format::{self, Identity, LogFacts, Record, SECTOR_BYTES, Sector, SegmentHeader};
use super::index::{Index, Run, Segment};
use super::segments::{PreparedSegment, prepare, segment_name};
use super::writer::CurrentSegment;
use super::{LogPosition, Options, Payload};
use crate::storage::disk::{Disk, DiskFile};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

/// How many bytes are read at once.
const WINDOW: usize = 1 << 20;

/// Why the log does not open. `Display` is a full sentence for the operator.
#[derive(Debug)]
pub(crate) enum OpenError {
    Io { doing: String, error: io::Error },
    Damaged { file: String, offset: u64, what: String },
    Foreign { file: String },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io { doing, error } => write!(f, "open the log: {doing}: {error}"),
            OpenError::Damaged { file, offset, what } => write!(
                f,
                "open the log: {file} at offset {offset}: {what}. A power cut does not leave this behind: acknowledged \
                 writes may be lost behind this point. So the server does not start, and it has changed nothing. Keep a \
                 copy of the data directory. Then restore a backup; or, in an ensemble, start with an empty directory \
                 under a new member id"
            ),
            OpenError::Foreign { file } => write!(
                f,
                "open the log: {file} belongs to another data directory (its identity differs from this directory's): a \
                 file was copied in, or the directory's identity file was replaced. Put back the files that belong together"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Where the writer goes on.
pub(crate) struct Tail {
    pub(crate) current: Option<CurrentSegment>,
    /// The segment behind the current one, if it exists: zeroed and preallocated.
    pub(crate) prepared: Option<PreparedSegment>,
    /// The number of the segment to make next, if there is no current one.
    pub(crate) next_number: u64,
    pub(crate) next_sequence: u64,
    pub(crate) facts: LogFacts,
}

pub(crate) struct Recovered<P> {
    pub(crate) index: Index<P>,
    pub(crate) tail: Tail,
}

pub(crate) fn recover<P: Payload>(disk: &dyn Disk, options: &Options) -> Result<Recovered<P>, OpenError> {
    let FoundSegments { mut segments, left_over } = find_segments(disk, &options.folder)?;
    let mut scan = Scan::<P>::new(options);
    let mut current = None;
    let mut torn = None;
    while scan.is_begun(segments.front_mut())? {
        let Some(mut window) = segments.pop_front() else { break };
        let end = scan.batches(&mut window)?;
        current = Some(CurrentSegment { number: window.number, file: window.file.clone(), end, capacity: window.len });
        if scan.end_of_segment(&mut window, end)? {
            // A segment is begun only behind a durable batch.
            for following in &mut segments {
                if following.first_nonzero(0)?.is_some() {
                    return Err(
                        window.damaged(end, "a batch is broken, and the segment behind it was begun".to_owned())
                    );
                }
            }
            torn = Some((window, end));
        }
    }
    let mut spare = segments.pop_front();
    if let Some(window) = &mut spare {
        scan.check_spare(window, current.is_some())?;
    }
    if let Some(other) = segments.front() {
        return Err(other.damaged(0, "two segments in a row were never begun".to_owned()));
    }
    scan.check_whole(&options.folder)?;

    // The log can go on. Nothing on the disk has been changed up to here.
    for path in &left_over {
        // A purged segment whose removal was lost. If it stays, the next start meets it again.
        if let Err(error) = disk.remove(path) {
            tracing::warn!("the old log segment {path} cannot be removed: {error}; the next start tries again");
        }
    }
    if let Some((mut window, end)) = torn {
        window.zero_from(end)?;
    }
    if let Some(current) = &current {
        let doing = "write the last batch once more".to_owned();
        scan.rewrite_last_batch(current).map_err(|error| OpenError::Io { doing, error })?;
    }
    let prepared = match spare {
        Some(mut window) => {
            window.zero_from(0)?;
            let doing = format!("preallocate {}", window.path);
            let bytes = options.segment_bytes.max(window.len);
            let prepared = prepare(disk, &options.folder, window.number, bytes);
            Some(prepared.map_err(|error| OpenError::Io { doing, error })?)
        }
        None => None,
    };
    scan.index.facts = scan.facts;
    // Earlier releases could write the hint in front of the entry that it names, and lose that entry in a crash.
    if index_of(scan.facts.committed) > index_of(scan.facts.last) {
        scan.index.facts.committed = scan.facts.last;
    }
    if let Some(purged) = scan.facts.purged {
        scan.index.purge_runs(purged.index);
    }
    scan.index.check();
    let tail = Tail { current, prepared, next_number: 1, next_sequence: scan.next_sequence, facts: scan.facts };
    Ok(Recovered { index: scan.index, tail })
}

/// The segment files that are in the folder.
struct FoundSegments {
    /// The newest segments whose numbers have no gap.
    segments: VecDeque<Window>,
    /// Paths of the segments before a gap. These were purged: some of the removals were durable and others were not. If
    /// a segment that is needed were missing, `check_whole` would see it.
    left_over: Vec<String>,
}

fn find_segments(disk: &dyn Disk, folder: &str) -> Result<FoundSegments, OpenError> {
    let io = |doing: &str, error| OpenError::Io { doing: doing.to_owned(), error };
    disk.create_folder(folder).map_err(|error| io("make its folder", error))?;
    disk.sync_folder("").map_err(|error| io("sync the data directory", error))?;
    let mut found = FoundSegments { segments: VecDeque::new(), left_over: Vec::new() };
    for name in disk.list(folder).map_err(|error| io("list its folder", error))? {
        let Some(number) = name.strip_suffix(".log").and_then(|number| number.parse::<u64>().ok()) else { continue };
        if found.segments.back().is_some_and(|last| last.number.checked_add(1) != Some(number)) {
            found.left_over.extend(found.segments.drain(..).map(|window| window.path));
        }
        let path = format!("{folder}/{}", segment_name(number));
        let file = disk.open(&path, false).map_err(|error| io(&format!("open {path}"), error))?;
        let len = file.len().map_err(|error| io(&format!("look at {path}"), error))?;
        found.segments.push_back(Window { number, path, file, len, begin: 0, bytes: Vec::new() });
    }
    Ok(found)
}

/// What the batches read so far amount to.
struct Scan<P> {
    identity: Identity,
    index: Index<P>,
    facts: LogFacts,
    /// The first sequence of the oldest segment.
    first_sequence: Option<u64>,
    next_sequence: u64,
    /// Where the last valid batch of the last segment begins.
    last_batch: u64,
}

impl<P: Payload> Scan<P> {
    fn new(options: &Options) -> Scan<P> {
        Scan {
            identity: options.identity,
            index: Index::new(options.cache_bytes_max),
            facts: LogFacts::default(),
            first_sequence: None,
            next_sequence: 1,
            last_batch: SECTOR_BYTES,
        }
    }

    /// Whether there is a segment that was begun. If so, takes the facts of its header into the scan.
    fn is_begun(&mut self, window: Option<&mut Window>) -> Result<bool, OpenError> {
        let Some(window) = window else { return Ok(false) };
        match format::segment_header(window.sector(0)?) {
            Sector::Valid((identity, _)) if identity != self.identity => {
                Err(OpenError::Foreign { file: window.path.clone() })
            }
            Sector::Valid((_, header)) => self.check_header(window, &header).map(|()| true),
            Sector::Unwritten => Ok(false),
            Sector::Damaged(what) => Err(window.damaged(0, format!("the header of the segment {what}"))),
        }
    }

    /// Checks the segment that lies ready behind those that were begun. Its header is written together with its first
    /// batch. If that write was torn, anything may lie here, except a later batch than the expected one.
    fn check_spare(&self, window: &mut Window, others: bool) -> Result<(), OpenError> {
        if !others && window.number != 1 {
            let what = "the oldest segment was never begun: those before it are missing".to_owned();
            return Err(window.damaged(0, what));
        }
        if window.first_nonzero(0)?.is_some()
            && let Some(later) = self.later_batch(window, 0)?
        {
            let what = format!("the header of the segment is missing, but a batch follows at offset {later}");
            return Err(window.damaged(0, what));
        }
        Ok(())
    }

    fn check_header(&mut self, window: &Window, header: &SegmentHeader) -> Result<(), OpenError> {
        if header.number != window.number {
            return Err(window.damaged(0, format!("the header says that this is segment {}", header.number)));
        }
        if self.first_sequence.is_none() {
            if !header.facts.are_ordered() {
                return Err(window.damaged(0, "the header says that the log ends before its purge point".to_owned()));
            }
            self.first_sequence = Some(header.first_sequence);
            self.next_sequence = header.first_sequence;
            self.facts = header.facts;
        } else if header.first_sequence != self.next_sequence {
            return Err(window.damaged(
                0,
                format!(
                    "this segment begins with batch {}, the one before it ends before batch {}: the batches between are lost",
                    header.first_sequence, self.next_sequence
                ),
            ));
        } else if header.facts != self.facts {
            return Err(window.damaged(0, "the header does not agree with the batches before it".to_owned()));
        }
        let segment = Segment { file: window.file.clone(), end: SECTOR_BYTES, last_index: None };
        self.index.add_segment(window.number, segment);
        Ok(())
    }

    /// Reads valid batches until there is none. Returns the offset behind the last.
    fn batches(&mut self, window: &mut Window) -> Result<u64, OpenError> {
        let mut offset = SECTOR_BYTES;
        let mut payload = Vec::new();
        self.last_batch = offset;
        loop {
            let Sector::Valid(header) = format::batch_header(&self.identity, window.sector(offset)?) else {
                return Ok(offset);
            };
            if header.sequence != self.next_sequence {
                let what = format!("here lies batch {}, where batch {} belongs", header.sequence, self.next_sequence);
                return Err(window.damaged(offset, what));
            }
            if header.extent() > window.len.saturating_sub(offset) {
                return Ok(offset);
            }
            payload.clear();
            let sectors = window.get(offset, header.extent())?;
            if format::batch_payload(&self.identity, &header, sectors, &mut payload).is_err() {
                return Ok(offset);
            }
            let end = offset + header.extent();
            self.take(window, offset, end, &payload)?;
            self.last_batch = offset;
            offset = end;
            self.next_sequence += 1;
        }
    }

    /// Takes a valid batch in, which lies from `offset` to `end`. Its checksum holds, so a record that contradicts
    /// those before it comes from a defect of the server that wrote it. The log is refused all the same.
    fn take(&mut self, window: &Window, offset: u64, end: u64, payload: &[u8]) -> Result<(), OpenError> {
        let damaged = |what: String| Err(window.damaged(offset, what));
        let mut first_index = None;
        for record in format::records(payload) {
            let last = self.facts.last;
            match record.map_err(|what| window.damaged(offset, format!("a record of the batch {what}")))? {
                Record::Vote(vote) => self.facts.vote = Some(vote),
                Record::Committed(at) => self.facts.committed = Some(at),
                Record::Entry(at, _) => {
                    if let Some(last) = last.filter(|last| last.index.checked_add(1) != Some(at.index)) {
                        return damaged(format!("entry {} follows entry {}", at.index, last.index));
                    }
                    first_index.get_or_insert(at.index);
                    self.facts.last = Some(at);
                }
                Record::TruncateAfter(after) => {
                    if index_of(after) > index_of(last) || first_index.is_some() {
                        return damaged("a truncation lies where no entry is to be truncated".to_owned());
                    }
                    self.facts.last = after;
                    self.index.truncate_runs(after);
                }
                Record::Purge(upto) => {
                    self.facts.purged = self.facts.purged.max(Some(upto));
                    if index_of(last) < Some(upto.index) {
                        self.facts.last = Some(upto);
                    }
                }
            }
        }
        if !self.facts.are_ordered() {
            return damaged("the batch truncates entries that were purged before".to_owned());
        }
        let last_index = first_index.and(index_of(self.facts.last));
        self.index.extend_segment(window.number, end, last_index);
        if let Some(first_index) = first_index {
            if self.index.runs.back().is_some_and(|run| run.first_index >= first_index) {
                return damaged(format!("entry {first_index} lies behind entries that follow it"));
            }
            self.index.add_run(Run { first_index, segment: window.number, offset });
        }
        Ok(())
    }

    /// Makes the last batch durable. If its sync failed and the process ended over that, the batch is whole in the page
    /// cache and missing on the disk, and the pages count as clean. Every batch before it was synced before the last
    /// batch was written.
    fn rewrite_last_batch(&self, current: &CurrentSegment) -> io::Result<()> {
        let begin = if self.last_batch == SECTOR_BYTES { 0 } else { self.last_batch };
        let length = usize::try_from(current.end.saturating_sub(begin)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        current.file.read_at(&mut bytes, begin)?;
        current.file.write_at(&bytes, begin)?;
        current.file.sync_data()
    }

    /// Looks at what lies at and behind `end`, where no valid batch is. Returns whether a torn batch lies there.
    fn end_of_segment(&self, window: &mut Window, end: u64) -> Result<bool, OpenError> {
        if window.first_nonzero(end)?.is_none() {
            return Ok(false);
        }
        if let Some(later) = self.later_batch(window, end)? {
            let what = format!(
                "batch {} is broken, and a later one, which was written only when this one was safe, follows at offset {later}",
                self.next_sequence
            );
            return Err(window.damaged(end, what));
        }
        let extent = match format::batch_header(&self.identity, window.sector(end)?) {
            Sector::Valid(header) => header.extent(),
            Sector::Unwritten => return Ok(true),
            Sector::Damaged(what) => {
                let what = format!("the last batch was written whole, but its header {what}");
                return Err(window.damaged(end, what));
            }
        };
        let mut offset = end;
        while offset < end.saturating_add(extent) {
            if offset >= window.len || format::unwritten(window.sector(offset)?) {
                return Ok(true);
            }
            offset += SECTOR_BYTES;
        }
        Err(window.damaged(end, "the last batch was written whole, but does not match its checksum".to_owned()))
    }

    /// The offset of the first header, at or behind `from`, of a later batch than the expected one. Such a header
    /// proves that the expected batch was durable.
    fn later_batch(&self, window: &mut Window, from: u64) -> Result<Option<u64>, OpenError> {
        let mut offset = from;
        while offset < window.len {
            if let Sector::Valid(header) = format::batch_header(&self.identity, window.sector(offset)?)
                && header.sequence > self.next_sequence
            {
                return Ok(Some(offset));
            }
            offset += SECTOR_BYTES;
        }
        Ok(None)
    }

    /// Checks that the log reaches back to its purge point.
    fn check_whole(&self, folder: &str) -> Result<(), OpenError> {
        let damaged = |what: String| {
            Err(OpenError::Damaged {
                file: folder.to_owned(),
                offset: 0,
                what: format!("{what}: an old segment is missing"),
            })
        };
        let first = self.index.runs.front().map(|run| run.first_index);
        match (self.facts.purged, first, self.facts.last) {
            (None, _, _) if self.first_sequence.is_some_and(|sequence| sequence != 1) => {
                damaged("the log does not begin at its beginning".to_owned())
            }
            (Some(purged), Some(first), _) if first > purged.index.saturating_add(1) => {
                damaged(format!("the log begins at entry {first}, but only those up to {} may be gone", purged.index))
            }
            (Some(purged), None, Some(last)) if last.index > purged.index => damaged(format!(
                "the log has no entries, but those from {} to {} should be there",
                purged.index.saturating_add(1),
                last.index
            )),
            _ => Ok(()),
        }
    }
}

fn index_of(position: Option<LogPosition>) -> Option<u64> {
    position.map(|position| position.index)
}

/// A file seen through a buffer that moves along. Behind the file's end it reads as zeros, which means unwritten.
struct Window {
    number: u64,
    path: String,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// The offset of `bytes` within the file.
    begin: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn damaged(&self, offset: u64, what: String) -> OpenError {
        OpenError::Damaged { file: self.path.clone(), offset, what }
    }

    fn sector(&mut self, offset: u64) -> Result<&[u8], OpenError> {
        self.get(offset, SECTOR_BYTES)
    }

    fn get(&mut self, offset: u64, count: u64) -> Result<&[u8], OpenError> {
        let failed = |error| OpenError::Io { doing: format!("read {} at offset {offset}", self.path), error };
        let count = usize::try_from(count).map_err(|error| failed(io::Error::other(error)))?;
        let buffered = offset.checked_sub(self.begin).and_then(|at| usize::try_from(at).ok());
        let inside = buffered.filter(|at| at.checked_add(count).is_some_and(|end| end <= self.bytes.len()));
        let at = match inside {
            Some(at) => at,
            None => {
                let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
                self.bytes.clear();
                self.bytes.resize(count.max(left.min(WINDOW)), 0);
                self.begin = offset;
                let there = left.min(self.bytes.len());
                let Some(buffer) = self.bytes.get_mut(..there) else { return Ok(&[]) };
                self.file.read_at(buffer, offset).map_err(failed)?;
                0
            }
        };
        Ok(self.bytes.get(at..at + count).unwrap_or_default())
    }

    /// The offset of the first byte at or behind `from` that is not zero.
    fn first_nonzero(&mut self, from: u64) -> Result<Option<u64>, OpenError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut offset = from;
        while offset < self.len {
            let bytes = self.get(offset, (ZEROS.len() as u64).min(self.len - offset))?;
            // One comparison of the whole piece is much faster than a look at each byte.
            if ZEROS.get(..bytes.len()) != Some(bytes) {
                return Ok(bytes.iter().position(|byte| *byte != 0).map(|at| offset + at as u64));
            }
            offset += bytes.len() as u64;
        }
        Ok(None)
    }

    /// Zeroes what a torn batch left from `from` on, durably, and logs it.
    fn zero_from(&mut self, from: u64) -> Result<(), OpenError> {
        if self.first_nonzero(from)?.is_none() {
            return Ok(());
        }
        tracing::warn!(
            "the log is cut at {} offset {from}: the last batch was not written whole when the power went, so it was never \
             acknowledged",
            self.path
        );
        let doing = format!("cut {} at offset {from}", self.path);
        let error = |error| OpenError::Io { doing: doing.clone(), error };
        let mut offset = from;
        while let Some(nonzero) = self.first_nonzero(offset)? {
            let left = usize::try_from(self.len - nonzero).unwrap_or(usize::MAX);
            let zeros = vec![0; left.min(WINDOW)];
            self.file.write_at(&zeros, nonzero).map_err(error)?;
            self.bytes.clear();
            offset = nonzero + zeros.len() as u64;
        }
        self.file.sync_data().map_err(error)
    }
}
