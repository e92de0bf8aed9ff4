//! The sequencer: puts all writes into one order and turns them into batches for consensus. The leader's heart, and on
//! any other member where its clients' writes wait for a leader.
//!
//! A thread of its own, and a state machine: `step` takes what came in, evaluates what it may, proposes. It promises:
//!
//! - Requests of one connection are evaluated in the order in which they came, whatever is refused, held or retried.
//! - Nothing is evaluated unless this member leads, has applied its own blank entry (`Role::Leader`), and was heard by a
//!   quorum of late.
//! - At most `limits::ENTRIES_IN_FLIGHT_MAX` entries wait for consensus; what comes meanwhile makes the next batch
//!   larger. Nothing waits for a timer.
//! - If the chain breaks (docs/decisions/0009), what surely had no effect is evaluated again in its first order,
//!   before anything newer; a connection whose write has an unknown outcome is closed without a reply, and nothing more
//!   of it is evaluated.
//! - While another member leads, requests are passed on to it in order, each once. When the link to it ends, exactly the
//!   connections are closed that had something passed on and not applied here; everybody else's wait for the next.
//! - What others passed on to this member is dropped with its leadership: their members close those connections.
//! - A change of the members, or of who leads, is under way off this thread and holds back only its own connection.
//! - A write that deploys a plugin is prepared at the leader, off this thread, holding back only its own connection, and
//!   is alone in flight when it is proposed: what comes behind it is judged by the plugins it leaves.

use crate::consensus::{Consensus, Resolution, Role};
use crate::courtesy::Courtesy;
use crate::environment::Instant;
use crate::hooks;
use crate::limits;
use crate::model::ensemble::Server;
use crate::model::txn::{Batch, Outcome, Txn};
use crate::model::{ConnectionId, Refusal, acl};
use crate::pipeline::{Ask, Evaluation, Evaluator, Submission};
use crate::plugin::{Judge, admission};
use crate::replica::Replica;
use crate::replica::ensemble::reconfig::End;
use crate::replica::ordering::clocks::Clocks;
use crate::replica::ordering::inbox::Sleep;
use crate::replica::plugins::calls::NativeCall;
use crate::replica::process::OrDie;
use crate::simulation::{self, Seen};
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

/// What the sequencer hears of.
pub enum Event {
    /// By a client of this member, or by the server itself.
    Submitted(Submission),
    /// By somebody without a session, who waits for what a recipe returns.
    Called {
        submission: Submission,
        call: Box<NativeCall>,
    },
    /// By a client of another member, which passed it on to the leader of that term.
    Forwarded {
        submission: Submission,
        link: ServedLink,
    },
    /// What was found out off this thread about a deployment, a change of members or a transfer: it may go on, or is
    /// refused. Or a request has to find out anew who leads.
    Prepared(Waiting),
    /// How a reconfig ended that this leader took up in that term.
    Reconfigured {
        request: Waiting,
        term: u64,
        end: End,
    },
    Resolved {
        entry: u64,
        outcome: Resolution,
        /// There are native calls in it, which are answered when this is heard.
        awaited: bool,
    },
    Role(Role),
    /// There is a way to the leader.
    LinkUp(Link),
    /// It is lost.
    LinkEnded {
        number: u64,
    },
    /// Whether a quorum has acknowledged this leader of late. It is taken for granted until it is told otherwise.
    Lease {
        held: bool,
    },
    /// Resolve what is in flight, if there is a quorum, then end.
    Stop,
}

/// The way to a leader in another member (`replica::link`).
pub struct Link {
    /// Each has another.
    pub number: u64,
    /// Holds at most what the connections of this member may have unanswered (`limits::UNANSWERED_MAX` each).
    pub submissions: UnboundedSender<Submission>,
    /// The leader is about to hand over: requests wait for the next.
    pub holds_back: Arc<AtomicBool>,
}

impl Link {
    fn takes_requests(&self) -> bool {
        !self.holds_back.load(Ordering::Acquire)
    }
}

/// A link that another member has to this one, while it leads in that term (`replica::leading`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServedLink {
    pub number: u64,
    pub term: u64,
}

pub struct Sequencer<C> {
    replica: Arc<Replica>,
    consensus: C,
    evaluator: Evaluator,
    judge: Judge,
    clocks: Clocks,
    phase: Phase,
    /// Requests not yet evaluated or passed on, in order.
    waiting: VecDeque<Waiting>,
    /// Entries proposed and not resolved, in order.
    in_flight: VecDeque<InFlight>,
    /// Refused entries: their requests go before `waiting`, in order, when the chain starts anew.
    again: Vec<InFlight>,
    /// Connections with a deployment, a change of members or a transfer under way, and what came behind it.
    held: HashMap<ConnectionId, VecDeque<Waiting>>,
    /// Connections whose last write has an unknown outcome: nothing more of theirs is evaluated or passed on. As many as
    /// had writes in flight when a leadership was lost; connection ids are never used again, so nothing of this member's
    /// needs to leave the set.
    broken: HashSet<ConnectionId>,
    /// A change of plugins is in flight: evaluation waits until it has been applied.
    plugins_change: bool,
    /// See `Event::Lease`.
    lease_held: bool,
    /// Entries without effect since the last that had one.
    refused_in_a_row: u64,
    entry_next: u64,
    /// The last batch was of several requests. A lone one is not to wait for others.
    has_company: bool,
    stopping: bool,
}

/// What takes batches: consensus.
pub trait Proposes {
    /// Brings the batch into the log, in the order of the calls; `done` hears what became of it.
    fn propose_then(&self, batch: Batch, done: impl FnOnce(Resolution) + Send + 'static);
}

impl Proposes for Consensus {
    fn propose_then(&self, batch: Batch, done: impl FnOnce(Resolution) + Send + 'static) {
        Consensus::propose_then(self, batch, done);
    }
}

/// In the order in which a leadership goes through them.
enum Phase {
    /// Another member leads, or nobody: requests are passed on, or wait.
    Following { link: Option<Link> },
    /// Leads; evaluates and proposes.
    Leading { term: u64 },
    /// An entry was refused or fenced: waits for the rest of the chain to resolve, then starts a new one.
    Draining { term: u64 },
}

/// A request whose turn will come.
pub struct Waiting {
    pub submission: Submission,
    /// The way it came, if from another member.
    pub link: Option<ServedLink>,
    /// What was found out off this thread: None for what was not sent there; an error refuses it in its turn.
    pub verdict: Option<Result<(), Refusal>>,
    /// Who waits for what a native call returns.
    pub call: Option<Box<NativeCall>>,
}

impl Waiting {
    fn new(submission: Submission, link: Option<ServedLink>) -> Waiting {
        Waiting { submission, link, verdict: None, call: None }
    }

    fn connection(&self) -> Option<ConnectionId> {
        self.submission.caller.as_ref().map(|caller| caller.connection)
    }
}

struct InFlight {
    entry: u64,
    requests: Vec<Waiting>,
}

impl<C: Proposes> Sequencer<C> {
    pub fn new(replica: Arc<Replica>, consensus: C, judge: Judge, clocks: Clocks) -> Sequencer<C> {
        let evaluator = Evaluator::new(replica.rules.clone()).of(replica.config.server_id);
        Sequencer {
            replica,
            consensus,
            evaluator,
            judge,
            clocks,
            phase: Phase::Following { link: None },
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            again: Vec::new(),
            held: HashMap::new(),
            broken: HashSet::new(),
            plugins_change: false,
            lease_held: true,
            refused_in_a_row: 0,
            entry_next: 0,
            has_company: false,
            stopping: false,
        }
    }

    /// Runs until `Event::Stop` and everything proposed is resolved.
    pub fn run(mut self) {
        let _whole = OrDie("the sequencer");
        let replica = self.replica.clone();
        let mut courtesy = Courtesy::new();
        let mut events = Vec::new();
        while !self.is_done() {
            match self.sleep() {
                Sleep::Awake => replica.inbox.take(&mut events),
                sleep => {
                    replica.inbox.wait(&mut events, sleep);
                    if self.has_company {
                        // What others are about to ask is then in the same batch, which costs more than what is in it.
                        courtesy.let_others_go_first();
                        replica.inbox.take_more(&mut events);
                    }
                }
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

    /// Whether it has been asked to end, and what is in flight is resolved. A leader without a quorum does not wait for that:
    /// it may never be.
    pub(crate) fn is_done(&self) -> bool {
        self.stopping && (self.in_flight.is_empty() || !self.lease_held)
    }

    /// What it waits for before the next step.
    fn sleep(&self) -> Sleep {
        if self.may_evaluate() || self.may_pass_on() {
            return Sleep::Awake;
        }
        // With nothing to evaluate, and nothing that the end of an entry would set going, that end can wait.
        let idle = match self.phase {
            Phase::Leading { .. } => self.waiting.is_empty() && !self.stopping,
            Phase::Following { link: Some(_) } => self.in_flight.is_empty(),
            Phase::Following { link: None } | Phase::Draining { .. } => false,
        };
        if idle { Sleep::ForWork } else { Sleep::ForRoom }
    }

    /// Hears what happened, and does what may be done now.
    pub(crate) fn step(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.hear(event);
        }
        self.restart_chain_if_drained();
        if self.may_pass_on() {
            self.pass_on();
        }
        if !self.is_done() && self.may_evaluate() {
            self.propose_batch();
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Submitted(submission) => self.admit(Waiting::new(submission, None)),
            Event::Called { submission, call } => {
                self.admit(Waiting { call: Some(call), ..Waiting::new(submission, None) });
            }
            Event::Forwarded { submission, link } => {
                let request = Waiting::new(submission, Some(link));
                // What a recipe returns would not find its way back.
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
                self.end_leadership();
                self.lose_link();
                self.phase = Phase::Draining { term };
            }
            Event::Role(_) => {
                simulation::see(|| Seen::Follows);
                self.end_leadership();
                if self.term().is_some() {
                    self.phase = Phase::Following { link: None };
                }
            }
            Event::LinkUp(link) => {
                self.lose_link();
                if let Phase::Following { link: current } = &mut self.phase {
                    *current = Some(link);
                }
            }
            Event::LinkEnded { number } => {
                if matches!(&self.phase, Phase::Following { link: Some(link) } if link.number == number) {
                    self.lose_link();
                }
            }
            Event::Lease { held } => self.lease_held = held,
            Event::Stop => self.stopping = true,
        }
    }

    /// The term it leads in.
    fn term(&self) -> Option<u64> {
        match self.phase {
            Phase::Following { .. } => None,
            Phase::Leading { term } | Phase::Draining { term } => Some(term),
        }
    }

    /// Whether it was passed on to a leadership that is over. Its member has closed the connection.
    fn is_void(&self, request: &Waiting) -> bool {
        request.link.is_some_and(|link| Some(link.term) != self.term())
    }

    /// Drops what others passed on; what deployments were found to be, they were for this leadership.
    fn end_leadership(&mut self) {
        self.replica.ends_to_lead();
        self.lease_held = true;
        self.waiting.retain(|request| request.link.is_none());
        self.waiting.iter_mut().for_each(|request| request.verdict = None);
        // The next leader writes the configuration itself; whether it is what was asked for, its caller had better look.
        let waiting = std::mem::take(&mut self.waiting);
        let (configures, others) = waiting
            .into_iter()
            .partition::<VecDeque<_>, _>(|request| matches!(request.submission.ask, Ask::Configure { .. }));
        self.waiting = others;
        for request in configures {
            self.replica.close_caller(&request);
            self.broken.extend(request.connection());
        }
        self.held.values_mut().for_each(|behind| behind.retain(|request| request.link.is_none()));
        let connections = &self.replica.connections;
        self.broken.retain(|&connection| connections.is_ours(connection));
    }

    /// What was passed on and is not applied has an unknown outcome.
    fn lose_link(&mut self) {
        if let Phase::Following { link } = &mut self.phase
            && link.take().is_some()
        {
            self.broken.extend(self.replica.connections.break_passed_on());
        }
    }

    fn may_pass_on(&self) -> bool {
        matches!(&self.phase, Phase::Following { link: Some(link) } if link.takes_requests())
            && self.in_flight.is_empty()
            && !self.waiting.is_empty()
    }

    fn pass_on(&mut self) {
        let Phase::Following { link: Some(link) } = &self.phase else { return };
        while let Some(request) = self.waiting.pop_front() {
            // The server's own are for a leader to ask.
            let Some(connection) = request.connection() else { continue };
            if let Some(call) = request.call {
                call.not_leading(self.replica.other_leader());
            } else if self.broken.contains(&connection) {
                self.replica.connections.metrics().stale_requests.increment();
            } else if link.submissions.is_closed() || !link.takes_requests() {
                // Word of its end is under way.
                return self.waiting.push_front(request);
            } else {
                // First noted, then sent: it may be applied here before `send` returns. A link that ends in between has
                // its connection closed.
                self.replica.connections.pass_on(connection);
                let _ = link.submissions.send(request.submission);
            }
        }
    }

    fn admit(&mut self, request: Waiting) {
        let connection = request.connection();
        if let Some(held) = connection.and_then(|connection| self.held.get_mut(&connection)) {
            held.push_back(request);
        } else if let (Some(connection), None, Some(_)) = (connection, &request.verdict, self.term())
            && deploys(&request.submission)
        {
            self.held.insert(connection, VecDeque::new());
            self.replica.prepare_deployment(request);
        } else {
            self.waiting.push_back(request);
        }
    }

    fn prepared(&mut self, mut request: Waiting) {
        let behind = request.connection().and_then(|connection| self.held.remove(&connection)).unwrap_or_default();
        if !self.is_void(&request) {
            if self.term().is_none() {
                request.verdict = None;
            }
            self.waiting.push_back(request);
        }
        for request in behind {
            self.admit(request);
        }
    }

    /// Sets a request apart, with all that its connection asked behind it.
    fn hold(&mut self, connection: ConnectionId) {
        let (behind, others) = self.waiting.drain(..).partition(|request| request.connection() == Some(connection));
        self.waiting = others;
        self.held.insert(connection, behind);
    }

    fn take_up_reconfig(&mut self, request: Waiting, servers: Vec<Server>) {
        let (Some(connection), Some(term)) = (request.connection(), self.term()) else { return };
        self.hold(connection);
        self.evaluator.reconfigures(true);
        self.replica.reconfigure(request, servers, term);
    }

    fn take_up_transfer(&mut self, request: Waiting, to: u32) {
        let Some(connection) = request.connection() else { return };
        self.hold(connection);
        self.replica.transfer(request, to);
    }

    fn reconfigured(&mut self, mut request: Waiting, term: u64, end: End) {
        let still_leads = self.term() == Some(term);
        if still_leads {
            self.evaluator.reconfigures(false);
        }
        match end {
            // Another leader writes what there is to be written: it sees the members.
            End::Done(servers) if still_leads => request.submission.ask = Ask::Configure { servers },
            End::Refused(refusal) if still_leads => request.verdict = Some(Err(refusal)),
            End::Refused(_) | End::HandedOver => {}
            End::Done(_) | End::Unknown => {
                if !self.is_void(&request) {
                    self.replica.close_caller(&request);
                    self.broken.extend(request.connection());
                }
                // What it asked behind it shares its fate.
                if let Some(connection) = request.connection() {
                    self.held.remove(&connection);
                }
                return;
            }
        }
        self.prepared(request);
    }

    fn resolved(&mut self, entry: u64, outcome: Resolution) {
        simulation::see(|| Seen::Resolved { entry, outcome });
        // A refusal may overtake the outcome of an entry before it.
        let at = self.in_flight.iter().position(|in_flight| in_flight.entry == entry);
        let resolved = at.and_then(|at| self.in_flight.remove(at)).expect("an entry resolves once");
        match outcome {
            Resolution::Applied { accepted: true, .. } => {
                self.refused_in_a_row = 0;
                resolved.requests.into_iter().filter_map(|request| request.call).for_each(|call| call.applied());
            }
            Resolution::Applied { accepted: false, .. } | Resolution::Refused => {
                debug!(entry, "an entry had no effect: its requests are evaluated again");
                self.refused_in_a_row += 1;
                if self.refused_in_a_row > 1 {
                    // Consensus takes nothing at the moment: to ask at once again and again would only burn the processor.
                    self.lease_held = false;
                    self.replica.word.doubt_lease();
                }
                self.again.push(resolved);
                self.break_chain();
            }
            Resolution::Unknown => {
                for request in resolved.requests {
                    if !self.is_void(&request) {
                        self.replica.close_caller(&request);
                        self.broken.extend(request.connection());
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
        for request in std::mem::take(&mut self.again).into_iter().flat_map(|refused| refused.requests).rev() {
            if !self.is_void(&request) {
                self.waiting.push_front(request);
            }
        }
        if let Phase::Draining { term } = self.phase {
            let replica = self.replica.clone();
            let state = replica.state.read();
            let new_leadership = self.clocks.lead(term, &state);
            let ahead = self.clocks.ensemble_ms().wrapping_sub(replica.now_ms()).cast_signed();
            replica.ensemble_ahead_ms.store(ahead, Ordering::Release);
            self.evaluator.start_chain(&state, new_leadership);
            drop(state);
            self.phase = Phase::Leading { term };
            simulation::see(|| Seen::Leads { term });
            if new_leadership {
                // Deployments among them have not been looked at.
                for request in std::mem::take(&mut self.waiting) {
                    self.admit(request);
                }
                self.evaluator.reconfigures(false);
                if let Some(servers) = replica.configuration_to_write() {
                    let submission = Submission::own(Ask::Configure { servers });
                    self.waiting.push_front(Waiting::new(submission, None));
                }
                // The first of all: nothing is evaluated behind these before they are applied.
                for blame in replica.plugins.crashes(replica.config.server_id) {
                    let submission = Submission::own(Ask::Blame(blame));
                    self.waiting.push_front(Waiting::new(submission, None));
                }
            }
            replica.begins_to_lead(term, new_leadership);
            if new_leadership {
                replica.runtime.spawn(replica.clone().put_members_right());
            }
        }
    }

    fn may_evaluate(&self) -> bool {
        matches!(self.phase, Phase::Leading { .. })
            && !self.waiting.is_empty()
            && !self.plugins_change
            && self.lease_held
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
        self.has_company = requests.len() > 1;
        if txns.is_empty() {
            return;
        }
        let proposed = Instant::now();
        let metrics = self.replica.connections.metrics();
        metrics.requests_in_session_queue.add(waiting);
        metrics.prep_process_time.add((proposed - began).as_millis() as u64);
        metrics.proposal_count.add(txns.len() as u64);
        let entry = self.entry_next;
        let registry = self.judge.registry();
        simulation::see(|| Seen::Proposed { entry, txns: &txns, registry });
        let batch = Batch { term, prev, digest: self.replica.soundness.latest(), txns: Arc::new(txns) };
        self.entry_next += 1;
        let awaited = requests.iter().any(|request| request.call.is_some());
        self.in_flight.push_back(InFlight { entry, requests });
        let replica = self.replica.clone();
        self.consensus.propose_then(batch, move |outcome| {
            if let Resolution::Applied { .. } = outcome {
                replica.connections.metrics().proposal_latency.add(proposed.elapsed().as_millis() as u64);
            }
            replica.inbox.put(Event::Resolved { entry, outcome, awaited });
        });
    }

    /// Evaluates a few requests under one shared lock: few enough that applying, which needs the lock for itself, does
    /// not wait long.
    fn evaluate_some(&mut self, txns: &mut Vec<Txn>, requests: &mut Vec<Waiting>, bytes: &mut usize) {
        let replica = self.replica.clone();
        let state = replica.state.read();
        for _ in 0..limits::EVALUATED_PER_LOCK {
            let Some(mut request) = self.waiting.pop_front() else { return };
            let connection = request.connection();
            if connection.is_some_and(|connection| self.broken.contains(&connection)) {
                replica.connections.metrics().stale_requests.increment();
                continue;
            }
            if let Ask::CloseSession { session, expired: true } = request.submission.ask
                && (!replica.connections.expiry().is_due(session, replica.connections.now_us() / 1000)
                    || self.evaluator.is_coming_back(&state, session))
            {
                // It was heard, or a leadership granted it more time, while the request waited; or it is just coming back.
                continue;
            }
            let moment = self.clocks.now();
            let evaluation = match &request.verdict {
                None | Some(Ok(())) => self.evaluator.evaluate(&state, &request.submission, moment, &mut self.judge),
                Some(Err(refusal)) => self.evaluator.refuse(&state, &request.submission, moment, refusal),
            };
            match evaluation {
                Evaluation::Txn(txn) => {
                    let txn = if hooks::refusals_wait() {
                        txn
                    } else {
                        replica.connections.answer_refusal_early(&state, &mut replica.watches.lock(), txn)
                    };
                    let size = weight(&txn);
                    replica.connections.metrics().proposal_size.add(size as u64);
                    *bytes += size;
                    if let Some(call) = &mut request.call {
                        let returned = self.evaluator.take_reply().unwrap_or_default();
                        call.outcome = Some(match &txn.outcome {
                            Outcome::Refused(refusal) => Err(refusal.clone()),
                            Outcome::Done(_) | Outcome::MultiRefused { .. } => Ok(returned),
                        });
                    }
                    let changes_plugins = admission::touches(&txn);
                    txns.push(txn);
                    requests.push(request);
                    if changes_plugins && hooks::waits_for_deployment() {
                        self.plugins_change = true;
                        return;
                    }
                }
                Evaluation::Close => replica.close_caller(&request),
                Evaluation::Nothing => {}
                Evaluation::Reconfigure(servers) => self.take_up_reconfig(request, servers),
                Evaluation::Transfer(to) => self.take_up_transfer(request, to),
            }
        }
    }
}

/// Roughly the bytes that a transaction will take in the log, and on the way to the other members: whatever a client or a
/// guest can make large counts.
fn weight(txn: &Txn) -> usize {
    use crate::model::txn::{Change::*, Slot};
    let changes = txn.changes.iter().map(|change| match change {
        Create { path, data, acl, .. } => {
            64 + path.len() + data.as_ref().map_or(0, |data| data.len()) + acl::bytes(acl)
        }
        SetData { path, data, .. } => 32 + path.len() + data.as_ref().map_or(0, |data| data.len()),
        Delete { path } => 16 + path.len(),
        SetAcl { path, acl, .. } => 32 + path.len() + acl::bytes(acl),
        OpenSession { .. } | AttachSession { .. } | CloseSession { .. } | RaiseFormatLevel { .. } => 64,
    });
    let outcome = match &txn.outcome {
        Outcome::Done(slots) => slots
            .iter()
            .map(|slot| match slot {
                Slot::Nothing | Slot::Change(_) => 4,
                Slot::Path(path) => 8 + path.len(),
            })
            .sum(),
        Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. } => 16 + refusal.text.len(),
    };
    let made_by: usize = txn.made_by.iter().map(|made| 16 + made.plugin.len()).sum();
    32 + changes.sum::<usize>() + outcome + made_by
}

fn deploys(submission: &Submission) -> bool {
    matches!(&submission.ask, Ask::Request(request) if admission::concerns(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acl::AclEntry;
    use crate::model::txn::{Change, Slot};
    use crate::model::{Acl, ErrorCode, Identity, Zxid};
    use std::sync::Arc;

    /// A batch has to fit into one message to another member, whatever its transactions are made of.
    #[test]
    fn what_a_client_can_make_large_has_its_weight() {
        let path: Arc<str> = Arc::from("/x".repeat(500));
        let entry =
            |n: u32| AclEntry { permissions: 31, who: Identity::new("digest", format!("user{n}:{}", "h".repeat(28))) };
        let acl: Acl = (0..5_000).map(entry).collect();
        let done = |change| (Outcome::Done(vec![Slot::Change(0)]), vec![change]);
        let refusal = Refusal::new(ErrorCode::BadArguments, "t".repeat(1_000));
        for (outcome, changes) in [
            done(Change::SetAcl { path: path.clone(), acl, aversion: 1 }),
            (Outcome::Done(vec![Slot::Nothing; 2_000]), vec![Change::Delete { path: path.clone() }; 2_000]),
            (Outcome::Done(vec![Slot::Path(path.to_string()); 2_000]), vec![]),
            (Outcome::MultiRefused { failed: 7, operations: 30_000, refusal }, vec![]),
        ] {
            let (zxid, origin, made_by) = (Zxid(1), None, vec![]);
            let txn = Txn { zxid, wall_ms: 1, ensemble_ms: 1, origin, outcome, changes, made_by };
            let bytes = postcard::to_allocvec(&txn).unwrap().len();
            let weight = weight(&txn);
            assert!(weight >= bytes && weight <= 2 * bytes, "{weight} for {bytes} bytes");
        }
    }
}
