//! Whether this member's state is the one that the ensemble has: digests compared with the leader's.
//!
//! Each batch carries the leader's digest of a zxid that it had applied. A replica keeps its own digest at the end of each of
//! the last `limits::DIGESTS_KEPT` batches. Where the two differ, one of them has gone wrong - a bug, a bit of memory - and
//! going on would spread it:
//!
//! 1. The replica applies nothing more, serves nobody, and does not stand for election. It still logs and votes.
//! 2. It says so when the leader next asks how it is. A leader that a majority of the voters contradicts is the one that is
//!    wrong: it takes the same way, and gives the leadership away first; those that doubted it go on.
//! 3. Otherwise it takes the leader's checkpoint, as soon as there is one that is not before what it had applied, and goes
//!    on from there.
//!
//! What this does not see: two replicas that go wrong in the same way.

use crate::consensus::Role;
use crate::environment::Instant;
use crate::limits;
use crate::model::Zxid;
use crate::model::txn::Batch;
use crate::peer::messages::greeting::Greeting;
use crate::replica::Replica;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

#[derive(Default)]
pub struct Soundness {
    noted: Mutex<Noted>,
    doubt: watch::Sender<Option<Doubt>>,
}

#[derive(Default)]
struct Noted {
    /// At the ends of batches, oldest first.
    digests: VecDeque<(Zxid, u64)>,
    /// A leadership that was found to be wrong itself: its digests say nothing.
    wrong_term: Option<u64>,
}

/// Something is wrong with this member's state, or with the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Of the leadership that says otherwise; or its own.
    pub term: u64,
    pub zxid: Zxid,
}

impl Noted {
    fn note(&mut self, zxid: Zxid, digest: u64) {
        if self.digests.len() == limits::DIGESTS_KEPT {
            self.digests.pop_front();
        }
        self.digests.push_back((zxid, digest));
    }

    /// The zxid of which the batch says otherwise.
    fn contradicted(&self, batch: &Batch) -> Option<Zxid> {
        let (zxid, theirs) = batch.digest?;
        let at = self.digests.binary_search_by_key(&zxid, |(zxid, _)| *zxid).ok()?;
        let differs = self.digests.get(at).is_some_and(|(_, ours)| *ours != theirs);
        (differs && self.wrong_term != Some(batch.term)).then_some(zxid)
    }
}

impl Soundness {
    /// To be called at the end of each batch, in order.
    pub fn note(&self, zxid: Zxid, digest: u64) {
        self.noted.lock().note(zxid, digest);
    }

    /// What a leader says in its next batch.
    pub fn latest(&self) -> Option<(Zxid, u64)> {
        self.noted.lock().digests.back().copied()
    }

    /// Looks at a batch before it is applied; whether it may be.
    pub fn agrees(&self, batch: &Batch) -> bool {
        if !self.is_sound() {
            return false;
        }
        let Some(zxid) = self.noted.lock().contradicted(batch) else { return true };
        self.doubt.send_replace(Some(Doubt { term: batch.term, zxid }));
        false
    }

    pub fn is_sound(&self) -> bool {
        self.doubt.borrow().is_none()
    }

    pub async fn sound_again(&self) {
        // It never closes: the sender is `self`'s.
        let _ = self.doubt.subscribe().wait_for(Option::is_none).await;
    }

    /// The state is another one now.
    pub fn replaced(&self) {
        self.noted.lock().digests.clear();
        self.doubt.send_replace(None);
    }

    /// It was the leader that was wrong.
    fn trust_again(&self, wrong_term: u64) {
        self.noted.lock().wrong_term = Some(wrong_term);
        self.doubt.send_replace(None);
    }
}

/// Whether so many voters that say otherwise make the leader wrong.
fn outvoted(contradicting: usize, voters: usize) -> bool {
    contradicting > voters / 2
}

impl Replica {
    /// On the leader, after each round of reports.
    pub(crate) fn count_doubts(&self) {
        let Role::Leader { term } = *self.consensus().role().borrow() else { return };
        let voters = self.consensus().membership().voters;
        let reports = voters.iter().filter_map(|id| self.door.report_of(u32::try_from(*id).ok()?));
        let contradicting = reports.filter(|(at, report)| report.diverged && at.elapsed() < limits::REPORT_COUNTS_MAX);
        let contradicting = contradicting.count();
        if outvoted(contradicting, voters.len()) && self.soundness.is_sound() {
            let zxid = Zxid(self.last_applied.load(Ordering::Acquire));
            tracing::error!(%zxid, contradicting, "most voters have another state than this leader: it gives up the leadership");
            self.soundness.doubt.send_replace(Some(Doubt { term, zxid }));
        }
    }

    /// Sees to it that the state is sound again whenever it is not. Ends with consensus.
    pub(crate) async fn keep_sound(self: Arc<Replica>) {
        let mut doubts = self.soundness.doubt.subscribe();
        let mut role = self.consensus().role();
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
            self.consensus().elect(false);
            self.mend(doubt).await;
            self.consensus().elect(true);
            tracing::warn!(zxid = %Zxid(self.last_applied.load(Ordering::Acquire)), "the state is sound again");
        }
    }

    async fn mend(&self, doubt: Doubt) {
        let began = Instant::now();
        loop {
            tokio::time::sleep(limits::MEND_INTERVAL).await;
            let role = *self.consensus().role().borrow();
            match role {
                Role::Leader { .. } => {
                    // Those that doubt it hear of it first, or nobody would stand for election.
                    if began.elapsed() > limits::REPORT_COUNTS_MAX
                        && let Err(error) = self.consensus().transfer(None).await
                    {
                        tracing::warn!(%error, "the leadership could not be given away");
                    }
                }
                Role::Follower { leader: Some(leader) } => {
                    if self.leader_is_wrong(leader).await {
                        return self.soundness.trust_again(doubt.term);
                    }
                    // Time for the leader to find out that it is outvoted.
                    if began.elapsed() > limits::REPORT_COUNTS_MAX && self.take_state_of(leader).await {
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
        matches!(self.door.ask(&member.server).await, Ok(Greeting::Initialised(leader)) if leader.report.diverged)
    }

    async fn take_state_of(&self, leader: u64) -> bool {
        let applied = self.boundary.lock().position;
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

    fn batch(term: u64, digest: Option<(u64, u64)>) -> Batch {
        let digest = digest.map(|(zxid, digest)| (Zxid(zxid), digest));
        Batch { term, prev: Zxid::ZERO, digest, txns: Arc::default() }
    }

    #[test]
    fn only_a_digest_of_the_same_zxid_says_something() {
        let soundness = Soundness::default();
        for zxid in [3, 5, 9] {
            soundness.note(Zxid(zxid), zxid * 100);
        }
        assert_eq!(soundness.latest(), Some((Zxid(9), 900)));
        for fine in [None, Some((3, 300)), Some((9, 900)), Some((4, 1)), Some((10, 1)), Some((1, 1))] {
            assert!(soundness.agrees(&batch(1, fine)), "{fine:?}");
        }
        assert!(!soundness.agrees(&batch(1, Some((5, 501)))));
        assert!(!soundness.is_sound() && !soundness.agrees(&batch(1, None)), "nothing is applied any more");
        soundness.replaced();
        assert!(soundness.agrees(&batch(1, Some((5, 501)))), "the old digests were of another state");
    }

    #[test]
    fn a_leader_that_was_wrong_is_not_believed_and_the_next_one_is() {
        let soundness = Soundness::default();
        soundness.note(Zxid(5), 500);
        assert!(!soundness.agrees(&batch(7, Some((5, 501)))));
        soundness.trust_again(7);
        assert!(soundness.agrees(&batch(7, Some((5, 501)))));
        assert!(!soundness.agrees(&batch(8, Some((5, 501)))));
    }

    #[test]
    fn digests_kept_are_bounded() {
        let mut noted = Noted::default();
        (0..3000).for_each(|zxid| noted.note(Zxid(zxid), 1));
        assert_eq!(noted.digests.len(), limits::DIGESTS_KEPT);
        assert_eq!(noted.contradicted(&batch(1, Some((2999, 2)))), Some(Zxid(2999)));
        assert_eq!(noted.contradicted(&batch(1, Some((0, 2)))), None);
    }

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
