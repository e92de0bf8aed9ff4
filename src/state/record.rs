//! The records of a checkpoint: all state as keys and values. The bytes are the same in redb, in the image and between
//! peers.
//!
//! The first byte of a key is its kind. So in the order of keys the meta record comes first, then the sessions, then
//! the nodes, each after its parent. Format 1, all numbers big-endian:
//!
//! ```text
//! key                            value
//! +----+                         +--------+------+------+----------+-------+----------+--------+-----------+
//! | 01 |  meta                   | format | zxid | wall | ensemble | nodes | sessions | digest | ZooKeeper |
//! +----+                         | u8     | u64  | i64  | u64      | u64   | u64      | u64    | u64       |
//!                                +--------+------+------+----------+-------+----------+--------+-----------+
//! +----+------------+            +---------+----------+--------+-----+--------+
//! | 02 | session i64|            | timeout | password | member | run | number |   of the owning connection
//! +----+------------+            | i32, ms | 16 bytes | u32    | u32 | u64    |
//!                                +---------+----------+--------+-----+--------+
//! +-------------+
//! +------+-------+-------+-------+-------+-------+---------+----------+----------+-------+
//! | path        |  '/' = 2f      | data | czxid | mzxid | pzxid | ctime | mtime | version | cversion | aversion | owner |
//! +-------------+                |      | i64   | i64   | i64   | i64   | i64   | i32     | i32      | i32      | i64
//! |
//!                                +------+-------+-------+-------+-------+-------+---------+----------+----------+-------+
//!                                +-----+----------+------------+-------+
//!                                | ACL | children | ACL length | flags |   flag 1: data is null
//!                                |     | u32      | u32        | u8    |
//!                                +-----+----------+------------+-------+
//! ```
//!
//! Every value ends in a seal of four more bytes: the low half of our hash of the key and of the value before the seal.
//! With the seal a reader can say which record is damaged.
//!
//! A node's value is read from its end. The path, the data and the 60 bytes behind them stand in the order in which
//! ZooKeeper's digest takes them. Our own digest takes the whole record, key and value, without the seal. So one
//! encoding serves the checkpoint and both digests. The form of an ACL is drawn in `acls`.

use super::Session;
use super::digest;
use super::reader::Reader;
use super::tree::{Id, Tree};
use crate::model::{ConnectionId, Owner, Password, SessionId};

/// Kinds of keys, in order.
pub(crate) const META: u8 = 1;
pub(crate) const SESSION: u8 = 2;
pub(crate) const NODE: u8 = b'/';

pub(super) const META_KEY_LENGTH: usize = 1;
pub(super) const SESSION_KEY_LENGTH: usize = 9;

pub(super) const FORMAT: u8 = 1;

/// Bytes from `czxid` to `owner`.
const STAT: usize = 60;
/// Bytes behind the ACL.
const TAIL: usize = 9;
const NULL_DATA: u8 = 1;

const SEAL: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meta {
    pub(super) zxid: u64,
    pub(super) wall_ms: i64,
    pub(super) ensemble_ms: u64,
    pub(super) nodes: u64,
    pub(super) sessions: u64,
    pub(super) digest: u64,
    pub(super) zookeeper_digest: u64,
}

/// A node's value, taken apart.
pub(super) struct NodeRecord<'a> {
    pub(super) data: Option<&'a [u8]>,
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) pzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    pub(super) version: i32,
    pub(super) cversion: i32,
    pub(super) aversion: i32,
    pub(super) owner: Owner,
    /// In the form that is drawn in `acls`.
    pub(super) acl: &'a [u8],
    pub(super) children: u32,
    /// How many bytes of the value, from its beginning, ZooKeeper's digest takes.
    pub(super) digested: usize,
}

/// Splits a record behind its key and seals the value. Returns both.
pub(super) fn seal(record: &[u8], key_length: usize) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = record.split_at(key_length);
    let mut sealed = Vec::with_capacity(value.len() + SEAL);
    sealed.extend_from_slice(value);
    sealed.extend((digest::hash(record) as u32).to_be_bytes());
    (key.to_vec(), sealed)
}

/// Puts the key, and the value without its seal, into `record`. Returns the hash of both. None: the seal does not fit
/// the record.
pub(super) fn unseal(key: &[u8], sealed: &[u8], record: &mut Vec<u8>) -> Option<u64> {
    let (value, seal) = sealed.split_last_chunk::<SEAL>()?;
    record.clear();
    record.extend_from_slice(key);
    record.extend_from_slice(value);
    let hash = digest::hash(record);
    (hash as u32 == u32::from_be_bytes(*seal)).then_some(hash)
}

/// Appends the value of a node to `out`. Returns how many of its bytes ZooKeeper's digest takes.
pub(super) fn write_node(tree: &Tree, id: Id, out: &mut Vec<u8>) -> usize {
    let slot = tree.slot(id);
    let acl = tree.acls.encoded(slot.acl);
    let data = slot.data();
    let bytes = data.unwrap_or_default();
    out.reserve(bytes.len() + STAT + acl.len() + TAIL);
    out.extend_from_slice(bytes);
    let mut stat = [0; STAT];
    let numbers = [slot.czxid, slot.mzxid, slot.pzxid(), slot.ctime, slot.mtime];
    for (place, number) in stat.as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = number.to_be_bytes();
    }
    let versions = [slot.version, slot.cversion(), slot.aversion];
    for (place, number) in stat[40..].as_chunks_mut().0.iter_mut().zip(versions) {
        *place = number.to_be_bytes();
    }
    stat[52..].copy_from_slice(&slot.owner.0.to_be_bytes());
    out.extend_from_slice(&stat);
    out.extend_from_slice(acl);
    let mut tail = [0; TAIL];
    tail[..4].copy_from_slice(&(slot.child_count() as u32).to_be_bytes());
    tail[4..8].copy_from_slice(&(acl.len() as u32).to_be_bytes());
    tail[8] = if data.is_none() { NULL_DATA } else { 0 };
    out.extend_from_slice(&tail);
    bytes.len() + STAT
}

/// Takes a node's value apart. None: the bytes are not a node's value.
pub(super) fn read_node(value: &[u8]) -> Option<NodeRecord<'_>> {
    let (rest, tail) = value.split_at_checked(value.len().checked_sub(TAIL)?)?;
    let mut tail = Reader(tail);
    let children = tail.u32()?;
    let acl_length = tail.u32()? as usize;
    let flags = tail.u8()?;
    let (rest, acl) = rest.split_at_checked(rest.len().checked_sub(acl_length)?)?;
    let digested = rest.len();
    let (data, stat) = rest.split_at_checked(rest.len().checked_sub(STAT)?)?;
    let data = match flags {
        0 => Some(data),
        NULL_DATA if data.is_empty() => None,
        _ => return None,
    };
    let mut stat = Reader(stat);
    Some(NodeRecord {
        data,
        czxid: stat.i64()?,
        mzxid: stat.i64()?,
        pzxid: stat.i64()?,
        ctime: stat.i64()?,
        mtime: stat.i64()?,
        version: stat.i32()?,
        cversion: stat.i32()?,
        aversion: stat.i32()?,
        owner: Owner(stat.i64()?),
        acl,
        children,
        digested,
    })
}

pub(super) fn session_key(session: SessionId) -> Vec<u8> {
    let mut key = vec![SESSION];
    key.extend(session.0.to_be_bytes());
    key
}

pub(super) fn read_session_key(key: &[u8]) -> Option<SessionId> {
    let mut reader = Reader(key.strip_prefix(&[SESSION])?);
    let session = SessionId(reader.i64()?);
    reader.0.is_empty().then_some(session)
}

/// A session's record, key and value.
pub(super) fn session(id: SessionId, session: &Session) -> Vec<u8> {
    let mut record = session_key(id);
    write_session(session, &mut record);
    record
}

fn write_session(session: &Session, out: &mut Vec<u8>) {
    out.extend(session.timeout_ms.to_be_bytes());
    out.extend(session.password.0);
    out.extend(session.owner.member.to_be_bytes());
    out.extend(session.owner.run.to_be_bytes());
    out.extend(session.owner.number.to_be_bytes());
}

pub(super) fn read_session(value: &[u8]) -> Option<Session> {
    let mut reader = Reader(value);
    let session = Session {
        timeout_ms: reader.i32()?,
        password: Password(reader.array()?),
        owner: ConnectionId { member: reader.u32()?, run: reader.u32()?, number: reader.u64()? },
    };
    reader.0.is_empty().then_some(session)
}

impl Meta {
    /// The meta record, key and value.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![META, FORMAT];
        out.extend(self.zxid.to_be_bytes());
        out.extend(self.wall_ms.to_be_bytes());
        out.extend(self.ensemble_ms.to_be_bytes());
        out.extend(self.nodes.to_be_bytes());
        out.extend(self.sessions.to_be_bytes());
        out.extend(self.digest.to_be_bytes());
        out.extend(self.zookeeper_digest.to_be_bytes());
        out
    }

    /// Reads the value behind the format byte.
    pub(super) fn read(value: &[u8]) -> Option<Meta> {
        let mut reader = Reader(value);
        let meta = Meta {
            zxid: reader.u64()?,
            wall_ms: reader.i64()?,
            ensemble_ms: reader.u64()?,
            nodes: reader.u64()?,
            sessions: reader.u64()?,
            digest: reader.u64()?,
            zookeeper_digest: reader.u64()?,
        };
        reader.0.is_empty().then_some(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acl::open_unsafe;

    #[test]
    fn a_fresh_root_as_bytes() {
        let tree = Tree::new(1, &open_unsafe());
        let mut value = Vec::new();
        assert_eq!(write_node(&tree, 0, &mut value), 60);
        let mut expected = vec![0; 60];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(value, expected);
        assert_eq!(
            read_node(&value).map(|node| (node.data, node.acl, node.digested)),
            Some((Some(&[][..]), &[0][..], 60))
        );
    }

    #[test]
    fn damaged_nodes_are_refused_or_read_as_others() {
        let tree = Tree::new(1, &open_unsafe());
        let mut value = Vec::new();
        write_node(&tree, 0, &mut value);
        for length in 0..value.len() {
            assert!(read_node(&value[value.len() - length..]).is_none(), "{length}");
        }
        for at in 0..value.len() {
            for bit in 0..8 {
                let mut damaged = value.clone();
                damaged[at] ^= 1 << bit;
                let _ = read_node(&damaged);
            }
        }
    }

    #[test]
    fn sessions_and_meta_round_trip() {
        let session = Session {
            timeout_ms: 4000,
            password: Password([9; 16]),
            owner: ConnectionId { member: 1, run: 2, number: 3 },
        };
        let mut value = Vec::new();
        write_session(&session, &mut value);
        assert_eq!(value.len(), 36);
        assert_eq!(read_session(&value), Some(session));
        assert_eq!(read_session(&value[1..]), None);
        assert_eq!(read_session_key(&session_key(SessionId(-7))), Some(SessionId(-7)));
        assert_eq!(read_session_key(&[SESSION, 1]), None);
        let meta = Meta { zxid: 1, wall_ms: -2, ensemble_ms: 3, nodes: 4, sessions: 5, digest: 6, zookeeper_digest: 7 };
        assert_eq!(Meta::read(&meta.write()[2..]), Some(meta));
    }
}
