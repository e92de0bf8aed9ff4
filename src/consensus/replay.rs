//! Brings the state up to the committed end of the log before openraft starts.
//!
//! openraft would do it too, but 64 entries at a time, whatever their size, and it reads and applies in turn. Here one
//! thread reads and decodes a bounded piece ahead while the other applies.

use super::BlockingWork;
use super::log::{Payload, to_openraft};
use super::machine::Machine;
use crate::limits;
use crate::storage::wal::{Entry, Wal};
use std::sync::mpsc;

/// Blocks until it is done. The error is a full sentence.
pub(crate) fn replay(wal: &Wal<Payload>, machine: &mut Machine, blocking: BlockingWork) -> Result<(), String> {
    let Some(committed) = wal.committed() else { return Ok(()) };
    let first = machine.next_index();
    if first > committed.index {
        return Ok(());
    }
    if let Some(purged) = wal.purged().filter(|purged| purged.index >= first) {
        return Err(format!(
            "the state goes on at log entry {first}, but the log has only the entries behind {}: restore the checkpoint or \
             image that belongs to this log",
            purged.index
        ));
    }
    let end = committed.index.saturating_add(1);
    let read = |next| wal.read(next..end, limits::LOG_READ_BYTES_MAX);
    match blocking {
        BlockingWork::Inline => {
            let mut next = first;
            while let piece = read(next).map_err(|error| error.to_string())?
                && let Some(last) = piece.last()
            {
                next = last.at.index + 1;
                apply(machine, piece);
            }
        }
        BlockingWork::OwnThread => std::thread::scope(|scope| {
            let (sender, pieces) = mpsc::sync_channel(1);
            scope.spawn(move || {
                let mut next = first;
                while next < end {
                    let piece = read(next);
                    let last = piece.as_ref().ok().and_then(|piece| piece.last()).map(|entry| entry.at.index);
                    // An error means that the applying side has panicked.
                    if sender.send(piece).is_err() {
                        return;
                    }
                    let Some(last) = last else { return };
                    next = last + 1;
                }
            });
            for piece in pieces {
                apply(machine, piece.map_err(|error| error.to_string())?);
            }
            Ok::<(), String>(())
        })?,
    }
    let next = machine.next_index();
    assert!(next == end, "the replay ends before entry {next}, and entry {committed} is committed");
    Ok(())
}

fn apply(machine: &mut Machine, piece: Vec<Entry<Payload>>) {
    for entry in piece {
        machine.replay(&to_openraft(entry));
    }
    machine.batch_done();
}
