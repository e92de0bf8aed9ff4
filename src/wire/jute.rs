//! The primitives of ZooKeeper's serialization (jute), of which every record is made.
//!
//! Integers are big-endian, and a boolean is one byte. Strings and buffers follow an `i32` length, vectors an `i32`
//! count; -1 is null. There are no tags and no padding, so a record is its fields in order (BinaryInputArchive.java,
//! BinaryOutputArchive.java).
//!
//! Reading never allocates what a length or count claims. A length must lie within the frame, and a vector grows as its
//! elements are read. ZooKeeper also bounds one string by jute.maxbuffer plus extrasize. That bound is wider than the
//! frame and needs no check of its own.

use crate::model::{AclEntry, Identity, Stat};
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a Stat record.
pub(crate) const STAT_BYTES: usize = 68;

/// What was wrong with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    #[error("the record ends before its last field")]
    Truncated,
    #[error("length {0} is negative")]
    BadLength(i32),
    #[error("no such operation")]
    UnknownOperation,
    /// Reads and writes in one multi, or an operation that a multi cannot hold.
    #[error("operation {0} cannot be part of this multi")]
    BadMultiPart(i32),
    #[error("{0} is no create mode here")]
    BadCreateMode(i32),
    /// A null that ZooKeeper cannot handle: a path or list of setWatches, an ACL's id, the ACL of a multi's create.
    #[error("a field that must be there is null")]
    Null,
}

/// Reads the fields of a frame in order. Buffers are slices of the frame, without a copy.
pub(crate) struct Reader {
    frame: Bytes,
    at: usize,
}

impl Reader {
    pub(crate) fn new(frame: Bytes) -> Reader {
        Reader { frame, at: 0 }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.frame.len().saturating_sub(self.at)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Fault> {
        let end = self.at.checked_add(length).ok_or(Fault::Truncated)?;
        let bytes = self.frame.get(self.at..end).ok_or(Fault::Truncated)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| Fault::Truncated)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Any byte but 0 is true, as in Java.
    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        Ok(self.byte()? != 0)
    }

    pub(crate) fn int(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn long(&mut self) -> Result<i64, Fault> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// The length before a string or buffer. None for null.
    fn length(&mut self) -> Result<Option<usize>, Fault> {
        match self.int()? {
            -1 => Ok(None),
            length => Ok(Some(usize::try_from(length).map_err(|_| Fault::BadLength(length))?)),
        }
    }

    pub(crate) fn string(&mut self) -> Result<Option<String>, Fault> {
        let Some(length) = self.length()? else { return Ok(None) };
        Ok(Some(text(self.take(length)?)))
    }

    pub(crate) fn buffer(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(length) = self.length()? else { return Ok(None) };
        let start = self.at;
        self.take(length)?;
        Ok(Some(self.frame.slice(start..self.at)))
    }

    /// A vector. None for null. A negative count other than -1 is an empty vector, as in Java's loop.
    pub(crate) fn vector<T>(
        &mut self,
        mut element: impl FnMut(&mut Reader) -> Result<T, Fault>,
    ) -> Result<Option<Vec<T>>, Fault> {
        let count = self.int()?;
        if count == -1 {
            return Ok(None);
        }
        let mut elements = Vec::new();
        for _ in 0..count.max(0) {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    pub(crate) fn acl(&mut self) -> Result<Option<Vec<AclEntry>>, Fault> {
        self.vector(|reader| {
            let permissions = reader.int()?;
            let scheme = reader.string()?;
            let id = reader.string()?;
            Ok(AclEntry { permissions, who: identity(scheme, id)? })
        })
    }

    pub(crate) fn stat(&mut self) -> Result<Stat, Fault> {
        Ok(Stat {
            czxid: self.long()?,
            mzxid: self.long()?,
            ctime: self.long()?,
            mtime: self.long()?,
            version: self.int()?,
            cversion: self.int()?,
            aversion: self.int()?,
            ephemeral_owner: self.long()?,
            data_length: self.int()?,
            num_children: self.int()?,
            pzxid: self.long()?,
        })
    }
}

/// An identity of scheme and id, either of which may be null. A null scheme becomes the empty scheme, which nobody
/// knows, so the ACL is refused as invalid later. A null id makes ZooKeeper fail with MARSHALLINGERROR in the schemes
/// that read the id. `auth` does not read it, and no code reads the id of an unknown scheme.
fn identity(scheme: Option<String>, id: Option<String>) -> Result<Identity, Fault> {
    let scheme = scheme.unwrap_or_default();
    let looked_at = matches!(scheme.as_str(), "world" | "digest" | "ip" | "x509" | "sasl" | "super");
    match id {
        None if looked_at => Err(Fault::Null),
        id => Ok(Identity { scheme, id: id.unwrap_or_default() }),
    }
}

/// Reads UTF-8 as Java does. Malformed bytes become U+FFFD. An encoded surrogate becomes one U+FFFD, where Rust would
/// make it three. Such a surrogate has three bytes; CESU-8 writes half of a character beyond the first plane so.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => lossy_text(bytes),
    }
}

fn lossy_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let malformed = match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                break;
            }
            Err(error) => {
                let (valid, malformed) = rest.split_at(error.valid_up_to());
                out.push_str(&String::from_utf8_lossy(valid));
                rest = malformed;
                error.error_len().unwrap_or(malformed.len())
            }
        };
        out.push(char::REPLACEMENT_CHARACTER);
        rest = rest.get(surrogate_length(rest).unwrap_or(malformed)..).unwrap_or_default();
    }
    out
}

/// The length of an encoded surrogate at the front of `bytes`: three bytes, or two if its third is missing.
fn surrogate_length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => Some(3),
        [0xed, 0xa0..=0xbf, ..] => Some(2),
        _ => None,
    }
}

/// Appends a string. A character beyond the first plane is written as two encoded surrogates of three bytes each
/// (CESU-8), as Java's writer does, which encodes UTF-16 units one by one.
pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    if text.bytes().any(|byte| byte >= 0xf0) {
        return put_supplementary(out, text);
    }
    put_buffer(out, Some(text.as_bytes()));
}

#[cold]
fn put_supplementary(out: &mut BytesMut, text: &str) {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 2);
    for unit in text.encode_utf16() {
        let [high, low] = unit.to_be_bytes();
        // Bits 6 to 11 of the unit.
        let middle = (high & 0x0f) << 2 | low >> 6;
        match unit {
            0..=0x7f => bytes.push(low),
            0x80..=0x7ff => bytes.extend([0xc0 | middle, 0x80 | low & 0x3f]),
            _ => bytes.extend([0xe0 | high >> 4, 0x80 | middle, 0x80 | low & 0x3f]),
        }
    }
    put_buffer(out, Some(&bytes));
}

pub(crate) fn put_optional_string(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.put_i32(-1),
    }
}

pub(crate) fn put_buffer(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.reserve(4 + bytes.len());
            out.put_i32(wire_length(bytes.len()));
            out.put_slice(bytes);
        }
    }
}

/// A length or count as the wire has it. One beyond 2^31 makes its frame too long, and `put_frame` drops the frame.
pub(crate) fn wire_length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

pub(crate) fn put_strings<'a>(out: &mut BytesMut, texts: impl ExactSizeIterator<Item = &'a str>) {
    out.put_i32(wire_length(texts.len()));
    for text in texts {
        put_string(out, text);
    }
}

pub(crate) fn put_acl(out: &mut BytesMut, acl: &[AclEntry]) {
    out.put_i32(wire_length(acl.len()));
    for entry in acl {
        out.put_i32(entry.permissions);
        put_string(out, &entry.who.scheme);
        put_string(out, &entry.who.id);
    }
}

pub(crate) fn put_stat(out: &mut BytesMut, stat: &Stat) {
    out.reserve(STAT_BYTES);
    out.put_i64(stat.czxid);
    out.put_i64(stat.mzxid);
    out.put_i64(stat.ctime);
    out.put_i64(stat.mtime);
    out.put_i32(stat.version);
    out.put_i32(stat.cversion);
    out.put_i32(stat.aversion);
    out.put_i64(stat.ephemeral_owner);
    out.put_i32(stat.data_length);
    out.put_i32(stat.num_children);
    out.put_i64(stat.pzxid);
}

/// Appends what `fill` writes as one frame, with its length before it. Appends nothing if the frame would have 2 GiB or
/// more. Then the caller closes the connection.
pub(crate) fn put_frame(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    put_frame_within(out, i32::MAX, fill);
}

/// As `put_frame`, with another bound. `bytes_max`: of the frame without its length.
fn put_frame_within(out: &mut BytesMut, bytes_max: i32, fill: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    fill(out);
    let (_, frame) = out.split_at_mut(start);
    match (frame.len().checked_sub(4).map(i32::try_from), frame.first_chunk_mut::<4>()) {
        (Some(Ok(length)), Some(place)) if length <= bytes_max => *place = length.to_be_bytes(),
        _ => out.truncate(start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_frame_that_is_too_long_is_not_appended() {
        let mut out = BytesMut::from(&b"before"[..]);
        put_frame_within(&mut out, 3, |out| out.put_slice(b"four"));
        assert_eq!(&out[..], b"before");
        put_frame_within(&mut out, 4, |out| out.put_slice(b"four"));
        assert_eq!(&out[..], b"before\0\0\0\x04four");
    }

    #[test]
    fn lengths_that_lie() {
        assert_eq!(reader(&[0, 0, 0, 5, b'a']).string(), Err(Fault::Truncated));
        assert_eq!(reader(&[0x7f, 0xff, 0xff, 0xff]).buffer(), Err(Fault::Truncated));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xfe]).buffer(), Err(Fault::BadLength(-2)));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff]).string(), Ok(None));
        assert_eq!(reader(&[0, 0, 0, 0]).string(), Ok(Some(String::new())));
        assert_eq!(reader(&[0, 0]).int(), Err(Fault::Truncated));
    }

    #[test]
    fn vector_counts_that_lie() {
        assert_eq!(reader(&[0x7f, 0xff, 0xff, 0xff]).vector(Reader::int), Err(Fault::Truncated));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff]).vector(Reader::int), Ok(None));
        assert_eq!(reader(&[0x80, 0, 0, 0]).vector(Reader::int), Ok(Some(vec![])));
    }

    #[test]
    fn malformed_text_as_java_reads_it() {
        assert_eq!(text(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(text(b"\xc0\x80"), "\u{fffd}\u{fffd}");
        assert_eq!(text(b"x\xed\xa0\xbd\xed\xb8\x80y"), "x\u{fffd}\u{fffd}y");
        assert_eq!(text(b"\xed\xa0"), "\u{fffd}");
        assert_eq!(text(b"\xed\xa0q"), "\u{fffd}q");
        assert_eq!(text(b"\xe2\x82"), "\u{fffd}");
        assert_eq!(text(b"\xf0\x9f\x98\x80"), "\u{1f600}");
        assert_eq!(text(b"\xf5\x80\x80\x80"), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn supplementary_characters_leave_as_surrogates() {
        let mut out = BytesMut::new();
        put_string(&mut out, "é\u{1f600}a");
        assert_eq!(&out[..], b"\x00\x00\x00\x09\xc3\xa9\xed\xa0\xbd\xed\xb8\x80a");
    }
}
