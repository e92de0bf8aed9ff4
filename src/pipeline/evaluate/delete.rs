//! delete. The order of the checks is that of PrepRequestProcessor. Deleting needs DELETE on the parent.

use super::draft::{Draft, next_version, parent_of, valid_path};
use super::manifest_integrity;
use super::stages::{Phase, Stages};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal, acl, control_plane};
use crate::pipeline::{Plugins, Verb, Write};
use std::borrow::Cow;
use std::sync::Arc;

/// Never deleted (DataTree.isSpecialPath).
const SPECIAL: [&str; 4] = ["/", control_plane::ROOT, control_plane::QUOTA, control_plane::CONFIG];

pub(crate) struct Operation<'r> {
    pub path: Option<&'r str>,
    /// The version that the node must have; -1: any.
    pub version: i32,
}

impl<'r> Stages for Operation<'r> {
    /// The path.
    type Allowed = &'r str;

    fn path(&self) -> Option<Cow<'_, str>> {
        self.path.map(Cow::Borrowed)
    }

    fn allow(&self, draft: &Draft<'_>, plugins: &mut dyn Plugins, phase: Phase) -> Result<&'r str, Refusal> {
        let path = self.path.ok_or(ErrorCode::MarshallingError)?;
        if phase == Phase::BeforeRecipe {
            // Elsewhere an invalid path is the path of a node that does not exist.
            valid_path(Some(path))?;
        }
        let parent_path = deletable_parent(path)?;
        draft.require_deployer(path)?;
        phase.require(draft, parent_path, acl::DELETE)?;
        phase.permit(draft, plugins, Verb::Delete, path)?;
        Ok(path)
    }

    fn write<'w>(&'w self, path: &'w &'r str) -> Write<'w> {
        Write::Delete { path, version: Write::expected(self.version) }
    }

    fn carry_out(&self, draft: &mut Draft<'_>, path: &'r str) -> Result<Slot, Refusal> {
        let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
        next_version(node.version(), self.version)?;
        if node.has_children() {
            return Err(ErrorCode::NotEmpty.into());
        }
        manifest_integrity::require_unnamed(draft, path)?;
        draft.delete(Arc::from(path));
        Ok(Slot::Nothing)
    }
}

/// The parent of a node that may be deleted. BADARGUMENTS for a node that is never deleted.
pub(crate) fn deletable_parent(path: &str) -> Result<&str, ErrorCode> {
    let parent = parent_of(path)?;
    if SPECIAL.contains(&path) { Err(ErrorCode::BadArguments) } else { Ok(parent) }
}
