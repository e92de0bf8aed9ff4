//! From files to state: which of checkpoint, image and log to believe when a server starts.
//!
//! Promises: the state that comes out, with the log from its position on, is everything that was ever acknowledged; or
//! there is a refusal that says why and what to do, and no file was changed. Never an empty state beside a purged log.
//!
//! The order of trust is: the checkpoint, if it is whole and the log goes on where it ends; else the image, under the
//! same condition, from which a new checkpoint is built; else the log alone, if it was never purged.

use super::checkpoint::{self, Checkpoint, CheckpointError};
use super::checkpointer::{Checkpointer, Policy};
use super::disk::Disk;
use super::identity::{self, Identity, IdentityError};
use super::image;
use super::records::{LogPosition, Meta};
use super::{
    CHECKPOINT_FILE, CHECKPOINT_FILE_NEW, IDENTITY_FILE, IDENTITY_FILE_NEW, IMAGE_FILE, IMAGE_FILE_NEW, LOG_FOLDER,
};
use crate::limits;
use std::io;
use std::sync::Arc;
use thiserror::Error;

/// What the log, which is opened first, holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogExtent {
    /// The last entry that was purged; none if the log goes back to the very first.
    pub purged: Option<LogPosition>,
}

impl LogExtent {
    /// Whether a state of this position and the log give all state.
    fn continues(&self, position: Option<LogPosition>) -> bool {
        self.purged.is_none_or(|purged| position.is_some_and(|position| position.index >= purged.index))
    }
}

/// Builds the state from records. A new one for each attempt.
pub trait Load {
    type State;
    /// Records come in key order. The error says what is wrong with this one.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String>;
    /// All records were there. The error says what does not fit, the digest of `meta` for one.
    fn finish(self, meta: &Meta) -> Result<Self::State, String>;
}

/// Where the state came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// No checkpoint was ever finished: all state is in the log, which may be empty.
    Log,
    Checkpoint,
    Image,
}

pub struct Started<S> {
    /// None: begin with the state of an empty tree, and apply the log from its first entry on.
    pub state: Option<S>,
    /// What the state is a state of; of the empty one by default.
    pub meta: Meta,
    pub source: Source,
    pub checkpointer: Checkpointer,
}

#[derive(Debug, Error)]
pub enum StartError {
    /// A full sentence for the operator. A member of an ensemble may fetch all state from another member instead.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<IdentityError> for StartError {
    fn from(error: IdentityError) -> StartError {
        match error {
            IdentityError::Refused(sentence) => StartError::Refused(sentence),
            IdentityError::Io(error) => StartError::Io(error),
        }
    }
}

/// Looks at a data directory before the log is opened: whose it is, none if it is new. Refuses one of which a part is
/// missing, since a log made anew would have forgotten this member's votes.
pub fn inspect(disk: &dyn Disk) -> Result<Option<Identity>, StartError> {
    let identity = identity::read(disk)?;
    if identity.is_some() && disk.list(LOG_FOLDER)?.is_empty() {
        return Err(StartError::Refused(format!(
            "the data directory has a file `{IDENTITY_FILE}` but no log in `{LOG_FOLDER}/`: the log was removed, and with \
             it what this member has promised to others; bring the folder back, or start with an empty data directory \
             (in an ensemble: remove this member and add it again)"
        )));
    }
    if identity.is_none() {
        for file in [CHECKPOINT_FILE, IMAGE_FILE] {
            if disk.exists(file)? {
                return Err(StartError::Refused(format!(
                    "the data directory has a file `{file}` but no file `{IDENTITY_FILE}`; bring that file back from a \
                     backup of this very directory, or start with an empty data directory"
                )));
            }
        }
    }
    Ok(identity)
}

/// Opens the state in a data directory whose log holds `log`. `loader` is called for each attempt.
pub fn open<L: Load>(
    disk: Arc<dyn Disk>,
    log: LogExtent,
    now_ms: u64,
    loader: impl Fn() -> L,
) -> Result<Started<L::State>, StartError> {
    // The image is looked at even if it is not needed: one that is missing must be written again soon.
    let image = match image::peek(&*disk) {
        Ok(image) => image.map(|(meta, _)| meta),
        Err(CheckpointError::Io(error)) => return Err(error.into()),
        Err(CheckpointError::Damaged(what)) => {
            tracing::warn!("the file `{IMAGE_FILE}` is damaged: {what}; a new one will be written");
            None
        }
    };
    let image = image.filter(|meta| log.continues(meta.position));
    let policy = Policy::new(log.purged.is_some() && image.is_none(), now_ms);
    let image_position = image.and_then(|meta| meta.position);

    let checkpoint_trouble = match load_checkpoint(&*disk, log, &loader)? {
        Attempt::Loaded(state, meta) => match Checkpoint::open(&*disk) {
            Ok(checkpoint) => {
                let checkpointer = Checkpointer::new(disk.clone(), checkpoint, policy, image_position);
                tidy(&*disk)?;
                return Ok(Started { state: Some(state), meta, source: Source::Checkpoint, checkpointer });
            }
            Err(CheckpointError::Io(error)) => return Err(error.into()),
            Err(CheckpointError::Damaged(what)) => Some(what),
        },
        Attempt::Absent => None,
        Attempt::Unusable(what) => Some(what),
    };

    let image_trouble = match rebuild_from_image(&disk, log, &loader)? {
        Attempt::Loaded((state, checkpoint), meta) => {
            let what = checkpoint_trouble.as_deref().unwrap_or("it is missing");
            tracing::warn!(
                "the file `{CHECKPOINT_FILE}` cannot be used: {what}; the state was taken from `{IMAGE_FILE}` and the log"
            );
            set_aside(&*disk)?;
            checkpoint.take_place(&*disk)?;
            let checkpointer = Checkpointer::new(disk.clone(), checkpoint, policy, meta.position);
            tidy(&*disk)?;
            return Ok(Started { state: Some(state), meta, source: Source::Image, checkpointer });
        }
        Attempt::Absent => None,
        Attempt::Unusable(what) => Some(what),
    };

    if let Some(purged) = log.purged {
        let say = |trouble: Option<String>| trouble.unwrap_or_else(|| "it is missing".into());
        return Err(StartError::Refused(format!(
            "the state of this server cannot be put together: `{CHECKPOINT_FILE}`: {}; `{IMAGE_FILE}`: {}; and the log \
             begins only after entry {}; nothing was changed; bring one of the two files back from a backup of this \
             very directory that is not older than that entry, or start with an empty data directory (in an ensemble: \
             remove this member and add it again)",
            say(checkpoint_trouble),
            say(image_trouble),
            purged.index,
        )));
    }

    if let Some(what) = checkpoint_trouble {
        tracing::warn!("the file `{CHECKPOINT_FILE}` cannot be used: {what}; the state is taken from the log alone");
        set_aside(&*disk)?;
    }
    let checkpoint = Checkpoint::create(&*disk)?;
    let checkpointer = Checkpointer::new(disk.clone(), checkpoint, policy, None);
    tidy(&*disk)?;
    Ok(Started { state: None, meta: Meta::default(), source: Source::Log, checkpointer })
}

enum Attempt<T> {
    Loaded(T, Meta),
    /// There is no such file, or nothing was ever finished in it.
    Absent,
    /// What is wrong with it.
    Unusable(String),
}

fn gap(position: Option<LogPosition>, log: LogExtent) -> String {
    let ends = position.map_or("before the first entry".into(), |position| format!("at entry {}", position.index));
    format!("it ends {ends}, and the log begins only after entry {}", log.purged.unwrap_or_default().index)
}

fn load_checkpoint<L: Load>(
    disk: &dyn Disk,
    log: LogExtent,
    loader: &impl Fn() -> L,
) -> Result<Attempt<L::State>, StartError> {
    let mut loading = loader();
    match checkpoint::load(disk, &mut |key, value| loading.record(key, value)) {
        Ok(None) => Ok(Attempt::Absent),
        Ok(Some(meta)) if !log.continues(meta.position) => Ok(Attempt::Unusable(gap(meta.position, log))),
        Ok(Some(meta)) => Ok(match loading.finish(&meta) {
            Ok(state) => Attempt::Loaded(state, meta),
            Err(what) => Attempt::Unusable(what),
        }),
        Err(CheckpointError::Damaged(what)) => Ok(Attempt::Unusable(what)),
        Err(CheckpointError::Io(error)) => Err(error.into()),
    }
}

/// Loads the image and builds a checkpoint from it in the same pass; the checkpoint has not taken its place yet.
fn rebuild_from_image<L: Load>(
    disk: &Arc<dyn Disk>,
    log: LogExtent,
    loader: &impl Fn() -> L,
) -> Result<Attempt<(L::State, Checkpoint)>, StartError> {
    match image::peek(&**disk) {
        Ok(None) => return Ok(Attempt::Absent),
        Ok(Some((meta, _))) if !log.continues(meta.position) => {
            return Ok(Attempt::Unusable(gap(meta.position, log)));
        }
        Ok(Some(_)) => {}
        Err(CheckpointError::Damaged(what)) => return Ok(Attempt::Unusable(what)),
        Err(CheckpointError::Io(error)) => return Err(error.into()),
    }
    let mut loaded = None;
    let built = Checkpoint::build(&**disk, |insert| {
        let mut loading = loader();
        let mut failure = None;
        let result = image::load(&**disk, IMAGE_FILE, &mut |key, value| {
            loading.record(key, value)?;
            insert(key, value).map_err(|error| {
                failure = Some(error);
                "it could not be copied".into()
            })
        });
        if let Some(error) = failure {
            return Err(CheckpointError::Io(error));
        }
        let Some((meta, _)) = result? else { return Err(CheckpointError::Damaged("it is gone".into())) };
        let state = loading.finish(&meta).map_err(CheckpointError::Damaged)?;
        loaded = Some((state, meta.clone()));
        Ok(Some(meta))
    });
    match (built, loaded) {
        (Ok(checkpoint), Some((state, meta))) => Ok(Attempt::Loaded((state, checkpoint), meta)),
        (Ok(_), None) => Ok(Attempt::Absent),
        (Err(CheckpointError::Damaged(what)), _) => Ok(Attempt::Unusable(what)),
        (Err(CheckpointError::Io(error)), _) => Err(error.into()),
    }
}

/// Gives a damaged checkpoint a name with a number, for whoever wants to find out what happened to it.
fn set_aside(disk: &dyn Disk) -> io::Result<()> {
    if !disk.exists(CHECKPOINT_FILE)? {
        return Ok(());
    }
    const DAMAGED: &str = "checkpoint.damaged-";
    let number = |name: &String| name.strip_prefix(DAMAGED)?.parse::<u64>().ok();
    let mut numbers: Vec<u64> = disk.list("")?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    let surplus = (numbers.len() + 1).saturating_sub(limits::DAMAGED_CHECKPOINTS_KEPT_MAX);
    for old in numbers.into_iter().take(surplus) {
        disk.remove(&format!("{DAMAGED}{old}"))?;
    }
    disk.rename(CHECKPOINT_FILE, &format!("{DAMAGED}{next}"))?;
    disk.sync_folder("")
}

/// Removes what a crash left half made.
fn tidy(disk: &dyn Disk) -> io::Result<()> {
    for file in [CHECKPOINT_FILE_NEW, IMAGE_FILE_NEW, IDENTITY_FILE_NEW] {
        if disk.exists(file)? {
            disk.remove(file)?;
        }
    }
    Ok(())
}
