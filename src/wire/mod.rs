//! Bytes to requests, replies to bytes: ZooKeeper's client protocol (jute records in length-prefixed frames). Pure.
//!
//! Promises: no bytes from outside panic or make us allocate more than they are long; what is decoded is what
//! ZooKeeper 3.9.5 would have understood, and a `DecodeError` knows what ZooKeeper would have answered.
//!
//! | file | holds |
//! |---|---|
//! | `jute` | the primitives: ints, strings, buffers, vectors, ACLs, Stat |
//! | `frame` | cuts a byte stream into frames |
//! | `request` | requests as values |
//! | `decode` | frames to requests |
//! | `reply` | replies and events as values |
//! | `encode` | replies and events to bytes |

pub mod decode;
pub mod encode;
pub mod frame;
pub mod jute;
pub mod reply;
pub mod request;
