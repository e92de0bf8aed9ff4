//! ACLs: who may do what to one node. `pipeline::authorize` checks them.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub const READ: i32 = 1;
pub const WRITE: i32 = 2;
pub const CREATE: i32 = 4;
pub const DELETE: i32 = 8;
pub const ADMIN: i32 = 16;
pub const ALL: i32 = 31;

/// An identity: a scheme and an id within it. A connection's proven identities and the ids in ACL entries have this form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Identity {
    pub scheme: String,
    pub id: String,
}

impl Identity {
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Identity {
        Identity { scheme: scheme.into(), id: id.into() }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AclEntry {
    /// Bits as the client sent them. Only `READ` to `ADMIN` have a meaning.
    pub permissions: i32,
    pub who: Identity,
}

/// A node's whole ACL. Shared, because nearly all nodes of a tree have one of a few ACLs.
pub type Acl = Arc<[AclEntry]>;

/// Roughly the bytes of an ACL, on the wire and in memory.
pub fn bytes(list: &[AclEntry]) -> usize {
    list.iter().map(|entry| entry.who.scheme.len() + entry.who.id.len() + size_of::<i32>()).sum()
}

/// `world:anyone` may do everything.
pub fn open_unsafe() -> Acl {
    Arc::from([AclEntry { permissions: ALL, who: Identity::new("world", "anyone") }])
}

/// `world:anyone` may read.
pub fn read_unsafe() -> Acl {
    Arc::from([AclEntry { permissions: READ, who: Identity::new("world", "anyone") }])
}
