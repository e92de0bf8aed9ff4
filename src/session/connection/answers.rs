//! Replies of one connection: to the first message, to writes that are applied, and to reads whose turn has come.

use super::Connection;
use crate::model::txn::{Outcome, Txn};
use crate::model::{ErrorCode, Identity, Password};
use crate::plugin::authenticators::Proof;
use crate::session::asking::Job;
use crate::session::expiry::Heard;
use crate::session::form::{Form, encode_write};
use crate::session::judgement::{Inquiry, OpenQuestion, Unready};
use crate::session::order::{Awaited, Entry, Handshake, Order};
use crate::session::{Server, local};
use crate::state::{Effects, State};
use crate::watch::Watches;
use crate::wire::encode;
use crate::wire::reply::{Body, ConnectResponse, ReplyHeader};
use crate::wire::request::RequestHeader;
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Whether a request became a transaction. A refusal is a transaction, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::session) enum Kind {
    Read,
    Write,
}

/// What remains to do for a read that was not answered at once.
pub(in crate::session) enum Turn {
    /// Nothing: the read is answered, or its connection is gone.
    Done,
    /// Plugins must be asked these questions.
    Ask { open: Vec<OpenQuestion>, identities: Arc<[Identity]>, xid: i32 },
    /// The next piece of the answer can be made.
    GoOn,
}

/// The first message.
impl Connection {
    /// Answers the handshake: its transaction has been applied.
    fn session_answered(&self, entry: &Entry, handshake: &Handshake, state: &State, txn: &Txn) {
        let password = match (&txn.outcome, state.session(handshake.session)) {
            (Outcome::Done(_), Some(session)) => session.password,
            _ => {
                self.refuse_session(handshake.knows_read_only);
                return;
            }
        };
        let heard = self.home.expiry().open(handshake.session, handshake.timeout_ms, self.clock.now_ms());
        self.takes_up(handshake, Some(heard));
        self.queue_session(password, handshake.knows_read_only);
        self.answered(entry.header, entry.received_us, Kind::Write, txn.zxid.to_wire());
    }

    /// Opens or takes up a session without a transaction. `heard`: None for a session that this member cannot keep
    /// alive.
    pub(in crate::session) fn begin_here(
        &self,
        handshake: &Handshake,
        password: Password,
        heard: Option<Arc<Heard>>,
        read_only: bool,
    ) {
        self.local.store(heard.is_some(), Relaxed);
        self.read_only.store(read_only, Relaxed);
        self.takes_up(handshake, heard);
        self.queue_session(password, handshake.knows_read_only);
    }

    /// Refuses the session: it is gone, or the password is wrong. Clients take the zeros for SESSIONEXPIRED.
    pub(crate) fn refuse_session(&self, knows_read_only: bool) {
        let read_only = knows_read_only.then_some(false);
        let response = ConnectResponse { timeout_ms: 0, session_id: 0, password: [0; 16], read_only };
        self.queue_reply(|out| encode::connect_response(out, &response));
        self.outbox.close_after_flush();
    }

    /// Queues the ConnectResponse of the connection's session. Returns the length of the reply in bytes.
    pub(crate) fn queue_session(&self, password: Password, knows_read_only: bool) -> u64 {
        let response = ConnectResponse {
            timeout_ms: self.timeout_ms(),
            session_id: self.session().0,
            password: password.0,
            read_only: knows_read_only.then_some(self.is_read_only()),
        };
        self.queue_reply(|out| encode::connect_response(out, &response))
    }

    /// An authenticator has answered a login. `proof`: None if the login failed; then the connection ends. Frames
    /// behind the login are taken now.
    pub(crate) fn logged_in(&self, header: RequestHeader, proof: Option<Proof>) {
        let mut order = self.order.lock();
        if order.has_ended() {
            return;
        }
        let proven = proof.is_some_and(|proof| self.prove(proof.identities, proof.until_ms));
        let error = if proven { ErrorCode::Ok } else { ErrorCode::AuthFailed };
        self.reply(header.xid, 0, error.code(), &Body::Empty);
        if !proven {
            self.metrics.auth_failed.increment();
            self.outbox.close_after_flush();
        }
        order.authenticated();
        drop(order);
        self.outbox.wake();
    }
}

/// Writes.
impl Connection {
    /// Answers the oldest request, whose transaction `txn` is, and the reads behind it. False if the connection has
    /// ended. Panics if `txn` does not belong to the oldest request.
    pub(crate) fn applied(
        self: &Arc<Self>,
        state: &State,
        watches: &mut Watches,
        txn: &Txn,
        applied: &Effects,
    ) -> bool {
        let mut order = self.order.lock();
        if order.has_ended() {
            return false;
        }
        let origin = txn.origin.as_ref().expect("a transaction that answers a connection has an origin");
        let entry = order.pop_applied(origin.xid);
        match &entry.awaited {
            Awaited::Handshake(handshake) => self.session_answered(&entry, handshake, state, txn),
            Awaited::Write(form) => self.write_answered(&mut order, &entry, form, txn, applied),
            Awaited::Upgrade => self.upgraded(txn),
            Awaited::Sync { .. } | Awaited::Local(_) => unreachable!("pop_applied returns transactions"),
        }
        self.answer_ready(&mut order, state, watches);
        drop(order);
        self.mark();
        true
    }

    /// Whether the request with that xid is the next to be answered.
    #[cfg(feature = "simulation")]
    pub(crate) fn waits_for(&self, xid: i32) -> bool {
        self.order.lock().oldest().is_some_and(|oldest| oldest.header.xid == xid)
    }

    fn write_answered(&self, order: &mut Order, entry: &Entry, form: &Form, txn: &Txn, applied: &Effects) {
        match &txn.outcome {
            Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. } => {
                order.refusals.note(entry.header.xid, refusal);
            }
            Outcome::Done(_) => {}
        }
        let mut error = 0;
        self.queue_reply(|out| error = encode_write(out, entry.header.xid, form, txn, applied));
        self.answered(entry.header, entry.received_us, Kind::Write, txn.zxid.to_wire());
        if *form == Form::CloseSession && error == 0 {
            self.outbox.close_after_flush();
        }
    }

    /// The session is global now. It keeps its last sign of life.
    fn upgraded(&self, txn: &Txn) {
        match (&txn.outcome, self.heard.get()) {
            (Outcome::Done(_), Some(heard)) => {
                self.home.expiry().adopt(self.session(), self.timeout_ms(), heard.clone());
            }
            _ => self.outbox.close(),
        }
    }
}

/// Reads and `sync`.
impl Connection {
    /// The barrier of the unfinished `sync` is reached (`Server::barrier`). Answers the `sync` once it is the oldest
    /// request.
    pub(crate) fn synced(self: &Arc<Self>, state: &State, watches: &mut Watches) {
        let mut order = self.order.lock();
        if order.has_ended() {
            return;
        }
        order.sync_done();
        self.answer_ready(&mut order, state, watches);
        drop(order);
        self.outbox.wake();
    }

    /// Answers the oldest request, a read that was not answered at once, if `inquiry` has all that it needs. Otherwise
    /// the answer comes one piece further, at most.
    pub(in crate::session) fn judge_asked(self: &Arc<Self>, server: &dyn Server, inquiry: &mut Inquiry) -> Turn {
        let state = server.state();
        let mut watches = server.watches();
        let mut order = self.order.lock();
        if order.has_ended() {
            return Turn::Done;
        }
        let Some(entry) = order.pop_asked() else { return Turn::Done };
        if let Err((entry, unready)) = self.answer_parked(&mut order, &state, &mut watches, entry, inquiry) {
            let (identities, xid) = match &entry.awaited {
                Awaited::Local(parked) => (parked.identities.clone(), entry.header.xid),
                _ => unreachable!("plugins are asked about reads only"),
            };
            order.put_back(entry);
            return match unready {
                Unready::Ask(open) => Turn::Ask { open, identities, xid },
                Unready::GoOn => Turn::GoOn,
            };
        }
        self.answer_ready(&mut order, &state, &mut watches);
        drop(order);
        self.outbox.wake();
        Turn::Done
    }

    /// Answers requests from the oldest on, up to the first that waits: for its transaction, for a barrier, or for
    /// plugins. A read whose answer may be long is left to the thread that asks plugins, since the thread that applies
    /// may have called. `Order` bounds what the others have to say.
    fn answer_ready(self: &Arc<Self>, order: &mut Order, state: &State, watches: &mut Watches) {
        while let Some(entry) = order.pop_ready() {
            let (header, received_us) = (entry.header, entry.received_us);
            match &entry.awaited {
                Awaited::Local(parked) => {
                    let mut inquiry = if parked.may_be_late { Inquiry::default() } else { Inquiry::closed() };
                    let late = parked.may_be_late && local::is_heavy(state, self.session(), &parked.request);
                    let unready = if late {
                        Err(entry)
                    } else {
                        self.answer_parked(order, state, watches, entry, &mut inquiry).map_err(|(entry, _)| entry)
                    };
                    if let Err(mut entry) = unready {
                        if let Awaited::Local(parked) = &mut entry.awaited {
                            parked.asked = true;
                        }
                        order.put_back(entry);
                        self.home.asking().put(Job::Read { connection: self.clone(), inquiry });
                        return;
                    }
                }
                Awaited::Sync { path, .. } => {
                    let body = Body::OptionalPath(path.as_deref());
                    self.reply(header.xid, state.last_zxid().to_wire(), 0, &body);
                    self.answered(header, received_us, Kind::Read, state.last_zxid().to_wire());
                }
                Awaited::Handshake(_) | Awaited::Write(_) | Awaited::Upgrade => {
                    unreachable!("pop_ready returns no transactions")
                }
            }
        }
    }

    /// Answers a parked request. The error gives the entry back, with what must be done first.
    fn answer_parked(
        &self,
        order: &mut Order,
        state: &State,
        watches: &mut Watches,
        entry: Entry,
        inquiry: &mut Inquiry,
    ) -> Result<u64, (Entry, Unready)> {
        let Awaited::Local(parked) = &entry.awaited else { unreachable!("only local requests are parked") };
        let question = local::Question {
            header: entry.header,
            received_us: entry.received_us,
            request: &parked.request,
            identities: &parked.identities,
        };
        local::answer(self, &mut order.refusals, state, Some(watches), &question, inquiry)
            .map_err(|unready| (entry, unready))
    }
}

/// All replies.
impl Connection {
    /// Returns the reply's bytes.
    pub(crate) fn reply(&self, xid: i32, zxid: i64, error: i32, body: &Body<'_>) -> u64 {
        self.queue_reply(|out| encode::frame(out, &ReplyHeader { xid, zxid, error }, body))
    }

    /// As `queue`, for a packet that answers a request.
    pub(crate) fn queue_reply(&self, fill: impl FnOnce(&mut BytesMut)) -> u64 {
        let bytes = self.queue(fill);
        if bytes > 0 {
            self.metrics.response_bytes.add(bytes);
            self.metrics.client_response_size.add(bytes);
        }
        bytes
    }

    /// Counts a request that has its reply. `received_us`: when the request was read; `zxid`: of the reply.
    pub(in crate::session) fn answered(&self, header: RequestHeader, received_us: u64, kind: Kind, zxid: i64) {
        let now_us = self.clock.now_us();
        let latency_us = now_us.saturating_sub(received_us);
        self.statistics.latency(latency_us);
        match kind {
            Kind::Read => self.metrics.readlatency.add(latency_us / 1000),
            Kind::Write => self.metrics.updatelatency.add(latency_us / 1000),
        }
        self.last.note(header, zxid, now_us / 1000, latency_us / 1000);
    }
}
