//! Who takes part: what consensus knows of the membership, and how it is changed.
//!
//! A change goes through a joint membership. In a joint membership a majority of the old voters and a majority of the
//! new voters must agree. The change is over when the joint membership has been left. A leader that finds its
//! predecessor's change halfway finishes it (`finish`).

use super::Consensus;
use super::machine::Machine;
use super::proposals::unless_ended;
use super::types::{StoredMembership, TypeConfig, log_id, position};
use crate::environment::Instant;
use crate::limits;
use crate::model::ensemble::Member;
use crate::storage::LogPosition;
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::{ChangeMembers, Precondition, Raft, ServerState};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// The membership as of the last membership entry in this member's log, committed or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The position of that entry; None while this member knows of no membership.
    pub(crate) at: Option<LogPosition>,
    /// The voters. During a change, the voters that will be. Invariant: not empty if `at` is known.
    pub(crate) voters: BTreeSet<u64>,
    /// Whether the change to this membership is still under way. A change that is under way may still be undone.
    pub(crate) changing: bool,
    /// Voters and learners. Invariant: every voter is among them.
    pub(crate) members: BTreeMap<u64, Member>,
}

impl Membership {
    pub(super) fn new(effective: &StoredMembership, committed: &StoredMembership) -> Membership {
        let joint = effective.get_joint_config();
        Membership {
            at: effective.log_id().as_ref().map(position),
            voters: joint.last().cloned().unwrap_or_default(),
            changing: joint.len() > 1 || effective.log_id() != committed.log_id(),
            members: effective.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
        .checked()
    }

    fn checked(self) -> Membership {
        assert!(self.at.is_none() || !self.voters.is_empty(), "the membership at {:?} has no voter", self.at);
        let stranger = self.voters.iter().find(|voter| !self.members.contains_key(voter));
        assert!(stranger.is_none(), "member {stranger:?} votes and is no member");
        self
    }
}

/// Why a membership, or the leadership, could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error("this member does not lead{}", .leader.map(|leader| format!(": ask member {leader}")).unwrap_or_default())]
    NotLeader { leader: Option<u64> },
    /// The caller has to look at the membership again and decide again.
    #[error("the membership has changed meanwhile")]
    Changed,
    /// The caller may try again when that change is over.
    #[error("another change of the membership is under way")]
    InProgress,
    /// The change would not give a valid membership. The text is a sentence.
    #[error("{0}")]
    Refused(String),
    /// The leadership was lost during the change. The change may take place in full, by half, or not at all.
    #[error("the leadership was lost meanwhile: whether it happened is not known")]
    Unknown,
    /// Another member was asked to lead, but no other member leads so far.
    #[error("no other member has taken the leadership in time")]
    NoSuccessor,
    #[error("consensus has ended")]
    Stopped,
}

impl From<RaftError<TypeConfig, ClientWriteError<TypeConfig>>> for MembershipError {
    fn from(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> MembershipError {
        use openraft::errors::ChangeMembershipError as Change;
        match error {
            RaftError::Fatal(fatal) => fatal.into(),
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                MembershipError::NotLeader { leader: to.leader_id }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => MembershipError::Unknown,
            RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => MembershipError::Changed,
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                Change::InProgress(_) | Change::UncommittedLeaderLog(_) => MembershipError::InProgress,
                error => MembershipError::Refused(error.to_string()),
            },
        }
    }
}

impl From<Fatal<TypeConfig>> for MembershipError {
    fn from(_: Fatal<TypeConfig>) -> MembershipError {
        MembershipError::Stopped
    }
}

impl Consensus {
    pub(crate) fn membership(&self) -> Membership {
        self.membership.borrow().clone()
    }

    /// Whether this member knows who the members are, and `member` is none of them.
    pub(crate) fn membership_leaves_out(&self, member: u64) -> bool {
        let membership = self.membership.borrow();
        membership.at.is_some() && !membership.members.contains_key(&member)
    }

    /// Reports each membership that enters the log or leaves it again, and each commit of a membership.
    pub(crate) fn membership_watch(&self) -> watch::Receiver<Membership> {
        self.membership.clone()
    }

    /// Makes the member a learner. If it is a member already, gives it these addresses. Returns when the change is
    /// committed; `lag` says how far the member has come.
    pub(crate) async fn add_learner(&self, member: Member) -> Result<(), MembershipError> {
        let id = u64::from(member.server.id);
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, member)])), Retain::Yes, None).await?;
        Ok(())
    }

    /// How many entries the member is behind, as this leader knows. None if this member does not lead, or has never
    /// heard of that member.
    pub(crate) fn lag(&self, member: u64) -> Option<u64> {
        let last = self.raft.metrics().borrow_watched().last_log_index.unwrap_or_default();
        Some(last.saturating_sub(self.matching(member)?))
    }

    /// The index of the last entry that the member has, as this leader knows. None as in [`Consensus::lag`].
    pub(crate) fn matching(&self, member: u64) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Some(metrics.replication.as_ref()?.get(&member)?.as_ref()?.index)
    }

    /// On a leader: when that member last answered. None if this member does not lead, or has never heard of that
    /// member.
    pub(crate) fn member_heard(&self, member: u64) -> Option<Instant> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.heartbeat.as_ref()?.get(&member)?.as_ref()?;
        Some(Instant::now() - heard.elapsed())
    }

    /// Changes the membership to exactly `members`, of which `voters` vote. If the leader is not among the voters, the
    /// caller has to pass the leadership on before.
    ///
    /// `expected` is the position of the membership on which the change was decided. None: any. New voters should be
    /// caught up, because nothing is committed without a majority of them.
    pub(crate) async fn change_membership(
        &self,
        expected: Option<LogPosition>,
        voters: BTreeSet<u64>,
        members: BTreeMap<u64, Member>,
    ) -> Result<(), MembershipError> {
        if voters.is_empty() {
            return Err(MembershipError::Refused("an ensemble needs a member that votes".to_owned()));
        }
        if let Some(stranger) = voters.iter().find(|voter| !members.contains_key(voter)) {
            return Err(MembershipError::Refused(format!("member {stranger} shall vote and is not among the members")));
        }
        let now = self.membership();
        // openraft drops an old voter unless it is told to retain all old voters. A learner that goes is dropped at
        // once.
        let demotes = now.voters.iter().any(|voter| members.contains_key(voter) && !voters.contains(voter));
        let gone = |id: &u64| !members.contains_key(id);
        let learners_gone = now.members.keys().filter(|id| gone(id) && !now.voters.contains(id)).copied().collect();
        let change = ChangeMembers::Batch(vec![
            ChangeMembers::RemoveNodes(learners_gone),
            ChangeMembers::SetNodes(members.clone()),
            ChangeMembers::ReplaceAllVoters(voters),
        ]);
        let changed = self.change(change, if demotes { Retain::Yes } else { Retain::No }, expected).await?;
        let voters_gone: BTreeSet<u64> = now.voters.iter().filter(|id| gone(id)).copied().collect();
        if demotes && !voters_gone.is_empty() {
            self.change(ChangeMembers::RemoveNodes(voters_gone), Retain::Yes, Some(changed)).await?;
        }
        Ok(())
    }

    /// Returns the position of the membership that the change led to.
    async fn change(
        &self,
        change: ChangeMembers<u64, Member>,
        retain: Retain,
        expected: Option<LogPosition>,
    ) -> Result<LogPosition, MembershipError> {
        let raft = self.raft.clone();
        // The change runs in a task of its own, so that it is finished even if its caller is gone.
        let changed = self.runtime.spawn(async move {
            let mut changed = apply(&raft, change, retain, expected).await;
            // If the lease runs out between the two halves, the second half is refused, although the leadership goes
            // on.
            if matches!(changed, Err(MembershipError::NotLeader { .. } | MembershipError::Unknown)) {
                while changed.is_err() && stuck(&raft) {
                    tokio::time::sleep(limits::HEARTBEAT).await;
                    changed = finish(&raft, retain).await;
                }
            }
            changed
        });
        changed.await.unwrap_or(Err(MembershipError::Stopped))
    }
}

/// What becomes of voters that lose their vote: they become learners, or leave the ensemble.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retain {
    Yes,
    No,
}

async fn apply(
    raft: &Raft<TypeConfig, Machine>,
    change: ChangeMembers<u64, Member>,
    retain: Retain,
    expected: Option<LogPosition>,
) -> Result<LogPosition, MembershipError> {
    let unchanged = expected.map(|at| Precondition::LastMembershipLogId { last_membership_log_id: Some(log_id(at)) });
    let changed = unless_ended(raft, raft.change_membership_if(change, retain == Retain::Yes, unchanged)).await;
    let response = changed.unwrap_or(Err(RaftError::Fatal(Fatal::Stopped)))?;
    Ok(position(&response.log_id))
}

/// Whether this member leads, as far as it knows, and the membership is halfway through a change.
fn stuck(raft: &Raft<TypeConfig, Machine>) -> bool {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    metrics.state == ServerState::Leader && metrics.membership_config.get_joint_config().len() > 1
}

/// Finishes a change that was left halfway, by going on to the new membership. Returns the position of the new
/// membership.
pub(super) async fn finish(raft: &Raft<TypeConfig, Machine>, retain: Retain) -> Result<LogPosition, MembershipError> {
    let (at, voters) = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let at = metrics.membership_config.log_id().as_ref().map(position);
        let joint = metrics.membership_config.get_joint_config();
        match (at, joint.len()) {
            (Some(at), ..2) => return Ok(at),
            _ => (at, joint.last().cloned().unwrap_or_default()),
        }
    };
    tracing::info!(?voters, "finishing a change of the membership that was left halfway");
    apply(raft, ChangeMembers::ReplaceAllVoters(voters), retain, at).await
}
