//! Who this data directory is: the ensemble it belongs to, the member it is, and a random incarnation.
//!
//! Written once, when the directory is new, and last of all: where it stands, the log stands too. The incarnation
//! tells a member from an emptied one with the same number, which has forgotten its votes (architecture.md section 7).
//!
//! ```text
//!  0   8  magic "WKIDENT" and a zero
//!  8   4  format version of the directory = 1
//! 12   8  cluster
//! 20   8  member
//! 28  16  incarnation
//! 44   4  crc32 of all before
//! ```
//!
//! Numbers are little endian; the file has 48 bytes.

use super::disk::Disk;
use super::{IDENTITY_FILE, IDENTITY_FILE_NEW};
use std::io;
use thiserror::Error;

/// The format of the whole directory, not only of this file.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"WKIDENT\0";
const BYTES: usize = 48;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Chosen at random when the ensemble begins; 0 while it is not known yet.
    pub cluster: u64,
    /// The member's number (ZooKeeper's myid).
    pub member: u64,
    /// Random, chosen when the directory was made.
    pub incarnation: [u8; 16],
}

#[derive(Debug, Error)]
pub enum IdentityError {
    /// A full sentence for the operator.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the identity; none if the directory has none yet.
pub fn read(disk: &dyn Disk) -> Result<Option<Identity>, IdentityError> {
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

/// Writes the identity of a new directory, durably. The caller has made the log before.
pub fn create(disk: &dyn Disk, identity: &Identity) -> Result<(), IdentityError> {
    if disk.exists(IDENTITY_FILE)? {
        return Err(IdentityError::Refused(format!("the data directory already has a file `{IDENTITY_FILE}`")));
    }
    if disk.exists(IDENTITY_FILE_NEW)? {
        disk.remove(IDENTITY_FILE_NEW)?;
    }
    let file = disk.open(IDENTITY_FILE_NEW, true)?;
    file.write_at(&encode(identity), 0)?;
    file.sync_data()?;
    disk.rename(IDENTITY_FILE_NEW, IDENTITY_FILE)?;
    disk.sync_folder("")?;
    Ok(())
}

/// The identity of the directory, or a new one if it is new. `configured_member` must be the one that is written there.
/// `log_is_new` says whether the log, which was opened before, holds nothing at all.
pub fn read_or_create(
    disk: &dyn Disk,
    configured_member: u64,
    log_is_new: bool,
    new: impl FnOnce() -> Identity,
) -> Result<Identity, IdentityError> {
    match read(disk)? {
        Some(identity) if identity.member != configured_member => Err(IdentityError::Refused(format!(
            "the data directory belongs to member {}, but this server is configured as member {configured_member}; \
             correct the configured number or the data directory",
            identity.member
        ))),
        Some(identity) => Ok(identity),
        None if !log_is_new => Err(IdentityError::Refused(format!(
            "the data directory has a log but no file `{IDENTITY_FILE}`; bring that file back from a backup of this very \
             directory, or start with an empty data directory (in an ensemble: remove this member and add it again)"
        ))),
        None => {
            let identity = new();
            create(disk, &identity)?;
            Ok(identity)
        }
    }
}

fn encode(identity: &Identity) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&identity.cluster.to_le_bytes());
    bytes[20..28].copy_from_slice(&identity.member.to_le_bytes());
    bytes[28..44].copy_from_slice(&identity.incarnation);
    let crc = crc32fast::hash(&bytes[..44]);
    bytes[44..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Result<Identity, IdentityError> {
    if bytes[..8] != MAGIC {
        return Err(damaged("it does not begin as such a file does"));
    }
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(number)
    };
    // The checksum first: a flipped bit in the version must not read as a directory from the future.
    if number(44 - 4) >> 32 != crc32fast::hash(&bytes[..44]) as u64 {
        return Err(damaged("it does not match its checksum"));
    }
    let version = number(8) as u32;
    if version != FORMAT_VERSION {
        return Err(IdentityError::Refused(format!(
            "the data directory has format version {version}, and this server knows {FORMAT_VERSION} only; start the \
             server version that wrote it, or an empty data directory"
        )));
    }
    let mut incarnation = [0; 16];
    incarnation.copy_from_slice(&bytes[28..44]);
    Ok(Identity { cluster: number(12), member: number(20), incarnation })
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

    const IDENTITY: Identity = Identity { cluster: 7, member: 2, incarnation: [9; 16] };

    #[test]
    fn an_identity_is_made_once_and_read_again() {
        let disk = SimDisk::new();
        assert_eq!(read(&disk).unwrap(), None);
        assert_eq!(read_or_create(&disk, 2, true, || IDENTITY).unwrap(), IDENTITY);
        disk.crash(1);
        assert_eq!(read_or_create(&disk, 2, false, || unreachable!("it is there")).unwrap(), IDENTITY);
        assert!(create(&disk, &IDENTITY).is_err());
        let refusal = read_or_create(&disk, 3, true, || IDENTITY).unwrap_err().to_string();
        assert!(refusal.contains("belongs to member 2") && refusal.contains("as member 3"), "{refusal}");
    }

    #[test]
    fn a_log_without_an_identity_is_refused() {
        let refusal = read_or_create(&SimDisk::new(), 2, false, || IDENTITY).unwrap_err().to_string();
        assert!(refusal.contains("has a log but no file `identity`"), "{refusal}");
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let disk = SimDisk::new();
        create(&disk, &IDENTITY).unwrap();
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
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        let refusal = decode(&bytes).unwrap_err().to_string();
        assert!(refusal.contains("format version 2"), "{refusal}");
    }

    #[test]
    fn a_crash_while_it_is_made_leaves_all_or_nothing() {
        for point in 1.. {
            let disk = SimDisk::new();
            disk.crash_at(point);
            let done = create(&disk, &IDENTITY).is_ok();
            disk.crash(point);
            match read(&disk).unwrap() {
                Some(identity) => assert_eq!(identity, IDENTITY),
                None => assert!(!done, "an acknowledged identity is gone"),
            }
            if done {
                break;
            }
        }
    }
}
