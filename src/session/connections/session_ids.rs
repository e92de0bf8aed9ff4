//! New session ids, in ZooKeeper's form (SessionTrackerImpl.initializeNextSessionId).
//!
//! ```text
//! | 8 bits | 40 bits                       | 16 bits |
//! | server | milliseconds of the wall clock | counter |
//! ```
//! The clock is read once, for the first id. Each further id is one more, so the counter runs into the clock's bits.

use crate::model::SessionId;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Where the server's byte begins.
const SERVER_SHIFT: u32 = 56;

/// The bits below the server's byte.
const COUNTED: i64 = (1 << SERVER_SHIFT) - 1;

/// Server bytes in use. With 255 in this byte, the owner of an ephemeral node would look like that of a TTL node. With
/// 128 it could look like that of a container.
const SERVERS: RangeInclusive<i64> = 1..=0x7f;

/// Gives out session ids that no session has.
pub(in crate::session) struct SessionIds {
    /// Invariant: within `SERVERS`.
    server: i64,
    /// The id given out last; 0 before the first.
    last: AtomicI64,
}

impl SessionIds {
    /// `server_id`: a number above 127 counts as 127.
    pub(crate) fn new(server_id: u32) -> SessionIds {
        let server = i64::from(server_id).clamp(*SERVERS.start(), *SERVERS.end());
        SessionIds { server, last: AtomicI64::new(0) }
    }

    /// An id that no session has. `taken` tells which ids are in use: a wall clock that was set back repeats itself.
    pub(crate) fn new_id(&self, wall_ms: i64, taken: impl Fn(SessionId) -> bool) -> SessionId {
        loop {
            let last = self.last.load(Relaxed);
            let counted = if last == 0 { wall_ms << 16 } else { (last & COUNTED) + 1 };
            let id = self.server << SERVER_SHIFT | counted & COUNTED;
            let claimed = self.last.compare_exchange(last, id, Relaxed, Relaxed).is_ok();
            if claimed && !taken(SessionId(id)) {
                assert_eq!(id >> SERVER_SHIFT, self.server, "the top byte of a session id is its server's number");
                assert_ne!(id, last, "no session id is given out twice in a row");
                return SessionId(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_are_zookeepers() {
        let ids = SessionIds::new(1);
        let wall_ms = 0x18c_1234_5678_i64;
        let first = ids.new_id(wall_ms, |_| false);
        assert_eq!(first.0, (1 << 56) | ((wall_ms & 0xff_ffff_ffff) << 16));
        let taken = SessionId(first.0 + 1);
        assert_eq!(ids.new_id(wall_ms, |id| id == taken).0, first.0 + 2);
    }

    #[test]
    fn the_counter_never_runs_into_the_servers_byte() {
        let ids = SessionIds::new(300);
        ids.last.store(0x7f << 56 | COUNTED, Relaxed);
        assert_eq!(ids.new_id(1, |_| false).0, 0x7f << 56);
    }
}
