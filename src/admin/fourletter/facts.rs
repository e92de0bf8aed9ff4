//! What a running server tells its operators. The server implements [`Facts`]; the words print it.

use crate::metrics::Metrics;
use crate::plugin::counters::Counters;
use std::net::SocketAddr;

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
