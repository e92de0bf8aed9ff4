//! deleteContainer (opcode 20) from a client, and the server's own collection of containers and TTL nodes.
//!
//! ZooKeeper serves the opcode to anybody, without a look at sessions or ACLs: any client could delete any childless node.
//! Here it is the superuser's; others get NOAUTH (docs/differences.txt).

use super::delete::deletable_parent;
use super::draft::Draft;
use crate::model::txn::Slot;
use crate::model::{ErrorCode, NodeKind, Refusal};
use crate::pipeline::authorize;
use crate::pipeline::view::Seen;
use std::sync::Arc;

pub fn evaluate(draft: &mut Draft<'_>, path: &Option<String>) -> Result<Slot, Refusal> {
    let path = path.as_deref().ok_or(ErrorCode::MarshallingError)?;
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

/// Whether the node went. It was collectable in the applied tree; here it must be so in the view, too.
pub fn collect(draft: &mut Draft<'_>, path: &str) -> bool {
    if deletable_parent(path).is_err() || !draft.node(path).is_some_and(|node| is_collectable(draft, node)) {
        return false;
    }
    draft.delete(Arc::from(path));
    true
}

/// ContainerManager.getCandidates: a container is kept until it has had a child, unless it has been waiting for one too
/// long.
fn is_collectable(draft: &Draft<'_>, node: Seen<'_>) -> bool {
    if node.has_children() {
        return false;
    }
    let age_ms = draft.moment.wall_ms.saturating_sub(node.stat().mtime);
    let never_used_ms = draft.rules.container_never_used_ms;
    match node.owner().kind() {
        NodeKind::Container => node.cversion() > 0 || (never_used_ms != 0 && age_ms > never_used_ms),
        NodeKind::Ttl(ttl_ms) => age_ms > ttl_ms,
        NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
    }
}
