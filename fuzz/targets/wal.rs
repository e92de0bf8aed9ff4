//! The log's bytes as recovery reads them: whatever a disk gives back, an answer and no panic; and what was written is read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmkeeper::storage::wal::format::{self, Sector};

const IDENTITY: format::Identity = [7; 16];

fuzz_target!(|bytes: &[u8]| {
    let sector = bytes.get(..format::SECTOR).unwrap_or(bytes);
    let _ = format::segment_header(sector);
    if let Sector::Valid(header) = format::batch_header(&IDENTITY, sector) {
        let mut payload = Vec::new();
        if format::batch_payload(&IDENTITY, &header, bytes, &mut payload).is_ok() {
            format::records(&payload).for_each(drop);
        }
    }
    // Checksums keep a fuzzer out: so the same bytes once more as a payload, read as they are ...
    let read: Vec<_> = format::records(bytes).collect();
    // ... and through a batch that holds them.
    let mut payload = vec![0; format::BATCH_HEADER];
    payload.extend_from_slice(bytes);
    let mut written = Vec::new();
    format::put_batch(&IDENTITY, 1, &mut payload, &mut written);
    let Sector::Valid(header) = format::batch_header(&IDENTITY, written.get(..format::SECTOR).unwrap_or_default())
    else {
        panic!("a header that was written is not read");
    };
    let mut again = Vec::new();
    format::batch_payload(&IDENTITY, &header, &written, &mut again).expect("a batch that was written is read");
    assert_eq!(again, bytes);
    assert_eq!(format::records(&again).collect::<Vec<_>>(), read);
});
