//! Everything that a Wasmkeeper plugin in Rust needs. Implement the trait of the plugin's kind, and name your type in
//! the macro of that kind.
//!
//! ```
//! use wasmkeeper_plugin::{Change, Rejection, Validator, View, validator};
//!
//! struct Short;
//!
//! impl Validator for Short {
//!     fn configure(_mount: &str, _settings: &str) -> Result<Short, String> {
//!         Ok(Short)
//!     }
//!     fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection> {
//!         for change in changes {
//!             if view.stat(&change.path)?.is_some_and(|stat| stat.data_length > 100) {
//!                 return Err(Rejection::at(&change.path, "longer than 100 bytes"));
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! validator!(Short, r#"{ "name": "short", "version": "1.0.0", "pure": true,
//!     "grants": [ { "path": "$mount", "verbs": ["read"] } ] }"#);
//! ```
//!
//! | kind | trait | macro |
//! |---|---|---|
//! | refuses transactions that leave wrong data behind | [`Validator`] | [`validator!`] |
//! | takes away what ACLs grant | [`Policy`] | [`policy!`] |
//! | proves identities of a scheme | [`Authenticator`] | [`authenticator!`] |
//! | gives the nodes at its mount a meaning of their own | [`Recipe`] | [`recipe!`] |
//! | brings the tree towards what it should be | [`Controller`] | [`controller!`] |
//!
//! Build the plugin for `wasm32-unknown-unknown` as a `cdylib`. `wasmkeeper plugin deploy` takes the `.wasm` file.
//!
//! If the plugin panics, the text of the panic goes to the plugin's log, and the call fails. The server then answers by
//! the plugin's failure policy.
//!
//! Built for your own machine, [`View`] and [`Transaction`] work on a tree in memory, so that ordinary unit tests can
//! call the plugin: see [`testing`].
//!
//! The types and their documentation come from the contract, `wit/plugin.wit`.

#![warn(missing_docs)]

pub mod bindings;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod export;
mod kinds;
mod macros;
pub mod path;
mod rejection;
#[cfg(feature = "settings")]
mod settings;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod tree;

pub use bindings::authentication::exports::wasmkeeper::plugin::authentication::Login;
pub use bindings::authorization::exports::wasmkeeper::plugin::authorization::Decision;
pub use bindings::behavior::exports::wasmkeeper::plugin::behavior::{
    Answer, Cause, CreateRequest, DeleteRequest, Request, SetAclRequest, SetDataRequest,
};
pub use bindings::wasmkeeper::plugin::logging::Level;
pub use bindings::wasmkeeper::plugin::types::{
    AclEntry, Change, ChangeKind, Context, Identity, Node, NodeKind, Permissions, Rejection, Stat, Verb,
};
#[cfg(target_family = "wasm")]
pub use bindings::wasmkeeper::plugin::{logging::log, reading::View, writing::Transaction};
pub use kinds::{Authenticator, Controller, Plugin, Policy, Recipe, Validator};
pub use rejection::{code, refuse, tolerate};
#[cfg(feature = "settings")]
pub use settings::Settings;
#[cfg(not(target_family = "wasm"))]
pub use testing::{Transaction, View, log};
pub use tree::PAGE;
