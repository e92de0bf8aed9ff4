//! Users' WebAssembly components inside the transaction.
//!
//! | file | what |
//! |---|---|
//! | `manifest` | what binds a component to paths (in the tree), what its author says of it (inside it) |
//! | `pattern`, `grant` | which paths it is asked about, and which it may look at |
//! | `component` | what a component imports and exports, read without running it |
//! | `host` | the engine, the contract as Rust types, budgets |
//! | `functions`, `lend` | what guests may call, and what they are lent for it |
//! | `stand_ins` | what components of stock toolchains import of WASI, without its power |
//! | `call` | one instance, one bounded call, and how it can fail |
//! | `binding` | a plugin at work: instances, counters, the failure policy |
//! | `idle` | instances between two calls |
//! | `signature` | who vouches for a component |
//! | `compile` | machine code: made by a child process, kept on disk |
//! | `registry` | the plugins of this server, from the tree |
//! | `recipes` | what recipes are asked, and what their answers come to |
//! | `policies` | what policies are asked, and what their answers come to |
//! | `verdicts` | answers of pure policies, kept while they hold |
//! | `authenticators` | identities that plugins prove, and whom access lists mean |
//! | `judge` | the plugins as the pipeline asks them |
//! | `admission` | what a deployment must pass before it enters the pipeline |
//! | `counters`, `faults` | what a plugin has done, and its last faults |
//! | `marks`, `quarantine` | calls that ended a process; plugins that are no longer called |
//! | `audit` | what a validator says of nodes that are there |
//! | `log` | what a plugin has said of late |
//! | `tape` | recordings of its calls, and playing them |
//! | `tree` | manifests and pieces of components in the tree, and those nobody needs |
//! | `bundled` | the plugins that come with the server |
//!
//! Promises: a guest judges, or changes what its grants reach, and nothing else; a call ends within its budget; whatever a
//! guest does is a value, never an end of the server; validators and policies are asked about nothing under `/zookeeper`
//! and nothing of the superuser's, of whose changes recipes are told.

pub mod admission;
pub mod audit;
pub mod authenticators;
pub mod binding;
pub mod bundled;
pub mod call;
pub mod compile;
pub mod component;
pub mod counters;
pub mod faults;
mod functions;
pub mod grant;
pub mod host;
mod idle;
pub mod judge;
mod lend;
pub mod log;
pub mod manifest;
pub mod marks;
pub mod pattern;
pub mod policies;
pub mod quarantine;
mod recipes;
pub mod registry;
pub mod signature;
pub mod stand_ins;
pub mod tape;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod verdicts;

pub use compile::Compiler;
pub use judge::Judge;
pub use registry::Plugins;

pub use crate::model::control_plane::{MODULES, PLUGINS};
