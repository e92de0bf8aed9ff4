//! Recipes within a transaction: how a recipe handles a client's write, and how recipes hear of the changes of others.
//!
//! At most one recipe handles a request: the recipe with the longest mount. It works on a savepoint, so what it refuses
//! or fails at has not happened. Then each recipe at whose mount others have changed something is told, and may make
//! changes of its own. Recipes are told of those changes once more. A transaction that would go on from there is
//! refused (`limits::PLUGIN_DEPTH_MAX`).
//!
//! Some transactions cannot be refused: a session's end, collections, the superuser's requests. If a recipe fails
//! there, or the plugins' common budget is used up, the transaction stays as it is without the recipe, and the recipe's
//! mount is *owed*: requests at the mount are refused until `recover` has put the mount in order (`chores`).

use super::blame;
use super::draft::{Draft, Existing};
use super::stages::validate;
use super::workbench::Workbench;
use crate::limits;
use crate::model::chores::{self, Owed, Place};
use crate::model::txn::{Change, Slot};
use crate::model::{ErrorCode, Refusal, SessionId};
use crate::pipeline::overlay::path_of;
use crate::pipeline::{Answered, Call, Caller, Cause, Handled, Plugins, ReadView, Recipe, Write, authorize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The request behind a call, as the recipe sees it.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) caller: Option<&'a Caller>,
    pub(crate) session: SessionId,
    pub(crate) xid: i32,
}

impl Asker<'_> {
    /// There is no request.
    pub(crate) const NOBODY: Asker<'static> = Asker { caller: None, session: SessionId::NONE, xid: 0 };
}

/// The recipe that handles a client's write at `path`, if there is one. The superuser's writes and the server's own are
/// changes by others, which no recipe handles.
pub(crate) fn of(draft: &Draft<'_>, plugins: &mut dyn Plugins, path: Option<&str>) -> Option<Arc<Recipe>> {
    let caller = draft.caller?;
    plugins.recipe(path?).filter(|_| !authorize::is_super(&caller.identities))
}

/// Stage "recipe": asks the recipe to handle a client's write. None: the recipe passes the write, which is then carried
/// out as if there were no recipe.
pub(crate) fn handle(
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

/// Calls a recipe once and lets it change the transaction. If the recipe answers, its changes stand. If it refuses or
/// fails, they are undone. `Plugins` refuses the call if no fuel is left, and counts that.
pub(crate) fn call<T>(
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

/// Tells the recipes what others have changed at their mounts, and lets them change more. `by`: who makes the
/// transaction.
///
/// `Cause::Plugin` stands for a client's own request or call. There, recipes are told only of what plugins have
/// changed, and an error refuses the transaction. With any other cause the transaction cannot be refused, and there is
/// no error.
pub(crate) fn tell(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    by: Cause,
    session: SessionId,
) -> Result<(), Refusal> {
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

/// The recipes at whose mounts others have made changes `from..until`, with those changes. By the recipes' names.
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
        // The recipe has passed the client's request, so it knows what the request itself changed.
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

/// Tells one recipe of changes at its mount, on a savepoint.
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
        // For so many changes it is cheaper that `recover` looks at the whole mount.
        owe(draft, &recipe.name);
        return Ok(());
    }
    if owed(draft, &recipe.name).is_some_and(|owed| owed.after.is_none()) {
        // The recovery has not begun. It will find the present nodes.
        return Ok(());
    }
    let savepoint = draft.savepoint();
    let caller = draft.caller.filter(|_| matches!(by, Cause::Plugin | Cause::Request));
    let asker = Asker { caller, session, xid: draft.xid };
    let begun = draft.changes.len();
    call(draft, recipe, asker, |call| plugins.on_change(recipe, call, cause, changes))?;
    // If the transaction can be refused, validators judge all of it at the end.
    let judged = match by {
        Cause::Plugin => Ok(()),
        _ => validate(draft, plugins, begun, Asker::NOBODY),
    };
    judged.inspect_err(|_| draft.rollback(savepoint))
}

/// OPERATIONTIMEOUT while the recipe's mount is owed. `about`: the path of the request.
pub(crate) fn require_order(draft: &Draft<'_>, recipe: &Recipe, about: &str) -> Result<(), Refusal> {
    if !is_owed(draft, &recipe.name) {
        return Ok(());
    }
    let text = format!("{}: {about}: {} is being put in order, try again", recipe.name, recipe.mount);
    Err(Refusal::new(ErrorCode::OperationTimeout, text))
}

/// Whether the recipe's mount must be put in order before requests may come to it.
pub(crate) fn is_owed(draft: &Draft<'_>, plugin: &str) -> bool {
    draft.node(&chores::owed_path(plugin)).is_some()
}

/// How far the recovery of an owed mount has come. None: the mount is not owed.
pub(crate) fn owed(draft: &Draft<'_>, plugin: &str) -> Option<Owed> {
    let node = ReadView::node(&draft.view(), &chores::owed_path(plugin))?;
    Some(Owed::parse(&node.data.unwrap_or_default()))
}

/// Notes that the recipe's mount must be put in order, from the beginning. A recovery that keeps failing keeps its
/// pause.
pub(crate) fn owe(draft: &mut Draft<'_>, plugin: &str) {
    match owed(draft, plugin) {
        Some(Owed { after: None, .. }) => {}
        Some(begun) => note_owed(draft, plugin, &Owed { after: None, ..begun }),
        None => owe_at_once(draft, plugin),
    }
}

/// As `owe`, but the recovery starts at once, however often it has failed before.
fn owe_at_once(draft: &mut Draft<'_>, plugin: &str) {
    let since = owed(draft, plugin).map_or(draft.zxid.0, |owed| owed.since);
    note_owed(draft, plugin, &Owed { since, epoch: draft.zxid.epoch(), after: None, attempts: 0, due: 0 });
}

/// Writes the node that says how far the recovery has come.
pub(crate) fn note_owed(draft: &mut Draft<'_>, plugin: &str, owed: &Owed) {
    draft.put(&chores::owed_path(plugin), owed.text().into(), Existing::Set);
}

/// Owes the mounts of recipes that start to work in this transaction.
///
/// A recipe whose manifest is written first puts its mount in order, unless the mount is empty. So does a recipe whose
/// quarantine ends, if its mount is owed. Both start at once, because earlier failures say nothing about the new start.
pub(crate) fn note_beginnings(draft: &mut Draft<'_>, plugins: &mut dyn Plugins) {
    for at in 0..draft.changes.len() {
        match &draft.changes[at] {
            Change::Create { path, data, .. } | Change::SetData { path, data, .. } => {
                let Some(Place::Manifest { plugin }) = chores::place(path) else { continue };
                let Some(mount) = plugins.starts_recipe(data.as_deref().unwrap_or_default()) else { continue };
                let plugin = plugin.to_owned();
                if is_owed(draft, &plugin) || draft.node(&mount).is_some_and(|mount| mount.has_children()) {
                    // If the same transaction has removed the plugin again, `Draft::put` does nothing.
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
