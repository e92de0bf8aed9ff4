//! Wasmkeeper: a coordination server that speaks ZooKeeper's protocol and runs its users' WebAssembly components inside
//! the transaction.
//!
//! # The life of a write, in ten links
//!
//! 1. [`session`]'s `task` reads bytes from a socket; [`wire`] takes frames apart and decodes a [`wire::request::Request`].
//! 2. `session::dispatch` sees that it is a write, notes it among the connection's unanswered requests, and submits it.
//! 3. [`replica`]'s sequencer takes it from its inbox, in order with everybody else's.
//! 4. [`pipeline::Evaluator`] judges it on the view: the committed tree with all outstanding changes laid over it.
//! 5. `pipeline::authorize` checks the access list, policies are asked, a recipe at whose mount it is may handle it
//!    (`pipeline::evaluate::recipe`), or one file of `pipeline::evaluate` works out the effects.
//! 6. [`plugin`]'s validators whose rules match look at every resulting change.
//! 7. The result is a [`model::txn::Txn`] with a zxid, in a [`model::txn::Batch`] with its neighbours.
//! 8. [`consensus`] brings the batch into the log; [`storage`]'s log thread makes it durable with one fdatasync.
//! 9. `replica::ordering::apply` hands each transaction to [`state`], which changes the tree without deciding anything.
//! 10. [`watch`] maps its events to connections; events first, then the reply, leave through the connection's outbox.
//!
//! A read is links 1 and 2, and then `pipeline::read` under the state's shared lock.
//!
//! docs/ARCHITECTURE.md lists the folders in the order in which a request meets them. `model`, `wire`, `pipeline`, `state`
//! and `watch` are pure: no clock, no files, no sockets, no randomness.

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
