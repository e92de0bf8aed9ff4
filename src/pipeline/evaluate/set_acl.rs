//! setACL. The new list is judged before the node is looked up; `version` is the ACL's own.

use super::draft::{Draft, next_version, valid_path};
use crate::model::acl::{self, AclEntry};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::{Plugins, Verb};
use std::sync::Arc;

pub fn evaluate(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    path: &Option<String>,
    list: Option<&[AclEntry]>,
    version: i32,
) -> Result<Slot, Refusal> {
    let path = valid_path(path)?;
    draft.require_deployer(path)?;
    let list = draft.fix_acl(list)?;
    let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
    draft.require(node.acl(), acl::ADMIN)?;
    draft.permit(plugins, Verb::Acl, path)?;
    let aversion = next_version(node.aversion(), version)?;
    let record = node.to_record();
    Ok(draft.set_acl(Arc::from(path), record, list, aversion))
}
