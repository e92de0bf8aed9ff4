//! A node's Stat as clients see it.

use serde::{Deserialize, Serialize};

/// The 68 bytes that ZooKeeper calls Stat, in wire order (zookeeper.jute).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    /// Milliseconds of Unix time.
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// As clients see it: twice the number of children ever created, minus the number of present children
    /// (DataNode.copyStat).
    pub cversion: i32,
    pub aversion: i32,
    /// The owning session of an ephemeral node. 0 for all other nodes, including containers and TTL nodes.
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}
