//! What is said on connections between members; `Purpose` tells which of it.

pub mod raft;
pub mod requests;
