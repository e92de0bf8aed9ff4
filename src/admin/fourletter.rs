//! ZooKeeper's four letter words: a client sends four bytes instead of a hello, gets a text, and the connection is closed.
//!
//! The texts are ZooKeeper 3.9.5's to the byte where tools parse them (server/command/*.java). What they are about comes
//! in through `Facts`, so that this file needs no running server.

use crate::metrics::{LastMinMax, Metrics, Value};
use crate::plugin::counters::Counters;
use std::fmt::Write;
use std::net::SocketAddr;

/// The four letter words of ZooKeeper 3.9.5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    Wchc,
    Wchp,
    Wchs,
}

const WORDS: [(&str, Word); 18] = [
    ("conf", Word::Conf),
    ("cons", Word::Cons),
    ("crst", Word::Crst),
    ("dirs", Word::Dirs),
    ("dump", Word::Dump),
    ("envi", Word::Envi),
    ("gtmk", Word::Gtmk),
    ("hash", Word::Hash),
    ("isro", Word::Isro),
    ("mntr", Word::Mntr),
    ("ruok", Word::Ruok),
    ("srst", Word::Srst),
    ("srvr", Word::Srvr),
    ("stat", Word::Stat),
    ("stmk", Word::Stmk),
    ("wchc", Word::Wchc),
    ("wchp", Word::Wchp),
    ("wchs", Word::Wchs),
];

impl Word {
    /// The word those bytes are; none sends them on to be read as a frame's length.
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Word> {
        WORDS.iter().find(|(name, _)| name.as_bytes() == bytes).map(|&(_, word)| word)
    }

    pub fn name(self) -> &'static str {
        WORDS.iter().find(|&&(_, word)| word == self).map_or("", |&(name, _)| name)
    }

    /// `stmk` is followed by eight bytes, the new mask; the others by nothing.
    pub fn has_argument(self) -> bool {
        self == Word::Stmk
    }
}

/// Which words are answered: the setting `4lw.commands.whitelist`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whitelist(Vec<Word>);

impl Default for Whitelist {
    /// ZooKeeper's: `srvr` alone.
    fn default() -> Whitelist {
        Whitelist(vec![Word::Srvr])
    }
}

impl Whitelist {
    /// Reads the setting: words separated by commas, or `*` for all. Names that are no words are ignored, as in ZooKeeper.
    /// With `readonlymode.enabled`, `isro` is always answered: clients look for a way back by it.
    pub fn parse(setting: &str, read_only_mode: bool) -> Whitelist {
        let names: Vec<&str> = setting.split(',').map(str::trim).collect();
        let all = names.contains(&"*");
        let chosen = |name: &str, word: Word| all || names.contains(&name) || (read_only_mode && word == Word::Isro);
        Whitelist(WORDS.iter().filter(|&&(name, word)| chosen(name, word)).map(|&(_, word)| word).collect())
    }

    pub fn allows(&self, word: Word) -> bool {
        self.0.contains(&word)
    }
}

/// The server's part in its ensemble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Standalone,
    Leader,
    Follower,
    Observer,
    ReadOnly,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
            Mode::ReadOnly => "read-only",
        }
    }
}

/// What a running server tells. Called without locks held; implementations take their own, briefly.
pub trait Facts {
    /// Whether requests are served; else most words say that they are not.
    fn serving(&self) -> bool;
    fn mode(&self) -> Mode;
    fn metrics(&self) -> &Metrics;
    fn figures(&self) -> Figures;
    fn configuration(&self) -> Configuration;
    /// Takes a walk through the directories.
    fn directory_sizes(&self) -> DirectorySizes;
    /// Of a member that is one of several and has a leader; None: it stands alone, or is cut off.
    fn ensemble(&self) -> Option<EnsembleFigures> {
        None
    }
    /// Every open connection, the asking one too.
    fn connections(&self, each: &mut dyn FnMut(&ConnectionFacts));
    fn sessions(&self) -> TrackedSessions;
    /// Sessions with ephemeral nodes, and their paths.
    fn ephemerals(&self, each: &mut dyn FnMut(i64, &[String]));
    /// Connections by the wall clock time at which they would be closed as idle: peer and session id.
    fn connection_expiry(&self) -> Vec<(i64, Vec<(SocketAddr, i64)>)>;
    /// Watches on nodes' data and existence, by connection: session id and paths. So `wchs`, `wchc`, `wchp` count.
    fn watches_by_session(&self, each: &mut dyn FnMut(i64, &[String]));
    /// The same, by path.
    fn watches_by_path(&self, each: &mut dyn FnMut(&str, &[i64]));
    /// ZooKeeper's digests of the tree at some zxids, oldest first.
    fn digests(&self) -> Vec<(i64, i64)>;
    fn trace_mask(&self) -> i64;
    fn set_trace_mask(&self, mask: i64);
    /// `crst`: each connection's own counters start over.
    fn reset_connections(&self);
    /// Every plugin that is deployed, in the order of their names.
    fn plugins(&self, _each: &mut dyn FnMut(&PluginFacts<'_>)) {}
}

/// A plugin, and what it has done here since this server started.
pub struct PluginFacts<'a> {
    pub name: &'a str,
    pub kind: &'static str,
    /// `active`, `loading`, `failed`, `off` and whatever `/zookeeper/plugins/<name>/status` may say.
    pub state: &'a str,
    pub counters: &'a Counters,
}

/// Sessions by the wall clock time, Unix milliseconds, at which they would expire, in order.
pub type ExpirySets = Vec<(i64, Vec<i64>)>;

/// The sessions a member knows.
#[derive(Clone, Default, Debug)]
pub struct TrackedSessions {
    /// Those that live here alone; None: there is no such thing here.
    pub local: Option<ExpirySets>,
    pub global: GlobalSessions,
}

#[derive(Clone, Debug)]
pub enum GlobalSessions {
    /// This member decides when they expire.
    Expiring(ExpirySets),
    /// Another does: session and timeout in milliseconds, in order.
    Known(Vec<(i64, i32)>),
}

impl Default for GlobalSessions {
    fn default() -> GlobalSessions {
        GlobalSessions::Expiring(Vec::new())
    }
}

/// Numbers of the moment.
#[derive(Clone, Copy, Default, Debug)]
pub struct Figures {
    pub zxid: i64,
    pub outstanding: u64,
    pub connections: u64,
    pub nodes: u64,
    /// All watches, on data and on children.
    pub watches: u64,
    pub ephemerals: u64,
    pub data_bytes: u64,
    pub global_sessions: u64,
    pub local_sessions: u64,
    pub uptime_ms: u64,
    pub tls_handshakes: u64,
}

/// Bytes on disk.
#[derive(Clone, Copy, Default, Debug)]
pub struct DirectorySizes {
    /// Of checkpoint, image, and what else is kept with them.
    pub data_bytes: u64,
    /// Of the log.
    pub log_bytes: u64,
}

#[derive(Clone, Default, Debug)]
pub struct EnsembleFigures {
    /// Members that vote.
    pub quorum_size: u64,
    /// Whom an observer follows.
    pub observer_master_id: Option<u32>,
    /// Only the leader has them.
    pub leader: Option<LeaderFigures>,
}

#[derive(Clone, Default, Debug)]
pub struct LeaderFigures {
    /// Other members that are connected.
    pub learners: u64,
    /// Of those, the ones that have caught up: voters, observers, and participants without a vote yet.
    pub synced_followers: u64,
    pub synced_observers: u64,
    pub synced_non_voting_followers: u64,
    /// `sync` requests that wait.
    pub pending_syncs: u64,
    pub uptime_ms: u64,
}

/// What `conf` prints. Ports that are not open are -1.
#[derive(Clone, Default, Debug)]
pub struct Configuration {
    pub client_port: i32,
    pub secure_client_port: i32,
    pub data_dir: String,
    pub data_log_dir: String,
    pub tick_ms: i32,
    pub connections_per_address_max: i32,
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    /// -1: the system's.
    pub listen_backlog: i32,
    pub server_id: i64,
    pub quorum: Option<QuorumConfiguration>,
}

#[derive(Clone, Default, Debug)]
pub struct QuorumConfiguration {
    pub init_limit: i32,
    pub sync_limit: i32,
    pub election_port: i32,
    pub quorum_port: i32,
    pub observer: bool,
    /// The text of `/zookeeper/config`; None: this member is cut off, and ZooKeeper then has none.
    pub membership: Option<String>,
}

/// One connection, for `stat` and `cons`.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    pub peer: SocketAddr,
    /// Whether we wait to read and to write: NIO's interest bits, 1 and 4.
    pub interest: u8,
    pub queued: u64,
    pub received: u64,
    pub sent: u64,
    /// None before the hello.
    pub session: Option<SessionFacts>,
}

#[derive(Clone, Debug)]
pub struct SessionFacts {
    pub id: i64,
    /// `operation_name` of the last reply, "NA" if there was none.
    pub last_operation: &'static str,
    /// Unix milliseconds.
    pub established_ms: i64,
    pub timeout_ms: i32,
    /// The last xid; negative ones (pings) are not shown.
    pub last_xid: i64,
    pub last_zxid: i64,
    /// Milliseconds on a clock of the server's own.
    pub last_response_ms: i64,
    pub last_latency_ms: u64,
    pub min_latency_ms: u64,
    pub average_latency_ms: u64,
    pub max_latency_ms: u64,
}

/// How `cons` names an operation (FinalRequestProcessor.java).
pub fn operation_name(opcode: i32) -> &'static str {
    use crate::wire::request::op;
    match opcode {
        op::PING => "PING",
        op::CREATE_SESSION => "SESS",
        op::MULTI => "MULT",
        op::MULTI_READ => "MLTR",
        op::CREATE | op::CREATE2 | op::CREATE_TTL | op::CREATE_CONTAINER | op::CREATE_IF_NOT_EXISTS => "CREA",
        op::DELETE | op::DELETE_CONTAINER => "DELE",
        op::SET_DATA => "SETD",
        op::RECONFIG => "RECO",
        op::SET_ACL => "SETA",
        op::CLOSE_SESSION => "CLOS",
        op::SYNC => "SYNC",
        op::CHECK | op::CHECK_NOT_EXISTS => "CHEC",
        op::EXISTS => "EXIS",
        op::GET_DATA => "GETD",
        op::SET_WATCHES => "SETW",
        op::SET_WATCHES2 => "STW2",
        op::ADD_WATCH => "ADDW",
        op::GET_ACL => "GETA",
        op::GET_CHILDREN | op::GET_CHILDREN2 | op::FILTERED_LIST => "GETC",
        op::GET_ALL_CHILDREN_NUMBER => "GETACN",
        op::CHECK_WATCHES => "CHKW",
        op::REMOVE_WATCHES => "REMW",
        op::WHO_AM_I => "HOMI",
        op::GET_EPHEMERALS => "GETE",
        _ => "NA",
    }
}

/// The version in ZooKeeper's form, which clients take apart: kazoo reads the three numbers, go-zk matches the whole line.
pub const VERSION: &str =
    concat!("3.9.5-wasmkeeper-", env!("CARGO_PKG_VERSION"), ", built on ", "2026-11-20 00:00 UTC");

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// What gtmk says before any stmk. It turns nothing on here; tracing has filters of its own.
pub const TRACE_MASK_DEFAULT: i64 = 0o462;

/// The text that answers a word. `argument`: the eight bytes behind `stmk`, if they came.
pub fn answer(word: Word, argument: Option<[u8; 8]>, whitelist: &Whitelist, facts: &dyn Facts) -> String {
    if !whitelist.allows(word) {
        return format!("{} is not executed because it is not in the whitelist.\n", word.name());
    }
    match word {
        // These are about the process, not about the tree.
        Word::Ruok => "imok".to_owned(),
        Word::Envi => envi(),
        Word::Gtmk => facts.trace_mask().to_string(),
        Word::Stmk => stmk(argument, facts),
        Word::Isro => isro(facts).to_owned(),
        // Without the line's end, in ZooKeeper too.
        Word::Hash if !facts.serving() => NOT_SERVING.trim_end().to_owned(),
        _ if !facts.serving() => NOT_SERVING.to_owned(),
        Word::Srvr => stat(facts, false),
        Word::Stat => stat(facts, true),
        Word::Cons => cons(facts),
        Word::Conf => conf(facts),
        Word::Crst => {
            facts.reset_connections();
            "Connection stats reset.\n".to_owned()
        }
        Word::Srst => {
            facts.metrics().reset();
            "Server stats reset.\n".to_owned()
        }
        Word::Dirs => dirs(facts),
        Word::Dump => dump(facts),
        Word::Wchs => wchs(facts),
        Word::Wchc => wchc(facts),
        Word::Wchp => wchp(facts),
        Word::Mntr => mntr(facts),
        Word::Hash => hash(facts),
    }
}

/// `write!` and `writeln!` to a String cannot fail; this says so once.
macro_rules! line {
    ($out:expr, $($text:tt)*) => {
        writeln!($out, $($text)*).expect("a String takes everything")
    };
}

fn stmk(argument: Option<[u8; 8]>, facts: &dyn Facts) -> String {
    let Some(bytes) = argument else { return String::new() };
    let mask = i64::from_be_bytes(bytes);
    facts.set_trace_mask(mask);
    mask.to_string()
}

fn isro(facts: &dyn Facts) -> &'static str {
    match (facts.serving(), facts.mode()) {
        (false, _) => "null",
        (true, Mode::ReadOnly) => "ro",
        (true, _) => "rw",
    }
}

fn stat(facts: &dyn Facts, clients: bool) -> String {
    let mut out = format!("Zookeeper version: {VERSION}\n");
    if facts.mode() == Mode::ReadOnly {
        out.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if clients {
        out.push_str("Clients:\n");
        facts.connections(&mut |connection| line!(out, "{})", brief(connection)));
        out.push('\n');
    }
    let (figures, metrics) = (facts.figures(), facts.metrics());
    let latency = metrics.request_latency();
    line!(out, "Latency min/avg/max: {}/{:?}/{}", latency.min, latency.average(), latency.max);
    line!(out, "Received: {}", metrics.packets_received.get());
    line!(out, "Sent: {}", metrics.packets_sent.get());
    line!(out, "Connections: {}", figures.connections);
    line!(out, "Outstanding: {}", figures.outstanding);
    line!(out, "Zxid: 0x{:x}", figures.zxid);
    line!(out, "Mode: {}", facts.mode().name());
    line!(out, "Node count: {}", figures.nodes);
    if facts.mode() == Mode::Leader {
        let sizes = &metrics.proposal_size;
        line!(out, "Proposal sizes last/min/max: {}/{}/{}", sizes.last(), sizes.min(), sizes.max());
    }
    out
}

/// The part that `stat` and `cons` have in common, without the closing bracket.
fn brief(connection: &ConnectionFacts) -> String {
    let ConnectionFacts { peer, interest, queued, received, sent, .. } = connection;
    format!(" {}[{interest:x}](queued={queued},recved={received},sent={sent}", java_address(peer))
}

fn cons(facts: &dyn Facts) -> String {
    let mut out = String::new();
    facts.connections(&mut |connection| {
        out.push_str(&brief(connection));
        if let Some(session) = &connection.session {
            let SessionFacts { id, last_operation, established_ms, timeout_ms, .. } = session;
            out.push_str(&format!(",sid=0x{id:x},lop={last_operation},est={established_ms},to={timeout_ms}"));
            if session.last_xid >= 0 {
                out.push_str(&format!(",lcxid=0x{:x}", session.last_xid));
            }
            out.push_str(&format!(
                ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
                session.last_zxid,
                session.last_response_ms,
                session.last_latency_ms,
                session.min_latency_ms,
                session.average_latency_ms,
                session.max_latency_ms,
            ));
        }
        out.push_str(")\n");
    });
    out.push('\n');
    out
}

fn conf(facts: &dyn Facts) -> String {
    let (conf, sizes) = (facts.configuration(), facts.directory_sizes());
    let mut out = String::new();
    line!(out, "clientPort={}", conf.client_port);
    line!(out, "secureClientPort={}", conf.secure_client_port);
    line!(out, "dataDir={}", conf.data_dir);
    line!(out, "dataDirSize={}", sizes.data_bytes);
    line!(out, "dataLogDir={}", conf.data_log_dir);
    line!(out, "dataLogSize={}", sizes.log_bytes);
    line!(out, "tickTime={}", conf.tick_ms);
    line!(out, "maxClientCnxns={}", conf.connections_per_address_max);
    line!(out, "minSessionTimeout={}", conf.session_timeout_ms_min);
    line!(out, "maxSessionTimeout={}", conf.session_timeout_ms_max);
    line!(out, "clientPortListenBacklog={}", conf.listen_backlog);
    line!(out, "serverId={}", conf.server_id);
    if let Some(quorum) = conf.quorum {
        line!(out, "initLimit={}", quorum.init_limit);
        line!(out, "syncLimit={}", quorum.sync_limit);
        out.push_str("electionAlg=3\n");
        line!(out, "electionPort={}", quorum.election_port);
        line!(out, "quorumPort={}", quorum.quorum_port);
        line!(out, "peerType={}", i32::from(quorum.observer));
        if let Some(membership) = quorum.membership {
            out.push_str("membership: \n");
            // Without the line's end, in ZooKeeper too.
            out.push_str(&membership);
        }
    }
    out
}

fn dirs(facts: &dyn Facts) -> String {
    let sizes = facts.directory_sizes();
    format!("datadir_size: {}\nlogdir_size: {}\n", sizes.data_bytes, sizes.log_bytes)
}

fn dump(facts: &dyn Facts) -> String {
    let mut out = "SessionTracker dump:\n".to_owned();
    let sessions = facts.sessions();
    if let Some(local) = &sessions.local {
        expiry_sets(&mut out, "Local Session", local, |id| format!("0x{id:x}"));
    }
    match &sessions.global {
        GlobalSessions::Expiring(sets) => {
            let what = if sessions.local.is_some() { "Global Session" } else { "Session" };
            expiry_sets(&mut out, what, sets, |id| format!("0x{id:x}"));
        }
        GlobalSessions::Known(known) => {
            line!(out, "Global Sessions({}):", known.len());
            for (id, timeout_ms) in known {
                line!(out, "0x{id:x}\t{timeout_ms}ms");
            }
        }
    }
    out.push_str("ephemeral nodes dump:\n");
    let (mut count, mut nodes) = (0, String::new());
    facts.ephemerals(&mut |session, paths| {
        count += 1;
        line!(nodes, "0x{session:x}:");
        for path in paths {
            line!(nodes, "\t{path}");
        }
    });
    line!(out, "Sessions with Ephemerals ({count}):");
    out.push_str(&nodes);
    out.push_str("Connections dump:\n");
    let connections = facts.connection_expiry();
    expiry_sets(&mut out, "Connections", &connections, |(peer, session)| {
        format!("ip: {} sessionId: 0x{session:x}", java_address(peer))
    });
    out
}

/// What expires together stands together (ExpiryQueue.java).
fn expiry_sets<T>(out: &mut String, what: &str, sets: &[(i64, Vec<T>)], name: impl Fn(&T) -> String) {
    let all: usize = sets.iter().map(|(_, set)| set.len()).sum();
    line!(out, "{what} Sets ({})/({all}):", sets.len());
    for (expires_ms, set) in sets {
        line!(out, "{} expire at {}:", set.len(), java_date(*expires_ms));
        for element in set {
            line!(out, "\t{}", name(element));
        }
    }
}

fn wchs(facts: &dyn Facts) -> String {
    let (mut connections, mut paths, mut watches) = (0, 0, 0);
    facts.watches_by_session(&mut |_, watched| {
        connections += 1;
        watches += watched.len();
    });
    facts.watches_by_path(&mut |_, _| paths += 1);
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}

fn wchc(facts: &dyn Facts) -> String {
    let mut out = String::new();
    facts.watches_by_session(&mut |session, paths| {
        line!(out, "0x{session:x}");
        for path in paths {
            line!(out, "\t{path}");
        }
    });
    out.push('\n');
    out
}

fn wchp(facts: &dyn Facts) -> String {
    let mut out = String::new();
    facts.watches_by_path(&mut |path, sessions| {
        line!(out, "{path}");
        for session in sessions {
            line!(out, "\t0x{session:x}");
        }
    });
    out.push('\n');
    out
}

fn hash(facts: &dyn Facts) -> String {
    let mut out = String::new();
    for (zxid, digest) in facts.digests() {
        line!(out, "{zxid:x}: {digest}");
    }
    out
}

/// The text of `mntr`, whether or not requests are served.
pub fn mntr(facts: &dyn Facts) -> String {
    let (figures, metrics) = (facts.figures(), facts.metrics());
    let mut out = String::new();
    line!(out, "zk_version\t{VERSION}");
    line!(out, "zk_server_state\t{}", facts.mode().name());
    let ensemble = facts.ensemble();
    if let Some(ensemble) = &ensemble {
        line!(out, "zk_peer_state\t{}", peer_state(facts.mode()));
        if let Some(master) = ensemble.observer_master_id {
            line!(out, "zk_observer_master_id\t{master}");
        }
    }
    let latency = metrics.request_latency();
    line!(out, "zk_avg_latency\t{:?}", latency.average());
    let response = &metrics.client_response_size;
    let (files, files_max) = open_files();
    let gauges: [(&str, i128); 22] = [
        ("min_latency", latency.min.into()),
        ("max_latency", latency.max.into()),
        ("packets_received", metrics.packets_received.get().into()),
        ("packets_sent", metrics.packets_sent.get().into()),
        ("num_alive_connections", figures.connections.into()),
        ("outstanding_requests", figures.outstanding.into()),
        ("uptime", figures.uptime_ms.into()),
        ("znode_count", figures.nodes.into()),
        ("watch_count", figures.watches.into()),
        ("ephemerals_count", figures.ephemerals.into()),
        ("approximate_data_size", figures.data_bytes.into()),
        ("global_sessions", figures.global_sessions.into()),
        ("local_sessions", figures.local_sessions.into()),
        ("open_file_descriptor_count", files.into()),
        ("max_file_descriptor_count", files_max.into()),
        ("last_client_response_size", response.last().into()),
        ("min_client_response_size", response.min().into()),
        ("max_client_response_size", response.max().into()),
        ("outstanding_tls_handshake", figures.tls_handshakes.into()),
        ("auth_failed_count", metrics.auth_failed.get().into()),
        ("non_mtls_remote_conn_count", 0),
        ("non_mtls_local_conn_count", 0),
    ];
    for (key, value) in gauges {
        line!(out, "zk_{key}\t{value}");
    }
    out.push_str("zk_connection_drop_probability\t0.0\n");
    if let Some(ensemble) = &ensemble {
        line!(out, "zk_quorum_size\t{}", ensemble.quorum_size);
        if let Some(leader) = &ensemble.leader {
            of_leader(&mut out, leader, &metrics.proposal_size);
        }
    }
    metrics.each(&mut |name, value| match value {
        Value::Whole(whole) => line!(out, "zk_{name}\t{whole}"),
        Value::Fraction(fraction) => line!(out, "zk_{name}\t{fraction:?}"),
    });
    facts.plugins(&mut |plugin| of_plugin(&mut out, plugin));
    out
}

/// Keys that ZooKeeper does not have.
fn of_plugin(out: &mut String, plugin: &PluginFacts<'_>) {
    let PluginFacts { name, counters, .. } = plugin;
    for (key, count) in counters.counts() {
        line!(out, "zk_plugin_{name}_{key}\t{count}");
    }
    line!(out, "zk_plugin_{name}_faults\t{}", counters.all_faults().map(|(_, count)| count).sum::<u64>());
    for (key, timing) in [("fuel", &counters.fuel), ("ns", &counters.ns)] {
        let totals = timing.totals();
        line!(out, "zk_plugin_{name}_{key}_total\t{}", totals.sum);
        line!(out, "zk_plugin_{name}_{key}_p99\t{}", timing.percentile(0.99));
        line!(out, "zk_plugin_{name}_{key}_max\t{}", totals.max);
    }
}

fn of_leader(out: &mut String, leader: &LeaderFigures, proposals: &LastMinMax) {
    line!(out, "zk_learners\t{}", leader.learners);
    line!(out, "zk_synced_followers\t{}", leader.synced_followers);
    line!(out, "zk_synced_non_voting_followers\t{}", leader.synced_non_voting_followers);
    line!(out, "zk_synced_observers\t{}", leader.synced_observers);
    line!(out, "zk_pending_syncs\t{}", leader.pending_syncs);
    line!(out, "zk_leader_uptime\t{}", leader.uptime_ms);
    line!(out, "zk_last_proposal_size\t{}", proposals.last());
    line!(out, "zk_min_proposal_size\t{}", proposals.min());
    line!(out, "zk_max_proposal_size\t{}", proposals.max());
}

fn peer_state(mode: Mode) -> &'static str {
    match mode {
        Mode::Leader => "leading - broadcast",
        Mode::Follower => "following - broadcast",
        Mode::Observer => "observing - broadcast",
        Mode::Standalone | Mode::ReadOnly => "looking",
    }
}

/// Open files of this process and how many it may have; 0 where the system does not say.
fn open_files() -> (u64, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    (open, limit.current.unwrap_or(u64::MAX >> 1))
}

/// ZooKeeper prints the Java system properties; what we have no Java for has its word for "not available".
fn envi() -> String {
    const UNAVAILABLE: &str = "<NA>";
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| UNAVAILABLE.to_owned());
    let kernel = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or_else(|_| UNAVAILABLE.to_owned(), |text| text.trim().to_owned())
    };
    let mut out = "Environment:\n".to_owned();
    line!(out, "zookeeper.version={VERSION}");
    line!(out, "host.name={}", kernel("hostname"));
    // Tools read this one as a number.
    line!(out, "java.version=0");
    for name in ["vendor", "home", "class.path", "library.path"] {
        line!(out, "java.{name}={UNAVAILABLE}");
    }
    line!(out, "java.io.tmpdir={}", std::env::temp_dir().display());
    line!(out, "java.compiler={UNAVAILABLE}");
    line!(out, "os.name={}", kernel("ostype"));
    line!(out, "os.arch={}", java_arch());
    line!(out, "os.version={}", kernel("osrelease"));
    line!(out, "user.name={}", variable("USER"));
    line!(out, "user.home={}", variable("HOME"));
    let folder = std::env::current_dir().map_or_else(|_| UNAVAILABLE.to_owned(), |dir| dir.display().to_string());
    line!(out, "user.dir={folder}");
    let (free, total) = memory_mib();
    line!(out, "os.memory.free={free}MB\nos.memory.max={total}MB\nos.memory.total={total}MB");
    out
}

fn java_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}

/// MiB of memory that can be had, and all of it.
fn memory_mib() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    (field("MemAvailable:").unwrap_or(0) >> 10, field("MemTotal:").unwrap_or(0) >> 10)
}

/// As Java prints a socket address: a slash before the number, IPv6 written out in brackets.
fn java_address(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => format!("/{v4}"),
        SocketAddr::V6(v6) => {
            let segments: Vec<String> = v6.ip().segments().iter().map(|segment| format!("{segment:x}")).collect();
            format!("/[{}]:{}", segments.join(":"), v6.port())
        }
    }
}

/// As Java prints a Date, in UTC: `Fri Nov 20 17:18:35 UTC 2026`.
fn java_date(unix_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}", MONTHS[month])
}

/// Year, month (0 is January) and day of a number of days since 1970. Years are counted from March, so that the leap day
/// is a year's last, and in eras of 400 years, which all have the same length.
fn civil_date(days: i64) -> (i64, usize, i64) {
    const DAYS_OF_ERA: i64 = 146_097;
    // 1 March of year 0 lies 719,468 days before 1970.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, twice and a bit: 153 days in five months.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    (year, month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let leader = LeaderFigures {
                learners: 3,
                synced_followers: 2,
                synced_observers: 1,
                uptime_ms: 9,
                ..Default::default()
            };
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

    fn ask(word: &str, facts: &Told) -> String {
        let word = Word::from_bytes(word.as_bytes().try_into().unwrap()).unwrap();
        answer(word, None, &Whitelist::parse("*", false), facts)
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

    /// As three servers and an observer of ZooKeeper 3.9.5 print it.
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
    fn small_ones() {
        let facts = told();
        assert_eq!(ask("ruok", &facts), "imok");
        assert_eq!(ask("isro", &facts), "rw");
        assert_eq!(ask("gtmk", &facts), "306");
        let all = Whitelist::parse("*", false);
        assert_eq!(answer(Word::Stmk, Some(510i64.to_be_bytes()), &all, &facts), "510");
        assert_eq!(ask("gtmk", &facts), "510");
        assert_eq!(ask("srst", &facts), "Server stats reset.\n");
        assert_eq!(ask("crst", &facts), "Connection stats reset.\n");
        assert!(ask("envi", &facts).starts_with("Environment:\nzookeeper.version=3.9.5-"));
        assert_eq!(Word::from_bytes(*b"RUOK"), None);
        assert_eq!(Word::from_bytes([0, 0, 0, 45]), None);
    }

    #[test]
    fn mntr_lines() {
        let facts = told();
        facts.metrics.updatelatency.add(3);
        facts.metrics.namespaces.read("/app/x", 4);
        let text = ask("mntr", &facts);
        assert!(text.contains("\nzk_avg_app_read_per_namespace\t10.0\n"));
        assert!(text.contains("\nzk_sum_app_write_per_namespace\t0\n"));
        assert!(
            text.starts_with(&format!("zk_version\t{VERSION}\nzk_server_state\tstandalone\nzk_avg_latency\t3.0\n"))
        );
        for line in ["zk_znode_count\t5", "zk_avg_updatelatency\t3.0", "zk_p99_updatelatency\t3", "zk_commit_count\t0"]
        {
            assert!(text.lines().any(|other| other == line), "{line}");
        }
        assert!(text.lines().all(|line| line.starts_with("zk_") && line.matches('\t').count() == 1));
    }

    #[test]
    fn the_whitelist() {
        let facts = told();
        let default = Whitelist::default();
        let refused = "mntr is not executed because it is not in the whitelist.\n";
        assert_eq!(answer(Word::Mntr, None, &default, &facts), refused);
        assert!(default.allows(Word::Srvr) && !default.allows(Word::Ruok));
        let some = Whitelist::parse(" stat, ruok ,nonsense", true);
        assert!(some.allows(Word::Stat) && some.allows(Word::Ruok) && some.allows(Word::Isro));
        assert!(!some.allows(Word::Srvr));
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
}
