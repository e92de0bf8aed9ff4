//! exists: a node's Stat. Needs READ if the node exists.

use super::{Reader, Scratch, virtual_nodes};
use crate::model::ErrorCode;
use crate::wire::reply::Body;

pub(crate) fn read<'a>(reader: Reader<'a>, path: &'a str, scratch: &'a mut Scratch) -> Result<Body<'a>, ErrorCode> {
    // This is the only read whose path ZooKeeper checks.
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    scratch.virtual_data.clear();
    if let Some(data) = virtual_nodes::overriding(reader, path) {
        return Ok(Body::Stat(virtual_nodes::stat(&data)));
    }
    match reader.readable(path) {
        Ok(node) => Ok(Body::Stat(node.stat())),
        Err(ErrorCode::NoNode) => {
            virtual_nodes::fallback(path).map(|data| Body::Stat(virtual_nodes::stat(data))).ok_or(ErrorCode::NoNode)
        }
        Err(code) => Err(code),
    }
}
