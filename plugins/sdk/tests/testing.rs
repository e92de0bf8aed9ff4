//! The tree in memory keeps ZooKeeper's rules, and the server in memory keeps the contract's.

use wasmkeeper_plugin::testing::{Mode, Server, Tree, create, delete, set};
use wasmkeeper_plugin::{
    Answer, Cause, Change, ChangeKind, NodeKind, Plugin, Recipe, Rejection, Request, Transaction, View, code, refuse,
};

#[test]
fn nodes_follow_zookeepers_rules() {
    let tree = Tree::new();
    tree.put("/a/b", "1");
    let (view, txn) = (tree.view(), tree.transaction());
    let code = |done: Result<(), Rejection>| done.unwrap_err().code;
    assert_eq!(code(txn.create("/a", b"", NodeKind::Persistent, &[])), code::NODE_EXISTS);
    assert_eq!(code(txn.create("/x/y", b"", NodeKind::Persistent, &[])), code::NO_NODE);
    assert_eq!(code(txn.delete("/a", None)), code::NOT_EMPTY);
    assert_eq!(code(txn.delete("/a/b", Some(1))), code::BAD_VERSION);
    assert_eq!(code(txn.set_data("/none", b"", None)), code::NO_NODE);
    assert_eq!(code(txn.create("/a/e", b"", NodeKind::Ephemeral(7), &[])), code::BAD_ARGUMENTS);
    // The digits count the creates under the parent.
    let sequential = |name: &str| txn.create_sequential(name, b"", NodeKind::Persistent, &[]).unwrap();
    assert_eq!(sequential("/a/s-"), "/a/s-0000000001");
    assert_eq!(sequential("/a/t-"), "/a/t-0000000002");
    assert_eq!(view.children("/a", None, 9).unwrap(), ["b", "s-0000000001", "t-0000000002"]);
    assert_eq!(view.children("/a", Some("b"), 1).unwrap(), ["s-0000000001"]);
    tree.begin(0);
    txn.set_data("/a/b", b"22", Some(0)).unwrap();
    let stat = view.stat("/a/b").unwrap().unwrap();
    assert_eq!((stat.version, stat.data_length, stat.mzxid), (1, 2, view.context().zxid));
    assert_eq!((view.original("/a/b").unwrap().unwrap().data, tree.text("/a/b")), (b"1".to_vec(), "22".into()));
    assert_eq!(view.stat("/a").unwrap().unwrap().num_children, 3);
    assert!(
        txn.ensure("/a/c", b"", NodeKind::Container).unwrap() && !txn.ensure("/a/c", b"", NodeKind::Container).unwrap()
    );
    assert!(txn.remove("/a/c").unwrap() && !txn.remove("/a/c").unwrap());
}

#[test]
fn grants_limit_a_call() {
    let tree = Tree::new();
    tree.put("/a/b", "");
    tree.put("/ab", "");
    tree.grant(&[("/a", &["read"])]);
    assert!(tree.view().get("/a/b").is_ok());
    assert_eq!(tree.view().get("/ab").unwrap_err().code, code::NO_AUTH);
    assert_eq!(tree.view().children("/a", None, 1).unwrap_err().code, code::NO_AUTH);
    assert_eq!(tree.transaction().delete("/a/b", None).unwrap_err().code, code::NO_AUTH);
}

/// A recipe that writes down in `/m/log` what it is told.
struct Notes;

impl Plugin for Notes {
    const MANIFEST: &'static str = r#"{ "grants": [ { "path": "$mount", "verbs": ["read", "create", "set"] } ] }"#;
}

impl Notes {
    fn note(&self, view: &View, txn: &Transaction, text: String) -> Result<(), Rejection> {
        let before = view.get("/m/log")?.map_or(String::new(), |node| String::from_utf8_lossy(&node.data).into_owned());
        txn.ensure("/m/log", b"", NodeKind::Persistent)?;
        txn.set_data("/m/log", format!("{before}{text};").as_bytes(), None)
    }
}

impl Recipe for Notes {
    fn configure(_mount: &str, _settings: &str) -> Result<Notes, String> {
        Ok(Notes)
    }

    fn handle(&self, view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection> {
        let path = request.path().to_string();
        if path.ends_with("timer") {
            txn.set_timer("t", 100)?;
        }
        self.note(view, txn, format!("asked {path}"))?;
        if path.ends_with("bad") { refuse(code::BAD_ARGUMENTS, "bad") } else { Ok(Answer::Pass) }
    }

    fn on_change(&self, view: &View, txn: &Transaction, cause: Cause, changes: &[Change]) -> Result<(), Rejection> {
        let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        self.note(view, txn, format!("{cause:?} {}", paths.join(" ")))?;
        let gone = changes.iter().any(|change| change.kind == ChangeKind::Deleted && change.path.ends_with("bad"));
        if gone { refuse(code::BAD_ARGUMENTS, "bad") } else { Ok(()) }
    }

    fn on_timer(&self, view: &View, txn: &Transaction, name: &str) -> Result<(), Rejection> {
        if !view.exists("/m/ready")? {
            return refuse(code::SYSTEM_ERROR, "not yet");
        }
        self.note(view, txn, format!("timer {name}"))
    }

    fn recover(&self, _: &View, _: &Transaction, after: Option<String>) -> Result<Option<String>, Rejection> {
        Ok(if after.is_none() { Some("again".into()) } else { None })
    }
}

#[test]
fn a_recipe_is_told_what_the_contract_says() {
    let mut server: Server<Notes> = Server::new("/m", "{}");
    let (a, b) = (server.connect(), server.connect());
    server.create(a, "/m/x", "", Mode::Ephemeral).unwrap();
    server.create(a, "/elsewhere", "", Mode::Persistent).unwrap();
    // All operations of a multi are done, or none.
    let both = vec![create(a, "/m/y", "", Mode::Persistent), create(a, "/m/bad", "", Mode::Persistent)];
    assert!(server.multi(a, both).is_err());
    assert_eq!((server.tree.text("/m/log").as_str(), server.tree.get("/m/y")), ("asked /m/x;", None));
    server.superuser(b, vec![create(b, "/m/s", "", Mode::Persistent), set("/elsewhere", "1")]).unwrap();
    server.end(a, Cause::SessionExpired);
    assert_eq!(server.tree.text("/m/log"), "asked /m/x;Cause::Request /m/s;Cause::SessionExpired /m/x;");
    // A recipe can refuse a change of the superuser. It cannot refuse the end of a session.
    server.superuser(b, vec![create(b, "/m/bad", "", Mode::Ephemeral)]).unwrap();
    assert!(server.superuser(b, vec![delete("/m/bad")]).is_err());
    let before = server.tree.text("/m/log");
    server.end(b, Cause::SessionClosed);
    assert_eq!((server.tree.text("/m/log"), server.tree.get("/m/bad")), (before, None));
}

#[test]
fn timers_fire_in_ensemble_time_and_again_when_they_fail() {
    let mut server: Server<Notes> = Server::new("/m", "{}");
    let a = server.connect();
    server.create(a, "/m/timer", "", Mode::Persistent).unwrap();
    server.pass(99);
    server.pass(1);
    // The timer fails, and fires again after one second, then after two.
    server.tree.put("/m/ready", "");
    server.pass(999);
    assert_eq!(server.tree.text("/m/log"), "asked /m/timer;");
    server.pass(1);
    assert_eq!(server.tree.text("/m/log"), "asked /m/timer;timer t;");
    server.pass(100_000);
    assert_eq!(server.tree.text("/m/log"), "asked /m/timer;timer t;");
}
