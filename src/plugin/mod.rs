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

pub(crate) mod binding;
mod code;
mod contract;
pub(crate) mod fault;
mod guest;
mod kinds;
pub mod manifest;
mod report;
#[cfg(test)]
mod tests;

// The modules that other rooms import, without the folder in which each module stands.
pub use binding::check_deployment;
pub(crate) use binding::marks;
pub(crate) use binding::quarantine;
pub use binding::registry;
pub use code::bundled;
pub(crate) use code::compile;
pub use code::component;
pub(crate) use guest::{call, program, stand_ins};
pub(crate) use kinds::{audit, authenticators, policies};
pub use manifest::grant;
pub(crate) use manifest::pattern;
pub(crate) use manifest::signature;
pub use manifest::tree;
pub(crate) use report::{counters, log, tape};

pub(crate) use binding::plugins::Plugins;
pub use compile::Compiler;
pub(crate) use kinds::judge::Judge;

pub use crate::model::control_plane::MODULES;
pub use crate::model::control_plane::PLUGINS;
