//! getChildren, getChildren2, and ClickHouse's filteredList: names of children. They need READ. The names come in the
//! order of the state's hash tables, which differs between replicas. ZooKeeper promises no order either.

use super::Reader;
use crate::model::{ErrorCode, Owner};
use crate::wire::reply::Body;

/// Which children filteredList lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Filter {
    All,
    Ephemeral,
    NotEphemeral,
}

impl Filter {
    /// `filter`: 0 all children, 1 without ephemeral nodes, 2 ephemeral nodes only.
    pub(super) fn from_wire(filter: u8) -> Result<Filter, ErrorCode> {
        match filter {
            0 => Ok(Filter::All),
            1 => Ok(Filter::NotEphemeral),
            2 => Ok(Filter::Ephemeral),
            _ => Err(ErrorCode::BadArguments),
        }
    }

    pub(super) fn wants(self, owner: Owner) -> bool {
        match self {
            Filter::All => true,
            Filter::Ephemeral => owner.is_ephemeral(),
            Filter::NotEphemeral => !owner.is_ephemeral(),
        }
    }
}

pub(crate) fn names<'a>(reader: Reader<'a>, path: &str) -> Result<Body<'a>, ErrorCode> {
    list(reader, path).map(Body::Children)
}

pub(crate) fn names_and_stat<'a>(reader: Reader<'a>, path: &str) -> Result<Body<'a>, ErrorCode> {
    let node = reader.readable(path)?;
    Ok(Body::ChildrenStat(node.children().collect(), node.stat()))
}

pub(crate) fn filtered<'a>(reader: Reader<'a>, path: &str, filter: u8) -> Result<Body<'a>, ErrorCode> {
    let filter = Filter::from_wire(filter)?;
    let node = reader.readable(path)?;
    let wanted = node.children_owned().filter(|&(_, owner)| filter.wants(owner));
    Ok(Body::ChildrenStat(wanted.map(|(name, _)| name).collect(), node.stat()))
}

pub(crate) fn list<'a>(reader: Reader<'a>, path: &str) -> Result<Vec<&'a str>, ErrorCode> {
    Ok(reader.readable(path)?.children().collect())
}
