//! multiRead: several reads on one state, each with its own error.

use super::{Reader, Scratch, get_children, get_data, required, virtual_nodes};
use crate::model::ErrorCode;
use crate::wire::reply::{Body, MultiSlot};
use crate::wire::request::{Operation, Request};

pub fn read<'a>(
    reader: Reader<'a>,
    operations: &'a [Operation],
    scratch: &'a mut Scratch,
) -> Result<Body<'a>, ErrorCode> {
    // First what virtual nodes say, since the slots borrow it.
    scratch.virtual_data.clear();
    for operation in operations {
        let data = match &operation.request {
            Request::GetData { path, .. } => virtual_nodes::overriding(reader, required(path)?),
            _ => None,
        };
        scratch.virtual_data.push(data);
    }
    let slots = operations.iter().zip(&scratch.virtual_data).map(|(operation, overriding)| {
        let slot = match &operation.request {
            Request::GetData { path, .. } => {
                let data = get_data::data(reader, required(path)?, overriding.as_deref());
                data.map(|(data, stat)| MultiSlot::Data(data, stat))
            }
            Request::GetChildren { path, .. } => get_children::list(reader, required(path)?).map(MultiSlot::Children),
            // Other operations spoil the whole request.
            _ => return Err(ErrorCode::MarshallingError),
        };
        Ok(slot.unwrap_or_else(|code| MultiSlot::Error(code.code())))
    });
    slots.collect::<Result<_, _>>().map(Body::Multi)
}
