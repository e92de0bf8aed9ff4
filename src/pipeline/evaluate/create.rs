//! create, create2, createContainer, createTTL, and ClickHouse's createIfNotExists.
//!
//! The order of the checks decides which error a client sees if several apply. It is the order of
//! PrepRequestProcessor.pRequest2TxnCreate. The opcode, not the flags, makes a node a container or gives it a TTL.
//! Outside a multi, an ordinary create with the flags of a container makes an ordinary node, and one with the flags of
//! a TTL node is refused.

use super::draft::{Draft, parent_of};
use super::stages::{Phase, Stages};
use crate::limits;
use crate::model::owner::TTL_MS_MAX;
use crate::model::txn::Slot;
use crate::model::{Acl, ErrorCode, NodeKind, Owner, Refusal, acl, path};
use crate::pipeline::{Plugins, Verb, Write};
use crate::wire::request::{Create, CreateForm};
use std::borrow::Cow;
use std::sync::Arc;

pub(crate) struct Operation<'r> {
    pub create: &'r Create,
    /// What the operation counts as. Within a multi this may differ from `create.form` (`multi::create_form`).
    pub form: CreateForm,
}

pub(crate) struct Allowed<'r> {
    /// The path as the client wrote it, without the digits of a sequential node.
    requested: &'r str,
    sequential: bool,
    owner: Owner,
    /// As it will be stored.
    acl: Acl,
}

/// What a client asked for by its flags (CreateMode.java).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CreateMode {
    pub(crate) ephemeral: bool,
    pub(crate) sequential: bool,
    pub(crate) container: bool,
    pub(crate) ttl: bool,
}

impl CreateMode {
    pub(crate) const fn from_flags(flags: i32) -> Option<CreateMode> {
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

impl<'r> Stages for Operation<'r> {
    type Allowed = Allowed<'r>;

    fn path(&self) -> Option<Cow<'_, str>> {
        let requested = self.create.path.as_deref()?;
        let sequential = CreateMode::from_flags(self.create.flags).is_some_and(|mode| mode.sequential);
        Some(if sequential { Cow::Owned(numbered(requested, 0)) } else { Cow::Borrowed(requested) })
    }

    fn allow(&self, draft: &Draft<'_>, plugins: &mut dyn Plugins, phase: Phase) -> Result<Allowed<'r>, Refusal> {
        let mode = CreateMode::from_flags(self.create.flags).ok_or(ErrorCode::BadArguments)?;
        let owner = owner(draft, self.create, self.form, mode)?;
        let requested = self.create.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
        let parent_path = parent_of(requested)?;
        if phase == Phase::BeforeRecipe {
            valid_once_numbered(requested, mode.sequential)?;
        }
        let made = made_path(draft, requested, mode.sequential)?;
        draft.require_deployer(&made)?;
        let acl = draft.fix_acl(self.create.acl.as_deref())?;
        phase.require(draft, parent_path, acl::CREATE)?;
        // The recipe may have created siblings, and then the digits are others than those that the policies have
        // allowed.
        let phase = if mode.sequential && phase == Phase::Passed { Phase::Direct } else { phase };
        phase.permit(draft, plugins, Verb::Create, &made)?;
        Ok(Allowed { requested, sequential: mode.sequential, owner, acl })
    }

    fn write<'w>(&'w self, allowed: &'w Allowed<'r>) -> Write<'w> {
        Write::Create {
            path: allowed.requested,
            data: self.create.data.as_deref().unwrap_or_default(),
            kind: allowed.owner.kind(),
            sequential: allowed.sequential,
            acl: &allowed.acl,
        }
    }

    fn carry_out(&self, draft: &mut Draft<'_>, allowed: Allowed<'r>) -> Result<Slot, Refusal> {
        let Allowed { requested, sequential, owner, acl } = allowed;
        let parent = draft.node(parent_of(requested)?).ok_or(ErrorCode::NoNode)?;
        let path: Arc<str> = match sequential {
            true => Arc::from(numbered(requested, parent.cversion())),
            false => Arc::from(requested),
        };
        path::validate(&path).map_err(|_| ErrorCode::BadArguments)?;
        require_length(&path)?;
        if draft.node(&path).is_some() {
            return match self.form {
                CreateForm::IfNotExists => Ok(Slot::Path(requested.to_owned())),
                _ => Err(ErrorCode::NodeExists.into()),
            };
        }
        if parent.owner().is_ephemeral() {
            return Err(ErrorCode::NoChildrenForEphemerals.into());
        }
        let bytes = self.create.data.as_ref().map_or(0, |data| data.len() as i64);
        draft.check_quota(&path, 1, bytes)?;
        Ok(draft.create(path, self.create.data.clone(), acl, owner))
    }
}

/// The path of the node that the create would make now. Policies judge this path. A sequential node below a parent that
/// does not exist yet gets ten zeros: a recipe may still create the parent.
fn made_path<'p>(draft: &Draft<'_>, requested: &'p str, sequential: bool) -> Result<Cow<'p, str>, ErrorCode> {
    if !sequential {
        return Ok(Cow::Borrowed(requested));
    }
    let number = draft.node(parent_of(requested)?).map_or(0, |parent| parent.cversion());
    Ok(Cow::Owned(numbered(requested, number)))
}

/// BADARGUMENTS if the path of a new node is too long.
pub(super) fn require_length(path: &str) -> Result<(), Refusal> {
    if path.len() <= limits::PATH_BYTES_MAX {
        return Ok(());
    }
    let text = format!("the path has {} bytes, and may have {}", path.len(), limits::PATH_BYTES_MAX);
    Err(Refusal::new(ErrorCode::BadArguments, text))
}

/// The path of a sequential node.
fn numbered(requested: &str, number: i32) -> String {
    format!("{requested}{number:010}")
}

/// Refuses a path that will not be valid. The path of a sequential node may end with a slash, because digits follow.
fn valid_once_numbered(requested: &str, sequential: bool) -> Result<(), ErrorCode> {
    let valid = match sequential {
        true => path::validate(&format!("{requested}0")),
        false => path::validate(requested),
    };
    valid.map_err(|_| ErrorCode::BadArguments)
}

/// The owner field of the new node, or why the node cannot be of the kind that the client asked for.
fn owner(draft: &Draft<'_>, create: &Create, form: CreateForm, mode: CreateMode) -> Result<Owner, ErrorCode> {
    if mode.ttl && !draft.rules.extended_types {
        return Err(ErrorCode::Unimplemented);
    }
    let ttl_ms = if form == CreateForm::Ttl { create.ttl_ms } else { -1 };
    let ttl_is_good = match mode.ttl {
        true => (1..=TTL_MS_MAX).contains(&ttl_ms),
        // ZooKeeper accepts a negative TTL for createTTL with another mode, and then fails with an exception.
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
            // Session ids that look like another kind of owner are never given out.
            debug_assert_eq!(owner.kind(), NodeKind::Ephemeral(caller.session));
            owner
        }
        CreateForm::Create | CreateForm::Create2 | CreateForm::IfNotExists => Owner::PERSISTENT,
    })
}
