//! The transaction in the making. Each change enters the view at once, so that the next operation of a multi sees it.

use crate::limits;
use crate::model::txn::{Change, Made, Slot};
use crate::model::{Acl, ErrorCode, Identity, Owner, Refusal, SessionId, Zxid, acl, path};
use crate::pipeline::authorize::Who;
use crate::pipeline::overlay::{self, NodeRecord, Overlay};
use crate::pipeline::view::{Seen, View};
use crate::pipeline::{Call, Caller, Fuel, Moment, Plugins, Recipe, Rules, Verb, authorize};
use crate::state::quota::{Excess, Used};
use crate::state::{Session, State};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) struct Draft<'a> {
    pub(crate) state: &'a State,
    pub(crate) overlay: &'a mut Overlay,
    pub(crate) rules: &'a Rules,
    /// None: the server itself, which passes every ACL.
    pub(crate) caller: Option<&'a Caller>,
    /// The request's number. 0: there is no request.
    pub(crate) xid: i32,
    pub(crate) zxid: Zxid,
    pub(crate) moment: Moment,
    /// A reconfig is under way.
    pub(crate) reconfiguring: bool,
    /// The number of the member that evaluates.
    pub(crate) member: u32,
    /// The transaction's changes so far, in order. All of them are laid over the view.
    pub(crate) changes: Vec<Change>,
    /// Bytes of the changes so far.
    ///
    /// Invariant: the sum of `Change::weight` over `changes`.
    pub(crate) weight: usize,
    pub(crate) parts: Parts,
    pub(crate) lists: Lists,
}

/// Remembers what long ACLs allow the caller. The caller is the same throughout the transaction, and a multi may meet
/// one ACL a thousand times. The key is the ACL's address in memory and the permissions asked for. The entry holds the
/// ACL, so no other ACL gets that address.
#[derive(Default)]
pub(crate) struct Lists(RefCell<BTreeMap<(usize, i32), (Acl, bool)>>);

impl Lists {
    fn require(&self, list: &Acl, permissions: i32, ask: impl FnOnce() -> Result<(), Refusal>) -> Result<(), Refusal> {
        if list.len() < limits::ACL_KEPT_ENTRIES_MIN {
            return ask();
        }
        let key = (list.as_ptr().addr(), permissions);
        if let Some((_, allowed)) = self.0.borrow().get(&key) {
            return if *allowed { Ok(()) } else { Err(ErrorCode::NoAuth.into()) };
        }
        let said = ask();
        if said.as_ref().err().is_none_or(|refusal| refusal.code == ErrorCode::NoAuth) {
            self.0.borrow_mut().insert(key, (list.clone(), said.is_ok()));
        }
        said
    }
}

/// The plugins' parts in a transaction: which plugin made which change, and what all plugins together have used.
#[derive(Default)]
pub(crate) struct Parts {
    /// The plugins of which at least one call was not rolled back, in the order of their first calls.
    made_by: Vec<Made>,
    /// Who made which changes. (from, Some(author)): from the change with index `from` on, `made_by[author]` made them.
    /// (from, None): from there on the request itself made them.
    ///
    /// Invariant: in order of `from`; no `from` is beyond the transaction's changes; each author stands in `made_by`.
    runs: Vec<(usize, Option<usize>)>,
    /// Operations of all calls, including calls that were rolled back.
    operations: usize,
    /// Bytes of those operations.
    bytes: usize,
    pub(crate) fuel: Fuel,
}

/// A point to which the transaction can be rolled back.
#[derive(Clone, Copy)]
pub(crate) struct Savepoint {
    overlay: overlay::Savepoint,
    changes: usize,
    made_by: usize,
    runs: usize,
}

/// What `Draft::put` does to the data of a node that exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Set,
}

impl Parts {
    pub(crate) fn is_empty(&self) -> bool {
        self.made_by.is_empty()
    }

    /// Notes the plugin whose request this is: a controller. The request's changes still count as the request's own.
    pub(crate) fn note_maker(&mut self, plugin: &str, version: u32, fuel: u64) {
        self.made_by.push(Made { plugin: plugin.into(), version, fuel });
    }

    pub(crate) fn into_made_by(self) -> Vec<Made> {
        self.made_by
    }

    /// Names of the plugins that have a part in the transaction so far.
    pub(crate) fn writers(&self) -> Vec<Arc<str>> {
        self.made_by.iter().map(|made| made.plugin.clone()).collect()
    }

    /// The plugin that made the change with that index. None: the request itself made it.
    pub(crate) fn author(&self, change: usize) -> Option<&Arc<str>> {
        let run = self.runs.partition_point(|(from, _)| *from <= change).checked_sub(1)?;
        self.made_by.get(self.runs.get(run)?.1?).map(|made| &made.plugin)
    }

    /// Counts one more operation of a plugin. QUOTAEXCEEDED if plugins would do too much in one transaction.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.operations += 1;
        self.bytes += bytes;
        if self.operations > limits::PLUGIN_TXN_OPERATIONS_MAX || self.bytes > limits::PLUGIN_TXN_BYTES_MAX {
            let text = format!(
                "plugins change one transaction in at most {} operations and {} bytes",
                limits::PLUGIN_TXN_OPERATIONS_MAX,
                limits::PLUGIN_TXN_BYTES_MAX
            );
            return Err(Refusal::new(ErrorCode::QuotaExceeded, text));
        }
        Ok(())
    }
}

impl Draft<'_> {
    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint {
            overlay: self.overlay.savepoint(),
            changes: self.changes.len(),
            made_by: self.parts.made_by.len(),
            runs: self.parts.runs.len(),
        }
    }

    /// Undoes all changes since `savepoint`. The fuel, operations and bytes that they cost stay spent.
    pub(crate) fn rollback(&mut self, savepoint: Savepoint) {
        let Savepoint { changes, made_by, runs, .. } = savepoint;
        assert!(changes <= self.changes.len(), "{}: a savepoint's changes are a beginning of these", self.zxid);
        assert!(made_by <= self.parts.made_by.len(), "{}: a savepoint's plugins are a beginning of these", self.zxid);
        assert!(runs <= self.parts.runs.len(), "{}: a savepoint's runs are a beginning of these", self.zxid);
        self.overlay.rollback(savepoint.overlay);
        let undone: usize = self.changes.drain(savepoint.changes..).map(|change| change.weight()).sum();
        assert!(undone <= self.weight, "{}: all changes are weighed", self.zxid);
        self.weight -= undone;
        self.parts.made_by.truncate(savepoint.made_by);
        self.parts.runs.truncate(savepoint.runs);
        self.check_last_run();
    }

    /// Checks the invariant of `Parts::runs` for the last run, after the runs or what they refer to have changed.
    fn check_last_run(&self) {
        let runs = &self.parts.runs;
        let Some(&(from, author)) = runs.last() else { return };
        assert!(from <= self.changes.len(), "{}: a run begins beyond the last change", self.zxid);
        assert!(author.is_none_or(|author| author < self.parts.made_by.len()), "{}: a run has no author", self.zxid);
        let before = runs.len().checked_sub(2).and_then(|at| runs.get(at));
        assert!(before.is_none_or(|(before, _)| *before <= from), "{}: the runs are out of order", self.zxid);
    }

    /// Attributes the changes from here on to that recipe.
    pub(crate) fn begin_part(&mut self, recipe: &Recipe) {
        let made_by = &mut self.parts.made_by;
        let known = made_by.iter().position(|made| made.plugin == recipe.name);
        let author = known.unwrap_or_else(|| {
            made_by.push(Made { plugin: recipe.name.clone(), version: recipe.version, fuel: 0 });
            made_by.len() - 1
        });
        self.parts.runs.push((self.changes.len(), Some(author)));
        self.check_last_run();
    }

    /// Attributes the changes from here on to the request again. `fuel`: what the recipe's call used. `Fuel::settle`
    /// takes it off the transaction's budget.
    pub(crate) fn end_part(&mut self, recipe: &Recipe, fuel: u64) {
        let made = self.parts.made_by.iter_mut().find(|made| made.plugin == recipe.name);
        let made = made.expect("begin_part has noted the recipe");
        made.fuel = made.fuel.saturating_add(fuel);
        self.parts.runs.push((self.changes.len(), None));
        self.check_last_run();
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { state: self.state, overlay: self.overlay }
    }

    pub(crate) fn node(&self, path: &str) -> Option<Seen<'_>> {
        self.view().node(path)
    }

    /// The identities that the caller has proven. Empty if the caller is the server itself.
    pub(crate) fn identities(&self) -> &[Identity] {
        self.caller.map_or(&[], |caller| &caller.identities)
    }

    /// Refuses the request unless the ACL gives the caller that permission.
    pub(crate) fn require(&self, list: &Acl, permission: i32) -> Result<(), Refusal> {
        let Some(caller) = self.caller else { return Ok(()) };
        let ask = || authorize::require(self.rules, list, permission, caller.who(), &self.parts.fuel);
        self.lists.require(list, permission, ask)
    }

    /// Refuses the request if `path` belongs to the control plane and the caller may not deploy plugins.
    pub(crate) fn require_deployer(&self, path: &str) -> Result<(), Refusal> {
        match self.caller {
            Some(caller)
                if authorize::is_control_plane(path) && !authorize::may_deploy(self.rules, &caller.identities) =>
            {
                Err(authorize::deploy_refusal(path))
            }
            _ => Ok(()),
        }
    }

    /// Refuses the request if a policy that matches `path` does not let the caller do `verb` there. Call this after the
    /// ACL has allowed the request.
    pub(crate) fn permit(&self, plugins: &mut dyn Plugins, verb: Verb, path: &str) -> Result<(), Refusal> {
        if self.caller.is_none() {
            return Ok(());
        }
        let view = self.view();
        let looking = Call::looking(&view, self.caller, self.xid, self.zxid, self.moment);
        let fuel = &self.parts.fuel;
        let call = Call { fuel_max: fuel.left_to_judge(), fuel_left: fuel.left(), ..looking };
        self.parts.fuel.settle(plugins.authorize(&call, verb, path))
    }

    /// The ACL as it will be stored (`authorize::fix_acl`).
    pub(crate) fn fix_acl(&self, list: Option<&[acl::AclEntry]>) -> Result<Acl, Refusal> {
        authorize::fix_acl(self.rules, self.caller.map_or(Who::NOBODY, Caller::who), list, &self.parts.fuel)
    }

    /// QUOTAEXCEEDED if a hard quota forbids `count` more nodes or `bytes` more bytes at `path`. The limits are those
    /// of the applied tree, as in ZooKeeper. The usage includes the outstanding changes.
    pub(crate) fn check_quota(&self, path: &str, count: i64, bytes: i64) -> Result<(), ErrorCode> {
        if !self.rules.enforce_quota {
            return Ok(());
        }
        let Some(mut quota) = self.state.quota_for(path) else { return Ok(()) };
        let outstanding = self.overlay.usage(quota.path);
        quota.used.count += outstanding.count;
        quota.used.bytes += outstanding.bytes;
        match quota.check(count, bytes) {
            Some(Excess::Hard) => Err(ErrorCode::QuotaExceeded),
            Some(Excess::Soft) | None => Ok(()),
        }
    }

    /// As `check_quota`, for what a plugin does. The number of nodes counts only if the transaction leaves more nodes
    /// than there were before; the same holds for bytes. Otherwise a lock could neither be released nor handed over
    /// once somebody has set a limit below the present usage. A client's own write is judged as in ZooKeeper.
    pub(crate) fn check_plugins_quota(&self, path: &str, count: i64, bytes: i64) -> Result<(), ErrorCode> {
        let Some(quota) = self.state.quota_for(path).filter(|_| self.rules.enforce_quota) else { return Ok(()) };
        let made = self.overlay.usage_made(quota.path);
        let growing = |made: i64, more: i64| if made + more > 0 { more } else { 0 };
        self.check_quota(path, growing(made.count, count), growing(made.bytes, bytes))
    }

    /// Creates a node. The path must be complete and free, and the parent must exist.
    pub(crate) fn create(&mut self, path: Arc<str>, data: Option<Bytes>, acl: Acl, owner: Owner) -> Slot {
        let parent_path = path::parent(&path).expect("the root exists");
        let mut parent = self.node(parent_path).expect("its parent was looked up").to_record();
        parent.child_created(self.zxid);
        let parent_cversion = parent.cversion;
        let parent_path: Arc<str> = Arc::from(parent_path);
        self.overlay.lay_node(self.zxid, parent_path.clone(), Some(parent));
        self.overlay.lay_child(self.zxid, parent_path, path.clone());

        let record = NodeRecord::new(self.zxid, self.moment.wall_ms, data.clone(), acl.clone(), owner);
        self.use_quota(&path, 1, i64::from(record.stat.data_length));
        self.overlay.lay_node(self.zxid, path.clone(), Some(record));
        if owner.is_ephemeral() {
            self.overlay.lay_ephemeral(self.zxid, SessionId(owner.0), path.clone(), true);
        }
        self.push(Change::Create { path, data, acl, owner, parent_cversion })
    }

    /// Deletes a node. The node must exist and have no children.
    pub(crate) fn delete(&mut self, path: Arc<str>) {
        let node = self.node(&path).expect("it was looked up");
        let owner = node.owner();
        let bytes = node.data_length();
        let parent_path = path::parent(&path).expect("the root is never deleted");
        let mut parent = self.node(parent_path).expect("a node has a parent").to_record();
        parent.child_deleted(self.zxid);
        let parent_path: Arc<str> = Arc::from(parent_path);
        self.overlay.lay_node(self.zxid, parent_path.clone(), Some(parent));
        self.overlay.lay_child(self.zxid, parent_path, path.clone());
        self.overlay.lay_node(self.zxid, path.clone(), None);
        if owner.is_ephemeral() {
            self.overlay.lay_ephemeral(self.zxid, SessionId(owner.0), path.clone(), false);
        }
        self.use_quota(&path, -1, -bytes);
        self.push(Change::Delete { path });
    }

    /// Sets the node's data. `record`: the node before. `version`: the node's version after.
    pub(crate) fn set_data(
        &mut self,
        path: Arc<str>,
        mut record: NodeRecord,
        data: Option<Bytes>,
        version: i32,
    ) -> Slot {
        let bytes = i64::from(record.stat.data_length);
        record.set_data(self.zxid, self.moment.wall_ms, data.clone(), version);
        self.use_quota(&path, 0, i64::from(record.stat.data_length) - bytes);
        self.overlay.lay_node(self.zxid, path.clone(), Some(record));
        self.push(Change::SetData { path, data, version })
    }

    /// Sets the node's ACL. `record`: the node before. `aversion`: the node's aversion after.
    pub(crate) fn set_acl(&mut self, path: Arc<str>, mut record: NodeRecord, acl: Acl, aversion: i32) -> Slot {
        record.acl = acl.clone();
        record.stat.aversion = aversion;
        self.overlay.lay_node(self.zxid, path.clone(), Some(record));
        self.push(Change::SetAcl { path, acl, aversion })
    }

    /// Makes sure that the server's own node at `path` exists and has that data. The node gets its parent's ACL, so
    /// that a client that may delete the plugin may also delete what the server keeps about the plugin. Nothing happens
    /// if the parent is missing: then the plugin has been removed. Nothing happens either if the parent is ephemeral:
    /// an ephemeral node has no children.
    pub(crate) fn put(&mut self, path: &str, data: Bytes, existing: Existing) {
        if let Some(node) = self.node(path) {
            if existing == Existing::Set {
                let (record, version) = (node.to_record(), node.version().wrapping_add(1));
                self.set_data(Arc::from(path), record, Some(data), version);
            }
        } else if let Some(parent) = path::parent(path).and_then(|parent| self.node(parent))
            && !parent.owner().is_ephemeral()
        {
            let acl = parent.acl().clone();
            self.create(Arc::from(path), Some(data), acl, Owner::PERSISTENT);
        }
    }

    /// Lays the session over the view. None: the session is closed.
    pub(crate) fn lay_session(&mut self, id: SessionId, session: Option<Session>) {
        self.overlay.lay_session(self.zxid, id, session);
    }

    /// Adds a change that is already laid over the view. Returns the slot that speaks of the change.
    pub(crate) fn push(&mut self, change: Change) -> Slot {
        // A request is at most a frame, and each change takes at least one byte of it. A session's ephemeral nodes fit
        // into memory. Both are far below 2^32.
        let index = u32::try_from(self.changes.len()).expect("a transaction has fewer than 2^32 changes");
        self.weight += change.weight();
        self.changes.push(change);
        Slot::Change(index)
    }

    /// BADARGUMENTS if the transaction has become too large (`limits::TXN_BYTES_MAX`). Asked after each operation, so
    /// that a transaction in the making exceeds the bound by one operation at most.
    pub(crate) fn require_weight(&self) -> Result<(), Refusal> {
        if self.weight <= limits::TXN_BYTES_MAX {
            return Ok(());
        }
        let text = format!("the transaction has {} bytes, and may have {}", self.weight, limits::TXN_BYTES_MAX);
        Err(Refusal::new(ErrorCode::BadArguments, text))
    }

    fn use_quota(&mut self, path: &str, count: i64, bytes: i64) {
        if !self.rules.enforce_quota || (count == 0 && bytes == 0) {
            return;
        }
        if let Some(quota) = self.state.quota_for(path) {
            self.overlay.lay_usage(self.zxid, quota.path, Used { count, bytes });
        }
    }
}

/// The parent's path, as creations and deletions take it (validatePathForCreate, getParentPathAndValidate). Nothing
/// else of the path is checked before the parent is looked up.
pub(crate) fn parent_of(path: &str) -> Result<&str, ErrorCode> {
    match path.rfind('/') {
        Some(_) if path.contains('\0') => Err(ErrorCode::BadArguments),
        None => Err(ErrorCode::BadArguments),
        Some(0) => Ok("/"),
        Some(at) => Ok(&path[..at]),
    }
}

/// The version after `current`. BADVERSION unless `expected` is `current` or -1, which is any.
pub(crate) fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected == -1 || expected == current { Ok(current.wrapping_add(1)) } else { Err(ErrorCode::BadVersion) }
}

/// The path, if it follows ZooKeeper's rules. A null does not.
pub(crate) fn valid_path(path: Option<&str>) -> Result<&str, ErrorCode> {
    match path {
        Some(path) if path::validate(path).is_ok() => Ok(path),
        _ => Err(ErrorCode::BadArguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::txn::{Outcome, Txn};
    use crate::model::{ConnectionId, Password};
    use crate::state::Effects;

    fn draft<'a>(state: &'a State, overlay: &'a mut Overlay, rules: &'a Rules) -> Draft<'a> {
        Draft {
            state,
            overlay,
            rules,
            caller: None,
            xid: 0,
            zxid: state.last_zxid().next(),
            moment: Moment { wall_ms: 1, ensemble_ms: 1, seed: 0 },
            reconfiguring: false,
            member: 1,
            changes: Vec::new(),
            weight: 0,
            parts: Parts::default(),
            lists: Lists::default(),
        }
    }

    fn create(path: &str, owner: Owner, parent_cversion: i32) -> Change {
        Change::Create { path: path.into(), data: None, acl: acl::open_unsafe(), owner, parent_cversion }
    }

    /// A child of an ephemeral node would make it impossible to apply the end of the node's session: every replica
    /// would have to delete a node that has children.
    #[test]
    fn the_server_creates_nothing_below_an_ephemeral_node() {
        let session = SessionId(7);
        let mut state = State::new(1);
        let owner = ConnectionId { member: 1, run: 1, number: 1 };
        let changes = vec![
            Change::OpenSession { session, timeout_ms: 1000, password: Password([1; 16]), owner },
            create("/persistent", Owner::PERSISTENT, 1),
            create("/ephemeral", Owner::session(session), 2),
        ];
        let outcome = Outcome::Done(vec![Slot::Nothing]);
        let (zxid, made_by) = (Zxid(1), Vec::new());
        let txn = Txn { zxid, wall_ms: 0, ensemble_ms: 0, origin: None, outcome, changes, made_by };
        state.apply(&txn, &mut Effects::default());
        let (mut overlay, rules) = (Overlay::default(), Rules::default());
        let mut draft = draft(&state, &mut overlay, &rules);
        draft.put("/ephemeral/owed", Bytes::new(), Existing::Set);
        draft.put("/missing/owed", Bytes::new(), Existing::Set);
        assert!(draft.changes.is_empty(), "{:?}", draft.changes);
        draft.put("/persistent/owed", Bytes::new(), Existing::Set);
        assert_eq!(draft.changes.len(), 1);
    }

    #[test]
    fn a_rollback_undoes_changes_and_their_authors_but_not_what_they_cost() {
        let state = State::new(1);
        let (mut overlay, rules) = (Overlay::default(), Rules::default());
        let mut draft = draft(&state, &mut overlay, &rules);
        let recipe = Recipe { name: "r".into(), mount: "/".into(), version: 1 };
        let put = |draft: &mut Draft<'_>, path: &str| draft.put(path, Bytes::new(), Existing::Set);
        put(&mut draft, "/request");
        draft.begin_part(&recipe);
        put(&mut draft, "/kept");
        draft.end_part(&recipe, 5);
        let savepoint = draft.savepoint();
        draft.begin_part(&recipe);
        put(&mut draft, "/undone");
        assert!(draft.parts.charge(9).is_ok());
        draft.end_part(&recipe, 5);
        draft.rollback(savepoint);
        put(&mut draft, "/late");
        let authors: Vec<_> = (0..draft.changes.len()).map(|at| draft.parts.author(at).map(|name| &**name)).collect();
        assert_eq!(authors, [None, Some("r"), None]);
        assert!(draft.node("/undone").is_none() && draft.node("/kept").is_some());
        assert_eq!((draft.parts.operations, draft.parts.bytes), (1, 9));
        draft.overlay.check_all();
    }
}
