//! A whole state that comes from another member, until it takes the place of this member's state.
//!
//! The state comes record by record into a file of its own, in the format of an image. When all records are there, a
//! state and a new checkpoint are built from that file, which verifies count, sum and digest. Until then nothing that
//! the member has is touched. Only `Checkpointer::replace` does that. After a crash before that, the next start removes
//! the file.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

use super::IMAGE_FILE_RECEIVED;
use super::checkpoint::Checkpoint;
use super::disk::Disk;
use super::image;
use super::records::{self, FileError, Meta, Tally};
use super::sources::{Load, build_from_image};
use std::sync::Arc;

/// What has come so far.
pub(crate) struct IncomingState<L: Load> {
    disk: Arc<dyn Disk>,
    meta: Meta,
    /// What was announced. Invariant: no more records are written than it counts.
    expected: Tally,
    writer: image::Writer,
    /// The key of the last record. Invariant: grows strictly.
    last_key: Option<Vec<u8>>,
    /// Takes the records when all of them are there. None afterwards.
    loader: Option<L>,
    complete: Option<ReceivedState<L::State>>,
}

/// A whole state that is what was announced.
pub(crate) struct ReceivedState<S> {
    pub(crate) state: S,
    pub(crate) meta: Meta,
    /// Not in its place yet.
    pub(super) checkpoint: Checkpoint,
}

impl<S> ReceivedState<S> {
    /// Puts the state in the place of the member's own, so that the next start finds it. To be called before the data
    /// directory is opened.
    #[cfg(test)]
    pub(crate) fn take_place(self, disk: &dyn Disk) -> std::io::Result<()> {
        disk.rename(IMAGE_FILE_RECEIVED, super::IMAGE_FILE)?;
        disk.sync_folder("")?;
        self.checkpoint.take_place(disk)
    }
}

impl<L: Load> IncomingState<L> {
    /// Begins to receive a state of that description (`records::encode`). Removes what an earlier transfer left.
    pub(crate) fn begin(disk: Arc<dyn Disk>, description: &[u8], loader: L) -> Result<IncomingState<L>, FileError> {
        let (meta, expected) = records::decode(description)?;
        if disk.exists(IMAGE_FILE_RECEIVED)? {
            disk.remove(IMAGE_FILE_RECEIVED)?;
        }
        let mut writer = image::Writer::new(disk.open(IMAGE_FILE_RECEIVED, true)?);
        writer.header(&meta, &expected)?;
        Ok(IncomingState { disk, meta, expected, writer, last_key: None, loader: Some(loader), complete: None })
    }

    /// The key of the last record that is there, and the number of records.
    pub(crate) fn progress(&self) -> (Option<&[u8]>, u64) {
        (self.last_key.as_deref(), self.writer.tally().count)
    }

    /// Takes the next record, in key order.
    pub(crate) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), FileError> {
        if self.last_key.as_deref().is_some_and(|last| last >= key) {
            return Err(FileError::Damaged("its records are out of order".into()));
        }
        if self.writer.tally().count >= self.expected.count {
            return Err(FileError::Damaged("it has more records than were announced".into()));
        }
        self.writer.record(key, value)?;
        let count = self.writer.tally().count;
        assert!(count <= self.expected.count, "record {count} is written, and {} were announced", self.expected.count);
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }

    /// Verifies the records when all of them are there. Takes as long as a start from an image.
    pub(crate) fn finish(&mut self) -> Result<(), FileError> {
        let differ = || FileError::Damaged("its records are not those that were announced".into());
        if *self.writer.tally() != self.expected {
            return Err(differ());
        }
        let loader = self.loader.take().ok_or_else(differ)?;
        self.writer.end()?;
        self.disk.sync_folder("")?;
        let (state, checkpoint, meta) = build_from_image(&*self.disk, IMAGE_FILE_RECEIVED, loader)?;
        if meta != self.meta {
            return Err(differ());
        }
        assert!(checkpoint.meta() == Some(&meta), "the checkpoint that was built is not of the state that came");
        self.complete = Some(ReceivedState { state, meta, checkpoint });
        Ok(())
    }

    /// The state; None if it was not finished.
    pub(crate) fn into_complete(self) -> Option<ReceivedState<L::State>> {
        self.complete
    }
}
