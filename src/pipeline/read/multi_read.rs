//! multiRead: several reads on one state, each with its own error.
//!
//! The answer is bounded while it is made. An operation beyond a bound gets THROTTLEDOP, which says that nothing was
//! read. The client asks for it in another request. So a short request cannot ask for gigabytes, and one request holds
//! the state's lock for some milliseconds at most.

use super::{Reader, Scratch, get_children, get_data, required, virtual_nodes};
use crate::limits::{
    MULTI_READ_BYTES_MAX, MULTI_READ_NAMES_MAX, MULTI_READ_OPERATIONS_MAX, MULTI_READ_VIRTUAL_BYTES_MIN,
};
use crate::model::ErrorCode;
use crate::wire::encode;
use crate::wire::reply::{Body, MultiSlot};
use crate::wire::request::{Operation, Request};

/// What a slot beyond a bound gets.
const BEYOND: MultiSlot<'static> = MultiSlot::Error(ErrorCode::ThrottledOp.code());

/// How many bytes and names the rest of the answer may have.
struct Left {
    /// Becomes smaller with every slot. The slot that uses it up is still sent in full, so one node of any size can be
    /// read.
    bytes: usize,
    names: usize,
}

/// A null path or an operation that is not a read ends the request. The client still gets the slots before it.
pub(crate) fn read<'a>(
    reader: Reader<'a>,
    operations: &'a [Operation],
    scratch: &'a mut Scratch,
) -> Result<Body<'a>, ErrorCode> {
    fill_virtual_data(reader, operations, scratch);
    let mut left = Left { bytes: MULTI_READ_BYTES_MAX, names: MULTI_READ_NAMES_MAX };
    let mut slots = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        // Operations without an entry are beyond the bounds.
        let overriding = scratch.virtual_data.get(at).filter(|_| left.bytes > 0);
        let read = match (overriding, reader.denied.get(at)) {
            (None, _) => Ok(BEYOND),
            (Some(_), Some(Some(code))) => Ok(MultiSlot::Error(code.code())),
            (Some(overriding), _) => slot(reader, &operation.request, overriding.as_deref(), &mut left),
        };
        match read {
            Ok(slot) => slots.push(slot),
            Err(_) => return Ok(Body::BrokenMulti(slots)),
        }
    }
    Ok(Body::Multi(slots))
}

/// Makes the data of virtual nodes before any slot is filled, because the slots borrow the data. One entry for each
/// operation within the bounds.
fn fill_virtual_data(reader: Reader<'_>, operations: &[Operation], scratch: &mut Scratch) {
    scratch.virtual_data.clear();
    let mut bytes = 0;
    for operation in operations.iter().take(MULTI_READ_OPERATIONS_MAX) {
        if bytes >= MULTI_READ_BYTES_MAX {
            break;
        }
        let data = match &operation.request {
            Request::GetData { path: Some(path), .. } => virtual_nodes::overriding(reader, path),
            _ => None,
        };
        bytes += data.as_ref().map_or(0, |data| data.len().max(MULTI_READ_VIRTUAL_BYTES_MIN));
        scratch.virtual_data.push(data);
    }
}

fn slot<'a>(
    reader: Reader<'a>,
    request: &'a Request,
    overriding: Option<&'a [u8]>,
    left: &mut Left,
) -> Result<MultiSlot<'a>, ErrorCode> {
    let slot = match request {
        Request::GetData { path, .. } => {
            let data = get_data::data(reader, required(path)?, overriding);
            data.map(|(data, stat)| MultiSlot::Data(data, stat))
        }
        Request::GetChildren { path, .. } => children(reader, required(path)?, left),
        _ => return Err(ErrorCode::MarshallingError),
    };
    let slot = slot.unwrap_or_else(|code| MultiSlot::Error(code.code()));
    left.bytes = left.bytes.saturating_sub(encode::slot_bytes(&slot));
    Ok(slot)
}

fn children<'a>(reader: Reader<'a>, path: &str, left: &mut Left) -> Result<MultiSlot<'a>, ErrorCode> {
    let count = reader.readable(path)?.child_count();
    left.names = left.names.checked_sub(count).ok_or(ErrorCode::ThrottledOp)?;
    get_children::list(reader, path).map(MultiSlot::Children)
}
