//! The leader's side of `Requests` connections: what other members pass on goes to the sequencer, and they hear when they
//! are read up to, and that there still is a leader.

use super::sequencer::ServedLink;
use crate::limits;
use crate::model::ConnectionId;
use crate::peer::messages::requests::FromLeader;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, watch};

/// The members that take this one for the leader.
#[derive(Default)]
pub struct Served {
    /// The term this member leads in, and takes requests for.
    pub leadership: watch::Sender<Option<u64>>,
    number: AtomicU64,
    links: Mutex<HashMap<u64, mpsc::Sender<FromLeader>>>,
}

impl Served {
    /// Has a client's connection at the other end of that link closed.
    pub fn close_connection(&self, link: ServedLink, connection: ConnectionId) {
        let mut links = self.links.lock();
        let Some(member) = links.get(&link.number) else { return };
        if member.try_send(FromLeader::Close(connection)).is_err() {
            // It does not read. Without its link it closes whatever had something under way.
            links.remove(&link.number);
        }
    }

    fn open(&self, term: u64) -> (ServedLink, mpsc::Receiver<FromLeader>) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (member, messages) = mpsc::channel(limits::FROM_LEADER_WAITING_MAX);
        self.links.lock().insert(number, member);
        (ServedLink { number, term }, messages)
    }

    fn sender(&self, link: ServedLink) -> Option<mpsc::Sender<FromLeader>> {
        self.links.lock().get(&link.number).cloned()
    }

    fn close(&self, link: ServedLink) {
        self.links.lock().remove(&link.number);
    }
}
