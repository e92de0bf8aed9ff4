//! A write to `/zookeeper/clock`, which is not a node of the tree. The data is `set-back`: the time of transactions is
//! to go back to the members' clocks.
//!
//! A client that may deploy plugins may do so. The sequencer knows the clocks, so it gives the request back as
//! `Ask::SetBackClock`, or refuses it if there is nothing to set back.

use super::draft::Draft;
use crate::limits::SET_BACK_CLOCK_LEVEL;
use crate::model::control_plane::{CLOCK, SET_BACK};
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::authorize;

pub(crate) fn evaluate(draft: &Draft<'_>, data: &[u8]) -> Result<(), Refusal> {
    if !authorize::may_deploy(draft.rules, draft.identities()) {
        return Err(Refusal::new(ErrorCode::NoAuth, format!("{CLOCK}: only the superuser may set time back")));
    }
    if data != SET_BACK {
        return Err(Refusal::new(ErrorCode::BadArguments, format!("{CLOCK}: write `set-back`")));
    }
    if draft.state.format_level() < SET_BACK_CLOCK_LEVEL {
        let text = format!("{CLOCK}: a voter runs a release that cannot set time back: bring it to this release");
        return Err(Refusal::new(ErrorCode::BadArguments, text));
    }
    Ok(())
}
