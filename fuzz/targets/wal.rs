//! The log's bytes as recovery reads them: no bytes panic. An entry that was encoded is decoded as the same entry.

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
    // A fuzzer does not guess checksums. So the same bytes are also decoded as a payload ...
    let read: Vec<_> = format::records(bytes).collect();
    // ... and as part of a batch.
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
