//! How large a transaction is, roughly. A batch has to fit into one message to another member.

use crate::model::acl;
use crate::model::txn::{Change, Outcome, Slot, Txn};

/// Roughly the bytes that the transaction takes in the log and on the way to other members. Everything that a client or
/// a plugin can make large is counted.
pub(super) fn weight(txn: &Txn) -> usize {
    let changes = txn.changes.iter().map(|change| match change {
        Change::Create { path, data, acl, .. } => {
            64 + path.len() + data.as_ref().map_or(0, |data| data.len()) + acl::bytes(acl)
        }
        Change::SetData { path, data, .. } => 32 + path.len() + data.as_ref().map_or(0, |data| data.len()),
        Change::Delete { path } => 16 + path.len(),
        Change::SetAcl { path, acl, .. } => 32 + path.len() + acl::bytes(acl),
        Change::OpenSession { .. }
        | Change::AttachSession { .. }
        | Change::CloseSession { .. }
        | Change::RaiseFormatLevel { .. } => 64,
    });
    let outcome = match &txn.outcome {
        Outcome::Done(slots) => slots
            .iter()
            .map(|slot| match slot {
                Slot::Nothing | Slot::Change(_) => 4,
                Slot::Path(path) => 8 + path.len(),
            })
            .sum(),
        Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. } => 16 + refusal.text.len(),
    };
    let made_by: usize = txn.made_by.iter().map(|made| 16 + made.plugin.len()).sum();
    32 + changes.sum::<usize>() + outcome + made_by
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acl::AclEntry;
    use crate::model::{Acl, ErrorCode, Identity, Refusal, Zxid};
    use std::sync::Arc;

    #[test]
    fn whatever_a_client_can_make_large_is_counted() {
        let path: Arc<str> = Arc::from("/x".repeat(500));
        let entry =
            |n: u32| AclEntry { permissions: 31, who: Identity::new("digest", format!("user{n}:{}", "h".repeat(28))) };
        let acl: Acl = (0..5_000).map(entry).collect();
        let done = |change| (Outcome::Done(vec![Slot::Change(0)]), vec![change]);
        let refusal = Refusal::new(ErrorCode::BadArguments, "t".repeat(1_000));
        for (outcome, changes) in [
            done(Change::SetAcl { path: path.clone(), acl, aversion: 1 }),
            (Outcome::Done(vec![Slot::Nothing; 2_000]), vec![Change::Delete { path: path.clone() }; 2_000]),
            (Outcome::Done(vec![Slot::Path(path.to_string()); 2_000]), vec![]),
            (Outcome::MultiRefused { failed: 7, operations: 30_000, refusal }, vec![]),
        ] {
            let (zxid, origin, made_by) = (Zxid(1), None, vec![]);
            let txn = Txn { zxid, wall_ms: 1, ensemble_ms: 1, origin, outcome, changes, made_by };
            let bytes = postcard::to_allocvec(&txn).unwrap().len();
            let weight = weight(&txn);
            assert!(weight >= bytes && weight <= 2 * bytes, "{weight} for {bytes} bytes");
        }
    }
}
