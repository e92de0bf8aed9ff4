//! Two digests of the state, kept up to date with every change. Each is the sum of a hash per record, so a change costs
//! the hashes of the old and the new record and no more.
//!
//! ZooKeeper's digest (DigestCalculator.java, AdHash.java, version 2) is the sum of the CRC-32 of each node outside
//! `/zookeeper/`. The words `hash` and `mntr` show it, and migrations compare it. Our own digest takes every byte of
//! every record of a checkpoint. Replicas compare it, and a checkpoint is checked by it when it is loaded. The digests
//! find mistakes and damage. Neither protects against somebody who forges records.

use crate::limits::{ZOOKEEPER_DIGEST_LOG_INTERVAL, ZOOKEEPER_DIGESTS_KEPT};
use crate::model::Zxid;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct Digests {
    own: u64,
    zookeeper: u64,
    log: VecDeque<(Zxid, u64)>,
}

impl Digests {
    /// Our own digest: the sum over nodes and sessions.
    pub(super) fn own(&self) -> u64 {
        self.own
    }

    pub(super) fn zookeeper(&self) -> u64 {
        self.zookeeper
    }

    /// Adds a node's record. The path is its first `path_length` bytes. ZooKeeper's digest takes the `digested` bytes
    /// behind it.
    pub(super) fn add_node(&mut self, record: &[u8], path_length: usize, digested: usize) {
        self.add_hashed_node(hash(record), record, path_length, digested);
    }

    /// As `add_node`, if our hash of the record is known.
    pub(super) fn add_hashed_node(&mut self, hash: u64, record: &[u8], path_length: usize, digested: usize) {
        self.add_hash(hash);
        self.zookeeper = self.zookeeper.wrapping_add(zookeeper_hash(record, path_length, digested));
    }

    pub(super) fn subtract_node(&mut self, record: &[u8], path_length: usize, digested: usize) {
        self.subtract(record);
        self.zookeeper = self.zookeeper.wrapping_sub(zookeeper_hash(record, path_length, digested));
    }

    pub(super) fn add(&mut self, record: &[u8]) {
        self.add_hash(hash(record));
    }

    pub(super) fn add_hash(&mut self, hash: u64) {
        self.own = self.own.wrapping_add(hash);
    }

    pub(super) fn subtract(&mut self, record: &[u8]) {
        self.own = self.own.wrapping_sub(hash(record));
    }

    /// Notes ZooKeeper's digest after that transaction, at every `ZOOKEEPER_DIGEST_LOG_INTERVAL`th zxid.
    pub(super) fn applied(&mut self, zxid: Zxid) {
        if zxid.0.is_multiple_of(ZOOKEEPER_DIGEST_LOG_INTERVAL) {
            if self.log.len() == ZOOKEEPER_DIGESTS_KEPT {
                self.log.pop_front();
            }
            self.log.push_back((zxid, self.zookeeper));
        }
    }

    /// Oldest first.
    pub(super) fn log(&self) -> impl Iterator<Item = (Zxid, u64)> + '_ {
        self.log.iter().copied()
    }
}

/// ZooKeeper's hash of a node. ZooKeeper hashes the root with an empty path, and leaves out the nodes below /zookeeper.
fn zookeeper_hash(record: &[u8], path_length: usize, digested: usize) -> u64 {
    let start = match &record[..path_length] {
        b"/" => 1,
        path if path.starts_with(b"/zookeeper/") => return 0,
        _ => 0,
    };
    u64::from(crc32fast::hash(&record[start..path_length + digested]))
}

/// A hash of 64 bits over all of `bytes`. It is part of the format of checkpoints and log entries, so it never changes.
///
/// Sixteen bytes at a time are multiplied into the state, and both halves of the product are kept. The length goes in
/// last, so that the zeros that fill the last block do not count as content.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut state = KEYS[0];
    for block in blocks {
        state = absorb(state, block);
    }
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    state = absorb(state, &last);
    multiply(state ^ bytes.len() as u64 ^ KEYS[2], KEYS[3])
}

/// Digits of the square roots of 2, 3, 5 and 7, so that nobody can have chosen them for a purpose.
const KEYS: [u64; 4] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

fn absorb(state: u64, block: &[u8; 16]) -> u64 {
    let number = u128::from_le_bytes(*block);
    // The state is added again, so that a block that makes one factor zero does not erase what came before.
    multiply(state ^ number as u64, KEYS[1] ^ (number >> 64) as u64).wrapping_add(state.rotate_left(23))
}

fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_part_of_the_format() {
        assert_eq!(hash(b""), 0x0d92_8535_17fa_6822);
        assert_eq!(hash(b"/a"), 0x4cd1_aa82_5285_67e8);
        assert_eq!(hash(&[7; 100]), 0x5fc0_f702_de8d_2b72);
    }

    #[test]
    fn every_bit_and_the_length_count() {
        let base: Vec<u8> = (0..50).collect();
        let mut seen = std::collections::BTreeSet::from([hash(&base)]);
        for bit in 0..base.len() * 8 {
            let mut changed = base.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(hash(&changed)), "bit {bit}");
        }
        for length in 0..64 {
            assert!(seen.insert(hash(&vec![0; length])), "{length} zeros");
        }
    }

    #[test]
    fn the_log_keeps_every_128th_and_no_more_than_1024() {
        let mut digests = Digests::default();
        for zxid in 1..=128 * 1030 {
            digests.applied(Zxid(zxid));
        }
        assert_eq!(digests.log().count(), 1024);
        assert_eq!(digests.log().next(), Some((Zxid(128 * 7), 0)));
    }
}
