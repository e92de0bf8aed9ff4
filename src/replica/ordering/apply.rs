//! Applies what consensus has committed: one transaction at a time, under the state's exclusive lock.
//!
//! For each transaction the order is: the change of the tree, the events of its zxid, the reply to the writer, the
//! reads that waited behind that write. This order is one of the rules that hold everywhere (docs/ARCHITECTURE.md);
//! `Connections::applied` keeps it.

use super::WriteOrder;
use super::mutations::Replies;
use crate::environment::wall_ms;
use crate::hooks;
use crate::model::Zxid;
use crate::model::txn::{Batch, Change};
use crate::plugin::check_deployment;
use crate::replica::fatal::DieOnPanic;
use crate::simulation::{self, Seen};
use crate::state::{Effects, State};
use crate::storage::LogPosition;
use std::sync::atomic::Ordering;

/// Where applying stands in the log. Its lock is held while an entry is applied, so the holder of the lock sees the
/// state between two entries.
#[derive(Default)]
pub(crate) struct Boundary {
    /// The last entry that was applied, or that the chain fence kept from being applied. None: no entry yet.
    ///
    /// Invariant: the next entry to be applied is the next one in the log, and its term is not lower.
    position: Option<LogPosition>,
    /// The membership as consensus encodes it. The bytes mean nothing to the replica.
    membership: Option<Vec<u8>>,
    /// How many transactions were applied before this member had recovered: those the log had beyond the loaded state.
    replayed: u64,
    /// Kept from one transaction to the next, so that its buffers need not be allocated again.
    effects: Effects,
}

impl Boundary {
    pub(in crate::replica) fn new(position: Option<LogPosition>, membership: Option<Vec<u8>>) -> Boundary {
        Boundary { position, membership, ..Boundary::default() }
    }

    pub(in crate::replica) fn position(&self) -> Option<LogPosition> {
        self.position
    }

    pub(in crate::replica) fn membership(&self) -> Option<&Vec<u8>> {
        self.membership.as_ref()
    }

    pub(in crate::replica) fn replayed(&self) -> u64 {
        self.replayed
    }

    /// The next entry is dealt with.
    fn advance(&mut self, at: LogPosition) {
        if let Some(last) = self.position {
            assert!(at.index == last.index + 1, "entries are applied in the order of the log: {at} after {last}");
            assert!(at.term >= last.term, "the terms of log entries never decrease: {at} after {last}");
        }
        self.position = Some(at);
    }

    /// The whole state is replaced by the state of another member, as of `at`.
    pub(in crate::replica) fn jump(&mut self, at: LogPosition, membership: Vec<u8>) {
        if let Some(last) = self.position {
            assert!(at.index >= last.index, "a state is only replaced by a later one: {at} after {last}");
        }
        self.position = Some(at);
        self.membership = Some(membership);
    }
}

/// What the rest of the replica needs to know of an entry that was dealt with.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(in crate::replica) struct Applied {
    /// The batch had its effects. False: the fence, or a digest that differs, kept it from having any.
    pub(crate) accepted: bool,
    /// Which plugins are in force has changed.
    pub(crate) plugins_changed: bool,
    /// The timers of plugins, or the mounts they have to put in order, have changed.
    pub(crate) chores_changed: bool,
}

impl WriteOrder {
    /// Applies the batch if the chain fence allows it.
    pub(in crate::replica) fn apply(&self, at: LogPosition, batch: &Batch) -> Applied {
        let _whole = DieOnPanic("applying a transaction");
        let mut boundary = self.boundary.lock();
        if self.has_recovered() && !self.soundness.agrees(batch) {
            return Applied::default();
        }
        boundary.advance(at);
        let (before, chores) = {
            let state = self.state.read();
            (state.last_zxid(), state.chores().changes())
        };
        assert!(self.last_applied() == before, "between two entries, `last_applied` is the state's last zxid");
        // The chain fence. Every replica takes the same decision here.
        let fits = batch.term == at.term && batch.prev == before;
        if !hooks::passes_fence(fits) {
            simulation::see(|| Seen::Fenced { at, batch });
            return Applied::default();
        }
        let mut replies = Replies::default();
        let mut plugins_changed = false;
        for txn in batch.txns.iter() {
            boundary.effects.clear();
            let mut state = self.state.write();
            let before = state.last_zxid();
            self.set_applied_term(at.term);
            state.apply(txn, &mut boundary.effects);
            assert!(state.last_zxid() == txn.zxid, "applying {} leaves the state at {}", txn.zxid, state.last_zxid());
            simulation::see(|| Seen::Applied { at, batch, txn, before, digest: state.digest() });
            if check_deployment::touches(txn) || self.plugins.waited_for(txn) {
                // The lock of the state is still held, so nobody sees this tree with the plugins of the previous tree.
                self.bind_plugins(&state);
                plugins_changed = true;
            }
            replies.send(self, &state, txn, &mut boundary.effects);
            self.provenance.note(txn);
            self.require_known_format(&state);
        }
        replies.end(self);
        if let Some(last) = batch.txns.last() {
            self.set_last_applied(last.zxid);
            self.soundness.note(last.zxid, self.state.read().digest());
        }
        if self.has_recovered() {
            self.count_applied(batch);
        } else {
            boundary.replayed += batch.txns.len() as u64;
        }
        let chores_changed = plugins_changed || chores != self.state.read().chores().changes();
        Applied { accepted: true, plugins_changed, chores_changed }
    }

    /// An entry outside the chain: a blank one, or one that changes the members.
    pub(in crate::replica) fn apply_other(&self, at: LogPosition, membership: Option<Vec<u8>>) {
        let mut boundary = self.boundary.lock();
        boundary.advance(at);
        if membership.is_some() {
            boundary.membership = membership;
        }
    }

    /// Brings the plugins into force that `state` binds.
    pub(in crate::replica) fn bind_plugins(&self, state: &State) {
        self.plugins.refresh(state);
        self.show_plugins(state.last_zxid());
    }

    fn show_plugins(&self, zxid: Zxid) {
        let registry = self.plugins.registry();
        simulation::see(|| Seen::Bound { zxid, registry: &registry });
    }

    /// Replaces the applied tree by that of another member, and returns the old tree. Closes the connections of all
    /// clients, because what they have read and what they watch belongs to the old tree.
    ///
    /// The caller holds the boundary's lock, and has checked that `state` is complete.
    pub(in crate::replica) fn replace_state(&self, at: LogPosition, state: State, digest: u64, seed: u64) -> State {
        assert!(self.boundary.is_locked(), "the state is only replaced between two entries");
        let zxid = state.last_zxid();
        let mut shared = self.state.write();
        self.set_applied_term(at.term);
        *self.watches.lock() = crate::watch::Watches::new(seed);
        self.connections.abandon_all();
        self.provenance.forget();
        simulation::see(|| Seen::Loaded { zxid, digest, from: simulation::Source::Peer });
        self.plugins.start_over(&state);
        self.show_plugins(zxid);
        std::mem::replace(&mut *shared, state)
    }

    /// The caller holds the exclusive lock of the state.
    pub(in crate::replica) fn set_applied_term(&self, term: u64) {
        let before = self.applied_term.swap(term, Ordering::AcqRel);
        assert!(before <= term, "the terms of applied batches never fall: {term} after {before}");
    }

    pub(in crate::replica) fn set_last_applied(&self, zxid: Zxid) {
        self.last_applied.store(zxid.0, Ordering::Release);
    }

    fn count_applied(&self, batch: &Batch) {
        let metrics = &self.metrics;
        metrics.commit_count.add(batch.txns.len() as u64);
        metrics.sync_processor_batch_size.add(batch.txns.len() as u64);
        if let Some(first) = batch.txns.first() {
            metrics.propagation_latency.add((wall_ms() - first.wall_ms).max(0) as u64);
        }
        for change in batch.txns.iter().flat_map(|txn| &txn.changes) {
            match change {
                Change::Create { path, data, .. } | Change::SetData { path, data, .. } => {
                    metrics.namespaces.written(path, data.as_ref().map_or(0, |data| data.len()));
                }
                Change::Delete { path } => metrics.namespaces.written(path, 0),
                _ => {}
            }
        }
        let expired = |change: &&Change| matches!(change, Change::CloseSession { expired: true, .. });
        let expired = batch.txns.iter().flat_map(|txn| &txn.changes).filter(expired).count();
        if expired > 0 {
            metrics.stale_sessions_expired.add(expired as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term, index }
    }

    #[test]
    fn entries_follow_each_other_and_a_later_state_may_skip_some() {
        let mut boundary = Boundary::new(None, None);
        boundary.advance(at(1, 0));
        boundary.advance(at(1, 1));
        boundary.advance(at(3, 2));
        boundary.jump(at(3, 9), vec![7]);
        boundary.advance(at(3, 10));
        assert_eq!((boundary.position(), boundary.membership()), (Some(at(3, 10)), Some(&vec![7])));
    }

    #[test]
    #[should_panic = "entries are applied in the order of the log"]
    fn an_entry_that_is_left_out_is_a_bug() {
        Boundary::new(Some(at(1, 4)), None).advance(at(1, 6));
    }

    #[test]
    #[should_panic = "the terms of log entries never decrease"]
    fn an_entry_of_an_older_term_is_a_bug() {
        Boundary::new(Some(at(2, 4)), None).advance(at(1, 5));
    }

    #[test]
    #[should_panic = "a state is only replaced by a later one"]
    fn an_older_state_in_the_place_of_a_newer_one_is_a_bug() {
        Boundary::new(Some(at(2, 4)), None).jump(at(2, 3), Vec::new());
    }
}
