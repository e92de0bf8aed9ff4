//! Replies and events as values. `encode` writes them (wire/mod.rs has the map).

use crate::model::{AclEntry, Identity, Stat};

/// xids with a special meaning.
pub mod xid {
    pub const NOTIFICATION: i32 = -1;
    pub const PING: i32 = -2;
    pub(crate) const AUTH: i32 = -4;
    pub const SET_WATCHES: i32 = -8;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    pub xid: i32,
    /// The last zxid applied by the member that replies. 0 in auth and SASL replies.
    pub zxid: i64,
    pub error: i32,
}

/// The body after a header without an error. Borrows from the tree, so it is encoded while the tree's lock is held.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Body<'a> {
    Empty,
    /// create (1)
    Path(&'a str),
    /// sync: the path as the client sent it.
    OptionalPath(Option<&'a str>),
    /// create2, createContainer, createTTL
    PathStat(&'a str, Stat),
    /// exists, setData, setACL
    Stat(Stat),
    /// getData, reconfig
    DataStat(Option<&'a [u8]>, Stat),
    AclStat(&'a [AclEntry], Stat),
    Children(Vec<&'a str>),
    ChildrenStat(Vec<&'a str>, Stat),
    /// getEphemerals
    Paths(Vec<&'a str>),
    /// getAllChildrenNumber, addWatch (0)
    Number(i32),
    Identities(&'a [Identity]),
    Sasl(Option<&'a [u8]>),
    Multi(Vec<MultiSlot<'a>>),
    /// A multiRead that was cut off by MARSHALLINGERROR. ZooKeeper sends the results up to that point after the error.
    BrokenMulti(Vec<MultiSlot<'a>>),
}

/// The result of one operation of a multi. Its type follows from the operation.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum MultiSlot<'a> {
    /// type -1
    Error(i32),
    /// type 1
    Path(&'a str),
    /// type 15
    PathStat(&'a str, Stat),
    /// type 2
    Deleted,
    /// type 13
    Checked,
    /// type 5
    Stat(Stat),
    /// type 4
    Data(Option<&'a [u8]>, Stat),
    /// type 8
    Children(Vec<&'a str>),
    /// The results of ClickHouse's operations have the operation's own opcode, and no body (501) or a path (502).
    Typed(i32, Option<&'a str>),
}

/// The server's answer to a `ConnectRequest`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// 0: the session is gone or the password was wrong.
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: [u8; 16],
    /// Sent only if the request had this field.
    pub read_only: Option<bool>,
}

/// What happened to a watched node (Watcher.java).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub(crate) enum EventKind {
    Created = 1,
    Deleted = 2,
    DataChanged = 3,
    ChildrenChanged = 4,
}
