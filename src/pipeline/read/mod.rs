//! Reads: answered from the applied state of the member that the client is connected to (FinalRequestProcessor).
//!
//! Promises: a read changes nothing. No read is long: an answer that grows with the tree is bounded (`multi_read`), or
//! made in pieces (`pieces`). A path is checked only as far as ZooKeeper checks it. The body borrows from the state, so
//! it is encoded while the state's lock is held. The caller arms the watches (`watch_to_arm`).
//!
//! | file | requests |
//! |---|---|
//! | `exists` | exists |
//! | `get_data` | getData |
//! | `get_acl` | getACL |
//! | `get_children` | getChildren, getChildren2, ClickHouse's filteredList |
//! | `counts` | getEphemerals, getAllChildrenNumber |
//! | `multi_read` | multiRead |
//! | `pieces` | long lists, read piece by piece |
//! | `weight` | how much work a read would be |
//! | `virtual_nodes` | nodes that the server answers for although the tree does not have them |

mod counts;
mod exists;
mod get_acl;
mod get_children;
mod get_data;
mod multi_read;
pub(crate) mod pieces;
mod virtual_nodes;
mod weight;

pub(crate) use weight::weight;

pub(crate) use virtual_nodes::VirtualNodes;
#[cfg(test)]
pub(crate) use virtual_nodes::{FEATURE_FLAGS, NoVirtualNodes};

use super::{Rules, authorize};
use crate::model::{AclEntry, ErrorCode, Identity, SessionId, acl};
use crate::state::{Node, State};
use crate::watch::WatchKind;
use crate::wire::reply::Body;
use crate::wire::request::Request;

/// Who reads, and from what.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) state: &'a State,
    pub(crate) rules: &'a Rules,
    pub(crate) identities: &'a [Identity],
    pub(crate) session: SessionId,
    pub(crate) virtual_nodes: &'a dyn VirtualNodes,
    /// The policies' refusals of a multiRead, by operation. Operations beyond the end are allowed.
    pub(crate) denied: &'a [Option<ErrorCode>],
}

/// Keeps the data that a body borrows and that is not in the state. Each connection has one and uses it for all of its
/// reads.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Data of virtual nodes: one for a single read, one for each slot of a multiRead.
    virtual_data: Vec<Option<Vec<u8>>>,
    acl: Vec<AclEntry>,
    identities: Vec<Identity>,
}

/// Answers a read. UNIMPLEMENTED for a request that is not a read, or that is about the connection's watches.
pub(crate) fn read<'a>(
    reader: Reader<'a>,
    request: &'a Request,
    scratch: &'a mut Scratch,
) -> Result<Body<'a>, ErrorCode> {
    match request {
        Request::Exists { path, .. } => exists::read(reader, required(path)?, scratch),
        Request::GetData { path, .. } => get_data::read(reader, required(path)?, scratch),
        Request::GetAcl { path } => get_acl::read(reader, required(path)?, scratch),
        Request::GetChildren { path, .. } => get_children::names(reader, required(path)?),
        Request::GetChildren2 { path, .. } => get_children::names_and_stat(reader, required(path)?),
        Request::FilteredList { path, filter, .. } => get_children::filtered(reader, required(path)?, *filter),
        Request::GetEphemerals { prefix } => Ok(counts::ephemerals(reader, prefix.as_deref())),
        Request::GetAllChildrenNumber { path } => counts::all_children(reader, required(path)?),
        Request::MultiRead(operations) => multi_read::read(reader, operations, scratch),
        Request::WhoAmI => Ok(who_am_i(reader, scratch)),
        _ => Err(ErrorCode::Unimplemented),
    }
}

/// The one-shot watch that a read sets, after it has ended with `answer`. The path is as the client sent it. Only
/// exists watches a node that does not exist.
pub(crate) fn watch_to_arm(request: &Request, answer: Result<(), ErrorCode>) -> Option<(WatchKind, &str)> {
    let (kind, path) = match (request, answer) {
        (Request::Exists { path, watch: true }, Ok(())) => (WatchKind::Data, path),
        (Request::Exists { path, watch: true }, Err(ErrorCode::NoNode)) => (WatchKind::Exist, path),
        (Request::GetData { path, watch: true }, Ok(())) => (WatchKind::Data, path),
        (Request::GetChildren { path, watch: true }, Ok(())) => (WatchKind::Child, path),
        (Request::GetChildren2 { path, watch: true }, Ok(())) => (WatchKind::Child, path),
        (Request::FilteredList { path, watch: true, .. }, Ok(())) => (WatchKind::Child, path),
        _ => return None,
    };
    path.as_deref().map(|path| (kind, path))
}

impl<'a> Reader<'a> {
    /// Whether the ACL gives the reader one of `permissions`, by the cached answers of authenticators. If necessary,
    /// the authenticators have been asked before (`session::judgement`). No guest may run while the state is locked.
    fn has(&self, list: &[AclEntry], permissions: i32) -> bool {
        authorize::known(self.rules, list, permissions, self.identities) == Some(true)
    }

    /// The node, if it exists and the reader has one of `permissions` on it.
    fn node(&self, path: &str, permissions: i32) -> Result<Node<'a>, ErrorCode> {
        // ZooKeeper keeps the root under two names, "/" and "".
        let node = self.state.node(if path.is_empty() { "/" } else { path }).ok_or(ErrorCode::NoNode)?;
        if self.has(node.acl(), permissions) { Ok(node) } else { Err(ErrorCode::NoAuth) }
    }

    fn readable(&self, path: &str) -> Result<Node<'a>, ErrorCode> {
        self.node(path, acl::READ)
    }
}

/// A null path makes ZooKeeper fail with an exception, which becomes MARSHALLINGERROR.
fn required(path: &Option<String>) -> Result<&str, ErrorCode> {
    path.as_deref().ok_or(ErrorCode::MarshallingError)
}

/// The identities that the connection has proven, without the proofs.
fn who_am_i<'a>(reader: Reader<'a>, scratch: &'a mut Scratch) -> Body<'a> {
    let shown = |identity: &Identity| Identity::new(identity.scheme.as_str(), authorize::user_name(identity));
    scratch.identities = reader.identities.iter().map(shown).collect();
    Body::Identities(&scratch.identities)
}
