//! The engine that runs guests, the contract as Rust types, and what an instance's store holds.
//!
//! What guests may call is in `functions`; nothing else is linked, so a guest has no authority but what its binding grants.

use super::lend::Lent;
use super::stand_ins::StandIns;
use crate::limits;
use crate::plugin::binding::verdicts::Looks;
use crate::plugin::manifest::grant::Grants;
use crate::plugin::report::counters::Counters;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::WasmBacktraceDetails;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, OptLevel, PoolingAllocationConfig, ResourceLimiter, Store, UpdateDeadline};

/// The contract as Rust types: what any kind of plugin imports and exports, of which each has its part.
pub mod contract {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package wasmkeeper:host;
            world every-kind {
                import wasmkeeper:plugin/logging@1.0.0;
                import wasmkeeper:plugin/reading@1.0.0;
                import wasmkeeper:plugin/writing@1.0.0;
                export wasmkeeper:plugin/setup@1.0.0;
                export wasmkeeper:plugin/validation@1.0.0;
                export wasmkeeper:plugin/authorization@1.0.0;
                export wasmkeeper:plugin/authentication@1.0.0;
                export wasmkeeper:plugin/behavior@1.0.0;
                export wasmkeeper:plugin/reconciliation@1.0.0;
            }
        ",
        world: "wasmkeeper:host/every-kind",
        imports: { default: trappable },
        with: {
            "wasmkeeper:plugin/reading.view": super::ViewHandle,
            "wasmkeeper:plugin/writing.transaction": super::TransactionHandle,
        },
        additional_derives: [PartialEq],
    });
}

pub use contract::exports::wasmkeeper::plugin as exports;
pub use contract::wasmkeeper::plugin::types::{Change, ChangeKind, Rejection};

/// What the guest's `view` handle stands for. It holds nothing: what it shows is `HostState::lent`.
pub struct ViewHandle;

/// What the guest's `transaction` handle stands for; likewise.
pub struct TransactionHandle;

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
        // Lines of the guest's source where its component has them: they cost nothing where nothing traps.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .max_wasm_stack(limits::PLUGIN_STACK_BYTES)
        .memory_init_cow(true);
    config
}

/// Whether an engine has been started in this process: with the first one come handlers of signals.
static STARTED: Mutex<bool> = Mutex::new(false);

/// Does something that must be done before any engine is started; false: it is too late.
pub fn before_engines(act: impl FnOnce()) -> bool {
    let started = STARTED.lock();
    if !*started {
        act();
    }
    !*started
}

fn start(config: &Config) -> wasmtime::Result<Engine> {
    let mut started = STARTED.lock();
    *started = true;
    Engine::new(config)
}

/// The engine of the compiling child: it makes machine code and runs none, so it reserves no address space.
pub fn compiling_engine() -> wasmtime::Result<Engine> {
    start(&config())
}

/// An engine that runs guests without a clock: their fuel alone ends them. For the simulation, where each member has a handful
/// of instances and a pool would be one for all.
pub fn still_engine() -> wasmtime::Result<Engine> {
    start(&config())
}

/// The engine that runs guests, its clock ticking.
pub fn running_engine() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits::PLUGIN_INSTANCES_MAX)
        .total_core_instances(limits::PLUGIN_INSTANCES_MAX * limits::PLUGIN_CORE_INSTANCES_MAX)
        .total_memories(limits::PLUGIN_INSTANCES_MAX)
        .total_tables(limits::PLUGIN_INSTANCES_MAX * 4)
        .max_memories_per_component(1)
        .max_core_instances_per_component(limits::PLUGIN_CORE_INSTANCES_MAX)
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
    let engine = start(&config).or_else(|error| {
        tracing::warn!("no address space for the pool of plugin instances, they start slower without: {error:#}");
        start(&self::config())
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
    contract::EveryKind::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// What one instance's host functions see.
pub struct HostState {
    /// For log lines.
    pub name: Arc<str>,
    /// Where what it says is kept.
    pub counters: Option<Arc<Counters>>,
    pub lent: Lent,
    pub grants: Arc<Grants>,
    pub memory: Memory,
    pub fuse: Fuse,
    pub spent: Spent,
    /// Of a policy's call.
    pub looks: Option<Looks>,
    pub lines: Lines,
    pub stand_ins: StandIns,
}

/// A store for one instance. Its fuel and fuse are set by each call.
pub fn store(engine: &Engine, name: Arc<str>, grants: Arc<Grants>, memory_bytes_max: usize) -> Store<HostState> {
    let state = HostState {
        name,
        counters: None,
        lent: Lent::default(),
        grants,
        memory: Memory { bytes_max: memory_bytes_max, bytes: 0 },
        fuse: Fuse::new(limits::PLUGIN_CPU_MS),
        spent: Spent::default(),
        looks: None,
        lines: Lines::default(),
        stand_ins: Default::default(),
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
    /// What it has grown to.
    pub bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the instance needs more memory than it may have")]
pub struct MemoryExceeded;

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.bytes_max {
            return Err(MemoryExceeded.into());
        }
        self.bytes = self.bytes.max(desired);
        Ok(true)
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
    /// Operations on the transaction, refused ones included.
    pub writes: u64,
    pub written_bytes: u64,
    /// It asked for something that no node shows (`context`, `fact`): the same question may have another answer.
    pub circumstances: bool,
    /// How many changes the call was told of: each beyond the first adds a hundredth to the bounds.
    pub changes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the call looked at more of the tree, or changed more of it, than it may")]
pub struct HostExceeded;

impl Spent {
    pub(super) fn read(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.reads += 1;
        self.read_bytes += bytes as u64;
        let grown = |bound: u64| grown(bound, self.changes);
        if self.reads > grown(limits::PLUGIN_READS_MAX) || self.read_bytes > grown(limits::PLUGIN_READ_BYTES_MAX) {
            return Err(HostExceeded.into());
        }
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.writes += 1;
        self.written_bytes += bytes as u64;
        let grown = |bound: u64| grown(bound, self.changes);
        if self.writes > grown(limits::PLUGIN_WRITES_MAX)
            || self.written_bytes > grown(limits::PLUGIN_WRITTEN_BYTES_MAX)
        {
            return Err(HostExceeded.into());
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
    /// The last ones of the call that runs, those that were dropped among them.
    last: VecDeque<String>,
}

impl Lines {
    /// Another call.
    pub(super) fn begin(&mut self) {
        self.last.clear();
    }

    pub(super) fn keep(&mut self, line: String) {
        if self.last.len() == limits::PLUGIN_LOG_LINES_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(super) fn take_last(&mut self) -> Vec<String> {
        std::mem::take(&mut self.last).into()
    }

    pub(super) fn admit(&mut self, now: Instant) -> bool {
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

/// The longest prefix of so many bytes that is text.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
