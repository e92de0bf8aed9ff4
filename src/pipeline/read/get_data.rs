//! getData: a node's data and Stat. Needs READ. Only clients that may deploy plugins read manifests and modules.

use super::{Reader, Scratch, virtual_nodes};
use crate::model::{ErrorCode, Stat};
use crate::wire::reply::Body;

pub(crate) fn read<'a>(reader: Reader<'a>, path: &'a str, scratch: &'a mut Scratch) -> Result<Body<'a>, ErrorCode> {
    scratch.virtual_data.clear();
    scratch.virtual_data.push(virtual_nodes::overriding(reader, path));
    let overriding = scratch.virtual_data.first().and_then(|data| data.as_deref());
    let (data, stat) = data(reader, path, overriding)?;
    Ok(Body::DataStat(data, stat))
}

/// `overriding`: the data of the virtual node at that path, if there is one.
pub(crate) fn data<'a>(
    reader: Reader<'a>,
    path: &str,
    overriding: Option<&'a [u8]>,
) -> Result<(Option<&'a [u8]>, Stat), ErrorCode> {
    if let Some(data) = overriding {
        return Ok((Some(data), virtual_nodes::stat(data)));
    }
    match reader.readable(path) {
        Ok(_) | Err(ErrorCode::NoNode) if !virtual_nodes::may_see(reader, path) => Err(ErrorCode::NoAuth),
        Ok(node) => Ok((node.data(), node.stat())),
        Err(ErrorCode::NoNode) => {
            let data = virtual_nodes::fallback(path).ok_or(ErrorCode::NoNode)?;
            Ok((Some(data), virtual_nodes::stat(data)))
        }
        Err(code) => Err(code),
    }
}
