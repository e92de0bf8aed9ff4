//! Connections that ended while writes of theirs were on the way: passed on to the leader, and not applied here.
//!
//! A connection that lives counts such writes in its `Order`. The counts move here when the connection ends.

use crate::limits;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// For each ended connection, by its number: how many of its writes were passed on and are not applied.
#[derive(Default)]
pub(in crate::session) struct Departed {
    /// Invariant: no count is 0. A thread that holds this lock takes no other.
    writes: Mutex<HashMap<u64, usize>>,
    /// The numbers of connections that the leader has closed since the link came up. Nobody waits for their writes. A
    /// thread that holds this lock takes no other.
    ///
    /// Invariant: at most `limits::CONNECTIONS_GIVEN_UP_KEPT`. The lowest numbers go first: those connections ended
    /// long ago, and none of their writes waits any more.
    given_up: Mutex<BTreeSet<u64>>,
}

impl Departed {
    /// `count` writes of that connection are passed on and not applied.
    pub(crate) fn add(&self, number: u64, count: usize) {
        if count > 0 && !self.is_given_up(number) {
            *self.writes.lock().entry(number).or_insert(0) += count;
        }
    }

    /// A write of that connection has been applied. A connection that is not here had passed nothing on.
    pub(crate) fn applied(&self, number: u64) {
        if let EntryRef::Occupied(mut left) = self.writes.lock().entry_ref(&number) {
            assert!(*left.get() > 0, "connection {number} is kept only while it has writes on the way");
            *left.get_mut() -= 1;
            if *left.get() == 0 {
                left.remove();
            }
        }
    }

    /// The leader has closed that connection. Its writes may never be applied, so they do not count any more.
    pub(crate) fn give_up(&self, number: u64) {
        let mut given_up = self.given_up.lock();
        given_up.insert(number);
        while given_up.len() > limits::CONNECTIONS_GIVEN_UP_KEPT {
            given_up.pop_first();
        }
        drop(given_up);
        self.writes.lock().remove(&number);
    }

    pub(crate) fn is_given_up(&self, number: u64) -> bool {
        self.given_up.lock().contains(&number)
    }

    /// Forgets all connections, those given up included, and returns their numbers. Called when the link to the leader
    /// is lost.
    pub(crate) fn take_all(&self) -> Vec<u64> {
        let mut numbers = std::mem::take(&mut *self.given_up.lock());
        numbers.extend(std::mem::take(&mut *self.writes.lock()).into_keys());
        numbers.into_iter().collect()
    }

    /// All writes on the way.
    pub(crate) fn writes(&self) -> usize {
        self.writes.lock().values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_until_they_are_applied() {
        let departed = Departed::default();
        departed.add(1, 2);
        departed.add(1, 1);
        departed.add(2, 0);
        assert_eq!(departed.writes(), 3);
        departed.applied(1);
        departed.applied(9);
        assert_eq!(departed.writes(), 2);
        assert_eq!((departed.take_all(), departed.writes()), (vec![1], 0));
    }

    #[test]
    fn writes_of_a_connection_that_the_leader_closed_do_not_count() {
        let departed = Departed::default();
        departed.add(1, 2);
        departed.give_up(1);
        departed.add(1, 1);
        assert_eq!(departed.writes(), 0);
        assert_eq!((departed.take_all(), departed.is_given_up(1)), (vec![1], false));
    }

    #[test]
    fn connections_that_the_leader_closed_are_kept_up_to_a_bound() {
        let departed = Departed::default();
        let count = limits::CONNECTIONS_GIVEN_UP_KEPT as u64 + 5;
        (1..=count).for_each(|number| departed.give_up(number));
        assert!(!departed.is_given_up(5) && departed.is_given_up(6));
        assert_eq!(departed.take_all().len(), limits::CONNECTIONS_GIVEN_UP_KEPT);
    }
}
