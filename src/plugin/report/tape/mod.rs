//! Recording a plugin's calls on a server, and playing them again on a laptop.
//!
//! A call depends on nothing but its settings, its arguments and what the host answers, all of which pass through here. So
//! a recording holds everything to make the call again, with the same component or another, and to see whether it says the
//! same. Off unless somebody listens: reading `/zookeeper/plugins/<name>/recording/N` (the superuser's) gives the calls
//! behind number N, and keeps recording on for the next `limits::RECORDING_LEASE_MS`.
//!
//! **The format** (version 1) is JSON, a line each: first a `Header`, then `Recorded` calls. Bytes are base64; answers are
//! in the form of Rust's `{:?}`, which both sides of a comparison are made with.

mod ear;
mod form;
mod player;

use crate::environment::wall_ms;
use crate::limits;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

pub use ear::Ear;
pub use form::{FORMAT, Header, Question, Recorded, cause_name, cause_named, changes, changes_of};
pub use player::Player;

/// Where a plugin's calls are recorded. Costs a load a call while nobody listens.
#[derive(Default)]
pub struct Tape {
    on: AtomicBool,
    /// Until when somebody listens, Unix milliseconds.
    until: AtomicI64,
    reel: Mutex<Reel>,
}

#[derive(Default)]
struct Reel {
    calls: VecDeque<(u64, String)>,
    bytes: usize,
    recorded: u64,
}

impl Tape {
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Keeps a call; the oldest go when they are too many bytes. Stops when nobody has listened for a while.
    pub fn keep(&self, mut call: Recorded) {
        let mut reel = self.reel.lock();
        if wall_ms() > self.until.load(Relaxed) {
            self.on.store(false, Relaxed);
            reel.calls.clear();
            reel.bytes = 0;
            return;
        }
        reel.recorded += 1;
        call.number = reel.recorded;
        // What is made of strings and numbers can be written.
        let line = serde_json::to_string(&call).expect("it is JSON");
        reel.bytes += line.len();
        let number = reel.recorded;
        reel.calls.push_back((number, line));
        while reel.bytes > limits::RECORDING_BYTES_MAX {
            let Some((_, gone)) = reel.calls.pop_front() else { break };
            reel.bytes -= gone.len();
        }
    }

    /// The calls behind that number, a line each, as many as fit into an answer; and recording goes on.
    pub fn listen(&self, number: u64) -> String {
        self.until.store(wall_ms().saturating_add(limits::RECORDING_LEASE_MS), Relaxed);
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
