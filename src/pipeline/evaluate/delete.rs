//! delete. The order of the checks is that of PrepRequestProcessor; deleting needs DELETE on the parent.

use super::draft::{Draft, next_version, parent_of};
use super::manifest_integrity;
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal, acl, control_plane};
use crate::pipeline::{Plugins, Verb};
use std::sync::Arc;

/// Never deleted (DataTree.isSpecialPath).
const SPECIAL: [&str; 4] = ["/", control_plane::ROOT, control_plane::QUOTA, control_plane::CONFIG];

pub fn evaluate(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    path: &Option<String>,
    version: i32,
) -> Result<Slot, Refusal> {
    let path = path.as_deref().ok_or(ErrorCode::MarshallingError)?;
    let parent_path = deletable_parent(path)?;
    draft.require_deployer(path)?;
    let parent = draft.node(parent_path).ok_or(ErrorCode::NoNode)?;
    draft.require(parent.acl(), acl::DELETE)?;
    draft.permit(plugins, Verb::Delete, path)?;
    let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
    next_version(node.version(), version)?;
    if node.has_children() {
        return Err(ErrorCode::NotEmpty.into());
    }
    manifest_integrity::require_unnamed(draft, path)?;
    draft.delete(Arc::from(path));
    Ok(Slot::Nothing)
}

/// The parent of a node that may be deleted.
pub fn deletable_parent(path: &str) -> Result<&str, ErrorCode> {
    let parent = parent_of(path)?;
    if SPECIAL.contains(&path) { Err(ErrorCode::BadArguments) } else { Ok(parent) }
}
