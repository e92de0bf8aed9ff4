//! Writing a checkpoint while transactions go on: all of one moment, little memory, no long stop.
//!
//! Of each node it is known whether it has changed since the last checkpoint, so the next one holds only that. At the cut
//! the changed nodes are frozen; pieces are then encoded one after the other, each under the lock for a short while only.
//! A frozen node that is about to change or go while its piece has not come is encoded there and then, as it was at the
//! cut. All pieces applied to the records of the checkpoint before give exactly the state at the cut.
//!
//! Memory: three bits a node, the paths of stored nodes that have gone since the last checkpoint, and the records that
//! changed under the writer. A piece is as large as its caller says, or one record.

use super::record::{self, Meta};
use super::tree::Id;
use super::{Session, State};
use crate::model::SessionId;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

/// A key with its value, or with none if the record has gone.
pub type Record = (Vec<u8>, Option<Vec<u8>>);

/// A checkpoint in the making: what of it lies outside the state. At most one at a time.
pub struct Cut {
    /// Stored nodes and sessions that are gone at the cut. Written first: a key is either gone or has a value.
    nodes_deleted: BTreeSet<Arc<str>>,
    sessions_closed: BTreeSet<SessionId>,
    meta: Option<(Vec<u8>, Vec<u8>)>,
    sessions: std::vec::IntoIter<(SessionId, Session)>,
    /// Where in the bits the search for frozen nodes stands.
    next_word: usize,
}

/// What has happened since the last checkpoint.
#[derive(Default)]
pub(super) struct Tracking {
    /// Nodes that have changed since the last cut.
    dirty: Bits,
    /// Nodes that the checkpoint in the making has yet to write. Empty while there is none.
    frozen: Bits,
    /// Nodes that have a record in the last checkpoint, or will have in the one in the making.
    stored: Bits,
    /// Paths that have a record there but no node any more. Never that of a node.
    nodes_deleted: BTreeSet<Arc<str>>,
    sessions_closed: BTreeSet<SessionId>,
    /// Records as of the cut of nodes that were frozen and then changed.
    images: Vec<(Vec<u8>, Vec<u8>)>,
    cutting: bool,
}

impl Tracking {
    pub(super) fn created(&mut self, id: Id, path: &Arc<str>) {
        // The path has come back before a checkpoint said that it was gone.
        if !self.nodes_deleted.is_empty() && self.nodes_deleted.remove(path) {
            self.stored.insert(id);
        }
    }

    pub(super) fn deleted(&mut self, id: Id, path: &Arc<str>) {
        self.dirty.remove(id);
        if self.stored.remove(id) {
            self.nodes_deleted.insert(path.clone());
        }
    }

    /// `record`: the node's key, then its value, as they still are.
    pub(super) fn changing(&mut self, id: Id, record: &[u8], key_length: usize) {
        if self.cutting && self.frozen.remove(id) {
            self.images.push(record::seal(record, key_length));
        }
    }

    pub(super) fn changed(&mut self, id: Id) {
        self.dirty.insert(id);
    }

    /// A node as a checkpoint has it.
    pub(super) fn loaded(&mut self, id: Id) {
        self.stored.insert(id);
    }

    /// Whether the last checkpoint still has a record of that session, from an earlier life.
    pub(super) fn session_opened(&mut self, id: SessionId) -> bool {
        self.sessions_closed.remove(&id)
    }

    /// A stored session is gone.
    pub(super) fn session_closed(&mut self, id: SessionId) {
        self.sessions_closed.insert(id);
    }
}

impl State {
    /// Cuts here: the checkpoint will hold the state as it is now. Costs a look at every session and 64 nodes at a step.
    pub fn begin_checkpoint(&mut self) -> Cut {
        let tracking = &mut self.tracking;
        assert!(!mem::replace(&mut tracking.cutting, true), "one checkpoint at a time");
        assert!(tracking.frozen.is_empty() && tracking.images.is_empty(), "the checkpoint before is complete");
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

    /// Appends records until they come to `bytes_max` bytes (one record may exceed it). Returns whether to ask again.
    pub fn checkpoint_piece(&mut self, cut: &mut Cut, bytes_max: usize, out: &mut Vec<Record>) -> bool {
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some((key, value)) = self.next_record(cut) else { return false };
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            out.push((key, value));
        }
        true
    }

    /// To be called once all pieces are durable.
    pub fn end_checkpoint(&mut self, cut: Cut) {
        let complete = cut.meta.is_none() && cut.sessions.len() == 0 && self.tracking.images.is_empty();
        assert!(complete && self.tracking.frozen.is_empty(), "all pieces were written");
        self.tracking.cutting = false;
    }

    /// Forgets that there is a checkpoint: the next one holds everything.
    #[cfg(test)]
    pub fn forget_checkpoint(&mut self) {
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

/// A set of node numbers, a bit each.
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

    /// Whether it was there.
    fn remove(&mut self, id: Id) -> bool {
        let Some(word) = self.0.get_mut(id as usize / 64) else { return false };
        let bit = 1 << (id % 64);
        let found = *word & bit != 0;
        *word &= !bit;
        found
    }

    fn insert_all(&mut self, others: &Bits) {
        if self.0.len() < others.0.len() {
            self.0.resize(others.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&others.0) {
            *word |= other;
        }
    }

    /// Takes the next number, searching from `word` on. Numbers before it must have been taken or never been there.
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
