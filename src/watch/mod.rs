//! Watches: which connections wait for what, and which of them an event reaches (WatchManager.java, DataTree.java).
//! Pure. Watches are never replicated.
//!
//! ZooKeeper has two tables: one of data watches (getData, exists) and one of child watches (getChildren). A persistent
//! watch is in both. A recursive watch is in the first only, so it never gets `ChildrenChanged`. Here one entry per
//! path holds both tables: a connection's modes in either table are bits of one byte. The watches that fire:
//!
//! | event at P | one-shot, gone then | persistent | recursive |
//! |---|---|---|---|
//! | created, data changed | data | at P | at P and above |
//! | deleted | data and child | at P | at P and above |
//! | children changed | child | at P | - |
//!
//! A connection gets an event once, however many of its watches the event meets. Without any recursive watch the path
//! is not walked up. A connection without watches costs nothing. A watch costs some 16 bytes beside its path.
//!
//! A connection has a bounded number of watches, and so have all together, by count and by the bytes of their paths. A
//! watch beyond a bound is not set, and the caller says so to the client.
//!
//! The hash tables here are iterated in one place: `drop_some`, where no caller can see the order.

#![deny(clippy::iter_over_hash_type)]

use crate::limits::{WATCHES_BYTES_MAX, WATCHES_MAX, WATCHES_PER_CONNECTION_BYTES_MAX, WATCHES_PER_CONNECTION_MAX};
use crate::model::{ConnectionId, path};
use crate::state::Event;
use crate::wire::reply::EventKind;
use hashbrown::{HashMap, HashSet, HashTable};
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hasher};
use std::mem;

/// Which one-shot watch a read arms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WatchKind {
    /// Armed by getData, and by exists if the node exists.
    Data,
    /// Armed by getChildren.
    Child,
    /// Armed by exists if the node does not exist.
    Exist,
}

/// The mode of addWatch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub(crate) enum PersistentMode {
    Persistent = 0,
    Recursive = 1,
}

impl PersistentMode {
    pub(crate) const fn from_wire(mode: i32) -> Option<PersistentMode> {
        match mode {
            0 => Some(PersistentMode::Persistent),
            1 => Some(PersistentMode::Recursive),
            _ => None,
        }
    }
}

/// What removeWatches and checkWatches ask about (Watcher.WatcherType).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub(crate) enum WatcherType {
    Children = 1,
    Data = 2,
    Any = 3,
    Persistent = 4,
    PersistentRecursive = 5,
}

impl WatcherType {
    pub(crate) const fn from_wire(kind: i32) -> Option<WatcherType> {
        match kind {
            1 => Some(WatcherType::Children),
            2 => Some(WatcherType::Data),
            3 => Some(WatcherType::Any),
            4 => Some(WatcherType::Persistent),
            5 => Some(WatcherType::PersistentRecursive),
            _ => None,
        }
    }
}

/// The watches of all connections of this server.
pub struct Watches {
    /// The watched paths, by number.
    paths: Vec<WatchedPath>,
    /// Numbers of paths that nobody watches any more.
    ///
    /// Invariant: each number is either here or in `by_path`. The path of a free number is empty and has no watchers.
    free_paths: Vec<PathId>,
    by_path: HashTable<PathId>,
    /// The connections that have watches or had some, by number.
    connections: Vec<Watcher>,
    /// Numbers of connections that are gone.
    ///
    /// Invariant: each number is either here or in `by_connection`.
    free_connections: Vec<WatcherId>,
    by_connection: HashMap<ConnectionId, WatcherId, Hashing>,
    /// Watches in the data table.
    data_count: usize,
    /// Watches in the child table.
    child_count: usize,
    /// Recursive watches.
    ///
    /// Invariant: at most `data_count`, because each is in the data table.
    recursive_count: usize,
    /// Invariant: the sum of all `Watcher::taken`. Within `bounds.all`.
    taken: Taken,
    bounds: Bounds,
    hashing: Hashing,
    /// The connections that the present event reaches.
    reached: Vec<WatcherId>,
}

/// A path, and the connections that watch it.
pub(crate) type WatchedBy = (Box<str>, Vec<ConnectionId>);

type Hashing = foldhash::fast::FixedState;
type PathId = u32;
type WatcherId = u32;

#[derive(Default)]
struct WatchedPath {
    path: Box<str>,
    /// Invariant: in order of the watchers, each at most once, none without modes. A watcher stands here if the path
    /// stands in `Watcher::watched`.
    watchers: SmallVec<[(WatcherId, Modes); 2]>,
}

struct Watcher {
    connection: ConnectionId,
    /// The paths on which the connection has a watch.
    watched: HashSet<PathId, Hashing>,
    /// Invariant: the paths in `watched`, and their bytes. Within `Bounds::connection`.
    taken: Taken,
}

/// Watched paths and their bytes. A path counts once for each connection that watches it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Taken {
    paths: usize,
    bytes: usize,
}

/// What may be taken.
#[derive(Clone, Copy)]
struct Bounds {
    connection: Taken,
    all: Taken,
}

const BOUNDS: Bounds = Bounds {
    connection: Taken { paths: WATCHES_PER_CONNECTION_MAX, bytes: WATCHES_PER_CONNECTION_BYTES_MAX },
    all: Taken { paths: WATCHES_MAX, bytes: WATCHES_BYTES_MAX },
};

impl Taken {
    fn add(&mut self, path_bytes: usize) {
        self.paths += 1;
        self.bytes += path_bytes;
    }

    fn take_off(&mut self, path_bytes: usize) {
        self.paths = self.paths.checked_sub(1).expect("each watched path was counted");
        self.bytes = self.bytes.checked_sub(path_bytes).expect("the bytes of each watched path were counted");
    }

    /// Whether one more path of that length is within `bound`.
    fn has_room(self, path_bytes: usize, bound: Taken) -> bool {
        self.paths < bound.paths && self.bytes.saturating_add(path_bytes) <= bound.bytes
    }
}

/// How a connection watches a path.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Modes(u8);

impl Modes {
    const NONE: Modes = Modes(0);
    const DATA_ONCE: Modes = Modes(1);
    const DATA_PERSISTENT: Modes = Modes(1 << 1);
    const DATA_RECURSIVE: Modes = Modes(1 << 2);
    const CHILD_ONCE: Modes = Modes(1 << 3);
    const CHILD_PERSISTENT: Modes = Modes(1 << 4);

    const DATA: Modes = Modes(0b0_0111);
    const CHILD: Modes = Modes(0b1_1000);
    const ALL: Modes = Modes(0b1_1111);
    const PERSISTENT: Modes = Modes(Modes::DATA_PERSISTENT.0 | Modes::CHILD_PERSISTENT.0);

    const fn has(self, any_of: Modes) -> bool {
        self.0 & any_of.0 != 0
    }

    const fn with(self, more: Modes) -> Modes {
        Modes(self.0 | more.0)
    }

    const fn without(self, less: Modes) -> Modes {
        Modes(self.0 & !less.0)
    }

    /// The modes that checkWatches looks for. For persistent watches only the data table counts, as in ZooKeeper.
    const fn sought(kind: WatcherType) -> Modes {
        match kind {
            WatcherType::Children => Modes::CHILD_ONCE,
            WatcherType::Data => Modes::DATA_ONCE,
            WatcherType::Any => Modes::ALL,
            WatcherType::Persistent => Modes::DATA_PERSISTENT,
            WatcherType::PersistentRecursive => Modes::DATA_RECURSIVE,
        }
    }

    /// The modes that removeWatches takes away.
    const fn removed(kind: WatcherType) -> Modes {
        match kind {
            WatcherType::Persistent => Modes::PERSISTENT,
            other => Modes::sought(other),
        }
    }
}

impl Watches {
    /// `seed`: the seed of the hash tables, random per process.
    pub(crate) fn new(seed: u64) -> Watches {
        let hashing = Hashing::with_seed(seed);
        Watches {
            paths: Vec::new(),
            free_paths: Vec::new(),
            by_path: HashTable::new(),
            connections: Vec::new(),
            free_connections: Vec::new(),
            by_connection: HashMap::with_hasher(hashing.clone()),
            data_count: 0,
            child_count: 0,
            recursive_count: 0,
            taken: Taken::default(),
            bounds: BOUNDS,
            hashing,
            reached: Vec::new(),
        }
    }

    /// Sets a one-shot watch. Nothing happens if the connection has it already. False if there is no room for it.
    pub(crate) fn arm(&mut self, kind: WatchKind, path: &str, connection: ConnectionId) -> bool {
        let modes = match kind {
            WatchKind::Data | WatchKind::Exist => Modes::DATA_ONCE,
            WatchKind::Child => Modes::CHILD_ONCE,
        };
        self.watch(path, connection, modes)
    }

    /// Whether the connection may have a watch at that path: there is room, or it has one there already.
    pub(crate) fn has_room(&self, path: &str, connection: ConnectionId) -> bool {
        let watcher = self.by_connection.get(&connection).copied();
        if let (Some(path), Some(watcher)) = (self.path_id(path), watcher)
            && self.modes(path, watcher) != Modes::NONE
        {
            return true;
        }
        let taken = watcher.map_or(Taken::default(), |watcher| self.connections[watcher as usize].taken);
        taken.has_room(path.len(), self.bounds.connection) && self.taken.has_room(path.len(), self.bounds.all)
    }

    /// Sets a watch that stays when it fires. False if there is no room for it.
    pub(crate) fn add(&mut self, path: &str, mode: PersistentMode, connection: ConnectionId) -> bool {
        let modes = match mode {
            PersistentMode::Persistent => Modes::PERSISTENT,
            PersistentMode::Recursive => Modes::DATA_RECURSIVE,
        };
        self.watch(path, connection, modes)
    }

    /// Removes watches. Returns false if there was none to remove (NOWATCHER).
    pub(crate) fn remove(&mut self, path: &str, kind: WatcherType, connection: ConnectionId) -> bool {
        let Some(path) = self.path_id(path) else { return false };
        let Some(&watcher) = self.by_connection.get(&connection) else { return false };
        let before = self.modes(path, watcher);
        let after = before.without(Modes::removed(kind));
        self.set_modes(path, watcher, after);
        before != after
    }

    /// Whether the connection has such a watch.
    pub(crate) fn has(&self, path: &str, kind: WatcherType, connection: ConnectionId) -> bool {
        let Some(path) = self.path_id(path) else { return false };
        let Some(&watcher) = self.by_connection.get(&connection) else { return false };
        self.modes(path, watcher).has(Modes::sought(kind))
    }

    /// Forgets at most `max` watched paths of a connection that has ended, and the connection with the last of them.
    /// Returns whether nothing of it is left. Nobody may set a watch for the connection any more.
    pub(crate) fn drop_some(&mut self, connection: ConnectionId, max: usize) -> bool {
        let Some(&watcher) = self.by_connection.get(&connection) else { return true };
        // In any order: it decides only in which order the numbers of paths are used again.
        let some: Vec<PathId> = self.connections[watcher as usize].watched.iter().take(max).copied().collect();
        for path in some {
            self.leave(path, watcher);
            let before = self.set_modes_at_path(path, watcher, Modes::NONE);
            assert!(before != Modes::NONE, "{connection:?} watches a path that does not know it");
        }
        let done = self.connections[watcher as usize].watched.is_empty();
        if done {
            self.by_connection.remove(&connection);
            self.free_connections.push(watcher);
        }
        self.check();
        done
    }

    /// Calls `deliver` once for each connection that waits for the event, and removes the one-shot watches that it
    /// meets. The connections come in the order of their numbers.
    pub(crate) fn trigger(&mut self, event: &Event, deliver: &mut dyn FnMut(ConnectionId, EventKind, &str)) {
        if self.by_path.is_empty() {
            return;
        }
        let at = event.path();
        self.reached.clear();
        if let Some(path) = self.path_id(at) {
            self.fire(path, event.kind);
        }
        if event.kind != EventKind::ChildrenChanged && self.recursive_count > 0 {
            self.reach_recursive(at);
        }
        for &watcher in &self.reached {
            deliver(self.connections[watcher as usize].connection, event.kind, at);
        }
    }

    /// Whether nobody watches anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// ZooKeeper's `watch_count`. A persistent watch is in both tables, so it counts twice.
    pub(crate) fn count(&self) -> usize {
        self.data_count + self.child_count
    }

    /// Paths with the connections that have data watches on them, from the watched path with number `from` on, and the
    /// number from which to go on. None: that was the last. For `wchs`, `wchc` and `wchp`.
    pub(crate) fn data_watches(&self, from: usize, max: usize) -> (Vec<WatchedBy>, Option<usize>) {
        let mut some = Vec::new();
        for path in self.paths.iter().skip(from).take(max) {
            let watched = path.watchers.iter().filter(|&&(_, modes)| modes.has(Modes::DATA));
            let connections: Vec<_> =
                watched.map(|&(watcher, _)| self.connections[watcher as usize].connection).collect();
            if !connections.is_empty() {
                some.push((path.path.clone(), connections));
            }
        }
        let next = from.saturating_add(max);
        (some, (next < self.paths.len()).then_some(next))
    }

    /// False if there is no room.
    fn watch(&mut self, path: &str, connection: ConnectionId, more: Modes) -> bool {
        if !self.has_room(path, connection) {
            return false;
        }
        let watcher = self.watcher_id_or_new(connection);
        let path = self.path_id_or_new(path);
        let modes = self.modes(path, watcher).with(more);
        self.set_modes(path, watcher, modes);
        true
    }

    /// Adds to `reached` the connections whose watches at exactly that path fire, and removes their one-shot watches.
    fn fire(&mut self, path: PathId, kind: EventKind) {
        let (concerned, once) = match kind {
            EventKind::Created | EventKind::DataChanged => (Modes::DATA, Modes::DATA_ONCE),
            EventKind::Deleted => (Modes::ALL, Modes::DATA_ONCE.with(Modes::CHILD_ONCE)),
            EventKind::ChildrenChanged => (Modes::CHILD, Modes::CHILD_ONCE),
        };
        let mut watchers = mem::take(&mut self.paths[path as usize].watchers);
        watchers.retain(|(watcher, modes)| {
            if !modes.has(concerned) {
                return true;
            }
            self.reached.push(*watcher);
            let before = mem::replace(modes, modes.without(once));
            self.count_change(before, *modes);
            if *modes == Modes::NONE {
                self.leave(path, *watcher);
            }
            *modes != Modes::NONE
        });
        if watchers.capacity() > SPARSE_CAPACITY_MIN && watchers.is_empty() {
            watchers = SmallVec::new();
        }
        self.paths[path as usize].watchers = watchers;
        self.free_path_if_unwatched(path);
        self.check();
    }

    /// Adds to `reached` the connections with a recursive watch above the path. Each connection is there once
    /// afterwards.
    fn reach_recursive(&mut self, mut at: &str) {
        let reached_at_path = self.reached.len();
        while let Some(above) = path::parent(at) {
            at = above;
            let Some(path) = self.path_id(at) else { continue };
            let watchers = self.paths[path as usize].watchers.iter();
            let recursive = watchers.filter(|(_, modes)| modes.has(Modes::DATA_RECURSIVE));
            self.reached.extend(recursive.map(|&(watcher, _)| watcher));
        }
        if self.reached.len() > reached_at_path {
            self.reached.sort_unstable();
            self.reached.dedup();
        }
    }

    fn modes(&self, path: PathId, watcher: WatcherId) -> Modes {
        let watchers = &self.paths[path as usize].watchers;
        match watchers.binary_search_by_key(&watcher, |&(watcher, _)| watcher) {
            Ok(at) => watchers[at].1,
            Err(_) => Modes::NONE,
        }
    }

    /// Sets a connection's modes at a path, in both indexes. Besides `fire` and `drop_some` no other function changes
    /// modes.
    fn set_modes(&mut self, path: PathId, watcher: WatcherId, modes: Modes) {
        match (self.modes(path, watcher), modes) {
            (Modes::NONE, Modes::NONE) => {}
            (Modes::NONE, _) => self.enter(path, watcher),
            (_, Modes::NONE) => self.leave(path, watcher),
            _ => {}
        }
        self.set_modes_at_path(path, watcher, modes);
        self.check();
    }

    /// The connection watches the path from now on.
    fn enter(&mut self, path: PathId, watcher: WatcherId) {
        let bytes = self.paths[path as usize].path.len();
        let watcher = &mut self.connections[watcher as usize];
        assert!(watcher.watched.insert(path), "a connection knows a path that does not know it");
        watcher.taken.add(bytes);
        self.taken.add(bytes);
    }

    /// The connection no longer watches the path.
    fn leave(&mut self, path: PathId, watcher: WatcherId) {
        let bytes = self.paths[path as usize].path.len();
        let watcher = &mut self.connections[watcher as usize];
        assert!(watcher.watched.remove(&path), "a path knows a connection that does not know it");
        if watcher.watched.is_empty() && watcher.watched.capacity() > SPARSE_CAPACITY_MIN {
            watcher.watched.shrink_to_fit();
        }
        watcher.taken.take_off(bytes);
        self.taken.take_off(bytes);
    }

    /// Sets a connection's modes in the path's list of watchers. Returns the modes before.
    fn set_modes_at_path(&mut self, path: PathId, watcher: WatcherId, modes: Modes) -> Modes {
        let watchers = &mut self.paths[path as usize].watchers;
        let place = watchers.binary_search_by_key(&watcher, |&(watcher, _)| watcher);
        let before = place.map_or(Modes::NONE, |at| watchers[at].1);
        match (place, modes) {
            (Ok(at), Modes::NONE) => {
                watchers.remove(at);
            }
            (Ok(at), _) => watchers[at].1 = modes,
            (Err(_), Modes::NONE) => {}
            (Err(at), _) => watchers.insert(at, (watcher, modes)),
        }
        self.count_change(before, modes);
        self.free_path_if_unwatched(path);
        before
    }

    fn count_change(&mut self, before: Modes, after: Modes) {
        let count = |count: &mut usize, of: Modes| match (before.has(of), after.has(of)) {
            (false, true) => *count += 1,
            (true, false) => *count = count.checked_sub(1).expect("each watch that goes was counted"),
            _ => {}
        };
        count(&mut self.data_count, Modes::DATA);
        count(&mut self.child_count, Modes::CHILD);
        count(&mut self.recursive_count, Modes::DATA_RECURSIVE);
    }

    /// Checks the invariants that cost the same however many watches there are.
    fn check(&self) {
        let (paths, known, free) = (self.paths.len(), self.by_path.len(), self.free_paths.len());
        assert!(known + free == paths, "of {paths} paths {known} are watched and {free} are free");
        let (connections, free) = (self.connections.len(), self.free_connections.len());
        let known = self.by_connection.len();
        assert!(known + free == connections, "of {connections} connections {known} are known and {free} are free");
        assert!(self.recursive_count <= self.data_count, "each recursive watch is a data watch");
        assert!(self.count() >= self.by_path.len(), "each watched path has a watch");
        let (taken, bound) = (self.taken, self.bounds.all);
        assert!(taken.paths <= bound.paths && taken.bytes <= bound.bytes, "{taken:?} is beyond {bound:?}");
    }

    /// Checks every invariant of the watches. Walks all of them: for tests.
    #[cfg(test)]
    fn check_all(&self) {
        self.check();
        let mut counted = (0, 0, 0);
        for (id, watched) in self.paths.iter().enumerate() {
            let id = id as PathId;
            let is_free = self.free_paths.contains(&id);
            assert!(is_free == watched.watchers.is_empty(), "path {id} is free or has watchers");
            assert!(is_free || self.path_id(&watched.path) == Some(id), "path {id} is found by its text");
            assert!(watched.watchers.is_sorted_by_key(|(watcher, _)| *watcher), "path {id}: watchers are in order");
            for &(watcher, modes) in &watched.watchers {
                assert!(modes != Modes::NONE, "path {id}: watcher {watcher} waits for nothing");
                assert!(self.connections[watcher as usize].watched.contains(&id), "watcher {watcher} knows path {id}");
                counted.0 += usize::from(modes.has(Modes::DATA));
                counted.1 += usize::from(modes.has(Modes::CHILD));
                counted.2 += usize::from(modes.has(Modes::DATA_RECURSIVE));
            }
        }
        assert!(counted == (self.data_count, self.child_count, self.recursive_count), "the counters are right");
        let watched: usize = self.paths.iter().map(|path| path.watchers.len()).sum();
        let known: usize = self.connections.iter().map(|watcher| watcher.watched.len()).sum();
        let mut all = Taken::default();
        for watcher in &self.connections {
            let mut taken = Taken::default();
            // In any order: a sum.
            watcher.watched.iter().for_each(|&path| taken.add(self.paths[path as usize].path.len()));
            assert!(watcher.taken == taken, "{:?} has taken {taken:?}", watcher.connection);
            all = Taken { paths: all.paths + taken.paths, bytes: all.bytes + taken.bytes };
        }
        assert!(all == self.taken, "all connections together have taken {all:?}");
        assert!(watched == known, "both indexes have the same watches, {watched} and {known}");
    }

    fn watcher_id_or_new(&mut self, connection: ConnectionId) -> WatcherId {
        if let Some(&watcher) = self.by_connection.get(&connection) {
            return watcher;
        }
        let watched = HashSet::with_hasher(self.hashing.clone());
        let watcher = Watcher { connection, watched, taken: Taken::default() };
        let id = place(&mut self.connections, &mut self.free_connections, watcher);
        let other = self.by_connection.insert(connection, id);
        assert!(other.is_none(), "{connection:?} has two numbers");
        id
    }

    fn path_id(&self, path: &str) -> Option<PathId> {
        self.by_path.find(hash(&self.hashing, path), |&id| *self.paths[id as usize].path == *path).copied()
    }

    fn path_id_or_new(&mut self, path: &str) -> PathId {
        if let Some(id) = self.path_id(path) {
            return id;
        }
        let watched = WatchedPath { path: path.into(), watchers: SmallVec::new() };
        let id = place(&mut self.paths, &mut self.free_paths, watched);
        let (paths, hashing) = (&self.paths, &self.hashing);
        self.by_path.insert_unique(hash(hashing, path), id, |&id| hash(hashing, &paths[id as usize].path));
        id
    }

    fn free_path_if_unwatched(&mut self, id: PathId) {
        let watched = &mut self.paths[id as usize];
        if !watched.watchers.is_empty() {
            return;
        }
        let hash = hash(&self.hashing, &watched.path);
        let entry = self.by_path.find_entry(hash, |&other| other == id).expect("a path with a number is known");
        entry.remove();
        *watched = WatchedPath::default();
        self.free_paths.push(id);
    }
}

/// A table with more capacity than this gives its memory back when it becomes empty.
const SPARSE_CAPACITY_MIN: usize = 64;

fn hash(hashing: &Hashing, path: &str) -> u64 {
    let mut hasher = hashing.build_hasher();
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// Puts `thing` at a free place, or at the end. Returns the number of its place.
fn place<T>(things: &mut Vec<T>, free: &mut Vec<u32>, thing: T) -> u32 {
    match free.pop() {
        Some(id) => {
            things[id as usize] = thing;
            id
        }
        None => {
            things.push(thing);
            u32::try_from(things.len() - 1).expect("fewer than 2^32 watches fit in memory")
        }
    }
}

#[cfg(test)]
mod tests;
