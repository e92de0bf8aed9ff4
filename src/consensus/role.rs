//! Shows what openraft's metrics say: this member's role, and the membership.

use super::Role;
use super::machine::Machine;
use super::membership::{self, Membership};
use super::proposals::{PendingProposals, unless_ended};
use super::types::TypeConfig;
use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, ReadPolicy, ServerState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Turns openraft's states into roles and memberships until it ends.
pub(super) struct RoleWatcher {
    pub(super) raft: Raft<TypeConfig, Machine>,
    pub(super) member: u64,
    pub(super) patience: Duration,
    pub(super) role: watch::Sender<Role>,
    pub(super) membership: watch::Sender<Membership>,
    pub(super) pending: Arc<PendingProposals>,
}

impl RoleWatcher {
    pub(super) async fn run(self) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let (state, term, leader) = {
                let metrics = metrics.borrow_watched();
                (metrics.state, metrics.vote.leader_id.term, metrics.current_leader)
            };
            self.show_membership();
            let leads = state == ServerState::Leader && leader == Some(self.member);
            let ready = Role::Leader { term };
            if state == ServerState::Shutdown {
                break;
            } else if !leads {
                self.show(Role::Follower { leader: leader.filter(|leader| *leader != self.member) });
            } else if *self.role.borrow() != ready {
                self.show(Role::Follower { leader: None });
                self.get_ready(term).await;
            }
            let waiting = leads && *self.role.borrow() != ready;
            let change = metrics.changed();
            // A leader that could not get ready tries again before long.
            let ended = if waiting {
                tokio::time::timeout(self.patience, change).await.unwrap_or(Ok(()))
            } else {
                change.await
            };
            if ended.is_err() {
                break;
            }
        }
        self.pending.end();
        self.show(Role::Stopped);
    }

    fn show(&self, role: Role) {
        self.role.send_if_modified(|old| std::mem::replace(old, role) != role);
    }

    pub(super) fn show_membership(&self) {
        let new = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            Membership::new(&metrics.membership_config, &metrics.committed_membership_config)
        };
        self.membership.send_if_modified(|old| {
            let differs = *old != new;
            *old = new;
            differs
        });
    }

    /// Ready once what a quorum agrees to be committed - at least this term's blank entry - is applied.
    async fn get_ready(&self, term: u64) {
        let applied = unless_ended(&self.raft, self.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
        if !matches!(applied, Some(Ok(_))) {
            return;
        }
        let still = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            metrics.state == ServerState::Leader && metrics.vote.leader_id.term == term
        };
        if still {
            self.show(Role::Leader { term });
            let raft = self.raft.clone();
            tokio::spawn(async move {
                if let Err(error) = membership::finish(&raft, membership::Retain::Yes).await {
                    tracing::warn!("finish an earlier leader's change of the membership: {error}");
                }
            });
        }
    }
}
