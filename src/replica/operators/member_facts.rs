//! What four letter words tell of this member. Each figure comes from its one owner: the tree, the watches, the
//! connections, consensus, or the counters in `metrics`.
//!
//! Locks are held only while values are copied out; texts are made afterwards. Listings (`dump`, `wchc`, `wchp`) copy
//! as much as they print, piece by piece. This is why ZooKeeper lets an operator switch them off.

use crate::admin::fourletter::{
    self, Configuration, ConnectionFacts, DirectorySizes, EnsembleFigures, ExpirySets, Facts, Figures, GlobalSessions,
    LeaderFigures, Mode, PluginFacts, QuorumConfiguration, SessionFacts, TrackedSessions, Whitelist, Word,
};
use crate::config::FourLetterWords;
use crate::consensus::Role;
use crate::environment::wall_ms;
use crate::limits;
use crate::metrics::Metrics;
use crate::model::control_plane::CONFIG;
use crate::model::{ConnectionId, SessionId};
use crate::replica::Replica;
use crate::session::{Connection, FourLetter, Serving, tls};
use crate::state::listing::{Ephemerals, Piece};
use crate::storage::LOG_FOLDER;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Answers four letter words, and keeps the values that only they use.
pub struct MemberFacts {
    replica: Arc<Replica>,
    listening: Listening,
    whitelist: Whitelist,
    trace_mask: AtomicI64,
}

/// The ports that clients connect to, and TLS on them.
pub struct Listening {
    pub client_port: Option<u16>,
    pub secure_client_port: Option<u16>,
    pub tls: Option<Arc<tls::Acceptor>>,
}

impl MemberFacts {
    pub fn new(replica: Arc<Replica>, listening: Listening) -> MemberFacts {
        let whitelist = whitelist(&replica.config.four_letter_words);
        MemberFacts { replica, listening, whitelist, trace_mask: AtomicI64::new(fourletter::TRACE_MASK_DEFAULT) }
    }
}

fn whitelist(words: &FourLetterWords) -> Whitelist {
    match words {
        FourLetterWords::All => Whitelist::parse("*", false),
        // The configuration has already added `isro` if it belongs there.
        FourLetterWords::Only(words) => Whitelist::parse(&Vec::from_iter(words.iter().cloned()).join(","), false),
    }
}

impl FourLetter for MemberFacts {
    fn argument_bytes(&self, word: [u8; 4]) -> Option<usize> {
        Word::from_bytes(word).map(|word| if word.has_argument() { size_of::<i64>() } else { 0 })
    }

    fn answer(&self, word: [u8; 4], argument: &[u8], _peer: SocketAddr) -> Vec<u8> {
        let Some(word) = Word::from_bytes(word) else { return Vec::new() };
        fourletter::answer(word, argument.try_into().ok(), &self.whitelist, self).into_bytes()
    }
}

impl Facts for MemberFacts {
    fn serving(&self) -> bool {
        self.replica.ensemble.lease.serving() != Serving::Nobody
    }

    fn mode(&self) -> Mode {
        if self.replica.ensemble.lease.serving() == Serving::ReadOnly {
            return Mode::ReadOnly;
        }
        // An empty member that waits for the others has no role yet.
        let Some(consensus) = self.replica.ensemble.started_consensus() else { return Mode::Follower };
        let membership = consensus.membership();
        let id = u64::from(self.replica.config.server_id);
        let alone = membership.members.len() <= 1 && membership.voters.contains(&id);
        let observes = membership.members.get(&id).is_some_and(|member| member.server.is_observer());
        let role = *consensus.role().borrow();
        match role {
            _ if alone && self.replica.config.stands_alone() => Mode::Standalone,
            Role::Leader { .. } => Mode::Leader,
            _ if observes => Mode::Observer,
            _ => Mode::Follower,
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.replica.order.metrics
    }

    fn figures(&self) -> Figures {
        let replica = &self.replica;
        let (outstanding, connections) = (replica.order.connections.outstanding(), replica.order.connections.count());
        let tls_handshakes = self.listening.tls.as_ref().map_or(0, |tls| tls.handshakes());
        let state = replica.order.state.read();
        let watches = replica.order.watches.lock().count();
        let drift = replica.ensemble.drift(state.wall_ms());
        Figures {
            clock_offset_ms: drift.offset_ms,
            wall_time_ahead_ms: drift.ahead_ms,
            zxid: state.last_zxid().to_wire(),
            outstanding: outstanding as u64,
            connections: connections as u64,
            // ZooKeeper's table has the root under two names.
            nodes: state.node_count() as u64 + 1,
            watches: watches as u64,
            ephemerals: state.ephemerals_count() as u64,
            data_bytes: state.approximate_data_size(),
            global_sessions: state.session_count() as u64,
            local_sessions: replica.order.connections.local_sessions().count() as u64,
            uptime_ms: replica.order.clock.now_ms(),
            tls_handshakes: tls_handshakes as u64,
        }
    }

    fn configuration(&self) -> Configuration {
        let config = &self.replica.config;
        let number = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        Configuration {
            client_port: self.listening.client_port.map_or(-1, i32::from),
            secure_client_port: self.listening.secure_client_port.map_or(-1, i32::from),
            data_dir: config.storage.data_dir.display().to_string(),
            data_log_dir: config.storage.log_dir.display().to_string(),
            tick_ms: number(config.sessions.tick_ms as usize),
            connections_per_address_max: number(config.network.connections_per_address_max),
            session_timeout_ms_min: config.sessions.timeout_ms_min,
            session_timeout_ms_max: config.sessions.timeout_ms_max,
            listen_backlog: number(config.network.backlog as usize),
            server_id: config.server_id.into(),
            quorum: self.quorum(),
        }
    }

    fn ensemble(&self) -> Option<EnsembleFigures> {
        let mode = self.mode();
        if matches!(mode, Mode::Standalone | Mode::ReadOnly) {
            return None;
        }
        let metrics = self.replica.ensemble.started_consensus()?.metrics();
        let master = metrics.leader.and_then(|leader| u32::try_from(leader).ok());
        let lag = self.replica.ensemble.lag();
        Some(EnsembleFigures {
            lag_entries: lag.entries,
            lag_ms: lag.ms,
            quorum_size: metrics.voters as u64,
            observer_master_id: master.filter(|_| mode == Mode::Observer),
            leader: (mode == Mode::Leader).then(|| self.leader_figures()),
        })
    }

    fn directory_sizes(&self) -> DirectorySizes {
        let storage = &self.replica.config.storage;
        let log = storage.log_dir.join(LOG_FOLDER);
        DirectorySizes { data_bytes: bytes_below(&storage.data_dir, &log), log_bytes: bytes_below(&log, Path::new("")) }
    }

    fn connections(&self, each: &mut dyn FnMut(&ConnectionFacts)) {
        let wall_minus_server_ms = self.wall_minus_server_ms();
        for connection in self.replica.order.connections.list() {
            each(&connection_facts(&connection, wall_minus_server_ms));
        }
    }

    fn sessions(&self) -> TrackedSessions {
        let wall_minus_server_ms = self.wall_minus_server_ms();
        let sets = |deadlines: BTreeMap<u64, Vec<SessionId>>| -> ExpirySets {
            let wire_ids = |sessions: Vec<SessionId>| sessions.into_iter().map(|session| session.0).collect();
            let sets = deadlines.into_iter();
            sets.map(|(ms, sessions)| (ms as i64 + wall_minus_server_ms, wire_ids(sessions))).collect()
        };
        let (mode, connections) = (self.mode(), &self.replica.order.connections);
        let global = match mode {
            Mode::Standalone | Mode::Leader => GlobalSessions::Expiring(sets(connections.expiry().deadlines())),
            Mode::Follower | Mode::Observer | Mode::ReadOnly => {
                let state = self.replica.order.state.read();
                let known: BTreeMap<i64, i32> = state.sessions().map(|(id, known)| (id.0, known.timeout_ms)).collect();
                GlobalSessions::Known(known.into_iter().collect())
            }
        };
        let has_local = self.replica.config.sessions.local && mode != Mode::Standalone || mode == Mode::ReadOnly;
        TrackedSessions { local: has_local.then(|| sets(connections.local_sessions().deadlines())), global }
    }

    fn ephemerals(&self, each: &mut dyn FnMut(i64, &[String])) {
        let state = &self.replica.order.state;
        let sessions: Vec<SessionId> = state.read().all_ephemerals().map(|(session, _)| session).collect();
        for session in sessions {
            let mut paths = Vec::new();
            let mut list = Ephemerals::of(&state.read(), session, "");
            loop {
                let piece = list.go_on(&state.read(), |path| paths.push(path.to_owned()));
                match piece {
                    Piece::More => {}
                    Piece::Changed => paths.clear(),
                    Piece::Last => break,
                }
            }
            if !paths.is_empty() {
                each(session.0, &paths);
            }
        }
    }

    /// A connection is closed when its session expires; a connection without a session, after
    /// `network.sessionless_timeout_ms`.
    fn connection_expiry(&self) -> Vec<(i64, Vec<(SocketAddr, i64)>)> {
        let connections = &self.replica.order.connections;
        let mut deadline_of_session = HashMap::new();
        for (ms, sessions) in connections.expiry().deadlines() {
            deadline_of_session.extend(sessions.into_iter().map(|session| (session, ms)));
        }
        let patience_ms = connections.options().network.sessionless_timeout_ms;
        let wall_minus_server_ms = self.wall_minus_server_ms();
        let mut by_deadline = BTreeMap::<i64, Vec<(SocketAddr, i64)>>::new();
        for connection in connections.list() {
            let session = connection.session();
            let ms = deadline_of_session.get(&session).copied();
            let ms = ms.unwrap_or_else(|| connection.established_ms().saturating_add(patience_ms));
            by_deadline.entry(ms as i64 + wall_minus_server_ms).or_default().push((connection.peer(), session.0));
        }
        by_deadline.into_iter().collect()
    }

    fn watches_by_session(&self, each: &mut dyn FnMut(i64, &[String])) {
        let mut all = BTreeMap::<ConnectionId, Vec<String>>::new();
        for (path, connections) in self.data_watches() {
            for connection in connections {
                all.entry(connection).or_default().push(path.to_string());
            }
        }
        for (connection, mut paths) in all {
            paths.sort_unstable();
            each(self.session(connection), &paths);
        }
    }

    fn watches_by_path(&self, each: &mut dyn FnMut(&str, &[i64])) {
        for (path, mut connections) in self.data_watches() {
            connections.sort_unstable();
            let sessions: Vec<i64> = connections.into_iter().map(|id| self.session(id)).collect();
            each(&path, &sessions);
        }
    }

    fn digests(&self) -> Vec<(i64, i64)> {
        // Java prints the sum as a signed number.
        self.replica.order.state.read().digest_log().map(|(zxid, digest)| (zxid.to_wire(), digest as i64)).collect()
    }

    fn trace_mask(&self) -> i64 {
        self.trace_mask.load(Ordering::Relaxed)
    }

    fn set_trace_mask(&self, mask: i64) {
        self.trace_mask.store(mask, Ordering::Relaxed);
    }

    fn reset_connections(&self) {
        self.replica.order.connections.list().iter().for_each(|connection| connection.reset_statistics());
    }

    fn plugins(&self, each: &mut dyn FnMut(&PluginFacts<'_>)) {
        let (plugins, registry) = (&self.replica.order.plugins, self.replica.order.plugins.registry());
        for binding in registry.all() {
            let status = binding.status(plugins.enabled());
            let state = status["state"].as_str().unwrap_or_default();
            let kind = binding.manifest.kind.name();
            each(&PluginFacts { name: &binding.key, kind, state, counters: &binding.counters });
        }
    }
}

impl MemberFacts {
    fn leader_figures(&self) -> LeaderFigures {
        let (replica, consensus) = (&self.replica, self.replica.ensemble.consensus());
        let mut figures = LeaderFigures {
            pending_syncs: replica.ensemble.syncs_waiting(),
            uptime_ms: replica.order.clock.now_ms().saturating_sub(replica.order.leadership.since_ms()),
            ..LeaderFigures::default()
        };
        let membership = consensus.membership();
        let own = u64::from(replica.config.server_id);
        for (&id, member) in membership.members.iter().filter(|(id, _)| **id != own) {
            if consensus.member_heard(id).is_none_or(|at| at.elapsed() > limits::MEMBER_SILENT) {
                continue;
            }
            figures.learners += 1;
            if consensus.lag(id).is_none_or(|lag| lag > limits::CLOSE_BEHIND_ENTRIES) {
                continue;
            }
            match (member.server.is_observer(), membership.voters.contains(&id)) {
                (true, _) => figures.synced_observers += 1,
                (false, true) => figures.synced_followers += 1,
                (false, false) => figures.synced_non_voting_followers += 1,
            }
        }
        figures
    }

    /// What `conf` prints of the ensemble. None: this server stands alone.
    fn quorum(&self) -> Option<QuorumConfiguration> {
        let mode = self.mode();
        let config = &self.replica.config;
        // This comes from the membership, because the address may have changed since the file was written.
        let member = self.replica.ensemble.started_consensus().and_then(|consensus| {
            consensus.membership().members.remove(&config.server_id.into()).map(|member| member.server)
        });
        let own = member.or_else(|| config.own_server().cloned()).filter(|_| mode != Mode::Standalone)?;
        let address = own.addresses.first()?;
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let membership = || {
            let state = self.replica.order.state.read();
            let node = state.node(CONFIG)?;
            Some(String::from_utf8_lossy(node.data().unwrap_or_default()).into_owned())
        };
        Some(QuorumConfiguration {
            init_limit: number(config.ensemble.init_ticks),
            sync_limit: number(config.ensemble.sync_ticks),
            election_port: address.election_port.into(),
            quorum_port: address.peer_port.into(),
            observer: own.is_observer(),
            membership: if mode == Mode::ReadOnly { None } else { membership() },
        })
    }

    /// The watched paths with the connections that have data watches on them, in the order of the paths. They are
    /// copied piece by piece, so watches that come or go meanwhile may be missing.
    fn data_watches(&self) -> Vec<(Box<str>, Vec<ConnectionId>)> {
        let order = &self.replica.order;
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let _state = order.state.read();
            let (mut some, after) = order.watches.lock().data_watches(from, limits::WATCHED_PATHS_SHOWN_AT_ONCE);
            all.append(&mut some);
            next = after;
        }
        all.sort_unstable();
        all
    }

    /// The session of a connection that has watches. 0 if the connection has just ended.
    fn session(&self, id: ConnectionId) -> i64 {
        self.replica.order.connections.get(id).map_or(0, |connection| connection.session().0)
    }

    /// The difference between Unix time and the server's clock, in milliseconds.
    fn wall_minus_server_ms(&self) -> i64 {
        wall_ms() - self.replica.order.clock.now_ms() as i64
    }
}

fn connection_facts(connection: &Connection, wall_minus_server_ms: i64) -> ConnectionFacts {
    const READ: u8 = 1;
    const WRITE: u8 = 4;
    let (statistics, last) = (&connection.statistics, &connection.last);
    let received = statistics.received.load(Ordering::Relaxed);
    let session = connection.session();
    // A connection is not read while its first message is dealt with. The connection that asks for this listing is in
    // that state.
    let greets = session == SessionId::NONE && received > 0;
    let reads = !greets && connection.takes_requests();
    let session = (session != SessionId::NONE).then(|| SessionFacts {
        id: session.0,
        last_operation: fourletter::operation_name(last.op()),
        established_ms: connection.established_ms() as i64 + wall_minus_server_ms,
        timeout_ms: connection.timeout_ms(),
        last_xid: last.xid().into(),
        last_zxid: last.zxid(),
        last_response_ms: last.response_ms() as i64,
        last_latency_ms: last.latency_ms(),
        min_latency_ms: statistics.latency_ms_min(),
        average_latency_ms: statistics.latency_ms_average() as u64,
        max_latency_ms: statistics.latency_ms_max(),
    });
    ConnectionFacts {
        peer: connection.peer(),
        interest: if reads { READ } else { 0 } | if connection.writes() { WRITE } else { 0 },
        queued: connection.unanswered() as u64,
        received,
        sent: statistics.sent.load(Ordering::Relaxed),
        session,
    }
}

/// The bytes of all files in a folder and below, without those in the folder `but_for`. A file or folder that cannot be
/// read counts 0.
fn bytes_below(folder: &Path, but_for: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() && entry.path() == but_for => 0,
        // Symbolic links are not followed: `metadata` of an entry is that of the link.
        Ok(data) if data.is_dir() => bytes_below(&entry.path(), but_for),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_folders() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(LOG_FOLDER);
        std::fs::create_dir_all(log.join("below")).unwrap();
        std::fs::create_dir(folder.path().join("plugins")).unwrap();
        for (name, bytes) in [("image", 1), ("plugins/a", 20), ("log/1", 300), ("log/below/2", 4000)] {
            std::fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(LOG_FOLDER, "log");
        assert_eq!(bytes_below(folder.path(), &log), 21);
        assert_eq!(bytes_below(&log, Path::new("")), 4300);
        assert_eq!(bytes_below(&folder.path().join("none"), Path::new("")), 0);
    }

    #[test]
    fn the_whitelist_is_the_configured_one() {
        let only = FourLetterWords::Only(["ruok".to_owned(), "stat".to_owned()].into());
        let chosen = whitelist(&only);
        assert!(chosen.allows("ruok") && chosen.allows("stat") && !chosen.allows("srvr"));
        assert!(whitelist(&FourLetterWords::All).allows("wchp"));
    }
}
