//! Connections between the members of an ensemble, and messages in frames. What the messages mean is the business of
//! the folders that send them.
//!
//! Each kind of traffic has a connection of its own (`Purpose`), so that a checkpoint on its way never delays a vote.
//! The dialer speaks first, with a hello. The acceptor answers with a welcome, or with a refusal that says what to do.
//! Then the dialer proves itself, and is admitted or refused.
//!
//! Promises: before the first message both ends know the other's id, cluster and data directory. If the ensemble has a
//! secret, each has proven that it has the secret. A frame that arrives is the frame that was sent. Bytes from outside
//! never cause a panic and never take more memory than was received. A peer that hangs while its name is resolved,
//! while it connects, or in its hello, delays no other peer. Any failure is an `io::Error`, and ends the connection.
//! The dialer then dials again, after a `Backoff`.
//!
//! | file | what |
//! |---|---|
//! | `hello` | who is there: hello, welcome, claim, admission, and refusals that say what to do |
//! | `secret` | the ensemble's secret, and what members prove with it |
//! | `refusals` | few enough warnings about refusals |
//! | `dial` | a connection to a member, over any of its addresses |
//! | `accept` | connections from members, within limits |
//! | `frame` | messages to bytes and back, drawn as bytes |
//! | `messages` | the messages, by purpose |
//! | `net` | the network as a trait, and the operating system's network |
//! | `resolve` | turns names into addresses, outside the runtime |
//! | `tls` | mutual TLS between members |
//! | `backoff` | how long to wait before dialing again |
//! | `clocks` | what other members' clocks showed |
//! | `testing` | a network in memory whose cables can be cut (tests and simulation) |

pub(crate) mod accept;
pub(crate) mod backoff;
pub(crate) mod clocks;
pub(crate) mod dial;
pub mod frame;
pub mod hello;
pub(crate) mod messages;
pub(crate) mod net;
mod refusals;
pub(crate) mod resolve;
pub(crate) mod secret;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

pub(crate) use accept::{ConnectionHandler, accept};
pub(crate) use backoff::Backoff;
pub(crate) use dial::{ConnectError, Peers};
pub(crate) use frame::{Arrival, FrameReader, FrameWriter};
pub(crate) use hello::Accepted;
pub use hello::Hello;
pub(crate) use hello::HelloRefusal;
pub use hello::LocalMember;
#[cfg(test)]
pub(crate) use hello::PROTOCOL;
pub(crate) use hello::Purpose;
pub use hello::Welcome;
pub use net::Socket;
pub(crate) use net::TcpNet;
pub use net::{Duplex, Listen, Net, Origin};
pub use secret::EnsembleSecret;

/// A connection whose two ends have admitted each other.
pub(crate) struct Connection {
    /// The dialer's hello.
    pub(crate) hello: Hello,
    /// The acceptor's answer.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests read the answer"))]
    pub(crate) welcome: Accepted,
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
}
