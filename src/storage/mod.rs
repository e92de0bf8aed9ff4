//! What outlives the process: the log (`wal`), its checkpoint in redb (`checkpoint`), the plain image (`image`), and
//! who this directory is (`identity`). docs/data-dir.md draws every byte and says what each kind of damage leads to.
//!
//! Promises: the log is the truth, a checkpoint is one entry boundary, the log is purged only up to an image, and a
//! start finds either the whole state or refuses (`start`). A failed write or sync ends the process; nobody retries.
//!
//! | file | what |
//! |---|---|
//! | `disk` | the disk as a trait, and the operating system's |
//! | `identity` | cluster, member and incarnation of this directory |
//! | `records` | what checkpoint and image have in common: their description and the sum over the records |
//! | `checkpoint` | all state in redb, one transaction per checkpoint |
//! | `image` | all state as one plain file, also the backup format |
//! | `checkpointer` | when to write which of the two, and what of the log may go |
//! | `wal` | the log: votes and entries, durable before anyone hears of them |
//! | `receive` | all state from a peer, until it takes the place of one's own |
//! | `start` | from files to state: which of them to believe |
//! | `sources` | the files that a state can be loaded from, each tried on its own |
//! | `testing` | a disk that loses power on command (tests and simulation) |

pub mod checkpoint;
pub mod checkpointer;
pub mod disk;
pub mod identity;
pub mod image;
pub mod receive;
pub mod records;
mod sources;
pub mod start;
#[cfg(any(test, feature = "simulation"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod wal;

pub use records::{LogPosition, Meta};

/// The folder of the log's segments.
pub const LOG_FOLDER: &str = "log";
/// The checkpoint, and one in the making.
pub const CHECKPOINT_FILE: &str = "checkpoint.redb";
pub const CHECKPOINT_FILE_NEW: &str = "checkpoint.tmp";
/// The image, and one in the making.
pub const IMAGE_FILE: &str = "image";
pub const IMAGE_FILE_NEW: &str = "image.tmp";
/// An image of a peer's checkpoint, while it comes.
pub const IMAGE_FILE_RECEIVED: &str = "image.received";
pub const IDENTITY_FILE: &str = "identity";
pub const IDENTITY_FILE_NEW: &str = "identity.tmp";
