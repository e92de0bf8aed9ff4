//! What members say to each other, by purpose; versioned by `Hello::protocol`. Variants and fields are only ever added at
//! the end.

pub mod greeting;
pub mod raft;
pub mod requests;
