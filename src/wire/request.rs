//! The requests of ZooKeeper's client protocol as values. `decode` makes them from bytes (wire/mod.rs has the map).

use crate::model::AclEntry;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The header before every body: four bytes of request number, four of opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    pub(crate) xid: i32,
    pub(crate) op: i32,
}

/// Opcodes (ZooDefs.java of 3.9.5; 500 and up: ClickHouse Keeper's).
pub(crate) mod op {
    pub(crate) const CREATE: i32 = 1;
    pub(crate) const DELETE: i32 = 2;
    pub(crate) const EXISTS: i32 = 3;
    pub(crate) const GET_DATA: i32 = 4;
    pub(crate) const SET_DATA: i32 = 5;
    pub(crate) const GET_ACL: i32 = 6;
    pub(crate) const SET_ACL: i32 = 7;
    pub(crate) const GET_CHILDREN: i32 = 8;
    pub(crate) const SYNC: i32 = 9;
    pub(crate) const PING: i32 = 11;
    pub(crate) const GET_CHILDREN2: i32 = 12;
    pub(crate) const CHECK: i32 = 13;
    pub(crate) const MULTI: i32 = 14;
    pub(crate) const CREATE2: i32 = 15;
    pub(crate) const RECONFIG: i32 = 16;
    pub(crate) const CHECK_WATCHES: i32 = 17;
    pub(crate) const REMOVE_WATCHES: i32 = 18;
    pub(crate) const CREATE_CONTAINER: i32 = 19;
    pub(crate) const DELETE_CONTAINER: i32 = 20;
    pub(crate) const CREATE_TTL: i32 = 21;
    pub(crate) const MULTI_READ: i32 = 22;
    pub(crate) const AUTH: i32 = 100;
    pub(crate) const SET_WATCHES: i32 = 101;
    pub(crate) const SASL: i32 = 102;
    pub(crate) const GET_EPHEMERALS: i32 = 103;
    pub(crate) const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub(crate) const SET_WATCHES2: i32 = 105;
    pub(crate) const ADD_WATCH: i32 = 106;
    pub(crate) const WHO_AM_I: i32 = 107;
    pub(crate) const CREATE_SESSION: i32 = -10;
    pub(crate) const CLOSE_SESSION: i32 = -11;
    pub(crate) const ERROR: i32 = -1;
    pub(crate) const FILTERED_LIST: i32 = 500;
    pub(crate) const CHECK_NOT_EXISTS: i32 = 501;
    pub(crate) const CREATE_IF_NOT_EXISTS: i32 = 502;
}

/// The kind of a new node, and whether its name gets a number, as clients send them (CreateMode.java).
pub mod create_mode {
    pub const PERSISTENT: i32 = 0;
    pub const EPHEMERAL: i32 = 1;
    pub const PERSISTENT_SEQUENTIAL: i32 = 2;
    pub const EPHEMERAL_SEQUENTIAL: i32 = 3;
    pub(crate) const CONTAINER: i32 = 4;
    pub(crate) const TTL: i32 = 5;
    pub(crate) const SEQUENTIAL_TTL: i32 = 6;
}

/// The first message of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectRequest {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    pub timeout_ms: i32,
    /// 0: a new session.
    pub session_id: i64,
    /// None if the client sent a null buffer.
    pub password: Option<Bytes>,
    /// None if the client is older than 3.4 and does not send the field. Then the answer does not have the field
    /// either.
    pub read_only: Option<bool>,
}

/// A decoded request. Members also send each other requests in this form (`peer::messages::requests`). A string may be
/// null on the wire (`None`), which ZooKeeper answers differently for each operation. Bytes that are no UTF-8 become
/// U+FFFD, as in Java.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Request {
    Create(Create),
    Delete {
        path: Option<String>,
        version: i32,
    },
    Exists {
        path: Option<String>,
        watch: bool,
    },
    GetData {
        path: Option<String>,
        watch: bool,
    },
    SetData {
        path: Option<String>,
        data: Option<Bytes>,
        version: i32,
    },
    GetAcl {
        path: Option<String>,
    },
    SetAcl {
        path: Option<String>,
        acl: Option<Vec<AclEntry>>,
        version: i32,
    },
    GetChildren {
        path: Option<String>,
        watch: bool,
    },
    GetChildren2 {
        path: Option<String>,
        watch: bool,
    },
    Sync {
        path: Option<String>,
    },
    Ping,
    /// Allowed only in a multi. Alone it is an unimplemented operation.
    Check {
        path: Option<String>,
        version: i32,
    },
    Multi(Vec<Operation>),
    /// All operations are `GetData` or `GetChildren` without a watch, or all are writes, which a multiRead cannot do.
    MultiRead(Vec<Operation>),
    Reconfig {
        joining: Option<String>,
        leaving: Option<String>,
        new_members: Option<String>,
        config_id: i64,
    },
    /// `kind`: 1 children, 2 data, 3 any, 4 persistent, 5 persistent recursive. Other numbers are kept as sent.
    CheckWatches {
        path: Option<String>,
        kind: i32,
    },
    RemoveWatches {
        path: Option<String>,
        kind: i32,
    },
    DeleteContainer {
        path: Option<String>,
    },
    Auth {
        kind: i32,
        scheme: Option<String>,
        credential: Option<Bytes>,
    },
    Sasl {
        token: Option<Bytes>,
    },
    SetWatches(SetWatches),
    GetEphemerals {
        prefix: Option<String>,
    },
    GetAllChildrenNumber {
        path: Option<String>,
    },
    /// `mode`: 0 persistent, 1 persistent recursive. Other numbers are kept as sent.
    AddWatch {
        path: Option<String>,
        mode: i32,
    },
    WhoAmI,
    CloseSession,
    /// ClickHouse's getChildren2 with a filter: 0 all, 1 persistent only, 2 ephemeral only.
    FilteredList {
        path: Option<String>,
        watch: bool,
        filter: u8,
    },
    /// ClickHouse's checkNotExists: fails with NODEEXISTS if the node is there.
    CheckNotExists {
        path: Option<String>,
        version: i32,
    },
}

/// All forms of create.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Create {
    pub form: CreateForm,
    pub path: Option<String>,
    pub data: Option<Bytes>,
    pub acl: Option<Vec<AclEntry>>,
    /// As in `create_mode`: 0 persistent, 1 ephemeral, 2 and 3 the same with a number, 4 container, 5 and 6 TTL. Other
    /// numbers are kept as sent.
    pub flags: i32,
    /// Milliseconds. 0 if the form has no such field.
    pub ttl_ms: i64,
}

/// The opcode of a create. It decides the form of the reply, and which flags are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CreateForm {
    /// Reply: the path.
    Create,
    /// Reply: path and Stat. The same for `Container` and `Ttl`.
    Create2,
    Container,
    Ttl,
    /// ClickHouse's opcode 502. Like `Create`, but not an error if the node is there.
    IfNotExists,
}

impl CreateForm {
    pub(crate) const fn opcode(self) -> i32 {
        match self {
            CreateForm::Create => op::CREATE,
            CreateForm::Create2 => op::CREATE2,
            CreateForm::Container => op::CREATE_CONTAINER,
            CreateForm::Ttl => op::CREATE_TTL,
            CreateForm::IfNotExists => op::CREATE_IF_NOT_EXISTS,
        }
    }
}

/// One operation of a multi or multiRead, with its opcode.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Operation {
    pub op: i32,
    pub request: Request,
}

/// The watches that a client sets again after it has connected again. `persistent` and `recursive` are empty in the
/// older form (101).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SetWatches {
    pub relative_zxid: i64,
    pub data: Vec<String>,
    pub exist: Vec<String>,
    pub child: Vec<String>,
    pub persistent: Vec<String>,
    pub recursive: Vec<String>,
}

impl SetWatches {
    /// How many watches are asked for.
    pub(crate) fn count(&self) -> usize {
        let lists = [&self.data, &self.exist, &self.child, &self.persistent, &self.recursive];
        lists.iter().map(|list| list.len()).sum()
    }
}
