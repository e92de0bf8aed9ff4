//! A write to `/zookeeper/leader`, which is not a node of the tree. The data is the number of the member that is to
//! lead.
//!
//! A client that may deploy plugins may also choose the leader. If that member leads already, the write succeeds. A
//! write that moves the leadership is evaluated again by the new leader, and so succeeds there.

use super::draft::Draft;
use crate::model::control_plane::LEADER;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::authorize;

/// The member that is to lead. None: this member, which leads already.
pub(crate) fn evaluate(draft: &Draft<'_>, data: &[u8]) -> Result<Option<u32>, Refusal> {
    if !authorize::may_deploy(draft.rules, draft.identities()) {
        return Err(Refusal::new(ErrorCode::NoAuth, format!("{LEADER}: only the superuser may choose the leader")));
    }
    let number = std::str::from_utf8(data).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let to = number.ok_or_else(|| {
        Refusal::new(ErrorCode::BadArguments, format!("{LEADER}: write the number of a member, as in `2`"))
    })?;
    Ok((to != draft.member).then_some(to))
}
