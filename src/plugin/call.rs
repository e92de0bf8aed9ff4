//! One guest instance, and one call of it: bounded, and whatever the guest does becomes a value.
//!
//! A `Fault` says whose doing it was: a guest's is SYSTEMERROR under `on_failure: reject`, the server's is
//! OPERATIONTIMEOUT, which clients retry. After a fault the instance is gone.

use super::grant::Grants;
use super::host::{
    self, Blown, Change, Fuse, HostState, MemoryExceeded, ReadsExceeded, Rejection, ViewHandle, contract,
};
use super::lend;
use crate::limits;
use crate::pipeline::Judged;
use std::sync::Arc;
use wasmtime::component::Resource;
use wasmtime::{Store, Trap};

/// How a call can fail. The names are stable: counters and texts carry them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The fuel is used up.
    Fuel,
    /// The fuse blew: too much CPU time.
    Cpu,
    /// More memory or table than allowed.
    Memory,
    /// The stack is used up.
    Stack,
    /// It looked at too much of the tree, or handed over too many bytes.
    Host,
    /// `unreachable`: in Rust a panic, whose text is in the plugin's log.
    Panic,
    /// Any other trap.
    Trap(String),
    /// An answer that means nothing: a code clients must not get.
    Output(String),
    /// The guest refused its settings, which it took when it was deployed.
    Settings(String),
    /// The component could not be compiled or loaded here: the server's doing, but lasting.
    Code(String),
    /// The server's doing: the machine was too busy.
    Wall,
    /// The server's doing: all instances are in use.
    Pool(String),
    /// The server's doing: the component is still being compiled.
    NotReady,
}

impl Fault {
    pub const CLASSES: [&str; 13] = [
        "fuel",
        "cpu",
        "memory",
        "stack",
        "host",
        "panic",
        "trap",
        "output",
        "settings",
        "code",
        "wall",
        "pool",
        "not-ready",
    ];

    /// Index into `CLASSES`.
    pub fn class(&self) -> usize {
        match self {
            Fault::Fuel => 0,
            Fault::Cpu => 1,
            Fault::Memory => 2,
            Fault::Stack => 3,
            Fault::Host => 4,
            Fault::Panic => 5,
            Fault::Trap(_) => 6,
            Fault::Output(_) => 7,
            Fault::Settings(_) => 8,
            Fault::Code(_) => 9,
            Fault::Wall => 10,
            Fault::Pool(_) => 11,
            Fault::NotReady => 12,
        }
    }

    pub fn name(&self) -> &'static str {
        Fault::CLASSES[self.class()]
    }

    /// Whether a client that tries again may have more luck.
    pub fn by_server(&self) -> bool {
        matches!(self, Fault::Wall | Fault::Pool(_) | Fault::NotReady)
    }

    /// What happened, for people.
    pub fn text(&self) -> String {
        match self {
            Fault::Fuel => "it used up its fuel".into(),
            Fault::Cpu => "it used up its CPU time".into(),
            Fault::Memory => "it needs more memory than it may have".into(),
            Fault::Stack => "it used up its stack".into(),
            Fault::Host => "it asked more of the server than it may".into(),
            Fault::Panic => "it panicked".into(),
            Fault::Trap(what) => format!("it trapped: {what}"),
            Fault::Output(what) => format!("its answer makes no sense: {what}"),
            Fault::Settings(what) => format!("it refused its settings: {what}"),
            Fault::Code(what) => format!("its code cannot be run here: {what}"),
            Fault::Wall => "the server was too busy to let it finish".into(),
            Fault::Pool(what) => format!("no instance is free: {what}"),
            Fault::NotReady => "its code is still being compiled".into(),
        }
    }

    fn of(error: &wasmtime::Error) -> Fault {
        if let Some(blown) = error.downcast_ref::<Blown>() {
            return match blown {
                Blown::Cpu => Fault::Cpu,
                Blown::Wall => Fault::Wall,
            };
        }
        if error.is::<MemoryExceeded>() {
            return Fault::Memory;
        }
        if error.is::<ReadsExceeded>() {
            return Fault::Host;
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Fault::Pool(cut(error));
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Fault::Fuel,
            Some(Trap::StackOverflow) => Fault::Stack,
            Some(Trap::UnreachableCodeReached) => Fault::Panic,
            Some(Trap::Interrupt) => Fault::Cpu,
            Some(Trap::AllocationTooLarge) => Fault::Memory,
            Some(trap) => Fault::Trap(trap.to_string()),
            // What is left comes of values that cross the border: too many bytes, bad UTF-8, bad pointers.
            None => Fault::Trap(cut(error)),
        }
    }
}

fn cut(error: &wasmtime::Error) -> String {
    host::cut(&error.root_cause().to_string(), 200).to_string()
}

/// A component ready to be instantiated, with what its author says of it.
pub struct Program {
    pub engine: wasmtime::Engine,
    pub prepared: contract::ValidatorPre<HostState>,
    pub section: super::manifest::Section,
}

/// What an instance is made with.
#[derive(Clone)]
pub struct Setup {
    pub name: Arc<str>,
    pub mount: Arc<str>,
    /// JSON text.
    pub settings: Arc<str>,
    pub grants: Arc<Grants>,
    pub budget: Budget,
}

/// Bounds of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    pub fuel: u64,
    pub cpu_ms: u64,
    pub memory_bytes: usize,
}

/// A configured instance.
pub struct Instance {
    store: Store<HostState>,
    guest: contract::Validator,
    budget: Budget,
    /// Calls answered.
    pub calls: u32,
}

/// What a call came to, and the fuel it took.
pub struct Answer {
    pub verdict: Result<Result<(), Rejection>, Fault>,
    pub fuel: u64,
}

impl Instance {
    /// Instantiates and configures. `Fault::Settings` has the guest's own words.
    pub fn new(program: &Program, setup: &Setup) -> Result<Instance, Fault> {
        let mut store =
            host::store(&program.engine, setup.name.clone(), setup.grants.clone(), setup.budget.memory_bytes);
        begin(&mut store, limits::PLUGIN_CONFIGURE_FUEL, limits::PLUGIN_CPU_MS_MAX, 0)?;
        let guest = program.prepared.instantiate(&mut store).map_err(|error| match Fault::of(&error) {
            // Nothing of the guest's has run but its start function, which Rust guests do not have.
            Fault::Trap(what) => Fault::Code(what),
            fault => fault,
        })?;
        let configured = guest.wasmkeeper_plugin_setup().call_configure(&mut store, &setup.mount, &setup.settings);
        match configured {
            Ok(Ok(())) => Ok(Instance { store, guest, budget: setup.budget, calls: 0 }),
            Ok(Err(text)) => Err(Fault::Settings(host::cut(&text, limits::REFUSAL_TEXT_BYTES_MAX).into())),
            Err(error) => Err(Fault::of(&error)),
        }
    }

    /// Asks. After a fault the instance must not be used again.
    pub fn validate(&mut self, judged: &Judged<'_>, changes: &[Change]) -> Answer {
        let fuel = host::grown(self.budget.fuel, changes.len() as u64);
        if let Err(fault) = begin(&mut self.store, fuel, self.budget.cpu_ms, changes.len() as u64) {
            return Answer { verdict: Err(fault), fuel: 0 };
        }
        self.calls += 1;
        let guest = self.guest.wasmkeeper_plugin_validation();
        let answered = lend::lend(
            &mut self.store,
            |store| &mut store.data_mut().lent,
            judged,
            |store| guest.call_validate(store, Resource::<ViewHandle>::new_borrow(0), changes),
        );
        let fuel = fuel.saturating_sub(self.store.get_fuel().unwrap_or(0));
        Answer { verdict: answered.map_err(|error| Fault::of(&error)), fuel }
    }

    /// Log lines dropped since the last time this was asked.
    pub fn take_dropped_lines(&mut self) -> u64 {
        std::mem::take(&mut self.store.data_mut().lines.dropped)
    }
}

/// Sets the budgets of a call.
fn begin(store: &mut Store<HostState>, fuel: u64, cpu_ms: u64, changes: u64) -> Result<(), Fault> {
    store.set_fuel(fuel).map_err(|error| Fault::of(&error))?;
    store.set_epoch_deadline(1);
    let state = store.data_mut();
    state.fuse = Fuse::new(cpu_ms);
    state.spent = host::Spent { changes, ..Default::default() };
    Ok(())
}
