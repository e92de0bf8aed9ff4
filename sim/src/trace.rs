//! The events of a run: one hash over all of them, and with `--trace` a line for each: time, who, what.
//!
//! Every message that arrives, every reply and every applied transaction goes into the hash. Two runs of one seed must
//! end with the same hash. This file also keeps the simulated time and the breaches.

use std::cell::{Cell, RefCell};
use std::fmt::Display;

thread_local! {
    static HASH: Cell<u64> = const { Cell::new(0xcbf2_9ce4_8422_2325) };
    static NOW_US: Cell<u64> = const { Cell::new(0) };
    static SHOWN: Cell<bool> = const { Cell::new(false) };
    static BREACHES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Simulated microseconds since the run began.
pub(crate) fn now_us() -> u64 {
    NOW_US.get()
}

pub(crate) fn set_now_us(us: u64) {
    NOW_US.set(us);
}

/// Turns the printing of lines on.
pub(crate) fn show() {
    SHOWN.set(true);
}

/// Adds `values` and the simulated time to the hash.
pub(crate) fn note(values: &[u64]) {
    let mut hash = HASH.get() ^ NOW_US.get();
    for &value in values {
        hash = (hash.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    HASH.set(hash);
}

/// The hash so far.
pub(crate) fn hash() -> u64 {
    HASH.get()
}

/// A hash of some bytes, for `note`.
pub(crate) fn hash_of(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64 ^ 0x51_7cc1_b727;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(29) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    hash ^ (hash >> 29)
}

/// Prints a line if lines are shown. Otherwise `what` is not called.
pub(crate) fn say<T: Display>(who: impl Display, what: impl FnOnce() -> T) {
    if SHOWN.get() {
        println!("{:10.3} {who:<8} {}", NOW_US.get() as f64 / 1e6, what());
    }
}

/// Reports something that must never happen. The run ends at the end of the slice. At most 20 breaches are kept.
pub(crate) fn breach(what: impl Into<String>) {
    let line = format!("{:.3} s: {}", NOW_US.get() as f64 / 1e6, what.into());
    say("BREACH", || line.clone());
    BREACHES.with_borrow_mut(|breaches| {
        if breaches.len() < 20 {
            breaches.push(line);
        }
    });
}

pub(crate) fn breaches() -> Vec<String> {
    BREACHES.with_borrow(|breaches| breaches.clone())
}

pub(crate) fn is_clean() -> bool {
    BREACHES.with_borrow(|breaches| breaches.is_empty())
}
