//! The sequencer: puts all writes into one order and turns them into batches for consensus. The leader's heart.
//!
//! A thread of its own, and a state machine: `step` takes what came in, evaluates what it may, proposes. It promises:
//!
//! - Requests of one connection are evaluated in the order in which they came, whatever is refused, held or retried.
//! - Nothing is evaluated unless this member leads and has applied its own blank entry (`Role::Leader`).
//! - At most `limits::ENTRIES_IN_FLIGHT_MAX` entries wait for consensus; what comes meanwhile makes the next batch
//!   larger. Nothing waits for a timer.
//! - If the chain breaks (docs/decisions/0009), what surely had no effect is evaluated again in its first order,
//!   before anything newer; a connection whose write has an unknown outcome is closed without a reply, and nothing more
//!   of it is evaluated.
//! - A write that deploys a plugin is prepared off this thread, holding back only its own connection, and is alone in
//!   flight when it is proposed: what comes behind it is judged by the plugins it leaves.

use super::Replica;
use super::clocks::Clocks;
use super::inbox::Sleep;
use super::start::OrDie;
use crate::consensus::{Consensus, Outcome as Resolution, Role};
use crate::environment::Instant;
use crate::limits;
use crate::model::{ConnectionId, Refusal};
use crate::pipeline::txn::{Batch, Txn};
use crate::pipeline::{Ask, Evaluation, Evaluator, Submission};
use crate::plugin::{Judge, admission};
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use crate::simulation::{self, Seen};
use tracing::debug;

/// What the sequencer hears of.
pub enum Event {
    Submitted(Submission),
    /// A deployment has been looked at: it may go on, or is refused.
    Prepared {
        submission: Submission,
        verdict: Result<(), Refusal>,
    },
    Resolved {
        entry: u64,
        outcome: Resolution,
    },
    Role(Role),
    /// Resolve what is in flight, then end.
    Stop,
}

pub struct Sequencer {
    replica: Arc<Replica>,
    consensus: Consensus,
    evaluator: Evaluator,
    judge: Judge,
    clocks: Clocks,
    phase: Phase,
    /// Requests not yet evaluated, in order.
    waiting: VecDeque<Waiting>,
    /// Entries proposed and not resolved, in order.
    in_flight: VecDeque<InFlight>,
    /// Refused entries: their requests go before `waiting`, in order, when the chain starts anew.
    again: Vec<InFlight>,
    /// Connections with a deployment being prepared, and what came behind it.
    held: HashMap<ConnectionId, VecDeque<Submission>>,
    /// Connections whose last write has an unknown outcome: nothing more of theirs is evaluated. As many as had writes in
    /// flight when a leadership was lost; connection ids are never used again, so nothing needs to leave the set.
    broken: HashSet<ConnectionId>,
    /// A change of plugins is in flight: evaluation waits until it has been applied.
    plugins_change: bool,
    entry_next: u64,
    stopping: bool,
}

/// In the order in which a leadership goes through them.
enum Phase {
    /// Another member leads, or nobody: requests wait.
    Following,
    /// Leads; evaluates and proposes.
    Leading { term: u64 },
    /// An entry was refused or fenced: waits for the rest of the chain to resolve, then starts a new one.
    Draining { term: u64 },
}

struct Waiting {
    submission: Submission,
    /// What preparation said of a deployment; `Ok` for everything else.
    verdict: Result<(), Refusal>,
}

struct InFlight {
    entry: u64,
    requests: Vec<Waiting>,
}

impl Sequencer {
    pub fn new(replica: Arc<Replica>, consensus: Consensus, judge: Judge, clocks: Clocks) -> Sequencer {
        let evaluator = Evaluator::new(replica.rules.clone());
        Sequencer {
            replica,
            consensus,
            evaluator,
            judge,
            clocks,
            phase: Phase::Following,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            again: Vec::new(),
            held: HashMap::new(),
            broken: HashSet::new(),
            plugins_change: false,
            entry_next: 0,
            stopping: false,
        }
    }

    /// Runs until `Event::Stop` and everything proposed is resolved.
    pub fn run(mut self) {
        let _whole = OrDie("the sequencer");
        let replica = self.replica.clone();
        let mut events = Vec::new();
        while !self.is_done() {
            match self.sleep() {
                Sleep::Awake => replica.inbox.take(&mut events),
                sleep => replica.inbox.wait(&mut events, sleep),
            }
            self.step(&mut events);
        }
    }

    /// As `run`, as a task.
    pub async fn run_as_task(mut self) {
        let replica = self.replica.clone();
        let mut events = Vec::new();
        while !self.is_done() {
            match self.sleep() {
                Sleep::Awake => replica.inbox.take(&mut events),
                sleep => replica.inbox.wait_as_task(&mut events, sleep).await,
            }
            self.step(&mut events);
            tokio::task::yield_now().await;
        }
    }

    fn is_done(&self) -> bool {
        self.stopping && self.in_flight.is_empty()
    }

    /// What it waits for before the next step.
    fn sleep(&self) -> Sleep {
        if self.may_evaluate() {
            return Sleep::Awake;
        }
        // With nothing to evaluate, and nothing that the end of an entry would set going, that end can wait.
        let idle = self.waiting.is_empty() && matches!(self.phase, Phase::Leading { .. }) && !self.stopping;
        if idle { Sleep::ForWork } else { Sleep::ForRoom }
    }

    fn step(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.hear(event);
        }
        self.restart_chain_if_drained();
        if !self.is_done() && self.may_evaluate() {
            self.propose_batch();
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Submitted(submission) => self.admit(submission),
            Event::Prepared { submission, verdict } => self.prepared(submission, verdict),
            Event::Resolved { entry, outcome } => self.resolved(entry, outcome),
            Event::Role(Role::Leader { term }) => {
                debug!(term, "leads: starts a chain");
                self.phase = Phase::Draining { term };
            }
            Event::Role(_) => {
                simulation::see(|| Seen::Follows);
                self.phase = Phase::Following;
                self.replica.leading.store(false, Ordering::Release);
            }
            Event::Stop => self.stopping = true,
        }
    }

    fn admit(&mut self, submission: Submission) {
        let connection = submission.caller.as_ref().map(|caller| caller.connection);
        if let Some(held) = connection.and_then(|connection| self.held.get_mut(&connection)) {
            held.push_back(submission);
        } else if let (Some(connection), true) = (connection, deploys(&submission)) {
            self.held.insert(connection, VecDeque::new());
            self.replica.prepare_deployment(submission);
        } else {
            self.waiting.push_back(Waiting { submission, verdict: Ok(()) });
        }
    }

    fn prepared(&mut self, submission: Submission, verdict: Result<(), Refusal>) {
        let connection = submission.caller.as_ref().map(|caller| caller.connection);
        self.waiting.push_back(Waiting { submission, verdict });
        let behind = connection.and_then(|connection| self.held.remove(&connection)).unwrap_or_default();
        for submission in behind {
            self.admit(submission);
        }
    }

    fn resolved(&mut self, entry: u64, outcome: Resolution) {
        simulation::see(|| Seen::Resolved { entry, outcome });
        // A refusal may overtake the outcome of an entry before it.
        let at = self.in_flight.iter().position(|in_flight| in_flight.entry == entry);
        let resolved = at.and_then(|at| self.in_flight.remove(at)).expect("an entry resolves once");
        match outcome {
            Resolution::Applied { accepted: true, .. } => {}
            Resolution::Applied { accepted: false, .. } | Resolution::Refused => {
                debug!(entry, "an entry had no effect: its requests are evaluated again");
                self.again.push(resolved);
                self.break_chain();
            }
            Resolution::Unknown => {
                for request in resolved.requests {
                    if let Some(caller) = request.submission.caller {
                        self.broken.insert(caller.connection);
                        self.replica.close_connection(caller.connection);
                    }
                }
                self.break_chain();
            }
        }
    }

    fn break_chain(&mut self) {
        if let Phase::Leading { term } = self.phase {
            self.phase = Phase::Draining { term };
        }
    }

    /// All of the broken chain is resolved: start the next from the applied tree.
    fn restart_chain_if_drained(&mut self) {
        if !self.in_flight.is_empty() {
            return;
        }
        // It is applied, and the judge sees the new registry by itself.
        self.plugins_change = false;
        self.again.sort_by_key(|refused| refused.entry);
        for request in self.again.drain(..).flat_map(|refused| refused.requests).rev() {
            self.waiting.push_front(request);
        }
        if let Phase::Draining { term } = self.phase {
            let state = self.replica.state.read();
            let new_epoch = self.clocks.lead(term, &state);
            self.evaluator.start_chain(&state, new_epoch);
            self.phase = Phase::Leading { term };
            simulation::see(|| Seen::Leads { term });
            self.replica.begins_to_lead(new_epoch);
        }
    }

    fn may_evaluate(&self) -> bool {
        matches!(self.phase, Phase::Leading { .. })
            && !self.waiting.is_empty()
            && !self.plugins_change
            && self.in_flight.len() < limits::ENTRIES_IN_FLIGHT_MAX
    }

    fn propose_batch(&mut self) {
        let Phase::Leading { term } = self.phase else { return };
        let began = Instant::now();
        let waiting = self.waiting.len() as u64;
        let prev = self.evaluator.last_zxid();
        let mut txns = Vec::new();
        let mut requests = Vec::new();
        let mut bytes = 0;
        while !self.waiting.is_empty()
            && txns.len() < limits::BATCH_TXNS_MAX
            && bytes < limits::BATCH_BYTES_MAX
            && !self.plugins_change
        {
            self.evaluate_some(&mut txns, &mut requests, &mut bytes);
        }
        if txns.is_empty() {
            return;
        }
        let proposed = Instant::now();
        let metrics = self.replica.connections.metrics();
        metrics.requests_in_session_queue.add(waiting);
        metrics.prep_process_time.add((proposed - began).as_millis() as u64);
        metrics.proposal_count.add(txns.len() as u64);
        let entry = self.entry_next;
        simulation::see(|| Seen::Proposed { entry, txns: &txns });
        let batch = Batch { term, prev, digest: None, txns: Arc::new(txns) };
        self.entry_next += 1;
        self.in_flight.push_back(InFlight { entry, requests });
        let replica = self.replica.clone();
        self.consensus.propose_then(batch, move |outcome| {
            if let Resolution::Applied { .. } = outcome {
                replica.connections.metrics().proposal_latency.add(proposed.elapsed().as_millis() as u64);
            }
            replica.inbox.put(Event::Resolved { entry, outcome });
        });
    }

    /// Evaluates a few requests under one shared lock: few enough that applying, which needs the lock for itself, does
    /// not wait long.
    fn evaluate_some(&mut self, txns: &mut Vec<Txn>, requests: &mut Vec<Waiting>, bytes: &mut usize) {
        let replica = self.replica.clone();
        let state = replica.state.read();
        for _ in 0..limits::EVALUATED_PER_LOCK {
            let Some(request) = self.waiting.pop_front() else { return };
            let connection = request.submission.caller.as_ref().map(|caller| caller.connection);
            if connection.is_some_and(|connection| self.broken.contains(&connection)) {
                replica.connections.metrics().stale_requests.increment();
                continue;
            }
            let moment = self.clocks.now();
            let evaluation = match &request.verdict {
                Ok(()) => self.evaluator.evaluate(&state, &request.submission, moment, &mut self.judge),
                Err(refusal) => self.evaluator.refuse(&state, &request.submission, moment, refusal),
            };
            match evaluation {
                Evaluation::Txn(txn) => {
                    *bytes += weight(&txn);
                    let changes_plugins = admission::touches(&txn);
                    txns.push(txn);
                    requests.push(request);
                    if changes_plugins {
                        self.plugins_change = true;
                        return;
                    }
                }
                Evaluation::Close => {
                    if let Some(connection) = connection {
                        replica.close_connection(connection);
                    }
                }
                Evaluation::Nothing => {}
            }
        }
    }
}

/// Roughly the bytes that a transaction will take in the log.
fn weight(txn: &Txn) -> usize {
    use crate::pipeline::txn::Change::*;
    let changes = txn.changes.iter().map(|change| match change {
        Create { path, data, .. } => 64 + path.len() + data.as_ref().map_or(0, |data| data.len()),
        SetData { path, data, .. } => 32 + path.len() + data.as_ref().map_or(0, |data| data.len()),
        _ => 64,
    });
    32 + changes.sum::<usize>()
}

fn deploys(submission: &Submission) -> bool {
    matches!(&submission.ask, Ask::Request(request) if admission::concerns(request))
}
