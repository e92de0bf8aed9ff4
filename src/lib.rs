//! Wasmkeeper: a coordination server that speaks ZooKeeper's protocol and runs its users' WebAssembly components inside
//! the transaction.

pub mod admin;
pub mod cli;
pub mod config;
pub mod limits;
pub mod model;
pub mod pipeline;
pub mod session;
pub mod state;
pub mod storage;
pub mod watch;
pub mod wire;
