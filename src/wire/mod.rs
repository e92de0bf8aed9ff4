//! ZooKeeper's client protocol, the server's end: decodes requests and encodes replies. Records are jute, in frames
//! with their length before them. Pure.
//!
//! Promises: no bytes from outside panic, or make the server allocate more than their own length. A request is decoded
//! as ZooKeeper 3.9.5 understands it, and a `DecodeError` knows what ZooKeeper would have answered. The client's end is
//! `crate::client`.
//!
//! | file | holds |
//! |---|---|
//! | `jute` | the primitives: integers, strings, buffers, vectors, ACLs, Stat |
//! | `frame` | cuts a byte stream into frames |
//! | `request` | requests as values |
//! | `decode` | frames to requests |
//! | `reply` | replies and events as values |
//! | `encode` | replies and events to bytes |

// Bytes from outside never panic here. These lints keep indices, `unwrap` and lossy casts out.
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

pub mod decode;
pub(crate) mod encode;
pub mod frame;
pub(crate) mod jute;
pub mod reply;
pub mod request;
