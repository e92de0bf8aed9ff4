//! Taking frames out of a stream of bytes: no panic, no frame above its bound, and the same frames however the bytes arrive.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use wasmkeeper::wire::frame::Frames;

/// Small, so that the fuzzer reaches the bound.
const FRAME_BYTES_MAX: usize = 200;

/// The frames of a stream that arrives in pieces of `step` bytes, and whether it ended in a refusal.
fn frames(stream: &[u8], step: usize) -> (Vec<Bytes>, bool) {
    let mut splitter = Frames::new(FRAME_BYTES_MAX);
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for piece in stream.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match splitter.next(&mut buffer) {
                Ok(Some(frame)) => {
                    assert!(frame.len() <= FRAME_BYTES_MAX);
                    found.push(frame);
                }
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((step, stream)) = bytes.split_first() else { return };
    assert_eq!(frames(stream, usize::from(*step).max(1)), frames(stream, stream.len().max(1)));
});
