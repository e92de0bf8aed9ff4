//! One guest instance: what runs it, what it may call, and one bounded call of it.

pub mod call;
pub mod functions;
pub mod host;
mod lend;
pub mod stand_ins;
