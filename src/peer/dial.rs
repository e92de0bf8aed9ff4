//! A connection to a member: over any of its addresses, with an exchange of proofs, within a time limit.

use super::Connection;
use super::clocks::PeerClocks;
use super::frame::{self, FrameReader};
use super::hello::{self, Accepted, Admission, HelloRefusal, LocalMember, Purpose, Welcome};
use super::net::Net;
use super::refusals::Refusals;
use super::secret::Side;
use crate::limits;
use crate::model::ensemble::{Incarnation, Server};
use serde::de::DeserializeOwned;
use std::io;
use std::sync::Arc;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Each address of the member has answered that nobody listens there. So the member's process is gone.
    #[error("nobody listens there")]
    Refused,
    /// All other failures. It is not known whether the member is alive.
    #[error("{0}")]
    Unreachable(io::Error),
    #[error("{0}")]
    Rejected(HelloRefusal),
}

/// Connects to other members.
pub(crate) struct Peers {
    net: Arc<dyn Net>,
    me: LocalMember,
    refusals: Refusals,
    clocks: PeerClocks,
}

impl Peers {
    pub(crate) fn new(net: Arc<dyn Net>, me: LocalMember) -> Peers {
        Peers { net, me, refusals: Refusals::default(), clocks: PeerClocks::default() }
    }

    pub(crate) fn me(&self) -> &LocalMember {
        &self.me
    }

    /// The clocks of the members that this one has connected to, or that were reported.
    pub(crate) fn clocks(&self) -> &PeerClocks {
        &self.clocks
    }

    /// Connects to a member at the first of its addresses where the member is found. Each address is tried for
    /// `limits::PEER_CONNECT_TIMEOUT` at most. `expects` is the incarnation of the member's data directory, if it is
    /// known. The future may be dropped at any time.
    pub(crate) async fn connect(
        &self,
        to: &Server,
        expects: Option<Incarnation>,
        purpose: Purpose,
    ) -> Result<Connection, ConnectError> {
        let mut failure: Option<ConnectError> = None;
        for address in &to.addresses {
            let attempt = self.attempt(&address.host, address.peer_port, to.id, expects, purpose);
            let attempt = tokio::time::timeout(limits::PEER_CONNECT_TIMEOUT, attempt).await;
            let error = match attempt.unwrap_or_else(|_| Err(ConnectError::Unreachable(late()))) {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if let ConnectError::Rejected(refusal) = &error {
                self.refusals.tell(self.me.id, Some(to.id), address, "a connection of this member is refused", refusal);
            }
            failure = Some(match failure {
                Some(before) if specificity(&before) >= specificity(&error) => before,
                _ => error,
            });
        }
        let without = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the member has no address");
        Err(failure.unwrap_or_else(|| ConnectError::Unreachable(without())))
    }

    async fn attempt(
        &self,
        host: &str,
        port: u16,
        to: u32,
        expects: Option<Incarnation>,
        purpose: Purpose,
    ) -> Result<Connection, ConnectError> {
        let socket = self.net.dial(host, port).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused,
            _ => ConnectError::Unreachable(error),
        })?;
        let (mut reader, mut writer) = frame::split(socket, limits::PEER_HELLO_BYTES_MAX);
        let hello = self.me.hello(to, purpose).map_err(ConnectError::Unreachable)?;
        writer.send(&hello).await.map_err(ConnectError::Unreachable)?;
        let accepted = match next(&mut reader).await? {
            Welcome::Accepted(accepted) => accepted,
            Welcome::Refused(refusal) if refusal.comes_before_proof() => return Err(ConnectError::Rejected(refusal)),
            Welcome::Refused(refusal) => {
                let unproven = format!("it has not proven itself, and says: {refusal}");
                return Err(ConnectError::Unreachable(io::Error::new(io::ErrorKind::InvalidData, unproven)));
            }
        };
        // Sent in any case: a wrong proof lets the acceptor tell its operator, too.
        writer.send(&self.me.claim(&hello, &accepted)).await.map_err(ConnectError::Unreachable)?;
        let proven = self.me.check_proof(Side::Acceptor, &hello, &accepted, accepted.proof.as_ref());
        proven.map_err(ConnectError::Rejected)?;
        if let Admission::Refused(refusal) = next(&mut reader).await? {
            return Err(ConnectError::Rejected(refusal));
        }
        self.check_welcome(to, expects, &accepted).map_err(ConnectError::Rejected)?;
        self.clocks.note(to, accepted.wall_ms);
        reader.set_bytes_max(purpose.bytes_max());
        writer.set_bytes_max(purpose.bytes_max());
        Ok(Connection { hello, welcome: accepted, reader, writer })
    }

    /// Checks the acceptor's answer. The acceptor has checked our hello.
    fn check_welcome(&self, to: u32, expects: Option<Incarnation>, welcome: &Accepted) -> Result<(), HelloRefusal> {
        hello::same_cluster((self.me.id, self.me.cluster()), (to, welcome.cluster))?;
        match expects {
            Some(known) if known != welcome.incarnation => {
                Err(HelloRefusal::OtherIncarnation { id: to, known, shown: welcome.incarnation })
            }
            _ => Ok(()),
        }
    }
}

/// Which of several failures is returned: the one with the highest number. So `Refused` is returned only if every
/// address refused.
fn specificity(error: &ConnectError) -> u8 {
    match error {
        ConnectError::Refused => 0,
        ConnectError::Unreachable(_) => 1,
        ConnectError::Rejected(_) => 2,
    }
}

async fn next<T: DeserializeOwned>(reader: &mut FrameReader) -> Result<T, ConnectError> {
    let ended =
        || io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed without an answer to our hello");
    let message = reader.next().await.map_err(ConnectError::Unreachable)?;
    message.ok_or_else(|| ConnectError::Unreachable(ended()))
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection in time")
}
