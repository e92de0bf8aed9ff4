//! Plugins: users' WebAssembly components that run inside the transaction.
//!
//! A file imports from its own folder and from the rows above it. The rows stand in this order:
//!
//! | where | what |
//! |---|---|
//! | `contract` | the types of `wit/plugin.wit`, and conversions from and to the server's types |
//! | `fault` | how a call of a guest can fail |
//! | `manifest/` | `Manifest` binds a component to paths; its parts; where manifests and components are stored |
//! | `report/` | what people see of a plugin: counters, faults, log lines, recordings |
//! | `guest/` | the engine, one instance of a component, and one bounded call of the instance |
//! | `code/` | what a file is, the machine code made of it, and the bundled plugins |
//! | `binding/` | a plugin at work, all plugins of a server, checks of deployments, quarantine |
//! | `kinds/` | what each kind of plugin is asked, and what its answers mean |
//!
//! Promises:
//! - A guest can answer, and change nodes that its grants cover. A guest has no other effect.
//! - A call ends within its budget.
//! - Whatever a guest does becomes a value. No guest ends the server.
//! - Validators and policies are never asked about nodes below `/zookeeper`, nor about the superuser's requests.
//!   Recipes are told of the superuser's changes.

pub mod binding;
mod code;
mod contract;
pub mod fault;
mod guest;
mod kinds;
pub mod manifest;
mod report;
#[cfg(test)]
mod tests;

// The modules that other rooms import, without the folder in which each module stands.
pub use binding::{check_deployment, marks, quarantine, registry};
pub use code::{bundled, compile, component};
pub use guest::{call, program, stand_ins};
pub use kinds::{audit, authenticators, policies};
pub use manifest::{grant, pattern, signature, tree};
pub use report::{counters, log, tape};

pub use binding::plugins::Plugins;
pub use compile::Compiler;
pub use kinds::judge::Judge;

pub use crate::model::control_plane::{MODULES, PLUGINS};
