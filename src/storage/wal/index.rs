//! What the log knows in memory: its facts, the recent entries, and where on disk the others are.
//!
//! Entries that are not durable yet are always in the cache, so reading back touches only bytes that no one writes any
//! more. Durable ones leave it from the front once it outgrows its bound. The way to the others is a list of *runs*: a
//! run is a run of segment that begins with a batch, one for every `LOG_INDEX_STRIDE_BYTES` of log. Within a run
//! each index occurs once: a truncation begins a new one.

use super::format::{self, LogFacts, Record, Sector};
use super::{Entry, Identity, LogPosition, Payload};
use crate::limits;
use crate::storage::disk::DiskFile;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

pub struct Index<P> {
    /// As the callers see the log: everything handed in, durable or not.
    pub facts: LogFacts,
    /// The newest entries, without a gap up to `facts.last`.
    pub cache: VecDeque<Cached<P>>,
    /// Bytes of the durable entries in the cache, as encoded.
    pub cached_bytes: usize,
    pub cache_bytes_max: usize,
    /// The ticket of the next entry handed in.
    pub next_ticket: u64,
    /// By first index, strictly growing.
    pub runs: VecDeque<Run>,
    /// A truncation has been written since the last run began: the next batch with entries, whichever that is, begins
    /// another, or an index would occur twice in one.
    run_is_over: bool,
    pub segments: BTreeMap<u64, Segment>,
}

pub struct Cached<P> {
    pub entry: Entry<P>,
    /// Tells this entry from another that had its index before a truncation.
    pub ticket: u64,
    /// As encoded; 0 until it is durable.
    pub bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub first_index: u64,
    pub segment: u64,
    /// Of the first batch, in bytes.
    pub offset: u64,
}

pub struct Segment {
    pub file: Arc<dyn DiskFile>,
    /// Where the next batch goes, or went.
    pub end: u64,
    /// The largest index in it, also of entries that were truncated since.
    pub last_index: Option<u64>,
}

impl<P: Payload> Index<P> {
    pub fn new(cache_bytes_max: usize) -> Index<P> {
        Index {
            facts: LogFacts::default(),
            cache: VecDeque::new(),
            cached_bytes: 0,
            cache_bytes_max,
            next_ticket: 0,
            runs: VecDeque::new(),
            run_is_over: false,
            segments: BTreeMap::new(),
        }
    }

    /// The index of the first entry there is, or would be. A log that was never purged may begin anywhere.
    pub fn first_index(&self) -> u64 {
        match self.facts.purged {
            Some(purged) => purged.index + 1,
            None => {
                let cached = self.cache.front().map(|cached| cached.entry.at.index);
                self.runs.front().map(|run| run.first_index).or(cached).unwrap_or(0)
            }
        }
    }

    /// Takes entries in; returns the ticket of the first.
    pub fn append(&mut self, entries: &[Entry<P>]) -> u64 {
        let first_ticket = self.next_ticket;
        for entry in entries {
            self.cache.push_back(Cached { entry: entry.clone(), ticket: self.next_ticket, bytes: 0 });
            self.next_ticket += 1;
            self.facts.last = Some(entry.at);
        }
        first_ticket
    }

    /// Drops the entries behind `after`, an entry of the log or the purge point.
    pub fn truncate(&mut self, after: Option<LogPosition>) {
        while self.cache.back().is_some_and(|cached| after.is_none_or(|after| cached.entry.at.index > after.index)) {
            if let Some(cached) = self.cache.pop_back() {
                self.cached_bytes -= cached.bytes as usize;
            }
        }
        self.facts.last = after;
    }

    pub fn purge(&mut self, upto: LogPosition) {
        self.facts.purged = self.facts.purged.max(Some(upto));
        if self.facts.last.is_none_or(|last| last.index < upto.index) {
            self.facts.last = Some(upto);
        }
        while self.cache.front().is_some_and(|cached| cached.entry.at.index <= upto.index) {
            self.evict_front();
        }
    }

    fn evict_front(&mut self) {
        if let Some(cached) = self.cache.pop_front() {
            self.cached_bytes -= cached.bytes as usize;
        }
    }

    /// The entry with that ticket is on disk, `bytes` long.
    pub fn durable(&mut self, ticket: u64, bytes: u32) {
        let at = self.cache.partition_point(|cached| cached.ticket < ticket);
        if let Some(cached) = self.cache.get_mut(at)
            && cached.ticket == ticket
        {
            cached.bytes = bytes.max(1);
            self.cached_bytes += cached.bytes as usize;
        }
    }

    pub fn shrink_cache(&mut self) {
        while self.cached_bytes > self.cache_bytes_max && self.cache.front().is_some_and(|cached| cached.bytes > 0) {
            self.evict_front();
        }
        if self.cache.capacity() > 1024 && self.cache.len() < self.cache.capacity() / 8 {
            self.cache.shrink_to(self.cache.len() * 2);
        }
    }

    /// A batch with entries from `first_index` on lies there.
    pub fn add_run(&mut self, run: Run) {
        if let Some(last) = self.runs.back()
            && !self.run_is_over
            && last.segment == run.segment
            && run.offset - last.offset < limits::LOG_INDEX_STRIDE_BYTES
        {
            return;
        }
        self.run_is_over = false;
        self.runs.push_back(run);
    }

    pub fn truncate_runs(&mut self, after: Option<LogPosition>) {
        self.run_is_over = true;
        while self.runs.back().is_some_and(|run| after.is_none_or(|after| run.first_index > after.index)) {
            self.runs.pop_back();
        }
    }

    pub fn purge_runs(&mut self, upto: u64) {
        while self.runs.get(1).is_some_and(|run| run.first_index <= upto.saturating_add(1)) {
            self.runs.pop_front();
        }
        if self.facts.last.is_none_or(|last| last.index <= upto) && self.cache.is_empty() {
            self.runs.clear();
        }
    }

    /// The longest row of entries from `index` on that is in the cache, up to `end` and about `bytes_max`.
    pub fn cached(&self, range: &Range<u64>, bytes_max: usize, out: &mut Vec<Entry<P>>) {
        let Some(front) = self.cache.front() else { return };
        let Some(skip) = range.start.checked_sub(front.entry.at.index) else { return };
        let mut bytes = 0;
        for cached in self.cache.iter().skip(skip as usize) {
            if cached.entry.at.index >= range.end || bytes > bytes_max {
                break;
            }
            bytes += cached.bytes as usize;
            out.push(cached.entry.clone());
        }
    }

    /// The run of file to read `index` from.
    pub fn find(&self, index: u64) -> Option<RunReader> {
        let behind = self.runs.partition_point(|run| run.first_index <= index);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let segment = self.segments.get(&run.segment)?;
        let next = self.runs.get(behind);
        Some(RunReader {
            file: segment.file.clone(),
            segment: run.segment,
            begin: run.offset,
            end: next.filter(|next| next.segment == run.segment).map_or(segment.end, |next| next.offset),
            // A run that follows a truncation stands for its indexes from there on.
            indexes: run.first_index..next.map_or(u64::MAX, |next| next.first_index),
        })
    }
}

/// A run, with what reading it takes.
pub struct RunReader {
    file: Arc<dyn DiskFile>,
    segment: u64,
    begin: u64,
    end: u64,
    indexes: Range<u64>,
}

impl RunReader {
    /// The entries of `wanted` in it, in order, until about `bytes_max`.
    pub fn read<P: Payload>(
        &self,
        identity: &Identity,
        wanted: Range<u64>,
        bytes_max: usize,
        out: &mut Vec<Entry<P>>,
    ) -> io::Result<()> {
        let error = |offset: u64, what: &str| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("read the log back: segment {} at offset {offset}: {what}", self.segment),
            )
        };
        let mut bytes = vec![0; (self.end - self.begin) as usize];
        self.file.read_at(&mut bytes, self.begin).map_err(|e| error(self.begin, &e.to_string()))?;
        let mut payload = Vec::new();
        let (mut at, mut taken) = (0, 0);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = self.begin + at as u64;
            let Sector::Valid(header) = format::batch_header(identity, rest) else {
                return Err(error(offset, "the batch header that was written there is gone"));
            };
            let sectors =
                rest.get(..header.extent() as usize).ok_or_else(|| error(offset, "the batch is cut short"))?;
            payload.clear();
            format::batch_payload(identity, &header, sectors, &mut payload)
                .map_err(|what| error(offset, &format!("the batch {what}")))?;
            for record in format::records(&payload) {
                let Record::Entry(position, encoded) =
                    record.map_err(|what| error(offset, &format!("a record {what}")))?
                else {
                    continue;
                };
                if !wanted.contains(&position.index) || !self.indexes.contains(&position.index) {
                    continue;
                }
                if taken > bytes_max {
                    return Ok(());
                }
                taken += encoded.len();
                let payload = P::decode(encoded)
                    .map_err(|what| error(offset, &format!("entry {} does not decode: {what}", position.index)))?;
                out.push(Entry { at: position, payload });
            }
            at += header.extent() as usize;
        }
        Ok(())
    }
}
