//! A component's bytes: what they are, and the machine code that is made of them.

pub mod bundled;
pub mod compile;
pub mod component;
