//! getEphemerals and getAllChildrenNumber.

use super::Reader;
use crate::model::ErrorCode;
use crate::wire::reply::Body;

/// The session's own ephemeral nodes whose paths begin with that text; all of them for none, a blank one, or the root.
pub fn ephemerals<'a>(reader: Reader<'a>, prefix: Option<&str>) -> Body<'a> {
    let prefix = prefix.filter(|prefix| !matches!(prefix.trim(), "" | "/")).unwrap_or("");
    let paths = reader.state.ephemerals(reader.session).map(|path| &**path);
    Body::Paths(paths.filter(|path| path.starts_with(prefix)).collect())
}

/// How many nodes lie below that one. ZooKeeper takes the empty path for the root, and counts the root itself then.
pub fn all_children<'a>(reader: Reader<'a>, path: &str) -> Result<Body<'a>, ErrorCode> {
    reader.readable(path)?;
    let (root, more) = if path.is_empty() { ("/", 1) } else { (path, 0) };
    let count = reader.state.subtree_count(root).ok_or(ErrorCode::NoNode)? + more;
    Ok(Body::Number(i32::try_from(count).unwrap_or(i32::MAX)))
}
