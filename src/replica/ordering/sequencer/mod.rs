//! The sequencer: puts all writes into one order and turns them into batches for consensus. On a member that does not
//! lead, its clients' writes wait here for a leader, and are passed on to it.
//!
//! The sequencer is a state machine with a thread of its own. `step` takes what came in, evaluates what it may, and
//! proposes a batch. It promises:
//!
//! - Requests of one connection are evaluated in the order in which they came, whichever of them is refused, held or
//!   evaluated again.
//! - A request is evaluated only while this member leads, has applied its own blank entry (`Role::Leader`), and has
//!   heard from a quorum lately.
//! - At most `limits::ENTRIES_IN_FLIGHT_MAX` entries wait for consensus. Requests that come in meanwhile make the next
//!   batch larger. Nothing waits for a timer.
//! - If the chain breaks (docs/decisions/0009), requests that certainly had no effect are evaluated again, in their
//!   first order and before anything newer. A connection whose write has an unknown outcome is closed without a reply,
//!   and no more of its requests are evaluated.
//! - While another member leads, requests are passed on to it in order, each once. When the link to it ends, the
//!   connections are closed that had a request passed on and not applied here. All other requests wait for the next
//!   link.
//! - When this leadership ends, requests that other members passed on are dropped. Those members close the connections.
//! - A change of the members, or of the leader, happens off this thread and holds back only its own connection.
//! - A deployment of a plugin is prepared off this thread, and holds back only its own connection. Its entry is the
//!   last in flight: later requests are evaluated only after it is applied, with the plugins that it leaves in force.
//!
//! | file | what |
//! |---|---|
//! | `chain` | the entries in flight, and the zxid that the next one stands on |
//! | `batch` | evaluates requests and proposes a batch |
//! | `leadership` | what happens when an entry is resolved, a chain breaks, a leadership begins or ends |
//! | `held` | requests that wait for work off this thread |
//! | `forward` | passes requests on to a leader in another member |

mod batch;
mod chain;
mod forward;
mod held;
mod leadership;
#[cfg(test)]
mod tests;

use super::clocks::Clocks;
use super::event::{Event, QueuedRequest};
use super::inbox::Sleep;
use crate::consensus::{Consensus, ProposalOutcome, Role};
use crate::courtesy::Courtesy;
use crate::model::ConnectionId;
use crate::model::txn::Batch;
use crate::pipeline::{Ask, Evaluator};
use crate::plugin::Judge;
use crate::replica::Replica;
use crate::replica::ensemble::leader_link::Forwarding;
use crate::replica::fatal::DieOnPanic;
use chain::Chain;
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::debug;

pub(crate) struct Sequencer<C> {
    replica: Arc<Replica>,
    consensus: C,
    /// Invariant: outstanding changes lie over the tree only for the entries of `chain`; when a chain starts there are
    /// none.
    evaluator: Evaluator,
    judge: Judge,
    clocks: Clocks,
    /// Invariant: no entry is proposed unless this is `Leading`, and then `chain` has no refused entry.
    phase: Phase,
    /// Requests that are not evaluated or passed on yet, in order.
    ///
    /// Invariant: a request of another member was passed on in the term of `phase`.
    waiting: VecDeque<QueuedRequest>,
    chain: Chain,
    /// Connections that wait for work off this thread, each with its requests that came after the one that is worked
    /// on.
    ///
    /// Invariant: at most one request of a connection is worked on.
    held: HashMap<ConnectionId, VecDeque<QueuedRequest>>,
    /// Connections whose last write has an unknown outcome. No more of their requests are evaluated or passed on. At
    /// most as many as had writes in flight when a leadership was lost. A connection of this member never leaves the
    /// set, which does no harm because connection ids are never used again.
    broken: HashSet<ConnectionId>,
    /// Whether a quorum has acknowledged this leader lately (`Event::Lease`).
    lease_held: bool,
    /// How many entries in a row had no effect.
    refused_in_a_row: u64,
    /// The number of the last link to a leader.
    ///
    /// Invariant: the numbers of links grow.
    link_last: u64,
    /// The last batch had several requests. A lone request does not wait for others.
    has_company: bool,
    stopping: bool,
}

/// What takes batches: consensus, or a stand-in.
pub(crate) trait Proposes {
    /// Brings the batch into the log. Batches enter the log in the order of the calls. `done` is called with the
    /// outcome.
    fn propose_then(&self, batch: Batch, done: impl FnOnce(ProposalOutcome) + Send + 'static);
}

impl Proposes for Consensus {
    fn propose_then(&self, batch: Batch, done: impl FnOnce(ProposalOutcome) + Send + 'static) {
        Consensus::propose_then(self, batch, done);
    }
}

/// The phases of a leadership, in their order.
enum Phase {
    /// Another member leads, or none: requests are passed on, or wait.
    Following { link: Option<Forwarding> },
    /// This member leads: it evaluates and proposes.
    Leading { term: u64 },
    /// This member leads, but entries of an older chain are still in flight. When they are resolved a new chain starts.
    Draining { term: u64 },
}

impl<C: Proposes> Sequencer<C> {
    pub(in crate::replica) fn new(replica: Arc<Replica>, consensus: C, judge: Judge, clocks: Clocks) -> Sequencer<C> {
        let evaluator = Evaluator::new(replica.order.rules.clone()).of(replica.config.server_id);
        Sequencer {
            replica,
            consensus,
            evaluator,
            judge,
            clocks,
            phase: Phase::Following { link: None },
            waiting: VecDeque::new(),
            chain: Chain::default(),
            held: HashMap::new(),
            broken: HashSet::new(),
            lease_held: true,
            refused_in_a_row: 0,
            link_last: 0,
            has_company: false,
            stopping: false,
        }
    }

    /// Runs until `Event::Stop` has come and every entry in flight is resolved.
    pub(in crate::replica) fn run(mut self) {
        let _whole = DieOnPanic("the sequencer");
        let replica = self.replica.clone();
        let inbox = &replica.order.inbox;
        let mut courtesy = Courtesy::new();
        let mut events = Vec::new();
        while !self.is_done() {
            match self.sleep() {
                Sleep::Awake => inbox.take(&mut events),
                sleep => {
                    inbox.wait(&mut events, sleep);
                    if self.has_company {
                        // Other threads are about to submit requests. Waiting for them costs less than a batch of their
                        // own.
                        courtesy.let_others_go_first();
                        inbox.take_more(&mut events);
                    }
                }
            }
            self.step(&mut events);
        }
    }

    /// As `run`, as a task.
    pub(in crate::replica) async fn run_as_task(mut self) {
        let replica = self.replica.clone();
        let inbox = &replica.order.inbox;
        let mut events = Vec::new();
        while !self.is_done() {
            match self.sleep() {
                Sleep::Awake => inbox.take(&mut events),
                sleep => inbox.wait_as_task(&mut events, sleep).await,
            }
            self.step(&mut events);
            tokio::task::yield_now().await;
        }
    }

    /// Whether `Event::Stop` has come and every entry in flight is resolved. A leader without a quorum does not wait
    /// for its entries, because they may never be resolved.
    fn is_done(&self) -> bool {
        self.stopping && (self.chain.is_resolved() || !self.lease_held)
    }

    /// What the sequencer waits for before its next step.
    fn sleep(&self) -> Sleep {
        if self.may_evaluate() || self.may_pass_on() {
            return Sleep::Awake;
        }
        // The sequencer is idle: there is nothing to evaluate, and the outcome of an entry would not change that.
        let idle = match self.phase {
            Phase::Leading { .. } => self.waiting.is_empty() && !self.stopping,
            Phase::Following { link: Some(_) } => self.chain.is_resolved(),
            Phase::Following { link: None } | Phase::Draining { .. } => false,
        };
        if idle { Sleep::ForWork } else { Sleep::ForRoom }
    }

    /// Handles the events, then does what may be done now.
    fn step(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.hear(event);
        }
        self.restart_chain_if_resolved();
        if self.may_pass_on() {
            self.pass_on();
        }
        if !self.is_done() && self.may_evaluate() {
            self.propose_batch();
        }
        self.check();
    }

    /// Checks what must hold between two steps.
    fn check(&self) {
        self.chain.check();
        match self.phase {
            Phase::Following { .. } => {}
            Phase::Leading { .. } => {
                assert!(!self.chain.is_broken(), "a chain with a refused entry is not continued");
            }
            Phase::Draining { .. } => {
                assert!(!self.chain.is_resolved(), "a new chain starts in the step that resolves the old one");
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Submitted(submission) => self.admit(QueuedRequest::new(submission, None)),
            Event::Called { submission, call } => {
                self.admit(QueuedRequest { call: Some(call), ..QueuedRequest::new(submission, None) });
            }
            Event::Forwarded { submission, link } => {
                let request = QueuedRequest::new(submission, Some(link));
                // Another member could not send back what a recipe returns.
                let is_call = matches!(request.submission.ask, Ask::Call { .. } | Ask::Reconcile(_));
                if !is_call && !self.is_void(&request) {
                    self.admit(request);
                }
            }
            Event::Prepared(request) => self.prepared(request),
            Event::Reconfigured { request, term, end } => self.reconfigured(request, term, end),
            Event::Resolved { entry, outcome, .. } => self.resolved(entry, outcome),
            Event::Role(Role::Leader { term }) => {
                debug!(term, "leads: starts a chain");
                self.begin_leadership(term);
            }
            Event::Role(Role::Follower { .. } | Role::Stopped) => self.follow(),
            Event::LinkUp(link) => self.take_link(link),
            Event::LinkEnded { number } => {
                if matches!(&self.phase, Phase::Following { link: Some(link) } if link.number == number) {
                    self.lose_link();
                }
            }
            Event::Lease { held } => self.lease_held = held,
            Event::Stop => self.stopping = true,
        }
    }

    /// The term this member leads in. None: it does not lead.
    fn term(&self) -> Option<u64> {
        match self.phase {
            Phase::Following { .. } => None,
            Phase::Leading { term } | Phase::Draining { term } => Some(term),
        }
    }

    /// Whether the request was passed on to a leadership that is over. The member it came from has closed the
    /// connection.
    fn is_void(&self, request: &QueuedRequest) -> bool {
        request.link.is_some_and(|link| Some(link.term) != self.term())
    }

    /// Closes the connection that asked: nobody knows what became of its write. Later requests of it are dropped.
    fn break_connection(&mut self, request: &QueuedRequest) {
        self.replica.close_caller(request);
        self.broken.extend(request.connection());
    }
}
