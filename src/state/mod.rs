//! The tree, its sessions and indexes in memory: transactions go in, nothing can fail.

pub mod quota;

use crate::model::{Acl, ConnectionId, Owner, Password, SessionId, Stat, Zxid};
use crate::pipeline::Rules;
use crate::pipeline::txn::Txn;
use crate::wire::reply::EventKind;
use std::collections::BTreeSet;
use std::sync::Arc;
use thiserror::Error;

pub struct State {
    _private: (),
}

/// One node, looked at.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    state: &'a State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    pub timeout_ms: i32,
    pub password: Password,
    /// The connection that may write in the session's name.
    pub owner: ConnectionId,
}

/// What one transaction did, for replies and watches. Reused from transaction to transaction.
#[derive(Default, Debug)]
pub struct Applied {
    /// One a slot of `Outcome::Done`; zeros for `Slot::Nothing`.
    pub slots: Vec<Stat>,
    pub events: Vec<Event>,
    pub sessions_closed: Vec<(SessionId, ConnectionId)>,
    /// The session and its owner before.
    pub session_moved: Option<(SessionId, ConnectionId)>,
}

impl Applied {
    pub fn clear(&mut self) {
        self.slots.clear();
        self.events.clear();
        self.sessions_closed.clear();
        self.session_moved = None;
    }
}

/// Something that watches may wait for.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    pub zxid: Zxid,
    /// Who may read it: of the node itself, of the parent for `ChildrenChanged`.
    pub acl: Acl,
    /// The node that was created, changed or deleted; `path()` is its parent for `ChildrenChanged`.
    node: Arc<str>,
}

impl Event {
    /// The path that the event speaks of.
    pub fn path(&self) -> &str {
        match self.kind {
            EventKind::ChildrenChanged => crate::model::path::parent(&self.node).expect("the root is nobody's child"),
            _ => &self.node,
        }
    }
}

/// Why a checkpoint cannot be loaded.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("record {key:?}: {what}")]
    Damaged { key: String, what: &'static str },
}

/// A checkpoint in the making.
pub struct Cut {
    _private: (),
}

pub struct Loader {
    _private: (),
}

impl Loader {
    pub fn record(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), RecordError> {
        unimplemented!()
    }
    pub fn finish(self) -> Result<State, RecordError> {
        unimplemented!()
    }
}

impl State {
    pub fn new(_seed: u64) -> State {
        unimplemented!()
    }
    pub fn apply(&mut self, _txn: &Txn, _applied: &mut Applied) {
        unimplemented!()
    }
    pub fn last_zxid(&self) -> Zxid {
        unimplemented!()
    }
    pub fn wall_ms(&self) -> i64 {
        unimplemented!()
    }
    pub fn ensemble_ms(&self) -> u64 {
        unimplemented!()
    }
    /// Our own digest, over all state.
    pub fn digest(&self) -> u64 {
        unimplemented!()
    }
    pub fn zookeeper_digest(&self) -> u64 {
        unimplemented!()
    }
    /// ZooKeeper's digest log for the `hash` word, oldest first.
    pub fn digest_log(&self) -> impl Iterator<Item = (Zxid, u64)> + '_ {
        std::iter::empty()
    }
    /// The root counts once (ZooKeeper's `znode_count` counts it twice).
    pub fn node_count(&self) -> usize {
        unimplemented!()
    }
    pub fn approximate_data_size(&self) -> u64 {
        unimplemented!()
    }
    pub fn ephemerals_count(&self) -> usize {
        unimplemented!()
    }
    pub fn node(&self, _path: &str) -> Option<Node<'_>> {
        unimplemented!()
    }
    pub fn session(&self, _id: SessionId) -> Option<&Session> {
        unimplemented!()
    }
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> + '_ {
        std::iter::empty()
    }
    pub fn session_count(&self) -> usize {
        unimplemented!()
    }
    /// Paths in byte order.
    pub fn ephemerals(&self, _session: SessionId) -> impl Iterator<Item = &Arc<str>> + '_ {
        std::iter::empty()
    }
    /// By session, for `dump`; only sessions that have some.
    pub fn all_ephemerals(&self) -> impl Iterator<Item = (SessionId, &BTreeSet<Arc<str>>)> + '_ {
        std::iter::empty()
    }
    /// How many nodes lie below that path; none if there is no such node.
    pub fn subtree_count(&self, _path: &str) -> Option<usize> {
        unimplemented!()
    }
    /// Paths of childless containers and TTL nodes that may go now, at most `max`.
    pub fn collectable(&self, _now_wall_ms: i64, _rules: &Rules, _max: usize) -> Vec<String> {
        unimplemented!()
    }
    /// The quota that a change at that path falls under.
    pub fn quota_for<'a>(&'a self, _path: &'a str) -> Option<quota::Quota<'a>> {
        unimplemented!()
    }
    pub fn begin_checkpoint(&mut self) -> Cut {
        unimplemented!()
    }
    /// Appends records of about `bytes_max` bytes; whether there are more.
    pub fn checkpoint_piece(
        &mut self,
        _cut: &mut Cut,
        _bytes_max: usize,
        _out: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> bool {
        unimplemented!()
    }
    pub fn end_checkpoint(&mut self, _cut: Cut) {
        unimplemented!()
    }
    /// `seed`: of the hash tables.
    pub fn load(_seed: u64) -> Loader {
        unimplemented!()
    }
}

impl<'a> Node<'a> {
    /// Null data is none.
    pub fn data(&self) -> Option<&'a [u8]> {
        let _ = self.state;
        unimplemented!()
    }
    pub fn stat(&self) -> Stat {
        unimplemented!()
    }
    pub fn acl(&self) -> &'a Acl {
        unimplemented!()
    }
    pub fn owner(&self) -> Owner {
        unimplemented!()
    }
    pub fn version(&self) -> i32 {
        unimplemented!()
    }
    pub fn aversion(&self) -> i32 {
        unimplemented!()
    }
    /// The stored counter of creations, of which sequence numbers are made.
    pub fn cversion(&self) -> i32 {
        unimplemented!()
    }
    pub fn mzxid(&self) -> i64 {
        unimplemented!()
    }
    pub fn pzxid(&self) -> i64 {
        unimplemented!()
    }
    pub fn child_count(&self) -> usize {
        unimplemented!()
    }
    /// In no particular order.
    pub fn children(&self) -> impl Iterator<Item = &'a str> + 'a {
        std::iter::empty()
    }
    pub fn child(&self, _name: &str) -> Option<Node<'a>> {
        unimplemented!()
    }
}
