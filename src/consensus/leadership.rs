//! Who leads, how recently a quorum confirmed it, and how the leadership passes on.

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

impl Consensus {
    /// On a leader: the log index that a reader must have applied to see everything that was acknowledged before this
    /// call. Costs one round of heartbeats. Calls that come together share a round.
    pub(crate) async fn read_index(&self) -> Result<u64, BarrierError> {
        let raft = self.raft.clone();
        // A task of its own: if a call into openraft is dropped halfway, while openraft ends, other calls break.
        let call = async move { unless_ended(&raft, raft.get_read_linearizer(ReadPolicy::ReadIndex)).await };
        match self.runtime.spawn(call).await {
            Ok(Some(Ok(linearizer))) => Ok(linearizer.read_log_id().index()),
            Ok(Some(Err(error))) => Err(BarrierError(error.to_string())),
            Ok(None) => Err(BarrierError::ended()),
            Err(error) => Err(BarrierError(error.to_string())),
        }
    }

    /// Waits until this member has applied the log up to `index`, however long that takes.
    pub(crate) async fn applied_at_least(&self, index: u64) -> Result<(), BarrierError> {
        let mut applied = self.raft.watch_apply_progress();
        let reached = applied.wait_until(move |applied| applied.as_ref().is_some_and(|at| at.index >= index)).await;
        reached.map(drop).map_err(|_| BarrierError::ended())
    }

    /// On a leader: a moment at which a quorum accepted this member as the leader. No other member can have been
    /// elected before that moment. None if this member does not lead, or no quorum has answered it yet.
    pub(crate) fn quorum_heard(&self) -> Option<Instant> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return None;
        }
        let alone = metrics.membership_config.voter_ids().eq([metrics.id]);
        if alone { Some(Instant::now()) } else { metrics.last_quorum_acked.map(|at| Instant::now() - at.elapsed()) }
    }

    /// Sets whether this member may stand for election. A member that leads goes on leading.
    pub(crate) fn allow_election(&self, may: bool) {
        self.raft.runtime_config().elect(may);
    }

    /// Hands the leadership to voter `to`, or to the voter whose log goes furthest. Returns who leads then. From the
    /// call on this leader accepts nothing, even if nobody takes over: then the others hold an election.
    pub(crate) async fn transfer(&self, to: Option<u64>) -> Result<u64, MembershipError> {
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
        let patience = limits::TRANSFER_MAX;
        match tokio::time::timeout(patience, other).await {
            Ok(Ok(role)) => match *role {
                Role::Follower { leader: Some(leader) } => Ok(leader),
                _ => Err(MembershipError::Stopped),
            },
            Ok(Err(_)) => Err(MembershipError::Stopped),
            Err(_) => Err(MembershipError::NoSuccessor),
        }
    }

    /// Has a member elected at once, although the lease of the leader of `from_term` still runs. The process of that
    /// leader must be known to be gone, because the votes ignore its lease.
    ///
    /// Asks the reachable voters how far their logs go, and asks the one with the longest log to lead. So several
    /// members that find out at once do not stand against each other. Does nothing if another term has begun.
    pub(crate) async fn take_over(&self, from_term: u64) {
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
                tracing::debug!(member = id, "no take-over: this member has already voted otherwise");
                return;
            }
            best = best.max((standing.last, std::cmp::Reverse(id)));
        }
        let (last, std::cmp::Reverse(to)) = best;
        assert!(voters.contains(&to), "member {to} is to lead and is no voter");
        tracing::info!(from_term, to, "the leader is gone: the member with the longest log is asked to lead at once");
        let hand_over = HandOver { from: vote, to, last };
        if to == me {
            let _ = self.raft.handle_transfer_leader(convert::to_hand_over(&hand_over)).await;
        } else if let Err(error) = self.call(to, &Call::HandOver(hand_over)).await {
            tracing::debug!(member = to, ?error, "this member could not be asked to lead");
        }
    }

    async fn vote_and_log_of(&self, of: u64) -> (u64, Option<VoteAndLog>) {
        match self.call(of, &Call::VoteAndLog).await {
            Ok(Answer::VoteAndLog(standing)) => (of, Some(standing)),
            _ => (of, None),
        }
    }

    /// Asks a member one question. The member answers within a heartbeat or two, or not at all.
    async fn call(&self, to: u64, call: &Call) -> Result<Answer, PeerError> {
        let Some(mut link) = MemberConnection::to(&self.clients, to, Purpose::Votes) else {
            return Err(PeerError::Refused("it is no member".to_owned()));
        };
        let patience = limits::STANDING_MAX;
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
