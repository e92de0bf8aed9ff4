//! Paths and names of nodes.

/// The number of digits that ZooKeeper appends to the name of a sequential node.
pub const DIGITS: usize = 10;

/// The last name of a path: `c` of `/a/b/c`.
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The path without its last name: `/a/b` of `/a/b/c`, and `/` of `/a`.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

/// The names of `path` below `mount`: `["b", "c"]` for `/a/b/c` below `/a`, and an empty list for `/a` itself. `None`
/// if `path` does not lie there. A client that wants a child with digits alone as its name asks for `/a/`: that has one
/// empty name.
pub fn below<'a>(mount: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let rest = path.strip_prefix(mount.trim_end_matches('/'))?;
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Some(Vec::new()),
        None => None,
        Some("") if mount == "/" => Some(Vec::new()),
        Some(rest) => Some(rest.split('/').collect()),
    }
}

/// Whether `path` is `root` or lies below it. A grant or a rule on `root` covers these paths.
pub fn is_within(path: &str, root: &str) -> bool {
    let rest = path.strip_prefix(root.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The ten digits at the end of a sequential node's name. `None` if the name does not end with ten digits.
pub fn digits(name: &str) -> Option<&str> {
    let digits = name.len().checked_sub(DIGITS).and_then(|at| name.get(at..))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths() {
        assert_eq!((name("/a/b/c"), parent("/a/b/c")), ("c", "/a/b"));
        assert_eq!((name("/a"), parent("/a")), ("a", "/"));
        assert_eq!(below("/a", "/a/b/c"), Some(vec!["b", "c"]));
        assert_eq!(below("/", "/b"), Some(vec!["b"]));
        assert_eq!((below("/a", "/a"), below("/", "/")), (Some(vec![]), Some(vec![])));
        assert_eq!((below("/a", "/a/"), below("/a", "/a/b/")), (Some(vec![""]), Some(vec!["b", ""])));
        assert_eq!((below("/a", "/ab"), below("/a/b", "/a")), (None, None));
        assert_eq!((digits("lock-0000000012"), digits("0000000012")), (Some("0000000012"), Some("0000000012")));
        assert_eq!((digits("lock-000000001x"), digits("ö00000000"), digits("")), (None, None, None));
    }
}
