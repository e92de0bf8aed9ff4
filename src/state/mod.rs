//! The tree, its sessions and indexes, in memory: transactions go in, Stats and events come out. Pure.
//!
//! Nothing here decides and nothing can fail: whatever a transaction says has been decided by the leader's pipeline
//! (docs/decisions/0001), so a change that does not fit the tree is a defect, and asserted against. The same
//! transactions in the same order make the same state on every replica, down to both digests.
//!
//! | file | what |
//! |---|---|
//! | `mod` | `State`: what can be asked |
//! | `apply` | a transaction's effects; `Effects`, `Event` |
//! | `tree` | nodes in a slab, tables of children |
//! | `acls` | access control lists, each kept once |
//! | `quota` | quotas and what is used of them |
//! | `collect` | which containers and TTL nodes may go |
//! | `chores` | timers and owed work of plugins |
//! | `digest` | ZooKeeper's digest and ours |
//! | `record` | the bytes of a checkpoint |
//! | `checkpoint` | what has changed since the last checkpoint, and writing it in pieces |
//! | `load` | from records to a state |
//! | `reader` | numbers and texts off the front of bytes |

mod acls;
mod apply;
mod checkpoint;
pub mod chores;
pub mod collect;
mod digest;
mod load;
pub mod quota;
mod reader;
pub mod record;
mod tree;

pub use apply::{Effects, Event};
pub use checkpoint::{Cut, Record};
pub use load::{Loader, RecordError};

use crate::model::{Acl, ConnectionId, NodeKind, Owner, Password, SessionId, Stat, Zxid, acl, control_plane};
use checkpoint::Tracking;
use digest::Digests;
use quota::Quota;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tree::{Id, NewNode, ROOT, Tree};

/// All that a checkpoint holds, and what is derived from it.
pub struct State {
    tree: Tree,
    sessions: BTreeMap<SessionId, TrackedSession>,
    last_zxid: Zxid,
    wall_ms: i64,
    ensemble_ms: u64,
    format_level: u32,

    // Derived from the above, kept up to date with every change.
    /// Paths of each session's ephemeral nodes; no empty sets.
    ephemerals: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    ephemerals_count: usize,
    /// Containers and TTL nodes.
    collectables: BTreeSet<Id>,
    quotas: quota::Roots,
    chores: chores::Chores,
    /// Bytes of all paths and data.
    data_size: u64,
    digests: Digests,

    tracking: Tracking,
    /// A record being encoded: path, then value.
    scratch: Vec<u8>,
    /// Stats after each change of the transaction being applied.
    stats: Vec<Stat>,
}

/// The level of the first release.
const FIRST_FORMAT_LEVEL: u32 = 1;

/// A client's session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    pub timeout_ms: i32,
    pub password: Password,
    /// The one connection that may act in the session's name.
    pub owner: ConnectionId,
}

struct TrackedSession {
    session: Session,
    /// Changed since the last checkpoint.
    dirty: bool,
    /// The last checkpoint has a record of it.
    stored: bool,
}

/// A node of the tree, looked at.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    tree: &'a Tree,
    id: Id,
}

impl State {
    /// What ZooKeeper 3.9.5 starts with (the constructor of DataTree.java): four nodes whose children and lists were
    /// set without counting. `seed` is of the hash tables: random per process, so that nobody can choose names that
    /// collide.
    pub fn new(seed: u64) -> State {
        let mut state = State::empty(seed);
        let open = acl::open_unsafe();
        let zookeeper = state.add_first(ROOT, "zookeeper", &open, 0);
        state.add_first(zookeeper, "quota", &open, 0);
        // setACL with version -1 made the list read-only.
        state.add_first(zookeeper, "config", &acl::read_unsafe(), -1);
        for path in ["/", control_plane::ROOT, control_plane::QUOTA, control_plane::CONFIG] {
            let id = state.tree.find(path).expect("it was just made");
            state.data_size += path.len() as u64;
            state.after(id, path);
        }
        state
    }

    /// A root that is not yet counted anywhere.
    fn empty(seed: u64) -> State {
        State {
            tree: Tree::new(seed, &acl::open_unsafe()),
            sessions: BTreeMap::new(),
            last_zxid: Zxid::ZERO,
            wall_ms: 0,
            ensemble_ms: 0,
            format_level: FIRST_FORMAT_LEVEL,
            ephemerals: BTreeMap::new(),
            ephemerals_count: 0,
            collectables: BTreeSet::new(),
            quotas: quota::Roots::default(),
            chores: chores::Chores::default(),
            data_size: 0,
            digests: Digests::default(),
            tracking: Tracking::default(),
            scratch: Vec::new(),
            stats: Vec::new(),
        }
    }

    fn add_first(&mut self, parent: Id, name: &str, acl: &Acl, aversion: i32) -> Id {
        let acl = self.tree.acls.acquire(acl);
        let node = NewNode {
            name,
            data: Some(&[]),
            acl,
            owner: Owner::PERSISTENT,
            czxid: 0,
            mzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            aversion,
        };
        self.tree.insert(parent, &node)
    }

    pub fn node(&self, path: &str) -> Option<Node<'_>> {
        Some(Node { tree: &self.tree, id: self.tree.find(path)? })
    }

    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// The clock of the last transaction, Unix milliseconds.
    pub fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// The level of effects that transactions may have (docs/membership.md); raised by one of them, never lowered.
    pub fn format_level(&self) -> u32 {
        self.format_level
    }

    /// The level that a checkpoint was written at.
    pub fn begin_at_level(&mut self, level: u32) {
        self.format_level = self.format_level.max(level);
    }

    /// Ensemble time of the last transaction, milliseconds.
    pub fn ensemble_ms(&self) -> u64 {
        self.ensemble_ms
    }

    /// Our own digest, over all state: equal on all replicas at the same zxid.
    pub fn digest(&self) -> u64 {
        let mut meta = [0; 24];
        meta[..8].copy_from_slice(&self.last_zxid.0.to_be_bytes());
        meta[8..16].copy_from_slice(&self.wall_ms.to_be_bytes());
        meta[16..].copy_from_slice(&self.ensemble_ms.to_be_bytes());
        self.digests.own().wrapping_add(digest::hash(&meta))
    }

    /// As a defect of the machine's memory might: the digest is not that of the records any more.
    #[cfg(any(test, feature = "simulation"))]
    pub fn corrupt(&mut self) {
        self.digests.add(b"a flipped bit");
    }

    /// The digest that ZooKeeper would have for this tree.
    pub fn zookeeper_digest(&self) -> u64 {
        self.digests.zookeeper()
    }

    /// ZooKeeper's digest at every 128th zxid since this process started, oldest first, at most 1024: the `hash` word.
    pub fn digest_log(&self) -> impl Iterator<Item = (Zxid, u64)> + '_ {
        self.digests.log()
    }

    /// The root counts once (in ZooKeeper's `znode_count` twice).
    pub fn node_count(&self) -> usize {
        self.tree.len()
    }

    /// Bytes of all paths and data.
    pub fn approximate_data_size(&self) -> u64 {
        self.data_size
    }

    pub fn ephemerals_count(&self) -> usize {
        self.ephemerals_count
    }

    pub fn session(&self, id: SessionId) -> Option<&Session> {
        Some(&self.sessions.get(&id)?.session)
    }

    /// In order of their ids.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> + '_ {
        self.sessions.iter().map(|(&id, tracked)| (id, &tracked.session))
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Paths of the session's ephemeral nodes, in byte order.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.ephemerals.get(&session).into_iter().flatten()
    }

    /// The sessions that have ephemeral nodes, with their paths: the `dump` word.
    pub fn all_ephemerals(&self) -> impl Iterator<Item = (SessionId, &BTreeSet<Arc<str>>)> + '_ {
        self.ephemerals.iter().map(|(&session, paths)| (session, paths))
    }

    /// Timers and owed work of plugins.
    pub fn chores(&self) -> &chores::Chores {
        &self.chores
    }

    /// How many nodes lie below that one; none if it is not there.
    pub fn subtree_count(&self, path: &str) -> Option<usize> {
        let id = self.tree.find(path)?;
        if id == ROOT {
            return Some(self.tree.len() - 1);
        }
        let mut count = 0;
        self.walk(id, |_| count += 1);
        Some(count - 1)
    }

    /// Paths of at most `max` containers and TTL nodes that may be deleted now. `never_used_ms`: see `collect::may_go`. The
    /// pipeline asks again on its view.
    pub fn collectable(&self, now_wall_ms: i64, never_used_ms: i64, max: usize) -> Vec<String> {
        let collectable = |&&id: &&Id| {
            let slot = self.tree.slot(id);
            collect::may_go(slot.owner, slot.child_count(), slot.cversion(), slot.mtime, now_wall_ms, never_used_ms)
        };
        self.collectables.iter().filter(collectable).take(max).map(|&id| self.tree.path(id)).collect()
    }

    /// The quota that a change at that path falls under. Like ZooKeeper's it knows nothing of outstanding changes.
    pub fn quota_for<'a>(&self, path: &'a str) -> Option<Quota<'a>> {
        let path = self.quotas.find(path)?;
        let numbers = |path: String| Some(quota::Numbers::parse(self.node(&path)?.data()));
        let limits = numbers(quota::limits_path(path))?.limits();
        let used = numbers(quota::stats_path(path))?.used();
        Some(Quota { path, limits, used })
    }

    /// Visits a node and all below it.
    fn walk(&self, id: Id, mut visit: impl FnMut(Id)) {
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            visit(id);
            waiting.extend(self.tree.children(id));
        }
    }

    /// Notes what kind of node this is, where that matters.
    fn index(&mut self, id: Id, path: &Arc<str>) {
        match self.tree.slot(id).owner.kind() {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => {
                self.ephemerals.entry(session).or_default().insert(path.clone());
                self.ephemerals_count += 1;
            }
            NodeKind::Container | NodeKind::Ttl(_) => {
                self.collectables.insert(id);
            }
        }
        if let Some(quota::Special::Limits(root)) = quota::special(path) {
            self.quotas.insert(root);
        }
        if chores::concern(path) {
            self.chores.note(path, None, Some(self.tree.slot(id).data().unwrap_or_default()));
        }
    }
}

impl<'a> Node<'a> {
    /// None: null, as clients may send it.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.tree.slot(self.id).data()
    }

    pub fn stat(&self) -> Stat {
        self.tree.stat(self.id)
    }

    pub fn acl(&self) -> &'a Acl {
        self.tree.acls.get(self.tree.slot(self.id).acl)
    }

    pub fn owner(&self) -> Owner {
        self.tree.slot(self.id).owner
    }

    pub fn version(&self) -> i32 {
        self.tree.slot(self.id).version
    }

    pub fn aversion(&self) -> i32 {
        self.tree.slot(self.id).aversion
    }

    /// The stored counter of creations, of which sequence numbers are made; clients see another (`stat`).
    pub fn cversion(&self) -> i32 {
        self.tree.slot(self.id).cversion()
    }

    pub fn mzxid(&self) -> i64 {
        self.tree.slot(self.id).mzxid
    }

    pub fn mtime(&self) -> i64 {
        self.tree.slot(self.id).mtime
    }

    pub fn pzxid(&self) -> i64 {
        self.tree.slot(self.id).pzxid()
    }

    pub fn child_count(&self) -> usize {
        self.tree.slot(self.id).child_count()
    }

    /// Names, in an order that means nothing and differs between replicas: sort what must be the same.
    pub fn children(&self) -> impl Iterator<Item = &'a str> + 'a {
        let tree = self.tree;
        tree.children(self.id).map(|id| tree.slot(id).name())
    }

    pub fn child(&self, name: &str) -> Option<Node<'a>> {
        Some(Node { tree: self.tree, id: self.tree.child(self.id, name)? })
    }
}

#[cfg(test)]
mod tests;
