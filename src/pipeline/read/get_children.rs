//! getChildren, getChildren2, and ClickHouse's filteredList: names of children. They need READ. The names come in the order of
//! the state's hash tables, which differs between replicas. ZooKeeper promises no order either.

use super::Reader;
use crate::model::{ErrorCode, path};
use crate::wire::reply::Body;

pub(crate) fn names<'a>(reader: Reader<'a>, path: &str) -> Result<Body<'a>, ErrorCode> {
    list(reader, path).map(Body::Children)
}

pub(crate) fn names_and_stat<'a>(reader: Reader<'a>, path: &str) -> Result<Body<'a>, ErrorCode> {
    let node = reader.readable(path)?;
    Ok(Body::ChildrenStat(node.children().collect(), node.stat()))
}

/// `filter`: 0 all children, 1 without ephemeral nodes, 2 ephemeral nodes only.
pub(crate) fn filtered<'a>(reader: Reader<'a>, path: &str, filter: u8) -> Result<Body<'a>, ErrorCode> {
    let ephemeral = match filter {
        0 => return names_and_stat(reader, path),
        1 => false,
        2 => true,
        _ => return Err(ErrorCode::BadArguments),
    };
    let node = reader.readable(path)?;
    let root = if path.is_empty() { "/" } else { path };
    let wanted = |name: &&str| {
        let child = reader.state.node(&path::join(root, name));
        child.is_some_and(|child| child.owner().is_ephemeral() == ephemeral)
    };
    Ok(Body::ChildrenStat(node.children().filter(wanted).collect(), node.stat()))
}

pub(crate) fn list<'a>(reader: Reader<'a>, path: &str) -> Result<Vec<&'a str>, ErrorCode> {
    Ok(reader.readable(path)?.children().collect())
}
