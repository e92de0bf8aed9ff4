//! Cuts a connection's byte stream into frames: four bytes of length, then that many bytes.
//!
//! Promises: memory grows with the bytes that came, not with the length they announce. An idle connection holds no
//! buffer, since thousands of idle connections must be cheap. After a length that is negative or beyond the limit, no
//! later frame can be found: the connection is closed without a reply, as in ZooKeeper.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// No later frame can be found in the stream: close the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    #[error("frame length {0} is negative")]
    Negative(i32),
    #[error("frame length {length} is over the limit of {max} bytes")]
    TooLong { length: i32, max: usize },
}

const LENGTH_BYTES: usize = 4;

/// Room for the next read in bytes, unless a longer frame has begun. Forty pipelined requests of 200 bytes fit.
pub const READ_BYTES: usize = 8 << 10;

/// Finds frames in the buffer that the caller reads into. Owns no bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    max: usize,
}

impl Frames {
    /// `max`: the longest frame in bytes, without its length (`limits::FRAME_BYTES_MAX`, jute.maxbuffer).
    pub fn new(max: usize) -> Frames {
        Frames { max }
    }

    /// The next complete frame at the front of `buf`, without its length. None if more bytes are needed. An empty
    /// buffer is then given back to the allocator, so wait until the socket is readable before you call `make_room`.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.announced(buf)? else {
            if buf.is_empty() && buf.capacity() > 0 {
                *buf = BytesMut::new();
            }
            return Ok(None);
        };
        if buf.len() - LENGTH_BYTES < length {
            return Ok(None);
        }
        buf.advance(LENGTH_BYTES);
        Ok(Some(buf.split_to(length).freeze()))
    }

    /// Makes room for the next read: at least `READ_BYTES`. For a long frame, room for the bytes that are missing, but
    /// never more than have come already.
    pub fn make_room(&self, buf: &mut BytesMut) {
        let missing = match self.announced(buf) {
            Ok(Some(length)) => (length + LENGTH_BYTES).saturating_sub(buf.len()),
            _ => 0,
        };
        buf.reserve(missing.clamp(READ_BYTES, READ_BYTES.max(buf.len())));
    }

    fn announced(&self, buf: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(&bytes) = buf.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(bytes);
        match usize::try_from(length) {
            Err(_) => Err(FrameError::Negative(length)),
            Ok(bytes) if bytes > self.max => Err(FrameError::TooLong { length, max: self.max }),
            Ok(bytes) => Ok(Some(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_in_pieces() {
        let mut frames = Frames::new(100);
        let mut buf = BytesMut::new();
        let mut seen = Vec::new();
        for byte in b"\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01c" {
            buf.extend_from_slice(&[*byte]);
            while let Some(frame) = frames.next(&mut buf).unwrap() {
                seen.push(frame);
            }
        }
        assert_eq!(seen, [&b"ab"[..], b"", b"c"]);
        assert_eq!(buf.capacity(), 0, "an idle connection holds no buffer");
    }

    #[test]
    fn lengths_out_of_range() {
        let mut frames = Frames::new(0xf_ffff);
        let next = |frames: &mut Frames, bytes: &[u8]| frames.next(&mut BytesMut::from(bytes));
        assert_eq!(next(&mut frames, &[0xff; 4]), Err(FrameError::Negative(-1)));
        assert_eq!(next(&mut frames, &[0, 0x10, 0, 0]), Err(FrameError::TooLong { length: 0x10_0000, max: 0xf_ffff }));
        assert_eq!(next(&mut frames, &[0, 0x0f, 0xff, 0xff]), Ok(None));
    }

    #[test]
    fn a_long_announcement_takes_no_memory() {
        let frames = Frames::new(0xf_ffff);
        let mut buf = BytesMut::from(&[0, 0x0f, 0xff, 0xff][..]);
        frames.make_room(&mut buf);
        assert!(buf.capacity() < 4 * READ_BYTES);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
            cut in 1usize..40,
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend((body.len() as u32).to_be_bytes());
                stream.extend(body);
            }
            let (mut frames, mut buf, mut seen) = (Frames::new(50), BytesMut::new(), Vec::new());
            for piece in stream.chunks(cut) {
                frames.make_room(&mut buf);
                buf.extend_from_slice(piece);
                while let Some(frame) = frames.next(&mut buf).unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, bodies);
        }
    }
}
