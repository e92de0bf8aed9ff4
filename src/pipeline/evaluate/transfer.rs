//! A write to `/zookeeper/leader`, which is no node of the tree: the number of the member that shall lead.
//!
//! Whoever may deploy plugins may choose the leader. The one that leads already says that it is done: a request that had the
//! leadership moved is asked again of the next leader, and so answered.

use super::draft::Draft;
use crate::model::control_plane::LEADER;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::authorize;

/// Who shall lead; None if that is so already.
pub fn evaluate(draft: &Draft<'_>, data: &[u8]) -> Result<Option<u32>, Refusal> {
    if !authorize::may_deploy(draft.rules, draft.identities()) {
        return Err(Refusal::new(ErrorCode::NoAuth, format!("{LEADER}: only the superuser may choose the leader")));
    }
    let number = std::str::from_utf8(data).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let to = number.ok_or_else(|| {
        Refusal::new(ErrorCode::BadArguments, format!("{LEADER}: write the number of a member, as in `2`"))
    })?;
    Ok((to != draft.member).then_some(to))
}
