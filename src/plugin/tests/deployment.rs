//! Deployments: which are accepted, which are refused and why, and what a start finds in the tree.

use super::*;

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

#[test]
fn settings_are_judged_while_a_plugin_is_off_and_when_it_is_turned_on() {
    let mut server = Server::new();
    let (good, bad) = (json!({ "max_bytes": 1 }), json!({ "max_bytes": "many" }));
    let mode = |mode: &str, version: u32| json!({ "mode": mode, "version": version });
    server.deploy("g", guard(), good.clone(), mode("enforce", 1)).unwrap();
    server.deploy("g", guard(), good.clone(), mode("off", 2)).unwrap();
    let (_, text) = refused(server.deploy("g", guard(), bad.clone(), mode("off", 3)));
    assert!(text.contains("settings: max_bytes: a number of bytes is required"), "{text}");
    // A server without plugins cannot check settings. So turning the plugin on checks them.
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
    // The pieces of the second component are lost.
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
    // The plugin can still be turned off, although it can no longer be checked.
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
fn a_failed_load_is_tried_again_when_the_pieces_are_there() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    server.deploy("m", naughty(), json!({ "do": "fine" }), json!({ "paths": ["/other/**"] })).unwrap();
    let component = server.upload(naughty());
    let mut started = Server::new();
    let nodes = Arc::new(parking_lot::Mutex::new(server.tree.0.clone()));
    let read = nodes.clone();
    started.plugins.read_nodes_by(Box::new(move |path| read.lock().get(path).map(|node| node.0.clone())));
    started.tree = server.tree;
    // One piece is missing, and another one has changed.
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

    // A transaction with such pieces is noticed. Transactions with other pieces are not.
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
fn a_call_before_the_code_is_ready_answers_as_a_fault_of_the_server() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({}), json!({})).unwrap();
    let mut started = Server::new();
    // The loader waits here, so that the binding is seen while it is not ready.
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

    // In mode `audit` both versions are asked, and the version in force decides.
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
fn versions_that_cannot_be_on_trial_are_refused() {
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

    // A manifest that came into the tree another way binds nothing that runs.
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
fn the_status_shows_grants_asked_for_and_granted() {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    let status = server.status("n");
    let all = json!(["read", "children", "create", "set", "delete", "acl"]);
    assert_eq!(status["asked"], json!([{ "path": "/services", "verbs": all }]));
    assert_eq!(status["granted"], json!([{ "path": "/services", "verbs": ["read"] }]));
}
