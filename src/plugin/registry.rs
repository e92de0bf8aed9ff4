//! The plugins of this server: what the tree binds, ready to be asked.
//!
//! `Plugins` lives as long as the server. `refresh` makes a new `Registry`, an unchanging list of bindings, whenever a
//! transaction that touches `/zookeeper/plugins` has been applied; the `Judge` of the sequencer looks at the newest.
//! Machine code is made beforehand (`admission`), or after a start in the background; a binding whose code is not there
//! answers by its failure policy and says why.

use super::call::{Budget, Fault, Instance, Program, Setup};
use super::compile::Compiler;
use super::counters::Counters;
use super::grant::{self, Grants};
use super::host::{self, Change, ChangeKind, HostState, Rejection};
use super::manifest::{self, Manifest, Mode, OnFailure, Operation, Section};
use super::pattern::Pattern;
use super::tree::{self, Tree};
use super::{PLUGINS, component};
use crate::limits;
use crate::model::{ErrorCode, Refusal, path};
use crate::pipeline::{self, Judged, txn};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wasmtime::Engine;
use wasmtime::component::Linker;

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

/// How long a program waits for the deployment it was prepared for.
const PREPARED_FOR: Duration = Duration::from_secs(300);

/// Reads a node's data from the applied tree, at any time and on any thread.
pub type ReadNode = Box<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// All plugins of one server.
pub struct Plugins {
    /// `--plugins on`. Without, nothing is loaded, and what enforces answers by its failure policy.
    enabled: bool,
    compiler: Compiler,
    /// Made for the first plugin: a server without pays nothing.
    engine: OnceLock<Result<Running, String>>,
    /// One component at a time is compiled.
    compiling: Mutex<()>,
    /// By digest, with the time they were last asked for. Those that no binding uses go, later than `PREPARED_FOR`.
    programs: Mutex<HashMap<String, (Arc<Slot>, Instant)>>,
    /// By plugin.
    counters: Mutex<HashMap<String, Arc<Counters>>>,
    read: OnceLock<ReadNode>,
    registry: RwLock<Arc<Registry>>,
    /// Counts the registries, so that the judge sees without a lock whether there is a new one.
    generation: AtomicU64,
}

struct Running {
    engine: Engine,
    linker: Linker<HostState>,
}

/// Where a component's program is or will be.
#[derive(Default)]
pub struct Slot(OnceLock<Result<Arc<Program>, String>>);

/// What the tree bound at one zxid. In order of names.
#[derive(Default)]
pub struct Registry {
    bindings: Vec<Arc<Binding>>,
}

/// A plugin at work.
pub struct Binding {
    name: Arc<str>,
    manifest: Manifest,
    /// Of the manifest's node: whether it has changed.
    mzxid: i64,
    patterns: Vec<Pattern>,
    /// Bits by `Operation`.
    on: u8,
    program: Arc<Slot>,
    /// Found once the program is there.
    setup: OnceLock<Setup>,
    /// Idle instances of a pure plugin.
    idle: Mutex<Vec<Instance>>,
    /// A plugin that says it is pure was seen to be not.
    impure: AtomicBool,
    counters: Arc<Counters>,
    last_warning: Mutex<Option<Instant>>,
}

impl Plugins {
    /// `read`, which loading after a start needs, comes later: see `read_nodes_by`.
    pub fn new(enabled: bool, compiler: Compiler) -> Arc<Plugins> {
        Arc::new(Plugins {
            enabled,
            compiler,
            engine: OnceLock::new(),
            compiling: Mutex::new(()),
            programs: Mutex::default(),
            counters: Mutex::default(),
            read: OnceLock::new(),
            registry: RwLock::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// How to read the tree in the background; once, before the first `refresh`.
    pub fn read_nodes_by(&self, read: ReadNode) {
        // A second one would read the same tree.
        let _ = self.read.set(read);
    }

    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Makes the registry anew from the applied tree. Quick: it neither compiles nor copies components, so it may be
    /// called under the tree's lock. `read_nodes_by`'s function is called from another thread.
    pub fn refresh(self: &Arc<Plugins>, tree: &dyn Tree) {
        let former = self.registry.read().clone();
        let mut bindings = Vec::new();
        let mut names = tree.children(PLUGINS);
        names.sort_unstable();
        for name in names {
            let node = path::join(PLUGINS, &name);
            let (Some(mzxid), Some(data)) = (tree.mzxid(&node), tree.data(&node)) else { continue };
            if let Some(same) = former.bindings.iter().find(|former| *former.name == *name && former.mzxid == mzxid) {
                bindings.push(same.clone());
                continue;
            }
            match self.bind(&name, mzxid, &data) {
                Ok(binding) => bindings.push(Arc::new(binding)),
                Err(error) => tracing::error!("{node} binds nothing: {error}; deploy the plugin again"),
            }
        }
        self.programs.lock().retain(|sha256, (_, asked)| {
            asked.elapsed() < PREPARED_FOR
                || bindings.iter().any(|binding| binding.manifest.component.sha256 == *sha256)
        });
        self.counters.lock().retain(|name, _| bindings.iter().any(|binding| *binding.name == **name));
        *self.registry.write() = Arc::new(Registry { bindings });
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn bind(self: &Arc<Plugins>, name: &str, mzxid: i64, data: &[u8]) -> Result<Binding, String> {
        let manifest = manifest::parse(data)?;
        let patterns = manifest.patterns()?;
        let program = self.slot(&manifest.component.sha256);
        if self.enabled && program.0.get().is_none() {
            self.load_behind(name, &manifest.component);
        }
        let counters = self.counters.lock().entry(name.into()).or_default().clone();
        Ok(Binding {
            name: name.into(),
            on: manifest.on.iter().fold(0, |bits, operation| bits | 1 << *operation as u8),
            patterns,
            mzxid,
            program,
            setup: OnceLock::new(),
            idle: Mutex::default(),
            impure: AtomicBool::new(false),
            counters,
            last_warning: Mutex::new(None),
            manifest,
        })
    }

    fn slot(&self, sha256: &str) -> Arc<Slot> {
        let mut programs = self.programs.lock();
        let (slot, asked) = programs.entry(sha256.into()).or_insert_with(|| (Arc::default(), Instant::now()));
        *asked = Instant::now();
        slot.clone()
    }

    /// Compiles or loads on a thread of its own.
    fn load_behind(self: &Arc<Plugins>, name: &str, wanted: &manifest::Component) {
        let (plugins, name, wanted) = (self.clone(), name.to_string(), wanted.clone());
        let spawned = std::thread::Builder::new().name("plugin-loader".into()).spawn(move || {
            let read = |path: &str| plugins.read.get().and_then(|read| read(path));
            match plugins.load(&wanted, &|| tree::read_component(&wanted, &read)) {
                Ok(_) => tracing::info!("plugin {name} is ready"),
                Err(error) => {
                    tracing::error!("plugin {name} cannot run here and answers by its failure policy: {error}")
                }
            }
        });
        if let Err(error) = spawned {
            tracing::error!("start a thread to load a plugin: {error}");
        }
    }

    /// The program of a component; made if it is not there. Takes as long as compiling does.
    pub fn load(
        &self,
        wanted: &manifest::Component,
        bytes: &dyn Fn() -> Result<Vec<u8>, String>,
    ) -> Result<Arc<Program>, String> {
        let slot = self.slot(&wanted.sha256);
        if let Some(Ok(program)) = slot.0.get() {
            return Ok(program.clone());
        }
        let _one_at_a_time = self.compiling.lock();
        if let Some(Ok(program)) = slot.0.get() {
            return Ok(program.clone());
        }
        let made = self.make(wanted, bytes);
        if slot.0.set(made.clone()).is_err() {
            // It failed before, at a start perhaps, and what was missing may be there now. Bindings keep the old slot;
            // the deployment that is being prepared makes a new one.
            let fresh = Arc::new(Slot::default());
            let _ = fresh.0.set(made.clone());
            self.programs.lock().insert(wanted.sha256.clone(), (fresh, Instant::now()));
        }
        made
    }

    fn make(
        &self,
        wanted: &manifest::Component,
        bytes: &dyn Fn() -> Result<Vec<u8>, String>,
    ) -> Result<Arc<Program>, String> {
        let running = self.running()?;
        let component_bytes = bytes()?;
        let section = component::inspect(&component_bytes)?.section;
        let compiled = self.compiler.component(&running.engine, &wanted.sha256, &|| Ok(component_bytes.clone()))?;
        let prepared = running
            .linker
            .instantiate_pre(&compiled)
            .and_then(host::contract::ValidatorPre::new)
            .map_err(|error| format!("the component does not fit wit/plugin.wit of this server: {error:#}"))?;
        Ok(Arc::new(Program { engine: running.engine.clone(), prepared, section }))
    }

    fn running(&self) -> Result<&Running, String> {
        let running = self.engine.get_or_init(|| {
            let engine =
                host::running_engine().map_err(|error| format!("the WebAssembly engine cannot start: {error:#}"))?;
            let linker =
                host::linker(&engine).map_err(|error| format!("the WebAssembly engine cannot start: {error:#}"))?;
            Ok(Running { engine, linker })
        });
        running.as_ref().map_err(String::clone)
    }

    /// Whether nothing is being loaded: each binding runs, or it is known why not.
    pub fn settled(&self) -> bool {
        !self.enabled || self.registry.read().bindings.iter().all(|binding| binding.program.0.get().is_some())
    }

    /// Waits until `settled`, at most so long. Whether it is.
    pub fn settle(&self, at_most: Duration) -> bool {
        let begun = Instant::now();
        while !self.settled() {
            if begun.elapsed() > at_most {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// For one thread that evaluates writes.
    pub fn judge(self: &Arc<Plugins>) -> Judge {
        Judge { plugins: self.clone(), generation: u64::MAX, registry: Arc::default(), matching: Vec::new() }
    }

    /// The data of `/zookeeper/plugins/<name>/counters` and `.../status`, which are no nodes of the tree: answers about
    /// this server, never logged, neither listed nor counted. None for any other path.
    pub fn virtual_node(&self, path: &str) -> Option<Vec<u8>> {
        let (name, what) = path.strip_prefix(PLUGINS)?.strip_prefix('/')?.split_once('/')?;
        match what {
            "counters" => self.counters_json(name),
            "status" => self.status_json(name),
            _ => None,
        }
    }

    pub fn counters_json(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.counters.lock().get(name)?.json().to_string().into_bytes())
    }

    /// How the plugin runs here: `state` is `active`, `loading`, `failed` (then with `reason`) or `off`.
    pub fn status_json(&self, name: &str) -> Option<Vec<u8>> {
        let registry = self.registry.read().clone();
        let binding = registry.bindings.iter().find(|binding| *binding.name == *name)?;
        Some(binding.status(self.enabled).to_string().into_bytes())
    }
}

/// The places that `$mount` stands for.
fn places(patterns: &[Pattern]) -> Vec<&str> {
    patterns.iter().map(Pattern::base).collect()
}

/// What an instance of this plugin under this binding is made with.
pub fn setup(name: &Arc<str>, manifest: &Manifest, patterns: &[Pattern], section: &Section) -> Setup {
    let asked = Grants::new(&grant::expand(&section.grants, &places(patterns)));
    let lowered = |asked: Option<u64>, default: u64| asked.map_or(default, |asked| asked.min(default));
    let fuel = manifest.limits.fuel.unwrap_or_else(|| lowered(section.limits.fuel, limits::PLUGIN_FUEL));
    let cpu_ms =
        manifest.limits.deadline_ms.unwrap_or_else(|| lowered(section.limits.deadline_ms, limits::PLUGIN_CPU_MS));
    let memory = manifest
        .limits
        .memory_bytes
        .unwrap_or_else(|| lowered(section.limits.memory_bytes, limits::PLUGIN_MEMORY_BYTES as u64));
    Setup {
        name: name.clone(),
        mount: manifest::mount(patterns).into(),
        settings: manifest.settings.to_string().into(),
        grants: Arc::new(asked.intersection(&Grants::new(&manifest.grants))),
        budget: Budget { fuel, cpu_ms, memory_bytes: usize::try_from(memory).unwrap_or(limits::PLUGIN_MEMORY_BYTES) },
    }
}

impl Binding {
    fn matches(&self, operation: Operation, path: &str) -> bool {
        self.on & 1 << operation as u8 != 0 && self.patterns.iter().any(|pattern| pattern.matches(path))
    }

    /// Asks the guest, and counts.
    fn ask(&self, enabled: bool, judged: &Judged<'_>, changes: &[Change]) -> Result<Result<(), Rejection>, Fault> {
        let begun = Instant::now();
        let (verdict, fuel) = match self.instance_and_answer(enabled, judged, changes) {
            Ok(answered) => answered,
            Err(fault) => (Err(fault), 0),
        };
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counters.called(fuel, ns);
        let verdict = match verdict {
            Ok(Err(rejection)) if !CODES.iter().any(|code| code.code() == rejection.code) => {
                Err(Fault::Output(format!("plugins may not choose code {}", rejection.code)))
            }
            verdict => verdict,
        };
        if let Err(fault) = &verdict {
            self.counters.failed(fault);
        }
        verdict
    }

    fn instance_and_answer(
        &self,
        enabled: bool,
        judged: &Judged<'_>,
        changes: &[Change],
    ) -> Result<(Verdict, u64), Fault> {
        if !enabled {
            return Err(Fault::Code("this server runs with --plugins off".into()));
        }
        let program = match self.program.0.get() {
            Some(Ok(program)) => program,
            Some(Err(why)) => return Err(Fault::Code(why.clone())),
            None => return Err(Fault::NotReady),
        };
        let setup = self.setup.get_or_init(|| setup(&self.name, &self.manifest, &self.patterns, &program.section));
        let reused = self.reused(program);
        let idle = if reused { self.idle.lock().pop() } else { None };
        let mut instance = match idle {
            Some(instance) => instance,
            None => Instance::new(program, setup)?,
        };
        let answer = instance.validate(judged, changes);
        let dropped = instance.take_dropped_lines();
        if dropped > 0 {
            self.counters.log_lines_dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        if reused {
            if instance.calls > 1
                && self.counters.calls.load(Ordering::Relaxed).is_multiple_of(limits::PLUGIN_SAMPLE_EVERY)
            {
                self.compare(program, setup, judged, changes, &answer.verdict);
            }
            if answer.verdict.is_ok() && instance.calls < limits::PLUGIN_INSTANCE_CALLS_MAX {
                self.idle.lock().push(instance);
            }
        }
        Ok((answer.verdict, answer.fuel))
    }

    fn reused(&self, program: &Program) -> bool {
        program.section.pure && !self.impure.load(Ordering::Relaxed)
    }

    /// Asks a fresh instance the same; if it answers otherwise, the plugin is not what it says and loses its reuse.
    fn compare(&self, program: &Program, setup: &Setup, judged: &Judged<'_>, changes: &[Change], answered: &Verdict) {
        let (Ok(mut fresh), Ok(answered)) = (Instance::new(program, setup), answered) else { return };
        let Ok(other) = fresh.validate(judged, changes).verdict else { return };
        let same = match (&other, answered) {
            (Ok(()), Ok(())) => true,
            (Err(one), Err(other)) => one.code == other.code && one.text == other.text,
            _ => false,
        };
        if !same {
            self.impure.store(true, Ordering::Relaxed);
            self.idle.lock().clear();
            tracing::warn!("plugin {} says it is pure and is not: its instances are no longer reused", self.name);
        }
    }

    /// What becomes of the write.
    fn judge(&self, enabled: bool, judged: &Judged<'_>, changes: &[Change]) -> Result<(), Refusal> {
        let first = changes.first().map_or("/", |change| change.path.as_str());
        let refusal = if changes.len() > limits::PLUGIN_CHANGES_MAX {
            let text = format!(
                "{}: {} changes in one transaction, a plugin judges at most {}",
                self.name,
                changes.len(),
                limits::PLUGIN_CHANGES_MAX
            );
            Refusal::new(ErrorCode::BadArguments, text)
        } else {
            match self.ask(enabled, judged, changes) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(rejection)) => self.refusal(rejection, changes),
                Err(fault) => {
                    let text =
                        format!("{}: {first}: the plugin failed ({}): {}", self.name, fault.name(), fault.text());
                    self.warn(&text);
                    if self.manifest.on_failure == OnFailure::Ignore {
                        self.counters.let_pass.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    let code = if fault.by_server() { ErrorCode::OperationTimeout } else { ErrorCode::SystemError };
                    return self.enforce(Refusal::new(code, text));
                }
            }
        };
        if self.manifest.mode == Mode::Enforce {
            self.counters.refusals.fetch_add(1, Ordering::Relaxed);
        }
        self.enforce(refusal)
    }

    fn enforce(&self, refusal: Refusal) -> Result<(), Refusal> {
        if self.manifest.mode == Mode::Enforce {
            return Err(refusal);
        }
        self.counters.would_refuse.fetch_add(1, Ordering::Relaxed);
        self.warn(&format!("would have refused: {}", refusal.text));
        Ok(())
    }

    /// The guest's refusal for the client: "plugin: path: text".
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
    fn warn(&self, text: &str) {
        let mut last = self.last_warning.lock();
        if last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            *last = Some(Instant::now());
            tracing::warn!(target: "wasmkeeper::plugin", "{}", text.escape_debug());
        }
    }

    fn status(&self, enabled: bool) -> serde_json::Value {
        let (state, reason) = match self.program.0.get() {
            _ if self.manifest.mode == Mode::Off => ("off", None),
            _ if !enabled => ("failed", Some("this server runs with --plugins off")),
            Some(Ok(_)) => ("active", None),
            Some(Err(why)) => ("failed", Some(why.as_str())),
            None => ("loading", None),
        };
        let instances = match self.program.0.get() {
            Some(Ok(program)) if self.reused(program) => "reused",
            Some(Ok(program)) if program.section.pure => "fresh (it says it is pure and was seen to be not)",
            _ => "fresh",
        };
        let mut status = json!({
            "state": state, "version": self.manifest.version, "mode": self.manifest.mode.name(), "instances": instances,
        });
        if let Some(reason) = reason {
            status["reason"] = reason.into();
        }
        status
    }
}

type Verdict = Result<Result<(), Rejection>, Fault>;

/// Asks the plugins about transactions; belongs to one thread.
pub struct Judge {
    plugins: Arc<Plugins>,
    generation: u64,
    registry: Arc<Registry>,
    /// Kept for its memory.
    matching: Vec<Change>,
}

impl pipeline::Plugins for Judge {
    fn validate(&mut self, judged: &Judged<'_>) -> Result<(), Refusal> {
        let generation = self.plugins.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.registry = self.plugins.registry.read().clone();
            self.generation = generation;
        }
        if self.registry.bindings.is_empty() {
            return Ok(());
        }
        // The pipeline does not ask about the server's own transactions and the superuser's; a lock-out by a plugin would
        // be so bad that it is checked here again.
        let Some(caller) = judged.caller else { return Ok(()) };
        if caller.identities.iter().any(|identity| identity.scheme == "super") {
            return Ok(());
        }
        for binding in &self.registry.bindings {
            if binding.manifest.mode == Mode::Off {
                continue;
            }
            self.matching.clear();
            for change in judged.changes {
                let Some((kind, operation, path)) = describe(change) else { continue };
                if binding.matches(operation, path) && !path::is_within(path, "/zookeeper") {
                    self.matching.push(Change { kind, path: path.to_string() });
                }
            }
            if !self.matching.is_empty() {
                binding.judge(self.plugins.enabled, judged, &self.matching)?;
            }
        }
        Ok(())
    }
}

/// Sessions and the format are no plugin's affair.
fn describe(change: &txn::Change) -> Option<(ChangeKind, Operation, &str)> {
    match change {
        txn::Change::Create { path, .. } => Some((ChangeKind::Created, Operation::Create, path)),
        txn::Change::Delete { path } => Some((ChangeKind::Deleted, Operation::Delete, path)),
        txn::Change::SetData { path, .. } => Some((ChangeKind::DataSet, Operation::Set, path)),
        txn::Change::SetAcl { path, .. } => Some((ChangeKind::AclSet, Operation::Acl, path)),
        txn::Change::OpenSession { .. }
        | txn::Change::AttachSession { .. }
        | txn::Change::CloseSession { .. }
        | txn::Change::RaiseFormatLevel { .. } => None,
    }
}
