//! What a connection has not answered yet, oldest first, and how replies to writes look.
//!
//! The queue is empty for a connection that only reads: its requests are then answered at once. A write waits here for its
//! transaction; everything behind it waits with it. The oldest entry is always a write, a handshake, an unfinished `sync`
//! or a read about which guests are being asked: whatever can be answered is answered as soon as it is the oldest. Behind
//! an unfinished `sync` and a read that policies are asked about nothing is taken from the socket, so the oldest is a write
//! whenever a transaction of this connection is applied.

use super::rejection::Refusals;
use crate::limits::{UNANSWERED_MAX, UNANSWERED_ROOM_KEPT};
use crate::model::txn::{Change, Outcome, Slot, Txn};
use crate::model::{ErrorCode, Identity, Password, SessionId, Stat};
use crate::state::Effects;
use crate::wire::encode;
use crate::wire::reply::{Body, MultiSlot, ReplyHeader};
use crate::wire::request::{Request, RequestHeader, op};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
pub(super) struct Order {
    queue: VecDeque<Entry>,
    /// Entries that let nothing pass: a handshake, a `sync`, a read that policies are asked about, the session's end.
    barriers: usize,
    /// An `addauth` waits for its authenticator: nothing is taken before it is known who asks.
    pub authenticating: bool,
    /// The task is gone: nothing more is answered, no watch armed.
    pub ended: bool,
    pub refusals: Refusals,
    /// How many of the oldest writes and handshakes the leader has been sent: what becomes of them is known once they
    /// are applied here.
    passed_on: usize,
    /// Unanswered requests of all connections.
    outstanding: Arc<AtomicUsize>,
}

pub(super) struct Entry {
    pub header: RequestHeader,
    /// When the frame was read, microseconds of the server's clock.
    pub received_us: u64,
    pub awaited: Awaited,
}

pub(super) enum Awaited {
    Handshake(Handshake),
    Write(Form),
    Sync {
        path: Option<String>,
        done: bool,
    },
    Own(Box<Parked>),
    /// The transaction that makes a session of this member everybody's. It has no reply.
    Upgrade,
}

/// A session is being opened or attached.
#[derive(Clone, Copy)]
pub(super) struct Handshake {
    pub session: SessionId,
    pub timeout_ms: i32,
    /// Whether the client's request had the field, so that the answer has it too.
    pub knows_read_only: bool,
}

/// A request that this server answers itself, once its turn comes.
pub(super) struct Parked {
    pub request: OwnRequest,
    /// What the connection had proven when the request was read.
    pub identities: Arc<[Identity]>,
    /// Guests may have to be asked about it: nothing behind it is taken from the socket, since a verdict may be late, and what
    /// it reads must not be later than what came before the next write.
    pub may_be_asked: bool,
    /// It is the oldest, and guests are being asked.
    pub asked: bool,
}

impl Parked {
    pub fn new(request: OwnRequest, identities: Arc<[Identity]>, may_be_asked: bool) -> Parked {
        Parked { request, identities, may_be_asked, asked: false }
    }
}

pub(super) enum OwnRequest {
    Request(Request),
    /// It could not be read, or is not for this connection.
    Refused(ErrorCode),
    /// closeSession of one that only this member knows.
    CloseLocalSession,
    /// createSession as a request: ZooKeeper answers with the ConnectResponse once more.
    SessionAgain(Password),
}

/// How the reply to a write looks; it follows from the opcode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Empty,
    Path,
    PathStat,
    Stat,
    /// reconfig
    DataStat,
    /// The operations' opcodes.
    Multi(Box<[i32]>),
    /// The reply is the connection's last.
    CloseSession,
}

impl Form {
    pub fn of(header: &RequestHeader, request: &Request) -> Form {
        match request {
            Request::Multi(operations) => Form::Multi(operations.iter().map(|operation| operation.op).collect()),
            _ => match header.op {
                op::CREATE | op::CREATE_IF_NOT_EXISTS => Form::Path,
                op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => Form::PathStat,
                op::SET_DATA | op::SET_ACL => Form::Stat,
                op::RECONFIG => Form::DataStat,
                op::CLOSE_SESSION => Form::CloseSession,
                _ => Form::Empty,
            },
        }
    }
}

impl Order {
    pub fn new(outstanding: Arc<AtomicUsize>) -> Order {
        let mut order = Order::default();
        order.outstanding = outstanding;
        order
    }

    /// Whether this connection has enough under way: by its own bound, or because all together have more than
    /// `outstanding_max` and it has its share of them. One without any may always ask, so nobody starves (ZooKeeper's
    /// globalOutstandingLimit).
    pub fn is_crowded(&self, outstanding_max: usize) -> bool {
        self.queue.len() >= UNANSWERED_MAX
            || (!self.queue.is_empty() && self.outstanding.load(Ordering::Relaxed) > outstanding_max)
    }

    pub fn push(&mut self, entry: Entry) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        self.barriers += usize::from(entry.awaited.holds_back());
        self.queue.push_back(entry);
    }

    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.barriers -= usize::from(entry.awaited.holds_back());
        if self.queue.is_empty() && self.queue.capacity() > UNANSWERED_ROOM_KEPT {
            self.queue = VecDeque::new();
        }
        Some(entry)
    }

    pub fn oldest(&self) -> Option<&Entry> {
        self.queue.front()
    }

    /// As `pop`, for the oldest write: its transaction is applied.
    pub fn pop_applied(&mut self) -> Option<Entry> {
        self.passed_on = self.passed_on.saturating_sub(1);
        self.pop()
    }

    /// One more of its writes is on its way to the leader.
    pub fn note_passed_on(&mut self) {
        self.passed_on += 1;
    }

    pub fn passed_on(&self) -> usize {
        self.passed_on
    }

    /// The oldest entry, if it can be answered now: no write or unfinished sync.
    pub fn pop_ready(&mut self) -> Option<Entry> {
        match self.queue.front()?.awaited {
            Awaited::Own(ref parked) if parked.asked => None,
            Awaited::Own(_) | Awaited::Sync { done: true, .. } => self.pop(),
            _ => None,
        }
    }

    /// The oldest entry again, which `pop` has given out.
    pub fn put_back(&mut self, entry: Entry) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        self.barriers += usize::from(entry.awaited.holds_back());
        self.queue.push_front(entry);
    }

    /// The oldest entry, if guests are being asked about it.
    pub fn pop_asked(&mut self) -> Option<Entry> {
        match &self.queue.front()?.awaited {
            Awaited::Own(parked) if parked.asked => self.pop(),
            _ => None,
        }
    }

    /// The barrier of the oldest unfinished sync has been reached.
    pub fn sync_done(&mut self) {
        let unfinished = self.queue.iter_mut().find_map(|entry| match &mut entry.awaited {
            Awaited::Sync { done, .. } if !*done => Some(done),
            _ => None,
        });
        if let Some(done) = unfinished {
            *done = true;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no further request may be taken.
    pub fn holds_back(&self) -> bool {
        self.barriers > 0 || self.authenticating
    }
}

impl Awaited {
    fn holds_back(&self) -> bool {
        match self {
            Awaited::Handshake(_) | Awaited::Sync { .. } | Awaited::Write(Form::CloseSession) => true,
            Awaited::Own(parked) => parked.may_be_asked || matches!(parked.request, OwnRequest::CloseLocalSession),
            Awaited::Write(_) | Awaited::Upgrade => false,
        }
    }
}

/// Appends the reply to a write that was applied. Returns the error in its header.
pub(super) fn encode_write(out: &mut BytesMut, xid: i32, form: &Form, txn: &Txn, applied: &Effects) -> i32 {
    let error = match &txn.outcome {
        Outcome::Refused(refusal) => refusal.code.code(),
        Outcome::Done(_) | Outcome::MultiRefused { .. } => 0,
    };
    let header = ReplyHeader { xid, zxid: txn.zxid.to_wire(), error };
    encode::frame(out, &header, &body(form, txn, applied));
    error
}

fn body<'a>(form: &Form, txn: &'a Txn, applied: &Effects) -> Body<'a> {
    match (&txn.outcome, form) {
        (Outcome::Refused(_), _) => Body::Empty,
        (Outcome::MultiRefused { failed, operations, refusal }, _) => {
            let slot = |at: u32| match at.cmp(failed) {
                std::cmp::Ordering::Less => ErrorCode::Ok,
                std::cmp::Ordering::Equal => refusal.code,
                std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency,
            };
            Body::Multi((0..*operations).map(|at| MultiSlot::Error(slot(at).code())).collect())
        }
        (Outcome::Done(slots), Form::Multi(operations)) => {
            assert_eq!(slots.len(), operations.len(), "a multi has one result an operation");
            let results = operations.iter().zip(slots).enumerate();
            Body::Multi(results.map(|(at, (&op, slot))| multi_slot(op, txn, slot, stat(applied, at))).collect())
        }
        (Outcome::Done(slots), form) => {
            let path = || slots.first().map_or("", |slot| path_of(txn, slot));
            match form {
                Form::Path => Body::Path(path()),
                Form::PathStat => Body::PathStat(path(), stat(applied, 0)),
                Form::Stat => Body::Stat(stat(applied, 0)),
                Form::DataStat => Body::DataStat(slots.first().and_then(|slot| data_of(txn, slot)), stat(applied, 0)),
                Form::Empty | Form::CloseSession | Form::Multi(_) => Body::Empty,
            }
        }
    }
}

fn multi_slot<'a>(op: i32, txn: &'a Txn, slot: &'a Slot, stat: Stat) -> MultiSlot<'a> {
    match op {
        op::CREATE => MultiSlot::Path(path_of(txn, slot)),
        op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => MultiSlot::PathStat(path_of(txn, slot), stat),
        op::DELETE => MultiSlot::Deleted,
        op::SET_DATA => MultiSlot::Stat(stat),
        op::CHECK => MultiSlot::Checked,
        op::CREATE_IF_NOT_EXISTS => MultiSlot::Typed(op, Some(path_of(txn, slot))),
        other => MultiSlot::Typed(other, None),
    }
}

fn stat(applied: &Effects, slot: usize) -> Stat {
    applied.slots.get(slot).copied().unwrap_or_default()
}

fn path_of<'a>(txn: &'a Txn, slot: &'a Slot) -> &'a str {
    match slot {
        Slot::Nothing => "",
        Slot::Path(path) => path,
        Slot::Change(at) => match txn.changes.get(*at as usize) {
            Some(
                Change::Create { path, .. }
                | Change::Delete { path }
                | Change::SetData { path, .. }
                | Change::SetAcl { path, .. },
            ) => path,
            _ => "",
        },
    }
}

fn data_of<'a>(txn: &'a Txn, slot: &Slot) -> Option<&'a [u8]> {
    match slot {
        Slot::Change(at) => match txn.changes.get(*at as usize) {
            Some(Change::SetData { data, .. }) => data.as_deref(),
            _ => None,
        },
        _ => None,
    }
}

/// What a connection leaves unanswered when it goes is no longer outstanding.
impl Drop for Order {
    fn drop(&mut self) {
        self.outstanding.fetch_sub(self.queue.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Owner, Refusal, Zxid, acl};

    fn txn(outcome: Outcome, changes: Vec<Change>) -> Txn {
        Txn { zxid: Zxid(7), wall_ms: 0, ensemble_ms: 0, origin: None, outcome, changes, made_by: Vec::new() }
    }

    fn create(path: &str) -> Change {
        let owner = Owner::PERSISTENT;
        Change::Create { path: path.into(), data: None, acl: acl::open_unsafe(), owner, parent_cversion: 1 }
    }

    #[test]
    fn a_multi_answers_each_operation_in_its_own_type() {
        let slots = vec![Slot::Change(0), Slot::Change(1), Slot::Nothing, Slot::Nothing, Slot::Path("/old".into())];
        let txn = txn(Outcome::Done(slots), vec![create("/a"), create("/c")]);
        let stats = vec![Stat { version: 1, ..Stat::default() }; 5];
        let applied = Effects { slots: stats.clone(), ..Effects::default() };
        let operations = [op::CREATE, op::CREATE_CONTAINER, op::DELETE, op::CHECK_NOT_EXISTS, op::CREATE_IF_NOT_EXISTS];
        assert_eq!(
            body(&Form::Multi(operations.into()), &txn, &applied),
            Body::Multi(vec![
                MultiSlot::Path("/a"),
                MultiSlot::PathStat("/c", stats[1]),
                MultiSlot::Deleted,
                MultiSlot::Typed(op::CHECK_NOT_EXISTS, None),
                MultiSlot::Typed(op::CREATE_IF_NOT_EXISTS, Some("/old")),
            ])
        );
    }

    #[test]
    fn a_refused_multi_says_where_and_header_says_nothing() {
        let refusal = Refusal::from(ErrorCode::NodeExists);
        let txn = txn(Outcome::MultiRefused { failed: 1, operations: 3, refusal }, Vec::new());
        let mut out = BytesMut::new();
        let form = Form::Multi([op::CREATE; 3].into());
        assert_eq!(encode_write(&mut out, 5, &form, &txn, &Effects::default()), 0);
        let errors = [0, -110, -2].map(MultiSlot::Error).to_vec();
        assert_eq!(body(&form, &txn, &Effects::default()), Body::Multi(errors));
    }

    #[test]
    fn reads_wait_behind_a_write_and_a_sync_lets_nothing_pass() {
        let header = RequestHeader { xid: 1, op: 0 };
        let entry = |awaited| Entry { header, received_us: 0, awaited };
        let parked = || Awaited::Own(Box::new(Parked::new(OwnRequest::Request(Request::Ping), Arc::from([]), false)));
        let mut order = Order::default();
        order.push(entry(Awaited::Write(Form::Empty)));
        order.push(entry(parked()));
        order.push(entry(Awaited::Sync { path: None, done: false }));
        assert!(order.holds_back());
        assert!(order.pop_ready().is_none());
        order.sync_done();
        assert!(order.pop_ready().is_none(), "the write is older");
        assert!(order.pop().is_some());
        assert!(order.pop_ready().is_some() && order.pop_ready().is_some());
        assert!(order.is_empty() && !order.holds_back());
    }
}
