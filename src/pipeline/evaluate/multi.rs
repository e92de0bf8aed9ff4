//! multi: all operations or none, in one transaction. Each operation sees what the operations before it left. A failure
//! undoes everything, sequence numbers included.
//!
//! Within a multi, the flags decide what a create counts as (Op.java). The flags of a container make a container
//! whatever the opcode. createTTL with other flags is an ordinary create. Flags that do not exist spoil the whole
//! request.

use super::create::CreateMode;
use super::draft::Draft;
use super::stages::{self, Within, complete_request, is_judged};
use crate::model::txn::{Outcome, Slot};
use crate::model::{ErrorCode, path};
use crate::pipeline::Plugins;
use crate::wire::request::{Create, CreateForm, Operation, Request};

/// One slot an operation, or the refusal of all.
pub(crate) fn evaluate(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, operations: &[Operation]) -> Outcome {
    if !operations.iter().all(is_understood) {
        return Outcome::Refused(ErrorCode::MarshallingError.into());
    }
    // A request is at most a frame, so the number of its operations fits.
    let count = operations.len() as u32;
    let mut slots = Vec::with_capacity(operations.len());
    for (index, operation) in operations.iter().enumerate() {
        match stages::operation(draft, plugins, &operation.request, Within::Multi) {
            Ok(slot) => slots.push(slot),
            Err(refusal) => return Outcome::MultiRefused { failed: index as u32, operations: count, refusal },
        }
    }
    match complete_request(draft, plugins) {
        Ok(()) => Outcome::Done(slots),
        Err(refusal) => {
            Outcome::MultiRefused { failed: last_judged(draft, &slots, operations), operations: count, refusal }
        }
    }
}

/// The opcode that an operation counts as. It decides the form of the operation's result: the result of a create has a
/// Stat if this is not `op::CREATE`.
#[cfg(test)]
pub(crate) fn effective_op(operation: &Operation) -> i32 {
    use crate::wire::request::op;
    match &operation.request {
        Request::Create(create) => match create_form(create) {
            CreateForm::Create => op::CREATE,
            CreateForm::Create2 => op::CREATE2,
            CreateForm::Container => op::CREATE_CONTAINER,
            CreateForm::Ttl => op::CREATE_TTL,
            CreateForm::IfNotExists => op::CREATE_IF_NOT_EXISTS,
        },
        _ => operation.op,
    }
}

/// The form that a create within a multi counts as.
pub(crate) fn create_form(create: &Create) -> CreateForm {
    match (create.form, CreateMode::from_flags(create.flags)) {
        (CreateForm::IfNotExists, _) => CreateForm::IfNotExists,
        (_, Some(mode)) if mode.container => CreateForm::Container,
        (_, Some(mode)) if mode.ttl => CreateForm::Ttl,
        (CreateForm::Ttl, _) => CreateForm::Create,
        (form, _) => form,
    }
}

/// The operation that a refusal of the whole multi is attributed to: the last one that changed something validators
/// judge. Clients read the code from whichever slot has one.
fn last_judged(draft: &Draft<'_>, slots: &[Slot], operations: &[Operation]) -> u32 {
    let changes = |slot: &Slot, request: &Request| match (slot, request) {
        (Slot::Change(index), _) => draft.changes.get(*index as usize).is_some_and(is_judged),
        (Slot::Nothing, Request::Delete { path: Some(path), .. }) => !path::is_servers_own(path),
        (Slot::Path(path), Request::Create(create)) => {
            create.form != CreateForm::IfNotExists && !path::is_servers_own(path)
        }
        (Slot::Path(path), _) => !path::is_servers_own(path),
        (Slot::Nothing, _) => false,
    };
    let last = slots.iter().zip(operations).rposition(|(slot, operation)| changes(slot, &operation.request));
    last.unwrap_or(0) as u32
}

/// Whether ZooKeeper parses the operation: a known operation, a path and an ACL that are not null, flags that exist,
/// and createTTL if the flags ask for a TTL. Of createTTL ZooKeeper checks only the path.
fn is_understood(operation: &Operation) -> bool {
    match &operation.request {
        Request::Create(create) => {
            let options_are_good = match (create.form, CreateMode::from_flags(create.flags)) {
                (CreateForm::Ttl, _) => true,
                (_, Some(mode)) => !mode.ttl && create.acl.is_some(),
                (_, None) => false,
            };
            create.path.is_some() && options_are_good
        }
        Request::Delete { path, .. }
        | Request::SetData { path, .. }
        | Request::Check { path, .. }
        | Request::CheckNotExists { path, .. } => path.is_some(),
        _ => false,
    }
}
