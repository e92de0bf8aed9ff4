//! multi: all operations or none, in one transaction. Each sees what the ones before left; a failure takes all of it back,
//! sequence numbers included.
//!
//! Within a multi ZooKeeper decides by the flags what a create counts as (Op.java): container flags make a container
//! whatever the opcode, createTTL with other flags is an ordinary create, and flags that cannot be meant spoil the
//! whole request.

use super::create::{self, CreateMode};
use super::draft::Draft;
use super::{check, delete, recipe, set_data};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::Plugins;
use crate::wire::request::{CreateForm, Operation, Request, op};

/// Why a multi is refused.
pub enum Failure {
    /// It cannot be understood: no operation was looked at.
    Whole(Refusal),
    Operation {
        failed: u32,
        refusal: Refusal,
    },
}

/// One slot an operation.
pub fn evaluate(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    operations: &[Operation],
) -> Result<Vec<Slot>, Failure> {
    if !operations.iter().all(is_understood) {
        return Err(Failure::Whole(ErrorCode::MarshallingError.into()));
    }
    let mut slots = Vec::with_capacity(operations.len());
    for (index, operation) in operations.iter().enumerate() {
        // Operations come in a frame, so their number fits.
        let slot = evaluate_operation(draft, plugins, operation)
            .map_err(|refusal| Failure::Operation { failed: index as u32, refusal })?;
        slots.push(slot);
    }
    Ok(slots)
}

/// The opcode that an operation counts as, and whose form its result has. A reply to a create, for one, has a Stat if
/// this is not `op::CREATE`.
pub fn effective_op(operation: &Operation) -> i32 {
    let Request::Create(create) = &operation.request else { return operation.op };
    match create.form {
        CreateForm::IfNotExists => op::CREATE_IF_NOT_EXISTS,
        form => match (CreateMode::from_flags(create.flags), form) {
            (Some(mode), _) if mode.container => op::CREATE_CONTAINER,
            (Some(mode), _) if mode.ttl => op::CREATE_TTL,
            (_, CreateForm::Ttl | CreateForm::Create) => op::CREATE,
            (_, CreateForm::Container) => op::CREATE_CONTAINER,
            (_, _) => op::CREATE2,
        },
    }
}

fn evaluate_operation(
    draft: &mut Draft<'_>,
    plugins: &mut dyn Plugins,
    operation: &Operation,
) -> Result<Slot, Refusal> {
    let form = match effective_op(operation) {
        op::CREATE => CreateForm::Create,
        op::CREATE_CONTAINER => CreateForm::Container,
        op::CREATE_TTL => CreateForm::Ttl,
        op::CREATE_IF_NOT_EXISTS => CreateForm::IfNotExists,
        _ => CreateForm::Create2,
    };
    recipe::first(draft, plugins, &operation.request, form, |draft, plugins| match &operation.request {
        Request::Create(create) => create::evaluate(draft, plugins, create, form),
        Request::Delete { path, version } => delete::evaluate(draft, plugins, path, *version),
        Request::SetData { path, data, version } => set_data::evaluate(draft, plugins, path, data, *version),
        Request::Check { path, version } => check::evaluate(draft, plugins, path, *version),
        Request::CheckNotExists { path, version } => check::evaluate_absence(draft, plugins, path, *version),
        _ => Err(ErrorCode::MarshallingError.into()),
    })
}

/// What ZooKeeper takes apart at all: known operations, paths and access lists that are not null, flags that exist, and a
/// time to live where the flags ask for one. Of createTTL it looks at the path only.
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
