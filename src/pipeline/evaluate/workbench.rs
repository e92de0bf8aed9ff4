//! A recipe's access to the transaction in the making: it reads the view and changes it.
//!
//! Each operation follows ZooKeeper's rules and fails with ZooKeeper's codes, as far as clients may get them from a
//! plugin. A code that concerns sessions becomes BADARGUMENTS. The caller's ACLs do not count. Quotas do, and so do the
//! bounds of what plugins may change in one transaction. An operation that is refused has done nothing.

use super::create::require_length;
use super::delete::deletable_parent;
use super::draft::{Draft, Existing, next_version};
use crate::limits;
use crate::model::chores::{self, Timer};
use crate::model::owner::TTL_MS_MAX;
use crate::model::{Acl, ErrorCode, NodeKind, Owner, Refusal, SessionId, Stat, acl, path};
use crate::pipeline::{NodeCopy, ReadView, TreeWriter, authorize};
use bytes::Bytes;
use std::cell::RefCell;
use std::sync::Arc;

pub(crate) struct Workbench<'b, 'a> {
    /// Borrowed for one operation at a time, and not while the guest runs.
    draft: RefCell<&'b mut Draft<'a>>,
    plugin: &'b str,
}

impl<'b, 'a> Workbench<'b, 'a> {
    pub(crate) fn new(draft: &'b mut Draft<'a>, plugin: &'b str) -> Workbench<'b, 'a> {
        Workbench { draft: RefCell::new(draft), plugin }
    }
}

impl ReadView for Workbench<'_, '_> {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        ReadView::node(&self.draft.borrow().view(), path)
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        self.draft.borrow().view().original(path)
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        self.draft.borrow().view().children(path, after, limit)
    }

    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String> {
        self.draft.borrow().view().ephemerals(session, prefix, limit)
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        self.draft.borrow().view().stat(path)
    }

    fn is_outstanding(&self, path: &str) -> bool {
        self.draft.borrow().view().is_outstanding(path)
    }
}

impl TreeWriter for Workbench<'_, '_> {
    fn create(&self, path: &str, data: &[u8], kind: NodeKind, acl: &Acl, sequential: bool) -> Result<String, Refusal> {
        let draft = &mut **self.draft.borrow_mut();
        charge(draft, path.len() + data.len() + acl::bytes(acl))?;
        create(draft, path, data, kind, acl, sequential)
    }

    fn set_data(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<(), Refusal> {
        let draft = &mut **self.draft.borrow_mut();
        charge(draft, path.len() + data.len())?;
        fits_a_node(data)?;
        let path = changeable(path)?;
        let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
        let version = next_version(node.version(), version.unwrap_or(-1))?;
        draft.check_plugins_quota(path, 0, data.len() as i64 - node.data_length())?;
        let record = node.to_record();
        draft.set_data(Arc::from(path), record, Some(Bytes::copy_from_slice(data)), version);
        Ok(())
    }

    fn set_acl(&self, path: &str, acl: &Acl, version: Option<i32>) -> Result<(), Refusal> {
        let draft = &mut **self.draft.borrow_mut();
        charge(draft, path.len() + acl::bytes(acl))?;
        let path = changeable(path)?;
        let acl = given(draft, acl)?;
        let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
        let aversion = next_version(node.aversion(), version.unwrap_or(-1))?;
        let record = node.to_record();
        draft.set_acl(Arc::from(path), record, acl, aversion);
        Ok(())
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Refusal> {
        let draft = &mut **self.draft.borrow_mut();
        charge(draft, path.len())?;
        let path = changeable(path)?;
        deletable_parent(path)?;
        let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
        next_version(node.version(), version.unwrap_or(-1))?;
        if node.has_children() {
            return Err(ErrorCode::NotEmpty.into());
        }
        draft.delete(Arc::from(path));
        Ok(())
    }

    fn set_timer(&self, name: &str, after_ms: u64) -> Result<(), Refusal> {
        let draft = &mut **self.draft.borrow_mut();
        charge(draft, name.len())?;
        let due_ms = draft.moment.ensemble_ms.saturating_add(after_ms);
        let folder = chores::timers_path(self.plugin);
        let node = chores::timer_path(self.plugin, name);
        if draft.node(&node).is_none() {
            let count = draft.node(&folder).map_or(0, |folder| folder.stat().num_children);
            if usize::try_from(count).is_ok_and(|count| count >= limits::PLUGIN_TIMERS_MAX) {
                let text = format!("a plugin has at most {} timers", limits::PLUGIN_TIMERS_MAX);
                return Err(Refusal::new(ErrorCode::QuotaExceeded, text));
            }
            draft.put(&folder, Bytes::new(), Existing::Keep);
        }
        draft.put(&node, Timer { due_ms, attempts: 0 }.text().into(), Existing::Set);
        Ok(())
    }

    fn cancel_timer(&self, name: &str) {
        let draft = &mut **self.draft.borrow_mut();
        let node = chores::timer_path(self.plugin, name);
        if draft.node(&node).is_some() {
            draft.delete(Arc::from(node));
        }
    }
}

/// Counts one more operation of a plugin (`Parts::charge`). Refuses it if the transaction is too large already: an ACL
/// that a node inherits from its parent is not among the bytes that the plugin handed over.
fn charge(draft: &mut Draft<'_>, bytes: usize) -> Result<(), Refusal> {
    draft.parts.charge(bytes)?;
    draft.require_weight()
}

/// Creates a node. Returns its path.
fn create(
    draft: &mut Draft<'_>,
    asked: &str,
    data: &[u8],
    kind: NodeKind,
    acl: &Acl,
    sequential: bool,
) -> Result<String, Refusal> {
    fits_a_node(data)?;
    let parent_path = super::draft::parent_of(asked)?;
    let owner = owner(draft, kind)?;
    let parent = draft.node(parent_path).ok_or(ErrorCode::NoNode)?;
    let path = if sequential { format!("{asked}{:010}", parent.cversion()) } else { asked.to_owned() };
    changeable(&path)?;
    require_length(&path)?;
    if draft.node(&path).is_some() {
        return Err(ErrorCode::NodeExists.into());
    }
    if parent.owner().is_ephemeral() {
        return Err(ErrorCode::NoChildrenForEphemerals.into());
    }
    let acl = if acl.is_empty() { parent.acl().clone() } else { given(draft, acl)? };
    draft.check_plugins_quota(&path, 1, data.len() as i64)?;
    draft.create(Arc::from(path.as_str()), Some(Bytes::copy_from_slice(data)), acl, owner);
    Ok(path)
}

fn owner(draft: &Draft<'_>, kind: NodeKind) -> Result<Owner, Refusal> {
    Ok(match kind {
        NodeKind::Persistent => Owner::PERSISTENT,
        NodeKind::Container => Owner::CONTAINER,
        NodeKind::Ttl(ms) if (1..=TTL_MS_MAX).contains(&ms) && draft.rules.extended_types => Owner::ttl(ms),
        NodeKind::Ttl(_) if !draft.rules.extended_types => return Err(ErrorCode::Unimplemented.into()),
        NodeKind::Ttl(_) => return Err(ErrorCode::BadArguments.into()),
        // A session whose end has begun would get new nodes as fast as its old ones are deleted.
        NodeKind::Ephemeral(session) if draft.view().session(session).is_some_and(|known| !known.is_ending()) => {
            Owner::session(session)
        }
        NodeKind::Ephemeral(session) => {
            return Err(Refusal::new(ErrorCode::BadArguments, format!("there is no session {session}")));
        }
    })
}

/// An ACL that a plugin gives a node, as it will be stored. An entry of scheme `auth` has no identity to stand for
/// here.
fn given(draft: &Draft<'_>, acl: &Acl) -> Result<Acl, Refusal> {
    let session = draft.caller.map_or(SessionId::NONE, |caller| caller.session);
    authorize::fix_acl(draft.rules, authorize::Who { identities: &[], session }, Some(acl), &draft.parts.fuel)
}

/// The path, if a plugin may change the node there. Grants never reach `/zookeeper`. The second check here keeps the
/// server's own nodes safe from a mistake in the grants.
fn changeable(path: &str) -> Result<&str, Refusal> {
    path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
    if path::is_servers_own(path) { Err(ErrorCode::NoAuth.into()) } else { Ok(path) }
}

/// BADARGUMENTS for more data than a client could have written, because no client could read it.
fn fits_a_node(data: &[u8]) -> Result<(), Refusal> {
    if data.len() <= limits::PLUGIN_NODE_BYTES_MAX {
        return Ok(());
    }
    let text = format!("{} bytes of data, a node has at most {}", data.len(), limits::PLUGIN_NODE_BYTES_MAX);
    Err(Refusal::new(ErrorCode::BadArguments, text))
}
