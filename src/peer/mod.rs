//! Connections between the members of an ensemble.

pub mod messages;
