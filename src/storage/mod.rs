//! Everything that outlives the process: the log (`wal`), the checkpoint in redb (`checkpoint`), the plain image
//! (`image`), and the identity of the data directory (`identity`). docs/data-dir.md draws every byte and says what each
//! kind of damage leads to.
//!
//! Promises: the log is the truth. A checkpoint is the state behind one log entry. The log is purged only up to an
//! image. A start finds the whole state or refuses (`start`). A failed write or sync ends the process; it is never
//! tried again.
//!
//! | file | what |
//! |---|---|
//! | `private` | files that only the server's user can read |
//! | `disk` | the disk as a trait, and the operating system's disk |
//! | `identity` | cluster, member and incarnation of this directory |
//! | `records` | what checkpoint and image have in common: their description and the sum over the records |
//! | `cursor` | checked reads of bytes that a disk returned |
//! | `checkpoint` | all state in redb, one transaction for each checkpoint |
//! | `image` | all state as one plain file, also the backup format |
//! | `checkpointer` | when to write which of the two, and which part of the log may go |
//! | `wal` | the log: votes and entries, durable before they are acknowledged |
//! | `receive` | all state from another member, until it takes the place of this member's |
//! | `start` | from files to state: which files to believe |
//! | `sources` | the files that a state can be loaded from, each tried on its own |
//! | `testing` | a disk that loses power on command (tests and simulation) |

pub(crate) mod checkpoint;
pub(crate) mod checkpointer;
mod cursor;
pub mod disk;
pub(crate) mod identity;
pub(crate) mod image;
pub(crate) mod private;
pub(crate) mod receive;
pub(crate) mod records;
mod sources;
pub(crate) mod start;
#[cfg(any(test, feature = "simulation"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod wal;

pub use records::LogPosition;
pub(crate) use records::Meta;

/// The folder of the log's segments.
pub(crate) const LOG_FOLDER: &str = "log";
/// The checkpoint, and a checkpoint in the making.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint.redb";
pub(crate) const CHECKPOINT_FILE_NEW: &str = "checkpoint.tmp";
/// The image, and an image in the making.
pub(crate) const IMAGE_FILE: &str = "image";
pub(crate) const IMAGE_FILE_NEW: &str = "image.tmp";
/// A peer's checkpoint in the format of an image, while it is received.
pub(crate) const IMAGE_FILE_RECEIVED: &str = "image.received";
pub(crate) const IDENTITY_FILE: &str = "identity";
pub(crate) const IDENTITY_FILE_NEW: &str = "identity.tmp";
