//! deleteContainer (opcode 20) from a client, and the server's own collection of containers and TTL nodes.
//!
//! ZooKeeper serves the opcode to anybody and checks neither sessions nor ACLs, so any client could delete any
//! childless node. Here only the superuser may use the opcode. Others get NOAUTH (docs/differences.txt).

use super::delete::deletable_parent;
use super::draft::Draft;
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::authorize;
use crate::pipeline::view::Seen;
use crate::state::collect::may_go;
use std::sync::Arc;

pub(crate) fn evaluate(draft: &mut Draft<'_>, path: Option<&str>) -> Result<Slot, Refusal> {
    let path = path.ok_or(ErrorCode::MarshallingError)?;
    deletable_parent(path)?;
    if draft.caller.is_some() && !authorize::is_super(draft.identities()) {
        return Err(ErrorCode::NoAuth.into());
    }
    let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
    if node.has_children() {
        return Err(ErrorCode::NotEmpty.into());
    }
    if node.owner().is_ephemeral() {
        return Err(ErrorCode::BadVersion.into());
    }
    draft.delete(Arc::from(path));
    Ok(Slot::Nothing)
}

/// Deletes a container or TTL node for the server itself. False if the node may not go: the applied tree said that it
/// may, but here the view decides.
pub(crate) fn collect(draft: &mut Draft<'_>, path: &str) -> bool {
    if deletable_parent(path).is_err() || !draft.node(path).is_some_and(|node| is_collectable(draft, node)) {
        return false;
    }
    draft.delete(Arc::from(path));
    true
}

fn is_collectable(draft: &Draft<'_>, node: Seen<'_>) -> bool {
    let children = usize::from(node.has_children());
    let never_used_ms = draft.rules.container_never_used_ms;
    may_go(node.owner(), children, node.cversion(), node.stat().mtime, draft.moment.wall_ms, never_used_ms)
}
