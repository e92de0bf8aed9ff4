//! The one order of all transactions, as the members applied them, and the tree at each zxid.
//!
//! The ledger records a transaction when the first member applies it. Every other member must apply the same
//! transaction to the same state, with the same digest. So the ledger finds a fork, a reused zxid and a diverging state
//! at once. Clients check their replies against the ledger: a read against the tree at the reply's zxid, and a write
//! against the transaction at that zxid.
//!
//! The ledger trusts the order in which the members applied the transactions, and nothing else. `linear` does not trust
//! even that order.

use crate::bundled::{FRAIL, Plugin, WEAK};
use crate::coverage::{Situation, met};
use crate::net::Machine;
use crate::places::{FRAIL_POLICED, GUARDED, WEAK_GUARDED};
use crate::policy;
use crate::recipes::Recipes;
use crate::trace::{breach, note, now_us, say};
use bytes::Bytes;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;
use wasmkeeper::model::path::is_within;
use wasmkeeper::model::txn::{Batch, Change, Outcome, Txn};
use wasmkeeper::model::{ConnectionId, ErrorCode, Zxid};
use wasmkeeper::pipeline::Verb;
use wasmkeeper::plugin::PLUGINS;
use wasmkeeper::plugin::manifest::{self, Manifest, Mode};
use wasmkeeper::plugin::registry::Registry;
use wasmkeeper::storage::LogPosition;

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::new(Ledger::new());
}

/// Calls `ask` with the run's ledger. Panics if `ask` calls this function again.
pub(crate) fn ledger<T>(ask: impl FnOnce(&mut Ledger) -> T) -> T {
    LEDGER.with_borrow_mut(ask)
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// Every transaction, by its zxid.
    transactions: BTreeMap<u64, Recorded>,
    last: u64,
    /// Every path that ever existed, with all versions of its znode.
    nodes: BTreeMap<String, Vec<NodeVersion>>,
    sessions: BTreeMap<i64, Session>,
    /// The zxid that each member has applied. A member that is down has no entry.
    members: BTreeMap<Machine, u64>,
    wall_ms: i64,
    ensemble_ms: u64,
    pub(crate) pauses: Vec<Pause>,
    /// The leader of each term, and the simulated microsecond at which it began to evaluate requests.
    pub(crate) leaders: BTreeMap<u64, (Machine, u64)>,
    /// How many microseconds early a session may expire: the delay with which a leader learns what followers have
    /// heard.
    pub(crate) expiry_slack_us: u64,
    /// Whether there are followers, which report their clients' signs of life to the leader.
    pub(crate) followers_report: bool,
    recipes: Recipes,
    /// The plugins in force, with the zxid from which they are in force.
    in_force: Vec<(u64, InForce)>,
    /// The plugins by which each proposed transaction was judged, until a member applies the transaction.
    judged: BTreeMap<u64, InForce>,
    /// Zxids of transactions that may have changed the policy's verdicts.
    policy_changes: Vec<u64>,
    /// One situation for each unanswered request of an operator. If leadership changes, the run has met these
    /// situations.
    pub(crate) awaited: Vec<Situation>,
}

/// Plugins in the order of their keys.
type InForce = Rc<Vec<Binding>>;

/// A plugin in force. All members must agree on these fields.
#[derive(Clone, PartialEq, Debug)]
struct Binding {
    /// The plugin's name. A version on trial has `/canary` appended.
    key: String,
    /// The mzxid of the manifest.
    mzxid: u64,
    /// Paths at which a version on trial is asked in place of this version.
    set_apart: Vec<String>,
    is_quarantined: bool,
}

/// Error codes of a request whose session has moved to another connection or has ended. Such a request counts as never
/// received.
pub(crate) const SESSION_LOST: [ErrorCode; 2] = [ErrorCode::SessionMoved, ErrorCode::SessionExpired];

/// The znode that lists the members of the ensemble.
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// A transaction, the zxid of the state before it, and the digest of the state after it.
pub(crate) struct Recorded {
    pub(crate) txn: Txn,
    before: u64,
    digest: u64,
}

/// A time in which a member's process was stopped.
pub(crate) struct Pause {
    pub(crate) machine: Machine,
    pub(crate) from_us: u64,
    pub(crate) to_us: u64,
}

/// A znode from one zxid on. `None`: the znode does not exist.
struct NodeVersion {
    zxid: u64,
    node: Option<Node>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) data: Option<Bytes>,
    pub(crate) version: i32,
    pub(crate) czxid: u64,
    pub(crate) mzxid: u64,
    /// The session that owns an ephemeral znode, or 0.
    pub(crate) owner: i64,
}

/// A session as the ensemble knows it.
struct Session {
    opened_us: u64,
    timeout_us: u64,
    owner: ConnectionId,
    /// The number of the client that owns the session, once that client has received the session's number.
    client: Option<u32>,
    /// When the client sent the newest request that has been answered.
    heard_us: u64,
    ended: Option<u64>,
    /// Requests in the order in which they took effect.
    requests: Vec<Request>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) xid: i32,
    pub(crate) zxid: u64,
}

/// The state that a watch waits to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watched {
    /// The data of a znode: getData, or exists on a znode that exists.
    Data,
    /// The absence of a znode: exists on a znode that does not exist.
    Absence,
    Children,
}

impl policy::Trees for Ledger {
    fn manifest(&self, plugin: &str, zxid: u64) -> Option<Manifest> {
        self.manifest(plugin, zxid)
    }

    fn data(&self, path: &str, zxid: u64) -> Option<&[u8]> {
        self.node(path, zxid)?.data.as_deref()
    }
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        let mut ledger = Ledger::default();
        // The znodes of an empty tree.
        for path in ["/", "/zookeeper", "/zookeeper/quota", CONFIG] {
            let node = Node { data: None, version: 0, czxid: 0, mzxid: 0, owner: 0 };
            ledger.nodes.insert(path.to_owned(), vec![NodeVersion { zxid: 0, node: Some(node) }]);
        }
        ledger
    }

    /// `machine` has loaded a state from its disk or from a peer.
    pub(crate) fn loaded(&mut self, machine: Machine, zxid: Zxid, digest: u64) {
        note(&[10, machine.into(), zxid.0, digest]);
        if zxid.0 != 0 {
            match self.transactions.get(&zxid.0) {
                None => breach(format!("member {machine} loads a state of {zxid:?}, which no member has applied")),
                Some(known) if known.digest != digest => {
                    breach(format!(
                        "member {machine} loads a state of {zxid:?} with another digest than the recorded one"
                    ));
                }
                Some(_) => {}
            }
        }
        self.members.insert(machine, zxid.0);
    }

    /// `machine` begins to evaluate requests as the leader of `term`.
    pub(crate) fn leads(&mut self, machine: Machine, term: u64, now_us: u64) {
        if self.leader().is_some_and(|before| before != machine) {
            met(Situation::LeaderChange);
        }
        let (leader, _) = *self.leaders.entry(term).or_insert((machine, now_us));
        if leader != machine {
            breach(format!("members {leader} and {machine} both lead in term {term}"));
        }
    }

    pub(crate) fn stopped(&mut self, machine: Machine) {
        self.members.remove(&machine);
    }

    /// The zxid that `machine` has applied, or `None` if it is down.
    pub(crate) fn applied_by(&self, machine: Machine) -> Option<u64> {
        self.members.get(&machine).copied()
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn transaction(&self, zxid: u64) -> Option<&Txn> {
        self.transactions.get(&zxid).map(|recorded| &recorded.txn)
    }

    /// `machine` has applied `txn`, which is part of `batch`, to the state of `before`.
    pub(crate) fn applied(
        &mut self,
        machine: Machine,
        at: LogPosition,
        batch: &Batch,
        txn: &Txn,
        before: Zxid,
        digest: u64,
    ) {
        let zxid = txn.zxid.0;
        note(&[11, machine.into(), at.index, zxid, digest]);
        if batch.term != at.term {
            breach(format!("member {machine} applies an entry of term {} that was made in {}", at.term, batch.term));
        }
        let first = batch.txns.first().is_some_and(|first| first.zxid == txn.zxid);
        if first && batch.prev != before {
            breach(format!("member {machine} applies {:?} on {before:?}; made for {:?}", txn.zxid, batch.prev));
        }
        if self.members.insert(machine, zxid) != Some(before.0) {
            breach(format!("member {machine} applies {:?} on {before:?}, which is not its last zxid", txn.zxid));
        }
        match self.transactions.get(&zxid) {
            Some(known) => {
                say(format!("m{machine}"), || format!("applies {} too", txn.zxid));
                if known.before != before.0 {
                    let known = known.before;
                    breach(format!(
                        "member {machine} applies {:?} on {before:?}, others on {:?}",
                        txn.zxid,
                        Zxid(known)
                    ));
                } else if known.txn != *txn {
                    breach(format!("{:?} is used twice: {:?} and {txn:?}", txn.zxid, known.txn));
                } else if known.digest != digest {
                    breach(format!("member {machine} has another state than others at {:?}", txn.zxid));
                }
            }
            None if before.0 != self.last => {
                breach(format!(
                    "member {machine} applies {:?} on {before:?}, but {:?} has been applied after that: a committed \
                     transaction is lost",
                    txn.zxid,
                    Zxid(self.last)
                ));
            }
            None => {
                say(format!("m{machine}"), || format!("applies {} {}", txn.zxid, Shown(txn)));
                self.record(at, txn, before, digest);
            }
        }
    }

    fn record(&mut self, at: LogPosition, txn: &Txn, before: Zxid, digest: u64) {
        let zxid = txn.zxid.0;
        let falls = txn.wall_ms < self.wall_ms && !txn.changes.contains(&Change::SetBackClock);
        if zxid <= before.0 || falls || txn.ensemble_ms < self.ensemble_ms {
            breach(format!("{:?} goes back in time", txn.zxid));
        }
        (self.wall_ms, self.ensemble_ms) = (txn.wall_ms, txn.ensemble_ms);
        self.last = zxid;
        let is_done = matches!(txn.outcome, Outcome::Done(_));
        // A reconfig writes the configuration after the members have changed. So the write must happen even if the
        // session of the request has moved or ended meanwhile.
        let configures = |change: &Change| matches!(change, Change::SetData { path, .. } if &**path == CONFIG);
        if let Some(origin) = txn.origin.filter(|_| !txn.changes.iter().any(configures)) {
            let moves = |change: &Change| matches!(change, Change::OpenSession { .. } | Change::AttachSession { .. });
            let session = self.sessions.get_mut(&origin.session.0);
            if !txn.changes.iter().any(moves)
                && is_done
                && session.as_ref().is_none_or(|session| session.owner != origin.connection || session.ended.is_some())
            {
                breach(format!(
                    "the request of {} takes effect, although its connection does not own the session: {}",
                    txn.zxid,
                    Shown(txn)
                ));
            }
            // The handshake has no xid.
            let is_session_lost =
                matches!(&txn.outcome, Outcome::Refused(refusal) if SESSION_LOST.contains(&refusal.code));
            if let Some(session) = session.filter(|_| origin.xid > 0 && !is_session_lost) {
                if session.requests.last().is_some_and(|last| last.xid >= origin.xid) {
                    breach(format!("requests of session {} take effect out of order: {}", origin.session, Shown(txn)));
                }
                session.requests.push(Request { xid: origin.xid, zxid });
            }
        }
        if !is_done && !txn.changes.is_empty() {
            breach(format!("a refused request changes something: {}", Shown(txn)));
        }
        self.check_judges(txn, before.0);
        self.check_policy(txn, before.0);
        self.check_quarantine(txn, before.0);
        for change in &txn.changes {
            self.change(at, zxid, txn, change);
            self.recipes.change(change);
        }
        if txn.changes.iter().any(binds) {
            self.note_plugins(zxid);
        }
        if txn.changes.iter().any(|change| touched(change).is_some_and(policy::decides)) {
            self.policy_changes.push(zxid);
        }
        let nodes = &self.nodes;
        self.recipes.settle(txn, |plugin| {
            let owed = nodes.get(&owed_path(plugin)).and_then(|versions| versions.last());
            owed.is_some_and(|owed| owed.node.is_some())
        });
        self.transactions.insert(zxid, Recorded { txn: txn.clone(), before: before.0, digest });
    }

    fn change(&mut self, at: LogPosition, zxid: u64, txn: &Txn, change: &Change) {
        match change {
            Change::Create { path, data, owner, .. } => {
                let owner = owner.visible();
                if self.node(path, zxid).is_some() {
                    breach(format!("{path} is created twice: {}", Shown(txn)));
                }
                if owner != 0 && self.sessions.get(&owner).is_none_or(|session| session.ended.is_some()) {
                    breach(format!("{path} belongs to a session that is not open: {}", Shown(txn)));
                }
                let node = Node { data: data.clone(), version: 0, czxid: zxid, mzxid: zxid, owner };
                self.put(path, zxid, Some(node));
            }
            Change::SetData { path, data, version } => match self.node(path, zxid).cloned() {
                // ZooKeeper's configuration node does not count its versions.
                Some(node) if node.version + 1 == *version || (&**path == CONFIG && *version == -1) => {
                    self.put(path, zxid, Some(Node { data: data.clone(), version: *version, mzxid: zxid, ..node }));
                }
                node => breach(format!("{path} is {node:?} and gets version {version}: {}", Shown(txn))),
            },
            Change::Delete { path } => {
                let ends = |change: &Change| matches!(change, Change::CloseSession { .. });
                match self.node(path, zxid) {
                    None => breach(format!("{path} is deleted and does not exist: {}", Shown(txn))),
                    // A recipe may delete an ephemeral znode of its mount, such as a claim that is held too long.
                    Some(node)
                        if node.owner != 0
                            && txn.origin.is_none()
                            && txn.made_by.is_empty()
                            && !txn.changes.iter().any(ends) =>
                    {
                        breach(format!("an ephemeral znode is deleted before its session ends: {}", Shown(txn)));
                    }
                    Some(_) => {}
                }
                self.put(path, zxid, None);
            }
            Change::OpenSession { session, timeout_ms, owner, .. } => {
                let opened = Session {
                    opened_us: now_us(),
                    timeout_us: *timeout_ms as u64 * 1000,
                    owner: *owner,
                    client: None,
                    heard_us: 0,
                    ended: None,
                    requests: Vec::new(),
                };
                if self.sessions.insert(session.0, opened).is_some() {
                    breach(format!("session {session} is opened twice"));
                }
            }
            Change::AttachSession { session, timeout_ms, owner } => match self.sessions.get_mut(&session.0) {
                Some(known) if known.ended.is_none() => {
                    known.owner = *owner;
                    known.timeout_us = *timeout_ms as u64 * 1000;
                }
                _ => breach(format!("session {session} is attached and is not open")),
            },
            Change::CloseSession { session, expired } => self.ended(at, zxid, session.0, *expired),
            Change::SetAcl { .. } | Change::RaiseFormatLevel { .. } | Change::SetBackClock => {}
        }
    }

    fn ended(&mut self, at: LogPosition, zxid: u64, id: i64, expired: bool) {
        let left: Vec<&String> = self.living(zxid).filter(|(_, node)| node.owner == id).map(|(path, _)| path).collect();
        if !left.is_empty() {
            breach(format!("session {id:#x} ends and leaves its ephemeral znodes {left:?}"));
        }
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ended.is_none()) else {
            return breach(format!("session {id:#x} ends and is not open"));
        };
        session.ended = Some(zxid);
        if !expired {
            return;
        }
        // A new leader grants every session a full timeout, from the moment at which it begins to lead.
        let (leader, leads_since) = self.leaders.get(&at.term).copied().unwrap_or((0, 0));
        let since = session.heard_us.max(session.opened_us).max(leads_since);
        let paused: u64 = self
            .pauses
            .iter()
            .filter(|pause| pause.machine == leader)
            .map(|pause| pause.to_us.saturating_sub(pause.from_us.max(since)))
            .sum();
        let ran = (now_us() - since).saturating_sub(paused);
        // As in ZooKeeper, a ping that a follower never reports to the leader is lost. Then the previous ping counts.
        // It is at most a third of the timeout older, because clients ping that often.
        let unreported = if self.followers_report { session.timeout_us / 3 } else { 0 };
        let slack = self.expiry_slack_us + unreported;
        if ran + slack < session.timeout_us {
            breach(format!(
                "session {id:#x} expires after {} ms in which it could be heard; its timeout is {} ms",
                ran / 1000,
                session.timeout_us / 1000
            ));
        }
    }

    /// Checks that the plugins in force on `machine` at `zxid` are the plugins that the tree binds.
    pub(crate) fn bound(&self, machine: Machine, zxid: Zxid, registry: &Registry) {
        let (bound, there) = (bindings(registry), self.plugins_at(zxid.0));
        if bound != *there {
            breach(format!("member {machine} has plugins {bound:x?} at {zxid:?}; the tree has {there:x?}"));
        }
    }

    /// A leader has judged the transactions `txns` by the plugins of `registry`. When a member applies one of them,
    /// `check_judges` checks that these were the right plugins.
    pub(crate) fn judged(&mut self, txns: &[Txn], registry: &Registry) {
        let bound = Rc::new(bindings(registry));
        // An earlier proposal with the same zxid can no longer commit: its request is evaluated again.
        self.judged.extend(txns.iter().map(|txn| (txn.zxid.0, bound.clone())));
    }

    /// Checks that the transaction was judged by the plugins in force at `before`, and that the guard's limit was kept.
    fn check_judges(&mut self, txn: &Txn, before: u64) {
        let there = self.plugins_at(before);
        if let Some(judged) = self.judged.remove(&txn.zxid.0)
            && judged != there
        {
            let wrong = format!("was judged by {judged:x?}; the tree had {there:x?}");
            breach(format!("{} {wrong}: {}", txn.zxid, Shown(txn)));
        }
        if txn.origin.is_none() {
            return;
        }
        for change in &txn.changes {
            let (Change::Create { path, data: Some(data), .. } | Change::SetData { path, data: Some(data), .. }) =
                change
            else {
                continue;
            };
            let Some(bytes_max) = self.guard_bytes_max(path, before).filter(|_| is_guarded(path)) else { continue };
            if data.len() > bytes_max {
                breach(format!("{} bytes got past the guard, which allows {bytes_max}: {}", data.len(), Shown(txn)));
            }
            self.note_trial(path, data.len(), before);
        }
    }

    /// Checks that no write passes a plugin that fails or is under quarantine, and that no other plugin is quarantined.
    fn check_quarantine(&self, txn: &Txn, before: u64) {
        let is_quarantined = self.is_quarantined(WEAK, before);
        for change in &txn.changes {
            if let Change::Create { path, .. } = change
                && path.starts_with(PLUGINS)
                && path.ends_with("/quarantine")
            {
                match &**path {
                    path if path == Plugin::weak().quarantine_node() => met(Situation::Quarantine),
                    path if path == Plugin::frail().quarantine_node() => met(Situation::QuarantineByReads),
                    _ => breach(format!("a plugin that never fails comes under quarantine: {}", Shown(txn))),
                }
            }
            let Change::SetData { path, data: Some(data), .. } = change else { continue };
            if is_weak_guarded(path) && (is_quarantined || data.len() > FEW_BYTES) && txn.origin.is_some() {
                breach(format!("a write gets past a plugin that cannot be called: {}", Shown(txn)));
            }
        }
        let Outcome::Refused(refusal) = &txn.outcome else { return };
        let (uncalled, failed) = (refusal.text.contains("is not called"), refusal.text.contains("the plugin failed"));
        if uncalled {
            met(Situation::QuarantineRefusal);
        }
        if failed {
            met(Situation::Fault);
        }
        let plugin = refusal.text.split(':').next().unwrap_or_default();
        let is_quarantined = self.is_quarantined(plugin, before);
        // A plugin whose code is not compiled yet refuses with another code, and has not failed.
        let is_of_guest = refusal.code == ErrorCode::SystemError;
        if uncalled && !is_quarantined || failed && is_of_guest && is_quarantined {
            breach(format!("quarantined: {is_quarantined}, but the refusal says {:?}: {}", refusal.text, Shown(txn)));
        }
    }

    /// Whether the frail policy covers the znode at `zxid`. That policy always fails, so only the superuser has access.
    pub(crate) fn is_frail_policed(&self, path: &str, zxid: u64) -> bool {
        is_within(path, FRAIL_POLICED) && self.manifest(FRAIL, zxid).is_some()
    }

    /// Whether the version of `plugin` that is in force at `zxid` is under quarantine.
    pub(crate) fn is_quarantined(&self, plugin: &str, zxid: u64) -> bool {
        let node = self.node(&format!("{PLUGINS}/{plugin}/quarantine"), zxid);
        let data = node.and_then(|node| node.data.as_deref());
        let Some(said) = data.and_then(|data| serde_json::from_slice::<Value>(data).ok()) else { return false };
        let version = self.manifest(plugin, zxid).map(|manifest| manifest.version.into());
        version.is_some() && said["version"].as_u64() == version
    }

    /// Checks that the policy in force at `before` allows the client every change of the transaction.
    fn check_policy(&self, txn: &Txn, before: u64) {
        let session = txn.origin.and_then(|origin| self.sessions.get(&origin.session.0));
        let Some(client) = session.and_then(|session| session.client) else { return };
        for change in &txn.changes {
            let (verb, path) = match change {
                Change::Create { path, .. } => (Verb::Create, path),
                Change::SetData { path, .. } => (Verb::Set, path),
                Change::Delete { path } => (Verb::Delete, path),
                _ => continue,
            };
            if !policy::allows(self, before, client, verb, path) {
                breach(format!("the policy in force forbids c{client} to {verb:?} {path}: {}", Shown(txn)));
            }
        }
    }

    /// Whether a transaction after `after` and up to `upto` may have changed the policy's verdicts.
    pub(crate) fn policy_may_have_changed(&self, after: u64, upto: u64) -> bool {
        let next = self.policy_changes.partition_point(|zxid| *zxid <= after);
        self.policy_changes.get(next).is_some_and(|zxid| *zxid <= upto)
    }

    /// The manifest of `plugin` that is in force at `zxid`.
    pub(crate) fn manifest(&self, plugin: &str, zxid: u64) -> Option<Manifest> {
        let node = self.node(&format!("{PLUGINS}/{plugin}"), zxid)?;
        manifest::parse(node.data.as_deref().unwrap_or_default()).ok()
    }

    /// The largest number of bytes that the guard allows at the znode. If a version on trial is asked there in place of
    /// the version in force, the limit of the version on trial counts.
    pub(crate) fn guard_bytes_max(&self, path: &str, zxid: u64) -> Option<usize> {
        bytes_max(&self.guard_on_trial(path, zxid).or_else(|| self.manifest("guard", zxid))?)
    }

    fn guard_on_trial(&self, path: &str, zxid: u64) -> Option<Manifest> {
        let trial = self.manifest("guard/canary", zxid)?;
        (trial.mode == Mode::Enforce && trial.canary.iter().any(|root| is_within(path, root))).then_some(trial)
    }

    /// Counts `TrialJudges` if the version on trial and the version in force judge data of `bytes` bytes differently.
    pub(crate) fn note_trial(&self, path: &str, bytes: usize, zxid: u64) {
        let passes = |manifest: Manifest| bytes_max(&manifest).is_some_and(|bytes_max| bytes <= bytes_max);
        let on_trial = self.guard_on_trial(path, zxid).map(passes);
        if on_trial.is_some() && on_trial != self.manifest("guard", zxid).map(passes) {
            met(Situation::TrialJudges);
        }
    }

    fn plugins_at(&self, zxid: u64) -> InForce {
        let after = self.in_force.partition_point(|(since, _)| *since <= zxid);
        after.checked_sub(1).map_or_else(InForce::default, |last| self.in_force[last].1.clone())
    }

    fn note_plugins(&mut self, zxid: u64) {
        let names = self.children(PLUGINS, zxid);
        let bound = |key: String, set_apart: Vec<String>| {
            self.manifest(&key, zxid)?;
            let mzxid = self.node(&format!("{PLUGINS}/{key}"), zxid)?.mzxid;
            let is_quarantined = self.is_quarantined(&key, zxid);
            Some(Binding { key, mzxid, set_apart, is_quarantined })
        };
        let both = |name: &str| {
            let key = format!("{name}/canary");
            let trial = self.manifest(&key, zxid).filter(|trial| trial.mode == Mode::Enforce);
            let set_apart = trial.map_or_else(Vec::new, |trial| trial.canary);
            [bound(name.to_owned(), set_apart), bound(key, Vec::new())]
        };
        let in_force: InForce = Rc::new(names.into_iter().flat_map(both).flatten().collect());
        say("run", || format!("plugins in force from {zxid:#x}: {in_force:x?}"));
        self.in_force.push((zxid, in_force));
    }

    /// Whether no recipe owes its mount anything: all mounts are in order.
    pub(crate) fn no_mount_is_owed(&self) -> bool {
        ["lock", "queue"].iter().all(|plugin| self.node(&owed_path(plugin), self.last).is_none())
    }

    pub(crate) fn check_recipes(&self) {
        self.recipes.check();
    }

    /// The zxid of the state on which a transaction was judged.
    pub(crate) fn before(&self, zxid: u64) -> Option<u64> {
        self.transactions.get(&zxid).map(|recorded| recorded.before)
    }

    /// The leader of the newest term.
    pub(crate) fn leader(&self) -> Option<Machine> {
        self.leaders.values().next_back().map(|&(machine, _)| machine)
    }

    pub(crate) fn sessions_open(&self) -> usize {
        self.sessions.values().filter(|session| session.ended.is_none()).count()
    }

    /// Records that the session belongs to `client`.
    pub(crate) fn set_client(&mut self, session: i64, client: u32) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.client = Some(client);
        }
    }

    /// Records that the session's client got an answer to a request that it sent at `sent_us`.
    pub(crate) fn heard(&mut self, session: i64, sent_us: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.heard_us = session.heard_us.max(sent_us);
        }
    }

    /// The zxid at which the session ended.
    pub(crate) fn session_ended(&self, session: i64) -> Option<u64> {
        self.sessions.get(&session).and_then(|session| session.ended)
    }

    /// The requests of a session that took effect, in that order. Refused requests are included.
    pub(crate) fn requests(&self, session: i64) -> &[Request] {
        self.sessions.get(&session).map_or(&[], |session| &session.requests)
    }

    fn put(&mut self, path: &str, zxid: u64, node: Option<Node>) {
        let versions = self.nodes.entry(path.to_owned()).or_default();
        match versions.last_mut() {
            // A transaction may change a znode twice. Only the result is visible.
            Some(last) if last.zxid == zxid => last.node = node,
            _ => versions.push(NodeVersion { zxid, node }),
        }
    }

    /// The znode in the tree at `zxid`.
    pub(crate) fn node(&self, path: &str, zxid: u64) -> Option<&Node> {
        let versions = self.nodes.get(path)?;
        let after = versions.partition_point(|version| version.zxid <= zxid);
        versions.get(after.checked_sub(1)?)?.node.as_ref()
    }

    /// The names of the children in the tree at `zxid`.
    pub(crate) fn children(&self, path: &str, zxid: u64) -> BTreeSet<&str> {
        let start = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.nodes.range::<str, _>((Bound::Excluded(start.as_str()), Bound::Unbounded));
        below
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&start))
            .filter(|path| self.node(path, zxid).is_some())
            .filter_map(|path| path.strip_prefix(&start))
            .filter(|name| !name.contains('/'))
            .collect()
    }

    /// All znodes in the tree at `zxid`.
    pub(crate) fn living(&self, zxid: u64) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.keys().filter_map(move |path| Some((path, self.node(path, zxid)?)))
    }

    /// The first zxid after `after`, up to `upto`, at which the watch fires, and the wire's number for the event's
    /// type.
    pub(crate) fn fires(&self, path: &str, watched: Watched, after: u64, upto: u64) -> Option<(u64, i32)> {
        const CREATED: i32 = 1;
        const DELETED: i32 = 2;
        const CHANGED: i32 = 3;
        const CHILDREN: i32 = 4;
        let versions = self.nodes.get(path).map_or(&[][..], |versions| versions);
        let from = versions.partition_point(|version| version.zxid <= after);
        let own = versions[from..].iter().take_while(|version| version.zxid <= upto);
        let mut own = own.filter_map(|version| {
            let kind = match (&version.node, watched) {
                (None, Watched::Data | Watched::Children) => DELETED,
                (Some(node), Watched::Absence) if node.czxid == version.zxid => CREATED,
                // The transaction deleted the znode and created it again. The deletion is the first event.
                (Some(node), Watched::Data | Watched::Children) if node.czxid == version.zxid => DELETED,
                (Some(_), Watched::Data) => CHANGED,
                _ => return None,
            };
            Some((version.zxid, kind))
        });
        let own = own.next();
        if watched != Watched::Children {
            return own;
        }
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.nodes.range::<str, _>((Bound::Excluded(prefix.as_str()), Bound::Unbounded));
        let children = below
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter(|(path, _)| !path[prefix.len()..].contains('/'))
            .filter_map(|(_, versions)| {
                let from = versions.partition_point(|version| version.zxid <= after);
                let mut later = versions[from..].iter().take_while(|version| version.zxid <= upto);
                // Only the creation or deletion of a child fires the parent's watch, not a change of its data.
                let born = |version: &&NodeVersion| version.node.as_ref().is_none_or(|node| node.czxid == version.zxid);
                later.find(born).map(|version| (version.zxid, CHILDREN))
            });
        // Children are deleted before their parent. So within one transaction the event of the children comes first.
        children.chain(own).min_by_key(|&(zxid, kind)| (zxid, kind != CHILDREN))
    }
}

fn owed_path(plugin: &str) -> String {
    format!("{PLUGINS}/{plugin}/owed")
}

/// The weak guard has enough fuel for data of this many bytes. The workload's longer data make it fail.
pub(crate) const FEW_BYTES: usize = 100;

/// Whether the weak guard is asked about the znode.
pub(crate) fn is_weak_guarded(path: &str) -> bool {
    path.strip_prefix(WEAK_GUARDED).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether the guard is asked about the znode.
pub(crate) fn is_guarded(path: &str) -> bool {
    path.strip_prefix(GUARDED).is_some_and(|rest| rest.starts_with('/'))
}

/// The path of the znode that the change creates, deletes or writes.
fn touched(change: &Change) -> Option<&str> {
    match change {
        Change::Create { path, .. } | Change::SetData { path, .. } | Change::Delete { path } => Some(path),
        _ => None,
    }
}

/// Whether the change writes or removes a quarantine or a manifest, in force or on trial.
fn binds(change: &Change) -> bool {
    let key = touched(change).and_then(|path| path.strip_prefix(PLUGINS)?.strip_prefix('/'));
    key.is_some_and(|key| !key.contains('/') || key.ends_with("/canary") || key.ends_with("/quarantine"))
}

fn bindings(registry: &Registry) -> Vec<Binding> {
    let bound = registry.all().map(|binding| Binding {
        key: binding.key.to_string(),
        mzxid: binding.stands.mzxid as u64,
        set_apart: binding.stands.set_apart.clone(),
        is_quarantined: binding.stands.quarantine.is_some(),
    });
    bound.collect()
}

/// The largest number of bytes that a guard with this manifest allows.
fn bytes_max(guard: &Manifest) -> Option<usize> {
    guard.settings["max_bytes"].as_u64().map(|bytes| bytes as usize)
}

/// Formats a transaction as one short line.
pub(crate) struct Shown<'a>(pub &'a Txn);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let txn = self.0;
        match txn.origin {
            Some(origin) => write!(f, "[{} by {} #{}:", txn.zxid, origin.session, origin.xid)?,
            None => write!(f, "[{} by the server:", txn.zxid)?,
        }
        match &txn.outcome {
            Outcome::Done(_) => {}
            Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. } => write!(f, " {}", refusal.code.name())?,
        }
        for change in &txn.changes {
            match change {
                Change::Create { path, owner, .. } if owner.is_ephemeral() => write!(f, " create ephemeral {path}")?,
                Change::Create { path, .. } => write!(f, " create {path}")?,
                Change::Delete { path } => write!(f, " delete {path}")?,
                Change::SetData { path, data, version } => {
                    let value = data.as_deref().and_then(value);
                    write!(f, " set {path}={} v{version}", value.map_or("?".into(), |value| value.to_string()))?
                }
                Change::SetBackClock => f.write_str(" set the clock back")?,
                Change::RaiseFormatLevel { .. } => f.write_str(" raise the format level")?,
                Change::SetAcl { path, .. } => write!(f, " acl {path}")?,
                Change::OpenSession { session, timeout_ms, .. } => write!(f, " open {session} {timeout_ms} ms")?,
                Change::AttachSession { session, owner, .. } => write!(f, " attach {session} to m{}", owner.member)?,
                Change::CloseSession { session, expired: true } => write!(f, " expire {session}")?,
                Change::CloseSession { session, .. } => write!(f, " close {session}")?,
            }
        }
        f.write_str("]")
    }
}

/// The number at the beginning of a znode's data, which clients write there.
pub(crate) fn value(data: &[u8]) -> Option<u64> {
    data.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
