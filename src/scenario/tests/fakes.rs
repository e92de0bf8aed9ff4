//! Plugins in a few lines of Rust, for scenarios that must say when a plugin fails or what it costs.
//!
//! ```text
//! fake recipe NAME MOUNT line|note|no|renew|chain TO|flood TO    a recipe is at work there
//! fake fails yes|no                   every call of a recipe fails from now on
//! fake costs NUMBER|half|all          fuel of each call of a recipe; of what a transaction has
//! fake told                           prints what the fakes were told since the last time
//! fake made                           prints which recipes had a part in the last transaction
//! fake timer NAME TIMER               the timer is due, says the leader
//! fake recover NAME                   the next step of putting the mount in order
//! fake call NAME METHOD PAYLOAD       a native call by client b
//! ```
//!
//! Client `a` is the superuser. A policy denies all others every path that contains `secret`, and a validator refuses
//! new nodes whose path contains `bad`. Both take half of a transaction's fuel for paths that contain `dear`, and
//! nothing for other paths.

use crate::limits;
use crate::model::txn::Change;
use crate::model::{ErrorCode, NodeKind, Refusal};
use crate::pipeline::{Answered, Ask, Call, Cause, Handled, Plugins, Recipe, Verb, Write, authorize, overlay};
use crate::scenario::Setup;
use crate::scenario::stage::Stage;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// What a fake recipe does.
#[derive(Clone, PartialEq, Debug)]
enum Does {
    /// Each create at the mount gets a place in a line: an ephemeral node `<path><digits>`. The node `head` names who
    /// is first. When a member of the line is deleted, the next one is named.
    Line,
    /// Passes every write, and creates a node below another path. If a recipe is mounted there, it answers with changes
    /// of its own.
    Chain(String),
    /// As `Chain`, with 100 nodes.
    Flood(String),
    /// Passes every write. Creates each deleted node again, as an ephemeral node of the session that the call is about.
    Renew,
    /// Passes every write.
    Note,
    /// Refuses every write, after having written something.
    No,
}

/// Shared between the stage that calls the fakes and the scenario that commands them.
#[derive(Clone, Default)]
pub(crate) struct Fakes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    recipes: Vec<(Arc<Recipe>, Does)>,
    told: Vec<String>,
    fails: bool,
    fuel: u64,
}

impl Fakes {
    /// Returns a stage on which client `a` is the superuser, and the fakes that are its plugins.
    pub(crate) fn stage(setup: &Setup) -> (Stage, Fakes) {
        let fakes = Fakes::default();
        fakes.0.lock().fuel = 10;
        let mut stage = Stage::new(setup.clone());
        stage.world.judge = Box::new(fakes.clone());
        for command in ["client a: is super:", "client b: open", "client c: open"] {
            stage.run(command).unwrap();
        }
        (stage, fakes)
    }

    /// `fake ...`, or any other command of a scenario.
    pub(crate) fn run(&self, stage: &mut Stage, command: &str) -> Result<Vec<String>, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let done = |done: bool| Ok(vec![format!("{} <- {}", words[1], if done { "ok" } else { "nothing" })]);
        match words.as_slice() {
            ["fake", "recipe", name, mount, does @ ..] => self.recipe(stage, name, mount, does),
            ["fake", "fails", yes] => {
                self.0.lock().fails = *yes == "yes";
                Ok(Vec::new())
            }
            ["fake", "costs", fuel] => {
                self.0.lock().fuel = match *fuel {
                    "half" => limits::PLUGIN_TXN_FUEL / 2,
                    "all" => limits::PLUGIN_TXN_FUEL,
                    number => number.parse().map_err(|_| "a number, half or all is required")?,
                };
                Ok(Vec::new())
            }
            ["fake", "told"] => {
                let told = std::mem::take(&mut self.0.lock().told);
                let lines: Vec<String> = told.into_iter().map(|line| format!("told <- {line}")).collect();
                Ok(if lines.is_empty() { vec!["told <- nothing".into()] } else { lines })
            }
            ["fake", "made"] => {
                let last = stage.world.youngest().ok_or("made: nothing is outstanding")?;
                let made = last.txn.made_by.iter();
                let made = made.map(|made| format!("{} version {} fuel {}", made.plugin, made.version, made.fuel));
                let made = made.collect::<Vec<_>>().join(", ");
                let changes = last.txn.changes.len();
                Ok(vec![format!("made <- {changes} changes, {}", if made.is_empty() { "no recipe" } else { &made })])
            }
            ["fake", "timer", plugin, name] => {
                let ask = Ask::Timer { plugin: (*plugin).into(), name: (*name).into() };
                done(stage.submit(None, ask))
            }
            ["fake", "recover", plugin] => done(stage.submit(None, Ask::Recover { plugin: (*plugin).into() })),
            ["fake", "call", plugin, method, payload] => {
                let payload = Bytes::copy_from_slice(payload.as_bytes());
                let ask = Ask::Call { plugin: (*plugin).into(), method: (*method).into(), payload };
                stage.submit(Some("b"), ask);
                stage.run("")
            }
            ["fake", ..] => Err(format!("{command}: no such fake")),
            _ => stage.run(command),
        }
    }

    fn recipe(&self, stage: &mut Stage, name: &str, mount: &str, does: &[&str]) -> Result<Vec<String>, String> {
        let does = match does {
            ["line"] => Does::Line,
            ["note"] => Does::Note,
            ["no"] => Does::No,
            ["renew"] => Does::Renew,
            ["chain", to] => Does::Chain((*to).to_owned()),
            ["flood", to] => Does::Flood((*to).to_owned()),
            _ => return Err("line, note, no, renew, chain TO or flood TO is required".into()),
        };
        for path in [crate::plugin::PLUGINS.to_owned(), format!("{}/{name}", crate::plugin::PLUGINS)] {
            if stage.run(&format!("view {path}"))?[0].ends_with("is not there") {
                stage.run(&format!("client a: create {path}"))?;
            }
        }
        let recipe = Recipe { name: name.into(), mount: mount.into(), version: 3 };
        self.0.lock().recipes.push((Arc::new(recipe), does));
        Ok(Vec::new())
    }

    fn does(&self, recipe: &Recipe) -> Does {
        let state = self.0.lock();
        state.recipes.iter().find(|(known, _)| **known == *recipe).expect("it was found here").1.clone()
    }

    fn tell(&self, line: String) {
        self.0.lock().told.push(line);
    }

    fn answer<T>(&self, call: &Call<'_>, said: Result<T, Refusal>) -> Answered<T> {
        if call.fuel_max == 0 {
            return Answered::unasked(Err(nothing_left()));
        }
        let state = self.0.lock();
        let said = if state.fails { Err(refusal(ErrorCode::SystemError)) } else { said };
        Answered { said, fuel: state.fuel }
    }
}

fn refusal(code: ErrorCode) -> Refusal {
    Refusal::new(code, "told to")
}

fn nothing_left() -> Refusal {
    Refusal::new(ErrorCode::OperationTimeout, "nothing is left")
}

/// What the policy and the validator answer. If `dear`, the answer costs half of the fuel that plugins may use in a
/// transaction.
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
    let writer = call.writer.expect("a recipe may write");
    let first = members(call, mount).into_iter().next().unwrap_or_default();
    let head = format!("{mount}/head");
    match call.view.node(&head) {
        None => writer.create(&head, first.as_bytes(), NodeKind::Persistent, &Arc::from([]), false).map(drop),
        Some(node) if node.data.as_deref() != Some(first.as_bytes()) => writer.set_data(&head, first.as_bytes(), None),
        Some(_) => Ok(()),
    }
}

fn line(call: &Call<'_>, mount: &str, write: &Write<'_>) -> Result<Handled, Refusal> {
    let writer = call.writer.expect("a recipe may write");
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

/// Creates a node below `to`.
fn chain(call: &Call<'_>, to: &str) -> Result<(), Refusal> {
    let writer = call.writer.expect("a recipe may write");
    writer.create(&format!("{to}/x-"), b"", NodeKind::Persistent, &Arc::from([]), true).map(drop)
}

fn renew(call: &Call<'_>, changes: &[Change]) -> Result<(), Refusal> {
    let writer = call.writer.expect("a recipe may write");
    let deleted = |change: &Change| matches!(change, Change::Delete { .. });
    for path in changes.iter().filter(|change| deleted(change)).filter_map(overlay::path_of) {
        writer.create(path, b"", NodeKind::Ephemeral(call.session), &Arc::from([]), false)?;
    }
    Ok(())
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
        self.tell(format!("{verb:?} {path}?"));
        let said = if path.contains("secret") { Err(refusal(ErrorCode::NoAuth)) } else { Ok(()) };
        judged(call, path.contains("dear"), said)
    }

    fn recipe(&mut self, path: &str) -> Option<Arc<Recipe>> {
        let state = self.0.lock();
        let mine = state.recipes.iter().filter(|(recipe, _)| crate::model::path::is_within(path, &recipe.mount));
        mine.max_by_key(|(recipe, _)| recipe.mount.len()).map(|(recipe, _)| recipe.clone())
    }

    fn recipe_named(&mut self, plugin: &str) -> Option<Arc<Recipe>> {
        let state = self.0.lock();
        state.recipes.iter().find(|(recipe, _)| *recipe.name == *plugin).map(|(recipe, _)| recipe.clone())
    }

    fn starts_recipe(&mut self, manifest: &[u8]) -> Option<String> {
        manifest.starts_with(b"/").then(|| String::from_utf8_lossy(manifest).into_owned())
    }

    /// The part of the data after the question mark.
    fn pieces(&mut self, manifest: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(manifest);
        text.split_once('?').map(|(_, piece)| piece.to_owned()).into_iter().collect()
    }

    fn handle(&mut self, recipe: &Recipe, call: &Call<'_>, write: &Write<'_>) -> Answered<Handled> {
        let said = match self.does(recipe) {
            Does::Line => line(call, &recipe.mount, write),
            Does::Chain(to) => chain(call, &to).map(|()| Handled::Pass),
            Does::Flood(_) | Does::Renew => Ok(Handled::Pass),
            Does::Note => {
                self.tell(format!("{} {}", recipe.name, write.path()));
                Ok(Handled::Pass)
            }
            Does::No => {
                let writer = call.writer.expect("a recipe may write");
                let missing = writer.create("/not/there", b"", NodeKind::Persistent, &Arc::from([]), false);
                assert_eq!(missing.unwrap_err().code, ErrorCode::NoNode, "a plain error leaves the recipe usable");
                let trace = writer.create("/trace", b"", NodeKind::Persistent, &Arc::from([]), false);
                assert!(trace.is_ok() && call.view.node("/trace").is_some() && call.view.original("/trace").is_none());
                Err(refusal(ErrorCode::NotEmpty))
            }
        };
        self.answer(call, said)
    }

    fn on_change(&mut self, recipe: &Recipe, call: &Call<'_>, cause: Cause, changes: &[Change]) -> Answered<()> {
        let paths: Vec<&str> = changes.iter().filter_map(overlay::path_of).map(|path| &**path).collect();
        self.tell(format!("{} {cause:?} {}", recipe.name, paths.join(" ")));
        let said = match self.does(recipe) {
            Does::Line => set_head(call, &recipe.mount),
            Does::Chain(to) => chain(call, &to),
            Does::Flood(to) => (0..100).try_for_each(|_| chain(call, &to)),
            Does::Renew => renew(call, changes),
            Does::Note | Does::No => Ok(()),
        };
        self.answer(call, said)
    }

    fn on_timer(&mut self, recipe: &Recipe, call: &Call<'_>, name: &str) -> Answered<()> {
        self.tell(format!("{} timer {name} at {}", recipe.name, call.moment.ensemble_ms));
        self.answer(call, Ok(()))
    }

    fn on_call(&mut self, _: &Recipe, call: &Call<'_>, method: &str, payload: &[u8]) -> Answered<Bytes> {
        let writer = call.writer.expect("a recipe may write");
        let payload = std::str::from_utf8(payload).unwrap();
        let said = match method {
            "timer" => writer.set_timer(payload, 100),
            "cancel" => {
                writer.cancel_timer(payload);
                Ok(())
            }
            "create" => writer.create(payload, b"", NodeKind::Persistent, &Arc::from([]), false).map(drop),
            _ => Err(refusal(ErrorCode::Unimplemented)),
        };
        self.answer(call, said.map(|()| Bytes::from(format!("{method} done"))))
    }

    fn recover(&mut self, recipe: &Recipe, call: &Call<'_>, after: Option<&str>) -> Answered<Option<String>> {
        self.tell(format!("{} recovers behind {}", recipe.name, after.unwrap_or("nothing")));
        let said = match after {
            None => Ok(Some("one".into())),
            Some("one") => Ok(Some("two".into())),
            Some(_) => set_head(call, &recipe.mount).map(|()| None),
        };
        self.answer(call, said)
    }
}
