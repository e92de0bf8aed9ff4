//! What the checkpoint and the image have in common: records with a key and a value, a sum over all of them, and `Meta`,
//! which says what they are a state of.
//!
//! The sum is kept up to date with every changed record and compared when everything was read. Each step of a record's
//! hash can be undone, so damage within eight bytes in a row of one record always changes the sum; anything wider goes
//! unseen once in 2^64. It guards against disks, not against people.

use crate::model::Zxid;
use serde::{Deserialize, Serialize};
use std::{fmt, io};
use thiserror::Error;

/// An entry's place in the log. Ordered as the log is: a later entry never has a smaller term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// Why a checkpoint or an image cannot be used. The texts follow the file's name.
#[derive(Debug, Error)]
pub enum FileError {
    /// The content is not what was written: another source of state may help.
    #[error("{0}")]
    Damaged(String),
    /// It is whole, and of a format that a later version of this server writes. Nothing may be changed.
    #[error("{0}")]
    Newer(String),
    /// The disk failed: nothing can be said about the file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the records are a state of: one entry boundary.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// The last entry that was applied; none before the first.
    pub position: Option<LogPosition>,
    /// The membership in force there, as the consensus encodes it.
    pub membership: Option<Vec<u8>>,
    /// The last transaction that was applied.
    pub zxid: Zxid,
    /// The state's own digest (`State::digest`).
    pub digest: u64,
    /// The format level of the ensemble.
    pub format_level: u32,
}

/// Takes one record, key and value, and may refuse it.
pub type EachRecord<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<(), E> + 'a;

/// Number, size and sum of records: what must come out when they are read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub count: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Wrapping sum of `record_hash`.
    pub sum: u64,
}

impl Tally {
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add((key.len() + value.len()) as u64);
        self.sum = self.sum.wrapping_add(record_hash(key, value));
    }

    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub((key.len() + value.len()) as u64);
        self.sum = self.sum.wrapping_sub(record_hash(key, value));
    }
}

/// The hash of one record. Part of the file formats: never changes.
pub fn record_hash(key: &[u8], value: &[u8]) -> u64 {
    let start = (key.len() as u64).rotate_left(32) ^ value.len() as u64;
    finish(absorb(absorb(start, key), value))
}

fn absorb(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = step(hash ^ u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = step(hash ^ u64::from_le_bytes(last));
    }
    hash
}

/// A bijection: an odd factor and a shift to the right can both be undone.
fn step(hash: u64) -> u64 {
    let hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 29)
}

fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The version that `encode` writes; `decode` reads every one there ever was.
const VERSION: u8 = 1;

/// `Meta` and `Tally` as bytes (little endian):
///
/// ```text
///  0  1  version = 1
///  1  4  format level
///  5  8  zxid
/// 13  8  digest of the state
/// 21  8  records
/// 29  8  bytes of keys and values
/// 37  8  sum over the records
/// 45  1  1 if there is a log position, else 0 and the next two are 0
/// 46  8  term
/// 54  8  index
/// 62  1  1 if there is a membership, else 0 and its length is 0
/// 63  4  length of the membership
/// 67  n  membership
///  …  4  crc32 of all before
/// ```
pub fn encode(meta: &Meta, tally: &Tally) -> Vec<u8> {
    let position = meta.position.unwrap_or_default();
    let membership = meta.membership.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(71 + membership.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&meta.format_level.to_le_bytes());
    for number in [meta.zxid.0, meta.digest, tally.count, tally.bytes, tally.sum] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.push(meta.position.is_some() as u8);
    bytes.extend_from_slice(&position.term.to_le_bytes());
    bytes.extend_from_slice(&position.index.to_le_bytes());
    bytes.push(meta.membership.is_some() as u8);
    bytes.extend_from_slice(&(membership.len() as u32).to_le_bytes());
    bytes.extend_from_slice(membership);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// What `encode` wrote.
pub fn decode(bytes: &[u8]) -> Result<(Meta, Tally), FileError> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(cut_short)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(FileError::Damaged("its description does not match its checksum".into()));
    }
    let mut body = body;
    let version = take::<1>(&mut body)?[0];
    if version != VERSION {
        return Err(FileError::Newer(format!("its description has version {version}, this server knows {VERSION}")));
    }
    let format_level = u32::from_le_bytes(take(&mut body)?);
    let zxid = Zxid(u64::from_le_bytes(take(&mut body)?));
    let digest = u64::from_le_bytes(take(&mut body)?);
    let count = u64::from_le_bytes(take(&mut body)?);
    let size = u64::from_le_bytes(take(&mut body)?);
    let sum = u64::from_le_bytes(take(&mut body)?);
    let has_position = take::<1>(&mut body)?[0] != 0;
    let term = u64::from_le_bytes(take(&mut body)?);
    let index = u64::from_le_bytes(take(&mut body)?);
    let has_membership = take::<1>(&mut body)?[0] != 0;
    let length = u32::from_le_bytes(take(&mut body)?);
    if body.len() != length as usize {
        return Err(cut_short());
    }
    let position = has_position.then_some(LogPosition { term, index });
    let membership = has_membership.then(|| body.to_vec());
    Ok((Meta { position, membership, zxid, digest, format_level }, Tally { count, bytes: size, sum }))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], FileError> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or_else(cut_short)?;
    *bytes = rest;
    Ok(*taken)
}

fn cut_short() -> FileError {
    FileError::Damaged("its description is cut short".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            position: Some(LogPosition { term: 3, index: 77 }),
            membership: Some(b"three voters".to_vec()),
            zxid: Zxid::new(2, 5),
            digest: 0xfeed,
            format_level: 1,
        }
    }

    #[test]
    fn a_description_survives_the_round_trip() {
        let tally = Tally { count: 9, bytes: 1000, sum: u64::MAX };
        for meta in [meta(), Meta::default(), Meta { membership: Some(Vec::new()), ..meta() }] {
            assert_eq!(decode(&encode(&meta, &tally)).unwrap(), (meta, tally));
        }
    }

    #[test]
    fn any_changed_bit_or_missing_byte_of_a_description_is_seen() {
        let bytes = encode(&meta(), &Tally::default());
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err());
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode(&damaged).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn the_tally_is_independent_of_order_and_can_be_undone() {
        let mut one = Tally::default();
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        let mut other = Tally::default();
        other.add(b"b", b"old");
        other.add(b"a", b"1");
        other.remove(b"b", b"old");
        other.add(b"b", b"2");
        assert_eq!(one, other);
    }

    #[test]
    fn every_flipped_bit_and_every_moved_border_changes_the_hash() {
        let key = *b"n/some/node";
        let value = *b"a value longer than one word";
        let hash = record_hash(&key, &value);
        for at in 0..value.len() * 8 {
            let mut damaged = value;
            damaged[at / 8] ^= 1 << (at % 8);
            assert_ne!(record_hash(&key, &damaged), hash);
        }
        assert_ne!(record_hash(b"ab", b"c"), record_hash(b"a", b"bc"));
        assert_ne!(record_hash(b"a", b"b\0"), record_hash(b"a", b"b"));
        // The hash is part of the file formats.
        assert_eq!(record_hash(b"key", b"value, nine"), EXPECTED);
    }

    const EXPECTED: u64 = 637_552_304_615_546_343;
}
