//! When a plugin is blamed for faults or for the end of a process, and when it is not.

#![expect(clippy::disallowed_methods, reason = "the threads of a test need no names")]

use super::*;

/// As `Server::create`, in the name of this session.
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
    // A hundred do not close the path either, and the same session may still write valid nodes.
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
        // What every member applies when the leader has logged the blame.
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
    // The quarantine does not stop another version.
    server.deploy("n", naughty(), json!({ "do": "fine" }), json!({ "version": 4 })).unwrap();
    assert_eq!(create_by(&mut server, 1, "/services/a"), Ok(()));
}

#[test]
fn answers_that_mean_nothing_count_as_faults_for_every_kind() {
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
    // The report is applied.
    let report = format!("{PLUGINS}/n/crashes/{:016x}-9-00000002", again.zxid);
    again.tree.set(&report, b"", again.zxid + 1);
    again.plugins.refresh(&again.tree);
    assert_eq!(again.create("/services/a", ""), Ok(()));
    assert_eq!(again.plugins.crashes(9), []);
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
