//! What happens to each request frame of a connection.
//!
//! A read is answered here, or parked in the connection's `Order`. A write goes to the sequencer (`Server::submit`). A
//! frame that is no request ends the connection.

use super::asking::Job;
use super::auth::{self, Added};
use super::connection::Connection;
use super::form::Form;
use super::judgement::{self, Inquiry};
use super::order::{Awaited, Handshake, LocalRequest, Parked};
use super::sasl::{DigestMd5, Step};
use super::{Server, local, local_sessions};
use crate::environment;
use crate::limits::{HEAVY_READ_BYTES, READ_BYTES_PER_LOCK, READS_PER_LOCK};
use crate::model::{ErrorCode, Identity, SessionId};
use crate::pipeline::{Ask, Caller, Submission};
use crate::state::State;
use crate::wire::decode::{self, Answer};
use crate::wire::encode;
use crate::wire::reply::{Body, ReplyHeader};
use crate::wire::request::{Request, RequestHeader, op};
use bytes::Bytes;
use parking_lot::RwLockReadGuard;
use std::sync::Arc;

/// The zxid in ZooKeeper's replies to unknown operations: the value that a request has before it gets a zxid.
const NO_ZXID: i64 = -1;

/// Takes a connection's requests. The connection's task owns it.
pub(super) struct Dispatch {
    server: Arc<dyn Server>,
    connection: Arc<Connection>,
    /// A copy of `Connection::identities`, readable without its lock.
    identities: Arc<[Identity]>,
    /// Whether an authenticator may have added identities since the copy was made.
    identities_stale: bool,
    /// Bytes of the frame that is being taken.
    frame_bytes: usize,
    /// The SASL exchange that is under way.
    sasl: Option<Box<DigestMd5>>,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    On,
    /// The connection closes once everything queued is written.
    Closing,
    /// The connection closes at once.
    Broken,
}

/// The state's shared lock, held over several reads.
pub(super) struct Reading<'a> {
    server: &'a dyn Server,
    state: Option<RwLockReadGuard<'a, State>>,
    /// How many more reads are answered before the lock is released, so that the thread that applies can take it.
    left: u32,
    /// How many more bytes of replies are made before the lock is released.
    bytes_left: usize,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(server: &'a dyn Server) -> Reading<'a> {
        Reading { server, state: None, left: 0, bytes_left: 0 }
    }

    /// The state, for one read. Takes the lock if this connection does not hold it.
    fn state(&mut self) -> &State {
        if self.left == 0 {
            self.state = None;
            self.left = READS_PER_LOCK;
            self.bytes_left = READ_BYTES_PER_LOCK;
        }
        self.left -= 1;
        self.state.get_or_insert_with(|| self.server.state())
    }

    /// A read is answered, with a reply of that many bytes.
    fn answered(&mut self, bytes: u64) {
        self.bytes_left = self.bytes_left.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
        if self.bytes_left == 0 {
            self.release();
        }
    }

    /// Releases the lock. Called before anything that may take the lock.
    fn release(&mut self) {
        self.state = None;
        self.left = 0;
    }
}

impl Dispatch {
    pub(crate) fn new(server: Arc<dyn Server>, connection: Arc<Connection>) -> Dispatch {
        let identities = connection.identities();
        Dispatch { server, connection, identities, identities_stale: false, frame_bytes: 0, sasl: None }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) fn server(&self) -> &Arc<dyn Server> {
        &self.server
    }

    /// Takes one frame. `received_us`: when the frame was read, in microseconds of the member's clock.
    pub(crate) fn frame(&mut self, frame: Bytes, received_us: u64, reading: &mut Reading<'_>) -> Flow {
        self.connection.count_received();
        self.frame_bytes = frame.len();
        if self.identities_stale || self.connection.identities_end() {
            self.identities = self.connection.identities();
            self.identities_stale = false;
        }
        let (header, request) = match decode::request(frame) {
            Ok(decoded) => decoded,
            Err(error) => return self.undecodable(error.answer(), received_us, reading),
        };
        match request {
            Request::Auth { scheme, credential, .. } => {
                return self.auth(header, scheme.as_deref(), credential);
            }
            Request::Sasl { token } => return self.sasl(&header, token),
            _ => {}
        }
        if !auth::admits(&self.connection.home().options().auth, &self.identities) {
            return self.overtake_and_close(&header, 0, ErrorCode::SessionClosedRequireSaslAuth);
        }
        match request {
            // Without a lease this server does not know whether the session is still alive.
            Request::Ping if received_us > self.server.lease_until_us() => Flow::Broken,
            // Allowed only within a multi.
            Request::Check { .. } | Request::CheckNotExists { .. } => {
                self.overtake_and_close(&header, NO_ZXID, ErrorCode::Unimplemented)
            }
            Request::Sync { .. } if self.connection.is_read_only() => {
                self.not_while_cut_off(header, received_us, reading)
            }
            Request::Sync { path } => self.sync(header, path, received_us, reading),
            Request::CloseSession if self.connection.has_local_session() => {
                self.local(header, LocalRequest::CloseLocalSession, received_us, reading)
            }
            Request::CloseSession if self.connection.is_read_only() => {
                self.not_while_cut_off(header, received_us, reading)
            }
            Request::CloseSession => {
                let ask = Ask::CloseSession { session: self.connection.session(), expired: false };
                self.write(header, Form::CloseSession, ask, received_us, reading)
            }
            Request::Create(_)
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. }
            | Request::Multi(_)
            | Request::Reconfig { .. }
            | Request::DeleteContainer { .. } => {
                if self.connection.is_read_only() {
                    return self.not_while_cut_off(header, received_us, reading);
                }
                if self.connection.has_local_session() && local_sessions::need_upgrade(&request) {
                    if !self.connection.home().options().local_sessions_upgrade {
                        let refused = LocalRequest::Refused(ErrorCode::EphemeralOnLocalSession);
                        return self.local(header, refused, received_us, reading);
                    }
                    reading.release();
                    if !self.upgrade(received_us) {
                        return Flow::Broken;
                    }
                }
                let form = Form::of(&header, &request);
                self.write(header, form, Ask::Request(request), received_us, reading)
            }
            request => self.local(header, LocalRequest::Request(request), received_us, reading),
        }
    }

    /// Answers a frame that is no request, as ZooKeeper does.
    fn undecodable(&mut self, answer: Answer, received_us: u64, reading: &mut Reading<'_>) -> Flow {
        match answer {
            Answer::Close => Flow::Broken,
            Answer::Reply(header, code) => self.local(header, LocalRequest::Refused(code), received_us, reading),
            Answer::ReplyAndClose(header, _) if header.op == op::CREATE_SESSION => {
                let session = self.connection.session();
                match reading.state().session(session).map(|session| session.password) {
                    Some(password) => self.local(header, LocalRequest::SessionAgain(password), received_us, reading),
                    None => Flow::Broken,
                }
            }
            Answer::ReplyAndClose(header, code) => self.overtake_and_close(&header, NO_ZXID, code),
        }
    }

    /// Answers a request that needs no transaction. At once, if no older request waits and no plugin must be asked.
    /// Otherwise the request is parked until its turn.
    fn local(
        &mut self,
        header: RequestHeader,
        request: LocalRequest,
        received_us: u64,
        reading: &mut Reading<'_>,
    ) -> Flow {
        let server = reading.server;
        let state = reading.state();
        let mut watches = local::needs_watches(&request).then(|| server.watches());
        let mut order = self.connection.order.lock();
        if order.is_empty() {
            let question = local::Question { header, received_us, request: &request, identities: &self.identities };
            let refusals = &mut order.refusals;
            let mut inquiry = Inquiry::default();
            let watches = watches.as_deref_mut();
            match local::answer(&self.connection, refusals, state, watches, &question, &mut inquiry) {
                Ok(bytes) => {
                    drop(order);
                    reading.answered(bytes);
                }
                Err(_) => {
                    let parked = Parked { asked: true, ..Parked::new(request, self.identities.clone(), true) };
                    order.push(header, received_us, Awaited::Local(Box::new(parked)));
                    self.connection.home().asking().put(Job::Read { connection: self.connection.clone(), inquiry });
                }
            }
        } else {
            let home = self.connection.home();
            let weight = local::weight(state, self.connection.session(), &request);
            let may_be_late = weight > HEAVY_READ_BYTES
                || judgement::concerns(home.plugins(), home.rules(), state, &self.identities, &request);
            let expected_bytes = weight.max(order.written_bytes());
            let parked = Parked { expected_bytes, ..Parked::new(request, self.identities.clone(), may_be_late) };
            order.push(header, received_us, Awaited::Local(Box::new(parked)));
        }
        Flow::On
    }

    fn write(
        &mut self,
        header: RequestHeader,
        form: Form,
        ask: Ask,
        received_us: u64,
        reading: &mut Reading<'_>,
    ) -> Flow {
        reading.release();
        // The write enters the order before it goes to the sequencer, because it may be answered before `submit`
        // returns.
        {
            let mut order = self.connection.order.lock();
            order.push(header, received_us, Awaited::Write(form));
            order.note_written(self.frame_bytes);
        }
        self.server.submit(Submission { caller: Some(self.caller(self.connection.session())), xid: header.xid, ask });
        Flow::On
    }

    /// Refuses a write: this member is cut off from its ensemble.
    fn not_while_cut_off(&mut self, header: RequestHeader, received_us: u64, reading: &mut Reading<'_>) -> Flow {
        self.local(header, LocalRequest::Refused(ErrorCode::NotReadOnly), received_us, reading)
    }

    /// Makes the local session a global one, before the request that needs that. False if the session has just expired.
    fn upgrade(&mut self, received_us: u64) -> bool {
        let session = self.connection.session();
        let Some(password) = self.connection.home().local_sessions().password(session) else { return false };
        self.connection.becomes_global();
        let header = RequestHeader { xid: 0, op: op::CREATE_SESSION };
        self.connection.order.lock().push(header, received_us, Awaited::Upgrade);
        let ask = Ask::OpenSession { session, password, timeout_ms: self.connection.timeout_ms() };
        self.server.submit(Submission { caller: Some(self.caller(session)), xid: header.xid, ask });
        true
    }

    fn sync(
        &mut self,
        header: RequestHeader,
        path: Option<String>,
        received_us: u64,
        reading: &mut Reading<'_>,
    ) -> Flow {
        reading.release();
        let awaited = Awaited::Sync { path, done: false };
        self.connection.order.lock().push(header, received_us, awaited);
        self.server.barrier(self.connection.clone());
        Flow::On
    }

    fn caller(&self, session: SessionId) -> Caller {
        self.connection.caller_of(session, self.identities.clone())
    }

    /// Submits the transaction that the first message asks for (`handshake`).
    pub(crate) fn submit_session(&mut self, handshake: Handshake, ask: Ask, received_us: u64) {
        let header = RequestHeader { xid: 0, op: op::CREATE_SESSION };
        self.connection.order.lock().push(header, received_us, Awaited::Handshake(handshake));
        self.server.submit(Submission { caller: Some(self.caller(handshake.session)), xid: header.xid, ask });
    }

    fn auth(&mut self, header: RequestHeader, scheme: Option<&str>, credential: Option<Bytes>) -> Flow {
        let home = self.connection.home();
        let address = self.connection.peer().ip().to_canonical();
        // The scheme is a plugin's. Plugins cannot have a scheme that the server itself has.
        if let Some(scheme) = scheme.filter(|scheme| home.rules().schemes.get().proves(scheme)) {
            let (scheme, credential) = (scheme.to_owned(), credential.unwrap_or_default());
            self.connection.order.lock().authenticate();
            self.identities_stale = true;
            home.asking().put(Job::Login { connection: self.connection.clone(), header, scheme, credential });
            return Flow::On;
        }
        let added = auth::add(&home.options().auth, scheme, credential.as_deref(), &self.identities, address);
        if let Added::Proven(identities) = added
            && self.connection.prove(identities, None)
        {
            self.identities = self.connection.identities();
            self.overtake(&header, 0, ErrorCode::Ok, &Body::Empty);
            return Flow::On;
        }
        tracing::debug!(peer = %self.connection.peer(), scheme, "addauth failed");
        self.connection.metrics().auth_failed.increment();
        self.overtake_and_close(&header, 0, ErrorCode::AuthFailed)
    }

    fn sasl(&mut self, header: &RequestHeader, token: Option<Bytes>) -> Flow {
        // ZooKeeper fails on a null token with an exception, and closes the connection.
        let Some(token) = token else { return Flow::Broken };
        let connection = self.connection.clone();
        let auth = &connection.home().options().auth;
        let Some(users) = &auth.sasl else {
            self.overtake(header, 0, ErrorCode::Ok, &Body::Sasl(None));
            return Flow::On;
        };
        let mut nonce = [0; 16];
        if let Err(error) = environment::fill_random(&mut nonce) {
            tracing::error!(%error, "no random bytes for SASL: the connection is closed");
            return Flow::Broken;
        }
        match self.sasl.get_or_insert_default().step(users, &token, nonce) {
            Ok(Step::Challenge(challenge)) => {
                self.overtake(header, 0, ErrorCode::Ok, &Body::Sasl(Some(&challenge)));
                Flow::On
            }
            Ok(Step::Proven { token, user }) => {
                self.sasl = None;
                if !connection.prove(auth::sasl_identities(auth, user), None) {
                    return self.overtake_and_close(header, 0, ErrorCode::AuthFailed);
                }
                self.identities = connection.identities();
                self.overtake(header, 0, ErrorCode::Ok, &Body::Sasl(Some(&token)));
                Flow::On
            }
            Err(error) => {
                self.sasl = None;
                tracing::info!(peer = %connection.peer(), %error, "SASL failed");
                connection.metrics().auth_failed.increment();
                match (auth::requires_sasl(auth), auth.allow_sasl_failed) {
                    (true, _) => self.overtake_and_close(header, 0, ErrorCode::SessionClosedRequireSaslAuth),
                    (false, false) => self.overtake_and_close(header, 0, ErrorCode::AuthFailed),
                    (false, true) => {
                        self.overtake(header, 0, ErrorCode::Ok, &Body::Sasl(None));
                        Flow::On
                    }
                }
            }
        }
    }

    /// Queues a reply at once, before the replies to earlier requests that still wait.
    fn overtake(&self, header: &RequestHeader, zxid: i64, code: ErrorCode, body: &Body<'_>) {
        let reply = ReplyHeader { xid: header.xid, zxid, error: code.code() };
        self.connection.queue_reply(|out| encode::frame(out, &reply, body));
    }

    fn overtake_and_close(&self, header: &RequestHeader, zxid: i64, code: ErrorCode) -> Flow {
        self.overtake(header, zxid, code, &Body::Empty);
        self.connection.outbox.close_after_flush();
        Flow::Closing
    }
}
