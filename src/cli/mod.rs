//! What `wasmkeeper <command>` does beside serving.
//!
//! | file | holds |
//! |---|---|
//! | `client` | a small ZooKeeper client for our own commands |
//! | `plugin` | `wasmkeeper plugin`: deploys validators and looks after them |
//! | `bench` | `wasmkeeper bench`: load on any ZooKeeper server, and what it answers |

pub mod bench;
pub mod client;
pub mod plugin;
