//! What a member has to do with the other members: who they are, who leads, and what members say to each other.
//!
//! | file | what |
//! |---|---|
//! | `bootstrap` | whether an empty member may found an ensemble, or join one |
//! | `known_members` | which members are let in, and what is known of each |
//! | `leader_link` | a member's link to its leader: requests, read indexes, reports |
//! | `follower_links` | the leader's side of those links |
//! | `agreed_clock` | wall time, as the voters' clocks agree on it |
//! | `barrier` | waits until this member has applied everything acknowledged before |
//! | `serving_lease` | until when this member may serve clients: it knows of a leader, and is not behind |
//! | `gate` | lets clients in, and sends them away |
//! | `reconfig` | changes who belongs to the ensemble, or who leads it |
//! | `hand_over` | gives the leadership away before this member ends |
//! | `repair` | what a member does when its state differs from its leader's |
//! | `format_level` | raises the format level once all voters know the next one |

pub(super) mod agreed_clock;
pub(super) mod barrier;
pub(super) mod bootstrap;
pub(super) mod follower_links;
mod format_level;
pub(super) mod gate;
mod hand_over;
pub(super) mod known_members;
pub(super) mod leader_link;
pub(super) mod reconfig;
pub(super) mod repair;
pub(super) mod serving_lease;

use crate::config::Config;
use crate::consensus::{Consensus, Role};
use crate::environment::Clock;
use agreed_clock::AgreedClock;
use follower_links::FollowerLinks;
use known_members::KnownMembers;
use leader_link::LeaderLink;
use serving_lease::ServingLease;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What this member knows of its ensemble, and its links to the other members.
pub(crate) struct Ensemble {
    config: Arc<Config>,
    pub(super) known_members: Arc<KnownMembers>,
    /// The links of members that take this one for the leader.
    pub(super) follower_links: FollowerLinks,
    /// The link to the leader, if another member leads.
    pub(super) leader_link: LeaderLink,
    pub(super) lease: ServingLease,
    pub(super) agreed_clock: AgreedClock,
    /// Set once, right after consensus has started.
    consensus: OnceLock<Consensus>,
    /// This member is about to end: no client is let in any more.
    leaving: AtomicBool,
    /// How many `sync` requests of this member's clients wait.
    ///
    /// Invariant: never below 0, because each waiting request subtracts only what it has added.
    syncs_waiting: AtomicU64,
    clock: Clock,
}

impl Ensemble {
    pub(super) fn new(config: Arc<Config>, known_members: Arc<KnownMembers>, clock: Clock) -> Ensemble {
        Ensemble {
            known_members,
            follower_links: FollowerLinks::default(),
            leader_link: LeaderLink::default(),
            lease: ServingLease::new(&config.sessions, config.ensemble.sync_ticks),
            agreed_clock: AgreedClock::default(),
            consensus: OnceLock::new(),
            leaving: AtomicBool::new(false),
            syncs_waiting: AtomicU64::new(0),
            clock,
            config,
        }
    }

    /// Consensus has started.
    pub(super) fn set_consensus(&self, consensus: Consensus) {
        assert!(self.consensus.set(consensus).is_ok(), "consensus starts once");
    }

    pub(super) fn consensus(&self) -> &Consensus {
        self.consensus.get().expect("consensus has started before anything that needs it")
    }

    /// None before consensus has started.
    pub(super) fn started_consensus(&self) -> Option<&Consensus> {
        self.consensus.get()
    }

    /// The bytes written to the log since the start.
    pub(super) fn log_bytes_written(&self) -> u64 {
        self.consensus.get().map_or(0, |consensus| consensus.metrics().log.bytes)
    }

    /// From now on no client is let in, and no leadership is kept.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Whether this member is the only voter. Then it can always lead.
    pub(super) fn is_only_voter(&self) -> bool {
        self.consensus().membership().voters.iter().eq([&u64::from(self.config.server_id)])
    }

    /// The member that leads, as far as this one knows.
    pub(super) fn leader(&self) -> Option<u32> {
        match *self.consensus().role().borrow() {
            Role::Leader { .. } => Some(self.config.server_id),
            Role::Follower { leader } => leader.and_then(|id| u32::try_from(id).ok()),
            Role::Stopped => None,
        }
    }

    /// The leader, if it is known and another member.
    pub(super) fn other_leader(&self) -> Option<u64> {
        match *self.consensus().role().borrow() {
            Role::Follower { leader } => leader,
            Role::Leader { .. } | Role::Stopped => None,
        }
    }
}
