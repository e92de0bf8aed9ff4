//! The operations that a controller has decided on. They are ordinary operations of the identity `plugin:<name>`. All
//! of them take effect or none, and only if nothing that the controller read has changed since.

use super::draft::Draft;
use super::stages::{self, Within, complete};
use super::workbench::Workbench;
use crate::model::chores::{self, Timer};
use crate::model::{Refusal, SessionId};
use crate::pipeline::reconcile::{Reconciled, Step};
use crate::pipeline::{Cause, Plugins, ReadView, TreeWriter};
use std::sync::Arc;

/// Whether everything that the controller read is still as it was.
pub(crate) fn is_current(draft: &Draft<'_>, work: &Reconciled) -> bool {
    work.conditions.iter().all(|condition| condition.holds(&draft.view()))
}

/// Carries out the controller's operations and the changes of its timers.
pub(crate) fn evaluate(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, work: &Reconciled) -> Result<(), Refusal> {
    draft.parts.note_maker(&work.plugin, work.version, work.fuel);
    // Deleted before the steps, because one of them may set the timer again.
    let timer = chores::timer_path(&work.plugin, &work.path);
    let due = ReadView::node(&draft.view(), &timer).and_then(|node| Timer::parse(&node.data.unwrap_or_default()));
    if due.is_some_and(|timer| timer.due_ms <= draft.moment.ensemble_ms) {
        draft.delete(Arc::from(timer));
    }
    for step in &work.steps {
        match step {
            Step::Request(request) => drop(stages::operation(draft, plugins, request, Within::Request)?),
            Step::SetTimer { name, after_ms } => Workbench::new(draft, &work.plugin).set_timer(name, *after_ms)?,
            Step::CancelTimer { name } => Workbench::new(draft, &work.plugin).cancel_timer(name),
        }
    }
    complete(draft, plugins, Cause::Plugin, SessionId::NONE)?;
    draft.require_weight()
}
