//! The folders of a queue. An entry of an index folder has a number and the name of an item or a claim.

use super::queue::Queue;
use super::{FOLDERS, STEP};
use wasmkeeper_plugin::{Answer, CreateRequest, NodeKind, Rejection, code, path, refuse};

impl Queue<'_> {
    /// Creates the queue or one of its folders, for clients that create every parent.
    pub fn make(&self, asked: &CreateRequest) -> Result<Answer, Rejection> {
        let known = asked.path == self.path || FOLDERS.contains(&path::name(&asked.path));
        if asked.sequential || !known || matches!(asked.kind, NodeKind::Ephemeral(_)) {
            return refuse(code::BAD_ARGUMENTS, format!("in a queue there are {}", FOLDERS.join(", ")));
        }
        if self.view.exists(&asked.path)? {
            return Ok(Answer::Pass);
        }
        self.open().map(|()| Answer::Done(asked.path.clone()))
    }

    /// Deletes the empty folders of a queue. The queue itself is deleted by the request.
    pub fn close(&self) -> Result<Answer, Rejection> {
        FOLDERS.iter().try_for_each(|folder| self.txn.remove(&self.at(folder, "")).map(drop))?;
        Ok(Answer::Pass)
    }

    /// Creates the mount, the queue and its folders, as far as they are missing.
    pub fn open(&self) -> Result<(), Rejection> {
        if self.view.stat(&self.path)?.is_some_and(|stat| stat.num_children >= FOLDERS.len() as u32) {
            return Ok(());
        }
        for path in [&self.queues.mount, &self.path] {
            self.txn.ensure(path, b"", NodeKind::Persistent)?;
        }
        FOLDERS.iter().try_for_each(|folder| self.txn.ensure(&self.at(folder, ""), b"", NodeKind::Persistent).map(drop))
    }

    /// The first entry of an index whose claim or item exists: its path, number and name. Removes entries before it
    /// whose claim or item is gone.
    pub fn first(&self, index: &str, folder: &str) -> Result<Option<(String, u64, String)>, Rejection> {
        for _ in 0..STEP {
            let Some(rank) = self.view.first_child(&self.at(index, ""))? else { return Ok(None) };
            let path = self.at(index, &rank);
            if let Some((number, name)) = self.entry(&path)?
                && self.view.exists(&self.at(folder, &name))?
            {
                return Ok(Some((path, number, name)));
            }
            self.txn.remove(&path)?;
        }
        self.txn.set_timer(&self.path, 0).map(|()| None)
    }

    /// Writes an entry of an index, unless it is there already.
    pub fn note(&self, path: &str, number: u64, name: &str) -> Result<(), Rejection> {
        let data = format!("{number} {name}");
        match self.view.get(path)? {
            None => self.txn.create(path, data.as_bytes(), NodeKind::Persistent, &[]),
            Some(node) if node.data == data.as_bytes() => Ok(()),
            Some(_) => self.txn.set_data(path, data.as_bytes(), None),
        }
    }

    /// Reads an entry of an index.
    pub fn entry(&self, path: &str) -> Result<Option<(u64, String)>, Rejection> {
        let Some(node) = self.view.get(path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&node.data);
        Ok(text.split_once(' ').and_then(|(number, name)| Some((number.parse().ok()?, name.to_string()))))
    }

    /// The path of a folder, or of a node in a folder.
    pub fn at(&self, folder: &str, name: &str) -> String {
        let slash = if name.is_empty() { "" } else { "/" };
        [&self.path, "/", folder, slash, name].concat()
    }
}
