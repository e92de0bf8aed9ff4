//! Who this data directory is: the ensemble it belongs to, the member it is, and a random incarnation.
//!
//! The file is written before anything else, because the log's segments carry the incarnation. It is written once more
//! when the log holds something. So a start can tell a log that was removed from a log that never was. The incarnation
//! tells a member from an emptied directory with the same member number, which has forgotten its votes.
//!
//! ```text
//!  0   8  magic "WKIDENT" and a zero
//!  8   4  format version of the directory = 1
//! 12   8  cluster
//! 20   8  member
//! 28  16  incarnation
//! 44   1  1 if the log is in use, 0 while the directory is new
//! 45   3  zeros
//! 48   4  crc32 of all before
//! ```
//!
//! Numbers are little endian; the file has 52 bytes.

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

use super::cursor::Cursor;
use super::disk::Disk;
use super::{IDENTITY_FILE, IDENTITY_FILE_NEW};
use std::io;
use thiserror::Error;

/// The format of the whole directory, not only of this file.
pub(crate) const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"WKIDENT\0";
const BYTES: usize = 52;
const CRC_AT: usize = BYTES - 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// Made when the ensemble is founded (`replica::ensemble::bootstrap`); 0 while it is not known yet.
    pub(crate) cluster: u64,
    /// The member's number (ZooKeeper's myid).
    pub(crate) member: u64,
    /// Random, chosen when the directory was made.
    pub(crate) incarnation: [u8; 16],
    /// Whether the log holds anything. If so, the log must be there at every start.
    pub(crate) log_in_use: bool,
}

#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    /// A full sentence for the operator.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the identity; None if the directory has none yet.
pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Identity>, IdentityError> {
    if !disk.exists(IDENTITY_FILE)? {
        return Ok(None);
    }
    let file = disk.open(IDENTITY_FILE, false)?;
    let length = file.len()?;
    let mut bytes = [0; BYTES];
    if length != BYTES as u64 {
        return Err(damaged(&format!("it has {length} bytes instead of {BYTES}")));
    }
    file.read_at(&mut bytes, 0)?;
    decode(&bytes).map(Some)
}

/// Writes the identity in the place of the old one, durably. A crash leaves the old identity or the new one.
pub(crate) fn write(disk: &dyn Disk, identity: &Identity) -> io::Result<()> {
    if disk.exists(IDENTITY_FILE_NEW)? {
        disk.remove(IDENTITY_FILE_NEW)?;
    }
    let file = disk.open(IDENTITY_FILE_NEW, true)?;
    file.write_at(&encode(identity), 0)?;
    file.sync_data()?;
    disk.rename(IDENTITY_FILE_NEW, IDENTITY_FILE)?;
    disk.sync_folder("")
}

fn encode(identity: &Identity) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&identity.cluster.to_le_bytes());
    bytes[20..28].copy_from_slice(&identity.member.to_le_bytes());
    bytes[28..44].copy_from_slice(&identity.incarnation);
    bytes[44] = u8::from(identity.log_in_use);
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Result<Identity, IdentityError> {
    let mut fields = Cursor::new(bytes);
    if fields.array() != Some(MAGIC) {
        return Err(damaged("it does not begin as such a file does"));
    }
    // The checksum comes first: a flipped bit in the version must not read as a directory of a later version.
    let crc = Cursor::new(&bytes[CRC_AT..]).u32();
    if crc != Some(crc32fast::hash(&bytes[..CRC_AT])) {
        return Err(damaged("it does not match its checksum"));
    }
    let version = fields.u32().unwrap_or_default();
    if version != FORMAT_VERSION {
        return Err(IdentityError::Refused(format!(
            "the data directory has format version {version}, and this server knows {FORMAT_VERSION} only; start the \
             server version that wrote it, or an empty data directory"
        )));
    }
    let identity = (|| {
        let (cluster, member, incarnation) = (fields.u64()?, fields.u64()?, fields.array()?);
        Some(Identity { cluster, member, incarnation, log_in_use: fields.u8()? != 0 })
    })();
    identity.ok_or_else(|| damaged("it is cut short"))
}

fn damaged(what: &str) -> IdentityError {
    IdentityError::Refused(format!(
        "the file `{IDENTITY_FILE}` in the data directory is damaged: {what}; bring it back from a backup of this very \
         directory, or start with an empty data directory (in an ensemble: remove this member and add it again)"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::SimDisk;
    use super::*;

    const IDENTITY: Identity = Identity { cluster: 7, member: 2, incarnation: [9; 16], log_in_use: false };

    #[test]
    fn every_flipped_bit_is_seen() {
        let disk = SimDisk::new();
        assert_eq!(read(&disk).unwrap(), None);
        write(&disk, &IDENTITY).unwrap();
        for bit in 0..BYTES as u64 * 8 {
            disk.flip(IDENTITY_FILE, bit / 8, 1 << (bit % 8));
            assert!(matches!(read(&disk), Err(IdentityError::Refused(_))), "bit {bit}");
            disk.flip(IDENTITY_FILE, bit / 8, 1 << (bit % 8));
        }
        assert_eq!(read(&disk).unwrap(), Some(IDENTITY));
    }

    #[test]
    fn another_format_is_refused_with_a_sentence() {
        let mut bytes = encode(&IDENTITY);
        bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let refusal = decode(&bytes).unwrap_err().to_string();
        assert!(refusal.contains("format version 2"), "{refusal}");
    }

    #[test]
    fn a_crash_while_it_is_written_leaves_the_old_one_or_the_new_one() {
        let marked = Identity { log_in_use: true, ..IDENTITY };
        for point in 1..=40 {
            let disk = SimDisk::new();
            disk.crash_at(point);
            let written = write(&disk, &IDENTITY).is_ok();
            let marked_too = written && write(&disk, &marked).is_ok();
            disk.crash(point);
            match read(&disk).unwrap() {
                None => assert!(!written, "point {point}"),
                Some(identity) if identity == IDENTITY => assert!(!marked_too, "point {point}"),
                Some(identity) => assert!(written && identity == marked, "point {point}"),
            }
        }
    }
}
