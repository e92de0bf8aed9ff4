//! reconfig: a server that stands alone refuses it, in ZooKeeper's words.

use super::draft::Draft;
use crate::model::{ErrorCode, Refusal};

/// Membership changes do not pass through here: they are consensus' own and end in a transaction of the server.
pub fn refusal(draft: &Draft<'_>) -> Refusal {
    match draft.rules.reconfig {
        false => ErrorCode::ReconfigDisabled.into(),
        true => ErrorCode::Unimplemented.into(),
    }
}
