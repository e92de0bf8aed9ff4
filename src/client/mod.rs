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

// Bytes from a server never panic here. These lints keep indices, `unwrap` and lossy casts out.
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

pub mod codec;
mod connection;

pub use connection::Client;
pub(crate) use connection::ClientError;
pub(crate) use connection::address;
pub(crate) use connection::create_request;
