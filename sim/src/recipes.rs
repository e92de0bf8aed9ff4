//! Checks the promises of the recipes after every transaction: a lock has one holder, and a queue loses nothing.
//!
//! The checks read the znodes below the mounts, in the layout of the recipes' READMEs, and nothing else. While a recipe
//! owes its mount something, only the promises that clients act on must hold: one holder, and one worker for each item.

use crate::places::{LOCKS, QUEUES};
use crate::trace::{breach, say};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use wasmkeeper::model::txn::{Change, Txn};

#[derive(Default)]
pub(crate) struct Recipes {
    locks: BTreeMap<String, Lock>,
    queues: BTreeMap<String, Queue>,
    /// Locks and queues that the current transaction has changed, as (mount, name).
    touched: BTreeSet<(String, String)>,
}

#[derive(Default)]
struct Lock {
    /// The holder and its token, according to the lock's own znode.
    says: Option<(String, u64)>,
    members: BTreeMap<String, Member>,
    is_delayed: bool,
    /// The largest token so far.
    token: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Member {
    Waits,
    Holds { token: u64 },
    Unknown,
}

#[derive(Default)]
struct Queue {
    /// Data of the znodes, by folder and name.
    folders: BTreeMap<String, BTreeMap<String, Bytes>>,
    /// Every item that was ever put.
    put: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
    dead: BTreeSet<String>,
    /// Items that the current transaction has deleted.
    gone: BTreeSet<String>,
    /// Items of the claims that the current transaction has deleted.
    given_up: BTreeSet<String>,
}

/// Whether the transaction makes a waiting member the holder of a lock.
pub(crate) fn hands_over(txn: &Txn) -> bool {
    txn.changes.iter().any(|change| match change {
        Change::SetData { path, data: Some(data), .. } => {
            matches!(below(LOCKS, path).as_slice(), [_, _]) && matches!(member(data), Member::Holds { .. })
        }
        _ => false,
    })
}

/// Whether the transaction gives an item to a claim, or takes one from it.
pub(crate) fn claims(txn: &Txn) -> bool {
    txn.changes.iter().any(|change| match change {
        Change::SetData { path, .. } | Change::Create { path, .. } | Change::Delete { path } => {
            matches!(below(QUEUES, path).as_slice(), [_, "taken", _])
        }
        _ => false,
    })
}

/// The item that a claim holds, read from the claim's data.
pub(crate) fn item(data: &[u8]) -> Option<String> {
    let head: Value = serde_json::from_slice(data.split(|byte| *byte == b'\n').next()?).ok()?;
    Some(head["item"].as_str()?.to_owned())
}

/// Whether the data of a lock's member say that the member holds the lock.
pub(crate) fn holds(data: &[u8]) -> bool {
    matches!(member(data), Member::Holds { .. })
}

fn member(data: &[u8]) -> Member {
    let said: Value = serde_json::from_slice(data).unwrap_or_default();
    match (said["state"].as_str(), said["token"].as_u64()) {
        (Some("held"), Some(token)) => Member::Holds { token },
        (Some("waiting"), None) => Member::Waits,
        _ => Member::Unknown,
    }
}

/// The components of `path` below `mount`. Empty if the path is not below the mount.
fn below<'a>(mount: &str, path: &'a str) -> Vec<&'a str> {
    let names = path.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/'));
    names.map_or_else(Vec::new, |names| names.split('/').collect())
}

impl Recipes {
    pub(crate) fn change(&mut self, change: &Change) {
        let (path, data) = match change {
            Change::Create { path, data, .. } | Change::SetData { path, data, .. } => {
                (path, Some(data.clone().unwrap_or_default()))
            }
            Change::Delete { path } => (path, None),
            _ => return,
        };
        let is_new = matches!(change, Change::Create { .. });
        if let [lock, rest @ ..] = below(LOCKS, path).as_slice() {
            self.touched.insert((LOCKS.into(), (*lock).into()));
            self.locks.entry((*lock).into()).or_default().change(rest, data);
        } else if let [queue, rest @ ..] = below(QUEUES, path).as_slice() {
            self.touched.insert((QUEUES.into(), (*queue).into()));
            self.queues.entry((*queue).into()).or_default().change(path, rest, data, is_new);
        }
    }

    /// Checks the locks and queues that `txn` has changed. `owed`: whether a recipe owes its mount something.
    pub(crate) fn settle(&mut self, txn: &Txn, owed: impl Fn(&str) -> bool) {
        for (mount, name) in std::mem::take(&mut self.touched) {
            let path = format!("{mount}/{name}");
            let wrong = match &*mount {
                LOCKS => self.locks.get_mut(&name).and_then(|lock| lock.settle(txn, owed("lock"))),
                _ => self.queues.get_mut(&name).and_then(|queue| queue.settle(txn, owed("queue"))),
            };
            if let Some(wrong) = wrong {
                breach(format!("{path} at {}: {wrong}", txn.zxid));
            }
        }
    }

    /// Checks at the end of a run that every item is still in its queue, acknowledged or a dead letter.
    pub(crate) fn check(&self) {
        for (name, queue) in &self.queues {
            let there = queue.folder("items").count();
            let (put, done, dead) = (queue.put.len(), queue.acknowledged.len(), queue.dead.len());
            say("run", || format!("queue {name}: {put} items put, {done} acknowledged, {dead} dead, {there} there"));
            if put != there + done + dead {
                breach(format!("queue {name}: of {put} items {done} are acknowledged, {dead} dead, {there} there"));
            }
        }
    }
}

impl Lock {
    fn change(&mut self, rest: &[&str], data: Option<Bytes>) {
        match (rest, data) {
            ([], None) => self.says = None,
            ([], Some(data)) => {
                let said: Value = serde_json::from_slice(&data).unwrap_or_default();
                self.says = said["holder"].as_str().zip(said["token"].as_u64()).map(|(who, token)| (who.into(), token));
            }
            (["queue"], _) => {}
            (["delay"], data) => self.is_delayed = data.is_some(),
            ([name], None) => drop(self.members.remove(*name)),
            ([name], Some(data)) => drop(self.members.insert((*name).into(), member(&data))),
            _ => {}
        }
    }

    fn settle(&mut self, txn: &Txn, is_owed: bool) -> Option<String> {
        let holders = self.members.iter().filter_map(|(name, member)| match member {
            Member::Holds { token } => Some((name.clone(), *token)),
            Member::Waits | Member::Unknown => None,
        });
        let holders: Vec<(String, u64)> = holders.collect();
        if holders.len() > 1 {
            return Some(format!("two members hold the lock: {holders:?}"));
        }
        if let Some((name, token)) = holders.first()
            && *token != self.token
        {
            if *token < self.token || *token != txn.zxid.0 {
                return Some(format!("{name} holds it with token {token:#x}; the last was {:#x}", self.token));
            }
            self.token = *token;
        }
        if is_owed {
            return None;
        }
        if self.says.as_ref() != holders.first() {
            return Some(format!("the lock's znode names {:?}, but {holders:?} holds it", self.says));
        }
        let is_waited_for = self.members.values().any(|member| *member != Member::Unknown);
        if holders.is_empty() && !self.is_delayed && is_waited_for {
            return Some(format!("no member holds the lock, and these wait: {:?}", self.members));
        }
        None
    }
}

impl Queue {
    fn folder(&self, folder: &str) -> impl Iterator<Item = (&String, &Bytes)> {
        self.folders.get(folder).into_iter().flatten()
    }

    fn has(&self, folder: &str, name: &str) -> bool {
        self.folders.get(folder).is_some_and(|nodes| nodes.contains_key(name))
    }

    fn change(&mut self, path: &str, rest: &[&str], data: Option<Bytes>, is_new: bool) {
        let &[folder, name] = rest else { return };
        let nodes = self.folders.entry(folder.into()).or_default();
        let before = match &data {
            Some(data) => nodes.insert(name.into(), data.clone()),
            None => nodes.remove(name),
        };
        match (folder, data) {
            ("items", Some(_)) if is_new && !self.put.insert(name.into()) => {
                breach(format!("the name {path} is given out twice"));
            }
            ("items", None) => drop(self.gone.insert(name.into())),
            ("claims", None) => self.given_up.extend(before.as_deref().and_then(item)),
            ("dead", Some(_)) if is_new => drop(self.dead.insert(name.into())),
            _ => {}
        }
    }

    fn settle(&mut self, txn: &Txn, is_owed: bool) -> Option<String> {
        let given_up = std::mem::take(&mut self.given_up);
        for item in std::mem::take(&mut self.gone) {
            if self.dead.contains(&item) {
                continue;
            }
            // Only the client that holds the item may acknowledge it: it deletes its claim in the same transaction.
            if txn.origin.is_none() || !given_up.contains(&item) {
                return Some(format!("item {item} is lost"));
            }
            if !self.acknowledged.insert(item.clone()) {
                return Some(format!("item {item} is acknowledged twice"));
            }
        }
        let mut held: BTreeMap<String, &String> = BTreeMap::new();
        for (claim, data) in self.folder("claims") {
            if let Some(item) = item(data)
                && let Some(other) = held.insert(item.clone(), claim)
            {
                return Some(format!("{claim} and {other} both have item {item}"));
            }
        }
        if is_owed {
            return None;
        }
        let name = |data: &Bytes| {
            let text = String::from_utf8_lossy(data).into_owned();
            text.split_once(' ').map_or(text.clone(), |(_, name)| name.to_owned())
        };
        let ready: Vec<String> = self.folder("ready").map(|(_, data)| name(data)).collect();
        for (put, _) in self.folder("items") {
            let places = [
                ready.iter().filter(|item| *item == put).count(),
                self.has("taken", put).into(),
                self.has("delayed", put).into(),
            ];
            if places.iter().sum::<usize>() != 1 {
                return Some(format!("item {put} is {places:?} times ready, taken and delayed"));
            }
        }
        for (item, data) in self.folder("taken") {
            if held.get(item).is_none_or(|claim| **claim != name(data)) {
                return Some(format!("item {item} is taken by {}, whose claim does not hold it", name(data)));
            }
        }
        let waits = self.folder("idle").next();
        match (ready.first(), waits) {
            (Some(item), Some(_)) => Some(format!("claims wait, and item {item} is ready")),
            _ => None,
        }
    }
}
