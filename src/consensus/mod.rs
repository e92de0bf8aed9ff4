//! Consensus as the rest of the server sees it: batches go in, in order, and come out applied on every replica.
//!
//! openraft stays behind this boundary (docs/decisions/0002): nothing outside this folder names one of its types.
//!
//! Promises:
//! - `propose` never waits for a disk or a network. Batches proposed by one thread enter the log in the order of the
//!   calls - those that enter it: a batch can be refused and a later one accepted, within one term (an expired lease
//!   does that). The chain fence in `Batch` is what makes that harmless, and the `StateMachine` checks it.
//! - `Outcome::Refused` means that the batch is not in the log and never will be. `Outcome::Unknown`
//!   promises neither that nor the contrary.
//! - `Role::Leader` is shown only once this leadership's own blank entry is applied, so everything any earlier leader
//!   committed is in the state by then.
//!
//! | file | what |
//! |---|---|
//! | `types` | the types openraft is asked to carry |
//! | `log` | openraft's log, over `storage::wal` |
//! | `machine` | openraft's state machine, over `StateMachine` |
//! | `replay` | the state brought up to the log at a start |
//! | `network` | the way to the other voters |

mod log;
mod machine;
mod network;
mod replay;
mod types;

pub use crate::storage::wal::{LogPosition, OnFatal, Stats as LogStats};

use crate::limits;
use crate::pipeline::txn::Batch;
use crate::storage::disk::Disk;
use crate::storage::wal::{self, Wal};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft::{Raft, ReadPolicy, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use types::{Answer, TypeConfig};

/// What a replica does with the log. All calls come from one task, in log order, one at a time.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies the batch if its fence holds, and says whether it did. The log position advances either way.
    fn apply(&self, at: LogPosition, batch: &Batch) -> bool;
    /// A blank entry, or a membership (opaque bytes, to be kept with the state and given back by `applied`). They lie
    /// outside the chain.
    fn apply_other(&self, at: LogPosition, membership: Option<Vec<u8>>);
    /// The last applied position and the last membership, as loaded at start or as of now.
    fn applied(&self) -> (Option<LogPosition>, Option<Vec<u8>>);
    /// A run of entries is through: time to wake those who write to clients.
    fn batch_done(&self);
    /// A handle on the checkpoint last reported by `Consensus::checkpointed`, for a member that needs it. It is not
    /// read here, only handed to `install` of another member's state machine. A single voter never has it asked.
    fn snapshot(&self) -> SnapshotData {
        Arc::new(())
    }
    /// Replaces the whole state by the one behind `snapshot`, which is as of `at`.
    fn install(&self, at: LogPosition, membership: Vec<u8>, snapshot: SnapshotData) -> io::Result<()> {
        let _ = (at, membership, snapshot);
        Err(io::Error::new(io::ErrorKind::Unsupported, "this state machine does not take a state from a peer"))
    }
}

/// An opened checkpoint, whatever the replica takes for one.
pub type SnapshotData = Arc<dyn Any + Send + Sync>;

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
}

/// Milliseconds. A follower campaigns `election_max` + random(`election_min`..`election_max`) after the last word from
/// its leader, because openraft's lease is `election_max`.
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
pub enum Outcome {
    /// Applied here. `accepted` is the state machine's word on the fence: a batch it did not accept had no effect on
    /// any replica.
    Applied { at: LogPosition, accepted: bool },
    /// Surely not in the log.
    Refused,
    /// Leadership or this process ended first: it may or may not come to be.
    Unknown,
}

/// Resolves to the batch's `Outcome`. Outcomes of batches that are in the log come in its order; a refusal may overtake
/// them.
pub struct Proposal(oneshot::Receiver<Outcome>);

impl Proposal {
    /// Blocks the calling thread, which must not be one of a runtime.
    pub fn wait(self) -> Outcome {
        self.0.blocking_recv().unwrap_or(Outcome::Unknown)
    }
}

impl Future for Proposal {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(Outcome::Unknown))
    }
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
    checkpoints: Arc<Mutex<machine::Checkpoints>>,
    role: watch::Receiver<Role>,
    runtime: tokio::runtime::Handle,
    /// Proposals without an outcome.
    under_way: Arc<watch::Sender<usize>>,
}

/// Brings the state machine up to what is known to be committed, and takes part. Returns before there
/// is a leader: `recovered` waits for that.
pub async fn start(options: Options) -> Result<Consensus, StartError> {
    let runtime = options.runtime.clone();
    // openraft spawns its tasks on the runtime it is started in.
    let started = runtime.spawn(start_here(options)).await;
    started.unwrap_or_else(|error| Err(StartError(error.to_string())))
}

async fn start_here(options: Options) -> Result<Consensus, StartError> {
    let consensus = |error: &dyn std::fmt::Display| StartError(error.to_string());
    let is_new = options.log.is_new() && options.machine.applied().0.is_none();
    let checkpoints = Arc::new(Mutex::new(machine::Checkpoints::default()));
    let machine =
        machine::Machine::new(options.machine, checkpoints.clone(), options.log.purged()).map_err(StartError)?;
    replay::replay(&options.log.0, &machine).map_err(StartError)?;
    let config = config(&options.timing).validate().map_err(|error| consensus(&error))?;
    let store = log::LogStore::new(options.log.0.clone());
    let raft = Raft::new(options.member, Arc::new(config), network::Peers, store, machine)
        .await
        .map_err(|error| consensus(&error))?;
    if is_new {
        let alone = BTreeMap::from([(options.member, openraft::EmptyNode {})]);
        raft.initialize(alone).await.map_err(|error| consensus(&error))?;
    } else if raft.voter_ids().eq([options.member]) {
        // No one else can be leader: no reason to wait for the election time-out.
        raft.trigger().elect(false).await.map_err(|error| consensus(&error))?;
    }
    let (role_sender, role) = watch::channel(Role::Follower { leader: None });
    let patience = Duration::from_millis(options.timing.heartbeat_ms);
    tokio::spawn(follow_role(raft.clone(), options.member, patience, role_sender));
    let runtime = options.runtime;
    Ok(Consensus { raft, log: options.log, checkpoints, role, runtime, under_way: Arc::new(watch::Sender::new(0)) })
}

fn config(timing: &Timing) -> openraft::Config {
    openraft::Config {
        cluster_name: "wasmkeeper".to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        enable_pre_vote: Some(true),
        // Each leadership gets a term of its own, a restarted one too: an epoch is opened by a term's first entry.
        enable_leader_restore: Some(false),
        // The smallest it takes: lease plus election time-out. Without it an old leader's heartbeats can block a
        // connected majority for ever (openraft#2080).
        quorum_loss_probe_interval: Some(2 * timing.election_max_ms),
        // Snapshots are our checkpoints (`checkpointed`), and the log is purged up to them at once.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        ..openraft::Config::default()
    }
}

/// Turns openraft's states into roles until it ends.
async fn follow_role(
    raft: Raft<TypeConfig, machine::Machine>,
    member: u64,
    patience: Duration,
    role: watch::Sender<Role>,
) {
    let mut metrics = raft.server_metrics();
    let show = |new: Role| role.send_if_modified(|old| std::mem::replace(old, new) != new);
    loop {
        let (state, term, leader) = {
            let metrics = metrics.borrow_watched();
            (metrics.state, metrics.vote.leader_id.term, metrics.current_leader)
        };
        let leads = state == ServerState::Leader && leader == Some(member);
        let ready = Role::Leader { term };
        if state == ServerState::Shutdown {
            break;
        } else if !leads {
            show(Role::Follower { leader: leader.filter(|leader| *leader != member) });
        } else if *role.borrow() != ready {
            show(Role::Follower { leader: None });
            // Ready once what a quorum agrees to be committed - at least this term's blank entry - is applied.
            let caught_up = raft.ensure_linearizable(ReadPolicy::ReadIndex).await.is_ok();
            let metrics = metrics.borrow_watched();
            if caught_up && metrics.state == ServerState::Leader && metrics.vote.leader_id.term == term {
                show(ready);
            }
        }
        let waiting = leads && *role.borrow() != ready;
        let change = metrics.changed();
        // A leader that could not get ready tries again before long.
        let ended = if waiting { tokio::time::timeout(patience, change).await.unwrap_or(Ok(())) } else { change.await };
        if ended.is_err() {
            break;
        }
    }
    show(Role::Stopped);
}

impl Consensus {
    /// Proposes the batch under its term. Never blocks; order of calls is order in the log.
    pub fn propose(&self, batch: Batch) -> Proposal {
        let (done, outcome) = oneshot::channel();
        self.propose_then(batch, move |outcome| {
            // Whoever asked may have stopped waiting.
            let _ = done.send(outcome);
        });
        Proposal(outcome)
    }

    /// As `propose`; `done` is called once, from one of Raft's tasks right behind the batch's `apply`, or from this
    /// call. It must not block.
    pub fn propose_then(&self, batch: Batch, done: impl FnOnce(Outcome) + Send + 'static) {
        self.under_way.send_modify(|count| *count += 1);
        let under_way = self.under_way.clone();
        let answer = Answer::new(move |result: Option<ClientWriteResult>| {
            done(outcome(result));
            under_way.send_modify(|count| *count -= 1);
        });
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

    /// Waits until this member's state is as new as anything acknowledged before the call. Only a leader can; another
    /// member, or one that stops leading, gets an error.
    pub async fn read_barrier(&self) -> Result<(), BarrierError> {
        let raft = self.raft.clone();
        // A task of its own: a call into openraft that is dropped half way, while openraft ends, breaks other calls.
        let barrier = self.runtime.spawn(async move { raft.ensure_linearizable(ReadPolicy::ReadIndex).await });
        match barrier.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(BarrierError(error.to_string())),
            Err(error) => Err(BarrierError(error.to_string())),
        }
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

    /// No start will need the log up to `at` any more (the image reaches that far): entries up to there may go. Returns
    /// at once.
    pub fn checkpointed(&self, at: LogPosition) {
        self.checkpoints.lock().checkpointed(at);
        let raft = self.raft.clone();
        self.runtime.spawn(async move {
            // An error means that it is shut down.
            let _ = raft.trigger().snapshot().await;
        });
    }

    pub fn metrics(&self) -> Metrics {
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
            log: self.log.stats(),
        }
    }

    /// Waits for proposals under way (at most `limits::SHUTDOWN_DRAIN_MS`), then ends. Propose nothing more before
    /// calling it. The log is closed when the last clone is gone.
    pub async fn shutdown(&self) {
        let mut under_way = self.under_way.subscribe();
        let drained = under_way.wait_for(|count| *count == 0);
        if tokio::time::timeout(Duration::from_millis(limits::SHUTDOWN_DRAIN_MS), drained).await.is_err() {
            tracing::warn!("shutting down with proposals still under way");
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!("shut down consensus: {error}");
        }
    }
}

/// Why a read barrier could not be had.
#[derive(Debug, thiserror::Error)]
#[error("read barrier: {0}")]
pub struct BarrierError(String);

fn outcome(result: Option<ClientWriteResult>) -> Outcome {
    match result {
        Some(Ok(response)) => {
            Outcome::Applied { at: types::position(&response.log_id), accepted: response.data.accepted }
        }
        Some(Err(ClientWriteError::ForwardToLeader(_))) => Outcome::Refused,
        Some(Err(_)) | None => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests;
