//! What happens when an entry is resolved, a chain breaks, and a leadership begins or ends.

use super::{Phase, Proposes, QueuedRequest, Sequencer};
use crate::consensus::ProposalOutcome;
use crate::pipeline::{Ask, Submission};
use crate::replica::ensemble::reconfig;
use crate::simulation::{self, Seen};
use std::collections::VecDeque;
use tracing::debug;

impl<C: Proposes> Sequencer<C> {
    /// This member leads in `term` from now on. It evaluates once the entries of its last leadership are resolved.
    pub(super) fn begin_leadership(&mut self, term: u64) {
        self.end_leadership();
        self.lose_link();
        self.phase = Phase::Draining { term };
    }

    /// Another member leads from now on, or none.
    pub(super) fn follow(&mut self) {
        simulation::see(|| Seen::Follows);
        self.end_leadership();
        if self.term().is_some() {
            self.phase = Phase::Following { link: None };
        }
    }

    /// Drops what other members passed on, and forgets verdicts on deployments, which were for this leadership.
    fn end_leadership(&mut self) {
        self.replica.ends_to_lead();
        self.lease_held = true;
        self.waiting.retain(|request| request.link.is_none());
        self.waiting.iter_mut().for_each(|request| request.verdict = None);
        // The next leader writes the configuration itself. The client that asked has to look whether the configuration
        // is the one that it wanted.
        let waiting = std::mem::take(&mut self.waiting);
        let (configures, others) = waiting
            .into_iter()
            .partition::<VecDeque<_>, _>(|request| matches!(request.submission.ask, Ask::Configure { .. }));
        self.waiting = others;
        for request in configures {
            self.break_connection(&request);
        }
        self.held.values_mut().for_each(|behind| behind.retain(|request| request.link.is_none()));
        let connections = &self.replica.order.connections;
        self.broken.retain(|&connection| connections.is_ours(connection));
    }

    /// Consensus has an outcome for an entry.
    pub(super) fn resolved(&mut self, entry: u64, outcome: ProposalOutcome) {
        simulation::see(|| Seen::Resolved { entry, outcome });
        match outcome {
            ProposalOutcome::Applied { accepted: true, .. } => {
                self.refused_in_a_row = 0;
                let accepted = self.chain.accept(entry);
                accepted.requests.into_iter().filter_map(|request| request.call).for_each(|call| call.applied());
                self.forget_applied();
            }
            ProposalOutcome::Applied { accepted: false, .. } | ProposalOutcome::Refused => {
                debug!(entry, "an entry had no effect: its requests are evaluated again");
                self.refused_in_a_row += 1;
                if self.refused_in_a_row > 1 {
                    // Consensus accepts nothing at the moment. Proposing again at once would only cost processor time.
                    self.lease_held = false;
                    self.replica.ensemble.lease.doubt();
                }
                self.chain.refuse(entry);
                self.break_chain();
            }
            ProposalOutcome::Unknown => {
                for request in self.chain.remove(entry).requests {
                    if !self.is_void(&request) {
                        self.break_connection(&request);
                    }
                }
                self.break_chain();
            }
        }
    }

    /// Once the last entry of an unbroken chain is applied, the applied tree has all changes that were outstanding.
    fn forget_applied(&mut self) {
        let Phase::Leading { .. } = self.phase else { return };
        if !self.chain.is_resolved() {
            return;
        }
        let (applied, end) = (self.replica.order.last_applied(), self.chain.end());
        assert!(applied >= end, "every entry of the chain is applied, and the state is at {applied}, not at {end}");
        self.evaluator.committed(end);
        assert!(self.evaluator.overlay().is_empty(), "no change is outstanding once every entry is applied");
    }

    fn break_chain(&mut self) {
        if let Phase::Leading { term } = self.phase {
            self.phase = Phase::Draining { term };
        }
    }

    /// If no entry is in flight any more: puts the requests of refused entries back in line, and, if this member leads
    /// and its chain is broken or its leadership is new, starts a chain on the applied tree.
    pub(super) fn restart_chain_if_resolved(&mut self) {
        if !self.chain.is_resolved() {
            return;
        }
        for request in self.chain.take_refused().rev() {
            if !self.is_void(&request) {
                self.waiting.push_front(request);
            }
        }
        if let Phase::Draining { term } = self.phase {
            self.start_chain(term);
        }
    }

    fn start_chain(&mut self, term: u64) {
        let replica = self.replica.clone();
        replica.ensemble.refresh_agreed_clock();
        let new_leadership = {
            let state = replica.order.state.read();
            let new_leadership = self.clocks.lead(term, &state);
            self.evaluator.start_chain(&state, new_leadership);
            new_leadership
        };
        assert!(self.evaluator.overlay().is_empty(), "a chain starts on the applied tree");
        self.chain.start(self.evaluator.last_zxid());
        replica.order.leadership.set_ensemble_ms(self.clocks.ensemble_ms(), replica.order.clock);
        self.phase = Phase::Leading { term };
        simulation::see(|| Seen::Leads { term });
        if new_leadership {
            // Deployments that came in before this leadership have not been checked yet.
            for request in std::mem::take(&mut self.waiting) {
                self.admit(request);
            }
            self.evaluator.reconfigures(false);
            if let Some(servers) = replica.ensemble.configuration_to_write(&replica.order) {
                let submission = Submission::own(Ask::Configure { servers });
                self.waiting.push_front(QueuedRequest::new(submission, None));
            }
            // These requests come first. No other request is evaluated before they are applied.
            for blame in replica.order.plugins.crashes(replica.config.server_id) {
                let submission = Submission::own(Ask::Blame(blame));
                self.waiting.push_front(QueuedRequest::new(submission, None));
            }
        }
        replica.begins_to_lead(term, new_leadership);
        if new_leadership {
            replica.runtime.spawn(reconfig::put_members_right(replica.clone()));
        }
    }
}
