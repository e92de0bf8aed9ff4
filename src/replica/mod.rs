//! One member: joins tree, watches, pipeline, consensus and storage, and owns their order - nothing else.
//!
//! | file | what |
//! |---|---|
//! | `start` | a process: ports and threads around a member |
//! | `member` | from a data directory to a serving tree, and back |
//! | `inbox`, `sequencer` | writes into one order, batches into consensus |
//! | `slow` | the same, with a simulated thread between sequencer and consensus |
//! | `bootstrap` | whether an empty member may found or join an ensemble |
//! | `peers` | who of the other members is let in, and what is known of them |
//! | `membership` | changing who belongs to the ensemble |
//! | `link`, `leading` | requests on their way to a leader in another member: its clients' side, and the leader's |
//! | `word` | whether there is a leader, and so whether clients may be served |
//! | `deploy` | looking at a deployment before it is admitted |
//! | `blame` | what this member has to say against plugins; who can run them |
//! | `format_level` | which effects transactions may have, so that all voters know them |
//! | `apply` | committed batches into the tree; events and replies out |
//! | `clocks` | wall time and ensemble time |
//! | `checkpointing` | the thread that writes checkpoints and images, and lets the log go |
//! | `installing` | checkpoints for other members, and theirs in the place of one's own |
//! | `housekeeping` | expiry of sessions, collection of containers, TTL nodes and unused modules |
//! | `chores` | timers of plugins, and mounts that must be put in order |
//! | `controllers` | controllers, beside the requests |
//! | `calls` | native calls of recipes |
//! | `serve` | what connections ask of a replica |
//! | `soundness` | whether this member's state is the leader's, and what to do if not |
//! | `provenance` | which plugins had a part in which transactions |
//! | `status` | what operators read of the ensemble |
//! | `facts` | what four letter words tell |
//! | `http` | what HTTP tells |
//!
//! **Who owns what.** The tree is written by `apply` alone, under `state`'s exclusive lock, one transaction at a time.
//! The overlay of what is evaluated but not committed belongs to the sequencer's thread. Watches have a lock of their
//! own, only ever taken under the state's. Lock order: `files.checkpointer`, `boundary`, `state`, `watches`, a connection's;
//! `files.reader` is taken under the first two, and nothing under it.

mod endpoint;
mod ensemble;
mod files;
mod housekeeping;
mod member;
mod operators;
mod ordering;
mod plugins;
mod process;

#[cfg(test)]
mod tests;

pub use files::installing::fetch_state;
pub use member::{Drive, Member, Surroundings};
pub use operators::facts::{Listening, Words};
pub use ordering::delayed_consensus::Passage;
pub use process::{Running, start};

use crate::config::Config;
use crate::consensus::{Consensus, Heavy};
use crate::environment::Clock;
use crate::model::ConnectionId;
use crate::pipeline::{Ask, Rules, Submission};
use crate::plugin::Plugins;
use crate::session::Connections;
use crate::state::State;
use crate::watch::Watches;
use ensemble::follower_links::Served;
use ensemble::known_members::Door;
use ensemble::leader_link::Way;
use ensemble::serving_lease::LeaderWord;
use files::checkpointing::CheckpointFiles;
use ordering::apply::Boundary;
use ordering::inbox::Inbox;
use ordering::provenance::Provenance;
use ordering::sequencer::{Event, Waiting};
use ordering::soundness::Soundness;
use parking_lot::{Mutex, RwLock};
use plugins::controllers::Changed;
use plugins::prepare::Preparations;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::sync::Notify;

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
    /// Members that pass requests on to this one while it leads.
    served: Served,
    /// To the leader, if that is another member.
    way: Way,
    word: LeaderWord,
    soundness: Soundness,
    provenance: Provenance,
    plugins: Arc<Plugins>,
    preparations: Preparations,
    /// Where other members come in.
    door: Arc<Door>,
    /// Set once, right after consensus has started.
    consensus: OnceLock<Consensus>,
    /// The last applied zxid, readable without a lock.
    last_applied: AtomicU64,
    /// Whether this member evaluates, and since when in `now_ms`, for people.
    leading: AtomicBool,
    leading_since_ms: AtomicU64,
    /// By how much ensemble time is ahead of `now_ms`, while this member leads.
    ensemble_ahead_ms: AtomicI64,
    /// Plugins have something to do, or something less.
    chores: Notify,
    /// What controllers may have to look at.
    changed: Changed,
    controllers_wake: Notify,
    /// `sync` requests of clients of this member that wait.
    syncs_waiting: AtomicU64,
    /// Whether it has caught up with what was committed when it started.
    recovered: AtomicBool,
    /// It is on its way down: no client is let in any more.
    leaving: AtomicBool,
    clock: Clock,
    /// Where short tasks of the replica run: barriers, deployments.
    runtime: Handle,
    /// Where longer ones run.
    heavy: Heavy,
}

impl Replica {
    /// The monotonic clock of everything that waits, in milliseconds since the start.
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// A request of the server's own.
    fn ask(&self, ask: Ask) {
        self.inbox.put(Event::Submitted(Submission::own(ask)));
    }

    /// Closes a client's connection without a reply.
    fn close_connection(&self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get(connection) {
            connection.close();
        }
    }

    /// As `close_connection`, wherever the client is.
    fn close_caller(&self, request: &Waiting) {
        let Some(caller) = &request.submission.caller else { return };
        match request.link {
            None => self.close_connection(caller.connection),
            Some(link) => self.served.close_connection(link, caller.connection),
        }
    }

    /// A chain begins. A new leadership grants every session its full timeout.
    fn begins_to_lead(&self, term: u64, new_leadership: bool) {
        if new_leadership {
            self.connections.expiry().grant_all(self.connections.now_us() / 1000);
            self.leading_since_ms.store(self.now_ms(), Ordering::Relaxed);
        }
        self.leading.store(true, Ordering::Release);
        self.served.leadership.send_replace(Some(term));
        self.chores.notify_one();
        self.controllers_wake.notify_one();
    }

    fn ends_to_lead(&self) {
        self.leading.store(false, Ordering::Release);
        self.served.leadership.send_replace(None);
    }

    fn consensus(&self) -> &Consensus {
        self.consensus.get().expect("consensus has started before anything that needs it")
    }
}
