//! From files to state: which of checkpoint, image and log a server believes when it starts.
//!
//! Promises: a start returns a state that, with the log from its position on, is everything that was ever acknowledged.
//! Or it returns a refusal that says why and what to do, and has changed no file. It never returns an empty state
//! beside a purged log.
//!
//! The order of trust:
//! 1. the checkpoint, if it is whole and the log continues where it ends;
//! 2. the image, under the same condition; a new checkpoint is built from it;
//! 3. the log alone, if it was never purged.

use super::checkpoint::{Checkpoint, set_aside};
use super::checkpointer::{CheckpointSchedule, Checkpointer};
use super::disk::Disk;
use super::identity::{self, Identity, IdentityError};
use super::image;
use super::records::{FileError, LogPosition, Meta};
use super::sources::{Attempt, load_checkpoint, newer, rebuild_from_image};
use super::{
    CHECKPOINT_FILE, CHECKPOINT_FILE_NEW, IDENTITY_FILE, IDENTITY_FILE_NEW, IMAGE_FILE, IMAGE_FILE_NEW,
    IMAGE_FILE_RECEIVED, LOG_FOLDER,
};
use std::io;
use std::sync::Arc;
use thiserror::Error;

pub(crate) use super::sources::Load;

/// What the log holds. It is opened before the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LogExtent {
    /// The last entry that was purged; None if the log goes back to the very first entry.
    pub(crate) purged: Option<LogPosition>,
    /// Whether the log holds nothing at all: no entry, no vote, no purge.
    pub(crate) is_new: bool,
}

impl LogExtent {
    /// Whether a state of that position and the log together give all state.
    pub(super) fn continues(&self, position: Option<LogPosition>) -> bool {
        self.purged.is_none_or(|purged| position.is_some_and(|position| position.index >= purged.index))
    }
}

/// Where the state came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// No checkpoint was ever finished. All state is in the log, which may be empty.
    Log,
    Checkpoint,
    Image,
}

pub(crate) struct Started<S> {
    /// The loaded state. None: begin with an empty tree, and apply the log from its first entry on.
    pub(crate) state: Option<S>,
    /// Which state it is. Invariant: the log continues from `meta.position` on.
    pub(crate) meta: Meta,
    pub(crate) source: Source,
    pub(crate) checkpointer: Checkpointer,
}

impl<S> Started<S> {
    fn checked(self, log: LogExtent) -> Started<S> {
        let position = self.meta.position;
        assert!(
            log.continues(position),
            "a state at {position:?} is believed, and the log begins behind {:?}",
            log.purged
        );
        self
    }
}

#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// A full sentence for the operator.
    #[error("{0}")]
    Refused(String),
    /// A refusal, with votes and log whole: checkpoint and image are lost, and the log begins behind `purged`. The way
    /// out for a member of an ensemble is to leave it, and to join it again with an empty directory.
    #[error("{sentence}")]
    NoState { sentence: String, purged: LogPosition },
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

/// Returns the identity of a data directory, before its log is opened. Gives the identity `new` to an empty directory.
/// Refuses a directory in which a part is missing, because a new log would have forgotten this member's votes.
pub(crate) fn identify(disk: &dyn Disk, new: Identity) -> Result<Identity, StartError> {
    // An earlier process may have made a name and died before it synced the folder. This start believes that name, so
    // it must become durable.
    disk.sync_folder("")?;
    let log_is_there = !disk.list(LOG_FOLDER)?.is_empty();
    match identity::read(disk)? {
        Some(known) if known.member != new.member => Err(StartError::Refused(format!(
            "the data directory belongs to member {}, but this server is configured as member {}; correct the configured \
             number or the data directory",
            known.member, new.member
        ))),
        Some(known) if known.log_in_use && !log_is_there => Err(log_missing()),
        Some(known) => Ok(known),
        None => {
            let there = [(CHECKPOINT_FILE, disk.exists(CHECKPOINT_FILE)?), (IMAGE_FILE, disk.exists(IMAGE_FILE)?)];
            let there = there.into_iter().chain([(LOG_FOLDER, log_is_there)]).find(|(_, there)| *there);
            if let Some((name, _)) = there {
                return Err(StartError::Refused(format!(
                    "the data directory has `{name}` but no file `{IDENTITY_FILE}`; bring that file back from a backup of \
                     this very directory, or start with an empty data directory (in an ensemble: remove this member and \
                     add it again)"
                )));
            }
            let new = Identity { log_in_use: false, ..new };
            identity::write(disk, &new)?;
            Ok(new)
        }
    }
}

fn log_missing() -> StartError {
    StartError::Refused(format!(
        "the data directory has no log in `{LOG_FOLDER}/`, or an empty one, although it once had a log: the log was removed, \
         and with it the votes that this member gave; bring the folder back, or start with an empty data directory (in an \
         ensemble: remove this member and add it again)"
    ))
}

/// Records durably which ensemble the directory belongs to.
pub(crate) fn record_cluster(disk: &dyn Disk, cluster: u64) -> Result<(), StartError> {
    match identity::read(disk)? {
        Some(known) if known.cluster != cluster => Ok(identity::write(disk, &Identity { cluster, ..known })?),
        _ => Ok(()),
    }
}

/// Records durably that the log holds something. To be called when the log holds an entry or a vote. From then on a
/// start without log is refused.
pub(crate) fn record_log_in_use(disk: &dyn Disk) -> Result<(), StartError> {
    match identity::read(disk)? {
        Some(known) if !known.log_in_use => Ok(identity::write(disk, &Identity { log_in_use: true, ..known })?),
        _ => Ok(()),
    }
}

/// Opens the state in a data directory that `identify` has accepted and whose log holds `log`. `loader` is called for
/// each attempt to load a state.
pub(crate) fn open<L: Load>(
    disk: Arc<dyn Disk>,
    log: LogExtent,
    now_ms: u64,
    loader: impl Fn() -> L,
) -> Result<Started<L::State>, StartError> {
    // Looked at even if it is not needed: a missing image must be written again soon.
    let image = match image::peek(&*disk) {
        Ok(image) => image.map(|(meta, _)| meta),
        Err(FileError::Io(error)) => return Err(error.into()),
        Err(FileError::Newer(what)) => return Err(newer(IMAGE_FILE, &what)),
        Err(FileError::Damaged(what)) => {
            tracing::warn!("the file `{IMAGE_FILE}` is damaged: {what}; a new image will be written");
            None
        }
    };
    let image = image.filter(|meta| log.continues(meta.position));
    let schedule = CheckpointSchedule::new(log.purged.is_some() && image.is_none(), now_ms);
    let image_position = image.and_then(|meta| meta.position);

    let log_was_in_use = identity::read(&*disk)?.is_some_and(|known| known.log_in_use);
    if log.is_new && (log_was_in_use || image_position.is_some()) {
        return Err(log_missing());
    }
    if !log.is_new {
        record_log_in_use(&*disk)?;
    }

    let checkpoint_trouble = match load_checkpoint(&*disk, log, &loader)? {
        Attempt::Loaded(_, meta) if log.is_new && meta.position.is_some() => return Err(log_missing()),
        Attempt::Loaded(state, meta) => match Checkpoint::open(&*disk) {
            Ok(checkpoint) => {
                let checkpointer = Checkpointer::new(disk.clone(), checkpoint, schedule, image_position);
                remove_unfinished_files(&*disk)?;
                return Ok(Started { state: Some(state), meta, source: Source::Checkpoint, checkpointer }.checked(log));
            }
            Err(FileError::Io(error)) => return Err(error.into()),
            Err(FileError::Damaged(what) | FileError::Newer(what)) => Some(what),
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
            let checkpointer = Checkpointer::new(disk.clone(), checkpoint, schedule, meta.position);
            remove_unfinished_files(&*disk)?;
            return Ok(Started { state: Some(state), meta, source: Source::Image, checkpointer }.checked(log));
        }
        Attempt::Absent => None,
        Attempt::Unusable(what) => Some(what),
    };

    if let Some(purged) = log.purged {
        let say = |trouble: Option<String>| trouble.unwrap_or_else(|| "it is missing".into());
        let sentence = format!(
            "the state of this server cannot be put together: `{CHECKPOINT_FILE}`: {}; `{IMAGE_FILE}`: {}; and the log \
             begins only after entry {}; nothing was changed; bring one of the two files back from a backup of this \
             very directory that is not older than that entry, or start with an empty data directory (in an ensemble: \
             remove this member and add it again)",
            say(checkpoint_trouble),
            say(image_trouble),
            purged.index,
        );
        return Err(StartError::NoState { sentence, purged });
    }

    if let Some(what) = checkpoint_trouble {
        tracing::warn!("the file `{CHECKPOINT_FILE}` cannot be used: {what}; the state is taken from the log alone");
        set_aside(&*disk)?;
    }
    let checkpoint = Checkpoint::create(&*disk)?;
    let checkpointer = Checkpointer::new(disk.clone(), checkpoint, schedule, None);
    remove_unfinished_files(&*disk)?;
    Ok(Started { state: None, meta: Meta::default(), source: Source::Log, checkpointer }.checked(log))
}

/// Removes the files that a crash left unfinished.
fn remove_unfinished_files(disk: &dyn Disk) -> io::Result<()> {
    for file in [CHECKPOINT_FILE_NEW, IMAGE_FILE_NEW, IMAGE_FILE_RECEIVED, IDENTITY_FILE_NEW] {
        if disk.exists(file)? {
            disk.remove(file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{Change, CheckpointSource};
    use super::super::checkpointer::Progress;
    use super::super::testing::SimDisk;
    use super::*;
    use crate::state::{Cut, State};

    const NEW: Identity = Identity { cluster: 7, member: 2, incarnation: [9; 16], log_in_use: false };

    struct Nothing;

    impl Load for Nothing {
        type State = ();

        fn record(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), FileError> {
            Ok(())
        }

        fn finish(self, _meta: &Meta) -> Result<(), FileError> {
            Ok(())
        }
    }

    fn refusal<T>(result: Result<T, StartError>) -> String {
        match result {
            Err(StartError::Refused(sentence) | StartError::NoState { sentence, .. }) => sentence,
            Err(StartError::Io(error)) => panic!("{error}"),
            Ok(_) => panic!("not refused"),
        }
    }

    #[test]
    fn a_directory_is_identified_once_and_keeps_its_member() {
        let disk = SimDisk::new();
        assert_eq!(identify(&disk, NEW).unwrap(), NEW);
        disk.crash(1);
        assert_eq!(identify(&disk, Identity { incarnation: [1; 16], ..NEW }).unwrap(), NEW);
        let sentence = refusal(identify(&disk, Identity { member: 3, ..NEW }));
        assert!(sentence.contains("belongs to member 2") && sentence.contains("as member 3"), "{sentence}");
    }

    #[test]
    fn a_directory_without_identity_is_refused_unless_it_is_empty() {
        for file in [CHECKPOINT_FILE, IMAGE_FILE, "log/1.log"] {
            let disk = SimDisk::new();
            disk.set_bytes(file, b"something");
            let sentence = refusal(identify(&disk, NEW));
            assert!(sentence.contains("but no file `identity`"), "{sentence}");
        }
    }

    #[test]
    fn a_log_that_was_removed_is_not_taken_for_a_new_one() {
        let disk = SimDisk::new();
        identify(&disk, NEW).unwrap();
        // Nothing was written yet: no log is no loss.
        identify(&disk, NEW).unwrap();
        disk.set_bytes("log/1.log", b"a segment");
        open(Arc::new(disk.clone()), LogExtent { purged: None, is_new: false }, 0, || Nothing).unwrap();
        assert!(identify(&disk, NEW).unwrap().log_in_use);
        // Its files are there, and all that was in them is not.
        let emptied = open(Arc::new(disk.clone()), LogExtent { purged: None, is_new: true }, 0, || Nothing);
        assert!(refusal(emptied).contains("no log in `log/`, or an empty one"));
        disk.remove("log/1.log").unwrap();
        assert!(refusal(identify(&disk, NEW)).contains("no log in `log/`"));
    }

    /// The tree itself as a source, without anything else going on.
    struct Tree {
        state: State,
        cut: Option<Cut>,
    }

    impl CheckpointSource for Tree {
        fn begin(&mut self) -> Meta {
            self.cut = Some(self.state.begin_checkpoint());
            Meta {
                position: Some(LogPosition { term: 1, index: 1 }),
                zxid: self.state.last_zxid(),
                digest: self.state.digest(),
                ..Meta::default()
            }
        }

        fn piece(&mut self, bytes_max: usize, out: &mut Vec<Change>) -> bool {
            self.state.checkpoint_piece(self.cut.as_mut().unwrap(), bytes_max, out)
        }

        fn end(&mut self) {
            self.state.end_checkpoint(self.cut.take().unwrap());
        }
    }

    #[test]
    fn the_tree_comes_back_from_checkpoint_and_image() {
        let disk = SimDisk::new();
        let log = LogExtent { purged: None, is_new: false };
        let start = |disk: &SimDisk| open(Arc::new(disk.clone()), log, 0, || State::load(1)).unwrap();
        let mut tree = Tree { state: State::new(1), cut: None };
        let mut checkpointer = start(&disk).checkpointer;
        checkpointer.checkpoint(&Progress::default(), &mut tree).unwrap();
        checkpointer.image(&Progress::default()).unwrap();
        drop(checkpointer);
        for source in [Source::Checkpoint, Source::Image] {
            if source == Source::Image {
                disk.remove(CHECKPOINT_FILE).unwrap();
            }
            let started = start(&disk);
            assert_eq!(started.source, source);
            assert_eq!(started.state.unwrap().digest(), tree.state.digest());
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_refused_and_left_alone() {
        struct Older;
        impl Load for Older {
            type State = ();
            fn record(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), FileError> {
                Err(FileError::Newer("record 7 is of an unknown kind".into()))
            }
            fn finish(self, _meta: &Meta) -> Result<(), FileError> {
                Ok(())
            }
        }
        let disk = SimDisk::new();
        let log = LogExtent { purged: None, is_new: false };
        let mut checkpointer = open(Arc::new(disk.clone()), log, 0, || State::load(1)).unwrap().checkpointer;
        checkpointer.checkpoint(&Progress::default(), &mut Tree { state: State::new(1), cut: None }).unwrap();
        drop(checkpointer);
        let sentence = refusal(open(Arc::new(disk.clone()), log, 0, || Older));
        assert!(sentence.contains("`checkpoint.redb`") && sentence.contains("a later version"), "{sentence}");
        assert_eq!(disk.paths(), [CHECKPOINT_FILE]);
    }
}
