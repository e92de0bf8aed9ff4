//! What each kind of plugin is asked, and what its answers come to.

pub mod audit;
pub mod authenticators;
pub mod judge;
pub mod policies;
mod recipes;
mod validators;
