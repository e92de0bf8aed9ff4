//! The log's bytes. This file is pure: buffers go in, values come out. No bytes that a disk returned make it panic.
//!
//! All numbers are little endian. A segment file is a row of 512-byte *sectors*. The first sector is the segment's
//! header. The batches follow, then zeros up to the preallocated end. A batch begins on a sector and never spans two
//! segments.
//!
//! ```text
//! sector   0        1                                                  511
//!          +--------+--------------------------------------------------+--------+
//!          |  0xA5  |  510 bytes of content                            |  0x5A  |
//!          +--------+--------------------------------------------------+--------+
//!
//! batch = content of one or more sectors, filled up with zeros
//!          0      4        8          16            20             24
//!          +------+--------+----------+-------------+--------------+-----------+-----------+
//!          | WKB1 | length | sequence | header crc  | payload crc  |  payload  |  zeros    |
//!          +------+--------+----------+-------------+--------------+-----------+-----------+
//!          length: bytes of payload; sequence: 1, 2, 3 ... through the whole log
//!          header crc: over bytes 0..16; payload crc: over payload and zeros
//!
//! payload = records, one after another
//!          1  vote            term u64, voted for u64, committed u8
//!          2  entry           term u64, index u64, length u32, payload (consensus/log.rs)
//!          3  truncate after  present u8, term u64, index u64   (present 0: everything)
//!          4  purge           term u64, index u64       (may lie beyond the last entry)
//!          5  committed       term u64, index u64       (a hint for the start; never synced for its own sake)
//!
//! segment header = content of sector 0: the log's facts at the moment when the segment was begun, so that the segments
//! before it can be deleted
//!          0        8         12      28       36               44
//!          +--------+---------+-------+--------+----------------+-------+------+--------+-----------+------+-----+
//!          | WKLOG  | version | ident | number | first sequence | flags | vote | purged | committed | last | crc |
//!          | \0\0\0 | u32     | 16    | u64    | u64            | u32   | 17   | 16     | 16        | 16   | u32 |
//!          +--------+---------+-------+--------+----------------+-------+------+--------+-----------+------+-----+
//!          flags: bit 0 vote, 1 purged, 2 committed, 3 last: whether the field is set
//! ```
//!
//! Every crc32 of a batch begins with the log's identity. So neither a sector of another log nor bytes that a client
//! wrote can pass for a batch.
//!
//! The two marks tell a torn batch from a damaged one. A disk writes a sector from one end to the other, or not at all.
//! So if a sector was written in part, one of its marks reads as zero, whatever its content is. One flipped byte never
//! turns a mark into zero.

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

use super::{LogPosition, Vote};
use crate::storage::cursor::{Cursor, length_u32};

pub const SECTOR: usize = 512;
/// `SECTOR` as an offset within a file.
pub(crate) const SECTOR_BYTES: u64 = SECTOR as u64;
const CONTENT: usize = SECTOR - 2;
const MARK_FIRST: u8 = 0xa5;
const MARK_LAST: u8 = 0x5a;
const BATCH_MAGIC: [u8; 4] = *b"WKB1";
pub const BATCH_HEADER: usize = 24;
const SEGMENT_MAGIC: [u8; 8] = *b"WKLOG\0\0\0";
const SEGMENT_HEADER: usize = 117;
pub(crate) const VERSION: u32 = 1;

pub type Identity = [u8; 16];

/// What the log knows besides its entries. The records change these facts, and each segment's header repeats them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogFacts {
    /// Invariant: never falls (`Vote::may_follow`).
    pub(crate) vote: Option<Vote>,
    /// The last entry that may be gone. Invariant: never falls, and is not behind `last`.
    pub(crate) purged: Option<LogPosition>,
    /// A lower bound of what is committed.
    pub(crate) committed: Option<LogPosition>,
    /// The last entry, or the purge point if that is further on.
    pub(crate) last: Option<LogPosition>,
}

impl LogFacts {
    /// Whether the purge point lies within the log or at its end.
    pub(crate) fn are_ordered(&self) -> bool {
        self.purged.is_none_or(|purged| self.last.is_some_and(|last| purged.index <= last.index))
    }

    /// Checks what no batch may change.
    pub(crate) fn check_follow(&self, before: &LogFacts) {
        assert!(self.are_ordered(), "the log ends before its purge point: {self:?}");
        assert!(self.purged >= before.purged, "the purge point falls from {:?} to {:?}", before.purged, self.purged);
        let votes = before.vote.is_none_or(|old| self.vote.is_some_and(|new| new.may_follow(&old)));
        assert!(votes, "a vote is taken back: {:?} follows {:?}", self.vote, before.vote);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) first_sequence: u64,
    pub(crate) facts: LogFacts,
}

/// What one sector of bytes turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sector<T> {
    Valid(T),
    /// One of the marks is zero: the sector was never written, or not to its end.
    Unwritten,
    /// The sector was written, but its content has changed since. The text completes "the header ...".
    Damaged(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub(crate) length: u32,
    pub(crate) sequence: u64,
    payload_crc: u32,
}

/// One record of a batch's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Vote(Vote),
    Entry(LogPosition, &'a [u8]),
    TruncateAfter(Option<LogPosition>),
    Purge(LogPosition),
    Committed(LogPosition),
}

impl BatchHeader {
    /// How many bytes the batch takes on disk.
    pub(crate) fn extent(&self) -> u64 {
        extent(self.length as usize)
    }
}

/// How many bytes a batch with `payload` bytes of payload takes on disk.
pub(crate) fn extent(payload: usize) -> u64 {
    (BATCH_HEADER + payload).div_ceil(CONTENT) as u64 * SECTOR_BYTES
}

fn crc(identity: &Identity) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(identity);
    hasher
}

fn crc_of(identity: &Identity, bytes: &[u8]) -> u32 {
    let mut hasher = crc(identity);
    hasher.update(bytes);
    hasher.finalize()
}

/// Appends `content` as sectors. Its length is a multiple of `CONTENT`.
fn put_sectors(content: &[u8], out: &mut Vec<u8>) {
    for piece in content.chunks_exact(CONTENT) {
        out.push(MARK_FIRST);
        out.extend_from_slice(piece);
        out.push(MARK_LAST);
    }
}

/// Appends a batch's sectors to `out`. `payload` begins with `BATCH_HEADER` bytes of room for the header.
pub fn put_batch(identity: &Identity, sequence: u64, payload: &mut Vec<u8>, out: &mut Vec<u8>) {
    assert!(payload.len() >= BATCH_HEADER, "a batch has no room for its header");
    let length = length_u32(payload.len() - BATCH_HEADER);
    payload.resize(payload.len().next_multiple_of(CONTENT), 0);
    if let Some((header, content)) = payload.split_first_chunk_mut::<BATCH_HEADER>() {
        header[0..4].copy_from_slice(&BATCH_MAGIC);
        header[4..8].copy_from_slice(&length.to_le_bytes());
        header[8..16].copy_from_slice(&sequence.to_le_bytes());
        let header_crc = crc_of(identity, &header[..16]);
        header[16..20].copy_from_slice(&header_crc.to_le_bytes());
        header[20..24].copy_from_slice(&crc_of(identity, content).to_le_bytes());
    }
    put_sectors(payload, out);
}

/// Whether a sector was not written to its end.
pub(crate) fn unwritten(sector: &[u8]) -> bool {
    sector.first().is_none_or(|mark| *mark == 0) || sector.get(SECTOR - 1).is_none_or(|mark| *mark == 0)
}

/// Reads a batch's header from the batch's first sector. A sector that was not written to its end may still hold a
/// readable header (`Valid`): then the write ended after the header.
pub fn batch_header(identity: &Identity, sector: &[u8]) -> Sector<BatchHeader> {
    let mut fields = Cursor::new(sector.get(1..1 + BATCH_HEADER).unwrap_or_default());
    let parsed = (|| Some((fields.array::<4>()?, fields.u32()?, fields.u64()?, fields.u32()?, fields.u32()?)))();
    if let Some((BATCH_MAGIC, length, sequence, header_crc, payload_crc)) = parsed
        && header_crc == crc_of(identity, sector.get(1..17).unwrap_or_default())
    {
        return Sector::Valid(BatchHeader { length, sequence, payload_crc });
    }
    if unwritten(sector) { Sector::Unwritten } else { Sector::Damaged("does not match its checksum") }
}

/// Appends the payload in the batch's sectors to `payload`. The error completes "the batch ...".
pub fn batch_payload(
    identity: &Identity,
    header: &BatchHeader,
    sectors: &[u8],
    payload: &mut Vec<u8>,
) -> Result<(), &'static str> {
    if sectors.len() as u64 != header.extent() {
        return Err("ends behind its file");
    }
    let begin = payload.len();
    for (n, sector) in sectors.chunks_exact(SECTOR).enumerate() {
        let (Some((&MARK_FIRST, rest)), Some(&MARK_LAST)) = (sector.split_first(), sector.last()) else {
            return Err("has a sector without its marks");
        };
        let content = rest.get(..CONTENT).unwrap_or_default();
        payload.extend_from_slice(if n == 0 { content.get(BATCH_HEADER..).unwrap_or_default() } else { content });
    }
    let whole = payload.get(begin..).unwrap_or_default();
    if crc_of(identity, whole) != header.payload_crc {
        return Err("does not match its checksum");
    }
    payload.truncate(begin + header.length as usize);
    Ok(())
}

/// Appends a segment's header sector.
pub(crate) fn put_segment_header(identity: &Identity, header: &SegmentHeader, out: &mut Vec<u8>) {
    let mut content = Vec::with_capacity(CONTENT);
    content.extend_from_slice(&SEGMENT_MAGIC);
    content.extend_from_slice(&VERSION.to_le_bytes());
    content.extend_from_slice(identity);
    content.extend_from_slice(&header.number.to_le_bytes());
    content.extend_from_slice(&header.first_sequence.to_le_bytes());
    let facts = &header.facts;
    let flags = u32::from(facts.vote.is_some())
        | u32::from(facts.purged.is_some()) << 1
        | u32::from(facts.committed.is_some()) << 2
        | u32::from(facts.last.is_some()) << 3;
    content.extend_from_slice(&flags.to_le_bytes());
    put_vote(&facts.vote.unwrap_or_default(), &mut content);
    for position in [facts.purged, facts.committed, facts.last] {
        put_position(position.unwrap_or_default(), &mut content);
    }
    let crc = crc_of(&[0; 16], &content);
    content.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(content.len(), SEGMENT_HEADER, "the header of a segment has another size than the format says");
    content.resize(CONTENT, 0);
    put_sectors(&content, out);
}

/// Reads a segment's header, and the identity that it names.
pub fn segment_header(sector: &[u8]) -> Sector<(Identity, SegmentHeader)> {
    if unwritten(sector) {
        return Sector::Unwritten;
    }
    let content = sector.get(1..1 + SEGMENT_HEADER).unwrap_or_default();
    let mut fields = Cursor::new(content);
    let Some(magic) = fields.array::<8>() else { return Sector::Damaged("is too short") };
    if magic != SEGMENT_MAGIC {
        return Sector::Damaged("is not that of a log segment");
    }
    if fields.u32() != Some(VERSION) {
        return Sector::Damaged("names a format version that this release does not know");
    }
    let crc = content.get(SEGMENT_HEADER - 4..).and_then(|bytes| Cursor::new(bytes).u32());
    if crc != Some(crc_of(&[0; 16], content.get(..SEGMENT_HEADER - 4).unwrap_or_default())) {
        return Sector::Damaged("does not match its checksum");
    }
    let parsed = (|| {
        let identity = fields.array::<16>()?;
        let (number, first_sequence, flags) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let vote = take_vote(&mut fields)?;
        let purged = take_position(&mut fields)?;
        let committed = take_position(&mut fields)?;
        let last = take_position(&mut fields)?;
        let facts = LogFacts {
            vote: (flags & 1 != 0).then_some(vote),
            purged: (flags & 2 != 0).then_some(purged),
            committed: (flags & 4 != 0).then_some(committed),
            last: (flags & 8 != 0).then_some(last),
        };
        Some((identity, SegmentHeader { number, first_sequence, facts }))
    })();
    parsed.map_or(Sector::Damaged("is too short"), Sector::Valid)
}

fn put_vote(vote: &Vote, out: &mut Vec<u8>) {
    out.extend_from_slice(&vote.term.to_le_bytes());
    out.extend_from_slice(&vote.voted_for.to_le_bytes());
    out.push(u8::from(vote.committed));
}

fn put_position(position: LogPosition, out: &mut Vec<u8>) {
    out.extend_from_slice(&position.term.to_le_bytes());
    out.extend_from_slice(&position.index.to_le_bytes());
}

pub(crate) fn put_vote_record(vote: &Vote, out: &mut Vec<u8>) {
    out.push(1);
    put_vote(vote, out);
}

/// Appends an entry. `put` appends the entry's payload. Returns the payload's length in bytes.
pub(crate) fn put_entry_record(at: LogPosition, out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) -> u32 {
    out.push(2);
    put_position(at, out);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let length = length_u32(out.len() - length_at - 4);
    if let Some(field) = out.get_mut(length_at..length_at + 4) {
        field.copy_from_slice(&length.to_le_bytes());
    }
    length
}

pub(crate) fn put_truncate_record(after: Option<LogPosition>, out: &mut Vec<u8>) {
    out.push(3);
    out.push(u8::from(after.is_some()));
    put_position(after.unwrap_or_default(), out);
}

pub(crate) fn put_purge_record(upto: LogPosition, out: &mut Vec<u8>) {
    out.push(4);
    put_position(upto, out);
}

pub(crate) fn put_committed_record(at: LogPosition, out: &mut Vec<u8>) {
    out.push(5);
    put_position(at, out);
}

/// The records of a payload. An error is the last item; it completes "a record ...".
pub fn records(payload: &[u8]) -> impl Iterator<Item = Result<Record<'_>, &'static str>> {
    let mut fields = Cursor::new(payload);
    std::iter::from_fn(move || {
        if fields.rest().is_empty() {
            return None;
        }
        let record = take_record(&mut fields);
        if record.is_err() {
            fields = Cursor::new(&[]);
        }
        Some(record)
    })
}

fn take_position(fields: &mut Cursor<'_>) -> Option<LogPosition> {
    Some(LogPosition { term: fields.u64()?, index: fields.u64()? })
}

fn take_vote(fields: &mut Cursor<'_>) -> Option<Vote> {
    Some(Vote { term: fields.u64()?, voted_for: fields.u64()?, committed: fields.u8()? != 0 })
}

fn take_record<'a>(fields: &mut Cursor<'a>) -> Result<Record<'a>, &'static str> {
    const SHORT: &str = "is cut short";
    match fields.u8().ok_or(SHORT)? {
        1 => take_vote(fields).map(Record::Vote).ok_or(SHORT),
        2 => {
            let at = take_position(fields).ok_or(SHORT)?;
            let length = fields.u32().ok_or(SHORT)?;
            Ok(Record::Entry(at, fields.take(length as usize).ok_or(SHORT)?))
        }
        3 => {
            let (present, after) = (fields.u8().ok_or(SHORT)?, take_position(fields).ok_or(SHORT)?);
            Ok(Record::TruncateAfter((present != 0).then_some(after)))
        }
        4 => take_position(fields).map(Record::Purge).ok_or(SHORT),
        5 => take_position(fields).map(Record::Committed).ok_or(SHORT),
        _ => Err("is of a kind that this release does not know"),
    }
}
