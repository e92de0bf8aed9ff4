//! What a member does when its state differs from its leader's (`ordering::soundness`). One of the two is wrong, and
//! going on would spread the damage:
//!
//! 1. The member applies nothing more, serves nobody, and does not stand for election. It still logs and votes.
//! 2. It reports the difference when the leader next asks. If a majority of the voters contradict the leader, the
//!    leader's state is the wrong one. The leader then takes the same steps, after it has handed over the leadership.
//!    The members that contradicted it go on serving.
//! 3. Otherwise the member takes the leader's checkpoint, as soon as there is one that is not older than what the
//!    member had applied, and goes on from there.

use super::Ensemble;
use crate::consensus::Role;
use crate::environment::Instant;
use crate::limits;
use crate::peer::messages::greeting::Greeting;
use crate::replica::Replica;
use crate::replica::ordering::WriteOrder;
use crate::replica::ordering::soundness::Doubt;
use std::sync::Arc;

/// Whether `contradicting` of `voters` voters prove the leader's state wrong.
fn outvoted(contradicting: usize, voters: usize) -> bool {
    contradicting > voters / 2
}

/// Repairs the state whenever it is found not to be sound. Ends with consensus.
pub(in crate::replica) async fn keep_sound(replica: Arc<Replica>) {
    let (order, ensemble) = (&replica.order, &replica.ensemble);
    let mut doubts = order.soundness.doubts();
    let mut role = ensemble.consensus().role();
    loop {
        let doubt = tokio::select! { biased;
            _ = role.wait_for(|role| *role == Role::Stopped) => return,
            doubt = doubts.wait_for(Option::is_some) => doubt.ok().and_then(|doubt| *doubt),
        };
        let Some(doubt) = doubt else { return };
        tracing::error!(
            zxid = %doubt.zxid,
            "this member's state differs from its leader's: it stops applying and serving, and takes the state of \
             another member; this is a bug, or a defect of this machine's memory"
        );
        ensemble.consensus().allow_election(false);
        ensemble.repair(order, doubt).await;
        ensemble.consensus().allow_election(true);
        tracing::warn!(zxid = %order.last_applied(), "the state is sound again");
    }
}

impl Ensemble {
    /// Counts the voters that contradict this leader. Called on the leader, after each round of reports.
    pub(super) fn count_doubts(&self, order: &WriteOrder) {
        let Role::Leader { term } = *self.consensus().role().borrow() else { return };
        let voters = self.consensus().membership().voters;
        let reports = voters.iter().filter_map(|id| self.known_members.report_of(u32::try_from(*id).ok()?));
        let contradicting = reports.filter(|(at, report)| report.diverged && at.elapsed() < limits::REPORT_COUNTS_MAX);
        let contradicting = contradicting.count();
        if outvoted(contradicting, voters.len()) && order.soundness.is_sound() {
            let zxid = order.last_applied();
            tracing::error!(
                %zxid,
                contradicting,
                "most voters have another state than this leader: it gives up the leadership"
            );
            order.soundness.raise(Doubt { term, zxid });
        }
    }

    async fn repair(&self, order: &WriteOrder, doubt: Doubt) {
        let began = Instant::now();
        loop {
            tokio::time::sleep(limits::MEND_INTERVAL).await;
            let role = *self.consensus().role().borrow();
            match role {
                Role::Leader { .. } => {
                    // The members that contradict this leader learn first that it has given up. Otherwise none of them
                    // would stand for election.
                    if began.elapsed() > limits::REPORT_COUNTS_MAX
                        && let Err(error) = self.consensus().transfer(None).await
                    {
                        tracing::warn!(%error, "the leadership could not be given away");
                    }
                }
                Role::Follower { leader: Some(leader) } => {
                    if self.leader_is_wrong(leader).await {
                        return order.soundness.trust_again(doubt.term);
                    }
                    // Until then the leader may still find out that it is outvoted.
                    if began.elapsed() > limits::REPORT_COUNTS_MAX && self.take_state_of(leader, order).await {
                        return;
                    }
                }
                Role::Follower { leader: None } => {}
                Role::Stopped => return,
            }
        }
    }

    async fn leader_is_wrong(&self, leader: u64) -> bool {
        let membership = self.consensus().membership();
        let Some(member) = membership.members.get(&leader) else { return false };
        let answer = self.known_members.ask(&member.server).await;
        matches!(answer, Ok(Greeting::Initialised(leader)) if leader.report.diverged)
    }

    async fn take_state_of(&self, leader: u64, order: &WriteOrder) -> bool {
        let applied = order.boundary.lock().position();
        match self.consensus().fetch_state(leader, applied).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(leader, error, "the leader's state is not taken yet");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_voters_must_contradict() {
        assert!(
            !outvoted(0, 1)
                && !outvoted(1, 2)
                && !outvoted(1, 3)
                && outvoted(2, 3)
                && !outvoted(2, 5)
                && outvoted(3, 5)
        );
    }
}
