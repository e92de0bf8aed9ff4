//! What recipes and others do with [`View`] and [`Transaction`] again and again.

use crate::path::{DIGITS, digits};
use crate::rejection::{refuse, tolerate};
use crate::{Context, Node, NodeKind, Rejection, Request, Stat, Transaction, Verb, View, code};

/// How many names [`View::children`] and [`View::ephemerals`] give at most.
pub const PAGE: u32 = 1000;

impl View {
    /// Whether the node is there. Needs `read`.
    pub fn exists(&self, path: &str) -> Result<bool, Rejection> {
        Ok(self.stat(path)?.is_some())
    }

    /// The name of the first child in byte order. Needs `children`.
    pub fn first_child(&self, path: &str) -> Result<Option<String>, Rejection> {
        Ok(self.children(path, None, 1)?.pop())
    }

    /// What this session has got already by asking for the ephemeral sequential node `path`. A client that has lost the
    /// reply asks again, and would otherwise be there twice. Needs `read` on `path`.
    pub fn earlier(&self, session: u64, path: &str) -> Result<Option<String>, Rejection> {
        let begin_alike = self.ephemerals(session, path, PAGE)?;
        Ok(begin_alike.into_iter().find(|found| found.len() == path.len() + DIGITS && digits(found).is_some()))
    }

    /// The ephemeral node of the session that asks; none if there is no node. NOAUTH if it is another's. Needs `read`.
    pub fn own(&self, path: &str) -> Result<Option<Node>, Rejection> {
        match self.get(path)? {
            Some(node) if node.stat.ephemeral_owner == 0 || node.stat.ephemeral_owner != self.context().session => {
                refuse(code::NO_AUTH, "it is not this session's")
            }
            found => Ok(found),
        }
    }

    /// Which ephemeral node has gone from this path in this transaction, and which has come. Both are there if one took
    /// the other's place, none if it is the same, whatever happened to its data. Needs `read`.
    pub fn turnover(&self, path: &str) -> Result<(Option<Stat>, Option<Stat>), Rejection> {
        let was = self.original(path)?.map(|node| node.stat).filter(|stat| stat.ephemeral_owner != 0);
        let is = self.stat(path)?.filter(|stat| stat.ephemeral_owner != 0);
        let same = was.map(|stat| stat.czxid) == is.map(|stat| stat.czxid);
        Ok(if same { (None, None) } else { (was, is) })
    }

    /// A step of [`crate::Recipe::recover`] for a mount whose children can be put in order one after the other.
    ///
    /// `mend` gets a child's name, where to go on within it (empty at first), and how much may still be done in this
    /// step, of which it takes off what it does. It returns where it stopped, or none if that child is done. Needs
    /// `children` on the mount.
    pub fn recover_each(
        &self,
        mount: &str,
        after: Option<String>,
        mut left: u32,
        mut mend: impl FnMut(&str, &str, &mut u32) -> Result<Option<String>, Rejection>,
    ) -> Result<Option<String>, Rejection> {
        // The last child that is done, or `child/place`: names have no slash.
        let mut after = after.unwrap_or_default();
        while left > 0 {
            let (name, place) = match after.split_once('/') {
                Some((name, place)) => (name.to_string(), place.to_string()),
                None => match self.children(mount, Some(&after), 1)?.pop() {
                    Some(name) => (name, String::new()),
                    None => return Ok(None),
                },
            };
            left -= 1;
            after = match mend(&name, &place, &mut left)? {
                Some(place) => [name.as_str(), "/", &place].concat(),
                None => name,
            };
        }
        Ok(Some(after))
    }
}

impl Transaction {
    /// Creates the node, with its parent's ACL, unless it is there. Needs `create`. Says whether it has.
    pub fn ensure(&self, path: &str, data: &[u8], kind: NodeKind) -> Result<bool, Rejection> {
        tolerate(code::NODE_EXISTS, self.create(path, data, kind, &[]))
    }

    /// Deletes the node, if it is there. Needs `delete`. Says whether it was.
    pub fn remove(&self, path: &str) -> Result<bool, Rejection> {
        tolerate(code::NO_NODE, self.delete(path, None))
    }
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 7] =
        [Verb::Read, Verb::Children, Verb::Create, Verb::Set, Verb::Delete, Verb::Acl, Verb::Call];

    /// As it is written in grants: `read`.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Children => "children",
            Verb::Create => "create",
            Verb::Set => "set",
            Verb::Delete => "delete",
            Verb::Acl => "acl",
            Verb::Call => "call",
        }
    }

    /// The verb of that name.
    pub fn from_name(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

impl Context {
    /// How long it is until then, in ensemble time, for a timer.
    pub fn ms_until(&self, ensemble_ms: u64) -> u64 {
        ensemble_ms.saturating_sub(self.ensemble_ms)
    }
}

impl Request {
    /// The path it is about; a sequential create's without digits.
    pub fn path(&self) -> &str {
        match self {
            Request::Create(request) => &request.path,
            Request::SetData(request) => &request.path,
            Request::SetAcl(request) => &request.path,
            Request::Delete(request) => &request.path,
        }
    }
}
