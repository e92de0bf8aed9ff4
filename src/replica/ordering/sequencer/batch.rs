//! Evaluates requests and proposes them as one batch.

use super::{Phase, Proposes, QueuedRequest, Sequencer};
use crate::consensus::ProposalOutcome;
use crate::environment::Instant;
use crate::hooks;
use crate::limits;
use crate::model::txn::{Batch, Outcome, Txn};
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::{Ask, Evaluation, Submission};
use crate::plugin::check_deployment;
use crate::replica::ordering::event::Event;
use crate::replica::ordering::mutations;
use crate::simulation::{self, Seen};
use crate::state::State;
use std::sync::Arc;

/// A batch in the making.
#[derive(Default)]
struct Draft {
    txns: Vec<Txn>,
    /// The requests of `txns`, in the same order.
    requests: Vec<QueuedRequest>,
    bytes: usize,
}

impl Draft {
    fn has_room(&self) -> bool {
        self.txns.len() < limits::BATCH_TXNS_MAX && self.bytes < limits::BATCH_BYTES_MAX
    }
}

impl<C: Proposes> Sequencer<C> {
    pub(super) fn may_evaluate(&self) -> bool {
        matches!(self.phase, Phase::Leading { .. })
            && !self.waiting.is_empty()
            && self.lease_held
            && self.chain.has_room()
    }

    /// Evaluates the waiting requests, as far as one batch has room for them, and proposes the batch.
    pub(super) fn propose_batch(&mut self) {
        let Phase::Leading { term } = self.phase else { return };
        let began = Instant::now();
        let waiting = self.waiting.len() as u64;
        let prev = self.evaluator.last_zxid();
        assert!(prev == self.chain.end(), "a batch stands on the last zxid of the chain: {prev}, {}", self.chain.end());
        let mut draft = Draft::default();
        while !self.waiting.is_empty() && draft.has_room() && !self.chain.changes_plugins() {
            if !self.evaluate_some(term, &mut draft) {
                // Another member leads, and this one has not heard of it. Nothing is evaluated until this member hears
                // of it, or a quorum acknowledges this member again.
                self.lease_held = false;
                self.replica.ensemble.lease.doubt();
                break;
            }
        }
        let Draft { txns, requests, .. } = draft;
        self.has_company = requests.len() > 1;
        if txns.is_empty() {
            return;
        }
        assert!(txns.len() == requests.len(), "each transaction of a batch has the request that it answers");
        let proposed = Instant::now();
        let metrics = &self.replica.order.metrics;
        metrics.requests_in_session_queue.add(waiting);
        metrics.prep_process_time.add((proposed - began).as_millis() as u64);
        metrics.proposal_count.add(txns.len() as u64);
        let entry = self.chain.entry_next();
        let registry = self.judge.registry();
        simulation::see(|| Seen::Proposed { entry, txns: &txns, registry });
        let batch = Batch { term, prev, digest: self.replica.order.soundness.latest(), txns: Arc::new(txns) };
        let awaited = requests.iter().any(|request| request.call.is_some());
        self.chain.push(requests);
        let replica = self.replica.clone();
        self.consensus.propose_then(batch, move |outcome| {
            if let ProposalOutcome::Applied { .. } = outcome {
                replica.order.metrics.proposal_latency.add(proposed.elapsed().as_millis() as u64);
            }
            replica.order.inbox.put(Event::Resolved { entry, outcome, awaited });
        });
    }

    /// Evaluates a few requests under one shared lock of the state. They are few, because applying needs the exclusive
    /// lock and must not wait long. Returns false, having evaluated nothing, if a leader of a later term than `term`
    /// has changed the state: this leader's outstanding changes do not lie over that state.
    fn evaluate_some(&mut self, term: u64, draft: &mut Draft) -> bool {
        let replica = self.replica.clone();
        let state = replica.order.state.read();
        if replica.order.applied_term() > term {
            return false;
        }
        for _ in 0..limits::EVALUATED_PER_LOCK {
            let Some(request) = self.waiting.pop_front() else { return true };
            if request.connection().is_some_and(|connection| self.broken.contains(&connection)) {
                replica.order.metrics.stale_requests.increment();
                continue;
            }
            if self.has_come_back(&state, &request) {
                continue;
            }
            self.evaluate(&state, request, draft);
            if self.chain.changes_plugins() || !draft.has_room() {
                return true;
            }
        }
        true
    }

    /// Whether the request would end a session that must not end any more. While the request waited, the session's
    /// client gave a sign of life or began to come back, or a new leadership granted the session more time.
    fn has_come_back(&self, state: &State, request: &QueuedRequest) -> bool {
        let Ask::CloseSession { session, expired: true } = request.submission.ask else { return false };
        if self.evaluator.is_ending(state, session) {
            return false;
        }
        let order = &self.replica.order;
        !order.connections.expiry().is_due(session, order.clock.now_ms())
            || self.evaluator.is_coming_back(state, session)
    }

    fn evaluate(&mut self, state: &State, mut request: QueuedRequest, draft: &mut Draft) {
        assert!(!self.is_void(&request), "a request that was passed on is evaluated in its own leadership only");
        let wall_ms = self.replica.ensemble.bounded_wall_ms();
        if let Ask::SetBackClock = request.submission.ask {
            self.clocks.set_back(wall_ms);
        }
        let moment = self.clocks.now(wall_ms);
        let evaluation = match &request.verdict {
            None | Some(Ok(())) => self.evaluator.evaluate(state, &request.submission, moment, &mut self.judge),
            Some(Err(refusal)) => self.evaluator.refuse(state, &request.submission, moment, refusal),
        };
        match evaluation {
            Evaluation::Txn(txn) => {
                if let Some(call) = &mut request.call {
                    let returned = self.evaluator.take_reply().unwrap_or_default();
                    call.outcome = Some(match &txn.outcome {
                        Outcome::Refused(refusal) => Err(refusal.clone()),
                        Outcome::Done(_) | Outcome::MultiRefused { .. } => Ok(returned),
                    });
                }
                self.add(state, txn, request, draft);
            }
            Evaluation::Part(session, txn) => {
                let ask = Ask::CloseSession { session, expired: true };
                let part = QueuedRequest::new(Submission { caller: None, xid: 0, ask }, None);
                self.add(state, txn, QueuedRequest { is_part: true, ..part }, draft);
                self.waiting.push_front(request);
            }
            Evaluation::Close => self.replica.close_caller(&request),
            Evaluation::Nothing => {}
            Evaluation::Reconfigure(servers) => self.take_up_reconfig(request, servers),
            Evaluation::Transfer(to) => self.take_up_transfer(request, to),
            Evaluation::SetBackClock => {
                match self.why_not_set_back(wall_ms) {
                    None => request.submission.ask = Ask::SetBackClock,
                    Some(why) => request.verdict = Some(Err(Refusal::new(ErrorCode::BadArguments, why.to_owned()))),
                }
                self.waiting.push_front(request);
            }
        }
    }

    /// Why time is not set back to `wall_ms`. None: it may be.
    fn why_not_set_back(&self, wall_ms: i64) -> Option<&'static str> {
        if self.clocks.wall_ms() <= wall_ms {
            return Some("the time of transactions is not ahead of the members' clocks");
        }
        let known = self.replica.ensemble.format_level_of_voters();
        (known < limits::SET_BACK_CLOCK_LEVEL)
            .then_some("a voter is away, or runs a release that cannot set time back: start it with this release")
    }

    /// Adds a transaction to the batch in the making. `request`: what asked for it.
    fn add(&mut self, state: &State, txn: Txn, request: QueuedRequest, draft: &mut Draft) {
        let txn = mutations::before_proposal(&self.replica.order, state, txn);
        let size = txn.weight();
        self.replica.order.metrics.proposal_size.add(size as u64);
        draft.bytes += size;
        self.chain.extend(txn.zxid, check_deployment::touches(&txn) && hooks::waits_for_deployment());
        draft.txns.push(txn);
        draft.requests.push(request);
    }
}
