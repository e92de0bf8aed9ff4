//! A controller that keeps the number of a folder's children in its child `count`: a start, for you to change.
//!
//! wit/plugin.wit says what a controller is asked and what it may do. A controller runs beside the requests, so the
//! number follows the children soon, not at once.

use wasmkeeper_plugin::path::parent;
use wasmkeeper_plugin::{Controller, NodeKind, PAGE, Rejection, Settings, Transaction, View, controller};

const COUNT: &str = "count";

struct Counts;

controller!(Counts, include_str!("../manifest.json"));

impl Controller for Counts {
    /// Also runs before a deployment is accepted. The operator sees the error, so it names the setting.
    fn configure(_mount: &str, settings: &str) -> Result<Counts, String> {
        Settings::parse(settings)?.finish()?;
        Ok(Counts)
    }

    /// Something at `path` may have changed. The call does not say what. Read, compare, and write what is missing; if
    /// nothing is missing, write nothing. The writes take effect only if nothing that was read has changed meanwhile.
    fn reconcile(&self, view: &View, txn: &Transaction, path: &str) -> Result<(), Rejection> {
        let folder = parent(path);
        if !view.exists(folder)? {
            return Ok(());
        }
        let node = [folder.trim_end_matches('/'), "/", COUNT].concat();
        let count = children(view, folder)?.to_string();
        match view.get(&node)? {
            Some(found) if found.data == count.as_bytes() => Ok(()),
            Some(_) => txn.set_data(&node, count.as_bytes(), None),
            None => txn.create(&node, count.as_bytes(), NodeKind::Persistent, &[]),
        }
    }
}

/// How many children there are besides `count`. They come in pages.
fn children(view: &View, folder: &str) -> Result<usize, Rejection> {
    let mut count = 0;
    let mut after: Option<String> = None;
    loop {
        let page = view.children(folder, after.as_deref(), PAGE)?;
        count += page.iter().filter(|child| *child != COUNT).count();
        if page.len() < PAGE as usize {
            return Ok(count);
        }
        after = page.into_iter().next_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmkeeper_plugin::testing::Tree;

    #[test]
    fn the_number_follows_the_children() {
        let tree = Tree::new();
        let reconcile = |path| Counts.reconcile(&tree.view(), &tree.transaction(), path).unwrap();
        tree.put("/services", "");
        tree.put("/services/a", "");
        tree.put("/services/b", "");
        reconcile("/services/a");
        assert_eq!(tree.text("/services/count"), "2");
        tree.delete("/services/a");
        reconcile("/services/a");
        assert_eq!(tree.text("/services/count"), "1");
    }
}
