//! Who leads, how sure that is at the moment, and how it passes on.

use super::connection::{MemberConnection, PeerError};
use super::convert;
use super::membership::MembershipError;
use super::proposals::unless_ended;
use super::types::{TypeConfig, position};
use super::{BarrierError, Consensus, Role};
use crate::environment::Instant;
use crate::limits;
use crate::peer::Purpose;
use crate::peer::messages::raft::{Answer, Call, HandOver, VoteAndLog};
use crate::storage::LogPosition;
use futures::stream::{FuturesUnordered, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, ReadPolicy, ServerState};
use std::time::Duration;

impl Consensus {
    /// On a leader: what a reader must have applied to see everything that was acknowledged before this call. Costs a
    /// round of heartbeats, which readers that come together share.
    pub async fn read_index(&self) -> Result<u64, BarrierError> {
        let raft = self.raft.clone();
        // A task of its own: a call into openraft that is dropped half way, while openraft ends, breaks other calls.
        let call = async move { unless_ended(&raft, raft.get_read_linearizer(ReadPolicy::ReadIndex)).await };
        match self.runtime.spawn(call).await {
            Ok(Some(Ok(linearizer))) => Ok(linearizer.read_log_id().index()),
            Ok(Some(Err(error))) => Err(BarrierError(error.to_string())),
            Ok(None) => Err(BarrierError::ended()),
            Err(error) => Err(BarrierError(error.to_string())),
        }
    }

    /// Waits until this member has applied the log up to `index`, however long that takes.
    pub async fn applied_at_least(&self, index: u64) -> Result<(), BarrierError> {
        let mut applied = self.raft.watch_apply_progress();
        let reached = applied.wait_until(move |applied| applied.as_ref().is_some_and(|at| at.index >= index)).await;
        reached.map(drop).map_err(|_| BarrierError::ended())
    }

    /// On a leader: a moment at which a quorum took it for the leader. What nobody else can have done before that moment,
    /// nobody has. None if it does not lead, or no quorum has answered it yet.
    pub fn quorum_heard(&self) -> Option<Instant> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return None;
        }
        let alone = metrics.membership_config.voter_ids().eq([metrics.id]);
        if alone { Some(Instant::now()) } else { metrics.last_quorum_acked.map(|at| Instant::now() - at.elapsed()) }
    }

    /// Whether this member may try to lead. One that leads goes on.
    pub fn allow_election(&self, may: bool) {
        self.raft.runtime_config().elect(may);
    }

    /// Hands the leadership to that voter, or to the one whose log goes furthest; returns who leads then. Nothing is
    /// accepted from the moment it is asked, whatever comes of it: if nobody takes over, the others elect by themselves.
    pub async fn transfer(&self, to: Option<u64>) -> Result<u64, MembershipError> {
        let (me, to) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            if metrics.state != ServerState::Leader {
                return Err(MembershipError::NotLeader { leader: metrics.current_leader });
            }
            let matching = |id: &u64| metrics.replication.as_ref().and_then(|all| all.get(id).cloned()).flatten();
            let mut others = metrics.membership_config.voter_ids().filter(|id| *id != metrics.id);
            let to = match to {
                Some(to) if others.any(|id| id == to) => Some(to),
                Some(to) => return Err(MembershipError::Refused(format!("member {to} is no other voter"))),
                None => others.max_by_key(|id| matching(id)),
            };
            (metrics.id, to.ok_or(MembershipError::NoSuccessor)?)
        };
        self.raft.trigger().transfer_leader(to).await?;
        let mut role = self.role.clone();
        let other = role.wait_for(|role| match role {
            Role::Follower { leader: Some(leader) } => *leader != me,
            Role::Stopped => true,
            _ => false,
        });
        let patience = Duration::from_millis(limits::TRANSFER_MS_MAX);
        match tokio::time::timeout(patience, other).await {
            Ok(Ok(role)) => match *role {
                Role::Follower { leader: Some(leader) } => Ok(leader),
                _ => Err(MembershipError::Stopped),
            },
            Ok(Err(_)) => Err(MembershipError::Stopped),
            Err(_) => Err(MembershipError::NoSuccessor),
        }
    }

    /// Has a member elected at once, although the lease of the leader of `from_term` still runs: that leader's process
    /// must be known to be gone, for its votes do not ask. Those that can be reached say how far their logs go, and the
    /// one with the longest is asked to lead, so that several that find out at once do not stand against each
    /// other. Nothing happens if another term has begun meanwhile.
    pub async fn take_over(&self, from_term: u64) {
        let (me, vote, voters) = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let vote = metrics.vote;
            if vote.leader_id.term != from_term || !vote.committed || vote.leader_id.voted_for == metrics.id {
                return;
            }
            let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
            (metrics.id, convert::vote(&vote), voters)
        };
        if !voters.contains(&me) {
            return;
        }
        let mine = self.raft.watch_log_progress().get().and_then(|flushed| flushed.last_log_id);
        let mut best = (mine.as_ref().map(position), std::cmp::Reverse(me));
        let others = voters.iter().copied().filter(|id| *id != me && *id != vote.voted_for);
        let mut asked: FuturesUnordered<_> = others.map(|id| self.vote_and_log_of(id)).collect();
        while let Some((id, standing)) = asked.next().await {
            let Some(standing) = standing else { continue };
            if standing.vote != vote {
                tracing::debug!(member = id, "no take-over: it has voted otherwise already");
                return;
            }
            best = best.max((standing.last, std::cmp::Reverse(id)));
        }
        let (last, std::cmp::Reverse(to)) = best;
        tracing::info!(from_term, to, "the leader is gone: a member is asked to lead at once");
        let hand_over = HandOver { from: vote, to, last };
        if to == me {
            let _ = self.raft.handle_transfer_leader(convert::to_hand_over(&hand_over)).await;
        } else if let Err(trouble) = self.call(to, &Call::HandOver(hand_over)).await {
            tracing::debug!(member = to, ?trouble, "it could not be asked to lead");
        }
    }

    async fn vote_and_log_of(&self, of: u64) -> (u64, Option<VoteAndLog>) {
        match self.call(of, &Call::VoteAndLog).await {
            Ok(Answer::VoteAndLog(standing)) => (of, Some(standing)),
            _ => (of, None),
        }
    }

    /// One question to a member, answered within a heartbeat or two, or not at all.
    async fn call(&self, to: u64, call: &Call) -> Result<Answer, PeerError> {
        let Some(mut link) = MemberConnection::to(&self.clients, to, Purpose::Votes) else {
            return Err(PeerError::Refused("it is no member".to_owned()));
        };
        let patience = Duration::from_millis(limits::STANDING_MS_MAX);
        let answer = tokio::time::timeout(patience, link.call(call)).await;
        answer.unwrap_or(Err(PeerError::NoAnswer(patience)))
    }

    pub(super) fn own_vote_and_log(&self) -> VoteAndLog {
        let metrics = self.raft.server_metrics();
        let vote = metrics.borrow_watched().vote;
        let flushed = self.raft.watch_log_progress().get();
        VoteAndLog { vote: convert::vote(&vote), last: last_of(flushed) }
    }
}

fn last_of(flushed: Option<openraft::raft::FlushPoint<TypeConfig>>) -> Option<LogPosition> {
    flushed.and_then(|flushed| flushed.last_log_id.as_ref().map(position))
}
