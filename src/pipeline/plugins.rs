//! What the pipeline asks plugins, and what it lends them for the time of a call. `plugin` implements it with WebAssembly,
//! tests with a few lines of Rust.

use super::{Caller, Moment, txn};
use crate::model::{Acl, NodeKind, Refusal, SessionId, Stat, Zxid};

/// The plugins that have a say in a write.
pub trait Plugins {
    /// May this transaction of a client be? Asked once for a transaction, with all its changes; the call's view shows the
    /// tree as they leave it. Must be cheap where nothing matches.
    fn validate(&mut self, call: &Call<'_>, changes: &[txn::Change]) -> Result<(), Refusal>;
}

/// What a plugin is lent for one call: eyes, perhaps hands, and the circumstances.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub view: &'a dyn ReadView,
    /// None: the kind that is called only looks.
    pub bench: Option<&'a dyn Workbench>,
    /// Who asks; none in timers, at a session's end, in calls and recovery.
    pub caller: Option<&'a Caller>,
    /// The session that asked or that ended; 0 where there is none.
    pub session: SessionId,
    /// The request's number; 0 where there is no request.
    pub xid: i32,
    /// The transaction's; on a read, the last one applied.
    pub zxid: Zxid,
    pub moment: Moment,
    /// Names of the plugins that have written in this transaction so far.
    pub writers: &'a [std::sync::Arc<str>],
}

impl<'a> Call<'a> {
    /// A call that only looks.
    pub fn looking(
        view: &'a dyn ReadView,
        caller: Option<&'a Caller>,
        xid: i32,
        zxid: Zxid,
        moment: Moment,
    ) -> Call<'a> {
        let session = caller.map_or(SessionId(0), |caller| caller.session);
        Call { view, bench: None, caller, session, xid, zxid, moment, writers: &[] }
    }
}

/// Looking at the tree: as the transaction leaves it so far, and as it was before.
pub trait ReadView {
    fn node(&self, path: &str) -> Option<NodeCopy>;
    fn original(&self, path: &str) -> Option<NodeCopy>;
    /// Names in byte order behind `after`, at most `limit`.
    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String>;
    /// Paths of the session's ephemeral nodes that begin with `prefix`, in order.
    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String>;
}

#[derive(Clone, Debug, PartialEq)]
pub struct NodeCopy {
    pub data: Option<bytes::Bytes>,
    pub stat: Stat,
    pub acl: Acl,
}

/// Changing the tree within the transaction in the making (`writing.transaction` of the contract). Each operation follows
/// ZooKeeper's rules, takes effect in the call's view at once, and leaves nothing behind if it is refused. Grants are
/// the plugin host's to check, before it comes here.
///
/// Through a shared reference, since a call looks and writes at once.
pub trait Workbench {
    /// The path of the new node: `path`, with ten digits behind it if `sequential`. An empty `acl`: the parent's.
    fn create(&self, path: &str, data: &[u8], kind: NodeKind, acl: &Acl, sequential: bool) -> Result<String, Refusal>;
    fn set_data(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<(), Refusal>;
    fn set_acl(&self, path: &str, acl: &Acl, version: Option<i32>) -> Result<(), Refusal>;
    fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Refusal>;
    /// Sets or moves the plugin's timer of that name, to so many milliseconds of ensemble time from now.
    fn set_timer(&self, name: &str, after_ms: u64) -> Result<(), Refusal>;
    fn cancel_timer(&self, name: &str);
}

/// No plugin: everything is fine.
pub struct NoPlugins;

impl Plugins for NoPlugins {
    fn validate(&mut self, _: &Call<'_>, _: &[txn::Change]) -> Result<(), Refusal> {
        Ok(())
    }
}
