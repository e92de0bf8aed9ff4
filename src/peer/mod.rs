//! Connections between the members of an ensemble: whom one talks to, and messages in frames. What the messages say is
//! the business of those who send them.
//!
//! Each kind of traffic has a connection of its own (`Purpose`), so that a checkpoint on its way never delays a vote. The
//! dialer speaks first: a hello, which is answered by a welcome or by a refusal that says what to do.
//!
//! Promises: both ends know the other's id, cluster and data directory before the first message; a frame that arrives is
//! the one that was sent; bytes from outside never panic and never take more memory than has been received; no peer that
//! hangs, in its name, its connect or its hello, delays another. What can go wrong is an `io::Error`, and then the
//! connection is done with: whoever dialed dials again, after a `Backoff`.
//!
//! | file | what |
//! |---|---|
//! | `hello` | who is there: hello, welcome, and the refusals with their way out |
//! | `dial` | a connection to a member, over any of its addresses |
//! | `accept` | connections from members, within limits |
//! | `frame` | messages to bytes and back, drawn as bytes |
//! | `messages` | what is said, by purpose |
//! | `net` | the network as a trait, and the operating system's |
//! | `resolve` | names to addresses, beside the runtime |
//! | `tls` | mutual TLS between members |
//! | `backoff` | how long to wait before dialing again |
//! | `testing` | a network in memory whose cables can be cut (tests and simulation) |

pub mod accept;
pub mod backoff;
pub mod dial;
pub mod frame;
pub mod hello;
pub mod messages;
pub mod net;
pub mod resolve;
#[cfg(any(test, feature = "simulation"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod tls;

pub use accept::{ConnectionHandler, accept};
pub use backoff::Backoff;
pub use dial::{ConnectError, Peers};
pub use frame::{FrameReader, FrameWriter};
pub use hello::{Accepted, Hello, HelloRefusal, LocalMember, PROTOCOL, Purpose, Welcome};
pub use net::{Duplex, Listen, Net, Socket, TcpNet};

/// A connection after its hello, at either end.
pub struct Connection {
    /// What the dialer said.
    pub hello: Hello,
    /// What the acceptor answered.
    pub welcome: Accepted,
    pub reader: FrameReader,
    pub writer: FrameWriter,
}
