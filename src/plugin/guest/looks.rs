//! What a policy has looked at in one call, and whether it would look the same again.

use crate::model::SessionId;
use crate::pipeline::{ReadView, Versions};

/// What a call has looked at.
#[derive(Default, Debug)]
pub struct Looks {
    pub list: Vec<Look>,
    /// It saw something by which its answer cannot be known again: outstanding changes, a session's nodes.
    pub passing: bool,
}

impl Looks {
    /// Whether all of it would look the same.
    pub fn hold(&self, view: &dyn ReadView) -> bool {
        self.list.iter().all(|look| look.holds(view))
    }
}

#[derive(PartialEq, Debug)]
pub enum Look {
    /// None: there was no such node.
    Node {
        path: Box<str>,
        was: Option<Versions>,
    },
    /// The names of its children, by its pzxid.
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
    pub fn holds(&self, view: &dyn ReadView) -> bool {
        match self {
            Look::Node { path, was } => view.versions(path) == *was,
            Look::Names { path, was } => view.versions(path).map(|now| now.pzxid) == *was,
            Look::Ephemerals { session, prefix, limit, found } => view.ephemerals(*session, prefix, *limit) == *found,
        }
    }
}
