//! multiRead: several reads on one state, each with its own error.

use super::{Reader, Scratch, get_children, get_data, required, virtual_nodes};
use crate::model::ErrorCode;
use crate::wire::reply::{Body, MultiSlot};
use crate::wire::request::{Operation, Request};

/// A null path or an operation that is not a read ends the request. The client still gets the slots before it.
pub(crate) fn read<'a>(
    reader: Reader<'a>,
    operations: &'a [Operation],
    scratch: &'a mut Scratch,
) -> Result<Body<'a>, ErrorCode> {
    // The data of virtual nodes comes first, because the slots borrow it.
    scratch.virtual_data.clear();
    for operation in operations {
        let data = match &operation.request {
            Request::GetData { path: Some(path), .. } => virtual_nodes::overriding(reader, path),
            _ => None,
        };
        scratch.virtual_data.push(data);
    }
    let mut slots = Vec::new();
    for (at, (operation, overriding)) in operations.iter().zip(&scratch.virtual_data).enumerate() {
        let read = match reader.denied.get(at) {
            Some(Some(code)) => Ok(MultiSlot::Error(code.code())),
            _ => slot(reader, &operation.request, overriding.as_deref()),
        };
        match read {
            Ok(slot) => slots.push(slot),
            Err(_) => return Ok(Body::BrokenMulti(slots)),
        }
    }
    Ok(Body::Multi(slots))
}

fn slot<'a>(
    reader: Reader<'a>,
    request: &'a Request,
    overriding: Option<&'a [u8]>,
) -> Result<MultiSlot<'a>, ErrorCode> {
    let slot = match request {
        Request::GetData { path, .. } => {
            let data = get_data::data(reader, required(path)?, overriding);
            data.map(|(data, stat)| MultiSlot::Data(data, stat))
        }
        Request::GetChildren { path, .. } => get_children::list(reader, required(path)?).map(MultiSlot::Children),
        _ => return Err(ErrorCode::MarshallingError),
    };
    Ok(slot.unwrap_or_else(|code| MultiSlot::Error(code.code())))
}
