//! A ZooKeeper client with one connection and one request at a time.
//!
//! The client keeps its session alive while it waits for a reply. Every error names the server and the operation. The
//! client does not reconnect: a command that loses its server says so and ends. Watch events that come before a reply
//! are kept, the newest `EVENTS_KEPT` of them (`Client::next_event`).

use super::codec::{self as wire, Event, Record, SlotReply};
use crate::limits::CLIENT_PORT;
use crate::model::{AclEntry, ErrorCode, Stat, acl};
use crate::wire::decode::Fault;
use crate::wire::frame::Frames;
use crate::wire::reply::{ConnectResponse, xid};
use crate::wire::request::{ConnectRequest, Create, CreateForm, Operation, Request};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The longest reply that the client accepts, in bytes. Servers do not bound replies, and a list of children can be
/// long.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// How many events are kept for `next_event`.
const EVENTS_KEPT: usize = 1024;

/// The session timeout that the client asks for. Servers grant what they allow.
const SESSION_TIMEOUT_MS: i32 = 30_000;

/// How often the client pings until the server has granted a session timeout.
const FIRST_PING_EVERY: Duration = Duration::from_secs(10);

/// Why an operation failed. `operation` is verb and path, as in "create /a".
#[derive(Debug, Error)]
pub enum ClientError {
    /// The text is no address.
    #[error(
        "`{text}` is no address of a server: write HOST:PORT, for example 127.0.0.1:2181, [::1]:2181 or zk1.example.org:2181"
    )]
    Address { text: String },
    /// No server accepted the connection: check the address, or start the server.
    #[error("cannot connect to {server}: {cause}; `wasmkeeper serve` starts a server")]
    Connect { server: String, cause: io::Error },
    /// The connection was lost. A write may or may not have happened.
    #[error("{server}: {operation}: connection lost: {cause}")]
    Lost { server: String, operation: String, cause: io::Error },
    /// There was no reply in time. A write may or may not have happened, or may still happen.
    #[error("{server}: {operation}: no reply within {} s", .timeout.as_secs_f32())]
    Timeout { server: String, operation: String, timeout: Duration },
    /// The server answered with an error: nothing has happened.
    #[error("{server}: {operation}: {} ({code})", code_name(*.code))]
    Refused { server: String, operation: String, code: i32 },
    /// The server's bytes cannot be read: it is probably no ZooKeeper server.
    #[error("{server}: {operation}: the reply cannot be read: {fault}")]
    Protocol { server: String, operation: String, fault: String },
}

impl ClientError {
    /// ZooKeeper's code, if the server gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { code, .. } => ErrorCode::from_code(*code),
            _ => None,
        }
    }
}

fn code_name(code: i32) -> &'static str {
    ErrorCode::from_code(code).map_or("unknown error", ErrorCode::name)
}

pub struct Client {
    stream: TcpStream,
    received: BytesMut,
    frames: Frames,
    /// The server as the user named it, for messages.
    server: String,
    session_id: i64,
    /// How long a reply may take.
    timeout: Duration,
    ping_every: Duration,
    last_xid: i32,
    events: VecDeque<(i64, Event)>,
}

impl Client {
    /// Opens a session with the first of `servers` that grants one. `servers`: `host:port` or `host`, several separated
    /// by commas. `timeout`: how long connecting may take, and later each reply.
    pub async fn connect(servers: &str, timeout: Duration) -> Result<Client, ClientError> {
        let named = servers.split(',').map(str::trim).filter(|server| !server.is_empty());
        let addresses = named.map(|server| match address(server, CLIENT_PORT) {
            Some(address) => Ok((server, address)),
            None => Err(ClientError::Address { text: server.to_owned() }),
        });
        let mut last = ClientError::Address { text: servers.to_owned() };
        for (server, address) in addresses.collect::<Result<Vec<_>, _>>()? {
            match Client::connect_one(server, &address, timeout).await {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_one(server: &str, address: &str, timeout: Duration) -> Result<Client, ClientError> {
        let connecting = TcpStream::connect(address);
        let stream = match timeout_at(Instant::now() + timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => return Err(ClientError::Connect { server: server.to_owned(), cause }),
            Err(_) => {
                let cause = io::Error::from(io::ErrorKind::TimedOut);
                return Err(ClientError::Connect { server: server.to_owned(), cause });
            }
        };
        // Otherwise a small request would wait until the previous one is acknowledged.
        let _ = stream.set_nodelay(true);
        let mut client = Client {
            stream,
            received: BytesMut::new(),
            frames: Frames::new(REPLY_BYTES_MAX),
            server: server.to_owned(),
            session_id: 0,
            timeout,
            ping_every: FIRST_PING_EVERY,
            last_xid: 0,
            events: VecDeque::new(),
        };
        client.open_session().await?;
        Ok(client)
    }

    async fn open_session(&mut self) -> Result<(), ClientError> {
        const OPERATION: &str = "open a session";
        let mut out = BytesMut::new();
        wire::connect_request(
            &mut out,
            &ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: 0,
                timeout_ms: SESSION_TIMEOUT_MS,
                session_id: 0,
                password: Some(Bytes::from_static(&[0; 16])),
                read_only: Some(false),
            },
        );
        self.send(OPERATION, &out).await?;
        let frame = self.frame(OPERATION, Instant::now() + self.timeout).await?;
        let answer: ConnectResponse = wire::connect_response(frame).map_err(|fault| self.protocol(OPERATION, fault))?;
        if answer.session_id == 0 {
            return Err(self.refused(OPERATION, ErrorCode::SessionExpired.code()));
        }
        self.session_id = answer.session_id;
        let granted = Duration::from_millis(u64::try_from(answer.timeout_ms).unwrap_or(0));
        self.ping_every = (granted / 3).max(Duration::from_millis(100));
        Ok(())
    }

    /// The server as the user named it.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub fn session_id(&self) -> i64 {
        self.session_id
    }

    /// Sets how long a reply may take from now on.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Authenticates, for example by `digest` with `user:password`.
    pub async fn add_auth(&mut self, scheme: &str, credential: &[u8]) -> Result<(), ClientError> {
        let credential = Some(Bytes::copy_from_slice(credential));
        let request = Request::Auth { kind: 0, scheme: Some(scheme.to_owned()), credential };
        self.call(&request).await.map(drop)
    }

    /// Creates a node that anybody may use; `flags` as in `request::create_mode`. Returns its path.
    pub async fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<String, ClientError> {
        self.create_with_acl(path, data, flags, &acl::open_unsafe()).await
    }

    pub(crate) async fn create_with_acl(
        &mut self,
        path: &str,
        data: &[u8],
        flags: i32,
        acl: &[AclEntry],
    ) -> Result<String, ClientError> {
        let request = create_request(path, data, flags, acl);
        let mut record = self.call(&request).await?;
        record.string().map_err(|fault| self.protocol(&describe(&request), fault))
    }

    /// The node's data (empty if null) and Stat.
    pub async fn get(&mut self, path: &str) -> Result<(Bytes, Stat), ClientError> {
        let request = Request::GetData { path: Some(path.to_owned()), watch: false };
        let mut record = self.call(&request).await?;
        let read = |record: &mut Record| Ok::<_, Fault>((record.buffer()?.unwrap_or_default(), record.stat()?));
        read(&mut record).map_err(|fault| self.protocol(&describe(&request), fault))
    }

    /// `version`: the version that the node must have, -1 for any.
    pub(crate) async fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, ClientError> {
        let data = Some(Bytes::copy_from_slice(data));
        let request = Request::SetData { path: Some(path.to_owned()), data, version };
        let mut record = self.call(&request).await?;
        record.stat().map_err(|fault| self.protocol(&describe(&request), fault))
    }

    pub(crate) async fn delete(&mut self, path: &str, version: i32) -> Result<(), ClientError> {
        self.call(&Request::Delete { path: Some(path.to_owned()), version }).await.map(drop)
    }

    pub async fn exists(&mut self, path: &str) -> Result<Option<Stat>, ClientError> {
        let request = Request::Exists { path: Some(path.to_owned()), watch: false };
        match self.call(&request).await {
            Ok(mut record) => record.stat().map(Some).map_err(|fault| self.protocol(&describe(&request), fault)),
            Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names of the children, in the server's order.
    pub(crate) async fn children(&mut self, path: &str) -> Result<Vec<String>, ClientError> {
        let request = Request::GetChildren { path: Some(path.to_owned()), watch: false };
        let mut record = self.call(&request).await?;
        record.strings().map_err(|fault| self.protocol(&describe(&request), fault))
    }

    /// Runs all of `requests` (create, delete, setData, check) or none. The error names the request that failed.
    pub(crate) async fn multi(&mut self, requests: Vec<Request>) -> Result<Vec<SlotReply>, ClientError> {
        let operations: Vec<Operation> =
            requests.into_iter().map(|request| Operation { op: wire::opcode(&request), request }).collect();
        let names: Vec<String> = operations.iter().map(|operation| describe(&operation.request)).collect();
        let mut record = self.call(&Request::Multi(operations)).await?;
        let slots = record.multi().map_err(|fault| self.protocol("multi", fault))?;
        let failed = slots.iter().zip(&names).find_map(|(slot, name)| match slot {
            // Operations before the failed one have code OK, those after it RUNTIMEINCONSISTENCY.
            SlotReply::Error(code) if *code != 0 => Some((name, *code)),
            _ => None,
        });
        match failed {
            Some((name, code)) => Err(self.refused(&format!("multi: {name}"), code)),
            None => Ok(slots),
        }
    }

    /// Creates the node and all its missing parents, without data. Not an error if the node is there already.
    pub async fn ensure(&mut self, path: &str) -> Result<(), ClientError> {
        let ends = path.char_indices().skip(1).filter(|&(_, c)| c == '/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            match self.create(&path[..end], b"", 0).await {
                Err(error) if error.code() != Some(ErrorCode::NodeExists) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends a request and waits for its reply. The caller decodes the body, because it knows what it asked for.
    pub async fn call(&mut self, request: &Request) -> Result<Record, ClientError> {
        let operation = describe(request);
        let xid = match request {
            Request::Ping => xid::PING,
            Request::Auth { .. } => xid::AUTH,
            Request::SetWatches(_) => xid::SET_WATCHES,
            _ => {
                self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
                self.last_xid
            }
        };
        let mut out = BytesMut::new();
        wire::request(&mut out, xid, request);
        self.send(&operation, &out).await?;
        self.reply(&operation, xid).await
    }

    async fn reply(&mut self, operation: &str, xid: i32) -> Result<Record, ClientError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let frame = self.frame(operation, deadline).await?;
            let (header, mut record) = wire::reply(frame).map_err(|fault| self.protocol(operation, fault))?;
            if header.xid == xid {
                return match header.error {
                    0 => Ok(record),
                    code => Err(self.refused(operation, code)),
                };
            }
            match header.xid {
                xid::NOTIFICATION => {
                    let event = record.event().map_err(|fault| self.protocol(operation, fault))?;
                    self.keep(header.zxid, event);
                }
                // The answer to a ping that this client sent.
                xid::PING => {}
                other => {
                    let fault = format!("a reply to request {other} came instead of one to {xid}");
                    return Err(self.protocol(operation, fault));
                }
            }
        }
    }

    fn keep(&mut self, zxid: i64, event: Event) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back((zxid, event));
    }

    /// The next watch event with its zxid; none if there is none within `wait`.
    pub async fn next_event(&mut self, wait: Duration) -> Result<Option<(i64, Event)>, ClientError> {
        const OPERATION: &str = "wait for an event";
        let deadline = Instant::now() + wait;
        while self.events.is_empty() {
            let frame = match self.frame(OPERATION, deadline).await {
                Ok(frame) => frame,
                Err(ClientError::Timeout { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let (header, mut record) = wire::reply(frame).map_err(|fault| self.protocol(OPERATION, fault))?;
            if header.xid == xid::NOTIFICATION {
                let event = record.event().map_err(|fault| self.protocol(OPERATION, fault))?;
                self.keep(header.zxid, event);
            }
        }
        Ok(self.events.pop_front())
    }

    /// Ends the session. The server deletes the session's ephemeral nodes.
    pub(crate) async fn close(mut self) -> Result<(), ClientError> {
        self.call(&Request::CloseSession).await.map(drop)
    }

    async fn send(&mut self, operation: &str, bytes: &[u8]) -> Result<(), ClientError> {
        let written = timeout_at(Instant::now() + self.timeout, self.stream.write_all(bytes)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => Err(self.lost(operation, cause)),
            Err(_) => Err(self.timed_out(operation)),
        }
    }

    /// Waits for the next frame. Sends pings meanwhile, so that the session outlives a slow reply.
    async fn frame(&mut self, operation: &str, deadline: Instant) -> Result<Bytes, ClientError> {
        let mut ping_at = Instant::now() + self.ping_every;
        loop {
            match self.frames.next(&mut self.received) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return Err(self.protocol(operation, error.to_string())),
            }
            self.frames.make_room(&mut self.received);
            tokio::select! {
                read = self.stream.read_buf(&mut self.received) => match read {
                    Ok(0) => return Err(self.lost(operation, io::ErrorKind::UnexpectedEof.into())),
                    Ok(_) => {}
                    Err(cause) => return Err(self.lost(operation, cause)),
                },
                () = sleep_until(deadline.min(ping_at)) => {
                    if Instant::now() >= deadline {
                        return Err(self.timed_out(operation));
                    }
                    if self.session_id != 0 {
                        let mut out = BytesMut::new();
                        wire::ping(&mut out);
                        self.send(operation, &out).await?;
                    }
                    ping_at = Instant::now() + self.ping_every;
                }
            }
        }
    }

    fn lost(&self, operation: &str, cause: io::Error) -> ClientError {
        ClientError::Lost { server: self.server.clone(), operation: operation.to_owned(), cause }
    }

    fn timed_out(&self, operation: &str) -> ClientError {
        let timeout = self.timeout;
        ClientError::Timeout { server: self.server.clone(), operation: operation.to_owned(), timeout }
    }

    fn refused(&self, operation: &str, code: i32) -> ClientError {
        ClientError::Refused { server: self.server.clone(), operation: operation.to_owned(), code }
    }

    fn protocol(&self, operation: &str, fault: impl Into<ProtocolFault>) -> ClientError {
        let fault = fault.into().0;
        ClientError::Protocol { server: self.server.clone(), operation: operation.to_owned(), fault }
    }
}

/// A create of a persistent, ephemeral or sequential node, for `Client::multi`.
pub(crate) fn create_request(path: &str, data: &[u8], flags: i32, acl: &[AclEntry]) -> Request {
    Request::Create(Create {
        form: CreateForm::Create,
        path: Some(path.to_owned()),
        data: Some(Bytes::copy_from_slice(data)),
        acl: Some(acl.to_vec()),
        flags,
        ttl_ms: 0,
    })
}

struct ProtocolFault(String);

impl From<Fault> for ProtocolFault {
    fn from(fault: Fault) -> ProtocolFault {
        ProtocolFault(fault.to_string())
    }
}

impl From<String> for ProtocolFault {
    fn from(text: String) -> ProtocolFault {
        ProtocolFault(text)
    }
}

/// Host and port. `port` is taken if the text names none. None if the text is no address.
pub(crate) fn address(text: &str, port: u16) -> Option<String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some(format!("[{text}]:{port}"));
    }
    if text.starts_with('[') {
        let whole = if text.ends_with(']') { format!("{text}:{port}") } else { text.to_owned() };
        return whole.parse::<SocketAddrV6>().is_ok_and(|address| address.port() > 0).then_some(whole);
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (text, port),
    };
    let may_be_a_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/[]@".contains(c));
    may_be_a_host.then(|| format!("{host}:{port}"))
}

/// The request as text for messages: a verb and its object.
fn describe(request: &Request) -> String {
    let (verb, what) = match request {
        Request::Create(create) => ("create", create.path.as_ref()),
        Request::Delete { path, .. } => ("delete", path.as_ref()),
        Request::Exists { path, .. } => ("exists", path.as_ref()),
        Request::GetData { path, .. } => ("get", path.as_ref()),
        Request::SetData { path, .. } => ("set", path.as_ref()),
        Request::GetChildren { path, .. } | Request::GetChildren2 { path, .. } | Request::FilteredList { path, .. } => {
            ("children of", path.as_ref())
        }
        Request::GetAllChildrenNumber { path } => ("count of children of", path.as_ref()),
        Request::GetEphemerals { prefix } => ("ephemeral nodes below", prefix.as_ref()),
        Request::GetAcl { path } => ("getAcl", path.as_ref()),
        Request::SetAcl { path, .. } => ("setAcl", path.as_ref()),
        Request::Sync { path } => ("sync", path.as_ref()),
        Request::Check { path, .. } => ("check", path.as_ref()),
        Request::CheckNotExists { path, .. } => ("check that there is no", path.as_ref()),
        Request::AddWatch { path, .. } => ("addWatch", path.as_ref()),
        Request::CheckWatches { path, .. } => ("checkWatches", path.as_ref()),
        Request::RemoveWatches { path, .. } => ("removeWatches", path.as_ref()),
        Request::SetWatches(_) => ("setWatches", None),
        Request::DeleteContainer { path } => ("deleteContainer", path.as_ref()),
        Request::Auth { scheme, .. } => ("addauth", scheme.as_ref()),
        Request::Sasl { .. } => ("sasl", None),
        Request::Multi(_) => ("multi", None),
        Request::MultiRead(_) => ("multiRead", None),
        Request::Reconfig { joining: Some(joining), .. } => ("reconfig: add", Some(joining)),
        Request::Reconfig { leaving: Some(leaving), .. } => ("reconfig: remove", Some(leaving)),
        Request::Reconfig { new_members, .. } => ("reconfig: members", new_members.as_ref()),
        Request::Ping => ("ping", None),
        Request::WhoAmI => ("whoAmI", None),
        Request::CloseSession => ("close the session", None),
    };
    match what {
        Some(what) => format!("{verb} {what}"),
        None => verb.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode;
    use crate::wire::encode;
    use crate::wire::reply::{Body, EventKind, MultiSlot, ReplyHeader};
    use tokio::net::TcpListener;

    /// A server for one connection that answers each request by `answer`.
    async fn server(answer: impl Fn(&Request, &mut BytesMut, i32) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut frames, mut received, mut greeted) = (Frames::new(1 << 20), BytesMut::new(), false);
            while stream.read_buf(&mut received).await.unwrap_or(0) > 0 {
                let mut out = BytesMut::new();
                while let Some(frame) = frames.next(&mut received).unwrap() {
                    if greeted {
                        let (header, request) = decode::request(frame).unwrap();
                        answer(&request, &mut out, header.xid);
                    } else {
                        greeted = true;
                        let password = [1; 16];
                        let hello =
                            ConnectResponse { timeout_ms: 30_000, session_id: 7, password, read_only: Some(false) };
                        encode::connect_response(&mut out, &hello);
                    }
                }
                stream.write_all(&out).await.unwrap();
            }
        });
        address
    }

    fn put(out: &mut BytesMut, xid: i32, error: i32, body: Body<'_>) {
        encode::frame(out, &ReplyHeader { xid, zxid: 1, error }, &body);
    }

    const WAIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn operations() {
        let address = server(|request, out, xid| match request {
            Request::Create(create) => put(out, xid, 0, Body::Path(create.path.as_deref().unwrap())),
            Request::GetData { .. } => put(out, xid, 0, Body::DataStat(Some(b"d"), Stat::default())),
            Request::SetData { .. } => put(out, xid, ErrorCode::BadVersion.code(), Body::Empty),
            Request::Exists { .. } => put(out, xid, ErrorCode::NoNode.code(), Body::Empty),
            Request::GetChildren { .. } => {
                encode::event(out, 9, EventKind::Created, "/w");
                put(out, xid, 0, Body::Children(vec!["a", "b"]));
            }
            Request::Multi(_) => {
                let slots = vec![MultiSlot::Error(0), MultiSlot::Error(-110), MultiSlot::Error(-2)];
                put(out, xid, 0, Body::Multi(slots));
            }
            _ => put(out, xid, 0, Body::Empty),
        })
        .await;
        let mut client = Client::connect(&address, WAIT).await.unwrap();
        assert_eq!(client.session_id(), 7);
        client.add_auth("digest", b"a:b").await.unwrap();
        assert_eq!(client.create("/a", b"", 0).await.unwrap(), "/a");
        assert_eq!(client.get("/a").await.unwrap().0, "d");
        assert_eq!(client.exists("/a").await.unwrap(), None);
        assert_eq!(client.children("/").await.unwrap(), ["a", "b"]);
        let (zxid, event) = client.next_event(WAIT).await.unwrap().unwrap();
        assert_eq!((zxid, event.kind, event.path.as_str()), (9, 1, "/w"));

        let error = client.set("/a", b"", 3).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{address}: set /a: BADVERSION (-103)"));
        let delete = Request::Delete { path: Some("/z".into()), version: -1 };
        let create = create_request("/b", b"", 0, &acl::open_unsafe());
        let error = client.multi(vec![delete.clone(), create, delete]).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{address}: multi: create /b: NODEEXISTS (-110)"));
        assert_eq!(error.code(), Some(ErrorCode::NodeExists));
        client.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_goes_away_or_is_not_there() {
        let address = server(|_, _, _| panic!("the connection breaks here")).await;
        let mut client = Client::connect(&address, WAIT).await.unwrap();
        let error = client.get("/a").await.unwrap_err();
        assert!(matches!(error, ClientError::Lost { .. }), "{error}");
        assert!(error.to_string().contains("get /a"), "{error}");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Client::connect(&address, WAIT).await.err().unwrap();
        assert!(error.to_string().starts_with(&format!("cannot connect to {address}: ")), "{error}");
    }

    #[test]
    fn addresses_as_people_write_them() {
        for (text, meant) in [
            ("localhost", Some("localhost:2181")),
            ("localhost:99", Some("localhost:99")),
            ("::1", Some("[::1]:2181")),
            ("[::1]:99", Some("[::1]:99")),
            ("[::1]", Some("[::1]:2181")),
            ("::::", None),
            (":2181", None),
            ("[::1", None),
            ("localhost:", None),
            ("localhost:0", None),
            ("localhost:99999", None),
            ("localhost:2181/chroot", None),
            ("zk://localhost", None),
        ] {
            assert_eq!(address(text, 2181).as_deref(), meant, "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_is_told_before_anybody_is_asked() {
        for (servers, named) in [("127.0.0.1:1,::::", "`::::`"), ("", "``"), (" , ", "` , `")] {
            let error = Client::connect(servers, WAIT).await.err().unwrap().to_string();
            assert!(error.starts_with(&format!("{named} is no address of a server: write HOST:PORT")), "{error}");
        }
    }

    #[test]
    fn requests_are_named_by_what_they_ask_for() {
        let reconfig = |joining: Option<&str>, leaving: Option<&str>| {
            let (joining, leaving) = (joining.map(str::to_owned), leaving.map(str::to_owned));
            describe(&Request::Reconfig { joining, leaving, new_members: None, config_id: -1 })
        };
        assert_eq!(reconfig(Some("server.4=h:1:2;3"), None), "reconfig: add server.4=h:1:2;3");
        assert_eq!(reconfig(None, Some("4")), "reconfig: remove 4");
        assert_eq!(describe(&Request::WhoAmI), "whoAmI");
    }
}
