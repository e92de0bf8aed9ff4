//! An election as its members see it: one test for each promise, and random schedules for all promises together.

use super::Elections;
use std::collections::BTreeMap;
use wasmkeeper_plugin::testing::{Mode, Random, Server, create, delete, set};
use wasmkeeper_plugin::{Cause, NodeKind, Recipe, code};

type Elected = Server<Elections>;

fn server() -> Elected {
    Server::new("/election", "{}")
}

/// Leader, epoch and the leader's data, as the election's node shows them.
fn standing(server: &Elected, election: &str) -> Option<(String, u64, String)> {
    let text = server.tree.text(election);
    let (head, data) = text.split_once('\n')?;
    let head: serde_json::Value = serde_json::from_str(head).unwrap();
    Some((head["leader"].as_str()?.into(), head["epoch"].as_u64()?, data.into()))
}

fn leader(server: &Elected) -> String {
    standing(server, "/election/x").map_or(String::new(), |(leader, _, _)| leader)
}

#[test]
fn the_first_leads_and_the_next_follows_in_the_same_zxid() {
    let mut server = server();
    let (a, b, c) = (server.connect(), server.connect(), server.connect());
    let first = server.join(a, "/election/x/a-", "10.0.0.1:80").unwrap();
    assert_eq!(first, "/election/x/a-0000000000");
    let (name, epoch, data) = standing(&server, "/election/x").unwrap();
    assert_eq!((name.as_str(), data.as_str()), ("a-0000000000", "10.0.0.1:80"));
    assert_eq!(epoch, server.tree.get(&first).unwrap().stat.czxid);
    server.join(b, "/election/x/b-", "10.0.0.2:80").unwrap();
    server.join(c, "/election/x/c-", "10.0.0.3:80").unwrap();
    server.end(a, Cause::SessionExpired);
    let zxid = server.tree.view().context().zxid;
    let expected = ("b-0000000001".to_string(), zxid, "10.0.0.2:80".to_string());
    assert_eq!(standing(&server, "/election/x"), Some(expected));
    server.delete(b, "/election/x/b-0000000001").unwrap();
    assert_eq!(leader(&server), "c-0000000002");
    server.end(c, Cause::SessionClosed);
    assert_eq!(server.tree.text("/election/x"), "{}");
    server.collect();
    assert_eq!(server.tree.children("/election"), [""; 0]);
}

#[test]
fn who_resigns_stands_in_line_again() {
    let mut server = server();
    let (a, b) = (server.connect(), server.connect());
    let first = server.join(a, "/election/x/a-", "").unwrap();
    let second = server.join(b, "/election/x/b-", "").unwrap();
    server.set(a, &first, "new address").unwrap();
    assert_eq!(leader(&server), "b-0000000001");
    let (_, epoch, _) = standing(&server, "/election/x").unwrap();
    // By a call, as operators do it.
    let answer = server.call("resign", b"x").unwrap();
    assert_eq!(answer, server.tree.get("/election/x").unwrap().data);
    let (name, later, data) = standing(&server, "/election/x").unwrap();
    assert_eq!((name.as_str(), data.as_str()), ("a-0000000000", "new address"));
    assert!(later > epoch);
    // A lone member is elected again, with a new epoch.
    server.delete(b, &second).unwrap();
    server.set(a, &first, "").unwrap();
    let (name, latest, _) = standing(&server, "/election/x").unwrap();
    assert!(name == "a-0000000000" && latest > later);
    assert_eq!(server.call("resign", b"y").unwrap_err().code, code::NO_NODE);
    assert_eq!(server.call("resign", b"x/a-0000000000").unwrap_err().code, code::NO_NODE);
    assert_eq!(server.call("depose", b"x").unwrap_err().code, code::UNIMPLEMENTED);
}

#[test]
fn what_is_set_in_the_transaction_that_elects_is_shown() {
    let mut server = server();
    let a = server.connect();
    let join = |name: &str| create(a, &format!("/election/x/{name}"), "old", Mode::EphemeralSequential);
    let (first, second) = ("/election/x/a-0000000000", "/election/x/b-0000000001");
    // The first candidate. The create of its node elects it.
    server.multi(a, vec![join("a-"), join("b-"), set(first, "new")]).unwrap();
    let (name, epoch, data) = standing(&server, "/election/x").unwrap();
    assert_eq!((name.as_str(), data.as_str()), ("a-0000000000", "new"));
    assert_eq!(
        server.tree.get("/election/x").unwrap().stat.version,
        2,
        "it is written when there is something to write"
    );
    // The next member in line, which becomes the leader.
    server.multi(a, vec![delete(first), set(second, "newer")]).unwrap();
    let (name, later, data) = standing(&server, "/election/x").unwrap();
    assert_eq!((name.as_str(), data.as_str()), ("b-0000000001", "newer"));
    assert!(later > epoch);
    // Setting the data sends a member to the end of the line, also in the transaction that elects it.
    let b = server.connect();
    server.join(a, "/election/x/c-", "third").unwrap();
    server.join(b, "/election/x/d-", "fourth").unwrap();
    server.multi(a, vec![delete(second), set("/election/x/c-0000000002", "last")]).unwrap();
    let (name, _, data) = standing(&server, "/election/x").unwrap();
    assert_eq!((name.as_str(), data.as_str()), ("d-0000000003", "fourth"));
    server.delete(b, "/election/x/d-0000000003").unwrap();
    assert_eq!(standing(&server, "/election/x").unwrap().2, "last");
}

#[test]
fn a_repeated_join_finds_the_first() {
    let mut server = server();
    let a = server.connect();
    let first = server.join(a, "/election/x/a-", "").unwrap();
    assert_eq!(server.join(a, "/election/x/a-", "").unwrap(), first);
    assert_eq!(server.tree.children("/election/x").len(), 1);
}

#[test]
fn what_is_not_allowed() {
    let mut server: Elected = Server::new("/election", r#"{"members-max":2}"#);
    let (a, b) = (server.connect(), server.connect());
    assert_eq!(server.create(a, "/election/x", "ignored", Mode::Persistent).unwrap(), "/election/x");
    assert_eq!(server.tree.text("/election/x"), "{}");
    let first = server.join(a, "/election/x/a-", "").unwrap();
    server.join(b, "/election/x/b-", "").unwrap();
    assert_eq!(server.join(b, "/election/x/c-", "").unwrap_err().code, code::QUOTA_EXCEEDED);
    assert_eq!(server.join(b, "/election/y/c-", "x".repeat(1 << 20)).unwrap_err().code, code::BAD_ARGUMENTS);
    assert_eq!(server.set(b, &first, "x").unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.delete(b, &first).unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.delete(b, "/election/x/none").unwrap_err().code, code::NO_NODE);
    assert_eq!(server.delete(b, "/election/x").unwrap_err().code, code::NOT_EMPTY);
    assert_eq!(server.set(b, "/election/x", "{}").unwrap_err().code, code::NO_AUTH);
    assert_eq!(server.create(b, "/election/x/p", "", Mode::Persistent).unwrap_err().code, code::BAD_ARGUMENTS);
    assert_eq!(server.create(b, "/election/y", "", Mode::Ephemeral).unwrap_err().code, code::BAD_ARGUMENTS);
    assert!(Elections::configure("/", r#"{"members-max":501}"#).is_err());
    // The superuser may depose a leader. If it writes over the result, the recipe writes the result again.
    server.superuser(b, vec![set(&first, "")]).unwrap();
    assert_eq!(leader(&server), "b-0000000001");
    server.superuser(b, vec![set("/election/x", "me")]).unwrap();
    assert_eq!(leader(&server), "b-0000000001");
}

#[test]
fn recovery_elects_from_what_it_finds() {
    let mut server = server();
    server.tree.put("/election/readme", "hands off");
    let (a, b) = (server.connect(), server.connect());
    server.tree.put("/election/x", "from a library");
    for (session, path) in [(a, "/election/x/z-"), (b, "/election/x/y-")] {
        server.tree.begin(session);
        server.tree.transaction().create_sequential(path, b"", NodeKind::Ephemeral(session), &[]).unwrap();
    }
    assert_eq!(server.recover(), 1);
    assert_eq!(leader(&server), "z-0000000000");
    server.end_unseen(a);
    assert_eq!(
        (leader(&server).as_str(), server.tree.text("/election/readme").as_str()),
        ("y-0000000001", "hands off")
    );
}

#[test]
fn random_schedules() {
    for seed in 0..60 {
        let reused = run(seed, false);
        assert_eq!(reused, run(seed, true), "seed {seed}: fresh instances behave differently");
    }
}

fn run(seed: u64, fresh: bool) -> String {
    let mut random = Random::new(seed);
    let mut server = server();
    server.fresh = fresh;
    let mut sessions = vec![server.connect()];
    // For each election: the members in line, as the successful requests put them there, and the last epoch.
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut epochs: BTreeMap<String, u64> = BTreeMap::new();
    for step in 0..300 {
        let session = *random.choose(&sessions).unwrap();
        let election = format!("/election/{}", random.choose(&["x", "y"]).unwrap());
        let name = format!("{election}/{}", random.choose(&["a-", "b-"]).unwrap());
        let line = lines.entry(election.clone()).or_default();
        let member = random.choose(line).cloned().unwrap_or_default();
        let own = server.tree.get(&member).is_some_and(|node| node.stat.ephemeral_owner == session);
        let data = format!("data {step}");
        match random.below(20) {
            0..=5 => {
                let path = server.join(session, &name, &data).unwrap();
                if !line.contains(&path) {
                    line.push(path);
                }
            }
            6..=8 => assert!(server.delete(session, &member).is_err() || own),
            9..=11 => {
                assert_eq!(server.set(session, &member, &data).is_ok(), own);
                if own {
                    line.retain(|other| *other != member);
                    line.push(member);
                }
            }
            12 if own => {
                // Leaves and joins in one multi: to the end of the line under another name.
                let join = create(session, &name, &data, Mode::EphemeralSequential);
                let paths = server.multi(session, vec![delete(&member), join]).unwrap();
                line.retain(|other| *other != member);
                if !line.contains(&paths[1]) {
                    line.push(paths[1].clone());
                }
            }
            13 | 14 => sessions.push(server.connect()),
            15 | 16 if sessions.len() > 1 => {
                sessions.retain(|other| *other != session);
                let cause = *random.choose(&[Cause::SessionClosed, Cause::SessionExpired]).unwrap();
                server.end(session, cause);
            }
            17 if sessions.len() > 1 => {
                sessions.retain(|other| *other != session);
                server.end_unseen(session);
            }
            18 => server.collect(),
            _ => drop(server.superuser(session, vec![delete(&member)])),
        }
        for (election, line) in &mut lines {
            line.retain(|member| server.tree.get(member).is_some());
            let found = standing(&server, election);
            let Some(first) = line.first() else {
                assert_eq!(found, None);
                continue;
            };
            let (leader, epoch, data) = found.unwrap();
            assert_eq!((format!("{election}/{leader}"), data), (first.clone(), server.tree.text(first)));
            assert_eq!(epoch, server.tree.get(election).unwrap().stat.mzxid);
            let last = epochs.insert(election.clone() + &leader, epoch).unwrap_or_default();
            let newest = epochs.insert(election.clone(), epoch).unwrap_or_default();
            assert!(epoch > newest || epoch == newest && last == epoch, "{election}: {leader} has an epoch of before");
        }
    }
    server.recover();
    server.tree.dump()
}
