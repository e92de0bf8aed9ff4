//! Connections of clients.
pub mod tls;
