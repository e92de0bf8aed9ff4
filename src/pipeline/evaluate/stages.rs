//! The stages of a client's request, in order: authorize, recipe, evaluate, validate. `Evaluator::reserve` follows.
//!
//! `operation` runs the first three stages for one operation. A multi calls `operation` for each of its operations,
//! each on the view that the operation before left. `complete` runs the last stage once for the whole transaction.
//!
//! Promises: this file has the only `match` over the operations of the protocol. A client sees ZooKeeper's errors in
//! ZooKeeper's order (PrepRequestProcessor.java).

use super::clock;
use super::draft::Draft;
use super::multi::{self, create_form};
use super::recipe::{self, Asker};
use super::{
    Ruling, check, create, delete, delete_container, manifest_integrity, reconfig, set_acl, set_data, single, transfer,
};
use crate::model::control_plane::{CLOCK, LEADER};
use crate::model::txn::{Change, Outcome, Slot};
use crate::model::{ErrorCode, Refusal, SessionId, path};
use crate::pipeline::overlay::path_of;
use crate::pipeline::view::Seen;
use crate::pipeline::{Call, Cause, Plugins, Verb, Write, authorize};
use crate::wire::request::Request;
use std::borrow::Cow;

/// What the stages do for an operation that a recipe may handle: create, delete, setData, setACL. Each has its own
/// file.
pub(crate) trait Stages {
    /// What `allow` works out for the stages behind it.
    type Allowed;

    /// The path that decides which recipe the operation belongs to. For a sequential create, zeros stand for the
    /// digits. None: the client sent a null.
    fn path(&self) -> Option<Cow<'_, str>>;

    /// Stage "authorize": checks the syntax, the path, the ACL and the policies. These must allow the operation, no
    /// matter whether a recipe or `carry_out` carries it out.
    fn allow(&self, draft: &Draft<'_>, plugins: &mut dyn Plugins, phase: Phase) -> Result<Self::Allowed, Refusal>;

    /// The operation as stage "recipe" shows it to a recipe. Called only after `allow` in `Phase::BeforeRecipe`.
    fn write<'w>(&'w self, allowed: &'w Self::Allowed) -> Write<'w>;

    /// Stage "evaluate": checks what depends on the present nodes, and lays the effects over the view.
    fn carry_out(&self, draft: &mut Draft<'_>, allowed: Self::Allowed) -> Result<Slot, Refusal>;
}

/// When `Stages::allow` is called. It decides which node's ACL counts and whether policies are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// No recipe is mounted at the path. The node whose ACL counts must exist, else NONODE.
    Direct,
    /// Before the recipe is asked. The ACL of the nearest existing ancestor counts, because a recipe may create the
    /// nodes in between. The path must be valid here, because policies and recipes at a mount are shown valid paths
    /// only.
    BeforeRecipe,
    /// The recipe has passed the operation. The ACL counts as in `Direct`, because the recipe may have changed the node
    /// or its ACL before it passed. The policies have answered before the recipe and are asked again only
    /// about a sequential create, whose digits may have changed.
    Passed,
}

impl Phase {
    /// Refuses the operation unless the ACL that counts for the node at `path` gives the caller `permission`.
    pub(crate) fn require(self, draft: &Draft<'_>, path: &str, permission: i32) -> Result<(), Refusal> {
        let node = match self {
            Phase::BeforeRecipe => nearest(draft, path),
            Phase::Direct | Phase::Passed => draft.node(path).ok_or(ErrorCode::NoNode)?,
        };
        draft.require(node.acl(), permission)
    }

    /// Refuses the operation unless the policies allow it. They are not asked again if they have answered already. To
    /// be called after `require`.
    pub(crate) fn permit(
        self,
        draft: &Draft<'_>,
        plugins: &mut dyn Plugins,
        verb: Verb,
        path: &str,
    ) -> Result<(), Refusal> {
        if self == Phase::Passed { Ok(()) } else { draft.permit(plugins, verb, path) }
    }
}

/// The node at `path`, or the nearest of its ancestors that exists.
fn nearest<'d>(draft: &'d Draft<'_>, path: &str) -> Seen<'d> {
    let mut path = path;
    loop {
        match (draft.node(path), path::parent(path)) {
            (Some(node), _) => return node,
            (None, Some(parent)) => path = parent,
            (None, None) => return draft.node("/").expect("every tree has a root"),
        }
    }
}

/// Where an operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Within {
    /// A request of its own, or one step of a controller.
    Request,
    /// One operation of a multi. `multi::is_understood` has accepted it.
    Multi,
}

/// Runs all stages for a client's request.
pub(crate) fn request(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, request: &Request) -> Ruling {
    match request {
        Request::Multi(operations) => Ruling::Outcome(multi::evaluate(draft, plugins, operations)),
        Request::Reconfig { joining, leaving, new_members, config_id } => {
            let wanted = reconfig::Wanted {
                joining: joining.as_deref(),
                leaving: leaving.as_deref(),
                new_members: new_members.as_deref(),
                from_version: *config_id,
            };
            match reconfig::plan(draft, &wanted) {
                Ok(servers) => Ruling::Reconfigure(servers),
                Err(refusal) => Ruling::Outcome(Outcome::Refused(refusal)),
            }
        }
        Request::SetData { path: Some(path), data, .. } if path == LEADER => {
            match transfer::evaluate(draft, data.as_deref().unwrap_or_default()) {
                Ok(Some(to)) => Ruling::Transfer(to),
                Ok(None) => single(Ok(Slot::Nothing)),
                Err(refusal) => single(Err(refusal)),
            }
        }
        Request::SetData { path: Some(path), data, .. } if path == CLOCK => {
            match clock::evaluate(draft, data.as_deref().unwrap_or_default()) {
                Ok(()) => Ruling::SetBackClock,
                Err(refusal) => single(Err(refusal)),
            }
        }
        request => {
            let slot = operation(draft, plugins, request, Within::Request);
            single(slot.and_then(|slot| complete_request(draft, plugins).map(|()| slot)))
        }
    }
}

/// Runs the stages authorize, recipe and evaluate for one operation. Refuses the operation that makes the transaction
/// too large.
pub(crate) fn operation(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    request: &Request,
    within: Within,
) -> Result<Slot, Refusal> {
    let slot = single_operation(draft, plugins, request, within)?;
    draft.require_weight()?;
    Ok(slot)
}

fn single_operation(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    request: &Request,
    within: Within,
) -> Result<Slot, Refusal> {
    match request {
        Request::Create(create) => {
            let form = if within == Within::Multi { create_form(create) } else { create.form };
            run(draft, plugins, &create::Operation { create, form })
        }
        Request::Delete { path, version } => {
            run(draft, plugins, &delete::Operation { path: path.as_deref(), version: *version })
        }
        Request::SetData { path, data, version } => {
            run(draft, plugins, &set_data::Operation { path: path.as_deref(), data, version: *version })
        }
        Request::SetAcl { path, acl, version } => {
            let (path, acl) = (path.as_deref(), acl.as_deref());
            run(draft, plugins, &set_acl::Operation { path, acl, version: *version })
        }
        // A check alone is unimplemented in ZooKeeper.
        Request::Check { path, version } if within == Within::Multi => {
            check::evaluate(draft, plugins, path.as_deref(), *version)
        }
        Request::CheckNotExists { path, version } => check::evaluate_absence(draft, plugins, path.as_deref(), *version),
        Request::DeleteContainer { path } => delete_container::evaluate(draft, path.as_deref()),
        // Reads, and requests about the connection itself, never come here.
        _ => Err(ErrorCode::Unimplemented.into()),
    }
}

/// Authorize, recipe, evaluate.
fn run<O: Stages>(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, operation: &O) -> Result<Slot, Refusal> {
    let Some(recipe) = recipe::of(draft, plugins, operation.path().as_deref()) else {
        let allowed = operation.allow(draft, plugins, Phase::Direct)?;
        return operation.carry_out(draft, allowed);
    };
    let allowed = operation.allow(draft, plugins, Phase::BeforeRecipe)?;
    if let Some(slot) = recipe::handle(draft, plugins, &recipe, &operation.write(&allowed))? {
        return Ok(slot);
    }
    let allowed = operation.allow(draft, plugins, Phase::Passed)?;
    operation.carry_out(draft, allowed)
}

/// The stages behind the last operation of a client's request. Recipes and validators may refuse what a client asked
/// for. They cannot refuse what the superuser or the server itself does.
pub(crate) fn complete_request(draft: &mut Draft<'_>, plugins: &mut dyn Plugins) -> Result<(), Refusal> {
    let (by, session) = match draft.caller {
        None => (Cause::Server, SessionId::NONE),
        Some(caller) if authorize::is_super(&caller.identities) => (Cause::Request, caller.session),
        Some(caller) => (Cause::Plugin, caller.session),
    };
    manifest_integrity::check(draft, plugins)?;
    complete(draft, plugins, by, session)?;
    if by == Cause::Server { Ok(()) } else { draft.require_weight() }
}

/// Tells the recipes of the transaction's changes (`recipe::tell`), then asks the validators if the transaction can be
/// refused.
pub(crate) fn complete(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    by: Cause,
    session: SessionId,
) -> Result<(), Refusal> {
    recipe::tell(draft, plugins, by, session)?;
    recipe::note_beginnings(draft, plugins);
    match by {
        Cause::Plugin => validate(draft, plugins, 0, Asker { caller: draft.caller, session, xid: draft.xid }),
        _ => Ok(()),
    }
}

/// Asks the validators about the transaction's changes from index `from` on. Validators never judge what lies under
/// `/zookeeper`. The caller makes sure that they are not asked about the superuser's changes or the server's own.
pub(crate) fn validate(
    draft: &Draft<'_>,
    plugins: &mut dyn Plugins,
    from: usize,
    asker: Asker<'_>,
) -> Result<(), Refusal> {
    let changes = &draft.changes[from..];
    let changes: Cow<'_, [Change]> = match changes.iter().all(is_judged) {
        true => Cow::Borrowed(changes),
        false => changes.iter().filter(|change| is_judged(change)).cloned().collect(),
    };
    if changes.is_empty() {
        return Ok(());
    }
    let view = draft.view();
    let writers = draft.parts.writers();
    let Asker { caller, session, xid } = asker;
    let looking = Call::looking(&view, caller, xid, draft.zxid, draft.moment);
    let fuel = &draft.parts.fuel;
    let (fuel_max, fuel_left) = (fuel.left_to_judge(), fuel.left());
    let call = Call { session, writers: &writers, fuel_max, fuel_left, ..looking };
    draft.parts.fuel.settle(plugins.validate(&call, &changes))
}

/// Whether validators judge this change.
pub(crate) fn is_judged(change: &Change) -> bool {
    path_of(change).is_some_and(|path| !path::is_servers_own(path))
}
