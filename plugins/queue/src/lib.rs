//! `queue`: a recipe for queues of ZooKeeper clients. A producer creates items. A worker creates a claim, finds an item
//! in the data of the claim, and deletes the claim when the work is done. README.md describes the client's side.
//!
//! | node, below the mount | data |
//! |---|---|
//! | `jobs/items/job-0000000000` | the payload; options follow a `?` in the name: `job?priority=9&delay-ms=500-0000000001` |
//! | `jobs/ready/<rank>` | attempts so far and the item; ranks sort by priority and age |
//! | `jobs/taken/<item>` | attempts so far and the claim |
//! | `jobs/delayed/<item>` | when the delay ends, and the item |
//! | `jobs/claims/w-0000000000` | ephemeral: empty while it waits, else `{"attempt":1,"item":"...","until":ms}`, a newline, the payload |
//! | `jobs/idle/<rank>` | `0` and the claim; ranks sort by how long the claim has waited |
//! | `jobs/dead/<item>` | the payload of an item that was given up |
//!
//! Every item is in exactly one of `ready`, `taken` and `delayed`, and every waiting claim is in `idle`. These indexes
//! can be rebuilt from items and claims. Only the attempts of an item that nobody holds are lost then.

mod folders;
mod queue;
#[cfg(test)]
mod tests;

use queue::Queue;
use std::collections::BTreeSet;
use wasmkeeper_plugin::path::{below, digits};
use wasmkeeper_plugin::{
    Answer, Cause, Change, ChangeKind, Recipe, Rejection, Request, Settings, Transaction, View, code, recipe, refuse,
};

const ITEMS: &str = "items";
const READY: &str = "ready";
const TAKEN: &str = "taken";
const DELAYED: &str = "delayed";
const CLAIMS: &str = "claims";
const IDLE: &str = "idle";
const DEAD: &str = "dead";
const FOLDERS: [&str; 7] = [CLAIMS, ITEMS, READY, TAKEN, DELAYED, IDLE, DEAD];

const MS_MAX: u64 = 30 * 24 * 3_600_000;
/// How many nodes one step of recovery reads, and how many stale entries one call skips.
const STEP: u32 = 50;
/// How many items one call gives to waiting claims.
const MATCHES_MAX: u32 = 16;

struct Queues {
    mount: String,
    /// How long a worker may hold an item. None: as long as its session lives.
    visibility_ms: Option<u64>,
    attempts_max: u64,
}

recipe!(
    Queues,
    r#"{ "name": "queue", "version": "1.0.0", "pure": true,
        "grants": [ { "path": "$mount", "verbs": ["read", "children", "create", "set", "delete"] } ] }"#
);

impl Recipe for Queues {
    fn configure(mount: &str, settings: &str) -> Result<Queues, String> {
        let mut settings = Settings::parse(settings)?;
        let visibility_ms = settings.number("visibility-ms", 1..=MS_MAX)?;
        let attempts_max = settings.number("attempts-max", 1..=1000)?.unwrap_or(5);
        settings.finish()?;
        Ok(Queues { mount: mount.into(), visibility_ms, attempts_max })
    }

    fn handle(&self, view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection> {
        let parts = below(&self.mount, request.path()).unwrap_or_default();
        let [name, rest @ ..] = parts.as_slice() else { return Ok(Answer::Pass) };
        let queue = self.queue(view, txn, name);
        match (&request, rest) {
            (Request::Create(asked), [] | [_]) if !asked.sequential => queue.make(asked),
            (Request::Create(asked), [ITEMS, _]) => queue.put(asked),
            (Request::Create(asked), [CLAIMS, _]) => queue.take(asked),
            (Request::SetData(asked), [CLAIMS, claim]) => queue.retry_or_extend(asked, claim),
            (Request::Delete(asked), [CLAIMS, claim]) => queue.acknowledge(asked, claim),
            (Request::Delete(asked), [ITEMS, item]) => queue.cancel(asked, item),
            (Request::Delete(_), [DEAD, _]) => Ok(Answer::Pass),
            (Request::Delete(_), []) => queue.close(),
            _ => refuse(code::NO_AUTH, "items are put, claims taken and deleted; all else here is the recipe's"),
        }
    }

    fn on_change(&self, view: &View, txn: &Transaction, _cause: Cause, changes: &[Change]) -> Result<(), Rejection> {
        let mut touched = BTreeSet::new();
        for Change { kind, path } in changes {
            let parts = below(&self.mount, path).unwrap_or_default();
            let [name, rest @ ..] = parts.as_slice() else { continue };
            let queue = self.queue(view, txn, name);
            match (rest, kind) {
                (_, ChangeKind::AclSet) | ([], _) | ([DEAD, _], _) | ([ITEMS, _], ChangeKind::DataSet) => {}
                ([_], _) if !view.exists(&queue.path)? => {}
                ([_], _) => queue.open()?,
                ([CLAIMS, claim], ChangeKind::Created | ChangeKind::Deleted) => queue.claim_changed(claim)?,
                ([ITEMS, item], ChangeKind::Created | ChangeKind::Deleted) => queue.item_changed(item)?,
                _ => return refuse(code::BAD_ARGUMENTS, "a queue's indexes and claims are the recipe's to write"),
            }
            touched.insert(*name);
        }
        // Items are given out after the loop, when every item that came back stands in its place.
        let matched = |left, name: &str| self.queue(view, txn, name).match_up(left);
        touched.into_iter().try_fold(MATCHES_MAX, matched).map(drop)
    }

    /// The name of a timer is a path: of a claim that is held too long, of a delayed item, or of a queue with items
    /// left to give out.
    fn on_timer(&self, view: &View, txn: &Transaction, name: &str) -> Result<(), Rejection> {
        let parts = below(&self.mount, name).unwrap_or_default();
        let [name, rest @ ..] = parts.as_slice() else { return Ok(()) };
        let queue = self.queue(view, txn, name);
        match rest {
            [CLAIMS, claim] => queue.end_claim_if_over(claim)?,
            [DELAYED, item] => queue.end_delay_if_over(item)?,
            _ => {}
        }
        queue.match_up(MATCHES_MAX).map(drop)
    }

    fn recover(&self, view: &View, txn: &Transaction, after: Option<String>) -> Result<Option<String>, Rejection> {
        view.recover_each(&self.mount, after, STEP, |name, after, left| self.queue(view, txn, name).mend(after, left))
    }
}

impl Queues {
    fn queue<'a>(&'a self, view: &'a View, txn: &'a Transaction, name: &str) -> Queue<'a> {
        Queue { queues: self, view, txn, context: view.context(), path: format!("{}/{name}", self.mount) }
    }
}

/// Priority and delay in milliseconds, from the options in an item's name.
fn options(item: &str) -> Result<(u64, u64), Rejection> {
    let (mut priority, mut delay_ms) = (4, 0);
    let name = digits(item).and_then(|digits| item.strip_suffix(digits)).unwrap_or(item);
    let Some((_, options)) = name.split_once('?') else { return Ok((priority, delay_ms)) };
    for option in options.trim_end_matches('-').split('&') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match (key, value.parse()) {
            ("priority", Ok(value @ 0..=9)) => priority = value,
            ("delay-ms", Ok(value @ 0..=MS_MAX)) => delay_ms = value,
            _ => return Err(Rejection::at(item, "the options are priority=0 to 9 and delay-ms=0 to 2592000000")),
        }
    }
    Ok((priority, delay_ms))
}

/// An item's place in line. If the options make no sense, the item was created without the recipe, and the options
/// count as left out.
fn rank(item: &str, czxid: u64) -> String {
    let (priority, _) = options(item).unwrap_or((4, 0));
    format!("{}-{czxid:016x}-{}", 9 - priority, digits(item).unwrap_or(item))
}

/// A waiting claim's place in line. It follows the `mzxid`, because the claim may have held items before.
fn idle_rank(claim: &str, mzxid: u64) -> String {
    format!("{mzxid:016x}-{}", digits(claim).unwrap_or(claim))
}
