//! A queue as producers and workers see it: one test for each promise, and random schedules for all promises together.

use super::{DEAD, DELAYED, FOLDERS, IDLE, ITEMS, Queues, READY, TAKEN, rank};
use std::collections::{BTreeMap, BTreeSet};
use wasmkeeper_plugin::testing::{Mode, Random, Server, create, delete, set};
use wasmkeeper_plugin::{Cause, NodeKind, Recipe, Rejection, code};

type Queued = Server<Queues>;

const JOBS: &str = "/queue/jobs";

fn server(settings: &str) -> Queued {
    Server::new("/queue", settings)
}

fn put(server: &mut Queued, session: u64, name: &str, payload: &str) -> String {
    let path = format!("{JOBS}/items/{name}");
    server.create(session, &path, payload, Mode::PersistentSequential).unwrap()
}

fn take(server: &mut Queued, session: u64) -> String {
    server.join(session, &format!("{JOBS}/claims/w-"), "").unwrap()
}

/// What a worker reads in its claim: item, attempt, payload. None while the claim waits.
fn held(server: &Queued, claim: &str) -> Option<(String, u64, String)> {
    let text = server.tree.text(claim);
    let (head, payload) = text.split_once('\n')?;
    let head: serde_json::Value = serde_json::from_str(head).unwrap();
    Some((head["item"].as_str()?.into(), head["attempt"].as_u64()?, payload.into()))
}

fn payload(server: &Queued, claim: &str) -> String {
    held(server, claim).map_or("nothing".into(), |(_, _, payload)| payload)
}

fn names(server: &Queued, folder: &str) -> Vec<String> {
    server.tree.children(&format!("{JOBS}/{folder}"))
}

#[test]
fn items_come_in_order_to_workers_in_order() {
    let mut server = server("{}");
    let (producer, a, b) = (server.connect(), server.connect(), server.connect());
    let first = put(&mut server, producer, "job-", "1");
    assert_eq!(first, "/queue/jobs/items/job-0000000000");
    put(&mut server, producer, "job-", "2");
    put(&mut server, producer, "job?priority=9-", "urgent");
    put(&mut server, producer, "job?priority=0-", "some day");
    let claims: Vec<String> = (0..2).map(|_| take(&mut server, a)).collect();
    // The same session under the same name is a repetition.
    assert_eq!(claims[0], claims[1]);
    assert_eq!(held(&server, &claims[0]), Some(("job?priority=9-0000000002".into(), 1, "urgent".into())));
    let other = take(&mut server, b);
    assert_eq!(payload(&server, &other), "1");
    // Acknowledges and takes the next item in one multi.
    let again = create(a, "/queue/jobs/claims/w-", "", Mode::EphemeralSequential);
    let next = server.multi(a, vec![delete(&claims[0]), again]).unwrap().remove(1);
    assert_eq!(payload(&server, &next), "2");
    server.delete(b, &other).unwrap();
    let other = take(&mut server, b);
    assert_eq!(payload(&server, &other), "some day");
    server.delete(a, &next).unwrap();
    server.delete(b, &other).unwrap();
    // Both wait, and the worker that has waited longest is served first.
    let (first, second) = (take(&mut server, b), take(&mut server, a));
    put(&mut server, producer, "job-", "3");
    assert_eq!((payload(&server, &first).as_str(), payload(&server, &second).as_str()), ("3", "nothing"));
    // A worker that leaves without an item leaves nothing behind.
    server.delete(a, &second).unwrap();
    assert_eq!((names(&server, ITEMS).len(), names(&server, IDLE).len()), (1, 0));
}

#[test]
fn a_lost_worker_gives_back_in_the_same_zxid() {
    let mut server = server(r#"{"attempts-max":2}"#);
    let (a, b, c) = (server.connect(), server.connect(), server.connect());
    put(&mut server, a, "job-", "1");
    put(&mut server, a, "job-", "2");
    let first = take(&mut server, a);
    server.end(a, Cause::SessionExpired);
    assert_eq!(server.tree.get(&first), None);
    // The item has its old place.
    let second = take(&mut server, b);
    assert_eq!(held(&server, &second), Some(("job-0000000000".into(), 2, "1".into())));
    // After the last attempt the item goes to `dead`, and the worker gets the next one.
    server.set(b, &second, "retry").unwrap();
    assert_eq!(held(&server, &second), Some(("job-0000000001".into(), 1, "2".into())));
    assert_eq!(server.tree.text("/queue/jobs/dead/job-0000000000"), "1");
    assert_eq!(names(&server, ITEMS), ["job-0000000001"]);
    let waiting = take(&mut server, c);
    server.end(b, Cause::SessionClosed);
    assert_eq!(held(&server, &waiting), Some(("job-0000000001".into(), 2, "2".into())));
    assert_eq!(server.tree.get(&waiting).unwrap().stat.mzxid, server.tree.view().context().zxid);
    // Clients may read and remove dead items.
    server.delete(c, "/queue/jobs/dead/job-0000000000").unwrap();
}

#[test]
fn time_runs_out_unless_it_is_extended() {
    let mut server = server(r#"{"visibility-ms":1000}"#);
    let (a, b) = (server.connect(), server.connect());
    put(&mut server, a, "job-", "1");
    let slow = take(&mut server, a);
    server.pass(900);
    server.set(a, &slow, "extend").unwrap();
    assert_eq!(held(&server, &slow), Some(("job-0000000000".into(), 1, "1".into())));
    let waiting = take(&mut server, b);
    server.pass(999);
    assert_eq!(payload(&server, &slow), "1");
    server.pass(1);
    assert_eq!(held(&server, &waiting), Some(("job-0000000000".into(), 2, "1".into())));
    // A late acknowledgement finds no claim.
    assert_eq!(server.delete(a, &slow).unwrap_err().code, code::NO_NODE);
    // A waiting worker has no time limit.
    server.delete(b, &waiting).unwrap();
    let patient = take(&mut server, b);
    server.pass(100_000);
    assert!(server.tree.get(&patient).is_some());
}

#[test]
fn items_may_be_delayed_and_cancelled() {
    let mut server = server("{}");
    let a = server.connect();
    let later = put(&mut server, a, "job?delay-ms=500&priority=9-", "later");
    let never = put(&mut server, a, "job?delay-ms=500-", "never");
    let claim = take(&mut server, a);
    server.delete(a, &never).unwrap();
    assert_eq!((payload(&server, &claim), names(&server, DELAYED).len()), ("nothing".into(), 1));
    server.pass(500);
    assert_eq!(payload(&server, &claim), "later");
    assert_eq!(server.delete(a, &later).unwrap_err().code, code::BAD_ARGUMENTS);
    // A name without digits is a key: a repeated put is refused.
    server.create(a, "/queue/jobs/items/order-7", "", Mode::Persistent).unwrap();
    let again = server.create(a, "/queue/jobs/items/order-7", "", Mode::Persistent);
    assert_eq!(again.unwrap_err().code, code::NODE_EXISTS);
    server.delete(a, "/queue/jobs/items/order-7").unwrap();
    assert_eq!(names(&server, READY), [""; 0]);
}

#[test]
fn what_is_not_allowed() {
    let mut server = server("{}");
    let (a, b) = (server.connect(), server.connect());
    let code = |result: Result<String, Rejection>| result.unwrap_err().code;
    for wrong in ["job?priority=10-", "job?prio=1-", "job?priority-", "job?delay-ms=x-"] {
        let path = format!("{JOBS}/items/{wrong}");
        assert_eq!(code(server.create(a, &path, "", Mode::PersistentSequential)), code::BAD_ARGUMENTS);
    }
    let big = "x".repeat((512 << 10) + 1);
    assert_eq!(code(server.create(a, "/queue/jobs/items/x", big, Mode::Persistent)), code::BAD_ARGUMENTS);
    assert_eq!(code(server.create(a, "/queue/jobs/items/x", "", Mode::Ephemeral)), code::BAD_ARGUMENTS);
    assert_eq!(code(server.create(a, "/queue/jobs/items/x0000000001", "", Mode::Persistent)), code::BAD_ARGUMENTS);
    assert_eq!(code(server.create(a, "/queue/jobs/claims/x", "", Mode::Ephemeral)), code::BAD_ARGUMENTS);
    assert_eq!(code(server.create(a, "/queue/jobs/other", "", Mode::Persistent)), code::BAD_ARGUMENTS);
    assert_eq!(code(server.create(a, "/queue/jobs/ready/x", "", Mode::Persistent)), code::NO_AUTH);
    assert_eq!(server.create(a, "/queue/jobs", "", Mode::Persistent).unwrap(), "/queue/jobs");
    assert_eq!(server.tree.children(JOBS).len(), FOLDERS.len());
    let item = put(&mut server, a, "job-", "1");
    let claim = take(&mut server, a);
    assert_eq!(server.delete(b, &claim).unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.set(b, &claim, "retry").unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.set(a, &claim, "later").unwrap_err().code, code::BAD_ARGUMENTS);
    assert_eq!(server.set(a, &item, "2").unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.delete(a, JOBS).unwrap_err().code, code::NOT_EMPTY);
    let taken = format!("{JOBS}/taken/job-0000000000");
    assert_eq!(server.superuser(b, vec![set(&claim, "")]).unwrap_err().code, code::BAD_ARGUMENTS);
    assert_eq!(server.superuser(b, vec![delete(&taken)]).unwrap_err().code, code::BAD_ARGUMENTS);
    // The superuser may take an item from its worker. The worker's late acknowledgement does not touch another item of
    // that name.
    server.superuser(b, vec![delete(&item)]).unwrap();
    server.delete(a, &claim).unwrap();
    let waiting = take(&mut server, a);
    assert_eq!(server.set(a, &waiting, "retry").unwrap_err().code, code::BAD_ARGUMENTS);
    server.delete(a, &waiting).unwrap();
    server.delete(a, JOBS).unwrap();
    assert_eq!(server.tree.children("/queue"), [""; 0]);
    assert!(Queues::configure("/queue", r#"{"attempts-max":0}"#).is_err());
}

#[test]
fn recovery_makes_the_indexes_anew() {
    let mut server = server("{}");
    let (a, b) = (server.connect(), server.connect());
    for payload in ["1", "2", "3"] {
        put(&mut server, a, "job-", payload);
    }
    put(&mut server, a, "job?delay-ms=500-", "4");
    let claim = take(&mut server, a);
    let lost = take(&mut server, b);
    // All nodes except those that clients made are lost.
    server.tree.begin(0);
    for folder in [READY, TAKEN, DELAYED] {
        for name in names(&server, folder) {
            server.tree.transaction().delete(&format!("{JOBS}/{folder}/{name}"), None).unwrap();
        }
    }
    server.tree.put("/queue/readme", "hands off");
    assert!(server.recover() > 0);
    server.end_unseen(b);
    assert_eq!((held(&server, &claim).unwrap().2, server.tree.get(&lost)), ("1".into(), None));
    assert_eq!(names(&server, READY).len(), 3);
    server.delete(a, &claim).unwrap();
    let next = take(&mut server, a);
    assert_eq!(held(&server, &next), Some(("job-0000000001".into(), 2, "2".into())));
    assert_eq!(server.tree.children("/queue"), ["jobs", "readme"]);
}

#[test]
fn calls_are_bounded() {
    let mut server = server(r#"{"attempts-max":1}"#);
    let (a, b) = (server.connect(), server.connect());
    for turn in 0..300 {
        put(&mut server, a, "job-", &turn.to_string());
        server.join(b, &format!("{JOBS}/claims/{turn}-"), "").unwrap();
    }
    for turn in 0..100 {
        let session = server.connect();
        server.join(session, &format!("{JOBS}/claims/{turn}-"), "").unwrap();
    }
    (server.looks_max, server.writes_max) = (0, 0);
    server.end_unseen(b);
    assert_eq!((names(&server, DEAD).len(), names(&server, ITEMS).len()), (300, 0));
    // The 100 claims of the other sessions still wait. They get the next 100 items, in several transactions.
    server.tree.begin(0);
    for _ in 0..100 {
        let item = format!("{JOBS}/items/job-");
        server.tree.transaction().create_sequential(&item, b"", NodeKind::Persistent, &[]).unwrap();
    }
    server.recover();
    server.pass(0);
    assert_eq!((names(&server, TAKEN).len(), names(&server, IDLE).len()), (100, 0));
    assert!(server.looks_max <= 600 && server.writes_max <= 400, "{} {}", server.looks_max, server.writes_max);
}

#[test]
fn random_schedules() {
    for seed in 0..24 {
        let settings = ["{}", r#"{"visibility-ms":700,"attempts-max":3}"#][seed as usize % 2];
        let reused = run(seed, settings, false);
        assert_eq!(reused, run(seed, settings, true), "seed {seed}: fresh instances behave differently");
    }
}

fn run(seed: u64, settings: &str, fresh: bool) -> String {
    let mut random = Random::new(seed);
    let mut server = server(settings);
    server.fresh = fresh;
    let mut check = Check::default();
    let mut sessions = vec![server.connect()];
    for step in 0..300 {
        let session = *random.choose(&sessions).unwrap();
        let options = random.choose(&["", "?priority=8", "?delay-ms=400", "?priority=0&delay-ms=200"]).unwrap();
        let item = format!("{JOBS}/items/job{options}-");
        let claims = format!("{JOBS}/claims/{}", random.choose(&["v-", "w-"]).unwrap());
        let claim =
            random.choose(&names(&server, "claims")).map_or(claims.clone(), |name| format!("{JOBS}/claims/{name}"));
        let own = server.tree.get(&claim).is_some_and(|node| node.stat.ephemeral_owner == session);
        let holds = held(&server, &claim).map(|(item, _, _)| item);
        match random.below(24) {
            // Some seeds have more work than workers, and others fewer.
            0..=4 if !seed.is_multiple_of(3) && random.below(3) > 0 => {}
            0..=4 => drop(server.create(session, &item, step.to_string(), Mode::PersistentSequential).unwrap()),
            5 => {
                let keyed = format!("{JOBS}/items/key-{}", random.below(5));
                drop(server.create(session, &keyed, step.to_string(), Mode::Persistent));
            }
            6..=9 => drop(server.join(session, &claims, "").unwrap()),
            10..=12 => {
                assert_eq!(server.delete(session, &claim).is_ok(), own);
                check.done(own, holds);
            }
            13 => {
                let again = create(session, &claims, "", Mode::EphemeralSequential);
                let done = server.multi(session, vec![delete(&claim), again]).is_ok();
                check.done(done, holds);
            }
            14 | 15 => assert_eq!(server.set(session, &claim, "retry").is_ok(), own && holds.is_some()),
            16 => assert_eq!(server.set(session, &claim, "extend").is_ok(), own && holds.is_some()),
            17 => sessions.push(server.connect()),
            18 if sessions.len() > 1 => {
                sessions.retain(|other| *other != session);
                let cause = *random.choose(&[Cause::SessionClosed, Cause::SessionExpired]).unwrap();
                server.end(session, cause);
            }
            19 if sessions.len() > 1 && seed % 4 > 2 => {
                sessions.retain(|other| *other != session);
                check.unseen = true;
                server.end_unseen(session);
            }
            20 => server.pass(random.below(500) as u64),
            21 => {
                let item = random.choose(&names(&server, ITEMS)).cloned().unwrap_or_default();
                let done = server.delete(session, &format!("{JOBS}/items/{item}")).is_ok();
                check.done(done, Some(item));
            }
            22 => drop(server.superuser(session, vec![delete(&claim)])),
            _ => drop(
                server.superuser(session, vec![create(session, &item, step.to_string(), Mode::PersistentSequential)]),
            ),
        }
        check.all(&mut server);
    }
    server.recover();
    server.tree.dump()
}

/// Checks what must hold after each transaction.
#[derive(Default)]
struct Check {
    /// A session has ended while the recipe was off. Entries of claims that are gone may be left.
    unseen: bool,
    /// The items, by name and czxid. An item may leave only through `done`, or to `dead`.
    items: BTreeSet<(String, u64)>,
    done: BTreeSet<String>,
    /// For each item: how often it was given out, and the claim that got it last.
    given: BTreeMap<String, (u64, String)>,
    ready: Vec<String>,
    /// The waiting claims and their places.
    idle: BTreeMap<String, String>,
}

impl Check {
    fn done(&mut self, done: bool, item: Option<String>) {
        self.done.extend(item.filter(|_| done));
    }

    fn all(&mut self, server: &mut Queued) {
        let entry = |server: &Queued, folder: &str, name: &str| {
            let text = server.tree.text(&format!("{JOBS}/{folder}/{name}"));
            let (number, name) = text.split_once(' ').unwrap_or_default();
            (number.parse::<u64>().unwrap_or_default(), name.to_string())
        };
        let stat = |server: &Queued, folder: &str, name: &str| {
            server.tree.get(&format!("{JOBS}/{folder}/{name}")).map(|node| node.stat)
        };
        // No item is lost: it is there, or done, or dead.
        let dead = names(server, DEAD);
        let items =
            names(server, ITEMS).into_iter().map(|item| (item.clone(), stat(server, ITEMS, &item).unwrap().czxid));
        let items = BTreeSet::from_iter(items);
        for (item, czxid) in &self.items {
            if !items.contains(&(item.clone(), *czxid)) {
                assert!(self.done.contains(item) || dead.contains(item), "{item} is lost");
                self.given.remove(item);
            }
        }
        self.done.clear();
        // Each item is in exactly one index, at its place.
        let ready = names(server, READY);
        let mut indexed: Vec<String> = ready.iter().map(|rank| entry(server, READY, rank).1).collect();
        for ((place, item), _) in ready.iter().zip(&indexed).zip(0..) {
            assert_eq!(*place, rank(item, stat(server, ITEMS, item).unwrap().czxid));
        }
        indexed.extend(names(server, TAKEN));
        indexed.extend(names(server, DELAYED));
        indexed.sort();
        assert_eq!(indexed, items.iter().map(|(item, _)| item.clone()).collect::<Vec<_>>(), "{}", server.tree.dump());
        // Each item is taken by one claim, which has its payload. First items go first, and to the claim that has
        // waited longest.
        let idle: BTreeMap<_, _> =
            names(server, IDLE).into_iter().map(|rank| (entry(server, IDLE, &rank).1, rank)).collect();
        let mut holders = BTreeSet::new();
        for claim in names(server, "claims") {
            let path = format!("{JOBS}/claims/{claim}");
            let Some((item, attempt, payload)) = held(server, &path) else {
                assert!(idle.contains_key(&claim), "{claim} waits and is in no line");
                continue;
            };
            if !names(server, ITEMS).contains(&item) {
                continue;
            }
            assert_eq!(entry(server, TAKEN, &item), (attempt, claim.clone()));
            assert!(holders.insert(item.clone()), "{item} is held twice");
            assert_eq!(payload, server.tree.text(&format!("{JOBS}/items/{item}")));
            let (times, by) = self.given.entry(item.clone()).or_default();
            if *times != attempt {
                assert_eq!(attempt, *times + 1, "attempts of {item}");
                let own = rank(&item, stat(server, ITEMS, &item).unwrap().czxid);
                for other in self.ready.iter().filter(|other| ready.contains(other)) {
                    assert!(own < *other, "{own} has overtaken {other}");
                }
                let place = self.idle.get(&claim);
                for (_, other) in self.idle.iter().filter(|(other, _)| idle.contains_key(*other)) {
                    assert!(place.is_some_and(|place| place < other), "{claim} has overtaken {other}");
                }
                (*times, *by) = (attempt, claim.clone());
            }
            assert_eq!(*by, claim);
        }
        assert_eq!(holders.len(), names(server, TAKEN).len());
        let gone = idle.keys().filter(|claim| stat(server, "claims", claim).is_none()).count();
        assert!(gone == 0 || self.unseen);
        // Nobody waits while there is something to do.
        assert!(ready.is_empty() || idle.len() == gone);
        (self.items, self.ready, self.idle) = (items, ready, idle);
    }
}
