//! Sessions against a replica that applies at once.
pub(super) fn rules() -> crate::pipeline::Rules { todo!() }
