//! How much of the log goes after a checkpoint.

use super::Consensus;
use crate::hooks;
use crate::limits;
use crate::storage::LogPosition;
use openraft::async_runtime::WatchReceiver;

impl Consensus {
    /// Reports that a checkpoint is on the disk, which has applied the log up to `checkpoint` and may be sent to
    /// others. A start of this member does not need the log up to `purge_up_to` any more, because the image reaches
    /// that far. Entries up to there may go, except those that other members are likely to ask for. Returns at once;
    /// `shutdown` waits until the entries are gone.
    pub(crate) fn checkpointed(&self, checkpoint: LogPosition, purge_up_to: Option<LogPosition>) {
        let consensus = self.clone();
        let purge_task = self.runtime.spawn(async move { consensus.purge_log(checkpoint, purge_up_to).await });
        *self.purge_task.lock() = Some(purge_task);
    }

    async fn purge_log(&self, checkpoint: LogPosition, purge_up_to: Option<LogPosition>) {
        // openraft purges at most up to its snapshot, so it has to hear of the checkpoint first. Errors mean that it
        // has ended.
        let mut known = self.raft.watch_snapshot_progress();
        if self.raft.trigger().snapshot().await.is_err() {
            return;
        }
        let known = known.wait_until(move |at| at.as_ref().is_some_and(|at| at.index >= checkpoint.index));
        if !matches!(tokio::time::timeout(limits::CHECKPOINT_NOTED_MAX, known).await, Ok(Ok(_))) {
            return;
        }
        let Some(covered) = purge_up_to.min(Some(checkpoint)) else { return };
        let last = self.log.last().map_or(0, |last| last.index);
        let alone = self.membership.borrow().members.len() <= 1;
        let room = self.log.stats().segments * limits::LOG_SEGMENT_BYTES <= limits::LOG_BYTES_KEPT_FOR_PEERS;
        let kept = if alone || !room { 0 } else { hooks::pace().log_entries_kept_for_peers };
        let Some(unkept) = last.checked_sub(kept) else { return };
        let mut index = covered.index.min(unkept);
        if let Some(offered) = self.offers.oldest() {
            index = index.min(offered.index);
        }
        // Invariant: image and log give the whole state, and so do checkpoint and log.
        assert!(index <= checkpoint.index, "the log goes up to entry {index}, behind the checkpoint {checkpoint}");
        assert!(index <= covered.index, "the log goes up to entry {index}, behind the image {covered}");
        let _ = self.raft.trigger().purge_log(index).await;
        let mut metrics = self.raft.metrics();
        let gone = async {
            while metrics.borrow_watched().purged.is_none_or(|purged| purged.index < index) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        // If it takes longer, the entries go later. The next checkpoint asks again.
        let _ = tokio::time::timeout(limits::CHECKPOINT_NOTED_MAX, gone).await;
    }
}

#[cfg(test)]
impl Consensus {
    /// Purges the log up to `index`, as if the log had grown so long that nothing is kept for other members.
    pub(crate) async fn purge(&self, index: u64) {
        self.raft.trigger().purge_log(index).await.expect("it runs");
    }
}
