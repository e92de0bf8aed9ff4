//! The first message of a connection: a ConnectRequest (ZooKeeperServer.processConnectRequest).
//!
//! The answer is queued when the session's transaction is applied (`Connection::applied`). Until then no request is
//! taken. A client that this server cannot serve is disconnected without an answer, so that the client tries another
//! server.

use super::Serving;
use super::connections::Connections;
use super::dispatch::{Dispatch, Flow};
use super::order::Handshake;
use crate::environment;
use crate::model::{Password, SessionId};
use crate::pipeline::Ask;
use crate::wire::decode;
use crate::wire::request::ConnectRequest;
use bytes::Bytes;

/// Takes the first frame. `received_us`: when it was read, microseconds of the member's clock.
pub(super) fn connect(dispatch: &mut Dispatch, frame: &Bytes, received_us: u64) -> Flow {
    dispatch.connection().count_received();
    let Ok(request) = decode::connect_request(frame) else { return Flow::Broken };
    dispatch.connection().metrics().connection_request_count.increment();
    let content_with_reading = request.read_only == Some(true);
    let let_in = match dispatch.server().serving() {
        Serving::Everybody => received_us <= dispatch.server().lease_until_us(),
        Serving::ReadOnly => content_with_reading,
        Serving::Nobody => false,
    };
    if !let_in {
        return Flow::Broken;
    }
    let home = dispatch.connection().home().clone();
    let last_zxid = dispatch.server().state().last_zxid().to_wire();
    if request.last_zxid_seen > last_zxid {
        // The client has seen a state that this server has not reached. It must not go back in time.
        let peer = dispatch.connection().peer();
        tracing::debug!(%peer, seen = request.last_zxid_seen, last_zxid, "client is ahead");
        return Flow::Broken;
    }
    let bounds = &home.options().sessions;
    let timeout_ms = request.timeout_ms.max(bounds.timeout_ms_min).min(bounds.timeout_ms_max);
    assert!(
        timeout_ms > 0,
        "a session has time to live: timeouts are {} to {} ms",
        bounds.timeout_ms_min,
        bounds.timeout_ms_max
    );
    let knows_read_only = request.read_only.is_some();
    let handshake = Handshake { session: SessionId(request.session_id), timeout_ms, knows_read_only };
    if dispatch.server().serving() == Serving::ReadOnly {
        begin_here(dispatch, &home, &request, handshake, ReadOnly::Yes)
    } else if request.session_id == 0 && home.options().local_sessions
        || home.local_sessions().password(handshake.session).is_some()
    {
        begin_here(dispatch, &home, &request, handshake, ReadOnly::No)
    } else if request.session_id == 0 {
        open(dispatch, &home, timeout_ms, knows_read_only, received_us)
    } else {
        attach(dispatch, &home, &request, handshake, received_us)
    }
}

/// Whether a session gets nothing but reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadOnly {
    Yes,
    No,
}

/// Opens or takes up a session without a transaction: a local session, or, while this member is cut off, any session
/// that it knows.
fn begin_here(
    dispatch: &mut Dispatch,
    home: &Connections,
    request: &ConnectRequest,
    handshake: Handshake,
    read_only: ReadOnly,
) -> Flow {
    let now_ms = dispatch.connection().clock().now_ms();
    let Handshake { session, timeout_ms, knows_read_only } = handshake;
    if request.session_id == 0 {
        let Some((session, password)) = new_session(dispatch, home) else { return Flow::Broken };
        let heard = home.local_sessions().open(session, password, timeout_ms, now_ms);
        let handshake = Handshake { session, ..handshake };
        dispatch.connection().begin_here(&handshake, password, Some(heard), read_only == ReadOnly::Yes);
        return Flow::On;
    }
    let local = home.local_sessions().password(session);
    let known = local.or_else(|| dispatch.server().state().session(session).map(|known| known.password));
    let given = given_password(request);
    match known.filter(|known| given.is_some_and(|given| known.is(&given))) {
        None => dispatch.connection().refuse_session(knows_read_only),
        Some(password) => {
            close_former(home, session);
            let heard = local.map(|password| home.local_sessions().open(session, password, timeout_ms, now_ms));
            dispatch.connection().begin_here(&handshake, password, heard, read_only == ReadOnly::Yes);
        }
    }
    Flow::On
}

/// Closes the session's present connection: its client has come back on another. To be called once the client has shown
/// the password. ZooKeeper closes first and checks then, so a stranger who knows the number of a session disconnects
/// its client.
fn close_former(home: &Connections, session: SessionId) {
    if let Some(former) = home.of_session(session) {
        former.close_after_flush();
    }
}

/// The password that the client sends. None: the password does not have 16 bytes, so it fits no session.
fn given_password(request: &ConnectRequest) -> Option<Password> {
    request.password.as_deref().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(Password)
}

/// Id and password for a new session. None if the system gives no random bytes.
fn new_session(dispatch: &Dispatch, home: &Connections) -> Option<(SessionId, Password)> {
    let mut password = [0; 16];
    if let Err(error) = environment::fill_random(&mut password) {
        tracing::error!(%error, "no random bytes for a session's password: the connection is closed");
        return None;
    }
    let wall_ms = environment::wall_ms();
    let state = dispatch.server().state();
    let taken = |id| state.session(id).is_some() || home.local_sessions().password(id).is_some();
    Some((home.session_ids().new_id(wall_ms, taken), Password(password)))
}

/// Opens a new global session.
fn open(dispatch: &mut Dispatch, home: &Connections, timeout_ms: i32, knows_read_only: bool, received_us: u64) -> Flow {
    let Some((session, password)) = new_session(dispatch, home) else { return Flow::Broken };
    let handshake = Handshake { session, timeout_ms, knows_read_only };
    let ask = Ask::OpenSession { session, password, timeout_ms };
    dispatch.submit_session(handshake, ask, received_us);
    Flow::On
}

/// Attaches a global session to this connection.
fn attach(
    dispatch: &mut Dispatch,
    home: &Connections,
    request: &ConnectRequest,
    handshake: Handshake,
    received_us: u64,
) -> Flow {
    dispatch.connection().metrics().connection_revalidate_count.increment();
    let password = given_password(request);
    let known = dispatch.server().state().session(handshake.session).map(|known| known.password);
    if known.is_some_and(|known| password.is_some_and(|given| known.is(&given))) {
        close_former(home, handshake.session);
    }
    let Handshake { session, timeout_ms, .. } = handshake;
    dispatch.submit_session(handshake, Ask::AttachSession { session, password, timeout_ms }, received_us);
    Flow::On
}
