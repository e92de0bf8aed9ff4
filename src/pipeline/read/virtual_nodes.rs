//! Virtual nodes: nodes that the server answers for although the tree does not have them. They are neither listed nor
//! counted, and a watch on one never fires.
//!
//! `/keeper/*` tells ClickHouse which of ClickHouse Keeper's extensions it may use. A real node of that name takes
//! precedence, so that a tree that was imported from ClickHouse Keeper is read as it was written. The virtual nodes
//! under `/zookeeper` (the session's refusals, plugins' counters) come from `VirtualNodes` and take precedence over the
//! tree.

use super::Reader;
use crate::model::Stat;
use crate::pipeline::authorize;
use crate::state::State;

/// Answers for nodes under `/zookeeper/` that only the serving member knows.
pub(crate) trait VirtualNodes {
    /// The data of the virtual node at that path, as the reading session sees it. None: there is no such virtual node.
    /// `state`: the applied state, whose lock is held.
    fn data(&self, state: &State, path: &str) -> Option<Vec<u8>>;
}

/// No virtual nodes under `/zookeeper`.
#[cfg(test)]
pub(crate) struct NoVirtualNodes;

#[cfg(test)]
impl VirtualNodes for NoVirtualNodes {
    fn data(&self, _: &State, _: &str) -> Option<Vec<u8>> {
        None
    }
}

/// The extensions of ClickHouse Keeper that we have: FILTERED_LIST (0), CHECK_NOT_EXISTS (2) and CREATE_IF_NOT_EXISTS
/// (3). The positions are ClickHouse's (KeeperFeatureFlags.h): flag i is bit 7 - i % 8 of byte i / 8. MULTI_READ (1) is
/// not set: with it ClickHouse puts exists and filteredList into a multiRead, which ZooKeeper's multiRead cannot
/// answer. Without it ClickHouse sends them one by one.
pub(crate) const FEATURE_FLAGS: &[u8] = &[0b1011_0000];

/// For clients that are too old for the flags. 1 is WITH_FILTERED_LIST.
const API_VERSION: &[u8] = b"1";

/// The data of a virtual node that takes precedence over the tree.
pub(crate) fn overriding(reader: Reader<'_>, path: &str) -> Option<Vec<u8>> {
    if !path.starts_with("/zookeeper/") || !may_see(reader, path) {
        return None;
    }
    reader.virtual_nodes.data(reader.state, path)
}

/// Whether the reader may see the node's data: the node is not secret, or the reader may deploy plugins.
pub(crate) fn may_see(reader: Reader<'_>, path: &str) -> bool {
    !authorize::is_secret(path) || authorize::may_deploy(reader.rules, reader.identities)
}

/// The data of a virtual node that the tree takes precedence over.
pub(crate) fn fallback(path: &str) -> Option<&'static [u8]> {
    match path {
        "/keeper/feature_flags" => Some(FEATURE_FLAGS),
        "/keeper/api_version" => Some(API_VERSION),
        _ => None,
    }
}

/// The Stat of a virtual node: zeros, but for the length of the data.
pub(crate) fn stat(data: &[u8]) -> Stat {
    Stat { data_length: i32::try_from(data.len()).unwrap_or(i32::MAX), ..Stat::default() }
}
