//! The outstanding changes: what reserved but not yet applied transactions make of nodes, sessions, ephemeral nodes and
//! quotas. `View` lays them over the applied state.
//!
//! Promises: a record says what the state will say once the record's zxid is applied. So a record is redundant, never
//! wrong, once the state has caught up, and `forget` may drop it at any later time. `rollback` leaves nothing of what
//! came behind its savepoint. No hash map here is iterated.
//!
//! Bounded by the transactions in flight (`limits::ENTRIES_IN_FLIGHT_MAX` batches).

use crate::model::txn::Change;
use crate::model::{Acl, Owner, SessionId, Stat, Zxid, path};
use crate::state::quota::Used;
use crate::state::{Node, Session};
use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

#[derive(Default)]
pub(crate) struct Overlay {
    nodes: HashMap<Arc<str>, Outstanding<Option<NodeRecord>>>,
    sessions: HashMap<SessionId, Outstanding<Option<Session>>>,
    /// Whether the session owns that ephemeral node.
    ephemerals: BTreeMap<(SessionId, Arc<str>), Outstanding<bool>>,
    /// By parent: the children that outstanding transactions create or delete, oldest first. A child may occur twice.
    ///
    /// Invariant: a parent has one child here for each `Touched::Child` of that parent in `queue`.
    children: HashMap<Arc<str>, VecDeque<Arc<str>>>,
    /// By quota: what outstanding changes add to its usage.
    ///
    /// Invariant: the sum of the `Touched::Usage` of that quota in `queue`. No entry is zero.
    usage: HashMap<Arc<str>, Used>,
    /// By quota: the part of `usage` that the transaction in the making has added.
    usage_made: HashMap<Arc<str>, Used>,
    /// What each transaction touched, oldest first. `forget` goes through it in this order.
    ///
    /// Invariant: the zxids never fall. Each record of `nodes`, `sessions` and `ephemerals` stands here with the
    /// record's zxid, so once nothing up to a zxid is queued, no record of that zxid is left.
    queue: VecDeque<(Zxid, Touched)>,
    /// What the transaction in the making replaced, in order.
    ///
    /// Invariant: empty while no transaction is in the making.
    journal: Vec<Undo>,
    /// For a long journal: where each node occurs first, as far as somebody asked.
    first_undo: RefCell<FirstUndo>,
}

/// An index of the first `read` entries of the journal.
#[derive(Default)]
struct FirstUndo {
    /// Invariant: at most the length of the journal.
    read: usize,
    at: HashMap<Arc<str>, usize>,
}

/// A journal of at most this length is searched from its beginning.
const JOURNAL_SEARCHED_MAX: usize = 32;

/// A node as outstanding transactions leave it.
#[derive(Clone, Debug)]
pub(crate) struct NodeRecord {
    pub(crate) data: Data,
    /// As a client will see it.
    pub(crate) stat: Stat,
    /// The stored counter of creations, from which sequence numbers are made.
    pub(crate) cversion: i32,
    pub(crate) owner: Owner,
    pub(crate) acl: Acl,
}

/// The data of a `NodeRecord`. A record that only counts children needs no copy of the data.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// No outstanding transaction sets the data. The applied state has it.
    AsApplied,
    Set(Option<Bytes>),
}

struct Outstanding<T> {
    /// The last transaction that touched the value.
    zxid: Zxid,
    value: T,
}

enum Touched {
    Node(Arc<str>),
    /// A child of that node came or went.
    Child(Arc<str>),
    Session(SessionId),
    Ephemeral(SessionId, Arc<str>),
    Usage(Arc<str>, Used),
}

enum Undo {
    Node(Arc<str>, Option<Outstanding<Option<NodeRecord>>>),
    Session(SessionId, Option<Outstanding<Option<Session>>>),
    Ephemeral(SessionId, Arc<str>, Option<Outstanding<bool>>),
    Usage(Arc<str>, Used),
}

/// A point within the transaction in the making, to which `rollback` returns.
#[derive(Clone, Copy)]
pub(crate) struct Savepoint {
    queue: usize,
    journal: usize,
}

impl Overlay {
    /// The node as outstanding transactions leave it. None: no outstanding transaction touches the node. Some(None):
    /// the node will be gone.
    pub(crate) fn node(&self, path: &str) -> Option<Option<&NodeRecord>> {
        self.nodes.get(path).map(|record| record.value.as_ref())
    }

    /// The node before the transaction in the making. None: that transaction has not touched the node. Otherwise the
    /// answer that `node` gave then.
    pub(crate) fn node_before(&self, path: &str) -> Option<Option<Option<&NodeRecord>>> {
        let touches = |undo: &&Undo| matches!(undo, Undo::Node(touched, _) if &**touched == path);
        let first = if self.journal.len() <= JOURNAL_SEARCHED_MAX {
            self.journal.iter().find(touches)
        } else {
            self.first_undo.borrow_mut().find(&self.journal, path).and_then(|at| self.journal.get(at))
        };
        match first {
            Some(Undo::Node(_, before)) => Some(before.as_ref().map(|record| record.value.as_ref())),
            _ => None,
        }
    }

    /// The session as outstanding transactions leave it. None: they do not touch it. Some(None): it will be closed.
    pub(crate) fn session(&self, id: SessionId) -> Option<Option<&Session>> {
        if self.sessions.is_empty() {
            return None;
        }
        self.sessions.get(&id).map(|record| record.value.as_ref())
    }

    /// Paths of the session's ephemeral nodes that outstanding transactions create (true) or delete (false), in order.
    pub(crate) fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = (&Arc<str>, bool)> {
        let first: Arc<str> = Arc::from("");
        self.ephemerals
            .range((session, first)..)
            .take_while(move |((owner, _), _)| *owner == session)
            .map(|((_, path), record)| (path, record.value))
    }

    /// Names of children of `parent` that outstanding transactions create (true) or delete (false), in byte order.
    pub(crate) fn children(&self, parent: &str) -> BTreeMap<&str, bool> {
        let touched = self.children.get(parent).into_iter().flatten();
        touched.filter_map(|path| Some((path::name(path), self.nodes.get(path)?.value.is_some()))).collect()
    }

    /// What outstanding changes add to the usage of the quota at that path.
    pub(crate) fn usage(&self, quota: &str) -> Used {
        self.usage.get(quota).copied().unwrap_or(NO_USAGE)
    }

    /// What the transaction in the making has added to the usage of the quota at that path.
    pub(crate) fn usage_made(&self, quota: &str) -> Used {
        self.usage_made.get(quota).copied().unwrap_or(NO_USAGE)
    }

    /// Lays a node over the view. None: the node is gone.
    pub(crate) fn lay_node(&mut self, zxid: Zxid, path: Arc<str>, record: Option<NodeRecord>) {
        let before = self.nodes.insert(path.clone(), Outstanding { zxid, value: record });
        // The queue holds each path once per transaction, however many operations of a multi touch it.
        if before.as_ref().is_none_or(|before| before.zxid != zxid) {
            self.enqueue(zxid, Touched::Node(path.clone()));
        }
        self.journal.push(Undo::Node(path, before));
    }

    /// Notes that a child of `parent` comes or goes. `lay_node` says which.
    pub(crate) fn lay_child(&mut self, zxid: Zxid, parent: Arc<str>, child: Arc<str>) {
        self.children.entry(parent.clone()).or_default().push_back(child);
        self.enqueue(zxid, Touched::Child(parent));
    }

    /// Lays a session over the view. None: the session is closed.
    pub(crate) fn lay_session(&mut self, zxid: Zxid, id: SessionId, session: Option<Session>) {
        let before = self.sessions.insert(id, Outstanding { zxid, value: session });
        self.enqueue(zxid, Touched::Session(id));
        self.journal.push(Undo::Session(id, before));
    }

    /// Lays over the view whether the session owns the ephemeral node at `path`.
    pub(crate) fn lay_ephemeral(&mut self, zxid: Zxid, session: SessionId, path: Arc<str>, owned: bool) {
        let before = self.ephemerals.insert((session, path.clone()), Outstanding { zxid, value: owned });
        self.enqueue(zxid, Touched::Ephemeral(session, path.clone()));
        self.journal.push(Undo::Ephemeral(session, path, before));
    }

    /// Adds to the usage of the quota at that path.
    pub(crate) fn lay_usage(&mut self, zxid: Zxid, quota: &str, more: Used) {
        let quota: Arc<str> = Arc::from(quota);
        add_usage(&mut self.usage, &quota, more.count, more.bytes);
        add_usage(&mut self.usage_made, &quota, more.count, more.bytes);
        self.enqueue(zxid, Touched::Usage(quota.clone(), more));
        self.journal.push(Undo::Usage(quota, more));
    }

    fn enqueue(&mut self, zxid: Zxid, touched: Touched) {
        let last = self.queue.back().map_or(Zxid::ZERO, |(last, _)| *last);
        assert!(last <= zxid, "{zxid} is laid over the view behind {last}, which is later");
        self.queue.push_back((zxid, touched));
    }

    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint { queue: self.queue.len(), journal: self.journal.len() }
    }

    /// Undoes everything since `savepoint`.
    pub(crate) fn rollback(&mut self, savepoint: Savepoint) {
        assert!(savepoint.queue <= self.queue.len(), "a savepoint's queue is a beginning of the queue");
        assert!(savepoint.journal <= self.journal.len(), "a savepoint's journal is a beginning of the journal");
        if self.first_undo.get_mut().read > savepoint.journal {
            self.first_undo.take();
        }
        while self.journal.len() > savepoint.journal {
            let Some(undo) = self.journal.pop() else { break };
            match undo {
                Undo::Node(path, before) => restore(&mut self.nodes, path, before),
                Undo::Session(id, before) => restore(&mut self.sessions, id, before),
                Undo::Ephemeral(session, path, Some(before)) => {
                    self.ephemerals.insert((session, path), before);
                }
                Undo::Ephemeral(session, path, None) => {
                    self.ephemerals.remove(&(session, path));
                }
                Undo::Usage(quota, more) => {
                    add_usage(&mut self.usage, &quota, -more.count, -more.bytes);
                    add_usage(&mut self.usage_made, &quota, -more.count, -more.bytes);
                }
            }
        }
        for (_, touched) in self.queue.drain(savepoint.queue..).rev() {
            if let Touched::Child(parent) = touched {
                take_child(&mut self.children, &parent, VecDeque::pop_back);
            }
        }
        self.check();
    }

    /// The transaction in the making is complete and can no longer be rolled back.
    pub(crate) fn keep(&mut self) {
        assert!(self.first_undo.get_mut().read <= self.journal.len(), "the index covers a beginning of the journal");
        self.journal.clear();
        self.usage_made.clear();
        if self.first_undo.get_mut().read > 0 {
            self.first_undo.take();
        }
        self.check();
    }

    /// Forgets what the state has caught up with. No transaction may be in the making.
    pub(crate) fn forget(&mut self, applied: Zxid) {
        assert!(self.journal.is_empty(), "no transaction is in the making while {applied} is forgotten");
        while self.queue.front().is_some_and(|(zxid, _)| *zxid <= applied) {
            let Some((_, touched)) = self.queue.pop_front() else { break };
            match touched {
                Touched::Node(path) => forget_entry(&mut self.nodes, &*path, applied),
                Touched::Child(parent) => take_child(&mut self.children, &parent, VecDeque::pop_front),
                Touched::Session(id) => forget_entry(&mut self.sessions, &id, applied),
                Touched::Ephemeral(session, path) => {
                    let key = (session, path);
                    if self.ephemerals.get(&key).is_some_and(|record| record.zxid <= applied) {
                        self.ephemerals.remove(&key);
                    }
                }
                Touched::Usage(quota, more) => add_usage(&mut self.usage, &quota, -more.count, -more.bytes),
            }
        }
        self.check();
    }

    /// Forgets everything, because the chain broke.
    pub(crate) fn clear(&mut self) {
        *self = Overlay::default();
    }

    /// Whether nothing is outstanding.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Checks the invariants that cost the same however much is outstanding. `check_all` checks the rest.
    fn check(&self) {
        let records = self.nodes.len() + self.sessions.len() + self.ephemerals.len();
        assert!(records <= self.queue.len(), "{records} records are laid, {} stand in the queue", self.queue.len());
        assert!(self.children.len() <= self.queue.len(), "each parent's row of children stands in the queue");
        if self.queue.is_empty() {
            assert!(self.usage.is_empty(), "nothing is outstanding, so nothing is used by it");
            assert!(self.usage_made.is_empty(), "nothing is outstanding, so nothing is used by the last transaction");
            assert!(self.journal.is_empty(), "nothing is outstanding, so nothing can be undone");
        }
    }

    /// Checks every invariant of the overlay. Walks everything: for tests.
    #[cfg(test)]
    pub(crate) fn check_all(&self) {
        self.check();
        let mut queued: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut used: BTreeMap<Arc<str>, Used> = BTreeMap::new();
        for ((zxid, touched), next) in self.queue.iter().zip(self.queue.iter().skip(1).map(Some).chain([None])) {
            assert!(next.is_none_or(|(next, _)| zxid <= next), "the queue is in order of zxids");
            match touched {
                Touched::Child(parent) => *queued.entry(parent.clone()).or_default() += 1,
                Touched::Usage(quota, more) => {
                    let used = used.entry(quota.clone()).or_insert(NO_USAGE);
                    (used.count, used.bytes) = (used.count + more.count, used.bytes + more.bytes);
                }
                Touched::Node(_) | Touched::Session(_) | Touched::Ephemeral(..) => {}
            }
        }
        used.retain(|_, used| *used != NO_USAGE);
        // In any order: compared as maps.
        let rows = self.children.iter().map(|(parent, row)| (parent.clone(), row.len())).collect();
        assert_eq!(queued, rows, "each child that came or went is queued once");
        // In any order: compared as maps.
        let usage = self.usage.iter().map(|(quota, used)| (quota.clone(), *used)).collect();
        assert_eq!(used, usage, "usage is the sum of what is queued");
        let is_queued = |found: &dyn Fn(&Touched) -> bool, zxid| {
            self.queue.iter().any(|(queued, touched)| *queued == zxid && found(touched))
        };
        // In any order: no check depends on another.
        for (path, record) in &self.nodes {
            let is_it = |touched: &Touched| matches!(touched, Touched::Node(queued) if queued == path);
            assert!(is_queued(&is_it, record.zxid), "{path}: a record that nothing will forget");
        }
        // In any order: no check depends on another.
        for (id, record) in &self.sessions {
            let is_it = |touched: &Touched| matches!(touched, Touched::Session(queued) if queued == id);
            assert!(is_queued(&is_it, record.zxid), "{id}: a session that nothing will forget");
        }
        for ((id, path), record) in &self.ephemerals {
            let is_it = |touched: &Touched| matches!(touched, Touched::Ephemeral(of, at) if of == id && at == path);
            assert!(is_queued(&is_it, record.zxid), "{id} {path}: an ephemeral node that nothing will forget");
        }
    }
}

const NO_USAGE: Used = Used { count: 0, bytes: 0 };

impl FirstUndo {
    fn find(&mut self, journal: &[Undo], path: &str) -> Option<usize> {
        for (at, undo) in journal.iter().enumerate().skip(self.read) {
            if let Undo::Node(touched, _) = undo {
                self.at.entry(touched.clone()).or_insert(at);
            }
        }
        self.read = journal.len();
        self.at.get(path).copied()
    }
}

/// Takes one child off an end of its parent's row.
fn take_child(
    children: &mut HashMap<Arc<str>, VecDeque<Arc<str>>>,
    parent: &str,
    take: impl FnOnce(&mut VecDeque<Arc<str>>) -> Option<Arc<str>>,
) {
    let EntryRef::Occupied(mut row) = children.entry_ref(parent) else {
        panic!("{parent}: a queued child is in its parent's row");
    };
    assert!(take(row.get_mut()).is_some(), "{parent}: a row of children is never empty");
    if row.get().is_empty() {
        row.remove();
    }
}

fn add_usage(usage: &mut HashMap<Arc<str>, Used>, quota: &Arc<str>, count: i64, bytes: i64) {
    let used = usage.entry(quota.clone()).or_insert(NO_USAGE);
    used.count += count;
    used.bytes += bytes;
    if *used == NO_USAGE {
        usage.remove(quota);
    }
}

fn restore<K: std::hash::Hash + Eq, T>(
    records: &mut HashMap<K, Outstanding<T>>,
    key: K,
    before: Option<Outstanding<T>>,
) {
    match before {
        Some(before) => {
            records.insert(key, before);
        }
        None => {
            let laid = records.remove(&key);
            assert!(laid.is_some(), "what is undone was laid");
        }
    }
}

fn forget_entry<K, Q, T>(records: &mut HashMap<K, Outstanding<T>>, key: &Q, applied: Zxid)
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let EntryRef::Occupied(record) = records.entry_ref(key)
        && record.get().zxid <= applied
    {
        record.remove();
    }
}

impl NodeRecord {
    pub(crate) fn of(node: Node<'_>) -> NodeRecord {
        NodeRecord {
            data: Data::AsApplied,
            stat: node.stat(),
            cversion: node.cversion(),
            owner: node.owner(),
            acl: node.acl().clone(),
        }
    }

    pub(crate) fn new(zxid: Zxid, wall_ms: i64, data: Option<Bytes>, acl: Acl, owner: Owner) -> NodeRecord {
        let zxid = zxid.to_wire();
        NodeRecord {
            stat: Stat {
                czxid: zxid,
                mzxid: zxid,
                pzxid: zxid,
                ctime: wall_ms,
                mtime: wall_ms,
                ephemeral_owner: owner.visible(),
                data_length: length(&data),
                ..Stat::default()
            },
            data: Data::Set(data),
            cversion: 0,
            owner,
            acl,
        }
    }

    pub(crate) fn set_data(&mut self, zxid: Zxid, wall_ms: i64, data: Option<Bytes>, version: i32) {
        self.stat.data_length = length(&data);
        self.stat.version = version;
        self.stat.mzxid = zxid.to_wire();
        self.stat.mtime = wall_ms;
        self.data = Data::Set(data);
    }

    pub(crate) fn child_created(&mut self, zxid: Zxid) {
        self.cversion = self.cversion.wrapping_add(1);
        self.children(zxid, self.stat.num_children + 1);
    }

    pub(crate) fn child_deleted(&mut self, zxid: Zxid) {
        self.children(zxid, self.stat.num_children - 1);
    }

    /// Sets what a client sees of the children. A client sees a cversion that counts creations and deletions
    /// (DataNode.copyStat).
    fn children(&mut self, zxid: Zxid, count: i32) {
        self.stat.num_children = count;
        self.stat.cversion = self.cversion.wrapping_mul(2).wrapping_sub(count);
        self.stat.pzxid = zxid.to_wire();
    }
}

/// Data never exceeds a frame, so its length fits.
fn length(data: &Option<Bytes>) -> i32 {
    data.as_ref().map_or(0, |data| data.len() as i32)
}

/// The path of the node that a change touches. None: the change is not about a node.
pub(crate) fn path_of(change: &Change) -> Option<&Arc<str>> {
    match change {
        Change::Create { path, .. }
        | Change::Delete { path }
        | Change::SetData { path, .. }
        | Change::SetAcl { path, .. } => Some(path),
        Change::OpenSession { .. }
        | Change::AttachSession { .. }
        | Change::CloseSession { .. }
        | Change::RaiseFormatLevel { .. }
        | Change::SetBackClock => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acl;

    fn record(data: &'static [u8]) -> Option<NodeRecord> {
        let data = Some(Bytes::from_static(data));
        Some(NodeRecord::new(Zxid(1), 0, data, acl::open_unsafe(), Owner::PERSISTENT))
    }

    #[test]
    fn a_record_is_forgotten_with_the_last_transaction_that_touched_it() {
        let mut overlay = Overlay::default();
        for zxid in 1..=3 {
            overlay.lay_node(Zxid(zxid), "/a".into(), record(b""));
            overlay.keep();
        }
        overlay.forget(Zxid(2));
        assert!(overlay.node("/a").is_some());
        overlay.forget(Zxid(3));
        assert!(overlay.is_empty());
    }

    #[test]
    fn rollback_brings_back_what_was_replaced() {
        let mut overlay = Overlay::default();
        let session = SessionId(5);
        overlay.lay_node(Zxid(1), "/a".into(), record(b"12"));
        overlay.lay_ephemeral(Zxid(1), session, "/a".into(), true);
        overlay.keep();

        let savepoint = overlay.savepoint();
        overlay.lay_node(Zxid(2), "/a".into(), None);
        overlay.lay_node(Zxid(2), "/b".into(), record(b""));
        overlay.lay_node(Zxid(2), "/a".into(), record(b"3"));
        overlay.lay_ephemeral(Zxid(2), session, "/a".into(), false);
        overlay.lay_session(Zxid(2), session, None);
        overlay.lay_usage(Zxid(2), "/q", Used { count: 1, bytes: 7 });
        assert_eq!(overlay.usage("/q"), Used { count: 1, bytes: 7 });
        let before = overlay.node_before("/a").flatten().flatten().expect("it was there");
        assert_eq!(before.stat.data_length, 2);

        overlay.rollback(savepoint);
        assert_eq!(overlay.node("/a").flatten().expect("still there").stat.data_length, 2);
        assert!(overlay.node("/b").is_none() && overlay.session(session).is_none());
        assert_eq!(overlay.ephemerals(session).map(|(_, owned)| owned).collect::<Vec<_>>(), [true]);
        assert_eq!(overlay.usage("/q"), Used { count: 0, bytes: 0 });
        overlay.forget(Zxid(1));
        assert!(overlay.is_empty());
    }

    #[test]
    fn a_long_journal_is_as_good_as_a_short_one() {
        let mut overlay = Overlay::default();
        overlay.lay_node(Zxid(1), "/a".into(), record(b"12"));
        overlay.keep();
        for at in 0..3 * JOURNAL_SEARCHED_MAX {
            overlay.lay_node(Zxid(2), format!("/{at}").into(), record(b""));
            overlay.lay_node(Zxid(2), "/a".into(), record(b"345"));
            let before = overlay.node_before("/a").flatten().flatten().expect("it was there");
            assert_eq!(before.stat.data_length, 2);
        }
        let savepoint = overlay.savepoint();
        overlay.lay_node(Zxid(2), "/late".into(), record(b""));
        assert!(overlay.node_before("/late").is_some_and(|before| before.is_none()));
        overlay.rollback(savepoint);
        assert!(overlay.node_before("/late").is_none() && overlay.node_before("/7").is_some());
        overlay.keep();
        assert!(overlay.node_before("/a").is_none());
    }

    #[test]
    fn outstanding_children() {
        let mut overlay = Overlay::default();
        let mut lay = |zxid, path: &str, data| {
            overlay.lay_node(Zxid(zxid), path.into(), data);
            overlay.lay_child(Zxid(zxid), path::parent(path).unwrap().into(), path.into());
        };
        lay(1, "/a/x", record(b""));
        lay(1, "/a/x/deep", record(b""));
        lay(1, "/ab", record(b""));
        lay(1, "/a/gone", record(b""));
        lay(2, "/a/gone", None);
        overlay.keep();
        let savepoint = overlay.savepoint();
        overlay.lay_node(Zxid(3), "/a/y".into(), record(b""));
        overlay.lay_child(Zxid(3), "/a".into(), "/a/y".into());
        overlay.rollback(savepoint);
        assert_eq!(overlay.children("/a").into_iter().collect::<Vec<_>>(), [("gone", false), ("x", true)]);
        assert_eq!(overlay.children("/").into_iter().collect::<Vec<_>>(), [("ab", true)]);
        overlay.forget(Zxid(1));
        assert_eq!(overlay.children("/a").into_iter().collect::<Vec<_>>(), [("gone", false)]);
        overlay.forget(Zxid(2));
        assert!(overlay.is_empty() && overlay.children.is_empty());
    }
}
