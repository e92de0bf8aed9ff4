//! All plugins of one server.
//!
//! `Plugins` lives as long as the server. After each transaction that changes `/zookeeper/plugins`, `refresh` makes a
//! new `Registry`, and later questions go to the bindings of that one. Machine code is compiled before a deployment
//! (`check_deployment`), or in the background after a start. A binding without machine code answers by its failure
//! policy.

use super::idle::Idle;
use super::loading::{Running, Slot};
use super::marks::{Left, Marks};
use super::quarantine;
use super::registry::Registry;
use super::{Binding, Stands, Supervision};
use crate::environment::Instant;
use crate::limits;
use crate::model::control_plane::{CANARY, CRASHES};
use crate::model::path;
use crate::model::txn::{Change, Txn};
use crate::pipeline::Blame;
use crate::plugin::code::compile::Compiler;
use crate::plugin::manifest::signature::Signers;
use crate::plugin::manifest::tree::{self, Tree};
use crate::plugin::manifest::{self, Kind, Manifest, Mode};
use crate::plugin::report::counters::Counters;
use crate::plugin::{MODULES, PLUGINS};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Reads a node's data from the applied tree, at any time and on any thread.
pub(crate) type ReadNode = Box<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// Runs some work soon, outside the caller.
pub(crate) type WorkAside = Box<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// All plugins of one server.
pub(crate) struct Plugins {
    /// `--plugins on`. Without it nothing is loaded, and bindings answer by their failure policy.
    pub(super) enabled: bool,
    pub(super) compiler: Compiler,
    pub(super) signers: Signers,
    /// Made for the first plugin, so that a server without plugins pays nothing.
    pub(super) engine: OnceLock<Result<Running, String>>,
    /// Held while a component is compiled, so that one component is compiled at a time.
    pub(super) compiling: Mutex<()>,
    /// By `Code::key`, with the time of the last use. A program without a binding is dropped after
    /// `limits::PLUGIN_PREPARED_FOR`.
    pub(super) programs: Mutex<HashMap<String, (Arc<Slot>, Instant)>>,
    /// By `Binding::key`. Invariant: each binding of the registry counts in the entry of its key.
    pub(super) counters: Mutex<HashMap<String, Arc<Counters>>>,
    pub(super) supervision: Supervision,
    idle: Arc<Idle>,
    pub(super) read: OnceLock<ReadNode>,
    /// Where programs are loaded in the background. None: on a thread each.
    pub(super) work_aside: OnceLock<WorkAside>,
    pub(super) registry: RwLock<Arc<Registry>>,
    /// Whether there are policies, and authenticators. Reads look here first, without a lock.
    policed: AtomicBool,
    authenticated: AtomicBool,
    /// Counts the registries, so that the judge need not take the lock unless there is a new one.
    generation: AtomicU64,
}

impl Plugins {
    /// Removes machine code that none of these components needs.
    pub(crate) fn sweep_code(&self, named: &BTreeSet<String>) {
        if self.enabled() {
            self.compiler.sweep(named);
        }
    }

    /// `read_nodes_by` must follow before the first `refresh`.
    pub(crate) fn new(enabled: bool, compiler: Compiler) -> Arc<Plugins> {
        Plugins::with(enabled, compiler, Marks::default(), Signers::default())
    }

    /// As `new`, with the calls that ended earlier processes, and with the signers that components need.
    pub(crate) fn with(enabled: bool, compiler: Compiler, marks: Marks, signers: Signers) -> Arc<Plugins> {
        Arc::new(Plugins {
            enabled,
            compiler,
            signers,
            engine: OnceLock::new(),
            compiling: Mutex::new(()),
            programs: Mutex::default(),
            counters: Mutex::default(),
            supervision: Supervision { marks: Arc::new(marks), blames: Arc::default() },
            idle: Arc::default(),
            read: OnceLock::new(),
            work_aside: OnceLock::new(),
            registry: RwLock::default(),
            policed: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        })
    }

    /// Sets how the tree is read in the background. Call it once, before the first `refresh`.
    pub(crate) fn read_nodes_by(&self, read: ReadNode) {
        // A second function would read the same tree.
        let _ = self.read.set(read);
    }

    /// Sets where programs are loaded in the background. Call it once, before the first `refresh`.
    pub(crate) fn load_by(&self, work_aside: WorkAside) {
        // A second function would do the same.
        let _ = self.work_aside.set(work_aside);
    }

    /// Sets who is told of blames. Call it once, before the first call of a plugin.
    pub(crate) fn blame_to(&self, hear: Box<dyn Fn(Blame) + Send + Sync>) {
        self.supervision.blames.send_to(hear);
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// The blames against versions in force whose calls have ended a process of this member. `member`: this member's
    /// number.
    pub(crate) fn crashes(&self, member: u32) -> Vec<Blame> {
        let registry = self.registry();
        let of = |left: Left| {
            let binding = registry.all().find(|binding| binding.fingerprint() == left.fingerprint)?;
            let reason = "two server processes were ended by calls of it".to_owned();
            Some(binding.blame(Some(run_name(member, &left)), reason))
        };
        self.supervision.marks.left().into_iter().filter_map(of).collect()
    }

    /// Makes the registry anew from the applied tree. Neither compiles nor copies components, so it may run under the
    /// tree's lock. The function of `read_nodes_by` runs on another thread. A program that failed to load is tried
    /// again for a new binding, and if the component's pieces have changed.
    pub(crate) fn refresh(self: &Arc<Plugins>, tree: &dyn Tree) {
        let former = self.registry.read().clone();
        let mut bindings: Vec<Arc<Binding>> = Vec::new();
        for name in tree.children(PLUGINS) {
            let on_trial = self.binding(&former, tree, &path::join(&name, CANARY), Vec::new());
            // A version on trial in mode `audit` is asked beside the version in force, not instead of it.
            let in_its_place = on_trial.iter().filter(|on_trial| on_trial.manifest.mode == Mode::Enforce);
            let set_apart = in_its_place.flat_map(|on_trial| on_trial.manifest.canary.iter().cloned()).collect();
            if let Some(in_force) = self.binding(&former, tree, &name, set_apart) {
                bindings.push(in_force);
                bindings.extend(on_trial);
            }
        }
        bindings.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        self.forget_reported(tree, &bindings);
        self.programs.lock().retain(|key, (_, asked)| {
            asked.elapsed() < limits::PLUGIN_PREPARED_FOR
                || bindings.iter().any(|binding| binding.manifest.code().key() == *key)
        });
        let mut counters = self.counters.lock();
        counters.retain(|key, _| bindings.iter().any(|binding| *binding.key == **key));
        for binding in &bindings {
            let own = counters.get(&*binding.key).is_some_and(|own| Arc::ptr_eq(own, &binding.counters));
            assert!(own, "{} counts elsewhere", binding.key);
        }
        drop(counters);
        let registry = Registry::new(bindings);
        // Reads look at these flags under the tree's lock, as this function runs.
        self.policed.store(!registry.policies().is_empty(), Ordering::Release);
        self.authenticated.store(registry.of(Kind::Authenticator).next().is_some(), Ordering::Release);
        *self.registry.write() = Arc::new(registry);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// As `refresh`, for a tree that has replaced the former one. Nothing of the former registry is reused.
    pub(crate) fn start_over(self: &Arc<Plugins>, tree: &dyn Tree) {
        *self.registry.write() = Arc::default();
        self.refresh(tree);
    }

    /// The binding of this key. The former binding is reused if nothing has changed.
    fn binding(
        self: &Arc<Plugins>,
        former: &Registry,
        tree: &dyn Tree,
        key: &str,
        set_apart: Vec<String>,
    ) -> Option<Arc<Binding>> {
        let node = path::join(PLUGINS, key);
        let (mzxid, data) = (tree.mzxid(&node)?, tree.data(&node)?);
        let bound = manifest::parse(&data).and_then(|manifest| {
            let stands = Stands { mzxid, set_apart, quarantine: quarantine::of(tree, &node, manifest.version) };
            let holds = |former: &&Arc<Binding>| former.stands == stands && !self.may_load_now(former, tree);
            match former.named(key).filter(holds) {
                Some(same) => Ok(same.clone()),
                None => self.bind(key, manifest, stands, tree).map(Arc::new),
            }
        });
        bound.inspect_err(|error| tracing::error!("{node} binds nothing: {error}; deploy the plugin again")).ok()
    }

    /// Whether a program that failed to load may load now: all pieces are there and have changed, or another binding
    /// has loaded it.
    fn may_load_now(&self, binding: &Binding, tree: &dyn Tree) -> bool {
        if binding.runs() != Some(false) {
            return false;
        }
        let pieces = tree::newest_piece(tree, &binding.manifest.component);
        let loaded_since = || {
            let newer = self.slot(&binding.manifest.code().key());
            !binding.is_of(&newer) && !matches!(newer.get(), Some(Err(_)))
        };
        pieces.is_some() && pieces != binding.pieces || loaded_since()
    }

    /// Whether the transaction brings pieces for a binding whose program failed to load. Then the registry is to be
    /// made anew.
    pub(crate) fn waited_for(&self, txn: &Txn) -> bool {
        let pieces = txn.changes.iter().filter_map(|change| match change {
            Change::Create { path, .. } | Change::SetData { path, .. } => {
                path.strip_prefix(MODULES)?.strip_prefix('/')?.split_once('/')
            }
            _ => None,
        });
        let mut pieces = pieces.peekable();
        if pieces.peek().is_none() {
            return false;
        }
        let registry = self.registry();
        let failed = |sha256: &str| {
            let of = |binding: &&Arc<Binding>| binding.manifest.component.sha256 == sha256;
            registry.all().filter(of).any(|binding| binding.runs() == Some(false))
        };
        pieces.any(|(sha256, _)| failed(sha256))
    }

    fn bind(
        self: &Arc<Plugins>,
        key: &str,
        manifest: Manifest,
        stands: Stands,
        tree: &dyn Tree,
    ) -> Result<Binding, String> {
        manifest.check_node(key)?;
        let pieces = tree::newest_piece(tree, &manifest.component);
        let program = self.slot_to_fill(&manifest.code().key());
        if self.enabled && program.get().is_none() {
            self.load_behind(key, &manifest, program.clone());
        }
        let counters = self.counters.lock().entry(key.into()).or_default().clone();
        let (supervision, idle) = (self.supervision.clone(), self.idle.clone());
        let mut binding = Binding::new(key, manifest, stands, program, counters, supervision, idle)?;
        binding.pieces = pieces;
        Ok(binding)
    }

    /// Forgets crashes whose reports are in the tree. The crash of a version that is not in force stays, because that
    /// version may return.
    fn forget_reported(&self, tree: &dyn Tree, bindings: &[Arc<Binding>]) {
        self.supervision.marks.forget(|left| {
            let binding = bindings.iter().find(|binding| binding.fingerprint() == left.fingerprint);
            binding.is_some_and(|binding| {
                let folder = path::join(&path::join(PLUGINS, &binding.key), CRASHES);
                let version = format!("{:016x}-", binding.stands.mzxid);
                let run = format!("-{}", left.run);
                tree.children(&folder).iter().any(|report| report.starts_with(&version) && report.ends_with(&run))
            })
        });
    }

    /// Whether no program is being loaded.
    pub(crate) fn settled(&self) -> bool {
        !self.enabled || self.registry.read().all().all(|binding| binding.settled())
    }

    /// The plugins that are to be called and cannot run here, or not yet. A plugin under quarantine is not among them,
    /// because no member calls it.
    pub(crate) fn lacking(&self) -> Vec<String> {
        let registry = self.registry();
        let asked = registry.all().filter(|binding| binding.is_called());
        let lacking = asked.filter(|binding| !self.enabled || binding.runs() != Some(true));
        lacking.map(|binding| binding.key.to_string()).collect()
    }

    /// Waits until `settled`, for at most `at_most`. Returns whether it is.
    #[cfg(test)]
    #[expect(clippy::disallowed_methods, reason = "the threads that load are real")]
    pub(crate) fn settle(&self, at_most: std::time::Duration) -> bool {
        let begun = std::time::Instant::now();
        while !self.settled() {
            if begun.elapsed() > at_most {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        true
    }

    /// The number of idle instances, of all bindings.
    #[cfg(test)]
    pub(crate) fn idle_instances(&self) -> usize {
        self.idle.count()
    }

    /// The newest registry.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.read_recursive().clone()
    }

    /// As `registry`, without a copy. Call it under the tree's lock, since a new registry comes under that lock.
    pub(crate) fn registry_now(&self) -> RwLockReadGuard<'_, Arc<Registry>> {
        self.registry.read_recursive()
    }

    /// Whether there is a policy that is not off.
    pub(crate) fn has_policies(&self) -> bool {
        self.policed.load(Ordering::Acquire)
    }

    pub(crate) fn has_authenticators(&self) -> bool {
        self.authenticated.load(Ordering::Acquire)
    }

    /// The newest registry and its generation, unless it is of this generation. Takes no lock if there is nothing new.
    pub(crate) fn newer_registry(&self, generation: u64) -> Option<(u64, Arc<Registry>)> {
        let newest = self.generation.load(Ordering::Acquire);
        (newest != generation).then(|| (newest, self.registry()))
    }
}

/// The name that a report gives to the process that a call ended.
fn run_name(member: u32, left: &Left) -> String {
    format!("{member}-{}", left.run)
}
