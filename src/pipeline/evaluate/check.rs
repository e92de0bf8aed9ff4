//! check, and ClickHouse's checkNotExists: conditions of a multi. They change nothing.

use super::draft::{Draft, next_version, parent_of, valid_path};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal, acl};
use crate::pipeline::{Plugins, Verb};

/// Checks that the node exists and has that version.
pub(crate) fn evaluate(
    draft: &Draft<'_>,
    plugins: &mut dyn Plugins,
    path: Option<&str>,
    version: i32,
) -> Result<Slot, Refusal> {
    let path = valid_path(path)?;
    let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
    draft.require(node.acl(), acl::READ)?;
    draft.permit(plugins, Verb::Read, path)?;
    next_version(node.version(), version)?;
    Ok(Slot::Nothing)
}

/// Checks that the node does not exist or, given a version, that it does not have that version. Needs READ on the
/// parent, as in ClickHouse Keeper.
pub(crate) fn evaluate_absence(
    draft: &Draft<'_>,
    plugins: &mut dyn Plugins,
    path: Option<&str>,
    version: i32,
) -> Result<Slot, Refusal> {
    let path = valid_path(path)?;
    if let Some(parent) = draft.node(parent_of(path)?) {
        draft.require(parent.acl(), acl::READ)?;
    }
    draft.permit(plugins, Verb::Read, path)?;
    match draft.node(path) {
        Some(node) if next_version(node.version(), version).is_ok() => Err(ErrorCode::NodeExists.into()),
        _ => Ok(Slot::Nothing),
    }
}
