//! The tree, the sessions and their indexes, in memory. Transactions go in, Stats and events come out. Pure.
//!
//! Nothing here decides, and nothing can fail: the leader's pipeline has decided everything that a transaction says
//! (docs/decisions/0001). So a change that does not fit the tree is a defect, and an assertion fails. The same
//! transactions in the same order make the same state on every replica, down to both digests.
//!
//! | file | what |
//! |---|---|
//! | `mod` | `State` and its queries |
//! | `apply` | applying a transaction; `Effects`, `Event` |
//! | `tree` | nodes in a slab, tables of children |
//! | `acls` | ACLs, each kept once |
//! | `quota` | quotas and their usage |
//! | `listing` | long lists of names, read piece by piece |
//! | `collect` | which containers and TTL nodes the server may delete |
//! | `chores` | timers and owed mounts of plugins |
//! | `digest` | ZooKeeper's digest and ours |
//! | `record` | the bytes of a checkpoint's records |
//! | `checkpoint` | what has changed since the last checkpoint, and writing a checkpoint in pieces |
//! | `load` | from records to a state |
//! | `reader` | reads numbers and texts from the front of bytes |

#![deny(clippy::iter_over_hash_type)]

mod acls;
mod apply;
mod checkpoint;
pub(crate) mod chores;
pub(crate) mod collect;
mod digest;
pub(crate) mod listing;
mod load;
pub(crate) mod quota;
mod reader;
pub(crate) mod record;
mod tree;

pub(crate) use apply::{Effects, Event};
pub(crate) use checkpoint::Cut;
#[cfg(test)]
pub(crate) use checkpoint::Record;
pub(crate) use load::{Loader, RecordError};

use crate::model::{Acl, ConnectionId, NodeKind, Owner, Password, SessionId, Stat, Zxid, acl, control_plane};
use checkpoint::Tracking;
use digest::Digests;
use quota::Quota;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tree::{Id, NewNode, ROOT, Tree};

/// Everything that a checkpoint holds, and what is derived from it.
pub struct State {
    tree: Tree,
    sessions: BTreeMap<SessionId, TrackedSession>,
    /// Invariant: rises with each transaction.
    last_zxid: Zxid,
    /// The clock of the last transaction, Unix milliseconds.
    ///
    /// Invariant: falls only with `Change::SetBackClock`.
    wall_ms: i64,
    /// Ensemble time of the last transaction, milliseconds.
    ///
    /// Invariant: never falls.
    ensemble_ms: u64,
    format_level: u32,

    // Derived from the above, kept up to date with every change.
    /// Paths of each session's ephemeral nodes.
    ///
    /// Invariant: exactly the paths of the ephemeral nodes. No set is empty. A session with ephemeral nodes exists.
    ephemerals: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    /// Invariant: the number of paths in `ephemerals`.
    ephemerals_count: usize,
    /// How many ephemeral nodes have come and gone since this process started (`listing`).
    ephemeral_changes: u64,
    /// Invariant: exactly the containers and TTL nodes.
    collectables: BTreeSet<Id>,
    /// Invariant: exactly the subtrees with a limits node.
    quotas: quota::Roots,
    chores: chores::Chores,
    /// Invariant: the bytes of all paths and data.
    data_size: u64,
    /// Invariant: the sums over all records.
    digests: Digests,

    tracking: Tracking,
    /// A record being encoded: path, then value.
    scratch: Vec<u8>,
    /// The Stats after each change of the transaction being applied.
    stats: Vec<Stat>,
}

/// The format level of the first release.
const FIRST_FORMAT_LEVEL: u32 = 1;

/// A client's session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Session {
    /// The negotiated timeout, or `Session::ENDING`.
    pub(crate) timeout_ms: i32,
    pub(crate) password: Password,
    /// The one connection that may act in the session's name.
    pub(crate) owner: ConnectionId,
}

impl Session {
    /// The timeout of a session whose end has begun and takes several transactions (`pipeline::evaluate::session`). No
    /// client negotiates this timeout.
    pub(crate) const ENDING: i32 = 0;

    pub(crate) fn is_ending(&self) -> bool {
        self.timeout_ms == Session::ENDING
    }
}

struct TrackedSession {
    session: Session,
    /// Whether the session has changed since the last checkpoint.
    dirty: bool,
    /// Whether the last checkpoint has a record of the session.
    stored: bool,
}

/// A node of the tree, for reading.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    tree: &'a Tree,
    id: Id,
}

impl State {
    /// The tree that ZooKeeper 3.9.5 starts with (the constructor of DataTree.java): four nodes, whose creation raised
    /// no counters. `seed` is the seed of the hash tables. It is random per process, so that nobody can choose names
    /// that collide.
    pub(crate) fn new(seed: u64) -> State {
        let mut state = State::empty(seed);
        let open = acl::open_unsafe();
        let zookeeper = state.add_first(ROOT, "zookeeper", &open, 0);
        state.add_first(zookeeper, "quota", &open, 0);
        // ZooKeeper sets this ACL with version -1.
        state.add_first(zookeeper, "config", &acl::read_unsafe(), -1);
        for path in ["/", control_plane::ROOT, control_plane::QUOTA, control_plane::CONFIG] {
            let id = state.tree.find(path).expect("it was just created");
            state.data_size += path.len() as u64;
            state.after(id, path);
        }
        state
    }

    /// A state with only a root, which is not yet counted anywhere.
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
            ephemeral_changes: 0,
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

    /// Adds one of the nodes that the first tree has, without counting it.
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

    /// The node at that path. The empty path is the root, as in ZooKeeper.
    pub(crate) fn node(&self, path: &str) -> Option<Node<'_>> {
        Some(Node { tree: &self.tree, id: self.tree.find(path)? })
    }

    pub(crate) fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// The clock of the last transaction, Unix milliseconds.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// The format level: which kinds of effects transactions may have (docs/membership.md). A transaction raises it. It
    /// is never lowered.
    pub(crate) fn format_level(&self) -> u32 {
        self.format_level
    }

    /// Raises the format level to that of a checkpoint or a transaction.
    pub(crate) fn begin_at_level(&mut self, level: u32) {
        self.format_level = self.format_level.max(level);
    }

    /// Ensemble time of the last transaction, milliseconds.
    pub(crate) fn ensemble_ms(&self) -> u64 {
        self.ensemble_ms
    }

    /// Our own digest, over all state. Equal on all replicas at the same zxid.
    pub(crate) fn digest(&self) -> u64 {
        let mut meta = [0; 24];
        meta[..8].copy_from_slice(&self.last_zxid.0.to_be_bytes());
        meta[8..16].copy_from_slice(&self.wall_ms.to_be_bytes());
        meta[16..].copy_from_slice(&self.ensemble_ms.to_be_bytes());
        self.digests.own().wrapping_add(digest::hash(&meta))
    }

    /// Does what a fault of the machine's memory might do: afterwards the digest does not match the records.
    #[cfg(any(test, feature = "simulation"))]
    #[cfg(test)]
    pub(crate) fn corrupt(&mut self) {
        self.digests.add(b"a flipped bit");
    }

    /// The digest that ZooKeeper would have for this tree.
    pub(crate) fn zookeeper_digest(&self) -> u64 {
        self.digests.zookeeper()
    }

    /// ZooKeeper's digest at every 128th zxid since this process started, oldest first, at most 1024 of them. For the
    /// `hash` word.
    pub(crate) fn digest_log(&self) -> impl Iterator<Item = (Zxid, u64)> + '_ {
        self.digests.log()
    }

    /// The number of nodes, including the root. (ZooKeeper's `znode_count` counts the root twice.)
    pub(crate) fn node_count(&self) -> usize {
        self.tree.len()
    }

    /// Bytes of all paths and data.
    pub(crate) fn approximate_data_size(&self) -> u64 {
        self.data_size
    }

    pub(crate) fn ephemerals_count(&self) -> usize {
        self.ephemerals_count
    }

    pub(crate) fn session(&self, id: SessionId) -> Option<&Session> {
        Some(&self.sessions.get(&id)?.session)
    }

    /// In order of their ids.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> + '_ {
        self.sessions.iter().map(|(&id, tracked)| (id, &tracked.session))
    }

    pub(crate) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Paths of the session's ephemeral nodes, in byte order.
    pub(crate) fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.ephemerals.get(&session).into_iter().flatten()
    }

    /// The sessions that have ephemeral nodes, with the nodes' paths. For the `dump` word.
    pub(crate) fn all_ephemerals(&self) -> impl Iterator<Item = (SessionId, &BTreeSet<Arc<str>>)> + '_ {
        self.ephemerals.iter().map(|(&session, paths)| (session, paths))
    }

    /// Timers and owed mounts of plugins.
    pub(crate) fn chores(&self) -> &chores::Chores {
        &self.chores
    }

    /// The number of nodes below the node at `path`. None: there is no such node.
    pub(crate) fn subtree_count(&self, path: &str) -> Option<usize> {
        Some(self.tree.slot(self.tree.find(path)?).below())
    }

    /// Paths of at most `max` containers and TTL nodes that the server may delete now. `never_used_ms`: see
    /// `collect::may_go`. The order is that of the nodes' numbers, which differs between replicas. Only the leader
    /// asks, and the pipeline checks each path again on its view.
    pub(crate) fn collectable(&self, now_wall_ms: i64, never_used_ms: i64, max: usize) -> Vec<String> {
        let collectable = |&&id: &&Id| {
            let slot = self.tree.slot(id);
            collect::may_go(slot.owner, slot.child_count(), slot.cversion(), slot.mtime, now_wall_ms, never_used_ms)
        };
        self.collectables.iter().filter(collectable).take(max).map(|&id| self.tree.path(id)).collect()
    }

    /// The quota that a change at that path falls under. Like ZooKeeper's, it does not include outstanding changes.
    pub(crate) fn quota_for<'a>(&self, path: &'a str) -> Option<Quota<'a>> {
        let path = self.quotas.find(path)?;
        let numbers = |path: String| Some(quota::Numbers::parse(self.node(&path)?.data()));
        let limits = numbers(quota::limits_path(path))?.limits();
        let used = numbers(quota::stats_path(path))?.used();
        Some(Quota { path, limits, used })
    }

    /// Visits a node and all nodes below it. The order differs between replicas, so what `visit` computes must not
    /// depend on it.
    fn walk(&self, id: Id, mut visit: impl FnMut(Id)) {
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            visit(id);
            waiting.extend(self.tree.children(id));
        }
    }

    /// Adds a new node to the indexes of its kind.
    fn index(&mut self, id: Id, path: &Arc<str>) {
        match self.tree.slot(id).owner.kind() {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => {
                let is_new = self.ephemerals.entry(session).or_default().insert(path.clone());
                assert!(is_new, "{path}: a new ephemeral node is in its session's set already");
                self.ephemerals_count += 1;
                self.ephemeral_changes += 1;
            }
            NodeKind::Container | NodeKind::Ttl(_) => {
                assert!(self.collectables.insert(id), "{path}: a new node is among the collectables already");
            }
        }
        if let Some(quota::Special::Limits(root)) = quota::special(path) {
            assert!(self.quotas.insert(root), "{path}: a new quota is known already");
        }
        if chores::concern(path) {
            self.chores.note(path, None, Some(self.tree.slot(id).data().unwrap_or_default()));
        }
    }
}

impl State {
    /// Checks the invariants that cost the same however large the state is. Called after each transaction.
    fn check(&self) {
        let (nodes, sessions) = (self.tree.len(), self.ephemerals.len());
        assert!(self.ephemerals_count >= sessions, "{sessions} sessions have {} ephemerals", self.ephemerals_count);
        assert!(sessions <= self.sessions.len(), "{sessions} sessions have ephemeral nodes, fewer exist");
        let indexed = self.ephemerals_count + self.collectables.len();
        assert!(indexed < nodes, "{indexed} ephemeral nodes and collectables, {nodes} nodes with the root");
        assert!(self.data_size >= nodes as u64, "each path has a byte at least");
        self.tracking.check();
    }

    /// Checks every invariant of the state against the tree. Walks everything: for tests.
    #[cfg(any(test, debug_assertions))]
    #[cfg(test)]
    pub(crate) fn check_all(&self) {
        self.check();
        self.tree.check_all();
        let mut ephemerals: BTreeMap<SessionId, BTreeSet<Arc<str>>> = BTreeMap::new();
        let mut collectables = BTreeSet::new();
        let mut quotas = quota::Roots::default();
        let mut chores = chores::Chores::default();
        let mut digests = Digests::default();
        let mut data_size = 0;
        let mut record = Vec::new();
        self.walk(ROOT, |id| {
            let slot = self.tree.slot(id);
            record.clear();
            self.tree.write_path(id, &mut record);
            let path_length = record.len();
            let path = String::from_utf8(record.clone()).expect("names are made from texts");
            let digested = record::write_node(&self.tree, id, &mut record);
            digests.add_node(&record, path_length, digested);
            data_size += (path_length + slot.data().map_or(0, <[u8]>::len)) as u64;
            match slot.owner.kind() {
                NodeKind::Persistent => {}
                NodeKind::Ephemeral(session) => {
                    ephemerals.entry(session).or_default().insert(Arc::from(path.as_str()));
                }
                NodeKind::Container | NodeKind::Ttl(_) => {
                    collectables.insert(id);
                }
            }
            if let Some(quota::Special::Limits(root)) = quota::special(&path) {
                quotas.insert(root);
            }
            if chores::concern(&path) {
                chores.note(&path, None, Some(slot.data().unwrap_or_default()));
            }
            self.tracking.check_live(id, &path);
        });
        for (&id, tracked) in &self.sessions {
            digests.add(&record::session(id, &tracked.session));
        }
        assert!(ephemerals == self.ephemerals, "the index has exactly the ephemeral nodes");
        assert!(ephemerals.values().map(BTreeSet::len).sum::<usize>() == self.ephemerals_count, "and their number");
        assert!(ephemerals.keys().all(|id| self.sessions.contains_key(id)), "the owner of an ephemeral node exists");
        assert!(collectables == self.collectables, "the index has exactly the containers and TTL nodes");
        assert!(quotas.iter().eq(self.quotas.iter()), "the index has exactly the quotas");
        assert!(chores.iter().eq(self.chores.iter()), "the index has exactly the timers and owed mounts");
        assert!(data_size == self.data_size, "{data_size} bytes of paths and data, {} counted", self.data_size);
        assert!(digests.own() == self.digests.own(), "our digest is the sum over all records");
        assert!(digests.zookeeper() == self.digests.zookeeper(), "ZooKeeper's digest is the sum over all nodes");
    }
}

impl<'a> Node<'a> {
    /// None: the data is null, as clients may send it.
    pub(crate) fn data(&self) -> Option<&'a [u8]> {
        self.tree.slot(self.id).data()
    }

    pub(crate) fn stat(&self) -> Stat {
        self.tree.stat(self.id)
    }

    pub(crate) fn acl(&self) -> &'a Acl {
        self.tree.acls.get(self.tree.slot(self.id).acl)
    }

    pub(crate) fn owner(&self) -> Owner {
        self.tree.slot(self.id).owner
    }

    pub(crate) fn version(&self) -> i32 {
        self.tree.slot(self.id).version
    }

    pub(crate) fn aversion(&self) -> i32 {
        self.tree.slot(self.id).aversion
    }

    /// The stored counter of creations, from which sequence numbers are made. Clients see another cversion (`stat`).
    pub(crate) fn cversion(&self) -> i32 {
        self.tree.slot(self.id).cversion()
    }

    pub(crate) fn mzxid(&self) -> i64 {
        self.tree.slot(self.id).mzxid
    }

    pub(crate) fn pzxid(&self) -> i64 {
        self.tree.slot(self.id).pzxid()
    }

    pub(crate) fn child_count(&self) -> usize {
        self.tree.slot(self.id).child_count()
    }

    /// Names of the children, in the order of the hash table, which differs between replicas. A caller that decides
    /// anything by this order sorts the names first.
    pub(crate) fn children(&self) -> impl Iterator<Item = &'a str> + 'a {
        let tree = self.tree;
        tree.children(self.id).map(|id| tree.slot(id).name())
    }

    /// Names and owners of the children, in the order of `children`.
    pub(crate) fn children_owned(&self) -> impl Iterator<Item = (&'a str, Owner)> + 'a {
        let tree = self.tree;
        tree.children(self.id).map(|id| (tree.slot(id).name(), tree.slot(id).owner))
    }
}

#[cfg(test)]
mod tests;
