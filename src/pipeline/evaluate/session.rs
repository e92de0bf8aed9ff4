//! Opening, re-attaching and closing sessions, and who may write in a session's name.
//!
//! A session with very many ephemeral nodes, or very long paths, ends in several transactions, because each transaction
//! has a bounded size. The first one sets the session's timeout to 0. Such a session is ending: nobody takes it up,
//! nobody writes in its name, and it is due on every leader. So it ends completely although the leadership may change
//! in between. Its entry goes last.

use super::draft::Draft;
use super::stages::complete;
use super::{Ruling, single};
use crate::hooks;
use crate::limits;
use crate::model::txn::{Change, Slot};
use crate::model::{ConnectionId, ErrorCode, Password, Refusal, SessionId};
use crate::pipeline::{Cause, Plugins};
use crate::state::Session;

/// Opens a new session. The member that the client connected to has chosen the id and the password.
pub(crate) fn open(
    draft: &mut Draft<'_>,
    session: SessionId,
    password: Password,
    timeout_ms: i32,
    owner: ConnectionId,
) -> Result<Slot, Refusal> {
    if draft.view().session(session).is_some() {
        // The id is taken. The members' counters should rule that out. The client tries again and gets another id.
        return Err(ErrorCode::SessionExpired.into());
    }
    draft.lay_session(session, Some(Session { timeout_ms, password, owner }));
    draft.push(Change::OpenSession { session, timeout_ms, password, owner });
    Ok(Slot::Nothing)
}

/// Gives the session to the connection on which its client came back. A client that shows the wrong password gets the
/// same answer as for a session that has expired.
pub(crate) fn attach(
    draft: &mut Draft<'_>,
    session: SessionId,
    shown: Option<Password>,
    timeout_ms: i32,
    owner: ConnectionId,
) -> Result<Slot, Refusal> {
    let known = draft.view().session(session).copied().ok_or(ErrorCode::SessionExpired)?;
    if !shown.is_some_and(|shown| known.password.is(&shown)) || known.is_ending() {
        return Err(ErrorCode::SessionExpired.into());
    }
    draft.lay_session(session, Some(Session { timeout_ms, owner, ..known }));
    draft.push(Change::AttachSession { session, timeout_ms, owner });
    Ok(Slot::Nothing)
}

/// Ends a session, because its client closes it or because it has expired.
///
/// ZooKeeper closes without looking at the owner, since expiry uses the same request. Here the two differ: a connection
/// cannot close a session that has moved to another connection.
pub(crate) fn end(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, session: SessionId, expired: bool) -> Ruling {
    match (draft.view().session(session), draft.caller) {
        (None, None) => Ruling::Nothing,
        (None, Some(_)) => single(Err(ErrorCode::SessionExpired.into())),
        (Some(known), Some(caller)) if known.owner != caller.connection => Ruling::Close,
        (Some(_), _) => {
            let is_closed = close(draft, session, expired);
            let cause = if expired { Cause::SessionExpired } else { Cause::SessionClosed };
            let told = match hooks::recipes_hear_of_end(draft.zxid.counter()) {
                true => complete(draft, plugins, cause, session),
                false => Ok(()),
            };
            match (is_closed, told) {
                (false, told) => {
                    told.expect("nothing refuses what the server does on its own");
                    Ruling::Part(session)
                }
                (true, told) => single(told.map(|()| Slot::Nothing)),
            }
        }
    }
}

/// Only the connection that owns a session writes in the session's name. A local session is known only to the caller's
/// member, which has checked the owner itself.
pub(crate) fn require_owner(draft: &Draft<'_>) -> Result<(), Ruling> {
    let Some(caller) = draft.caller.filter(|caller| !caller.local) else { return Ok(()) };
    match draft.view().session(caller.session) {
        None => Err(single(Err(ErrorCode::SessionExpired.into()))),
        Some(session) if session.is_ending() => Err(single(Err(ErrorCode::SessionExpired.into()))),
        Some(session) if !hooks::may_write(session.owner == caller.connection) => Err(Ruling::Close),
        Some(_) => Ok(()),
    }
}

/// Deletes the session's ephemeral nodes, also those that outstanding transactions create, then the session. If the
/// nodes are too many for one transaction, deletes some of them and returns false; then the session is ending and must
/// be closed again.
fn close(draft: &mut Draft<'_>, session: SessionId, expired: bool) -> bool {
    for path in draft.view().ephemerals_of(session) {
        if draft.weight >= limits::SESSION_END_BYTES {
            mark_as_ending(draft, session);
            return false;
        }
        draft.delete(path);
    }
    draft.lay_session(session, None);
    draft.push(Change::CloseSession { session, expired });
    true
}

fn mark_as_ending(draft: &mut Draft<'_>, session: SessionId) {
    let Some(known) = draft.view().session(session).copied().filter(|known| !known.is_ending()) else { return };
    draft.lay_session(session, Some(Session { timeout_ms: Session::ENDING, ..known }));
    draft.push(Change::AttachSession { session, timeout_ms: Session::ENDING, owner: known.owner });
}
