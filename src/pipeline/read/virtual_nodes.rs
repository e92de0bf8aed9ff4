//! Nodes that are answered without being there: neither listed nor counted, and a watch on one never fires.
//!
//! `/keeper/*` tells ClickHouse which of ClickHouse Keeper's extensions it may use; a real node of that name goes first,
//! so that a tree that came from elsewhere reads as it was written. What lies under `/zookeeper` (the session's refusals,
//! plugins' counters) comes from `VirtualNodes` and goes before the tree.

use super::Reader;
use crate::model::Stat;
use crate::pipeline::authorize;
use crate::state::State;

/// Answers for nodes under `/zookeeper/` that only the serving member knows.
pub trait VirtualNodes {
    /// The data of the virtual node at that path, as the reading session sees it. `state`: what is applied; its lock is held.
    fn data(&self, state: &State, path: &str) -> Option<Vec<u8>>;
}

/// None at all.
pub struct NoVirtualNodes;

impl VirtualNodes for NoVirtualNodes {
    fn data(&self, _: &State, _: &str) -> Option<Vec<u8>> {
        None
    }
}

/// Positions are ClickHouse's (KeeperFeatureFlags.h): flag i is bit 7 - i % 8 of byte i / 8. Here FILTERED_LIST (0),
/// CHECK_NOT_EXISTS (2) and CREATE_IF_NOT_EXISTS (3). Not MULTI_READ (1): ClickHouse then puts exists and lists into a
/// multiRead, to which ZooKeeper's has no answer; without the flag it asks one by one.
pub const FEATURE_FLAGS: &[u8] = &[0b1011_0000];

/// What is told to clients that are too old for the flags: WITH_FILTERED_LIST.
const API_VERSION: &[u8] = b"1";

/// Data that goes before the tree's.
pub fn overriding(reader: Reader<'_>, path: &str) -> Option<Vec<u8>> {
    if !path.starts_with("/zookeeper/") || !may_see(reader, path) {
        return None;
    }
    reader.virtual_nodes.data(reader.state, path)
}

/// Whether the reader may see what is secret there, if it is.
pub fn may_see(reader: Reader<'_>, path: &str) -> bool {
    !authorize::is_secret(path) || authorize::may_deploy(reader.rules, reader.identities)
}

/// Data where the tree has no node.
pub fn fallback(path: &str) -> Option<&'static [u8]> {
    match path {
        "/keeper/feature_flags" => Some(FEATURE_FLAGS),
        "/keeper/api_version" => Some(API_VERSION),
        _ => None,
    }
}

pub fn stat(data: &[u8]) -> Stat {
    Stat { data_length: i32::try_from(data.len()).unwrap_or(i32::MAX), ..Stat::default() }
}
