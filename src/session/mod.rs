//! The part between sockets and the replica: connections, the order of their replies, sessions' liveness.
//!
//! One tokio task a connection reads frames, answers reads at once from the local state, hands writes to the sequencer and
//! writes what has queued up. Whoever applies transactions calls `Connections::applied` for each, under the exclusive
//! lock of the state: it queues watch events, the writer's reply, and the reads that waited behind that write.
//!
//! Promises:
//! - Replies leave in the order of the requests (auth, SASL and unknown operations overtake, as in ZooKeeper).
//! - The reply that sets a watch leaves before any event of it; events of a zxid leave before the reply to that write and
//!   before any reply that shows the new state.
//! - Whoever applies never waits for a connection: a full outbox closes it.
//! - An idle connection owns no buffer.
//!
//! Lock order, everywhere: state, watches, `Order` of a connection, its outbox. The registry's locks are leaves.
//!
//! | file | holds |
//! |---|---|
//! | `listener` | accepts sockets within the limits, plain or through TLS |
//! | `workers` | the threads that connections live on |
//! | `task` | one connection's loop: write, take frames apart, read |
//! | `handshake` | the first message: a four letter word or a ConnectRequest |
//! | `dispatch` | what becomes of each request |
//! | `local` | requests that this server answers from its own state |
//! | `judgement` | what policies say of such a request, or of an event |
//! | `asking` | the thread on which guests are asked for it |
//! | `order` | what a connection has not answered yet, and how replies to writes look |
//! | `connection` | what others may do with a connection: events, replies, closing |
//! | `outbox` | bytes on their way out, and the wake-up of the task |
//! | `connections` | all connections of this server; what a transaction means for them |
//! | `rejection` | the refusals a client finds at `/zookeeper/rejection` |
//! | `auth` | who a connection is: its address, certificate, `addauth`, SASL |
//! | `proven` | what it has proven, and until when |
//! | `sasl` | SASL DIGEST-MD5 |
//! | `tls` | TLS towards clients |
//! | `local_sessions` | sessions that only this member knows |
//! | `expiry` | when each session was last heard of, and which are due |
//! | `statistics` | what `stat` and `cons` print of one connection |

mod asking;
pub mod auth;
pub mod connection;
pub mod connections;
mod dispatch;
pub mod expiry;
mod handshake;
pub mod judgement;
pub mod listener;
mod local;
mod local_sessions;
mod order;
pub mod outbox;
mod proven;
pub mod rejection;
pub mod sasl;
pub mod statistics;
mod task;
pub mod tls;
pub mod workers;

#[cfg(test)]
pub(crate) mod tests;

pub use asking::Inquirer;
pub use connection::Connection;
pub use connections::Connections;
pub use expiry::Expiry;
pub use workers::{WaitsFor, WorkerThreads, Workers};

pub use crate::pipeline::read::VirtualNodes;

use crate::config;
use crate::pipeline::Submission;
use crate::state::State;
use crate::watch::Watches;
use parking_lot::{MutexGuard, RwLockReadGuard};
use std::net::SocketAddr;
use std::sync::Arc;

/// What connections need of the replica.
pub trait Server: Send + Sync + 'static {
    fn state(&self) -> RwLockReadGuard<'_, State>;
    /// Only ever locked while the state is locked, shared or exclusive.
    fn watches(&self) -> MutexGuard<'_, Watches>;
    /// Hands a write over, in order. Never waits; connections bound their own unanswered writes.
    fn submit(&self, submission: Submission);
    /// Calls `connection.synced` once this server has applied what a leader had committed when it was asked. May do so
    /// before it returns. If that cannot be, it closes the connection.
    fn barrier(&self, connection: Arc<Connection>);
    /// Whom this server lets in.
    fn serving(&self) -> Serving;
    /// Until when it may tell clients that their sessions live: microseconds of its clock (`Connections::now_us`).
    fn word_until_us(&self) -> u64;
    fn connections(&self) -> &Arc<Connections>;
    fn four_letter_words(&self) -> &dyn FourLetter;
}

/// Whom a server lets in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Serving {
    Nobody,
    /// It is cut off from its ensemble: clients that are content with reading what it has.
    ReadOnly,
    Everybody,
}

/// Four letter words: what a fresh connection may send instead of a ConnectRequest.
pub trait FourLetter: Send + Sync {
    /// How many more bytes belong to that command; none if it is no command, and so the length of a frame.
    fn argument_bytes(&self, word: [u8; 4]) -> Option<usize>;
    /// What is sent before the connection is closed.
    fn answer(&self, word: [u8; 4], argument: &[u8], peer: SocketAddr) -> Vec<u8>;
}

/// The settings of sessions and connections.
#[derive(Clone, Debug)]
pub struct Options {
    pub network: config::Network,
    pub sessions: config::Sessions,
    pub auth: config::Auth,
    /// The server's number: the top byte of session ids.
    pub server_id: u32,
    /// `globalOutstandingLimit`
    pub outstanding_max: usize,
    /// Whether new sessions are this member's own (`localSessionsEnabled` in an ensemble), and whether they become
    /// everybody's with their first ephemeral node (`localSessionsUpgradingEnabled`).
    pub local_sessions: bool,
    pub local_sessions_upgrade: bool,
}

impl From<&config::Config> for Options {
    fn from(config: &config::Config) -> Options {
        let config::Config { network, sessions, auth, server_id, throttle, .. } = config.clone();
        // A server that stands alone has no others to spare, and ZooKeeper's ignores the setting then.
        let local_sessions = sessions.local && !config.stands_alone();
        let local_sessions_upgrade = sessions.local_upgrade;
        let outstanding_max = throttle.outstanding_max;
        Options { network, sessions, auth, server_id, outstanding_max, local_sessions, local_sessions_upgrade }
    }
}
