//! The checkpoint and the image of this member, and checkpoints on their way to and from other members.
//!
//! | file | what |
//! |---|---|
//! | `checkpointing` | the thread that writes checkpoints and images, and lets the log be purged up to them |
//! | `installing` | checkpoints for other members, and replacing this member's state by that of another |

pub(super) mod checkpointing;
pub(super) mod installing;

use crate::environment::Clock;
use crate::metrics::Metrics;
use crate::storage::checkpoint::CheckpointReader;
use crate::storage::checkpointer::{Checkpointer, Progress};
use crate::storage::disk::Disk;
use parking_lot::Mutex;
use std::sync::Arc;

/// Where the checkpoint and the image lie.
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    /// Writes and replaces checkpoints. Locked while a checkpoint is written or replaced.
    checkpointer: Mutex<Checkpointer>,
    /// Reads the last checkpoint, for other members. Never locked for long.
    ///
    /// Invariant: reads the checkpoint that `checkpointer` wrote or took over last.
    reader: Mutex<CheckpointReader>,
    /// The bytes of the log when this member started.
    log_bytes_at_start: u64,
    /// Seeds the tables of a state that is loaded.
    seed: u64,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Files {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        checkpointer: Checkpointer,
        log_bytes_at_start: u64,
        seed: u64,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Files {
        let reader = Mutex::new(checkpointer.last().reader());
        Files { disk, checkpointer: Mutex::new(checkpointer), reader, log_bytes_at_start, seed, clock, metrics }
    }

    /// How far the log has come: `log_bytes_written` bytes since the start. The caller fills in the other fields.
    fn progress(&self, log_bytes_written: u64) -> Progress {
        Progress {
            log_bytes: self.log_bytes_at_start + log_bytes_written,
            now_ms: self.clock.now_ms(),
            ..Progress::default()
        }
    }

    /// Up to which position the image lets the log be purged.
    #[cfg(test)]
    pub(super) fn purge_up_to(&self) -> Option<crate::storage::LogPosition> {
        self.checkpointer.lock().purge_up_to()
    }
}
