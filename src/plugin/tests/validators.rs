//! Validators: the bundled guard, what is asked about, modes, and the fuel of a transaction.

#![expect(clippy::disallowed_methods, reason = "the deadline of a guest is real time")]

use super::*;

#[test]
fn guard_as_in_its_readme() {
    let mut server = Server::new();
    assert_eq!(server.create("/services/b", "{}"), Ok(()));
    server.deploy("names", guard(), json!({ "max_bytes": 40, "require_json": ["owner"] }), json!({})).unwrap();
    assert_eq!(server.status("names")["instances"], "reused");
    let defaults = json!({
        "fuel": limits::PLUGIN_FUEL, "deadline_ms": limits::ms(limits::PLUGIN_CPU), "memory_bytes": limits::PLUGIN_MEMORY_BYTES,
        "slow_ms": limits::ms(limits::PLUGIN_SLOW),
    });
    assert_eq!(server.status("names")["limits"], defaults);
    assert_eq!(server.create("/services/a", r#"{"owner":"pay"}"#), Ok(()));
    let (code, text) = refused(server.create("/services/b", "{}"));
    assert_eq!((code, text.as_str()), (ErrorCode::BadArguments, "names: /services/b: field \"owner\" is missing"));
    let (_, text) = refused(server.create("/services/b", "nonsense"));
    assert_eq!(text, "names: /services/b: the data must be a JSON object");
    let (_, text) = refused(server.create("/services/b", &format!(r#"{{"owner":"{}"}}"#, "x".repeat(40))));
    assert_eq!(text, "names: /services/b: 52 bytes, at most 40 are allowed");
    // The pattern does not match the path itself, nor other paths.
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
    // A node that the same transaction created is not immutable yet.
    assert_eq!(server.ask(&view, &[created("/services/svc-1"), set("/services/svc-1")], "ip"), Ok(()));
    view.before.insert("/services/svc-1".into(), "old".into());
    let (_, text) = refused(server.ask(&view, &[set("/services/svc-1")], "ip"));
    assert_eq!(text, "g: /services/svc-1: is immutable");
    let (_, text) = refused(server.ask(&view, &[Change::Delete { path: "/services/svc-1".into() }], "ip"));
    assert_eq!(text, "g: /services/svc-1: is immutable and cannot be deleted");
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
fn a_plugin_that_is_off_is_not_asked() {
    let mut server = Server::new();
    server.deploy("g", guard(), json!({ "require_json": ["owner"] }), json!({ "mode": "off" })).unwrap();
    assert_eq!(server.create("/services/b", "{}"), Ok(()));
    assert_eq!(server.counters("g")["calls"], 0);
    assert_eq!(server.status("g")["state"], "off");
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
fn validators_share_what_is_left_of_the_transactions_fuel() {
    let mut server = Server::new();
    server.deploy("m", naughty(), json!({ "do": "fine" }), json!({})).unwrap();
    server.deploy("n", naughty(), json!({ "do": "spin" }), json!({})).unwrap();
    let view = View::default();
    let mut ask = |fuel_max, fuel_left| {
        let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
        let call = Call { fuel_max, fuel_left, ..Call::looking(&view, None, 5, Zxid(6), moment) };
        let answered = server.judge.validate(&call, &[created("/services/a")]);
        let (code, text) = refused(answered.said);
        (code, text, answered.fuel)
    };
    // With enough fuel left, the guest uses up its own budget. The plugin before it has taken its part.
    let (code, _, fuel) = ask(limits::PLUGIN_FUEL_MAX, limits::PLUGIN_TXN_FUEL);
    assert_eq!(code, ErrorCode::SystemError);
    assert!(fuel > limits::PLUGIN_FUEL + 2 * (limits::PLUGIN_CALL_FUEL + limits::PLUGIN_INSTANCE_FUEL), "{fuel}");
    // The first plugin leaves nothing.
    let (code, text, _) = ask(limits::PLUGIN_FUEL_MAX, 1);
    assert_eq!(code, ErrorCode::OperationTimeout);
    let common = "the plugins of this transaction have used up their common fuel";
    assert!(text.starts_with("n: ") && text.ends_with(common), "{text}");
    let (code, text, fuel) = ask(0, 0);
    assert_eq!((code, fuel), (ErrorCode::OperationTimeout, 0));
    assert!(text.starts_with("m: ") && text.ends_with(common), "{text}");
    let shared = |name| server.counters(name)["faults"]["shared"].clone();
    assert_eq!((shared("m"), shared("n")), (json!(1), json!(1)));
}

/// Many validators cost a write no more than the common fuel and one call.
#[test]
fn many_validators_cost_one_transactions_fuel() {
    let mut server = Server::new();
    for name in 0..20 {
        let name = format!("n{name}");
        server.deploy(&name, naughty(), json!({ "do": "spin" }), json!({ "on_failure": "ignore" })).unwrap();
    }
    let view = View::default();
    let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
    let (fuel_max, fuel_left) = (limits::PLUGIN_FUEL_MAX, limits::PLUGIN_TXN_FUEL);
    let call = Call { fuel_max, fuel_left, ..Call::looking(&view, None, 5, Zxid(6), moment) };
    let answered = server.judge.validate(&call, &[created("/services/a")]);
    assert_eq!(answered.said, Ok(()), "each failure is ignored");
    let one_call = limits::PLUGIN_FUEL + limits::PLUGIN_CALL_FUEL + 10 * limits::PLUGIN_INSTANCE_FUEL;
    assert!(answered.fuel >= limits::PLUGIN_TXN_FUEL, "{}", answered.fuel);
    assert!(answered.fuel < limits::PLUGIN_TXN_FUEL + one_call, "{}", answered.fuel);
}

/// The numbers of docs/plugins.md: `cargo test --release --lib -- --ignored --nocapture
/// plugin::tests::validators::cost`
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
fn a_plugin_that_is_not_as_pure_as_it_says_keeps_no_instance() {
    let mut server = Server::new();
    server.deploy("l", include_bytes!(env!("WASMKEEPER_LIAR")), json!({ "do": "count" }), json!({})).unwrap();
    for _ in 0..=limits::PLUGIN_SAMPLE_EVERY {
        let _ = server.create("/services/a", "");
    }
    let instances = server.status("l")["instances"].clone();
    assert!(instances.as_str().unwrap().contains("was seen to be not"), "{instances}");
    assert_eq!(server.plugins.idle_instances(), 0);
}
