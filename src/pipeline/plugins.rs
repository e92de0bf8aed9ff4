//! What the pipeline asks plugins, and what they may read and change during a call. The folder `plugin` implements
//! `Plugins` with WebAssembly, tests with a few lines of Rust.

use super::{Caller, Moment};
use crate::limits;
use crate::model::txn::Change;
use crate::model::{Acl, ErrorCode, NodeKind, Refusal, SessionId, Stat, Zxid, acl};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// The plugins that decide about writes.
///
/// The functions about recipes have defaults: they answer as a server without recipes does.
pub(crate) trait Plugins {
    /// Asks the validators whether they accept the transaction. Called once per transaction, with all of its changes.
    /// The call's view shows the tree as the changes leave it. Without a caller, plugins made the changes on their own,
    /// for example when a timer fired. Must be cheap if no validator matches.
    fn validate(&mut self, call: &Call<'_>, changes: &[Change]) -> Answered<()>;

    /// Asks the policies whether the caller may do `verb` to the node at `path`. Called after the ACL has allowed it,
    /// for each operation of a multi on the view that the operation before left. `path` is the node's path; a
    /// sequential create is judged with its digits. Policies are not asked about the superuser or about paths under
    /// `/zookeeper`. A refusal is NOAUTH with the policy's text, or the refusal of the policy's failure. Must be cheap
    /// if no policy matches.
    fn authorize(&mut self, call: &Call<'_>, verb: Verb, path: &str) -> Answered<()>;

    /// The recipe that the node at `path` belongs to: the recipe with the longest mount. Must be cheap if there is
    /// none.
    fn recipe(&mut self, _path: &str) -> Option<Arc<Recipe>> {
        None
    }

    /// The recipe of that name, if it is at work.
    fn recipe_named(&mut self, _plugin: &str) -> Option<Arc<Recipe>> {
        None
    }

    /// The mount at which that manifest puts a recipe to work. None: the manifest does not.
    fn starts_recipe(&mut self, _manifest: &[u8]) -> Option<String> {
        None
    }

    /// The nodes that hold the manifest's component. Empty if the manifest puts no component to work.
    fn pieces(&mut self, _manifest: &[u8]) -> Vec<String> {
        Vec::new()
    }

    /// Asks the recipe to handle a client's write at its mount. The implementation makes sure that the reply may speak
    /// of the path in `Handled::Done`.
    fn handle(&mut self, recipe: &Recipe, _call: &Call<'_>, _write: &Write<'_>) -> Answered<Handled> {
        no_recipe(recipe)
    }

    /// Tells the recipe what others have changed at its mount.
    fn on_change(&mut self, recipe: &Recipe, _call: &Call<'_>, _cause: Cause, _changes: &[Change]) -> Answered<()> {
        no_recipe(recipe)
    }

    /// Tells the recipe that its timer of that name has fired.
    fn on_timer(&mut self, recipe: &Recipe, _call: &Call<'_>, _name: &str) -> Answered<()> {
        no_recipe(recipe)
    }

    /// Makes a native call of the recipe. Returns what the recipe returned.
    fn on_call(&mut self, recipe: &Recipe, _call: &Call<'_>, _method: &str, _payload: &[u8]) -> Answered<Bytes> {
        no_recipe(recipe)
    }

    /// Makes one step in putting the mount in order. `after`: what the step before returned. None: this was the last
    /// step.
    fn recover(&mut self, recipe: &Recipe, _call: &Call<'_>, _after: Option<&str>) -> Answered<Option<String>> {
        no_recipe(recipe)
    }
}

/// The answer in place of a recipe that does not exist.
pub(crate) fn no_recipe<T>(recipe: &Recipe) -> Answered<T> {
    let text = format!("{}: there is no such recipe", recipe.name);
    Answered::unasked(Err(Refusal::new(ErrorCode::SystemError, text)))
}

/// A recipe at work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    pub(crate) name: Arc<str>,
    pub(crate) mount: Arc<str>,
    /// The deployment, as its manifest counts them.
    pub(crate) version: u32,
}

/// What a plugin answered, or several plugins together. A fault is a refusal, too.
pub(crate) struct Answered<T> {
    pub(crate) said: Result<T, Refusal>,
    /// The fuel that the calls used, including the instances that were made for them. A cached answer costs nothing.
    pub(crate) fuel: u64,
}

impl<T> Answered<T> {
    /// An answer for which no plugin was called.
    pub(crate) fn unasked(said: Result<T, Refusal>) -> Answered<T> {
        Answered { said, fuel: 0 }
    }
}

/// The fuel that the plugins of one transaction have used together. It is a cell, because policies, validators and
/// authenticators are asked while the transaction is only borrowed.
#[derive(Default)]
pub(crate) struct Fuel(Cell<u64>);

impl Fuel {
    /// The fuel that plugins may still use.
    pub(crate) fn left(&self) -> u64 {
        limits::PLUGIN_TXN_FUEL.saturating_sub(self.0.get())
    }

    /// What one policy, validator or authenticator may use. None of them is called once the fuel is used up. Before
    /// that, each gets all of its own budget, which may be more than a transaction has, for large nodes for example.
    pub(crate) fn left_to_judge(&self) -> u64 {
        match self.left() {
            0 => 0,
            _ => limits::PLUGIN_FUEL_MAX,
        }
    }

    /// Takes the answer's fuel off the budget and returns the answer.
    pub(crate) fn settle<T>(&self, answered: Answered<T>) -> Result<T, Refusal> {
        self.0.set(self.0.get().saturating_add(answered.fuel));
        answered.said
    }
}

/// A client's write, as a recipe sees it. `version`: the version that the node must have; None is any.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Write<'a> {
    Create {
        path: &'a str,
        data: &'a [u8],
        kind: NodeKind,
        /// The client expects ten digits behind `path`.
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
    /// `version` for the version of a request, where -1 is any.
    pub(super) fn expected(version: i32) -> Option<i32> {
        (version != -1).then_some(version)
    }

    /// Bytes of the path and of the data or ACL.
    pub(crate) fn bytes(&self) -> usize {
        self.path().len()
            + match self {
                Write::Create { data, .. } | Write::SetData { data, .. } => data.len(),
                Write::SetAcl { acl, .. } => acl::bytes(acl),
                Write::Delete { .. } => 0,
            }
    }

    /// The path as the client wrote it.
    pub(crate) fn path(&self) -> &'a str {
        match self {
            Write::Create { path, .. }
            | Write::SetData { path, .. }
            | Write::SetAcl { path, .. }
            | Write::Delete { path, .. } => path,
        }
    }
}

/// What a recipe does with a client's write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Handled {
    /// The write is carried out as if there were no recipe.
    Pass,
    /// The recipe has handled the write. The reply is about the node at this path.
    Done(String),
}

/// Who made the changes that a recipe is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// The superuser, whose requests no recipe handles.
    Request,
    /// A client closed its session.
    SessionClosed,
    /// A session expired.
    SessionExpired,
    /// Another plugin.
    Plugin,
    /// The server itself.
    Server,
}

/// What a client does to a node, as policies see it (`types.verb` of the contract).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Reading the data, Stat or ACL, and events about them. A check within a multi.
    Read,
    /// Reading the names of the children, and events about them.
    Children,
    Create,
    Set,
    Delete,
    Acl,
    /// Calling the recipe that is mounted on the node.
    Call,
}

impl Verb {
    pub(crate) const ALL: [Verb; 7] =
        [Verb::Read, Verb::Children, Verb::Create, Verb::Set, Verb::Delete, Verb::Acl, Verb::Call];

    /// The name in manifests.
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

/// What a plugin has during one call: a view to read, perhaps a writer, and the circumstances of the call.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) view: &'a dyn ReadView,
    /// None: plugins of this kind only read.
    pub(crate) writer: Option<&'a dyn TreeWriter>,
    /// The client whose request led to the call. None in timers, at a session's end and in recovery.
    pub(crate) caller: Option<&'a Caller>,
    /// The session that sent the request or that ended. 0: there is none.
    pub(crate) session: SessionId,
    /// The request's number. 0: there is no request.
    pub(crate) xid: i32,
    /// The zxid of the transaction. On a read, the last zxid applied.
    pub(crate) zxid: Zxid,
    pub(crate) moment: Moment,
    /// Names of the plugins that have written in this transaction so far.
    pub(crate) writers: &'a [Arc<str>],
    /// The fuel that this call may use: what is left of the transaction's. For plugins that judge,
    /// `Fuel::left_to_judge`. With 0 the plugin is not called.
    pub(crate) fuel_max: u64,
    /// What was left of the transaction's fuel when the question was asked that this call helps to answer.
    pub(crate) fuel_left: u64,
    /// Bytes of the names and data that the plugin is told of, as far as a client chose them.
    pub(crate) told_bytes: usize,
}

impl<'a> Call<'a> {
    /// A call of a plugin that only reads.
    pub(crate) fn looking(
        view: &'a dyn ReadView,
        caller: Option<&'a Caller>,
        xid: i32,
        zxid: Zxid,
        moment: Moment,
    ) -> Call<'a> {
        let session = caller.map_or(SessionId(0), |caller| caller.session);
        Call {
            view,
            writer: None,
            caller,
            session,
            xid,
            zxid,
            moment,
            writers: &[],
            fuel_max: u64::MAX,
            fuel_left: u64::MAX,
            told_bytes: 0,
        }
    }

    /// The call of one of several plugins that judge the same thing, after the others have used `fuel`. Once they have
    /// used up what was left of the transaction's, no further one is called.
    pub(crate) fn after(self, fuel: u64) -> Call<'a> {
        let fuel_max = if fuel < self.fuel_left { self.fuel_max } else { 0 };
        Call { fuel_max, ..self }
    }
}

/// Read access to the tree, as the transaction leaves it so far and as it was before.
pub(crate) trait ReadView {
    /// The node as the transaction leaves it so far.
    fn node(&self, path: &str) -> Option<NodeCopy>;
    /// The node before the transaction.
    fn original(&self, path: &str) -> Option<NodeCopy>;
    /// Names in byte order behind `after`, at most `limit`.
    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String>;
    /// Paths of the session's ephemeral nodes that begin with `prefix`, in order.
    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String>;

    /// As `node`, without the data.
    fn stat(&self, path: &str) -> Option<Stat> {
        self.node(path).map(|node| node.stat)
    }

    /// The numbers that tell later whether the node is still the same.
    fn versions(&self, path: &str) -> Option<Versions> {
        self.stat(path).map(|stat| Versions::of(&stat))
    }

    /// Whether the node is shown with outstanding changes. They may be undone, and the same versions may then stand for
    /// another node.
    fn is_outstanding(&self, _path: &str) -> bool {
        false
    }
}

/// A view of nothing.
pub(crate) struct NoView;

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

/// As long as a node has the same `Versions`, it has the same data, ACL and children, and the same `NodeCopy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Versions {
    pub(crate) mzxid: i64,
    pub(crate) pzxid: i64,
    pub(crate) aversion: i32,
}

impl Versions {
    pub(crate) fn of(stat: &Stat) -> Versions {
        Versions { mzxid: stat.mzxid, pzxid: stat.pzxid, aversion: stat.aversion }
    }
}

/// What a plugin sees of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeCopy {
    pub(crate) data: Option<bytes::Bytes>,
    pub(crate) stat: Stat,
    pub(crate) acl: Acl,
}

/// Write access to the tree within the transaction in the making (`writing.transaction` of the contract). Each
/// operation follows ZooKeeper's rules. It takes effect in the call's view at once, and leaves nothing behind if it is
/// refused. The plugin host checks the grants before it calls these functions.
///
/// The functions take a shared reference, because a call reads and writes through the same object.
pub(crate) trait TreeWriter {
    /// Creates a node. Returns its path: `path`, with ten digits behind it if `sequential`. An empty `acl` stands for
    /// the parent's ACL.
    fn create(&self, path: &str, data: &[u8], kind: NodeKind, acl: &Acl, sequential: bool) -> Result<String, Refusal>;
    fn set_data(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<(), Refusal>;
    fn set_acl(&self, path: &str, acl: &Acl, version: Option<i32>) -> Result<(), Refusal>;
    fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Refusal>;
    /// Sets or moves the plugin's timer of that name. It fires after `after_ms` milliseconds of ensemble time.
    fn set_timer(&self, name: &str, after_ms: u64) -> Result<(), Refusal>;
    fn cancel_timer(&self, name: &str);
}

/// The authenticators, as ACL checks need them: on the leader for writes, on the serving member for reads and events.
/// `session`: the session that caused the question. It is not part of the question. `fuel_max`: the fuel that the
/// answer may use. With 0 no authenticator is called.
pub(crate) trait Schemes: Send + Sync {
    /// Whether an authenticator proves identities of that scheme.
    fn proves(&self, scheme: &str) -> bool;
    /// Whether identity `held` satisfies the ACL id `wanted`. False if no plugin provides the scheme or that plugin
    /// failed. A refusal: the plugin cannot answer now.
    fn matches(&self, session: SessionId, fuel_max: u64, scheme: &str, held: &str, wanted: &str) -> Answered<bool>;
    /// What `matches` would answer without asking the plugin. None: it would have to ask.
    fn known(&self, scheme: &str, held: &str, wanted: &str) -> Option<bool>;
    /// Whether an ACL entry may have that id. None: no plugin provides the scheme.
    fn check_id(&self, session: SessionId, fuel_max: u64, scheme: &str, id: &str) -> Option<Answered<()>>;
}

/// `Schemes` as a part of `Rules`. The default has no schemes.
#[derive(Clone, Default)]
pub struct ProvenSchemes(Option<Arc<dyn Schemes>>);

impl ProvenSchemes {
    pub(crate) fn new(schemes: Arc<dyn Schemes>) -> ProvenSchemes {
        ProvenSchemes(Some(schemes))
    }

    pub(crate) fn get(&self) -> &dyn Schemes {
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

/// `Rules` are compared for their settings. The schemes are not a setting.
impl PartialEq for ProvenSchemes {
    fn eq(&self, _: &ProvenSchemes) -> bool {
        true
    }
}

/// No plugin at all: everything is allowed.
pub(crate) struct NoPlugins;

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
