//! Writes checkpoints and images, on a thread of its own, and lets the log be purged up to them.
//!
//! The state is cut between two entries under its exclusive lock, which takes microseconds. The records are then taken
//! in pieces, each under a short lock, while transactions go on being applied.

use crate::environment::Instant;
use crate::limits;
use crate::replica::Replica;
use crate::replica::fatal::{DieOnPanic, die};
use crate::replica::ordering::WriteOrder;
use crate::simulation::{self, Seen};
use crate::state::Cut;
use crate::storage::checkpoint::{Change, CheckpointSource};
use crate::storage::checkpointer::Progress;
use crate::storage::{LogPosition, Meta};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Asks checkpointing to end, with a last checkpoint.
#[derive(Default)]
pub(crate) struct Ending {
    asked: Mutex<bool>,
    changed: Condvar,
    changed_for_task: Notify,
}

impl Ending {
    pub(in crate::replica) fn ask(&self) {
        *self.asked.lock() = true;
        self.changed.notify_all();
        self.changed_for_task.notify_one();
    }

    fn is_asked(&self) -> bool {
        *self.asked.lock()
    }

    /// Waits until `ask` is called, but not longer than `at_most`.
    fn wait(&self, at_most: Duration) {
        let mut asked = self.asked.lock();
        if !*asked {
            self.changed.wait_for(&mut asked, at_most);
        }
    }
}

/// Writes checkpoints when they are due.
pub(crate) struct Checkpointing {
    replica: Arc<Replica>,
    ending: Arc<Ending>,
    /// The log position of the last checkpoint. At the start this is not the position of the state, which also has the
    /// entries that were applied from the log since then.
    ///
    /// Invariant: it never goes back.
    done_at: Option<LogPosition>,
}

impl Checkpointing {
    pub(in crate::replica) fn new(replica: Arc<Replica>, ending: Arc<Ending>) -> Checkpointing {
        let done_at = replica.files.checkpointer.lock().last().meta().and_then(|meta| meta.position);
        Checkpointing { replica, ending, done_at }
    }

    /// Runs until it is asked to end.
    pub(in crate::replica) fn run(mut self) {
        let _whole = DieOnPanic("writing a checkpoint");
        let mut is_last = false;
        while !is_last {
            self.ending.wait(limits::CHECKPOINT_LOOK_INTERVAL);
            is_last = self.write_if_due();
        }
    }

    /// As `run`, as a task.
    pub(in crate::replica) async fn run_as_task(mut self) {
        let mut is_last = false;
        while !is_last {
            let asked = self.ending.changed_for_task.notified();
            let _ = tokio::time::timeout(limits::CHECKPOINT_LOOK_INTERVAL, asked).await;
            is_last = self.write_if_due();
        }
    }

    /// Writes a checkpoint if one is due. Returns whether it was the last one, because it was asked to end before. A
    /// failed write ends the process: what a disk does after that cannot be trusted.
    fn write_if_due(&mut self) -> bool {
        let replica = &self.replica;
        let is_last = self.ending.is_asked();
        let progress = Progress {
            changed: replica.order.boundary.lock().position() != self.done_at,
            stopping: is_last,
            ..replica.files.progress(replica.ensemble.log_bytes_written())
        };
        let mut source = Source { order: &replica.order, cut: None };
        let began = Instant::now();
        let written = replica.files.checkpointer.lock().run(&progress, &mut source);
        match written {
            Ok(None) => {}
            Ok(Some(done)) => {
                replica.files.metrics.snapshottime.add(began.elapsed().as_millis() as u64);
                tracing::info!(
                    zxid = %done.meta.zxid,
                    records = done.tally.count,
                    image = done.image_written,
                    "checkpoint"
                );
                simulation::see(|| Seen::Checkpoint { zxid: done.meta.zxid });
                let index = |position: Option<LogPosition>| position.map(|at| at.index);
                assert!(
                    index(done.meta.position) >= index(self.done_at),
                    "a checkpoint is not older than the last one"
                );
                self.done_at = done.meta.position;
                if let Some(position) = done.meta.position {
                    replica.ensemble.consensus().checkpointed(position, done.purge_up_to);
                }
            }
            Err(error) => die(&format!("the checkpoint cannot be written: {error}")),
        }
        is_last
    }
}

/// The applied state as a source of records.
struct Source<'a> {
    order: &'a WriteOrder,
    /// Invariant: Some from `begin` to `end`.
    cut: Option<Cut>,
}

impl CheckpointSource for Source<'_> {
    fn begin(&mut self) -> Meta {
        assert!(self.cut.is_none(), "one checkpoint is written at a time");
        let boundary = self.order.boundary.lock();
        let mut state = self.order.state.write();
        self.cut = Some(state.begin_checkpoint());
        Meta {
            position: boundary.position(),
            membership: boundary.membership().cloned(),
            zxid: state.last_zxid(),
            digest: state.digest(),
            format_level: state.format_level(),
        }
    }

    fn piece(&mut self, bytes_max: usize, out: &mut Vec<Change>) -> bool {
        let cut = self.cut.as_mut().expect("a checkpoint has begun");
        self.order.state.write().checkpoint_piece(cut, bytes_max, out)
    }

    fn end(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.order.state.write().end_checkpoint(cut);
        }
    }
}
