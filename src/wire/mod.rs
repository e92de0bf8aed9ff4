//! Bytes to requests, replies to bytes: ZooKeeper's client protocol (jute records in length-prefixed frames). Pure.

pub mod reply;
pub mod request;
