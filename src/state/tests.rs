//! The state against ZooKeeper's rules, and the checkpoint against the state.

use super::listing::Piece;
use super::*;
use crate::model::txn::{Change, Origin, Outcome, Slot, Txn};
use crate::model::{AclEntry, Identity, acl};
use crate::wire::reply::EventKind::{self, ChildrenChanged, Created, DataChanged, Deleted};
use bytes::Bytes;
use proptest::prelude::{Just, Strategy, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// A state, with what the leader adds to a transaction: zxids, times, versions.
struct World {
    state: State,
    applied: Effects,
}

fn connection(number: u64) -> ConnectionId {
    ConnectionId { member: 1, run: 1, number }
}

impl World {
    fn new() -> World {
        World { state: State::new(11), applied: Effects::default() }
    }

    fn apply_at(&mut self, zxid: Zxid, changes: Vec<Change>, slots: Vec<Slot>) {
        let txn = Txn {
            zxid,
            wall_ms: 1000 + zxid.0 as i64,
            ensemble_ms: 10 * zxid.0,
            origin: Some(Origin { session: SessionId(1), connection: connection(1), xid: 1 }),
            outcome: Outcome::Done(slots),
            changes,
            made_by: Vec::new(),
        };
        self.state.apply(&txn, &mut self.applied);
        self.state.check_all();
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let slots = (0..changes.len() as u32).map(Slot::Change).collect();
        self.apply_at(self.state.last_zxid().next(), changes, slots);
    }

    fn create_as(&self, path: &str, data: Option<&[u8]>, owner: Owner) -> Change {
        let parent = self.state.node(crate::model::path::parent(path).unwrap()).unwrap();
        Change::Create {
            path: path.into(),
            data: data.map(Bytes::copy_from_slice),
            acl: acl::open_unsafe(),
            owner,
            parent_cversion: parent.cversion() + 1,
        }
    }

    fn create(&mut self, path: &str, data: &[u8]) {
        self.apply(vec![self.create_as(path, Some(data), Owner::PERSISTENT)]);
    }

    fn set(&mut self, path: &str, data: Option<&[u8]>) {
        let version = self.state.node(path).unwrap().version() + 1;
        self.apply(vec![Change::SetData { path: path.into(), data: data.map(Bytes::copy_from_slice), version }]);
    }

    fn delete(&mut self, path: &str) {
        self.apply(vec![Change::Delete { path: path.into() }]);
    }

    fn open(&mut self, session: i64) {
        self.apply(vec![Change::OpenSession {
            session: SessionId(session),
            timeout_ms: 4000,
            password: Password([session as u8; 16]),
            owner: connection(1),
        }]);
    }

    fn stat(&self, path: &str) -> Stat {
        self.state.node(path).unwrap().stat()
    }

    fn text(&self, path: &str) -> &str {
        std::str::from_utf8(self.state.node(path).unwrap().data().unwrap()).unwrap()
    }

    fn events(&self) -> Vec<(EventKind, &str)> {
        self.applied.events.iter().map(|event| (event.kind, event.path())).collect()
    }
}

#[test]
fn starts_as_zookeeper_does() {
    let state = State::new(1);
    let empty = Stat::default();
    let stat = |path: &str| state.node(path).unwrap().stat();
    assert_eq!(stat("/"), Stat { cversion: -1, num_children: 1, ..empty });
    assert_eq!(stat("/zookeeper"), Stat { cversion: -2, num_children: 2, ..empty });
    assert_eq!(stat("/zookeeper/quota"), empty);
    assert_eq!(stat("/zookeeper/config"), Stat { aversion: -1, ..empty });
    assert_eq!(state.node("").unwrap().acl(), &acl::open_unsafe());
    assert_eq!(state.node("/zookeeper/config").unwrap().acl(), &acl::read_unsafe());
    assert_eq!(state.node("/zookeeper/config").unwrap().data(), Some(&b""[..]));
    assert_eq!((state.node_count(), state.approximate_data_size(), state.ephemerals_count()), (4, 44, 0));
    // What a fresh ZooKeeper logs as "digest value".
    assert_eq!(state.zookeeper_digest(), 1_371_985_504);
    assert_eq!(state.subtree_count("/"), Some(3));
}

#[test]
fn stats_and_events_of_create_set_and_delete() {
    let mut world = World::new();
    world.create("/a", b"one");
    let created = Stat { czxid: 1, mzxid: 1, pzxid: 1, ctime: 1001, mtime: 1001, data_length: 3, ..Stat::default() };
    assert_eq!(world.applied.slots, [created]);
    assert_eq!(world.events(), [(Created, "/a"), (ChildrenChanged, "/")]);
    assert_eq!((world.stat("/").cversion, world.stat("/").pzxid, world.stat("/").num_children), (0, 1, 2));

    world.create("/a/b", b"");
    assert_eq!(world.events(), [(Created, "/a/b"), (ChildrenChanged, "/a")]);
    world.create("/a/c", b"");
    assert_eq!(world.stat("/a"), Stat { pzxid: 3, cversion: 2, num_children: 2, ..created });
    world.delete("/a/b");
    assert_eq!(world.events(), [(Deleted, "/a/b"), (ChildrenChanged, "/a")]);
    assert_eq!(world.applied.slots, [Stat::default()]);
    assert_eq!(world.stat("/a"), Stat { pzxid: 4, cversion: 3, num_children: 1, ..created });
    assert_eq!(world.state.node("/a").unwrap().cversion(), 2, "sequence numbers count creations");

    world.set("/a", None);
    assert_eq!(world.events(), [(DataChanged, "/a")]);
    assert_eq!(world.applied.slots[0], world.stat("/a"));
    let set = Stat { version: 1, mzxid: 5, mtime: 1005, data_length: 0, ..world.stat("/a") };
    assert_eq!(world.stat("/a"), set);
    assert_eq!(world.state.node("/a").unwrap().data(), None);

    world.apply(vec![Change::SetAcl { path: "/a".into(), acl: acl::read_unsafe(), aversion: 1 }]);
    assert_eq!(world.events(), []);
    assert_eq!(world.stat("/a"), Stat { aversion: 1, ..set });
    world.delete("/a/c");
    assert_eq!(world.applied.events[1].acl, acl::read_unsafe(), "the parent's ACL guards the events of its children");
    assert_eq!(world.state.subtree_count("/a"), Some(0));
    assert_eq!(world.state.subtree_count("/nowhere"), None);
}

#[test]
fn a_list_in_pieces_is_the_list_of_one_moment() {
    let mut world = World::new();
    world.create("/d", b"");
    for name in ["a", "b", "c", "d", "e"] {
        world.create(&format!("/d/{name}"), b"");
    }
    let mut list = listing::Children::of(world.state.node("/d").unwrap());
    list.at_once = 2;
    let mut go_on = |world: &World, names: &mut Vec<String>| {
        list.go_on(world.state.node("/d").unwrap(), |name, _| names.push(name.to_owned()))
    };
    let mut names = Vec::new();
    assert_eq!(go_on(&world, &mut names), Piece::More);
    // What changes elsewhere, or below a child, is nothing to the list. The number of a deleted node is used again.
    world.create("/other", b"");
    world.create("/d/a/below", b"");
    assert_eq!((go_on(&world, &mut names), names.len()), (Piece::More, 4));
    world.delete("/d/e");
    world.create("/d/f", b"");
    assert_eq!(go_on(&world, &mut names), Piece::Changed);
    names.clear();
    assert_eq!((go_on(&world, &mut names), names.len()), (Piece::More, 4), "the pieces have doubled");
    assert_eq!(go_on(&world, &mut names), Piece::Last);
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c", "d", "f"]);
    assert_eq!(world.state.subtree_count("/d"), Some(6));
}

#[test]
fn the_ephemeral_nodes_of_a_session_in_pieces() {
    let mut world = World::new();
    world.open(7);
    world.open(8);
    let create = |world: &mut World, path: &str, session: i64| {
        let created = world.create_as(path, None, Owner::session(SessionId(session)));
        world.apply(vec![created]);
    };
    for path in ["/m", "/m1", "/m2", "/m3", "/n"] {
        create(&mut world, path, 7);
    }
    let mut list = listing::Ephemerals::of(&world.state, SessionId(7), "/m");
    list.at_once = 2;
    let mut paths = Vec::new();
    let mut go_on =
        |world: &World, paths: &mut Vec<String>| list.go_on(&world.state, |path| paths.push(path.to_owned()));
    assert_eq!(go_on(&world, &mut paths), Piece::More);
    world.delete("/m3");
    assert_eq!(go_on(&world, &mut paths), Piece::Changed);
    paths.clear();
    assert_eq!(go_on(&world, &mut paths), Piece::Last);
    assert_eq!(paths, ["/m", "/m1", "/m2"]);
    let mut nobody = listing::Ephemerals::of(&world.state, SessionId(8), "");
    assert_eq!(nobody.go_on(&world.state, |path| panic!("{path}")), Piece::Last);
}

#[test]
fn slots_have_the_stat_after_a_change_or_after_the_whole_transaction() {
    let mut world = World::new();
    let changes = vec![
        world.create_as("/m", Some(b""), Owner::PERSISTENT),
        Change::SetData { path: "/m".into(), data: Some(Bytes::from_static(b"xy")), version: 1 },
    ];
    let slots =
        vec![Slot::Change(0), Slot::Nothing, Slot::Change(1), Slot::Path("/m".into()), Slot::Path("/none".into())];
    world.apply_at(Zxid(9), changes, slots);
    let lengths: Vec<_> = world.applied.slots.iter().map(|stat| (stat.mzxid, stat.data_length)).collect();
    assert_eq!(lengths, [(9, 0), (0, 0), (9, 2), (9, 2), (0, 0)]);
}

#[test]
fn sessions_and_their_ephemerals() {
    let mut world = World::new();
    world.open(7);
    assert_eq!(world.state.session(SessionId(7)).unwrap().timeout_ms, 4000);
    let owner = Owner::session(SessionId(7));
    for path in ["/z", "/a", "/m"] {
        world.apply(vec![world.create_as(path, None, owner)]);
    }
    assert_eq!(world.stat("/a").ephemeral_owner, 7);
    let paths: Vec<_> = world.state.ephemerals(SessionId(7)).map(|path| &**path).collect();
    assert_eq!(paths, ["/a", "/m", "/z"]);
    assert_eq!(world.state.ephemerals_count(), 3);

    let attach =
        |owner| vec![Change::AttachSession { session: SessionId(7), timeout_ms: 9000, owner: connection(owner) }];
    world.apply(attach(1));
    assert_eq!(world.applied.session_moved, None);
    assert_eq!(world.state.session(SessionId(7)).unwrap().timeout_ms, 9000, "attaching may change the timeout");
    world.apply(attach(2));
    assert_eq!(world.applied.session_moved, Some((SessionId(7), connection(1))));
    let session = world.state.session(SessionId(7)).unwrap();
    assert_eq!((session.timeout_ms, session.owner, session.password), (9000, connection(2), Password([7; 16])));

    let mut changes: Vec<_> =
        world.state.ephemerals(SessionId(7)).map(|path| Change::Delete { path: path.clone() }).collect();
    changes.push(Change::CloseSession { session: SessionId(7), expired: true });
    world.apply_at(Zxid(100), changes, vec![Slot::Nothing]);
    assert_eq!(world.applied.sessions_closed, [(SessionId(7), connection(2))]);
    assert_eq!(world.applied.events.len(), 6);
    assert_eq!((world.state.ephemerals_count(), world.state.session_count()), (0, 0));
    assert_eq!(world.state.all_ephemerals().count(), 0);
}

#[test]
fn containers_and_ttl_nodes_are_found_when_they_may_be_deleted() {
    let mut world = World::new();
    world.apply(vec![world.create_as("/c", None, Owner::CONTAINER)]);
    world.apply(vec![world.create_as("/t", None, Owner::ttl(500))]);
    world.create("/c/x", b"");
    assert_eq!(world.stat("/c").ephemeral_owner, 0);
    let collectable = |world: &World, now| world.state.collectable(now, 0, 10);
    assert_eq!(collectable(&world, 1000), [""; 0]);
    world.delete("/c/x");
    assert_eq!(collectable(&world, 1000), ["/c"]);
    assert_eq!(collectable(&world, 1503), ["/c", "/t"]);
    assert_eq!(world.state.collectable(1503, 0, 1), ["/c"]);
    world.delete("/c");
    world.delete("/t");
    assert_eq!(collectable(&world, 9999), [""; 0]);
}

#[test]
fn quotas_are_kept_as_zookeeper_keeps_them() {
    let mut world = World::new();
    world.create("/q", b"12345");
    world.create("/q/a", b"123");
    world.create("/zookeeper/quota/q", b"");
    world.create("/zookeeper/quota/q/zookeeper_limits", b"count=3,bytes=-1=;byteHardLimit=10");
    assert_eq!(world.state.quota_for("/q/a"), None, "there is no stats node yet");
    world.create("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0");
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    assert_eq!(world.text(stats), "count=2,bytes=8");
    assert_eq!((world.stat(stats).version, world.stat(stats).mzxid), (0, 5));
    world.create("/q/a/b", b"1");
    assert_eq!(world.text(stats), "count=3,bytes=9");
    world.set("/q/a", Some(b""));
    assert_eq!(world.text(stats), "count=3,bytes=6");
    assert_eq!(world.events(), [(DataChanged, "/q/a")], "there is no event for the stats");
    let quota = world.state.quota_for("/q/a/b").unwrap();
    assert_eq!(quota.path, "/q");
    assert_eq!(quota.check(1, 4), Some(quota::Excess::Soft));
    assert_eq!(quota.check(1, 5), Some(quota::Excess::Hard));
    world.delete("/q/a/b");
    world.delete("/q/a");
    assert_eq!(world.text(stats), "count=1,bytes=5");
    assert_eq!(world.state.quota_for("/other"), None);
    world.delete("/zookeeper/quota/q/zookeeper_limits");
    world.create("/q/c", b"1");
    assert_eq!(world.text(stats), "count=1,bytes=5");
    assert_eq!(world.state.quota_for("/q/c"), None);
}

#[test]
fn malformed_quotas_do_no_harm() {
    let mut world = World::new();
    for path in ["/zookeeper/quota/zookeeper_limits", "/zookeeper/quota/zookeeper_stats", "/zookeeper/quota/n"] {
        world.create(path, b"");
    }
    world.create("/zookeeper/quota/n/zookeeper_limits", b"\xff=,count=");
    world.create("/n", b"1");
    world.create("/zookeeper/quota/n/zookeeper_stats", b"");
    assert_eq!(world.text("/zookeeper/quota/n/zookeeper_stats"), "count=1,bytes=1");
    world.set("/zookeeper/quota/n/zookeeper_stats", Some(b"count=9223372036854775807;x"));
    world.create("/n/m", b"1");
    assert_eq!(world.text("/zookeeper/quota/n/zookeeper_stats"), "count=-9223372036854775808,bytes=0=;x=-1");
    assert!(world.state.quota_for("/n").is_some());
}

#[test]
fn digests_depend_on_the_state_and_not_on_its_history() {
    let mut world = World::new();
    world.create("/a", b"1");
    let (own, zookeeper) = (world.state.digest(), world.state.zookeeper_digest());
    world.create("/a/b", b"1");
    assert_ne!(world.state.zookeeper_digest(), zookeeper);
    let before = world.state.zookeeper_digest();
    world.create("/zookeeper/x", b"1");
    assert_ne!(world.state.zookeeper_digest(), before, "/zookeeper itself counts: its cversion has changed");
    let before = world.state.zookeeper_digest();
    world.set("/zookeeper/x", Some(b"2"));
    assert_eq!(world.state.zookeeper_digest(), before, "nodes below it do not count");
    assert_ne!(world.state.digest(), own);

    let mut other = World::new();
    other.state = State::new(99);
    other.create("/a", b"1");
    assert_eq!((other.state.digest(), other.state.zookeeper_digest()), (own, zookeeper), "the seed does not matter");
}

#[test]
#[should_panic(expected = "is not behind")]
fn an_old_zxid_is_a_defect() {
    let mut world = World::new();
    world.apply_at(Zxid(5), vec![], vec![]);
    world.apply_at(Zxid(5), vec![], vec![]);
}

// Checkpoints.

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Everything that a state holds, as records. Does not change the state.
fn all_records(state: &State) -> Records {
    let mut records = Records::from([record::seal(&state.meta().write(), record::META_KEY_LENGTH)]);
    for (id, session) in state.sessions() {
        let (key, value) = record::seal(&record::session(id, session), record::SESSION_KEY_LENGTH);
        records.insert(key, value);
    }
    state.walk(ROOT, |id| {
        let mut record = state.tree.path(id).into_bytes();
        let path_length = record.len();
        record::write_node(&state.tree, id, &mut record);
        let (key, value) = record::seal(&record, path_length);
        records.insert(key, value);
    });
    records
}

fn write(piece: Vec<Record>, records: &mut Records) {
    for (key, value) in piece {
        match value {
            Some(value) => {
                records.insert(key, value);
            }
            None => {
                records.remove(&key);
            }
        }
    }
}

fn load(records: &Records) -> Result<State, RecordError> {
    let mut loader = State::load(5);
    for (key, value) in records {
        loader.record(key, value)?;
    }
    let state = loader.finish()?;
    state.check_all();
    Ok(state)
}

fn checkpoint(state: &mut State, records: &mut Records) {
    let mut cut = state.begin_checkpoint();
    let mut more = true;
    while more {
        let mut piece = Vec::new();
        more = state.checkpoint_piece(&mut cut, 64, &mut piece);
        write(piece, records);
    }
    state.end_checkpoint(cut);
}

/// Both states show clients the same, and have the same indexes.
fn assert_same(a: &State, b: &State) {
    assert_eq!(all_records(a), all_records(b));
    assert_eq!(a.meta(), b.meta());
    assert_eq!(a.approximate_data_size(), b.approximate_data_size());
    assert_eq!(a.ephemerals_count(), b.ephemerals_count());
    assert!(a.all_ephemerals().eq(b.all_ephemerals()));
    assert_eq!(
        a.collectable(i64::MAX, 1, 1000).into_iter().collect::<BTreeSet<_>>(),
        b.collectable(i64::MAX, 1, 1000).into_iter().collect::<BTreeSet<_>>()
    );
    for path in ["/a", "/a/b", "/b/c"] {
        assert_eq!(a.quota_for(path), b.quota_for(path));
    }
}

#[test]
fn a_checkpoint_holds_only_what_changed() {
    let mut world = World::new();
    let mut records = Records::new();
    world.create("/a", b"1");
    checkpoint(&mut world.state, &mut records);
    assert_eq!(records, all_records(&world.state));
    world.create("/gone", b"1");
    world.delete("/gone");
    world.set("/a", Some(b"2"));
    let mut cut = world.state.begin_checkpoint();
    let mut piece = Vec::new();
    assert!(!world.state.checkpoint_piece(&mut cut, usize::MAX, &mut piece));
    world.state.end_checkpoint(cut);
    let keys: Vec<_> = piece.iter().map(|(key, value)| (key.as_slice(), value.is_some())).collect();
    assert_eq!(keys, [(&[record::META][..], true), (b"/", true), (b"/a", true)]);
    world.state.forget_checkpoint();
    let mut anew = Records::new();
    checkpoint(&mut world.state, &mut anew);
    assert_eq!(anew, all_records(&world.state));
}

#[test]
fn damaged_records_are_refused_by_name() {
    let mut world = World::new();
    world.open(3);
    world.create("/a", b"1");
    world.apply(vec![world.create_as("/a/e", None, Owner::session(SessionId(3)))]);
    let list = Arc::from([AclEntry { permissions: 31, who: Identity::new("digest", "x:y") }]);
    world.apply(vec![Change::SetAcl { path: "/a".into(), acl: list, aversion: 1 }]);
    let records = all_records(&world.state);
    assert_same(&load(&records).ok().unwrap(), &world.state);
    for (key, value) in &records {
        let mut missing = records.clone();
        missing.remove(key);
        assert!(load(&missing).is_err(), "{key:?} is missing");
        for at in 0..value.len() {
            let mut damaged = records.clone();
            damaged.get_mut(key).unwrap()[at] ^= 1;
            assert!(matches!(load(&damaged), Err(RecordError::Damaged { .. })), "{key:?}: byte {at}");
        }
    }
    let put = |key: &[u8], value: &[u8]| {
        let mut other = records.clone();
        let (key, value) = record::seal(&[key, value].concat(), key.len());
        other.insert(key, value);
        load(&other).err().unwrap()
    };
    let of = |key: &[u8]| records[key].split_last_chunk::<4>().unwrap().0;
    assert_eq!(put(b"/x/y", of(b"/a")).to_string(), "record \"/x/y\": its parent is missing");
    assert_eq!(put(b"/a/", of(b"/a")).to_string(), "record \"/a/\": its path has an empty name");
    assert!(matches!(put(b"/b", of(b"/a")), RecordError::Count { what: "nodes", stated: 6, found: 7 }));
    assert!(matches!(put(b"/a", of(b"/a/e")), RecordError::Count { what: "children", .. }));
    assert!(matches!(put(b"/a/e", of(b"/zookeeper/config")), RecordError::Digest { .. }));
    assert!(matches!(put(&[3], &[]), RecordError::UnknownKind { .. }));
    assert_eq!(put(&[record::META], &[2, 0]), RecordError::UnknownFormat { found: 2, known: 1 });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create { path: usize, owner: u8, data: usize },
    Delete { path: usize },
    Set { path: usize, data: usize },
    SetAcl { path: usize, read_only: bool },
    Session { id: i64, kind: u8 },
    Begin,
    Piece { bytes: usize },
}

const PATHS: [&str; 14] = [
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/b/d",
    "/a-b",
    "/b",
    "/b/c",
    "/b/c/d",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/b",
    "/zookeeper/quota/b/zookeeper_limits",
    "/zookeeper/quota/b/zookeeper_stats",
];
const DATA: [Option<&[u8]>; 5] = [None, Some(b""), Some(b"x"), Some(b"count=1,bytes=2"), Some(&[7; 200])];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let paths = 0..PATHS.len();
    let data = 0..DATA.len();
    let step = prop_oneof![
        8 => (paths.clone(), 0..6_u8, data.clone()).prop_map(|(path, owner, data)| Step::Create { path, owner, data }),
        4 => paths.clone().prop_map(|path| Step::Delete { path }),
        4 => (paths.clone(), data).prop_map(|(path, data)| Step::Set { path, data }),
        1 => (paths, any::<bool>()).prop_map(|(path, read_only)| Step::SetAcl { path, read_only }),
        3 => (1..4_i64, 0..4_u8).prop_map(|(id, kind)| Step::Session { id, kind }),
        2 => Just(Step::Begin),
        4 => (1..400_usize).prop_map(|bytes| Step::Piece { bytes }),
    ];
    prop::collection::vec(step, 0..150)
}

/// The changes of a step, if the tree allows it.
fn changes(world: &World, step: Step) -> Option<Vec<Change>> {
    let state = &world.state;
    let bytes = |data: usize| DATA[data].map(Bytes::copy_from_slice);
    Some(match step {
        Step::Create { path, owner, data } => {
            let path = PATHS[path];
            let parent = state.node(crate::model::path::parent(path)?)?;
            let owner = match owner {
                0 => Owner::CONTAINER,
                1 => Owner::ttl(5),
                2 | 3 if state.session(SessionId(owner.into())).is_some() => Owner::session(SessionId(owner.into())),
                _ => Owner::PERSISTENT,
            };
            if state.node(path).is_some() || parent.owner().is_ephemeral() {
                return None;
            }
            vec![world.create_as(path, DATA[data], owner)]
        }
        Step::Delete { path } => {
            let node = state.node(PATHS[path])?;
            if node.child_count() > 0 {
                return None;
            }
            vec![Change::Delete { path: PATHS[path].into() }]
        }
        Step::Set { path, data } => {
            let version = state.node(PATHS[path])?.version() + 1;
            vec![Change::SetData { path: PATHS[path].into(), data: bytes(data), version }]
        }
        Step::SetAcl { path, read_only } => {
            let acl = if read_only { acl::read_unsafe() } else { acl::open_unsafe() };
            let aversion = state.node(PATHS[path])?.aversion() + 1;
            vec![Change::SetAcl { path: PATHS[path].into(), acl, aversion }]
        }
        Step::Session { id, kind } => {
            let session = SessionId(id);
            match (state.session(session), kind) {
                (None, _) => vec![Change::OpenSession {
                    session,
                    timeout_ms: 4000,
                    password: Password([id as u8; 16]),
                    owner: connection(1),
                }],
                (Some(_), 0) => vec![Change::AttachSession { session, timeout_ms: 5000, owner: connection(2) }],
                (Some(_), _) => {
                    let paths = state.ephemerals(session);
                    let mut changes: Vec<_> = paths.map(|path| Change::Delete { path: path.clone() }).collect();
                    changes.push(Change::CloseSession { session, expired: true });
                    changes
                }
            }
        }
        Step::Begin | Step::Piece { .. } => return None,
    })
}

proptest! {
    /// A checkpoint gives the state at its cut, whatever happens while it is written. The checkpoint and the
    /// transactions behind it give the state at the end.
    #[test]
    fn checkpoints_hold_the_state_at_their_cut(steps in steps()) {
        let mut world = World::new();
        let mut records = Records::new();
        checkpoint(&mut world.state, &mut records);
        let mut running: Option<(Cut, Records)> = None;
        for step in steps {
            match step {
                Step::Begin if running.is_none() => {
                    running = Some((world.state.begin_checkpoint(), all_records(&world.state)));
                }
                Step::Piece { bytes } => {
                    let Some((mut cut, expected)) = running.take() else { continue };
                    let mut piece = Vec::new();
                    let more = world.state.checkpoint_piece(&mut cut, bytes, &mut piece);
                    write(piece, &mut records);
                    if more {
                        running = Some((cut, expected));
                    } else {
                        world.state.end_checkpoint(cut);
                        prop_assert_eq!(&records, &expected);
                        load(&records).map_err(|error| TestCaseError::fail(error.to_string()))?;
                    }
                }
                _ => {
                    if let Some(changes) = changes(&world, step) {
                        world.apply(changes);
                    }
                }
            }
        }
        if let Some((mut cut, expected)) = running {
            let mut piece = Vec::new();
            prop_assert!(!world.state.checkpoint_piece(&mut cut, usize::MAX, &mut piece));
            write(piece, &mut records);
            world.state.end_checkpoint(cut);
            prop_assert_eq!(&records, &expected);
        }
        checkpoint(&mut world.state, &mut records);
        prop_assert_eq!(&records, &all_records(&world.state));
        let loaded = load(&records).map_err(|error| TestCaseError::fail(error.to_string()))?;
        assert_same(&loaded, &world.state);
    }

    /// A loaded state behaves like the state that was saved.
    #[test]
    fn a_loaded_state_behaves_like_the_saved_one(before in steps(), after in steps()) {
        let mut world = World::new();
        for step in before {
            if let Some(changes) = changes(&world, step) {
                world.apply(changes);
            }
        }
        let mut records = Records::new();
        checkpoint(&mut world.state, &mut records);
        let state = load(&records).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut loaded = World { state, applied: Effects::default() };
        for step in after {
            if let Some(changes) = changes(&world, step) {
                world.apply(changes.clone());
                loaded.apply(changes);
                prop_assert_eq!(&world.applied.slots, &loaded.applied.slots);
                prop_assert_eq!(world.state.digest(), loaded.state.digest());
            }
        }
        assert_same(&loaded.state, &world.state);
        checkpoint(&mut loaded.state, &mut records);
        prop_assert_eq!(&records, &all_records(&world.state));
    }
}
