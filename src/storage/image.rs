//! The plain image: all state as one file that needs no library to be read. It gives the state back when the checkpoint
//! is damaged, and it is the backup format.
//!
//! Promises: under its name there is a complete image or none. Every damaged byte is seen before its block is used; a
//! missing or added byte is seen at the end at the latest. The image is written and read in blocks and is never in
//! memory as a whole.
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

use super::checkpoint::{Checkpoint, is_content_error};
use super::cursor::{Cursor, length_u32};
use super::disk::{Disk, DiskFile};
use super::records::{self, EachRecord, FileError, Meta, Tally};
use super::{IMAGE_FILE, IMAGE_FILE_NEW};
use crate::limits;
use std::io;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"WKIMAGE\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const BLOCK_HEADER_BYTES: usize = 8;

/// Writes the checkpoint's records as the image, in the place of the image before; durable on return. None: there is no
/// checkpoint yet. An error of the disk ends the process, and the image before is still there.
pub(crate) fn write(disk: &dyn Disk, checkpoint: &Checkpoint) -> Result<Option<Meta>, FileError> {
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
pub(crate) fn write_as(
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

/// Reads the description of the image under its usual name; None if there is no such file. Does not look at the
/// records.
pub(crate) fn peek(disk: &dyn Disk) -> Result<Option<(Meta, Tally)>, FileError> {
    if !disk.exists(IMAGE_FILE)? {
        return Ok(None);
    }
    Ok(Some(Reader::open(disk, IMAGE_FILE)?.header()?))
}

/// Reads every record of an image, in key order, and verifies the whole image. `record` gets records before the rest is
/// verified, so whatever was built from them counts only once this function has returned. None: there is no such file.
pub(crate) fn load(
    disk: &dyn Disk,
    path: &str,
    record: &mut EachRecord<'_, FileError>,
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
        let mut fields = Cursor::new(&block);
        while !fields.rest().is_empty() {
            let (key, value) = take_record(&mut fields).ok_or_else(|| bad("a record is longer than its block"))?;
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

fn take_record<'a>(fields: &mut Cursor<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let (key, value) = (fields.u32()?, fields.u32()?);
    Some((fields.take(key as usize)?, fields.take(value as usize)?))
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
    /// How many bytes were written.
    offset: u64,
    /// How many bytes were synced. Invariant: at most `offset`.
    synced: u64,
    crc: crc32fast::Hasher,
    tally: Tally,
    /// The end was written. Invariant: nothing is written behind the end.
    ended: bool,
}

impl Writer {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Writer {
        Writer {
            file,
            block: Vec::with_capacity(limits::IMAGE_BLOCK_BYTES),
            block_number: 0,
            offset: 0,
            synced: 0,
            crc: crc32fast::Hasher::new(),
            tally: Tally::default(),
            ended: false,
        }
    }

    /// Writes the header. To be called once, before anything else.
    pub(crate) fn header(&mut self, meta: &Meta, tally: &Tally) -> io::Result<()> {
        assert!(self.offset == 0 && self.block.is_empty(), "an image's header comes behind its records");
        let description = records::encode(meta, tally);
        let mut header = Vec::with_capacity(HEADER_BYTES + description.len() + 4);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&length_u32(description.len()).to_le_bytes());
        header.extend_from_slice(&description);
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        self.put(&header)
    }

    pub(crate) fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let length = 8 + key.len() + value.len();
        if u32::try_from(length).is_err() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a record of 4 GiB fits into no image"));
        }
        if !self.block.is_empty() && self.block.len() + length > limits::IMAGE_BLOCK_BYTES {
            self.flush_block()?;
        }
        self.block.extend_from_slice(&length_u32(key.len()).to_le_bytes());
        self.block.extend_from_slice(&length_u32(value.len()).to_le_bytes());
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
        header[..4].copy_from_slice(&length_u32(block.len()).to_le_bytes());
        header[4..].copy_from_slice(&block_crc(self.block_number, &block).to_le_bytes());
        self.put(&header)?;
        self.put(&block)?;
        self.block_number += 1;
        self.block = block;
        self.block.clear();
        assert!(self.synced <= self.offset, "{} bytes are synced, and {} were written", self.synced, self.offset);
        if self.offset - self.synced >= limits::IMAGE_SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.flush_block()?;
        self.put(&0u32.to_le_bytes())?;
        let crc = self.crc.clone().finalize();
        self.put(&crc.to_le_bytes())?;
        self.ended = true;
        self.file.sync_data()
    }

    /// Over the records so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.ended, "something is written behind the end of an image");
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
        let mut fields = Cursor::new(&header);
        if fields.array() != Some(MAGIC) {
            return Err(bad("it does not begin as an image does"));
        }
        let (Some(version), Some(length)) = (fields.u32(), fields.u32()) else { return Err(bad("it is cut short")) };
        let description = self.take(length as usize)?;
        header.extend_from_slice(&description);
        if self.take_u32()? != crc32fast::hash(&header) {
            return Err(bad("its header does not match its checksum"));
        }
        if version != VERSION {
            return Err(FileError::Newer(format!("it has version {version}, this server knows {VERSION}")));
        }
        records::decode(&description)
    }

    /// The records of the next block. None at the end, if the whole file is good.
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
        Cursor::new(&bytes).u32().ok_or_else(|| bad("it is cut short"))
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, FileError> {
        // Compared before memory is reserved: a damaged length must not cost memory.
        if count as u64 > self.length.saturating_sub(self.offset) {
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
