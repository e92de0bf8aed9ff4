//! The four letter words of a real server. Their figures are compared with the requests that clients have just made.

use crate::process::{Server, four_letters};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use zookeeper_client::{Acls, Client, CreateMode};

/// The numbers of sessions and writes that `populated` makes. Each of them is a transaction.
const SESSIONS: u64 = 2;
const WRITES: u64 = 5;

struct Populated {
    server: Server,
    one: Client,
    two: Client,
    /// The zxid of the last write.
    zxid: i64,
}

/// A server with two clients. The first creates `/app`, `/app/node` and the ephemeral `/app/mine`; the second watches.
async fn populated(folder: &std::path::Path) -> Populated {
    let server = Server::start(folder, &[]);
    let one = server.connect().await;
    let two = server.connect().await;
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    one.create("/app", b"", &persistent).await.unwrap();
    one.create("/app/node", b"first", &persistent).await.unwrap();
    one.create("/app/mine", b"", &CreateMode::Ephemeral.with_acls(Acls::anyone_all())).await.unwrap();
    one.create("/app", b"", &persistent).await.expect_err("is there already");
    let (_, _, watcher) = two.get_and_watch_data("/app/node").await.unwrap();
    let zxid = one.set_data("/app/node", b"second", None).await.unwrap().mzxid;
    watcher.changed().await;
    Populated { server, one, two, zxid }
}

impl Populated {
    fn ask(&self, word: &str) -> String {
        four_letters(self.server.port, word).expect("answers")
    }

    /// The figures of `mntr`, by their keys without the prefix `zk_`.
    fn monitored(&self) -> HashMap<String, String> {
        let text = self.ask("mntr");
        let lines = text.lines().map(|line| line.split_once('\t').expect("a key and a value"));
        lines.map(|(key, value)| (key.strip_prefix("zk_").expect(key).to_owned(), value.to_owned())).collect()
    }
}

fn number(figures: &HashMap<String, String>, key: &str) -> u64 {
    figures[key].parse().unwrap_or_else(|_| panic!("{key} is {}", figures[key]))
}

/// The figure after `label: ` in an answer with one figure on each line.
fn figure<'a>(text: &'a str, label: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {label} in {text}"))
}

/// Neither full limits nor connections that say nothing keep an operator's word from being answered. A client is turned
/// away all the same.
#[test]
fn words_are_answered_while_no_client_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    for limit in ["maxClientCnxns=3", "maxCnxns=3"] {
        let limit = format!("zookeeper.{limit}");
        let patient = "zookeeper.nio.sessionlessCnxnTimeout=60000";
        let mut server = Server::start(folder.path(), &["-D", &limit, "-D", patient]);
        let connect = || TcpStream::connect(server.address()).unwrap();
        // The limit is reached, and far more wait beyond it.
        let silent: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
        for word in ["ruok", "srvr", "ruok"] {
            let answer = server.ask(word).unwrap_or_default();
            assert!(answer == "imok" || answer.starts_with("Zookeeper version"), "{word} with {limit}: {answer}");
        }
        let mut client = connect();
        client.set_read_timeout(Some(crate::process::PATIENCE)).unwrap();
        client.write_all(&[0, 0, 0, 45]).unwrap();
        let mut byte = [0];
        assert!(matches!(client.read(&mut byte), Ok(0) | Err(_)), "the first bytes of a client end the connection");
        let figures = server.ask("mntr").unwrap();
        let rejected = figures.lines().find_map(|line| line.strip_prefix("zk_connection_rejected\t"));
        // 32 of the others may still wait.
        assert!(rejected.unwrap().parse::<u64>().unwrap() >= 100 - 3 - 32, "{rejected:?}");
        drop(silent);
        assert!(server.terminate());
    }
}

#[tokio::test]
async fn the_server_and_its_counters() {
    let folder = tempfile::tempdir().unwrap();
    let all = populated(folder.path()).await;
    let text = all.ask("srvr");
    // kazoo parses the three numbers, and go-zk parses the whole line.
    assert!(text.starts_with("Zookeeper version: 3.9.5-"), "{text}");
    assert_eq!(figure(&text, "Mode"), "standalone");
    assert_eq!(figure(&text, "Zxid"), format!("0x{:x}", all.zxid));
    // A fresh ZooKeeper has five znodes, and this test creates three.
    assert_eq!(figure(&text, "Node count"), "8");
    assert_eq!(figure(&text, "Outstanding"), "0");
    // The connections of both clients and of this word. The connection of the previous word may not be closed yet.
    assert!(figure(&text, "Connections").parse::<u64>().unwrap() > SESSIONS, "{text}");
    let received: u64 = figure(&text, "Received").parse().unwrap();
    assert!(received > SESSIONS + WRITES, "{text}");
    let latency: Vec<f64> = figure(&text, "Latency min/avg/max").split('/').map(|ms| ms.parse().unwrap()).collect();
    assert!(latency[0] <= latency[1] && latency[1] <= latency[2], "{text}");
    let stat = all.ask("stat");
    assert!(stat.starts_with("Zookeeper version: 3.9.5-") && stat.contains("\nClients:\n /127.0.0.1:"), "{stat}");

    let figures = all.monitored();
    for key in ["cnt_updatelatency", "commit_count", "proposal_count"] {
        assert_eq!(number(&figures, key), SESSIONS + WRITES, "{key}");
    }
    for (key, expected) in [
        ("server_state", "standalone"),
        ("znode_count", "8"),
        ("ephemerals_count", "1"),
        ("watch_count", "0"),
        ("global_sessions", "2"),
        ("connection_request_count", "2"),
        ("sum_node_changed_watch_count", "1"),
        ("connection_rejected", "0"),
    ] {
        assert_eq!(figures[key], expected, "{key}");
    }
    for key in [
        "packets_received",
        "packets_sent",
        "bytes_received_count",
        "response_bytes",
        "watch_bytes",
        "max_client_response_size",
        "cnt_readlatency",
        "cnt_fsynctime",
        "cnt_proposal_latency",
        "cnt_propagation_latency",
        "cnt_prep_process_time",
        "cnt_dbinittime",
        "approximate_data_size",
        "open_file_descriptor_count",
    ] {
        assert!(number(&figures, key) > 0, "{key}");
    }

    assert_eq!(all.ask("srst"), "Server stats reset.\n");
    let figures = all.monitored();
    assert_eq!((number(&figures, "cnt_updatelatency"), number(&figures, "commit_count")), (0, 0));
    assert!(number(&figures, "packets_received") < received);
    assert_eq!(figures["znode_count"], "8", "a reset keeps figures that are no counters");
}

#[tokio::test]
async fn connections_and_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let all = populated(folder.path()).await;
    let (one, two) = (all.one.session_id().0, all.two.session_id().0);
    let text = all.ask("cons");
    let of = |text: &str, session: i64| {
        let line = text.lines().find(|line| line.contains(&format!(",sid=0x{session:x},")));
        line.unwrap_or_else(|| panic!("{session:x} is not in {text}")).to_owned()
    };
    let line = of(&text, one);
    assert!(line.starts_with(" /127.0.0.1:") && line.contains("[1](queued=0,recved="), "{line}");
    assert!(line.contains(&format!(",lzxid=0x{:x},", all.zxid)) && line.ends_with(')'), "{line}");
    of(&text, two);
    assert!(text.contains("[0](queued=0,recved=1,sent=0)\n"), "the asking connection: {text}");
    assert_eq!(all.ask("crst"), "Connection stats reset.\n");
    assert!(of(&all.ask("cons"), two).contains(",lzxid=0xffffffffffffffff,"), "as in ZooKeeper after a reset");

    let text = all.ask("dump");
    assert!(text.starts_with("SessionTracker dump:\nSession Sets ("), "{text}");
    assert!(text.contains(&format!("\t0x{one:x}\n")) && text.contains(&format!("\t0x{two:x}\n")), "{text}");
    assert!(text.contains(&format!("Sessions with Ephemerals (1):\n0x{one:x}:\n\t/app/mine\n")), "{text}");
    assert!(text.contains(&format!(" sessionId: 0x{two:x}\n")), "{text}");
}

#[tokio::test]
async fn watches() {
    let folder = tempfile::tempdir().unwrap();
    let all = populated(folder.path()).await;
    assert_eq!(all.ask("wchs"), "0 connections watching 0 paths\nTotal watches:0\n");
    let (_, _, _data) = all.two.get_and_watch_data("/app/node").await.unwrap();
    let (_, _absent) = all.two.check_and_watch_stat("/none").await.unwrap();
    // As in ZooKeeper, `mntr` counts a child watch, and the words `wchs`, `wchc` and `wchp` do not.
    let (_, _, _children) = all.one.get_and_watch_children("/app").await.unwrap();
    let (_, _, _same) = all.one.get_and_watch_data("/app/node").await.unwrap();
    let (one, two) = (all.one.session_id().0, all.two.session_id().0);
    assert_eq!(all.ask("wchs"), "2 connections watching 2 paths\nTotal watches:3\n");
    assert_eq!(all.ask("wchc"), format!("0x{one:x}\n\t/app/node\n0x{two:x}\n\t/app/node\n\t/none\n\n"));
    assert_eq!(all.ask("wchp"), format!("/app/node\n\t0x{one:x}\n\t0x{two:x}\n/none\n\t0x{two:x}\n\n"));
    assert_eq!(all.monitored()["watch_count"], "4");
}

#[tokio::test]
async fn configuration_and_directories() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = populated(folder.path()).await;
    let text = all.ask("conf");
    for line in [
        format!("clientPort={}", all.server.port),
        "secureClientPort=-1".to_owned(),
        format!("dataDir={}", folder.path().display()),
        format!("dataLogDir={}", folder.path().display()),
        "serverId=1".to_owned(),
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
    let sizes = all.ask("dirs");
    assert!(figure(&sizes, "logdir_size").parse::<u64>().unwrap() > 0, "{sizes}");
    assert_eq!(all.ask("isro"), "rw");
    assert_eq!(all.ask("stmk\0\0\0\0\0\0\x01\x02"), "258");
    assert_eq!(all.ask("gtmk"), "258");
    // A digest is kept every 128 zxids.
    for n in 0..128 {
        all.one.set_data("/app/node", &[n], None).await.unwrap();
    }
    let (zxid, digest) =
        all.ask("hash").trim_end().split_once(": ").map(|(z, d)| (z.to_owned(), d.to_owned())).unwrap();
    assert_eq!(i64::from_str_radix(&zxid, 16).unwrap() % 128, 0);
    digest.parse::<i64>().expect("a signed number");

    all.server.kill();
    all.server.restart();
    assert!(number(&all.monitored(), "sum_startup_txns_loaded") >= SESSIONS + WRITES + 128);
}

#[test]
fn only_words_on_the_whitelist_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["-D", "zookeeper.4lw.commands.whitelist=ruok, srvr"]);
    let refused = "mntr is not executed because it is not in the whitelist.\n";
    assert_eq!(four_letters(server.port, "mntr").as_deref(), Some(refused));
    assert!(four_letters(server.port, "srvr").unwrap().contains("Mode: standalone"));
}
