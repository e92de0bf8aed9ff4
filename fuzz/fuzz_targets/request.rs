//! The messages of clients: whatever the bytes, an answer and no panic.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wasmkeeper::wire::decode;

fuzz_target!(|bytes: &[u8]| {
    let frame = Bytes::copy_from_slice(bytes);
    let _ = decode::connect_request(&frame);
    let _ = decode::request(frame);
});
