//! The tree as it will be once every reserved transaction is applied: the applied state with the outstanding changes
//! laid over it. The next request is evaluated on this view.

use super::overlay::{Data, NodeRecord, Overlay};
use super::{NodeCopy, ReadView, Versions};
use crate::model::{Acl, Owner, SessionId, Stat};
use crate::state::{Node, Session, State};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) overlay: &'a Overlay,
}

/// The applied tree alone. Reads see this.
#[derive(Clone, Copy)]
pub(crate) struct AppliedTree<'a>(pub(crate) &'a State);

/// The applied tree, locked by the function for each single read. The tree may change between two reads.
pub(crate) struct LockedTree<F>(pub(crate) F);

/// A node in the view.
#[derive(Clone, Copy)]
pub(crate) enum Seen<'a> {
    Applied(Node<'a>),
    Outstanding(&'a NodeRecord),
}

impl<'a> View<'a> {
    pub(crate) fn node(self, path: &str) -> Option<Seen<'a>> {
        match self.overlay.node(path) {
            Some(record) => record.map(Seen::Outstanding),
            None => self.state.node(path).map(Seen::Applied),
        }
    }

    pub(crate) fn session(self, id: SessionId) -> Option<&'a Session> {
        match self.overlay.session(id) {
            Some(session) => session,
            None => self.state.session(id),
        }
    }

    /// Paths of the session's ephemeral nodes, in byte order.
    pub(crate) fn ephemerals_of(self, session: SessionId) -> BTreeSet<Arc<str>> {
        let mut paths: BTreeSet<Arc<str>> = self.state.ephemerals(session).cloned().collect();
        for (path, owned) in self.overlay.ephemerals(session) {
            if owned {
                paths.insert(path.clone());
            } else {
                paths.remove(path);
            }
        }
        paths
    }

    fn copy(self, path: &str, seen: Seen<'_>) -> NodeCopy {
        let applied = |node: Option<Node<'_>>| node.and_then(|node| node.data()).map(Bytes::copy_from_slice);
        match seen {
            Seen::Applied(node) => NodeCopy { data: applied(Some(node)), stat: node.stat(), acl: node.acl().clone() },
            Seen::Outstanding(record) => NodeCopy {
                data: match &record.data {
                    Data::AsApplied => applied(self.state.node(path)),
                    Data::Set(data) => data.clone(),
                },
                stat: record.stat,
                acl: record.acl.clone(),
            },
        }
    }
}

impl ReadView for View<'_> {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        View::node(*self, path).map(|seen| self.copy(path, seen))
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        let seen = match self.overlay.node_before(path) {
            None => View::node(*self, path),
            Some(None) => self.state.node(path).map(Seen::Applied),
            Some(Some(record)) => record.map(Seen::Outstanding),
        };
        seen.map(|seen| self.copy(path, seen))
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        if View::node(*self, path).is_none() {
            return Vec::new();
        }
        let outstanding = self.overlay.children(path);
        let node = self.state.node(path);
        let applied = node.iter().flat_map(|node| node.children());
        let created = outstanding.iter().filter(|(_, created)| **created).map(|(name, _)| *name);
        page(applied.filter(|name| !outstanding.contains_key(name)).chain(created), after, limit)
    }

    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String> {
        let paths = self.ephemerals_of(session);
        paths.iter().filter(|path| path.starts_with(prefix)).take(limit).map(|path| path.to_string()).collect()
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        View::node(*self, path).map(|seen| seen.stat())
    }

    fn versions(&self, path: &str) -> Option<Versions> {
        View::node(*self, path).map(|seen| match seen {
            Seen::Applied(node) => versions(node),
            Seen::Outstanding(record) => Versions::of(&record.stat),
        })
    }

    fn is_outstanding(&self, path: &str) -> bool {
        self.overlay.node(path).is_some()
    }
}

impl ReadView for AppliedTree<'_> {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        let node = self.0.node(path)?;
        Some(NodeCopy { data: node.data().map(Bytes::copy_from_slice), stat: node.stat(), acl: node.acl().clone() })
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        ReadView::node(self, path)
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        self.0.node(path).map_or_else(Vec::new, |node| page(node.children(), after, limit))
    }

    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String> {
        self.0.ephemerals_below(session, prefix).take(limit).map(str::to_owned).collect()
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        self.0.node(path).map(|node| node.stat())
    }

    fn versions(&self, path: &str) -> Option<Versions> {
        self.0.node(path).map(versions)
    }
}

impl<F, G> ReadView for LockedTree<F>
where
    F: Fn() -> G,
    G: Deref<Target = State>,
{
    fn node(&self, path: &str) -> Option<NodeCopy> {
        ReadView::node(&AppliedTree(&(self.0)()), path)
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        self.node(path)
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        AppliedTree(&(self.0)()).children(path, after, limit)
    }

    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String> {
        AppliedTree(&(self.0)()).ephemerals(session, prefix, limit)
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        AppliedTree(&(self.0)()).stat(path)
    }

    fn versions(&self, path: &str) -> Option<Versions> {
        AppliedTree(&(self.0)()).versions(path)
    }
}

fn versions(node: Node<'_>) -> Versions {
    Versions { mzxid: node.mzxid(), pzxid: node.pzxid(), aversion: node.aversion() }
}

/// The first `limit` names behind `after`, in byte order. The order of `names` does not matter: the set sorts them.
fn page<'a>(names: impl Iterator<Item = &'a str>, after: Option<&str>, limit: usize) -> Vec<String> {
    let mut page: BTreeSet<&str> = BTreeSet::new();
    for name in names.filter(|name| after.is_none_or(|after| *name > after)) {
        page.insert(name);
        if page.len() > limit {
            page.pop_last();
        }
    }
    page.into_iter().map(str::to_owned).collect()
}

impl Seen<'_> {
    pub(crate) fn stat(&self) -> Stat {
        match self {
            Seen::Applied(node) => node.stat(),
            Seen::Outstanding(record) => record.stat,
        }
    }

    pub(crate) fn acl(&self) -> &Acl {
        match self {
            Seen::Applied(node) => node.acl(),
            Seen::Outstanding(record) => &record.acl,
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        match self {
            Seen::Applied(node) => node.owner(),
            Seen::Outstanding(record) => record.owner,
        }
    }

    pub(crate) fn version(&self) -> i32 {
        match self {
            Seen::Applied(node) => node.version(),
            Seen::Outstanding(record) => record.stat.version,
        }
    }

    pub(crate) fn aversion(&self) -> i32 {
        match self {
            Seen::Applied(node) => node.aversion(),
            Seen::Outstanding(record) => record.stat.aversion,
        }
    }

    /// The stored counter of creations, from which sequence numbers are made.
    pub(crate) fn cversion(&self) -> i32 {
        match self {
            Seen::Applied(node) => node.cversion(),
            Seen::Outstanding(record) => record.cversion,
        }
    }

    pub(crate) fn has_children(&self) -> bool {
        match self {
            Seen::Applied(node) => node.child_count() > 0,
            Seen::Outstanding(record) => record.stat.num_children > 0,
        }
    }

    pub(crate) fn data_length(&self) -> i64 {
        match self {
            Seen::Applied(node) => node.data().map_or(0, <[u8]>::len) as i64,
            Seen::Outstanding(record) => i64::from(record.stat.data_length),
        }
    }

    /// A copy of the node, to be changed and laid over the view.
    pub(crate) fn to_record(self) -> NodeRecord {
        match self {
            Seen::Applied(node) => NodeRecord::of(node),
            Seen::Outstanding(record) => record.clone(),
        }
    }
}
