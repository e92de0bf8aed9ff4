//! The identities that a client has proven, and when they expire.

use crate::limits::{IDENTITIES_BYTES_MAX, IDENTITIES_MAX, IDENTITY_BYTES_MAX};
use crate::model::Identity;
use std::sync::Arc;

/// A client's identities. Times are Unix milliseconds of this server.
pub(super) struct Proven {
    /// Invariant: no identity is here twice. `add` keeps the list within `limits::IDENTITIES_MAX` and
    /// `limits::IDENTITIES_BYTES_MAX`, and each identity within `limits::IDENTITY_BYTES_MAX`.
    all: Arc<[Identity]>,
    /// The identities that expire, and when. Invariant: each is in `all`, and is here once.
    ends: Vec<(Identity, u64)>,
}

/// The time of an identity that does not expire: later than any other.
pub(super) const NEVER: u64 = u64::MAX;

impl Proven {
    pub(crate) fn new(all: Vec<Identity>) -> Proven {
        Proven { all: all.into(), ends: Vec::new() }
    }

    pub(crate) fn all(&self) -> &Arc<[Identity]> {
        &self.all
    }

    /// Adds identities. `until_ms`: when they expire; None: never. An identity that is proven twice expires at the
    /// later time. False, and nothing is added, if that would be too many identities or too many bytes.
    pub(crate) fn add(&mut self, proven: Vec<Identity>, until_ms: Option<u64>) -> bool {
        let mut new: Vec<Identity> = Vec::new();
        for identity in &proven {
            if !self.all.contains(identity) && !new.contains(identity) {
                new.push(identity.clone());
            }
        }
        let all_bytes: usize = self.all.iter().chain(&new).map(bytes).sum();
        let fits = new.iter().all(|identity| identity.id.len() <= IDENTITY_BYTES_MAX);
        if !fits || all_bytes > IDENTITIES_BYTES_MAX || self.all.len() + new.len() > IDENTITIES_MAX {
            return false;
        }
        for identity in proven {
            let end = self.ends.iter().position(|(known, _)| *known == identity);
            match (end, until_ms) {
                (Some(at), None) => drop(self.ends.swap_remove(at)),
                (Some(at), Some(until_ms)) => self.ends[at].1 = self.ends[at].1.max(until_ms),
                (None, Some(until_ms)) if new.contains(&identity) => self.ends.push((identity, until_ms)),
                (None, _) => {}
            }
        }
        if !new.is_empty() {
            self.all = self.all.iter().cloned().chain(new).collect();
        }
        assert!(self.ends.len() <= self.all.len(), "only identities that the client has expire");
        assert!(self.all.len() <= IDENTITIES_MAX, "the identities of a connection are bounded");
        true
    }

    /// When the next identity expires; `NEVER` if none does.
    pub(crate) fn next_end_ms(&self) -> u64 {
        self.ends.iter().map(|(_, until_ms)| *until_ms).min().unwrap_or(NEVER)
    }

    /// Removes the identities that have expired at `now_ms`.
    pub(crate) fn end(&mut self, now_ms: u64) {
        let (ended, others): (Vec<_>, Vec<_>) = self.ends.drain(..).partition(|(_, until_ms)| *until_ms <= now_ms);
        self.ends = others;
        assert!(self.next_end_ms() > now_ms, "what has expired is gone");
        if !ended.is_empty() {
            let has_ended = |identity: &Identity| ended.iter().any(|(ended, _)| ended == identity);
            self.all = self.all.iter().filter(|identity| !has_ended(identity)).cloned().collect();
        }
    }
}

/// Bytes of scheme and id.
fn bytes(identity: &Identity) -> usize {
    identity.scheme.len() + identity.id.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<Identity> {
        names.iter().map(|name| Identity::new("jwt", *name)).collect()
    }

    #[test]
    fn each_identity_expires_at_its_time() {
        let mut proven = Proven::new(ids(&["host"]));
        assert!(proven.add(ids(&["a", "g", "a"]), Some(10)) && proven.add(ids(&["b", "g"]), Some(20)));
        assert_eq!((proven.all().to_vec(), proven.next_end_ms()), (ids(&["host", "a", "g", "b"]), 10));
        proven.end(9);
        assert_eq!(proven.all().len(), 4);
        proven.end(10);
        assert_eq!((proven.all().to_vec(), proven.next_end_ms()), (ids(&["host", "g", "b"]), 20));
        // Proven without an end, `b` no longer expires. `host` never expired, and still does not.
        assert!(proven.add(ids(&["b"]), None) && proven.add(ids(&["host"]), Some(15)));
        proven.end(30);
        assert_eq!((proven.all().to_vec(), proven.next_end_ms()), (ids(&["host", "b"]), NEVER));
    }

    #[test]
    fn identities_are_bounded() {
        let mut proven = Proven::new(ids(&["host"]));
        let names: Vec<String> = (0..IDENTITIES_MAX).map(|at| at.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(!proven.add(ids(&names), None) && proven.all().len() == 1);
        assert!(proven.add(ids(&names[1..]), None));
        assert!(proven.add(ids(&names[1..5]), None), "known already");
    }

    #[test]
    fn the_bytes_of_identities_are_bounded() {
        let mut proven = Proven::new(ids(&["host"]));
        let long = |bytes: usize, letter: &str| letter.repeat(bytes);
        assert!(!proven.add(ids(&[&long(IDENTITY_BYTES_MAX + 1, "a")]), None));
        assert!(proven.add(ids(&[&long(IDENTITY_BYTES_MAX, "a")]), None));
        let others: Vec<String> =
            ["b", "c", "d", "e", "f", "g"].map(|letter| long(IDENTITY_BYTES_MAX, letter)).to_vec();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        assert!(proven.add(ids(&others), None));
        let before = proven.all().clone();
        assert!(!proven.add(ids(&[&long(IDENTITY_BYTES_MAX, "h")]), None), "all together are too long");
        assert_eq!(*proven.all(), before);
    }
}
