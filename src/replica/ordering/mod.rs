//! What owns the order of writes.

pub(crate) mod apply;
pub(crate) mod clocks;
pub(crate) mod delayed_consensus;
pub(crate) mod inbox;
pub(crate) mod provenance;
pub(crate) mod sequencer;
pub(crate) mod soundness;
