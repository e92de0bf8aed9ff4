//! The kind of a node, which says how long it lives. Packed as ZooKeeper stores it, in the field `ephemeralOwner`
//! (EphemeralType.java).

use super::SessionId;
use serde::{Deserialize, Serialize};

/// The longest time to live of a TTL node, in milliseconds (40 bits).
pub(crate) const TTL_MS_MAX: i64 = 0xff_ffff_ffff;

/// The packed field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Owner(pub i64);

/// The field taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NodeKind {
    Persistent,
    Ephemeral(SessionId),
    Container,
    /// Milliseconds, 1 to `TTL_MS_MAX`.
    Ttl(i64),
}

const CONTAINER: i64 = i64::MIN;
const TTL_MASK: u64 = 0xff00_0000_0000_0000;

impl Owner {
    pub(crate) const PERSISTENT: Owner = Owner(0);
    pub(crate) const CONTAINER: Owner = Owner(CONTAINER);

    pub(crate) const fn ttl(ms: i64) -> Owner {
        assert!(ms > 0 && ms <= TTL_MS_MAX, "the TTL was checked with the request");
        Owner((TTL_MASK | ms as u64) as i64)
    }

    pub(crate) const fn session(id: SessionId) -> Owner {
        Owner(id.0)
    }

    /// The kind of node. A session id of server 255 would look like a TTL node, so such ids are never given out.
    pub(crate) const fn kind(self) -> NodeKind {
        match self.0 {
            0 => NodeKind::Persistent,
            CONTAINER => NodeKind::Container,
            bits if bits as u64 & TTL_MASK == TTL_MASK => NodeKind::Ttl(bits & TTL_MS_MAX),
            bits => NodeKind::Ephemeral(SessionId(bits)),
        }
    }

    /// The value that a client sees in the Stat.
    pub const fn visible(self) -> i64 {
        match self.kind() {
            NodeKind::Ephemeral(session) => session.0,
            _ => 0,
        }
    }

    pub const fn is_ephemeral(self) -> bool {
        matches!(self.kind(), NodeKind::Ephemeral(_))
    }
}
