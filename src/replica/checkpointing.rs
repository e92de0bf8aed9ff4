//! The thread that writes checkpoints and images, and lets the log go behind them.
//!
//! The state is cut at an entry boundary under the exclusive lock, which takes microseconds; its records are then taken in
//! pieces, a short lock each, while transactions go on being applied.

use super::Replica;
use super::start::OrDie;
use crate::limits;
use crate::state::{Cut, State};
use crate::storage::Meta;
use crate::storage::checkpoint::{Change, CheckpointSource};
use crate::storage::checkpointer::{Checkpointer, Progress};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Asks the thread to end, with a last checkpoint.
#[derive(Default)]
pub struct Ending {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Ending {
    pub fn ask(&self) {
        *self.asked.lock() = true;
        self.changed.notify_all();
    }

    /// Waits a while, or until asked; whether it was.
    fn wait(&self, at_most: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !*asked {
            self.changed.wait_for(&mut asked, at_most);
        }
        *asked
    }
}

/// Runs until it is asked to end. A failed write ends the process: what a disk does after that cannot be trusted.
pub fn run(replica: Arc<Replica>, mut checkpointer: Checkpointer, log_bytes_at_start: u64, ending: Arc<Ending>) {
    let _whole = OrDie("writing a checkpoint");
    let mut done_at = replica.boundary.lock().position;
    loop {
        let stopping = ending.wait(limits::CHECKPOINT_LOOK_INTERVAL);
        let progress = Progress {
            log_bytes: log_bytes_at_start + replica.consensus().metrics().log.bytes,
            now_ms: replica.now_ms(),
            changed: replica.boundary.lock().position != done_at,
            stopping,
        };
        let mut source = Source { replica: &replica, cut: None };
        let began = Instant::now();
        match checkpointer.run(&progress, &mut source) {
            Ok(None) => {}
            Ok(Some(done)) => {
                replica.connections.metrics().snapshottime.add(began.elapsed().as_millis() as u64);
                tracing::info!(zxid = %done.meta.zxid, records = done.tally.count, image = done.image_written, "checkpoint");
                done_at = done.meta.position;
                if let Some(position) = done.purge_up_to {
                    replica.consensus().checkpointed(position);
                }
            }
            Err(error) => super::start::die(&format!("the checkpoint cannot be written: {error}")),
        }
        if stopping {
            return;
        }
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
