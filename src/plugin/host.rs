//! The engine that runs guests, and the functions it offers them: exactly those of `wit/plugin.wit`.
//!
//! Nothing else is linked, so a guest has no authority but what its binding grants. Every function here is bounded: fuel
//! and fuse cannot interrupt the host.

use super::grant::{Grants, Verb};
use super::lend::Lent;
use crate::limits;
use crate::model::{ErrorCode, NodeKind, SessionId, acl};
use crate::pipeline::NodeCopy;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime::{Config, Engine, OptLevel, PoolingAllocationConfig, ResourceLimiter, Store, UpdateDeadline};

/// The contract as Rust types.
pub mod contract {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "validator",
        imports: { default: trappable },
        with: { "wasmkeeper:plugin/reading.view": super::ViewHandle },
    });
}

pub use contract::wasmkeeper::plugin::types::{Change, ChangeKind, Rejection};
use contract::wasmkeeper::plugin::{logging, reading, types};

/// What the guest's `view` handle stands for. It holds nothing: what it shows is `HostState::lent`.
pub struct ViewHandle;

/// Settings that machine code depends on are the same in the server and in the compiling child; the pool is the
/// server's alone.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .max_wasm_stack(limits::PLUGIN_STACK_BYTES)
        .memory_init_cow(true);
    config
}

/// The engine of the compiling child: it makes machine code and runs none, so it reserves no address space.
pub fn compiling_engine() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

/// The engine that runs guests, its clock ticking.
pub fn running_engine() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits::PLUGIN_INSTANCES_MAX)
        // wit-component makes up to three core instances of one module: it, a shim, a fix-up.
        .total_core_instances(limits::PLUGIN_INSTANCES_MAX * 4)
        .total_memories(limits::PLUGIN_INSTANCES_MAX)
        .total_tables(limits::PLUGIN_INSTANCES_MAX * 4)
        .max_memories_per_component(1)
        .max_core_instances_per_component(8)
        .max_tables_per_component(4)
        .max_memory_size(limits::PLUGIN_MEMORY_BYTES_MAX)
        .table_elements(limits::PLUGIN_TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(8)
        // Small guests touch little: clearing that is cheaper than giving the pages back.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10);
    let mut config = config();
    config.allocation_strategy(pool);
    // Where the address space is limited (`ulimit -v`) the pool's reservation fails; guests then start slower.
    let engine = Engine::new(&config).or_else(|error| {
        tracing::warn!("no address space for the pool of plugin instances, they start slower without: {error:#}");
        Engine::new(&self::config())
    })?;
    let ticking = engine.weak();
    std::thread::Builder::new().name("plugin-clock".into()).spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(limits::PLUGIN_TICK_MS));
            match ticking.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(engine)
}

pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    contract::Validator::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// What one instance's host functions see.
pub struct HostState {
    /// For log lines.
    pub name: Arc<str>,
    pub lent: Lent,
    pub grants: Arc<Grants>,
    pub memory: Memory,
    pub fuse: Fuse,
    pub spent: Spent,
    pub lines: Lines,
}

/// A store for one instance. Its fuel and fuse are set by each call.
pub fn store(engine: &Engine, name: Arc<str>, grants: Arc<Grants>, memory_bytes_max: usize) -> Store<HostState> {
    let state = HostState {
        name,
        lent: Lent::default(),
        grants,
        memory: Memory { bytes_max: memory_bytes_max },
        fuse: Fuse::new(limits::PLUGIN_CPU_MS),
        spent: Spent::default(),
        lines: Lines::default(),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(limits::PLUGIN_TO_HOST_BYTES_MAX);
    store.set_max_component_handles(limits::PLUGIN_HANDLES_MAX);
    store.epoch_deadline_callback(|mut context| context.data_mut().fuse.look());
    store
}

/// Ends a call that has run too long.
///
/// Reading the thread's CPU time costs more than a small call, so it is first read at the first tick that a call sees:
/// short calls never pay for it, and the limit counts from there.
pub struct Fuse {
    cpu_max: Duration,
    started: Instant,
    cpu_at_first_look: Option<Duration>,
}

/// Why the fuse ended a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Blown {
    #[error("too much CPU time")]
    Cpu,
    #[error("too much time")]
    Wall,
}

impl Fuse {
    pub fn new(cpu_ms_max: u64) -> Fuse {
        Fuse { cpu_max: Duration::from_millis(cpu_ms_max), started: Instant::now(), cpu_at_first_look: None }
    }

    fn look(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let now = thread_cpu_time();
        let from = *self.cpu_at_first_look.get_or_insert(now);
        if now.saturating_sub(from) >= self.cpu_max {
            return Err(Blown::Cpu.into());
        }
        if self.started.elapsed() >= Duration::from_millis(limits::PLUGIN_WALL_MS) {
            return Err(Blown::Wall.into());
        }
        Ok(UpdateDeadline::Continue(1))
    }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bounds an instance's linear memory and tables.
pub struct Memory {
    bytes_max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the instance needs more memory than it may have")]
pub struct MemoryExceeded;

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.bytes_max { Err(MemoryExceeded.into()) } else { Ok(true) }
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > limits::PLUGIN_TABLE_ELEMENTS_MAX { Err(MemoryExceeded.into()) } else { Ok(true) }
    }
}

/// What one call has had of the host.
#[derive(Default)]
pub struct Spent {
    pub reads: u64,
    pub read_bytes: u64,
    /// How many changes the call was told of: each beyond the first adds a hundredth to the bounds.
    pub changes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the call looked at more of the tree than it may")]
pub struct ReadsExceeded;

impl Spent {
    fn read(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.reads += 1;
        self.read_bytes += bytes as u64;
        let grown = |bound: u64| grown(bound, self.changes);
        if self.reads > grown(limits::PLUGIN_READS_MAX) || self.read_bytes > grown(limits::PLUGIN_READ_BYTES_MAX) {
            return Err(ReadsExceeded.into());
        }
        Ok(())
    }
}

/// A bound for a call that is told of so many changes.
pub fn grown(bound: u64, changes: u64) -> u64 {
    bound.saturating_add(bound / 100 * changes.saturating_sub(1))
}

/// An instance's log, bounded in lines.
#[derive(Default)]
pub struct Lines {
    second: Option<Instant>,
    written: u32,
    pub dropped: u64,
}

impl Lines {
    fn admit(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.written = 0;
        }
        self.written += 1;
        let admitted = self.written <= limits::PLUGIN_LOG_LINES_PER_SECOND;
        self.dropped += u64::from(!admitted);
        admitted
    }
}

impl logging::Host for HostState {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        if !self.lines.admit(Instant::now()) {
            return Ok(());
        }
        let message = cut(&message, limits::PLUGIN_LOG_LINE_BYTES_MAX).escape_debug();
        let plugin = &*self.name;
        match level {
            logging::Level::Trace => tracing::trace!(target: "wasmkeeper::guest", plugin, "{message}"),
            logging::Level::Debug => tracing::debug!(target: "wasmkeeper::guest", plugin, "{message}"),
            logging::Level::Info => tracing::info!(target: "wasmkeeper::guest", plugin, "{message}"),
            logging::Level::Warn => tracing::warn!(target: "wasmkeeper::guest", plugin, "{message}"),
            // An error of a guest's is its author's to look at, not the operator's of the server.
            logging::Level::Error => tracing::warn!(target: "wasmkeeper::guest", plugin, "error: {message}"),
        }
        Ok(())
    }
}

/// The longest prefix of so many bytes that is text.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

impl types::Host for HostState {}
impl reading::Host for HostState {}

impl HostState {
    /// The refusal of a path outside the grant.
    fn granted(&self, verb: Verb, path: &str) -> Result<(), Rejection> {
        if self.grants.allow(verb, path) {
            return Ok(());
        }
        Err(Rejection {
            code: ErrorCode::NoAuth.code(),
            text: format!("the plugin has no grant to {} {path}", verb.name()),
        })
    }

    /// One look at a node through `find`; none outside a call.
    fn look(
        &mut self,
        verb: Verb,
        path: &str,
        find: impl FnOnce(&crate::pipeline::Judged<'_>) -> Option<NodeCopy>,
    ) -> Looked {
        if let Err(rejection) = self.granted(verb, path) {
            return Ok(Err(rejection));
        }
        let found = self.lent.get().and_then(find);
        self.spent.read(found.as_ref().map_or(0, |node| node.data.as_ref().map_or(0, |data| data.len())))?;
        Ok(Ok(found))
    }
}

type Looked = wasmtime::Result<Result<Option<NodeCopy>, Rejection>>;

type Answer<T> = wasmtime::Result<Result<T, Rejection>>;

impl reading::HostView for HostState {
    fn get(&mut self, _: Resource<ViewHandle>, path: String) -> Answer<Option<types::Node>> {
        let found = self.look(Verb::Read, &path, |judged| judged.view.node(&path))?;
        Ok(found.map(|found| found.map(node)))
    }

    fn stat(&mut self, _: Resource<ViewHandle>, path: String) -> Answer<Option<types::Stat>> {
        if let Err(rejection) = self.granted(Verb::Read, &path) {
            return Ok(Err(rejection));
        }
        self.spent.read(0)?;
        Ok(Ok(self.lent.get().and_then(|judged| judged.view.node(&path)).map(|found| stat(&found))))
    }

    fn acl(&mut self, _: Resource<ViewHandle>, path: String) -> Answer<Vec<types::AclEntry>> {
        let found = self.look(Verb::Read, &path, |judged| judged.view.node(&path))?;
        Ok(found.map(|found| found.map_or_else(Vec::new, |node| node.acl.iter().map(acl_entry).collect())))
    }

    fn children(
        &mut self,
        _: Resource<ViewHandle>,
        path: String,
        after: Option<String>,
        limit: u32,
    ) -> Answer<Vec<String>> {
        if let Err(rejection) = self.granted(Verb::Children, &path) {
            return Ok(Err(rejection));
        }
        let limit = (limit as usize).min(limits::PLUGIN_PAGE_MAX);
        let names =
            self.lent.get().map_or_else(Vec::new, |judged| judged.view.children(&path, after.as_deref(), limit));
        self.spent.read(names.iter().map(String::len).sum())?;
        Ok(Ok(names))
    }

    fn ephemerals(&mut self, _: Resource<ViewHandle>, session: u64, prefix: String, limit: u32) -> Answer<Vec<String>> {
        if let Err(rejection) = self.granted(Verb::Read, &prefix) {
            return Ok(Err(rejection));
        }
        let limit = (limit as usize).min(limits::PLUGIN_PAGE_MAX);
        let session = SessionId(session.cast_signed());
        // `prefix` is text, so "/a" also finds "/ab", which the grant may not cover.
        let mut paths = self.lent.get().map_or_else(Vec::new, |judged| judged.view.ephemerals(session, &prefix, limit));
        paths.retain(|path| self.grants.allow(Verb::Read, path));
        self.spent.read(paths.iter().map(String::len).sum())?;
        Ok(Ok(paths))
    }

    fn original(&mut self, _: Resource<ViewHandle>, path: String) -> Answer<Option<types::Node>> {
        let found = self.look(Verb::Read, &path, |judged| judged.view.original(&path))?;
        Ok(found.map(|found| found.map(node)))
    }

    fn context(&mut self, _: Resource<ViewHandle>) -> wasmtime::Result<types::Context> {
        let judged = self.lent.get();
        Ok(types::Context {
            zxid: judged.map_or(0, |judged| judged.zxid.0),
            wall_ms: judged.map_or(0, |judged| judged.moment.wall_ms.max(0).cast_unsigned()),
            ensemble_ms: judged.map_or(0, |judged| judged.moment.ensemble_ms),
            seed: judged.map_or(0, |judged| judged.moment.seed),
            session: judged.and_then(|judged| judged.caller).map_or(0, |caller| caller.session.0.cast_unsigned()),
        })
    }

    fn identities(&mut self, _: Resource<ViewHandle>) -> wasmtime::Result<Vec<types::Identity>> {
        let caller = self.lent.get().and_then(|judged| judged.caller);
        Ok(caller.map_or_else(Vec::new, |caller| caller.identities.iter().map(identity).collect()))
    }

    fn fact(&mut self, _: Resource<ViewHandle>, name: String) -> wasmtime::Result<Option<String>> {
        let Some(judged) = self.lent.get() else { return Ok(None) };
        Ok(match name.as_str() {
            "address" => judged.caller.map(|caller| std::net::SocketAddr::new(caller.address, caller.port).to_string()),
            "xid" => Some(judged.xid.to_string()),
            // Only recipes and controllers write.
            "plugins" => Some(String::new()),
            _ => None,
        })
    }

    fn drop(&mut self, _: Resource<ViewHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

fn node(copy: NodeCopy) -> types::Node {
    let stat = stat(&copy);
    types::Node { data: copy.data.map_or_else(Vec::new, |data| data.to_vec()), stat }
}

fn stat(copy: &NodeCopy) -> types::Stat {
    let stat = &copy.stat;
    types::Stat {
        czxid: stat.czxid.cast_unsigned(),
        mzxid: stat.mzxid.cast_unsigned(),
        pzxid: stat.pzxid.cast_unsigned(),
        ctime: stat.ctime.cast_unsigned(),
        mtime: stat.mtime.cast_unsigned(),
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: match crate::model::Owner(stat.ephemeral_owner).kind() {
            NodeKind::Ephemeral(session) => session.0.cast_unsigned(),
            _ => 0,
        },
        data_length: stat.data_length.cast_unsigned(),
        num_children: stat.num_children.cast_unsigned(),
    }
}

fn identity(identity: &crate::model::Identity) -> types::Identity {
    types::Identity { scheme: identity.scheme.clone(), id: identity.id.clone() }
}

fn acl_entry(entry: &acl::AclEntry) -> types::AclEntry {
    let mut permissions = types::Permissions::empty();
    for (bit, flag) in [
        (acl::READ, types::Permissions::READ),
        (acl::WRITE, types::Permissions::WRITE),
        (acl::CREATE, types::Permissions::CREATE),
        (acl::DELETE, types::Permissions::DELETE),
        (acl::ADMIN, types::Permissions::ADMIN),
    ] {
        if entry.permissions & bit != 0 {
            permissions |= flag;
        }
    }
    types::AclEntry { permissions, who: identity(&entry.who) }
}
