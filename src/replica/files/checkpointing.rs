//! Writes checkpoints and images, on a thread of its own, and lets the log go behind them.
//!
//! The state is cut at an entry boundary under the exclusive lock, which takes microseconds; its records are then taken in
//! pieces, a short lock each, while transactions go on being applied.

use crate::environment::Instant;
use crate::limits;
use crate::replica::Replica;
use crate::replica::process::OrDie;
use crate::simulation::{self, Seen};
use crate::state::{Cut, State};
use crate::storage::checkpoint::{Change, CheckpointReader, CheckpointSource};
use crate::storage::checkpointer::{Checkpointer, Progress};
use crate::storage::disk::Disk;
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

/// Where checkpoints and images lie.
pub struct CheckpointFiles {
    pub disk: Arc<dyn Disk>,
    /// Held while one is written, or replaced.
    pub checkpointer: Mutex<Checkpointer>,
    /// For others than the checkpointer; never held for long.
    pub reader: Mutex<CheckpointReader>,
    /// What the log held when this member started.
    pub log_bytes_at_start: u64,
    /// For the tables of a state that is loaded.
    pub seed: u64,
}

/// Writes checkpoints when they are due.
pub struct Checkpointing {
    replica: Arc<Replica>,
    ending: Arc<Ending>,
    /// What the last checkpoint is a state of. Not where the state stands at the start: what was applied from the log since
    /// is not in it.
    done_at: Option<LogPosition>,
}

impl Checkpointing {
    pub fn new(replica: Arc<Replica>, ending: Arc<Ending>) -> Checkpointing {
        let done_at = replica.files.checkpointer.lock().last().meta().and_then(|meta| meta.position);
        Checkpointing { replica, ending, done_at }
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
            changed: replica.boundary.lock().position != self.done_at,
            stopping: self.ending.is_asked(),
            ..replica.progress()
        };
        let look = if progress.stopping { Look::Last } else { Look::OneOfMany };
        let mut source = Source { replica, cut: None };
        let began = Instant::now();
        let written = replica.files.checkpointer.lock().run(&progress, &mut source);
        match written {
            Ok(None) => {}
            Ok(Some(done)) => {
                replica.connections.metrics().snapshottime.add(began.elapsed().as_millis() as u64);
                tracing::info!(zxid = %done.meta.zxid, records = done.tally.count, image = done.image_written, "checkpoint");
                simulation::see(|| Seen::Checkpoint { zxid: done.meta.zxid });
                self.done_at = done.meta.position;
                if let Some(position) = done.meta.position {
                    replica.consensus().checkpointed(position, done.purge_up_to);
                }
            }
            Err(error) => crate::replica::process::die(&format!("the checkpoint cannot be written: {error}")),
        }
        look
    }
}

impl Replica {
    /// How far the log has come; the rest is for whoever asks to fill in.
    pub(crate) fn progress(&self) -> Progress {
        // A state can come from a peer before consensus has finished starting.
        let written = self.consensus.get().map_or(0, |consensus| consensus.metrics().log.bytes);
        Progress { log_bytes: self.files.log_bytes_at_start + written, now_ms: self.now_ms(), ..Progress::default() }
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
            format_level: state.format_level(),
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
