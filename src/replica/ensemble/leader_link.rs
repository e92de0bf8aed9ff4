//! The way to a leader in another member: one `Requests` connection at a time, for as long as that one leads.
//!
//! What the sequencer passes on leaves in order. Answers to writes do not come back here but are applied like everything
//! else; back come the places up to which a `sync` waits, connections to be closed, and the word that there still is a
//! leader. A link that ends is never continued: the next connection is a new one, and the sequencer closes whoever had
//! something under way.
//!
//! ```text
//! a follower                                                   the leader (`leading`)
//!
//! sequencer --- Link ---+                                +---> sequencer, which knows the way as a ServedLink
//!                       +--- a Requests connection ------+
//! the rest  --- Way ----+                                +---> Served: each is a MemberLink, for others a LinkedMember
//! ```
//!
//! It is also the one that notices that the leader's process is gone: the connection ends, and its machine refuses
//! another. Then, and only then, nobody has to wait for the lease to run out.

use crate::consensus::Role;
use crate::limits;
use crate::model::SessionId;
use crate::peer::messages::requests::{FromLeader, ToLeader};
use crate::peer::{Backoff, ConnectError, Connection, FrameReader, FrameWriter, Peers, Purpose};
use crate::pipeline::Submission;
use crate::replica::Replica;
use crate::replica::ordering::sequencer::{Event, Link};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};

/// Where the rest of the replica asks or tells the leader something: gone with the link.
#[derive(Default)]
pub struct Way(Mutex<Option<UnboundedSender<Outgoing>>>);

enum Outgoing {
    ReadIndex(ReadIndexReply),
    /// Few: what a plugin is blamed for, what was compiled.
    Message(ToLeader),
}

/// Gets the answer to a ReadIndex. As many wait as connections have a `sync` under way: one each.
type ReadIndexReply = oneshot::Sender<u64>;

impl Way {
    /// What must be applied here for a reader to see all that was acknowledged before now; None: nobody can say.
    pub async fn read_index(&self) -> Option<u64> {
        let (asked, answer) = oneshot::channel();
        let way = self.0.lock().clone()?;
        way.send(Outgoing::ReadIndex(asked)).ok()?;
        answer.await.ok()
    }

    /// Nobody hears it if there is no leader.
    pub fn tell(&self, message: ToLeader) {
        if let Some(way) = &*self.0.lock() {
            // A link that has just ended.
            let _ = way.send(Outgoing::Message(message));
        }
    }

    fn set(&self, way: Option<UnboundedSender<Outgoing>>) {
        *self.0.lock() = way;
    }
}

/// How a link came to its end, or why there is none.
enum End {
    /// It was there, and is no more: the leader's process may be.
    Lost { term: u64 },
    /// Nobody listens at the leader's addresses.
    Refused,
    /// Worth another try.
    Failed(String),
}

/// Keeps a link to whoever leads, until consensus ends.
pub async fn follow(replica: Arc<Replica>, peers: Arc<Peers>) {
    let mut role = replica.consensus().role();
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
        replica.way.set(None);
        replica.inbox.put(Event::LinkEnded { number });
        match end {
            None => backoff.reset(),
            Some(End::Lost { term }) => {
                tracing::debug!(leader, "the link to the leader has ended");
                backoff.reset();
                lost = Some((leader, term));
            }
            Some(End::Refused) if lost.is_some_and(|(lost, _)| lost == leader) => {
                if let Some((leader, term)) = lost.take() {
                    replica.replace_leader(leader, term).await;
                }
            }
            Some(End::Refused) => backoff.wait().await,
            Some(End::Failed(error)) => {
                tracing::debug!(leader, error, "no link to the leader");
                backoff.wait().await;
            }
        }
    }
}

async fn run(replica: &Arc<Replica>, peers: &Peers, leader: u64, number: u64) -> End {
    let Some(member) = replica.consensus().membership().members.get(&leader).cloned() else {
        return End::Failed("it is no member that this one knows".to_owned());
    };
    let connection = match peers.connect(&member.server, Some(member.incarnation), Purpose::Requests).await {
        Ok(connection) => connection,
        Err(ConnectError::Refused) => return End::Refused,
        Err(error) => return End::Failed(error.to_string()),
    };
    let Connection { mut reader, mut writer, .. } = connection;
    let begun = tokio::time::timeout(limits::LINK_BEGIN_MAX, begin(&mut reader, &mut writer)).await;
    let term = match begun {
        Ok(Ok(Some(term))) => term,
        Ok(Ok(None)) => return End::Failed("it does not lead".to_owned()),
        Ok(Err(error)) => return End::Failed(error.to_string()),
        Err(_) => return End::Failed("it did not answer in time".to_owned()),
    };
    let (submissions, submitted) = mpsc::unbounded_channel();
    let (asks, asked) = mpsc::unbounded_channel();
    replica.way.set(Some(asks));
    let holds_back = Arc::new(AtomicBool::new(false));
    replica.inbox.put(Event::LinkUp(Link { number, submissions, holds_back: holds_back.clone() }));
    let talk = Talk {
        replica,
        holds_back,
        asked_to_hold_back: Notify::new(),
        waiting: Mutex::new(HashMap::new()),
        reports: Mutex::new(VecDeque::new()),
        answered_us: AtomicU64::new(replica.connections.now_us()),
    };
    let ended = tokio::select! {
        biased;
        ended = talk.listen(&mut reader) => ended,
        ended = talk.speak(&mut writer, submitted, asked) => ended,
        error = talk.silence() => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(leader, %error, "the link to the leader");
    }
    End::Lost { term }
}

/// The term that the leader takes requests in; None: it does not lead.
async fn begin(reader: &mut FrameReader, writer: &mut FrameWriter) -> io::Result<Option<u64>> {
    writer.send(&ToLeader::Begin).await?;
    match reader.next().await? {
        Some(FromLeader::Begun { term }) => Ok(Some(term)),
        Some(FromLeader::NotLeading) | None => Ok(None),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the leader's first message is not `Begun`")),
    }
}

/// Both directions of a link.
struct Talk<'a> {
    replica: &'a Arc<Replica>,
    /// Shared with the sequencer: nothing more is to be passed on.
    holds_back: Arc<AtomicBool>,
    asked_to_hold_back: Notify,
    /// Who waits for the answer to which ReadIndex.
    waiting: Mutex<HashMap<u64, ReadIndexReply>>,
    /// Reports without an answer, and when they were sent: microseconds of the connections' clock.
    reports: Mutex<VecDeque<(u64, u64)>>,
    /// When the last report was answered, or the link came up: microseconds of the connections' clock.
    answered_us: AtomicU64,
}

impl Talk<'_> {
    async fn listen(&self, reader: &mut FrameReader) -> io::Result<()> {
        while let Some(message) = reader.next().await? {
            match message {
                FromLeader::Close(connection) => self.replica.close_connection(connection),
                FromLeader::HoldBack => {
                    self.holds_back.store(true, Ordering::Release);
                    self.asked_to_hold_back.notify_one();
                }
                FromLeader::ReadIndexAt { id, index } => {
                    if let Some(asked) = self.waiting.lock().remove(&id) {
                        // Whoever asked may have gone.
                        let _ = asked.send(index);
                    }
                }
                FromLeader::Compile { id, manifest } => self.replica.compile_for_leader(id, &manifest),
                FromLeader::HeardBy { number } => {
                    self.answered_us.store(self.replica.connections.now_us(), Ordering::Relaxed);
                    let mut reports = self.reports.lock();
                    while let Some(&(sent, at_us)) = reports.front()
                        && sent <= number
                    {
                        reports.pop_front();
                        if sent == number {
                            self.replica.word.heard(at_us);
                        }
                    }
                }
                FromLeader::Begun { .. } | FromLeader::NotLeading => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that has no place here"));
                }
            }
        }
        Ok(())
    }

    /// Ends when no report has been answered for twice the time that word lasts: this member serves nobody then, and the
    /// connection may have lost one of its directions, which nothing else would tell.
    async fn silence(&self) -> io::Error {
        let lasts = self.replica.word.lasts;
        loop {
            tokio::time::sleep(lasts / 2).await;
            let answered_us = self.answered_us.load(Ordering::Relaxed);
            let silent = Duration::from_micros(self.replica.connections.now_us().saturating_sub(answered_us));
            if silent > 2 * lasts {
                return io::Error::new(io::ErrorKind::TimedOut, "the leader answers no report");
            }
        }
    }

    /// Returns when the leader has asked for it, and all that was passed on is applied here.
    async fn held_back(&self) {
        self.asked_to_hold_back.notified().await;
        while self.replica.connections.passed_on() > 0 {
            tokio::time::sleep(limits::DRAIN_LOOK_INTERVAL).await;
        }
    }

    async fn speak(
        &self,
        writer: &mut FrameWriter,
        mut submitted: UnboundedReceiver<Submission>,
        mut words: UnboundedReceiver<Outgoing>,
    ) -> io::Result<()> {
        let mut ids = 0;
        let mut report = Report::default();
        let mut blamed = None;
        let mut tick = tokio::time::interval(self.replica.word.report_interval());
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
                    self.report(writer, &mut report).await?;
                    for blame in self.replica.crashes_to_report(&mut blamed) {
                        writer.queue(&ToLeader::Blame(blame)).await?;
                    }
                }
                Some(word) = words.recv() => match word {
                    Outgoing::ReadIndex(asked) => {
                        ids += 1;
                        self.waiting.lock().insert(ids, asked);
                        writer.queue(&ToLeader::ReadIndex { id: ids }).await?;
                    }
                    Outgoing::Message(message) => writer.queue(&message).await?,
                },
                submission = submitted.recv() => {
                    // The sequencer has let the link go.
                    let Some(submission) = submission else { return Ok(()) };
                    writer.queue(&ToLeader::Submit(submission)).await?;
                    while let Ok(submission) = submitted.try_recv() {
                        writer.queue(&ToLeader::Submit(submission)).await?;
                    }
                }
            }
            writer.flush().await?;
        }
    }

    /// Tells which sessions were heard since the last report.
    async fn report(&self, writer: &mut FrameWriter, report: &mut Report) -> io::Result<()> {
        let connections = &self.replica.connections;
        let now_us = connections.now_us();
        let sessions: Vec<SessionId> = connections.heard_since(report.heard_until_ms);
        report.heard_until_ms = now_us / 1000;
        report.number += 1;
        {
            let mut reports = self.reports.lock();
            reports.push_back((report.number, now_us));
            if reports.len() > limits::REPORTS_UNANSWERED_MAX {
                reports.pop_front();
            }
        }
        let mut pieces = sessions.chunks(limits::REPORT_SESSIONS_MAX).peekable();
        while let Some(piece) = pieces.next()
            && pieces.peek().is_some()
        {
            writer.queue(&ToLeader::Heard { number: None, sessions: piece.to_vec() }).await?;
        }
        let last = sessions.chunks(limits::REPORT_SESSIONS_MAX).last().unwrap_or_default().to_vec();
        writer.queue(&ToLeader::Heard { number: Some(report.number), sessions: last }).await
    }
}

/// What was reported last.
#[derive(Default)]
struct Report {
    number: u64,
    heard_until_ms: u64,
}

impl Replica {
    /// The leader of that term has closed its connection, and its machine says that nobody listens any more. The voters
    /// that find out take their turn, so that they do not stand against each other.
    async fn replace_leader(&self, leader: u64, term: u64) {
        let me = u64::from(self.config.server_id);
        let voters = self.consensus().membership().voters;
        if let Some(rank) = voters.iter().filter(|&&voter| voter != leader).position(|&voter| voter == me) {
            // A membership has at most 254 voters.
            tokio::time::sleep(limits::TAKE_OVER_STAGGER * rank as u32).await;
            if *self.consensus().role().borrow() == (Role::Follower { leader: Some(leader) }) {
                tracing::info!(leader, term, "the leader's process is gone: another one is elected at once");
                self.consensus().take_over(term).await;
            }
        }
        tokio::time::sleep(limits::TAKE_OVER_STAGGER).await;
    }
}
