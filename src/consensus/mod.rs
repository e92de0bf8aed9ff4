//! Consensus as the rest of the server sees it: batches go in, in order, and come out applied on every replica.
//!
//! openraft stays behind this boundary (docs/decisions/0002). Nothing outside this folder names one of its types.
//!
//! Promises:
//! - `propose_then` never waits for a disk or a network. Batches that one thread proposes enter the log in the order of
//!   the calls, except those that are refused. Within one term a batch can be refused and a later one accepted; an
//!   expired lease does that. The chain fence in `Batch` makes that harmless, and the `StateMachine` checks the fence.
//! - `ProposalOutcome::Refused` means that the batch is not in the log and never will be. After
//!   `ProposalOutcome::Unknown` both are possible.
//! - `Role::Leader` is shown only when this leadership's own blank entry is applied. So everything that an earlier
//!   leader committed is in the state by then.
//!
//! | file | what |
//! |---|---|
//! | `state_machine` | what consensus needs of the replica: to apply entries, and checkpoints |
//! | `start`, `replay` | from a log and a state to a member that takes part |
//! | `role` | this member's role and the membership, as openraft's metrics show them |
//! | `proposals` | proposals that have no outcome yet |
//! | `leadership` | who leads, how recently that was confirmed, and how the leadership passes on |
//! | `membership` | who takes part, and how that is changed |
//! | `types`, `runtime`, `log`, `machine` | what openraft asks for: types, tokio, the log over `storage::wal`, the machine |
//! | `network`, `connection`, `append_pipeline` | what openraft tells the other members |
//! | `serve`, `convert` | what the other members tell this one; messages to and from openraft's types |
//! | `reachability` | which members answer, for the operator |
//! | `checkpoint_transfer` | a checkpoint on its way from one member to another |
//! | `log_purge` | how much of the log goes after a checkpoint |
//! | `blocking_work` | work that takes more than a moment |
//! | `state_replacement` | another member's state in the place of a state that is not trusted |
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

pub(crate) use crate::storage::wal::{LogPosition, Stats as LogStats};
pub(crate) use blocking_work::BlockingWork;
pub(crate) use membership::{Membership, MembershipError};
pub(crate) use start::start;
pub(crate) use state_machine::{IncomingCheckpoint, PinnedCheckpoint, SnapshotData, StateMachine};

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
use tokio::sync::watch;
use tokio::task::JoinHandle;
use types::{TypeConfig, WriteResponder};

/// The open log. It is opened before the state is loaded, because the state has to reach at least to the beginning of
/// the log.
#[derive(Clone)]
pub(crate) struct Log(Arc<Wal<log::Payload>>);

impl Log {
    pub(crate) fn open(disk: Arc<dyn Disk>, options: wal::Options) -> Result<Log, wal::OpenError> {
        Ok(Log(Arc::new(Wal::open(disk, options)?)))
    }

    /// Whether nothing was ever written to the log, not even a vote.
    pub(crate) fn is_new(&self) -> bool {
        self.0.last().is_none() && self.0.vote().is_none()
    }

    /// The last entry that is gone from the log, or may be. None if the log goes back to the very first entry.
    pub(crate) fn purged(&self) -> Option<LogPosition> {
        self.0.purged()
    }

    pub(crate) fn last(&self) -> Option<LogPosition> {
        self.0.last()
    }

    pub(crate) fn stats(&self) -> LogStats {
        self.0.stats()
    }
}

/// What a member needs to take part.
pub(crate) struct Options {
    /// The number of this member. If a voter's disk was lost, its number must not be used again: a voter that forgot
    /// its votes is not the same voter.
    pub(crate) member: u64,
    pub(crate) log: Log,
    pub(crate) machine: Arc<dyn StateMachine>,
    /// Where Raft's tasks run. It is a runtime of its own, so that nothing else in the server delays a heartbeat.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) timing: Timing,
    pub(crate) blocking: BlockingWork,
    pub(crate) peers: Arc<Peers>,
    /// The first members of a new ensemble, of which participants vote and observers learn. Used if the log is new.
    /// Each founding member has to start with the same set. None, or a set in which this member has no vote: the member
    /// waits until a leader adds it.
    pub(crate) founding_members: Option<BTreeMap<u64, Member>>,
}

/// Times in milliseconds. A follower stands for election `election_max_ms` +
/// random(`election_min_ms`..`election_max_ms`) after it last heard from its leader, because openraft's lease is
/// `election_max_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_min_ms: u64,
    pub(crate) election_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_ms: limits::ms(limits::HEARTBEAT),
            election_min_ms: limits::ms(limits::ELECTION_MIN),
            election_max_ms: limits::ms(limits::ELECTION_MAX),
        }
    }
}

/// The role of this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// This member leads and has applied its own blank entry. It may evaluate requests, under this term.
    Leader { term: u64 },
    /// Follower, candidate, or a leader that is not ready yet.
    Follower { leader: Option<u64> },
    /// Consensus was shut down, or an error of the log ended it.
    Stopped,
}

/// The outcome of a proposed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalOutcome {
    /// The batch was applied here. `accepted`: whether the state machine accepted its fence. A batch that was not
    /// accepted had no effect on any replica.
    Applied { at: LogPosition, accepted: bool },
    /// The batch is not in the log and never will be.
    Refused,
    /// The leadership or this process ended first. The batch may be in the log or not.
    Unknown,
}

/// Why consensus does not start: a full sentence.
#[derive(Debug, thiserror::Error)]
#[error("start consensus: {0}")]
pub(crate) struct StartError(String);

/// Figures for metrics and `mntr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) voters: usize,
    /// Whether this member is a voter.
    pub(crate) votes: bool,
    pub(crate) last_log_index: Option<u64>,
    pub(crate) applied: Option<LogPosition>,
    pub(crate) purged: Option<LogPosition>,
    pub(crate) log: LogStats,
}

type ClientWriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

/// A running member. Clones are the same member. `shutdown` ends it.
#[derive(Clone)]
pub(crate) struct Consensus {
    raft: Raft<TypeConfig, machine::Machine>,
    log: Log,
    machine: Arc<dyn StateMachine>,
    role: watch::Receiver<Role>,
    membership: watch::Receiver<Membership>,
    runtime: tokio::runtime::Handle,
    blocking: BlockingWork,
    /// Makes connections for what this file and its neighbours ask other members beside openraft.
    clients: Arc<network::ClientFactory>,
    offers: Arc<checkpoint_transfer::CheckpointOffers>,
    receiver: Arc<checkpoint_transfer::CheckpointReceiver>,
    /// The proposals that have no outcome yet.
    pending: Arc<PendingProposals>,
    /// The purge that the last checkpoint has started.
    purge_task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Consensus {
    /// Proposes the batch under its term. Never blocks. The order of the calls is the order in the log.
    ///
    /// `done` is called once, and must not block. One of Raft's tasks calls it right behind the batch's `apply`; or
    /// this call does; or it is called when consensus has ended. For batches in the log, the calls come in log order. A
    /// refusal may overtake them.
    pub(crate) fn propose_then(&self, batch: Batch, done: impl FnOnce(ProposalOutcome) + Send + 'static) {
        // The chain fence: a batch begins behind the zxid that it was evaluated on.
        let begins = batch.txns.first().is_none_or(|first| batch.prev < first.zxid);
        assert!(begins, "the batch behind {} begins at {:?}", batch.prev, batch.txns.first().map(|first| first.zxid));
        let Some(number) = self.pending.add(Box::new(done)) else { return };
        let pending = self.pending.clone();
        let answer =
            WriteResponder::new(move |result: Option<ClientWriteResult>| pending.resolve(number, outcome(result)));
        let raft = self.raft.clone();
        let mut write = Box::pin(async move {
            let leader = CommittedLeaderId::new(batch.term);
            // An error means that openraft has ended. The responder is dropped with it.
            let _ = raft.write(batch).with_leader(leader).responder(answer).await;
        });
        // The first poll queues the write. Two cases are pending: openraft's queue of 65,536 is full, which is far more
        // than is ever in flight; or openraft is ending. The write already has its place in the queue's line, so the
        // order is kept when another task polls it on.
        if write.as_mut().poll(&mut Context::from_waker(futures::task::noop_waker_ref())).is_pending() {
            self.runtime.spawn(write);
        }
    }

    /// The role of this member, to read and to watch.
    pub(crate) fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// Waits until everything is applied that was committed when this member started. For a single voter that is
    /// everything in its log. On a leader, waits for its own blank entry too. Returns false if consensus stopped
    /// before.
    pub(crate) async fn recovered(&self) -> bool {
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

    pub(crate) fn metrics(&self) -> Metrics {
        // Taken before the metrics are borrowed, because a borrow of the metrics blocks openraft.
        let log = self.log.stats();
        let raft = self.raft.metrics();
        let raft = raft.borrow_watched();
        let applied = raft.last_applied.as_ref().map(|at| at.index);
        assert!(applied <= raft.last_log_index, "applied {applied:?}, and the log ends at {:?}", raft.last_log_index);
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

    /// Waits for pending proposals (at most `limits::SHUTDOWN_DRAIN_MAX`) and for the running purge (at most twice
    /// `limits::CHECKPOINT_NOTED_MAX`), then ends consensus. The caller must propose nothing more. The log is closed
    /// when the last clone is dropped.
    pub(crate) async fn shutdown(&self) {
        let patience = limits::SHUTDOWN_DRAIN_MAX;
        if tokio::time::timeout(patience, self.pending.until_empty()).await.is_err() {
            tracing::warn!("consensus shuts down with proposals that have no outcome");
        }
        let purge_task = self.purge_task.lock().take();
        if let Some(purge_task) = purge_task {
            // An error is a panic, which the panic hook has reported.
            let _ = purge_task.await;
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!("consensus could not be shut down: {error}");
        }
        // The role watcher hears of the end a moment later. An error means that it has ended itself.
        let _ = self.role.clone().wait_for(|role| *role == Role::Stopped).await;
    }
}

/// Why a read barrier could not be had.
#[derive(Debug, thiserror::Error)]
#[error("read barrier: {0}")]
pub(crate) struct BarrierError(String);

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
