//! What a controller has worked out: ordinary operations of the identity `plugin:<name>`, all or none, if nothing that it
//! looked at has changed.

use super::draft::Draft;
use super::workbench::Workbench;
use super::{complete, evaluate_one};
use crate::model::chores::{self, Timer};
use crate::model::{Refusal, SessionId};
use crate::pipeline::reconcile::{Reconciled, Step};
use crate::pipeline::{Cause, Plugins, ReadView, TreeWriter};
use std::sync::Arc;

/// Whether all conditions hold, and the work can be carried out.
pub fn is_current(draft: &Draft<'_>, work: &Reconciled) -> bool {
    work.conditions.iter().all(|condition| condition.holds(&draft.view()))
}

pub fn evaluate(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, work: &Reconciled) -> Result<(), Refusal> {
    draft.parts.note_maker(&work.plugin, work.version, work.fuel);
    // First, since the controller may have set it anew.
    let timer = chores::timer_path(&work.plugin, &work.path);
    let due = ReadView::node(&draft.view(), &timer).and_then(|node| Timer::parse(&node.data.unwrap_or_default()));
    if due.is_some_and(|timer| timer.due_ms <= draft.moment.ensemble_ms) {
        draft.delete(Arc::from(timer));
    }
    for step in &work.steps {
        match step {
            Step::Request(request) => drop(evaluate_one(draft, plugins, request)?),
            Step::SetTimer { name, after_ms } => Workbench::new(draft, &work.plugin).set_timer(name, *after_ms)?,
            Step::CancelTimer { name } => Workbench::new(draft, &work.plugin).cancel_timer(name),
        }
    }
    complete(draft, plugins, Cause::Plugin, SessionId::NONE)
}
