//! Manifests and components in the tree.
//!
//! ```text
//! /zookeeper/plugins/<name>                  the manifest in force
//! /zookeeper/plugins/<name>/canary           the manifest of a version on trial
//! /zookeeper/plugins/<name>/versions/<n>     the last manifests
//! /zookeeper/modules/<sha256>/00000 ...      a component in pieces
//! ```

use super::Manifest;
use crate::limits;
use crate::model::control_plane::{CANARY, VERSIONS};
use crate::model::path;
use crate::plugin::MODULES;
use crate::plugin::PLUGINS;
use crate::plugin::manifest;
use crate::state::State;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// [`limits::CHUNK_UNUSED`], as node times count.
const CHUNK_UNUSED_MS: i64 = limits::ms(limits::CHUNK_UNUSED).cast_signed();

/// What plugins read of the tree. `State` implements it, and a map for tests.
pub(crate) trait Tree {
    fn data(&self, path: &str) -> Option<Vec<u8>>;
    fn children(&self, path: &str) -> Vec<String>;
    /// The zxid of the last change to the node's data.
    fn mzxid(&self, path: &str) -> Option<i64>;
    /// When the node was created, in Unix milliseconds.
    fn ctime(&self, path: &str) -> Option<i64>;
}

impl Tree for State {
    fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.node(path).map(|node| node.data().unwrap_or_default().to_vec())
    }

    fn children(&self, path: &str) -> Vec<String> {
        self.node(path).map_or_else(Vec::new, |node| node.children().map(String::from).collect())
    }

    fn mzxid(&self, path: &str) -> Option<i64> {
        self.node(path).map(|node| node.mzxid())
    }

    fn ctime(&self, path: &str) -> Option<i64> {
        self.node(path).map(|node| node.stat().ctime)
    }
}

/// Reads a component from its pieces, and checks its size and digest. `read` returns a node's data.
pub(crate) fn read_component(
    component: &manifest::Component,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, String> {
    let bytes_max = limits::COMPONENT_BYTES_MAX.min(usize::try_from(component.bytes).unwrap_or(usize::MAX));
    let mut bytes = Vec::with_capacity(bytes_max);
    for chunk in 0..component.chunks {
        let path = component.chunk_path(chunk);
        let piece = read(&path).ok_or_else(|| {
            format!("{path} is missing: create all {} pieces of the component before its manifest", component.chunks)
        })?;
        if bytes.len() + piece.len() > bytes_max {
            return Err(format!(
                "the pieces of the component are more than the {} bytes that component.bytes says",
                component.bytes
            ));
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() as u64 != component.bytes {
        return Err(format!(
            "the pieces of the component are {} bytes, and component.bytes says {}",
            bytes.len(),
            component.bytes
        ));
    }
    let found = sha256(&bytes);
    if found != component.sha256 {
        return Err(format!(
            "the pieces of the component have the SHA-256 {found}, and component.sha256 says {}: upload them again",
            component.sha256
        ));
    }
    Ok(bytes)
}

/// The zxid of the last change to a component's pieces. None if a piece is missing.
pub(crate) fn newest_piece(tree: &dyn Tree, component: &manifest::Component) -> Option<i64> {
    let pieces = (0..component.chunks).map(|chunk| tree.mzxid(&component.chunk_path(chunk)));
    pieces.collect::<Option<Vec<i64>>>()?.into_iter().max()
}

/// The SHA-256 of the bytes, as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The nodes of components that no manifest names and whose last piece is older than an hour, children before parents.
/// The leader deletes these nodes.
pub(crate) fn garbage(tree: &dyn Tree, now_wall_ms: i64) -> Vec<String> {
    let components = tree.children(MODULES);
    if components.is_empty() {
        return Vec::new();
    }
    let named = named(tree);
    let mut garbage = Vec::new();
    for component in components {
        if named.contains(&component) {
            continue;
        }
        let folder = path::join(MODULES, &component);
        let pieces: Vec<String> = tree.children(&folder).iter().map(|piece| path::join(&folder, piece)).collect();
        let newest = pieces.iter().chain([&folder]).filter_map(|node| tree.ctime(node)).max().unwrap_or(i64::MAX);
        if now_wall_ms.saturating_sub(newest) > CHUNK_UNUSED_MS {
            garbage.extend(pieces);
            garbage.push(folder);
        }
    }
    garbage
}

/// The digests of all components that manifests name.
pub(crate) fn named(tree: &dyn Tree) -> BTreeSet<String> {
    manifests(tree).into_iter().map(|manifest| manifest.component.sha256).collect()
}

/// All manifests that can be parsed: in force, on trial, and former ones.
pub(crate) fn manifests(tree: &dyn Tree) -> Vec<Manifest> {
    let mut nodes = Vec::new();
    for plugin in tree.children(PLUGINS) {
        let plugin = path::join(PLUGINS, &plugin);
        let versions = path::join(&plugin, VERSIONS);
        nodes.extend(tree.children(&versions).iter().map(|version| path::join(&versions, version)));
        nodes.push(path::join(&plugin, CANARY));
        nodes.push(plugin);
    }
    nodes.iter().filter_map(|node| manifest::parse(&tree.data(node)?).ok()).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Tree;
    use std::collections::BTreeMap;

    /// Data, mzxid, ctime by path.
    #[derive(Default)]
    pub(crate) struct MapTree(pub(crate) BTreeMap<String, (Vec<u8>, i64, i64)>);

    impl MapTree {
        pub(crate) fn set(&mut self, path: &str, data: &[u8], zxid: i64) {
            self.0.insert(path.into(), (data.into(), zxid, zxid));
        }
    }

    impl Tree for MapTree {
        fn data(&self, path: &str) -> Option<Vec<u8>> {
            self.0.get(path).map(|node| node.0.clone())
        }
        fn children(&self, path: &str) -> Vec<String> {
            let below = format!("{path}/");
            let names = self.0.keys().filter_map(|node| node.strip_prefix(&below));
            names.filter(|name| !name.contains('/')).map(String::from).collect()
        }
        fn mzxid(&self, path: &str) -> Option<i64> {
            self.0.get(path).map(|node| node.1)
        }
        fn ctime(&self, path: &str) -> Option<i64> {
            self.0.get(path).map(|node| node.2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::MapTree;
    use super::*;
    use serde_json::json;

    fn component(bytes: &[u8], chunks: u32) -> manifest::Component {
        manifest::Component { sha256: sha256(bytes), bytes: bytes.len() as u64, chunks, source: String::new() }
    }

    #[test]
    fn a_component_is_read_from_its_pieces() {
        let named = component(b"abcdef", 2);
        let mut tree = MapTree::default();
        tree.set(&named.chunk_path(0), b"abc", 1);
        let missing = read_component(&named, &|path| tree.data(path)).unwrap_err();
        assert!(missing.contains("/00001 is missing"), "{missing}");
        tree.set(&named.chunk_path(1), b"def", 1);
        assert_eq!(read_component(&named, &|path| tree.data(path)).unwrap(), b"abcdef");
        tree.set(&named.chunk_path(1), b"deg", 1);
        assert!(read_component(&named, &|path| tree.data(path)).unwrap_err().contains("SHA-256"));
        tree.set(&named.chunk_path(1), b"defg", 1);
        assert!(read_component(&named, &|path| tree.data(path)).unwrap_err().contains("more than the 6 bytes"));
    }

    #[test]
    fn only_old_components_that_nothing_names_are_garbage() {
        let [kept, former, tried, old, young] = [b"1", b"2", b"3", b"4", b"5"].map(|bytes| component(bytes, 1));
        let mut tree = MapTree::default();
        for (component, at) in [(&kept, 0), (&former, 0), (&tried, 0), (&old, 0), (&young, 10)] {
            tree.set(&format!("{MODULES}/{}", component.sha256), b"", 0);
            tree.set(&component.chunk_path(0), b"x", at);
        }
        let manifest = |component: &manifest::Component| {
            json!({ "format": 1, "version": 1, "component": component, "paths": ["/a"] }).to_string().into_bytes()
        };
        tree.set(&format!("{PLUGINS}/p"), &manifest(&kept), 1);
        tree.set(&format!("{PLUGINS}/p/versions"), b"", 1);
        tree.set(&format!("{PLUGINS}/p/versions/1"), &manifest(&former), 1);
        tree.set(&format!("{PLUGINS}/p/canary"), &manifest(&tried), 1);
        assert_eq!(garbage(&tree, CHUNK_UNUSED_MS), Vec::<String>::new());
        assert_eq!(garbage(&tree, CHUNK_UNUSED_MS + 5), [old.chunk_path(0), format!("{MODULES}/{}", old.sha256)]);
    }
}
