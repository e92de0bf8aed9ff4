//! Makes a state from the records of a checkpoint. Nothing is trusted: every byte of every record counts in the digest
//! that the meta record states.

use super::acls::AclId;
use super::record::{self, Meta};
use super::tree::{Id, NewNode, ROOT};
use super::{State, TrackedSession};
use crate::limits::CHILDREN_RESERVED_MAX;
use crate::model::{Owner, Zxid, path};
use std::mem;
use std::sync::Arc;
use thiserror::Error;

/// Why no state can be made of the records. Paths are shown as they are, other keys in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum RecordError {
    #[error("record {key}: {what}")]
    Damaged { key: String, what: &'static str },
    #[error("record {key}: of a kind this version does not know: it was written by a later one")]
    UnknownKind { key: String },
    #[error("the checkpoint has format {found}, this version reads {known}: it was written by a later one")]
    UnknownFormat { found: u8, known: u8 },
    #[error("the checkpoint has no meta record")]
    NoMeta,
    #[error("the checkpoint should have {stated} {what}, it has {found}")]
    Count { what: &'static str, stated: u64, found: u64 },
    #[error("the checkpoint's digest is {found:016x}, its meta record states {stated:016x}: some record is damaged")]
    Digest { stated: u64, found: u64 },
}

/// Takes the records of a checkpoint one by one, in the order of their keys.
pub(crate) struct Loader {
    state: State,
    meta: Option<Meta>,
    root_seen: bool,
    /// The sum of the child counts that the records so far state.
    children: u64,
    last_key: Vec<u8>,
    /// The parent of the last node, because siblings mostly come one after the other.
    directory: Id,
    directory_path: String,
}

impl State {
    /// Begins to load a checkpoint. `seed`: as for `new`.
    pub(crate) fn load(seed: u64) -> Loader {
        Loader {
            state: State::empty(seed),
            meta: None,
            root_seen: false,
            children: 0,
            last_key: Vec::new(),
            directory: ROOT,
            directory_path: "/".to_owned(),
        }
    }
}

impl Loader {
    /// Checks one record and adds what it says to the state.
    pub(crate) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecordError> {
        if key <= self.last_key.as_slice() {
            return Err(damaged(key, "it is out of order"));
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        let mut record = mem::take(&mut self.state.scratch);
        let unsealed = record::unseal(key, value, &mut record);
        let result = match (unsealed, key.first()) {
            (None, _) => Err(damaged(key, "its seal is broken")),
            (Some(_), Some(&record::META)) => self.meta_record(key, &record[key.len()..]),
            (Some(hash), Some(&record::SESSION)) => self.session_record(key, &record[key.len()..], hash),
            (Some(hash), Some(&record::NODE)) => self.node_record(key, &record, hash),
            (Some(_), _) => Err(RecordError::UnknownKind { key: printable(key) }),
        };
        self.state.scratch = record;
        result
    }

    /// The state, if no record was missing or damaged.
    pub(crate) fn finish(self) -> Result<State, RecordError> {
        let Loader { state, meta, root_seen, children, .. } = self;
        let stated = meta.ok_or(RecordError::NoMeta)?;
        if !root_seen {
            return Err(damaged(b"/", "it is missing"));
        }
        let found = state.meta();
        let same = |what, stated, found| match stated == found {
            true => Ok(()),
            false => Err(RecordError::Count { what, stated, found }),
        };
        same("nodes", stated.nodes, found.nodes)?;
        same("sessions", stated.sessions, found.sessions)?;
        same("children", children, found.nodes - 1)?;
        for (stated, found) in [(stated.digest, found.digest), (stated.zookeeper_digest, found.zookeeper_digest)] {
            if stated != found {
                return Err(RecordError::Digest { stated, found });
            }
        }
        Ok(state)
    }

    fn meta_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecordError> {
        if key.len() != record::META_KEY_LENGTH {
            return Err(RecordError::UnknownKind { key: printable(key) });
        }
        let (&format, value) = value.split_first().ok_or_else(|| damaged(key, "it is empty"))?;
        if format != record::FORMAT {
            return Err(RecordError::UnknownFormat { found: format, known: record::FORMAT });
        }
        let meta = Meta::read(value).ok_or_else(|| damaged(key, "its length is wrong"))?;
        self.state.last_zxid = Zxid(meta.zxid);
        self.state.wall_ms = meta.wall_ms;
        self.state.ensemble_ms = meta.ensemble_ms;
        self.meta = Some(meta);
        Ok(())
    }

    fn session_record(&mut self, key: &[u8], value: &[u8], hash: u64) -> Result<(), RecordError> {
        let id = record::read_session_key(key).ok_or_else(|| damaged(key, "it is no session's"))?;
        let session = record::read_session(value).ok_or_else(|| damaged(key, "its length is wrong"))?;
        self.state.digests.add_hash(hash);
        self.state.sessions.insert(id, TrackedSession { session, dirty: false, stored: true });
        Ok(())
    }

    /// `record`: key and value.
    fn node_record(&mut self, key: &[u8], record: &[u8], hash: u64) -> Result<(), RecordError> {
        let Some(meta) = self.meta else { return Err(RecordError::NoMeta) };
        let path = std::str::from_utf8(key).map_err(|_| damaged(key, "its path is no text"))?;
        let node =
            record::read_node(&record[key.len()..]).ok_or_else(|| damaged(key, "its value is cut or damaged"))?;
        let acl = self.state.tree.acls.acquire_encoded(node.acl).ok_or_else(|| damaged(key, "its ACL is damaged"))?;
        let id = match path::parent(path) {
            None => self.load_root(acl, &node),
            Some(parent_path) => {
                let parent = self.find_directory(parent_path).ok_or_else(|| damaged(key, "its parent is missing"))?;
                let name = path::name(path);
                if name.is_empty() {
                    return Err(damaged(key, "its path has an empty name"));
                }
                self.state.tree.insert(parent, &new_node(name, acl, &node))
            }
        };
        let tree = &mut self.state.tree;
        self.children += u64::from(node.children);
        if node.children > 0 || node.cversion != 0 || node.pzxid != node.czxid {
            let children = u64::from(node.children).min(meta.nodes) as usize;
            tree.reserve_children(id, children.min(CHILDREN_RESERVED_MAX));
            tree.set_counts(id, node.pzxid, node.cversion);
        }
        self.state.digests.add_hashed_node(hash, record, key.len(), node.digested);
        self.state.data_size += (key.len() + node.data.map_or(0, <[u8]>::len)) as u64;
        self.state.tracking.loaded(id);
        if node.owner != Owner::PERSISTENT || super::quota::special(path).is_some() || super::chores::concern(path) {
            self.state.index(id, &Arc::from(path));
        }
        Ok(())
    }

    fn load_root(&mut self, acl: AclId, node: &record::NodeRecord<'_>) -> Id {
        self.root_seen = true;
        self.state.tree.replace_root(&new_node("", acl, node));
        ROOT
    }

    fn find_directory(&mut self, path: &str) -> Option<Id> {
        if path != self.directory_path {
            self.directory = self.state.tree.find(path)?;
            self.directory_path.clear();
            self.directory_path.push_str(path);
        }
        Some(self.directory)
    }
}

fn new_node<'a>(name: &'a str, acl: AclId, node: &record::NodeRecord<'a>) -> NewNode<'a> {
    NewNode {
        name,
        data: node.data,
        acl,
        owner: node.owner,
        czxid: node.czxid,
        mzxid: node.mzxid,
        ctime: node.ctime,
        mtime: node.mtime,
        version: node.version,
        aversion: node.aversion,
    }
}

fn damaged(key: &[u8], what: &'static str) -> RecordError {
    RecordError::Damaged { key: printable(key), what }
}

fn printable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(path) if path.starts_with('/') => format!("{path:?}"),
        _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
