//! What `wasmkeeper <command>` does beside serving.
//!
//! | file | holds |
//! |---|---|
//! | `client` | a small ZooKeeper client for our own commands |
//! | `bench` | `wasmkeeper bench`: load on any ZooKeeper server, and what it answers |

pub mod bench;
pub mod client;
