//! A ZooKeeper client: for the command line, the load generator (`cli/bench`), the simulator and tests. The server
//! itself needs none of it.
//!
//! Promises: a server's bytes never panic here, whatever they are; every error of a [`Client`] names the server and the
//! operation.
//!
//! | file | holds |
//! |---|---|
//! | `codec` | the client's end of the protocol: requests to bytes, bytes to replies and events |
//! | `connection` | [`Client`]: one connection, one request at a time |

pub mod codec;
mod connection;

pub use connection::{Client, ClientError, address, create_request};
