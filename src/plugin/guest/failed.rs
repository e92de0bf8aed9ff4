//! Which fault an error of wasmtime is, and what the failed call leaves behind for the plugin's author.

use super::host::{Blown, HostExceeded, HostState, MemoryExceeded};
use crate::limits;
use crate::plugin::contract;
use crate::plugin::fault::{Evidence, Fault};
use wasmtime::{Store, Trap};

/// A fault, with what the failed call left behind.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    pub(crate) evidence: Evidence,
    /// The fuel that was used to make the instance. 0 if the instance existed before the call.
    pub(crate) fuel: u64,
}

impl Failed {
    pub(crate) fn of(error: &wasmtime::Error, store: &mut Store<HostState>) -> Failed {
        let trace = error.downcast_ref::<wasmtime::WasmBacktrace>().map(ToString::to_string).unwrap_or_default();
        // The first line is a title.
        let frames = trace.lines().skip(1).take(limits::PLUGIN_BACKTRACE_LINES_MAX);
        let backtrace =
            frames.map(|frame| contract::cut(frame.trim(), limits::PLUGIN_LOG_LINE_BYTES_MAX).into()).collect();
        let log = store.data_mut().lines.take_last();
        Failed { fault: fault_of(error), evidence: Evidence { backtrace, log }, fuel: 0 }
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Failed {
        Failed { fault, evidence: Evidence::default(), fuel: 0 }
    }
}

/// Which fault an error of wasmtime is.
pub(crate) fn fault_of(error: &wasmtime::Error) -> Fault {
    if let Some(blown) = error.downcast_ref::<Blown>() {
        return match blown {
            Blown::Cpu => Fault::Cpu,
            Blown::Wall => Fault::Wall,
        };
    }
    if error.is::<MemoryExceeded>() {
        return Fault::Memory;
    }
    if error.is::<HostExceeded>() {
        return Fault::Host;
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Fault::Pool(root_cause(error));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Fault::Fuel,
        Some(Trap::StackOverflow) => Fault::Stack,
        Some(Trap::UnreachableCodeReached) => Fault::Panic,
        Some(Trap::Interrupt) => Fault::Cpu,
        Some(Trap::AllocationTooLarge) => Fault::Memory,
        Some(trap) => Fault::Trap(trap.to_string()),
        // The remaining errors come from passing values: too many bytes, bad UTF-8, bad pointers.
        None => Fault::Trap(root_cause(error)),
    }
}

pub(crate) fn root_cause(error: &wasmtime::Error) -> String {
    contract::cut(&error.root_cause().to_string(), 200).to_string()
}
