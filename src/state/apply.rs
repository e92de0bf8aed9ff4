//! Applies a transaction, change by change, as DataTree.java does: the tree, its indexes, digests and quotas, and the
//! events in ZooKeeper's order.
//!
//! Never fails. A change that cannot be applied (a node that exists already, a parent that does not) would mean that
//! this replica differs from the state that the leader evaluated on. Going on would spread the difference, so an
//! assertion ends the process.

use super::quota::{self, Special, Used};
use super::tree::{Id, NewNode};
use super::{Session, State, TrackedSession, chores, record};
use crate::limits::RECORD_BUFFER_BYTES_KEPT;
use crate::model::txn::{Change, Outcome, Slot, Txn};
use crate::model::{Acl, ConnectionId, NodeKind, Owner, SessionId, Stat, Zxid, path};
use crate::wire::reply::EventKind;
use std::sync::Arc;

/// What one transaction did, for replies and watches. The caller keeps one and passes it for every transaction.
#[derive(Default, Debug)]
pub(crate) struct Effects {
    /// One per slot of `Outcome::Done`. Zeros for `Slot::Nothing`.
    pub(crate) slots: Vec<Stat>,
    /// The events, in the order in which clients get them.
    pub(crate) events: Vec<Event>,
    /// The sessions that were closed, each with the connection that owned it.
    pub(crate) sessions_closed: Vec<(SessionId, ConnectionId)>,
    /// The session that has got another owner, with its previous owner.
    pub(crate) session_moved: Option<(SessionId, ConnectionId)>,
}

/// Something that watches may wait for. Making an event allocates nothing, because mostly nobody watches.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub kind: EventKind,
    pub zxid: Zxid,
    /// READ in this ACL decides who may hear of the event. It is the ACL of the node, as it was before a deletion and
    /// after any other change. For `ChildrenChanged` it is the parent's.
    pub acl: Acl,
    /// The path of the node that was created, deleted or changed. For `ChildrenChanged`, `path()` is the parent's path,
    /// which is the beginning of this one.
    node: Arc<str>,
}

impl Effects {
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.events.clear();
        self.sessions_closed.clear();
        self.session_moved = None;
    }
}

impl Event {
    /// An event at `node`. For `ChildrenChanged`, `node` is the child.
    pub(crate) fn new(kind: EventKind, node: Arc<str>, zxid: Zxid, acl: Acl) -> Event {
        assert!(
            kind != EventKind::ChildrenChanged || node.len() > 1,
            "the root has no parent whose children could change"
        );
        Event { kind, zxid, acl, node }
    }

    /// The path that the event speaks of.
    pub(crate) fn path(&self) -> &str {
        match self.kind {
            EventKind::ChildrenChanged => path::parent(&self.node).unwrap_or("/"),
            EventKind::Created | EventKind::Deleted | EventKind::DataChanged => &self.node,
        }
    }
}

/// What all changes of a transaction share.
#[derive(Clone, Copy)]
struct At {
    zxid: Zxid,
    wall_ms: i64,
}

impl State {
    /// Applies the next transaction. `applied` is cleared and filled with what the transaction did.
    pub(crate) fn apply(&mut self, txn: &Txn, applied: &mut Effects) {
        let zxid = txn.zxid;
        assert!(zxid > self.last_zxid, "{zxid} is not behind {}, the last applied", self.last_zxid);
        let sets_back = || txn.changes.contains(&Change::SetBackClock);
        assert!(txn.wall_ms >= self.wall_ms || sets_back(), "{zxid}: the clock of transactions went back");
        assert!(txn.ensemble_ms >= self.ensemble_ms, "{zxid}: ensemble time went back");
        applied.clear();
        let slots: &[Slot] = match &txn.outcome {
            Outcome::Done(slots) => slots,
            Outcome::Refused(_) | Outcome::MultiRefused { .. } => {
                assert!(txn.changes.is_empty(), "{zxid}: a refusal changes nothing");
                &[]
            }
        };
        let at = At { zxid: txn.zxid, wall_ms: txn.wall_ms };
        let stats_wanted = slots.iter().any(|slot| matches!(slot, Slot::Change(_)));
        self.stats.clear();
        for change in &txn.changes {
            let node = self.change(change, at, applied);
            if stats_wanted {
                self.stats.push(node.map(|id| self.tree.stat(id)).unwrap_or_default());
            }
        }
        applied.slots.extend(slots.iter().map(|slot| match slot {
            Slot::Nothing => Stat::default(),
            Slot::Change(index) => self.stats[*index as usize],
            Slot::Path(path) => self.node(path).map(|node| node.stat()).unwrap_or_default(),
        }));
        self.last_zxid = txn.zxid;
        self.wall_ms = txn.wall_ms;
        self.ensemble_ms = txn.ensemble_ms;
        self.digests.applied(txn.zxid);
        if self.scratch.capacity() > RECORD_BUFFER_BYTES_KEPT {
            self.scratch = Vec::new();
        }
        self.check();
    }

    /// Applies one change. Returns the node that the change created or changed.
    fn change(&mut self, change: &Change, at: At, applied: &mut Effects) -> Option<Id> {
        match change {
            Change::Create { path, data, acl, owner, parent_cversion } => {
                Some(self.create(path, data.as_deref(), acl, *owner, *parent_cversion, at, applied))
            }
            Change::Delete { path } => {
                self.delete(path, at, applied);
                None
            }
            Change::SetData { path, data, version } => {
                Some(self.set_data(path, data.as_deref(), *version, at, applied))
            }
            Change::SetAcl { path, acl, aversion } => Some(self.set_acl(path, acl, *aversion, at)),
            Change::OpenSession { session, timeout_ms, password, owner } => {
                let opened = Session { timeout_ms: *timeout_ms, password: *password, owner: *owner };
                self.open_session(*session, opened, at);
                None
            }
            Change::AttachSession { session, timeout_ms, owner } => {
                let before = self.attach_session(*session, *timeout_ms, *owner, at);
                if before != *owner {
                    applied.session_moved = Some((*session, before));
                }
                None
            }
            Change::RaiseFormatLevel { level } => {
                self.begin_at_level(*level);
                None
            }
            // The time of the transaction says it all.
            Change::SetBackClock => None,
            Change::CloseSession { session, expired: _ } => {
                applied.sessions_closed.push((*session, self.close_session(*session, at)));
                None
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one kind of change")]
    fn create(
        &mut self,
        path: &Arc<str>,
        data: Option<&[u8]>,
        acl: &Acl,
        owner: Owner,
        parent_cversion: i32,
        at: At,
        applied: &mut Effects,
    ) -> Id {
        let parent_path = path::parent(path).unwrap_or_else(|| panic!("{}: create {path:?}: no path", at.zxid));
        let parent = self.known(parent_path, at);
        let name = path::name(path);
        assert!(self.tree.child(parent, name).is_none(), "{}: create {path}: it exists", at.zxid);
        let created = parent_cversion.wrapping_sub(self.tree.slot(parent).cversion());
        assert!(created > 0, "{}: create {path}: the parent's cversion falls to {parent_cversion}", at.zxid);
        if let NodeKind::Ephemeral(session) = owner.kind() {
            assert!(self.sessions.contains_key(&session), "{}: create {path}: there is no {session}", at.zxid);
        }
        let zxid = at.zxid.to_wire();

        self.before(parent, parent_path);
        let node = NewNode {
            name,
            data,
            acl: self.tree.acls.acquire(acl),
            owner,
            czxid: zxid,
            mzxid: zxid,
            ctime: at.wall_ms,
            mtime: at.wall_ms,
            version: 0,
            aversion: 0,
        };
        let id = self.tree.insert(parent, &node);
        self.tree.set_counts(parent, zxid, parent_cversion);
        self.after(parent, parent_path);
        self.tracking.created(id, path);
        self.after(id, path);
        self.resize(0, path.len() + data.map_or(0, <[u8]>::len));
        self.index(id, path);
        if let Some(Special::Stats(root)) = quota::special(path) {
            let used = self.count_used(root);
            self.rewrite(id, path, quota::first_text(used).as_bytes());
        }
        self.use_quota(path, 1, data.map_or(0, <[u8]>::len) as i64);

        applied.events.push(Event::new(EventKind::Created, path.clone(), at.zxid, acl.clone()));
        let parent_acl = self.acl_of(parent);
        applied.events.push(Event::new(EventKind::ChildrenChanged, path.clone(), at.zxid, parent_acl));
        id
    }

    fn delete(&mut self, path: &Arc<str>, at: At, applied: &mut Effects) {
        let id = self.known(path, at);
        let acl = self.acl_of(id);
        let slot = self.tree.slot(id);
        let (parent, owner, data_length) = (slot.parent, slot.owner, slot.data().map_or(0, <[u8]>::len));
        if chores::concern(path) {
            self.chores.note(path, Some(slot.data().unwrap_or_default()), None);
        }
        let parent_path = path::parent(path).unwrap_or_else(|| panic!("{}: delete {path:?}: no path", at.zxid));

        self.before(id, path);
        self.before(parent, parent_path);
        let cversion = self.tree.slot(parent).cversion();
        self.tree.remove(id);
        self.tree.set_counts(parent, at.zxid.to_wire(), cversion);
        self.after(parent, parent_path);
        self.tracking.deleted(id, path);
        self.resize(path.len() + data_length, 0);
        match owner.kind() {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => self.forget_ephemeral(session, path),
            NodeKind::Container | NodeKind::Ttl(_) => {
                assert!(self.collectables.remove(&id), "{}: delete {path}: no collectable", at.zxid);
            }
        }
        if let Some(Special::Limits(root)) = quota::special(path) {
            assert!(self.quotas.remove(root), "{}: delete {path}: no quota", at.zxid);
        }
        self.use_quota(path, -1, -(data_length as i64));

        applied.events.push(Event::new(EventKind::Deleted, path.clone(), at.zxid, acl));
        let parent_acl = self.acl_of(parent);
        applied.events.push(Event::new(EventKind::ChildrenChanged, path.clone(), at.zxid, parent_acl));
    }

    fn set_data(&mut self, path: &Arc<str>, data: Option<&[u8]>, version: i32, at: At, applied: &mut Effects) -> Id {
        let id = self.known(path, at);
        let length = data.map_or(0, <[u8]>::len);
        let length_before = self.tree.slot(id).data().map_or(0, <[u8]>::len);
        self.before(id, path);
        if chores::concern(path) {
            let before = self.tree.slot(id).data().unwrap_or_default();
            self.chores.note(path, Some(before), Some(data.unwrap_or_default()));
        }
        let slot = self.tree.slot_mut(id);
        slot.set_data(data);
        slot.version = version;
        slot.mzxid = at.zxid.to_wire();
        slot.mtime = at.wall_ms;
        self.after(id, path);
        self.resize(length_before, length);
        self.use_quota(path, 0, length as i64 - length_before as i64);
        applied.events.push(Event::new(EventKind::DataChanged, path.clone(), at.zxid, self.acl_of(id)));
        id
    }

    /// There is no event: ZooKeeper has none for a change of the ACL.
    fn set_acl(&mut self, path: &Arc<str>, acl: &Acl, aversion: i32, at: At) -> Id {
        let id = self.known(path, at);
        self.before(id, path);
        let acquired = self.tree.acls.acquire(acl);
        let slot = self.tree.slot_mut(id);
        let released = std::mem::replace(&mut slot.acl, acquired);
        slot.aversion = aversion;
        self.tree.acls.release(released);
        self.after(id, path);
        id
    }

    fn open_session(&mut self, id: SessionId, session: Session, at: At) {
        let stored = self.tracking.session_opened(id);
        let before = self.sessions.insert(id, TrackedSession { session, dirty: true, stored });
        assert!(before.is_none(), "{}: open session {id}: it is open already", at.zxid);
        self.digests.add(&record::session(id, &session));
    }

    /// Gives the session another owner and timeout. Returns the owner before.
    fn attach_session(&mut self, id: SessionId, timeout_ms: i32, owner: ConnectionId, at: At) -> ConnectionId {
        let Some(tracked) = self.sessions.get_mut(&id) else {
            panic!("{}: attach session {id}: it does not exist", at.zxid);
        };
        let before = tracked.session;
        tracked.session = Session { timeout_ms, owner, ..before };
        tracked.dirty = true;
        self.digests.subtract(&record::session(id, &before));
        self.digests.add(&record::session(id, &tracked.session));
        before.owner
    }

    /// Removes the session, whose ephemeral nodes must be gone. Returns the owner.
    fn close_session(&mut self, id: SessionId, at: At) -> ConnectionId {
        let Some(tracked) = self.sessions.remove(&id) else {
            panic!("{}: close session {id}: it does not exist", at.zxid);
        };
        assert!(!self.ephemerals.contains_key(&id), "{}: close session {id}: it has ephemeral nodes", at.zxid);
        self.digests.subtract(&record::session(id, &tracked.session));
        if tracked.stored {
            self.tracking.session_closed(id);
        }
        tracked.session.owner
    }

    /// The node at that path, which must exist.
    fn known(&self, path: &str, at: At) -> Id {
        // The tree finds the root by the empty path, too, for reads. In a transaction the root has one path only.
        let id = self.tree.find(path).filter(|_| !path.is_empty());
        id.unwrap_or_else(|| panic!("{}: {path:?} does not exist", at.zxid))
    }

    fn acl_of(&self, id: Id) -> Acl {
        self.tree.acls.get(self.tree.slot(id).acl).clone()
    }

    fn forget_ephemeral(&mut self, session: SessionId, path: &Arc<str>) {
        let paths = self.ephemerals.get_mut(&session).expect("an ephemeral node is in its session's set");
        assert!(paths.remove(path), "{path}: an ephemeral node is in its session's set");
        if paths.is_empty() {
            self.ephemerals.remove(&session);
        }
        self.ephemeral_changes += 1;
        self.ephemerals_count = self.ephemerals_count.checked_sub(1).expect("each ephemeral node is counted");
    }

    /// Counts in `data_size` that `before` bytes have become `after` bytes.
    fn resize(&mut self, before: usize, after: usize) {
        let rest = self.data_size.checked_sub(before as u64).expect("each path and its data are counted");
        self.data_size = rest + after as u64;
    }

    /// To be called before a node changes or goes. Takes its record out of the digests, and keeps the record if a
    /// checkpoint in the making has yet to write it.
    fn before(&mut self, id: Id, path: &str) {
        let digested = self.encode(id, path);
        self.digests.subtract_node(&self.scratch, path.len(), digested);
        self.tracking.changing(id, &self.scratch, path.len());
    }

    /// To be called when a node has come or changed.
    pub(super) fn after(&mut self, id: Id, path: &str) {
        let digested = self.encode(id, path);
        self.digests.add_node(&self.scratch, path.len(), digested);
        self.tracking.changed(id);
    }

    /// Writes the node's record, key and value, into `scratch`. Returns how many bytes of the value ZooKeeper's digest
    /// takes.
    fn encode(&mut self, id: Id, path: &str) -> usize {
        self.scratch.clear();
        self.scratch.extend_from_slice(path.as_bytes());
        record::write_node(&self.tree, id, &mut self.scratch)
    }

    /// Counts a change in the quota that `path` falls under. Does nothing if the stats node is missing, as in
    /// ZooKeeper.
    fn use_quota(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(root) = self.quotas.find(path) else { return };
        let stats = quota::stats_path(root);
        let Some(id) = self.tree.find(&stats) else { return };
        let mut numbers = quota::Numbers::parse(self.tree.slot(id).data());
        let used = numbers.used();
        numbers.set_used(Used { count: used.count.wrapping_add(count), bytes: used.bytes.wrapping_add(bytes) });
        self.rewrite(id, &stats, numbers.text().as_bytes());
    }

    /// Counts the usage of a quota from its subtree.
    fn count_used(&self, root: &str) -> Used {
        let mut used = Used { count: 0, bytes: 0 };
        if let Some(id) = self.tree.find(root) {
            self.walk(id, |id| {
                used.count += 1;
                used.bytes += self.tree.slot(id).data().map_or(0, <[u8]>::len) as i64;
            });
        }
        used
    }

    /// Replaces the data of a stats node. Its version and mtime stay, and there is no event.
    fn rewrite(&mut self, id: Id, path: &str, text: &[u8]) {
        let length_before = self.tree.slot(id).data().map_or(0, <[u8]>::len);
        self.before(id, path);
        self.tree.slot_mut(id).set_data(Some(text));
        self.after(id, path);
        self.resize(length_before, text.len());
    }
}
