//! Why something is refused: ZooKeeper's codes, and [`Rejection`]s made of them.

use crate::Rejection;

/// The ZooKeeper error codes that a plugin may choose among. Others would make client libraries drop sessions or
/// connections; the server sends SYSTEMERROR in their place and counts a fault.
pub mod code {
    /// Something that the client can do nothing about.
    pub const SYSTEM_ERROR: i32 = -1;
    /// No such method (`on_call`).
    pub const UNIMPLEMENTED: i32 = -6;
    /// The request makes no sense here.
    pub const BAD_ARGUMENTS: i32 = -8;
    /// The node is not there, or the parent of what should be created.
    pub const NO_NODE: i32 = -101;
    /// The caller may not; towards a plugin: its grants do not reach there.
    pub const NO_AUTH: i32 = -102;
    /// The node has another version than the one required.
    pub const BAD_VERSION: i32 = -103;
    /// The parent is ephemeral.
    pub const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
    /// The node is there already.
    pub const NODE_EXISTS: i32 = -110;
    /// The node has children.
    pub const NOT_EMPTY: i32 = -111;
    /// The ACL is not one.
    pub const INVALID_ACL: i32 = -114;
    /// A limit on nodes, bytes or timers is reached.
    pub const QUOTA_EXCEEDED: i32 = -125;
    /// Too much at once; later it may do.
    pub const THROTTLED: i32 = -127;
}

impl Rejection {
    /// BADARGUMENTS for the client. The server puts the path of the change before the text where there was one change.
    pub fn new(text: impl Into<String>) -> Rejection {
        Rejection { code: code::BAD_ARGUMENTS, text: text.into() }
    }

    /// BADARGUMENTS for the client, saying which of the changes is meant.
    pub fn at(path: &str, text: &str) -> Rejection {
        Rejection::new([path, ": ", text].concat())
    }
}

/// BADARGUMENTS for the client: `?` passes on what [`crate::Settings`] has to say of a client's data.
impl From<String> for Rejection {
    fn from(text: String) -> Rejection {
        Rejection::new(text)
    }
}

/// `Err`, with one of the [`code`]s and a text for people of at most 1 KiB.
pub fn refuse<T>(code: i32, text: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection { code, text: text.into() })
}

/// Takes one kind of refusal as normal: `tolerate(code::NO_NODE, txn.delete(path, None))?`. Says whether it was done.
pub fn tolerate(code: i32, done: Result<(), Rejection>) -> Result<bool, Rejection> {
    match done {
        Ok(()) => Ok(true),
        Err(rejection) if rejection.code == code => Ok(false),
        Err(rejection) => Err(rejection),
    }
}
