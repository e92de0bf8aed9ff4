//! Users' WebAssembly components inside the transaction.
//!
//! | file | what |
//! |---|---|
//! | `manifest/` | `Manifest` binds a component to paths; `pattern`, `grant`, `signature`: its parts; `tree`: where it stands |
//! | `guest/` | one instance: `host` (engine, contract, budgets), `functions`, `lend`, `stand_ins`, `call` |
//! | `code/` | `component`: what a file is; `compile`: machine code of it; `bundled`: those that come with the server |
//! | `report/` | what people see of a plugin: `counters`, `faults`, `log`, `tape` |
//! | `binding/` | `Binding`: a plugin at work; `registry`: all of them; `check_deployment`, `idle`, `marks`, `quarantine`, `verdicts` |
//! | `kinds/` | what each kind is asked: `judge`, `recipes`, `policies`, `authenticators`, `audit` |
//!
//! Promises: a guest judges, or changes what its grants reach, and nothing else; a call ends within its budget; whatever a
//! guest does is a value, never an end of the server; validators and policies are asked about nothing under `/zookeeper`
//! and nothing of the superuser's, of whose changes recipes are told.

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

// The modules that other rooms name, without the wing in which each stands.
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
