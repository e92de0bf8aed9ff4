//! A member's link to its leader: one `Requests` connection at a time, for as long as that member leads.
//!
//! The link has two entrances. The sequencer passes requests on through `Forwarding`; they leave in order. All other
//! code asks and tells the leader through `LeaderLink`. These come back over the link: the log index that a `sync`
//! waits for, connections to close, and the leader's answers to reports, which renew the serving lease. Answers to
//! writes do not come back here; they are applied like all other transactions.
//!
//! ```text
//! a follower                                                    the leader (`follower_links`)
//!
//! sequencer ------ Forwarding --+                           +--> sequencer: a request carries its FollowerLinkId
//!                               +-- a Requests connection --+
//! all other code - LeaderLink --+                           +--> FollowerLinks: what the leader sends back
//! ```
//!
//! A link that has ended is never continued. The next connection is a new link, and the sequencer closes the
//! connections that had a request under way.
//!
//! The link also notices at once when the leader's process is gone: the connection ends, and the leader's machine
//! refuses a new one. In this case, and in no other, members need not wait for the leader's lease to run out.

use super::Ensemble;
use crate::consensus::Role;
use crate::limits;
use crate::model::SessionId;
use crate::peer::messages::requests::{FromLeader, ToLeader};
use crate::peer::{Backoff, ConnectError, Connection, FrameReader, FrameWriter, HelloRefusal, Peers, Purpose};
use crate::pipeline::Submission;
use crate::replica::Replica;
use crate::replica::ordering::event::Event;
use crate::replica::plugins::{blame, prepare};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};

/// The sequencer's entrance to a link: requests of this member's clients.
pub(crate) struct Forwarding {
    /// Links have growing numbers.
    pub(crate) number: u64,
    /// Holds at most what the connections of this member may have unanswered (`limits::UNANSWERED_MAX` each).
    submissions: UnboundedSender<Submission>,
    /// The leader is about to hand over: requests wait for the next leader.
    holds_back: Arc<AtomicBool>,
}

impl Forwarding {
    pub(in crate::replica) fn new(
        number: u64,
        submissions: UnboundedSender<Submission>,
        holds_back: Arc<AtomicBool>,
    ) -> Forwarding {
        Forwarding { number, submissions, holds_back }
    }

    /// Whether the leader takes requests. False once it is about to hand over.
    pub(in crate::replica) fn takes_requests(&self) -> bool {
        !self.holds_back.load(Ordering::Acquire)
    }

    /// Whether the link has ended.
    pub(in crate::replica) fn is_closed(&self) -> bool {
        self.submissions.is_closed()
    }

    /// Sends the request after all earlier ones. If the link ends first, the request is lost.
    pub(in crate::replica) fn send(&self, submission: Submission) {
        let _ = self.submissions.send(submission);
    }
}

/// The entrance to the current link for all other code. None while there is no link.
#[derive(Default)]
pub(crate) struct LeaderLink(Mutex<Option<UnboundedSender<Outgoing>>>);

enum Outgoing {
    ReadIndex(ReadIndexReply),
    /// A complaint about a plugin, or the answer to `FromLeader::Compile`. There are few of these.
    Message(ToLeader),
}

/// Gets the answer to a ReadIndex. Each connection has at most one `sync` under way, and so at most one of these.
type ReadIndexReply = oneshot::Sender<u64>;

impl LeaderLink {
    /// The log index that this member must have applied, so that a reader sees everything acknowledged before now.
    /// None: there is no leader, or it did not answer.
    pub(super) async fn read_index(&self) -> Option<u64> {
        let (asked, answer) = oneshot::channel();
        let link = self.0.lock().clone()?;
        link.send(Outgoing::ReadIndex(asked)).ok()?;
        answer.await.ok()
    }

    /// Sends the message to the leader. It is lost if there is no link.
    pub(in crate::replica) fn tell(&self, message: ToLeader) {
        if let Some(link) = &*self.0.lock() {
            // An error means that the link has just ended.
            let _ = link.send(Outgoing::Message(message));
        }
    }

    fn set(&self, link: Option<UnboundedSender<Outgoing>>) {
        *self.0.lock() = link;
    }
}

/// How a link has ended, or why there is none.
enum LinkEnd {
    /// The link to the leader of that term was up and has ended. The leader's process may be gone.
    Lost { term: u64 },
    /// Nobody listens at the leader's addresses.
    Refused,
    /// The leader has no member of this number.
    NoMember,
    /// Another attempt may succeed.
    Failed(String),
}

/// Keeps a link to the leader, whichever member that is. Ends with consensus.
pub(in crate::replica) async fn follow(replica: Arc<Replica>, peers: Arc<Peers>) {
    let ensemble = &replica.ensemble;
    let mut role = ensemble.consensus().role();
    let mut backoff = Backoff::default();
    let mut lost: Option<(u64, u64)> = None;
    let mut number = 0;
    loop {
        let now = *role.borrow_and_update();
        let Role::Follower { leader: Some(leader) } = now else {
            lost = None;
            if now == Role::Stopped || role.changed().await.is_err() {
                return;
            }
            continue;
        };
        number += 1;
        let mut later = role.clone();
        let end = tokio::select! {
            biased;
            _ = later.wait_for(|role| *role != now) => None,
            end = run(&replica, &peers, leader, number) => Some(end),
        };
        ensemble.leader_link.set(None);
        replica.order.inbox.put(Event::LinkEnded { number });
        match end {
            None => backoff.reset(),
            Some(LinkEnd::Lost { term }) => {
                tracing::debug!(leader, "the link to the leader has ended");
                backoff.reset();
                lost = Some((leader, term));
            }
            Some(LinkEnd::Refused) if lost.is_some_and(|(lost, _)| lost == leader) => {
                if let Some((leader, term)) = lost.take() {
                    ensemble.replace_leader(leader, term).await;
                }
            }
            Some(LinkEnd::Refused) => backoff.wait().await,
            Some(LinkEnd::NoMember) => {
                ensemble.lease.set_turned_out(true);
                backoff.wait().await;
            }
            Some(LinkEnd::Failed(error)) => {
                tracing::debug!(leader, error, "no link to the leader");
                backoff.wait().await;
            }
        }
    }
}

/// Opens a link and serves it until it ends.
async fn run(replica: &Arc<Replica>, peers: &Peers, leader: u64, number: u64) -> LinkEnd {
    let ensemble = &replica.ensemble;
    let Some(member) = ensemble.consensus().membership().members.get(&leader).cloned() else {
        return LinkEnd::Failed("it is no member that this one knows".to_owned());
    };
    let connection = match peers.connect(&member.server, Some(member.incarnation), Purpose::Requests).await {
        Ok(connection) => connection,
        Err(ConnectError::Refused) => return LinkEnd::Refused,
        Err(ConnectError::Rejected(HelloRefusal::UnknownMember { id })) if id == ensemble.config.server_id => {
            return LinkEnd::NoMember;
        }
        Err(error) => return LinkEnd::Failed(error.to_string()),
    };
    let Connection { mut reader, mut writer, .. } = connection;
    let begun = tokio::time::timeout(limits::LINK_BEGIN_MAX, begin(&mut reader, &mut writer)).await;
    let term = match begun {
        Ok(Ok(Some(term))) => term,
        Ok(Ok(None)) => return LinkEnd::Failed("it does not lead".to_owned()),
        Ok(Err(error)) => return LinkEnd::Failed(error.to_string()),
        Err(_) => return LinkEnd::Failed("it did not answer in time".to_owned()),
    };
    let (submissions, submitted) = mpsc::unbounded_channel();
    let (others, outgoing) = mpsc::unbounded_channel();
    ensemble.lease.set_turned_out(false);
    ensemble.leader_link.set(Some(others));
    let holds_back = Arc::new(AtomicBool::new(false));
    replica.order.inbox.put(Event::LinkUp(Forwarding::new(number, submissions, holds_back.clone())));
    let link = ActiveLink {
        replica,
        holds_back,
        asked_to_hold_back: Notify::new(),
        waiting: Mutex::new(HashMap::new()),
        reports: Mutex::new(VecDeque::new()),
        answered_us: AtomicU64::new(ensemble.clock.lease_us()),
    };
    let ended = tokio::select! {
        biased;
        ended = link.listen(&mut reader) => ended,
        ended = link.speak(&mut writer, submitted, outgoing) => ended,
        error = link.silence() => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(leader, %error, "the link to the leader");
    }
    LinkEnd::Lost { term }
}

/// Asks the leader to take requests. Returns the term it leads in; None: it does not lead.
async fn begin(reader: &mut FrameReader, writer: &mut FrameWriter) -> io::Result<Option<u64>> {
    writer.send(&ToLeader::Begin).await?;
    match reader.next().await? {
        Some(FromLeader::Begun { term }) => Ok(Some(term)),
        Some(FromLeader::NotLeading) | None => Ok(None),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the leader's first message is not `Begun`")),
    }
}

/// A link that is up, in both directions.
struct ActiveLink<'a> {
    replica: &'a Arc<Replica>,
    /// Shared with the sequencer, as part of `Forwarding`.
    holds_back: Arc<AtomicBool>,
    asked_to_hold_back: Notify,
    /// The questions for a read index that the leader has not answered, by number.
    waiting: Mutex<HashMap<u64, ReadIndexReply>>,
    /// Number and time of each report that the leader has not answered, oldest first; by
    /// `Clock::lease_us`.
    ///
    /// Invariant: numbers grow and times do not decrease. At most `limits::REPORTS_UNANSWERED_MAX`.
    reports: Mutex<VecDeque<(u64, u64)>>,
    /// When the leader last answered a report, or the link came up; microseconds of the server's clock.
    answered_us: AtomicU64,
}

impl ActiveLink<'_> {
    async fn listen(&self, reader: &mut FrameReader) -> io::Result<()> {
        while let Some(message) = reader.next().await? {
            match message {
                FromLeader::Close(connection) => self.replica.order.connections.closed_by_leader(connection),
                FromLeader::HoldBack => {
                    self.holds_back.store(true, Ordering::Release);
                    self.asked_to_hold_back.notify_one();
                }
                FromLeader::ReadIndexAt { id, index } => {
                    if let Some(asked) = self.waiting.lock().remove(&id) {
                        // An error means that nobody waits any more.
                        let _ = asked.send(index);
                    }
                }
                FromLeader::Compile { id, manifest } => prepare::compile_for_leader(self.replica, id, &manifest),
                FromLeader::HeardBy { number } => self.report_answered(number),
                FromLeader::Begun { .. } | FromLeader::NotLeading => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that has no place here"));
                }
            }
        }
        Ok(())
    }

    /// The leader has answered the report of that number: the serving lease starts when the report was sent.
    fn report_answered(&self, number: u64) {
        let ensemble = &self.replica.ensemble;
        self.answered_us.store(ensemble.clock.lease_us(), Ordering::Relaxed);
        let mut reports = self.reports.lock();
        while let Some(&(sent, at_us)) = reports.front()
            && sent <= number
        {
            reports.pop_front();
            if sent == number {
                ensemble.lease.renew(at_us);
            }
        }
    }

    /// Returns when no report has been answered for twice the serving lease. By then this member serves nobody. The
    /// connection may have lost one of its directions, and nothing else would show that.
    async fn silence(&self) -> io::Error {
        let ensemble = &self.replica.ensemble;
        let lasts = ensemble.lease.lasts();
        loop {
            tokio::time::sleep(lasts / 2).await;
            let answered_us = self.answered_us.load(Ordering::Relaxed);
            let silent = Duration::from_micros(ensemble.clock.lease_us().saturating_sub(answered_us));
            if silent > 2 * lasts {
                return io::Error::new(io::ErrorKind::TimedOut, "the leader answers no report");
            }
        }
    }

    /// Returns when the leader has asked this member to hold back, and every request passed on is applied here.
    async fn held_back(&self) {
        self.asked_to_hold_back.notified().await;
        while self.replica.order.connections.passed_on() > 0 {
            tokio::time::sleep(limits::DRAIN_LOOK_INTERVAL).await;
        }
    }

    async fn speak(
        &self,
        writer: &mut FrameWriter,
        mut submitted: UnboundedReceiver<Submission>,
        mut outgoing: UnboundedReceiver<Outgoing>,
    ) -> io::Result<()> {
        let mut ids = 0;
        let mut last_report = LastReport::default();
        let mut last_blame = None;
        let mut tick = tokio::time::interval(self.replica.ensemble.lease.report_interval());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut held_back = std::pin::pin!(self.held_back());
        let mut is_held_back = false;
        loop {
            tokio::select! {
                biased;
                () = &mut held_back, if !is_held_back => {
                    is_held_back = true;
                    writer.queue(&ToLeader::HeldBack).await?;
                }
                _ = tick.tick() => {
                    self.report(writer, &mut last_report).await?;
                    for blame in blame::crashes_to_report(self.replica, &mut last_blame) {
                        writer.queue(&ToLeader::Blame(blame)).await?;
                    }
                }
                Some(message) = outgoing.recv() => match message {
                    Outgoing::ReadIndex(asked) => {
                        ids += 1;
                        self.waiting.lock().insert(ids, asked);
                        writer.queue(&ToLeader::ReadIndex { id: ids }).await?;
                    }
                    Outgoing::Message(message) => writer.queue(&message).await?,
                },
                submission = submitted.recv() => {
                    // None: the sequencer has dropped its `Forwarding`.
                    let Some(submission) = submission else { return Ok(()) };
                    writer.queue(&ToLeader::Submit(submission)).await?;
                    // A report must not wait until the clients pause.
                    while !writer.is_full() && let Ok(submission) = submitted.try_recv() {
                        writer.queue(&ToLeader::Submit(submission)).await?;
                    }
                }
            }
            writer.flush().await?;
        }
    }

    /// Tells the leader which sessions this member has heard from since the last report.
    async fn report(&self, writer: &mut FrameWriter, last: &mut LastReport) -> io::Result<()> {
        let clock = self.replica.ensemble.clock;
        let sessions: Vec<SessionId> = self.replica.order.connections.heard_since(last.heard_until_ms);
        last.heard_until_ms = clock.now_ms();
        last.number += 1;
        self.note_report(last.number, clock.lease_us());
        let mut pieces = sessions.chunks(limits::REPORT_SESSIONS_MAX).peekable();
        while let Some(piece) = pieces.next()
            && pieces.peek().is_some()
        {
            writer.queue(&ToLeader::Heard { number: None, sessions: piece.to_vec() }).await?;
        }
        let rest = sessions.chunks(limits::REPORT_SESSIONS_MAX).last().unwrap_or_default().to_vec();
        writer.queue(&ToLeader::Heard { number: Some(last.number), sessions: rest }).await
    }

    fn note_report(&self, number: u64, now_us: u64) {
        let mut reports = self.reports.lock();
        if let Some(&(last, at_us)) = reports.back() {
            assert!(number > last && now_us >= at_us, "reports are sent in order: {number} after {last}");
        }
        reports.push_back((number, now_us));
        if reports.len() > limits::REPORTS_UNANSWERED_MAX {
            reports.pop_front();
        }
        assert!(reports.len() <= limits::REPORTS_UNANSWERED_MAX, "old reports make room for new ones");
    }
}

/// What was reported last on a link.
#[derive(Default)]
struct LastReport {
    number: u64,
    /// Sessions heard from before this time were reported; milliseconds of the server's clock.
    heard_until_ms: u64,
}

impl Ensemble {
    /// Elects another leader at once. Called when the leader of that term has closed its connection, and its machine
    /// says that nobody listens any more. Voters that find this out try one after the other, so that they do not stand
    /// against each other.
    async fn replace_leader(&self, leader: u64, term: u64) {
        let me = u64::from(self.config.server_id);
        let voters = self.consensus().membership().voters;
        if let Some(rank) = voters.iter().filter(|&&voter| voter != leader).position(|&voter| voter == me) {
            // A membership has at most 254 voters, so the cast loses nothing.
            tokio::time::sleep(limits::TAKE_OVER_STAGGER * rank as u32).await;
            if *self.consensus().role().borrow() == (Role::Follower { leader: Some(leader) }) {
                tracing::info!(leader, term, "the leader's process is gone: another one is elected at once");
                self.consensus().take_over(term).await;
            }
        }
        tokio::time::sleep(limits::TAKE_OVER_STAGGER).await;
    }
}
