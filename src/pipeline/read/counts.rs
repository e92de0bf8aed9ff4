//! getEphemerals and getAllChildrenNumber.

use super::Reader;
use crate::model::ErrorCode;
use crate::wire::reply::Body;

/// The session's own ephemeral nodes whose paths begin with `prefix`. All of them if `prefix` is null, blank or the
/// root.
pub(crate) fn ephemerals<'a>(reader: Reader<'a>, prefix: Option<&'a str>) -> Body<'a> {
    Body::Paths(reader.state.ephemerals_below(reader.session, wanted_prefix(prefix)).collect())
}

/// The prefix that the paths of a getEphemerals must have.
pub(super) fn wanted_prefix(prefix: Option<&str>) -> &str {
    prefix.filter(|prefix| !matches!(prefix.trim(), "" | "/")).unwrap_or("")
}

/// The number of nodes below the node at `path`, which the tree keeps. For the empty path, ZooKeeper counts the root
/// itself as well.
pub(crate) fn all_children<'a>(reader: Reader<'a>, path: &str) -> Result<Body<'a>, ErrorCode> {
    reader.readable(path)?;
    let (root, more) = if path.is_empty() { ("/", 1) } else { (path, 0) };
    let count = reader.state.subtree_count(root).ok_or(ErrorCode::NoNode)? + more;
    Ok(Body::Number(i32::try_from(count).unwrap_or(i32::MAX)))
}
