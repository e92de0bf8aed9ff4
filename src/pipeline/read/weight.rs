//! How much work a read would be now, before it is done.

use crate::limits::{HEAVY_READ_BYTES, LISTED_NAME_BYTES};
use crate::model::SessionId;
use crate::state::State;
use crate::wire::request::{Operation, Request};

/// About how many bytes the answer would have, where a name in a list and a look-up count as `LISTED_NAME_BYTES`. The
/// state may change before the request is answered.
pub(crate) fn weight(state: &State, session: SessionId, request: &Request) -> usize {
    match request {
        Request::GetData { path, .. } => data(state, path),
        Request::GetAcl { path } => node(state, path).map_or(0, |node| node.acl().len() * LISTED_NAME_BYTES),
        Request::GetChildren { path, .. } | Request::GetChildren2 { path, .. } | Request::FilteredList { path, .. } => {
            names(state, path)
        }
        Request::GetEphemerals { .. } => state.ephemerals_of(session) * LISTED_NAME_BYTES,
        Request::MultiRead(operations) => of_operations(state, operations),
        Request::SetWatches(asked) => asked.count() * LISTED_NAME_BYTES,
        _ => 0,
    }
}

fn of_operations(state: &State, operations: &[Operation]) -> usize {
    let mut bytes = operations.len() * LISTED_NAME_BYTES;
    for operation in operations {
        // Beyond that, more exact numbers change nothing.
        if bytes > HEAVY_READ_BYTES {
            break;
        }
        bytes += match &operation.request {
            Request::GetData { path, .. } => data(state, path),
            Request::GetChildren { path, .. } => names(state, path),
            _ => 0,
        };
    }
    bytes
}

fn node<'a>(state: &'a State, path: &Option<String>) -> Option<crate::state::Node<'a>> {
    state.node(path.as_deref()?)
}

fn data(state: &State, path: &Option<String>) -> usize {
    node(state, path).and_then(|node| node.data()).map_or(0, <[u8]>::len)
}

fn names(state: &State, path: &Option<String>) -> usize {
    node(state, path).map_or(0, |node| node.child_count() * LISTED_NAME_BYTES)
}
