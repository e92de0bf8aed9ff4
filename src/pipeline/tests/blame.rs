//! What comes of it when members blame a plugin.

use super::*;

const PLUGIN: &str = "/zookeeper/plugins/p";

fn deployed() -> World {
    let mut world = World::new(rules());
    world.play(
        "open 1
         auth 1 super:
         1 create /zookeeper/plugins => /zookeeper/plugins
         1 create /zookeeper/plugins/p data=one => /zookeeper/plugins/p
         apply",
    );
    world
}

fn mzxid(world: &World) -> i64 {
    world.state.node(PLUGIN).unwrap().mzxid()
}

/// What a member says, and what is answered.
fn blame(world: &mut World, manifest_mzxid: i64, crashed: Option<&str>) -> String {
    let blame = Blame {
        plugin: "p".into(),
        manifest_mzxid,
        crashed: crashed.map(String::from),
        quarantine: Bytes::from_static(b"why"),
    };
    world.submit(None, Ask::Blame(blame))
}

fn reports(world: &World) -> Vec<String> {
    world
        .state
        .node(&format!("{PLUGIN}/crashes"))
        .map_or(Vec::new(), |node| node.children().map(String::from).collect())
}

fn quarantined(world: &World) -> bool {
    world.state.node(&format!("{PLUGIN}/quarantine")).is_some()
}

#[test]
fn faults_are_reason_enough() {
    let mut world = deployed();
    let zxid = mzxid(&world);
    assert_eq!(blame(&mut world, zxid, None), "ok");
    world.play("apply");
    assert!(quarantined(&world));
    // Once more, by another member that has not heard yet: it is written anew, which harms nobody.
    assert_eq!(blame(&mut world, zxid, None), "ok");
    world.play("data /zookeeper/plugins/p/quarantine => why");
}

#[test]
fn two_processes_that_ended_are_reason_enough_and_one_told_twice_is_not() {
    let mut world = deployed();
    let zxid = mzxid(&world);
    assert_eq!(blame(&mut world, zxid, Some("1-0000000a")), "ok");
    // Judged on the view, before anything is applied.
    assert_eq!(blame(&mut world, zxid, Some("1-0000000a")), "nothing");
    world.play("apply");
    assert_eq!(blame(&mut world, zxid, Some("1-0000000a")), "nothing");
    assert!(!quarantined(&world));
    assert_eq!(reports(&world), [format!("{zxid:016x}-1-0000000a")]);
    assert_eq!(blame(&mut world, zxid, Some("2-0000000b")), "ok");
    world.play("apply");
    assert!(quarantined(&world));
    assert_eq!(reports(&world).len(), 2);
}

#[test]
fn another_version_has_a_chance_of_its_own() {
    let mut world = deployed();
    let former = mzxid(&world);
    blame(&mut world, former, Some("1-0000000a"));
    world.play("1 set /zookeeper/plugins/p two => v1\n apply");
    let zxid = mzxid(&world);
    for crashed in [None, Some("1-0000000b")] {
        assert_eq!(blame(&mut world, former, crashed), "nothing");
    }
    assert_eq!(blame(&mut world, zxid, Some("1-0000000b")), "ok");
    world.play("apply");
    assert!(!quarantined(&world));
    assert_eq!(reports(&world), [format!("{zxid:016x}-1-0000000b")], "what was said of the former version is gone");
    // What is no name of a process, and a plugin that is gone, are nothing.
    assert_eq!(blame(&mut world, zxid, Some("../x")), "nothing");
    assert_eq!(blame(&mut deployed(), 1, Some("1-1")), "nothing");
}
