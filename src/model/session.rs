//! The ids of sessions and connections, and the password of a session.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A session's number, as the client knows it. Never 0 for a session. The top byte is the id of the member that opened
/// it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub i64);

impl SessionId {
    /// Stands for "no session": the server's own transactions.
    pub(crate) const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// One TCP connection of one run of one member. Never used twice, even by a member that restarts: `number` begins anew
/// at each start, and `run` (random, chosen at each start) differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConnectionId {
    pub member: u32,
    pub run: u32,
    pub number: u64,
}

/// The secret that a client shows to get its session back: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Password(pub [u8; 16]);

impl Password {
    /// Whether `shown` is this password. Takes the same time wherever the two differ, so that an attacker learns
    /// nothing from the time.
    pub(crate) fn is(&self, shown: &Password) -> bool {
        self.0.iter().zip(&shown.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
