//! A plugin at work: a component bound to a place in the tree, with instances to ask, counters, and the failure policy.

pub mod check_deployment;
mod idle;
pub mod marks;
pub mod quarantine;
pub mod registry;
pub mod verdicts;

use crate::hooks;
use crate::model::{ErrorCode, Refusal, path};
use crate::pipeline::{Answered, Blame, Call, Recipe, Verb};
use crate::plugin::guest::call::{Answer, Budget, Evidence, Failed, Fault, Instance, Program, Setup};
use crate::plugin::guest::host::{Change, Rejection};
use crate::plugin::kinds::authenticators::Matches;
use crate::plugin::manifest::grant::{self, Grant, Grants};
use crate::plugin::manifest::pattern::Pattern;
use crate::plugin::manifest::{Kind, Limits, Manifest, Mode, OnFailure, Section};
use crate::plugin::report::counters::Counters;
use crate::plugin::report::log::Level;
use crate::plugin::report::tape;
use crate::{environment, limits};
use idle::Idle;
use marks::Marks;
use parking_lot::Mutex;
use quarantine::{Court, Quarantine, Record};
use registry::Slot;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use verdicts::{Looks, Verdicts};

/// Codes a plugin may choose for a client (`types.rejection` of the contract): others would make client libraries drop
/// sessions or connections.
const CODES: [ErrorCode; 12] = [
    ErrorCode::SystemError,
    ErrorCode::Unimplemented,
    ErrorCode::BadArguments,
    ErrorCode::NoNode,
    ErrorCode::NoAuth,
    ErrorCode::BadVersion,
    ErrorCode::NoChildrenForEphemerals,
    ErrorCode::NodeExists,
    ErrorCode::NotEmpty,
    ErrorCode::InvalidAcl,
    ErrorCode::QuotaExceeded,
    ErrorCode::ThrottledOp,
];

/// A plugin at work.
pub struct Binding {
    pub name: Arc<str>,
    /// Where it is bound: its node below `/zookeeper/plugins`, `<name>` or, for a version on trial, `<name>/canary`.
    pub key: Arc<str>,
    pub manifest: Manifest,
    /// As the pipeline knows it, if it is one.
    pub recipe: Option<Arc<Recipe>>,
    pub stands: Stands,
    patterns: Vec<Pattern>,
    /// Bits by `Verb`.
    on: u8,
    program: Arc<Slot>,
    /// The zxid of the newest piece of its component when it was bound; none: one was missing.
    pub pieces: Option<i64>,
    /// Found once the program is there.
    setup: OnceLock<Setup>,
    /// Idle instances of a pure plugin.
    idle: Arc<Idle>,
    /// Of this binding in `idle`.
    number: u64,
    /// A plugin that says it is pure was seen to be not.
    impure: AtomicBool,
    pub counters: Arc<Counters>,
    /// Of a policy.
    pub verdicts: Verdicts,
    /// Of an authenticator.
    pub matches_kept: Matches,
    last_warning: Mutex<Option<Instant>>,
    watched: Watched,
    /// What `watched.marks` knows this version by.
    fingerprint: u64,
    record: Record,
}

/// What a binding rests on in the tree beside its manifest's text; if it differs, the binding is made anew.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stands {
    /// Of the manifest's node.
    pub mzxid: i64,
    /// Nodes for which, with all below, a version on trial is asked in its place.
    pub set_apart: Vec<String>,
    pub quarantine: Option<Quarantine>,
}

/// What all bindings of a server have in common: who looks at what they do.
#[derive(Clone, Default)]
pub struct Watched {
    pub marks: Arc<Marks>,
    pub court: Arc<Court>,
}

/// The bounds of a call: what the operator says, else what the author asks for, which can only lower the defaults.
pub fn budget(given: &Limits, section: &Section) -> Budget {
    let lowered = |asked: Option<u64>, default: u64| asked.map_or(default, |asked| asked.min(default));
    let fuel = given.fuel.unwrap_or_else(|| lowered(section.limits.fuel, limits::PLUGIN_FUEL));
    let cpu_ms = given.deadline_ms.unwrap_or_else(|| lowered(section.limits.deadline_ms, limits::PLUGIN_CPU_MS));
    let memory =
        given.memory_bytes.unwrap_or_else(|| lowered(section.limits.memory_bytes, limits::PLUGIN_MEMORY_BYTES as u64));
    Budget {
        fuel,
        cpu_ms,
        memory_bytes: usize::try_from(memory).unwrap_or(limits::PLUGIN_MEMORY_BYTES),
        slow: Duration::from_millis(given.slow_ms.unwrap_or(limits::PLUGIN_SLOW_MS)),
    }
}

/// What an instance of this plugin under this binding is made with.
pub fn setup(name: &Arc<str>, manifest: &Manifest, patterns: &[Pattern], section: &Section) -> Setup {
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

/// What the component's author asks for, at the places of the binding.
fn asked(manifest: &Manifest, patterns: &[Pattern], section: &Section) -> Vec<Grant> {
    let places: Vec<&str> = match &manifest.mount {
        Some(mount) => vec![mount],
        None => patterns.iter().map(Pattern::base).collect(),
    };
    grant::expand(&section.grants, &places)
}

impl Binding {
    pub fn new(
        key: &str,
        manifest: Manifest,
        stands: Stands,
        program: Arc<Slot>,
        counters: Arc<Counters>,
        watched: Watched,
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
            watched,
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

    /// Whether it is to be asked about that operation there.
    pub fn matches(&self, operation: Verb, path: &str) -> bool {
        self.on & 1 << operation as u8 != 0
            && self.patterns.iter().any(|pattern| pattern.matches(path))
            && (self.manifest.canary.is_empty() || covers(&self.manifest.canary, path))
            && hooks::asks_version_in_force(covers(&self.stands.set_apart, path))
    }

    /// Whether the controller is to be called for that path.
    pub fn watches(&self, path: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(path)) && !path::is_servers_own(path)
    }

    /// Whether there can be paths below that one for which it is to be called.
    pub fn watches_below(&self, path: &str) -> bool {
        let below = |pattern: &Pattern| path::is_within(path, pattern.base()) && pattern.may_match_below(path);
        self.patterns.iter().any(below) && !path::is_servers_own(path)
    }

    /// Nodes at or below which all paths are for which it is to be called; none lies below another.
    pub fn watched_from(&self) -> Vec<String> {
        let mut bases: Vec<&str> = self.patterns.iter().map(Pattern::base).collect();
        bases.sort_unstable();
        bases.dedup();
        let outermost = |base: &&&str| !bases.iter().any(|other| other != *base && path::is_within(base, other));
        bases.iter().filter(outermost).map(|base| (*base).to_owned()).collect()
    }

    pub fn is_on(&self) -> bool {
        self.manifest.mode != Mode::Off
    }

    /// Whether anybody is to call it: it is on, and under no quarantine.
    pub fn is_called(&self) -> bool {
        self.is_on() && self.stands.quarantine.is_none()
    }

    /// Whether its code is there, or it is known why not.
    pub fn settled(&self) -> bool {
        self.program.get().is_some()
    }

    /// Whether it can be called on a server that runs plugins; None: that is not known yet.
    pub fn runs(&self) -> Option<bool> {
        self.program.get().map(Result::is_ok)
    }

    /// Whether that is where its program is or will be.
    pub fn is_of(&self, slot: &Arc<Slot>) -> bool {
        Arc::ptr_eq(&self.program, slot)
    }

    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What to say against this version if calls of it are to be blamed: for a process that one has ended, or for its faults.
    pub fn blame(&self, crashed: Option<String>, reason: String) -> Blame {
        Blame {
            plugin: self.key.to_string(),
            manifest_mzxid: self.stands.mzxid,
            crashed,
            quarantine: Quarantine::now(self.manifest.version, reason).data().into(),
        }
    }

    /// Asks an instance, idle or new, and counts. `call`: whose call it is, and what is left for it. `ask` may be called a
    /// second time, on a fresh instance, to see whether that says the same; with `Once::Only` it is not (a call that changes
    /// something).
    pub fn ask<T: PartialEq>(
        &self,
        enabled: bool,
        once: Once,
        call: &Call<'_>,
        ask: impl Fn(&mut Instance) -> Answer<T>,
    ) -> Result<Said<T>, Fault> {
        self.ask_at_cost(enabled, once, call, ask).said
    }

    /// As `ask`; tells what it cost, also where it failed.
    pub fn ask_at_cost<T: PartialEq>(
        &self,
        enabled: bool,
        once: Once,
        call: &Call<'_>,
        ask: impl Fn(&mut Instance) -> Answer<T>,
    ) -> CallResult<T> {
        let begun = Instant::now();
        let mut cost = 0;
        let answered = self.answer(enabled, once, call, &mut cost, ask);
        let Answer { said, fuel, circumstances, looks, evidence } =
            answered.unwrap_or_else(|Failed { fault, evidence, .. }| Answer {
                said: Err(fault),
                fuel: 0,
                circumstances: false,
                looks: Looks::default(),
                evidence,
            });
        cost = cost.saturating_add(fuel);
        self.counters.called(fuel, u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if let Err(fault) = &said {
            self.note(fault, call, evidence);
        }
        CallResult { said: said.map(|said| Said { answer: said, fuel, circumstances, looks }), cost }
    }

    /// Counts a fault, keeps it for the plugin's author, and sees whether there have been too many.
    fn note(&self, fault: &Fault, call: &Call<'_>, evidence: Evidence) {
        let session = call.session;
        self.counters.failed(fault);
        if !fault.by_guest() {
            return;
        }
        self.counters.last_faults.keep(self.manifest.version, fault, session, evidence);
        // Whoever has too little for much input is not broken: else a few clients with large nodes would end it for all.
        let by_input = matches!(fault, Fault::Fuel | Fault::Cpu | Fault::Memory)
            && call.told_bytes > limits::PLUGIN_INPUT_BLAMED_BYTES_MAX;
        if by_input {
            return;
        }
        let calls = self.counters.calls.load(Ordering::Relaxed);
        if let Some(reason) = self.record.note(environment::Instant::now(), session, calls) {
            let reason = format!("{reason}, the last: {} ({})", fault.text(), fault.name());
            tracing::error!("plugin {}: {reason}: it is to be called no more", self.key);
            self.watched.court.hear(self.blame(None, reason));
        }
    }

    fn answer<T: PartialEq>(
        &self,
        enabled: bool,
        once: Once,
        call: &Call<'_>,
        cost: &mut u64,
        ask: impl Fn(&mut Instance) -> Answer<T>,
    ) -> Result<Answer<T>, Failed> {
        if let Some(quarantine) = &self.stands.quarantine {
            return Err(Fault::Quarantine(quarantine.reason.clone()).into());
        }
        if !enabled {
            return Err(Fault::Code("this server runs with --plugins off".into()).into());
        }
        let program = match self.program.get() {
            Some(Ok(program)) => program,
            Some(Err(why)) => return Err(Fault::Code(why.clone()).into()),
            None => return Err(Fault::NotReady.into()),
        };
        if self.watched.marks.suspects(self.fingerprint) {
            return Err(Fault::NotReady.into());
        }
        if call.fuel_max == 0 {
            return Err(Fault::Shared.into());
        }
        *cost = limits::PLUGIN_CALL_FUEL;
        let _marked = self.watched.marks.mark(self.fingerprint);
        let setup = self.setup_of(program);
        let reused = self.reused(program);
        let idle = if reused { self.idle.take(self.number) } else { None };
        let mut instance = match idle {
            Some(instance) => instance,
            None => {
                *cost += limits::PLUGIN_INSTANCE_FUEL;
                let started = Instance::start(program, setup);
                let configured_for = match &started {
                    Ok(instance) => instance.configured_for,
                    Err(failed) => failed.fuel,
                };
                *cost += configured_for;
                started?
            }
        };
        let answer = ask(&mut instance);
        let (memory_bytes, operations) = instance.took();
        self.counters.took(memory_bytes, operations);
        let dropped = instance.take_dropped_lines();
        if dropped > 0 {
            self.counters.log_lines_dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        if reused {
            if once == Once::OrTwice
                && instance.calls > 1
                && self.counters.calls.load(Ordering::Relaxed).is_multiple_of(limits::PLUGIN_SAMPLE_EVERY)
            {
                self.compare(program, setup, call, &answer, ask);
            }
            if answer.said.is_ok() && instance.calls < limits::PLUGIN_INSTANCE_CALLS_MAX {
                self.idle.put(self.number, instance);
            }
        }
        Ok(answer)
    }

    /// Whether its answers depend on nothing but what it is asked and what it looks at, as far as is known.
    pub fn is_pure(&self) -> bool {
        matches!(self.program.get(), Some(Ok(program)) if self.reused(program))
    }

    fn setup_of(&self, program: &Program) -> &Setup {
        self.setup.get_or_init(|| Setup {
            counters: self.counters.clone(),
            ..setup(&self.name, &self.manifest, &self.patterns, &program.section)
        })
    }

    /// What recordings of its calls begin with; none while its code is not there.
    pub fn recording_header(&self) -> Option<tape::Header> {
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

    /// From now on every call gets a fresh instance: what that costs is to be seen (`plugin bench`).
    pub fn never_reuse(&self) {
        self.impure.store(true, Ordering::Relaxed);
    }

    fn reused(&self, program: &Program) -> bool {
        program.section.pure && !self.impure.load(Ordering::Relaxed)
    }

    /// Asks a fresh instance the same; if it answers otherwise, the plugin is not what it says and loses its reuse.
    fn compare<T: PartialEq>(
        &self,
        program: &Program,
        setup: &Setup,
        call: &Call<'_>,
        answered: &Answer<T>,
        ask: impl Fn(&mut Instance) -> Answer<T>,
    ) {
        let (Ok(mut fresh), Ok(said)) = (Instance::new(program, setup), &answered.said) else { return };
        let Ok(other) = ask(&mut fresh).said else { return };
        // Where a read is judged the tree goes on changing: then the two were not asked the same.
        if other != *said && answered.looks.hold(call.view) {
            self.impure.store(true, Ordering::Relaxed);
            self.idle.clear(self.number);
            self.verdicts.clear();
            tracing::warn!("plugin {} says it is pure and is not: its instances are no longer reused", self.name);
        }
    }

    /// What becomes of a write that a validator is asked about.
    pub fn validate(&self, enabled: bool, call: &Call<'_>, changes: &[Change]) -> Answered<()> {
        let first = changes.first().map_or("/", |change| change.path.as_str());
        if changes.len() > limits::PLUGIN_CHANGES_MAX {
            let text = format!(
                "{}: {} changes in one transaction, a plugin judges at most {}",
                self.name,
                changes.len(),
                limits::PLUGIN_CHANGES_MAX
            );
            return Answered::unasked(self.refuse(Refusal::new(ErrorCode::BadArguments, text)));
        }
        let CallResult { said, cost } =
            self.ask_at_cost(enabled, Once::OrTwice, call, |instance| instance.validate(call, changes));
        let said = match said.and_then(|said| self.sensible(call, said.answer)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(rejection)) => self.refuse(self.refusal(rejection, changes)),
            Err(fault) => self.failed(&fault, first),
        };
        Answered { said, fuel: cost }
    }

    /// A rejection whose code clients must not get is a fault.
    pub fn sensible<T>(&self, call: &Call<'_>, said: Result<T, Rejection>) -> Result<Result<T, Rejection>, Fault> {
        match said {
            Err(rejection) if !CODES.iter().any(|code| code.code() == rejection.code) => {
                Err(self.senseless(call, format!("plugins may not choose code {}", rejection.code)))
            }
            said => Ok(said),
        }
    }

    /// An answer to that call that means nothing: a fault as any other.
    pub fn senseless(&self, call: &Call<'_>, what: String) -> Fault {
        let fault = Fault::Output(what);
        self.note(&fault, call, Evidence::default());
        fault
    }

    /// A refusal by the guest's own judgement, as far as it is enforced.
    pub fn refuse(&self, refusal: Refusal) -> Result<(), Refusal> {
        if self.manifest.mode == Mode::Enforce {
            self.counters.refusals.fetch_add(1, Ordering::Relaxed);
        }
        self.enforce(refusal)
    }

    /// What the failure policy makes of a fault; `about` is the path that was asked about.
    pub fn failed(&self, fault: &Fault, about: &str) -> Result<(), Refusal> {
        let refusal = self.fault_refusal(fault, about);
        self.warn(&refusal.text);
        if self.manifest.on_failure == OnFailure::Ignore {
            self.counters.let_pass.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.enforce(refusal)
    }

    /// A fault in the words and the code that clients get under `reject`.
    pub fn fault_refusal(&self, fault: &Fault, about: &str) -> Refusal {
        let text = match fault {
            Fault::Quarantine(_) => format!("{}: {about}: the plugin is not called: {}", self.name, fault.text()),
            _ => format!("{}: {about}: the plugin failed ({}): {}", self.name, fault.name(), fault.text()),
        };
        let code = if fault.by_server() { ErrorCode::OperationTimeout } else { ErrorCode::SystemError };
        Refusal::new(code, text)
    }

    fn enforce(&self, refusal: Refusal) -> Result<(), Refusal> {
        if self.manifest.mode == Mode::Enforce {
            return Err(refusal);
        }
        self.counters.would_refuse.fetch_add(1, Ordering::Relaxed);
        self.warn(&format!("would have refused: {}", refusal.text));
        Ok(())
    }

    /// The guest's refusal for the client: "plugin: path: text"; `about` is the path that was asked about.
    pub fn refusal_about(&self, rejection: Rejection, about: &str) -> Refusal {
        let code = ErrorCode::from_code(rejection.code).unwrap_or(ErrorCode::SystemError);
        let text = match rejection.text.strip_prefix(about) {
            Some(rest) if rest.starts_with(':') => format!("{}: {}", self.name, rejection.text),
            _ => format!("{}: {about}: {}", self.name, rejection.text),
        };
        Refusal::new(code, text)
    }

    /// The same of a validator, which was asked about several changes.
    fn refusal(&self, rejection: Rejection, changes: &[Change]) -> Refusal {
        let code = ErrorCode::from_code(rejection.code).unwrap_or(ErrorCode::SystemError);
        let names_its_change = changes
            .iter()
            .any(|change| rejection.text.strip_prefix(change.path.as_str()).is_some_and(|rest| rest.starts_with(':')));
        let text = match changes {
            [change] if !names_its_change => format!("{}: {}: {}", self.name, change.path, rejection.text),
            _ => format!("{}: {}", self.name, rejection.text),
        };
        Refusal::new(code, text)
    }

    /// At most one line a second and binding: the counters have the rest.
    pub fn warn(&self, text: &str) {
        self.counters.log.push(Level::Warn, text);
        let mut last = self.last_warning.lock();
        if last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            *last = Some(Instant::now());
            tracing::warn!(target: "wasmkeeper::plugin", "{}", text.escape_debug());
        }
    }

    pub fn status(&self, enabled: bool) -> serde_json::Value {
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

/// The bounds of a call under the names that they have in a manifest.
fn limits_json(budget: &Budget) -> serde_json::Value {
    json!({
        "fuel": budget.fuel,
        "deadline_ms": budget.cpu_ms,
        "memory_bytes": budget.memory_bytes,
        "slow_ms": u64::try_from(budget.slow.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Whether the path is one of those nodes, or below one.
fn covers(nodes: &[String], path: &str) -> bool {
    nodes.iter().any(|node| path::is_within(path, node))
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.idle.clear(self.number);
    }
}

/// Whether a question may be asked a second time, to look whether the answer is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Once {
    Only,
    OrTwice,
}

/// What a question came to.
pub struct CallResult<T> {
    pub said: Result<Said<T>, Fault>,
    /// What it took of the transaction's budget: fuel, and as much as the server's own work for it counts.
    pub cost: u64,
}

/// What a guest said, and what it took.
pub struct Said<T> {
    pub answer: T,
    pub fuel: u64,
    /// It asked for circumstances that no node shows.
    pub circumstances: bool,
    /// Of a policy: what it looked at.
    pub looks: Looks,
}
