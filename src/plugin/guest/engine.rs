//! The engines that run guests and make machine code, and what is linked into guests.

use super::host::HostState;
use crate::limits;
use crate::plugin::contract::EveryKind;
use parking_lot::Mutex;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

/// The settings that machine code depends on. The server and the compiling child use the same ones. The pool is the
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
        // Source lines in backtraces, if the component contains them. They cost nothing unless a guest traps.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .max_wasm_stack(limits::PLUGIN_STACK_BYTES)
        .memory_init_cow(true);
    config
}

/// Whether this process has started an engine. The first engine installs signal handlers.
static STARTED: Mutex<bool> = Mutex::new(false);

/// Runs `act`, which must run before the first engine starts. Returns false, without running `act`, if an engine has
/// started.
pub(crate) fn before_engines(act: impl FnOnce()) -> bool {
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

/// The engine of the compiling child. The child runs no guests, so this engine reserves no address space.
pub(crate) fn compiling_engine() -> wasmtime::Result<Engine> {
    start(&config())
}

/// An engine whose epoch never advances, so that fuel alone ends a guest. The simulation uses this engine: its runs
/// must not depend on time. A simulated member has a handful of instances and needs no pool.
pub(crate) fn still_engine() -> wasmtime::Result<Engine> {
    start(&config())
}

/// The engine that runs guests on a real server. A thread advances its epoch every `limits::PLUGIN_TICK`.
pub(crate) fn running_engine() -> wasmtime::Result<Engine> {
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
        // Small guests touch little memory. Clearing it is cheaper than returning the pages to the kernel.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10);
    let mut config = config();
    config.allocation_strategy(pool);
    // If the address space is limited (`ulimit -v`), the reservation for the pool fails. Guests then start slower,
    // without a pool.
    let engine = start(&config).or_else(|error| {
        tracing::warn!(
            "there is no address space for the pool of plugin instances; plugins start slower without it: {error:#}"
        );
        start(&self::config())
    })?;
    let ticking = engine.weak();
    std::thread::Builder::new().name("plugin-clock".into()).spawn(move || {
        loop {
            #[expect(clippy::disallowed_methods, reason = "the clock of guests is a thread that does nothing else")]
            std::thread::sleep(limits::PLUGIN_TICK);
            match ticking.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(engine)
}

pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    EveryKind::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}
