//! Consensus as the rest of the server sees it: batches go in, in order, and come out applied on every replica.
//!
//! openraft stays behind this boundary (docs/decisions/0002): nothing outside this folder names one of its types.
//!
//! Promises:
//! - `propose_then` never waits for a disk or a network. Batches proposed by one thread enter the log in the order of the
//!   calls - those that enter it: a batch can be refused and a later one accepted, within one term (an expired lease
//!   does that). The chain fence in `Batch` is what makes that harmless, and the `StateMachine` checks it.
//! - `ProposalOutcome::Refused` means that the batch is not in the log and never will be. `ProposalOutcome::Unknown`
//!   promises neither that nor the contrary.
//! - `Role::Leader` is shown only once this leadership's own blank entry is applied, so everything any earlier leader
//!   committed is in the state by then.
//!
//! | file | what |
//! |---|---|
//! | `types` | the types openraft is asked to carry |
//! | `runtime` | tokio as openraft asks for it, with chance from `environment` |
//! | `log` | openraft's log, over `storage::wal` |
//! | `machine` | openraft's state machine, over `StateMachine` |
//! | `start`, `replay` | from a log and a state to a member that takes part |
//! | `proposals` | proposals without an outcome |
//! | `leadership` | who leads, how sure that is, and how it passes on |
//! | `membership` | who takes part, and how that is changed |
//! | `network`, `serve`, `convert` | asking the other members, answering them, and in which words |
//! | `reachability` | which members answer, for the operator |
//! | `checkpoint_transfer` | a checkpoint on its way from one member to another |
//! | `state_replacement` | another member's state in the place of one that is not trusted |
//! | `forced_recovery` | a log made to go on without its majority (`cluster recover`) |

mod append_pipeline;
mod blocking_work;
mod checkpoint_transfer;
mod connection;
mod convert;
mod forced_recovery;
mod leadership;
mod log;
mod log_purge;
mod machine;
mod membership;
mod network;
mod proposals;
mod reachability;
mod replay;
mod role;
mod runtime;
mod serve;
mod start;
mod state_machine;
mod state_replacement;
mod types;

pub use crate::storage::wal::{LogPosition, OnFatal, Stats as LogStats};
pub use blocking_work::BlockingWork;
pub use checkpoint_transfer::fetch;
pub use membership::{Membership, MembershipError};
pub use start::start;
pub use state_machine::{IncomingCheckpoint, PinnedCheckpoint, SnapshotData, StateMachine};

use crate::limits;
use crate::model::ensemble::Member;
use crate::model::txn::Batch;
use crate::peer::Peers;
use crate::storage::disk::Disk;
use crate::storage::wal::{self, Wal};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::vote::leader_id_std::CommittedLeaderId;
use parking_lot::Mutex;
use proposals::PendingProposals;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use types::{TypeConfig, WriteResponder};

/// The opened log. It is opened before the state is loaded, because the state has to reach as far as the log's
/// beginning.
#[derive(Clone)]
pub struct Log(Arc<Wal<log::Payload>>);

impl Log {
    pub fn open(disk: Arc<dyn Disk>, options: wal::Options) -> Result<Log, wal::OpenError> {
        Ok(Log(Arc::new(Wal::open(disk, options)?)))
    }

    /// Nothing was ever written to it, a vote neither.
    pub fn is_new(&self) -> bool {
        self.0.last().is_none() && self.0.vote().is_none()
    }

    /// The last entry that is gone from it, or may be; None if it goes back to the very first.
    pub fn purged(&self) -> Option<LogPosition> {
        self.0.purged()
    }

    pub fn last(&self) -> Option<LogPosition> {
        self.0.last()
    }

    pub fn stats(&self) -> LogStats {
        self.0.stats()
    }
}

/// What a member needs to take part.
pub struct Options {
    /// This member. Never given out again once its disk was lost: a voter that forgot its promises is not the same
    /// voter.
    pub member: u64,
    pub log: Log,
    pub machine: Arc<dyn StateMachine>,
    /// Where Raft's tasks run: a runtime of its own, so that nothing of the server delays a heartbeat.
    pub runtime: tokio::runtime::Handle,
    pub timing: Timing,
    pub blocking: BlockingWork,
    pub peers: Arc<Peers>,
    /// If the log is new: begins with exactly these, of which participants vote and observers learn; each of them has to
    /// begin with the same. None, or if this member has no vote among them: waits until a leader adds it.
    pub founding_members: Option<BTreeMap<u64, Member>>,
}

/// Milliseconds. A follower campaigns `election_max_ms` + random(`election_min_ms`..`election_max_ms`) after the last word
/// from its leader, because openraft's lease is `election_max_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_ms: limits::HEARTBEAT_MS,
            election_min_ms: limits::ELECTION_MIN_MS,
            election_max_ms: limits::ELECTION_MAX_MS,
        }
    }
}

/// Where this member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its own blank entry is applied: it may evaluate, under this term.
    Leader { term: u64 },
    /// Follower, candidate, or a leader that is not ready yet.
    Follower { leader: Option<u64> },
    /// Shut down, or ended by an error of the log.
    Stopped,
}

/// What became of a proposed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalOutcome {
    /// Applied here. `accepted` is the state machine's word on the fence: a batch it did not accept had no effect on
    /// any replica.
    Applied { at: LogPosition, accepted: bool },
    /// Surely not in the log.
    Refused,
    /// Leadership or this process ended first: it may or may not come to be.
    Unknown,
}

/// Why it does not start: a full sentence.
#[derive(Debug, thiserror::Error)]
#[error("start consensus: {0}")]
pub struct StartError(String);

/// Figures for metrics and `mntr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    pub term: u64,
    pub leader: Option<u64>,
    pub voters: usize,
    /// Whether this member is one of them.
    pub votes: bool,
    pub last_log_index: Option<u64>,
    pub applied: Option<LogPosition>,
    pub purged: Option<LogPosition>,
    pub log: LogStats,
}

type ClientWriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

/// A running member. Clones are the same member; `shutdown` ends it.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft<TypeConfig, machine::Machine>,
    log: Log,
    machine: Arc<dyn StateMachine>,
    role: watch::Receiver<Role>,
    membership: watch::Receiver<Membership>,
    runtime: tokio::runtime::Handle,
    blocking: BlockingWork,
    /// How to ask other members something beside what openraft asks them.
    clients: Arc<network::ClientFactory>,
    offers: Arc<checkpoint_transfer::CheckpointOffers>,
    receiver: Arc<checkpoint_transfer::CheckpointReceiver>,
    /// Proposals without an outcome.
    pending: Arc<PendingProposals>,
    /// What the last checkpoint has set going.
    purge_task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Consensus {
    /// Proposes the batch under its term. Never blocks; order of calls is order in the log.
    ///
    /// `done` is called once, from one of Raft's tasks right behind the batch's `apply`, or from this call, or once
    /// consensus has ended; for batches that are in the log in its order, which a refusal may overtake. It must not block.
    pub fn propose_then(&self, batch: Batch, done: impl FnOnce(ProposalOutcome) + Send + 'static) {
        let Some(number) = self.pending.add(Box::new(done)) else { return };
        let pending = self.pending.clone();
        let answer =
            WriteResponder::new(move |result: Option<ClientWriteResult>| pending.resolve(number, outcome(result)));
        let raft = self.raft.clone();
        let mut write = Box::pin(async move {
            let leader = CommittedLeaderId::new(batch.term);
            // An error says that openraft has ended; the answer is dropped with it.
            let _ = raft.write(batch).with_leader(leader).responder(answer).await;
        });
        // Queued at its first poll, unless openraft's queue of 65,536 is full - far more than is ever under way - or it
        // is just ending. Its place in that queue's line it has from now on, so whoever polls it on, order is kept.
        if write.as_mut().poll(&mut Context::from_waker(futures::task::noop_waker_ref())).is_pending() {
            self.runtime.spawn(write);
        }
    }

    /// Where this member stands, and a way to hear of changes.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// Waits until everything that was committed when this member started is applied - for a single voter, all that is
    /// in its log - and, if it leads, its own blank entry too. False if it stopped before.
    pub async fn recovered(&self) -> bool {
        let mut role = self.role.clone();
        loop {
            let now = *role.borrow_and_update();
            match now {
                Role::Leader { .. } => return true,
                Role::Stopped => return false,
                Role::Follower { leader: Some(_) } => return self.raft.wait_for_recovery(None).await.is_ok(),
                Role::Follower { leader: None } => {}
            }
            if role.changed().await.is_err() {
                return false;
            }
        }
    }

    pub fn metrics(&self) -> Metrics {
        // Before the metrics are borrowed: whoever holds on to those holds up openraft.
        let log = self.log.stats();
        let raft = self.raft.metrics();
        let raft = raft.borrow_watched();
        let membership = raft.membership_config.membership();
        Metrics {
            term: raft.current_term,
            leader: raft.current_leader,
            voters: membership.voter_ids().count(),
            votes: membership.voter_ids().any(|voter| voter == raft.id),
            last_log_index: raft.last_log_index,
            applied: raft.last_applied.as_ref().map(types::position),
            purged: raft.purged.as_ref().map(types::position),
            log,
        }
    }

    /// Waits for proposals under way (at most `limits::SHUTDOWN_DRAIN_MS`) and for the log that is to go (at most twice
    /// `limits::CHECKPOINT_NOTED_MAX`), then ends. Propose nothing more before calling it. The log is closed when the last
    /// clone is gone.
    pub async fn shutdown(&self) {
        let patience = Duration::from_millis(limits::SHUTDOWN_DRAIN_MS);
        if tokio::time::timeout(patience, self.pending.until_empty()).await.is_err() {
            tracing::warn!("shutting down with proposals still under way");
        }
        let purge_task = self.purge_task.lock().take();
        if let Some(purge_task) = purge_task {
            // An error is a panic, which has been told.
            let _ = purge_task.await;
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!("shut down consensus: {error}");
        }
        // Whoever shows the role hears of it a moment later. An error says that it has, and is gone.
        let _ = self.role.clone().wait_for(|role| *role == Role::Stopped).await;
    }
}

/// Why a read barrier could not be had.
#[derive(Debug, thiserror::Error)]
#[error("read barrier: {0}")]
pub struct BarrierError(String);

impl BarrierError {
    fn ended() -> BarrierError {
        BarrierError("consensus has ended".to_owned())
    }
}

fn outcome(result: Option<ClientWriteResult>) -> ProposalOutcome {
    match result {
        Some(Ok(response)) => {
            ProposalOutcome::Applied { at: types::position(&response.log_id), accepted: response.data.accepted }
        }
        Some(Err(ClientWriteError::ForwardToLeader(_))) => ProposalOutcome::Refused,
        Some(Err(_)) | None => ProposalOutcome::Unknown,
    }
}

#[cfg(test)]
mod tests;
