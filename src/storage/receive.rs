//! All state from a peer, until it takes the place of one's own.
//!
//! It comes record by record into a file of its own, in the format of an image. Once it is complete, the state and a new
//! checkpoint are built from it, which verifies count, sum and digest; nothing of what the member has is touched by then. Only
//! `Checkpointer::replace` does that. A crash before leaves a file that the next start removes.

use super::checkpoint::Checkpoint;
use super::disk::Disk;
use super::image;
use super::records::{self, FileError, Meta, Tally};
use super::sources::{Load, build_from_image};
use super::{IMAGE_FILE, IMAGE_FILE_RECEIVED};
use std::io;
use std::sync::Arc;

/// What has come so far.
pub struct IncomingState<L: Load> {
    disk: Arc<dyn Disk>,
    meta: Meta,
    expected: Tally,
    writer: image::Writer,
    last_key: Option<Vec<u8>>,
    /// Takes the records once they are complete.
    loader: Option<L>,
    complete: Option<ReceivedState<L::State>>,
}

/// A whole state, found to be what it was said to be.
pub struct ReceivedState<S> {
    pub state: S,
    pub meta: Meta,
    /// Has not taken its place yet.
    pub(super) checkpoint: Checkpoint,
}

impl<S> ReceivedState<S> {
    /// Puts it in the place of whatever is there, before anything is opened: a start then finds it.
    pub fn take_place(self, disk: &dyn Disk) -> io::Result<()> {
        disk.rename(IMAGE_FILE_RECEIVED, IMAGE_FILE)?;
        disk.sync_folder("")?;
        self.checkpoint.take_place(disk)
    }
}

impl<L: Load> IncomingState<L> {
    /// Makes room for a state of that description (`records::encode`), in the place of any that came before.
    pub fn begin(disk: Arc<dyn Disk>, description: &[u8], loader: L) -> Result<IncomingState<L>, FileError> {
        let (meta, expected) = records::decode(description)?;
        if disk.exists(IMAGE_FILE_RECEIVED)? {
            disk.remove(IMAGE_FILE_RECEIVED)?;
        }
        let mut writer = image::Writer::new(disk.open(IMAGE_FILE_RECEIVED, true)?);
        writer.header(&meta, &expected)?;
        Ok(IncomingState { disk, meta, expected, writer, last_key: None, loader: Some(loader), complete: None })
    }

    /// The last key that is there, and the number of records.
    pub fn progress(&self) -> (Option<&[u8]>, u64) {
        (self.last_key.as_deref(), self.writer.tally().count)
    }

    /// The next record, in key order.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), FileError> {
        if self.last_key.as_deref().is_some_and(|last| last >= key) {
            return Err(FileError::Damaged("its records are out of order".into()));
        }
        if self.writer.tally().count >= self.expected.count {
            return Err(FileError::Damaged("it has more records than were announced".into()));
        }
        self.writer.record(key, value)?;
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }

    /// All records are there. Takes as long as a start from an image.
    pub fn finish(&mut self) -> Result<(), FileError> {
        let differ = || FileError::Damaged("its records are not those that were announced".into());
        if *self.writer.tally() != self.expected {
            return Err(differ());
        }
        self.writer.end()?;
        self.disk.sync_folder("")?;
        let loader = self.loader.take().ok_or_else(differ)?;
        let (state, checkpoint, meta) = build_from_image(&*self.disk, IMAGE_FILE_RECEIVED, loader)?;
        if meta != self.meta {
            return Err(differ());
        }
        self.complete = Some(ReceivedState { state, meta, checkpoint });
        Ok(())
    }

    /// None if it was not finished.
    pub fn into_complete(self) -> Option<ReceivedState<L::State>> {
        self.complete
    }
}
