//! How much of the log goes after a checkpoint.

use super::Consensus;
use crate::hooks;
use crate::limits;
use crate::storage::LogPosition;
use openraft::async_runtime::WatchReceiver;

impl Consensus {
    /// A checkpoint is on the disk that has applied the log up to `checkpoint`, and may be given to others; this member's
    /// own start will not need the log up to `purge_up_to` any more (the image reaches that far). Entries up to there may
    /// go, but for those that others are likely to ask for. Returns at once; `shutdown` waits until they are gone.
    pub fn checkpointed(&self, checkpoint: LogPosition, purge_up_to: Option<LogPosition>) {
        let consensus = self.clone();
        let purge_task = self.runtime.spawn(async move { consensus.purge_log(checkpoint, purge_up_to).await });
        *self.purge_task.lock() = Some(purge_task);
    }

    async fn purge_log(&self, checkpoint: LogPosition, purge_up_to: Option<LogPosition>) {
        // openraft purges up to what it takes for a snapshot, at most. Errors mean that it is shut down.
        let mut known = self.raft.watch_snapshot_progress();
        if self.raft.trigger().snapshot().await.is_err() {
            return;
        }
        let known = known.wait_until(move |at| at.as_ref().is_some_and(|at| at.index >= checkpoint.index));
        if !matches!(tokio::time::timeout(limits::CHECKPOINT_NOTED_MAX, known).await, Ok(Ok(_))) {
            return;
        }
        let Some(purge) = purge_up_to.min(Some(checkpoint)) else { return };
        let last = self.log.last().map_or(0, |last| last.index);
        let alone = self.membership.borrow().members.len() <= 1;
        let room = self.log.stats().segments * limits::LOG_SEGMENT_BYTES <= limits::LOG_BYTES_KEPT_FOR_PEERS;
        let kept = if alone || !room { 0 } else { hooks::pace().log_entries_kept_for_peers };
        let Some(unkept) = last.checked_sub(kept) else { return };
        let mut index = purge.index.min(unkept);
        if let Some(offered) = self.offers.oldest() {
            index = index.min(offered.index);
        }
        let _ = self.raft.trigger().purge_log(index).await;
        let mut metrics = self.raft.metrics();
        let gone = async {
            while metrics.borrow_watched().purged.is_none_or(|purged| purged.index < index) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        // Too late is as good as with the next checkpoint.
        let _ = tokio::time::timeout(limits::CHECKPOINT_NOTED_MAX, gone).await;
    }
}

#[cfg(test)]
impl Consensus {
    /// As if it had grown so long that what others may ask for does not count any more.
    pub async fn purge(&self, index: u64) {
        self.raft.trigger().purge_log(index).await.expect("it runs");
    }
}
