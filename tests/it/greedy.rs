//! Clients that ask for much, or take nothing: what others get meanwhile, and what becomes of the client.

use crate::process::{PATIENCE, Server};
use bytes::{Bytes, BytesMut};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use wasmkeeper::client::codec::{self as wire, Record, SlotReply};
use wasmkeeper::wire::reply::ReplyHeader;
use wasmkeeper::wire::request::{ConnectRequest, Operation, Request, SetWatches, create_mode};
use zookeeper_client::{Acls, Client, CreateMode};

/// THROTTLEDOP
const THROTTLED: i32 = -127;

/// A connection whose bytes the test writes and reads itself.
struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Opens a session.
    fn open(server: &Server, timeout_ms: i32) -> Raw {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut raw = Raw { stream };
        let password = Some(vec![0; 16].into());
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms,
            session_id: 0,
            password,
            read_only: Some(false),
        };
        let mut out = BytesMut::new();
        wire::connect_request(&mut out, &request);
        raw.send(&out);
        assert!(wire::connect_response(raw.frame()).unwrap().timeout_ms > 0);
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn ask(&mut self, xid: i32, request: &Request) {
        let mut out = BytesMut::new();
        wire::request(&mut out, xid, request);
        self.send(&out);
    }

    fn frame(&mut self) -> Bytes {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).unwrap();
        frame.into()
    }

    fn reply(&mut self) -> (ReplyHeader, Record) {
        wire::reply(self.frame()).unwrap()
    }

    /// Asks, and returns the error of the reply.
    fn error(&mut self, request: &Request) -> i32 {
        self.ask(1, request);
        self.reply().0.error
    }

    /// Creates a node.
    fn create(&mut self, path: &str, data: &[u8], flags: i32) {
        let mut out = BytesMut::new();
        wire::create(&mut out, 1, path, data, flags);
        self.send(&out);
        assert_eq!(self.reply().0.error, 0, "create {path}");
    }
}

fn get(path: &str, watch: bool) -> Request {
    Request::GetData { path: Some(path.to_owned()), watch }
}

fn multi_read(path: &str, slots: usize) -> Request {
    let slot = Operation { op: wire::opcode(&get(path, false)), request: get(path, false) };
    Request::MultiRead(vec![slot; slots])
}

/// Sets the node at `path` again and again, until `done` returns true. Returns the longest time that one set took.
async fn longest_set(client: &Client, path: &str, done: impl Fn() -> bool) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let begun = Instant::now();
        client.set_data(path, b"x", None).await.unwrap();
        longest = longest.max(begun.elapsed());
        if done() {
            return longest;
        }
    }
}

/// A request of 40 kB asks 1,500 times for a node of almost a megabyte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multi_read_is_answered_with_some_megabytes_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let bystander = server.connect().await;
    bystander.create("/other", b"", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.unwrap();
    let mut greedy = Raw::open(&server, 20_000);
    greedy.create("/large", &[7; 900_000], create_mode::PERSISTENT);
    let reading = std::thread::spawn(move || {
        // The first finds nothing before it. The second waits behind a write.
        greedy.ask(2, &multi_read("/large", 1_500));
        let mut out = BytesMut::new();
        wire::create(&mut out, 3, "/next", b"", create_mode::PERSISTENT);
        wire::request(&mut out, 4, &multi_read("/large", 1_500));
        greedy.send(&out);
        for xid in [2, 3, 4] {
            let (header, mut record) = greedy.reply();
            assert_eq!((header.xid, header.error), (xid, 0));
            if xid == 3 {
                continue;
            }
            let slots = record.multi().unwrap();
            assert_eq!(slots.len(), 1_500);
            let (whole, refused) = slots.split_at(5);
            assert!(whole.iter().all(|slot| matches!(slot, SlotReply::Data(Some(data), _) if data.len() == 900_000)));
            let throttled = refused.iter().filter(|slot| **slot == SlotReply::Error(THROTTLED)).count();
            assert_eq!(throttled, 1_500 - 5);
        }
    });
    let longest = longest_set(&bystander, "/other", || reading.is_finished()).await;
    reading.join().unwrap();
    assert!(longest < Duration::from_secs(5), "a set took {longest:?}");
    assert!(server.ask("mntr").unwrap().contains("zk_throttled_ops\t2\n"));
}

/// The server waits until this client takes its replies, which it never does.
#[tokio::test]
async fn a_client_that_takes_no_replies_loses_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["-D", "zookeeper.tickTime=200"]);
    let mut deaf = Raw::open(&server, 1_000);
    deaf.create("/large", &[7; 900_000], create_mode::PERSISTENT);
    deaf.create("/mine", b"", create_mode::EPHEMERAL);
    let mut out = BytesMut::new();
    for xid in 2..100 {
        wire::request(&mut out, xid, &get("/large", false));
    }
    deaf.send(&out);
    let other = server.connect().await;
    let begun = Instant::now();
    while other.check_stat("/mine").await.unwrap().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the session lives on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The connection has been closed, whatever was on its way.
    let mut rest = vec![0; 1 << 20];
    loop {
        match deaf.stream.read(&mut rest) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => break assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
}

/// Backpressure holds this client back for several session timeouts, and its pings are not read. But it takes bytes.
#[tokio::test]
async fn a_client_that_takes_its_replies_slowly_keeps_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["-D", "zookeeper.tickTime=200"]);
    let mut slow = Raw::open(&server, 1_000);
    slow.create("/large", &[7; 900_000], create_mode::PERSISTENT);
    slow.create("/mine", b"", create_mode::EPHEMERAL);
    let mut out = BytesMut::new();
    for xid in 2..200 {
        wire::request(&mut out, xid, &get("/large", false));
    }
    slow.send(&out);
    let other = server.connect().await;
    let mut taken = vec![0; 3 << 20];
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        slow.stream.read_exact(&mut taken).expect("the connection goes on");
        assert!(other.check_stat("/mine").await.unwrap().is_some(), "the session has expired");
    }
}

/// Paths of a kilobyte, so that the bound of their bytes is reached with a few requests.
fn long_path(number: usize) -> String {
    format!("/{number:0>999}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watches_of_a_connection_are_bounded() {
    /// `limits::WATCHES_PER_CONNECTION_BYTES_MAX` in paths of a kilobyte.
    const MAX: usize = (128 << 20) / 1_000;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let bystander = server.connect().await;
    bystander.create("/other", b"", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.unwrap();
    let mut greedy = Raw::open(&server, 40_000);
    greedy.create(&long_path(0), b"", create_mode::PERSISTENT);
    let mut next = 1;
    while next <= MAX {
        let end = (next + 900).min(MAX + 1);
        let recursive = (next..end).map(long_path).collect();
        let again = Request::SetWatches(SetWatches { recursive, ..SetWatches::default() });
        assert_eq!(greedy.error(&again), 0);
        next = end;
    }
    let watch_count = |count: usize| server.ask("mntr").unwrap().contains(&format!("zk_watch_count\t{count}\n"));
    assert!(watch_count(MAX));
    let add = |number: usize| Request::AddWatch { path: Some(long_path(number)), mode: 0 };
    let exists = |number: usize, watch| Request::Exists { path: Some(long_path(number)), watch };
    assert_eq!(greedy.error(&add(MAX + 1)), THROTTLED);
    assert_eq!(greedy.error(&add(MAX)), 0, "the path is watched already");
    assert_eq!(greedy.error(&exists(MAX + 1, true)), THROTTLED, "no read succeeds without its watch");
    assert_eq!(greedy.error(&get(&long_path(0), true)), THROTTLED);
    assert_eq!(greedy.error(&get(&long_path(0), false)), 0);
    assert_eq!(greedy.error(&exists(1, true)), -101);
    // A short path still fits, and another connection has room of its own.
    assert_eq!(greedy.error(&get("/other", true)), 0);
    let mut another = Raw::open(&server, 40_000);
    assert_eq!(another.error(&add(MAX + 1)), 0);

    // Client libraries do not look at the result of setWatches, so the connection ends.
    let again = SetWatches { exist: vec![long_path(MAX + 2)], ..SetWatches::default() };
    assert_eq!(greedy.error(&Request::SetWatches(again)), THROTTLED);
    assert_eq!(greedy.stream.read(&mut [0]).unwrap(), 0);
    // All watches of the connection go, and others write meanwhile. One persistent watch counts twice.
    let begun = Instant::now();
    let longest = longest_set(&bystander, "/other", || watch_count(2) || begun.elapsed() > PATIENCE).await;
    assert!(watch_count(2), "{}", server.ask("mntr").unwrap());
    assert!(longest < Duration::from_secs(5), "a set took {longest:?}");
}

/// More children than are listed under one lock, asked for at once and behind a write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_are_whole_while_others_write() {
    const CHILDREN: usize = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let bystander = server.connect().await;
    bystander.create("/other", b"", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.unwrap();
    let mut greedy = Raw::open(&server, 40_000);
    greedy.create("/many", b"", create_mode::PERSISTENT);
    let name = |number: usize| format!("n{number:0>8}");
    for numbers in (0..CHILDREN).collect::<Vec<_>>().chunks(1_000) {
        let mut out = BytesMut::new();
        for number in numbers {
            wire::create(&mut out, 1, &format!("/many/{}", name(*number)), b"", create_mode::EPHEMERAL);
        }
        greedy.send(&out);
        for _ in numbers {
            assert_eq!(greedy.reply().0.error, 0);
        }
    }
    let many = || Some("/many".to_owned());
    let reading = std::thread::spawn(move || {
        let expected: Vec<String> = (0..CHILDREN).map(name).collect();
        let lists = [
            Request::GetChildren { path: many(), watch: true },
            Request::GetChildren2 { path: many(), watch: false },
            Request::FilteredList { path: many(), filter: 2, watch: false },
            Request::FilteredList { path: many(), filter: 1, watch: false },
            Request::GetEphemerals { prefix: many() },
        ];
        for (at, list) in lists.iter().enumerate() {
            let mut out = BytesMut::new();
            wire::request(&mut out, 1, list);
            // Behind a write of this connection.
            wire::create(&mut out, 2, &format!("/after{at}"), b"", create_mode::PERSISTENT);
            wire::request(&mut out, 3, list);
            wire::request(&mut out, 4, &Request::GetAllChildrenNumber { path: many() });
            greedy.send(&out);
            for xid in [1, 2, 3, 4] {
                let (header, mut record) = greedy.reply();
                assert_eq!((header.xid, header.error), (xid, 0));
                if matches!(xid, 1 | 3) {
                    let mut names = record.strings().unwrap();
                    names.iter_mut().for_each(|name| *name = name.trim_start_matches("/many/").to_owned());
                    names.sort_unstable();
                    assert!(names == if at == 3 { vec![] } else { expected.clone() }, "{list:?}: {}", names.len());
                    if matches!(at, 1..=3) {
                        assert_eq!(record.stat().unwrap().num_children, CHILDREN as i32);
                    }
                }
            }
        }
        greedy
    });
    let longest = longest_set(&bystander, "/other", || reading.is_finished()).await;
    let mut greedy = reading.join().unwrap();
    assert!(longest < Duration::from_secs(5), "a set took {longest:?}");
    // The watch was set with the reply.
    bystander.create("/many/new", b"", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.unwrap();
    assert_eq!(greedy.reply().0.xid, -1);
}
