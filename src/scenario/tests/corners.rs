//! States that no scenario reaches, and questions that no scenario asks.

use super::{Fakes, Setup, Stage, check, run};
use crate::limits;
use crate::model::txn::{Change, Outcome, Slot, Txn};
use crate::model::{ErrorCode, Owner, Refusal, Zxid, acl};
use crate::pipeline::{Answered, Ask, Call, Plugins, Verb, evaluate, overlay, read};
use crate::scenario::script::words;
use crate::scenario::{requests, world::World};
use crate::state::Effects;
use crate::wire::request::{Operation, Request, op};
use parking_lot::Mutex;
use std::sync::Arc;

fn stage() -> Stage {
    Stage::new(Setup::bare())
}

/// Applies a transaction that no client asked for, and begins a chain behind it.
fn force(world: &mut World, zxid: Zxid, changes: Vec<Change>) {
    let slots = changes.iter().map(|_| Slot::Nothing).collect();
    let txn = Txn {
        zxid,
        wall_ms: world.state.wall_ms(),
        ensemble_ms: world.state.ensemble_ms(),
        origin: None,
        outcome: Outcome::Done(slots),
        changes,
        made_by: Vec::new(),
    };
    world.state.apply(&txn, &mut Effects::default());
    world.evaluator.start_chain(&world.state, false);
}

#[test]
fn the_first_leadership_has_epoch_0_and_each_later_one_the_next() {
    let mut stage = stage();
    run(&mut stage, "client a: open");
    assert_eq!(stage.world.state.last_zxid(), Zxid::new(0, 1));
    run(&mut stage, "leader change\n client a: create /a");
    assert_eq!(stage.world.state.last_zxid(), Zxid::new(1, 1));
}

#[test]
fn a_full_counter_opens_the_next_epoch() {
    let mut stage = stage();
    let mut last = Zxid::new(3, u32::MAX - 1000);
    force(&mut stage.world, last, Vec::new());
    run(&mut stage, "hold\n client a: open");
    for index in 0..2000 {
        let zxid = stage.world.evaluator.last_zxid();
        assert_eq!(zxid, last.next());
        last = zxid;
        run(&mut stage, &format!("client a: create /n{index}"));
        if index % 7 == 0 {
            run(&mut stage, "apply all");
        }
    }
    run(&mut stage, "apply all");
    check(&mut stage, &[("view /", "view <- / version 0 cversion 1999 children 2001 data \"\"")]);
    assert_eq!(stage.world.state.last_zxid(), last.next());
    assert_eq!(last.epoch(), 4);
}

#[test]
fn sequence_numbers_wrap_as_in_java() {
    let mut stage = stage();
    run(&mut stage, "client a: create /q");
    let wind = Change::Create {
        path: "/q/x".into(),
        data: None,
        acl: acl::open_unsafe(),
        owner: Owner::PERSISTENT,
        parent_cversion: i32::MAX,
    };
    let zxid = stage.world.state.last_zxid().next();
    force(&mut stage.world, zxid, vec![wind]);
    run(&mut stage, "hold showing answers");
    let next = "client a: create /q/n- sequential";
    check(&mut stage, &[(next, "a <- ok /q/n-2147483647"), (next, "a <- ok /q/n--2147483648")]);
    run(&mut stage, "apply all");
    check(&mut stage, &[(next, "a <- ok /q/n--2147483647")]);
}

#[test]
fn the_form_of_a_multis_results() {
    for (text, expected) in [
        ("create /a", op::CREATE),
        ("create /a form create2", op::CREATE2),
        ("create /a flags 4", op::CREATE_CONTAINER),
        ("create /a container", op::CREATE_CONTAINER),
        ("create /a ttl 1", op::CREATE_TTL),
        ("create /a flags 0 form ttl", op::CREATE),
        ("create /a flags 4 form ttl", op::CREATE_CONTAINER),
        ("create-if-absent /a", op::CREATE_IF_NOT_EXISTS),
        ("delete /a", op::DELETE),
    ] {
        let request = requests::parse(&words(&format!("multi {text}")).unwrap()).unwrap().request;
        let Request::Multi(operations) = request else { panic!("{text}") };
        assert_eq!(evaluate::effective_op(&operations[0]), expected, "{text}");
    }
}

#[test]
fn a_multi_with_an_operation_of_another_kind_is_refused_as_a_whole() {
    let mut stage = stage();
    run(&mut stage, "hold showing answers\n client a: open");
    let parse = |text: &str| requests::parse(&words(text).unwrap()).unwrap().request;
    let create = Operation { op: op::CREATE, request: parse("create /z") };
    let set_acl = Operation { op: op::ERROR, request: parse("set-acl /z world:anyone:cdrwa") };
    stage.submit(Some("a"), Ask::Request(Request::Multi(vec![create, set_acl])));
    assert_eq!(run(&mut stage, "view /z"), ["a <- MARSHALLINGERROR", "view <- /z is not there"]);
}

#[test]
fn feature_flags() {
    assert_eq!(read::FEATURE_FLAGS, [0xb0]);
}

#[test]
fn time_never_runs_backwards() {
    let mut stage = stage();
    stage.keep_history();
    run(
        &mut stage,
        "client a: open
         time 2025-12-31T23:59:59Z
         client a: create /a
         tick 2500
         client a: create /b",
    );
    let begin = stage.world.history()[0].txn.wall_ms;
    let times: Vec<_> = stage.world.history().iter().map(|happened| happened.txn.wall_ms - begin).collect();
    assert_eq!(times, [0, 0, 1500]);
}

#[test]
fn more_changes_than_a_call_is_told_of_are_owed() {
    let (mut stage, fakes) = Fakes::stage(&Setup::bare());
    fakes.run(&mut stage, "fake recipe note /note note").unwrap();
    run(&mut stage, "client a: create /note");
    for at in 0..=limits::PLUGIN_CHANGES_MAX {
        run(&mut stage, &format!("client b: create /note/{at} ephemeral"));
    }
    fakes.run(&mut stage, "fake told").unwrap();
    run(&mut stage, "hold showing answers\n client b: close");
    check(&mut stage, &[("view /note", "view <- /note version 0 cversion 2002 children 0 data \"\"")]);
    assert_eq!(fakes.run(&mut stage, "fake told").unwrap(), ["told <- nothing"]);
    assert!(run(&mut stage, "view /zookeeper/plugins/note/owed")[0].contains("since"));
}

/// Refuses data that asks to be refused, and keeps what it was asked about.
struct Censor {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Plugins for Censor {
    fn validate(&mut self, call: &Call<'_>, changes: &[Change]) -> Answered<()> {
        let mut seen = self.seen.lock();
        for change in changes {
            let path = overlay::path_of(change).expect("sessions are not judged");
            let before = call.view.original(path).map(|node| node.data.unwrap_or_default());
            let after = call.view.node(path).map(|node| node.data.unwrap_or_default());
            let siblings = call.view.children(crate::model::path::parent(path).expect("not the root"), None, 10);
            seen.push(format!("{path}: {before:?} -> {after:?} among {}", siblings.join(",")));
            if after.is_some_and(|data| &data[..] == b"bad") {
                return Answered::unasked(Err(Refusal::new(ErrorCode::BadArguments, "censor: bad")));
            }
        }
        Answered::unasked(Ok(()))
    }

    fn authorize(&mut self, _: &Call<'_>, _: Verb, _: &str) -> Answered<()> {
        Answered::unasked(Ok(()))
    }
}

#[test]
fn validators_judge_the_whole() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut stage = stage();
    stage.world.judge = Box::new(Censor { seen: seen.clone() });
    run(&mut stage, "hold showing answers\n client a: open");
    check(
        &mut stage,
        &[
            ("client a: create /a good", "a <- ok /a"),
            ("client a: create /b bad", "a <- BADARGUMENTS censor: bad"),
            ("view /b", "view <- /b is not there"),
            ("client a: set /a bad", "a <- BADARGUMENTS censor: bad"),
            ("view /a", "view <- /a version 0 cversion 0 children 0 data good"),
            (
                "client a: multi create /c bad ; check /a ; delete /a ; check /c",
                "a <- BADARGUMENTS at 3 of 4 censor: bad",
            ),
            ("client a: multi set /a bad ; set /a fine", "a <- ok version 1 ; version 2"),
            ("client a: create /zookeeper/x bad", "a <- ok /zookeeper/x"),
            ("client a: multi create /zookeeper/y bad ; set /a more", "a <- ok /zookeeper/y ; version 3"),
        ],
    );
    run(&mut stage, "client a: is super:");
    check(&mut stage, &[("client a: set /a bad", "a <- ok version 4"), ("client a: close", "a <- ok")]);
    run(&mut stage, "apply all");
    assert_eq!(
        *seen.lock(),
        [
            "/a: None -> Some(b\"good\") among a,zookeeper",
            "/b: None -> Some(b\"bad\") among a,b,zookeeper",
            "/a: Some(b\"good\") -> Some(b\"bad\") among a,zookeeper",
            "/c: None -> Some(b\"bad\") among c,zookeeper",
            "/a: Some(b\"good\") -> Some(b\"fine\") among a,zookeeper",
            "/a: Some(b\"good\") -> Some(b\"fine\") among a,zookeeper",
            "/a: Some(b\"fine\") -> Some(b\"more\") among a,zookeeper",
        ]
    );
}
