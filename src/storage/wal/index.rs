//! What the log knows in memory: its facts, its recent entries, and where the other entries lie on disk.
//!
//! Entries that are not durable yet are always in the cache. So a read from the disk touches only bytes that the writer
//! has finished. Durable entries leave the cache from its front when the cache outgrows its bound. A list of *runs*
//! leads to them. A run is a part of a segment that begins with a batch; there is one for every
//! `LOG_INDEX_STRIDE_BYTES` of log. Within a run each index occurs once, because a truncation begins a new run.

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

use super::format::{self, LogFacts, Record, Sector};
use super::{Entry, Identity, LogPosition, Payload, Vote};
use crate::limits;
use crate::storage::disk::DiskFile;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

pub(crate) struct Index<P> {
    /// The log as its callers see it: everything that was handed in, durable or not.
    ///
    /// Invariant: `purged` is not behind `last`. Neither the vote nor `purged` nor `committed` ever falls.
    pub(crate) facts: LogFacts,
    /// The newest entries.
    ///
    /// Invariant: their indexes and tickets grow without a gap, and the newest entry is `facts.last`. No purged entry
    /// is among them. The durable entries come before the others.
    pub(crate) cache: VecDeque<Cached<P>>,
    /// Bytes of the durable entries in the cache, as encoded. Invariant: 0 if the cache is empty.
    pub(crate) cached_bytes: usize,
    pub(crate) cache_bytes_max: usize,
    /// The ticket of the next entry. Invariant: greater than every ticket in the cache.
    pub(crate) next_ticket: u64,
    /// The runs, oldest first.
    ///
    /// Invariant: their first indexes grow strictly, and each run begins within its segment.
    pub(crate) runs: VecDeque<Run>,
    /// A truncation was written since the last run began. The next batch with entries begins another run. Otherwise an
    /// index could occur twice in one run.
    run_is_over: bool,
    /// The segments by number. Invariant: the numbers grow without a gap.
    pub(crate) segments: BTreeMap<u64, Segment>,
}

pub(crate) struct Cached<P> {
    pub(crate) entry: Entry<P>,
    /// Tells this entry from another entry that had the same index before a truncation.
    pub(crate) ticket: u64,
    /// The entry's length as encoded; 0 until the entry is durable.
    pub(crate) bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first_index: u64,
    pub(crate) segment: u64,
    /// Where the first batch of the run begins, in bytes.
    pub(crate) offset: u64,
}

pub(crate) struct Segment {
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the last batch ends. Invariant: a whole number of sectors, and never falls.
    pub(crate) end: u64,
    /// The largest index in the segment. It counts entries that were truncated since.
    pub(crate) last_index: Option<u64>,
}

impl<P: Payload> Index<P> {
    pub(crate) fn new(cache_bytes_max: usize) -> Index<P> {
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

    /// Checks the invariants that can be checked in constant time. Called after each change that a caller of the log
    /// makes.
    pub(crate) fn check(&self) {
        let facts = &self.facts;
        assert!(facts.are_ordered(), "the log ends before its purge point: {facts:?}");
        let (Some(oldest), Some(newest)) = (self.cache.front(), self.cache.back()) else {
            assert!(self.cached_bytes == 0, "an empty cache counts {} bytes", self.cached_bytes);
            return;
        };
        assert!(Some(newest.entry.at) == facts.last, "the cache ends at {}, the log at {facts:?}", newest.entry.at);
        let purged = facts.purged.is_none_or(|purged| purged.index < oldest.entry.at.index);
        assert!(purged, "entry {} is in the cache and purged", oldest.entry.at);
        let indexes = newest.entry.at.index.checked_sub(oldest.entry.at.index).and_then(|gaps| gaps.checked_add(1));
        assert!(indexes == Some(self.cache.len() as u64), "an entry of the cache is missing or there twice");
        assert!(newest.ticket < self.next_ticket, "ticket {} was never given out", newest.ticket);
    }

    /// The index of the first entry of the log, or the index that the first entry will have. A log that was never
    /// purged may begin with any index.
    pub(crate) fn first_index(&self) -> u64 {
        match self.facts.purged {
            Some(purged) => purged.index.saturating_add(1),
            None => {
                let cached = self.cache.front().map(|cached| cached.entry.at.index);
                self.runs.front().map(|run| run.first_index).or(cached).unwrap_or(0)
            }
        }
    }

    pub(crate) fn set_vote(&mut self, vote: Vote) {
        let follows = self.facts.vote.is_none_or(|old| vote.may_follow(&old));
        assert!(follows, "a vote is taken back: {vote:?} follows {:?}", self.facts.vote);
        self.facts.vote = Some(vote);
    }

    pub(crate) fn set_committed(&mut self, at: LogPosition) {
        assert!(self.facts.committed <= Some(at), "what is committed falls to {at} from {:?}", self.facts.committed);
        let exists = self.facts.last.is_some_and(|last| at.index <= last.index);
        assert!(exists, "entry {at} is called committed, and the log ends at {:?}", self.facts.last);
        self.facts.committed = Some(at);
    }

    /// Adds entries to the cache. Returns the ticket of the first.
    pub(crate) fn append(&mut self, entries: &[Entry<P>]) -> u64 {
        let first_ticket = self.next_ticket;
        for entry in entries {
            if let Some(last) = self.facts.last {
                assert!(last.index.checked_add(1) == Some(entry.at.index), "entry {} does not follow {last}", entry.at);
                assert!(entry.at.term >= last.term, "the term falls from entry {last} to entry {}", entry.at);
            }
            self.cache.push_back(Cached { entry: entry.clone(), ticket: self.next_ticket, bytes: 0 });
            self.next_ticket += 1;
            self.facts.last = Some(entry.at);
        }
        self.check();
        first_ticket
    }

    /// Drops the entries behind `after`, which is an entry of the log or the purge point. None drops every entry.
    pub(crate) fn truncate(&mut self, after: Option<LogPosition>) {
        assert!(self.facts.last >= after, "the log ends at {:?}, before {after:?}", self.facts.last);
        while self.cache.back().is_some_and(|cached| after.is_none_or(|after| cached.entry.at.index > after.index)) {
            if let Some(cached) = self.cache.pop_back() {
                self.uncount(&cached);
            }
        }
        self.facts.last = after;
        self.check();
    }

    pub(crate) fn purge(&mut self, upto: LogPosition) {
        assert!(self.facts.purged < Some(upto), "the purge point falls from {:?} to {upto}", self.facts.purged);
        self.facts.purged = Some(upto);
        if self.facts.last.is_none_or(|last| last.index < upto.index) {
            self.facts.last = Some(upto);
        }
        while self.cache.front().is_some_and(|cached| cached.entry.at.index <= upto.index) {
            self.evict_front();
        }
        self.check();
    }

    fn evict_front(&mut self) {
        if let Some(cached) = self.cache.pop_front() {
            self.uncount(&cached);
        }
    }

    /// Subtracts an entry that leaves the cache from the sum of bytes.
    fn uncount(&mut self, cached: &Cached<P>) {
        let bytes = cached.bytes as usize;
        assert!(bytes <= self.cached_bytes, "entry {} takes more bytes than the whole cache", cached.entry.at);
        self.cached_bytes -= bytes;
    }

    /// Notes that the entry with that ticket is on disk, `bytes` long.
    pub(crate) fn durable(&mut self, ticket: u64, bytes: u32) {
        assert!(ticket < self.next_ticket, "ticket {ticket} is durable and was never given out");
        let at = self.cache.partition_point(|cached| cached.ticket < ticket);
        let before = at.checked_sub(1).and_then(|before| self.cache.get(before));
        let in_order = before.is_none_or(|before| before.bytes > 0);
        let Some(cached) = self.cache.get_mut(at).filter(|cached| cached.ticket == ticket) else { return };
        assert!(in_order, "entry {} is durable before the entry in front of it", cached.entry.at);
        assert!(cached.bytes == 0, "entry {} becomes durable a second time", cached.entry.at);
        cached.bytes = bytes.max(1);
        self.cached_bytes += cached.bytes as usize;
    }

    pub(crate) fn shrink_cache(&mut self) {
        while self.cached_bytes > self.cache_bytes_max && self.cache.front().is_some_and(|cached| cached.bytes > 0) {
            self.evict_front();
        }
        if self.cache.capacity() > 1024 && self.cache.len() < self.cache.capacity() / 8 {
            self.cache.shrink_to(self.cache.len() * 2);
        }
    }

    /// Adds a segment behind the last one.
    pub(crate) fn add_segment(&mut self, number: u64, segment: Segment) {
        let last = self.segments.last_key_value().map(|(last, _)| *last);
        let follows = last.is_none_or(|last| last.checked_add(1) == Some(number));
        assert!(follows, "segment {number} does not follow segment {last:?}");
        self.segments.insert(number, segment);
    }

    /// Notes that a segment now ends at `end`, and that the entries up to `last_index` lie in it.
    pub(crate) fn extend_segment(&mut self, number: u64, end: u64, last_index: Option<u64>) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        assert!(end > segment.end, "segment {number} shrinks from {} to {end} bytes", segment.end);
        assert!(end.is_multiple_of(format::SECTOR_BYTES), "segment {number} ends within a sector, at {end}");
        segment.end = end;
        segment.last_index = segment.last_index.max(last_index);
    }

    /// Notes where a batch with entries lies. `run` describes the batch.
    pub(crate) fn add_run(&mut self, run: Run) {
        let inside = self.segments.get(&run.segment).is_some_and(|segment| run.offset < segment.end);
        assert!(inside, "{run:?} lies outside of its segment");
        if let Some(last) = self.runs.back() {
            assert!(last.first_index < run.first_index, "{run:?} does not follow {last:?}");
            let ordered = last.segment < run.segment || last.segment == run.segment && last.offset < run.offset;
            assert!(ordered, "{run:?} lies before {last:?}");
            if !self.run_is_over
                && last.segment == run.segment
                && run.offset - last.offset < limits::LOG_INDEX_STRIDE_BYTES
            {
                return;
            }
        }
        self.run_is_over = false;
        self.runs.push_back(run);
    }

    pub(crate) fn truncate_runs(&mut self, after: Option<LogPosition>) {
        self.run_is_over = true;
        while self.runs.back().is_some_and(|run| after.is_none_or(|after| run.first_index > after.index)) {
            self.runs.pop_back();
        }
    }

    pub(crate) fn purge_runs(&mut self, upto: u64) {
        while self.runs.get(1).is_some_and(|run| run.first_index <= upto.saturating_add(1)) {
            self.runs.pop_front();
        }
        if self.facts.last.is_none_or(|last| last.index <= upto) && self.cache.is_empty() {
            self.runs.clear();
        }
    }

    /// Appends the entries of `range` that are in the cache, from its start on, until about `bytes_max` bytes.
    pub(crate) fn cached(&self, range: &Range<u64>, bytes_max: usize, out: &mut Vec<Entry<P>>) {
        let Some(front) = self.cache.front() else { return };
        let Some(skip) = range.start.checked_sub(front.entry.at.index) else { return };
        let mut bytes = 0;
        for cached in self.cache.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            if cached.entry.at.index >= range.end || bytes > bytes_max {
                break;
            }
            bytes += cached.bytes as usize;
            out.push(cached.entry.clone());
        }
    }

    /// The run that holds entry `index` on disk.
    pub(crate) fn find(&self, index: u64) -> Option<RunReader> {
        let behind = self.runs.partition_point(|run| run.first_index <= index);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let segment = self.segments.get(&run.segment)?;
        let next = self.runs.get(behind);
        let end = next.filter(|next| next.segment == run.segment).map_or(segment.end, |next| next.offset);
        assert!(run.offset < end, "{run:?} ends before it begins, at {end}");
        Some(RunReader {
            file: segment.file.clone(),
            segment: run.segment,
            begin: run.offset,
            end,
            // After a truncation, the next run may begin with an index that this run holds, too. From there on the next
            // run counts.
            indexes: run.first_index..next.map_or(u64::MAX, |next| next.first_index),
        })
    }
}

/// A run, with what is needed to read it.
pub(crate) struct RunReader {
    file: Arc<dyn DiskFile>,
    segment: u64,
    begin: u64,
    end: u64,
    indexes: Range<u64>,
}

impl RunReader {
    /// Appends the entries of `wanted` that lie in the run, in order, until about `bytes_max` bytes.
    pub(crate) fn read<P: Payload>(
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
        let length = usize::try_from(self.end - self.begin).map_err(|e| error(self.begin, &e.to_string()))?;
        let mut bytes = vec![0; length];
        self.file.read_at(&mut bytes, self.begin).map_err(|e| error(self.begin, &e.to_string()))?;
        let mut payload = Vec::new();
        let (mut rest, mut offset, mut taken) = (bytes.as_slice(), self.begin, 0);
        while !rest.is_empty() {
            let Sector::Valid(header) = format::batch_header(identity, rest) else {
                return Err(error(offset, "the batch header that was written there is gone"));
            };
            let extent = usize::try_from(header.extent()).unwrap_or(usize::MAX);
            let (sectors, behind) =
                rest.split_at_checked(extent).ok_or_else(|| error(offset, "the batch is cut short"))?;
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
            rest = behind;
            offset += header.extent();
        }
        Ok(())
    }
}
