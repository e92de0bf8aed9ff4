//! The leader's side of `Requests` connections: what other members pass on goes to the sequencer, and they hear up to where
//! a `sync` must wait, and that there still is a leader.

use crate::limits;
use crate::model::ConnectionId;
use crate::peer::messages::requests::{FromLeader, ToLeader};
use crate::peer::{Connection, FrameReader, FrameWriter};
use crate::pipeline::Ask;
use crate::replica::Replica;
use crate::replica::ordering::sequencer::{Event, ServedLink};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, watch};

/// The members that take this one for the leader.
#[derive(Default)]
pub struct Served {
    /// The term this member leads in, and takes requests for.
    pub leadership: watch::Sender<Option<u64>>,
    number: AtomicU64,
    /// In the order in which they came: whoever is told something is told in the same order in each simulated run.
    links: Mutex<BTreeMap<u64, MemberLink>>,
}

/// The leader's end of a link.
struct MemberLink {
    member: u32,
    messages: mpsc::Sender<FromLeader>,
    /// The member at the other end submits nothing more.
    holds_back: bool,
}

/// A member that takes this one for the leader, and its link.
pub struct LinkedMember {
    pub member: u32,
    pub link: u64,
}

impl Served {
    /// Asks every member to submit nothing more.
    pub fn have_others_hold_back(&self) {
        let numbers: Vec<u64> = self.links.lock().keys().copied().collect();
        numbers.into_iter().for_each(|number| self.send(number, FromLeader::HoldBack));
    }

    /// Whether there is a member that may submit something.
    pub fn others_submit(&self) -> bool {
        self.links.lock().values().any(|link| !link.holds_back)
    }

    fn holds_back(&self, link: ServedLink) {
        if let Some(link) = self.links.lock().get_mut(&link.number) {
            link.holds_back = true;
        }
    }

    /// Has a client's connection at the other end of that link closed.
    pub fn close_connection(&self, link: ServedLink, connection: ConnectionId) {
        self.send(link.number, FromLeader::Close(connection));
    }

    /// All that there are now.
    pub fn linked(&self) -> Vec<LinkedMember> {
        self.links.lock().iter().map(|(number, link)| LinkedMember { member: link.member, link: *number }).collect()
    }

    /// Nobody hears it if that link is gone.
    pub fn send(&self, number: u64, message: FromLeader) {
        let mut links = self.links.lock();
        let Some(link) = links.get(&number) else { return };
        if link.messages.try_send(message).is_err() {
            // It does not read. Without its link it closes whatever had something under way.
            links.remove(&number);
        }
    }

    fn open(&self, member: u32, term: u64) -> (ServedLink, mpsc::Receiver<FromLeader>) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, messages) = mpsc::channel(limits::FROM_LEADER_WAITING_MAX);
        self.links.lock().insert(number, MemberLink { member, messages: sender, holds_back: false });
        (ServedLink { number, term }, messages)
    }

    fn close(&self, link: ServedLink) {
        self.links.lock().remove(&link.number);
    }
}

async fn speak(writer: &mut FrameWriter, term: u64, mut messages: mpsc::Receiver<FromLeader>) -> io::Result<()> {
    writer.send(&FromLeader::Begun { term }).await?;
    while let Some(message) = messages.recv().await {
        writer.queue(&message).await?;
        while let Ok(message) = messages.try_recv() {
            writer.queue(&message).await?;
        }
        writer.flush().await?;
    }
    Ok(())
}

impl Replica {
    /// Serves a `Requests` connection until it ends, or the leadership does.
    pub(crate) async fn serve_requests(self: &Arc<Replica>, connection: Connection) {
        let Connection { hello, mut reader, mut writer, .. } = connection;
        let Ok(Some(ToLeader::Begin)) = reader.next().await else { return };
        let mut leadership = self.served.leadership.subscribe();
        // The member may have heard of this leadership before its own sequencer has.
        let begins = leadership.wait_for(|term| term.is_some());
        let term = match tokio::time::timeout(limits::LEADER_READY_MAX, begins).await {
            // Who is about to hand over takes nothing more.
            Ok(Ok(term)) => term.filter(|_| !self.leaving.load(Ordering::Acquire)),
            _ => None,
        };
        let Some(term) = term else {
            // It dials again, whether it hears this or not.
            let _ = writer.send(&FromLeader::NotLeading).await;
            return;
        };
        let (link, messages) = self.served.open(hello.from, term);
        let ended = tokio::select! {
            biased;
            // The sender is a field of `self`.
            _ = leadership.wait_for(|now| *now != Some(term)) => Ok(()),
            ended = speak(&mut writer, term, messages) => ended,
            ended = self.listen_to(hello.from, link, &mut reader) => ended,
        };
        self.served.close(link);
        match ended {
            Ok(()) => tracing::debug!(member = hello.from, term, "the link of a member has ended"),
            Err(error) => tracing::debug!(member = hello.from, term, %error, "the link of a member has ended"),
        }
    }

    async fn listen_to(self: &Arc<Replica>, member: u32, link: ServedLink, reader: &mut FrameReader) -> io::Result<()> {
        let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        while let Some(message) = reader.next().await? {
            match message {
                ToLeader::Begin => return wrong("it begins twice"),
                ToLeader::Submit(submission) => {
                    if submission.caller.as_ref().is_none_or(|caller| caller.connection.member != member) {
                        return wrong("it speaks for connections that are not its own");
                    }
                    self.inbox.put(Event::Forwarded { submission, link });
                }
                ToLeader::Blame(blame) => self.ask(Ask::Blame(blame)),
                ToLeader::Compiled { id, result } => self.preparations.answered(id, member, result),
                ToLeader::ReadIndex { id } => {
                    let replica = self.clone();
                    tokio::spawn(async move { replica.answer_read_index(link, id).await });
                }
                ToLeader::HeldBack => self.served.holds_back(link),
                ToLeader::Heard { number, sessions } => {
                    let now_ms = self.connections.now_us() / 1000;
                    sessions.into_iter().for_each(|session| self.connections.expiry().hear(session, now_ms));
                    if let Some(number) = number
                        && self.leads_a_quorum()
                    {
                        self.served.send(link.number, FromLeader::HeardBy { number });
                    }
                }
            }
        }
        Ok(())
    }

    async fn answer_read_index(&self, link: ServedLink, id: u64) {
        match self.consensus().read_index().await {
            Ok(index) => self.served.send(link.number, FromLeader::ReadIndexAt { id, index }),
            // Who does not lead has no answer; the member asks the next.
            Err(_) => self.served.close(link),
        }
    }
}
