//! openraft's log, over `storage::wal`.
//!
//! An entry's payload in the log is one byte for the kind (0 blank, 1 batch, 2 membership), followed by the postcard
//! encoding. A batch that was proposed on this member is applied from the log's cache, as it was proposed. Only entries
//! that are read from the disk are decoded.

use super::types::{self, Entry, LogId, TypeConfig, Vote, log_id, position};
use crate::limits;
use crate::model::txn::Batch;
use crate::storage::wal::{self, Wal};
use futures::stream;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use tokio::sync::oneshot;

#[derive(Clone)]
pub(crate) struct Payload(pub(crate) types::Payload);

impl wal::Payload for Payload {
    fn encode(&self, out: &mut Vec<u8>) {
        match &self.0 {
            types::Payload::Blank => out.push(0),
            types::Payload::Normal(batch) => {
                out.push(1);
                types::put_postcard(batch, out);
            }
            types::Payload::Membership(membership) => {
                out.push(2);
                types::encode_membership(membership, out);
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Payload, String> {
        let payload = match bytes.split_first() {
            Some((0, _)) => types::Payload::Blank,
            Some((1, rest)) => {
                let batch: Batch = postcard::from_bytes(rest).map_err(|error| format!("batch: {error}"))?;
                types::Payload::Normal(batch)
            }
            Some((2, rest)) => types::Payload::Membership(types::decode_membership(rest)?),
            Some((kind, _)) => return Err(format!("it is of kind {kind}, which this release does not know")),
            None => return Err("it is empty".to_owned()),
        };
        Ok(Payload(payload))
    }
}

/// Log storage and reader; clones are the same log. Only openraft's core writes through it, one call after another.
///
/// The contract of `RaftLogStorage`: openraft leaves no hole in the log and serializes all writes, votes included. The
/// log's index checks it: entries follow one another, and votes, purges and the committed position never fall.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Arc<Wal<Payload>>,
}

impl LogStore {
    pub(crate) fn new(wal: Arc<Wal<Payload>>) -> LogStore {
        LogStore { wal }
    }
}

pub(crate) fn to_openraft(entry: wal::Entry<Payload>) -> Entry {
    Entry { log_id: log_id(entry.at), payload: entry.payload.0 }
}

fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut range = indexes(&range);
        let mut out = Vec::new();
        loop {
            let piece = self.wal.read(range.clone(), limits::LOG_READ_BYTES_MAX)?;
            let Some(last) = piece.last() else { return Ok(out) };
            range.start = last.at.index + 1;
            out.extend(piece.into_iter().map(to_openraft));
        }
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.wal.read(start..end, limits::LOG_READ_BYTES_MAX)?.into_iter().map(to_openraft).collect())
    }

    /// Reads piece by piece, so that a long part of the log is never in memory at once. After a start, for example, a
    /// long part is read.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl futures::Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        struct Ahead {
            wal: Arc<Wal<Payload>>,
            range: Range<u64>,
            piece: VecDeque<wal::Entry<Payload>>,
        }
        let ahead = Ahead { wal: self.wal.clone(), range: indexes(&range), piece: VecDeque::new() };
        Box::pin(stream::try_unfold(ahead, |mut ahead| async move {
            if ahead.piece.is_empty() {
                ahead.piece = ahead.wal.read(ahead.range.clone(), limits::LOG_READ_BYTES_MAX)?.into();
            }
            let Some(entry) = ahead.piece.pop_front() else { return Ok(None) };
            ahead.range.start = entry.at.index + 1;
            Ok(Some((to_openraft(entry), ahead)))
        }))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.wal.vote().map(types::vote_of))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(LogState { last_purged_log_id: self.wal.purged().map(log_id), last_log_id: self.wal.last().map(log_id) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, durable) = oneshot::channel();
        self.wal.save_vote(types::to_vote(vote), Box::new(move |result| drop(done.send(result))));
        durable.await.unwrap_or_else(|_| Err(io::Error::other("the log ended before the vote was saved")))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.wal.save_committed(position(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.wal.committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries
            .into_iter()
            .map(|entry| wal::Entry { at: position(&entry.log_id), payload: Payload(entry.payload) })
            .collect();
        self.wal.append(entries, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    /// openraft truncates only entries that contradict a leader's, and never a committed one (Raft, section 5.4; the
    /// same when it installs a snapshot: `FollowingHandler::install_full_snapshot`).
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let after = last_log_id.as_ref().map(position);
        let committed = self.wal.committed();
        assert!(after >= committed, "entries behind {after:?} are dropped, and {committed:?} is committed");
        self.wal.truncate_after(after);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.wal.purge(position(&log_id));
        Ok(())
    }
}
