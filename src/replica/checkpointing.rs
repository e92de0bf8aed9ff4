//! Writes checkpoints and images, on a thread of its own, and lets the log go behind them.
//!
//! The state is cut at an entry boundary under the exclusive lock, which takes microseconds; its records are then taken in
//! pieces, a short lock each, while transactions go on being applied.

use super::Replica;
use super::start::OrDie;
use crate::environment::Instant;
use crate::limits;
use crate::simulation::{self, Seen};
use crate::state::{Cut, State};
use crate::storage::checkpoint::{Change, CheckpointSource};
use crate::storage::checkpointer::{Checkpointer, Progress};
use crate::storage::{LogPosition, Meta};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Asks it to end, with a last checkpoint.
#[derive(Default)]
pub struct Ending {
    asked: Mutex<bool>,
    changed: Condvar,
    changed_for_task: Notify,
}

impl Ending {
    pub fn ask(&self) {
        *self.asked.lock() = true;
        self.changed.notify_all();
        self.changed_for_task.notify_one();
    }

    fn is_asked(&self) -> bool {
        *self.asked.lock()
    }

    /// Waits a while, or until asked.
    fn wait(&self, at_most: Duration) {
        let mut asked = self.asked.lock();
        if !*asked {
            self.changed.wait_for(&mut asked, at_most);
        }
    }
}

/// Writes checkpoints when they are due.
pub struct Checkpointing {
    replica: Arc<Replica>,
    checkpointer: Checkpointer,
    log_bytes_at_start: u64,
    ending: Arc<Ending>,
    done_at: Option<LogPosition>,
}

impl Checkpointing {
    /// `log_bytes_at_start`: what the log held then.
    pub fn new(
        replica: Arc<Replica>,
        checkpointer: Checkpointer,
        log_bytes_at_start: u64,
        ending: Arc<Ending>,
    ) -> Checkpointing {
        let done_at = replica.boundary.lock().position;
        Checkpointing { replica, checkpointer, log_bytes_at_start, ending, done_at }
    }

    /// Runs until it is asked to end.
    pub fn run(mut self) {
        let _whole = OrDie("writing a checkpoint");
        loop {
            self.ending.wait(limits::CHECKPOINT_LOOK_INTERVAL);
            if self.look().is_last() {
                return;
            }
        }
    }

    /// As `run`, as a task.
    pub async fn run_as_task(mut self) {
        loop {
            let asked = self.ending.changed_for_task.notified();
            let _ = tokio::time::timeout(limits::CHECKPOINT_LOOK_INTERVAL, asked).await;
            if self.look().is_last() {
                return;
            }
        }
    }

    /// Writes a checkpoint if one is due. A failed write ends the process: what a disk does after that cannot be trusted.
    fn look(&mut self) -> Look {
        let replica = &self.replica;
        let progress = Progress {
            log_bytes: self.log_bytes_at_start + replica.consensus().metrics().log.bytes,
            now_ms: replica.now_ms(),
            changed: replica.boundary.lock().position != self.done_at,
            stopping: self.ending.is_asked(),
        };
        let look = if progress.stopping { Look::Last } else { Look::OneOfMany };
        let mut source = Source { replica, cut: None };
        let began = Instant::now();
        match self.checkpointer.run(&progress, &mut source) {
            Ok(None) => {}
            Ok(Some(done)) => {
                replica.connections.metrics().snapshottime.add(began.elapsed().as_millis() as u64);
                tracing::info!(zxid = %done.meta.zxid, records = done.tally.count, image = done.image_written, "checkpoint");
                simulation::see(|| Seen::Checkpoint { zxid: done.meta.zxid });
                self.done_at = done.meta.position;
                if let Some(position) = done.purge_up_to {
                    replica.consensus().checkpointed(position);
                }
            }
            Err(error) => super::start::die(&format!("the checkpoint cannot be written: {error}")),
        }
        look
    }
}

enum Look {
    OneOfMany,
    /// It was asked to end before.
    Last,
}

impl Look {
    fn is_last(&self) -> bool {
        matches!(self, Look::Last)
    }
}

/// The replica's state as a source of records.
struct Source<'a> {
    replica: &'a Replica,
    cut: Option<Cut>,
}

impl Source<'_> {
    fn state(&self) -> parking_lot::RwLockWriteGuard<'_, State> {
        self.replica.state.write()
    }
}

impl CheckpointSource for Source<'_> {
    fn begin(&mut self) -> Meta {
        let boundary = self.replica.boundary.lock();
        let mut state = self.replica.state.write();
        self.cut = Some(state.begin_checkpoint());
        Meta {
            position: boundary.position,
            membership: boundary.membership.clone(),
            zxid: state.last_zxid(),
            digest: state.digest(),
            format_level: limits::FORMAT_LEVEL,
        }
    }

    fn piece(&mut self, bytes_max: usize, out: &mut Vec<Change>) -> bool {
        let mut cut = self.cut.take().expect("a checkpoint has begun");
        let more = self.state().checkpoint_piece(&mut cut, bytes_max, out);
        self.cut = Some(cut);
        more
    }

    fn end(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.state().end_checkpoint(cut);
        }
    }
}
