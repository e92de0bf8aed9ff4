//! Refusals: ZooKeeper's error codes, and [`Rejection`]s with them.

use crate::Rejection;

/// The ZooKeeper error codes that a plugin may use. Other codes would make client libraries close sessions or
/// connections: the server sends SYSTEMERROR instead, and counts a fault of the plugin.
pub mod code {
    /// A failure that the client can do nothing about.
    pub const SYSTEM_ERROR: i32 = -1;
    /// There is no such method (`on_call`).
    pub const UNIMPLEMENTED: i32 = -6;
    /// The request makes no sense here.
    pub const BAD_ARGUMENTS: i32 = -8;
    /// There is no such node, or no parent for a node to be created.
    pub const NO_NODE: i32 = -101;
    /// The caller may not do this. A plugin gets this code if its grants do not cover the path.
    pub const NO_AUTH: i32 = -102;
    /// The node has another version than the required one.
    pub const BAD_VERSION: i32 = -103;
    /// The parent is an ephemeral node.
    pub const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
    /// The node exists already.
    pub const NODE_EXISTS: i32 = -110;
    /// The node has children.
    pub const NOT_EMPTY: i32 = -111;
    /// The ACL is not valid.
    pub const INVALID_ACL: i32 = -114;
    /// A limit on nodes, bytes or timers is reached.
    pub const QUOTA_EXCEEDED: i32 = -125;
    /// There is too much to do at the moment. The client may succeed later.
    pub const THROTTLED: i32 = -127;
}

impl Rejection {
    /// A refusal with BADARGUMENTS. If the transaction has one change, the server puts the path of the change before
    /// the text.
    pub fn new(text: impl Into<String>) -> Rejection {
        Rejection { code: code::BAD_ARGUMENTS, text: text.into() }
    }

    /// A refusal with BADARGUMENTS that names the path of the wrong change.
    pub fn at(path: &str, text: &str) -> Rejection {
        Rejection::new([path, ": ", text].concat())
    }
}

/// A refusal with BADARGUMENTS. With it, `?` passes on an error of [`crate::Settings`] about a client's data.
impl From<String> for Rejection {
    fn from(text: String) -> Rejection {
        Rejection::new(text)
    }
}

/// An `Err` with one of the [`code`]s, and with a text for people of at most 1 KiB.
pub fn refuse<T>(code: i32, text: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection { code, text: text.into() })
}

/// Accepts one kind of refusal: `tolerate(code::NO_NODE, txn.delete(path, None))?`. Returns whether the operation was
/// done.
pub fn tolerate(code: i32, done: Result<(), Rejection>) -> Result<bool, Rejection> {
    match done {
        Ok(()) => Ok(true),
        Err(rejection) if rejection.code == code => Ok(false),
        Err(rejection) => Err(rejection),
    }
}
