//! The nodes themselves: a slab of slots that never move, and one table of children for each directory.
//!
//! A node's number is its place in the slab. A path is looked up name by name. The name and the data of a node lie
//! together in one allocation. With a name of 16 bytes and 100 bytes of data, a node costs 80 bytes for the slot, 128
//! for name and data, and some 10 in its parent's table.
//!
//! Promises: a look-up allocates nothing. Replacing data by data of the same length allocates nothing. The slab does
//! not shrink, but the numbers of deleted nodes are used again.

use super::acls::{AclId, Acls};
use crate::model::{Owner, Stat};
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hasher};

/// A node's number: its place in the slab. Local to this process.
pub(super) type Id = u32;

pub(super) const ROOT: Id = 0;

/// The parent of the root and of a free slot.
const NONE: Id = Id::MAX;

/// How many slots are allocated at once. Small enough for an empty server.
const CHUNK: usize = 1024;

/// A table of children with at least this capacity shrinks once its capacity is more than `SPARSE` times its length,
/// because listing the children costs time by the capacity. Smaller tables stay, for queues and locks whose only child
/// comes and goes.
const SPARSE_CAPACITY_MIN: usize = 64;
const SPARSE: usize = 8;

pub(super) struct Tree {
    /// The slab. Each chunk has room for `CHUNK` slots from its beginning, so slots never move.
    ///
    /// Invariant: all chunks but the last are full. A slot that is neither the root's nor free stands in its parent's
    /// table.
    chunks: Vec<Vec<Slot>>,
    /// Numbers of deleted nodes, to be used again.
    ///
    /// Invariant: a free slot has the parent `NONE` and stands in no table. The root is never free.
    free: Vec<Id>,
    pub(super) acls: Acls,
    hasher: foldhash::fast::FixedState,
}

/// One node. `pzxid` and `cversion` live in the directory once the node has had a child. Before, they are `czxid` and
/// 0.
pub(super) struct Slot {
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    pub(super) owner: Owner,
    directory: Option<Box<Directory>>,
    blob: Blob,
    pub(super) version: i32,
    pub(super) aversion: i32,
    pub(super) acl: AclId,
    pub(super) parent: Id,
}

const _: () = assert!(size_of::<Slot>() == 80, "the memory that a million nodes need is promised");

struct Directory {
    pzxid: i64,
    /// How many children were ever created, wrapping.
    ///
    /// Invariant: never falls. `State::create` checks that it rises.
    cversion: i32,
    /// The number of nodes below the node. A write costs one addition for each name of its path.
    ///
    /// Invariant: the sum, over the children, of 1 and the child's `below`.
    below: u32,
    /// The children, hashed by name.
    ///
    /// Invariant: exactly the slots whose parent this is.
    children: HashTable<Id>,
}

/// The fields of a new node, without its parent.
pub(super) struct NewNode<'a> {
    pub(super) name: &'a str,
    pub(super) data: Option<&'a [u8]>,
    pub(super) acl: AclId,
    pub(super) owner: Owner,
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    pub(super) version: i32,
    pub(super) aversion: i32,
}

impl Tree {
    /// A tree of an empty root with that ACL.
    pub(super) fn new(seed: u64, acl: &crate::model::Acl) -> Tree {
        let mut tree = Tree {
            chunks: Vec::new(),
            free: Vec::new(),
            acls: Acls::new(seed),
            hasher: foldhash::fast::FixedState::with_seed(seed),
        };
        let acl = tree.acls.acquire(acl);
        let root = NewNode {
            name: "",
            data: Some(&[]),
            acl,
            owner: Owner::PERSISTENT,
            czxid: 0,
            mzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            aversion: 0,
        };
        let id = tree.allocate(Slot::new(NONE, &root));
        assert!(id == ROOT, "the first slot is the root's");
        tree
    }

    /// The number of nodes, including the root.
    pub(super) fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        full + self.chunks.last().map_or(0, Vec::len) - self.free.len()
    }

    /// The node at that path. The empty path is the root, as in ZooKeeper.
    pub(super) fn find(&self, path: &str) -> Option<Id> {
        if path.len() <= 1 {
            return matches!(path, "" | "/").then_some(ROOT);
        }
        path.strip_prefix('/')?.split('/').try_fold(ROOT, |id, name| self.child(id, name))
    }

    pub(super) fn child(&self, parent: Id, name: &str) -> Option<Id> {
        let directory = self.slot(parent).directory.as_ref()?;
        directory.children.find(self.hash(name), |&id| self.slot(id).name_bytes() == name.as_bytes()).copied()
    }

    pub(super) fn slot(&self, id: Id) -> &Slot {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub(super) fn slot_mut(&mut self, id: Id) -> &mut Slot {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    /// The node's children, in the order of the hash table, which differs between replicas.
    pub(super) fn children(&self, id: Id) -> impl Iterator<Item = Id> + '_ {
        // In any order: callers sort the children, or the order makes no difference to them.
        self.slot(id).directory.iter().flat_map(|directory| directory.children.iter().copied())
    }

    /// Adds a node under a parent that has no child of that name. The caller sets the parent's counters.
    pub(super) fn insert(&mut self, parent: Id, node: &NewNode<'_>) -> Id {
        assert!(self.is_live(parent), "node {parent} is free and gets no child");
        let hash = self.hash(node.name);
        let id = self.allocate(Slot::new(parent, node));
        // The directory is taken out of its slot while its table grows, because growing reads the names of the other
        // children from their slots.
        let mut directory = self.take_directory(parent);
        directory.children.insert_unique(hash, id, |&child| self.hash_of(child));
        self.slot_mut(parent).directory = Some(directory);
        self.count_below(parent, 1);
        id
    }

    /// Removes a childless node from its parent. Frees the node's number and its reference to its ACL.
    pub(super) fn remove(&mut self, id: Id) {
        assert!(id != ROOT, "the root is never deleted");
        assert!(self.is_live(id), "node {id} is free already");
        assert!(self.slot(id).child_count() == 0, "node {id} is deleted and has children");
        let parent = self.slot(id).parent;
        let mut directory = self.take_directory(parent);
        directory
            .children
            .find_entry(self.hash_of(id), |&child| child == id)
            .unwrap_or_else(|_| panic!("a node is in its parent's table"))
            .remove();
        let (len, capacity) = (directory.children.len(), directory.children.capacity());
        if capacity >= SPARSE_CAPACITY_MIN && len * SPARSE < capacity {
            directory.children.shrink_to(len * 2, |&child| self.hash_of(child));
        }
        self.slot_mut(parent).directory = Some(directory);
        self.count_below(parent, -1);
        let slot = self.slot_mut(id);
        slot.parent = NONE;
        slot.blob = Blob::default();
        slot.directory = None;
        let acl = slot.acl;
        self.acls.release(acl);
        self.free.push(id);
    }

    /// Adds `change` to the number of nodes below `id` and below each node above it. Each of these nodes has a
    /// directory.
    fn count_below(&mut self, mut id: Id, change: i32) {
        while id != NONE {
            let slot = self.slot_mut(id);
            let directory = slot.directory.as_mut().expect("a node above another one has a directory");
            let below = directory.below.checked_add_signed(change);
            directory.below = below.expect("each node below another one is counted, and numbers have 32 bits");
            id = slot.parent;
        }
    }

    /// Gives the root its fields. The root must have no children yet.
    pub(super) fn replace_root(&mut self, node: &NewNode<'_>) {
        assert!(self.slot(ROOT).child_count() == 0, "the root gets its fields before its children");
        let before = std::mem::replace(self.slot_mut(ROOT), Slot::new(NONE, node));
        self.acls.release(before.acl);
    }

    /// Makes room for children that are about to be inserted.
    pub(super) fn reserve_children(&mut self, id: Id, count: usize) {
        let mut directory = self.take_directory(id);
        directory.children.reserve(count, |&child| self.hash_of(child));
        self.slot_mut(id).directory = Some(directory);
    }

    /// Sets a directory's counters: the zxid of the last change of its children, and the number of creations.
    pub(super) fn set_counts(&mut self, id: Id, pzxid: i64, cversion: i32) {
        let mut directory = self.take_directory(id);
        directory.pzxid = pzxid;
        directory.cversion = cversion;
        self.slot_mut(id).directory = Some(directory);
    }

    pub(super) fn stat(&self, id: Id) -> Stat {
        let slot = self.slot(id);
        let children = slot.child_count() as i32;
        Stat {
            czxid: slot.czxid,
            mzxid: slot.mzxid,
            ctime: slot.ctime,
            mtime: slot.mtime,
            version: slot.version,
            cversion: slot.cversion().wrapping_mul(2).wrapping_sub(children),
            aversion: slot.aversion,
            ephemeral_owner: slot.owner.visible(),
            data_length: slot.data().map_or(0, |data| data.len() as i32),
            num_children: children,
            pzxid: slot.pzxid(),
        }
    }

    /// Appends the path of a node to `out`. Walks up without recursion, because a path may have as many names as fit in
    /// a frame.
    pub(super) fn write_path(&self, id: Id, out: &mut Vec<u8>) {
        if id == ROOT {
            out.push(b'/');
            return;
        }
        let mut line: SmallVec<[Id; 16]> = SmallVec::new();
        let mut at = id;
        while at != ROOT {
            line.push(at);
            at = self.slot(at).parent;
        }
        for &id in line.iter().rev() {
            out.push(b'/');
            out.extend_from_slice(self.slot(id).name_bytes());
        }
    }

    pub(super) fn path(&self, id: Id) -> String {
        let mut path = Vec::new();
        self.write_path(id, &mut path);
        String::from_utf8(path).expect("names are made from texts")
    }

    fn allocate(&mut self, slot: Slot) -> Id {
        if let Some(id) = self.free.pop() {
            assert!(id != ROOT && !self.is_live(id), "node {id} is in use and free");
            *self.slot_mut(id) = slot;
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let base = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("there is a chunk with room");
        chunk.push(slot);
        let id = base + chunk.len() - 1;
        assert!(id < NONE as usize, "a tree has fewer than 2^32 - 1 nodes");
        id as Id
    }

    /// Whether a node has that number.
    fn is_live(&self, id: Id) -> bool {
        id == ROOT || self.slot(id).parent != NONE
    }

    /// Checks every invariant of the slab, the tables and the ACLs. Walks the whole tree.
    #[cfg(any(test, debug_assertions))]
    #[cfg(test)]
    pub(super) fn check_all(&self) {
        use std::collections::{BTreeMap, BTreeSet};
        let full = self.chunks.len().saturating_sub(1);
        assert!(self.chunks.iter().take(full).all(|chunk| chunk.len() == CHUNK), "all chunks but the last are full");
        let slots = self.chunks.iter().map(Vec::len).sum::<usize>();
        let free: BTreeSet<Id> = self.free.iter().copied().collect();
        assert!(free.len() == self.free.len(), "a number is free twice");
        let mut acls: BTreeMap<AclId, u32> = BTreeMap::new();
        let mut in_tables = 0;
        let mut below: BTreeMap<Id, usize> = BTreeMap::new();
        for id in 0..slots as Id {
            let slot = self.slot(id);
            assert!(free.contains(&id) != self.is_live(id), "node {id} is either free or in use");
            if free.contains(&id) {
                assert!(slot.directory.is_none(), "node {id} is free and has children");
                continue;
            }
            *acls.entry(slot.acl).or_default() += 1;
            in_tables += slot.child_count();
            let mut above = slot.parent;
            while above != NONE {
                *below.entry(above).or_default() += 1;
                above = self.slot(above).parent;
            }
            if id != ROOT {
                assert!(self.is_live(slot.parent), "node {id} hangs under a free number");
                let name = std::str::from_utf8(slot.name_bytes()).expect("names are made from texts");
                assert!(self.child(slot.parent, name) == Some(id), "node {id} stands in its parent's table");
            }
        }
        for id in (0..slots as Id).filter(|id| !free.contains(id)) {
            assert!(self.slot(id).below() == below.get(&id).copied().unwrap_or(0), "the nodes below {id} are counted");
        }
        assert!(in_tables + 1 == self.len(), "{in_tables} children in tables, {} nodes", self.len());
        self.acls.check_all(&acls);
    }

    fn take_directory(&mut self, id: Id) -> Box<Directory> {
        let slot = self.slot_mut(id);
        let czxid = slot.czxid;
        let empty = || Box::new(Directory { pzxid: czxid, cversion: 0, below: 0, children: HashTable::new() });
        slot.directory.take().unwrap_or_else(empty)
    }

    fn hash_of(&self, id: Id) -> u64 {
        self.hash_bytes(self.slot(id).name_bytes())
    }

    fn hash(&self, name: &str) -> u64 {
        self.hash_bytes(name.as_bytes())
    }

    fn hash_bytes(&self, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        hasher.finish()
    }
}

impl Slot {
    fn new(parent: Id, node: &NewNode<'_>) -> Slot {
        Slot {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime: node.ctime,
            mtime: node.mtime,
            owner: node.owner,
            directory: None,
            blob: Blob::new(node.name, node.data),
            version: node.version,
            aversion: node.aversion,
            acl: node.acl,
            parent,
        }
    }

    pub(super) fn name(&self) -> &str {
        std::str::from_utf8(self.name_bytes()).expect("names are made from texts")
    }

    pub(super) fn name_bytes(&self) -> &[u8] {
        self.blob.parts().name
    }

    pub(super) fn data(&self) -> Option<&[u8]> {
        let parts = self.blob.parts();
        (!parts.null).then_some(parts.data)
    }

    pub(super) fn set_data(&mut self, data: Option<&[u8]>) {
        self.blob.set_data(data);
    }

    pub(super) fn pzxid(&self) -> i64 {
        self.directory.as_ref().map_or(self.czxid, |directory| directory.pzxid)
    }

    pub(super) fn cversion(&self) -> i32 {
        self.directory.as_ref().map_or(0, |directory| directory.cversion)
    }

    pub(super) fn child_count(&self) -> usize {
        self.directory.as_ref().map_or(0, |directory| directory.children.len())
    }

    /// The number of nodes below the node.
    pub(super) fn below(&self) -> usize {
        self.directory.as_ref().map_or(0, |directory| directory.below as usize)
    }
}

/// Name and data in one allocation: `length of the name << 1 | data is null` as a varint, then the name, then the data.
#[derive(Default)]
struct Blob(Box<[u8]>);

struct Parts<'a> {
    null: bool,
    name: &'a [u8],
    data: &'a [u8],
    data_start: usize,
}

impl Blob {
    fn new(name: &str, data: Option<&[u8]>) -> Blob {
        Blob::of_bytes(name.as_bytes(), data)
    }

    fn of_bytes(name: &[u8], data: Option<&[u8]>) -> Blob {
        let mut head = name.len() << 1 | usize::from(data.is_none());
        let head_length = (usize::BITS - head.leading_zeros()).div_ceil(7).max(1) as usize;
        let data = data.unwrap_or_default();
        let mut bytes = Vec::with_capacity(head_length + name.len() + data.len());
        while head >= 0x80 {
            bytes.push(head as u8 | 0x80);
            head >>= 7;
        }
        bytes.push(head as u8);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(data);
        Blob(bytes.into_boxed_slice())
    }

    fn parts(&self) -> Parts<'_> {
        let mut head = 0;
        let mut at = 0;
        loop {
            let byte = self.0[at];
            head |= usize::from(byte & 0x7f) << (7 * at);
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let data_start = at + (head >> 1);
        Parts { null: head & 1 == 1, name: &self.0[at..data_start], data: &self.0[data_start..], data_start }
    }

    fn set_data(&mut self, data: Option<&[u8]>) {
        let parts = self.parts();
        match data {
            Some(new) if !parts.null && parts.data.len() == new.len() => {
                let start = parts.data_start;
                self.0[start..].copy_from_slice(new);
            }
            _ => *self = Blob::of_bytes(parts.name, data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acl::open_unsafe;

    fn node<'a>(tree: &mut Tree, name: &'a str, data: Option<&'a [u8]>) -> NewNode<'a> {
        let acl = tree.acls.acquire(&open_unsafe());
        NewNode {
            name,
            data,
            acl,
            owner: Owner::PERSISTENT,
            czxid: 5,
            mzxid: 5,
            ctime: 1,
            mtime: 1,
            version: 0,
            aversion: 0,
        }
    }

    fn add(tree: &mut Tree, parent: Id, name: &str) -> Id {
        let new = node(tree, name, None);
        tree.insert(parent, &new)
    }

    #[test]
    fn names_and_data_share_an_allocation() {
        let long = "n".repeat(70_000);
        for name in ["", "a", "0123456789abcdef", long.as_str(), "…"] {
            for data in [None, Some(&b""[..]), Some(b"x"), Some(&[7; 300])] {
                let mut blob = Blob::new(name, data);
                assert_eq!(blob.parts().name, name.as_bytes());
                assert_eq!((!blob.parts().null).then_some(blob.parts().data), data);
                for next in [Some(&b"y"[..]), Some(b"z"), None, Some(b""), data] {
                    blob.set_data(next);
                    assert_eq!(blob.parts().name, name.as_bytes());
                    assert_eq!((!blob.parts().null).then_some(blob.parts().data), next);
                }
            }
        }
        assert_eq!(Blob::new("0123456789abcdef", Some(&[0; 100])).0.len(), 117);
    }

    #[test]
    fn nodes_are_added_and_removed_and_numbers_used_again() {
        let mut tree = Tree::new(3, &open_unsafe());
        assert_eq!(tree.find("/"), Some(ROOT));
        assert_eq!(tree.find(""), Some(ROOT));
        let a = add(&mut tree, ROOT, "a");
        let mut children = Vec::new();
        for number in 0..5000 {
            children.push(add(&mut tree, a, &format!("child{number}")));
        }
        assert_eq!(tree.len(), 5002);
        assert_eq!(tree.find("/a/child4321"), Some(children[4321]));
        assert_eq!(tree.path(children[4321]), "/a/child4321");
        assert_eq!(tree.path(ROOT), "/");
        for bad in ["a", "//", "/a/", "/a//child1", "/b", "/a/child1/x", "x/a"] {
            assert_eq!(tree.find(bad), None, "{bad}");
        }
        tree.check_all();
        for &child in &children[1..] {
            tree.remove(child);
        }
        tree.check_all();
        assert_eq!(tree.len(), 3);
        assert_eq!(tree.children(a).collect::<Vec<_>>(), [children[0]]);
        assert_eq!(tree.find("/a/child0"), Some(children[0]));
        assert!(tree.slot(a).directory.as_ref().is_some_and(|directory| directory.children.capacity() < 64));
        assert_eq!(add(&mut tree, a, "again"), children[4999], "numbers are used again");
        assert_eq!(tree.slot(a).child_count(), 2);
    }
}
