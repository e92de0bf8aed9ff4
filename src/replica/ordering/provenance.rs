//! Which plugins had a part in which recent transactions. `plugin trace` reads this at `/zookeeper/trace`, which only
//! the superuser may read.
//!
//! Every transaction names its plugins (`Txn::made_by`). A replica keeps the newest of the transactions that plugins
//! had a part in, from those it has applied since it started, replayed ones included.

use crate::limits;
use crate::model::Zxid;
use crate::model::control_plane::TRACE;
use crate::model::txn::{Change, Txn};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Default)]
pub(crate) struct Provenance(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The first and the last transaction that this replica has applied.
    ///
    /// Invariant: the last one grows.
    seen: Option<(Zxid, Zxid)>,
    /// Transactions that plugins had a part in, oldest first.
    ///
    /// Invariant: the zxids grow, and there are at most `limits::TRACES_KEPT`.
    traces: VecDeque<Trace>,
    /// How many transactions that plugins had a part in are no longer kept.
    forgotten: u64,
}

struct Trace {
    zxid: Zxid,
    wall_ms: i64,
    /// Session and xid of the request. None: the server itself asked.
    asked: Option<(String, i32)>,
    made_by: Vec<Value>,
    /// The first `limits::TRACED_OPERATIONS` of them.
    operations: Vec<(&'static str, Arc<str>)>,
    operations_count: usize,
}

impl Provenance {
    /// Keeps what is to be known of a transaction that has just been applied.
    pub(super) fn note(&self, txn: &Txn) {
        let mut kept = self.0.lock();
        let (first, last) = kept.seen.unwrap_or((txn.zxid, Zxid::ZERO));
        assert!(txn.zxid > last, "transactions are noted in the order of their zxids: {} after {last}", txn.zxid);
        kept.seen = Some((first, txn.zxid));
        if txn.made_by.is_empty() {
            return;
        }
        if kept.traces.len() == limits::TRACES_KEPT {
            kept.traces.pop_front();
            kept.forgotten += 1;
        }
        kept.traces.push_back(Trace::of(txn));
        assert!(kept.traces.len() <= limits::TRACES_KEPT, "old traces make room for new ones");
    }

    /// Forgets everything: the state was replaced by one whose transactions this replica has not applied.
    pub(super) fn forget(&self) {
        *self.0.lock() = Kept::default();
    }

    /// The data of `/zookeeper/trace` and of the nodes below it; None for any other path.
    pub(in crate::replica) fn virtual_node(&self, path: &str) -> Option<Vec<u8>> {
        let below = path.strip_prefix(TRACE)?;
        let kept = self.0.lock();
        let hex = |zxid: Zxid| format!("0x{:x}", zxid.0);
        let (first, last) = kept.seen?;
        if below.is_empty() {
            let newest: Vec<String> = kept.traces.iter().rev().take(20).map(|trace| hex(trace.zxid)).collect();
            let json = json!({ "first": hex(first), "last": hex(last), "forgotten": kept.forgotten, "newest": newest });
            return Some(json.to_string().into_bytes());
        }
        let digits = below.strip_prefix('/')?.trim_start_matches("0x");
        let zxid = Zxid(u64::from_str_radix(digits, 16).ok()?);
        let found = kept.traces.binary_search_by_key(&zxid, |trace| trace.zxid);
        let trace = kept.traces.get(found.ok()?)?;
        Some(trace.json().to_string().into_bytes())
    }
}

impl Trace {
    fn of(txn: &Txn) -> Trace {
        let operations: Vec<_> = txn.changes.iter().filter_map(operation).collect();
        let made_by = txn.made_by.iter();
        Trace {
            zxid: txn.zxid,
            wall_ms: txn.wall_ms,
            asked: txn.origin.as_ref().map(|origin| (origin.session.to_string(), origin.xid)),
            made_by: made_by
                .map(|made| json!({ "plugin": &*made.plugin, "version": made.version, "fuel": made.fuel }))
                .collect(),
            operations_count: operations.len(),
            operations: operations.into_iter().take(limits::TRACED_OPERATIONS).collect(),
        }
    }

    fn json(&self) -> Value {
        let asked = self.asked.as_ref().map(|(session, xid)| json!({ "session": session, "xid": xid }));
        let operations: Vec<Value> = self.operations.iter().map(|(verb, path)| json!([verb, &**path])).collect();
        json!({
            "zxid": format!("0x{:x}", self.zxid.0),
            "wall_ms": self.wall_ms,
            "asked": asked,
            "made_by": self.made_by,
            "operations": operations,
            "operations_count": self.operations_count,
        })
    }
}

fn operation(change: &Change) -> Option<(&'static str, Arc<str>)> {
    Some(match change {
        Change::Create { path, .. } => ("create", path.clone()),
        Change::Delete { path } => ("delete", path.clone()),
        Change::SetData { path, .. } => ("set", path.clone()),
        Change::SetAcl { path, .. } => ("acl", path.clone()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::txn::{Made, Outcome};

    fn txn(zxid: u64, plugin: Option<&str>) -> Txn {
        let made = |plugin: &str| Made { plugin: plugin.into(), version: 3, fuel: 70 };
        Txn {
            zxid: Zxid(zxid),
            wall_ms: 1,
            ensemble_ms: 2,
            origin: None,
            outcome: Outcome::Done(vec![]),
            changes: (0..limits::TRACED_OPERATIONS + 1)
                .map(|n| Change::Delete { path: format!("/n{n}").into() })
                .collect(),
            made_by: plugin.map(made).into_iter().collect(),
        }
    }

    #[test]
    fn a_transaction_of_a_plugin_is_found_by_its_zxid() {
        let provenance = Provenance::default();
        assert_eq!(provenance.virtual_node(TRACE), None);
        provenance.note(&txn(0x1_0000_0001, None));
        for zxid in 0x1_0000_0002..0x1_0000_0002 + limits::TRACES_KEPT as u64 + 3 {
            provenance.note(&txn(zxid, Some("lock")));
        }
        let read = |path: &str| -> Option<Value> { serde_json::from_slice(&provenance.virtual_node(path)?).ok() };
        let all = read(TRACE).unwrap();
        assert_eq!((&all["first"], &all["forgotten"]), (&json!("0x100000001"), &json!(3)));
        assert_eq!(read("/zookeeper/trace/0x100000001"), None);
        assert_eq!(read("/zookeeper/trace/100000002"), None, "it is forgotten");
        let one = read("/zookeeper/trace/0x100000010").unwrap();
        assert_eq!(one["made_by"], json!([{ "plugin": "lock", "version": 3, "fuel": 70 }]));
        assert_eq!(one["operations"].as_array().map(Vec::len), Some(limits::TRACED_OPERATIONS));
        assert_eq!(one["operations_count"], limits::TRACED_OPERATIONS + 1);
        provenance.forget();
        assert_eq!(read(TRACE), None);
    }
}
