//! A transaction: what happens, not what was asked. Only transactions enter the log.
//!
//! The leader decides everything while it evaluates. Replicas apply a `Txn` without deciding anything
//! (docs/decisions/0001). A refusal is a `Txn` too. It has no changes, and its client gets the answer only once the
//! view that it was judged on has committed.
//!
//! What a released kind of change does never alters. A new effect is a new kind. The postcard encoding of these types
//! is the format of the log (docs/data-dir.md), so variants and fields are added only at the end, under a new format
//! level.

use crate::model::{Acl, ConnectionId, Owner, Password, Refusal, SessionId, Zxid, acl};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// See the head of this file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Txn {
    pub zxid: Zxid,
    /// The leader's clock, Unix milliseconds. Never earlier than in any transaction before, except with
    /// `Change::SetBackClock`.
    pub wall_ms: i64,
    /// Ensemble time, milliseconds. It runs by the leader's monotonic clock while there is a leader.
    pub ensemble_ms: u64,
    /// Whose request this was. None: the server's own (expiry, collection of containers).
    pub origin: Option<Origin>,
    pub outcome: Outcome,
    /// In order.
    ///
    /// Invariant: empty if refused.
    pub changes: Vec<Change>,
    /// The plugins that wrote in this transaction or answered for it, in the order of their first calls.
    ///
    /// Invariant: empty if refused.
    pub made_by: Vec<Made>,
}

impl Txn {
    /// Roughly the bytes that the transaction takes in the log and on the way to other members, and never fewer.
    /// Everything that a client or a plugin can make large is counted.
    pub(crate) fn weight(&self) -> usize {
        let outcome = match &self.outcome {
            Outcome::Done(slots) => slots
                .iter()
                .map(|slot| match slot {
                    Slot::Nothing | Slot::Change(_) => 4,
                    Slot::Path(path) => 8 + path.len(),
                })
                .sum(),
            Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. } => 16 + refusal.text.len(),
        };
        let made_by: usize = self.made_by.iter().map(|made| 16 + made.plugin.len()).sum();
        32 + self.changes.iter().map(Change::weight).sum::<usize>() + outcome + made_by
    }

    /// Checks what the leader promises of a transaction. Costs a look at each slot.
    pub(crate) fn check(&self) {
        let zxid = self.zxid;
        match &self.outcome {
            Outcome::Done(slots) => {
                for slot in slots {
                    if let Slot::Change(index) = slot {
                        assert!((*index as usize) < self.changes.len(), "{zxid}: a slot speaks of no change");
                    }
                }
            }
            Outcome::Refused(_) => {
                assert!(self.changes.is_empty(), "{zxid}: a refusal changes nothing");
                assert!(self.made_by.is_empty(), "{zxid}: no plugin has a part in a refusal");
            }
            Outcome::MultiRefused { failed, operations, .. } => {
                assert!(self.changes.is_empty(), "{zxid}: a refused multi changes nothing");
                assert!(failed < operations || *operations == 0, "{zxid}: operation {failed} of {operations} failed");
            }
        }
    }
}

/// One plugin's part in a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Made {
    pub(crate) plugin: Arc<str>,
    /// The deployment, as its manifest counts them.
    pub(crate) version: u32,
    /// The fuel that the plugin's calls used.
    pub(crate) fuel: u64,
}

/// Where the answer goes: to that connection, if it is still open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    pub session: SessionId,
    pub connection: ConnectionId,
    pub xid: i32,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// One slot for a single operation. For a multi, one slot for each of its operations.
    Done(Vec<Slot>),
    Refused(Refusal),
    /// A multi of `operations` operations failed at operation `failed`, counted from 0. Nothing of it happened.
    MultiRefused {
        failed: u32,
        operations: u32,
        refusal: Refusal,
    },
}

/// What the reply to one operation is about.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Slot {
    /// No body: delete, check, sessions.
    Nothing,
    /// The node of that change (an index into `Txn::changes`), with the Stat that the change leaves.
    Change(u32),
    /// The node at that path, with the Stat that the whole transaction leaves. Zeros if there is no such node.
    Path(String),
}

/// One effect. All values are absolute: applying needs no decision.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// `path` is complete, including the digits of a sequential node. `parent_cversion`: the parent's stored counter of
    /// creations after this one.
    Create {
        path: Arc<str>,
        data: Option<Bytes>,
        acl: Acl,
        owner: Owner,
        parent_cversion: i32,
    },
    Delete {
        path: Arc<str>,
    },
    /// `version`: the node's version after this change.
    SetData {
        path: Arc<str>,
        data: Option<Bytes>,
        version: i32,
    },
    /// `aversion`: the node's aversion after this change.
    SetAcl {
        path: Arc<str>,
        acl: Acl,
        aversion: i32,
    },
    OpenSession {
        session: SessionId,
        timeout_ms: i32,
        password: Password,
        owner: ConnectionId,
    },
    /// A client came back, to the same member or another. The session has a new owner and perhaps another timeout.
    AttachSession {
        session: SessionId,
        timeout_ms: i32,
        owner: ConnectionId,
    },
    /// The session's ephemeral nodes are deleted by `Delete` changes before this change, in the same transaction.
    CloseSession {
        session: SessionId,
        expired: bool,
    },
    /// Every voter's release knows this format level. The kinds of effects that it brought may be used from now on.
    RaiseFormatLevel {
        level: u32,
    },
    /// This transaction's time may be earlier than those before. From format level 2 on.
    SetBackClock,
}

impl Change {
    /// The change's part of `Txn::weight`, bytes.
    pub(crate) fn weight(&self) -> usize {
        let bytes = |data: &Option<Bytes>| data.as_ref().map_or(0, Bytes::len);
        match self {
            Change::Create { path, data, acl, .. } => 64 + path.len() + bytes(data) + acl::bytes(acl),
            Change::SetData { path, data, .. } => 32 + path.len() + bytes(data),
            Change::Delete { path } => 16 + path.len(),
            Change::SetAcl { path, acl, .. } => 32 + path.len() + acl::bytes(acl),
            Change::OpenSession { .. }
            | Change::AttachSession { .. }
            | Change::CloseSession { .. }
            | Change::RaiseFormatLevel { .. }
            | Change::SetBackClock => 64,
        }
    }
}

/// What one Raft entry carries. `prev` and `term` are the chain fence (docs/decisions/0009): a replica applies the
/// batch only if `term` is the entry's Raft term and `prev` is the replica's last applied zxid. Otherwise the entry is
/// a no-op.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Batch {
    pub term: u64,
    pub prev: Zxid,
    /// The state digest of a zxid that the leader had applied when it made the batch.
    pub digest: Option<(Zxid, u64)>,
    pub txns: Arc<Vec<Txn>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acl::AclEntry;
    use crate::model::{ErrorCode, Identity};

    #[test]
    fn whatever_a_client_can_make_large_is_counted() {
        let path: Arc<str> = Arc::from("/x".repeat(500));
        let entry =
            |n: u32| AclEntry { permissions: 31, who: Identity::new("digest", format!("user{n}:{}", "h".repeat(28))) };
        let acl: Acl = (0..5_000).map(entry).collect();
        // The permissions may be any number, and then take five bytes.
        let short = AclEntry { permissions: i32::MAX, who: Identity::new("ip", "1.1.1.1") };
        let short: Acl = vec![short; 5_000].into();
        let done = |change| (Outcome::Done(vec![Slot::Change(0)]), vec![change]);
        let refusal = Refusal::new(ErrorCode::BadArguments, "t".repeat(1_000));
        for (outcome, changes) in [
            done(Change::SetAcl { path: path.clone(), acl, aversion: 1 }),
            done(Change::SetAcl { path: path.clone(), acl: short, aversion: 1 }),
            (Outcome::Done(vec![Slot::Nothing; 2_000]), vec![Change::Delete { path: path.clone() }; 2_000]),
            (Outcome::Done(vec![Slot::Path(path.to_string()); 2_000]), vec![]),
            (Outcome::MultiRefused { failed: 7, operations: 30_000, refusal }, vec![]),
        ] {
            let (zxid, origin, made_by) = (Zxid(1), None, vec![]);
            let txn = Txn { zxid, wall_ms: 1, ensemble_ms: 1, origin, outcome, changes, made_by };
            let bytes = postcard::to_allocvec(&txn).unwrap().len();
            let weight = txn.weight();
            assert!(weight >= bytes && weight <= 2 * bytes, "{weight} for {bytes} bytes");
        }
    }
}
