//! Wasmkeeper: a coordination server that speaks ZooKeeper's protocol and runs its users' WebAssembly components inside
//! the transaction.

pub mod consensus;
pub mod limits;
pub mod model;
pub mod pipeline;
pub mod state;
pub mod storage;
pub mod watch;
pub mod wire;
