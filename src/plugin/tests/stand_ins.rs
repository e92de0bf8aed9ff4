//! Stand-ins for WASI, with the guest `homesick` that calls them.

use crate::model::{SessionId, Zxid};
use crate::pipeline::{Call, Moment, NodeCopy, ReadView};
use crate::plugin::contract::{Change, ChangeKind};
use crate::plugin::fault::Fault;
use crate::plugin::guest::call::Instance;
use crate::plugin::guest::engine;
use crate::plugin::guest::program::{Budget, Program, Setup};
use crate::plugin::manifest::Kind;
use crate::plugin::manifest::grant::Grants;
use crate::plugin::{component, stand_ins};
use std::sync::{Arc, Mutex};
use wasmtime::component::Component;

struct Empty;

impl ReadView for Empty {
    fn node(&self, _: &str) -> Option<NodeCopy> {
        None
    }
    fn original(&self, _: &str) -> Option<NodeCopy> {
        None
    }
    fn children(&self, _: &str, _: Option<&str>, _: usize) -> Vec<String> {
        Vec::new()
    }
    fn ephemerals(&self, _: SessionId, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
}

/// An instance of `homesick`, the test guest that uses WASI.
fn homesick(what: &str) -> Result<Instance, Fault> {
    let bytes = include_bytes!(env!("WASMKEEPER_HOMESICK"));
    let inspected = component::inspect(bytes).unwrap();
    assert!(inspected.imports.iter().any(|import| import == "wasi:io/streams@0.2.77"), "{:?}", inspected.imports);
    let engine = engine::running_engine().unwrap();
    let compiled = Component::new(&engine, bytes).unwrap();
    let prepared = stand_ins::instantiate_pre(&engine::linker(&engine).unwrap(), &compiled).unwrap();
    let program = Program::new(&engine, prepared, &inspected.kinds, inspected.section).unwrap();
    let setup = Setup {
        name: "homesick".into(),
        kind: Kind::Validator,
        mount: "/".into(),
        settings: format!(r#"{{"do":"{what}"}}"#).into(),
        grants: Arc::new(Grants::new(&[])),
        budget: Budget {
            fuel: crate::limits::PLUGIN_FUEL,
            cpu_ms: crate::limits::ms(crate::limits::PLUGIN_CPU),
            memory_bytes: crate::limits::PLUGIN_MEMORY_BYTES,
            slow: std::time::Duration::MAX,
        },
        counters: Arc::default(),
    };
    Instance::new(&program, &setup)
}

/// What the guest reports in a call at this moment.
fn finds(what: &str, moment: Moment) -> Result<String, Fault> {
    let call = Call::looking(&Empty, None, 7, Zxid::ZERO, moment);
    let change = Change { kind: ChangeKind::Created, path: "/a".into() };
    let said = homesick(what)?.validate(&call, &[change]).said?;
    Ok(said.expect_err("it tells what it finds").text)
}

const MOMENT: Moment = Moment { wall_ms: 1_700_000_000_123, ensemble_ms: 45, seed: 6 };

/// Runs `run`, and returns what was logged meanwhile.
fn logged<T>(run: impl FnOnce() -> T) -> (T, String) {
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let written = Written::default();
    let into = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || into.clone())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .finish();
    let done = tracing::subscriber::with_default(subscriber, run);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (done, text)
}

#[test]
fn output_is_logged_line_by_line() {
    let (found, lines) = logged(|| finds("print", MOMENT).unwrap());
    assert_eq!(found, "room true");
    let lines: Vec<_> = lines.lines().map(|line| line.trim().replace(" plugin=\"homesick\"", "")).collect();
    assert_eq!(lines, ["INFO one line", "WARN of error", "INFO two lines", "INFO unfinished"]);
}

#[test]
fn the_last_words_of_a_call_that_fails_are_logged() {
    let (fault, lines) = logged(|| finds("fail", MOMENT).unwrap_err());
    assert_eq!(fault, Fault::Panic);
    assert!(lines.contains("WARN half a word"), "{lines}");
}

#[test]
fn clocks_show_the_time_of_the_call() {
    assert_eq!(finds("time", MOMENT).unwrap(), "1700000000.123000000 45000000");
    let Err(Fault::Settings(at_setup)) = homesick("configure") else { panic!("it tells the time") };
    assert_eq!(at_setup, "0.000000000 0");
}

#[test]
fn random_numbers_follow_the_seed() {
    let found = finds("random", MOMENT).unwrap();
    assert!(found.ends_with(" false 13 true"), "{found}");
    assert_eq!(finds("random", MOMENT).unwrap(), found);
    assert_ne!(finds("random", Moment { seed: 7, ..MOMENT }).unwrap(), found);
}

#[test]
fn environment_and_folders_are_empty() {
    assert_eq!(
        finds("surroundings", MOMENT).unwrap(),
        "environment 0 arguments 0 folders 0 terminal false input closed true ready [0]"
    );
}

#[test]
fn a_function_without_a_stand_in_ends_the_call_and_is_named() {
    for (what, named) in [
        ("wait", "wasi:clocks/monotonic-clock@0.2.77#subscribe-duration was called"),
        ("exit", "wasi:cli/exit@0.2.77#exit was called"),
        ("much", "1073741824 random bytes"),
    ] {
        let fault = finds(what, MOMENT).unwrap_err();
        assert!(matches!(&fault, Fault::Trap(text) if text.contains(named)), "{what}: {fault:?}");
    }
}
