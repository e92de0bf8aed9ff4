//! Calls of recipes that belong to no client's request: timers that are due, mounts that must be put in order, native
//! calls.
//!
//! Each call is a transaction of its own. Other recipes are told of its changes, and validators judge them. A call that
//! fails has changed nothing. A timer that failed fires again and a recovery step is repeated, each time after a longer
//! pause.

use super::draft::{Draft, Existing};
use super::recipe::{self, Asker, call, is_owed, note_owed, owed, tell};
use super::stages::validate;
use crate::limits;
use crate::model::chores::{self, Owed, Timer};
use crate::model::{ErrorCode, Refusal, SessionId};
use crate::pipeline::{Cause, Plugins, ReadView, Verb};
use bytes::Bytes;
use std::sync::Arc;

/// Fires a timer. False: the timer is gone or not due yet, or its recipe is not at work or must first be put in order.
pub(crate) fn timer(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, plugin: &str, name: &str) -> bool {
    let path = chores::timer_path(plugin, name);
    let node = ReadView::node(&draft.view(), &path);
    let timer = node.and_then(|node| Timer::parse(&node.data.unwrap_or_default()));
    let now_ms = draft.moment.ensemble_ms;
    let Some(timer) = timer.filter(|timer| timer.due_ms <= now_ms) else { return false };
    let Some(recipe) = plugins.recipe_named(plugin).filter(|_| !is_owed(draft, plugin)) else { return false };
    let savepoint = draft.savepoint();
    // Deleted before the call, because the recipe may set the timer again.
    draft.delete(Arc::from(path.as_str()));
    let fired = call(draft, &recipe, Asker::NOBODY, |call| plugins.on_timer(&recipe, call, name));
    if fired.and_then(|()| complete(draft, plugins, Asker::NOBODY)).is_err() {
        draft.rollback(savepoint);
        draft.put(&path, timer.failed(now_ms).text().into(), Existing::Set);
    }
    true
}

/// Makes the next step in putting a mount in order. False: the mount is not owed or its pause is not over, or the
/// recipe is not at work.
pub(crate) fn recover(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, plugin: &str) -> bool {
    let now_ms = draft.moment.ensemble_ms;
    let Some(begun) = owed(draft, plugin).filter(|owed| owed.due <= now_ms) else { return false };
    let Some(recipe) = plugins.recipe_named(plugin) else { return false };
    let savepoint = draft.savepoint();
    let epoch = draft.zxid.epoch();
    let after = begun.after.clone().filter(|_| begun.epoch == epoch);
    let step = call(draft, &recipe, Asker::NOBODY, |call| plugins.recover(&recipe, call, after.as_deref()));
    let made = step.and_then(|next| {
        // Noted before other recipes are told, so that this recipe is told in turn if they change its mount.
        match next {
            None => draft.delete(Arc::from(chores::owed_path(plugin))),
            Some(next) if next.len() > limits::PLUGIN_TIMER_NAME_BYTES_MAX => {
                return Err(ErrorCode::SystemError.into());
            }
            Some(next) => {
                let after = Some(next);
                note_owed(draft, plugin, &Owed { after, epoch, attempts: 0, due: 0, ..begun.clone() });
            }
        }
        complete(draft, plugins, Asker::NOBODY)
    });
    if made.is_err() {
        draft.rollback(savepoint);
        let attempts = begun.attempts.saturating_add(1);
        let due = now_ms.saturating_add(chores::back_off_ms(attempts));
        note_owed(draft, plugin, &Owed { after, epoch, attempts, due, ..begun });
    }
    true
}

/// Makes a native call. Returns what the recipe returned.
pub(crate) fn native(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    plugin: &str,
    method: &str,
    payload: &[u8],
) -> Result<Bytes, Refusal> {
    let recipe = plugins
        .recipe_named(plugin)
        .ok_or_else(|| Refusal::new(ErrorCode::NoNode, format!("{plugin}: there is no recipe of that name at work")))?;
    draft.permit(plugins, Verb::Call, &recipe.mount)?;
    recipe::require_order(draft, &recipe, &recipe.mount)?;
    let asker = Asker { caller: draft.caller, ..Asker::NOBODY };
    let reply = call(draft, &recipe, asker, |call| plugins.on_call(&recipe, call, method, payload))?;
    complete(draft, plugins, asker)?;
    Ok(reply)
}

/// Tells other recipes of the recipe's changes and asks the validators. An error refuses all of the changes.
fn complete(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, asker: Asker<'_>) -> Result<(), Refusal> {
    tell(draft, plugins, Cause::Plugin, SessionId::NONE)?;
    draft.require_weight()?;
    validate(draft, plugins, 0, asker)
}
