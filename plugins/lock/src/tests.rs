//! A lock as its clients see it: one test for each promise, and random schedules for all promises together.

use super::{Locks, WAIT_MS_MAX};
use std::collections::BTreeMap;
use wasmkeeper_plugin::path::digits;
use wasmkeeper_plugin::testing::{Mode, Random, Server, create, delete, set};
use wasmkeeper_plugin::{Cause, NodeKind, Recipe, code};

type Locked = Server<Locks>;

fn server(settings: &str) -> Locked {
    Server::new("/locks", settings)
}

/// What a member reads in its node: `held`, `waiting`, or empty if there is no node.
fn state(server: &Locked, path: &str) -> String {
    let data: serde_json::Value = serde_json::from_str(&server.tree.text(path)).unwrap_or_default();
    data["state"].as_str().unwrap_or_default().into()
}

fn token(server: &Locked, path: &str) -> u64 {
    let node = server.tree.get(path).unwrap();
    let data: serde_json::Value = serde_json::from_slice(&node.data).unwrap();
    assert_eq!(data["token"], node.stat.mzxid);
    node.stat.mzxid
}

#[test]
fn who_leaves_hands_over_to_who_came_next() {
    let mut server = server("{}");
    let (a, b, c) = (server.connect(), server.connect(), server.connect());
    let first = server.join(a, "/locks/db/lock-", "").unwrap();
    assert_eq!((first.as_str(), state(&server, &first).as_str()), ("/locks/db/lock-0000000000", "held"));
    let first_token = token(&server, &first);
    assert_eq!(server.tree.text("/locks/db"), format!(r#"{{"holder":"lock-0000000000","token":{first_token}}}"#));
    let second = server.join(b, "/locks/db/lock-", "").unwrap();
    // A member under another name contends as well, and the data that lock libraries write is no option.
    let third = server.join(c, "/locks/db/other-", "10.0.0.1").unwrap();
    assert_eq!((state(&server, &second).as_str(), state(&server, &third).as_str()), ("waiting", "waiting"));
    server.delete(a, &first).unwrap();
    assert_eq!((state(&server, &second).as_str(), state(&server, &third).as_str()), ("held", "waiting"));
    assert_eq!(token(&server, &second), server.tree.view().context().zxid);
    assert!(token(&server, &second) > first_token);
    server.delete(b, &second).unwrap();
    server.delete(c, &third).unwrap();
    assert_eq!(server.tree.text("/locks/db"), "{}");
    server.collect();
    assert_eq!(server.tree.children("/locks"), [""; 0]);
}

#[test]
fn a_repeated_join_finds_the_first() {
    let mut server = server("{}");
    let (a, b) = (server.connect(), server.connect());
    let held = server.join(a, "/locks/db/lock-", "").unwrap();
    assert_eq!(server.join(a, "/locks/db/lock-", "").unwrap(), held);
    let waiting = server.join(b, "/locks/db/lock-", "").unwrap();
    assert_eq!(server.join(b, "/locks/db/lock-", "").unwrap(), waiting);
    // Begins with the same text, but is another name.
    let third = server.join(b, "/locks/db/lock-0", "").unwrap();
    assert_ne!(third, waiting);
    assert_eq!(server.join(b, "/locks/db/lock-", "").unwrap(), waiting);
    assert_eq!(server.tree.children("/locks/db/queue").len(), 2);
}

#[test]
fn patience_ends() {
    let mut server = server(r#"{"wait-ms":9000}"#);
    let (a, b) = (server.connect(), server.connect());
    let held = server.join(a, "/locks/db/lock-", "").unwrap();
    let short = server.join(b, "/locks/db/a-", r#"{"wait-ms":5000}"#).unwrap();
    let long = server.join(b, "/locks/db/b-", "").unwrap();
    let refused = server.join(b, "/locks/db/c-", r#"{"wait-ms":0}"#).unwrap_err();
    assert_eq!(refused.code, code::NODE_EXISTS);
    server.pass(4999);
    assert_eq!((state(&server, &short).as_str(), state(&server, &long).as_str()), ("waiting", "waiting"));
    server.pass(1);
    assert_eq!((state(&server, &short).as_str(), state(&server, &long).as_str()), ("", "waiting"));
    server.delete(a, &held).unwrap();
    server.pass(WAIT_MS_MAX);
    assert_eq!(state(&server, &long), "held");
    for wrong in [r#"{"wait-ms":-1}"#, r#"{"wait":1}"#, "{"] {
        assert_eq!(server.join(a, "/locks/db/lock-", wrong).unwrap_err().code, code::BAD_ARGUMENTS);
    }
    assert!(
        Locks::configure("/locks", r#"{"lock-delay-ms":"x"}"#).is_err_and(|text| text.starts_with("lock-delay-ms:"))
    );
}

#[test]
fn after_an_expiry_nobody_holds_for_a_while() {
    let mut server = server(r#"{"lock-delay-ms":10000}"#);
    let (a, b, c) = (server.connect(), server.connect(), server.connect());
    server.join(a, "/locks/db/lock-", "").unwrap();
    let second = server.join(b, "/locks/db/lock-", "").unwrap();
    server.end(a, Cause::SessionExpired);
    assert_eq!((state(&server, &second).as_str(), server.tree.text("/locks/db").as_str()), ("waiting", "{}"));
    let third = server.join(c, "/locks/db/lock-", "").unwrap();
    server.pass(9999);
    assert_eq!(state(&server, &second), "waiting");
    server.pass(1);
    assert_eq!((state(&server, &second).as_str(), state(&server, &third).as_str()), ("held", "waiting"));
    // A client that closes its session knows that it gives up the lock.
    server.end(b, Cause::SessionClosed);
    assert_eq!(state(&server, &third), "held");
    // The superuser may end a delay early.
    let d = server.connect();
    let fourth = server.join(d, "/locks/db/lock-", "").unwrap();
    server.end(c, Cause::SessionExpired);
    assert_eq!(state(&server, &fourth), "waiting");
    server.superuser(d, vec![delete("/locks/db/delay")]).unwrap();
    assert_eq!(state(&server, &fourth), "held");
}

#[test]
fn a_session_that_holds_and_waits_hands_over_to_another() {
    let mut server = server("{}");
    let (a, b) = (server.connect(), server.connect());
    server.join(a, "/locks/db/a-", "").unwrap();
    server.join(a, "/locks/db/b-", "").unwrap();
    server.join(a, "/locks/other/a-", "").unwrap();
    let others = [server.join(b, "/locks/db/a-", "").unwrap(), server.join(b, "/locks/other/a-", "").unwrap()];
    server.end(a, Cause::SessionExpired);
    let zxid = server.tree.view().context().zxid;
    assert_eq!(others.map(|other| token(&server, &other)), [zxid; 2]);
    assert_eq!(server.tree.children("/locks/db/queue"), [""; 0]);
}

#[test]
fn what_is_not_allowed() {
    let mut server = server("{}");
    let (a, b) = (server.connect(), server.connect());
    let held = server.join(a, "/locks/db/lock-", "").unwrap();
    let waiting = server.join(b, "/locks/db/lock-", "").unwrap();
    assert_eq!(server.delete(b, &held).unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.set(a, &held, "x").unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.delete(a, "/locks/db/queue").unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.delete(a, "/locks/db").unwrap_err().code, code::NOT_EMPTY);
    assert_eq!(server.delete(a, "/locks/db/none").unwrap_err().code, code::NO_NODE);
    assert_eq!(server.create(a, "/locks/db/x", "", Mode::Ephemeral).unwrap_err().code, code::BAD_ARGUMENTS);
    assert_eq!(server.create(a, "/locks/db/x", "", Mode::Persistent).unwrap_err().code, code::BAD_ARGUMENTS);
    assert_eq!(server.create(a, "/locks/x", "", Mode::Ephemeral).unwrap_err().code, code::BAD_ARGUMENTS);
    assert_eq!(server.create(a, "/locks/db/queue/x", "", Mode::Persistent).unwrap_err().code, code::NO_AUTH);
    // A client may create the parents of its node.
    assert_eq!(server.create(a, "/locks/db", "", Mode::Persistent).unwrap_err().code, code::NODE_EXISTS);
    assert_eq!(server.create(a, "/locks/new", "", Mode::Persistent).unwrap(), "/locks/new");
    // The superuser may only remove members and join, too.
    for meddling in [set("/locks/db", "x"), set(&waiting, "x"), create(b, "/locks/db/queue/x", "", Mode::Persistent)] {
        assert_eq!(server.superuser(b, vec![meddling]).unwrap_err().code, code::BAD_ARGUMENTS);
    }
    let theirs = server.superuser(b, vec![create(b, "/locks/db/s-", "", Mode::EphemeralSequential)]).unwrap();
    server.superuser(b, vec![delete(&held)]).unwrap();
    assert_eq!((state(&server, &waiting).as_str(), state(&server, &theirs[0]).as_str()), ("held", "waiting"));
}

#[test]
fn a_multi_joins_and_leaves_all_or_none() {
    let mut server = server("{}");
    let (a, b) = (server.connect(), server.connect());
    let join = |session, lock: &str| {
        create(session, &format!("/locks/{lock}/l-"), r#"{"wait-ms":0}"#, Mode::EphemeralSequential)
    };
    let both = server.multi(a, vec![join(a, "x"), join(a, "y")]).unwrap();
    assert!(server.multi(b, vec![join(b, "z"), join(b, "y")]).is_err());
    assert_eq!(server.tree.children("/locks"), ["x", "y"]);
    server.multi(a, both.iter().map(|path| delete(path)).collect()).unwrap();
    server.multi(b, vec![join(b, "z"), join(b, "y")]).unwrap();
}

#[test]
fn recovery_takes_over_what_it_finds() {
    let mut server = server("{}");
    let sessions = [server.connect(), server.connect(), server.connect()];
    // A lock that a library made before there was a recipe, and nodes that are no locks.
    server.tree.put("/locks/readme", "hands off");
    server.tree.put("/locks/db/owner", "storage team");
    for session in sessions {
        server.tree.begin(session);
        let ephemeral = NodeKind::Ephemeral(session);
        server.tree.transaction().create_sequential("/locks/db/lock-", b"10.0.0.1", ephemeral, &[]).unwrap();
    }
    assert!(server.recover() > 0);
    let members = ["/locks/db/lock-0000000001", "/locks/db/lock-0000000002", "/locks/db/lock-0000000003"];
    assert_eq!(members.map(|path| state(&server, path)), ["held", "waiting", "waiting"]);
    server.end_unseen(sessions[0]);
    assert_eq!(members.map(|path| state(&server, path)), ["", "held", "waiting"]);
    assert_eq!(server.tree.text("/locks/readme") + &server.tree.text("/locks/db/owner"), "hands offstorage team");
}

#[test]
fn recovery_is_bounded_and_so_is_a_hand_over() {
    let mut server = server("{}");
    let holder = server.connect();
    server.join(holder, "/locks/db/lock-", "").unwrap();
    let mut sessions = Vec::new();
    for _ in 0..350 {
        sessions.push(server.connect());
        server.join(*sessions.last().unwrap(), "/locks/db/lock-", r#"{"wait-ms":1000}"#).unwrap();
    }
    let last = sessions.pop().unwrap();
    for session in sessions {
        server.end_unseen(session);
    }
    // 349 tickets without a member come first.
    server.end(holder, Cause::SessionClosed);
    server.pass(0);
    assert_eq!(state(&server, "/locks/db/lock-0000000351"), "held");
    assert_eq!(server.tree.get("/locks/db/lock-0000000351").unwrap().stat.ephemeral_owner, last);
    assert!(server.looks_max <= 500 && server.writes_max <= 400, "{} {}", server.looks_max, server.writes_max);
}

#[test]
fn random_schedules() {
    for seed in 0..60 {
        let settings = ["{}", r#"{"lock-delay-ms":500}"#, r#"{"wait-ms":2000}"#][seed as usize % 3];
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
    for _ in 0..300 {
        let session = *random.choose(&sessions).unwrap();
        let lock = format!("/locks/{}", random.choose(&["x", "y"]).unwrap());
        let name = format!("{lock}/{}", random.choose(&["a-", "b-", "a-0"]).unwrap());
        let data = *random.choose(&["", r#"{"wait-ms":300}"#, r#"{"wait-ms":0}"#, "10.0.0.1"]).unwrap();
        let members: Vec<String> =
            server.tree.children(&lock).into_iter().filter(|name| digits(name).is_some()).collect();
        let member = random.choose(&members).map(|member| format!("{lock}/{member}"));
        match random.below(20) {
            0..=5 => drop(server.join(session, &name, data)),
            6..=10 => {
                if let Some(member) = member {
                    let own = server.tree.get(&member).unwrap().stat.ephemeral_owner == session;
                    assert_eq!(server.delete(session, &member).is_ok(), own);
                }
            }
            11 => {
                let join = create(session, &name, data, Mode::EphemeralSequential);
                let leave = member.map(|member| delete(&member));
                drop(server.multi(session, leave.into_iter().chain([join]).collect()));
            }
            12 | 13 => sessions.push(server.connect()),
            14 | 15 if sessions.len() > 1 => {
                sessions.retain(|other| *other != session);
                let cause = *random.choose(&[Cause::SessionClosed, Cause::SessionExpired]).unwrap();
                server.end(session, cause);
            }
            16 if sessions.len() > 1 && seed % 2 == 1 => {
                check.unseen = true;
                sessions.retain(|other| *other != session);
                server.end_unseen(session);
            }
            17 => server.pass(random.below(600) as u64),
            18 => server.collect(),
            _ => match member {
                Some(member) => drop(server.superuser(session, vec![delete(&member)]).unwrap()),
                // There is no such lock yet.
                None => drop(server.superuser(session, vec![create(session, &name, "", Mode::EphemeralSequential)])),
            },
        }
        check.all(&server);
    }
    server.recover();
    server.tree.dump()
}

/// Checks what must hold after each transaction.
#[derive(Default)]
struct Check {
    /// By lock: the members that have joined and not left, in order.
    order: BTreeMap<String, Vec<(String, u64)>>,
    /// A session has ended while the recipe was off. Tickets without a member may be left.
    unseen: bool,
    /// By lock: the last token.
    tokens: BTreeMap<String, u64>,
}

impl Check {
    fn all(&mut self, server: &Locked) {
        for lock in server.tree.children("/locks") {
            self.lock(server, &format!("/locks/{lock}"));
        }
    }

    fn lock(&mut self, server: &Locked, lock: &str) {
        let node = |path: &str| server.tree.get(path).unwrap();
        let mut members: Vec<(u64, String)> = Vec::new();
        for name in server.tree.children(lock).into_iter().filter(|name| digits(name).is_some()) {
            members.push((node(&format!("{lock}/{name}")).stat.czxid, name));
        }
        members.sort_by_key(|(czxid, name)| (*czxid, digits(name).map(String::from)));
        let order = self.order.entry(lock.into()).or_default();
        let is_there =
            |known: &(String, u64)| members.iter().any(|(czxid, name)| (name, *czxid) == (&known.0, known.1));
        let before = order.first().map(|(name, _)| name.clone());
        order.retain(is_there);
        for (czxid, name) in &members {
            if !order.contains(&(name.clone(), *czxid)) {
                order.push((name.clone(), *czxid));
            }
        }
        let of = |wanted: &str| -> Vec<&String> {
            order
                .iter()
                .map(|(name, _)| name)
                .filter(|name| state(server, &format!("{lock}/{name}")) == wanted)
                .collect()
        };
        let (holders, waiting) = (of("held"), of("waiting"));
        assert_eq!(holders.len() + waiting.len(), members.len());
        let paused = server.tree.get(&format!("{lock}/delay")).is_some();
        // There are never two holders. Unless there is a delay, the first of the members is the holder.
        let expected = if paused { None } else { order.first().map(|(name, _)| name) };
        assert_eq!(holders, Vec::from_iter(expected), "at {lock} of\n{}", server.tree.dump());
        let noted: serde_json::Value = serde_json::from_str(&server.tree.text(lock)).unwrap();
        assert_eq!(noted["holder"].as_str(), expected.map(String::as_str));
        if let Some(holder) = expected {
            let token = token(server, &format!("{lock}/{holder}"));
            assert_eq!(noted["token"], token);
            let last = self.tokens.insert(lock.into(), token).unwrap_or_default();
            assert!(token > last || token == last && before == expected.cloned());
        }
        // One ticket for each waiting member, in the order of arrival.
        let queue = format!("{lock}/queue");
        let tickets =
            server.tree.children(&queue).into_iter().map(|ticket| server.tree.text(&format!("{queue}/{ticket}")));
        let queued: Vec<String> = tickets.filter(|name| !self.unseen || waiting.contains(&name)).collect();
        assert_eq!(queued.iter().collect::<Vec<_>>(), waiting);
    }
}
