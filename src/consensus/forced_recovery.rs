//! Makes a log go on without the majority that it needs. For an operator whose majority is lost for good (`wasmkeeper
//! cluster recover`), on a member that does not run.
//!
//! From then on every entry in the log counts as committed. These may be more entries than were acknowledged, but all
//! that were acknowledged, as far as this member has them. Behind them come a membership of this member alone and one
//! batch, in a term of their own.

use super::log::Payload;
use super::types;
use super::{Log, Membership};
use crate::limits;
use crate::model::ensemble::Member;
use crate::model::txn::Batch;
use crate::storage::LogPosition;
use crate::storage::wal::{Entry, Vote};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc;

impl Log {
    /// Calls `each` with each batch behind `after`, in order. Returns the last membership there, if there is one.
    pub(crate) fn read_all(
        &self,
        after: Option<LogPosition>,
        each: &mut dyn FnMut(LogPosition, &Batch),
    ) -> io::Result<Option<Membership>> {
        let mut next = after.map_or(0, |after| after.index + 1);
        let mut last = None;
        loop {
            let piece = self.0.read(next..u64::MAX, limits::LOG_READ_BYTES_MAX)?;
            let Some(end) = piece.last().map(|entry| entry.at.index) else { return Ok(last) };
            for entry in &piece {
                match &entry.payload.0 {
                    types::Payload::Normal(batch) => each(entry.at, batch),
                    types::Payload::Membership(membership) => {
                        last = Some(Membership::of_log(entry.at, membership));
                    }
                    types::Payload::Blank => {}
                }
            }
            next = end + 1;
        }
    }

    /// Appends a membership in which `member` is alone and votes, and the batch that `batch` makes for the term of
    /// both. Durable on return. `behind` is the last applied entry, which may be ahead of the log. Returns the term.
    pub(crate) fn force_sole_voter(
        &self,
        member: &Member,
        behind: Option<LogPosition>,
        batch: impl FnOnce(u64) -> Batch,
    ) -> io::Result<u64> {
        let last = self.last().max(behind);
        let voted = self.0.vote().map_or(0, |vote| vote.term);
        let term = voted.max(last.map_or(0, |last| last.term)) + 1;
        if let Some(behind) = behind.filter(|behind| self.last().is_none_or(|last| last.index < behind.index)) {
            self.0.purge(behind);
        }
        let id = u64::from(member.server.id);
        let membership = types::alone(id, member.clone()).map_err(io::Error::other)?;
        let first = last.map_or(0, |last| last.index + 1);
        assert!(term > voted, "the term {term} is forced, and this member has voted in term {voted}");
        assert!(last.is_none_or(|last| term > last.term), "the term {term} is forced behind entry {last:?}");
        let entries = vec![
            Entry { at: LogPosition { term, index: first }, payload: Payload(types::Payload::Membership(membership)) },
            Entry { at: LogPosition { term, index: first + 1 }, payload: Payload(types::Payload::Normal(batch(term))) },
        ];
        // The vote comes first: nobody else leads in this term, whatever becomes of the entries.
        self.durably(|done| self.0.save_vote(Vote { term, voted_for: id, committed: true }, done))?;
        self.durably(|done| self.0.append(entries, done))?;
        Ok(term)
    }

    fn durably(&self, write: impl FnOnce(Box<dyn FnOnce(io::Result<()>) + Send>)) -> io::Result<()> {
        let (sender, done) = mpsc::sync_channel(1);
        write(Box::new(move |result| {
            let _ = sender.send(result);
        }));
        done.recv().map_err(|_| io::Error::other("the log has ended"))?
    }
}

impl Membership {
    /// Decodes a membership as a checkpoint keeps it.
    pub(crate) fn stored(bytes: &[u8]) -> Result<Membership, String> {
        let stored = types::decode_stored(bytes)?;
        Ok(Membership::new(&stored, &stored))
    }

    fn of_log(at: LogPosition, membership: &openraft::Membership<u64, Member>) -> Membership {
        let voters: BTreeSet<u64> = membership.get_joint_config().last().cloned().unwrap_or_default();
        let members: BTreeMap<u64, Member> = membership.nodes().map(|(id, member)| (*id, member.clone())).collect();
        Membership { at: Some(at), voters, changing: false, members }
    }
}
