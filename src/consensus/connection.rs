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

/// At most one connection to one member.
pub(crate) struct MemberConnection {
    pub(super) to: u64,
    /// The member as it was when this value was made. Used if the membership does not name the member any more.
    pub(super) member: Member,
    pub(super) purpose: Purpose,
    pub(super) peers: Arc<Peers>,
    pub(super) members: watch::Receiver<Membership>,
    /// The kept connection, and how many answers still come on it to requests of an exchange that ended early but in
    /// good order. No task ever waits for the lock; it makes this type shareable, which openraft asks for.
    pub(super) kept: parking_lot::Mutex<Option<(Connection, usize)>>,
    pub(super) dialing: Option<JoinHandle<Result<Connection, ConnectError>>>,
}

impl MemberConnection {
    /// A connection for one exchange with a member that the membership names.
    pub(crate) fn to(clients: &ClientFactory, to: u64, purpose: Purpose) -> Option<MemberConnection> {
        let member = clients.members.borrow().members.get(&to)?.clone();
        Some(clients.link(to, &member, purpose))
    }

    /// Takes the connection and its number of stale answers. `keep` gives it back. The future may be dropped and `take`
    /// called again: dialing goes on.
    pub(crate) async fn take(&mut self) -> Result<(Connection, usize), ConnectError> {
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

    pub(crate) fn keep(&mut self, connection: Connection, stale_answers: usize) {
        let kept = self.kept.get_mut();
        assert!(kept.is_none(), "a second connection to member {} is kept for {:?}", self.to, self.purpose);
        *kept = Some((connection, stale_answers));
    }

    /// Makes one call and waits for its answer. If the future is dropped before its end, the connection is dropped too.
    pub(crate) async fn call(&mut self, call: &Call) -> Result<Answer, PeerError> {
        let (mut connection, stale_answers) = self.take().await?;
        assert!(stale_answers == 0, "a connection for calls has {stale_answers} answers of an earlier call");
        connection.writer.send(call).await?;
        let answer = connection.reader.next::<Answer>().await?.ok_or_else(ended)?;
        self.keep(connection, 0);
        Ok(answer)
    }
}

pub(super) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer has ended the connection")
}

/// What can go wrong with another member.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The member does not do what it was asked for. The text says why.
    #[error("{0}")]
    Refused(String),
}
