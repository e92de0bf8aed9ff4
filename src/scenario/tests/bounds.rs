//! Bounds of what one client may put into a transaction, at their real sizes.

use super::fakes::Fakes;
use super::{Setup, Stage, run};
use crate::limits;
use crate::model::acl::AclEntry;
use crate::model::txn::{Change, Txn};
use crate::model::{ErrorCode, Identity, Refusal};
use crate::pipeline::authorize::{Who, fix_acl};
use crate::pipeline::{Fuel, Rules};

fn stage() -> Stage {
    let mut stage = Stage::new(Setup::bare());
    run(&mut stage, "client a: open\n client b: open");
    stage
}

/// The transactions that are outstanding, oldest first.
fn outstanding(stage: &Stage) -> Vec<Txn> {
    stage.world.all_outstanding().map(|outstanding| outstanding.txn.clone()).collect()
}

/// A session with ephemeral nodes of 1.5 MiB of paths, whose end has begun and waits to be applied.
fn ending() -> (Stage, Vec<Txn>) {
    let mut stage = stage();
    for number in 0..100 {
        run(&mut stage, &format!("client a: create /{number:0>15728} ephemeral"));
    }
    run(&mut stage, "hold\n client a: close");
    let parts = outstanding(&stage);
    (stage, parts)
}

#[test]
fn a_session_with_many_bytes_of_paths_ends_in_several_transactions() {
    let (mut stage, parts) = ending();
    let deleted = |txn: &Txn| txn.changes.iter().filter(|change| matches!(change, Change::Delete { .. })).count();
    let counts: Vec<usize> = parts.iter().map(deleted).collect();
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (2, 100), "{counts:?}");
    assert!(parts.iter().all(|txn| txn.weight() < limits::SESSION_END_BYTES + limits::PATH_BYTES_MAX + 1000));
    assert!(parts[0].origin.is_none() && parts[1].origin.is_some(), "the client is answered once, at the end");
    assert!(matches!(parts[1].changes.last(), Some(Change::CloseSession { expired: false, .. })));
    run(&mut stage, "apply all");
    assert_eq!(stage.world.state.ephemerals_count(), 0);
}

/// The leadership changes when the first part is applied and the second one is lost. The client wants its session back.
#[test]
fn nobody_takes_up_or_uses_a_session_whose_end_has_begun() {
    let (mut stage, _) = ending();
    run(&mut stage, "apply 1");
    assert!(stage.world.state.ephemerals_count() < 100);
    stage.world.new_leader();
    let said = run(&mut stage, "apply all\n client a: former attach\n apply all");
    assert!(said.iter().any(|line| line.contains("SESSIONEXPIRED")), "{said:?}");
    let said = run(&mut stage, "client a: former create /late\n apply all");
    assert!(said.iter().any(|line| line.contains("SESSIONEXPIRED")), "{said:?}");
    run(&mut stage, "expire former a\n apply all");
    assert_eq!(stage.world.state.ephemerals_count(), 0);
}

/// The recipe would make new ephemeral nodes as fast as the session's end deletes them.
#[test]
fn a_session_whose_end_has_begun_gets_no_new_nodes_from_recipes() {
    let (mut stage, fakes) = Fakes::stage(&Setup::bare());
    fakes.run(&mut stage, "fake recipe renew /line renew").unwrap();
    run(&mut stage, "client b: create /line");
    for number in 0..100 {
        run(&mut stage, &format!("client b: create /line/{number:0>15728} ephemeral"));
    }
    run(&mut stage, "hold\n client b: close");
    let parts = outstanding(&stage);
    assert!(parts.len() > 1, "the end has several parts");
    let creates = |txn: &Txn| txn.changes.iter().filter(|change| is_new_child(change)).count();
    assert!(parts.iter().all(|part| creates(part) == 0), "the recipe has made nodes");
    run(&mut stage, "apply all");
    assert_eq!(stage.world.state.ephemerals_count(), 0);
}

fn is_new_child(change: &Change) -> bool {
    matches!(change, Change::Create { path, .. } if path.starts_with("/line/"))
}

/// The end of a session cannot be refused, but what a recipe adds to it is bounded. A node's inherited ACL is not among
/// the bytes that the recipe hands over.
#[test]
fn a_recipe_does_not_make_the_end_of_a_session_too_large() {
    let (mut stage, fakes) = Fakes::stage(&Setup::bare());
    fakes.run(&mut stage, "fake recipe flood /note flood /deep").unwrap();
    let acl: Vec<String> = (0..20_000).map(|n| format!("ip:10.0.{}.{}:cdrwa", n / 250, n % 250)).collect();
    run(&mut stage, &format!("client a: create /deep x acl {}", acl.join(",")));
    run(&mut stage, "client b: create /note\n client b: create /note/mine ephemeral\n hold\n client b: close");
    let parts = outstanding(&stage);
    let weights: Vec<usize> = parts.iter().map(Txn::weight).collect();
    assert!(weights.len() == 1 && weights[0] < limits::TXN_BYTES_MAX, "{weights:?}");
    run(&mut stage, "apply all");
    assert!(run(&mut stage, "view /zookeeper/plugins/flood/owed")[0].contains("since"), "the rest is owed");
}

#[test]
fn a_transaction_is_refused_once_it_is_too_large() {
    let mut stage = stage();
    // Each operation is small in the request, and its ACL is large in the transaction.
    let acl: Vec<String> = (0..4_000).map(|n| format!("ip:10.0.{}.{}:cdrwa", n / 250, n % 250)).collect();
    let create = |n: usize| format!("create /n{n} x acl {}", acl.join(","));
    run(&mut stage, &format!("client a: {}", create(0)));
    let multi: Vec<String> = (1..200).map(create).collect();
    let said = run(&mut stage, &format!("client a: multi {}", multi.join(" ; ")));
    assert!(said.iter().any(|line| line.contains("BADARGUMENTS") && line.contains("8388608")), "{said:?}");
    assert_eq!(stage.world.state.node("/").map(|root| root.stat().num_children), Some(2), "/n0 and /zookeeper");
    run(&mut stage, "client b: create /small");
}

#[test]
fn a_path_is_refused_once_it_is_too_long() {
    let mut stage = stage();
    let said = run(&mut stage, &format!("client a: create /{}", "p".repeat(limits::PATH_BYTES_MAX - 1)));
    assert!(said.iter().all(|line| line.contains("ok")), "{said:?}");
    let said = run(&mut stage, &format!("client a: create /{}", "q".repeat(limits::PATH_BYTES_MAX)));
    assert!(said.iter().any(|line| line.contains("BADARGUMENTS") && line.contains("16384")), "{said:?}");
}

fn fixed(identities: &[Identity], list: &[AclEntry]) -> Result<Vec<AclEntry>, Refusal> {
    let who = Who { identities, ..Who::NOBODY };
    fix_acl(&Rules::default(), who, Some(list), &Fuel::default()).map(|acl| acl.to_vec())
}

fn entry(permissions: i32, scheme: &str, id: &str) -> AclEntry {
    AclEntry { permissions, who: Identity::new(scheme, id) }
}

#[test]
fn what_auth_stands_for_is_there_once_and_bounded() {
    let bob = Identity::new("digest", "bob:x");
    let same = [entry(31, "auth", ""), entry(31, "digest", "bob:x"), entry(31, "auth", "again"), entry(1, "auth", "")];
    assert_eq!(
        fixed(std::slice::from_ref(&bob), &same).unwrap(),
        [entry(31, "digest", "bob:x"), entry(1, "digest", "bob:x")]
    );
    // The permissions of an entry may be any number, so one list may have very many entries of scheme auth.
    let identities: Vec<Identity> =
        (0..60).map(|n| Identity::new("digest", format!("{n}:{}", "h".repeat(100)))).collect();
    let many: Vec<AclEntry> = (0..10_000).map(|n| entry(n, "auth", "")).collect();
    let refusal = fixed(&identities, &many).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidAcl);
    assert!(refusal.text.contains("1048576"), "{}", refusal.text);
}
