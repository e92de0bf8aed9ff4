//! Helpers on [`View`] and [`Transaction`] that many plugins need.

use crate::path::{DIGITS, digits};
use crate::rejection::{refuse, tolerate};
use crate::{Context, Node, NodeKind, Rejection, Request, Stat, Transaction, Verb, View, code};

/// The largest number of names that one call of [`View::children`] or [`View::ephemerals`] returns.
pub const PAGE: u32 = 1000;

impl View {
    /// Whether the node exists. Needs `read`.
    pub fn exists(&self, path: &str) -> Result<bool, Rejection> {
        Ok(self.stat(path)?.is_some())
    }

    /// The name of the first child in byte order. Needs `children`.
    pub fn first_child(&self, path: &str) -> Result<Option<String>, Rejection> {
        Ok(self.children(path, None, 1)?.pop())
    }

    /// The path of the ephemeral sequential node that this session has created already by asking for `path`. A client
    /// that lost the reply asks again, and without this check would be there twice. Needs `read` on `path`.
    pub fn earlier(&self, session: u64, path: &str) -> Result<Option<String>, Rejection> {
        let begin_alike = self.ephemerals(session, path, PAGE)?;
        Ok(begin_alike.into_iter().find(|found| found.len() == path.len() + DIGITS && digits(found).is_some()))
    }

    /// The node, if it is an ephemeral node of the session that asks. `None` if there is no node. NOAUTH if the node
    /// belongs to somebody else. Needs `read`.
    pub fn own(&self, path: &str) -> Result<Option<Node>, Rejection> {
        match self.get(path)? {
            Some(node) if node.stat.ephemeral_owner == 0 || node.stat.ephemeral_owner != self.context().session => {
                refuse(code::NO_AUTH, "it is not this session's")
            }
            found => Ok(found),
        }
    }

    /// Which ephemeral node has gone from this path in this transaction, and which one has come. Both are there if one
    /// replaced the other. Neither is there if the node is the same, even if its data has changed. Needs `read`.
    pub fn turnover(&self, path: &str) -> Result<(Option<Stat>, Option<Stat>), Rejection> {
        let was = self.original(path)?.map(|node| node.stat).filter(|stat| stat.ephemeral_owner != 0);
        let is = self.stat(path)?.filter(|stat| stat.ephemeral_owner != 0);
        let same = was.map(|stat| stat.czxid) == is.map(|stat| stat.czxid);
        Ok(if same { (None, None) } else { (was, is) })
    }

    /// One step of [`crate::Recipe::recover`] for a mount whose children can be put in order one after the other.
    ///
    /// `left` bounds the work of the step. `mend` gets a child's name, the place to go on from within the child (empty
    /// at first), and `left`, from which it subtracts the work that it does. It returns the place where it stopped, or
    /// `None` if the child is done. Needs `children` on the mount.
    pub fn recover_each(
        &self,
        mount: &str,
        after: Option<String>,
        mut left: u32,
        mut mend: impl FnMut(&str, &str, &mut u32) -> Result<Option<String>, Rejection>,
    ) -> Result<Option<String>, Rejection> {
        // The name of the last child that is done, or `child/place`: names contain no slash.
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
    /// Creates the node with the ACL of its parent, unless it exists. Returns whether it was created. Needs `create`.
    pub fn ensure(&self, path: &str, data: &[u8], kind: NodeKind) -> Result<bool, Rejection> {
        tolerate(code::NODE_EXISTS, self.create(path, data, kind, &[]))
    }

    /// Deletes the node if it exists. Returns whether it existed. Needs `delete`.
    pub fn remove(&self, path: &str) -> Result<bool, Rejection> {
        tolerate(code::NO_NODE, self.delete(path, None))
    }
}

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 7] =
        [Verb::Read, Verb::Children, Verb::Create, Verb::Set, Verb::Delete, Verb::Acl, Verb::Call];

    /// The verb's name in grants, such as `read`.
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

    /// The verb with this name.
    pub fn from_name(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

impl Context {
    /// The milliseconds until a point in ensemble time, for a timer. 0 if that time has passed.
    pub fn ms_until(&self, ensemble_ms: u64) -> u64 {
        ensemble_ms.saturating_sub(self.ensemble_ms)
    }
}

impl Request {
    /// The path of the request. The path of a sequential create has no digits yet.
    pub fn path(&self) -> &str {
        match self {
            Request::Create(request) => &request.path,
            Request::SetData(request) => &request.path,
            Request::SetAcl(request) => &request.path,
            Request::Delete(request) => &request.path,
        }
    }
}
