//! What outlives the process: the log (`wal`), its checkpoint in redb (`checkpoint`), the plain image (`image`).
//! docs/data-dir.md draws every byte.

pub mod disk;
pub mod wal;
