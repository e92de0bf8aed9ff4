//! What a policy has read in one call, and whether it would read the same again.

use crate::model::SessionId;
use crate::pipeline::{ReadView, Versions};

/// What one call has read.
#[derive(Default, Debug)]
pub(crate) struct Looks {
    pub(crate) list: Vec<Look>,
    /// The call read something that cannot be compared later: outstanding changes, or a session's nodes. Its answer is
    /// not cached.
    pub(crate) passing: bool,
}

impl Looks {
    /// Whether the call would read the same in `view`.
    pub(crate) fn hold(&self, view: &dyn ReadView) -> bool {
        self.list.iter().all(|look| look.holds(view))
    }
}

#[derive(PartialEq, Debug)]
pub(crate) enum Look {
    /// None: there was no such node.
    Node {
        path: Box<str>,
        was: Option<Versions>,
    },
    /// The names of a node's children, known by the node's pzxid. None: there was no such node.
    Names {
        path: Box<str>,
        was: Option<i64>,
    },
    Ephemerals {
        session: SessionId,
        prefix: Box<str>,
        limit: usize,
        found: Vec<String>,
    },
}

impl Look {
    pub(crate) fn holds(&self, view: &dyn ReadView) -> bool {
        match self {
            Look::Node { path, was } => view.versions(path) == *was,
            Look::Names { path, was } => view.versions(path).map(|now| now.pzxid) == *was,
            Look::Ephemerals { session, prefix, limit, found } => view.ephemerals(*session, prefix, *limit) == *found,
        }
    }
}
