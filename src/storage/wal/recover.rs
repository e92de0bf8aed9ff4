//! From the files in the log's folder to a log that can go on.
//!
//! Every batch is checked, in order. Where the row of valid batches ends, one of three things is true (module doc of
//! `wal`): nothing follows - the end; a torn batch follows - it is zeroed; or something is damaged -
//! `OpenError::Damaged`, and nothing is changed.
//!
//! The last batch is then written and synced once more (`rewrite_last_batch`), since a batch that can be read need not be durable.

use super::format::{self, Identity, LogFacts, Record, SECTOR, Sector, SegmentHeader};
use super::index::{Index, Run, Segment};
use super::segments::{PreparedSegment, prepare, segment_name};
use super::writer::CurrentSegment;
use super::{Options, Payload};
use crate::storage::disk::{Disk, DiskFile};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Bytes read at once.
const WINDOW: usize = 1 << 20;

/// Why the log does not open. Each is a full sentence for whoever starts the server.
#[derive(Debug)]
pub enum OpenError {
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
                "open the log: {file} at offset {offset}: {what}. This is not what a power cut leaves behind: acknowledged \
                 writes may be lost behind this point, so the server does not start and has changed nothing. Keep a copy of \
                 the data directory; then restore a backup, or, in an ensemble, start with an empty directory under a new \
                 member id"
            ),
            OpenError::Foreign { file } => write!(
                f,
                "open the log: {file} belongs to another data directory (its identity is not this one's): a file was \
                 copied in, or the directory's own identity file was replaced. Put back the files that belong together"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Where the writer goes on.
pub struct Tail {
    pub current: Option<CurrentSegment>,
    /// Zeroed and preallocated already, if there is one.
    pub prepared: Option<PreparedSegment>,
    /// Of the segment to make next, if there is no current one.
    pub next_number: u64,
    pub next_sequence: u64,
    pub facts: LogFacts,
}

pub struct Recovered<P> {
    pub index: Index<P>,
    pub tail: Tail,
}

pub fn recover<P: Payload>(disk: &dyn Disk, options: &Options) -> Result<Recovered<P>, OpenError> {
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

    // It can go on: only now anything is changed.
    for path in &left_over {
        // Purged, but a removal got lost. What stays is met again at the next start.
        if let Err(error) = disk.remove(path) {
            tracing::warn!("remove old log segment {path}: {error}");
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
    if let Some(purged) = scan.facts.purged {
        scan.index.purge_runs(purged.index);
    }
    let tail = Tail { current, prepared, next_number: 1, next_sequence: scan.next_sequence, facts: scan.facts };
    Ok(Recovered { index: scan.index, tail })
}

/// The segments there are.
struct FoundSegments {
    /// The newest row without a gap.
    segments: VecDeque<Window>,
    /// What lies before a gap: purged segments, of which some removals were durable and others were not. Were they
    /// anything else, `check_whole` would miss what was in the gap.
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
    /// Of the oldest segment there is.
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
            last_batch: SECTOR as u64,
        }
    }

    /// Whether there is such a segment and it was begun; takes its header in.
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

    /// The segment that lies ready behind those that were begun. Its header goes to the disk with its first batch: if
    /// that is torn, anything may be there, but no batch later than the expected one.
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
        let segment = Segment { file: window.file.clone(), end: SECTOR as u64, last_index: None };
        self.index.segments.insert(window.number, segment);
        Ok(())
    }

    /// Reads valid batches until there is none; returns the offset behind the last.
    fn batches(&mut self, window: &mut Window) -> Result<u64, OpenError> {
        let mut offset = SECTOR as u64;
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
            let sectors = window.get(offset, header.extent() as usize)?;
            if format::batch_payload(&self.identity, &header, sectors, &mut payload).is_err() {
                return Ok(offset);
            }
            self.take(window, offset, &payload)?;
            self.last_batch = offset;
            offset += header.extent();
            self.next_sequence += 1;
            if let Some(segment) = self.index.segments.get_mut(&window.number) {
                segment.end = offset;
            }
        }
    }

    fn take(&mut self, window: &Window, offset: u64, payload: &[u8]) -> Result<(), OpenError> {
        let mut first_index = None;
        for record in format::records(payload) {
            match record.map_err(|what| window.damaged(offset, format!("a record of the batch {what}")))? {
                Record::Vote(vote) => self.facts.vote = Some(vote),
                Record::Committed(at) => self.facts.committed = Some(at),
                Record::Entry(at, _) => {
                    if let Some(last) = self.facts.last.filter(|last| last.index + 1 != at.index) {
                        return Err(window.damaged(offset, format!("entry {} follows entry {}", at.index, last.index)));
                    }
                    first_index.get_or_insert(at.index);
                    self.facts.last = Some(at);
                    if let Some(segment) = self.index.segments.get_mut(&window.number) {
                        segment.last_index = segment.last_index.max(Some(at.index));
                    }
                }
                Record::TruncateAfter(after) => {
                    self.facts.last = after;
                    self.index.truncate_runs(after);
                }
                Record::Purge(upto) => {
                    self.facts.purged = Some(upto);
                    if self.facts.last.is_none_or(|last| last.index < upto.index) {
                        self.facts.last = Some(upto);
                    }
                }
            }
        }
        if let Some(first_index) = first_index {
            let run = Run { first_index, segment: window.number, offset };
            self.index.add_run(run);
        }
        Ok(())
    }

    /// Makes the last batch durable: if its sync failed and the process ended over that, it is whole in the page cache
    /// and, the pages counting as clean now, missing on the disk. Every batch before it was synced before it was
    /// written.
    fn rewrite_last_batch(&self, current: &CurrentSegment) -> io::Result<()> {
        let begin = if self.last_batch == SECTOR as u64 { 0 } else { self.last_batch };
        let mut bytes = vec![0; current.end.saturating_sub(begin) as usize];
        current.file.read_at(&mut bytes, begin)?;
        current.file.write_at(&bytes, begin)?;
        current.file.sync_data()
    }

    /// What lies at and behind `end`, where no valid batch is: says whether a torn one does.
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
            offset += SECTOR as u64;
        }
        Err(window.damaged(end, "the last batch was written whole, but does not match its checksum".to_owned()))
    }

    /// The first header of a later batch than the expected one behind `from`: proof that the expected one was durable.
    fn later_batch(&self, window: &mut Window, from: u64) -> Result<Option<u64>, OpenError> {
        let mut offset = from;
        while offset < window.len {
            if let Sector::Valid(header) = format::batch_header(&self.identity, window.sector(offset)?)
                && header.sequence > self.next_sequence
            {
                return Ok(Some(offset));
            }
            offset += SECTOR as u64;
        }
        Ok(None)
    }

    /// The log must reach back to its purge point.
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
            (Some(purged), Some(first), _) if first > purged.index + 1 => {
                damaged(format!("the log begins at entry {first}, but only those up to {} may be gone", purged.index))
            }
            (Some(purged), None, Some(last)) if last.index > purged.index => damaged(format!(
                "the log has no entries, but those from {} to {} should be there",
                purged.index + 1,
                last.index
            )),
            _ => Ok(()),
        }
    }
}

/// A file seen through a buffer that moves along. Behind the file's end it reads as zeros: unwritten.
struct Window {
    number: u64,
    path: String,
    file: Arc<dyn DiskFile>,
    len: u64,
    begin: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn damaged(&self, offset: u64, what: String) -> OpenError {
        OpenError::Damaged { file: self.path.clone(), offset, what }
    }

    fn sector(&mut self, offset: u64) -> Result<&[u8], OpenError> {
        self.get(offset, SECTOR)
    }

    fn get(&mut self, offset: u64, count: usize) -> Result<&[u8], OpenError> {
        let inside = offset >= self.begin && offset + count as u64 <= self.begin + self.bytes.len() as u64;
        if !inside {
            let left = self.len.saturating_sub(offset);
            self.bytes.clear();
            self.bytes.resize(count.max(left.min(WINDOW as u64) as usize), 0);
            self.begin = offset;
            let there = left.min(self.bytes.len() as u64) as usize;
            let Some(buffer) = self.bytes.get_mut(..there) else { return Ok(&[]) };
            self.file
                .read_at(buffer, offset)
                .map_err(|error| OpenError::Io { doing: format!("read {} at offset {offset}", self.path), error })?;
        }
        let at = (offset - self.begin) as usize;
        Ok(self.bytes.get(at..at + count).unwrap_or_default())
    }

    /// The first byte at or behind `from` that is not zero.
    fn first_nonzero(&mut self, from: u64) -> Result<Option<u64>, OpenError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut offset = from;
        while offset < self.len {
            let count = ZEROS.len().min((self.len - offset) as usize);
            let bytes = self.get(offset, count)?;
            if bytes != ZEROS.get(..count).unwrap_or_default() {
                return Ok(bytes.iter().position(|byte| *byte != 0).map(|at| offset + at as u64));
            }
            offset += count as u64;
        }
        Ok(None)
    }

    /// Zeroes what a torn batch left from `from` on, durably, and says so.
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
        while let Some(written) = self.first_nonzero(offset)? {
            let count = (self.len - written).min(WINDOW as u64);
            self.file.write_at(&vec![0; count as usize], written).map_err(error)?;
            self.bytes.clear();
            offset = written + count;
        }
        self.file.sync_data().map_err(error)
    }
}
