//! Whether this member's state is the one that the ensemble has: compares digests with the leader's.
//!
//! Each batch carries the leader's digest at a zxid that the leader had applied. A member keeps its own digests at the
//! ends of the last `limits::DIGESTS_KEPT` batches. If the two digests of one zxid differ, one of the two states is
//! wrong, because of a bug or a fault of memory. Then the member applies nothing more, so that the damage does not
//! spread; `ensemble::repair` does the rest.
//!
//! If two replicas go wrong in the same way, this is not noticed.

use crate::limits;
use crate::model::Zxid;
use crate::model::txn::Batch;
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::watch;

#[derive(Default)]
pub(crate) struct Soundness {
    kept: Mutex<Kept>,
    /// None while the state may be trusted.
    doubt: watch::Sender<Option<Doubt>>,
}

#[derive(Default)]
struct Kept {
    /// Zxid and digest at the ends of batches, oldest first.
    ///
    /// Invariant: the zxids grow, and there are at most `limits::DIGESTS_KEPT`.
    digests: VecDeque<(Zxid, u64)>,
    /// The term of a leadership whose own state was found to be wrong. Digests of that term are ignored.
    wrong_term: Option<u64>,
}

/// Two members have different states at the same zxid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// The term of the leadership that contradicts this member, or of this member's own leadership.
    pub(crate) term: u64,
    pub(crate) zxid: Zxid,
}

impl Kept {
    fn note(&mut self, zxid: Zxid, digest: u64) {
        if let Some((last, _)) = self.digests.back() {
            assert!(zxid > *last, "digests are kept in the order of their zxids: {zxid} after {last}");
        }
        if self.digests.len() == limits::DIGESTS_KEPT {
            self.digests.pop_front();
        }
        self.digests.push_back((zxid, digest));
        assert!(self.digests.len() <= limits::DIGESTS_KEPT, "old digests make room for new ones");
    }

    /// The zxid at which the batch's digest differs from the one kept here.
    fn contradicted(&self, batch: &Batch) -> Option<Zxid> {
        let (zxid, theirs) = batch.digest?;
        let at = self.digests.binary_search_by_key(&zxid, |(zxid, _)| *zxid).ok()?;
        let differs = self.digests.get(at).is_some_and(|(_, ours)| *ours != theirs);
        (differs && self.wrong_term != Some(batch.term)).then_some(zxid)
    }
}

impl Soundness {
    /// Keeps the digest at the end of a batch. Called for each batch, in order.
    pub(super) fn note(&self, zxid: Zxid, digest: u64) {
        self.kept.lock().note(zxid, digest);
    }

    /// The last digest kept: what a leader puts into its next batch.
    pub(super) fn latest(&self) -> Option<(Zxid, u64)> {
        self.kept.lock().digests.back().copied()
    }

    /// Whether the batch may be applied. If its digest differs from the one kept here, nothing may be applied from now
    /// on.
    pub(super) fn agrees(&self, batch: &Batch) -> bool {
        if !self.is_sound() {
            return false;
        }
        let Some(zxid) = self.kept.lock().contradicted(batch) else { return true };
        self.raise(Doubt { term: batch.term, zxid });
        false
    }

    pub(in crate::replica) fn is_sound(&self) -> bool {
        self.doubt.borrow().is_none()
    }

    /// Waits until the state may be trusted.
    pub(in crate::replica) async fn until_sound(&self) {
        // The channel never closes, because the sender is a field of `self`.
        let _ = self.doubt.subscribe().wait_for(Option::is_none).await;
    }

    /// From now on the state is not to be trusted.
    pub(in crate::replica) fn raise(&self, doubt: Doubt) {
        self.doubt.send_replace(Some(doubt));
    }

    pub(in crate::replica) fn doubts(&self) -> watch::Receiver<Option<Doubt>> {
        self.doubt.subscribe()
    }

    /// The state is replaced by another one, so the kept digests mean nothing.
    pub(in crate::replica) fn replaced(&self) {
        self.kept.lock().digests.clear();
        self.doubt.send_replace(None);
    }

    /// The leader's state was the wrong one.
    pub(in crate::replica) fn trust_again(&self, wrong_term: u64) {
        self.kept.lock().wrong_term = Some(wrong_term);
        self.doubt.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn batch(term: u64, digest: Option<(u64, u64)>) -> Batch {
        let digest = digest.map(|(zxid, digest)| (Zxid(zxid), digest));
        Batch { term, prev: Zxid::ZERO, digest, txns: Arc::default() }
    }

    #[test]
    fn only_digests_of_the_same_zxid_are_compared() {
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
    fn a_wrong_leader_is_ignored_for_its_term_only() {
        let soundness = Soundness::default();
        soundness.note(Zxid(5), 500);
        assert!(!soundness.agrees(&batch(7, Some((5, 501)))));
        soundness.trust_again(7);
        assert!(soundness.agrees(&batch(7, Some((5, 501)))));
        assert!(!soundness.agrees(&batch(8, Some((5, 501)))));
    }

    #[test]
    #[should_panic = "digests are kept in the order of their zxids"]
    fn a_digest_of_the_past_is_a_bug() {
        let soundness = Soundness::default();
        soundness.note(Zxid(5), 1);
        soundness.note(Zxid(5), 1);
    }

    #[test]
    fn digests_kept_are_bounded() {
        let mut kept = Kept::default();
        (0..3000).for_each(|zxid| kept.note(Zxid(zxid), 1));
        assert_eq!(kept.digests.len(), limits::DIGESTS_KEPT);
        assert_eq!(kept.contradicted(&batch(1, Some((2999, 2)))), Some(Zxid(2999)));
        assert_eq!(kept.contradicted(&batch(1, Some((0, 2)))), None);
    }
}
