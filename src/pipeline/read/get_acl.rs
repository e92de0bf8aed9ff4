//! getACL: needs READ or ADMIN; without ADMIN the hashes of passwords are masked.

use super::{Reader, Scratch};
use crate::model::{ErrorCode, acl};
use crate::pipeline::authorize;
use crate::wire::reply::Body;

pub(crate) fn read<'a>(reader: Reader<'a>, path: &str, scratch: &'a mut Scratch) -> Result<Body<'a>, ErrorCode> {
    let node = reader.node(path, acl::READ | acl::ADMIN)?;
    let list = node.acl();
    if reader.has(list, acl::ADMIN) {
        return Ok(Body::AclStat(list, node.stat()));
    }
    scratch.acl = authorize::masked(list);
    Ok(Body::AclStat(&scratch.acl, node.stat()))
}
