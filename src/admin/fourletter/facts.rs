//! What a running server tells its operators. The server implements [`Facts`]; the words print it.

use crate::metrics::Metrics;
use crate::plugin::counters::Counters;
use std::net::SocketAddr;

/// What a running server tells. The caller holds no locks. An implementation holds its locks only while it copies.
pub(crate) trait Facts {
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
pub(crate) enum Mode {
    Standalone,
    Leader,
    Follower,
    Observer,
    ReadOnly,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
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
pub(crate) struct PluginFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: &'static str,
    /// `active`, `loading`, `failed`, `off`, or another state of `/zookeeper/plugins/<name>/status`.
    pub(crate) state: &'a str,
    pub(crate) counters: &'a Counters,
}

/// Sessions by the time at which they would expire, in order. Times are Unix milliseconds.
pub(crate) type ExpirySets = Vec<(i64, Vec<i64>)>;

/// The sessions that a member knows.
#[derive(Clone, Default, Debug)]
pub(crate) struct TrackedSessions {
    /// Local sessions. None: local sessions are off.
    pub(crate) local: Option<ExpirySets>,
    pub(crate) global: GlobalSessions,
}

#[derive(Clone, Debug)]
pub(crate) enum GlobalSessions {
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
pub(crate) struct Figures {
    pub(crate) zxid: i64,
    pub(crate) outstanding: u64,
    pub(crate) connections: u64,
    pub(crate) nodes: u64,
    /// All watches, on data and on children.
    pub(crate) watches: u64,
    pub(crate) ephemerals: u64,
    pub(crate) data_bytes: u64,
    pub(crate) global_sessions: u64,
    pub(crate) local_sessions: u64,
    pub(crate) uptime_ms: u64,
    pub(crate) tls_handshakes: u64,
    /// How far this machine's clock is ahead of the members' clocks, milliseconds; negative: behind.
    pub(crate) clock_offset_ms: i64,
    /// How far the time of transactions is ahead of the members' clocks, milliseconds.
    pub(crate) wall_time_ahead_ms: i64,
}

/// Bytes on disk.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct DirectorySizes {
    /// Bytes of checkpoint, image, and other files beside them.
    pub(crate) data_bytes: u64,
    /// Bytes of the log.
    pub(crate) log_bytes: u64,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct EnsembleFigures {
    /// Members that vote.
    pub(crate) quorum_size: u64,
    /// The server that an observer follows.
    pub(crate) observer_master_id: Option<u32>,
    /// Log entries that the leader has committed and this member has not applied.
    pub(crate) lag_entries: u64,
    /// Milliseconds since this member was last known to have applied everything.
    pub(crate) lag_ms: u64,
    /// Figures that only the leader has.
    pub(crate) leader: Option<LeaderFigures>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct LeaderFigures {
    /// Other members that are connected.
    pub(crate) learners: u64,
    /// Voters among them that have caught up.
    pub(crate) synced_followers: u64,
    /// Observers among them that have caught up.
    pub(crate) synced_observers: u64,
    /// Participants without a vote yet that have caught up.
    pub(crate) synced_non_voting_followers: u64,
    /// `sync` requests that wait.
    pub(crate) pending_syncs: u64,
    pub(crate) uptime_ms: u64,
}

/// What `conf` prints. Ports that are not open are -1.
#[derive(Clone, Default, Debug)]
pub(crate) struct Configuration {
    pub(crate) client_port: i32,
    pub(crate) secure_client_port: i32,
    pub(crate) data_dir: String,
    pub(crate) data_log_dir: String,
    pub(crate) tick_ms: i32,
    pub(crate) connections_per_address_max: i32,
    pub(crate) session_timeout_ms_min: i32,
    pub(crate) session_timeout_ms_max: i32,
    /// -1: the system's default.
    pub(crate) listen_backlog: i32,
    pub(crate) server_id: i64,
    pub(crate) quorum: Option<QuorumConfiguration>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct QuorumConfiguration {
    pub(crate) init_limit: i32,
    pub(crate) sync_limit: i32,
    pub(crate) election_port: i32,
    pub(crate) quorum_port: i32,
    pub(crate) observer: bool,
    /// The text of `/zookeeper/config`. None: this member is cut off; ZooKeeper then prints none.
    pub(crate) membership: Option<String>,
}

/// One connection, for `stat` and `cons`.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionFacts {
    pub(crate) peer: SocketAddr,
    /// NIO's interest bits: 1 if the server waits to read, 4 if it waits to write.
    pub(crate) interest: u8,
    pub(crate) queued: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// None before the ConnectRequest.
    pub(crate) session: Option<SessionFacts>,
}

#[derive(Clone, Debug)]
pub(crate) struct SessionFacts {
    pub(crate) id: i64,
    /// `operation_name` of the last reply; "NA" if there is none.
    pub(crate) last_operation: &'static str,
    /// Unix milliseconds.
    pub(crate) established_ms: i64,
    pub(crate) timeout_ms: i32,
    /// The last xid. `cons` does not print negative ones, such as those of pings.
    pub(crate) last_xid: i64,
    pub(crate) last_zxid: i64,
    /// Milliseconds of the member's clock.
    pub(crate) last_response_ms: i64,
    pub(crate) last_latency_ms: u64,
    pub(crate) min_latency_ms: u64,
    pub(crate) average_latency_ms: u64,
    pub(crate) max_latency_ms: u64,
}
