//! Recordings of a plugin's calls on a server, and how to play them again elsewhere.
//!
//! A call depends only on its settings, its arguments and the host's answers. All of these pass through here. So a
//! recording holds everything that is needed to make the call again, with the same component or another, and to compare
//! the answers.
//!
//! Recording is off unless somebody reads. Only the superuser may read `/zookeeper/plugins/<name>/recording/N`. A read
//! returns the calls after number N, and keeps recording on for `limits::RECORDING_LEASE`.
//!
//! **The format** (version 1) is JSON, one value a line: first a `Header`, then `Recorded` calls. Bytes are base64.
//! Answers are texts in the form of Rust's `{:?}`, on both sides of a comparison.

mod form;
mod player;
mod recorder;

use crate::environment::wall_ms;
use crate::limits;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

pub(crate) use form::{FORMAT, Header, Question, Recorded, cause_name, cause_named, changes, changes_of};
pub(crate) use player::Player;
pub(crate) use recorder::Recorder;

/// The recording of one plugin. It costs one load a call while nobody reads.
#[derive(Default)]
pub(crate) struct Tape {
    on: AtomicBool,
    /// Until when recording stays on, in Unix milliseconds.
    until: AtomicI64,
    reel: Mutex<Reel>,
}

#[derive(Default)]
struct Reel {
    /// Each call's number, and its line. Invariant: the numbers ascend, up to `recorded`.
    calls: VecDeque<(u64, String)>,
    /// Invariant: the bytes of all lines in `calls`, and at most `limits::RECORDING_BYTES_MAX`.
    bytes: usize,
    recorded: u64,
}

impl Reel {
    fn check(&self) {
        let bytes = self.bytes;
        assert!(bytes <= limits::RECORDING_BYTES_MAX, "a recording has {bytes} bytes");
        assert!(!self.calls.is_empty() || bytes == 0, "an empty recording has {bytes} bytes");
        assert!(self.calls.back().is_none_or(|(last, _)| *last == self.recorded), "a recording's numbers are wrong");
    }
}

impl Tape {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Keeps a call, and drops the oldest calls if there are too many bytes. Turns recording off when the last reader's
    /// time is over.
    pub(crate) fn keep(&self, mut call: Recorded) {
        let mut reel = self.reel.lock();
        if wall_ms() > self.until.load(Relaxed) {
            self.on.store(false, Relaxed);
            reel.calls.clear();
            reel.bytes = 0;
            return;
        }
        reel.recorded += 1;
        call.number = reel.recorded;
        // Strings and numbers can always be written.
        let line = serde_json::to_string(&call).expect("it is JSON");
        reel.bytes += line.len();
        let number = reel.recorded;
        reel.calls.push_back((number, line));
        while reel.bytes > limits::RECORDING_BYTES_MAX {
            let Some((_, gone)) = reel.calls.pop_front() else { break };
            reel.bytes -= gone.len();
        }
        reel.check();
    }

    /// The calls after this number, a line each, as many as fit into an answer. Keeps recording on.
    pub(crate) fn listen(&self, number: u64) -> String {
        self.until.store(wall_ms().saturating_add(limits::ms(limits::RECORDING_LEASE).cast_signed()), Relaxed);
        self.on.store(true, Relaxed);
        let reel = self.reel.lock();
        let mut lines = String::new();
        for (_, line) in reel.calls.iter().filter(|(kept, _)| *kept > number) {
            if !lines.is_empty() && lines.len() + line.len() > limits::RECORDING_ANSWER_BYTES_MAX {
                break;
            }
            lines.push_str(line);
            lines.push('\n');
        }
        lines
    }
}
