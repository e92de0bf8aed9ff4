//! Everything between sockets and the replica: connections, the order of their replies, the life of sessions.
//!
//! Each connection has a tokio task. The task reads frames, answers reads at once from the local state, hands writes to
//! the sequencer, and writes the replies that have queued up. The thread that applies transactions calls
//! `Connections::applied` for each transaction, under the exclusive lock of the state. `applied` queues watch events,
//! the reply to the writer, and the replies to reads that waited behind the write.
//!
//! Promises:
//! - Replies leave in the order of the requests. The replies to auth, SASL and unknown operations leave before earlier
//!   replies, as in ZooKeeper.
//! - The reply that sets a watch leaves before any event of the watch. Events of a zxid leave before the reply to that
//!   write, and before any reply that shows the new state.
//! - The thread that applies never waits for a connection: a full outbox closes its connection.
//! - An idle connection owns no buffer.
//!
//! Lock order: state, watches, `Order` of a connection, its outbox. A thread that holds any other lock here takes no
//! further lock.
//!
//! | file | holds |
//! |---|---|
//! | `listener` | accepts clients within the limits, plain or through TLS |
//! | `word_room` | four letter words while the limits on connections are reached |
//! | `workers` | the threads that connections live on |
//! | `task` | a connection's loop: write, take frames, read |
//! | `handshake` | the first message: a four letter word or a ConnectRequest |
//! | `dispatch` | what happens to each request |
//! | `local` | requests that this server answers from its own state |
//! | `judgement` | what plugins decide about such a request, or about an event |
//! | `asking` | the thread on which plugins are asked |
//! | `order` | the requests that a connection has not answered yet |
//! | `form` | how replies to writes look |
//! | `connection/` | what other threads may do with a connection: replies, events, closing |
//! | `outbox` | packets on their way out, and the wake-up of the task |
//! | `connections/` | all connections of this server, and what a transaction means for them |
//! | `rejection` | the refusals that a client finds at `/zookeeper/rejection` |
//! | `auth` | who a client is: by address, certificate, `addauth`, SASL |
//! | `proven` | the identities that a client has proven, and when they expire |
//! | `sasl` | SASL DIGEST-MD5 |
//! | `tls` | TLS towards clients |
//! | `local_sessions` | local sessions: only this member knows them |
//! | `expiry` | each session's last sign of life, and which sessions are due |
//! | `statistics` | one connection's counters, for `stat` and `cons` |

mod asking;
pub(crate) mod auth;
pub(crate) mod connection;
pub(crate) mod connections;
mod dispatch;
pub(crate) mod expiry;
mod form;
mod handshake;
pub(crate) mod judgement;
pub(crate) mod listener;
mod local;
mod local_sessions;
mod order;
pub(crate) mod outbox;
mod proven;
pub(crate) mod rejection;
pub(crate) mod sasl;
pub(crate) mod statistics;
mod task;
pub(crate) mod tls;
mod word_room;
pub(crate) mod workers;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use asking::Inquirer;
pub(crate) use connection::Connection;
pub(crate) use connections::{Connections, MemberRun};
pub(crate) use workers::WaitsFor;
pub(crate) use workers::WorkerThreads;
pub use workers::Workers;

pub(crate) use crate::pipeline::read::VirtualNodes;

use crate::config;
use crate::pipeline::Submission;
use crate::state::State;
use crate::watch::Watches;
use parking_lot::{MutexGuard, RwLockReadGuard};
use std::net::SocketAddr;
use std::sync::Arc;

/// What connections need from the replica.
pub trait Server: Send + Sync + 'static {
    /// The shared lock of the applied state.
    fn state(&self) -> RwLockReadGuard<'_, State>;
    /// The table of watches. The caller holds the lock of the state, shared or exclusive.
    fn watches(&self) -> MutexGuard<'_, Watches>;
    /// Hands a write to the sequencer, in order. Never waits: each connection bounds its own unanswered writes.
    fn submit(&self, submission: Submission);
    /// Calls `connection.synced` once, when this server has applied everything that the leader had committed at the
    /// time of the call. It may do so before it returns. If this server cannot learn that, it closes the connection.
    fn barrier(&self, connection: Arc<Connection>);
    /// Which clients this server lets in.
    fn serving(&self) -> Serving;
    /// Until when this server may tell clients anything, such as that their sessions are alive, or what it has read. A
    /// time of `Clock::lease_us`.
    fn lease_until_us(&self) -> u64;
    fn connections(&self) -> &Arc<Connections>;
    fn four_letter_words(&self) -> &dyn FourLetter;
}

/// Which clients a server lets in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Serving {
    Nobody,
    /// Clients that accept read-only mode: the server is cut off from its ensemble.
    ReadOnly,
    Everybody,
}

/// Answers four letter words, which a new connection may send instead of a ConnectRequest.
pub trait FourLetter: Send + Sync {
    /// How many more bytes belong to the word. None: the bytes are no word, but the length of a frame.
    fn argument_bytes(&self, word: [u8; 4]) -> Option<usize>;
    /// The text that is sent before the connection closes.
    fn answer(&self, word: [u8; 4], argument: &[u8], peer: SocketAddr) -> Vec<u8>;
}

/// The settings of sessions and connections.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) network: config::Network,
    pub(crate) sessions: config::Sessions,
    pub(crate) auth: config::Auth,
    /// The server's number: the top byte of session ids.
    pub(crate) server_id: u32,
    /// `globalOutstandingLimit`
    pub(crate) outstanding_max: usize,
    /// Whether new sessions are local ones: `localSessionsEnabled`, in an ensemble.
    pub(crate) local_sessions: bool,
    /// Whether a local session becomes global with its first ephemeral node: `localSessionsUpgradingEnabled`.
    pub(crate) local_sessions_upgrade: bool,
}

impl From<&config::Config> for Options {
    fn from(config: &config::Config) -> Options {
        let config::Config { network, sessions, auth, server_id, throttle, .. } = config.clone();
        // Local sessions save work of the other members. A standalone server has none, and ZooKeeper's ignores the
        // setting.
        let local_sessions = sessions.local && !config.stands_alone();
        let local_sessions_upgrade = sessions.local_upgrade;
        let outstanding_max = throttle.outstanding_max;
        Options { network, sessions, auth, server_id, outstanding_max, local_sessions, local_sessions_upgrade }
    }
}
