//! How replies to writes look: each operation has a form, and the transaction fills it.

use crate::model::txn::{Change, Outcome, Slot, Txn};
use crate::model::{ErrorCode, Stat};
use crate::state::Effects;
use crate::wire::encode;
use crate::wire::reply::{Body, MultiSlot, ReplyHeader};
use crate::wire::request::{Request, RequestHeader, op};
use bytes::BytesMut;

/// The form of the reply to a write. The opcode determines it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Empty,
    Path,
    PathStat,
    Stat,
    /// reconfig
    DataStat,
    /// The operations' opcodes.
    Multi(Box<[i32]>),
    /// The reply is the connection's last.
    CloseSession,
}

impl Form {
    pub(crate) fn of(header: &RequestHeader, request: &Request) -> Form {
        match request {
            Request::Multi(operations) => Form::Multi(operations.iter().map(|operation| operation.op).collect()),
            _ => match header.op {
                op::CREATE | op::CREATE_IF_NOT_EXISTS => Form::Path,
                op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => Form::PathStat,
                op::SET_DATA | op::SET_ACL => Form::Stat,
                op::RECONFIG => Form::DataStat,
                op::CLOSE_SESSION => Form::CloseSession,
                _ => Form::Empty,
            },
        }
    }
}

/// Appends the reply to a write that was applied. Returns the error in its header.
pub(super) fn encode_write(out: &mut BytesMut, xid: i32, form: &Form, txn: &Txn, applied: &Effects) -> i32 {
    let error = match &txn.outcome {
        Outcome::Refused(refusal) => refusal.code.code(),
        Outcome::Done(_) | Outcome::MultiRefused { .. } => 0,
    };
    let header = ReplyHeader { xid, zxid: txn.zxid.to_wire(), error };
    encode::frame(out, &header, &body(form, txn, applied));
    error
}

fn body<'a>(form: &Form, txn: &'a Txn, applied: &Effects) -> Body<'a> {
    match (&txn.outcome, form) {
        (Outcome::Refused(_), _) => Body::Empty,
        (Outcome::MultiRefused { failed, operations, refusal }, _) => {
            let slot = |at: u32| match at.cmp(failed) {
                std::cmp::Ordering::Less => ErrorCode::Ok,
                std::cmp::Ordering::Equal => refusal.code,
                std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency,
            };
            Body::Multi((0..*operations).map(|at| MultiSlot::Error(slot(at).code())).collect())
        }
        (Outcome::Done(slots), Form::Multi(operations)) => {
            assert_eq!(slots.len(), operations.len(), "a multi has one result an operation");
            let results = operations.iter().zip(slots).enumerate();
            Body::Multi(results.map(|(at, (&op, slot))| multi_slot(op, txn, slot, stat(applied, at))).collect())
        }
        (Outcome::Done(slots), form) => {
            let path = || slots.first().map_or("", |slot| path_of(txn, slot));
            match form {
                Form::Path => Body::Path(path()),
                Form::PathStat => Body::PathStat(path(), stat(applied, 0)),
                Form::Stat => Body::Stat(stat(applied, 0)),
                Form::DataStat => Body::DataStat(slots.first().and_then(|slot| data_of(txn, slot)), stat(applied, 0)),
                Form::Empty | Form::CloseSession | Form::Multi(_) => Body::Empty,
            }
        }
    }
}

fn multi_slot<'a>(op: i32, txn: &'a Txn, slot: &'a Slot, stat: Stat) -> MultiSlot<'a> {
    match op {
        op::CREATE => MultiSlot::Path(path_of(txn, slot)),
        op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => MultiSlot::PathStat(path_of(txn, slot), stat),
        op::DELETE => MultiSlot::Deleted,
        op::SET_DATA => MultiSlot::Stat(stat),
        op::CHECK => MultiSlot::Checked,
        op::CREATE_IF_NOT_EXISTS => MultiSlot::Typed(op, Some(path_of(txn, slot))),
        other => MultiSlot::Typed(other, None),
    }
}

fn stat(applied: &Effects, slot: usize) -> Stat {
    applied.slots.get(slot).copied().unwrap_or_default()
}

fn path_of<'a>(txn: &'a Txn, slot: &'a Slot) -> &'a str {
    match slot {
        Slot::Nothing => "",
        Slot::Path(path) => path,
        Slot::Change(at) => match txn.changes.get(*at as usize) {
            Some(
                Change::Create { path, .. }
                | Change::Delete { path }
                | Change::SetData { path, .. }
                | Change::SetAcl { path, .. },
            ) => path,
            _ => "",
        },
    }
}

fn data_of<'a>(txn: &'a Txn, slot: &Slot) -> Option<&'a [u8]> {
    match slot {
        Slot::Change(at) => match txn.changes.get(*at as usize) {
            Some(Change::SetData { data, .. }) => data.as_deref(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Owner, Refusal, Zxid, acl};

    fn txn(outcome: Outcome, changes: Vec<Change>) -> Txn {
        Txn { zxid: Zxid(7), wall_ms: 0, ensemble_ms: 0, origin: None, outcome, changes, made_by: Vec::new() }
    }

    fn create(path: &str) -> Change {
        let owner = Owner::PERSISTENT;
        Change::Create { path: path.into(), data: None, acl: acl::open_unsafe(), owner, parent_cversion: 1 }
    }

    #[test]
    fn a_multi_answers_each_operation_in_its_own_type() {
        let slots = vec![Slot::Change(0), Slot::Change(1), Slot::Nothing, Slot::Nothing, Slot::Path("/old".into())];
        let txn = txn(Outcome::Done(slots), vec![create("/a"), create("/c")]);
        let stats = vec![Stat { version: 1, ..Stat::default() }; 5];
        let applied = Effects { slots: stats.clone(), ..Effects::default() };
        let operations = [op::CREATE, op::CREATE_CONTAINER, op::DELETE, op::CHECK_NOT_EXISTS, op::CREATE_IF_NOT_EXISTS];
        assert_eq!(
            body(&Form::Multi(operations.into()), &txn, &applied),
            Body::Multi(vec![
                MultiSlot::Path("/a"),
                MultiSlot::PathStat("/c", stats[1]),
                MultiSlot::Deleted,
                MultiSlot::Typed(op::CHECK_NOT_EXISTS, None),
                MultiSlot::Typed(op::CREATE_IF_NOT_EXISTS, Some("/old")),
            ])
        );
    }

    #[test]
    fn a_refused_multi_says_where_and_header_says_nothing() {
        let refusal = Refusal::from(ErrorCode::NodeExists);
        let txn = txn(Outcome::MultiRefused { failed: 1, operations: 3, refusal }, Vec::new());
        let mut out = BytesMut::new();
        let form = Form::Multi([op::CREATE; 3].into());
        assert_eq!(encode_write(&mut out, 5, &form, &txn, &Effects::default()), 0);
        let errors = [0, -110, -2].map(MultiSlot::Error).to_vec();
        assert_eq!(body(&form, &txn, &Effects::default()), Body::Multi(errors));
    }
}
