//! Recipes, as a few lines of Rust: what becomes of requests at their mounts, of others' changes there, of timers and of
//! mounts that must be put in order.

use super::*;
use crate::limits;
use crate::model::{Acl, NodeKind, Refusal};
use parking_lot::Mutex;

/// What the tests' recipes do.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Does {
    /// Each `create` at the mount gets a place in a line: `<path><digits>`, an ephemeral node, and `head` names who is
    /// first. Who leaves, or is gone, gives way.
    Line,
    /// Writes below `/b` whatever comes, and below `/c`, `/a` in turn: recipes that answer each other.
    Chain(&'static str),
    /// Passes everything, having noted it.
    Note,
    /// Says no to everything, having written something.
    No,
}

struct Fakes {
    recipes: Vec<(Arc<Recipe>, Does)>,
    /// What they were told, and what they do not do today.
    log: Arc<Mutex<Vec<String>>>,
    fails: Arc<Mutex<bool>>,
    /// Fuel of each call.
    fuel: Arc<Mutex<u64>>,
}

type Log = Arc<Mutex<Vec<String>>>;

fn fakes(recipes: &[(&str, &str, Does)]) -> (World, Log, Arc<Mutex<bool>>, Arc<Mutex<u64>>) {
    fakes_by(rules(), recipes)
}

fn fakes_by(rules: Rules, recipes: &[(&str, &str, Does)]) -> (World, Log, Arc<Mutex<bool>>, Arc<Mutex<u64>>) {
    let recipe = |(name, mount, does): &(&str, &str, Does)| {
        (Arc::new(Recipe { name: (*name).into(), mount: (*mount).into(), version: 3 }), *does)
    };
    let (log, fails, fuel) = (Log::default(), Arc::new(Mutex::new(false)), Arc::new(Mutex::new(10)));
    let fakes = Fakes {
        recipes: recipes.iter().map(recipe).collect(),
        log: log.clone(),
        fails: fails.clone(),
        fuel: fuel.clone(),
    };
    let mut world = World::with(rules, Box::new(fakes));
    world.play(
        "open 1
         auth 1 super:
         open 2
         open 3
         1 create /zookeeper/plugins => /zookeeper/plugins",
    );
    for (name, _, _) in recipes {
        world.play(&format!("1 create /zookeeper/plugins/{name} => /zookeeper/plugins/{name}"));
    }
    (world, log, fails, fuel)
}

fn refusal(code: ErrorCode) -> Refusal {
    Refusal::new(code, "told to")
}

fn nothing_left() -> Refusal {
    Refusal::new(ErrorCode::OperationTimeout, "nothing is left")
}

impl Fakes {
    fn does(&self, recipe: &Recipe) -> Does {
        self.recipes.iter().find(|(known, _)| **known == *recipe).expect("it was found here").1
    }

    fn answer<T>(&self, call: &Call<'_>, said: Result<T, Refusal>) -> Answered<T> {
        if call.fuel_max == 0 {
            return Answered::unasked(Err(nothing_left()));
        }
        let said = if *self.fails.lock() { Err(refusal(ErrorCode::SystemError)) } else { said };
        Answered { said, fuel: *self.fuel.lock() }
    }
}

/// What policy and validator answer: what is known already, or for half of what plugins may use in a transaction.
fn judged(call: &Call<'_>, dear: bool, said: Result<(), Refusal>) -> Answered<()> {
    match (dear, call.fuel_max) {
        (false, _) => Answered::unasked(said),
        (true, 0) => Answered::unasked(Err(nothing_left())),
        (true, _) => Answered { said, fuel: limits::PLUGIN_TXN_FUEL / 2 },
    }
}

/// The members of the line, in order of their digits.
fn members(call: &Call<'_>, mount: &str) -> Vec<String> {
    let mut names = call.view.children(mount, None, 100);
    names.retain(|name| name.len() > 10);
    names.sort_by_key(|name| name[name.len() - 10..].to_owned());
    names
}

fn set_head(call: &Call<'_>, mount: &str) -> Result<(), Refusal> {
    let writer = call.writer.expect("a recipe has hands");
    let first = members(call, mount).into_iter().next().unwrap_or_default();
    let head = format!("{mount}/head");
    match call.view.node(&head) {
        None => writer.create(&head, first.as_bytes(), NodeKind::Persistent, &Arc::from([]), false).map(drop),
        Some(node) if node.data.as_deref() != Some(first.as_bytes()) => writer.set_data(&head, first.as_bytes(), None),
        Some(_) => Ok(()),
    }
}

fn line(call: &Call<'_>, mount: &str, write: &Write<'_>) -> Result<Handled, Refusal> {
    let writer = call.writer.expect("a recipe has hands");
    match write {
        Write::Create { path, acl, .. } => {
            if call.view.node(mount).is_none() {
                writer.create(mount, b"", NodeKind::Container, &Arc::from([]), false)?;
            }
            if let Some(mine) = call.view.ephemerals(call.session, path, 1).pop() {
                return Ok(Handled::Done(mine));
            }
            let path = writer.create(path, b"", NodeKind::Ephemeral(call.session), acl, true)?;
            set_head(call, mount)?;
            Ok(Handled::Done(path))
        }
        Write::Delete { path, version } => {
            writer.delete(path, *version)?;
            set_head(call, mount)?;
            Ok(Handled::Done((*path).to_owned()))
        }
        Write::SetData { .. } => Ok(Handled::Pass),
        Write::SetAcl { .. } => Err(Refusal::new(ErrorCode::NoAuth, "line: no")),
    }
}

/// Writes a node of its own, and one that `to` names.
fn chain(call: &Call<'_>, to: &str) -> Result<(), Refusal> {
    let writer = call.writer.expect("a recipe has hands");
    writer.create(&format!("{to}/x-"), b"", NodeKind::Persistent, &Arc::from([]), true).map(drop)
}

impl Plugins for Fakes {
    fn validate(&mut self, call: &Call<'_>, changes: &[Change]) -> Answered<()> {
        let bad = |change: &Change| matches!(change, Change::Create { path, .. } if path.contains("bad"));
        let writers = call.writers.join(",");
        let is_dear = |change: &Change| overlay::path_of(change).is_some_and(|path| path.contains("dear"));
        let said = match changes.iter().any(bad) {
            true => Err(Refusal::new(ErrorCode::BadArguments, format!("bad, by {writers}"))),
            false => Ok(()),
        };
        judged(call, changes.iter().any(is_dear), said)
    }

    fn authorize(&mut self, call: &Call<'_>, verb: Verb, path: &str) -> Answered<()> {
        if call.caller.is_some_and(|caller| authorize::is_super(&caller.identities)) {
            return Answered::unasked(Ok(()));
        }
        self.log.lock().push(format!("{verb:?} {path}?"));
        let said = if path.contains("secret") { Err(refusal(ErrorCode::NoAuth)) } else { Ok(()) };
        judged(call, path.contains("dear"), said)
    }

    fn recipe(&mut self, path: &str) -> Option<Arc<Recipe>> {
        let mine = self.recipes.iter().filter(|(recipe, _)| crate::model::path::is_within(path, &recipe.mount));
        mine.max_by_key(|(recipe, _)| recipe.mount.len()).map(|(recipe, _)| recipe.clone())
    }

    fn recipe_named(&mut self, plugin: &str) -> Option<Arc<Recipe>> {
        self.recipes.iter().find(|(recipe, _)| *recipe.name == *plugin).map(|(recipe, _)| recipe.clone())
    }

    fn starts_recipe(&mut self, manifest: &[u8]) -> Option<String> {
        manifest.starts_with(b"/").then(|| String::from_utf8_lossy(manifest).into_owned())
    }

    /// What stands behind a question mark.
    fn pieces(&mut self, manifest: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(manifest);
        text.split_once('?').map(|(_, piece)| piece.to_owned()).into_iter().collect()
    }

    fn handle(&mut self, recipe: &Recipe, call: &Call<'_>, write: &Write<'_>) -> Answered<Handled> {
        let said = match self.does(recipe) {
            Does::Line => line(call, &recipe.mount, write),
            Does::Chain(to) => chain(call, to).map(|()| Handled::Pass),
            Does::Note => {
                self.log.lock().push(format!("{} {}", recipe.name, write.path()));
                Ok(Handled::Pass)
            }
            Does::No => {
                let writer = call.writer.expect("a recipe has hands");
                let missing = writer.create("/not/there", b"", NodeKind::Persistent, &Arc::from([]), false);
                assert_eq!(missing.unwrap_err().code, ErrorCode::NoNode, "a plain error leaves it usable");
                let trace = writer.create("/trace", b"", NodeKind::Persistent, &Arc::from([]), false);
                assert!(trace.is_ok() && call.view.node("/trace").is_some() && call.view.original("/trace").is_none());
                Err(refusal(ErrorCode::NotEmpty))
            }
        };
        self.answer(call, said)
    }

    fn on_change(&mut self, recipe: &Recipe, call: &Call<'_>, cause: Cause, changes: &[Change]) -> Answered<()> {
        let paths: Vec<&str> = changes.iter().filter_map(overlay::path_of).map(|path| &**path).collect();
        self.log.lock().push(format!("{} {cause:?} {}", recipe.name, paths.join(" ")));
        let said = match self.does(recipe) {
            Does::Line => set_head(call, &recipe.mount),
            Does::Chain(to) => chain(call, to),
            Does::Note | Does::No => Ok(()),
        };
        self.answer(call, said)
    }

    fn on_timer(&mut self, recipe: &Recipe, call: &Call<'_>, name: &str) -> Answered<()> {
        self.log.lock().push(format!("{} timer {name} at {}", recipe.name, call.moment.ensemble_ms));
        self.answer(call, Ok(()))
    }

    fn on_call(&mut self, recipe: &Recipe, call: &Call<'_>, method: &str, payload: &[u8]) -> Answered<Bytes> {
        let writer = call.writer.expect("a recipe has hands");
        let said = match method {
            "timer" => writer.set_timer(std::str::from_utf8(payload).unwrap(), 100),
            "cancel" => {
                writer.cancel_timer(std::str::from_utf8(payload).unwrap());
                Ok(())
            }
            "create" => {
                let path = std::str::from_utf8(payload).unwrap();
                writer.create(path, b"", NodeKind::Persistent, &Arc::from([]), false).map(drop)
            }
            _ => Err(refusal(ErrorCode::Unimplemented)),
        };
        let _ = recipe;
        self.answer(call, said.map(|()| Bytes::from(format!("{method} done"))))
    }

    fn recover(&mut self, recipe: &Recipe, call: &Call<'_>, after: Option<&str>) -> Answered<Option<String>> {
        self.log.lock().push(format!("{} recovers behind {after:?}", recipe.name));
        let said = match after {
            None => Ok(Some("one".into())),
            Some("one") => Ok(Some("two".into())),
            Some(_) => set_head(call, &recipe.mount).map(|()| None),
        };
        self.answer(call, said)
    }
}

fn made_by(world: &World) -> String {
    let made = world.history.last().unwrap().made_by.iter();
    made.map(|made| format!("{} {} {}", made.plugin, made.version, made.fuel)).collect::<Vec<_>>().join(",")
}

fn text(world: &World) -> String {
    match &world.history.last().unwrap().outcome {
        Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. } => refusal.text.clone(),
        done => panic!("{done:?}"),
    }
}

#[test]
fn a_recipe_answers_in_the_transaction_of_the_request() {
    let (mut world, _, _, _) = fakes(&[("line", "/line", Does::Line)]);
    world.play(
        "2 create /line/m- flags=3          => at /line/m-0000000000
         data /line/head                    => m-0000000000
         3 create /line/m- form=create2 flags=3 => at /line/m-0000000002
         data /line/head                    => m-0000000000
         # A repetition finds what the first one did.
         3 create /line/m- flags=3          => at /line/m-0000000002
         # Passed: as if there were no recipe.
         3 set /line/m-0000000002 mine      => v1
         3 set /line/m-0000000002 mine 7    => BADVERSION
         3 acl /line/head 1:world:anyone    => NOAUTH
         2 delete /line/m-0000000000 3      => BADVERSION
         2 delete /line/m-0000000000
         data /line/head                    => m-0000000002
         stat /line/m-0000000000            => none",
    );
    assert_eq!(made_by(&world), "line 3 10");
    let txn = world.history.last().unwrap();
    assert_eq!(txn.changes.len(), 2, "{txn:?}");
    world.play("apply \n 2 create /elsewhere => /elsewhere");
    assert_eq!(made_by(&world), "");
}

#[test]
fn a_full_quota_stops_no_hand_over() {
    let (mut world, _, _, _) = fakes_by(Rules { enforce_quota: true, ..rules() }, &[("line", "/line", Does::Line)]);
    world.play(
        "2 create /line/m- flags=3          => at /line/m-0000000000
         3 create /line/longer- flags=3     => at /line/longer-0000000002
         2 set /line/m-0000000000 12345     => v1
         apply
         1 create /zookeeper/quota/line     => /zookeeper/quota/line
         1 create /zookeeper/quota/line/zookeeper_limits data=count=-1,bytes=-1;countHardLimit=1;byteHardLimit=1 => /zookeeper/quota/line/zookeeper_limits
         1 create /zookeeper/quota/line/zookeeper_stats data=count=0,bytes=0 => /zookeeper/quota/line/zookeeper_stats
         apply
         # Nobody joins, and a client's own write is judged as in ZooKeeper, even one that makes room.
         2 create /line/n- flags=3          => QUOTAEXCEEDED
         2 set /line/m-0000000000 1234      => QUOTAEXCEEDED
         # But what is released goes on to the next in line, whose longer name takes no more than the other one leaves.
         2 delete /line/m-0000000000
         data /line/head                    => longer-0000000002
         # In a multi what one operation leaves another may take.
         3 multi delete /line/longer-0000000002 ; create /line/l- flags=3 => ok ; at /line/l-0000000003
         data /line/head                    => l-0000000003
         3 multi delete /line/l-0000000003 ; create /line/much-longer- flags=3 => QUOTAEXCEEDED at 1 of 2
         close 3
         stat /zookeeper/plugins/line/owed  => none",
    );
}

#[test]
fn what_a_recipe_refuses_has_not_happened() {
    let (mut world, _, fails, _) = fakes(&[("no", "/no", Does::No), ("line", "/line", Does::Line)]);
    world.play("2 create /no/x => NOTEMPTY \n stat /trace => none \n stat /no => none");
    assert!(world.history.last().unwrap().changes.is_empty() && made_by(&world).is_empty());
    *fails.lock() = true;
    world.play("2 create /line/m- flags=3 => SYSTEMERROR \n stat /line => none");
}

#[test]
fn a_multi_goes_slot_by_slot() {
    let (mut world, _, _, _) = fakes(&[("line", "/line", Does::Line), ("no", "/no", Does::No)]);
    world.play(
        "2 multi create /a ; create /line/m- flags=3 ; create /line/n- flags=3 => /a ; at /line/m-0000000000 ; at /line/n-0000000002
         2 multi delete /line/m-0000000000 ; create /b ; create /no/x => NOTEMPTY at 2 of 3
         stat /b                            => none
         data /line/head                    => m-0000000000
         2 multi delete /line/m-0000000000 ; create /line/m- flags=3 => ok ; at /line/m-0000000003
         data /line/head                    => n-0000000002",
    );
}

#[test]
fn a_session_ends_and_gives_way_in_the_same_transaction() {
    for end in ["close 2", "expire 2"] {
        let (mut world, log, _, _) = fakes(&[("line", "/line", Does::Line)]);
        world.play(
            "2 create /line/a- flags=3      => at /line/a-0000000000
             2 create /line/b- flags=3      => at /line/b-0000000002
             3 create /line/c- flags=3      => at /line/c-0000000003",
        );
        log.lock().clear();
        world.play(&format!("{end} \n data /line/head => c-0000000003 \n apply"));
        let cause = if end == "close 2" { "SessionClosed" } else { "SessionExpired" };
        assert_eq!(*log.lock(), [format!("line {cause} /line/a-0000000000 /line/b-0000000002")], "once, with all");
        assert_eq!(made_by(&world), "line 3 10");
    }
}

#[test]
fn a_part_that_fails_is_owed_and_put_in_order_step_by_step() {
    let (mut world, log, fails, _) = fakes(&[("line", "/line", Does::Line)]);
    world.play(
        "2 create /line/a- flags=3 => at /line/a-0000000000 \n 3 create /line/b- flags=3 => at /line/b-0000000002",
    );
    *fails.lock() = true;
    world.play("close 2 \n stat /line/a-0000000000 => none \n data /line/head => a-0000000000");
    let owed = world.run("data /zookeeper/plugins/line/owed");
    assert!(owed.contains(r#""attempts":0"#) && !owed.contains("after"), "{owed}");
    *fails.lock() = false;
    world.play("3 create /line/c- flags=3 => OPERATIONTIMEOUT \n 3 delete /line/b-0000000002 => OPERATIONTIMEOUT");
    assert_eq!(text(&world), "line: /line/b-0000000002: /line is being put in order, try again");
    log.lock().clear();
    world.play("recover line \n apply \n recover line \n data /line/head => a-0000000000 \n recover line");
    assert_eq!(
        *log.lock(),
        ["line recovers behind None", r#"line recovers behind Some("one")"#, r#"line recovers behind Some("two")"#]
    );
    world.play(
        "data /line/head                    => b-0000000002
         stat /zookeeper/plugins/line/owed  => none
         recover line                       => nothing
         3 create /line/c- flags=3          => at /line/c-0000000003
         apply",
    );
}

/// An ephemeral node has no children. Otherwise its session could not end: every replica would panic while it deletes a node
/// that has children.
#[test]
fn nothing_is_kept_of_a_plugin_whose_node_is_ephemeral() {
    let (mut world, _, fails, _) = fakes(&[("line", "/line", Does::Line)]);
    world.play(
        "1 delete /zookeeper/plugins/line
         1 create /zookeeper/plugins/line flags=1 => /zookeeper/plugins/line
         call line timer t                  => timer done
         stat /zookeeper/plugins/line       => v=0 cv=0 n=0 len=0
         2 create /line/a- flags=3          => at /line/a-0000000000
         apply",
    );
    *fails.lock() = true;
    world.play(
        "close 2
         stat /zookeeper/plugins/line/owed  => none
         close 1
         stat /zookeeper/plugins/line       => none
         apply",
    );
}

#[test]
fn a_step_that_fails_is_repeated_later_and_a_new_leader_begins_again() {
    let (mut world, log, fails, _) = fakes(&[("line", "/line", Does::Line)]);
    *fails.lock() = true;
    world.play("2 create /line/a- flags=3 => SYSTEMERROR \n 1 create /line => /line");
    *fails.lock() = false;
    world.play("recover line");
    *fails.lock() = true;
    world.play(
        "recover line \n recover line => nothing \n tick 999 \n recover line => nothing \n tick 1 \n recover line",
    );
    world.play("tick 1999 \n recover line => nothing \n tick 1 \n apply");
    *fails.lock() = false;
    world.evaluator.start_chain(&world.state, true);
    log.lock().clear();
    world.play("recover line \n recover line \n recover line \n apply \n stat /zookeeper/plugins/line/owed => none");
    assert_eq!(log.lock()[0], "line recovers behind None");
    assert_eq!(log.lock().len(), 3);
}

#[test]
fn what_ends_while_a_mount_is_put_in_order_is_told_once_that_has_begun() {
    let (mut world, log, fails, _) = fakes(&[("line", "/line", Does::Line)]);
    world.play(
        "2 create /line/a- flags=3 => at /line/a-0000000000 \n 3 create /line/b- flags=3 => at /line/b-0000000002",
    );
    *fails.lock() = true;
    world.play("1 set /line/head x => v1");
    *fails.lock() = false;
    log.lock().clear();
    world.play("close 2");
    assert!(log.lock().is_empty(), "it will find what there is: {:?}", log.lock());
    world.play("recover line \n recover line \n close 3");
    assert_eq!(log.lock().last().unwrap(), "line SessionClosed /line/b-0000000002");
    // A part that fails now begins all over.
    *fails.lock() = true;
    world.play("1 set /line/head y => v3");
    let owed = world.run("data /zookeeper/plugins/line/owed");
    assert!(!owed.contains("after"), "{owed}");
}

#[test]
fn the_superusers_changes_are_told_and_stand() {
    let (mut world, log, fails, _) = fakes(&[("line", "/line", Does::Line), ("note", "/line/deep", Does::Note)]);
    world.play(
        "1 create /line                     => /line
         1 create /line/m-0000000007        => /line/m-0000000007
         data /line/head                    => m-0000000007
         1 multi create /line/deep-0000000001 ; create /line/deep ; create /line/deep/x => /line/deep-0000000001 ; /line/deep ; /line/deep/x",
    );
    let log = |world: &mut World| {
        std::mem::take(&mut *{
            let _ = world;
            log.lock()
        })
    };
    let told = log(&mut world);
    assert_eq!(
        told[told.len() - 2..],
        ["line Request /line/deep-0000000001".to_owned(), "note Request /line/deep /line/deep/x".to_owned()],
        "the longest mount"
    );
    *fails.lock() = true;
    world.play("1 delete /line/m-0000000007 \n stat /line/m-0000000007 => none \n stat /zookeeper/plugins/line/owed => v=0 cv=0 n=0 len=43");
}

#[test]
fn recipes_answer_each_other_to_depth_two() {
    let bodies = [("a", "/a", Does::Chain("/b")), ("b", "/b", Does::Chain("/c")), ("c", "/c", Does::Note)];
    let (mut world, log, _, _) = fakes(&bodies);
    world.play("1 multi create /a ; create /b ; create /c ; create /d => /a ; /b ; /c ; /d");
    // The superuser's own went too deep, which c has to make up for.
    world.play("1 delete /zookeeper/plugins/c/owed");
    log.lock().clear();
    world.play("2 create /a/mine => /a/mine");
    assert_eq!(
        *log.lock(),
        ["Create /a/mine?", "b Plugin /b/x-0000000001", "c Plugin /c/x-0000000002"],
        "and a is not told of what it passed"
    );
    assert_eq!(made_by(&world), "a 3 10,b 3 10,c 3 10");

    let bodies = [
        ("a", "/a", Does::Chain("/b")),
        ("b", "/b", Does::Chain("/c")),
        ("c", "/c", Does::Chain("/d")),
        ("d", "/d", Does::Note),
    ];
    let (mut world, _, _, _) = fakes(&bodies);
    world.play("1 create /d => /d \n 1 create /c => /c \n 1 create /b => /b \n 1 create /a => /a");
    world.play("1 delete /zookeeper/plugins/c/owed \n 1 delete /zookeeper/plugins/d/owed \n apply");
    world.play("2 create /a/mine => SYSTEMERROR");
    assert!(text(&world).contains("to depth 2 only"), "{}", text(&world));
    world.play("2 multi create /e ; create /a/mine => SYSTEMERROR at 1 of 2 \n stat /e => none");
}

#[test]
fn policies_come_before_and_validators_behind() {
    let (mut world, log, _, _) = fakes(&[("line", "/line", Does::Line), ("note", "/note", Does::Note)]);
    log.lock().clear();
    world.play(
        "2 create /line/secret- flags=3     => NOAUTH
         2 create /secret                   => NOAUTH
         1 create /secret                   => /secret
         2 set /secret x                    => NOAUTH
         2 multi create /fine ; check /secret => NOAUTH at 1 of 2
         2 create /line/bad- flags=3        => BADARGUMENTS
         stat /line                         => none",
    );
    assert_eq!(text(&world), "bad, by line");
    world.play("1 create /note => /note");
    log.lock().clear();
    world.play("2 create /note/x => /note/x \n 2 delete /note/x \n 2 create /note/ => BADARGUMENTS \n 2 create /note/secret => NOAUTH");
    assert_eq!(
        *log.lock(),
        ["Create /note/x?", "note /note/x", "Delete /note/x?", "note /note/x", "Create /note/secret?"]
    );
}

#[test]
fn the_list_of_the_nearest_ancestor_counts() {
    let (mut world, _, _, _) = fakes(&[("line", "/closed/line", Does::Line)]);
    world.play(
        "1 create /closed acl=1:world:anyone => /closed
         2 create /closed/line/m- flags=3   => NOAUTH
         1 acl /closed 5:world:anyone       => a1
         2 create /closed/line/m- flags=3   => at /closed/line/m-0000000000
         2 delete /closed/line/m-0000000000 => NOAUTH",
    );
}

#[test]
fn timers_fire_once_and_later_if_they_fail() {
    let (mut world, log, fails, _) = fakes(&[("note", "/note", Does::Note)]);
    world.play(
        "call note timer a/b                => timer done
         data /zookeeper/plugins/note/timers/a%2Fb => 100 0
         call note timer c                  => timer done
         call note cancel c                 => cancel done
         call note cancel c                 => cancel done
         stat /zookeeper/plugins/note/timers => v=0 cv=2 n=1 len=0
         timer note a/b                     => nothing
         apply
         tick 100",
    );
    log.lock().clear();
    *fails.lock() = true;
    world.play("timer note a/b \n data /zookeeper/plugins/note/timers/a%2Fb => 1100 1 \n timer note a/b => nothing \n tick 1000 \n timer note a/b");
    *fails.lock() = false;
    world.play("tick 2000 \n timer note a/b \n timer note a/b => nothing \n stat /zookeeper/plugins/note/timers => v=0 cv=2 n=0 len=0 \n apply");
    assert_eq!(*log.lock(), ["note timer a/b at 100", "note timer a/b at 1100", "note timer a/b at 3100"]);
    world.play("timer none a/b => nothing \n call none timer x => NONODE \n call note other x => UNIMPLEMENTED");
}

#[test]
fn a_native_call_is_authorized_and_its_changes_are_judged() {
    let (mut world, log, _, _) = fakes(&[("note", "/secret", Does::Note), ("line", "/line", Does::Line)]);
    world.play("call note create /x => NOAUTH");
    log.lock().clear();
    world.play("1 create /line => /line \n call line create /line/bad => BADARGUMENTS \n call line create /line/a => create done");
    assert!(log.lock().contains(&"Call /line?".to_owned()));
}

#[test]
fn plugins_share_a_budget_in_each_transaction() {
    let (mut world, _, _, fuel) = fakes(&[("note", "/note", Does::Note), ("line", "/line", Does::Line)]);
    world.play("1 create /note => /note \n 2 create /line/m- flags=3 => at /line/m-0000000000 \n 3 create /line/m- flags=3 => at /line/m-0000000002");
    *fuel.lock() = limits::PLUGIN_TXN_FUEL / 2;
    world.play("2 multi create /note/a ; create /note/b => /note/a ; /note/b \n 2 multi create /note/c ; create /note/d ; create /note/e => OPERATIONTIMEOUT at 2 of 3");
    assert_eq!(text(&world), "nothing is left");

    let (mut world, _, _, fuel) = fakes(&[("a", "/a", Does::Line), ("b", "/b", Does::Line)]);
    for mount in ["/a", "/b"] {
        world.play(&format!("2 create {mount}/m- flags=3 => at {mount}/m-0000000000"));
    }
    *fuel.lock() = limits::PLUGIN_TXN_FUEL;
    world.play("close 2 \n stat /zookeeper/plugins/a/owed => none \n stat /a/head => v=1 cv=0 n=0 len=0 \n data /b/head => m-0000000000");
    assert!(world.run("data /zookeeper/plugins/b/owed").contains("since"));
}

#[test]
fn policies_and_validators_live_on_the_same_budget() {
    let (mut world, _, _, fuel) = fakes(&[("note", "/note", Does::Note)]);
    world.play("1 create /dear => /dear \n 1 create /note => /note");
    // Each operation is asked about once, and in the end the whole.
    world.play("2 create /dear/a => /dear/a \n 2 multi create /dear/b ; create /c => /dear/b ; /c");
    world.play(
        "2 multi create /dear/d ; create /dear/e ; create /f => OPERATIONTIMEOUT at 2 of 3 \n stat /dear/d => none",
    );
    world.play("2 multi create /dear/d ; create /dear/e => OPERATIONTIMEOUT at 1 of 2");
    assert_eq!(text(&world), "nothing is left");
    // Nor is there more for them once a recipe has had its part.
    *fuel.lock() = limits::PLUGIN_TXN_FUEL;
    world.play(
        "2 create /note/dear => OPERATIONTIMEOUT \n 2 multi create /note/a ; create /dear/f => OPERATIONTIMEOUT at 1 of 2",
    );
}

#[test]
fn a_recipe_put_to_work_where_there_are_nodes_looks_at_them_first() {
    let (mut world, _, _, _) = fakes(&[("new", "/new", Does::Line)]);
    world.play(
        "1 set /zookeeper/plugins/new /new => v1 \n stat /zookeeper/plugins/new/owed => none \n 1 create /new => /new",
    );
    world.play("1 set /zookeeper/plugins/new /new => v2 \n stat /zookeeper/plugins/new => v=2 cv=1 n=1 len=4");
    world.play("1 delete /zookeeper/plugins/new/owed \n 1 set /zookeeper/plugins/new off => v3 \n stat /zookeeper/plugins/new/owed => none");
}

#[test]
fn what_a_deployment_was_checked_for_must_hold_in_its_transaction() {
    let (mut world, _, _, _) = fakes(&[("a", "/a", Does::Note), ("b", "/b", Does::Note)]);
    // Neither was there when the other one was checked.
    world.play("1 set /zookeeper/plugins/a /m => v1 \n 1 set /zookeeper/plugins/b /m => BADARGUMENTS");
    assert_eq!(
        text(&world),
        "b: the plugin is refused: mount: /m is that of a: choose another, or turn a off or remove it"
    );
    world.play(
        "1 multi set /zookeeper/plugins/a off ; set /zookeeper/plugins/b /m => v2 ; v1
         1 multi create /c ; set /zookeeper/plugins/a /m => BADARGUMENTS at 0 of 2
         1 set /zookeeper/plugins/b /m => v2
         1 delete /zookeeper/plugins/b
         1 set /zookeeper/plugins/a /m => v3",
    );
    world.play("1 set /zookeeper/plugins/a ?/piece => BADARGUMENTS");
    assert!(text(&world).contains("/piece has gone since it was checked"), "{}", text(&world));
    world.play("1 create /piece => /piece \n 1 set /zookeeper/plugins/a ?/piece => v4");
}

#[test]
fn what_failed_before_says_nothing_once_a_quarantine_ends_or_another_version_is_in_force() {
    let owed = "data /zookeeper/plugins/line/owed";
    let waiting = || {
        let (mut world, log, fails, _) = fakes(&[("line", "/line", Does::Line)]);
        world.play("2 create /line/a- flags=3 => at /line/a-0000000000");
        *fails.lock() = true;
        world.play(
            "1 create /zookeeper/plugins/line/quarantine => /zookeeper/plugins/line/quarantine
             close 2 \n recover line \n tick 1000 \n recover line \n recover line => nothing",
        );
        *fails.lock() = false;
        assert!(world.run(owed).contains(r#""attempts":2,"due":"#), "{}", world.run(owed));
        (world, log)
    };
    for end in ["1 delete /zookeeper/plugins/line/quarantine", "1 set /zookeeper/plugins/line /line => v1"] {
        let (mut world, log) = waiting();
        let since = world.run(owed).split(',').next().unwrap().to_owned();
        log.lock().clear();
        world.play(end);
        assert!(world.run(owed).starts_with(&since) && world.run(owed).ends_with(r#""attempts":0,"due":0}"#), "{end}");
        world.play("recover line \n recover line \n recover line \n stat /zookeeper/plugins/line/owed => none");
        assert_eq!(log.lock()[0], "line recovers behind None");
    }
    // Where nothing is owed, nothing is put in order.
    let (mut world, _) = waiting();
    world.play(
        "1 delete /zookeeper/plugins/line/owed
         1 delete /zookeeper/plugins/line/quarantine
         stat /zookeeper/plugins/line/owed => none",
    );
}

#[test]
fn more_changes_than_a_call_is_told_of_are_owed() {
    let (mut world, log, _, _) = fakes(&[("line", "/line", Does::Line), ("note", "/note", Does::Note)]);
    world.play("1 create /note => /note");
    for at in 0..=limits::PLUGIN_CHANGES_MAX {
        world.run(&format!("2 create /note/{at} flags=1"));
        world.apply(usize::MAX);
    }
    log.lock().clear();
    world.play("close 2 \n stat /note => v=0 cv=1001 n=0 len=0");
    assert!(log.lock().is_empty() && world.run("data /zookeeper/plugins/note/owed").contains("since"));
}

/// What a controller works out that keeps the number of `/f`'s children in `/f/n`.
fn counted(world: &World) -> reconcile::Reconciled {
    let overlay = overlay::Overlay::default();
    let committed = View { state: &world.state, overlay: &overlay };
    let optimistic = reconcile::OptimisticTransaction::new(&committed);
    let count = optimistic.children("/f", None, 1000).iter().filter(|name| *name != "n").count();
    match optimistic.node("/f/n") {
        Some(_) => optimistic.set_data("/f/n", count.to_string().as_bytes(), None).unwrap(),
        None => {
            let acl: Acl = Arc::from([]);
            optimistic
                .create("/f/n", count.to_string().as_bytes(), NodeKind::Persistent, &acl, false)
                .map(drop)
                .unwrap();
        }
    }
    let foretold = optimistic.create("/f/x-", b"", NodeKind::Persistent, &Arc::from([]), true).unwrap();
    let cversion = world.state.node("/f").unwrap().cversion() + i32::from(world.state.node("/f/n").is_none());
    assert_eq!(foretold, format!("/f/x-{cversion:010}"));
    optimistic.set_timer("/f", 50).unwrap();
    let (conditions, steps) = optimistic.finish();
    reconcile::Reconciled { plugin: "counts".into(), version: 2, fuel: 9, path: "/f".into(), conditions, steps }
}

#[test]
fn what_a_controller_worked_out_holds_as_long_as_what_it_looked_at() {
    let (mut world, _, _, _) = fakes(&[("counts", "/nowhere", Does::Note)]);
    world.play("1 create /f => /f \n 1 create /f/a => /f/a \n apply");
    let reconcile = |world: &mut World, work: reconcile::Reconciled| world.submit(None, Ask::Reconcile(Box::new(work)));
    let overtaken = counted(&world);
    world.play("2 create /f/b => /f/b");
    assert_eq!(reconcile(&mut world, overtaken), "nothing", "outstanding changes count");
    world.play("apply");
    let current = counted(&world);
    world.play("2 create /elsewhere => /elsewhere");
    assert_eq!(reconcile(&mut world, current.clone()), "ok");
    assert_eq!(made_by(&world), "counts 2 9");
    assert!(world.history.last().unwrap().origin.is_none());
    assert_eq!(reconcile(&mut world, current), "nothing");
    world.play("data /f/n => 2 \n data /zookeeper/plugins/counts/timers/%2Ff => 50 0 \n apply \n tick 50");
    // Called by its timer, which goes with what that came to, unless it is set anew.
    let mut last = counted(&world);
    last.steps.retain(|step| !matches!(step, reconcile::Step::SetTimer { .. }));
    assert_eq!(reconcile(&mut world, last), "ok");
    world.play("stat /zookeeper/plugins/counts/timers => v=0 cv=1 n=0 len=0 \n apply");
    // All or none.
    let mut wrong = counted(&world);
    wrong.steps.push(reconcile::Step::Request(Request::Delete { path: Some("/missing".into()), version: -1 }));
    assert_eq!(reconcile(&mut world, wrong), "NONODE");
    world.play("data /f/n => 3");
}
