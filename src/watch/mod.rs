//! Watches: who waits for what, and whom an event reaches. Never replicated.

use crate::model::ConnectionId;
use crate::state::Event;
use crate::wire::reply::EventKind;

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

/// What `wchs` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    pub connections: usize,
    pub paths: usize,
    pub watches: usize,
}

pub struct Watches {
    _private: (),
}

impl Watches {
    pub fn new(_seed: u64) -> Watches {
        unimplemented!()
    }
    pub fn arm(&mut self, _kind: WatchKind, _path: &str, _connection: ConnectionId) {
        unimplemented!()
    }
    pub fn add(&mut self, _path: &str, _mode: PersistentMode, _connection: ConnectionId) {
        unimplemented!()
    }
    /// Whether anything was removed (else NOWATCHER).
    pub fn remove(&mut self, _path: &str, _kind: WatcherType, _connection: ConnectionId) -> bool {
        unimplemented!()
    }
    pub fn has(&self, _path: &str, _kind: WatcherType, _connection: ConnectionId) -> bool {
        unimplemented!()
    }
    pub fn drop_connection(&mut self, _connection: ConnectionId) {
        unimplemented!()
    }
    /// Calls `deliver` once for each connection that waits for the event.
    pub fn trigger(&mut self, _event: &Event, _deliver: &mut dyn FnMut(ConnectionId, EventKind, &str)) {
        unimplemented!()
    }
    /// Whether nobody watches anything.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    /// ZooKeeper's `watch_count`.
    pub fn count(&self) -> usize {
        unimplemented!()
    }
    /// Of the data watches, as `wchs` has it.
    pub fn summary(&self) -> Summary {
        unimplemented!()
    }
    /// Connections (in order) with the paths they watch (in order): `wchc`.
    pub fn by_connection(&self) -> Vec<(ConnectionId, Vec<&str>)> {
        unimplemented!()
    }
    /// Paths (in order) with the connections that watch them (in order): `wchp`.
    pub fn by_path(&self) -> Vec<(&str, Vec<ConnectionId>)> {
        unimplemented!()
    }
}
