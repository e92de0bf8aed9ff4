//! One instance of a component: what runs it, what it may call, and one bounded call of it.
//!
//! | file | what |
//! |---|---|
//! | `engine` | wasmtime's engines, and what is linked into guests |
//! | `host` | what the store of an instance holds: the budgets of a call among it |
//! | `functions`, `lend` | the functions that guests may call, and the tree that these functions read during a call |
//! | `stand_ins` | what components of stock toolchains import of WASI |
//! | `looks` | what a policy has read in one call |
//! | `program`, `call` | a component ready to run; an instance of it, and one call |
//! | `failed` | which fault an error of wasmtime is |

pub(crate) mod call;
pub(crate) mod engine;
pub(crate) mod failed;
mod functions;
pub(crate) mod host;
mod lend;
pub(crate) mod looks;
pub(crate) mod program;
pub(crate) mod stand_ins;
