//! The order of writes: which requests wait for their turn, which batches are under way, and the tree as the applied
//! batches have made it. This wing of the replica owns these three things and nothing else.
//!
//! A write goes through the files in this order:
//!
//! | file | what |
//! |---|---|
//! | `event` | what the sequencer hears of, and a request that waits for its turn |
//! | `inbox` | where events wait for the sequencer |
//! | `sequencer` | puts all writes into one order and turns them into batches for consensus |
//! | `clocks` | the two times that every transaction carries |
//! | `delayed_consensus` | a slower way from the sequencer to consensus, for the simulation |
//! | `apply` | committed batches into the tree; events and replies to clients |
//! | `format_level` | ends a member whose release does not know the state's effects |
//! | `soundness` | compares digests with the leader's before a batch is applied |
//! | `provenance` | which plugins had a part in which transactions |
//! | `mutations` | deliberate mistakes of the simulation |

pub(super) mod apply;
pub(super) mod clocks;
pub(super) mod delayed_consensus;
pub(super) mod event;
pub(super) mod format_level;
pub(super) mod inbox;
mod mutations;
pub(super) mod provenance;
pub(super) mod sequencer;
pub(super) mod soundness;

use crate::environment::Clock;
use crate::metrics::Metrics;
use crate::model::{ConnectionId, Zxid};
use crate::pipeline::{Ask, Rules, Submission};
use crate::plugin::Plugins;
use crate::session::Connections;
use crate::state::State;
use crate::watch::Watches;
use apply::Boundary;
use event::Event;
use inbox::Inbox;
use parking_lot::{Mutex, RwLock};
use provenance::Provenance;
use soundness::Soundness;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// The order of writes on one member, from the inbox to the applied tree.
pub(crate) struct WriteOrder {
    /// The rules by which the sequencer evaluates requests.
    pub(super) rules: Arc<Rules>,
    /// The applied tree. `apply` and the installation of a checkpoint write it; all other code reads it.
    pub(super) state: RwLock<State>,
    /// Which connection watches what. Locked only while `state` is locked.
    pub(super) watches: Mutex<Watches>,
    /// Where applying stands in the log. Locked while an entry is applied.
    pub(super) boundary: Mutex<Boundary>,
    pub(super) inbox: Inbox,
    /// Invariant: kept digests are those of the state in `state`, so a replaced state clears them.
    pub(super) soundness: Soundness,
    pub(super) provenance: Provenance,
    pub(super) leadership: Leadership,
    /// The zxid of the last applied transaction, for readers without the state's lock.
    ///
    /// Invariant: it grows with every applied batch, and equals `State::last_zxid` between two batches.
    last_applied: AtomicU64,
    /// The term of the last applied batch, or of the position at which the state was replaced.
    ///
    /// Invariant: it changes only under the exclusive lock of `state`, so a thread that holds the lock sees the term of
    /// the state. It never falls.
    applied_term: AtomicU64,
    /// Whether everything that was committed when this member started is applied.
    recovered: AtomicBool,
    /// The highest format level that this member's release knows.
    format_level_known: u32,
    /// The clients of this member. Applying sends them events and replies.
    pub(super) connections: Arc<Connections>,
    /// The plugins in force. Evaluation calls them; applying changes which are in force.
    pub(super) plugins: Arc<Plugins>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

/// What a `WriteOrder` is built from.
pub(super) struct Parts {
    pub(crate) rules: Arc<Rules>,
    pub(crate) state: State,
    /// Seeds the tables of `Watches`.
    pub(crate) seed: u64,
    pub(crate) boundary: Boundary,
    pub(crate) format_level_known: u32,
    pub(crate) connections: Arc<Connections>,
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

impl WriteOrder {
    pub(super) fn new(parts: Parts) -> WriteOrder {
        let Parts { rules, state, seed, boundary, format_level_known, connections, plugins, clock, metrics } = parts;
        let last_applied = AtomicU64::new(state.last_zxid().0);
        WriteOrder {
            rules,
            state: RwLock::new(state),
            watches: Mutex::new(Watches::new(seed)),
            boundary: Mutex::new(boundary),
            inbox: Inbox::default(),
            soundness: Soundness::default(),
            provenance: Provenance::default(),
            leadership: Leadership::default(),
            last_applied,
            applied_term: AtomicU64::new(0),
            recovered: AtomicBool::new(false),
            format_level_known,
            connections,
            plugins,
            clock,
            metrics,
        }
    }

    /// Submits a request of the server itself.
    pub(super) fn ask(&self, ask: Ask) {
        self.inbox.put(Event::Submitted(Submission::own(ask)));
    }

    /// Closes the connection of a client of this member, without a reply.
    pub(super) fn close_connection(&self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get(connection) {
            connection.close();
        }
    }

    pub(super) fn last_applied(&self) -> Zxid {
        Zxid(self.last_applied.load(Ordering::Acquire))
    }

    /// The term of the last applied batch. The caller holds the lock of the state. 0: none since the start.
    pub(super) fn applied_term(&self) -> u64 {
        assert!(self.state.is_locked(), "the term belongs to a state that does not change meanwhile");
        self.applied_term.load(Ordering::Acquire)
    }

    pub(super) fn has_recovered(&self) -> bool {
        self.recovered.load(Ordering::Acquire)
    }

    /// From now on this member compares digests, counts transactions and may serve clients.
    pub(super) fn set_recovered(&self) {
        self.recovered.store(true, Ordering::Release);
    }

    /// The data of a node of the applied tree; None if there is no node.
    pub(super) fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.state.read().node(path).map(|node| node.data().unwrap_or_default().to_vec())
    }

    /// Ensemble time in milliseconds. Only meaningful while this member leads.
    pub(super) fn ensemble_ms(&self) -> u64 {
        self.clock.now_ms().saturating_add_signed(self.leadership.ensemble_ahead_ms.load(Ordering::Acquire))
    }

    /// Gives every session of the applied state its full timeout from now on.
    pub(super) fn grant_known_sessions(&self) {
        let state = self.state.read();
        for (session, known) in state.sessions() {
            self.connections.expiry().open(session, known.timeout_ms, self.clock.now_ms());
        }
    }
}

/// Whether this member evaluates writes. The sequencer writes it; all other code reads it.
#[derive(Default)]
pub(crate) struct Leadership {
    leads: AtomicBool,
    /// When this leadership began, on the server's clock.
    since_ms: AtomicU64,
    /// How far ensemble time is ahead of the server's clock.
    ensemble_ahead_ms: AtomicI64,
}

impl Leadership {
    /// Whether this member leads, as far as its sequencer has heard.
    pub(super) fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// When this leadership began, on the server's clock. If this member does not lead, when its last leadership began.
    pub(super) fn since_ms(&self) -> u64 {
        self.since_ms.load(Ordering::Relaxed)
    }

    /// A chain begins. `since_ms`: now, if the leadership is new.
    pub(super) fn begin(&self, since_ms: Option<u64>) {
        if let Some(since_ms) = since_ms {
            self.since_ms.store(since_ms, Ordering::Relaxed);
        }
        self.leads.store(true, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.leads.store(false, Ordering::Release);
    }

    /// Ensemble time is `ensemble_ms` now.
    fn set_ensemble_ms(&self, ensemble_ms: u64, clock: Clock) {
        let ahead = ensemble_ms.wrapping_sub(clock.now_ms()).cast_signed();
        self.ensemble_ahead_ms.store(ahead, Ordering::Release);
    }
}
