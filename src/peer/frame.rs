//! Messages between members as bytes, and back.
//!
//! ```text
//! 0         4         8            8 + length
//! | length  | crc32   | message    |
//! ```
//!
//! Both numbers are little endian. `length` counts only the message's bytes. The checksum covers the four bytes of the
//! length and the message, so that a damaged length is noticed. The message is postcard. Both ends know its type by the
//! connection's purpose and the protocol of its hello. A message must fill its frame.
//!
//! Promises: a reader takes at most about twice the memory of what it has received, whatever a length claims. A caller
//! may stop waiting for a frame, or stop sending one, at any point; no frame is lost or torn.

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

use super::net::Socket;
use crate::limits;
use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

/// How many bytes come before the message.
pub(crate) const HEADER_BYTES: usize = 8;

/// Why bytes are not a frame. Nothing that follows on the connection can be trusted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {length} bytes is announced, and at most {bytes_max} are allowed here")]
    TooLong { length: usize, bytes_max: usize },
    #[error("a frame's checksum is wrong: something between the members changes bytes, or the other end is no member")]
    Checksum,
    #[error("a frame holds no message of the kind that belongs here: {0}")]
    Malformed(postcard::Error),
    #[error("a frame holds {0} bytes more than its message")]
    Excess(usize),
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Splits a socket into a reader and a writer, for messages of at most `bytes_max` bytes.
pub(crate) fn split(socket: Socket, bytes_max: usize) -> (FrameReader, FrameWriter) {
    let (reader, writer) = tokio::io::split(socket);
    let reader = FrameReader { socket: reader, received: BytesMut::new(), told: 0, bytes_max };
    (reader, FrameWriter { socket: writer, pending: Vec::new(), written: 0, is_flushed: true, bytes_max })
}

pub(crate) struct FrameReader {
    socket: ReadHalf<Socket>,
    /// What has arrived and is not taken yet.
    received: BytesMut,
    /// How many bytes of the unfinished frame the last `Arrival::Part` told of.
    told: usize,
    bytes_max: usize,
}

/// What [`FrameReader::next_arrival`] waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<T> {
    /// A whole message.
    Message(T),
    /// `PEER_PART_BYTES` more of a message whose end has not arrived.
    Part,
    /// The other end has closed the connection between two frames.
    End,
}

impl FrameReader {
    /// The next message. None: the other end has closed the connection between two frames. The future may be dropped
    /// while it waits.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        match self.next_payload().await? {
            Some(payload) => Ok(Some(decode(&payload)?)),
            None => Ok(None),
        }
    }

    /// The bytes of the next message, before they are decoded. Otherwise as [`FrameReader::next`].
    pub(super) async fn next_payload(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some(payload) = self.take()? {
                return Ok(Some(payload));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// The next message, or a sign that a large one is arriving. The future may be dropped while it waits.
    pub(crate) async fn next_arrival<T: DeserializeOwned>(&mut self) -> io::Result<Arrival<T>> {
        loop {
            if let Some(payload) = self.take()? {
                return Ok(Arrival::Message(decode(&payload)?));
            }
            if self.received.len() >= self.told + limits::PEER_PART_BYTES {
                self.told = self.received.len();
                return Ok(Arrival::Part);
            }
            if !self.read().await? {
                return Ok(Arrival::End);
            }
        }
    }

    /// The first message, if all of it has arrived.
    fn take(&mut self) -> io::Result<Option<BytesMut>> {
        let taken = take(&mut self.received, self.bytes_max)?;
        if let Some(payload) = &taken {
            assert!(payload.len() <= self.bytes_max, "a frame of {} bytes is taken", payload.len());
            self.told = 0;
        }
        Ok(taken)
    }

    /// Waits for more bytes. False: the other end has closed the connection between two frames.
    async fn read(&mut self) -> io::Result<bool> {
        if self.received.is_empty() && self.received.capacity() > limits::PEER_BUFFER_BYTES_KEPT {
            self.received = BytesMut::new();
        }
        // No more than a message may have: before the other end is known, that is little.
        self.received.reserve(limits::PEER_READ_BYTES.min(HEADER_BYTES + self.bytes_max));
        if self.socket.read_buf(&mut self.received).await? > 0 {
            return Ok(true);
        }
        match self.received.is_empty() {
            true => Ok(false),
            false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a frame")),
        }
    }

    /// Sets how many bytes a message may have from now on.
    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }
}

pub(crate) struct FrameWriter {
    socket: WriteHalf<Socket>,
    /// Frames that have not been written in full. Invariant: at most `PEER_WRITE_BYTES` and one frame.
    pending: Vec<u8>,
    /// How many bytes of `pending` the socket has taken. Invariant: at most `pending.len()`.
    written: usize,
    /// Whether everything that was queued has left this process.
    is_flushed: bool,
    bytes_max: usize,
}

impl FrameWriter {
    /// Sends a message. If the future is dropped while it waits, the message goes out before the next one, or not at
    /// all.
    pub(crate) async fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.queue(message).await?;
        self.flush().await
    }

    /// Adds a message to those that wait for [`FrameWriter::flush`]. Waits only while too many bytes are pending.
    pub(crate) async fn queue<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        assert!(self.written <= self.pending.len(), "{} bytes of {} are written", self.written, self.pending.len());
        if self.is_full() {
            self.write_pending().await?;
        }
        let before = self.pending.len();
        put(message, &mut self.pending, self.bytes_max)?;
        self.is_flushed = false;
        let frame = self.pending.len() - before;
        assert!(frame <= HEADER_BYTES + self.bytes_max, "a frame of {frame} bytes is queued");
        Ok(())
    }

    /// Sends the pending frames. If the future is dropped while it waits, another call goes on from there.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.write_pending().await?;
        self.socket.flush().await?;
        self.is_flushed = true;
        Ok(())
    }

    /// Whether frames wait for [`FrameWriter::flush`].
    pub(crate) fn has_pending(&self) -> bool {
        !self.is_flushed
    }

    /// Whether so much is pending that [`FrameWriter::queue`] would wait.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() - self.written >= limits::PEER_WRITE_BYTES
    }

    /// Sends the pending frames, and tells the other end that nothing follows.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.write_pending().await?;
        self.socket.shutdown().await
    }

    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    async fn write_pending(&mut self) -> io::Result<()> {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            let written = self.socket.write(rest).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            assert!(written <= rest.len(), "the socket has taken {written} bytes of {}", rest.len());
            self.written += written;
        }
        self.pending.clear();
        self.pending.shrink_to(limits::PEER_BUFFER_BYTES_KEPT);
        self.written = 0;
        Ok(())
    }
}

/// Appends a message's frame. On error `out` is unchanged.
pub fn put<T: Serialize>(message: &T, out: &mut Vec<u8>, bytes_max: usize) -> Result<(), FrameError> {
    let start = out.len();
    out.extend([0; HEADER_BYTES]);
    let serialized = postcard::to_io(message, &mut *out).map(|_| ()).map_err(FrameError::Malformed);
    let framed = serialized.and_then(|()| seal(out.get_mut(start..).unwrap_or_default(), bytes_max));
    if framed.is_err() {
        out.truncate(start);
    }
    framed
}

/// Fills in the header of a frame whose message is in its place.
fn seal(frame: &mut [u8], bytes_max: usize) -> Result<(), FrameError> {
    let Some((header, payload)) = frame.split_first_chunk_mut::<HEADER_BYTES>() else { return Ok(()) };
    let length = match u32::try_from(payload.len()) {
        Ok(length) if payload.len() <= bytes_max => length.to_le_bytes(),
        _ => return Err(FrameError::TooLong { length: payload.len(), bytes_max }),
    };
    let [l0, l1, l2, l3] = length;
    let [c0, c1, c2, c3] = checksum(length, payload).to_le_bytes();
    *header = [l0, l1, l2, l3, c0, c1, c2, c3];
    Ok(())
}

/// Takes the first frame's message out of `received`. None: the end of the frame has not arrived yet.
pub fn take(received: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>, FrameError> {
    let Some((&[l0, l1, l2, l3], rest)) = received.split_first_chunk::<4>() else { return Ok(None) };
    let length = [l0, l1, l2, l3];
    let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(FrameError::TooLong { length: bytes, bytes_max });
    }
    let Some((expected, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let Some(payload) = rest.get(..bytes) else { return Ok(None) };
    if checksum(length, payload) != u32::from_le_bytes(*expected) {
        return Err(FrameError::Checksum);
    }
    let mut frame = received.split_to(HEADER_BYTES + bytes);
    Ok(Some(frame.split_off(HEADER_BYTES)))
}

/// Decodes the message of a frame.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(FrameError::Excess(rest.len())),
        Err(error) => Err(FrameError::Malformed(error)),
    }
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Message = (u32, Vec<u8>, String);

    const MESSAGE_MAX: usize = 1 << 20;

    fn framed<T: Serialize>(message: &T) -> Vec<u8> {
        let mut out = Vec::new();
        put(message, &mut out, MESSAGE_MAX).unwrap();
        out
    }

    /// What arrives is what was sent, however the stream is cut.
    #[tokio::test]
    async fn round_trip_over_a_narrow_pipe() {
        let (near, far) = tokio::io::duplex(7);
        let (_, mut writer) = split(Box::new(near), MESSAGE_MAX);
        let (mut reader, _keep) = split(Box::new(far), MESSAGE_MAX);
        let messages: Vec<Message> = (0..20).map(|n| (n, vec![7; n as usize * 1000], format!("message {n}"))).collect();
        let send = async {
            for message in &messages[..10] {
                writer.queue(message).await.unwrap();
            }
            writer.flush().await.unwrap();
            for message in &messages[10..] {
                writer.send(message).await.unwrap();
            }
            writer.close().await.unwrap();
        };
        let receive = async {
            let mut received = Vec::new();
            while let Some(message) = reader.next::<Message>().await.unwrap() {
                received.push(message);
            }
            received
        };
        let ((), received) = tokio::join!(send, receive);
        assert_eq!(received, messages);
    }

    /// A caller that stops waiting, or stops sending, tears no frame.
    #[tokio::test]
    async fn giving_up_loses_nothing() {
        let (near, far) = tokio::io::duplex(16);
        let (_, mut writer) = split(Box::new(near), MESSAGE_MAX);
        let (mut reader, _keep) = split(Box::new(far), MESSAGE_MAX);
        let long: Message = (1, vec![1; 100], "long".to_owned());
        {
            let send = std::pin::pin!(writer.send(&long));
            assert!(futures::poll!(send).is_pending());
            let next = std::pin::pin!(reader.next::<Message>());
            assert!(futures::poll!(next).is_pending());
        }
        let short: Message = (2, vec![], "short".to_owned());
        let (sent, first) = tokio::join!(writer.send(&short), reader.next::<Message>());
        assert_eq!((sent.unwrap(), first.unwrap()), ((), Some(long)));
        assert_eq!(reader.next::<Message>().await.unwrap(), Some(short));
    }

    /// A large message shows that it is arriving, over and over. A small one does not.
    #[tokio::test]
    async fn a_large_message_arrives_in_parts() {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (_, mut writer) = split(Box::new(near), MESSAGE_MAX);
        let (mut reader, _keep) = split(Box::new(far), MESSAGE_MAX);
        let large = vec![7u8; MESSAGE_MAX - 10];
        let send = async {
            writer.send(&large).await.unwrap();
            writer.send(&vec![8u8]).await.unwrap();
            writer.close().await.unwrap();
        };
        let receive = async {
            let mut parts = 0;
            loop {
                match reader.next_arrival::<Vec<u8>>().await.unwrap() {
                    Arrival::Part => parts += 1,
                    Arrival::Message(message) => {
                        assert!(message == large);
                        break;
                    }
                    Arrival::End => panic!("the message is lost"),
                }
            }
            assert_eq!(reader.next_arrival().await.unwrap(), Arrival::Message(vec![8u8]));
            assert_eq!(reader.next_arrival::<Vec<u8>>().await.unwrap(), Arrival::End);
            parts
        };
        let ((), parts) = tokio::join!(send, receive);
        assert!(parts >= MESSAGE_MAX / limits::PEER_PART_BYTES / 2, "{parts} parts");
    }

    /// The drawing at the head of this file. Bytes that a release sent are understood for ever.
    #[test]
    fn as_drawn() {
        let frame = framed(&(1u8, 2u8));
        assert_eq!(frame, [2, 0, 0, 0, 0xc5, 0x50, 0x1f, 0x0b, 1, 2]);
    }

    #[test]
    fn damage_is_an_error() {
        let whole = framed(&(5u32, vec![9u8; 40], "text"));
        for position in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[position] ^= 1 << bit;
                // A length that claims more bytes than there are looks like a frame that is still on its way.
                let taken = take(&mut BytesMut::from(damaged.as_slice()), MESSAGE_MAX);
                assert!(!matches!(taken, Ok(Some(_))), "bit {bit} of byte {position}");
            }
        }
        assert_eq!(decode::<(u8,)>(&[1, 2]), Err(FrameError::Excess(1)));
        assert!(matches!(decode::<String>(&[200, 200, 1]), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn what_is_too_long_is_neither_sent_nor_believed() {
        let mut out = vec![1, 2, 3];
        let refused = put(&vec![0u8; 100], &mut out, 100);
        assert_eq!(refused, Err(FrameError::TooLong { length: 101, bytes_max: 100 }));
        assert_eq!(out, [1, 2, 3]);
        let mut announced = BytesMut::from([255, 255, 255, 255].as_slice());
        assert!(matches!(take(&mut announced, 100), Err(FrameError::TooLong { .. })));
        // The longest allowed frame takes no memory before its bytes arrive.
        let mut allowed = BytesMut::from([100, 0, 0, 0, 1, 2, 3, 4].as_slice());
        assert_eq!(take(&mut allowed, 100), Ok(None));
        assert!(allowed.capacity() < 64);
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_an_error() {
        let (mut near, far) = tokio::io::duplex(64);
        let (mut reader, _keep) = split(Box::new(far), MESSAGE_MAX);
        near.write_all(&framed(&1u8)[..6]).await.unwrap();
        drop(near);
        assert_eq!(reader.next::<u8>().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_not_panic(bytes: Vec<u8>, length in 0u32..64) {
            let mut received = BytesMut::from(bytes.as_slice());
            while let Ok(Some(payload)) = take(&mut received, 1 << 10) {
                let _ = decode::<Message>(&payload);
            }
            // Any bytes may be in a frame with a good checksum, so decoding them must not panic.
            let _ = decode::<Message>(&bytes);
            let mut announced = length.to_le_bytes().to_vec();
            announced.extend(&bytes);
            let _ = take(&mut BytesMut::from(announced.as_slice()), 1 << 10);
        }

        #[test]
        fn what_is_put_is_taken(message: Message, more: Vec<u8>) {
            let mut received = BytesMut::from(framed(&message).as_slice());
            received.extend_from_slice(&more);
            let payload = take(&mut received, MESSAGE_MAX).unwrap().unwrap();
            prop_assert_eq!(decode::<Message>(&payload), Ok(message));
            prop_assert_eq!(received.as_ref(), more.as_slice());
        }
    }
}
