//! Connections of clients.

pub mod sasl;
pub mod tls;
