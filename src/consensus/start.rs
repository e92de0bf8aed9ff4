//! Starts consensus: from a log and a loaded state to a member that takes part in the ensemble.

use super::checkpoint_transfer::{CheckpointOffers, CheckpointReceiver};
use super::log::{LogStore, Payload};
use super::machine::Machine;
use super::membership::Membership;
use super::network::ClientFactory;
use super::proposals::PendingProposals;
use super::role::RoleWatcher;
use super::types;
use super::{Consensus, Log, Options, Role, StartError, Timing, replay};
use crate::model::ensemble::{Member, ServerRole};
use crate::storage::LogPosition;
use crate::storage::wal;
use openraft::{Raft, SnapshotPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Applies the entries that are known to be committed, and takes part in the ensemble. Returns before there is a
/// leader; `Consensus::recovered` waits for one.
pub(crate) async fn start(options: Options) -> Result<Consensus, StartError> {
    let runtime = options.runtime.clone();
    // openraft spawns its tasks on the runtime in which it is started.
    let started = runtime.spawn(start_here(options)).await;
    started.unwrap_or_else(|error| Err(StartError(error.to_string())))
}

async fn start_here(options: Options) -> Result<Consensus, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError(error.to_string());
    let applied = options.machine.applied().0;
    if let Some(members) = &options.founding_members
        && options.log.is_new()
        && applied.is_none()
    {
        found_ensemble(&options.log, members, options.member).await?;
    }
    reconcile(&options.log, applied).await?;
    let offers = Arc::new(CheckpointOffers::new(options.blocking));
    let mut machine = Machine::new(options.machine.clone(), offers.clone(), options.blocking);
    replay::replay(&options.log.0, &mut machine, options.blocking).map_err(StartError)?;
    let config = config(&options.timing).validate().map_err(|error| failed(&error))?;
    let store = LogStore::new(options.log.0.clone());
    let (membership_sender, membership) = watch::channel(Membership::default());
    let clients = || ClientFactory::new(options.member, options.peers.clone(), membership.clone(), offers.clone());
    let raft =
        Raft::new(options.member, Arc::new(config), clients(), store, machine).await.map_err(|error| failed(&error))?;
    if raft.voter_ids().eq([options.member]) {
        // No other member can lead, so there is no reason to wait for the election timeout.
        raft.trigger().elect(false).await.map_err(|error| failed(&error))?;
    }
    let pending = Arc::new(PendingProposals::new());
    let (role_sender, role) = watch::channel(Role::Follower { leader: None });
    let watcher = RoleWatcher {
        raft: raft.clone(),
        member: options.member,
        patience: Duration::from_millis(options.timing.heartbeat_ms),
        role: role_sender,
        membership: membership_sender,
        pending: pending.clone(),
        term: 0,
        led: 0,
    };
    watcher.show_membership();
    tokio::spawn(watcher.run());
    Ok(Consensus {
        raft,
        log: options.log,
        machine: options.machine,
        role,
        clients: Arc::new(clients()),
        membership,
        runtime: options.runtime,
        blocking: options.blocking,
        offers,
        receiver: Arc::new(CheckpointReceiver::default()),
        pending,
        purge_task: Arc::default(),
    })
}

/// Writes the first entry of a new ensemble's log: who its members are. Each of the first voters writes it by itself,
/// with the same bytes. So all of them have the entry, no matter which of them is elected first. openraft has a call
/// for this, but that call knows no observers.
async fn found_ensemble(log: &Log, members: &BTreeMap<u64, Member>, me: u64) -> Result<(), StartError> {
    let votes = |member: &Member| member.server.role == ServerRole::Participant;
    let voters: BTreeSet<u64> = members.iter().filter(|(_, member)| votes(member)).map(|(id, _)| *id).collect();
    if !voters.contains(&me) {
        return Ok(());
    }
    let membership = openraft::Membership::new(vec![voters], members.clone());
    let membership = membership.map_err(|error| StartError(format!("found the ensemble: {error}")))?;
    let payload = Payload(types::Payload::Membership(membership));
    let entry = wal::Entry { at: LogPosition { term: 0, index: 0 }, payload };
    let written = durable(|done| log.0.append(vec![entry], done)).await;
    written.map_err(|error| StartError(format!("found the ensemble: {error}")))
}

/// Drops log entries that contradict the applied state. A state that came from another member may be ahead of this
/// member's log. The log may then end in entries of a leader that was replaced before it could commit them. openraft
/// handles all other differences between the log and the state.
async fn reconcile(log: &Log, applied: Option<LogPosition>) -> Result<(), StartError> {
    let Some(applied) = applied else { return Ok(()) };
    let wal = &log.0;
    if wal.last().is_none_or(|last| last.index < applied.index) || wal.purged() >= Some(applied) {
        return Ok(());
    }
    let failed = |error: io::Error| StartError(format!("compare the log with the state: {error}"));
    let there = wal.read(applied.index..applied.index.saturating_add(1), 1).map_err(failed)?;
    let same = there.first().is_some_and(|entry| entry.at == applied);
    // If the entry was purged, there is nothing to compare with. Purged entries were committed.
    if same || wal.purged().is_some_and(|purged| purged.index >= applied.index) {
        return Ok(());
    }
    tracing::warn!(
        %applied,
        "the log ends in entries that were never committed, and the state is ahead of them: these entries are dropped"
    );
    wal.truncate_after(wal.committed().max(wal.purged()));
    // The vote is written to the log after the truncation. So when the vote is durable, the truncation is durable, too.
    let vote = wal.vote().unwrap_or_default();
    durable(|done| wal.save_vote(vote, done)).await.map_err(failed)
}

/// Waits until what is handed to the log with this completion is on the disk.
async fn durable(hand_in: impl FnOnce(wal::Completion)) -> io::Result<()> {
    let (sender, durable) = oneshot::channel();
    // If the start was given up, nobody receives the result.
    hand_in(Box::new(move |result| drop(sender.send(result))));
    durable.await.unwrap_or_else(|_| Err(io::Error::other("the log has ended")))
}

fn config(timing: &Timing) -> openraft::Config {
    openraft::Config {
        cluster_name: "wasmkeeper".to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        enable_pre_vote: Some(true),
        // Each leadership gets a term of its own, also after a restart: a term's first entry opens an epoch.
        enable_leader_restore: Some(false),
        // The smallest value that openraft takes: lease plus election timeout. Without the probe an old leader's
        // heartbeats can block a connected majority for ever (openraft#2080).
        quorum_loss_probe_interval: Some(2 * timing.election_max_ms),
        // openraft's snapshots are our checkpoints, and `checkpointed` reports them. `checkpointed` also purges the log
        // up to the image. openraft knows nothing of images.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..openraft::Config::default()
    }
}
