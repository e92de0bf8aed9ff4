//! What a running server tells its operators. The server implements [`Facts`]; the words print it.

use crate::metrics::Metrics;
use crate::plugin::counters::Counters;
use std::net::SocketAddr;

/// What a running server tells. The caller holds no locks. An implementation holds its locks only while it copies.
pub trait Facts {
    /// Whether the server serves requests. If not, most words only say so.
    fn serving(&self) -> bool;
    fn mode(&self) -> Mode;
    fn metrics(&self) -> &Metrics;
    fn figures(&self) -> Figures;
    fn configuration(&self) -> Configuration;
    /// Bytes on disk. Reads the directories.
    fn directory_sizes(&self) -> DirectorySizes;
    /// Figures of the ensemble. None: the server is standalone, or has no leader.
    fn ensemble(&self) -> Option<EnsembleFigures> {
        None
    }
    /// Every open connection, with the one that asks.
    fn connections(&self, each: &mut dyn FnMut(&ConnectionFacts));
    fn sessions(&self) -> TrackedSessions;
    /// Sessions that have ephemeral nodes, with the paths of the nodes.
    fn ephemerals(&self, each: &mut dyn FnMut(i64, &[String]));
    /// Connections by the time at which they would be closed as idle, in Unix milliseconds: address and session id.
    fn connection_expiry(&self) -> Vec<(i64, Vec<(SocketAddr, i64)>)>;
    /// Watches on data and existence of nodes, by connection: session id and paths. `wchs`, `wchc` and `wchp` print
    /// these.
    fn watches_by_session(&self, each: &mut dyn FnMut(i64, &[String]));
    /// The same watches by path: the session ids of each.
    fn watches_by_path(&self, each: &mut dyn FnMut(&str, &[i64]));
    /// Digests of the tree as ZooKeeper computes them: zxid and digest, oldest first.
    fn digests(&self) -> Vec<(i64, i64)>;
    fn trace_mask(&self) -> i64;
    fn set_trace_mask(&self, mask: i64);
    /// `crst`: the counters of each connection start over.
    fn reset_connections(&self);
    /// Every deployed plugin, by name.
    fn plugins(&self, _each: &mut dyn FnMut(&PluginFacts<'_>)) {}
}

/// The server's role in its ensemble.
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

/// A plugin, and what it has done since this server started.
pub struct PluginFacts<'a> {
    pub name: &'a str,
    pub kind: &'static str,
    /// `active`, `loading`, `failed`, `off`, or another state of `/zookeeper/plugins/<name>/status`.
    pub state: &'a str,
    pub counters: &'a Counters,
}

/// Sessions by the time at which they would expire, in order. Times are Unix milliseconds.
pub type ExpirySets = Vec<(i64, Vec<i64>)>;

/// The sessions that a member knows.
#[derive(Clone, Default, Debug)]
pub struct TrackedSessions {
    /// Local sessions. None: local sessions are off.
    pub local: Option<ExpirySets>,
    pub global: GlobalSessions,
}

#[derive(Clone, Debug)]
pub enum GlobalSessions {
    /// This member leads, and decides when they expire.
    Expiring(ExpirySets),
    /// Another member decides when they expire: session and timeout in milliseconds, in order.
    Known(Vec<(i64, i32)>),
}

impl Default for GlobalSessions {
    fn default() -> GlobalSessions {
        GlobalSessions::Expiring(Vec::new())
    }
}

/// Figures of the moment.
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
    /// Bytes of checkpoint, image, and other files beside them.
    pub data_bytes: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
}

#[derive(Clone, Default, Debug)]
pub struct EnsembleFigures {
    /// Members that vote.
    pub quorum_size: u64,
    /// The server that an observer follows.
    pub observer_master_id: Option<u32>,
    /// Figures that only the leader has.
    pub leader: Option<LeaderFigures>,
}

#[derive(Clone, Default, Debug)]
pub struct LeaderFigures {
    /// Other members that are connected.
    pub learners: u64,
    /// Voters among them that have caught up.
    pub synced_followers: u64,
    /// Observers among them that have caught up.
    pub synced_observers: u64,
    /// Participants without a vote yet that have caught up.
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
    /// -1: the system's default.
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
    /// The text of `/zookeeper/config`. None: this member is cut off; ZooKeeper then prints none.
    pub membership: Option<String>,
}

/// One connection, for `stat` and `cons`.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    pub peer: SocketAddr,
    /// NIO's interest bits: 1 if the server waits to read, 4 if it waits to write.
    pub interest: u8,
    pub queued: u64,
    pub received: u64,
    pub sent: u64,
    /// None before the ConnectRequest.
    pub session: Option<SessionFacts>,
}

#[derive(Clone, Debug)]
pub struct SessionFacts {
    pub id: i64,
    /// `operation_name` of the last reply; "NA" if there is none.
    pub last_operation: &'static str,
    /// Unix milliseconds.
    pub established_ms: i64,
    pub timeout_ms: i32,
    /// The last xid. `cons` does not print negative ones, such as those of pings.
    pub last_xid: i64,
    pub last_zxid: i64,
    /// Milliseconds of the member's clock.
    pub last_response_ms: i64,
    pub last_latency_ms: u64,
    pub min_latency_ms: u64,
    pub average_latency_ms: u64,
    pub max_latency_ms: u64,
}
