//! The files that a state can be loaded from, each tried on its own. `start` decides which of them to believe.

use super::checkpoint::{self, Checkpoint};
use super::disk::Disk;
use super::image;
use super::records::{FileError, LogPosition, Meta};
use super::start::{LogExtent, StartError};
use super::{CHECKPOINT_FILE, IMAGE_FILE};
use crate::state::{Loader, RecordError, State};
use std::sync::Arc;

/// Builds the state from records. Each attempt takes a new `Load`.
pub(crate) trait Load {
    type State;
    /// Takes a record. Records come in key order.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), FileError>;
    /// Builds the state when all records were taken. If the records do not fit `meta`, its digest for example, that is
    /// an error.
    fn finish(self, meta: &Meta) -> Result<Self::State, FileError>;
}

impl Load for Loader {
    type State = State;

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), FileError> {
        Ok(Loader::record(self, key, value)?)
    }

    fn finish(self, meta: &Meta) -> Result<State, FileError> {
        let state = Loader::finish(self)?;
        if state.last_zxid() != meta.zxid || state.digest() != meta.digest {
            return Err(FileError::Damaged(format!(
                "its records are the state of zxid {}, digest {:016x}, its description says {}, {:016x}",
                state.last_zxid(),
                state.digest(),
                meta.zxid,
                meta.digest
            )));
        }
        Ok(state)
    }
}

impl From<RecordError> for FileError {
    fn from(error: RecordError) -> FileError {
        match error {
            RecordError::UnknownKind { .. } | RecordError::UnknownFormat { .. } => FileError::Newer(error.to_string()),
            RecordError::Damaged { .. }
            | RecordError::NoMeta
            | RecordError::Count { .. }
            | RecordError::Digest { .. } => FileError::Damaged(error.to_string()),
        }
    }
}

pub(super) enum Attempt<T> {
    Loaded(T, Meta),
    /// There is no such file, or no checkpoint was ever finished in it.
    Absent,
    /// What is wrong with the file.
    Unusable(String),
}

fn gap_before_log(position: Option<LogPosition>, log: LogExtent) -> String {
    let ends = position.map_or("before the first entry".into(), |position| format!("at entry {}", position.index));
    format!("it ends {ends}, and the log begins only after entry {}", log.purged.unwrap_or_default().index)
}

pub(super) fn load_checkpoint<L: Load>(
    disk: &dyn Disk,
    log: LogExtent,
    loader: &impl Fn() -> L,
) -> Result<Attempt<L::State>, StartError> {
    let mut loading = loader();
    match checkpoint::load(disk, &mut |key, value| loading.record(key, value)) {
        Ok(None) => Ok(Attempt::Absent),
        Ok(Some(meta)) if !log.continues(meta.position) => Ok(Attempt::Unusable(gap_before_log(meta.position, log))),
        Ok(Some(meta)) => match loading.finish(&meta) {
            Ok(state) => Ok(Attempt::Loaded(state, meta)),
            Err(error) => unusable(CHECKPOINT_FILE, error),
        },
        Err(error) => unusable(CHECKPOINT_FILE, error),
    }
}

/// Damage leads to the next source. A file of a later version does not: the next source would be older, and the newer
/// file would be replaced.
fn unusable<T>(file: &str, error: FileError) -> Result<Attempt<T>, StartError> {
    match error {
        FileError::Damaged(what) => Ok(Attempt::Unusable(what)),
        FileError::Newer(what) => Err(newer(file, &what)),
        FileError::Io(error) => Err(error.into()),
    }
}

pub(super) fn newer(file: &str, what: &str) -> StartError {
    StartError::Refused(format!(
        "the file `{file}` in the data directory was written by a later version of this server: {what}; start that version, \
         or bring back a data directory of this one"
    ))
}

/// Loads the image and builds a checkpoint from it in the same pass. The checkpoint is not in its place yet.
pub(super) fn rebuild_from_image<L: Load>(
    disk: &Arc<dyn Disk>,
    log: LogExtent,
    loader: &impl Fn() -> L,
) -> Result<Attempt<(L::State, Checkpoint)>, StartError> {
    match image::peek(&**disk) {
        Ok(None) => return Ok(Attempt::Absent),
        Ok(Some((meta, _))) if !log.continues(meta.position) => {
            return Ok(Attempt::Unusable(gap_before_log(meta.position, log)));
        }
        Ok(Some(_)) => {}
        Err(error) => return unusable(IMAGE_FILE, error),
    }
    match build_from_image(&**disk, IMAGE_FILE, loader()) {
        Ok((state, checkpoint, meta)) => Ok(Attempt::Loaded((state, checkpoint), meta)),
        Err(error) => unusable(IMAGE_FILE, error),
    }
}

/// Does what `rebuild_from_image` does, with a file of any name.
pub(super) fn build_from_image<L: Load>(
    disk: &dyn Disk,
    path: &str,
    mut loading: L,
) -> Result<(L::State, Checkpoint, Meta), FileError> {
    let mut loaded = None;
    let checkpoint = Checkpoint::build(disk, |insert| {
        let mut failure = None;
        let result = image::load(disk, path, &mut |key, value| {
            loading.record(key, value)?;
            insert(key, value).map_err(|error| {
                failure = Some(error);
                FileError::Damaged("it could not be copied".into())
            })
        });
        if let Some(error) = failure {
            return Err(FileError::Io(error));
        }
        let Some((meta, _)) = result? else { return Err(FileError::Damaged("it is gone".into())) };
        loaded = Some((loading.finish(&meta)?, meta.clone()));
        Ok(Some(meta))
    })?;
    let (state, meta) = loaded.ok_or_else(|| FileError::Damaged("it is gone".into()))?;
    Ok((state, checkpoint, meta))
}
