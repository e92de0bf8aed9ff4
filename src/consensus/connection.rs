//! One connection to one other member: dialed when it is wanted, kept between exchanges.

use super::membership::Membership;
use super::network::ClientFactory;
use crate::model::ensemble::Member;
use crate::peer::messages::raft::{Answer, Call};
use crate::peer::{ConnectError, Connection, Peers, Purpose};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// At most one connection to one member, dialed when it is wanted.
pub struct MemberConnection {
    pub(super) to: u64,
    /// As of the client's making, for one that the membership does not name any more.
    pub(super) member: Member,
    pub(super) purpose: Purpose,
    pub(super) peers: Arc<Peers>,
    pub(super) members: watch::Receiver<Membership>,
    /// With the answers that still come to requests of an exchange that has ended early but in good order.
    /// Nobody ever waits for the lock: it makes this shareable, which openraft asks for.
    pub(super) kept: parking_lot::Mutex<Option<(Connection, usize)>>,
    pub(super) dialing: Option<JoinHandle<Result<Connection, ConnectError>>>,
}

impl MemberConnection {
    /// A link to a member that is named by the membership, for one exchange.
    pub fn to(clients: &ClientFactory, to: u64, purpose: Purpose) -> Option<MemberConnection> {
        let member = clients.members.borrow().members.get(&to)?.clone();
        Some(clients.link(to, &member, purpose))
    }

    /// The connection, to be given back by `keep`. May be dropped and asked again: dialing goes on.
    pub async fn take(&mut self) -> Result<(Connection, usize), ConnectError> {
        if let Some(kept) = self.kept.get_mut().take() {
            return Ok(kept);
        }
        let dialing = self.dialing.get_or_insert_with(|| {
            let member = self.members.borrow().members.get(&self.to).cloned().unwrap_or_else(|| self.member.clone());
            let (peers, purpose) = (self.peers.clone(), self.purpose);
            tokio::spawn(async move { peers.connect(&member.server, Some(member.incarnation), purpose).await })
        });
        let dialed = dialing.await;
        self.dialing = None;
        match dialed {
            Ok(dialed) => dialed.map(|connection| (connection, 0)),
            Err(error) => Err(ConnectError::Unreachable(io::Error::other(error))),
        }
    }

    pub fn keep(&mut self, connection: Connection, stale_answers: usize) {
        *self.kept.get_mut() = Some((connection, stale_answers));
    }

    /// One call and its answer. If the future is dropped before its end, so is the connection.
    pub async fn call(&mut self, call: &Call) -> Result<Answer, PeerError> {
        let (mut connection, _) = self.take().await?;
        connection.writer.send(call).await?;
        let answer = connection.reader.next::<Answer>().await?.ok_or_else(ended)?;
        self.keep(connection, 0);
        Ok(answer)
    }
}

pub(super) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer has ended the connection")
}

/// What can go wrong with a peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The peer says why it does not do what it was asked for.
    #[error("{0}")]
    Refused(String),
}
