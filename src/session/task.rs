//! One connection's task: it writes what is queued, takes frames from what has arrived, and reads more.
//!
//! It makes few system calls: one read for everything that has arrived, then all frames, then one write of everything
//! they queued. Bytes are read into a buffer of the worker thread, so an idle connection owns no buffer.

use super::dispatch::{Dispatch, Flow, Reading};
use super::outbox::End;
use super::{Server, handshake, workers};
use crate::environment::Instant;
use crate::limits::{self, SOCKET_READ_BYTES};
use crate::metrics::Metrics;
use crate::wire::frame::{FrameError, Frames};
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

thread_local! {
    /// The buffer that every socket read on this thread fills first.
    static ARRIVALS: RefCell<Box<[u8]>> = RefCell::new(vec![0; SOCKET_READ_BYTES].into_boxed_slice());
}

pub(super) struct Task<S> {
    stream: S,
    server: Arc<dyn Server>,
    dispatch: Dispatch,
    frames: Frames,
    /// Bytes that were read and not taken: less than a frame, or frames that backpressure holds back.
    arrived: BytesMut,
    /// When the last bytes were read: microseconds of the member's clock.
    arrived_us: u64,
    /// Bytes that were taken from the outbox and are not written.
    leaving: BytesMut,
    /// Whether backpressure holds the connection back (`Connection::hold`).
    held: bool,
    /// The client took some bytes since this was last reset.
    progress: bool,
    /// Runs while the connection is held back because the client does not take what is written to it. Ends one session
    /// timeout after the client took something last.
    patience: Option<Pin<Box<Sleep>>>,
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(stream: S, server: Arc<dyn Server>, connection: Arc<super::Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = &server.connections().options().network;
    let frames = Frames::new(options.frame_bytes_max);
    let patience = Duration::from_millis(options.sessionless_timeout_ms);
    let dispatch = Dispatch::new(server.clone(), connection);
    let mut task = Task {
        stream,
        server,
        dispatch,
        frames,
        arrived: BytesMut::new(),
        arrived_us: 0,
        leaving: BytesMut::new(),
        held: false,
        progress: false,
        patience: None,
    };
    // Boxed, so that the timer's memory is freed before the connection goes on for long.
    let greeted = Box::pin(tokio::time::timeout(patience, task.greet())).await;
    if greeted.is_err() {
        task.metrics().sessionless_connections_expired.increment();
    }
    if let Ok(Ok(true)) = greeted
        && poll_fn(|context| task.poll(context)).await.is_ok()
    {
        // A client that does not read must not keep the connection for ever.
        let _ = Box::pin(tokio::time::timeout(patience, task.end_politely())).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Task<S> {
    /// Takes the first message. Returns whether the connection goes on.
    async fn greet(&mut self) -> io::Result<bool> {
        loop {
            if let Some(&word) = self.arrived.first_chunk::<4>() {
                if let Some(bytes) = self.dispatch.server().four_letter_words().argument_bytes(word) {
                    self.four_letter_word(word, bytes).await?;
                    return Ok(false);
                }
                match self.frames.next(&mut self.arrived) {
                    Err(error) => {
                        self.count_refused(&error);
                        return Ok(false);
                    }
                    Ok(None) => {}
                    Ok(Some(frame)) => {
                        return Ok(handshake::connect(&mut self.dispatch, &frame, self.arrived_us) == Flow::On);
                    }
                }
            }
            if poll_fn(|context| self.poll_read(context)).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Answers a four letter word, and `argument_bytes` more bytes that belong to it.
    async fn four_letter_word(&mut self, word: [u8; 4], argument_bytes: usize) -> io::Result<()> {
        let argument = loop {
            if let Some(argument) = self.arrived.get(word.len()..word.len() + argument_bytes) {
                break argument.to_vec();
            }
            if poll_fn(|context| self.poll_read(context)).await? == 0 {
                return Ok(());
            }
        };
        self.dispatch.connection().count_received();
        let peer = self.dispatch.connection().peer();
        let answer = self.dispatch.server().four_letter_words().answer(word, &argument, peer);
        self.stream.write_all(&answer).await?;
        self.stream.shutdown().await
    }

    /// Runs until the connection ends. `Ok`: what is queued is still to be written.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        workers::count_turn();
        self.dispatch.connection().outbox.register(context.waker());
        loop {
            match self.dispatch.connection().outbox.end() {
                End::Now => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                End::AfterFlush => return Poll::Ready(Ok(())),
                End::Open => {}
            }
            let flushed = self.poll_write(context)?.is_ready();
            match self.take_frames() {
                Taken::Some => continue,
                Taken::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Taken::HeldBack if !flushed && !self.dispatch.connection().outbox.has_room() => {
                    self.hold(false);
                    return self.wait_for_client(context);
                }
                Taken::HeldBack => {
                    self.hold(true);
                    return Poll::Pending;
                }
                Taken::Enough => {
                    self.hold(false);
                    let _ = self.poll_write(context)?;
                    // `yield_now` polls the sockets before this task runs again. Waking the task would not.
                    return pin!(tokio::task::yield_now()).poll(context).map(Ok);
                }
                Taken::Nothing => self.hold(false),
            }
            self.patience = None;
            if flushed && self.arrived.is_empty() {
                self.leaving = BytesMut::new();
            }
            if ready!(self.poll_read(context))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Nothing is read from the socket before the client takes what is written to it, so its pings are not heard. Each
    /// time it takes something, that is a sign of life. If it takes nothing for a session timeout, the connection ends,
    /// and the session expires as if the client had been silent.
    fn wait_for_client(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.dispatch.connection();
        let patience = match &mut self.patience {
            Some(patience) if !self.progress => patience,
            patience => {
                connection.touch(connection.clock().now_us());
                let timeout_ms = u64::try_from(connection.timeout_ms()).unwrap_or_default();
                patience.insert(Box::pin(tokio::time::sleep(Duration::from_millis(timeout_ms))))
            }
        };
        self.progress = false;
        ready!(patience.as_mut().poll(context));
        tracing::info!(peer = %connection.peer(), "a client takes no replies: its connection is closed");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes everything that is queued.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wrote = false;
        loop {
            if self.leaving.is_empty() {
                let bytes = self.dispatch.connection().outbox.take();
                if bytes.is_empty() {
                    // A TLS stream keeps bytes that the socket did not take.
                    if wrote {
                        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
                    }
                    return Poll::Ready(Ok(()));
                }
                self.leaving = bytes;
            }
            // What leaves was true when it was queued. If this process has stood still since, the truth may have moved
            // on elsewhere. A pause between this check and the kernel's copy remains: nothing can exclude that.
            // A server alone depends on nobody, and its clock is not read.
            let until_us = self.server.lease_until_us();
            if until_us != u64::MAX && self.dispatch.connection().clock().lease_us() > until_us {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &self.leaving))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.leaving.advance(count);
            self.progress = true;
            wrote = true;
        }
    }

    /// Takes the frames that have arrived whole, until backpressure or the end of this connection's turn.
    fn take_frames(&mut self) -> Taken {
        let mut taken = Taken::Nothing;
        let mut reading = Reading::new(&*self.server);
        let begun = Instant::now();
        let mut count = 0_u32;
        loop {
            if !self.dispatch.connection().takes_requests() {
                // Queued replies are written first. The thread that answers the other requests wakes this task.
                return if let Taken::Some = taken { taken } else { Taken::HeldBack };
            }
            match self.frames.next(&mut self.arrived) {
                Ok(None) => return taken,
                Err(error) => {
                    self.count_refused(&error);
                    tracing::debug!(peer = %self.dispatch.connection().peer(), %error, "closing a connection");
                    return Taken::Broken;
                }
                Ok(Some(frame)) => match self.dispatch.frame(frame, self.arrived_us, &mut reading) {
                    Flow::On => taken = Taken::Some,
                    Flow::Closing => return Taken::Some,
                    Flow::Broken => return Taken::Broken,
                },
            }
            // Only every fourth time: reading the clock costs a tenth of answering a read.
            count = count.wrapping_add(1);
            if count.is_multiple_of(4) && begun.elapsed() > limits::CONNECTION_TURN_MAX {
                return Taken::Enough;
            }
        }
    }

    /// Reads what has arrived. Returns the number of bytes; 0 at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let arrived = &mut self.arrived;
        let count = ready!(ARRIVALS.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(stream.poll_read(context, &mut buffer))?;
            arrived.extend_from_slice(buffer.filled());
            Poll::Ready(io::Result::Ok(buffer.filled().len()))
        }))?;
        self.metrics().bytes_received_count.add(count as u64);
        self.arrived_us = self.dispatch.connection().clock().now_us();
        self.dispatch.connection().touch(self.arrived_us);
        Poll::Ready(Ok(count))
    }

    fn metrics(&self) -> &Metrics {
        self.dispatch.connection().metrics()
    }

    fn count_refused(&self, error: &FrameError) {
        if let FrameError::TooLong { .. } = error {
            self.metrics().large_requests_rejected.increment();
        }
    }

    /// Backpressure begins (`held`) or ends: the client has to wait for this server. While it lasts, the session counts
    /// as alive.
    fn hold(&mut self, held: bool) {
        if self.held != held {
            self.held = held;
            let connection = self.dispatch.connection();
            connection.hold(held);
            if held {
                connection.metrics().request_throttle_wait_count.increment();
            }
            connection.touch(connection.clock().now_us());
        }
    }

    /// Writes the rest. Reads and drops what the client has sent meanwhile: closing a socket with unread bytes resets
    /// the connection, and the last reply could be lost.
    async fn end_politely(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            self.dispatch.connection().outbox.register(context.waker());
            ready!(self.poll_write(context))?;
            // A held event, and what is queued behind it, is written as well.
            if self.dispatch.connection().outbox.holds() { Poll::Pending } else { Poll::Ready(io::Result::Ok(())) }
        })
        .await?;
        self.stream.shutdown().await?;
        poll_fn(|context| {
            let _ = self.poll_read(context);
            Poll::Ready(())
        })
        .await;
        Ok(())
    }
}

/// Runs also if the task is dropped early, by a panic or by the end of the runtime.
impl<S> Drop for Task<S> {
    fn drop(&mut self) {
        let connection = self.dispatch.connection();
        // Backpressure is over, and must not keep the session alive.
        connection.hold(false);
        connection.home().forget(&**self.dispatch.server(), connection);
    }
}

enum Taken {
    /// Frames were taken, so there may be something to write.
    Some,
    /// No whole frame has arrived.
    Nothing,
    /// Backpressure: too much is unanswered or unwritten.
    HeldBack,
    /// More frames have arrived, but other connections have their turn first.
    Enough,
    Broken,
}
