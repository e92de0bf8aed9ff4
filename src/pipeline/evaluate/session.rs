//! Opening, re-attaching and closing sessions.

use super::draft::Draft;
use crate::model::txn::{Change, Slot};
use crate::model::{ConnectionId, ErrorCode, Password, Refusal, SessionId};
use crate::state::Session;

/// Ids and passwords are chosen by the member that the client connected to; `session` is new.
pub fn open(
    draft: &mut Draft<'_>,
    session: SessionId,
    password: Password,
    timeout_ms: i32,
    owner: ConnectionId,
) -> Result<Slot, Refusal> {
    if draft.view().session(session).is_some() {
        // The id is taken, which a member's counting should rule out. The client comes again and gets another.
        return Err(ErrorCode::SessionExpired.into());
    }
    draft.lay_session(session, Some(Session { timeout_ms, password, owner }));
    draft.push(Change::OpenSession { session, timeout_ms, password, owner });
    Ok(Slot::Nothing)
}

/// A client came back. To one that cannot prove it the session is gone, as it is if it really is.
pub fn attach(
    draft: &mut Draft<'_>,
    session: SessionId,
    shown: Option<Password>,
    timeout_ms: i32,
    owner: ConnectionId,
) -> Result<Slot, Refusal> {
    let known = draft.view().session(session).copied().ok_or(ErrorCode::SessionExpired)?;
    if !shown.is_some_and(|shown| known.password.is(&shown)) {
        return Err(ErrorCode::SessionExpired.into());
    }
    draft.lay_session(session, Some(Session { timeout_ms, owner, ..known }));
    draft.push(Change::AttachSession { session, timeout_ms, owner });
    Ok(Slot::Nothing)
}

/// The session is there. Its ephemeral nodes go first, those among them that outstanding transactions create.
pub fn close(draft: &mut Draft<'_>, session: SessionId, expired: bool) {
    for path in draft.view().ephemerals_of(session) {
        draft.delete(path);
    }
    draft.lay_session(session, None);
    draft.push(Change::CloseSession { session, expired });
}
