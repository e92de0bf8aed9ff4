//! What the pipeline asks plugins, and what it lends them for the time of a call. `plugin` implements it with WebAssembly,
//! tests with a few lines of Rust.

use super::{Caller, Moment, txn};
use crate::model::{Acl, NodeKind, Refusal, SessionId, Stat, Zxid};
use std::fmt;
use std::sync::Arc;

/// The plugins that have a say in a write.
pub trait Plugins {
    /// May this transaction of a client be? Asked once for a transaction, with all its changes; the call's view shows the
    /// tree as they leave it. Must be cheap where nothing matches.
    fn validate(&mut self, call: &Call<'_>, changes: &[txn::Change]) -> Result<(), Refusal>;

    /// May the caller do that to the node at `path`? Asked once an access list has allowed it, for each operation of a
    /// multi on the view that the one before leaves. `path` is the node's own, as the client wrote it: a sequential create
    /// is judged without its digits. The superuser and what lies under `/zookeeper` pass unasked. A refusal is NOAUTH with
    /// the policy's text, or what its failure makes of it. Must be cheap where nothing matches.
    fn authorize(&mut self, call: &Call<'_>, verb: Verb, path: &str) -> Result<(), Refusal>;
}

/// What is done to a node, as policies are asked about it (`types.verb` of the contract).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// Its data, Stat or access list, and events about it; a check within a multi.
    Read,
    /// The names of its children, and events about them.
    Children,
    Create,
    Set,
    Delete,
    Acl,
    /// Calling the recipe that is mounted on it.
    Call,
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
    pub writers: &'a [Arc<str>],
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

    /// As `node`, without the data.
    fn stat(&self, path: &str) -> Option<Stat> {
        self.node(path).map(|node| node.stat)
    }

    /// By what it can be told later whether the node is still the same.
    fn versions(&self, path: &str) -> Option<Versions> {
        self.stat(path).map(|stat| Versions::of(&stat))
    }

    /// Whether what is shown of the node may yet be undone, so that its versions may come to stand for something else.
    fn is_outstanding(&self, _path: &str) -> bool {
        false
    }
}

/// Shows nothing.
pub struct NoView;

impl ReadView for NoView {
    fn node(&self, _: &str) -> Option<NodeCopy> {
        None
    }
    fn original(&self, _: &str) -> Option<NodeCopy> {
        None
    }
    fn children(&self, _: &str, _: Option<&str>, _: usize) -> Vec<String> {
        Vec::new()
    }
    fn ephemerals(&self, _: SessionId, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
}

/// A node whose versions are the same has the same data, list and children. `NodeCopy` of it is the same, then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    pub mzxid: i64,
    pub pzxid: i64,
    pub aversion: i32,
}

impl Versions {
    pub fn of(stat: &Stat) -> Versions {
        Versions { mzxid: stat.mzxid, pzxid: stat.pzxid, aversion: stat.aversion }
    }
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

/// Identities of schemes that plugins prove, as access lists need them: on the leader for writes, on the serving member
/// for reads and events.
pub trait Schemes: Send + Sync {
    /// Whether a plugin proves identities of that scheme.
    fn proves(&self, scheme: &str) -> bool;
    /// Whether somebody who has proven `held` is whom an entry means by `wanted`; false if nobody proves the scheme.
    fn matches(&self, scheme: &str, held: &str, wanted: &str) -> bool;
    /// Whether an entry may have that id; None if nobody proves the scheme.
    fn check_id(&self, scheme: &str, id: &str) -> Option<Result<(), Refusal>>;
}

/// `Schemes` as a part of `Rules`; by default there are none.
#[derive(Clone, Default)]
pub struct ProvenSchemes(Option<Arc<dyn Schemes>>);

impl ProvenSchemes {
    pub fn new(schemes: Arc<dyn Schemes>) -> ProvenSchemes {
        ProvenSchemes(Some(schemes))
    }

    pub fn get(&self) -> &dyn Schemes {
        match &self.0 {
            Some(schemes) => &**schemes,
            None => &NoPlugins,
        }
    }
}

impl fmt::Debug for ProvenSchemes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "ProvenSchemes" } else { "none" })
    }
}

/// Settings are compared, and this is none.
impl PartialEq for ProvenSchemes {
    fn eq(&self, _: &ProvenSchemes) -> bool {
        true
    }
}

/// No plugin: everything is fine.
pub struct NoPlugins;

impl Plugins for NoPlugins {
    fn validate(&mut self, _: &Call<'_>, _: &[txn::Change]) -> Result<(), Refusal> {
        Ok(())
    }

    fn authorize(&mut self, _: &Call<'_>, _: Verb, _: &str) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Schemes for NoPlugins {
    fn proves(&self, _: &str) -> bool {
        false
    }

    fn matches(&self, _: &str, _: &str, _: &str) -> bool {
        false
    }

    fn check_id(&self, _: &str, _: &str) -> Option<Result<(), Refusal>> {
        None
    }
}
