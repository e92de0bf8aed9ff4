//! One guest instance: what runs it, what it may call, and one bounded call of it.

pub mod call;
pub mod engine;
pub mod failed;
mod functions;
pub mod host;
mod lend;
pub mod looks;
pub mod program;
pub mod stand_ins;
