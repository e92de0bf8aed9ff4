//! A plugin at work: a component that a manifest binds to paths, with instances to ask, counters, and a failure policy.
//!
//! | file | what |
//! |---|---|
//! | (this one) | `Binding`: which questions it is asked, what its instances are made with, its status |
//! | `ask`, `failure` | one question to a guest; what a refusal or a fault means for the request |
//! | `idle` | instances between two calls, of all bindings |
//! | `verdicts`, `matches` | cached answers of a policy and of an authenticator |
//! | `marks`, `quarantine` | calls that ended a process; plugins that are no longer called |
//! | `registry`, `plugins` | the bindings at one zxid; all plugins of a server |
//! | `loading` | programs of components: compiled or loaded, and kept |
//! | `virtual_nodes` | what operators read below a plugin's node: counters, status, log |
//! | `check_deployment` | the check of a deployment before the deployment enters the pipeline |

mod ask;
pub mod check_deployment;
mod failure;
mod idle;
mod loading;
pub(crate) mod marks;
mod matches;
pub(crate) mod plugins;
pub(crate) mod quarantine;
pub mod registry;
pub(crate) mod verdicts;
mod virtual_nodes;

use crate::environment::Instant;
use crate::hooks;
use crate::limits;
use crate::model::path;
use crate::pipeline::{Blame, Recipe, Verb};
use crate::plugin::guest::program::{Budget, Program, Setup};
use crate::plugin::manifest::grant::{self, Grant, Grants};
use crate::plugin::manifest::pattern::Pattern;
use crate::plugin::manifest::{Kind, Limits, Manifest, Mode, Section};
use crate::plugin::report::counters::Counters;
use crate::plugin::report::tape;
use idle::Idle;
use loading::Slot;
use marks::Marks;
use matches::Matches;
use parking_lot::Mutex;
use quarantine::{BlameSink, Quarantine, Record};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use verdicts::Verdicts;

pub(crate) use ask::{CallResult, Once};

/// A plugin at work.
pub struct Binding {
    pub name: Arc<str>,
    /// The name of the manifest's node below `/zookeeper/plugins`: `<name>`, or `<name>/canary` for a version on trial.
    pub key: Arc<str>,
    pub manifest: Manifest,
    /// The recipe as the pipeline knows it. None for other kinds.
    pub recipe: Option<Arc<Recipe>>,
    pub stands: Stands,
    patterns: Vec<Pattern>,
    /// The operations that the plugin is asked about, as bits by `Verb`.
    on: u8,
    program: Arc<Slot>,
    /// The zxid of the newest piece of the component when the manifest was bound. None if a piece was missing.
    pub pieces: Option<i64>,
    /// Set at the first call, when the program is there.
    setup: OnceLock<Setup>,
    /// The idle instances of all bindings. Only a pure plugin has instances there.
    idle: Arc<Idle>,
    /// The number of this binding in `idle`.
    number: u64,
    /// Whether a plugin that claims to be pure gave two different answers to one question.
    impure: AtomicBool,
    pub counters: Arc<Counters>,
    /// The cached answers of a policy.
    pub verdicts: Verdicts,
    /// The cached answers of an authenticator.
    pub matches_kept: Matches,
    last_warning: Mutex<Option<Instant>>,
    supervision: Supervision,
    /// The number by which `supervision.marks` knows this version.
    fingerprint: u64,
    record: Record,
}

/// What a binding depends on in the tree besides the text of its manifest. If any of it changes, `refresh` makes a new
/// binding.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stands {
    /// The mzxid of the manifest's node.
    pub mzxid: i64,
    /// Roots of the subtrees for which a version on trial is asked instead of this one.
    pub set_apart: Vec<String>,
    pub quarantine: Option<Quarantine>,
}

/// What all bindings of a server share: who is told of their crashes and faults.
#[derive(Clone, Default)]
pub(crate) struct Supervision {
    pub(crate) marks: Arc<Marks>,
    pub(crate) blames: Arc<BlameSink>,
}

/// The bounds of a call. The operator's values count. Where the operator sets none, the author's values count, and
/// these can only lower the defaults.
pub(crate) fn budget(given: &Limits, section: &Section) -> Budget {
    let lowered = |asked: Option<u64>, default: u64| asked.map_or(default, |asked| asked.min(default));
    let fuel = given.fuel.unwrap_or_else(|| lowered(section.limits.fuel, limits::PLUGIN_FUEL));
    let cpu_ms =
        given.deadline_ms.unwrap_or_else(|| lowered(section.limits.deadline_ms, limits::ms(limits::PLUGIN_CPU)));
    let memory =
        given.memory_bytes.unwrap_or_else(|| lowered(section.limits.memory_bytes, limits::PLUGIN_MEMORY_BYTES as u64));
    Budget {
        fuel,
        cpu_ms,
        memory_bytes: usize::try_from(memory).unwrap_or(limits::PLUGIN_MEMORY_BYTES),
        slow: given.slow_ms.map_or(limits::PLUGIN_SLOW, Duration::from_millis),
    }
}

/// What an instance of the plugin is made with under this binding.
pub(crate) fn setup(name: &Arc<str>, manifest: &Manifest, patterns: &[Pattern], section: &Section) -> Setup {
    let asked = Grants::new(&asked(manifest, patterns, section));
    Setup {
        name: name.clone(),
        kind: manifest.kind,
        mount: manifest.place(patterns).into(),
        settings: manifest.settings.to_string().into(),
        grants: Arc::new(asked.intersection(&Grants::new(&manifest.grants))),
        budget: budget(&manifest.limits, section),
        counters: Arc::default(),
    }
}

/// The grants that the component's author asks for, at the places of the binding.
fn asked(manifest: &Manifest, patterns: &[Pattern], section: &Section) -> Vec<Grant> {
    let places: Vec<&str> = match &manifest.mount {
        Some(mount) => vec![mount],
        None => patterns.iter().map(Pattern::base).collect(),
    };
    grant::expand(&section.grants, &places)
}

impl Binding {
    pub(crate) fn new(
        key: &str,
        manifest: Manifest,
        stands: Stands,
        program: Arc<Slot>,
        counters: Arc<Counters>,
        supervision: Supervision,
        idle: Arc<Idle>,
    ) -> Result<Binding, String> {
        let name: Arc<str> = key.split('/').next().unwrap_or(key).into();
        let mount = manifest.mount.as_deref().filter(|_| manifest.kind == Kind::Recipe);
        let recipe =
            mount.map(|mount| Arc::new(Recipe { name: name.clone(), mount: mount.into(), version: manifest.version }));
        Ok(Binding {
            name,
            key: key.into(),
            recipe,
            on: manifest.operations(),
            patterns: manifest.patterns()?,
            stands,
            fingerprint: marks::fingerprint(key, manifest.version, &manifest.component.sha256),
            supervision,
            record: Record::default(),
            program,
            pieces: None,
            setup: OnceLock::new(),
            number: idle.number(),
            idle,
            impure: AtomicBool::new(false),
            counters,
            verdicts: Verdicts::default(),
            matches_kept: Matches::default(),
            last_warning: Mutex::new(None),
            manifest,
        })
    }

    /// Whether the plugin is to be asked about this operation at this path.
    pub(crate) fn matches(&self, operation: Verb, path: &str) -> bool {
        self.on & 1 << operation as u8 != 0
            && self.patterns.iter().any(|pattern| pattern.matches(path))
            && (self.manifest.canary.is_empty() || covers(&self.manifest.canary, path))
            && hooks::asks_version_in_force(covers(&self.stands.set_apart, path))
    }

    /// Whether a controller is to be called for this path.
    pub(crate) fn watches(&self, path: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(path)) && !path::is_servers_own(path)
    }

    /// Whether a controller may have to be called for paths below this one.
    pub(crate) fn watches_below(&self, path: &str) -> bool {
        let below = |pattern: &Pattern| path::is_within(path, pattern.base()) && pattern.may_match_below(path);
        self.patterns.iter().any(below) && !path::is_servers_own(path)
    }

    /// The nodes from which a controller's search starts: every path that it is called for lies at or below one of
    /// them, and none of them lies below another.
    pub(crate) fn watched_from(&self) -> Vec<String> {
        let mut bases: Vec<&str> = self.patterns.iter().map(Pattern::base).collect();
        bases.sort_unstable();
        bases.dedup();
        let outermost = |base: &&&str| !bases.iter().any(|other| other != *base && path::is_within(base, other));
        bases.iter().filter(outermost).map(|base| (*base).to_owned()).collect()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.manifest.mode != Mode::Off
    }

    /// Whether the plugin is called at all: it is not off, and not under quarantine.
    pub(crate) fn is_called(&self) -> bool {
        self.is_on() && self.stands.quarantine.is_none()
    }

    /// Whether the program is loaded, or failed to load.
    pub(crate) fn settled(&self) -> bool {
        self.program.get().is_some()
    }

    /// Whether the program can run. None while it is being loaded.
    pub(crate) fn runs(&self) -> Option<bool> {
        self.program.get().map(Result::is_ok)
    }

    /// Whether the binding's program is the one in `slot`.
    pub(crate) fn is_of(&self, slot: &Arc<Slot>) -> bool {
        Arc::ptr_eq(&self.program, slot)
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The blame against this version. `crashed`: the report of a process that a call ended. None if the plugin is
    /// blamed for its faults.
    pub(crate) fn blame(&self, crashed: Option<String>, reason: String) -> Blame {
        Blame {
            plugin: self.key.to_string(),
            manifest_mzxid: self.stands.mzxid,
            crashed,
            quarantine: Quarantine::now(self.manifest.version, reason).data().into(),
        }
    }

    /// Whether an answer depends only on the question and on what the guest reads, as far as is known.
    pub(crate) fn is_pure(&self) -> bool {
        matches!(self.program.get(), Some(Ok(program)) if self.reused(program))
    }

    fn setup_of(&self, program: &Program) -> &Setup {
        self.setup.get_or_init(|| Setup {
            counters: self.counters.clone(),
            ..setup(&self.name, &self.manifest, &self.patterns, &program.section)
        })
    }

    /// The header of a recording. None while the program is not loaded.
    pub(crate) fn recording_header(&self) -> Option<tape::Header> {
        let program = self.program.get()?.as_ref().ok()?;
        let Setup { mount, settings, grants, budget, .. } = self.setup_of(program);
        Some(tape::Header {
            format: tape::FORMAT,
            plugin: self.name.to_string(),
            version: self.manifest.version,
            kind: self.manifest.kind,
            sha256: self.manifest.component.sha256.clone(),
            source: self.manifest.component.source.clone(),
            mount: mount.to_string(),
            settings: settings.to_string(),
            grants: grants.list(),
            fuel: budget.fuel,
            cpu_ms: budget.cpu_ms,
            memory_bytes: budget.memory_bytes as u64,
        })
    }

    /// Gives every call a fresh instance from now on. `plugin bench` measures the cost of that.
    pub(crate) fn never_reuse(&self) {
        self.impure.store(true, Ordering::Relaxed);
    }

    fn reused(&self, program: &Program) -> bool {
        program.section.pure && !self.impure.load(Ordering::Relaxed)
    }

    pub(crate) fn status(&self, enabled: bool) -> serde_json::Value {
        let (state, reason) = match (&self.stands.quarantine, self.program.get()) {
            _ if self.manifest.mode == Mode::Off => ("off", None),
            (Some(quarantine), _) => ("quarantine", Some(quarantine.reason.as_str())),
            _ if !enabled => ("failed", Some("this server runs with --plugins off")),
            (None, Some(Ok(_))) => ("active", None),
            (None, Some(Err(why))) => ("failed", Some(why.as_str())),
            (None, None) => ("loading", None),
        };
        let instances = match self.program.get() {
            Some(Ok(program)) if self.reused(program) => "reused",
            Some(Ok(program)) if program.section.pure => "fresh (it says it is pure and was seen to be not)",
            _ => "fresh",
        };
        let mut status = json!({
            "state": state, "kind": self.manifest.kind.name(), "version": self.manifest.version, "mode": self.manifest.mode.name(), "instances": instances,
        });
        if let Some(reason) = reason {
            status["reason"] = reason.into();
        }
        if let Some(Ok(program)) = self.program.get() {
            let setup = setup(&self.name, &self.manifest, &self.patterns, &program.section);
            status["asked"] = json!(asked(&self.manifest, &self.patterns, &program.section));
            status["granted"] = json!(setup.grants.list());
            status["limits"] = limits_json(&setup.budget);
        }
        if !self.manifest.canary.is_empty() {
            status["canary"] = json!(self.manifest.canary);
        }
        status
    }
}

/// The bounds of a call, under the names that they have in a manifest.
fn limits_json(budget: &Budget) -> serde_json::Value {
    json!({
        "fuel": budget.fuel,
        "deadline_ms": budget.cpu_ms,
        "memory_bytes": budget.memory_bytes,
        "slow_ms": u64::try_from(budget.slow.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Whether the path is one of these nodes or lies below one.
fn covers(nodes: &[String], path: &str) -> bool {
    nodes.iter().any(|node| path::is_within(path, node))
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.idle.clear(self.number);
    }
}
