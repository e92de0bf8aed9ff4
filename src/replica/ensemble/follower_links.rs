//! The leader's side of the links that other members have to it (`leader_link`). Requests of their clients come in over
//! a link and go to the sequencer. The leader's own messages go back over the link.

use crate::limits;
use crate::model::ConnectionId;
use crate::peer::messages::requests::{FromLeader, ToLeader};
use crate::peer::{Connection, FrameReader, FrameWriter};
use crate::pipeline::Ask;
use crate::replica::Replica;
use crate::replica::ordering::event::Event;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, watch};

/// The links of members that take this one for the leader.
#[derive(Default)]
pub(crate) struct FollowerLinks {
    /// The term that this member leads and takes requests in. None: it does not lead.
    leadership: watch::Sender<Option<u64>>,
    /// The number of the next link.
    number: AtomicU64,
    /// The links by number, and so in the order in which they came. So messages to all members go out in an order that
    /// a simulated run repeats.
    ///
    /// Invariant: a number is used once.
    links: Mutex<BTreeMap<u64, FollowerLink>>,
}

/// The leader's end of one link.
struct FollowerLink {
    id: FollowerLinkId,
    /// What goes back over the link. Bounded by `limits::FROM_LEADER_WAITING_MAX`.
    messages: mpsc::Sender<FromLeader>,
    /// The member has said that it submits nothing more (`ToLeader::HeldBack`).
    holds_back: bool,
}

/// Names a link that a member has to this one while it leads in `term`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FollowerLinkId {
    pub(crate) number: u64,
    pub(crate) term: u64,
    /// The member at the other end.
    pub(crate) member: u32,
}

impl FollowerLinks {
    /// Sets the term that this member leads in. None: it does not lead. Links of another term end.
    pub(in crate::replica) fn set_leadership(&self, term: Option<u64>) {
        self.leadership.send_replace(term);
    }

    /// Asks every member to submit nothing more.
    pub(super) fn hold_all_back(&self) {
        self.all().into_iter().for_each(|link| self.send(link, FromLeader::HoldBack));
    }

    /// Whether there is a member that may still submit something.
    pub(super) fn any_submits(&self) -> bool {
        self.links.lock().values().any(|link| !link.holds_back)
    }

    fn set_held_back(&self, link: FollowerLinkId) {
        if let Some(link) = self.links.lock().get_mut(&link.number) {
            link.holds_back = true;
        }
    }

    /// Tells the member at the other end to close a client's connection.
    pub(in crate::replica) fn close_connection(&self, link: FollowerLinkId, connection: ConnectionId) {
        self.send(link, FromLeader::Close(connection));
    }

    /// The links that are open, in the order in which they came.
    pub(in crate::replica) fn all(&self) -> Vec<FollowerLinkId> {
        self.links.lock().values().map(|link| link.id).collect()
    }

    /// Sends the message over the link. It is lost if the link has ended.
    pub(in crate::replica) fn send(&self, id: FollowerLinkId, message: FromLeader) {
        let mut links = self.links.lock();
        let Some(link) = links.get(&id.number) else { return };
        if link.messages.try_send(message).is_err() {
            // The member does not read, so its link ends. Then the member closes the connections that had something
            // under way.
            links.remove(&id.number);
        }
    }

    fn open(&self, member: u32, term: u64) -> (FollowerLinkId, mpsc::Receiver<FromLeader>) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let id = FollowerLinkId { number, term, member };
        let (sender, messages) = mpsc::channel(limits::FROM_LEADER_WAITING_MAX);
        let before = self.links.lock().insert(number, FollowerLink { id, messages: sender, holds_back: false });
        assert!(before.is_none(), "a link's number is used once: {number}");
        (id, messages)
    }

    fn close(&self, id: FollowerLinkId) {
        self.links.lock().remove(&id.number);
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

/// Serves a `Requests` connection until it ends, or the leadership does.
pub(super) async fn serve(replica: Arc<Replica>, connection: Connection) {
    let ensemble = &replica.ensemble;
    let links = &ensemble.follower_links;
    let Connection { hello, mut reader, mut writer, .. } = connection;
    let Ok(Some(ToLeader::Begin)) = reader.next().await else { return };
    let mut leadership = links.leadership.subscribe();
    let mut membership = ensemble.consensus().membership_watch();
    // The member may have heard of this leadership before this member's own sequencer has.
    let begins = leadership.wait_for(|term| term.is_some());
    let term = match tokio::time::timeout(limits::LEADER_READY_MAX, begins).await {
        // A leader that is about to hand over takes no more requests.
        Ok(Ok(term)) => term.filter(|_| !ensemble.is_leaving()),
        _ => None,
    };
    let Some(term) = term else {
        // The member dials again, whether it hears this or not.
        let _ = writer.send(&FromLeader::NotLeading).await;
        return;
    };
    let (link, messages) = links.open(hello.from, term);
    let ended = tokio::select! {
        biased;
        // The channel stays open, because `links` owns the sender.
        _ = leadership.wait_for(|now| *now != Some(term)) => Ok(()),
        // The member was removed. It dials again, and is told so.
        _ = membership.wait_for(|now| !now.members.contains_key(&u64::from(hello.from))) => Ok(()),
        ended = speak(&mut writer, term, messages) => ended,
        ended = listen(&replica, link, &mut reader) => ended,
    };
    links.close(link);
    match ended {
        Ok(()) => tracing::debug!(member = hello.from, term, "the link of a member has ended"),
        Err(error) => tracing::debug!(member = hello.from, term, %error, "the link of a member has ended"),
    }
}

async fn listen(replica: &Arc<Replica>, link: FollowerLinkId, reader: &mut FrameReader) -> io::Result<()> {
    let (order, ensemble) = (&replica.order, &replica.ensemble);
    let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    while let Some(message) = reader.next().await? {
        match message {
            ToLeader::Begin => return wrong("it begins twice"),
            ToLeader::Submit(submission) => {
                if submission.caller.as_ref().is_none_or(|caller| caller.connection.member != link.member) {
                    return wrong("it speaks for connections that are not its own");
                }
                order.inbox.put(Event::Forwarded { submission, link });
            }
            ToLeader::Blame(blame) => order.ask(Ask::Blame(blame)),
            ToLeader::Compiled { id, result } => replica.plugins.preparations.answered(id, link.member, result),
            ToLeader::ReadIndex { id } => {
                let replica = replica.clone();
                tokio::spawn(async move { answer_read_index(&replica, link, id).await });
            }
            ToLeader::HeldBack => ensemble.follower_links.set_held_back(link),
            ToLeader::Heard { number, sessions } => {
                let now_ms = order.clock.now_ms();
                sessions.into_iter().for_each(|session| order.connections.expiry().hear(session, now_ms));
                if let Some(number) = number
                    && ensemble.leads_a_quorum(order)
                {
                    ensemble.follower_links.send(link, FromLeader::HeardBy { number });
                }
            }
        }
    }
    Ok(())
}

async fn answer_read_index(replica: &Replica, link: FollowerLinkId, id: u64) {
    let ensemble = &replica.ensemble;
    match ensemble.consensus().read_index().await {
        Ok(index) => ensemble.follower_links.send(link, FromLeader::ReadIndexAt { id, index }),
        // This member does not lead any more. The member at the other end asks the next leader.
        Err(_) => ensemble.follower_links.close(link),
    }
}
