//! The plain image: all state as one file that needs no library to be read. The way back to the state when the
//! checkpoint is damaged, and the backup format.
//!
//! Promises: under its name there is a complete image or none; every damaged byte is seen before its block is used, and
//! a missing or added one at the latest at the end. Written and read in blocks, never as a whole in memory.
//!
//! ```text
//! header    0   8  magic "WKIMAGE" and a zero
//!           8   4  version = 1
//!          12   4  length n of the description
//!          16   n  description: position, membership, zxid, digest, count and sum (`records::encode`)
//!           …   4  crc32 of the header before
//! blocks    0   4  length n > 0 of the records
//!           4   4  crc32 of the block's number (8 bytes, from 0) and the records
//!           8   n  records, in key order over the whole file, each:
//!                  4 length of the key, 4 length of the value, key, value
//! end       0   4  zero
//!           4   4  crc32 of the whole file before, these zeros included
//! ```
//!
//! Numbers are little endian. A record never crosses blocks.

use super::checkpoint::{Checkpoint, is_content_error};
use super::disk::{Disk, DiskFile};
use super::records::{self, FileError, Meta, Tally};
use super::{IMAGE_FILE, IMAGE_FILE_NEW};
use crate::limits;
use std::io;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"WKIMAGE\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const BLOCK_HEADER_BYTES: usize = 8;

/// Writes what the checkpoint holds as the image, in the place of the one before; durable on return. None: there is no
/// checkpoint yet. An error of the disk ends the process; the image before is still there.
pub fn write(disk: &dyn Disk, checkpoint: &Checkpoint) -> Result<Option<Meta>, FileError> {
    let Some(meta) = checkpoint.meta() else { return Ok(None) };
    write_as(disk, IMAGE_FILE_NEW, meta, &checkpoint.tally(), |record| {
        checkpoint.read(record)?;
        Ok(())
    })?;
    disk.rename(IMAGE_FILE_NEW, IMAGE_FILE)?;
    disk.sync_folder("")?;
    Ok(Some(meta.clone()))
}

/// Writes an image under any name, in the place of what is there: a backup. Its content is synced, its name is not.
pub fn write_as(
    disk: &dyn Disk,
    path: &str,
    meta: &Meta,
    tally: &Tally,
    fill: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]) -> io::Result<()>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    if disk.exists(path)? {
        disk.remove(path)?;
    }
    let mut writer = Writer::new(disk.open(path, true)?);
    writer.header(meta, tally)?;
    fill(&mut |key, value| writer.record(key, value))?;
    if writer.tally != *tally {
        return Err(FileError::Damaged("its records are not those that were announced".into()));
    }
    writer.end()?;
    Ok(())
}

/// What the image under its usual name says it is, or none if there is no such file. Its records are not looked at.
pub fn peek(disk: &dyn Disk) -> Result<Option<(Meta, Tally)>, FileError> {
    if !disk.exists(IMAGE_FILE)? {
        return Ok(None);
    }
    Ok(Some(Reader::open(disk, IMAGE_FILE)?.header()?))
}

/// Reads every record of an image, in key order, and verifies all of it. Records are handed out before the rest is
/// verified, so whatever was built from them counts only once this has returned. None: there is no such file.
pub fn load(
    disk: &dyn Disk,
    path: &str,
    record: &mut super::records::EachRecord<'_, FileError>,
) -> Result<Option<(Meta, Tally)>, FileError> {
    if !disk.exists(path)? {
        return Ok(None);
    }
    let mut reader = Reader::open(disk, path)?;
    let (meta, expected) = reader.header()?;
    let mut found = Tally::default();
    let mut last_key: Option<Vec<u8>> = None;
    let mut number = 0;
    while let Some(block) = reader.block(number)? {
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let (key, value) = split_record(&mut rest).ok_or_else(|| bad("a record is longer than its block"))?;
            if last_key.as_deref().is_some_and(|last| last >= key) {
                return Err(bad("its records are out of order"));
            }
            found.add(key, value);
            record(key, value)?;
            let last = last_key.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
        }
        number += 1;
    }
    if found != expected {
        return Err(bad("its records do not add up to those that were written"));
    }
    Ok(Some((meta, expected)))
}

fn split_record<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (key_length, after) = rest.split_first_chunk::<4>()?;
    let (value_length, after) = after.split_first_chunk::<4>()?;
    let (key, after) = after.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    let (value, after) = after.split_at_checked(u32::from_le_bytes(*value_length) as usize)?;
    *rest = after;
    Some((key, value))
}

fn bad(what: &str) -> FileError {
    FileError::Damaged(what.into())
}

fn block_crc(number: u64, records: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(records);
    crc.finalize()
}

pub(super) struct Writer {
    file: Arc<dyn DiskFile>,
    /// Records of the block in the making.
    block: Vec<u8>,
    block_number: u64,
    offset: u64,
    synced: u64,
    crc: crc32fast::Hasher,
    tally: Tally,
}

impl Writer {
    pub fn new(file: Arc<dyn DiskFile>) -> Writer {
        Writer {
            file,
            block: Vec::with_capacity(limits::IMAGE_BLOCK_BYTES),
            block_number: 0,
            offset: 0,
            synced: 0,
            crc: crc32fast::Hasher::new(),
            tally: Tally::default(),
        }
    }

    pub fn header(&mut self, meta: &Meta, tally: &Tally) -> io::Result<()> {
        let description = records::encode(meta, tally);
        let mut header = Vec::with_capacity(HEADER_BYTES + description.len() + 4);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(description.len() as u32).to_le_bytes());
        header.extend_from_slice(&description);
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        self.put(&header)
    }

    pub fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let length = 8 + key.len() + value.len();
        if u32::try_from(length).is_err() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a record of 4 GiB fits into no image"));
        }
        if !self.block.is_empty() && self.block.len() + length > limits::IMAGE_BLOCK_BYTES {
            self.flush_block()?;
        }
        self.block.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.block.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        self.tally.add(key, value);
        Ok(())
    }

    fn flush_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        let mut header = [0; BLOCK_HEADER_BYTES];
        header[..4].copy_from_slice(&(block.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&block_crc(self.block_number, &block).to_le_bytes());
        self.put(&header)?;
        self.put(&block)?;
        self.block_number += 1;
        self.block = block;
        self.block.clear();
        if self.offset - self.synced >= limits::IMAGE_SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    pub fn end(&mut self) -> io::Result<()> {
        self.flush_block()?;
        self.put(&0u32.to_le_bytes())?;
        let crc = self.crc.clone().finalize();
        self.put(&crc.to_le_bytes())?;
        self.file.sync_data()
    }

    /// Over the records so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.crc.update(bytes);
        Ok(())
    }
}

struct Reader {
    file: Arc<dyn DiskFile>,
    length: u64,
    offset: u64,
    crc: crc32fast::Hasher,
}

impl Reader {
    fn open(disk: &dyn Disk, path: &str) -> io::Result<Reader> {
        let file = disk.open(path, false)?;
        let length = file.len()?;
        Ok(Reader { file, length, offset: 0, crc: crc32fast::Hasher::new() })
    }

    fn header(&mut self) -> Result<(Meta, Tally), FileError> {
        let mut header = self.take(HEADER_BYTES)?;
        let mut rest = header.as_slice();
        let magic = rest.split_first_chunk::<8>();
        if magic.is_none_or(|(magic, _)| *magic != MAGIC) {
            return Err(bad("it does not begin as an image does"));
        }
        rest = &rest[8..];
        let (version, length) = rest.split_at(4);
        let version = u32::from_le_bytes(version.try_into().expect("four bytes were split off"));
        let length = u32::from_le_bytes(length.try_into().expect("four bytes are left")) as usize;
        let description = self.take(length)?;
        header.extend_from_slice(&description);
        if self.take_u32()? != crc32fast::hash(&header) {
            return Err(bad("its header does not match its checksum"));
        }
        if version != VERSION {
            return Err(FileError::Newer(format!("it has version {version}, this server knows {VERSION}")));
        }
        records::decode(&description)
    }

    /// The records of the next block; none at the end, when the whole file was found good.
    fn block(&mut self, number: u64) -> Result<Option<Vec<u8>>, FileError> {
        let length = self.take_u32()? as usize;
        if length == 0 {
            let crc = self.crc.clone().finalize();
            if self.take_u32()? != crc {
                return Err(bad("it does not match its checksum"));
            }
            if self.offset != self.length {
                return Err(bad("something follows its end"));
            }
            return Ok(None);
        }
        let crc = self.take_u32()?;
        let records = self.take(length)?;
        if block_crc(number, &records) != crc {
            return Err(bad(&format!("block {number} does not match its checksum")));
        }
        Ok(Some(records))
    }

    fn take_u32(&mut self) -> Result<u32, FileError> {
        let bytes = self.take(4)?;
        let bytes = bytes.first_chunk::<4>().ok_or_else(|| bad("it is cut short"))?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, FileError> {
        // Before anything is reserved: a damaged length must not cost memory.
        if count as u64 > self.length - self.offset {
            return Err(bad("it is cut short"));
        }
        let mut bytes = vec![0; count];
        self.file
            .read_at(&mut bytes, self.offset)
            .map_err(|error| if is_content_error(&error) { bad(&error.to_string()) } else { FileError::Io(error) })?;
        self.offset += count as u64;
        self.crc.update(&bytes);
        Ok(bytes)
    }
}
