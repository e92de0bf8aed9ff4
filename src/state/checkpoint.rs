//! Writes a checkpoint while transactions go on. The checkpoint shows the state of one moment, needs little memory, and
//! never stops the server for long.
//!
//! The state knows of each node whether it has changed since the last checkpoint. So the next checkpoint has only the
//! changed nodes. The moment that a checkpoint shows is its *cut*. At the cut the changed nodes are frozen. Their
//! records are then encoded piece by piece, and the lock is held for one piece at a time. If a frozen node is about to
//! change or to be deleted before it has been encoded, its record is encoded first, as it was at the cut. All pieces
//! together, applied to the records of the previous checkpoint, give exactly the state at the cut.
//!
//! Memory: three bits per node, the paths of stored nodes that were deleted since the last checkpoint, and the records
//! of frozen nodes that changed while the checkpoint was written. The caller says how large a piece may be; a piece of
//! one record may be larger.

use super::record::{self, Meta};
use super::tree::Id;
use super::{Session, State};
use crate::model::SessionId;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

/// A key with its value. None: the record is to be deleted.
pub(crate) type Record = (Vec<u8>, Option<Vec<u8>>);

/// The part of a checkpoint in the making that is kept outside the state. There is at most one at a time.
pub(crate) struct Cut {
    /// Paths of stored nodes that do not exist at the cut. No node has such a path at the cut, so each key is either
    /// deleted or written, never both.
    nodes_deleted: BTreeSet<Arc<str>>,
    sessions_closed: BTreeSet<SessionId>,
    /// The key and value of the meta record. None: the record has been written.
    meta: Option<(Vec<u8>, Vec<u8>)>,
    /// Sessions that have changed, as of the cut.
    sessions: std::vec::IntoIter<(SessionId, Session)>,
    /// The index of the word in `Tracking::frozen` at which the search for frozen nodes goes on.
    next_word: usize,
}

/// What has happened since the last checkpoint.
#[derive(Default)]
pub(super) struct Tracking {
    /// Nodes that have changed since the last cut.
    dirty: Bits,
    /// Nodes that the checkpoint in the making has yet to write.
    ///
    /// Invariant: empty while no checkpoint is in the making.
    frozen: Bits,
    /// Nodes that have a record in the last checkpoint, or will have one in the checkpoint in the making.
    stored: Bits,
    /// Paths that have a record in the last checkpoint, or will have one in the checkpoint in the making, but have no
    /// node any more.
    ///
    /// Invariant: no path of a node that exists is among them.
    nodes_deleted: BTreeSet<Arc<str>>,
    /// Sessions that have a record in the last checkpoint, or will have one in the checkpoint in the making, but do not
    /// exist any more.
    ///
    /// Invariant: no session that exists is among them.
    sessions_closed: BTreeSet<SessionId>,
    /// The records, as of the cut, of frozen nodes that have changed since.
    ///
    /// Invariant: empty while no checkpoint is in the making.
    images: Vec<(Vec<u8>, Vec<u8>)>,
    /// A checkpoint is in the making.
    cutting: bool,
}

impl Tracking {
    /// A node was created. Its number may have belonged to another node before.
    pub(super) fn created(&mut self, id: Id, path: &Arc<str>) {
        assert!(!self.frozen.contains(id), "{path}: a new node has the number of a frozen one");
        assert!(!self.stored.contains(id), "{path}: a new node has the number of a stored one");
        assert!(!self.dirty.contains(id), "{path}: a new node has the number of a changed one");
        // The path may have been deleted and created again before a checkpoint recorded the deletion.
        if !self.nodes_deleted.is_empty() && self.nodes_deleted.remove(path) {
            self.stored.insert(id);
        }
    }

    /// A node was deleted. `changing` was called before.
    pub(super) fn deleted(&mut self, id: Id, path: &Arc<str>) {
        assert!(!self.frozen.contains(id), "{path}: deleted before its record was kept");
        self.dirty.remove(id);
        if self.stored.remove(id) {
            assert!(self.nodes_deleted.insert(path.clone()), "{path}: a node that exists is noted as gone");
        }
    }

    /// A node is about to change or to be deleted. `record`: the node's key, then its value, both before the change.
    pub(super) fn changing(&mut self, id: Id, record: &[u8], key_length: usize) {
        if self.cutting && self.frozen.remove(id) {
            self.images.push(record::seal(record, key_length));
        }
    }

    /// A node was created or changed.
    pub(super) fn changed(&mut self, id: Id) {
        self.dirty.insert(id);
    }

    /// A node was loaded from a checkpoint.
    pub(super) fn loaded(&mut self, id: Id) {
        self.stored.insert(id);
    }

    /// A session was opened. Returns whether the last checkpoint has a record of an earlier session with that id.
    pub(super) fn session_opened(&mut self, id: SessionId) -> bool {
        self.sessions_closed.remove(&id)
    }

    /// A session that has a record in the last checkpoint was closed.
    pub(super) fn session_closed(&mut self, id: SessionId) {
        assert!(self.sessions_closed.insert(id), "{id}: a session that exists is noted as gone");
    }

    /// Checks the invariants that cost the same however much has changed.
    pub(super) fn check(&self) {
        assert!(self.cutting || self.images.is_empty(), "no checkpoint is in the making that needs records kept");
    }

    /// Checks what must hold of a node that exists.
    #[cfg(any(test, debug_assertions))]
    #[cfg(test)]
    pub(super) fn check_live(&self, id: Id, path: &str) {
        assert!(!self.nodes_deleted.contains(path), "{path}: a node that exists is noted as gone");
        assert!(self.dirty.contains(id) || self.stored.contains(id), "{path}: no checkpoint will have it");
        assert!(self.cutting || !self.frozen.contains(id), "{path}: frozen without a checkpoint in the making");
    }
}

impl State {
    /// Begins a checkpoint of the state as it is now. Costs a step for each session and for each 64 nodes.
    pub(crate) fn begin_checkpoint(&mut self) -> Cut {
        let tracking = &mut self.tracking;
        assert!(!mem::replace(&mut tracking.cutting, true), "one checkpoint at a time");
        assert!(
            tracking.frozen.is_empty() && tracking.images.is_empty(),
            "the checkpoint before was written completely"
        );
        tracking.frozen = mem::take(&mut tracking.dirty);
        tracking.stored.insert_all(&tracking.frozen);
        let nodes_deleted = mem::take(&mut tracking.nodes_deleted);
        let sessions_closed = mem::take(&mut tracking.sessions_closed);
        let mut sessions = Vec::new();
        for (&id, tracked) in &mut self.sessions {
            if mem::replace(&mut tracked.dirty, false) {
                tracked.stored = true;
                sessions.push((id, tracked.session));
            }
        }
        let meta = Some(record::seal(&self.meta().write(), record::META_KEY_LENGTH));
        Cut { nodes_deleted, sessions_closed, meta, sessions: sessions.into_iter(), next_word: 0 }
    }

    /// Appends records to `out` until they have `bytes_max` bytes. The last record may exceed that. Returns whether
    /// there may be more records.
    pub(crate) fn checkpoint_piece(&mut self, cut: &mut Cut, bytes_max: usize, out: &mut Vec<Record>) -> bool {
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some((key, value)) = self.next_record(cut) else { return false };
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            out.push((key, value));
        }
        true
    }

    /// Ends the checkpoint. To be called once all pieces are durable.
    pub(crate) fn end_checkpoint(&mut self, cut: Cut) {
        let complete = cut.meta.is_none() && cut.sessions.len() == 0 && self.tracking.images.is_empty();
        assert!(complete && self.tracking.frozen.is_empty(), "a checkpoint ends when all its pieces are written");
        self.tracking.cutting = false;
    }

    /// Forgets the last checkpoint, so that the next one holds everything.
    #[cfg(test)]
    pub(crate) fn forget_checkpoint(&mut self) {
        assert!(!self.tracking.cutting, "not while one is being written");
        let mut dirty = Bits::default();
        self.walk(super::tree::ROOT, |id| dirty.insert(id));
        self.tracking = Tracking { dirty, ..Tracking::default() };
        for tracked in self.sessions.values_mut() {
            tracked.dirty = true;
            tracked.stored = false;
        }
    }

    pub(super) fn meta(&self) -> Meta {
        Meta {
            zxid: self.last_zxid.0,
            wall_ms: self.wall_ms,
            ensemble_ms: self.ensemble_ms,
            nodes: self.tree.len() as u64,
            sessions: self.sessions.len() as u64,
            digest: self.digest(),
            zookeeper_digest: self.zookeeper_digest(),
        }
    }

    fn next_record(&mut self, cut: &mut Cut) -> Option<Record> {
        if let Some(session) = cut.sessions_closed.pop_first() {
            return Some((record::session_key(session), None));
        }
        if let Some(path) = cut.nodes_deleted.pop_first() {
            return Some((path.as_bytes().to_vec(), None));
        }
        if let Some(meta) = cut.meta.take() {
            return Some(present(meta));
        }
        if let Some((id, session)) = cut.sessions.next() {
            return Some(present(record::seal(&record::session(id, &session), record::SESSION_KEY_LENGTH)));
        }
        if let Some(image) = self.tracking.images.pop() {
            return Some(present(image));
        }
        let id = self.tracking.frozen.take_next(&mut cut.next_word)?;
        self.scratch.clear();
        self.tree.write_path(id, &mut self.scratch);
        let path_length = self.scratch.len();
        record::write_node(&self.tree, id, &mut self.scratch);
        Some(present(record::seal(&self.scratch, path_length)))
    }
}

fn present((key, value): (Vec<u8>, Vec<u8>)) -> Record {
    (key, Some(value))
}

/// A set of node numbers, one bit each.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, id: Id) {
        let word = id as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (id % 64);
    }

    /// Returns whether the number was in the set.
    fn remove(&mut self, id: Id) -> bool {
        let Some(word) = self.0.get_mut(id as usize / 64) else { return false };
        let bit = 1 << (id % 64);
        let found = *word & bit != 0;
        *word &= !bit;
        found
    }

    fn contains(&self, id: Id) -> bool {
        self.0.get(id as usize / 64).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    fn insert_all(&mut self, others: &Bits) {
        if self.0.len() < others.0.len() {
            self.0.resize(others.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&others.0) {
            *word |= other;
        }
    }

    /// Removes the smallest number from the set and returns it. Searches from `word` on; no earlier word may contain a
    /// number.
    fn take_next(&mut self, word: &mut usize) -> Option<Id> {
        while let Some(bits) = self.0.get_mut(*word) {
            if *bits != 0 {
                let bit = bits.trailing_zeros();
                *bits &= *bits - 1;
                return Some(*word as Id * 64 + bit);
            }
            *word += 1;
        }
        None
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
}
