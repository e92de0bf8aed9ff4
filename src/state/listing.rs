//! Long lists of names, read piece by piece: children, and a session's ephemeral nodes.
//!
//! A list of a million names takes some 300 ms to read, mostly because the names lie anywhere in memory. So the lock of
//! the state is released between pieces. If the list changes meanwhile, reading begins anew: the answer is always the
//! list as of one zxid. Each new beginning doubles the pieces, so a list that changes all the time is read after all.

use super::tree::Id;
use super::{Node, State};
use crate::limits::LISTED_AT_ONCE;
use crate::model::{Owner, SessionId};
use std::collections::{BTreeSet, btree_set};
use std::ops::Bound;
use std::sync::Arc;

/// What the next piece of a list has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// There are more names.
    More,
    /// That was the last piece. All pieces together are the list as it is now.
    Last,
    /// The list has changed. What was read so far does not count any more.
    Changed,
}

/// The children of a node, which are being listed.
pub(crate) struct Children {
    id: Id,
    /// The node's czxid and pzxid when the list was begun. Each new child, and each that goes, raises the pzxid.
    zxids: (i64, i64),
    /// The children's numbers, which take some 5 ms to copy for a million.
    children: Vec<Id>,
    /// How many of them have been listed.
    at: usize,
    pub(super) at_once: usize,
}

/// A session's ephemeral nodes, which are being listed.
pub(crate) struct Ephemerals {
    session: SessionId,
    prefix: Box<str>,
    /// `State::ephemeral_changes` when the list was begun.
    changes: u64,
    /// The path that was listed last.
    last: Option<Arc<str>>,
    pub(super) at_once: usize,
}

impl Children {
    pub(crate) fn of(node: Node<'_>) -> Children {
        let mut list = Children { id: node.id, zxids: (0, 0), children: Vec::new(), at: 0, at_once: LISTED_AT_ONCE };
        list.begin(node);
        list
    }

    fn begin(&mut self, node: Node<'_>) {
        let slot = node.tree.slot(node.id);
        self.id = node.id;
        self.zxids = (slot.czxid, slot.pzxid());
        self.children = node.tree.children(node.id).collect();
        self.at = 0;
    }

    /// Calls `each` with the name and owner of further children. `node`: as it is now at the path of the list.
    pub(crate) fn go_on<'a>(&mut self, node: Node<'a>, mut each: impl FnMut(&'a str, Owner)) -> Piece {
        let slot = node.tree.slot(node.id);
        if (node.id, (slot.czxid, slot.pzxid())) != (self.id, self.zxids) {
            self.at_once = self.at_once.saturating_mul(2);
            self.begin(node);
            return Piece::Changed;
        }
        let end = self.children.len().min(self.at.saturating_add(self.at_once));
        for &child in &self.children[self.at..end] {
            let child = node.tree.slot(child);
            each(child.name(), child.owner);
        }
        self.at = end;
        if end < self.children.len() { Piece::More } else { Piece::Last }
    }
}

impl Ephemerals {
    /// Paths that do not begin with `prefix` are left out.
    pub(crate) fn of(state: &State, session: SessionId, prefix: &str) -> Ephemerals {
        let changes = state.ephemeral_changes;
        Ephemerals { session, prefix: prefix.into(), changes, last: None, at_once: LISTED_AT_ONCE }
    }

    /// Calls `each` with further paths, in byte order.
    pub(crate) fn go_on<'a>(&mut self, state: &'a State, mut each: impl FnMut(&'a str)) -> Piece {
        if state.ephemeral_changes != self.changes {
            self.changes = state.ephemeral_changes;
            self.last = None;
            self.at_once = self.at_once.saturating_mul(2);
            return Piece::Changed;
        }
        let begin = match &self.last {
            Some(last) => Bound::Excluded(&**last),
            None => Bound::Included(&*self.prefix),
        };
        let mut last = None;
        let all = state.ephemerals_from(self.session, begin).take_while(|path| path.starts_with(&*self.prefix));
        let mut all = all.peekable();
        for path in all.by_ref().take(self.at_once) {
            each(path);
            last = Some(path);
        }
        let more = all.peek().is_some();
        if let Some(last) = last {
            self.last = Some(last.clone());
        }
        if more { Piece::More } else { Piece::Last }
    }
}

impl State {
    /// Paths of the session's ephemeral nodes from `begin` on, in byte order.
    fn ephemerals_from<'a>(&'a self, session: SessionId, begin: Bound<&str>) -> btree_set::Range<'a, Arc<str>> {
        static NONE: BTreeSet<Arc<str>> = BTreeSet::new();
        self.ephemerals.get(&session).unwrap_or(&NONE).range::<str, _>((begin, Bound::Unbounded))
    }

    /// Paths of the session's ephemeral nodes that begin with `prefix`, in byte order.
    pub(crate) fn ephemerals_below<'a>(&'a self, session: SessionId, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.ephemerals_from(session, Bound::Included(prefix));
        all.map(|path| &**path).take_while(move |path| path.starts_with(prefix))
    }

    /// The number of the session's ephemeral nodes.
    pub(crate) fn ephemerals_of(&self, session: SessionId) -> usize {
        self.ephemerals.get(&session).map_or(0, |paths| paths.len())
    }
}
