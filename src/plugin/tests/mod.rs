//! Real guests, end to end within this folder: deployed into a tree, admitted, bound, asked, contained.

mod policies;

use crate::limits;
use crate::model::txn::{Change, Outcome, Txn};
use crate::model::{ConnectionId, ErrorCode, Identity, Owner, Refusal, SessionId, Stat, Zxid, acl};
use crate::pipeline::{Blame, Call, Caller, Moment, NodeCopy, Plugins as _, ReadView, Schemes as _, Write};
use crate::plugin::check_deployment;
use crate::plugin::manifest::{self, Component};
use crate::plugin::marks::Marks;
use crate::plugin::registry::Plugins;
use crate::plugin::signature::{Key, Signers};
use crate::plugin::tree::testing::MapTree;
use crate::plugin::tree::{Tree, sha256};
use crate::plugin::{Compiler, Judge, PLUGINS, bundled};
use crate::wire::request::{Create, CreateForm, Operation, Request, op};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn naughty() -> &'static [u8] {
    include_bytes!(env!("WASMKEEPER_NAUGHTY"))
}

fn guard() -> &'static [u8] {
    bundled::find("guard").unwrap().component
}

/// A server's plugins and the tree they stand in.
struct Server {
    tree: MapTree,
    plugins: Arc<Plugins>,
    judge: Judge,
    zxid: i64,
}

impl Server {
    fn new() -> Server {
        Server::with(Plugins::new(true, Compiler::here()))
    }

    fn with(plugins: Arc<Plugins>) -> Server {
        Server { tree: MapTree::default(), judge: plugins.judge(), plugins, zxid: 0 }
    }

    fn upload(&mut self, component: &[u8]) -> Component {
        let pieces: Vec<&[u8]> = component.chunks(20_000).collect();
        let uploaded = Component {
            sha256: sha256(component),
            bytes: component.len() as u64,
            chunks: pieces.len() as u32,
            source: String::new(),
        };
        for (at, piece) in pieces.iter().enumerate() {
            self.tree.set(&uploaded.chunk_path(at as u32), piece, 0);
        }
        uploaded
    }

    /// As the leader does: admits, applies, makes the registry anew.
    fn deploy(&mut self, name: &str, component: &[u8], settings: Value, more: Value) -> Result<(), Refusal> {
        let component = self.upload(component);
        self.zxid += 1;
        let mut manifest = json!({
            "format": 1, "version": 1, "component": component, "paths": ["/services/**"], "settings": settings,
            "grants": [{ "path": "/services", "verbs": ["read"] }],
        });
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
            if value.is_null() {
                manifest.as_object_mut().unwrap().remove(key);
            }
        }
        let data = Bytes::from(manifest.to_string());
        let path = format!("{PLUGINS}/{name}");
        let create = Create {
            form: CreateForm::Create,
            path: Some(path.clone()),
            data: Some(data.clone()),
            acl: None,
            flags: 0,
            ttl_ms: 0,
        };
        let request = Request::Multi(vec![Operation { op: op::CREATE, request: Request::Create(create) }]);
        assert!(check_deployment::concerns(&request));
        let admitted = check_deployment::prepare(&self.plugins, &request, &self.tree)?;
        assert_eq!(admitted.iter().map(|admitted| admitted.key.as_str()).collect::<Vec<_>>(), [name]);
        self.tree.set(&path, &data, self.zxid);
        self.plugins.refresh(&self.tree);
        Ok(())
    }

    fn counters(&self, name: &str) -> Value {
        let path = format!("{PLUGINS}/{name}/counters");
        serde_json::from_slice(&self.plugins.virtual_node(&path).unwrap()).unwrap()
    }

    fn status(&self, name: &str) -> Value {
        serde_json::from_slice(&self.plugins.virtual_node(&format!("{PLUGINS}/{name}/status")).unwrap()).unwrap()
    }

    fn create(&mut self, path: &str, data: &str) -> Result<(), Refusal> {
        let mut view = View::default();
        view.now.insert(path.into(), data.into());
        self.ask(&view, &[created(path)], "digest")
    }

    /// What is said against plugins from now on.
    fn listen(&self) -> Arc<parking_lot::Mutex<Vec<Blame>>> {
        let heard: Arc<parking_lot::Mutex<Vec<Blame>>> = Arc::default();
        let hearer = heard.clone();
        self.plugins.blame_to(Box::new(move |blame| hearer.lock().push(blame)));
        heard
    }

    fn ask(&mut self, view: &View, changes: &[Change], scheme: &str) -> Result<(), Refusal> {
        self.ask_as(view, changes, scheme, SessionId(0x10))
    }

    fn ask_as(&mut self, view: &View, changes: &[Change], scheme: &str, session: SessionId) -> Result<(), Refusal> {
        let caller = Caller {
            session,
            connection: ConnectionId { member: 1, run: 2, number: 3 },
            identities: Arc::from([Identity::new(scheme, "alice:hash")]),
            address: [127, 0, 0, 1].into(),
            port: 4,
            local: false,
        };
        let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
        self.judge.validate(&Call::looking(view, Some(&caller), 5, Zxid(6), moment), changes).said
    }
}

/// Nodes' data as the transaction leaves it, and before.
#[derive(Default)]
struct View {
    now: BTreeMap<String, String>,
    before: BTreeMap<String, String>,
}

fn copy(data: &str) -> NodeCopy {
    let stat = Stat { data_length: data.len() as i32, ..Stat::default() };
    NodeCopy { data: Some(Bytes::from(data.to_owned())), stat, acl: acl::open_unsafe() }
}

impl ReadView for View {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        self.now.get(path).map(|data| copy(data))
    }
    fn original(&self, path: &str) -> Option<NodeCopy> {
        self.before.get(path).map(|data| copy(data))
    }
    fn children(&self, _: &str, _: Option<&str>, _: usize) -> Vec<String> {
        Vec::new()
    }
    fn ephemerals(&self, _: SessionId, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
}

fn created(path: &str) -> Change {
    Change::Create {
        path: path.into(),
        data: None,
        acl: acl::open_unsafe(),
        owner: Owner::PERSISTENT,
        parent_cversion: 1,
    }
}

fn set(path: &str) -> Change {
    Change::SetData { path: path.into(), data: None, version: 1 }
}

fn refused(result: Result<(), Refusal>) -> (ErrorCode, String) {
    let refusal = result.expect_err("refused");
    (refusal.code, refusal.text)
}

#[test]
fn guard_of_the_readme() {
    let mut server = Server::new();
    assert_eq!(server.create("/services/b", "{}"), Ok(()));
    server.deploy("names", guard(), json!({ "max_bytes": 40, "require_json": ["owner"] }), json!({})).unwrap();
    assert_eq!(server.status("names")["instances"], "reused");
    let defaults = json!({
        "fuel": limits::PLUGIN_FUEL, "deadline_ms": limits::PLUGIN_CPU_MS, "memory_bytes": limits::PLUGIN_MEMORY_BYTES,
        "slow_ms": limits::PLUGIN_SLOW_MS,
    });
    assert_eq!(server.status("names")["limits"], defaults);
    assert_eq!(server.create("/services/a", r#"{"owner":"pay"}"#), Ok(()));
    let (code, text) = refused(server.create("/services/b", "{}"));
    assert_eq!((code, text.as_str()), (ErrorCode::BadArguments, "names: /services/b: field \"owner\" is missing"));
    let (_, text) = refused(server.create("/services/b", "nonsense"));
    assert_eq!(text, "names: /services/b: the data must be a JSON object");
    let (_, text) = refused(server.create("/services/b", &format!(r#"{{"owner":"{}"}}"#, "x".repeat(40))));
    assert_eq!(text, "names: /services/b: 52 bytes, at most 40 are allowed");
    // Not matched: the path itself, and elsewhere.
    assert_eq!(server.create("/services", "{}"), Ok(()));
    assert_eq!(server.create("/other", "{}"), Ok(()));
    let counters = server.counters("names");
    assert_eq!((&counters["calls"], &counters["refusals"]), (&json!(4), &json!(3)));
    assert!(counters["fuel_max"].as_u64().unwrap() > 0);
}

#[test]
fn guard_names_and_immutability() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({ "name": "svc-*", "immutable": true }), json!({})).unwrap();
    assert_eq!(server.create("/services/svc-1", ""), Ok(()));
    let (_, text) = refused(server.create("/services/x", ""));
    assert_eq!(text, "g: /services/x: the name does not fit svc-*");

    let mut view = View::default();
    view.now.insert("/services/svc-1".into(), "new".into());
    // What the transaction itself has created is not yet kept.
    assert_eq!(server.ask(&view, &[created("/services/svc-1"), set("/services/svc-1")], "ip"), Ok(()));
    view.before.insert("/services/svc-1".into(), "old".into());
    let (_, text) = refused(server.ask(&view, &[set("/services/svc-1")], "ip"));
    assert_eq!(text, "g: /services/svc-1: is immutable");
    let (_, text) = refused(server.ask(&view, &[Change::Delete { path: "/services/svc-1".into() }], "ip"));
    assert_eq!(text, "g: /services/svc-1: is immutable and cannot be deleted");
}

#[test]
fn settings_are_refused_by_name_and_nothing_is_bound() {
    let mut server = Server::new();
    for (settings, words) in [
        (json!({ "max_bytes": "many" }), "settings: max_bytes: a number of bytes is required"),
        (json!({ "require_json": "owner" }), "settings: require_json: a list of field names"),
        (json!({ "immutable": 1 }), "settings: immutable: true or false"),
        (json!({ "name": "" }), "settings: name: a pattern is required"),
        (json!({ "maxbytes": 1 }), "settings: maxbytes: there is no such setting; there are max_bytes"),
    ] {
        let (code, text) = refused(server.deploy("names", guard(), settings, json!({})));
        assert_eq!(code, ErrorCode::BadArguments);
        assert!(text.starts_with("names: the plugin is refused: ") && text.contains(words), "{text}");
    }
    assert_eq!(server.plugins.counters_json("names"), None);
    assert_eq!(server.create("/services/b", "{}"), Ok(()));
}

#[test]
fn deployments_that_cannot_be_are_refused_with_the_reason() {
    let mut server = Server::new();
    for (bytes, words) in [
        (&b"\0asm\x01\0\0\0"[..], "core WebAssembly module"),
        (b"text", "not a WebAssembly component"),
        (b"\0asm\x0d\0\x01\0", "does not export wasmkeeper:plugin/setup"),
    ] {
        let (_, text) = refused(server.deploy("p", bytes, json!({}), json!({})));
        assert!(text.contains(words), "{text}");
    }
    let (_, text) = refused(server.deploy("p", guard(), json!({}), json!({ "pahts": ["/a"] })));
    assert!(text.contains("pahts"), "{text}");
    let (_, text) = refused(server.deploy("P", guard(), json!({}), json!({})));
    assert!(text.contains("no name for a plugin"), "{text}");
    let missing = Component { sha256: "0".repeat(64), bytes: 5, chunks: 1, source: String::new() };
    let (_, text) = refused(server.deploy("p", guard(), json!({}), json!({ "component": missing })));
    assert!(text.contains("/00000 is missing"), "{text}");
}

/// What a write gets from a plugin that misbehaves so, under `reject`.
fn contained(what: &str, class: &str) -> (ErrorCode, String) {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": what }), json!({})).unwrap();
    let (code, text) = refused(server.create("/services/b", "data"));
    assert_eq!(server.counters("n")["faults"][class], 1, "{what}: {text}");
    assert!(text.starts_with(&format!("n: /services/b: the plugin failed ({class}): ")), "{text}");
    // The next call is none the worse for it.
    let (again, _) = refused(server.create("/services/b", "data"));
    assert_eq!(again, code);
    // Under `ignore` the write goes on, and is counted.
    server.deploy("n", naughty(), json!({ "do": what }), json!({ "on_failure": "ignore" })).unwrap();
    assert_eq!(server.create("/services/b", "data"), Ok(()));
    assert_eq!(server.counters("n")["let_pass"], 1);
    (code, text)
}

#[test]
fn a_guest_that_loops_ends_with_its_fuel() {
    assert_eq!(contained("spin", "fuel").0, ErrorCode::SystemError);
}

#[test]
fn a_guest_that_panics() {
    assert_eq!(contained("panic", "panic").0, ErrorCode::SystemError);
}

#[test]
fn a_guest_that_grows_without_end() {
    let mut server = Server::new();
    // Clearing memory costs fuel, so that it is fuel that ends small budgets.
    let limits = json!({ "limits": { "fuel": limits::PLUGIN_FUEL_MAX } });
    server.deploy("n", naughty(), json!({ "do": "grow" }), limits).unwrap();
    let (code, text) = refused(server.create("/services/b", "data"));
    assert_eq!(code, ErrorCode::SystemError);
    assert!(text.contains("(memory)"), "{text}");
    contained("grow", "fuel");
}

#[test]
fn a_guest_that_recurses_without_end() {
    assert_eq!(contained("nest", "stack").0, ErrorCode::SystemError);
    // Rust's own stack lies in memory, and below it is nothing.
    assert_eq!(contained("overflow", "trap").0, ErrorCode::SystemError);
}

#[test]
fn a_guest_that_answers_nonsense() {
    contained("code", "output");
    contained("code-ok", "output");
    let mut server = Server::new();
    let limits = json!({ "limits": { "fuel": limits::PLUGIN_FUEL_MAX } });
    server.deploy("n", naughty(), json!({ "do": "huge" }), limits).unwrap();
    let (_, text) = refused(server.create("/services/b", "data"));
    assert!(text.contains("(trap)") && text.len() <= limits::REFUSAL_TEXT_BYTES_MAX, "{text}");
}

#[test]
fn a_guest_that_reads_without_end() {
    let mut server = Server::new();
    let limits = json!({ "limits": { "fuel": limits::PLUGIN_FUEL_MAX, "deadline_ms": 1000 } });
    server.deploy("n", naughty(), json!({ "do": "read-all" }), limits).unwrap();
    assert!(refused(server.create("/services/b", "data")).1.contains("(host)"));
}

#[test]
fn the_fuse_ends_what_fuel_lets_through() {
    let mut server = Server::new();
    let limits = json!({ "limits": { "fuel": limits::PLUGIN_FUEL_MAX, "deadline_ms": 1 } });
    server.deploy("n", naughty(), json!({ "do": "spin" }), limits).unwrap();
    let (code, text) = refused(server.create("/services/b", "data"));
    // A fast machine spends the fuel before the second tick.
    assert!(text.contains("(cpu)") || text.contains("(fuel)"), "{text}");
    assert_eq!(code, ErrorCode::SystemError);
}

#[test]
fn a_guest_that_misbehaves_while_it_is_configured_is_not_admitted() {
    let mut server = Server::new();
    for (what, words) in [
        ("configure-spin", "failed to start"),
        ("configure-panic", "failed to start (panic)"),
        ("configure-refuse", "settings: do: refused"),
        ("configure-long", "settings: xxx"),
    ] {
        let (_, text) = refused(server.deploy("n", naughty(), json!({ "do": what }), json!({})));
        assert!(text.contains(words) && text.len() <= limits::REFUSAL_TEXT_BYTES_MAX, "{text}");
    }
}

#[test]
fn a_plugin_chooses_among_the_codes_that_clients_survive() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "code-quota" }), json!({})).unwrap();
    let (code, text) = refused(server.create("/services/b", ""));
    assert_eq!((code, text.as_str()), (ErrorCode::QuotaExceeded, "n: /services/b: that is enough"));
    server.deploy("n", naughty(), json!({ "do": "long" }), json!({})).unwrap();
    assert!(refused(server.create("/services/b", "")).1.len() <= limits::REFUSAL_TEXT_BYTES_MAX);
}

#[test]
fn grants_hold() {
    let mut server = Server::new();
    for (what, words) in [
        ("outside", "no grant to read /elsewhere"),
        ("system", "no grant to read /zookeeper/config"),
        // The author asked for it, whoever deployed did not confirm it.
        ("names", "no grant to children /services"),
    ] {
        server.deploy("n", naughty(), json!({ "do": what }), json!({})).unwrap();
        let (code, text) = refused(server.create("/services/b", ""));
        assert_eq!(code, ErrorCode::NoAuth);
        assert!(text.contains(words), "{text}");
    }
    // Confirmed, but never asked for by the author.
    let wide = json!({ "grants": [{ "path": "/", "verbs": ["read", "children"] }] });
    server.deploy("n", naughty(), json!({ "do": "outside" }), wide.clone()).unwrap();
    assert_eq!(refused(server.create("/services/b", "")).0, ErrorCode::NoAuth);
    server.deploy("n", naughty(), json!({ "do": "names" }), wide).unwrap();
    assert_eq!(server.create("/services/b", ""), Ok(()));
}

#[test]
fn the_log_is_bounded() {
    let mut server = Server::new();
    server
        .deploy("n", naughty(), json!({ "do": "chat" }), json!({ "limits": { "fuel": limits::PLUGIN_FUEL_MAX } }))
        .unwrap();
    assert_eq!(server.status("n")["limits"]["fuel"], limits::PLUGIN_FUEL_MAX);
    assert_eq!(server.create("/services/b", ""), Ok(()));
    assert!(server.counters("n")["log_lines_dropped"].as_u64().unwrap() > 9_000);
}

#[test]
fn an_impure_plugin_sees_a_fresh_instance_each_time() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "remember" }), json!({})).unwrap();
    assert_eq!(server.status("n")["instances"], "fresh");
    for _ in 0..5 {
        assert_eq!(server.create("/services/b", ""), Ok(()));
    }
}

#[test]
fn audit_counts_and_refuses_nothing() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({ "require_json": ["owner"] }), json!({ "mode": "audit" })).unwrap();
    assert_eq!(server.create("/services/b", "{}"), Ok(()));
    assert_eq!((&server.counters("g")["would_refuse"], &server.counters("g")["refusals"]), (&json!(1), &json!(0)));
    server.deploy("n", naughty(), json!({ "do": "panic" }), json!({ "mode": "audit" })).unwrap();
    assert_eq!(server.create("/services/b", "{}"), Ok(()));
    assert_eq!(server.counters("n")["would_refuse"], 1);
}

#[test]
fn off_asks_nobody() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({ "require_json": ["owner"] }), json!({ "mode": "off" })).unwrap();
    assert_eq!(server.create("/services/b", "{}"), Ok(()));
    assert_eq!(server.counters("g")["calls"], 0);
    assert_eq!(server.status("g")["state"], "off");
}

#[test]
fn settings_are_judged_while_a_plugin_is_off_and_when_it_is_turned_on() {
    let mut server = Server::new();
    let (good, bad) = (json!({ "max_bytes": 1 }), json!({ "max_bytes": "many" }));
    let mode = |mode: &str, version: u32| json!({ "mode": mode, "version": version });
    server.deploy("g", guard(), good.clone(), mode("enforce", 1)).unwrap();
    server.deploy("g", guard(), good.clone(), mode("off", 2)).unwrap();
    let (_, text) = refused(server.deploy("g", guard(), bad.clone(), mode("off", 3)));
    assert!(text.contains("settings: max_bytes: a number of bytes is required"), "{text}");
    // A server that runs no plugins cannot judge; so whoever turns it on does.
    let mut without = Server::with(Plugins::new(false, Compiler::here()));
    without.tree = server.tree;
    without.deploy("g", guard(), bad.clone(), mode("off", 3)).unwrap();
    let mut again = Server::new();
    again.tree = without.tree;
    for on in ["enforce", "audit"] {
        let (_, text) = refused(again.deploy("g", guard(), bad.clone(), mode(on, 4)));
        assert!(text.contains("settings: max_bytes"), "{text}");
    }
}

#[test]
fn only_the_operations_named_are_asked_about() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({ "require_json": ["owner"] }), json!({ "on": ["create"] })).unwrap();
    let mut view = View::default();
    view.now.insert("/services/b".into(), "{}".into());
    assert_eq!(server.ask(&view, &[set("/services/b")], "ip"), Ok(()));
    assert!(server.ask(&view, &[created("/services/b")], "ip").is_err());
}

#[test]
fn the_superuser_and_zookeeper_are_never_judged() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "panic" }), json!({ "paths": ["/**"] })).unwrap();
    let view = View::default();
    assert_eq!(server.ask(&view, &[created("/services/b")], "super"), Ok(()));
    assert_eq!(server.ask(&view, &[created("/zookeeper/plugins/n")], "ip"), Ok(()));
    assert!(server.ask(&view, &[created("/services/b")], "ip").is_err());
}

#[test]
fn a_transaction_of_too_many_changes_is_refused_unasked() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({}), json!({})).unwrap();
    let changes: Vec<_> = (0..=limits::PLUGIN_CHANGES_MAX).map(|at| created(&format!("/services/{at}"))).collect();
    assert_eq!(server.ask(&View::default(), &changes[1..], "ip"), Ok(()));
    assert_eq!(refused(server.ask(&View::default(), &changes, "ip")).0, ErrorCode::BadArguments);
    assert_eq!(server.counters("g")["calls"], 1);
}

#[test]
fn a_removed_plugin_is_asked_no_more_and_an_updated_one_goes_on_counting() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({ "require_json": ["owner"] }), json!({})).unwrap();
    assert!(server.create("/services/b", "{}").is_err());
    server.deploy("g", guard(), json!({ "require_json": ["team"] }), json!({ "version": 2 })).unwrap();
    assert!(refused(server.create("/services/b", "{}")).1.contains("team"));
    assert_eq!(server.counters("g")["refusals"], 2);
    server.tree.0.remove(&format!("{PLUGINS}/g"));
    server.plugins.refresh(&server.tree);
    assert_eq!(server.create("/services/b", "{}"), Ok(()));
    assert_eq!(server.plugins.status_json("g"), None);
}

#[test]
fn with_plugins_off_what_enforces_refuses_and_says_so() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({}), json!({})).unwrap();
    let mut off = Server::with(Plugins::new(false, Compiler::here()));
    off.tree = server.tree;
    off.plugins.refresh(&off.tree);
    let (code, text) = refused(off.create("/services/b", "{}"));
    assert_eq!(code, ErrorCode::SystemError);
    assert!(text.contains("--plugins off"), "{text}");
    assert_eq!(off.create("/other", "{}"), Ok(()));
    assert_eq!(off.ask(&View::default(), &[created("/services/b")], "super"), Ok(()));
}

#[test]
fn after_a_start_plugins_come_from_the_tree_and_a_bad_one_only_harms_its_own_paths() {
    let mut server = Server::new();
    server.deploy("good", guard(), json!({ "require_json": ["owner"] }), json!({})).unwrap();
    server.deploy("bad", naughty(), json!({ "do": "fine" }), json!({ "paths": ["/bad/**"] })).unwrap();
    // Something has eaten the second one's component.
    let mut started = Server::new();
    let bad = sha256(naughty());
    server.tree.0.retain(|path, _| !path.contains(&bad));
    let nodes = server.tree.0.clone();
    started.plugins.read_nodes_by(Box::new(move |path| nodes.get(path).map(|node| node.0.clone())));
    started.tree = server.tree;
    started.plugins.refresh(&started.tree);
    assert!(started.plugins.settle(Duration::from_secs(60)));
    assert!(refused(started.create("/services/b", "{}")).1.contains("owner"));
    let (code, text) = refused(started.create("/bad/x", ""));
    assert_eq!(code, ErrorCode::SystemError);
    assert!(text.contains("(code)") && text.contains("missing"), "{text}");
    assert_eq!(started.status("bad")["state"], "failed");
    // It can still be turned off, though it can no longer be checked.
    let former: Value = serde_json::from_slice(&started.tree.data(&format!("{PLUGINS}/bad")).unwrap()).unwrap();
    let data = Bytes::from({
        let mut off = former;
        off["mode"] = "off".into();
        off.to_string()
    });
    let turn_off = Request::SetData { path: Some(format!("{PLUGINS}/bad")), data: Some(data), version: -1 };
    assert!(check_deployment::prepare(&started.plugins, &turn_off, &started.tree).is_ok());
}

#[test]
fn what_could_not_be_loaded_is_tried_again_once_its_pieces_are_there() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    server.deploy("m", naughty(), json!({ "do": "fine" }), json!({ "paths": ["/other/**"] })).unwrap();
    let component = server.upload(naughty());
    let mut started = Server::new();
    let nodes = Arc::new(parking_lot::Mutex::new(server.tree.0.clone()));
    let read = nodes.clone();
    started.plugins.read_nodes_by(Box::new(move |path| read.lock().get(path).map(|node| node.0.clone())));
    started.tree = server.tree;
    // One piece is missing, and another is not what it was.
    let (gone, broken) = (component.chunk_path(0), component.chunk_path(1));
    started.tree.0.remove(&gone);
    started.tree.set(&broken, b"nonsense", 5);
    let refresh = |started: &mut Server| {
        *nodes.lock() = started.tree.0.clone();
        started.plugins.refresh(&started.tree);
        assert!(started.plugins.settle(Duration::from_secs(60)));
        started.status("n")["state"].clone()
    };
    assert_eq!(refresh(&mut started), "failed");
    let piece = |at: usize| naughty().chunks(20_000).nth(at).unwrap();
    started.tree.set(&gone, piece(0), 6);
    assert_eq!(refresh(&mut started), "failed");
    started.tree.set(&broken, piece(1), 7);
    assert_eq!(refresh(&mut started), "active");
    assert_eq!(started.status("m")["state"], "active");
    assert_eq!(started.create("/services/a", ""), Ok(()));

    // A transaction that brings such pieces is looked at, and none that brings others.
    let brings = |path: &str| Txn {
        zxid: Zxid(8),
        wall_ms: 0,
        ensemble_ms: 0,
        origin: None,
        outcome: Outcome::Done(Vec::new()),
        changes: vec![created(path)],
        made_by: Vec::new(),
    };
    assert!(!started.plugins.waited_for(&brings(&gone)), "it runs");
    let mut bare = Server::new();
    bare.tree = started.tree;
    bare.plugins.read_nodes_by(Box::new(|_| None));
    bare.plugins.refresh(&bare.tree);
    assert!(bare.plugins.settle(Duration::from_secs(60)));
    assert!(bare.plugins.waited_for(&brings(&gone)) && !bare.plugins.waited_for(&brings("/services/a")));
    assert!(!bare.plugins.waited_for(&brings(&gone.replace(&component.sha256, &"0".repeat(64)))));
}

#[test]
fn a_member_that_lacked_pieces_when_it_was_asked_runs_what_is_then_bound() {
    let mut leader = Server::new();
    leader.deploy("n", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    let text = leader.tree.data(&format!("{PLUGINS}/n")).unwrap();
    let manifest = manifest::parse(&text).unwrap();
    let mut member = Server::new();
    member.plugins.load(manifest.code(), &|| Err("a piece is missing".into())).map(drop).unwrap_err();
    let nodes = leader.tree.0.clone();
    member.plugins.read_nodes_by(Box::new(move |path| nodes.get(path).map(|node| node.0.clone())));
    member.tree = leader.tree;
    member.plugins.refresh(&member.tree);
    assert!(member.plugins.settle(Duration::from_secs(60)));
    assert_eq!(member.create("/services/a", ""), Ok(()));
}

#[test]
fn what_is_not_ready_is_the_servers_doing() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({}), json!({})).unwrap();
    let mut started = Server::new();
    // The loader waits here, so that the binding is seen unready.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = parking_lot::Mutex::new(wait);
    started.plugins.read_nodes_by(Box::new(move |_| wait.lock().recv().ok().and(None)));
    started.tree = server.tree;
    started.plugins.refresh(&started.tree);
    assert_eq!(refused(started.create("/services/b", "{}")).0, ErrorCode::OperationTimeout);
    assert_eq!(started.status("g")["state"], "loading");
    drop(go);
    assert!(started.plugins.settle(Duration::from_secs(60)));
    assert_eq!(started.status("g")["state"], "failed");
}

/// The data of a refused create, `/services/NAME`.
fn said_of(server: &mut Server, path: &str) -> String {
    refused(server.create(path, "{}")).1
}

#[test]
fn a_version_on_trial_is_asked_in_the_place_of_the_one_in_force_or_beside_it() {
    let mut server = Server::new();
    let canary = |mode: &str| json!({ "version": 2, "canary": ["/services/pay"], "mode": mode });
    let (_, text) = refused(server.deploy("g/canary", guard(), json!({}), canary("enforce")));
    assert!(text.contains("no version in force"), "{text}");
    server.deploy("g", guard(), json!({ "require_json": ["owner"] }), json!({})).unwrap();
    server.deploy("g/canary", guard(), json!({ "require_json": ["team"] }), canary("enforce")).unwrap();
    assert!(said_of(&mut server, "/services/a").contains("owner"));
    assert!(said_of(&mut server, "/services/payment").contains("owner"), "a name that begins so is another node");
    for path in ["/services/pay", "/services/pay/b"] {
        let said = said_of(&mut server, path);
        assert!(said.contains("team") && said.starts_with("g: "), "{said}");
    }
    assert_eq!((&server.counters("g")["refusals"], &server.counters("g/canary")["refusals"]), (&json!(2), &json!(2)));
    assert_eq!(server.status("g/canary")["version"], 2);

    // Audited, both are asked, and the one in force decides.
    server.deploy("g/canary", guard(), json!({ "require_json": ["team"] }), canary("audit")).unwrap();
    assert!(said_of(&mut server, "/services/pay").contains("owner"));
    assert_eq!(server.create("/services/pay", r#"{"owner":1}"#), Ok(()));
    assert_eq!(server.counters("g/canary")["would_refuse"], 1);

    server.tree.0.remove(&format!("{PLUGINS}/g/canary"));
    server.plugins.refresh(&server.tree);
    assert!(said_of(&mut server, "/services/pay").contains("owner"));
    assert_eq!(server.plugins.status_json("g/canary"), None);
}

#[test]
fn what_cannot_be_tried_is_refused() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({}), json!({})).unwrap();
    for (key, more, words) in [
        ("g", json!({ "canary": ["/services/a"] }), "stands at /zookeeper/plugins/g/canary"),
        ("g/canary", json!({}), "says for which paths"),
        ("g/canary", json!({ "canary": ["/other"], "paths": ["/**"] }), "where the version in force applies"),
        ("g/canary", json!({ "canary": ["/services/a"], "kind": "policy" }), "the version in force a validator"),
    ] {
        let (_, text) = refused(server.deploy(key, guard(), json!({}), more));
        assert!(text.contains(words), "{text}");
    }
}

/// As `Server::create`, by that session.
fn create_by(server: &mut Server, session: i64, path: &str) -> Result<(), Refusal> {
    let mut view = View::default();
    view.now.insert(path.into(), String::new());
    server.ask_as(&view, &[created(path)], "digest", SessionId(session))
}

#[test]
fn ten_crafted_inputs_of_one_session_neither_open_a_path_nor_close_it_for_others() {
    let mut server = Server::new();
    let blamed = server.listen();
    server.deploy("n", naughty(), json!({ "do": "trap-on-evil" }), json!({})).unwrap();
    for at in 0..10 {
        let refusal = create_by(&mut server, 1, &format!("/services/evil-{at}")).expect_err("it is not let pass");
        assert_eq!(refusal.code, ErrorCode::SystemError, "{}", refusal.text);
        assert_eq!(create_by(&mut server, 2, &format!("/services/good-{at}")), Ok(()));
    }
    assert_eq!(server.status("n")["state"], "active");
    assert_eq!(server.counters("n")["faults"]["panic"], 10);
    // Nor do a hundred, and the session itself may still do what is right.
    for at in 0..100 {
        assert!(create_by(&mut server, 1, &format!("/services/evil-{at}")).is_err());
    }
    assert_eq!(create_by(&mut server, 1, "/services/good"), Ok(()));
    assert_eq!(blamed.lock().len(), 0);
}

#[test]
fn a_plugin_that_fails_everybody_is_blamed_and_under_quarantine_called_no_more() {
    let mut server = Server::new();
    let blamed = server.listen();
    for (on_failure, mode) in [("reject", "enforce"), ("ignore", "enforce"), ("reject", "audit")] {
        blamed.lock().clear();
        server.tree.0.remove(&format!("{PLUGINS}/n/quarantine"));
        let more = json!({ "version": 3, "on_failure": on_failure, "mode": mode });
        server.deploy("n", naughty(), json!({ "do": "panic" }), more).unwrap();
        for session in 0..limits::PLUGIN_QUARANTINE_FAULTS as i64 {
            assert!(blamed.lock().is_empty());
            let _ = create_by(&mut server, session, "/services/a");
        }
        let blame = blamed.lock().pop().expect("it is blamed");
        assert_eq!((blame.plugin.as_str(), blame.manifest_mzxid, blame.crashed), ("n", server.zxid, None));
        // What the leader makes of it, on every member.
        server.zxid += 1;
        server.tree.set(&format!("{PLUGINS}/n/quarantine"), &blame.quarantine, server.zxid);
        server.plugins.refresh(&server.tree);
        let panics = server.counters("n")["faults"]["panic"].clone();
        let answer = create_by(&mut server, 1, "/services/a");
        match (on_failure, mode) {
            ("reject", "enforce") => {
                let (code, text) = refused(answer);
                assert_eq!(code, ErrorCode::SystemError);
                assert!(
                    text.starts_with("n: /services/a: the plugin is not called: it is under quarantine: 20 faults"),
                    "{text}"
                );
            }
            _ => assert_eq!(answer, Ok(())),
        }
        assert_eq!(server.counters("n")["faults"]["panic"], panics, "it was not called");
        assert_eq!(server.status("n")["state"], "quarantine");
    }
    assert_eq!(server.plugins.lacking(), Vec::<String>::new());
    // Another version is another matter.
    server.deploy("n", naughty(), json!({ "do": "fine" }), json!({ "version": 4 })).unwrap();
    assert_eq!(create_by(&mut server, 1, "/services/a"), Ok(()));
}

#[test]
fn answers_that_mean_nothing_count_as_other_faults_do_whoever_is_asked() {
    let mut server = Server::new();
    let blamed = server.listen();
    server.deploy("v", naughty(), json!({ "do": "code" }), json!({})).unwrap();
    let recipe = json!({ "kind": "recipe", "mount": "/line", "paths": null, "grants": [] });
    server.deploy("r", naughty(), json!({ "do": "handle elsewhere" }), recipe).unwrap();
    for (name, what) in [("ids", "empty"), ("entries", "match-panic"), ("forms", "check-panic")] {
        let scheme = json!({ "kind": "authenticator", "scheme": name, "paths": null, "grants": [] });
        server.deploy(name, naughty(), json!({ "do": what }), scheme).unwrap();
    }
    let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
    let view = View::default();
    for session in (1..=limits::PLUGIN_QUARANTINE_FAULTS as i64).map(SessionId) {
        assert!(blamed.lock().is_empty());
        let call = Call { session, ..Call::looking(&view, None, 5, Zxid(6), moment) };
        assert!(server.judge.validate(&call, &[created("/services/a")]).said.is_err());
        let recipe = server.judge.recipe("/line/a").unwrap();
        let write = Write::Delete { path: "/line/a", version: None };
        assert!(server.judge.handle(&recipe, &call, &write).said.is_err());
        assert_eq!(server.plugins.authenticate("ids", &call, b"alice"), None);
        let held = session.0.to_string();
        assert_eq!(server.plugins.matches(session, u64::MAX, "entries", &held, "wanted").said, Ok(false));
        assert!(server.plugins.check_id(session, u64::MAX, "forms", "alice").unwrap().said.is_err());
    }
    let mut blamed: Vec<String> = blamed.lock().iter().map(|blame| blame.plugin.clone()).collect();
    blamed.sort_unstable();
    assert_eq!(blamed, ["entries", "forms", "ids", "r", "v"]);
}

#[test]
fn a_fault_leaves_the_panics_text_and_the_guests_stack_for_the_author() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "panic" }), json!({ "version": 7 })).unwrap();
    let text = said_of(&mut server, "/services/a");
    assert!(text.len() < 100 && !text.contains("told to"), "clients get a sentence: {text}");
    let faults = server.plugins.virtual_node(&format!("{PLUGINS}/n/faults")).unwrap();
    let faults: Value = serde_json::from_slice(&faults).unwrap();
    let fault = &faults[0];
    assert_eq!((&fault["class"], &fault["version"], &fault["session"]), (&json!("panic"), &json!(7), &json!("0x10")));
    assert!(fault["log"].to_string().contains("told to"), "{fault}");
    assert!(fault["backtrace"].to_string().contains("naughty"), "{fault}");
    for _ in 0..2 * limits::PLUGIN_FAULTS_KEPT {
        said_of(&mut server, "/services/a");
    }
    let faults = server.plugins.virtual_node(&format!("{PLUGINS}/n/faults")).unwrap();
    let faults: Vec<Value> = serde_json::from_slice(&faults).unwrap();
    assert_eq!(faults.len(), limits::PLUGIN_FAULTS_KEPT);
}

#[test]
fn a_fault_while_an_instance_is_made_counts_for_whose_call_it_is() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    let node = format!("{PLUGINS}/n");
    let mut manifest: Value = serde_json::from_slice(&server.tree.data(&node).unwrap()).unwrap();
    let view = View::default();
    for (zxid, what) in [(100, "configure-spin"), (101, "configure-panic"), (102, "configure-refuse")] {
        // As if it had taken them when it was deployed.
        manifest["settings"]["do"] = what.into();
        server.tree.set(&node, manifest.to_string().as_bytes(), zxid);
        server.plugins.refresh(&server.tree);
        let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
        let call = Call { session: SessionId(zxid), ..Call::looking(&view, None, 5, Zxid(6), moment) };
        let answered = server.judge.validate(&call, &[created("/services/a")]);
        assert_eq!(refused(answered.said).0, ErrorCode::SystemError, "{what}");
        let instance = limits::PLUGIN_CALL_FUEL + limits::PLUGIN_INSTANCE_FUEL;
        assert!(answered.fuel > instance, "{what}: {}", answered.fuel);
        assert_eq!(answered.fuel > limits::PLUGIN_TXN_FUEL, what == "configure-spin", "{what}: {}", answered.fuel);
        let faults = server.plugins.virtual_node(&format!("{PLUGINS}/n/faults")).unwrap();
        let faults: Value = serde_json::from_slice(&faults).unwrap();
        assert_eq!(faults[0]["session"], format!("0x{zxid:x}"), "{what}");
    }
}

#[test]
fn what_fails_to_start_says_what_it_logged() {
    let mut server = Server::new();
    let (_, text) = refused(server.deploy("n", naughty(), json!({ "do": "configure-panic" }), json!({})));
    assert!(text.contains("(panic)") && text.contains("its log: error: ") && text.contains("told to"), "{text}");
}

#[test]
fn a_member_that_was_ended_by_a_call_makes_no_other_before_that_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut first =
        Server::with(Plugins::with(true, Compiler::here(), Marks::open(folder.path(), 1).unwrap(), Signers::default()));
    first.deploy("n", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    let fingerprint = first.plugins.registry().named("n").unwrap().fingerprint();
    let (plugins, marks) = (first.plugins.clone(), Marks::open(folder.path(), 2).unwrap());
    let panicked = std::thread::spawn(move || {
        let _mark = marks.mark(fingerprint);
        drop(plugins);
        panic!("the host's, within the call");
    });
    assert!(panicked.join().is_err());

    let marks = Marks::open(folder.path(), 3).unwrap();
    let mut again = Server::with(Plugins::with(true, Compiler::here(), marks, Signers::default()));
    again.deploy("n", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    assert_eq!(refused(again.create("/services/a", "")).0, ErrorCode::OperationTimeout);
    let [blame] = &again.plugins.crashes(9)[..] else { panic!("one call has ended a process") };
    assert_eq!((blame.plugin.as_str(), blame.crashed.as_deref()), ("n", Some("9-00000002")));
    // The report is applied; another version is in force meanwhile, or not.
    let report = format!("{PLUGINS}/n/crashes/{:016x}-9-00000002", again.zxid);
    again.tree.set(&report, b"", again.zxid + 1);
    again.plugins.refresh(&again.tree);
    assert_eq!(again.create("/services/a", ""), Ok(()));
    assert_eq!(again.plugins.crashes(9), []);
}

#[test]
fn without_a_trusted_signature_nothing_is_deployed_or_loaded() {
    let ((ours, _), (theirs, _)) = (Key::generate().unwrap(), Key::generate().unwrap());
    let signers = Signers::parse(&format!("ops={}", ours.public())).unwrap();
    let guarded = || Plugins::with(true, Compiler::here(), Marks::default(), signers.clone());
    let mut server = Server::with(guarded());
    for (more, words) in [
        (json!({}), "only that ops signed"),
        (json!({ "signature": theirs.sign(guard()) }), "none of the signers"),
        (json!({ "signature": ours.sign(naughty()) }), "of this component"),
        (json!({ "signature": { "signer": "x", "ed25519": "y" } }), "signature.signer"),
    ] {
        let (_, text) = refused(server.deploy("g", guard(), json!({}), more));
        assert!(text.contains(words), "{text}");
    }
    server.deploy("g", guard(), json!({}), json!({ "signature": ours.sign(guard()) })).unwrap();
    assert_eq!(server.status("g")["signer"], "ops");
    assert_eq!(server.create("/services/a", "{}"), Ok(()));

    // A manifest that has come into the tree otherwise binds nothing that runs.
    let mut open = Server::new();
    open.deploy("g", guard(), json!({}), json!({})).unwrap();
    let mut started = Server::with(guarded());
    let nodes = open.tree.0.clone();
    started.plugins.read_nodes_by(Box::new(move |path| nodes.get(path).map(|node| node.0.clone())));
    started.tree = open.tree;
    started.plugins.refresh(&started.tree);
    assert!(started.plugins.settle(Duration::from_secs(60)));
    let (code, text) = refused(started.create("/services/a", "{}"));
    assert_eq!(code, ErrorCode::SystemError);
    assert!(text.contains("(code)") && text.contains("only that ops signed"), "{text}");
}

#[test]
fn a_few_clients_with_large_nodes_do_not_end_a_plugin_for_all() {
    let mut server = Server::new();
    let blamed = server.listen();
    server.deploy("n", naughty(), json!({ "do": "spin" }), json!({})).unwrap();
    let large = Bytes::from(vec![b'x'; limits::PLUGIN_INPUT_BLAMED_BYTES_MAX + 1]);
    for (data, is_blamed) in [(large, false), (Bytes::from_static(b"small"), true)] {
        for session in 0..limits::PLUGIN_QUARANTINE_FAULTS as i64 {
            let change = Change::Create {
                path: "/services/a".into(),
                data: Some(data.clone()),
                acl: acl::open_unsafe(),
                owner: Owner::PERSISTENT,
                parent_cversion: 1,
            };
            refused(server.ask_as(&View::default(), &[change], "digest", SessionId(session)));
        }
        assert_eq!(!blamed.lock().is_empty(), is_blamed);
    }
}

#[test]
fn a_manifest_is_checked_against_its_pieces_though_the_code_is_known() {
    let mut server = Server::new();
    server.deploy("a", guard(), json!({}), json!({})).unwrap();
    for (key, wrong, said) in [("chunks", 6, "is missing"), ("bytes", 90_000, "component.bytes says")] {
        let mut component = serde_json::to_value(server.upload(guard())).unwrap();
        component[key] = wrong.into();
        let (_, text) = refused(server.deploy("b", guard(), json!({}), json!({ "component": component })));
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn a_mount_has_one_recipe() {
    let mut server = Server::new();
    let at = |version: u32, mode: &str| json!({ "kind": "recipe", "mount": "/l", "paths": null, "version": version, "mode": mode, "grants": [] });
    server.deploy("a", naughty(), json!({ "do": "fine" }), at(1, "enforce")).unwrap();
    let (_, text) = refused(server.deploy("b", naughty(), json!({ "do": "fine" }), at(1, "enforce")));
    assert!(text.contains("mount: /l is that of a"), "{text}");
    server.deploy("a", naughty(), json!({ "do": "fine" }), at(2, "off")).unwrap();
    server.deploy("b", naughty(), json!({ "do": "fine" }), at(1, "enforce")).unwrap();
}

#[test]
fn all_components_together_are_bounded() {
    let mut server = Server::new();
    for at in 0..11 {
        let component = Component { sha256: format!("{at:064x}"), bytes: 24 << 20, chunks: 1, source: String::new() };
        let manifest = json!({ "format": 1, "version": 1, "component": component, "paths": ["/a"] });
        server.tree.set(&format!("{PLUGINS}/p{at}"), manifest.to_string().as_bytes(), 1);
    }
    let (_, text) = refused(server.deploy("g", guard(), json!({}), json!({})));
    assert!(text.contains("256 MiB are allowed"), "{text}");
    server.tree.0.remove(&format!("{PLUGINS}/p3"));
    server.deploy("g", guard(), json!({}), json!({})).unwrap();
}

#[test]
fn what_is_asked_and_what_is_granted_is_shown() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    let status = server.status("n");
    let all = json!(["read", "children", "create", "set", "delete", "acl"]);
    assert_eq!(status["asked"], json!([{ "path": "/services", "verbs": all }]));
    assert_eq!(status["granted"], json!([{ "path": "/services", "verbs": ["read"] }]));
}

/// The numbers of docs/plugins.md: `cargo test --release --lib -- --ignored --nocapture plugin::tests::cost`
#[test]
#[ignore = "measures, and so says nothing about right or wrong"]
fn cost() {
    let measure = |what: &str, server: &mut Server, path: &str, data: &str| {
        let mut view = View::default();
        view.now.insert(path.into(), data.into());
        let changes = [created(path)];
        let best = (0..5).map(|_| {
            let begun = std::time::Instant::now();
            for _ in 0..20_000 {
                server.ask(&view, &changes, "ip").unwrap();
            }
            begun.elapsed().as_nanos() / 20_000
        });
        println!("{what}: {} ns", best.min().unwrap());
    };
    let data = format!(r#"{{"owner":"pay","note":"{}"}}"#, "x".repeat(70));
    let mut server = Server::new();
    measure("no binding", &mut server, "/services/a", &data);
    server.deploy("g", guard(), json!({ "max_bytes": 4096, "require_json": ["owner"] }), json!({})).unwrap();
    measure("a binding that does not match", &mut server, "/other/a", &data);
    measure("guard, reused instance, 100 bytes", &mut server, "/services/a", &data);
    server.deploy("g", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    measure("a guest that agrees, fresh instance", &mut server, "/services/a", &data);
}

#[test]
fn validators_share_what_is_left_of_the_transactions_fuel() {
    let mut server = Server::new();
    server.deploy("m", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    server.deploy("n", naughty(), json!({ "do": "spin" }), json!({})).unwrap();
    let view = View::default();
    let mut ask = |fuel_max| {
        let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
        let call = Call { fuel_max, ..Call::looking(&view, None, 5, Zxid(6), moment) };
        let answered = server.judge.validate(&call, &[created("/services/a")]);
        let (code, text) = refused(answered.said);
        (code, text, answered.fuel)
    };
    // With enough it is its own that it uses up, and the one before it has had its part.
    let (code, _, fuel) = ask(limits::PLUGIN_TXN_FUEL);
    assert_eq!(code, ErrorCode::SystemError);
    assert!(fuel > limits::PLUGIN_FUEL + 2 * (limits::PLUGIN_CALL_FUEL + limits::PLUGIN_INSTANCE_FUEL), "{fuel}");
    // What the first of them leaves is not enough.
    let (code, text, _) = ask(limits::PLUGIN_FUEL);
    assert_eq!(code, ErrorCode::OperationTimeout);
    let common = "the plugins of this transaction have used up their common fuel";
    assert!(text.starts_with("n: ") && text.ends_with(common), "{text}");
    let (code, text, fuel) = ask(0);
    assert_eq!((code, fuel), (ErrorCode::OperationTimeout, 0));
    assert!(text.starts_with("m: ") && text.ends_with(common), "{text}");
    let shared = |name| server.counters(name)["faults"]["shared"].clone();
    assert_eq!((shared("m"), shared("n")), (json!(1), json!(1)));
}
