//! One client's connection, as other threads see it.
//!
//! The connection's own task is `task`. This folder has the functions that other threads may call. The thread that
//! applies transactions queues replies and events here, and code that ends a session closes its connection here.
//! Methods that take the state or the watches are called under their locks; `session` gives the order of the locks.
//!
//! | file | holds |
//! |---|---|
//! | `answers` | replies to writes, to reads whose turn has come, and to the first message |
//! | `events` | watch events, sent or withheld |

mod answers;
mod events;

pub(super) use answers::{Kind, Turn};

use super::auth;
use super::connections::{Admission, Connections};
use super::expiry::Heard;
use super::order::{Handshake, Order};
use super::outbox::{End, Outbox};
use super::proven::{self, Proven};
use super::statistics::{Last, Statistics};
use super::workers::Bell;
use crate::environment::{Clock, wall_ms};
use crate::metrics::Metrics;
use crate::model::{ConnectionId, Identity, SessionId};
use crate::pipeline::Caller;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A client that has been let in and has no `Connection` yet.
pub(super) struct Arrival {
    pub(crate) admission: Admission,
    pub(crate) peer: SocketAddr,
    /// The subject of the client's certificate (RFC 2253), if it showed one.
    pub(crate) subject: Option<String>,
    /// Wakes the worker that the connection lives on. None: the connection does not live on one of `Workers`.
    pub(crate) bell: Option<Arc<Bell>>,
}

/// One client's connection.
pub struct Connection {
    id: ConnectionId,
    peer: SocketAddr,
    /// This server's connections, with what they share.
    home: Arc<Connections>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// 0 until the session is there. Invariant: set once, since only the first message asks for a session.
    session: AtomicI64,
    /// The negotiated timeout; 0 until the session is there.
    timeout_ms: AtomicI32,
    /// The session's last sign of life. Not set for a session that this member cannot keep alive (read-only mode).
    heard: OnceLock<Arc<Heard>>,
    /// Whether only this member knows the session.
    local: AtomicBool,
    /// Whether the client came while this member was cut off. The connection then gets nothing but reads.
    read_only: AtomicBool,
    /// The identities that the client has proven. Its task and logins change them; other threads read them.
    proven: Mutex<Proven>,
    /// `Proven::next_end_ms`, readable without the lock.
    next_end_ms: AtomicU64,
    pub(super) order: Mutex<Order>,
    pub(super) outbox: Outbox,
    pub(crate) statistics: Statistics,
    pub(crate) last: Last,
    /// Milliseconds of the member's clock.
    established_ms: u64,
    bell: Option<Arc<Bell>>,
    /// Counts the connection for its address until it is dropped.
    _admission: Admission,
}

impl Connection {
    pub(super) fn new(
        home: Arc<Connections>,
        arrival: Arrival,
        id: ConnectionId,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Connection {
        let Arrival { admission, peer, subject, bell } = arrival;
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
            order: Mutex::new(Order::new(home.load().clone())),
            outbox: Outbox::new(),
            statistics: Statistics::new(),
            last: Last::default(),
            established_ms: clock.now_ms(),
            bell,
            _admission: admission,
            home,
            clock,
            metrics,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// When the connection was accepted: milliseconds of the member's clock.
    pub(crate) fn established_ms(&self) -> u64 {
        self.established_ms
    }

    pub(super) fn home(&self) -> &Arc<Connections> {
        &self.home
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// `crst`: the connection's own counters start over.
    pub(crate) fn reset_statistics(&self) {
        self.statistics.reset();
        self.last.reset();
    }

    /// Counts a packet from the client: a frame, or a four letter word. `task` has counted its bytes already.
    pub(super) fn count_received(&self) {
        self.statistics.received.fetch_add(1, Relaxed);
        self.metrics.packets_received.increment();
    }
}

/// The session.
impl Connection {
    /// `SessionId::NONE` until the session is there.
    pub(crate) fn session(&self) -> SessionId {
        SessionId(self.session.load(Relaxed))
    }

    /// The negotiated timeout; 0 until the session is there.
    pub(crate) fn timeout_ms(&self) -> i32 {
        self.timeout_ms.load(Relaxed)
    }

    /// The connection serves the session from now on. `heard`: None for a session that this member cannot keep alive.
    fn takes_up(&self, handshake: &Handshake, heard: Option<Arc<Heard>>) {
        if let Some(heard) = heard {
            let first = self.heard.set(heard).is_ok();
            assert!(first, "connection {} takes up one session", self.id.number);
        }
        self.timeout_ms.store(handshake.timeout_ms, Relaxed);
        let before = self.session.swap(handshake.session.0, Relaxed);
        assert_eq!(before, 0, "connection {} takes up one session", self.id.number);
        self.home.takes_up(handshake.session, self);
    }

    /// Whether only this member knows the session.
    pub(crate) fn has_local_session(&self) -> bool {
        self.local.load(Relaxed)
    }

    /// The session becomes a global one. Later requests of this connection are ordered behind the transaction that
    /// creates the global session.
    pub(super) fn becomes_global(&self) {
        self.local.store(false, Relaxed);
    }

    /// Whether the connection gets nothing but reads.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Relaxed)
    }

    /// Bytes from the client arrived at `now_us` (microseconds of the member's clock): a sign of life of its session.
    pub(super) fn touch(&self, now_us: u64) {
        if let Some(heard) = self.heard.get() {
            heard.touch(now_us / 1000);
        }
    }

    /// Whether the session is global, and has given a sign of life at `ms` (of the member's clock) or later.
    pub(super) fn heard_since(&self, ms: u64) -> bool {
        !self.has_local_session() && self.heard.get().is_some_and(|heard| heard.since(ms))
    }

    /// Backpressure begins (`held`) or ends. While it lasts nothing is read from the socket, and the session does not
    /// expire.
    pub(super) fn hold(&self, held: bool) {
        if let Some(heard) = self.heard.get() {
            heard.hold(held);
        }
    }
}

/// Who the client is.
impl Connection {
    /// The proven identities that are still valid.
    pub(crate) fn identities(&self) -> Arc<[Identity]> {
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

    /// Whether some proven identity expires. The result of `identities` must not be kept then.
    pub(super) fn identities_end(&self) -> bool {
        self.next_end_ms.load(Relaxed) != proven::NEVER
    }

    /// Adds proven identities. `until_ms`: when they expire, Unix milliseconds; None: never. False if that would
    /// be too many or too long (`Proven::add`); then nothing is added.
    pub(super) fn prove(&self, identities: Vec<Identity>, until_ms: Option<u64>) -> bool {
        let mut proven = self.proven.lock();
        let fits = proven.add(identities, until_ms);
        self.next_end_ms.store(proven.next_end_ms(), Relaxed);
        fits
    }

    /// This connection as a `Caller` with the given identities.
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
}

/// Backpressure, and the end.
impl Connection {
    /// Requests without an answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.order.lock().len()
    }

    /// Whether another request may be taken from the socket.
    pub(crate) fn takes_requests(&self) -> bool {
        self.order.lock().takes_requests() && self.outbox.has_room() && self.home.load().takes_requests()
    }

    /// Whether bytes wait to be written.
    pub(crate) fn writes(&self) -> bool {
        self.outbox.waits()
    }

    /// Whether the connection's task has ended, or the connection was abandoned.
    pub(super) fn is_gone(&self) -> bool {
        self.order.lock().has_ended()
    }

    /// Whether the connection is ending or gone, so that it takes no more answers.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_gone() || self.outbox.end() != End::Open
    }

    /// Closes the connection once everything that is queued has been written.
    pub(crate) fn close_after_flush(&self) {
        self.outbox.close_after_flush();
        self.outbox.wake();
    }

    /// Closes the connection at once. What is queued is lost.
    pub(crate) fn close(&self) {
        self.outbox.close();
        self.outbox.wake();
    }

    /// Has the task woken at the next `Connections::flush`.
    fn mark(self: &Arc<Self>) {
        if self.outbox.mark() {
            self.home.wake_later(self.clone());
        }
    }

    pub(super) fn bell(&self) -> Option<&Arc<Bell>> {
        self.bell.as_ref()
    }

    pub(super) fn wake(&self) {
        self.outbox.wake();
    }

    /// Queues one packet and counts it. Returns its length in bytes; 0 if the connection is ending. A packet that is
    /// too long for a frame ends the connection: `fill` appends nothing then (`jute::put_frame`).
    fn queue(&self, fill: impl FnOnce(&mut BytesMut)) -> u64 {
        let mut bytes = 0;
        let mut too_long = false;
        self.outbox.push(|out| {
            let before = out.len();
            fill(out);
            bytes = (out.len() - before) as u64;
            too_long = bytes == 0;
        });
        if too_long {
            tracing::warn!(peer = %self.peer, "a reply of more than 2 GiB cannot be sent: the connection is closed");
            self.outbox.close();
        }
        if bytes > 0 {
            self.statistics.sent.fetch_add(1, Relaxed);
            self.metrics.packets_sent.increment();
        }
        bytes
    }
}
