//! The chain: entries that are proposed and not resolved yet, each evaluated on the state that the one before it leaves
//! (docs/decisions/0009).
//!
//! A chain starts on the applied state. If consensus refuses an entry, or the fence makes it a no-op, the entries
//! behind it have no effect either: the chain is broken. A new one starts when all entries of the old one are resolved.

use super::QueuedRequest;
use crate::limits;
use crate::model::Zxid;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct Chain {
    /// Entries that are proposed and not resolved, in order.
    ///
    /// Invariant: their numbers grow and are below `entry_next`. Together with `refused` there are at most
    /// `limits::ENTRIES_IN_FLIGHT_MAX`.
    in_flight: VecDeque<InFlight>,
    /// Entries that had no effect. Their requests are evaluated again, before all others, when the next chain starts.
    ///
    /// Invariant: empty when no entry is in flight, because then the next chain has started.
    refused: Vec<InFlight>,
    /// The last zxid of this chain. The next transaction is evaluated on the state of this zxid.
    ///
    /// Invariant: each transaction has the next zxid of this epoch, or the first of the next epoch.
    end: Zxid,
    /// The number of the next entry.
    entry_next: u64,
    /// The last entry changes which plugins are in force. No later request is evaluated before it is applied.
    ///
    /// Invariant: false when no entry is in flight.
    changes_plugins: bool,
}

/// An entry that is proposed, with its requests in the order of its transactions.
pub(super) struct InFlight {
    pub(crate) entry: u64,
    pub(crate) requests: Vec<QueuedRequest>,
}

impl Chain {
    /// Starts a chain on the state of zxid `end`.
    pub(super) fn start(&mut self, end: Zxid) {
        assert!(
            self.in_flight.is_empty() && self.refused.is_empty(),
            "the old chain is resolved before the new one starts"
        );
        self.end = end;
    }

    /// Whether no entry is in flight.
    pub(super) fn is_resolved(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether an entry was refused and its requests wait to be evaluated again.
    pub(super) fn is_broken(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Whether another entry may be proposed.
    pub(super) fn has_room(&self) -> bool {
        !self.changes_plugins && self.in_flight.len() < limits::ENTRIES_IN_FLIGHT_MAX
    }

    pub(super) fn end(&self) -> Zxid {
        self.end
    }

    pub(super) fn changes_plugins(&self) -> bool {
        self.changes_plugins
    }

    /// The number of the entry that is being made.
    pub(super) fn entry_next(&self) -> u64 {
        self.entry_next
    }

    /// A transaction of the entry that is being made.
    pub(super) fn extend(&mut self, zxid: Zxid, changes_plugins: bool) {
        assert!(!self.changes_plugins, "nothing is evaluated behind a change of the plugins in force");
        let follows = zxid == self.end.next() || zxid == self.end.next_epoch();
        assert!(follows, "zxids have no gaps: {zxid} after {}", self.end);
        self.end = zxid;
        self.changes_plugins = changes_plugins;
    }

    /// The entry is made and about to be proposed.
    pub(super) fn push(&mut self, requests: Vec<QueuedRequest>) {
        assert!(self.refused.is_empty(), "nothing is proposed behind a refused entry");
        self.in_flight.push_back(InFlight { entry: self.entry_next, requests });
        self.entry_next += 1;
    }

    /// The entry had its effects. Returns it.
    pub(super) fn accept(&mut self, entry: u64) -> InFlight {
        let oldest = self.in_flight.front().map(|oldest| oldest.entry);
        assert!(oldest == Some(entry), "an entry is only accepted behind all entries before it: {entry}, {oldest:?}");
        self.remove(entry)
    }

    /// The entry certainly had no effect.
    pub(super) fn refuse(&mut self, entry: u64) {
        let refused = self.remove(entry);
        self.refused.push(refused);
    }

    /// Takes an entry out, wherever it stands: a refusal may come before the outcome of an older entry.
    pub(super) fn remove(&mut self, entry: u64) -> InFlight {
        let at = self.in_flight.iter().position(|in_flight| in_flight.entry == entry);
        at.and_then(|at| self.in_flight.remove(at)).expect("an entry resolves once")
    }

    /// The requests of refused entries, in their first order, without those that stood for parts. Called once no entry
    /// is in flight.
    pub(super) fn take_refused(&mut self) -> impl DoubleEndedIterator<Item = QueuedRequest> + use<> {
        assert!(self.in_flight.is_empty(), "an entry in flight may still have to be evaluated again before these");
        // A change of plugins that was applied is in force by now: the judge sees the new registry.
        self.changes_plugins = false;
        let mut refused = std::mem::take(&mut self.refused);
        refused.sort_by_key(|refused| refused.entry);
        refused.into_iter().flat_map(|refused| refused.requests).filter(|request| !request.is_part)
    }

    /// Checks what must hold between two steps of the sequencer.
    pub(super) fn check(&self) {
        let entries = self.in_flight.len() + self.refused.len();
        assert!(entries <= limits::ENTRIES_IN_FLIGHT_MAX, "{entries} entries are proposed and not dealt with");
        if let (Some(first), Some(last)) = (self.in_flight.front(), self.in_flight.back()) {
            assert!(first.entry <= last.entry && last.entry < self.entry_next, "entries in flight keep their order");
        } else {
            assert!(self.refused.is_empty(), "requests of refused entries wait in line once no entry is in flight");
            assert!(!self.changes_plugins, "a change of plugins is over once no entry is in flight");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Ask, Submission};

    /// A chain that stands on zxid 5 of epoch 2.
    fn chain() -> Chain {
        let mut chain = Chain::default();
        chain.start(Zxid::new(2, 5));
        chain
    }

    /// Proposes an entry of one request, which can be told by `xid`.
    fn push(chain: &mut Chain, xid: i32) {
        chain.extend(chain.end().next(), false);
        let submission = Submission { xid, ..Submission::own(Ask::Collect { path: "/x".into() }) };
        chain.push(vec![QueuedRequest::new(submission, None)]);
        chain.check();
    }

    #[test]
    fn refused_requests_come_back_in_their_first_order() {
        let mut chain = chain();
        push(&mut chain, 1);
        push(&mut chain, 2);
        chain.refuse(1);
        chain.refuse(0);
        assert!(chain.is_broken() && chain.is_resolved());
        let xids: Vec<i32> = chain.take_refused().map(|request| request.submission.xid).collect();
        assert_eq!(xids, [1, 2]);
        chain.start(Zxid::new(2, 5));
        chain.check();
    }

    #[test]
    fn an_epoch_may_begin_within_a_chain() {
        let mut chain = chain();
        chain.extend(Zxid::new(2, 6), false);
        chain.extend(Zxid::new(3, 1), true);
        assert!(chain.changes_plugins() && !chain.has_room());
    }

    #[test]
    #[should_panic = "zxids have no gaps"]
    fn a_zxid_that_is_left_out_is_a_bug() {
        chain().extend(Zxid::new(2, 7), false);
    }

    #[test]
    #[should_panic = "nothing is evaluated behind a change of the plugins in force"]
    fn a_transaction_behind_a_deployment_is_a_bug() {
        let mut chain = chain();
        chain.extend(Zxid::new(2, 6), true);
        chain.extend(Zxid::new(2, 7), false);
    }

    #[test]
    #[should_panic = "an entry is only accepted behind all entries before it"]
    fn an_entry_that_is_accepted_before_an_older_one_is_a_bug() {
        let mut chain = chain();
        push(&mut chain, 1);
        push(&mut chain, 2);
        chain.accept(1);
    }

    #[test]
    #[should_panic = "nothing is proposed behind a refused entry"]
    fn an_entry_behind_a_refused_one_is_a_bug() {
        let mut chain = chain();
        push(&mut chain, 1);
        chain.refuse(0);
        push(&mut chain, 2);
    }

    #[test]
    #[should_panic = "entries are proposed and not dealt with"]
    fn more_entries_than_may_be_in_flight_are_a_bug() {
        let mut chain = chain();
        (0..=limits::ENTRIES_IN_FLIGHT_MAX as i32).for_each(|xid| push(&mut chain, xid));
    }

    #[test]
    #[should_panic = "the old chain is resolved before the new one starts"]
    fn a_chain_that_starts_over_entries_in_flight_is_a_bug() {
        let mut chain = chain();
        push(&mut chain, 1);
        chain.start(Zxid::new(3, 1));
    }
}
