//! When a checkpoint is written, when an image is written, and which part of the log may go after them.
//!
//! `CheckpointSchedule` decides and knows nothing of files. `Checkpointer` owns the checkpoint file and does what was
//! decided, on the thread that calls it. The log is kept back to the image, never only to the checkpoint: if the
//! checkpoint is damaged, the image and the log still give the whole state.

use super::checkpoint::{self, Checkpoint, CheckpointSource};
use super::disk::Disk;
use super::image;
use super::receive::ReceivedState;
use super::records::{FileError, LogPosition, Meta, Tally};
use super::{CHECKPOINT_FILE, IMAGE_FILE, IMAGE_FILE_RECEIVED};
use crate::hooks;
use std::io;
use std::sync::Arc;

/// How far the log and the clock have come, as the replica sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of log that existed when the process started, plus all bytes written since.
    pub(crate) log_bytes: u64,
    /// Milliseconds of a monotonic clock.
    pub(crate) now_ms: u64,
    /// Whether anything was applied since the last checkpoint.
    pub(crate) changed: bool,
    /// Whether the process is about to end. Then a checkpoint saves the next start the replay.
    pub(crate) stopping: bool,
}

/// Decides what is due. Pure.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointSchedule {
    /// `Progress::log_bytes` at the last checkpoint.
    checkpoint_log_bytes: u64,
    /// `Progress::now_ms` at the last checkpoint.
    checkpoint_ms: u64,
    /// `Progress::log_bytes` at the last image. None if there should be an image and there is no usable one.
    image_log_bytes: Option<u64>,
}

impl CheckpointSchedule {
    /// The schedule at a start. The log that exists counts as written since the last checkpoint and the last image.
    /// `image_is_missing`: the log was purged up to an image that cannot be used any more.
    pub(crate) fn new(image_is_missing: bool, now_ms: u64) -> CheckpointSchedule {
        CheckpointSchedule {
            checkpoint_log_bytes: 0,
            checkpoint_ms: now_ms,
            image_log_bytes: (!image_is_missing).then_some(0),
        }
    }

    pub(crate) fn checkpoint_due(&self, progress: &Progress) -> bool {
        let pace = hooks::pace();
        progress.changed
            && (progress.stopping
                || progress.log_bytes.saturating_sub(self.checkpoint_log_bytes) >= pace.checkpoint_log_bytes
                || progress.now_ms.saturating_sub(self.checkpoint_ms) >= pace.checkpoint_interval_ms)
    }

    /// `tree_bytes`: how many bytes an image takes. An image is written only after as many bytes of log, so images cost
    /// at most as many bytes as the log itself.
    pub(crate) fn image_due(&self, progress: &Progress, tree_bytes: u64) -> bool {
        let least = hooks::pace().image_log_bytes;
        self.image_log_bytes.is_none_or(|then| progress.log_bytes.saturating_sub(then) >= tree_bytes.max(least))
    }

    /// Whether the log was purged up to an image that cannot be used any more. Then only the checkpoint holds what was
    /// in the purged part.
    fn image_is_missing(&self) -> bool {
        self.image_log_bytes.is_none()
    }

    fn checkpoint_done(&mut self, progress: &Progress) {
        self.checkpoint_log_bytes = progress.log_bytes;
        self.checkpoint_ms = progress.now_ms;
    }

    fn image_done(&mut self, progress: &Progress) {
        self.image_log_bytes = Some(progress.log_bytes);
    }
}

/// What `Checkpointer::run` did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CheckpointDone {
    /// Which state the checkpoint is.
    pub(crate) meta: Meta,
    pub(crate) tally: Tally,
    /// Whether an image of the checkpoint was written too.
    pub(crate) image_written: bool,
    /// `Checkpointer::purge_up_to`, behind the new image.
    pub(crate) purge_up_to: Option<LogPosition>,
}

/// Owns the checkpoint file. One thread calls it at a time.
pub(crate) struct Checkpointer {
    disk: Arc<dyn Disk>,
    /// Invariant: its position never falls.
    checkpoint: Checkpoint,
    schedule: CheckpointSchedule,
    /// The position of the usable image on disk.
    image: Option<LogPosition>,
}

impl Checkpointer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        checkpoint: Checkpoint,
        schedule: CheckpointSchedule,
        image: Option<LogPosition>,
    ) -> Checkpointer {
        Checkpointer { disk, checkpoint, schedule, image }
    }

    /// Writes a checkpoint, and perhaps an image, if they are due. Takes as long as the disk does. An error must end
    /// the process. Everything that was on disk before the call is still there.
    pub(crate) fn run(
        &mut self,
        progress: &Progress,
        source: &mut dyn CheckpointSource,
    ) -> io::Result<Option<CheckpointDone>> {
        if !self.schedule.checkpoint_due(progress) {
            return Ok(None);
        }
        self.checkpoint(progress, source).map(Some)
    }

    /// Does what `run` does, due or not.
    pub(crate) fn checkpoint(
        &mut self,
        progress: &Progress,
        source: &mut dyn CheckpointSource,
    ) -> io::Result<CheckpointDone> {
        let before = self.checkpoint.position();
        self.checkpoint.write(source).map_err(|error| self.fatal(error))?;
        self.check_position(before);
        self.schedule.checkpoint_done(progress);
        let image_written = self.schedule.image_due(progress, self.checkpoint.tally().bytes);
        if image_written {
            self.image(progress)?;
        }
        Ok(CheckpointDone {
            meta: self.checkpoint.meta().cloned().unwrap_or_default(),
            tally: self.checkpoint.tally(),
            image_written,
            purge_up_to: self.purge_up_to(),
        })
    }

    /// Writes an image of the last checkpoint, due or not.
    pub(crate) fn image(&mut self, progress: &Progress) -> io::Result<()> {
        let written = image::write(&*self.disk, &self.checkpoint).map_err(|error| self.fatal(error))?;
        self.image = written.and_then(|meta| meta.position);
        let position = self.checkpoint.position();
        assert!(self.image == position, "the image is of {:?}, and the checkpoint of {position:?}", self.image);
        self.schedule.image_done(progress);
        Ok(())
    }

    /// Puts a state that came from a peer in the place of this member's state. The image comes first. So a crash leaves
    /// the old checkpoint, which the log still continues, or the new checkpoint with its image. Open views of the old
    /// checkpoint stay readable.
    pub(crate) fn replace<S>(&mut self, complete: ReceivedState<S>, progress: &Progress) -> io::Result<(S, Meta)> {
        let ReceivedState { state, meta, checkpoint } = complete;
        self.disk.rename(IMAGE_FILE_RECEIVED, IMAGE_FILE)?;
        self.disk.sync_folder("")?;
        checkpoint.take_place(&*self.disk)?;
        let before = self.checkpoint.position();
        self.checkpoint = checkpoint;
        self.image = meta.position;
        self.check_position(before);
        self.schedule.checkpoint_done(progress);
        self.schedule.image_done(progress);
        Ok((state, meta))
    }

    /// Checks that the checkpoint's position has not fallen.
    fn check_position(&self, before: Option<LogPosition>) {
        let position = self.checkpoint.position();
        assert!(position >= before, "the checkpoint's position falls from {before:?} to {position:?}");
    }

    /// Makes the error that ends the process. If only unused pages of a checkpoint are damaged, the next start could
    /// believe the checkpoint. So a damaged checkpoint is set aside, if the image and the log give the state without
    /// it.
    fn fatal(&self, error: FileError) -> io::Error {
        let what = match error {
            FileError::Io(error) => return error,
            FileError::Damaged(what) | FileError::Newer(what) => what,
        };
        let aside = if self.schedule.image_is_missing() {
            "there is no image to take its place: keep a copy of the data directory before starting again".to_owned()
        } else {
            match checkpoint::set_aside(&*self.disk) {
                Ok(()) => "it was set aside, and the next start takes the state from the image and the log".to_owned(),
                Err(error) => format!("it could not be set aside: {error}"),
            }
        };
        io::Error::new(io::ErrorKind::InvalidData, format!("the file `{CHECKPOINT_FILE}` is damaged: {what}; {aside}"))
    }

    /// The position of the image. A start of this member does not need the log up to here, this entry included.
    pub(crate) fn purge_up_to(&self) -> Option<LogPosition> {
        self.image
    }

    /// The last checkpoint, for backups and for members that need all state.
    pub(crate) fn last(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    fn progress(log_bytes: u64, now_ms: u64) -> Progress {
        Progress { log_bytes, now_ms, changed: true, stopping: false }
    }

    #[test]
    fn a_checkpoint_is_due_by_log_by_time_and_at_the_end_but_never_without_a_change() {
        let mut schedule = CheckpointSchedule::new(false, 1000);
        assert!(!schedule.checkpoint_due(&progress(limits::CHECKPOINT_LOG_BYTES - 1, 1001)));
        assert!(schedule.checkpoint_due(&progress(limits::CHECKPOINT_LOG_BYTES, 1001)));
        assert!(schedule.checkpoint_due(&progress(0, 1000 + limits::ms(limits::CHECKPOINT_INTERVAL))));
        assert!(schedule.checkpoint_due(&Progress { stopping: true, ..progress(0, 1000) }));
        let unchanged = Progress { changed: false, stopping: true, ..progress(u64::MAX, u64::MAX) };
        assert!(!schedule.checkpoint_due(&unchanged));
        schedule.checkpoint_done(&progress(limits::CHECKPOINT_LOG_BYTES, 2000));
        assert!(!schedule.checkpoint_due(&progress(limits::CHECKPOINT_LOG_BYTES + 1, 2001)));
    }

    #[test]
    fn an_image_is_due_when_the_log_outgrew_the_tree_or_when_one_is_owed() {
        let mut schedule = CheckpointSchedule::new(false, 0);
        let small = limits::IMAGE_LOG_BYTES_MIN;
        assert!(!schedule.image_due(&progress(small - 1, 0), 0));
        assert!(schedule.image_due(&progress(small, 0), 0));
        assert!(!schedule.image_due(&progress(small, 0), small + 1));
        schedule.image_done(&progress(small, 0));
        assert!(!schedule.image_due(&progress(2 * small - 1, 0), 0));
        assert!(CheckpointSchedule::new(true, 0).image_due(&progress(0, 0), u64::MAX));
    }
}
