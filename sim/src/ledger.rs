//! What the ensemble has done, as its members applied it: the one order of transactions, and the tree at each zxid.
//!
//! The first member to apply a transaction writes it down; every other must do the same on the same state, with the same
//! digest. So a fork, a zxid used twice and a state that differs are found the moment they happen. Clients ask it what they
//! ought to have been told: a read is checked against the tree at the zxid of its reply, a write against the transaction
//! of that zxid.
//!
//! It believes the members' order and nothing else about them. `linear` does not even believe that.

use crate::bundled::{FRAIL, Plugin, WEAK};
use crate::coverage::{Met, met};
use crate::net::Machine;
use crate::places::{FAULTY, FORLORN, GUARDED};
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

/// The run's ledger. Not to be asked for while it is asked already.
pub fn ledger<T>(ask: impl FnOnce(&mut Ledger) -> T) -> T {
    LEDGER.with_borrow_mut(ask)
}

#[derive(Default)]
pub struct Ledger {
    /// Every transaction, by its zxid.
    transactions: BTreeMap<u64, Recorded>,
    last: u64,
    /// Each path with all it ever was.
    nodes: BTreeMap<String, Vec<NodeVersion>>,
    sessions: BTreeMap<i64, Session>,
    /// Where each member stands; none while it is down.
    members: BTreeMap<Machine, u64>,
    wall_ms: i64,
    ensemble_ms: u64,
    pub pauses: Vec<Pause>,
    /// Who led in which term, and since when it evaluated.
    pub leaders: BTreeMap<u64, (Machine, u64)>,
    /// What an expiry may be early by: how far a leader may be behind what its followers have heard.
    pub expiry_slack_us: u64,
    /// Whether sessions live on followers, too.
    pub followers_report: bool,
    recipes: Recipes,
    /// The plugins in force, from each zxid at which that changed.
    in_force: Vec<(u64, InForce)>,
    /// By which plugins proposed transactions were judged that nobody has applied yet.
    judged: BTreeMap<u64, InForce>,
    /// Zxids at which it may have changed what the policy says.
    ruled: Vec<u64>,
    /// What somebody has asked for and has no answer to: what a change of the leader meanwhile is.
    pub awaited: Vec<Met>,
}

/// Plugins in order of their keys.
type InForce = Rc<Vec<Binding>>;

/// How a plugin is bound: what all members must have the same.
#[derive(Clone, PartialEq, Debug)]
struct Binding {
    /// Its name; of a version on trial, with `/canary` behind it.
    key: String,
    /// Of its manifest.
    mzxid: u64,
    /// Where a version on trial is asked in its place.
    set_apart: Vec<String>,
    is_quarantined: bool,
}

/// What a request is told whose session has gone elsewhere meanwhile, or is over: it is as if it had never come.
pub const VOID: [ErrorCode; 2] = [ErrorCode::SessionMoved, ErrorCode::SessionExpired];

/// Where the ensemble's members stand.
pub const CONFIG: &str = "/zookeeper/config";

/// A transaction, and what it led to.
pub struct Recorded {
    pub txn: Txn,
    before: u64,
    digest: u64,
}

/// A member did not run for a while.
pub struct Pause {
    pub machine: Machine,
    pub from_us: u64,
    pub to_us: u64,
}

/// A node from one zxid on.
struct NodeVersion {
    zxid: u64,
    node: Option<Node>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub data: Option<Bytes>,
    pub version: i32,
    pub czxid: u64,
    pub mzxid: u64,
    /// The session it belongs to, or 0.
    pub owner: i64,
}

/// A session as the ensemble knows it.
struct Session {
    opened_us: u64,
    timeout_us: u64,
    owner: ConnectionId,
    /// The number of whose it is, once that has been heard of.
    client: Option<u32>,
    /// When its client last sent something that was answered.
    heard_us: u64,
    ended: Option<u64>,
    /// Requests in the order in which they took effect.
    requests: Vec<Request>,
}

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub xid: i32,
    pub zxid: u64,
}

/// What a change of the tree means to whoever watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watched {
    /// getData, or exists on a node that is there.
    Data,
    /// exists on a node that is not there.
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
    pub fn new() -> Ledger {
        let mut ledger = Ledger::default();
        // What every tree begins with.
        for path in ["/", "/zookeeper", "/zookeeper/quota", CONFIG] {
            let node = Node { data: None, version: 0, czxid: 0, mzxid: 0, owner: 0 };
            ledger.nodes.insert(path.to_owned(), vec![NodeVersion { zxid: 0, node: Some(node) }]);
        }
        ledger
    }

    /// A member's state was loaded from its disk or from a peer.
    pub fn loaded(&mut self, machine: Machine, zxid: Zxid, digest: u64) {
        note(&[10, machine.into(), zxid.0, digest]);
        if zxid.0 != 0 {
            match self.transactions.get(&zxid.0) {
                None => breach(format!("member {machine} loads a state of {zxid:?}, which nobody has applied")),
                Some(known) if known.digest != digest => {
                    breach(format!("member {machine} loads a state of {zxid:?} that is not the others'"));
                }
                Some(_) => {}
            }
        }
        self.members.insert(machine, zxid.0);
    }

    /// A member begins to evaluate.
    pub fn leads(&mut self, machine: Machine, term: u64, now_us: u64) {
        if self.leader().is_some_and(|before| before != machine) {
            met(Met::LeaderChange);
        }
        let (leader, _) = *self.leaders.entry(term).or_insert((machine, now_us));
        if leader != machine {
            breach(format!("members {leader} and {machine} both lead in term {term}"));
        }
    }

    pub fn stopped(&mut self, machine: Machine) {
        self.members.remove(&machine);
    }

    /// Where that member stands.
    pub fn applied_by(&self, machine: Machine) -> Option<u64> {
        self.members.get(&machine).copied()
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn transaction(&self, zxid: u64) -> Option<&Txn> {
        self.transactions.get(&zxid).map(|recorded| &recorded.txn)
    }

    /// A member has applied a transaction of that batch on the state of `before`.
    pub fn applied(&mut self, machine: Machine, at: LogPosition, batch: &Batch, txn: &Txn, before: Zxid, digest: u64) {
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
            breach(format!("member {machine} applies {:?} on {before:?}, where it does not stand", txn.zxid));
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
                    "member {machine} applies {:?} on {before:?}, behind which {:?} has been applied: what was committed is lost",
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
        if zxid <= before.0 || txn.wall_ms < self.wall_ms || txn.ensemble_ms < self.ensemble_ms {
            breach(format!("{:?} goes back in time", txn.zxid));
        }
        (self.wall_ms, self.ensemble_ms) = (txn.wall_ms, txn.ensemble_ms);
        self.last = zxid;
        let is_done = matches!(txn.outcome, Outcome::Done(_));
        // The servers have changed before their configuration is written: that is done whoever has lost interest meanwhile.
        let configures = |change: &Change| matches!(change, Change::SetData { path, .. } if &**path == CONFIG);
        if let Some(origin) = txn.origin.filter(|_| !txn.changes.iter().any(configures)) {
            let moves = |change: &Change| matches!(change, Change::OpenSession { .. } | Change::AttachSession { .. });
            let session = self.sessions.get_mut(&origin.session.0);
            if !txn.changes.iter().any(moves)
                && is_done
                && session.as_ref().is_none_or(|session| session.owner != origin.connection || session.ended.is_some())
            {
                breach(format!(
                    "a request of {} takes effect that is not its session's any more: {}",
                    txn.zxid,
                    Shown(txn)
                ));
            }
            // The handshake has no number of its own.
            let is_void = matches!(&txn.outcome, Outcome::Refused(refusal) if VOID.contains(&refusal.code));
            if let Some(session) = session.filter(|_| origin.xid > 0 && !is_void) {
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
            self.ruled.push(zxid);
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
                    breach(format!("{path} belongs to a session that is none: {}", Shown(txn)));
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
                    None => breach(format!("{path} is deleted and is not there: {}", Shown(txn))),
                    // A recipe may end what belongs to it: a claim that is held too long.
                    Some(node)
                        if node.owner != 0
                            && txn.origin.is_none()
                            && txn.made_by.is_empty()
                            && !txn.changes.iter().any(ends) =>
                    {
                        breach(format!("an ephemeral goes before its session: {}", Shown(txn)));
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
                _ => breach(format!("session {session} comes back and is none")),
            },
            Change::CloseSession { session, expired } => self.ended(at, zxid, session.0, *expired),
            Change::SetAcl { .. } | Change::RaiseFormatLevel { .. } => {}
        }
    }

    fn ended(&mut self, at: LogPosition, zxid: u64, id: i64, expired: bool) {
        let left: Vec<&String> = self.living(zxid).filter(|(_, node)| node.owner == id).map(|(path, _)| path).collect();
        if !left.is_empty() {
            breach(format!("session {id:#x} ends and leaves {left:?}"));
        }
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ended.is_none()) else {
            return breach(format!("session {id:#x} ends and is none"));
        };
        session.ended = Some(zxid);
        if !expired {
            return;
        }
        // What a leader grants counts from when it began.
        let (leader, leads_since) = self.leaders.get(&at.term).copied().unwrap_or((0, 0));
        let since = session.heard_us.max(session.opened_us).max(leads_since);
        let paused: u64 = self
            .pauses
            .iter()
            .filter(|pause| pause.machine == leader)
            .map(|pause| pause.to_us.saturating_sub(pause.from_us.max(since)))
            .sum();
        let ran = (now_us() - since).saturating_sub(paused);
        // A sign of life that never got from a follower to the leader is lost, as in ZooKeeper: what counts is the one
        // before, at most a third of the timeout earlier, since clients speak that often.
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

    /// A member has these plugins at work with the tree of that zxid: those of the tree.
    pub fn bound(&self, machine: Machine, zxid: Zxid, registry: &Registry) {
        let (bound, there) = (bindings(registry), self.plugins_at(zxid.0));
        if bound != *there {
            breach(format!("member {machine} has plugins {bound:x?} at {zxid:?}; the tree has {there:x?}"));
        }
    }

    /// A leader has judged these transactions by these plugins. If they come to be, `check_judges` looks whether those were
    /// the right ones.
    pub fn judged(&mut self, txns: &[Txn], registry: &Registry) {
        let bound = Rc::new(bindings(registry));
        // Of what was proposed before under the same zxid nothing comes any more: it is evaluated again.
        self.judged.extend(txns.iter().map(|txn| (txn.zxid.0, bound.clone())));
    }

    /// Whether a transaction was judged by the plugins of the tree that it changes, as far as that can be seen.
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

    /// A plugin that fails, or is called no more because it did, lets nothing pass; others are not concerned.
    fn check_quarantine(&self, txn: &Txn, before: u64) {
        let is_quarantined = self.is_quarantined(WEAK, before);
        for change in &txn.changes {
            if let Change::Create { path, .. } = change
                && path.starts_with(PLUGINS)
                && path.ends_with("/quarantine")
            {
                match &**path {
                    path if path == Plugin::weak().quarantine_node() => met(Met::Quarantine),
                    path if path == Plugin::frail().quarantine_node() => met(Met::QuarantineByReads),
                    _ => breach(format!("a plugin that never fails comes under quarantine: {}", Shown(txn))),
                }
            }
            let Change::SetData { path, data: Some(data), .. } = change else { continue };
            if is_faulty(path) && (is_quarantined || data.len() > FEW_BYTES) && txn.origin.is_some() {
                breach(format!("a write gets past a plugin that cannot be called: {}", Shown(txn)));
            }
        }
        let Outcome::Refused(refusal) = &txn.outcome else { return };
        let (uncalled, failed) = (refusal.text.contains("is not called"), refusal.text.contains("the plugin failed"));
        if uncalled {
            met(Met::QuarantineRefusal);
        }
        if failed {
            met(Met::Fault);
        }
        let plugin = refusal.text.split(':').next().unwrap_or_default();
        let is_quarantined = self.is_quarantined(plugin, before);
        // One whose code is not ready yet has not failed.
        let is_of_guest = refusal.code == ErrorCode::SystemError;
        if uncalled && !is_quarantined || failed && is_of_guest && is_quarantined {
            breach(format!("quarantined: {is_quarantined}, and yet {:?}: {}", refusal.text, Shown(txn)));
        }
    }

    /// Whether nobody but the superuser may do anything at that node: the policy there always fails.
    pub fn is_forlorn(&self, path: &str, zxid: u64) -> bool {
        is_within(path, FORLORN) && self.manifest(FRAIL, zxid).is_some()
    }

    /// Whether the version of the plugin that is in force at that zxid is not to be called.
    pub fn is_quarantined(&self, plugin: &str, zxid: u64) -> bool {
        let node = self.node(&format!("{PLUGINS}/{plugin}/quarantine"), zxid);
        let data = node.and_then(|node| node.data.as_deref());
        let Some(said) = data.and_then(|data| serde_json::from_slice::<Value>(data).ok()) else { return false };
        let version = self.manifest(plugin, zxid).map(|manifest| manifest.version.into());
        version.is_some() && said["version"].as_u64() == version
    }

    /// Whether the policy in force let whoever asked do all that was done.
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

    /// Whether it may have changed what the policy says, behind `after` and up to `upto`.
    pub fn ruled_anew(&self, after: u64, upto: u64) -> bool {
        let next = self.ruled.partition_point(|zxid| *zxid <= after);
        self.ruled.get(next).is_some_and(|zxid| *zxid <= upto)
    }

    /// The manifest of the plugin that is in force at that zxid.
    pub fn manifest(&self, plugin: &str, zxid: u64) -> Option<Manifest> {
        let node = self.node(&format!("{PLUGINS}/{plugin}"), zxid)?;
        manifest::parse(node.data.as_deref().unwrap_or_default()).ok()
    }

    /// Bytes that the guard allows at that node: the version on trial where there is one in the place of that in force.
    pub fn guard_bytes_max(&self, path: &str, zxid: u64) -> Option<usize> {
        bytes_max(&self.guard_on_trial(path, zxid).or_else(|| self.manifest("guard", zxid))?)
    }

    fn guard_on_trial(&self, path: &str, zxid: u64) -> Option<Manifest> {
        let trial = self.manifest("guard/canary", zxid)?;
        (trial.mode == Mode::Enforce && trial.canary.iter().any(|root| is_within(path, root))).then_some(trial)
    }

    /// So many bytes were judged, by a version on trial perhaps, and the one in force might have said something else.
    pub fn note_trial(&self, path: &str, bytes: usize, zxid: u64) {
        let passes = |manifest: Manifest| bytes_max(&manifest).is_some_and(|bytes_max| bytes <= bytes_max);
        let on_trial = self.guard_on_trial(path, zxid).map(passes);
        if on_trial.is_some() && on_trial != self.manifest("guard", zxid).map(passes) {
            met(Met::TrialJudges);
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

    /// Whether all mounts are in order.
    pub fn nothing_is_owed(&self) -> bool {
        ["lock", "queue"].iter().all(|plugin| self.node(&owed_path(plugin), self.last).is_none())
    }

    pub fn check_recipes(&self) {
        self.recipes.check();
    }

    /// What a transaction was judged on.
    pub fn before(&self, zxid: u64) -> Option<u64> {
        self.transactions.get(&zxid).map(|recorded| recorded.before)
    }

    /// Who began to evaluate last.
    pub fn leader(&self) -> Option<Machine> {
        self.leaders.values().next_back().map(|&(machine, _)| machine)
    }

    pub fn sessions_open(&self) -> usize {
        self.sessions.values().filter(|session| session.ended.is_none()).count()
    }

    /// The session is that client's.
    pub fn belongs(&mut self, session: i64, client: u32) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.client = Some(client);
        }
    }

    /// A client of that session got an answer to something it sent at `sent_us`.
    pub fn heard(&mut self, session: i64, sent_us: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.heard_us = session.heard_us.max(sent_us);
        }
    }

    /// The zxid at which the session ended.
    pub fn session_ended(&self, session: i64) -> Option<u64> {
        self.sessions.get(&session).and_then(|session| session.ended)
    }

    /// What of a session's requests took effect, refusals included, in that order.
    pub fn requests(&self, session: i64) -> &[Request] {
        self.sessions.get(&session).map_or(&[], |session| &session.requests)
    }

    fn put(&mut self, path: &str, zxid: u64, node: Option<Node>) {
        let versions = self.nodes.entry(path.to_owned()).or_default();
        match versions.last_mut() {
            // Twice in one transaction: only what it leaves is ever seen.
            Some(last) if last.zxid == zxid => last.node = node,
            _ => versions.push(NodeVersion { zxid, node }),
        }
    }

    /// The node as it was after that zxid.
    pub fn node(&self, path: &str, zxid: u64) -> Option<&Node> {
        let versions = self.nodes.get(path)?;
        let after = versions.partition_point(|version| version.zxid <= zxid);
        versions.get(after.checked_sub(1)?)?.node.as_ref()
    }

    /// Names of the children as they were after that zxid.
    pub fn children(&self, path: &str, zxid: u64) -> BTreeSet<&str> {
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

    /// Everything there was after that zxid.
    pub fn living(&self, zxid: u64) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.keys().filter_map(move |path| Some((path, self.node(path, zxid)?)))
    }

    /// The first zxid above `after`, up to `upto`, at which such a watch fires, and the kind of its event as on the wire.
    pub fn fires(&self, path: &str, watched: Watched, after: u64, upto: u64) -> Option<(u64, i32)> {
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
                // Deleted and created in one transaction: the first event is that of the deletion.
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
                // A child came or went; a change of its data is nothing to its parent.
                let born = |version: &&NodeVersion| version.node.as_ref().is_none_or(|node| node.czxid == version.zxid);
                later.find(born).map(|version| (version.zxid, CHILDREN))
            });
        // A node is deleted after its children: theirs is the earlier event, in one transaction too.
        children.chain(own).min_by_key(|&(zxid, kind)| (zxid, kind != CHILDREN))
    }
}

fn owed_path(plugin: &str) -> String {
    format!("{PLUGINS}/{plugin}/owed")
}

/// Bytes that the weak guard has fuel enough for; what has more, it fails at.
pub const FEW_BYTES: usize = 100;

/// Whether the weak guard is asked about that node.
pub fn is_faulty(path: &str) -> bool {
    path.strip_prefix(FAULTY).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether the guard is asked about that node.
pub fn is_guarded(path: &str) -> bool {
    path.strip_prefix(GUARDED).is_some_and(|rest| rest.starts_with('/'))
}

/// The node that comes, goes or has other data.
fn touched(change: &Change) -> Option<&str> {
    match change {
        Change::Create { path, .. } | Change::SetData { path, .. } | Change::Delete { path } => Some(path),
        _ => None,
    }
}

/// Whether it writes or removes a manifest, in force or on trial, or a quarantine.
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

/// Bytes that a guard with that manifest allows.
fn bytes_max(guard: &Manifest) -> Option<usize> {
    guard.settings["max_bytes"].as_u64().map(|bytes| bytes as usize)
}

/// A transaction in few words.
pub struct Shown<'a>(pub &'a Txn);

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

/// The number at the begin of a node's data: what clients write.
pub fn value(data: &[u8]) -> Option<u64> {
    data.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
