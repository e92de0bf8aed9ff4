//! The frame splitter: any stream, cut anywhere, gives the same frames or the same error. Bytes that have not come take
//! no memory.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use wasmkeeper::limits::FRAME_BYTES_MAX;
use wasmkeeper::wire::frame::{FrameError, Frames, READ_BYTES};

type Split = (Vec<Vec<u8>>, Option<FrameError>);

/// The frames of the stream if it comes in pieces of `piece` bytes.
fn split(stream: &[u8], piece: usize) -> Split {
    let (mut frames, mut buf, mut seen) = (Frames::new(FRAME_BYTES_MAX), BytesMut::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        frames.make_room(&mut buf);
        assert!(buf.capacity() <= 4 * (READ_BYTES + stream.len()));
        buf.extend_from_slice(bytes);
        loop {
            match frames.next(&mut buf) {
                Ok(Some(frame)) => seen.push(frame.to_vec()),
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, stream)) = input.split_first() else { return };
    assert_eq!(split(stream, usize::from(cut) + 1), split(stream, stream.len().max(1)));
});
