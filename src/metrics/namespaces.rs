//! Bytes read and written below each child of the root: `mntr`'s `..._read_per_namespace` and
//! `..._write_per_namespace`.
//!
//! The namespaces are in a table of fixed size. Entries are never removed, so counting takes no lock. A namespace gets
//! a free place near the one that the hash of its name selects. If there is none, the namespace is not counted.
//! ZooKeeper counts without a bound.

use super::Summary;
use crate::limits::{NAMESPACE_BYTES_MAX, NAMESPACES_COUNTED};
use std::sync::OnceLock;

/// How many places are tried for one name.
const PLACES_TRIED: usize = 8;

/// The counted namespaces.
#[derive(Debug)]
pub(crate) struct Namespaces {
    places: [OnceLock<Namespace>; NAMESPACES_COUNTED],
}

/// One namespace. Each value is the length of a path plus the bytes that were read or written there.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: Box<str>,
    pub(crate) read: Summary,
    pub(crate) write: Summary,
}

impl Namespaces {
    pub(super) const fn new() -> Namespaces {
        Namespaces { places: [const { OnceLock::new() }; NAMESPACES_COUNTED] }
    }

    /// `bytes` were read at `path`.
    pub(crate) fn read(&self, path: &str, bytes: usize) {
        if let Some(namespace) = self.of(path) {
            namespace.read.add((path.len() + bytes) as u64);
        }
    }

    /// `bytes` were written at `path`.
    pub(crate) fn written(&self, path: &str, bytes: usize) {
        if let Some(namespace) = self.of(path) {
            namespace.write.add((path.len() + bytes) as u64);
        }
    }

    /// The namespaces counted so far.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Namespace> {
        self.places.iter().filter_map(OnceLock::get)
    }

    /// The namespace of a path. None: the path is the root, the name is too long, or no place is free.
    fn of(&self, path: &str) -> Option<&Namespace> {
        let name = path.strip_prefix('/')?.split('/').next()?;
        if name.is_empty() || name.len() > NAMESPACE_BYTES_MAX {
            return None;
        }
        // FNV-1a: names are short. A client that makes names collide only spoils a figure.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let first = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash) as usize % NAMESPACES_COUNTED;
        let places = self.places.iter().cycle().skip(first).take(PLACES_TRIED);
        let named = places.map(|place| place.get_or_init(|| Namespace::new(name)));
        named.into_iter().find(|namespace| *namespace.name == *name)
    }
}

impl Namespace {
    fn new(name: &str) -> Namespace {
        Namespace { name: name.into(), read: Summary::new(), write: Summary::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_paths_and_data_by_the_first_name() {
        let namespaces = Namespaces::new();
        namespaces.read("/a", 10);
        namespaces.read("/a/b", 0);
        namespaces.written("/b", 3);
        namespaces.read("/", 5);
        let mut all: Vec<_> = namespaces.all().map(|n| (&*n.name, n.read.totals().sum, n.write.totals().sum)).collect();
        all.sort_unstable();
        assert_eq!(all, [("a", 16, 0), ("b", 0, 5)]);
    }

    #[test]
    fn more_names_than_places() {
        let namespaces = Namespaces::new();
        for name in 0..10 * NAMESPACES_COUNTED {
            namespaces.written(&format!("/{name}"), 0);
        }
        namespaces.written(&format!("/{}", "n".repeat(NAMESPACE_BYTES_MAX + 1)), 0);
        assert!(namespaces.all().count() <= NAMESPACES_COUNTED);
        assert!(namespaces.all().all(|namespace| namespace.write.totals().count == 1));
    }
}
