//! What the clocks of other members showed when this member last heard of them.
//!
//! Every connection that this member makes tells the other's clock, and so does every report. So a member that is
//! elected knows the clocks of those that voted for it. Between two such moments a clock is taken to run as this
//! machine's monotonic clock does. Each reading may be late by the time that a message takes.

use crate::environment::Instant;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The last reading of each other member's clock.
#[derive(Default)]
pub(crate) struct PeerClocks {
    /// By member: when it was read, and the Unix milliseconds that it showed. At most one for each number.
    read: Mutex<BTreeMap<u32, (Instant, i64)>>,
}

impl PeerClocks {
    /// The member's clock shows `wall_ms`, Unix milliseconds, now.
    pub(crate) fn note(&self, member: u32, wall_ms: i64) {
        self.read.lock().insert(member, (Instant::now(), wall_ms));
    }

    /// What the member's clock shows now, Unix milliseconds. None: it was never read.
    pub(crate) fn of(&self, member: u32) -> Option<i64> {
        let (at, wall_ms) = *self.read.lock().get(&member)?;
        Some(wall_ms.saturating_add(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX)))
    }
}
