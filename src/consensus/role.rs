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

/// Turns openraft's states into roles and memberships until openraft ends. When this value is dropped, the role is
/// `Role::Stopped` and no proposal is left without an outcome.
pub(super) struct RoleWatcher {
    pub(super) raft: Raft<TypeConfig, Machine>,
    pub(super) member: u64,
    /// How long a leader that could not get ready waits before it tries again.
    pub(super) patience: Duration,
    pub(super) role: watch::Sender<Role>,
    pub(super) membership: watch::Sender<Membership>,
    pub(super) pending: Arc<PendingProposals>,
    /// The term of this member's vote. Invariant: never falls (Raft, section 5.1).
    pub(super) term: u64,
    /// The term of the last leadership of this member that was shown. Invariant: never falls, and is not greater than
    /// `term`.
    pub(super) led: u64,
}

impl RoleWatcher {
    pub(super) async fn run(mut self) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let (state, term, leader) = {
                let metrics = metrics.borrow_watched();
                (metrics.state, metrics.vote.leader_id.term, metrics.current_leader)
            };
            assert!(term >= self.term, "the term of the vote falls from {} to {term}", self.term);
            self.term = term;
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
            let ended = if waiting {
                tokio::time::timeout(self.patience, change).await.unwrap_or(Ok(()))
            } else {
                change.await
            };
            if ended.is_err() {
                break;
            }
        }
    }

    fn show(&mut self, role: Role) {
        if let Role::Leader { term } = role {
            assert!(term >= self.led, "a leadership of term {term} follows one of term {}", self.led);
            assert!(term <= self.term, "a leadership of term {term} is shown, and the vote is of term {}", self.term);
            self.led = term;
        }
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

    /// Shows the leadership once this member has applied what a quorum agrees to be committed. That is at least the
    /// blank entry of this term.
    async fn get_ready(&mut self, term: u64) {
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
                    tracing::warn!("an earlier leader's change of the membership could not be finished: {error}");
                }
            });
        }
    }
}

impl Drop for RoleWatcher {
    /// Shows `Role::Stopped` and gives every proposal an outcome, also after a panic. So no task waits for a role or an
    /// outcome that never comes.
    fn drop(&mut self) {
        self.pending.end();
        self.role.send_replace(Role::Stopped);
    }
}
