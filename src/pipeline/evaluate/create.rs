//! create, create2, createContainer, createTTL, and ClickHouse's createIfNotExists.
//!
//! The order of the checks decides which error a client sees where several apply; it is that of
//! PrepRequestProcessor.pRequest2TxnCreate. It is the opcode that makes a node a container or gives it a time to live:
//! the flags for those on an ordinary create outside a multi make an ordinary node, or an error.

use super::draft::{Draft, parent_of};
use crate::model::owner::TTL_MS_MAX;
use crate::model::txn::Slot;
use crate::model::{ErrorCode, NodeKind, Owner, Refusal, acl, path};
use crate::pipeline::{Plugins, Verb};
use crate::wire::request::{Create, CreateForm};
use std::borrow::Cow;
use std::sync::Arc;

/// What a client asked for by its flags (CreateMode.java).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateMode {
    pub ephemeral: bool,
    pub sequential: bool,
    pub container: bool,
    pub ttl: bool,
}

impl CreateMode {
    pub const fn from_flags(flags: i32) -> Option<CreateMode> {
        let plain = CreateMode { ephemeral: false, sequential: false, container: false, ttl: false };
        Some(match flags {
            0 => plain,
            1 => CreateMode { ephemeral: true, ..plain },
            2 => CreateMode { sequential: true, ..plain },
            3 => CreateMode { ephemeral: true, sequential: true, ..plain },
            4 => CreateMode { container: true, ..plain },
            5 => CreateMode { ttl: true, ..plain },
            6 => CreateMode { ttl: true, sequential: true, ..plain },
            _ => return None,
        })
    }
}

/// The path by which policies judge a creation: as the client wrote it. But where all of the name will be digits that are
/// not known yet, that would be the parent, with a slash behind: then ten zeros stand for them.
pub fn judged_by(requested: &str) -> Cow<'_, str> {
    if requested.ends_with('/') { Cow::Owned(format!("{requested}0000000000")) } else { Cow::Borrowed(requested) }
}

/// `form`: what the operation counts as, which within a multi may differ from `create.form`.
pub fn evaluate(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    create: &Create,
    form: CreateForm,
) -> Result<Slot, Refusal> {
    let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BadArguments)?;
    let owner = owner(draft, create, form, mode)?;
    let requested = create.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
    let parent_path = parent_of(requested)?;
    draft.require_deployer(requested)?;
    let acl = draft.fix_acl(create.acl.as_deref())?;

    let parent = draft.node(parent_path).ok_or(ErrorCode::NoNode)?;
    draft.require(parent.acl(), acl::CREATE)?;
    draft.permit(plugins, Verb::Create, &judged_by(requested))?;
    let path: Arc<str> = match mode.sequential {
        true => Arc::from(format!("{requested}{:010}", parent.cversion())),
        false => Arc::from(requested),
    };
    path::validate(&path).map_err(|_| ErrorCode::BadArguments)?;
    if draft.node(&path).is_some() {
        return match form {
            CreateForm::IfNotExists => Ok(Slot::Path(requested.to_owned())),
            _ => Err(ErrorCode::NodeExists.into()),
        };
    }
    if parent.owner().is_ephemeral() {
        return Err(ErrorCode::NoChildrenForEphemerals.into());
    }
    let bytes = create.data.as_ref().map_or(0, |data| data.len() as i64);
    draft.check_quota(&path, 1, bytes)?;
    Ok(draft.create(path, create.data.clone(), acl, owner))
}

/// Whose the node will be, or why it cannot be.
pub fn owner(draft: &Draft<'_>, create: &Create, form: CreateForm, mode: CreateMode) -> Result<Owner, ErrorCode> {
    if mode.ttl && !draft.rules.extended_types {
        return Err(ErrorCode::Unimplemented);
    }
    let ttl_ms = if form == CreateForm::Ttl { create.ttl_ms } else { -1 };
    let ttl_is_good = match mode.ttl {
        true => (1..=TTL_MS_MAX).contains(&ttl_ms),
        // ZooKeeper lets a negative time pass for createTTL with another mode, and dies of it.
        false => form != CreateForm::Ttl,
    };
    if !ttl_is_good {
        return Err(ErrorCode::BadArguments);
    }
    Ok(match form {
        CreateForm::Container => Owner::CONTAINER,
        CreateForm::Ttl => Owner::ttl(ttl_ms),
        CreateForm::Create | CreateForm::Create2 | CreateForm::IfNotExists if mode.ephemeral => {
            let caller = draft.caller.ok_or(ErrorCode::SessionExpired)?;
            if caller.local {
                return Err(ErrorCode::EphemeralOnLocalSession);
            }
            let owner = Owner::session(caller.session);
            // Ids that look like another kind of owner are never given out.
            debug_assert_eq!(owner.kind(), NodeKind::Ephemeral(caller.session));
            owner
        }
        CreateForm::Create | CreateForm::Create2 | CreateForm::IfNotExists => Owner::PERSISTENT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern for what lies below a node matches none that ends with the slash behind it.
    #[test]
    fn a_name_of_digits_alone_is_judged_as_a_name() {
        assert_eq!(judged_by("/a/"), "/a/0000000000");
        assert_eq!((judged_by("/a/x-"), judged_by("/a")), ("/a/x-".into(), "/a".into()));
    }
}
