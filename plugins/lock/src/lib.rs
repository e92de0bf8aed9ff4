//! `lock`: a recipe for fair locks by ZooKeeper clients. A client joins a lock with an ephemeral sequential node, reads
//! and watches that one node, and leaves by deleting it. README.md describes the client's side.
//!
//! | node, below the mount | kind | data |
//! |---|---|---|
//! | `db` | container | `{"holder":"lock-0000000001","token":4294967297}`, or `{}` while nobody holds it |
//! | `db/lock-0000000001` | ephemeral | `{"state":"held","token":4294967297}` |
//! | `db/lock-0000000002` | ephemeral | `{"state":"waiting","ticket":"..."}`, and `"until"` if the wait has a limit |
//! | `db/queue/<ticket>` | persistent | the waiting member's name |
//! | `db/delay` | persistent | `{"until":ms}`; nobody may hold the lock while this node exists |
//!
//! A ticket is the zxid of the join and the member's digits. So tickets sort by arrival and can be rebuilt from the
//! members. After each transaction, a lock with waiting members has a holder, unless there is a delay.

mod lock;
#[cfg(test)]
mod tests;

use lock::Lock;
use std::collections::BTreeMap;
use wasmkeeper_plugin::path::below;
use wasmkeeper_plugin::{
    Answer, Cause, Change, ChangeKind, Recipe, Rejection, Request, Settings, Transaction, View, code, recipe, refuse,
};

const QUEUE: &str = "queue";
const DELAY: &str = "delay";
const WAIT_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// How many nodes one step of recovery reads, and how many tickets without a member one hand-over skips.
const STEP: u32 = 100;

struct Locks {
    mount: String,
    /// How long nobody may hold a lock after its holder's session has expired.
    delay_ms: u64,
    /// How long a member waits if it sets no limit of its own. None: for ever.
    wait_ms: Option<u64>,
}

recipe!(
    Locks,
    r#"{ "name": "lock", "version": "1.0.0", "pure": true,
        "grants": [ { "path": "$mount", "verbs": ["read", "children", "create", "set", "delete"] } ] }"#
);

impl Recipe for Locks {
    fn configure(mount: &str, settings: &str) -> Result<Locks, String> {
        let mut settings = Settings::parse(settings)?;
        let delay_ms = settings.number("lock-delay-ms", 0..=3_600_000)?.unwrap_or(0);
        let wait_ms = settings.number("wait-ms", 0..=WAIT_MS_MAX)?;
        settings.finish()?;
        Ok(Locks { mount: mount.trim_end_matches('/').into(), delay_ms, wait_ms })
    }

    fn handle(&self, view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection> {
        let parts = below(&self.mount, request.path()).unwrap_or_default();
        match (&request, parts.as_slice()) {
            // The mount is an ordinary node. A lock in use cannot be deleted, because it has children.
            (_, []) | (Request::Delete(_), [_]) => Ok(Answer::Pass),
            (Request::Create(asked), [name]) if !asked.sequential => self.lock(view, txn, name).make(asked),
            (Request::Create(asked), [name, _]) => self.lock(view, txn, name).join(asked),
            (Request::Delete(asked), [name, member]) => self.lock(view, txn, name).leave(asked, member),
            _ => refuse(code::NO_AUTH, "locks are joined and left; all else here is the recipe's"),
        }
    }

    fn on_change(&self, view: &View, txn: &Transaction, cause: Cause, changes: &[Change]) -> Result<(), Rejection> {
        // First collects which locks are touched and which have lost their holder. A lock is handed over after that,
        // when all members that are gone are known.
        let mut locks: BTreeMap<&str, bool> = BTreeMap::new();
        for change in changes {
            let parts = below(&self.mount, &change.path).unwrap_or_default();
            match (parts.as_slice(), change.kind) {
                ([] | [_, QUEUE], _) | (_, ChangeKind::AclSet) => {}
                ([_], ChangeKind::Created | ChangeKind::Deleted) => {}
                ([name, child], ChangeKind::Created | ChangeKind::Deleted) => {
                    *locks.entry(name).or_default() |= self.lock(view, txn, name).changed(child)?;
                }
                _ => return refuse(code::BAD_ARGUMENTS, "at a lock only members may be created and deleted"),
            }
        }
        for (name, lost) in locks {
            let lock = self.lock(view, txn, name);
            if lost && cause == Cause::SessionExpired && self.delay_ms > 0 {
                lock.pause()?;
            } else if lost || lock.holder()?.is_none() {
                lock.hand_over()?;
            }
        }
        Ok(())
    }

    /// The name of a timer is a path: of a member whose wait ends, of a delay, or of a lock to be handed over.
    fn on_timer(&self, view: &View, txn: &Transaction, name: &str) -> Result<(), Rejection> {
        let parts = below(&self.mount, name).unwrap_or_default();
        let [name, child @ ..] = parts.as_slice() else { return Ok(()) };
        let lock = self.lock(view, txn, name);
        if let [child] = child {
            lock.end_if_over(child)?;
        }
        if lock.holder()?.is_none() { lock.hand_over() } else { Ok(()) }
    }

    fn recover(&self, view: &View, txn: &Transaction, after: Option<String>) -> Result<Option<String>, Rejection> {
        view.recover_each(&self.mount, after, STEP, |name, after, left| self.lock(view, txn, name).mend(after, left))
    }
}

impl Locks {
    fn lock<'a>(&'a self, view: &'a View, txn: &'a Transaction, name: &str) -> Lock<'a> {
        Lock { locks: self, view, txn, context: view.context(), path: format!("{}/{name}", self.mount) }
    }
}
