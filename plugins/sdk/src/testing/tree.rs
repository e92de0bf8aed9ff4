//! The tree in memory, and how a call reads and changes it.

use crate::rejection::refuse;
use crate::{
    AclEntry, Change, ChangeKind, Context, Identity, Node, NodeKind, Permissions, Rejection, Stat, Verb, code, path,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::rc::Rc;

/// Nodes, and the circumstances of a call. A clone is the same tree.
#[derive(Clone, Default)]
pub struct Tree(Rc<RefCell<State>>);

/// What a call may read. It has the functions of the contract's resource.
pub struct View(Rc<RefCell<State>>);

/// What a call may change. It has the functions of the contract's resource.
pub struct Transaction(Rc<RefCell<State>>);

type Done<T> = Result<T, Rejection>;

#[derive(Clone)]
pub(super) struct State {
    nodes: BTreeMap<String, Rc<Entry>>,
    /// The nodes before the transaction.
    before: BTreeMap<String, Rc<Entry>>,
    /// When each timer is due, in ensemble time.
    pub timers: BTreeMap<String, u64>,
    pub sessions: BTreeSet<u64>,
    pub context: Context,
    identities: Vec<Identity>,
    facts: BTreeMap<String, String>,
    /// None: no limit.
    pub grants: Option<Vec<(String, Vec<String>)>>,
    /// The changes of the transaction so far.
    pub changes: Vec<Change>,
    /// Host functions called since the call began.
    pub looks: u32,
    pub writes: u32,
}

#[derive(Clone)]
struct Entry {
    data: Vec<u8>,
    stat: Stat,
    acl: Vec<AclEntry>,
    kind: NodeKind,
    /// How many children were ever created: the digits of the next sequential child.
    creates: u32,
}

impl Tree {
    /// A tree with a root and nothing else.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// Creates the node and missing ancestors, or sets the node's data, in a transaction of its own.
    pub fn put(&self, path: &str, data: impl AsRef<[u8]>) {
        let (parent, data) = (path::parent(path), data.as_ref());
        if !self.0.borrow().nodes.contains_key(parent) {
            self.put(parent, "");
        }
        self.begin(0);
        let mut state = self.0.borrow_mut();
        let put = match state.nodes.contains_key(path) {
            true => state.set_data(path, data, None),
            false => state.create(path, data, NodeKind::Persistent, &[], false).map(|_| ()),
        };
        put.unwrap_or_else(|refused| panic!("put {path}: {refused}"));
    }

    /// Deletes a node without children, in a transaction of its own.
    pub fn delete(&self, path: &str) {
        self.begin(0);
        self.0.borrow_mut().delete(path, None).unwrap_or_else(|refused| panic!("delete {path}: {refused}"));
    }

    /// The node, if it exists.
    pub fn get(&self, path: &str) -> Option<Node> {
        self.0.borrow().nodes.get(path).map(|entry| entry.node())
    }

    /// The data of the node as text. Empty if the node does not exist.
    pub fn text(&self, path: &str) -> String {
        self.get(path).map_or(String::new(), |node| String::from_utf8_lossy(&node.data).into_owned())
    }

    /// The names of all children in byte order.
    pub fn children(&self, path: &str) -> Vec<String> {
        self.0.borrow().children(path, None, usize::MAX)
    }

    /// Every node and timer as a line of text, to compare trees or to print them.
    pub fn dump(&self) -> String {
        let state = self.0.borrow();
        let mut text = String::new();
        for (path, entry) in &state.nodes {
            let data = String::from_utf8_lossy(&entry.data);
            let _ = writeln!(text, "{path} {} {data:?}", entry.stat.ephemeral_owner);
        }
        for (name, due) in &state.timers {
            let _ = writeln!(text, "timer {name} at {due}");
        }
        text
    }

    /// Begins a transaction of this session (0: of no session). It has the next zxid, and `original` shows the tree as
    /// it is now.
    pub fn begin(&self, session: u64) {
        let mut state = self.0.borrow_mut();
        state.before = state.nodes.clone();
        state.changes.clear();
        state.context.zxid += 1;
        state.context.session = session;
        state.context.seed = state.context.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    }

    /// Changes the circumstances of calls: `tree.circumstances(|context| context.wall_ms = 0)`.
    pub fn circumstances(&self, change: impl FnOnce(&mut Context)) {
        change(&mut self.0.borrow_mut().context);
    }

    /// Sets the identities of the caller: pairs of scheme and id.
    pub fn identify(&self, who: &[(&str, &str)]) {
        let identity = |(scheme, id): &(&str, &str)| Identity { scheme: (*scheme).into(), id: (*id).into() };
        self.0.borrow_mut().identities = who.iter().map(identity).collect();
    }

    /// Sets the answer of `fact`.
    pub fn fact(&self, name: &str, value: &str) {
        self.0.borrow_mut().facts.insert(name.into(), value.into());
    }

    /// Limits views and transactions to these verbs at and below these paths. A new tree has no limit.
    pub fn grant(&self, grants: &[(&str, &[&str])]) {
        let grant =
            |(path, verbs): &(&str, &[&str])| (path.to_string(), verbs.iter().map(|verb| verb.to_string()).collect());
        self.0.borrow_mut().grants = Some(grants.iter().map(grant).collect());
    }

    /// The view that a call gets.
    pub fn view(&self) -> View {
        View(self.0.clone())
    }

    /// The transaction that a call gets.
    pub fn transaction(&self) -> Transaction {
        Transaction(self.0.clone())
    }

    pub(super) fn state(&self) -> std::cell::RefMut<'_, State> {
        self.0.borrow_mut()
    }
}

impl View {
    /// A node. `None` if it does not exist. Needs `read`.
    pub fn get(&self, path: &str) -> Done<Option<Node>> {
        let state = self.look(path, Verb::Read)?;
        Ok(state.nodes.get(path).map(|entry| entry.node()))
    }

    /// The Stat of a node. `None` if it does not exist. Needs `read`.
    pub fn stat(&self, path: &str) -> Done<Option<Stat>> {
        let state = self.look(path, Verb::Read)?;
        Ok(state.nodes.get(path).map(|entry| entry.stat))
    }

    /// The ACL of a node. Empty if the node does not exist. Needs `read`.
    pub fn acl(&self, path: &str) -> Done<Vec<AclEntry>> {
        let state = self.look(path, Verb::Read)?;
        Ok(state.nodes.get(path).map_or(Vec::new(), |entry| entry.acl.clone()))
    }

    /// The names of children in byte order after `after`: at most `limit`, and at most 1000. Needs `children`.
    pub fn children(&self, path: &str, after: Option<&str>, limit: u32) -> Done<Vec<String>> {
        let state = self.look(path, Verb::Children)?;
        Ok(state.children(path, after, limit.min(crate::PAGE) as usize))
    }

    /// The paths of the session's ephemeral nodes that begin with `prefix`, in order. Needs `read` on `prefix`.
    pub fn ephemerals(&self, session: u64, prefix: &str, limit: u32) -> Done<Vec<String>> {
        let state = self.look(prefix, Verb::Read)?;
        Ok(state.ephemerals(session, prefix).take(limit.min(crate::PAGE) as usize).cloned().collect())
    }

    /// A node as it was before this transaction. `None` if it did not exist. Needs `read`.
    pub fn original(&self, path: &str) -> Done<Option<Node>> {
        let state = self.look(path, Verb::Read)?;
        Ok(state.before.get(path).map(|entry| entry.node()))
    }

    /// Zxid, time, seed and session of the call.
    pub fn context(&self) -> Context {
        self.0.borrow().context
    }

    /// All identities that the caller has proven.
    pub fn identities(&self) -> Vec<Identity> {
        self.0.borrow().identities.clone()
    }

    /// Another fact about the call, by name.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.0.borrow().facts.get(name).cloned()
    }

    fn look(&self, path: &str, verb: Verb) -> Done<std::cell::RefMut<'_, State>> {
        let mut state = self.0.borrow_mut();
        state.looks += 1;
        state.check(path, verb)?;
        Ok(state)
    }
}

impl Transaction {
    /// Creates a node. Its parent must exist. Needs `create` on the node.
    pub fn create(&self, path: &str, data: &[u8], kind: NodeKind, acl: &[AclEntry]) -> Done<()> {
        self.write(path, Verb::Create)?.create(path, data, kind, acl, false).map(|_| ())
    }

    /// Creates a node with ten digits after `path`, and returns its path. Needs `create`.
    pub fn create_sequential(&self, path: &str, data: &[u8], kind: NodeKind, acl: &[AclEntry]) -> Done<String> {
        self.write(path, Verb::Create)?.create(path, data, kind, acl, true)
    }

    /// Sets the data of a node. Needs `set`.
    pub fn set_data(&self, path: &str, data: &[u8], version: Option<i32>) -> Done<()> {
        self.write(path, Verb::Set)?.set_data(path, data, version)
    }

    /// Sets the ACL of a node. `version` is the node's aversion. Needs `acl`.
    pub fn set_acl(&self, path: &str, acl: &[AclEntry], version: Option<i32>) -> Done<()> {
        self.write(path, Verb::Acl)?.set_acl(path, acl, version)
    }

    /// Deletes a node without children. Needs `delete`.
    pub fn delete(&self, path: &str, version: Option<i32>) -> Done<()> {
        self.write(path, Verb::Delete)?.delete(path, version)
    }

    /// Sets or moves the timer with this name. It fires after `after_ms` of ensemble time.
    pub fn set_timer(&self, name: &str, after_ms: u64) -> Done<()> {
        let mut state = self.0.borrow_mut();
        state.writes += 1;
        if name.len() > 4096 {
            return refuse(code::BAD_ARGUMENTS, "a timer's name has at most 4096 bytes");
        }
        let due = state.context.ensemble_ms + after_ms;
        state.timers.insert(name.into(), due);
        Ok(())
    }

    /// Removes a timer, if there is one.
    pub fn cancel_timer(&self, name: &str) {
        self.0.borrow_mut().timers.remove(name);
    }

    fn write(&self, path: &str, verb: Verb) -> Done<std::cell::RefMut<'_, State>> {
        let mut state = self.0.borrow_mut();
        state.writes += 1;
        state.check(path, verb)?;
        Ok(state)
    }
}

impl Default for State {
    fn default() -> State {
        let root = Entry { data: Vec::new(), stat: new_stat(), acl: anyone(), kind: NodeKind::Persistent, creates: 0 };
        State {
            nodes: BTreeMap::from([("/".into(), Rc::new(root))]),
            before: BTreeMap::new(),
            timers: BTreeMap::new(),
            sessions: BTreeSet::new(),
            context: Context { zxid: 1 << 32, wall_ms: 1_767_225_600_000, ensemble_ms: 1000, seed: 1, session: 0 },
            identities: Vec::new(),
            facts: BTreeMap::new(),
            grants: None,
            changes: Vec::new(),
            looks: 0,
            writes: 0,
        }
    }
}

impl State {
    fn check(&self, path: &str, verb: Verb) -> Done<()> {
        let name = verb.name();
        let Some(grants) = &self.grants else { return Ok(()) };
        let covers = |(root, verbs): &(String, Vec<String>)| {
            path::is_within(path, root) && verbs.iter().any(|verb| verb == name)
        };
        if grants.iter().any(covers) { Ok(()) } else { refuse(code::NO_AUTH, format!("no grant to {name} {path}")) }
    }

    fn entry(&mut self, path: &str) -> Done<&mut Entry> {
        match self.nodes.get_mut(path) {
            Some(entry) => Ok(Rc::make_mut(entry)),
            None => refuse(code::NO_NODE, format!("{path} is not there")),
        }
    }

    fn changed(&mut self, kind: ChangeKind, path: &str) {
        self.changes.push(Change { kind, path: path.into() });
    }

    pub fn create(
        &mut self,
        asked: &str,
        data: &[u8],
        kind: NodeKind,
        acl: &[AclEntry],
        sequential: bool,
    ) -> Done<String> {
        let (zxid, now) = (self.context.zxid, self.context.wall_ms);
        let parent = self.entry(path::parent(asked))?;
        let path = if sequential { format!("{asked}{:010}", parent.creates) } else { asked.to_string() };
        if matches!(parent.kind, NodeKind::Ephemeral(_)) {
            return refuse(code::NO_CHILDREN_FOR_EPHEMERALS, format!("the parent of {path} is ephemeral"));
        }
        let inherited = parent.acl.clone();
        if self.nodes.contains_key(&path) {
            return refuse(code::NODE_EXISTS, format!("{path} is there"));
        }
        let mut stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime: now, mtime: now, ..new_stat() };
        stat.data_length = data.len() as u32;
        if let NodeKind::Ephemeral(session) = kind {
            if !self.sessions.contains(&session) {
                return refuse(code::BAD_ARGUMENTS, format!("session {session:#x} is not alive"));
            }
            stat.ephemeral_owner = session;
        }
        let acl = if acl.is_empty() { inherited } else { acl.to_vec() };
        let parent = self.entry(path::parent(asked))?;
        parent.creates += 1;
        parent.stat.num_children += 1;
        parent.stat.pzxid = zxid;
        parent.stat.cversion += 1;
        self.nodes.insert(path.clone(), Rc::new(Entry { data: data.to_vec(), stat, acl, kind, creates: 0 }));
        self.changed(ChangeKind::Created, &path);
        Ok(path)
    }

    pub fn set_data(&mut self, path: &str, data: &[u8], version: Option<i32>) -> Done<()> {
        let (zxid, now) = (self.context.zxid, self.context.wall_ms);
        let entry = self.entry(path)?;
        required(version, entry.stat.version)?;
        entry.data = data.to_vec();
        entry.stat.data_length = data.len() as u32;
        entry.stat.version += 1;
        (entry.stat.mzxid, entry.stat.mtime) = (zxid, now);
        self.changed(ChangeKind::DataSet, path);
        Ok(())
    }

    pub fn set_acl(&mut self, path: &str, acl: &[AclEntry], version: Option<i32>) -> Done<()> {
        let entry = self.entry(path)?;
        required(version, entry.stat.aversion)?;
        entry.acl = acl.to_vec();
        entry.stat.aversion += 1;
        self.changed(ChangeKind::AclSet, path);
        Ok(())
    }

    pub fn delete(&mut self, path: &str, version: Option<i32>) -> Done<()> {
        let zxid = self.context.zxid;
        let entry = self.entry(path)?;
        required(version, entry.stat.version)?;
        if entry.stat.num_children > 0 {
            return refuse(code::NOT_EMPTY, format!("{path} has children"));
        }
        if path == "/" {
            return refuse(code::BAD_ARGUMENTS, "the root cannot be deleted");
        }
        self.nodes.remove(path);
        let parent = self.entry(path::parent(path))?;
        parent.stat.num_children -= 1;
        parent.stat.cversion += 1;
        parent.stat.pzxid = zxid;
        self.changed(ChangeKind::Deleted, path);
        Ok(())
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let prefix = if path == "/" { "/".to_string() } else { format!("{path}/") };
        let names = self.nodes.range(prefix.clone()..).map(|(path, _)| path.strip_prefix(&prefix));
        let children = names.map_while(|name| name).filter(|name| !name.is_empty() && !name.contains('/'));
        children.filter(|name| after.is_none_or(|after| *name > after)).take(limit).map(Into::into).collect()
    }

    pub fn ephemerals<'a>(&'a self, session: u64, prefix: &'a str) -> impl Iterator<Item = &'a String> {
        let begin_alike = self.nodes.iter().filter(move |(path, _)| path.starts_with(prefix));
        begin_alike.filter(move |(_, entry)| entry.stat.ephemeral_owner == session).map(|(path, _)| path)
    }

    /// The containers that had children and have none.
    pub fn left_containers(&self) -> Vec<String> {
        let left =
            |entry: &Entry| entry.kind == NodeKind::Container && entry.creates > 0 && entry.stat.num_children == 0;
        self.nodes.iter().filter(|(_, entry)| left(entry)).map(|(path, _)| path.clone()).collect()
    }
}

impl Entry {
    fn node(&self) -> Node {
        Node { data: self.data.clone(), stat: self.stat }
    }
}

fn required(version: Option<i32>, found: i32) -> Done<()> {
    match version {
        Some(wanted) if wanted != found => refuse(code::BAD_VERSION, format!("version {found}, not {wanted}")),
        _ => Ok(()),
    }
}

fn anyone() -> Vec<AclEntry> {
    vec![AclEntry { permissions: Permissions::all(), who: Identity { scheme: "world".into(), id: "anyone".into() } }]
}

fn new_stat() -> Stat {
    Stat {
        czxid: 0,
        mzxid: 0,
        pzxid: 0,
        ctime: 0,
        mtime: 0,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        data_length: 0,
        num_children: 0,
    }
}
