//! Frames between members: any bytes, cut anywhere, give the same messages or the same error. Hellos are read or
//! refused. A message that was encoded is decoded as the same message.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use wasmkeeper::peer::frame::{self, FrameError};
use wasmkeeper::peer::{Hello, Welcome, hello};

const BYTES_MAX: usize = 1 << 10;

type Taken = (Vec<Vec<u8>>, Option<FrameError>);

/// The messages of a stream if it comes in pieces of `piece` bytes.
fn take(stream: &[u8], piece: usize) -> Taken {
    let (mut received, mut seen) = (BytesMut::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        received.extend_from_slice(bytes);
        loop {
            match frame::take(&mut received, BYTES_MAX) {
                Ok(Some(payload)) => seen.push(payload.to_vec()),
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, stream)) = input.split_first() else { return };
    assert_eq!(take(stream, usize::from(cut) + 1), take(stream, stream.len().max(1)));
    // A fuzzer does not guess checksums. So the same bytes are also decoded as a message.
    if let Ok(Ok(read)) = hello::decode_hello(stream) {
        written_is_read(&read, frame::decode::<Hello>);
    }
    if let Ok(read) = frame::decode::<Welcome>(stream) {
        if let Welcome::Refused(refusal) = &read {
            assert!(!refusal.to_string().is_empty());
        }
        written_is_read(&read, frame::decode::<Welcome>);
    }
});

fn written_is_read<T: serde::Serialize + PartialEq + std::fmt::Debug>(
    message: &T,
    read: impl Fn(&[u8]) -> Result<T, FrameError>,
) {
    let mut out = Vec::new();
    frame::put(message, &mut out, BYTES_MAX).expect("a hello is short");
    let payload =
        frame::take(&mut BytesMut::from(out.as_slice()), BYTES_MAX).expect("a frame that was written is read");
    assert_eq!(read(&payload.expect("it is whole")).as_ref(), Ok(message));
}
