//! Guests that misbehave: each fault becomes a value, and the next call works.

use super::*;

/// The refusal that a write gets under `reject` from a guest that misbehaves like this.
fn contained(what: &str, class: &str) -> (ErrorCode, String) {
    let mut server = Server::new();
    server.deploy("n", naughty(), json!({ "do": what }), json!({})).unwrap();
    let (code, text) = refused(server.create("/services/b", "data"));
    assert_eq!(server.counters("n")["faults"][class], 1, "{what}: {text}");
    assert!(text.starts_with(&format!("n: /services/b: the plugin failed ({class}): ")), "{text}");
    // The next call gets the same answer: it has a new instance.
    let (again, _) = refused(server.create("/services/b", "data"));
    assert_eq!(again, code);
    // Under `ignore` the write goes on, and the counters show that.
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
    // Clearing memory costs fuel. A small budget would end by fuel first.
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
    // Rust's own stack is in linear memory, at its start. So an overflow leaves the memory and traps.
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
    // On a fast machine the fuel is used up before the second tick.
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
        // The author asked for this, but the operator did not grant it.
        ("names", "no grant to children /services"),
    ] {
        server.deploy("n", naughty(), json!({ "do": what }), json!({})).unwrap();
        let (code, text) = refused(server.create("/services/b", ""));
        assert_eq!(code, ErrorCode::NoAuth);
        assert!(text.contains(words), "{text}");
    }
    // The operator granted this, but the author did not ask for it.
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
        // As if the guest had accepted these settings when it was deployed.
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
fn a_failed_start_shows_the_log() {
    let mut server = Server::new();
    let (_, text) = refused(server.deploy("n", naughty(), json!({ "do": "configure-panic" }), json!({})));
    assert!(text.contains("(panic)") && text.contains("its log: error: ") && text.contains("told to"), "{text}");
}

/// The simulation alone moves the clock of a simulated member. A run depends on its seed alone only if calls are
/// measured by that clock.
#[tokio::test(start_paused = true)]
async fn calls_are_measured_by_the_clock_of_their_member() {
    let mut server = Server::new();
    let limits = json!({ "limits": { "fuel": limits::PLUGIN_FUEL_MAX, "slow_ms": 0 } });
    server.deploy("n", naughty(), json!({ "do": "chat" }), limits).unwrap();
    assert_eq!(server.create("/services/b", ""), Ok(()));
    assert_eq!((&server.counters("n")["ns_max"], &server.counters("n")["slow_calls"]), (&json!(0), &json!(1)));
    let log = server.plugins.virtual_node(&format!("{PLUGINS}/n/log")).unwrap();
    assert!(String::from_utf8(log).unwrap().contains("slow call: 0 us"));
}
