//! One member: joins tree, watches, pipeline, consensus and storage, and owns their order - nothing else.
//!
//! | file | what |
//! |---|---|
//! | `start` | a process: ports and threads around a member |
//! | `member` | from a data directory to a serving tree, and back |
//! | `inbox`, `sequencer` | writes into one order, batches into consensus |
//! | `deploy` | looking at a deployment before it is admitted |
//! | `apply` | committed batches into the tree; events and replies out |
//! | `clocks` | wall time and ensemble time |
//! | `checkpointing` | the thread that writes checkpoints and images, and lets the log go |
//! | `installing` | checkpoints for other members, and theirs in the place of one's own |
//! | `housekeeping` | expiry of sessions, collection of containers, TTL nodes and unused modules |
//! | `serve` | what connections ask of a replica |
//! | `facts` | what four letter words tell |
//!
//! **Who owns what.** The tree is written by `apply` alone, under `state`'s exclusive lock, one transaction at a time.
//! The overlay of what is evaluated but not committed belongs to the sequencer's thread. Watches have a lock of their
//! own, only ever taken under the state's. Lock order: `files.checkpointer`, `boundary`, `state`, `watches`, a connection's.

mod apply;
mod checkpointing;
mod clocks;
mod deploy;
mod facts;
mod housekeeping;
mod inbox;
mod installing;
mod member;
mod sequencer;
mod serve;
mod start;

pub use facts::{Listening, Words};
pub use installing::fetch_state;
pub use member::{Drive, Member, Surroundings};
pub use start::{Running, start};

use crate::config::Config;
use crate::consensus::Consensus;
use crate::environment::Instant;
use crate::model::ConnectionId;
use crate::pipeline::Rules;
use crate::plugin::Plugins;
use crate::session::Connections;
use crate::state::State;
use crate::watch::Watches;
use apply::Boundary;
use checkpointing::CheckpointFiles;
use inbox::Inbox;
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;

/// What all threads and tasks of a member share.
pub struct Replica {
    config: Config,
    rules: Arc<Rules>,
    /// The applied tree. `apply` writes, everybody else reads.
    state: RwLock<State>,
    /// Taken only while `state` is locked.
    watches: Mutex<Watches>,
    /// Where applying stands in the log; held while an entry is applied.
    boundary: Mutex<Boundary>,
    files: CheckpointFiles,
    connections: Arc<Connections>,
    inbox: Inbox,
    plugins: Arc<Plugins>,
    /// Set once, right after consensus has started.
    consensus: OnceLock<Consensus>,
    /// The last applied zxid, readable without a lock.
    last_applied: AtomicU64,
    /// Whether this member evaluates.
    leading: AtomicBool,
    /// Whether clients are let in.
    serving: AtomicBool,
    started: Instant,
    /// Where short tasks of the replica run: barriers, deployments.
    runtime: Handle,
}

impl Replica {
    /// The monotonic clock of everything that waits, in milliseconds since the start.
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Closes a client's connection without a reply.
    fn close_connection(&self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get(connection) {
            connection.close();
        }
    }

    /// A chain begins. A new leadership grants every session its full timeout.
    fn begins_to_lead(&self, new_leadership: bool) {
        if new_leadership {
            self.connections.expiry().grant_all(self.connections.now_us() / 1000);
        }
        self.leading.store(true, Ordering::Release);
    }

    fn consensus(&self) -> &Consensus {
        self.consensus.get().expect("consensus has started before anything that needs it")
    }
}
