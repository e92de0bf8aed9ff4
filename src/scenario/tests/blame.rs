//! What happens when members blame a plugin.

use super::{Setup, Stage, check, run};
use crate::pipeline::{Ask, Blame};
use bytes::Bytes;

const PLUGIN: &str = "/zookeeper/plugins/p";

fn deployed() -> Stage {
    let mut stage = Stage::new(Setup::bare());
    run(
        &mut stage,
        "client a: is super:
         client a: create /zookeeper/plugins
         client a: create /zookeeper/plugins/p one
         hold showing answers",
    );
    stage
}

fn mzxid(stage: &Stage) -> i64 {
    stage.world.state.node(PLUGIN).unwrap().mzxid()
}

/// A member blames the plugin. Returns whether there was anything to do.
fn blame(stage: &mut Stage, manifest_mzxid: i64, crashed: Option<&str>) -> bool {
    let blame = Blame {
        plugin: "p".into(),
        manifest_mzxid,
        crashed: crashed.map(String::from),
        quarantine: Bytes::from_static(b"why"),
    };
    stage.submit(None, Ask::Blame(blame))
}

fn reports(stage: &Stage) -> Vec<String> {
    let node = stage.world.state.node(&format!("{PLUGIN}/crashes"));
    node.map_or(Vec::new(), |node| node.children().map(String::from).collect())
}

fn quarantined(stage: &Stage) -> bool {
    stage.world.state.node(&format!("{PLUGIN}/quarantine")).is_some()
}

#[test]
fn faults_are_reason_enough() {
    let mut stage = deployed();
    let zxid = mzxid(&stage);
    assert!(blame(&mut stage, zxid, None));
    run(&mut stage, "apply all");
    assert!(quarantined(&stage));
    // Another member that has not heard yet blames the plugin, too: the quarantine is written anew, which harms nobody.
    assert!(blame(&mut stage, zxid, None));
    check(
        &mut stage,
        &[(
            "view /zookeeper/plugins/p/quarantine",
            "view <- /zookeeper/plugins/p/quarantine version 1 cversion 0 children 0 data why",
        )],
    );
}

#[test]
fn two_crashed_processes_are_reason_enough_and_one_reported_twice_is_not() {
    let mut stage = deployed();
    let zxid = mzxid(&stage);
    assert!(blame(&mut stage, zxid, Some("1-0000000a")));
    // Judged on the view, before anything is applied.
    assert!(!blame(&mut stage, zxid, Some("1-0000000a")));
    run(&mut stage, "apply all");
    assert!(!blame(&mut stage, zxid, Some("1-0000000a")));
    assert!(!quarantined(&stage));
    assert_eq!(reports(&stage), [format!("{zxid:016x}-1-0000000a")]);
    assert!(blame(&mut stage, zxid, Some("2-0000000b")));
    run(&mut stage, "apply all");
    assert!(quarantined(&stage));
    assert_eq!(reports(&stage).len(), 2);
}

#[test]
fn crashes_of_the_former_version_do_not_count() {
    let mut stage = deployed();
    let former = mzxid(&stage);
    blame(&mut stage, former, Some("1-0000000a"));
    run(&mut stage, "client a: set /zookeeper/plugins/p two\n apply all");
    let zxid = mzxid(&stage);
    for crashed in [None, Some("1-0000000b")] {
        assert!(!blame(&mut stage, former, crashed));
    }
    assert!(blame(&mut stage, zxid, Some("1-0000000b")));
    run(&mut stage, "apply all");
    assert!(!quarantined(&stage));
    assert_eq!(reports(&stage), [format!("{zxid:016x}-1-0000000b")], "the report about the former version is gone");
    // A text that names no process, and a plugin that is gone, are ignored.
    assert!(!blame(&mut stage, zxid, Some("../x")));
    assert!(!blame(&mut deployed(), 1, Some("1-1")));
}
