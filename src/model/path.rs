//! Paths of znodes: ZooKeeper's rules for them (PathUtils.java), and taking them apart.

use super::control_plane;
use thiserror::Error;

#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum PathError {
    #[error("a path cannot be empty")]
    Empty,
    #[error("a path must start with /")]
    NotAbsolute,
    #[error("a path must not end with /")]
    TrailingSlash,
    #[error("empty name at byte {0}")]
    EmptyName(usize),
    #[error("relative name (. or ..) at byte {0}")]
    Relative(usize),
    #[error("character U+{1:04X} at byte {0} is not allowed")]
    Character(usize, u32),
}

/// Checks a path by ZooKeeper's rules. In ZooKeeper, writes and watches check their paths. Most reads do not.
pub(crate) fn validate(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if path.len() == 1 {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    let mut offset = 1;
    for name in path[1..].split('/') {
        match name {
            "" => return Err(PathError::EmptyName(offset)),
            "." | ".." => return Err(PathError::Relative(offset)),
            _ => {}
        }
        offset += name.len() + 1;
    }
    match path.char_indices().find(|&(_, c)| !allowed(c)) {
        Some((at, c)) => Err(PathError::Character(at, c as u32)),
        None => Ok(()),
    }
}

/// Whether a name may contain the character. Java checks UTF-16 units, so characters beyond the first plane, which are
/// pairs of surrogates there, are refused as well.
pub(crate) fn allowed(c: char) -> bool {
    !matches!(c as u32, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff | 0x10000..)
}

/// The path of the parent. None for the root and for a text without a slash.
pub(crate) fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}

/// The last name of a path. Empty for the root.
pub(crate) fn name(path: &str) -> &str {
    path.rfind('/').map_or(path, |at| &path[at + 1..])
}

/// The path of a child.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// Whether `path` is `root` or lies below it.
pub fn is_within(path: &str, root: &str) -> bool {
    root == "/" || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether `path` is `/zookeeper` or lies below it. The server keeps its own nodes there.
pub(crate) fn is_servers_own(path: &str) -> bool {
    is_within(path, control_plane::ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_zookeeper() {
        for good in ["/", "/a", "/a/b", "/a/.b", "/a/b.", "/…", "/a b", "/\u{e000}".replace('\u{e000}', "x").as_str()]
        {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/a/..",
            "/a/./b",
            "/\0",
            "/a\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{fff0}",
            "/\u{1f600}",
        ] {
            assert!(validate(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parts() {
        assert_eq!(parent("/"), None);
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(name("/a/b"), "b");
        assert_eq!(name("/"), "");
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/a", "b"), "/a/b");
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/x", "/") && !is_within("/ab", "/a"));
    }
}
