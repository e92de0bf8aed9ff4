//! What the pipeline asks plugins, and what it lends them for the time of a call. `plugin` implements it with WebAssembly,
//! tests with a few lines of Rust.

use super::{Caller, Moment};
use crate::limits;
use crate::model::txn::Change;
use crate::model::{Acl, ErrorCode, NodeKind, Refusal, SessionId, Stat, Zxid, acl};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// The plugins that have a say in a write.
///
/// The functions about recipes have defaults that answer as a server without recipes does, so a fake needs none of them.
pub trait Plugins {
    /// May this transaction be? Asked once for a transaction, with all its changes; the call's view shows the tree as they
    /// leave it. Without a caller the changes are plugins' on their own account: of a timer, say. Must be cheap where
    /// nothing matches.
    fn validate(&mut self, call: &Call<'_>, changes: &[Change]) -> Answered<()>;

    /// May the caller do that to the node at `path`? Asked once an access list has allowed it, for each operation of a
    /// multi on the view that the one before leaves. `path` is the node's own, as the client wrote it: a sequential create
    /// is judged without its digits. The superuser and what lies under `/zookeeper` pass unasked. A refusal is NOAUTH with
    /// the policy's text, or what its failure makes of it. Must be cheap where nothing matches.
    fn authorize(&mut self, call: &Call<'_>, verb: Verb, path: &str) -> Answered<()>;

    /// The recipe that the node at `path` belongs to: the one with the longest mount. Must be cheap where there is none.
    fn recipe(&mut self, _path: &str) -> Option<Arc<Recipe>> {
        None
    }

    /// The recipe of that name, if it is put to work.
    fn recipe_named(&mut self, _plugin: &str) -> Option<Arc<Recipe>> {
        None
    }

    /// The mount at which a manifest of that text puts a recipe to work, if it does.
    fn starts_recipe(&mut self, _manifest: &[u8]) -> Option<String> {
        None
    }

    /// The nodes that hold the component of a manifest of that text, if it puts one to work.
    fn pieces(&mut self, _manifest: &[u8]) -> Vec<String> {
        Vec::new()
    }

    /// A client's write at the mount. What `Handled::Done` names is a path that the reply may speak of.
    fn handle(&mut self, recipe: &Recipe, _call: &Call<'_>, _write: &Write<'_>) -> Answered<Handled> {
        no_recipe(recipe)
    }

    /// What others changed at the mount.
    fn on_change(&mut self, recipe: &Recipe, _call: &Call<'_>, _cause: Cause, _changes: &[Change]) -> Answered<()> {
        no_recipe(recipe)
    }

    fn on_timer(&mut self, recipe: &Recipe, _call: &Call<'_>, _name: &str) -> Answered<()> {
        no_recipe(recipe)
    }

    fn on_call(&mut self, recipe: &Recipe, _call: &Call<'_>, _method: &str, _payload: &[u8]) -> Answered<Bytes> {
        no_recipe(recipe)
    }

    /// One step of putting the mount in order; what the next one is to be told, none behind the last.
    fn recover(&mut self, recipe: &Recipe, _call: &Call<'_>, _after: Option<&str>) -> Answered<Option<String>> {
        no_recipe(recipe)
    }
}

/// The answer of nobody.
pub fn no_recipe<T>(recipe: &Recipe) -> Answered<T> {
    let text = format!("{}: there is no such recipe", recipe.name);
    Answered::unasked(Err(Refusal::new(ErrorCode::SystemError, text)))
}

/// A recipe at work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    pub name: Arc<str>,
    pub mount: Arc<str>,
    /// The deployment, as its manifest counts them.
    pub version: u32,
}

/// What a plugin answered, or several together; a fault is a refusal, too.
pub struct Answered<T> {
    pub said: Result<T, Refusal>,
    /// What the calls cost, instances that were made for them included, in fuel. What was known already costs nothing.
    pub fuel: u64,
}

impl<T> Answered<T> {
    /// An answer for which nobody was called.
    pub fn unasked(said: Result<T, Refusal>) -> Answered<T> {
        Answered { said, fuel: 0 }
    }
}

/// What the plugins of one transaction have used together. A cell, since policies, validators and authenticators are asked
/// about a transaction that they only look at.
#[derive(Default)]
pub struct Fuel(Cell<u64>);

impl Fuel {
    /// What plugins may still use.
    pub fn left(&self) -> u64 {
        limits::PLUGIN_TXN_FUEL.saturating_sub(self.0.get())
    }

    /// As `left`, for those that judge: none is asked once all is used up, but one that was deployed with more than a
    /// transaction has, for large nodes say, gets what it was given.
    pub fn left_to_judge(&self) -> u64 {
        match self.left() {
            0 => 0,
            _ => limits::PLUGIN_FUEL_MAX,
        }
    }

    /// What was answered, at the expense of that.
    pub fn settle<T>(&self, answered: Answered<T>) -> Result<T, Refusal> {
        self.0.set(self.0.get().saturating_add(answered.fuel));
        answered.said
    }
}

/// A client's write, as a recipe is told of it. `version`: none is any.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Write<'a> {
    Create {
        path: &'a str,
        data: &'a [u8],
        kind: NodeKind,
        /// The client expects digits behind `path`.
        sequential: bool,
        /// As it will be stored.
        acl: &'a Acl,
    },
    SetData {
        path: &'a str,
        data: &'a [u8],
        version: Option<i32>,
    },
    SetAcl {
        path: &'a str,
        acl: &'a Acl,
        version: Option<i32>,
    },
    Delete {
        path: &'a str,
        version: Option<i32>,
    },
}

impl<'a> Write<'a> {
    /// Bytes of its path and data.
    pub fn bytes(&self) -> usize {
        self.path().len()
            + match self {
                Write::Create { data, .. } | Write::SetData { data, .. } => data.len(),
                Write::SetAcl { acl, .. } => acl::bytes(acl),
                Write::Delete { .. } => 0,
            }
    }

    /// As the client wrote it.
    pub fn path(&self) -> &'a str {
        match self {
            Write::Create { path, .. }
            | Write::SetData { path, .. }
            | Write::SetAcl { path, .. }
            | Write::Delete { path, .. } => path,
        }
    }
}

/// What becomes of a write that a recipe was asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Handled {
    /// It is carried out as if there were no recipe.
    Pass,
    /// The recipe has done what there is to do; the reply speaks of the node at that path.
    Done(String),
}

/// Whose changes a recipe is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The superuser's, whose requests no recipe handles.
    Request,
    SessionClosed,
    SessionExpired,
    /// Another plugin's.
    Plugin,
    /// The server's own.
    Server,
}

/// What is done to a node, as policies are asked about it (`types.verb` of the contract).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

impl Verb {
    pub const ALL: [Verb; 7] =
        [Verb::Read, Verb::Children, Verb::Create, Verb::Set, Verb::Delete, Verb::Acl, Verb::Call];

    /// As manifests have it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Children => "children",
            Verb::Create => "create",
            Verb::Set => "set",
            Verb::Delete => "delete",
            Verb::Acl => "acl",
            Verb::Call => "call",
        }
    }
}

/// What a plugin is lent for one call: eyes, perhaps hands, and the circumstances.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub view: &'a dyn ReadView,
    /// None: the kind that is called only looks.
    pub writer: Option<&'a dyn TreeWriter>,
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
    /// What is left of the fuel that plugins may use in this transaction; a call has no more. Of those that judge, all of
    /// their own budget as long as anything is left. With none left nobody is called.
    pub fuel_max: u64,
    /// Bytes of names and data that it was told of, as far as a client chose them.
    pub told_bytes: usize,
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
        Call { view, writer: None, caller, session, xid, zxid, moment, writers: &[], fuel_max: u64::MAX, told_bytes: 0 }
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
pub trait TreeWriter {
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
/// for reads and events. `session`: who caused the question, which is no part of it. `fuel_max`: what is left for it; with
/// none left nobody is asked.
pub trait Schemes: Send + Sync {
    /// Whether a plugin proves identities of that scheme.
    fn proves(&self, scheme: &str) -> bool;
    /// Whether somebody who has proven `held` is whom an entry means by `wanted`; false if nobody proves the scheme, or who
    /// does failed at it. A refusal: that cannot be said now.
    fn matches(&self, session: SessionId, fuel_max: u64, scheme: &str, held: &str, wanted: &str) -> Answered<bool>;
    /// What `matches` says without asking a plugin; None if it would have to.
    fn known(&self, scheme: &str, held: &str, wanted: &str) -> Option<bool>;
    /// Whether an entry may have that id; None if nobody proves the scheme.
    fn check_id(&self, session: SessionId, fuel_max: u64, scheme: &str, id: &str) -> Option<Answered<()>>;
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
    fn validate(&mut self, _: &Call<'_>, _: &[Change]) -> Answered<()> {
        Answered::unasked(Ok(()))
    }

    fn authorize(&mut self, _: &Call<'_>, _: Verb, _: &str) -> Answered<()> {
        Answered::unasked(Ok(()))
    }
}

impl Schemes for NoPlugins {
    fn proves(&self, _: &str) -> bool {
        false
    }

    fn matches(&self, _: SessionId, _: u64, _: &str, _: &str, _: &str) -> Answered<bool> {
        Answered::unasked(Ok(false))
    }

    fn known(&self, _: &str, _: &str, _: &str) -> Option<bool> {
        Some(false)
    }

    fn check_id(&self, _: SessionId, _: u64, _: &str, _: &str) -> Option<Answered<()>> {
        None
    }
}
