//! ACLs: who may do what to one node. `pipeline::authorize` checks them.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(crate) const READ: i32 = 1;
pub(crate) const WRITE: i32 = 2;
pub(crate) const CREATE: i32 = 4;
pub(crate) const DELETE: i32 = 8;
pub(crate) const ADMIN: i32 = 16;
pub(crate) const ALL: i32 = 31;

/// An identity: a scheme and an id within it. A connection's proven identities and the ids in ACL entries have this
/// form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Identity {
    pub(crate) scheme: String,
    pub(crate) id: String,
}

impl Identity {
    pub(crate) fn new(scheme: impl Into<String>, id: impl Into<String>) -> Identity {
        Identity { scheme: scheme.into(), id: id.into() }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AclEntry {
    /// Bits as the client sent them. Only `READ` to `ADMIN` have a meaning.
    pub(crate) permissions: i32,
    pub(crate) who: Identity,
}

/// A node's whole ACL. Shared, because nearly all nodes of a tree have one of a few ACLs.
pub(crate) type Acl = Arc<[AclEntry]>;

/// Bytes of the entries of an ACL on the wire: permissions, and two strings with their lengths. In the log and in
/// memory the entries take about as much, and in the log never more.
pub(crate) fn bytes(list: &[AclEntry]) -> usize {
    list.iter().map(|entry| 3 * size_of::<i32>() + entry.who.scheme.len() + entry.who.id.len()).sum()
}

/// `world:anyone` may do everything.
pub fn open_unsafe() -> Acl {
    Arc::from([AclEntry { permissions: ALL, who: Identity::new("world", "anyone") }])
}

/// `world:anyone` may read.
pub(crate) fn read_unsafe() -> Acl {
    Arc::from([AclEntry { permissions: READ, who: Identity::new("world", "anyone") }])
}
