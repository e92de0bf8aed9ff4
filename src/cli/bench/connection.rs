//! One connection of the load generator: many requests under way, one write and one read for each wake-up.

use super::Args;
use crate::client::codec as wire;
use crate::wire::frame::{Frames, READ_BYTES};
use crate::wire::reply::{ReplyHeader, xid};
use crate::wire::request::{ConnectRequest, Request};
use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A session on a connection.
pub(crate) struct Connection {
    stream: TcpStream,
    received: BytesMut,
    /// Requests that were put and are not yet sent.
    out: BytesMut,
    /// The xid of each unanswered request and when it was put, oldest first.
    under_way: VecDeque<(i32, Instant)>,
    last_xid: i32,
    /// The largest zxid of an answer.
    last_zxid: i64,
    session: Session,
    /// The session timeout that the server granted.
    pub(crate) session_timeout: Duration,
}

/// What a client needs to attach to its session again, on any member.
#[derive(Clone)]
pub(crate) struct Session {
    id: i64,
    password: Bytes,
    last_zxid: i64,
}

impl Session {
    /// No session: the server makes one.
    pub(crate) fn none() -> Session {
        Session { id: 0, password: Bytes::from_static(&[0; 16]), last_zxid: 0 }
    }
}

/// A message that has come in.
pub(crate) enum Arrival {
    Reply { header: ReplyHeader, latency: Duration },
    Event,
    Pong,
}

impl Connection {
    /// Connects and opens a session. `number` chooses the server, so that connections spread over all.
    pub(crate) async fn open(args: &Args, number: u32) -> Result<Connection> {
        let server = args.server_of(number);
        let none = Session::none();
        let opening = Connection::greet(args, server, &none);
        let connection = match tokio::time::timeout(args.timeout(), opening).await {
            Ok(opened) => opened.with_context(|| {
                format!(
                    "open session {} with {server}; a server takes at most maxClientCnxns connections from one \
                     address (60, unless it is told otherwise)",
                    number + 1
                )
            })?,
            Err(_) => bail!("open a session with {server}: no answer within {:?}", args.timeout()),
        };
        if connection.session.id == 0 {
            bail!("open a session with {server}: it gives none");
        }
        Ok(connection)
    }

    /// Connects and attaches to a session. None: the session has ended. The caller bounds the wait.
    pub(crate) async fn attach(args: &Args, number: u32, session: &Session) -> Result<Option<Connection>> {
        let connection = Connection::greet(args, args.server_of(number), session).await?;
        Ok(Some(connection).filter(|connection| connection.session.id != 0))
    }

    async fn greet(args: &Args, server: &str, session: &Session) -> Result<Connection> {
        let stream = TcpStream::connect(server).await.context("connect")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let mut connection = Connection {
            stream,
            received: BytesMut::new(),
            out: BytesMut::new(),
            under_way: VecDeque::new(),
            last_xid: 0,
            last_zxid: session.last_zxid,
            session: session.clone(),
            session_timeout: Duration::ZERO,
        };
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: session.last_zxid,
            timeout_ms: args.session_timeout_ms,
            session_id: session.id,
            password: Some(session.password.clone()),
            read_only: Some(false),
        };
        wire::connect_request(&mut connection.out, &hello);
        connection.flush().await?;
        let mut frames = Frames::new(1 << 10);
        let answer = loop {
            if let Some(frame) = frames.next(&mut connection.received)? {
                break wire::connect_response(frame)?;
            }
            connection.read().await?;
        };
        connection.session.id = answer.session_id;
        connection.session.password = Bytes::copy_from_slice(&answer.password);
        connection.session_timeout = Duration::from_millis(u64::try_from(answer.timeout_ms).unwrap_or(0));
        Ok(connection)
    }

    /// What is needed to attach to the session on another server.
    pub(crate) fn session(&self) -> Session {
        Session { last_zxid: self.last_zxid, ..self.session.clone() }
    }

    /// Sends a sync: afterwards this server has all that any member acknowledged before.
    pub(crate) async fn sync(&mut self, path: &str) -> Result<()> {
        let request = Request::Sync { path: Some(path.to_owned()) };
        match self.ask(|out, xid| wire::request(out, xid, &request)).await? {
            0 => Ok(()),
            code => bail!("sync: the server answered {code}"),
        }
    }

    /// Puts a request, which `encode` writes with the xid that it gets. `flush` sends it.
    pub(crate) fn put(&mut self, encode: impl FnOnce(&mut BytesMut, i32)) {
        self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
        encode(&mut self.out, self.last_xid);
        self.under_way.push_back((self.last_xid, Instant::now()));
    }

    /// Puts a ping. Its answer is an `Arrival::Pong`.
    pub(crate) fn put_ping(&mut self) {
        wire::ping(&mut self.out);
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await.context("send")?;
            self.out.clear();
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        self.received.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.received).await.context("receive")? {
            0 => bail!("the server closed the connection"),
            _ => Ok(()),
        }
    }

    /// Waits for bytes and passes each message in them to `each`.
    pub(crate) async fn receive(&mut self, mut each: impl FnMut(Arrival)) -> Result<()> {
        self.read().await?;
        let now = Instant::now();
        while let Some((length, header)) = wire::peek(&self.received) {
            self.received.advance(length);
            self.last_zxid = self.last_zxid.max(header.zxid);
            each(match header.xid {
                xid::NOTIFICATION => Arrival::Event,
                xid::PING => Arrival::Pong,
                answered => match self.under_way.pop_front() {
                    Some((asked, since)) if asked == answered => Arrival::Reply { header, latency: now - since },
                    other => bail!("a reply to request {answered} came; {:?} was due", other.map(|(asked, _)| asked)),
                },
            });
        }
        Ok(())
    }

    /// Sends one request, waits for its reply, and returns the error code, which is 0 for success.
    pub(crate) async fn ask(&mut self, encode: impl FnOnce(&mut BytesMut, i32)) -> Result<i32> {
        self.put(encode);
        self.flush().await?;
        let mut answer = None;
        while answer.is_none() {
            self.receive(|arrival| {
                if let Arrival::Reply { header, .. } = arrival {
                    answer = Some(header.error);
                }
            })
            .await?;
        }
        Ok(answer.unwrap_or(0))
    }

    /// Measures one round trip of a ping.
    pub(crate) async fn ping(&mut self) -> Result<Duration> {
        self.put_ping();
        let since = Instant::now();
        self.flush().await?;
        let mut answered = false;
        while !answered {
            self.receive(|arrival| answered |= matches!(arrival, Arrival::Pong)).await?;
        }
        Ok(since.elapsed())
    }

    /// Closes the session and waits until the server has closed the connection, as clients do.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.ask(wire::close_session).await?;
        self.received.reserve(1);
        // End of file or reset: the connection is closed either way.
        let _ = self.stream.read_buf(&mut self.received).await;
        Ok(())
    }

    /// Runs `count` requests made by `encode`, `depth` at once. Fails at an answer whose error code is not in `fine`.
    pub(crate) async fn run(
        &mut self,
        count: u64,
        depth: usize,
        fine: &[i32],
        mut encode: impl FnMut(&mut BytesMut, i32, u64),
    ) -> Result<()> {
        let (mut put, mut answered) = (0, 0);
        let mut refused = None;
        while answered < count {
            while put < count && self.under_way() < depth {
                self.put(|out, xid| encode(out, xid, put));
                put += 1;
            }
            self.flush().await?;
            self.receive(|arrival| {
                if let Arrival::Reply { header, .. } = arrival {
                    answered += 1;
                    if header.error != 0 && !fine.contains(&header.error) {
                        refused = Some(header.error);
                    }
                }
            })
            .await?;
            if let Some(code) = refused {
                let name = crate::model::ErrorCode::from_code(code).map_or("unknown error", |code| code.name());
                bail!("the server answered {name} ({code})");
            }
        }
        Ok(())
    }
}
