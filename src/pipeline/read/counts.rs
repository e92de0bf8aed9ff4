//! getEphemerals and getAllChildrenNumber.

use super::Reader;
use crate::model::ErrorCode;
use crate::wire::reply::Body;

/// The session's own ephemeral nodes whose paths begin with `prefix`. All of them if `prefix` is null, blank or the root.
pub(crate) fn ephemerals<'a>(reader: Reader<'a>, prefix: Option<&str>) -> Body<'a> {
    let prefix = prefix.filter(|prefix| !matches!(prefix.trim(), "" | "/")).unwrap_or("");
    let paths = reader.state.ephemerals(reader.session).map(|path| &**path);
    Body::Paths(paths.filter(|path| path.starts_with(prefix)).collect())
}

/// The number of nodes below the node at `path`. For the empty path, ZooKeeper counts the root itself as well.
pub(crate) fn all_children<'a>(reader: Reader<'a>, path: &str) -> Result<Body<'a>, ErrorCode> {
    reader.readable(path)?;
    let (root, more) = if path.is_empty() { ("/", 1) } else { (path, 0) };
    let count = reader.state.subtree_count(root).ok_or(ErrorCode::NoNode)? + more;
    Ok(Body::Number(i32::try_from(count).unwrap_or(i32::MAX)))
}
