//! Reads: what they answer, to whom, and which watches they arm.

use super::*;
use crate::pipeline::read::{self, NoVirtualNodes, Reader, Scratch, VirtualNodes, read, watch_to_arm};
use crate::watch::WatchKind;
use crate::wire::reply::{Body, MultiSlot};

fn tree() -> World {
    let mut world = World::new(rules());
    world.play(
        "open 1
         auth 1 digest:a:hash
         1 create /a data=12 acl=1:world:anyone,30:digest:a:hash => /a
         1 create /secret data=x acl=31:digest:a:hash => /secret
         1 create /secret/e flags=1         => /secret/e
         1 create /dir                      => /dir
         1 create /dir/p                    => /dir/p
         1 create /dir/e flags=1            => /dir/e
         1 create /dir/e2 flags=1           => /dir/e2
         1 create /dir/c form=container     => /dir/c container
         apply",
    );
    world
}

/// The answer as text; `who` is `anyone` or has proven to be `a`.
fn ask(world: &World, proven: bool, request: Request) -> String {
    let identities =
        if proven { vec![Identity::new("digest", "a:hash"), Identity::new("super2", "")] } else { Vec::new() };
    let reader = Reader {
        state: &world.state,
        rules: &world.rules,
        identities: &identities,
        session: SessionId(1),
        virtual_nodes: &NoVirtualNodes,
        denied: &[],
    };
    show(read(reader, &request, &mut Scratch::default()))
}

fn show(answer: Result<Body<'_>, ErrorCode>) -> String {
    let text = |data: Option<&[u8]>| String::from_utf8_lossy(data.unwrap_or(b"null")).into_owned();
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.join(",")
    };
    let slot = |slot| match slot {
        MultiSlot::Error(code) => code.to_string(),
        MultiSlot::Data(data, _) => text(data),
        MultiSlot::Children(names) => sorted(names),
        other => panic!("{other:?}"),
    };
    match answer {
        Err(code) => code.name().into(),
        Ok(Body::DataStat(data, stat)) => format!("{} len={}", text(data), stat.data_length),
        Ok(Body::Stat(stat)) => format!("stat n={}", stat.num_children),
        Ok(Body::Children(names)) | Ok(Body::Paths(names)) => sorted(names),
        Ok(Body::ChildrenStat(names, stat)) => format!("{} n={}", sorted(names), stat.num_children),
        Ok(Body::AclStat(list, _)) => list.iter().map(|e| format!("{}:{} ", e.permissions, e.who.id)).collect(),
        Ok(Body::Number(number)) => number.to_string(),
        Ok(Body::Identities(list)) => list.iter().map(|who| format!("{}:{} ", who.scheme, who.id)).collect(),
        Ok(Body::Multi(slots)) => slots.into_iter().map(slot).collect::<Vec<_>>().join(" ; "),
        Ok(Body::BrokenMulti(slots)) => {
            format!("broken: {}", slots.into_iter().map(slot).collect::<Vec<_>>().join(" ; "))
        }
        Ok(other) => panic!("{other:?}"),
    }
}

fn some(path: &str) -> Option<String> {
    super::path(path)
}

fn exists(path: &str) -> Request {
    Request::Exists { path: some(path), watch: false }
}

fn get(path: &str) -> Request {
    Request::GetData { path: some(path), watch: false }
}

fn children(path: &str) -> Request {
    Request::GetChildren { path: some(path), watch: false }
}

#[test]
fn reads_look_at_lists_and_hardly_at_paths() {
    let world = tree();
    for (request, anyone, a) in [
        (exists("/a"), "stat n=0", "stat n=0"),
        (exists("/secret"), "NOAUTH", "stat n=1"),
        // A list speaks of one node only.
        (exists("/secret/e"), "stat n=0", "stat n=0"),
        (exists("/none"), "NONODE", "NONODE"),
        (exists("bad//path/"), "NONODE", "NONODE"),
        (exists("/a\\0"), "BADARGUMENTS", "BADARGUMENTS"),
        (exists("null"), "MARSHALLINGERROR", "MARSHALLINGERROR"),
        // The empty path is the root.
        (exists("empty"), "stat n=4", "stat n=4"),
        (get("/a"), "12 len=2", "12 len=2"),
        (get("/secret"), "NOAUTH", "x len=1"),
        (get("/a/"), "NONODE", "NONODE"),
        (get("/a\\0"), "NONODE", "NONODE"),
        (get("null"), "MARSHALLINGERROR", "MARSHALLINGERROR"),
        (get("empty"), " len=0", " len=0"),
        (children("/dir"), "c,e,e2,p", "c,e,e2,p"),
        (children("/secret"), "NOAUTH", "e"),
        (children("empty"), "a,dir,secret,zookeeper", "a,dir,secret,zookeeper"),
        (Request::GetChildren2 { path: some("/dir"), watch: false }, "c,e,e2,p n=4", "c,e,e2,p n=4"),
        (Request::GetChildren2 { path: some("/none"), watch: false }, "NONODE", "NONODE"),
        (Request::GetAcl { path: some("/a") }, "1:anyone 30:a:x ", "1:anyone 30:a:hash "),
        (Request::GetAcl { path: some("/secret") }, "NOAUTH", "31:a:hash "),
        (Request::GetAcl { path: some("/none") }, "NONODE", "NONODE"),
        (Request::GetAllChildrenNumber { path: some("/dir") }, "4", "4"),
        (Request::GetAllChildrenNumber { path: some("/secret") }, "NOAUTH", "1"),
        (Request::GetAllChildrenNumber { path: some("/") }, "11", "11"),
        (Request::GetAllChildrenNumber { path: some("empty") }, "12", "12"),
        (Request::GetAllChildrenNumber { path: None }, "MARSHALLINGERROR", "MARSHALLINGERROR"),
        (Request::WhoAmI, "", "digest:a super2: "),
        (Request::Ping, "UNIMPLEMENTED", "UNIMPLEMENTED"),
    ] {
        assert_eq!(ask(&world, false, request.clone()), anyone, "anyone: {request:?}");
        if !matches!(request, Request::WhoAmI) {
            assert_eq!(ask(&world, true, request.clone()), a, "a: {request:?}");
        }
    }
}

#[test]
fn filtered_lists() {
    let world = tree();
    for (filter, names) in [(0, "c,e,e2,p n=4"), (1, "c,p n=4"), (2, "e,e2 n=4"), (3, "BADARGUMENTS")] {
        let request = Request::FilteredList { path: some("/dir"), watch: false, filter };
        assert_eq!(ask(&world, false, request), names);
    }
}

#[test]
fn ephemerals_by_text_prefix() {
    let world = tree();
    let all = "/dir/e,/dir/e2,/secret/e";
    for (prefix, paths) in
        [("null", all), ("empty", all), ("/", all), ("/dir", "/dir/e,/dir/e2"), ("/dir/e2", "/dir/e2"), ("/x", "")]
    {
        assert_eq!(ask(&world, false, Request::GetEphemerals { prefix: some(prefix) }), paths, "{prefix}");
    }
}

#[test]
fn multi_reads_fail_slot_by_slot() {
    let world = tree();
    let operation = |request: Request| Operation { op: 0, request };
    let multi = |requests: Vec<Request>| Request::MultiRead(requests.into_iter().map(operation).collect());
    let mixed = multi(vec![get("/a"), children("/dir"), get("/secret"), get("/none"), get("/keeper/api_version")]);
    assert_eq!(ask(&world, false, mixed), "12 ; c,e,e2,p ; -102 ; -101 ; 1");
    assert_eq!(ask(&world, false, multi(vec![])), "");
    assert_eq!(ask(&world, false, multi(vec![get("/a"), get("null"), get("/a")])), "broken: 12");
    assert_eq!(ask(&world, false, multi(vec![get("/a"), children("/dir"), children("null")])), "broken: 12 ; c,e,e2,p");
    assert_eq!(ask(&world, false, multi(vec![Request::WhoAmI, get("/a")])), "broken: ");
}

#[test]
fn virtual_nodes_are_neither_listed_nor_counted() {
    struct Rejection;
    impl VirtualNodes for Rejection {
        fn data(&self, _: &State, path: &str) -> Option<Vec<u8>> {
            (path == "/zookeeper/rejection").then(|| b"no".to_vec())
        }
    }
    let world = tree();
    assert_eq!(ask(&world, false, get("/keeper/api_version")), "1 len=1");
    assert_eq!(ask(&world, false, exists("/keeper/feature_flags")), "stat n=0");
    assert_eq!(ask(&world, false, exists("/keeper")), "NONODE");
    assert_eq!(read::FEATURE_FLAGS, [0xb0]);
    let reader = Reader {
        state: &world.state,
        rules: &world.rules,
        identities: &[],
        session: SessionId(1),
        virtual_nodes: &Rejection,
        denied: &[],
    };
    let answer = |request| show(read(reader, &request, &mut Scratch::default()));
    assert_eq!(answer(get("/zookeeper/rejection")), "no len=2");
    assert_eq!(answer(exists("/zookeeper/rejection")), "stat n=0");
    assert_eq!(answer(children("/zookeeper")), "config,quota");
    let operations = vec![Operation { op: 4, request: get("/zookeeper/rejection") }];
    assert_eq!(answer(Request::MultiRead(operations)), "no");
}

#[test]
fn settings_are_for_those_who_may_deploy() {
    let mut world = tree();
    world.play(
        "auth 1 super:
         1 create /zookeeper/plugins => /zookeeper/plugins
         1 create /zookeeper/plugins/p data=state => /zookeeper/plugins/p
         1 create /zookeeper/plugins/p/status data=fine => /zookeeper/plugins/p/status
         apply",
    );
    assert_eq!(ask(&world, false, get("/zookeeper/plugins/p/status")), "fine len=4");
    assert_eq!(ask(&world, false, get("/zookeeper/plugins/p")), "NOAUTH");
    world.rules.deploy_by_anyone = true;
    assert_eq!(ask(&world, false, get("/zookeeper/plugins/p")), "state len=5");
}

#[test]
fn watches_that_reads_arm() {
    let none = Err(ErrorCode::NoNode);
    let watching = Request::Exists { path: some("/a"), watch: true };
    assert_eq!(watch_to_arm(&watching, Ok(())), Some((WatchKind::Data, "/a")));
    assert_eq!(watch_to_arm(&watching, none), Some((WatchKind::Exist, "/a")));
    assert_eq!(watch_to_arm(&watching, Err(ErrorCode::NoAuth)), None);
    assert_eq!(watch_to_arm(&exists("/a"), Ok(())), None);
    let watching = Request::GetData { path: some("/a"), watch: true };
    assert_eq!(watch_to_arm(&watching, Ok(())), Some((WatchKind::Data, "/a")));
    assert_eq!(watch_to_arm(&watching, none), None);
    for watching in [
        Request::GetChildren { path: some("/a"), watch: true },
        Request::GetChildren2 { path: some("/a"), watch: true },
        Request::FilteredList { path: some("/a"), watch: true, filter: 1 },
    ] {
        assert_eq!(watch_to_arm(&watching, Ok(())), Some((WatchKind::Child, "/a")));
        assert_eq!(watch_to_arm(&watching, none), None);
    }
    assert_eq!(watch_to_arm(&Request::WhoAmI, Ok(())), None);
}
