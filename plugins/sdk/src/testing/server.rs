//! A recipe at its mount, and everything that can happen to a recipe except crashes of the server.

use super::tree::{State, Tree};
use crate::{
    AclEntry, Answer, Cause, Change, CreateRequest, DeleteRequest, NodeKind, Plugin, Recipe, Rejection, Request,
    SetDataRequest, Transaction, View, path,
};
use std::collections::BTreeMap;

/// The create modes of ZooKeeper clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// A node that stays.
    Persistent,
    /// A node that stays, with digits at the end of its name.
    PersistentSequential,
    /// A node that ends with its session.
    Ephemeral,
    /// A node that ends with its session, with digits at the end of its name.
    EphemeralSequential,
}

/// A server with one recipe. It panics if the recipe breaks the contract: a reply with a wrong path, a recovery that
/// does not end, or one that changes a mount in order. The grants are those of the manifest. Without the feature
/// `settings` the manifest is not read, and there is no limit.
pub struct Server<R> {
    /// The tree, for tests to read and to prepare.
    pub tree: Tree,
    /// Makes a new recipe for each call, as a server does with a plugin that is not pure.
    pub fresh: bool,
    /// The largest number of reads that one call has done so far.
    pub looks_max: u32,
    /// The largest number of writes that one call has done so far.
    pub writes_max: u32,
    mount: String,
    settings: String,
    recipe: R,
    /// How often each timer has failed in a row.
    failed: BTreeMap<String, u32>,
}

impl<R: Recipe + Plugin> Server<R> {
    /// Creates the mount, configures the recipe, and recovers the mount. Panics with the recipe's text if the recipe
    /// refuses the settings.
    pub fn new(mount: &str, settings: &str) -> Server<R> {
        let recipe = R::configure(mount, settings).unwrap_or_else(|refused| panic!("configure: {refused}"));
        let tree = Tree::new();
        tree.put(mount, "");
        tree.state().grants = granted(R::MANIFEST, mount);
        let (mount, settings) = (mount.into(), settings.into());
        let mut server = Server {
            tree,
            fresh: false,
            looks_max: 0,
            writes_max: 0,
            mount,
            settings,
            recipe,
            failed: BTreeMap::new(),
        };
        server.recover();
        server
    }

    /// Opens a session.
    pub fn connect(&mut self) -> u64 {
        let mut state = self.tree.state();
        let session = state.sessions.last().map_or(0x1_0000, |last| last + 1);
        state.sessions.insert(session);
        session
    }

    /// A client's create. Returns the path of the reply.
    pub fn create(
        &mut self,
        session: u64,
        path: &str,
        data: impl AsRef<[u8]>,
        mode: Mode,
    ) -> Result<String, Rejection> {
        self.one(session, create(session, path, data, mode))
    }

    /// A client's create of an ephemeral sequential node: how clients join most recipes.
    pub fn join(&mut self, session: u64, path: &str, data: impl AsRef<[u8]>) -> Result<String, Rejection> {
        self.create(session, path, data, Mode::EphemeralSequential)
    }

    /// A client's setData.
    pub fn set(&mut self, session: u64, path: &str, data: impl AsRef<[u8]>) -> Result<(), Rejection> {
        self.one(session, set(path, data)).map(drop)
    }

    /// A client's delete.
    pub fn delete(&mut self, session: u64, path: &str) -> Result<(), Rejection> {
        self.one(session, delete(path)).map(drop)
    }

    /// A client's multi. Returns the paths of the replies, or the one refusal.
    pub fn multi(&mut self, session: u64, requests: Vec<Request>) -> Result<Vec<String>, Rejection> {
        self.tree.begin(session);
        let saved = self.tree.state().clone();
        let mut replies = Vec::new();
        for request in requests {
            match self.answer(request) {
                Ok(path) => replies.push(path),
                Err(refused) => {
                    self.restore(saved);
                    return Err(refused);
                }
            }
        }
        Ok(replies)
    }

    /// A multi of the superuser. The recipe is told of its changes in `on_change`, and may refuse the multi.
    pub fn superuser(&mut self, session: u64, requests: Vec<Request>) -> Result<Vec<String>, Rejection> {
        self.tree.begin(session);
        let saved = self.tree.state().clone();
        let done = requests.into_iter().map(|request| self.carry_out(request)).collect();
        let done = match done {
            Ok(paths) => self.tell(Cause::Request).map(|()| paths),
            Err(refused) => Err(refused),
        };
        if done.is_err() {
            self.restore(saved);
        }
        done
    }

    /// Ends a session. If the recipe fails in that transaction, the mount is recovered.
    pub fn end(&mut self, session: u64, cause: Cause) {
        self.drop_session(session);
        let saved = self.tree.state().clone();
        if self.tell(cause).is_err() {
            self.restore(saved);
            self.recover();
        }
    }

    /// Ends a session while the recipe is switched off, and recovers the mount afterwards.
    pub fn end_unseen(&mut self, session: u64) {
        self.drop_session(session);
        self.recover();
    }

    /// Lets ensemble time pass. Timers that come due fire.
    pub fn pass(&mut self, ms: u64) {
        let until = self.tree.view().context().ensemble_ms + ms;
        loop {
            let next = self.tree.state().timers.iter().map(|(name, due)| (*due, name.clone())).min();
            let Some((due, name)) = next.filter(|(due, _)| *due <= until) else { break };
            self.tree.circumstances(|context| context.ensemble_ms = context.ensemble_ms.max(due));
            self.fire(&name);
        }
        self.tree.circumstances(|context| {
            context.ensemble_ms = until;
            context.wall_ms += ms;
        });
    }

    /// Removes the containers that had children and have none, as a server does about once a minute.
    pub fn collect(&mut self) {
        loop {
            let left = self.tree.state().left_containers();
            for path in &left {
                self.tree.begin(0);
                // The recipe may have created a child in the meantime.
                if self.tree.state().delete(path, None).is_ok() {
                    self.tell(Cause::Server).unwrap_or_else(|refused| panic!("collect {path}: {refused}"));
                }
            }
            if left.is_empty() {
                return;
            }
        }
    }

    /// A call over HTTP or from the command line.
    pub fn call(&mut self, method: &str, payload: &[u8]) -> Result<Vec<u8>, Rejection> {
        self.tree.begin(0);
        let saved = self.tree.state().clone();
        let answer = self.ask(|recipe, view, txn| recipe.on_call(view, txn, method, payload));
        if answer.is_err() {
            self.restore(saved);
        }
        answer
    }

    /// Recovers the mount and returns the number of writes that this took. Panics if the recovery does not end, or if a
    /// second recovery writes again.
    pub fn recover(&mut self) -> u32 {
        let written = self.recover_once();
        let again = self.recover_once();
        assert_eq!(again, 0, "recovery wrote where all was well:\n{}", self.tree.dump());
        written
    }

    fn recover_once(&mut self) -> u32 {
        let (mut after, mut written) = (None, 0);
        for _ in 0..100_000 {
            self.tree.begin(0);
            after = self
                .ask(|recipe, view, txn| recipe.recover(view, txn, after.take()))
                .unwrap_or_else(|refused| panic!("recover: {refused}"));
            written += self.tree.state().changes.len() as u32;
            if after.is_none() {
                return written;
            }
        }
        panic!("recovery does not end");
    }

    fn one(&mut self, session: u64, request: Request) -> Result<String, Rejection> {
        self.multi(session, vec![request]).map(|mut paths| paths.remove(0))
    }

    fn answer(&mut self, request: Request) -> Result<String, Rejection> {
        let asked = request.path().to_string();
        if path::below(&self.mount, &asked).is_none() {
            return self.carry_out(request);
        }
        match self.ask(|recipe, view, txn| recipe.handle(view, txn, request.clone()))? {
            Answer::Pass => self.carry_out(request),
            Answer::Done(path) => {
                let alike = path::parent(&path) == path::parent(&asked) && path.starts_with(&asked);
                let right = if matches!(request, Request::Create(_)) { alike } else { path == asked };
                assert!(right, "{path} is no reply to a request for {asked}");
                Ok(path)
            }
        }
    }

    fn carry_out(&mut self, request: Request) -> Result<String, Rejection> {
        let mut state = self.tree.state();
        let path = request.path().to_string();
        match request {
            Request::Create(asked) => state.create(&asked.path, &asked.data, asked.kind, &asked.acl, asked.sequential),
            Request::SetData(asked) => state.set_data(&asked.path, &asked.data, asked.version).map(|()| path),
            Request::SetAcl(asked) => state.set_acl(&asked.path, &asked.acl, asked.version).map(|()| path),
            Request::Delete(asked) => state.delete(&asked.path, asked.version).map(|()| path),
        }
    }

    /// Tells the recipe what has changed at its mount in this transaction.
    fn tell(&mut self, cause: Cause) -> Result<(), Rejection> {
        let at_mount = |change: &&Change| path::below(&self.mount, &change.path).is_some();
        let changes: Vec<Change> = self.tree.state().changes.iter().filter(at_mount).cloned().collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.ask(|recipe, view, txn| recipe.on_change(view, txn, cause, &changes))
    }

    fn fire(&mut self, name: &str) {
        self.tree.begin(0);
        let saved = self.tree.state().clone();
        self.tree.state().timers.remove(name);
        if self.ask(|recipe, view, txn| recipe.on_timer(view, txn, name)).is_ok() {
            self.failed.remove(name);
            return;
        }
        self.restore(saved);
        let failed = self.failed.entry(name.into()).or_default();
        let again_ms = (1000 << (*failed).min(6)).min(60_000);
        *failed += 1;
        let mut state = self.tree.state();
        let due = state.context.ensemble_ms + again_ms;
        state.timers.insert(name.into(), due);
    }

    fn drop_session(&mut self, session: u64) {
        self.tree.begin(session);
        let mut state = self.tree.state();
        state.sessions.remove(&session);
        let owned: Vec<String> = state.ephemerals(session, "/").cloned().collect();
        for path in owned {
            state.delete(&path, None).unwrap_or_else(|refused| panic!("end of a session: {refused}"));
        }
    }

    fn restore(&mut self, saved: State) {
        *self.tree.state() = saved;
    }

    fn ask<T>(&mut self, call: impl FnOnce(&R, &View, &Transaction) -> T) -> T {
        if self.fresh {
            self.recipe =
                R::configure(&self.mount, &self.settings).unwrap_or_else(|refused| panic!("configure: {refused}"));
        }
        {
            let mut state = self.tree.state();
            (state.looks, state.writes) = (0, 0);
        }
        let answer = call(&self.recipe, &self.tree.view(), &self.tree.transaction());
        let state = self.tree.state();
        self.looks_max = self.looks_max.max(state.looks);
        self.writes_max = self.writes_max.max(state.writes);
        drop(state);
        answer
    }
}

/// A create request, for [`Server::multi`].
pub fn create(session: u64, path: &str, data: impl AsRef<[u8]>, mode: Mode) -> Request {
    let ephemeral = matches!(mode, Mode::Ephemeral | Mode::EphemeralSequential);
    Request::Create(CreateRequest {
        path: path.into(),
        data: data.as_ref().into(),
        kind: if ephemeral { NodeKind::Ephemeral(session) } else { NodeKind::Persistent },
        sequential: matches!(mode, Mode::PersistentSequential | Mode::EphemeralSequential),
        acl: Vec::<AclEntry>::new(),
    })
}

/// A setData request, for [`Server::multi`].
pub fn set(path: &str, data: impl AsRef<[u8]>) -> Request {
    Request::SetData(SetDataRequest { path: path.into(), data: data.as_ref().into(), version: None })
}

/// A delete request, for [`Server::multi`].
pub fn delete(path: &str) -> Request {
    Request::Delete(DeleteRequest { path: path.into(), version: None })
}

#[cfg(feature = "settings")]
fn granted(manifest: &str, mount: &str) -> Option<Vec<(String, Vec<String>)>> {
    let manifest: serde_json::Value = serde_json::from_str(manifest).expect("the manifest is JSON");
    let grants = manifest["grants"].as_array().expect("the manifest has a list of grants");
    let text = |value: &serde_json::Value| value.as_str().expect("paths and verbs of grants are texts").to_string();
    let grant = |grant: &serde_json::Value| {
        let verbs = grant["verbs"].as_array().expect("a grant has verbs");
        (text(&grant["path"]).replace("$mount", mount), verbs.iter().map(text).collect())
    };
    Some(grants.iter().map(grant).collect())
}

#[cfg(not(feature = "settings"))]
fn granted(_manifest: &str, _mount: &str) -> Option<Vec<(String, Vec<String>)>> {
    None
}
