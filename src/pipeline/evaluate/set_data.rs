//! setData: the hottest write. A hard quota is looked at before the version, as in ZooKeeper.

use super::draft::{Draft, next_version, valid_path};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal, acl};
use crate::pipeline::{Plugins, Verb};
use bytes::Bytes;
use std::sync::Arc;

pub fn evaluate(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    path: &Option<String>,
    data: &Option<Bytes>,
    version: i32,
) -> Result<Slot, Refusal> {
    let path = valid_path(path)?;
    draft.require_deployer(path)?;
    let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
    draft.require(node.acl(), acl::WRITE)?;
    draft.permit(plugins, Verb::Set, path)?;
    let bytes = data.as_ref().map_or(0, |data| data.len() as i64);
    draft.check_quota(path, 0, bytes - node.data_length())?;
    let version = next_version(node.version(), version)?;
    let record = node.to_record();
    Ok(draft.set_data(Arc::from(path), record, data.clone(), version))
}
