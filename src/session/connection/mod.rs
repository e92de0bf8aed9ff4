//! One client's connection as others see it: events, replies and the end come in here.
//!
//! What only the connection's own task needs is in `task`. Methods that take the state are called under its lock, as
//! the lock order in `session` says.

use super::asking::Job;
use super::connections::{Admission, Connections};
use super::expiry::Heard;
use super::judgement::{Due, Inquiry, Open, Told};
use super::order::{Awaited, Entry, Form, Handshake, Order, encode_write};
use super::outbox::{End, HeldEvent, Holding, Outbox};
use super::proven::{self, Proven};
use super::statistics::{Last, Statistics};
use super::workers::Bell;
use super::{Server, auth, local};
use crate::environment::wall_ms;
use crate::model::txn::{Outcome, Txn};
use crate::model::{ConnectionId, ErrorCode, Identity, Password, SessionId};
use crate::pipeline::Caller;
use crate::plugin::authenticators::Proof;
use crate::plugin::policies::Answers;
use crate::state::{Effects, Event, State};
use crate::watch::Watches;
use crate::wire::encode;
use crate::wire::reply::{Body, ConnectResponse, ReplyHeader};
use crate::wire::request::RequestHeader;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Whether a request became a transaction, refused ones included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Read,
    Write,
}

/// What becomes of a read about which guests are being asked.
pub(super) enum Turn {
    /// It is answered, or nobody waits for it any more.
    Done,
    Ask {
        open: Vec<Open>,
        identities: Arc<[Identity]>,
        xid: i32,
    },
}

pub struct Connection {
    id: ConnectionId,
    peer: SocketAddr,
    home: Arc<Connections>,
    /// 0 until the session is there.
    session: AtomicI64,
    timeout_ms: AtomicI32,
    heard: OnceLock<Arc<Heard>>,
    /// Only this member knows its session.
    local: AtomicBool,
    /// It came while this member was cut off, and gets nothing but reads.
    read_only: AtomicBool,
    /// What it has proven; changed by its task and by logins, read by whoever applies.
    proven: Mutex<Proven>,
    /// When the next of that ends; `proven::NEVER` if nothing does.
    next_end_ms: AtomicU64,
    pub(super) order: Mutex<Order>,
    pub(super) outbox: Outbox,
    pub statistics: Statistics,
    pub last: Last,
    established_ms: u64,
    /// Counts the connection among those of its address for as long as it lives.
    admission: Admission,
}

impl Connection {
    pub(super) fn new(home: Arc<Connections>, admission: Admission, id: ConnectionId, peer: SocketAddr) -> Connection {
        let subject = admission.subject.clone();
        let identities = auth::at_connect(&home.options().auth, peer.ip().to_canonical(), subject);
        Connection {
            id,
            peer,
            session: AtomicI64::new(0),
            timeout_ms: AtomicI32::new(0),
            heard: OnceLock::new(),
            local: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            proven: Mutex::new(Proven::new(identities)),
            next_end_ms: AtomicU64::new(proven::NEVER),
            order: Mutex::new(Order::new(home.outstanding_counter())),
            outbox: Outbox::new(),
            statistics: Statistics::new(),
            last: Last::default(),
            established_ms: home.now_us() / 1000,
            home,
            admission,
        }
    }

    pub fn id(&self) -> ConnectionId {
        self.id
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// `SessionId::NONE` until the handshake is through.
    pub fn session(&self) -> SessionId {
        SessionId(self.session.load(Relaxed))
    }

    /// What was negotiated; 0 until the handshake is through.
    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms.load(Relaxed)
    }

    /// What it has proven and what has not ended since.
    pub fn identities(&self) -> Arc<[Identity]> {
        let mut proven = self.proven.lock();
        if self.identities_end() {
            let now_ms = wall_ms().max(0).cast_unsigned();
            if now_ms >= self.next_end_ms.load(Relaxed) {
                proven.end(now_ms);
                self.next_end_ms.store(proven.next_end_ms(), Relaxed);
            }
        }
        proven.all().clone()
    }

    /// Whether something of what it has proven ends by itself: `identities` is to be asked each time, then.
    pub(super) fn identities_end(&self) -> bool {
        self.next_end_ms.load(Relaxed) != proven::NEVER
    }

    /// It as a caller who has proven that.
    pub(super) fn caller_of(&self, session: SessionId, identities: Arc<[Identity]>) -> Caller {
        Caller {
            session,
            connection: self.id,
            identities,
            address: self.peer.ip().to_canonical(),
            port: self.peer.port(),
            local: self.has_local_session(),
        }
    }

    /// When it was accepted: milliseconds of the server's clock (`Connections::now_us`).
    pub fn established_ms(&self) -> u64 {
        self.established_ms
    }

    /// `crst`: its own counters start over.
    pub fn reset_statistics(&self) {
        self.statistics.reset();
        self.last.reset();
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> usize {
        self.order.lock().len()
    }

    pub(super) fn home(&self) -> &Arc<Connections> {
        &self.home
    }

    /// Adds what was proven, for good or until a time (Unix milliseconds); false if it is too much.
    pub(super) fn prove(&self, identities: Vec<Identity>, until_ms: Option<u64>) -> bool {
        let mut proven = self.proven.lock();
        let fits = proven.add(identities, until_ms);
        self.next_end_ms.store(proven.next_end_ms(), Relaxed);
        fits
    }

    /// Queues a watch event, unless the client may not read what it is about. Where a policy has to be asked first, the
    /// event keeps its place and waits, with all that comes behind it.
    pub fn event(self: &Arc<Self>, state: &State, event: &Event, path: &str) {
        let identities = self.identities();
        let told = Told { kind: event.kind, path, acl: &event.acl, who: &identities };
        match told.judge(&self.home, state, &Answers::default()) {
            Due::Withhold => return,
            Due::Tell => self.queue_event(event.zxid.to_wire(), event.kind, path),
            Due::Ask => {
                let held = HeldEvent {
                    zxid: event.zxid.to_wire(),
                    kind: event.kind,
                    path: path.into(),
                    acl: event.acl.clone(),
                    identities,
                };
                if self.outbox.hold(held) == Holding::First {
                    self.home.asking().put(Job::Events { connection: self.clone() });
                }
            }
        }
        self.mark();
    }

    /// The oldest held event leaves, or is withheld; what waited behind it goes on.
    pub(super) fn settle_event(&self, held: &HeldEvent, tell: bool) {
        let bytes = self.outbox.settle(|out| {
            if tell {
                encode::event(out, held.zxid, held.kind, &held.path);
            }
        });
        if bytes > 0 {
            self.statistics.sent.fetch_add(1, Relaxed);
            self.home.metrics().packets_sent.increment();
            self.home.metrics().watch_bytes.add(bytes as u64);
        }
        self.outbox.wake();
    }

    pub(super) fn queue_event(&self, zxid: i64, kind: crate::wire::reply::EventKind, path: &str) {
        let bytes = self.queue(|out| encode::event(out, zxid, kind, path));
        self.home.metrics().watch_bytes.add(bytes);
    }

    /// An authenticator has judged: the connection has what was proven, or ends. What it sent behind goes on.
    pub(super) fn logged_in(&self, header: RequestHeader, proof: Option<Proof>) {
        let mut order = self.order.lock();
        if order.ended {
            return;
        }
        let proven = proof.is_some_and(|proof| self.prove(proof.identities, proof.until_ms));
        let error = if proven { ErrorCode::Ok } else { ErrorCode::AuthFailed };
        self.reply(header.xid, 0, error.code(), &Body::Empty);
        if !proven {
            self.home.metrics().auth_failed.increment();
            self.outbox.close_after_flush();
        }
        order.authenticating = false;
        drop(order);
        self.outbox.wake();
    }

    /// Whether its task has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.order.lock().ended
    }

    /// Answers the oldest request, about which guests are being asked, if all is known by now.
    pub(super) fn judge_asked(self: &Arc<Self>, server: &dyn Server, inquiry: &Inquiry) -> Turn {
        let state = server.state();
        let mut watches = server.watches();
        let mut order = self.order.lock();
        if order.ended {
            return Turn::Done;
        }
        let Some(entry) = order.pop_asked() else { return Turn::Done };
        if let Err((entry, open)) = self.answer_parked(&mut order, &state, &mut watches, entry, inquiry) {
            let (identities, xid) = match &entry.awaited {
                Awaited::Own(parked) => (parked.identities.clone(), entry.header.xid),
                _ => unreachable!("it was asked about"),
            };
            order.put_back(entry);
            return Turn::Ask { open, identities, xid };
        }
        self.answer_ready(&mut order, &state, &mut watches);
        drop(order);
        self.outbox.wake();
        Turn::Done
    }

    /// Answers the oldest unanswered write, whose transaction this is, then the reads behind it. False if it has ended.
    pub fn applied(self: &Arc<Self>, state: &State, watches: &mut Watches, txn: &Txn, applied: &Effects) -> bool {
        let mut order = self.order.lock();
        if order.ended {
            return false;
        }
        let entry = order.pop_applied().expect("a transaction answers a request of its connection");
        let xid = txn.origin.as_ref().map(|origin| origin.xid);
        assert_eq!(Some(entry.header.xid), xid, "transactions come in the order of the requests");
        match &entry.awaited {
            Awaited::Handshake(handshake) => self.session_answered(&entry, handshake, state, txn),
            Awaited::Write(form) => self.write_answered(&mut order, &entry, form, txn, applied),
            Awaited::Upgrade => self.upgraded(txn),
            Awaited::Sync { .. } | Awaited::Own(_) => panic!("{}: the oldest entry is a write", self.id.number),
        }
        self.answer_ready(&mut order, state, watches);
        drop(order);
        self.mark();
        true
    }

    /// Whether the request with that number is the next to be answered.
    pub(super) fn waits_for(&self, xid: i32) -> bool {
        self.order.lock().oldest().is_some_and(|oldest| oldest.header.xid == xid)
    }

    /// The barrier of the oldest `sync` is reached (`Server::barrier`).
    pub fn synced(self: &Arc<Self>, state: &State, watches: &mut Watches) {
        let mut order = self.order.lock();
        if order.ended {
            return;
        }
        order.sync_done();
        self.answer_ready(&mut order, state, watches);
        drop(order);
        self.outbox.wake();
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

    fn session_answered(self: &Arc<Self>, entry: &Entry, handshake: &Handshake, state: &State, txn: &Txn) {
        let password = match (&txn.outcome, state.session(handshake.session)) {
            (Outcome::Done(_), Some(session)) => session.password,
            _ => {
                self.refuse_session(handshake.knows_read_only);
                return;
            }
        };
        let heard = self.home.expiry().open(handshake.session, handshake.timeout_ms, self.home.now_us() / 1000);
        // A connection asks for one session only: its first frame.
        let _ = self.heard.set(heard);
        self.timeout_ms.store(handshake.timeout_ms, Relaxed);
        self.session.store(handshake.session.0, Relaxed);
        self.home.has_session(handshake.session, self);
        self.queue_session(password, handshake.knows_read_only);
        self.answered(entry.header, entry.received_us, Kind::Write, txn.zxid.to_wire());
    }

    /// The session is everybody's now: it goes on with the same sign of life.
    fn upgraded(&self, txn: &Txn) {
        match (&txn.outcome, self.heard.get()) {
            (Outcome::Done(_), Some(heard)) => {
                self.home.expiry().adopt(self.session(), self.timeout_ms(), heard.clone());
            }
            _ => self.outbox.close(),
        }
    }

    /// Opens or takes up a session without a transaction. `heard`: none for one that this member cannot keep alive.
    pub(super) fn begin_here(
        self: &Arc<Self>,
        handshake: &Handshake,
        password: Password,
        heard: Option<Arc<Heard>>,
        read_only: bool,
    ) {
        self.local.store(heard.is_some(), Relaxed);
        self.read_only.store(read_only, Relaxed);
        if let Some(heard) = heard {
            // A connection asks for one session only: its first frame.
            let _ = self.heard.set(heard);
        }
        self.timeout_ms.store(handshake.timeout_ms, Relaxed);
        self.session.store(handshake.session.0, Relaxed);
        self.home.has_session(handshake.session, self);
        self.queue_session(password, handshake.knows_read_only);
    }

    /// Whether only this member knows its session.
    pub fn has_local_session(&self) -> bool {
        self.local.load(Relaxed)
    }

    /// What it asks from now on comes behind the transaction that makes its session everybody's.
    pub(super) fn becomes_everybodys(&self) {
        self.local.store(false, Relaxed);
    }

    /// Whether it gets nothing but reads.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Relaxed)
    }

    /// Session gone or password wrong: zeros, which clients take for SESSIONEXPIRED.
    pub(super) fn refuse_session(&self, knows_read_only: bool) {
        let read_only = knows_read_only.then_some(false);
        let response = ConnectResponse { timeout_ms: 0, session_id: 0, password: [0; 16], read_only };
        self.queue_reply(|out| encode::connect_response(out, &response));
        self.outbox.close_after_flush();
    }

    pub(super) fn queue_session(&self, password: Password, knows_read_only: bool) {
        let response = ConnectResponse {
            timeout_ms: self.timeout_ms(),
            session_id: self.session().0,
            password: password.0,
            read_only: knows_read_only.then_some(self.is_read_only()),
        };
        self.queue_reply(|out| encode::connect_response(out, &response));
    }

    /// Answers what has become the oldest and needs no transaction, up to a read about which guests must be asked.
    fn answer_ready(self: &Arc<Self>, order: &mut Order, state: &State, watches: &mut Watches) {
        while let Some(entry) = order.pop_ready() {
            let (header, received_us) = (entry.header, entry.received_us);
            match &entry.awaited {
                Awaited::Own(parked) => {
                    let inquiry = if parked.may_be_asked { Inquiry::default() } else { Inquiry::closed() };
                    let open = self.answer_parked(order, state, watches, entry, &inquiry);
                    if let Err((mut entry, _)) = open {
                        if let Awaited::Own(parked) = &mut entry.awaited {
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
                    unreachable!("pop_ready leaves these where they are")
                }
            }
        }
    }

    /// Answers a request that was parked; gives it back if guests must be asked first, with what about.
    fn answer_parked(
        &self,
        order: &mut Order,
        state: &State,
        watches: &mut Watches,
        entry: Entry,
        inquiry: &Inquiry,
    ) -> Result<(), (Entry, Vec<Open>)> {
        let Awaited::Own(parked) = &entry.awaited else { unreachable!("only such requests are parked") };
        let question = local::Question {
            header: entry.header,
            received_us: entry.received_us,
            request: &parked.request,
            identities: &parked.identities,
        };
        local::answer(self, &mut order.refusals, state, Some(watches), &question, inquiry).map_err(|open| (entry, open))
    }

    pub(super) fn reply(&self, xid: i32, zxid: i64, error: i32, body: &Body<'_>) {
        self.queue_reply(|out| encode::frame(out, &ReplyHeader { xid, zxid, error }, body));
    }

    /// Queues one packet and counts it. Returns its bytes; 0 if the connection is ending.
    fn queue(&self, fill: impl FnOnce(&mut BytesMut)) -> u64 {
        let mut bytes = 0;
        self.outbox.push(|out| {
            let before = out.len();
            fill(out);
            bytes = (out.len() - before) as u64;
        });
        if bytes > 0 {
            self.statistics.sent.fetch_add(1, Relaxed);
            self.home.metrics().packets_sent.increment();
        }
        bytes
    }

    /// As `queue`, for what answers a request.
    pub(super) fn queue_reply(&self, fill: impl FnOnce(&mut BytesMut)) {
        let bytes = self.queue(fill);
        if bytes > 0 {
            let metrics = self.home.metrics();
            metrics.response_bytes.add(bytes);
            metrics.client_response_size.add(bytes);
        }
    }

    /// Counts a packet from the client: a frame, or a four letter word. Its bytes were counted as they came.
    pub(super) fn count_received(&self) {
        self.statistics.received.fetch_add(1, Relaxed);
        self.home.metrics().packets_received.increment();
    }

    /// Keeps the books of a request that has its reply.
    pub(super) fn answered(&self, header: RequestHeader, received_us: u64, kind: Kind, zxid: i64) {
        let now_us = self.home.now_us();
        let latency_us = now_us.saturating_sub(received_us);
        self.statistics.latency(latency_us);
        let metrics = self.home.metrics();
        match kind {
            Kind::Read => metrics.readlatency.add(latency_us / 1000),
            Kind::Write => metrics.updatelatency.add(latency_us / 1000),
        }
        self.last.note(header, zxid, now_us / 1000, latency_us / 1000);
    }

    /// Something was received at that time: microseconds of the server's clock.
    pub(super) fn touch(&self, now_us: u64) {
        if let Some(heard) = self.heard.get() {
            heard.touch(now_us / 1000);
        }
    }

    /// Whether its session is the ensemble's, and has given a sign of life at that time or later.
    pub(super) fn heard_since(&self, ms: u64) -> bool {
        !self.has_local_session() && self.heard.get().is_some_and(|heard| heard.since(ms))
    }

    /// Reading stops for back-pressure, or goes on.
    pub(super) fn hold(&self, held: bool) {
        if let Some(heard) = self.heard.get() {
            heard.hold(held);
        }
    }

    /// Whether another request may be taken from the socket.
    pub fn takes_requests(&self) -> bool {
        let order = self.order.lock();
        let crowded = order.holds_back() || order.ended || order.is_crowded(self.home.options().outstanding_max);
        drop(order);
        !crowded && self.outbox.has_room() && self.home.takes_requests()
    }

    /// Whether something waits to be written.
    pub fn writes(&self) -> bool {
        self.outbox.waits()
    }

    /// Whether nobody waits for its answers any more.
    pub fn has_ended(&self) -> bool {
        self.order.lock().ended || self.outbox.end() != End::Open
    }

    /// Closes it once everything queued is written.
    pub fn close_after_flush(&self) {
        self.outbox.close_after_flush();
        self.outbox.wake();
    }

    /// Closes it at once; what is queued is lost.
    pub fn close(&self) {
        self.outbox.close();
        self.outbox.wake();
    }

    /// Closes it at once, and answers nothing more, whatever is applied.
    pub(super) fn abandon(&self) {
        self.order.lock().ended = true;
        self.close();
    }

    /// Has the task woken at the next `Connections::flush`.
    fn mark(self: &Arc<Self>) {
        if self.outbox.mark() {
            self.home.to_wake(self.clone());
        }
    }

    pub(super) fn bell(&self) -> Option<&Arc<Bell>> {
        self.admission.bell.as_ref()
    }

    pub(super) fn wake(&self) {
        self.outbox.wake();
    }
}
