//! setData: the most frequent write. A hard quota is checked before the version, as in ZooKeeper.

use super::draft::{Draft, next_version, valid_path};
use super::stages::{Phase, Stages};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal, acl};
use crate::pipeline::{Plugins, Verb, Write};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

pub(crate) struct Operation<'r> {
    pub path: Option<&'r str>,
    pub data: &'r Option<Bytes>,
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
        let path = valid_path(self.path)?;
        draft.require_deployer(path)?;
        phase.require(draft, path, acl::WRITE)?;
        phase.permit(draft, plugins, Verb::Set, path)?;
        Ok(path)
    }

    fn write<'w>(&'w self, path: &'w &'r str) -> Write<'w> {
        let data = self.data.as_deref().unwrap_or_default();
        Write::SetData { path, data, version: Write::expected(self.version) }
    }

    fn carry_out(&self, draft: &mut Draft<'_>, path: &'r str) -> Result<Slot, Refusal> {
        let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
        let bytes = self.data.as_ref().map_or(0, |data| data.len() as i64);
        draft.check_quota(path, 0, bytes - node.data_length())?;
        let version = next_version(node.version(), self.version)?;
        let record = node.to_record();
        Ok(draft.set_data(Arc::from(path), record, self.data.clone(), version))
    }
}
