//! The requests that a connection has not answered yet, oldest first.
//!
//! Replies leave in the order of the requests. A write waits here for its transaction, and everything behind it waits
//! with it. A connection that only reads has an empty queue: its requests are answered at once.
//!
//! Whatever can be answered is answered as soon as it is the oldest. So the oldest request always waits for something:
//! a write or a handshake for its transaction, a `sync` for its barrier, a read for plugins.
//!
//! Some requests hold back later ones: a handshake, a `sync`, a read that plugins may be asked about or whose answer
//! may be long, the end of the session. After such a request nothing more is taken from the socket until the request is
//! answered. So the oldest request is a write whenever a transaction of this connection is applied.

use super::connections::Load;
use super::form::Form;
use super::rejection::Refusals;
use crate::limits::{UNANSWERED_MAX, UNANSWERED_ROOM_KEPT, WAITING_READS_BYTES_MAX};
use crate::model::{ErrorCode, Identity, Password, SessionId};
use crate::wire::request::{Request, RequestHeader};
use std::collections::VecDeque;
use std::sync::Arc;

/// The order of one connection's replies.
pub(super) struct Order {
    /// Invariant: the numbers of the entries are consecutive, from `answered` + 1 to `asked`.
    /// Invariant: only the newest entry may hold back, since nothing is pushed behind such an entry.
    /// Invariant: at most `UNANSWERED_MAX` entries, and one that makes the session global.
    queue: VecDeque<Entry>,
    /// The number of the newest request so far; 0 before the first.
    asked: u64,
    /// The number of the request that was answered last; 0 before the first.
    answered: u64,
    /// How many entries wait for a transaction.
    transactions: usize,
    /// How many of the oldest transactions have been passed on to the leader. Their outcome is known once they are
    /// applied here. Invariant: at most `transactions`, and 0 after the end.
    passed_on: usize,
    /// Bytes of the largest write since the last moment at which no transaction waited. A later read may find a node of
    /// that size.
    written_bytes: usize,
    /// Invariant: the sum of `Parked::expected_bytes` of all entries.
    expected_bytes: usize,
    /// An `addauth` waits for its authenticator. Nothing is taken from the socket until the identities are known.
    authenticating: bool,
    /// The connection is gone. Nothing more is answered, and no watch is set.
    ended: bool,
    /// What the client finds at `/zookeeper/rejection`.
    pub(crate) refusals: Refusals,
    load: Arc<Load>,
}

/// One request without an answer.
pub(super) struct Entry {
    /// Counts the connection's queued requests, from 1.
    number: u64,
    pub(crate) header: RequestHeader,
    /// When the frame was read: microseconds of the member's clock.
    pub(crate) received_us: u64,
    pub(crate) awaited: Awaited,
}

/// What a request waits for.
pub(super) enum Awaited {
    /// The transaction that opens or attaches the session.
    Handshake(Handshake),
    /// The write's transaction.
    Write(Form),
    /// The transaction that makes a local session global. It has no reply.
    Upgrade,
    /// The barrier of a `sync`.
    Sync { path: Option<String>, done: bool },
    /// The request's turn, and perhaps plugins.
    Local(Box<Parked>),
}

/// A session that is being opened or attached.
#[derive(Clone, Copy)]
pub(super) struct Handshake {
    pub(crate) session: SessionId,
    pub(crate) timeout_ms: i32,
    /// Whether the client's request had the field `readOnly`. The answer has it then, too.
    pub(crate) knows_read_only: bool,
}

/// A request that this server answers from its own state once it is the oldest.
pub(super) struct Parked {
    pub(crate) request: LocalRequest,
    /// The identities that the client had proven when the request was read.
    pub(crate) identities: Arc<[Identity]>,
    /// Whether plugins may have to be asked, or the answer may be so long that it is not made under the exclusive lock
    /// of the state. Then the answer may be late. The read must not see later writes, so no later request is taken from
    /// the socket.
    pub(crate) may_be_late: bool,
    /// About how many bytes the reply has.
    pub(crate) expected_bytes: usize,
    /// Whether the request is the oldest, and is left to the thread that asks plugins.
    pub(crate) asked: bool,
}

impl Parked {
    pub(crate) fn new(request: LocalRequest, identities: Arc<[Identity]>, may_be_late: bool) -> Parked {
        Parked { request, identities, may_be_late, expected_bytes: 0, asked: false }
    }
}

/// A request that needs no transaction.
pub(super) enum LocalRequest {
    Request(Request),
    /// The request could not be decoded, or this connection may not make it.
    Refused(ErrorCode),
    /// closeSession of a local session.
    CloseLocalSession,
    /// createSession as a request: ZooKeeper answers with the ConnectResponse once more.
    SessionAgain(Password),
}

impl Awaited {
    fn is_transaction(&self) -> bool {
        matches!(self, Awaited::Handshake(_) | Awaited::Write(_) | Awaited::Upgrade)
    }

    fn expected_bytes(&self) -> usize {
        if let Awaited::Local(parked) = self { parked.expected_bytes } else { 0 }
    }

    /// Whether the request can be answered once it is the oldest.
    fn is_ready(&self) -> bool {
        match self {
            Awaited::Local(parked) => !parked.asked,
            Awaited::Sync { done, .. } => *done,
            Awaited::Handshake(_) | Awaited::Write(_) | Awaited::Upgrade => false,
        }
    }

    /// Whether no further request may be taken from the socket before this one is answered.
    fn holds_back(&self) -> bool {
        match self {
            Awaited::Handshake(_) | Awaited::Sync { .. } | Awaited::Write(Form::CloseSession) => true,
            Awaited::Local(parked) => parked.may_be_late || matches!(parked.request, LocalRequest::CloseLocalSession),
            Awaited::Write(_) | Awaited::Upgrade => false,
        }
    }
}

impl Order {
    pub(crate) fn new(load: Arc<Load>) -> Order {
        Order {
            queue: VecDeque::new(),
            asked: 0,
            answered: 0,
            transactions: 0,
            passed_on: 0,
            written_bytes: 0,
            expected_bytes: 0,
            authenticating: false,
            ended: false,
            refusals: Refusals::default(),
            load,
        }
    }

    /// Takes in a request that is not answered at once.
    pub(crate) fn push(&mut self, header: RequestHeader, received_us: u64, awaited: Awaited) {
        assert!(!self.holds_back(), "nothing passes a request that holds back");
        assert!(!self.queue.is_empty() || !awaited.is_ready(), "what can be answered does not wait");
        self.load.add_one();
        self.asked += 1;
        self.transactions += usize::from(awaited.is_transaction());
        self.expected_bytes += awaited.expected_bytes();
        self.queue.push_back(Entry { number: self.asked, header, received_us, awaited });
        self.check();
    }

    /// Takes out the oldest request, whose transaction has been applied. `xid`: the xid of the request that the
    /// transaction answers.
    pub(crate) fn pop_applied(&mut self, xid: i32) -> Entry {
        let entry = self.pop().expect("a transaction answers a request of its connection");
        assert!(entry.awaited.is_transaction(), "the oldest request waits for a transaction");
        assert_eq!(entry.header.xid, xid, "transactions come in the order of the requests");
        entry
    }

    /// The oldest request, if it can be answered now.
    pub(crate) fn pop_ready(&mut self) -> Option<Entry> {
        if self.queue.front()?.awaited.is_ready() { self.pop() } else { None }
    }

    /// The oldest request, if plugins are being asked about it.
    pub(crate) fn pop_asked(&mut self) -> Option<Entry> {
        match &self.queue.front()?.awaited {
            Awaited::Local(parked) if parked.asked => self.pop(),
            _ => None,
        }
    }

    /// Takes back the entry that was popped last: it still waits for plugins.
    pub(crate) fn put_back(&mut self, entry: Entry) {
        assert_eq!(entry.number, self.answered, "only what was popped last is put back");
        assert!(!entry.awaited.is_ready(), "what is put back waits for plugins");
        self.load.add_one();
        self.answered -= 1;
        self.transactions += usize::from(entry.awaited.is_transaction());
        self.expected_bytes += entry.awaited.expected_bytes();
        self.queue.push_front(entry);
        self.check();
    }

    fn pop(&mut self) -> Option<Entry> {
        assert!(!self.ended, "nothing is answered after the end");
        let entry = self.queue.pop_front()?;
        self.load.take_off(1);
        self.answered += 1;
        assert_eq!(entry.number, self.answered, "requests are answered in their order");
        if entry.awaited.is_transaction() {
            self.transactions -= 1;
            self.passed_on = self.passed_on.saturating_sub(1);
            if self.transactions == 0 {
                self.written_bytes = 0;
            }
        }
        self.expected_bytes -= entry.awaited.expected_bytes();
        if self.queue.is_empty() && self.queue.capacity() > UNANSWERED_ROOM_KEPT {
            self.queue = VecDeque::new();
        }
        self.check();
        Some(entry)
    }

    /// The barrier of the unfinished `sync` has been reached.
    pub(crate) fn sync_done(&mut self) {
        match self.queue.back_mut().map(|newest| &mut newest.awaited) {
            Some(Awaited::Sync { done, .. }) if !*done => *done = true,
            _ => panic!("the unfinished `sync` is the newest request, since nothing passes it"),
        }
    }

    /// The newest request is a write of that many bytes.
    pub(crate) fn note_written(&mut self, bytes: usize) {
        self.written_bytes = self.written_bytes.max(bytes);
    }

    /// Bytes that a read which is parked now may find in a node because of the writes before it.
    pub(crate) fn written_bytes(&self) -> usize {
        self.written_bytes
    }

    /// One more of the oldest transactions goes to the leader.
    pub(crate) fn note_passed_on(&mut self) {
        assert!(!self.ended, "writes of a connection that is gone are counted among the departed");
        self.passed_on += 1;
        self.check();
    }

    /// Writes that were passed on to the leader and are not applied here.
    pub(crate) fn passed_on(&self) -> usize {
        self.passed_on
    }

    /// The leader has closed the connection: what was passed on may never be applied.
    pub(crate) fn give_up_passed_on(&mut self) {
        self.passed_on = 0;
    }

    /// An authenticator is being asked. `authenticated` is called with its answer.
    pub(crate) fn authenticate(&mut self) {
        assert!(!self.authenticating, "nothing is taken behind a login that waits");
        self.authenticating = true;
    }

    pub(crate) fn authenticated(&mut self) {
        assert!(self.authenticating, "a login is answered once");
        self.authenticating = false;
    }

    /// The connection is gone. Returns how many of its writes were passed on and are not applied.
    pub(crate) fn end(&mut self) -> usize {
        self.ended = true;
        std::mem::take(&mut self.passed_on)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The request that is answered next.
    #[cfg(feature = "simulation")]
    pub(crate) fn oldest(&self) -> Option<&Entry> {
        self.queue.front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether another request may be taken from the socket.
    pub(crate) fn takes_requests(&self) -> bool {
        !self.ended && !self.holds_back() && !self.is_crowded()
    }

    fn holds_back(&self) -> bool {
        self.authenticating || self.queue.back().is_some_and(|newest| newest.awaited.holds_back())
    }

    /// Whether this connection has as many requests under way as it may have: by its own bounds, or because all
    /// connections together have more than `globalOutstandingLimit`. A connection with nothing under way may always
    /// send a request, so that no connection starves.
    fn is_crowded(&self) -> bool {
        self.queue.len() >= UNANSWERED_MAX
            || self.expected_bytes >= WAITING_READS_BYTES_MAX
            || (!self.queue.is_empty() && self.load.is_over())
    }

    /// The invariants, after each change. Without `debug_assertions` this takes constant time.
    fn check(&self) {
        let len = self.queue.len();
        assert_eq!(self.answered + len as u64, self.asked, "each request waits or is answered");
        assert!(len <= UNANSWERED_MAX + 1, "a connection has {len} unanswered requests");
        assert!(self.transactions <= len, "every transaction is of a request that waits");
        assert!(self.passed_on <= self.transactions, "only transactions that wait are passed on");
        #[cfg(debug_assertions)]
        {
            let transactions = self.queue.iter().filter(|entry| entry.awaited.is_transaction()).count();
            assert_eq!(self.transactions, transactions, "all transactions are counted");
            let expected: usize = self.queue.iter().map(|entry| entry.awaited.expected_bytes()).sum();
            assert_eq!(self.expected_bytes, expected, "all expected replies are counted");
            let older = self.queue.iter().take(len.saturating_sub(1));
            assert!(older.into_iter().all(|entry| !entry.awaited.holds_back()), "only the newest request holds back");
            let numbers = self.queue.iter().map(|entry| entry.number);
            assert!(numbers.eq(self.answered + 1..=self.asked), "requests wait in their order");
        }
    }
}

/// Requests that the connection leaves unanswered no longer count as outstanding.
impl Drop for Order {
    fn drop(&mut self) {
        self.load.take_off(self.queue.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order::new(Arc::new(Load::new(1000)))
    }

    fn push(order: &mut Order, xid: i32, awaited: Awaited) {
        order.push(RequestHeader { xid, op: 0 }, 0, awaited);
    }

    fn parked() -> Awaited {
        Awaited::Local(Box::new(Parked::new(LocalRequest::Request(Request::Ping), Arc::from([]), false)))
    }

    #[test]
    fn reads_wait_behind_a_write_and_a_sync_lets_nothing_pass() {
        let mut order = order();
        push(&mut order, 1, Awaited::Write(Form::Empty));
        push(&mut order, 2, parked());
        push(&mut order, 3, Awaited::Sync { path: None, done: false });
        assert!(!order.takes_requests());
        assert!(order.pop_ready().is_none());
        order.sync_done();
        assert!(order.pop_ready().is_none(), "the write is older");
        order.pop_applied(1);
        assert!(order.pop_ready().is_some() && order.pop_ready().is_some());
        assert!(order.is_empty() && order.takes_requests());
    }

    /// Otherwise all of them would be answered at once when the write is applied.
    #[test]
    fn reads_with_large_replies_are_not_taken_without_end() {
        let mut order = order();
        push(&mut order, 1, Awaited::Write(Form::Empty));
        order.note_written(WAITING_READS_BYTES_MAX / 2);
        for xid in 2..=3 {
            assert!(order.takes_requests());
            let expected_bytes = order.written_bytes();
            let request = LocalRequest::Request(Request::Ping);
            let parked = Parked { expected_bytes, ..Parked::new(request, Arc::from([]), false) };
            push(&mut order, xid, Awaited::Local(Box::new(parked)));
        }
        assert!(!order.takes_requests());
        order.pop_applied(1);
        assert!(order.pop_ready().is_some());
        assert!(order.takes_requests() && order.written_bytes() == 0);
    }

    #[test]
    fn passed_on_writes_are_counted_until_they_are_applied_or_the_connection_ends() {
        let mut order = order();
        for xid in 1..=3 {
            push(&mut order, xid, Awaited::Write(Form::Empty));
        }
        order.note_passed_on();
        order.note_passed_on();
        order.pop_applied(1);
        assert_eq!(order.passed_on(), 1);
        assert_eq!((order.end(), order.passed_on(), order.takes_requests()), (1, 0, false));
    }

    #[test]
    fn what_a_connection_leaves_behind_is_no_longer_outstanding() {
        let load = Arc::new(Load::new(0));
        let mut order = Order::new(load.clone());
        push(&mut order, 1, Awaited::Write(Form::Empty));
        assert!(load.is_over() && !order.takes_requests());
        assert!(Order::new(load.clone()).takes_requests(), "a connection with nothing under way may ask");
        drop(order);
        assert_eq!(load.outstanding(), 0);
    }

    #[test]
    #[should_panic(expected = "transactions come in the order of the requests")]
    fn a_transaction_out_of_order_is_a_defect() {
        let mut order = order();
        push(&mut order, 1, Awaited::Write(Form::Empty));
        push(&mut order, 2, Awaited::Write(Form::Empty));
        order.pop_applied(2);
    }

    #[test]
    #[should_panic(expected = "nothing passes a request that holds back")]
    fn a_request_behind_a_sync_is_a_defect() {
        let mut order = order();
        push(&mut order, 1, Awaited::Sync { path: None, done: false });
        push(&mut order, 2, parked());
    }
}
