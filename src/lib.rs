//! Wasmkeeper: a coordination server that speaks ZooKeeper's protocol and runs its users' WebAssembly components inside
//! the transaction.
//!
//! # The life of a write, in ten links
//!
//! 1. The task of a connection ([`session`]) reads bytes from a socket. [`wire`] cuts them into frames and decodes a
//!    [`wire::request::Request`].
//! 2. `session::dispatch` sees that the request is a write. It notes the request among the connection's unanswered
//!    ones, and submits it.
//! 3. The sequencer of [`replica`] takes the request from its inbox, in order with the requests of all connections.
//! 4. The `Evaluator` of [`pipeline`] judges the request on the view: the applied tree with all outstanding changes on
//!    top.
//! 5. `pipeline::authorize` checks the ACL, and policies are asked. Then the recipe at whose mount the path lies may
//!    handle the request (`pipeline::evaluate::recipe`), or one file of `pipeline::evaluate` works out the effects.
//! 6. The validators of [`plugin`] whose rules match are shown every resulting change.
//! 7. The result is a [`model::txn::Txn`] with a zxid. It joins its neighbours in a [`model::txn::Batch`].
//! 8. [`consensus`] appends the batch to the log. The log's thread in [`storage`] makes it durable with one fdatasync.
//! 9. `replica` hands each transaction to [`state`], which changes the tree without deciding anything.
//! 10. [`watch`] maps the events to connections. The events, and then the reply, leave through the connection's outbox.
//!
//! A read takes links 1 and 2, and then `pipeline::read` under the state's shared lock.
//!
//! docs/ARCHITECTURE.md has the same way with the names of files and functions, and the layers in the order in which a
//! request meets them. `model`, `wire`, `pipeline`, `state` and `watch` are pure: no clock, no files, no sockets, no
//! randomness.

pub mod admin;
pub mod cli;
pub mod client;
pub mod config;
pub mod consensus;
mod courtesy;
pub mod environment;
pub mod hooks;
pub mod limits;
pub mod linear;
pub mod metrics;
pub mod model;
pub mod peer;
pub mod pipeline;
pub mod plugin;
pub mod replica;
pub mod scenario;
pub mod session;
pub mod simulation;
pub mod state;
pub mod storage;
pub mod tls;
pub mod watch;
pub mod wire;
