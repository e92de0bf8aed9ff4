//! The number of a transaction: `epoch << 32 | counter`, as in ZooKeeper.
//!
//! Zxids only grow. A leadership opens a new epoch with its first transaction. A full counter opens the next epoch
//! within the leadership, so that the counter never wraps.

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Zxid(pub u64);

/// The last counter of an epoch. The next transaction opens the next epoch.
pub(crate) const COUNTER_MAX: u32 = u32::MAX;

impl Zxid {
    pub(crate) const ZERO: Zxid = Zxid(0);

    pub(crate) const fn new(epoch: u32, counter: u32) -> Zxid {
        Zxid((epoch as u64) << 32 | counter as u64)
    }

    pub(crate) const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid in the same leadership: the next counter, or the first of the next epoch if the counter is full.
    pub(crate) const fn next(self) -> Zxid {
        if self.counter() == COUNTER_MAX { self.next_epoch() } else { Zxid(self.0 + 1) }
    }

    /// The first zxid of the next epoch, with which a new leadership starts. Counter 0 is never used, as in ZooKeeper.
    pub(crate) const fn next_epoch(self) -> Zxid {
        Zxid::new(self.epoch() + 1, 1)
    }

    /// The zxid as a number of the wire protocol.
    pub(crate) const fn to_wire(self) -> i64 {
        self.0 as i64
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_counter_opens_the_next_epoch() {
        assert_eq!(Zxid::new(3, 7).next(), Zxid::new(3, 8));
        assert_eq!(Zxid::new(3, u32::MAX).next(), Zxid::new(4, 1));
        assert_eq!(Zxid::new(3, 7).next_epoch(), Zxid::new(4, 1));
    }
}
