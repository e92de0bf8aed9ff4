//! Watches: who waits for what, and whom an event reaches (WatchManager.java, DataTree.java). Pure; never replicated.
//!
//! ZooKeeper has two tables, of data watches (getData, exists) and of child watches (getChildren). A persistent watch is
//! in both, a recursive one in the first only, which is why it never hears of `ChildrenChanged`. Here one entry per path
//! holds both: a connection's modes in either table are bits of one byte. What fires:
//!
//! | event at P | one-shot, gone then | persistent | recursive |
//! |---|---|---|---|
//! | created, data changed | data | at P | at P and above |
//! | deleted | data and child | at P | at P and above |
//! | children changed | child | at P | - |
//!
//! A connection hears of an event once, however many of its watches it meets. Without any recursive watch nobody walks
//! up the path. An idle connection costs nothing; a watch costs some 16 bytes beside its path.

use crate::model::{ConnectionId, path};
use crate::state::Event;
use crate::wire::reply::EventKind;
use hashbrown::{HashMap, HashSet, HashTable};
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hasher};
use std::mem;

/// Which one-shot watch a read arms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchKind {
    /// getData, and exists on a node that is there.
    Data,
    /// getChildren.
    Child,
    /// exists on a node that is not there.
    Exist,
}

/// addWatch's mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum PersistentMode {
    Persistent = 0,
    Recursive = 1,
}

impl PersistentMode {
    pub const fn from_wire(mode: i32) -> Option<PersistentMode> {
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
pub enum WatcherType {
    Children = 1,
    Data = 2,
    Any = 3,
    Persistent = 4,
    PersistentRecursive = 5,
}

impl WatcherType {
    pub const fn from_wire(kind: i32) -> Option<WatcherType> {
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

/// What `wchs` prints: of the data table, like ZooKeeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    pub connections: usize,
    pub paths: usize,
    pub watches: usize,
}

/// The watches of all connections of this server.
pub struct Watches {
    /// The watched paths. Places of paths that nobody watches any more are free and empty.
    paths: Vec<WatchedPath>,
    free_paths: Vec<PathId>,
    by_path: HashTable<PathId>,
    connections: Vec<Watcher>,
    free_connections: Vec<WatcherId>,
    by_connection: HashMap<ConnectionId, WatcherId, Hashing>,
    /// Watches in either table, and recursive ones.
    data_count: usize,
    child_count: usize,
    recursive_count: usize,
    hashing: Hashing,
    /// Whom the event at hand reaches.
    reached: Vec<WatcherId>,
}

type Hashing = foldhash::fast::FixedState;
type PathId = u32;
type WatcherId = u32;

#[derive(Default)]
struct WatchedPath {
    path: Box<str>,
    /// Ordered by watcher, none without modes.
    watchers: SmallVec<[(WatcherId, Modes); 2]>,
}

struct Watcher {
    connection: ConnectionId,
    /// Where it has a watch.
    paths: HashSet<PathId, Hashing>,
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

    /// What checkWatches looks for. Of persistent watches only the data table is asked, as in ZooKeeper.
    const fn sought(kind: WatcherType) -> Modes {
        match kind {
            WatcherType::Children => Modes::CHILD_ONCE,
            WatcherType::Data => Modes::DATA_ONCE,
            WatcherType::Any => Modes::ALL,
            WatcherType::Persistent => Modes::DATA_PERSISTENT,
            WatcherType::PersistentRecursive => Modes::DATA_RECURSIVE,
        }
    }

    /// What removeWatches takes away.
    const fn removed(kind: WatcherType) -> Modes {
        match kind {
            WatcherType::Persistent => Modes::PERSISTENT,
            other => Modes::sought(other),
        }
    }
}

impl Watches {
    /// `seed`: of the hash tables, random per process.
    pub fn new(seed: u64) -> Watches {
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
            hashing,
            reached: Vec::new(),
        }
    }

    /// Sets a one-shot watch; nothing happens if there is one.
    pub fn arm(&mut self, kind: WatchKind, path: &str, connection: ConnectionId) {
        let modes = match kind {
            WatchKind::Data | WatchKind::Exist => Modes::DATA_ONCE,
            WatchKind::Child => Modes::CHILD_ONCE,
        };
        self.watch(path, connection, modes);
    }

    /// Sets a watch that stays.
    pub fn add(&mut self, path: &str, mode: PersistentMode, connection: ConnectionId) {
        let modes = match mode {
            PersistentMode::Persistent => Modes::PERSISTENT,
            PersistentMode::Recursive => Modes::DATA_RECURSIVE,
        };
        self.watch(path, connection, modes);
    }

    /// Returns whether there was anything to remove (if not: NOWATCHER).
    pub fn remove(&mut self, path: &str, kind: WatcherType, connection: ConnectionId) -> bool {
        let Some(path) = self.path_id(path) else { return false };
        let Some(&watcher) = self.by_connection.get(&connection) else { return false };
        let before = self.modes(path, watcher);
        let after = before.without(Modes::removed(kind));
        self.set_modes(path, watcher, after);
        before != after
    }

    pub fn has(&self, path: &str, kind: WatcherType, connection: ConnectionId) -> bool {
        let Some(path) = self.path_id(path) else { return false };
        let Some(&watcher) = self.by_connection.get(&connection) else { return false };
        self.modes(path, watcher).has(Modes::sought(kind))
    }

    /// Forgets a connection and all its watches.
    pub fn drop_connection(&mut self, connection: ConnectionId) {
        let Some(watcher) = self.by_connection.remove(&connection) else { return };
        let paths = mem::take(&mut self.connections[watcher as usize].paths);
        for path in paths {
            self.set_modes(path, watcher, Modes::NONE);
        }
        self.free_connections.push(watcher);
    }

    /// Calls `deliver` once for each connection that waits for the event, and takes away the one-shot watches it meets.
    pub fn trigger(&mut self, event: &Event, deliver: &mut dyn FnMut(ConnectionId, EventKind, &str)) {
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
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// ZooKeeper's `watch_count`: a persistent watch is in both tables and counts twice.
    pub fn count(&self) -> usize {
        self.data_count + self.child_count
    }

    /// For `wchs`.
    pub fn summary(&self) -> Summary {
        let watched = |path: &&WatchedPath| path.watchers.iter().any(|&(_, modes)| modes.has(Modes::DATA));
        Summary {
            connections: self.by_connection().len(),
            paths: self.paths.iter().filter(watched).count(),
            watches: self.data_count,
        }
    }

    /// Connections with the paths that they have data watches on, both in order: `wchc`.
    pub fn by_connection(&self) -> Vec<(ConnectionId, Vec<&str>)> {
        let mut all = Vec::new();
        for (&connection, &watcher) in &self.by_connection {
            let ids = self.connections[watcher as usize].paths.iter();
            let watched = ids.filter(|&&path| self.modes(path, watcher).has(Modes::DATA));
            let mut paths: Vec<&str> = watched.map(|&path| &*self.paths[path as usize].path).collect();
            if !paths.is_empty() {
                paths.sort_unstable();
                all.push((connection, paths));
            }
        }
        all.sort_unstable_by_key(|&(connection, _)| connection);
        all
    }

    /// Paths with the connections that have data watches on them, both in order: `wchp`.
    pub fn by_path(&self) -> Vec<(&str, Vec<ConnectionId>)> {
        let mut all = Vec::new();
        for path in &self.paths {
            let watched = path.watchers.iter().filter(|&&(_, modes)| modes.has(Modes::DATA));
            let mut connections: Vec<_> =
                watched.map(|&(watcher, _)| self.connections[watcher as usize].connection).collect();
            if !connections.is_empty() {
                connections.sort_unstable();
                all.push((&*path.path, connections));
            }
        }
        all.sort_unstable_by_key(|&(path, _)| path);
        all
    }

    fn watch(&mut self, path: &str, connection: ConnectionId, more: Modes) {
        let watcher = self.watcher_id_or_new(connection);
        let path = self.path_id_or_new(path);
        let modes = self.modes(path, watcher).with(more);
        self.set_modes(path, watcher, modes);
    }

    /// Adds to `reached` all whom an event at exactly that path concerns.
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
                forget_path(&mut self.connections[*watcher as usize].paths, path);
            }
            *modes != Modes::NONE
        });
        if watchers.capacity() > SPARSE_CAPACITY_MIN && watchers.is_empty() {
            watchers = SmallVec::new();
        }
        self.paths[path as usize].watchers = watchers;
        self.free_path_if_unwatched(path);
    }

    /// Adds to `reached` the recursive watchers of all that lies above the path.
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

    /// The one place where a watch comes or goes, but for `fire`.
    fn set_modes(&mut self, path: PathId, watcher: WatcherId, modes: Modes) {
        let watchers = &mut self.paths[path as usize].watchers;
        let place = watchers.binary_search_by_key(&watcher, |&(watcher, _)| watcher);
        let before = place.map_or(Modes::NONE, |at| watchers[at].1);
        match (place, modes) {
            (Ok(at), Modes::NONE) => {
                watchers.remove(at);
                forget_path(&mut self.connections[watcher as usize].paths, path);
            }
            (Ok(at), _) => watchers[at].1 = modes,
            (Err(_), Modes::NONE) => {}
            (Err(at), _) => {
                watchers.insert(at, (watcher, modes));
                self.connections[watcher as usize].paths.insert(path);
            }
        }
        self.count_change(before, modes);
        self.free_path_if_unwatched(path);
    }

    fn count_change(&mut self, before: Modes, after: Modes) {
        let count = |count: &mut usize, of: Modes| match (before.has(of), after.has(of)) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            _ => {}
        };
        count(&mut self.data_count, Modes::DATA);
        count(&mut self.child_count, Modes::CHILD);
        count(&mut self.recursive_count, Modes::DATA_RECURSIVE);
    }

    fn watcher_id_or_new(&mut self, connection: ConnectionId) -> WatcherId {
        if let Some(&watcher) = self.by_connection.get(&connection) {
            return watcher;
        }
        let watcher = Watcher { connection, paths: HashSet::with_hasher(self.hashing.clone()) };
        let id = place(&mut self.connections, &mut self.free_connections, watcher);
        self.by_connection.insert(connection, id);
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
        if let Ok(entry) = self.by_path.find_entry(hash, |&other| other == id) {
            entry.remove();
            *watched = WatchedPath::default();
            self.free_paths.push(id);
        }
    }
}

/// Tables that have grown larger than this are given back when they become empty.
const SPARSE_CAPACITY_MIN: usize = 64;

fn forget_path(paths: &mut HashSet<PathId, Hashing>, path: PathId) {
    paths.remove(&path);
    if paths.is_empty() && paths.capacity() > SPARSE_CAPACITY_MIN {
        paths.shrink_to_fit();
    }
}

fn hash(hashing: &Hashing, path: &str) -> u64 {
    let mut hasher = hashing.build_hasher();
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// Puts a thing where one has gone, or at the end.
fn place<T>(things: &mut Vec<T>, free: &mut Vec<u32>, thing: T) -> u32 {
    match free.pop() {
        Some(id) => {
            things[id as usize] = thing;
            id
        }
        None => {
            things.push(thing);
            u32::try_from(things.len() - 1).expect("fewer than 2^32 of them fit in memory")
        }
    }
}

#[cfg(test)]
mod tests;
