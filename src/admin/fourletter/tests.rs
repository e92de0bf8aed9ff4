//! Each word's text, compared byte for byte with ZooKeeper's.

use super::java::{java_address, java_date};
use super::*;
use crate::metrics::Metrics;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};

struct Told {
    serving: bool,
    mode: Mode,
    metrics: Metrics,
    mask: AtomicI64,
    local_sessions: bool,
}

fn told() -> Told {
    Told {
        serving: true,
        mode: Mode::Standalone,
        metrics: Metrics::new(),
        mask: AtomicI64::new(TRACE_MASK_DEFAULT),
        local_sessions: false,
    }
}

fn in_mode(mode: Mode) -> Told {
    Told { mode, ..told() }
}

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711);

impl Facts for Told {
    fn serving(&self) -> bool {
        self.serving
    }
    fn mode(&self) -> Mode {
        self.mode
    }
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
    fn figures(&self) -> Figures {
        Figures { zxid: 0x10_0000_0007, connections: 2, nodes: 5, ..Figures::default() }
    }
    fn configuration(&self) -> Configuration {
        let membership = (self.mode != Mode::ReadOnly).then(|| "server.1=a:1:2:participant\nversion=0".to_owned());
        let quorum = QuorumConfiguration {
            init_limit: 10,
            sync_limit: 5,
            election_port: 31201,
            quorum_port: 31101,
            observer: self.mode == Mode::Observer,
            membership,
        };
        Configuration {
            client_port: 2181,
            secure_client_port: -1,
            tick_ms: 2000,
            server_id: 1,
            quorum: (self.mode != Mode::Standalone).then_some(quorum),
            ..Configuration::default()
        }
    }
    fn directory_sizes(&self) -> DirectorySizes {
        DirectorySizes { data_bytes: 12, log_bytes: 0 }
    }
    fn ensemble(&self) -> Option<EnsembleFigures> {
        let leader =
            LeaderFigures { learners: 3, synced_followers: 2, synced_observers: 1, uptime_ms: 9, ..Default::default() };
        let figures = EnsembleFigures { quorum_size: 3, ..EnsembleFigures::default() };
        match self.mode {
            Mode::Standalone | Mode::ReadOnly => None,
            Mode::Leader => Some(EnsembleFigures { leader: Some(leader), ..figures }),
            Mode::Observer => Some(EnsembleFigures { observer_master_id: Some(3), ..figures }),
            Mode::Follower => Some(figures),
        }
    }
    fn connections(&self, each: &mut dyn FnMut(&ConnectionFacts)) {
        let asking = ConnectionFacts { peer: PEER, interest: 0, queued: 0, received: 1, sent: 0, session: None };
        each(&asking);
        let session = SessionFacts {
            id: 0x10_0001,
            last_operation: operation_name(4),
            established_ms: 1_700_000_000_000,
            timeout_ms: 30_000,
            last_xid: 3,
            last_zxid: 7,
            last_response_ms: 99,
            last_latency_ms: 0,
            min_latency_ms: 0,
            average_latency_ms: 1,
            max_latency_ms: 2,
        };
        each(&ConnectionFacts { interest: 1, session: Some(session), ..asking });
    }
    fn sessions(&self) -> TrackedSessions {
        let global = match self.mode {
            Mode::Standalone | Mode::Leader => {
                GlobalSessions::Expiring(vec![(1_763_659_115_000, vec![0x10_0001, 0x10_0002])])
            }
            _ => GlobalSessions::Known(vec![(0x10_0001, 10_000)]),
        };
        TrackedSessions { local: self.local_sessions.then(Vec::new), global }
    }
    fn ephemerals(&self, each: &mut dyn FnMut(i64, &[String])) {
        each(0x10_0001, &["/e".to_owned()]);
    }
    fn connection_expiry(&self) -> Vec<(i64, Vec<(SocketAddr, i64)>)> {
        vec![(0, vec![(PEER, 0x10_0001)])]
    }
    fn watches_by_session(&self, each: &mut dyn FnMut(i64, &[String])) {
        each(0x10_0001, &["/a".to_owned(), "/b".to_owned()]);
        each(0x10_0002, &["/a".to_owned()]);
    }
    fn watches_by_path(&self, each: &mut dyn FnMut(&str, &[i64])) {
        each("/a", &[0x10_0001, 0x10_0002]);
        each("/b", &[0x10_0001]);
    }
    fn digests(&self) -> Vec<(i64, i64)> {
        vec![(0xb8, 1_371_985_504), (0xb9, -5)]
    }
    fn trace_mask(&self) -> i64 {
        self.mask.load(Ordering::Relaxed)
    }
    fn set_trace_mask(&self, mask: i64) {
        self.mask.store(mask, Ordering::Relaxed);
    }
    fn reset_connections(&self) {}
}

fn word(name: &str) -> &'static Word {
    Word::from_bytes(name.as_bytes().try_into().unwrap()).unwrap()
}

fn ask(name: &str, facts: &Told) -> String {
    answer(word(name), None, &Whitelist::parse("*", false), facts)
}

#[test]
fn srvr_and_stat() {
    let facts = told();
    facts.metrics.readlatency.add(0);
    facts.metrics.updatelatency.add(1);
    let rest = "Latency min/avg/max: 0/0.5/1\nReceived: 0\nSent: 0\nConnections: 2\nOutstanding: 0\n\
        Zxid: 0x1000000007\nMode: standalone\nNode count: 5\n";
    assert_eq!(ask("srvr", &facts), format!("Zookeeper version: {VERSION}\n{rest}"));
    let clients = " /127.0.0.1:4711[0](queued=0,recved=1,sent=0)\n /127.0.0.1:4711[1](queued=0,recved=1,sent=0)\n";
    assert_eq!(ask("stat", &facts), format!("Zookeeper version: {VERSION}\nClients:\n{clients}\n{rest}"));
    let leader = in_mode(Mode::Leader);
    assert!(ask("srvr", &leader).ends_with("Node count: 5\nProposal sizes last/min/max: -1/-1/-1\n"));
    [32, 92, 48].iter().for_each(|&bytes| leader.metrics.proposal_size.add(bytes));
    assert!(ask("srvr", &leader).ends_with("Mode: leader\nNode count: 5\nProposal sizes last/min/max: 48/32/92\n"));
    assert!(ask("srvr", &in_mode(Mode::Follower)).ends_with("Mode: follower\nNode count: 5\n"));
    assert!(ask("srvr", &in_mode(Mode::Observer)).ends_with("Mode: observer\nNode count: 5\n"));
    let cut_off = ask("srvr", &in_mode(Mode::ReadOnly));
    assert!(cut_off.contains("\nREAD-ONLY mode; serving only read-only clients\nLatency"));
    assert!(cut_off.ends_with("Mode: read-only\nNode count: 5\n"));
    assert_eq!(ask("isro", &in_mode(Mode::ReadOnly)), "ro");
}

/// The texts of an ensemble of three servers and an observer of ZooKeeper 3.9.5.
#[test]
fn members_of_an_ensemble() {
    let quorum = "serverId=1\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=31201\nquorumPort=31101\n\
        peerType=0\n";
    let membership = "membership: \nserver.1=a:1:2:participant\nversion=0";
    assert!(ask("conf", &in_mode(Mode::Leader)).ends_with(&format!("{quorum}{membership}")));
    assert!(ask("conf", &in_mode(Mode::Observer)).ends_with(&format!("peerType=1\n{membership}")));
    assert!(ask("conf", &in_mode(Mode::ReadOnly)).ends_with(quorum));
    assert!(ask("conf", &told()).ends_with("serverId=1\n"));

    let known = "SessionTracker dump:\nGlobal Sessions(1):\n0x100001\t10000ms\nephemeral nodes dump:\n";
    assert!(ask("dump", &in_mode(Mode::Follower)).starts_with(known));
    let follower = Told { local_sessions: true, ..in_mode(Mode::Follower) };
    assert!(ask("dump", &follower).contains("dump:\nLocal Session Sets (0)/(0):\nGlobal Sessions(1):\n"));
    let leader = Told { local_sessions: true, ..in_mode(Mode::Leader) };
    assert!(ask("dump", &leader).contains("dump:\nLocal Session Sets (0)/(0):\nGlobal Session Sets (1)/(2):\n"));

    let leader = in_mode(Mode::Leader);
    leader.metrics.proposal_size.add(48);
    let text = ask("mntr", &leader);
    let has = |text: &str, line: &str| text.lines().any(|other| other == line);
    for line in [
        "zk_server_state\tleader",
        "zk_peer_state\tleading - broadcast",
        "zk_quorum_size\t3",
        "zk_learners\t3",
        "zk_synced_followers\t2",
        "zk_synced_non_voting_followers\t0",
        "zk_synced_observers\t1",
        "zk_pending_syncs\t0",
        "zk_leader_uptime\t9",
        "zk_last_proposal_size\t48",
        "zk_min_proposal_size\t48",
        "zk_max_proposal_size\t48",
    ] {
        assert!(has(&text, line), "{line}");
    }
    ask("srst", &leader);
    assert!(has(&ask("mntr", &leader), "zk_last_proposal_size\t-1"));
    for (mode, lines, absent) in [
        (Mode::Follower, ["zk_peer_state\tfollowing - broadcast", "zk_quorum_size\t3"], "zk_learners"),
        (Mode::Observer, ["zk_peer_state\tobserving - broadcast", "zk_observer_master_id\t3"], "zk_learners"),
        (Mode::ReadOnly, ["zk_server_state\tread-only", "zk_znode_count\t5"], "zk_quorum_size"),
        (Mode::Standalone, ["zk_server_state\tstandalone", "zk_znode_count\t5"], "zk_peer_state"),
    ] {
        let text = ask("mntr", &in_mode(mode));
        assert!(lines.iter().all(|line| has(&text, line)) && !text.contains(absent), "{mode:?}");
    }
}

#[test]
fn the_version_is_in_zookeepers_form() {
    let (version, built) = VERSION.split_once(", built on ").unwrap();
    assert!(version.starts_with("3.9.5-"));
    assert!(version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-'), "go-zk's pattern");
    let parts: Vec<&str> = built.split(' ').collect();
    assert_eq!((parts[0].len(), parts[1].len(), parts[2]), (10, 5, "UTC"), "go-zk's date");
}

#[test]
fn cons_conf_dirs() {
    let facts = told();
    let expected = " /127.0.0.1:4711[0](queued=0,recved=1,sent=0)\n \
        /127.0.0.1:4711[1](queued=0,recved=1,sent=0,sid=0x100001,lop=GETD,est=1700000000000,to=30000,lcxid=0x3,\
        lzxid=0x7,lresp=99,llat=0,minlat=0,avglat=1,maxlat=2)\n\n";
    assert_eq!(ask("cons", &facts), expected);
    assert!(ask("conf", &facts).starts_with("clientPort=2181\nsecureClientPort=-1\ndataDir=\ndataDirSize=12\n"));
    assert_eq!(ask("dirs", &facts), "datadir_size: 12\nlogdir_size: 0\n");
}

#[test]
fn dump_and_watches() {
    let facts = told();
    let expected = "SessionTracker dump:\nSession Sets (1)/(2):\n2 expire at Thu Nov 20 17:18:35 UTC 2025:\n\
        \t0x100001\n\t0x100002\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x100001:\n\t/e\n\
        Connections dump:\nConnections Sets (1)/(1):\n1 expire at Thu Jan 01 00:00:00 UTC 1970:\n\
        \tip: /127.0.0.1:4711 sessionId: 0x100001\n";
    assert_eq!(ask("dump", &facts), expected);
    assert_eq!(ask("wchs", &facts), "2 connections watching 2 paths\nTotal watches:3\n");
    assert_eq!(ask("wchc", &facts), "0x100001\n\t/a\n\t/b\n0x100002\n\t/a\n\n");
    assert_eq!(ask("wchp", &facts), "/a\n\t0x100001\n\t0x100002\n/b\n\t0x100001\n\n");
    assert_eq!(ask("hash", &facts), "b8: 1371985504\nb9: -5\n");
}

#[test]
fn words_of_a_few_bytes() {
    let facts = told();
    assert_eq!(ask("ruok", &facts), "imok");
    assert_eq!(ask("isro", &facts), "rw");
    assert_eq!(ask("gtmk", &facts), "306");
    let all = Whitelist::parse("*", false);
    assert_eq!(answer(word("stmk"), Some(510i64.to_be_bytes()), &all, &facts), "510");
    assert_eq!(ask("gtmk", &facts), "510");
    assert_eq!(ask("srst", &facts), "Server stats reset.\n");
    assert_eq!(ask("crst", &facts), "Connection stats reset.\n");
    assert!(ask("envi", &facts).starts_with("Environment:\nzookeeper.version=3.9.5-"));
    assert!(Word::from_bytes(*b"RUOK").is_none());
    assert!(Word::from_bytes([0, 0, 0, 45]).is_none());
}

#[test]
fn mntr_lines() {
    let facts = told();
    facts.metrics.updatelatency.add(3);
    facts.metrics.namespaces.read("/app/x", 4);
    let text = ask("mntr", &facts);
    assert!(text.contains("\nzk_avg_app_read_per_namespace\t10.0\n"));
    assert!(text.contains("\nzk_sum_app_write_per_namespace\t0\n"));
    assert!(text.starts_with(&format!("zk_version\t{VERSION}\nzk_server_state\tstandalone\nzk_avg_latency\t3.0\n")));
    for line in ["zk_znode_count\t5", "zk_avg_updatelatency\t3.0", "zk_p99_updatelatency\t3", "zk_commit_count\t0"] {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
    assert!(text.lines().all(|line| line.starts_with("zk_") && line.matches('\t').count() == 1));
}

#[test]
fn the_whitelist() {
    let facts = told();
    let default = Whitelist::default();
    let refused = "mntr is not executed because it is not in the whitelist.\n";
    assert_eq!(answer(word("mntr"), None, &default, &facts), refused);
    assert!(default.allows("srvr") && !default.allows("ruok"));
    let some = Whitelist::parse(" stat, ruok ,nonsense", true);
    assert!(some.allows("stat") && some.allows("ruok") && some.allows("isro"));
    assert!(!some.allows("srvr"));
}

#[test]
fn a_server_that_does_not_serve() {
    let facts = Told { serving: false, ..told() };
    assert_eq!(ask("srvr", &facts), NOT_SERVING);
    assert_eq!(ask("isro", &facts), "null");
    assert_eq!(ask("ruok", &facts), "imok");
    assert!(ask("envi", &facts).starts_with("Environment:"));
}

#[test]
fn dates_and_addresses_as_java_prints_them() {
    assert_eq!(java_date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
    assert_eq!(java_date(1_735_689_599_999), "Tue Dec 31 23:59:59 UTC 2024");
    assert_eq!(java_date(-1), "Wed Dec 31 23:59:59 UTC 1969");
    assert_eq!(java_address(&"[::1]:80".parse().unwrap()), "/[0:0:0:0:0:0:0:1]:80");
}

#[test]
fn every_word_has_four_letters_and_one_line_in_the_table() {
    let names: Vec<&str> = WORDS.iter().map(|word| word.name).collect();
    assert!(
        names.iter().all(|name| name.len() == 4 && name.bytes().all(|byte| byte.is_ascii_lowercase())),
        "{names:?}"
    );
    assert!(names.is_sorted() && names.array_windows().all(|[one, next]| one != next), "{names:?}");
}
