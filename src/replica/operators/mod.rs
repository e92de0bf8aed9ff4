//! What operators see.

pub(crate) mod facts;
pub(crate) mod http;
pub(crate) mod virtual_nodes;
