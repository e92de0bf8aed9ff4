//! What checkpoint and image have in common: records with a key and a value, a sum over all records, and `Meta`, which
//! says which state the records are.
//!
//! The sum is updated with every changed record. A reader that has read everything compares it. Each step of a record's
//! hash can be undone, so damage within eight bytes in a row of one record always changes the sum. Wider damage goes
//! unseen once in 2^64 cases. The sum guards against disks, not against people.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

use super::cursor::{Cursor, length_u32};
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
pub(crate) enum FileError {
    /// The content is not what was written. Another source of state may help.
    #[error("{0}")]
    Damaged(String),
    /// The file is whole, and a later version of this server wrote its format. Nothing may be changed.
    #[error("{0}")]
    Newer(String),
    /// The disk failed, so nothing is known about the file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Which state the records are: the state behind one log entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Meta {
    /// The last entry that was applied; None before the first.
    pub(crate) position: Option<LogPosition>,
    /// The membership in force at that entry, as consensus encodes it.
    pub(crate) membership: Option<Vec<u8>>,
    /// The last transaction that was applied.
    pub(crate) zxid: Zxid,
    /// The state's own digest (`State::digest`).
    pub(crate) digest: u64,
    /// The format level of the ensemble.
    pub(crate) format_level: u32,
}

/// Takes one record, key and value, and may refuse it.
pub(crate) type EachRecord<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<(), E> + 'a;

/// Number, size and sum of records. A reader must come to the same three numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
    /// Wrapping sum of `record_hash`.
    pub(crate) sum: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add((key.len() + value.len()) as u64);
        self.sum = self.sum.wrapping_add(record_hash(key, value));
    }

    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub((key.len() + value.len()) as u64);
        self.sum = self.sum.wrapping_sub(record_hash(key, value));
    }
}

/// The hash of one record. It is part of the file formats and never changes.
pub(crate) fn record_hash(key: &[u8], value: &[u8]) -> u64 {
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
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
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

/// The version that `encode` writes. `decode` reads every version that was ever written.
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
pub(crate) fn encode(meta: &Meta, tally: &Tally) -> Vec<u8> {
    let position = meta.position.unwrap_or_default();
    let membership = meta.membership.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(71 + membership.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&meta.format_level.to_le_bytes());
    for number in [meta.zxid.0, meta.digest, tally.count, tally.bytes, tally.sum] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.push(u8::from(meta.position.is_some()));
    bytes.extend_from_slice(&position.term.to_le_bytes());
    bytes.extend_from_slice(&position.index.to_le_bytes());
    bytes.push(u8::from(meta.membership.is_some()));
    bytes.extend_from_slice(&length_u32(membership.len()).to_le_bytes());
    bytes.extend_from_slice(membership);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Reads what `encode` wrote.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Meta, Tally), FileError> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(cut_short)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(FileError::Damaged("its description does not match its checksum".into()));
    }
    let mut fields = Cursor::new(body);
    let version = fields.u8().ok_or_else(cut_short)?;
    if version != VERSION {
        return Err(FileError::Newer(format!("its description has version {version}, this server knows {VERSION}")));
    }
    take_fields(&mut fields).ok_or_else(cut_short)
}

fn take_fields(fields: &mut Cursor<'_>) -> Option<(Meta, Tally)> {
    let format_level = fields.u32()?;
    let zxid = Zxid(fields.u64()?);
    let digest = fields.u64()?;
    let tally = Tally { count: fields.u64()?, bytes: fields.u64()?, sum: fields.u64()? };
    let has_position = fields.u8()? != 0;
    let position = LogPosition { term: fields.u64()?, index: fields.u64()? };
    let has_membership = fields.u8()? != 0;
    let length = fields.u32()?;
    let membership = fields.take(length as usize)?;
    if !fields.rest().is_empty() {
        return None;
    }
    let position = has_position.then_some(position);
    let membership = has_membership.then(|| membership.to_vec());
    Some((Meta { position, membership, zxid, digest, format_level }, tally))
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
