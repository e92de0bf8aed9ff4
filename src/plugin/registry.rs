//! The plugins of this server: what the tree binds, ready to be asked.
//!
//! `Plugins` lives as long as the server. `refresh` makes a new `Registry`, an unchanging list of bindings, whenever a
//! transaction that touches `/zookeeper/plugins` has been applied; whoever asks plugins looks at the newest.
//! Machine code is made beforehand (`admission`), or after a start in the background; a binding whose code is not there
//! answers by its failure policy and says why.

use super::binding::Binding;
use super::call::Program;
use super::compile::Compiler;
use super::counters::Counters;
use super::host::{self, HostState};
use super::judge::Judge;
use super::manifest::{self, Kind};
use super::tree::{self, Tree};
use super::{PLUGINS, component, stand_ins};
use crate::model::path;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wasmtime::Engine;
use wasmtime::component::Linker;

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
    /// Whether there are policies and authenticators, so that reads see without a lock that there are none.
    policed: AtomicBool,
    authenticated: AtomicBool,
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

impl Slot {
    /// None: it is being made. An error says why it cannot be.
    pub fn get(&self) -> Option<&Result<Arc<Program>, String>> {
        self.0.get()
    }
}

/// What the tree bound at one zxid. In order of names.
#[derive(Default)]
pub struct Registry {
    bindings: Vec<Arc<Binding>>,
    /// Those among them that are asked about operations, since reads look at them all.
    policies: Vec<Arc<Binding>>,
    /// Of recipes that are not off, with their places in `bindings`.
    mounts: HashMap<Box<str>, usize>,
    /// Bytes of the longest.
    mount_bytes_max: usize,
}

impl Registry {
    /// `bindings`: in order of names. Of two recipes at the same mount the first has it.
    fn new(bindings: Vec<Arc<Binding>>) -> Registry {
        let mut mounts = HashMap::new();
        for (at, binding) in bindings.iter().enumerate() {
            if let Some(recipe) = binding.recipe.as_ref().filter(|_| binding.is_on()) {
                mounts.entry((*recipe.mount).into()).or_insert(at);
            }
        }
        let mount_bytes_max = mounts.keys().map(|mount: &Box<str>| mount.len()).max().unwrap_or(0);
        let mut registry = Registry { bindings, policies: Vec::new(), mounts, mount_bytes_max };
        registry.policies = registry.of(Kind::Policy).cloned().collect();
        registry
    }

    /// All policies that are not off.
    pub fn policies(&self) -> &[Arc<Binding>] {
        &self.policies
    }

    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// All, those that are off too.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.iter()
    }

    /// All of that kind that are not off.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.iter().filter(move |binding| binding.manifest.kind == kind && binding.is_on())
    }

    pub fn named(&self, name: &str) -> Option<&Arc<Binding>> {
        let at = self.bindings.binary_search_by(|binding| (*binding.name).cmp(name)).ok()?;
        self.bindings.get(at)
    }

    /// The recipe that a request at `path` goes to: the one with the longest mount.
    pub fn recipe(&self, path: &str) -> Option<&Arc<Binding>> {
        if self.mounts.is_empty() {
            return None;
        }
        // A path may be as long as a frame: only what is no longer than a mount is looked up.
        let cut = path.floor_char_boundary(self.mount_bytes_max.saturating_add(1));
        let mut ancestor = if cut < path.len() { &path[..path[..cut].rfind('/')?] } else { path };
        loop {
            match self.mounts.get(ancestor) {
                Some(&at) => return self.bindings.get(at),
                None => ancestor = path::parent(ancestor)?,
            }
        }
    }

    /// The authenticator of a scheme.
    pub fn authenticator(&self, scheme: &str) -> Option<&Arc<Binding>> {
        self.of(Kind::Authenticator).find(|binding| binding.manifest.scheme.as_deref() == Some(scheme))
    }
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
            policed: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
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
        let registry = Registry::new(bindings);
        // Whoever reads does so under the tree's lock, as this is done.
        self.policed.store(!registry.policies.is_empty(), Ordering::Release);
        self.authenticated.store(registry.of(Kind::Authenticator).next().is_some(), Ordering::Release);
        *self.registry.write() = Arc::new(registry);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// As `refresh`, from a tree that has taken another's place: nothing that was kept of that one holds.
    pub fn start_over(self: &Arc<Plugins>, tree: &dyn Tree) {
        *self.registry.write() = Arc::default();
        self.refresh(tree);
    }

    fn bind(self: &Arc<Plugins>, name: &str, mzxid: i64, data: &[u8]) -> Result<Binding, String> {
        let manifest = manifest::parse(data)?;
        let program = self.slot(&manifest.component.sha256);
        if self.enabled && program.get().is_none() {
            self.load_behind(name, &manifest.component);
        }
        let counters = self.counters.lock().entry(name.into()).or_default().clone();
        Binding::new(name, manifest, mzxid, program, counters)
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
        let inspected = component::inspect(&component_bytes)?;
        let compiled = self.compiler.component(&running.engine, &wanted.sha256, &|| Ok(component_bytes.clone()))?;
        let program = stand_ins::instantiate_pre(&running.linker, &compiled)
            .and_then(|prepared| Program::new(&running.engine, prepared, &inspected.kinds, inspected.section))
            .map_err(|error| format!("the component does not fit wit/plugin.wit of this server: {error:#}"))?;
        Ok(Arc::new(program))
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
        !self.enabled || self.registry.read().bindings.iter().all(|binding| binding.settled())
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
        Judge::new(self.clone())
    }

    /// What the tree binds now.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.read_recursive().clone()
    }

    /// As `registry`, for a short look. To be called under the tree's lock, under which new ones come.
    pub fn registry_now(&self) -> RwLockReadGuard<'_, Arc<Registry>> {
        self.registry.read_recursive()
    }

    /// Whether any policy is asked about anything.
    pub fn has_policies(&self) -> bool {
        self.policed.load(Ordering::Acquire)
    }

    pub fn has_authenticators(&self) -> bool {
        self.authenticated.load(Ordering::Acquire)
    }

    /// The registry behind that generation, if there is one, and its own; without a lock if there is none.
    pub fn newer_registry(&self, generation: u64) -> Option<(u64, Arc<Registry>)> {
        let newest = self.generation.load(Ordering::Acquire);
        (newest != generation).then(|| (newest, self.registry()))
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
        let binding = registry.named(name)?;
        Some(binding.status(self.enabled).to_string().into_bytes())
    }
}
