//! setACL. The new ACL is checked before the node is looked up. `version` is that of the ACL, not of the data.

use super::draft::{Draft, next_version, valid_path};
use super::stages::{Phase, Stages};
use crate::model::acl::{self, Acl, AclEntry};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::{Plugins, Verb, Write};
use std::borrow::Cow;
use std::sync::Arc;

pub(crate) struct Operation<'r> {
    pub path: Option<&'r str>,
    pub acl: Option<&'r [AclEntry]>,
    /// The aversion that the node must have; -1: any.
    pub version: i32,
}

pub(crate) struct Allowed<'r> {
    path: &'r str,
    /// As it will be stored.
    acl: Acl,
}

impl<'r> Stages for Operation<'r> {
    type Allowed = Allowed<'r>;

    fn path(&self) -> Option<Cow<'_, str>> {
        self.path.map(Cow::Borrowed)
    }

    fn allow(&self, draft: &Draft<'_>, plugins: &mut dyn Plugins, phase: Phase) -> Result<Allowed<'r>, Refusal> {
        let path = valid_path(self.path)?;
        draft.require_deployer(path)?;
        let acl = draft.fix_acl(self.acl)?;
        phase.require(draft, path, acl::ADMIN)?;
        phase.permit(draft, plugins, Verb::Acl, path)?;
        Ok(Allowed { path, acl })
    }

    fn write<'w>(&'w self, allowed: &'w Allowed<'r>) -> Write<'w> {
        Write::SetAcl { path: allowed.path, acl: &allowed.acl, version: Write::expected(self.version) }
    }

    fn carry_out(&self, draft: &mut Draft<'_>, allowed: Allowed<'r>) -> Result<Slot, Refusal> {
        let Allowed { path, acl } = allowed;
        let node = draft.node(path).ok_or(ErrorCode::NoNode)?;
        let aversion = next_version(node.aversion(), self.version)?;
        let record = node.to_record();
        Ok(draft.set_acl(Arc::from(path), record, acl, aversion))
    }
}
