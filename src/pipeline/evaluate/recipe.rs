//! Recipes within a transaction: a client's write that one of them handles, and what all the others are told.
//!
//! At most one recipe handles a request, the one with the longest mount, and it does so on a savepoint: what it says no to, or
//! fails at, has not happened. Then everybody at whose mount others have changed something is told, and may answer; those
//! answers are told to others once more, and what would go on from there is refused (`limits::PLUGIN_DEPTH_MAX`).
//!
//! Some transactions cannot be refused: a session's end, collections, the superuser's. There a recipe that fails, or finds
//! the plugins' common budget used up, leaves the transaction as it was without it, and its mount is *owed*: requests
//! there are refused, until `recover` has put it in order (`chores`).

use super::blame;
use super::create::{self, CreateMode};
use super::delete::deletable_parent;
use super::draft::{Draft, Existing, parent_of, valid_path};
use super::validate;
use super::workbench::Workbench;
use crate::limits;
use crate::model::acl::AclEntry;
use crate::model::chores::{self, Owed, Place};
use crate::model::txn::{Change, Slot};
use crate::model::{ErrorCode, Owner, Refusal, SessionId, acl, path};
use crate::pipeline::overlay::path_of;
use crate::pipeline::view::Seen;
use crate::pipeline::{Answered, Call, Caller, Cause, Handled, Plugins, ReadView, Recipe, Verb, Write, authorize};
use crate::wire::request::{Create, CreateForm, Request};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who asks, as a call shows it.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub caller: Option<&'a Caller>,
    pub session: SessionId,
    pub xid: i32,
}

impl Asker<'_> {
    pub const NOBODY: Asker<'static> = Asker { caller: None, session: SessionId::NONE, xid: 0 };
}

/// One operation of a request: by the recipe at whose mount it is, or else, and if that passes it, by `plain`.
pub fn first(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    request: &Request,
    form: CreateForm,
    plain: impl FnOnce(&mut Draft<'_>, &mut dyn Plugins) -> Result<Slot, Refusal>,
) -> Result<Slot, Refusal> {
    draft.passed = false;
    if let Some(recipe) = of(draft, plugins, request) {
        if let Some(slot) = handle(draft, plugins, &recipe, request, form)? {
            return Ok(slot);
        }
        draft.passed = true;
    }
    plain(draft, plugins)
}

/// The recipe that handles that client's write, if there is one. The superuser's writes, and the server's own, are changes
/// by others.
fn of(draft: &Draft<'_>, plugins: &mut dyn Plugins, request: &Request) -> Option<Arc<Recipe>> {
    let caller = draft.caller?;
    let path = match request {
        Request::Create(create) => create.path.as_deref(),
        Request::Delete { path, .. } | Request::SetData { path, .. } | Request::SetAcl { path, .. } => path.as_deref(),
        _ => None,
    }?;
    plugins.recipe(path).filter(|_| !authorize::is_super(&caller.identities))
}

/// Asks the recipe. None: it passes the request, which is to be carried out as if there were no recipe. `form`: what a
/// create counts as.
fn handle(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    recipe: &Recipe,
    request: &Request,
    form: CreateForm,
) -> Result<Option<Slot>, Refusal> {
    let any_version = |version: i32| (version != -1).then_some(version);
    match request {
        Request::Create(create) => {
            let (acl, kind) = create_allowed(draft, plugins, create, form)?;
            let write = Write::Create {
                path: create.path.as_deref().unwrap_or_default(),
                data: create.data.as_deref().unwrap_or_default(),
                kind: kind.owner.kind(),
                sequential: kind.sequential,
                acl: &acl,
            };
            ask(draft, plugins, recipe, &write)
        }
        Request::Delete { path, version } => {
            let path = valid_path(path)?;
            let parent = deletable_parent(path)?;
            draft.require(nearest(draft, parent).acl(), acl::DELETE)?;
            draft.permit(plugins, Verb::Delete, path)?;
            ask(draft, plugins, recipe, &Write::Delete { path, version: any_version(*version) })
        }
        Request::SetData { path, data, version } => {
            let path = valid_path(path)?;
            draft.require(nearest(draft, path).acl(), acl::WRITE)?;
            draft.permit(plugins, Verb::Set, path)?;
            let data = data.as_deref().unwrap_or_default();
            ask(draft, plugins, recipe, &Write::SetData { path, data, version: any_version(*version) })
        }
        Request::SetAcl { path, acl, version } => {
            let path = valid_path(path)?;
            let acl = draft.fix_acl(acl.as_deref())?;
            draft.require(nearest(draft, path).acl(), acl::ADMIN)?;
            draft.permit(plugins, Verb::Acl, path)?;
            ask(draft, plugins, recipe, &Write::SetAcl { path, acl: &acl, version: any_version(*version) })
        }
        _ => Ok(None),
    }
}

struct CreateKind {
    owner: Owner,
    sequential: bool,
}

fn create_allowed(
    draft: &Draft<'_>,
    plugins: &mut dyn Plugins,
    create: &Create,
    form: CreateForm,
) -> Result<(Arc<[AclEntry]>, CreateKind), Refusal> {
    let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BadArguments)?;
    let owner = create::owner(draft, create, form, mode)?;
    let requested = create.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
    let parent = parent_of(requested)?;
    // Digits come behind a sequential one, so it may end with a slash.
    let valid = match mode.sequential {
        true => path::validate(&format!("{requested}0")),
        false => path::validate(requested),
    };
    valid.map_err(|_| ErrorCode::BadArguments)?;
    let acl = draft.fix_acl(create.acl.as_deref())?;
    draft.require(nearest(draft, parent).acl(), acl::CREATE)?;
    draft.permit(plugins, Verb::Create, &create::judged_by(requested))?;
    Ok((acl, CreateKind { owner, sequential: mode.sequential }))
}

/// The node, or the nearest of its ancestors that is there: a recipe may make those between.
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

fn ask(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    recipe: &Recipe,
    write: &Write<'_>,
) -> Result<Option<Slot>, Refusal> {
    require_order(draft, recipe, write.path())?;
    let caller = draft.caller;
    let session = caller.map_or(SessionId::NONE, |caller| caller.session);
    let asker = Asker { caller, session, xid: draft.xid };
    let handled = call(draft, recipe, asker, |call| plugins.handle(recipe, call, write))?;
    Ok(match (handled, write) {
        (Handled::Pass, _) => None,
        (Handled::Done(_), Write::Delete { .. }) => Some(Slot::Nothing),
        (Handled::Done(path), _) => Some(Slot::Path(path)),
    })
}

/// One call of a recipe, with hands on the transaction: what it did stands if it answers, and else has not happened. With no
/// fuel left it is refused by `plugins`, which count that.
pub fn call<T>(
    draft: &mut Draft<'_>,
    recipe: &Recipe,
    asker: Asker<'_>,
    ask: impl FnOnce(&Call<'_>) -> Answered<T>,
) -> Result<T, Refusal> {
    let fuel_max = draft.parts.fuel.left();
    let savepoint = draft.savepoint();
    let writers = draft.parts.writers();
    let (zxid, moment) = (draft.zxid, draft.moment);
    draft.begin_part(recipe);
    let answered = {
        let workbench = Workbench::new(draft, &recipe.name);
        let Asker { caller, session, xid } = asker;
        let looking = Call::looking(&workbench, caller, xid, zxid, moment);
        ask(&Call { writer: Some(&workbench), session, writers: &writers, fuel_max, ..looking })
    };
    draft.end_part(recipe, answered.fuel);
    draft.parts.fuel.settle(answered).inspect_err(|_| draft.rollback(savepoint))
}

/// Tells the recipes what others have changed at their mounts, and lets them answer. `by`: whose the transaction is.
///
/// An error refuses the transaction; there is none where that cannot be refused, which is everywhere but with a client's
/// own request or call (`Cause::Plugin`: only what plugins made of it is told).
pub fn tell(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, by: Cause, session: SessionId) -> Result<(), Refusal> {
    if by == Cause::Plugin && draft.parts.is_empty() {
        return Ok(());
    }
    let (mut from, mut cause) = (0, by);
    for depth in 0.. {
        let until = draft.changes.len();
        let told = hit(draft, plugins, from, until, cause);
        if told.is_empty() {
            break;
        }
        for (recipe, changes) in told.into_values() {
            let answered = match depth {
                limits::PLUGIN_DEPTH_MAX.. => Err(too_deep(&recipe)),
                _ => answer(draft, plugins, &recipe, cause, session, &changes, by),
            };
            match answered {
                Err(refusal) if by == Cause::Plugin => return Err(refusal),
                Err(_) => owe(draft, &recipe.name),
                Ok(()) => {}
            }
        }
        (from, cause) = (until, Cause::Plugin);
    }
    Ok(())
}

fn too_deep(recipe: &Recipe) -> Refusal {
    let text = format!(
        "{}: {}: recipes answer each other's changes to depth {} only",
        recipe.name,
        recipe.mount,
        limits::PLUGIN_DEPTH_MAX
    );
    Refusal::new(ErrorCode::SystemError, text)
}

/// What others have changed at whose mount, by recipes' names.
fn hit(
    draft: &Draft<'_>,
    plugins: &mut dyn Plugins,
    from: usize,
    until: usize,
    cause: Cause,
) -> BTreeMap<Arc<str>, (Arc<Recipe>, Vec<Change>)> {
    let mut hit: BTreeMap<Arc<str>, (Arc<Recipe>, Vec<Change>)> = BTreeMap::new();
    for (at, change) in draft.changes[..until].iter().enumerate().skip(from) {
        let author = draft.parts.author(at);
        // What a client's request changed itself, the recipe has passed.
        if author.is_none() && cause == Cause::Plugin {
            continue;
        }
        let Some(recipe) = path_of(change).and_then(|path| plugins.recipe(path)) else { continue };
        if author != Some(&recipe.name) {
            hit.entry(recipe.name.clone()).or_insert_with(|| (recipe, Vec::new())).1.push(change.clone());
        }
    }
    hit
}

fn answer(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    recipe: &Recipe,
    cause: Cause,
    session: SessionId,
    changes: &[Change],
    by: Cause,
) -> Result<(), Refusal> {
    if changes.len() > limits::PLUGIN_CHANGES_MAX {
        // `recover` looks at the whole mount, which is then cheaper.
        owe(draft, &recipe.name);
        return Ok(());
    }
    if owed(draft, &recipe.name).is_some_and(|owed| owed.after.is_none()) {
        // Putting in order has not begun, and will find what there is.
        return Ok(());
    }
    let savepoint = draft.savepoint();
    let caller = draft.caller.filter(|_| matches!(by, Cause::Plugin | Cause::Request));
    let asker = Asker { caller, session, xid: draft.xid };
    let begun = draft.changes.len();
    call(draft, recipe, asker, |call| plugins.on_change(recipe, call, cause, changes))?;
    // Of what can be refused validators judge the whole, in the end.
    let judged = match by {
        Cause::Plugin => Ok(()),
        _ => validate(draft, plugins, begun, Asker::NOBODY),
    };
    judged.inspect_err(|_| draft.rollback(savepoint))
}

/// Whether requests may come to the recipe; `about` is the path that is asked about.
pub fn require_order(draft: &Draft<'_>, recipe: &Recipe, about: &str) -> Result<(), Refusal> {
    if !is_owed(draft, &recipe.name) {
        return Ok(());
    }
    let text = format!("{}: {about}: {} is being put in order, try again", recipe.name, recipe.mount);
    Err(Refusal::new(ErrorCode::OperationTimeout, text))
}

/// Whether the recipe's mount must be put in order first.
pub fn is_owed(draft: &Draft<'_>, plugin: &str) -> bool {
    draft.node(&chores::owed_path(plugin)).is_some()
}

/// How far putting a mount in order has come, if it must be.
pub fn owed(draft: &Draft<'_>, plugin: &str) -> Option<Owed> {
    let node = ReadView::node(&draft.view(), &chores::owed_path(plugin))?;
    Some(Owed::parse(&node.data.unwrap_or_default()))
}

/// The recipe's mount must be put in order, from the beginning.
pub fn owe(draft: &mut Draft<'_>, plugin: &str) {
    match owed(draft, plugin) {
        Some(Owed { after: None, .. }) => {}
        Some(begun) => note_owed(draft, plugin, &Owed { after: None, ..begun }),
        None => owe_at_once(draft, plugin),
    }
}

/// As `owe`, whatever has failed before.
fn owe_at_once(draft: &mut Draft<'_>, plugin: &str) {
    let since = owed(draft, plugin).map_or(draft.zxid.0, |owed| owed.since);
    note_owed(draft, plugin, &Owed { since, epoch: draft.zxid.epoch(), after: None, attempts: 0, due: 0 });
}

pub fn note_owed(draft: &mut Draft<'_>, plugin: &str, owed: &Owed) {
    draft.put(&chores::owed_path(plugin), owed.text().into(), Existing::Set);
}

/// A recipe that is put to work, anew or otherwise than before, first puts its mount in order, unless that is empty. So does
/// one whose quarantine ends, where something is owed. Both at once: that it failed before says nothing any more.
pub fn note_beginnings(draft: &mut Draft<'_>, plugins: &mut dyn Plugins) {
    for at in 0..draft.changes.len() {
        match &draft.changes[at] {
            Change::Create { path, data, .. } | Change::SetData { path, data, .. } => {
                let Some(Place::Manifest { plugin }) = chores::place(path) else { continue };
                let Some(mount) = plugins.starts_recipe(data.as_deref().unwrap_or_default()) else { continue };
                let plugin = plugin.to_owned();
                if is_owed(draft, &plugin) || draft.node(&mount).is_some_and(|mount| mount.has_children()) {
                    // It may have been removed again by the same transaction; then there is nothing to be put under.
                    owe_at_once(draft, &plugin);
                }
            }
            Change::Delete { path } => {
                let Some(plugin) = blame::released(path).map(str::to_owned) else { continue };
                if is_owed(draft, &plugin) {
                    owe_at_once(draft, &plugin);
                }
            }
            _ => {}
        }
    }
}
