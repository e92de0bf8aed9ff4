//! A write to `/zookeeper/clock`, which is not a node of the tree. The data is `set-back`: the time of transactions is
//! to go back to the members' clocks.
//!
//! A client that may deploy plugins may do so. The sequencer knows the clocks and the voters' releases, so it gives the
//! request back as `Ask::SetBackClock`, or refuses it.

use super::draft::Draft;
use crate::limits::SET_BACK_CLOCK_LEVEL;
use crate::model::control_plane::{CLOCK, SET_BACK};
use crate::model::txn::Change;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::authorize;

pub(crate) fn evaluate(draft: &Draft<'_>, data: &[u8]) -> Result<(), Refusal> {
    if !authorize::may_deploy(draft.rules, draft.identities()) {
        return Err(Refusal::new(ErrorCode::NoAuth, format!("{CLOCK}: only the superuser may set time back")));
    }
    if data != SET_BACK {
        return Err(Refusal::new(ErrorCode::BadArguments, format!("{CLOCK}: write `set-back`")));
    }
    Ok(())
}

/// The transaction that may carry an earlier time than those before. Every voter knows the format level that this
/// takes.
pub(crate) fn set_back(draft: &mut Draft<'_>) {
    if draft.state.format_level() < SET_BACK_CLOCK_LEVEL {
        draft.push(Change::RaiseFormatLevel { level: SET_BACK_CLOCK_LEVEL });
    }
    draft.push(Change::SetBackClock);
}
