//! Watches against ZooKeeper's table, and against a simple model of WatchManager.java.

use super::*;
use crate::model::Zxid;
use crate::model::acl::open_unsafe;
use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};
use std::collections::{BTreeMap, BTreeSet};

fn connection(number: u64) -> ConnectionId {
    ConnectionId { member: 1, run: 1, number }
}

fn event(kind: EventKind, path: &str) -> Event {
    // The event names the child where the children of `path` have changed.
    let node = if kind == EventKind::ChildrenChanged { path::join(path, "child") } else { path.to_owned() };
    Event::new(kind, node.into(), Zxid(1), open_unsafe())
}

fn heard(watches: &mut Watches, kind: EventKind, path: &str) -> Vec<u64> {
    let mut heard = Vec::new();
    watches.trigger(&event(kind, path), &mut |connection, delivered, at| {
        assert_eq!((delivered, at), (kind, path));
        heard.push(connection.number);
    });
    heard.sort_unstable();
    heard
}

use EventKind::{ChildrenChanged, Created, DataChanged, Deleted};

const NOBODY: [u64; 0] = [];

#[test]
fn one_shot_watches_fire_once() {
    let mut watches = Watches::new(1);
    watches.arm(WatchKind::Exist, "/a", connection(1));
    watches.arm(WatchKind::Data, "/a", connection(1));
    watches.arm(WatchKind::Child, "/a", connection(2));
    assert_eq!(watches.count(), 2);
    assert_eq!(heard(&mut watches, ChildrenChanged, "/"), NOBODY);
    assert_eq!(heard(&mut watches, Created, "/a"), [1]);
    assert_eq!(heard(&mut watches, Created, "/a"), NOBODY);
    assert_eq!(heard(&mut watches, DataChanged, "/a"), NOBODY, "a child watch does not see data");
    assert_eq!(heard(&mut watches, ChildrenChanged, "/a"), [2]);
    assert!(watches.is_empty() && watches.count() == 0);
}

#[test]
fn a_deletion_fires_once_and_removes_both_watches() {
    let mut watches = Watches::new(1);
    watches.arm(WatchKind::Data, "/a", connection(1));
    watches.arm(WatchKind::Child, "/a", connection(1));
    watches.arm(WatchKind::Child, "/a", connection(2));
    assert_eq!(heard(&mut watches, Deleted, "/a"), [1, 2]);
    assert!(watches.is_empty());
}

#[test]
fn persistent_watches_stay_and_recursive_ones_cover_the_subtree() {
    let mut watches = Watches::new(1);
    watches.add("/a", PersistentMode::Persistent, connection(1));
    watches.add("/a", PersistentMode::Recursive, connection(2));
    watches.add("/", PersistentMode::Recursive, connection(2));
    assert_eq!(watches.count(), 4, "a persistent watch is in both tables");
    for _ in 0..2 {
        assert_eq!(heard(&mut watches, Created, "/a"), [1, 2]);
        assert_eq!(heard(&mut watches, ChildrenChanged, "/a"), [1]);
        assert_eq!(heard(&mut watches, Created, "/a/b/c"), [2]);
        assert_eq!(heard(&mut watches, ChildrenChanged, "/a/b"), NOBODY);
        assert_eq!(heard(&mut watches, DataChanged, "/x"), [2]);
        assert_eq!(heard(&mut watches, Deleted, "/a"), [1, 2]);
    }
    assert!(watches.drop_some(connection(2), 10));
    assert_eq!(heard(&mut watches, Created, "/a/b/c"), NOBODY);
    assert_eq!(watches.recursive_count, 0);
}

#[test]
fn removing_and_checking_by_type() {
    let mut watches = Watches::new(1);
    let me = connection(1);
    assert!(!watches.remove("/a", WatcherType::Any, me));
    watches.arm(WatchKind::Data, "/a", me);
    watches.add("/a", PersistentMode::Persistent, me);
    watches.add("/a", PersistentMode::Recursive, me);
    assert!(watches.has("/a", WatcherType::Any, me) && !watches.has("/a", WatcherType::Any, connection(2)));
    assert!(!watches.remove("/a", WatcherType::Children, me), "a persistent watch is no child watch");
    assert!(watches.remove("/a", WatcherType::Data, me));
    assert!(!watches.remove("/a", WatcherType::Data, me));
    assert!(watches.remove("/a", WatcherType::Persistent, me));
    assert!(!watches.has("/a", WatcherType::Persistent, me));
    assert!(watches.has("/a", WatcherType::PersistentRecursive, me));
    assert!(watches.remove("/a", WatcherType::Any, me));
    assert!(watches.is_empty());
}

#[test]
fn data_watches_are_shown_in_pieces() {
    let mut watches = Watches::new(1);
    watches.arm(WatchKind::Data, "/b", connection(2));
    watches.arm(WatchKind::Data, "/a", connection(2));
    watches.arm(WatchKind::Data, "/b", connection(1));
    watches.arm(WatchKind::Child, "/c", connection(3));
    let both = ("/b".into(), vec![connection(2), connection(1)]);
    assert_eq!(watches.data_watches(0, 1), (vec![both], Some(1)));
    assert_eq!(watches.data_watches(1, 2), (vec![("/a".into(), vec![connection(2)])], None));
}

#[test]
fn a_connection_has_a_bounded_number_of_watches_and_so_have_all() {
    let mut watches = Watches::new(1);
    watches.bounds = Bounds { connection: Taken { paths: 2, bytes: 8 }, all: Taken { paths: 3, bytes: 100 } };
    assert!(watches.arm(WatchKind::Data, "/a", connection(1)));
    assert!(watches.arm(WatchKind::Child, "/a", connection(1)), "the same path again takes no room");
    assert!(!watches.add("/longer", PersistentMode::Recursive, connection(1)), "too many bytes");
    assert!(watches.add("/b", PersistentMode::Recursive, connection(1)));
    assert!(!watches.arm(WatchKind::Exist, "/c", connection(1)), "too many paths");
    assert!(watches.arm(WatchKind::Exist, "/c", connection(2)));
    assert!(!watches.arm(WatchKind::Exist, "/d", connection(2)), "too many paths of all");
    assert_eq!((watches.has_room("/a", connection(1)), watches.has_room("/d", connection(3))), (true, false));
    watches.check_all();
    // A watch that fires gives its room back, and so does a connection that ends.
    assert_eq!(heard(&mut watches, Created, "/c"), [2]);
    assert!(watches.arm(WatchKind::Exist, "/d", connection(2)));
    assert!(!watches.drop_some(connection(1), 1));
    assert!(watches.drop_some(connection(1), 1) && watches.drop_some(connection(1), 1));
    assert!(watches.arm(WatchKind::Exist, "/e", connection(2)));
    watches.check_all();
}

#[test]
fn a_thousand_watches_on_one_node() {
    let mut watches = Watches::new(1);
    for _ in 0..3 {
        for number in 0..1000 {
            watches.arm(WatchKind::Data, "/a", connection(number));
        }
        assert_eq!(heard(&mut watches, DataChanged, "/a"), (0..1000).collect::<Vec<_>>());
        assert!(watches.is_empty());
    }
    assert_eq!(watches.paths.len(), 1, "the number of the path is used again");
}

/// The two tables of WatchManager.java, word for word.
#[derive(Default)]
struct Model {
    tables: [BTreeMap<(String, u64), BTreeSet<u8>>; 2],
}

const STANDARD: u8 = 0;
const PERSISTENT: u8 = 1;
const RECURSIVE: u8 = 2;
const DATA: usize = 0;
const CHILD: usize = 1;

impl Model {
    fn add(&mut self, table: usize, path: &str, who: u64, mode: u8) {
        self.tables[table].entry((path.to_owned(), who)).or_default().insert(mode);
    }

    fn remove(&mut self, table: usize, path: &str, who: u64, mode: Option<u8>) -> bool {
        let key = (path.to_owned(), who);
        let Some(modes) = self.tables[table].get_mut(&key) else { return false };
        let removed = match mode {
            Some(mode) => modes.remove(&mode),
            None => true,
        };
        if mode.is_none() || modes.is_empty() {
            self.tables[table].remove(&key);
        }
        removed
    }

    fn contains(&self, table: usize, path: &str, who: u64, mode: Option<u8>) -> bool {
        let modes = self.tables[table].get(&(path.to_owned(), who));
        modes.is_some_and(|modes| mode.is_none_or(|mode| modes.contains(&mode)))
    }

    fn trigger_table(&mut self, table: usize, path: &str) -> BTreeSet<u64> {
        let mut reached = BTreeSet::new();
        let mut at = Some(path);
        while let Some(local) = at {
            let here: Vec<_> = self.tables[table].keys().filter(|key| key.0 == local).cloned().collect();
            for key in here {
                let modes = self.tables[table].get_mut(&key).expect("listed");
                if local == path {
                    reached.insert(key.1);
                    modes.remove(&STANDARD);
                    if modes.is_empty() {
                        self.tables[table].remove(&key);
                    }
                } else if modes.contains(&RECURSIVE) {
                    reached.insert(key.1);
                }
            }
            at = path::parent(local);
        }
        reached
    }

    fn trigger(&mut self, kind: EventKind, path: &str) -> Vec<u64> {
        let reached = match kind {
            Created | DataChanged => self.trigger_table(DATA, path),
            ChildrenChanged => self.trigger_table(CHILD, path),
            Deleted => &self.trigger_table(DATA, path) | &self.trigger_table(CHILD, path),
        };
        reached.into_iter().collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arm(WatchKind),
    Add(PersistentMode),
    Remove(WatcherType),
    Trigger(EventKind),
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize, u64)>> {
    let types = (1..=5).prop_map(|kind| WatcherType::from_wire(kind).expect("a type"));
    let kinds = prop::sample::select(vec![Created, Deleted, DataChanged, ChildrenChanged]);
    let step = prop_oneof![
        4 => prop::sample::select(vec![WatchKind::Data, WatchKind::Child, WatchKind::Exist]).prop_map(Step::Arm),
        2 => prop::sample::select(vec![PersistentMode::Persistent, PersistentMode::Recursive]).prop_map(Step::Add),
        2 => types.prop_map(Step::Remove),
        4 => kinds.prop_map(Step::Trigger),
        1 => Just(Step::Drop),
    ];
    prop::collection::vec((step, 0..PATHS.len(), 0..4_u64), 0..120)
}

const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/d"];

proptest! {
    #[test]
    fn as_the_model(steps in steps()) {
        let mut watches = Watches::new(7);
        let mut model = Model::default();
        for (step, path, who) in steps {
            let (path, me) = (PATHS[path], connection(who));
            match step {
                Step::Arm(kind) => {
                    watches.arm(kind, path, me);
                    model.add(if kind == WatchKind::Child { CHILD } else { DATA }, path, who, STANDARD);
                }
                Step::Add(PersistentMode::Persistent) => {
                    watches.add(path, PersistentMode::Persistent, me);
                    model.add(DATA, path, who, PERSISTENT);
                    model.add(CHILD, path, who, PERSISTENT);
                }
                Step::Add(PersistentMode::Recursive) => {
                    watches.add(path, PersistentMode::Recursive, me);
                    model.add(DATA, path, who, RECURSIVE);
                }
                Step::Remove(kind) => {
                    let (has, removed) = match kind {
                        WatcherType::Children => {
                            let mode = Some(STANDARD);
                            (model.contains(CHILD, path, who, mode), model.remove(CHILD, path, who, mode))
                        }
                        WatcherType::Data => {
                            let mode = Some(STANDARD);
                            (model.contains(DATA, path, who, mode), model.remove(DATA, path, who, mode))
                        }
                        WatcherType::Any => (
                            model.contains(CHILD, path, who, None) || model.contains(DATA, path, who, None),
                            model.remove(CHILD, path, who, None) | model.remove(DATA, path, who, None),
                        ),
                        WatcherType::Persistent => {
                            let mode = Some(PERSISTENT);
                            let has = model.contains(DATA, path, who, mode);
                            (has, model.remove(CHILD, path, who, mode) | model.remove(DATA, path, who, mode))
                        }
                        WatcherType::PersistentRecursive => {
                            let mode = Some(RECURSIVE);
                            (model.contains(DATA, path, who, mode), model.remove(DATA, path, who, mode))
                        }
                    };
                    prop_assert_eq!(watches.has(path, kind, me), has);
                    prop_assert_eq!(watches.remove(path, kind, me), removed);
                }
                Step::Trigger(kind) => {
                    prop_assert_eq!(heard(&mut watches, kind, path), model.trigger(kind, path));
                }
                Step::Drop => {
                    while !watches.drop_some(me, 2) {
                        watches.check_all();
                    }
                    for table in &mut model.tables {
                        table.retain(|key, _| key.1 != who);
                    }
                }
            }
            watches.check_all();
            prop_assert_eq!(watches.count(), model.tables[DATA].len() + model.tables[CHILD].len());
            let (shown, next) = watches.data_watches(0, usize::MAX);
            let shown: usize = shown.iter().map(|(_, watching)| watching.len()).sum();
            prop_assert_eq!((shown, next), (model.tables[DATA].len(), None));
        }
    }
}
