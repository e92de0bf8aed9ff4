//! A controller's optimistic transaction. It reads the committed tree, records what it read, and buffers its writes.
//! Nothing happens until the writes are submitted as one request (`Reconciled`). That request takes effect only if
//! nothing that was read has changed since.
//!
//! So an operation is only noted here, and checked when all of them are carried out. The names of sequential nodes are
//! predicted from what was read.

use super::{NodeCopy, ReadView, TreeWriter};
use crate::model::{Acl, ErrorCode, NodeKind, Refusal, SessionId, Stat, path};
use crate::wire::request::{Create, CreateForm, Request, create_mode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The result of one call of a controller.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reconciled {
    pub(crate) plugin: String,
    /// The deployment, as its manifest counts them.
    pub(crate) version: u32,
    /// The fuel that the call used.
    pub(crate) fuel: u64,
    /// The path that the controller was called for. A timer of that name is deleted with the result, if it is due.
    pub(crate) path: String,
    /// What the controller read.
    pub(crate) conditions: Vec<Condition>,
    /// What the controller wrote, in order.
    pub(crate) steps: Vec<Step>,
}

/// Something that a controller read, as it was then.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum Condition {
    /// The data and ACL of a node, by mzxid and aversion. None: there was no such node.
    Node { path: String, was: Option<(i64, i32)> },
    /// The names of a node's children, by the node's pzxid. None: there was no such node.
    Children { path: String, was: Option<i64> },
    /// The first `limit` ephemeral nodes of a session whose paths begin with `prefix`.
    Ephemerals { session: SessionId, prefix: String, limit: usize, found: Vec<String> },
}

/// Something that a controller wrote.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Request(Request),
    SetTimer { name: String, after_ms: u64 },
    CancelTimer { name: String },
}

impl Condition {
    /// Whether what the controller read is still as it was.
    pub(crate) fn holds(&self, view: &dyn ReadView) -> bool {
        match self {
            Condition::Node { path, was } => view.stat(path).map(|stat| (stat.mzxid, stat.aversion)) == *was,
            Condition::Children { path, was } => view.stat(path).map(|stat| stat.pzxid) == *was,
            Condition::Ephemerals { session, prefix, limit, found } => {
                view.ephemerals(*session, prefix, *limit) == *found
            }
        }
    }
}

/// See the head of this file.
pub(crate) struct OptimisticTransaction<'a> {
    /// The committed tree.
    tree: &'a dyn ReadView,
    notes: RefCell<Notes>,
}

#[derive(Default)]
struct Notes {
    conditions: BTreeSet<Condition>,
    steps: Vec<Step>,
    /// By parent: how many creations are noted. The digits of the next sequential child depend on it.
    creations: BTreeMap<String, i32>,
}

impl<'a> OptimisticTransaction<'a> {
    pub(crate) fn new(tree: &'a dyn ReadView) -> OptimisticTransaction<'a> {
        OptimisticTransaction { tree, notes: RefCell::default() }
    }

    /// What was read, and what was written.
    pub(crate) fn finish(self) -> (Vec<Condition>, Vec<Step>) {
        let Notes { conditions, steps, .. } = self.notes.into_inner();
        (conditions.into_iter().collect(), steps)
    }

    fn note_read(&self, path: &str, found: Option<&Stat>) {
        let was = found.map(|stat| (stat.mzxid, stat.aversion));
        self.notes.borrow_mut().conditions.insert(Condition::Node { path: path.to_owned(), was });
    }

    fn note(&self, step: Step) {
        self.notes.borrow_mut().steps.push(step);
    }
}

impl ReadView for OptimisticTransaction<'_> {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        let found = self.tree.node(path);
        self.note_read(path, found.as_ref().map(|node| &node.stat));
        found
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        self.node(path)
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        // Recorded before the names are read. If the names change in between, the condition does not hold.
        let was = self.tree.stat(path).map(|stat| stat.pzxid);
        self.notes.borrow_mut().conditions.insert(Condition::Children { path: path.to_owned(), was });
        self.tree.children(path, after, limit)
    }

    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String> {
        let found = self.tree.ephemerals(session, prefix, limit);
        let prefix = prefix.to_owned();
        let condition = Condition::Ephemerals { session, prefix, limit, found: found.clone() };
        self.notes.borrow_mut().conditions.insert(condition);
        found
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        let found = self.tree.stat(path);
        self.note_read(path, found.as_ref());
        found
    }
}

impl TreeWriter for OptimisticTransaction<'_> {
    fn create(&self, path: &str, data: &[u8], kind: NodeKind, acl: &Acl, sequential: bool) -> Result<String, Refusal> {
        let (form, flags, ttl_ms) = match (kind, sequential) {
            (NodeKind::Persistent, false) => (CreateForm::Create, create_mode::PERSISTENT, 0),
            (NodeKind::Persistent, true) => (CreateForm::Create, create_mode::PERSISTENT_SEQUENTIAL, 0),
            (NodeKind::Container, false) => (CreateForm::Container, create_mode::CONTAINER, 0),
            (NodeKind::Ttl(ms), false) => (CreateForm::Ttl, create_mode::TTL, ms),
            (NodeKind::Ttl(ms), true) => (CreateForm::Ttl, create_mode::SEQUENTIAL_TTL, ms),
            (NodeKind::Container, true) => return Err(ErrorCode::BadArguments.into()),
            (NodeKind::Ephemeral(_), _) => {
                let text = "a controller has no session, and creates no ephemeral node for the session of another";
                return Err(Refusal::new(ErrorCode::BadArguments, text));
            }
        };
        let parent = path::parent(path).ok_or(ErrorCode::BadArguments)?;
        let created = match sequential {
            true => format!("{path}{:010}", self.next_number(parent)),
            false => path.to_owned(),
        };
        let acl = match acl.is_empty() {
            true => self.node(parent).ok_or(ErrorCode::NoNode)?.acl,
            false => acl.clone(),
        };
        let (path, data) = (Some(path.to_owned()), Some(Bytes::copy_from_slice(data)));
        *self.notes.borrow_mut().creations.entry(parent.to_owned()).or_insert(0) += 1;
        let create = Create { form, path, data, acl: Some(acl.to_vec()), flags, ttl_ms };
        self.note(Step::Request(Request::Create(create)));
        Ok(created)
    }

    fn set_data(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<(), Refusal> {
        let (path, data) = (Some(path.to_owned()), Some(Bytes::copy_from_slice(data)));
        self.note(Step::Request(Request::SetData { path, data, version: version.unwrap_or(-1) }));
        Ok(())
    }

    fn set_acl(&self, path: &str, acl: &Acl, version: Option<i32>) -> Result<(), Refusal> {
        let (path, acl) = (Some(path.to_owned()), Some(acl.to_vec()));
        self.note(Step::Request(Request::SetAcl { path, acl, version: version.unwrap_or(-1) }));
        Ok(())
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Refusal> {
        self.note(Step::Request(Request::Delete { path: Some(path.to_owned()), version: version.unwrap_or(-1) }));
        Ok(())
    }

    fn set_timer(&self, name: &str, after_ms: u64) -> Result<(), Refusal> {
        self.note(Step::SetTimer { name: name.to_owned(), after_ms });
        Ok(())
    }

    fn cancel_timer(&self, name: &str) {
        self.note(Step::CancelTimer { name: name.to_owned() });
    }
}

impl OptimisticTransaction<'_> {
    /// The number of the next sequential child. It holds as long as the children stay as they are.
    fn next_number(&self, parent: &str) -> i32 {
        let found = self.tree.stat(parent);
        let was = found.map(|stat| stat.pzxid);
        self.notes.borrow_mut().conditions.insert(Condition::Children { path: parent.to_owned(), was });
        // The cversion that clients see counts creations and deletions (`NodeRecord::children`).
        let created = found.map_or(0, |stat| stat.cversion.wrapping_add(stat.num_children) / 2);
        created.wrapping_add(self.notes.borrow().creations.get(parent).copied().unwrap_or(0))
    }
}
