//! Bytes read and written below each child of the root: `mntr`'s `..._read_per_namespace` and `..._write_per_namespace`.
//!
//! A table of fixed size that is only ever filled, so that counting takes no lock: whoever comes first gets a place near
//! that of its name. Who finds none is not counted, where ZooKeeper would count without a bound.

use super::Summary;
use crate::limits::{NAMESPACE_BYTES_MAX, NAMESPACES_COUNTED};
use std::sync::OnceLock;

/// So many places are looked at for one name.
const PLACES_TRIED: usize = 8;

#[derive(Debug)]
pub struct Namespaces {
    places: [OnceLock<Namespace>; NAMESPACES_COUNTED],
}

/// Each value is the length of a path and of what was read or written there.
#[derive(Debug)]
pub struct Namespace {
    pub name: Box<str>,
    pub read: Summary,
    pub write: Summary,
}

impl Namespaces {
    pub(super) const fn new() -> Namespaces {
        Namespaces { places: [const { OnceLock::new() }; NAMESPACES_COUNTED] }
    }

    pub fn read(&self, path: &str, bytes: usize) {
        if let Some(namespace) = self.of(path) {
            namespace.read.add((path.len() + bytes) as u64);
        }
    }

    pub fn written(&self, path: &str, bytes: usize) {
        if let Some(namespace) = self.of(path) {
            namespace.write.add((path.len() + bytes) as u64);
        }
    }

    /// Those counted so far.
    pub fn all(&self) -> impl Iterator<Item = &Namespace> {
        self.places.iter().filter_map(OnceLock::get)
    }

    /// None for the root, for an overlong name, and when all places are taken.
    fn of(&self, path: &str) -> Option<&Namespace> {
        let name = path.strip_prefix('/')?.split('/').next()?;
        if name.is_empty() || name.len() > NAMESPACE_BYTES_MAX {
            return None;
        }
        // FNV-1a: names are short, and whoever makes them collide only spoils a figure.
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
