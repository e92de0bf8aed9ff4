//! What the store of an instance holds: the data of the host functions, and the budgets of the running call.
//!
//! `functions` has the functions that guests may call. Nothing else is linked, so a guest has no powers but those of
//! its binding's grants.

use super::lend::Lent;
use super::looks::Looks;
use super::stand_ins::StandIns;
use crate::environment::Instant;
use crate::limits;
use crate::plugin::manifest::grant::Grants;
use crate::plugin::report::counters::Counters;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};

/// What the host functions of one instance see.
pub(crate) struct HostState {
    /// The plugin's name, for log lines.
    pub(crate) name: Arc<str>,
    /// The plugin's counters and log. None until `Instance::start` sets them.
    pub(crate) counters: Option<Arc<Counters>>,
    pub(crate) lent: Lent,
    pub(crate) grants: Arc<Grants>,
    pub(crate) memory: Memory,
    pub(crate) fuse: Fuse,
    pub(crate) spent: Spent,
    /// What the running call has read. Some only in a call of a policy.
    pub(crate) looks: Option<Looks>,
    pub(crate) lines: Lines,
    pub(crate) stand_ins: StandIns,
}

/// A store for one instance. Each call sets fuel and fuse anew.
pub(crate) fn store(engine: &Engine, name: Arc<str>, grants: Arc<Grants>, memory_bytes_max: usize) -> Store<HostState> {
    let state = HostState {
        name,
        counters: None,
        lent: Lent::default(),
        grants,
        memory: Memory { bytes_max: memory_bytes_max, bytes: 0 },
        fuse: Fuse::new(limits::ms(limits::PLUGIN_CPU)),
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
/// Reading the CPU time of a thread costs more than a small call. So the fuse reads it at the first tick of the
/// engine's epoch that happens during the call. Calls that end before a tick pay nothing, and the limit counts from
/// that tick.
///
/// A simulated member's engine has no ticks (`engine::still_engine`), so its fuse never blows.
pub(crate) struct Fuse {
    cpu_max: Duration,
    started: Instant,
    cpu_at_first_look: Option<Duration>,
}

/// Why the fuse ended a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Blown {
    #[error("too much CPU time")]
    Cpu,
    #[error("too much time")]
    Wall,
}

impl Fuse {
    pub(crate) fn new(cpu_ms_max: u64) -> Fuse {
        Fuse { cpu_max: Duration::from_millis(cpu_ms_max), started: Instant::now(), cpu_at_first_look: None }
    }

    fn look(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let now = thread_cpu_time();
        let from = *self.cpu_at_first_look.get_or_insert(now);
        if now.saturating_sub(from) >= self.cpu_max {
            return Err(Blown::Cpu.into());
        }
        if self.started.elapsed() >= limits::PLUGIN_WALL {
            return Err(Blown::Wall.into());
        }
        Ok(UpdateDeadline::Continue(1))
    }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bounds the linear memory and the tables of an instance.
pub(crate) struct Memory {
    bytes_max: usize,
    /// The largest size so far, in bytes. Invariant: at most `bytes_max`.
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the instance needs more memory than it may have")]
pub(crate) struct MemoryExceeded;

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.bytes_max {
            return Err(MemoryExceeded.into());
        }
        self.bytes = self.bytes.max(desired);
        assert!(self.bytes <= self.bytes_max, "an instance has more memory than its bound");
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > limits::PLUGIN_TABLE_ELEMENTS_MAX { Err(MemoryExceeded.into()) } else { Ok(true) }
    }
}

/// What one call has used of the host.
///
/// Invariant: each count is within its bound when a host function starts. The function that exceeds a bound ends the
/// call.
#[derive(Default)]
pub(crate) struct Spent {
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    /// Operations on the transaction. Refused operations count.
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    /// The guest asked for something that no node shows (`context`, `fact`). The same question may have another answer
    /// later.
    pub(crate) circumstances: bool,
    /// The number of changes that the call was told of. Each change beyond the first raises the bounds by a hundredth.
    pub(crate) changes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the call looked at more of the tree, or changed more of it, than it may")]
pub(crate) struct HostExceeded;

impl Spent {
    pub(super) fn read(&mut self, bytes: usize) -> wasmtime::Result<()> {
        let reads_max = grown(limits::PLUGIN_READS_MAX, self.changes);
        let bytes_max = grown(limits::PLUGIN_READ_BYTES_MAX, self.changes);
        assert!(self.reads <= reads_max && self.read_bytes <= bytes_max, "a call reads on beyond its bounds");
        self.reads += 1;
        self.read_bytes += bytes as u64;
        if self.reads > reads_max || self.read_bytes > bytes_max {
            return Err(HostExceeded.into());
        }
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: usize) -> wasmtime::Result<()> {
        let writes_max = grown(limits::PLUGIN_WRITES_MAX, self.changes);
        let bytes_max = grown(limits::PLUGIN_WRITTEN_BYTES_MAX, self.changes);
        assert!(self.writes <= writes_max && self.written_bytes <= bytes_max, "a call writes on beyond its bounds");
        self.writes += 1;
        self.written_bytes += bytes as u64;
        if self.writes > writes_max || self.written_bytes > bytes_max {
            return Err(HostExceeded.into());
        }
        Ok(())
    }
}

/// The bound for a call that is told of `changes` changes: one hundredth more for each change beyond the first.
pub(crate) fn grown(bound: u64, changes: u64) -> u64 {
    bound.saturating_add(bound / 100 * changes.saturating_sub(1))
}

/// The log of an instance, bounded in lines a second.
#[derive(Default)]
pub(crate) struct Lines {
    second: Option<Instant>,
    written: u32,
    pub(crate) dropped: u64,
    /// The last lines of the running call, dropped lines included. Invariant: at most `limits::PLUGIN_LOG_LINES_KEPT`.
    last: VecDeque<String>,
}

impl Lines {
    /// Begins another call.
    pub(super) fn begin(&mut self) {
        self.last.clear();
    }

    pub(super) fn keep(&mut self, line: String) {
        if self.last.len() == limits::PLUGIN_LOG_LINES_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
        assert!(self.last.len() <= limits::PLUGIN_LOG_LINES_KEPT, "too many lines of one call are kept");
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
