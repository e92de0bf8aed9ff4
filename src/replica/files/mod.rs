//! Checkpoints and images.

pub(crate) mod checkpointing;
pub(crate) mod installing;
