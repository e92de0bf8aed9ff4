//! The first message of a connection: a ConnectRequest (ZooKeeperServer.processConnectRequest).
//!
//! The answer is queued when the session's transaction is applied (`Connection::applied`); until then no request is
//! taken. What cannot be served is closed without a word: the client tries another server.

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

/// Deals with the first frame.
pub(super) fn connect(dispatch: &mut Dispatch, frame: &Bytes, received_us: u64) -> Flow {
    dispatch.connection().count_received();
    let Ok(request) = decode::connect_request(frame) else { return Flow::Broken };
    dispatch.connection().home().metrics().connection_request_count.increment();
    let content_with_reading = request.read_only == Some(true);
    let let_in = match dispatch.server().serving() {
        Serving::Everybody => received_us <= dispatch.server().word_until_us(),
        Serving::ReadOnly => content_with_reading,
        Serving::Nobody => false,
    };
    if !let_in {
        return Flow::Broken;
    }
    let home = dispatch.connection().home().clone();
    let last_zxid = dispatch.server().state().last_zxid().to_wire();
    if request.last_zxid_seen > last_zxid {
        // It has seen what we have not applied yet: it must not go back in time.
        tracing::debug!(peer = %dispatch.connection().peer(), seen = request.last_zxid_seen, last_zxid, "client is ahead");
        return Flow::Broken;
    }
    let bounds = &home.options().sessions;
    let timeout_ms = request.timeout_ms.max(bounds.timeout_ms_min).min(bounds.timeout_ms_max);
    let knows_read_only = request.read_only.is_some();
    if request.session_id == 0 {
        open(dispatch, &home, timeout_ms, knows_read_only, received_us)
    } else {
        attach(
            dispatch,
            &home,
            &request,
            Handshake { session: SessionId(request.session_id), timeout_ms, knows_read_only },
            received_us,
        )
    }
}

fn open(dispatch: &mut Dispatch, home: &Connections, timeout_ms: i32, knows_read_only: bool, received_us: u64) -> Flow {
    let mut password = [0; 16];
    if let Err(error) = environment::fill_random(&mut password) {
        tracing::error!(%error, "no random bytes for a session's password: the connection is closed");
        return Flow::Broken;
    }
    let wall_ms = environment::wall_ms();
    let session = {
        let state = dispatch.server().state();
        home.new_session_id(wall_ms, |id| state.session(id).is_some())
    };
    let handshake = Handshake { session, timeout_ms, knows_read_only };
    let ask = Ask::OpenSession { session, password: Password(password), timeout_ms };
    dispatch.submit_session(handshake, ask, received_us);
    Flow::On
}

fn attach(
    dispatch: &mut Dispatch,
    home: &Connections,
    request: &ConnectRequest,
    handshake: Handshake,
    received_us: u64,
) -> Flow {
    // As in ZooKeeper before the password is looked at: whoever says the session's number ends its live connection.
    if let Some(before) = home.of_session(handshake.session) {
        before.close_after_flush();
    }
    home.metrics().connection_revalidate_count.increment();
    let password = request.password.as_deref().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(Password);
    let Handshake { session, timeout_ms, .. } = handshake;
    dispatch.submit_session(handshake, Ask::AttachSession { session, password, timeout_ms }, received_us);
    Flow::On
}
