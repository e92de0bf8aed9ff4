//! All connections of this server, and what an applied transaction means for them.

use super::asking::Asking;
use super::connection::Connection;
use super::expiry::Expiry;
use super::local_sessions::LocalSessions;
use super::workers::Bell;
use super::{Options, Server, VirtualNodes};
use crate::config;
use crate::environment::{Clock, Instant};
use crate::hooks;
use crate::metrics::Metrics;
use crate::model::txn::{Outcome, Txn};
use crate::model::{ConnectionId, SessionId};
use crate::pipeline::Rules;
use crate::plugin::Plugins;
use crate::state::{Effects, State};
use crate::watch::Watches;
use crate::wire::reply::EventKind;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

pub struct Connections {
    /// This member, and this run of it (`ConnectionId`).
    member: u32,
    run: u32,
    options: Options,
    rules: Arc<Rules>,
    expiry: Expiry,
    local_sessions: LocalSessions,
    virtual_nodes: Box<dyn VirtualNodes + Send + Sync>,
    plugins: Arc<Plugins>,
    asking: Asking,
    clock: Clock,
    number: AtomicU64,
    /// The session id given out last.
    session: AtomicI64,
    by_number: Mutex<HashMap<u64, Arc<Connection>>>,
    by_session: Mutex<HashMap<SessionId, ConnectionId>>,
    /// Connections that ended with writes passed on to the leader, and how many of those are not applied here yet.
    departed: Mutex<HashMap<u64, usize>>,
    counts: Mutex<Counts>,
    to_wake: Mutex<Vec<Arc<Connection>>>,
    /// Requests without an answer, of all connections.
    outstanding: Arc<AtomicUsize>,
    /// No request is taken from any socket any more.
    takes_no_more: AtomicBool,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The right to one connection; given back when dropped.
pub struct Admission {
    home: Arc<Connections>,
    address: IpAddr,
    /// The subject of the client's certificate (RFC 2253), where there is one.
    pub subject: Option<String>,
    /// How the worker that the connection lives on is woken; none if it is not one of `Workers`.
    pub bell: Option<Arc<Bell>>,
}

impl Connections {
    /// `run`: random, another for each start. `virtual_nodes`: what this member shows under `/zookeeper/` besides the
    /// session's refusals. `clock`: the member's.
    pub fn new(
        options: Options,
        rules: Arc<Rules>,
        virtual_nodes: Box<dyn VirtualNodes + Send + Sync>,
        plugins: Arc<Plugins>,
        member: u32,
        run: u32,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Arc<Connections> {
        Arc::new(Connections {
            member,
            run,
            expiry: Expiry::new(options.sessions.tick_ms),
            local_sessions: LocalSessions::new(options.sessions.tick_ms),
            options,
            rules,
            virtual_nodes,
            plugins,
            asking: Asking::default(),
            clock,
            number: AtomicU64::new(0),
            session: AtomicI64::new(0),
            by_number: Mutex::new(HashMap::new()),
            by_session: Mutex::new(HashMap::new()),
            departed: Mutex::new(HashMap::new()),
            counts: Mutex::new(Counts::default()),
            to_wake: Mutex::new(Vec::new()),
            outstanding: Arc::default(),
            takes_no_more: AtomicBool::new(false),
            metrics,
        })
    }

    /// What a transaction that has just been applied means for clients: its events, the reply to its writer with the reads
    /// behind it, and the end of connections whose session it closed or moved. To be called for every transaction,
    /// under the exclusive lock of the state, before the next one is applied.
    pub fn applied(&self, state: &State, watches: &mut Watches, txn: &Txn, applied: &Effects) {
        self.expiry.follow(txn, self.now_us() / 1000);
        self.local_sessions.follow(txn);
        let writer = txn.origin.as_ref().map(|origin| origin.connection);
        hooks::events_then_reply(
            watches,
            |watches| self.tell_events(state, watches, applied),
            |watches| {
                if let Some(id) = writer.filter(|&id| self.is_ours(id)) {
                    self.reply_to_writer(id, state, watches, txn, applied);
                }
            },
        );
        for &(_, owner) in applied.sessions_closed.iter().chain(&applied.session_moved) {
            if Some(owner) != writer
                && let Some(connection) = self.get(owner)
            {
                connection.close_after_flush();
            }
        }
    }

    /// The reply to the transaction's writer, a connection of this server that may have ended.
    fn reply_to_writer(
        &self,
        writer: ConnectionId,
        state: &State,
        watches: &mut Watches,
        txn: &Txn,
        applied: &Effects,
    ) {
        let connection = self.by_number.lock().get(&writer.number).cloned();
        if !connection.is_some_and(|connection| connection.applied(state, watches, txn, applied)) {
            self.applied_for_departed(writer);
        }
    }

    /// `Mutation::RefusalEarly`: a refusal that its connection waits for next is answered now, and by nobody later.
    pub fn answer_refusal_early(&self, state: &State, watches: &mut Watches, txn: Txn) -> Txn {
        let Some((origin, Outcome::Refused(_))) = txn.origin.zip(Some(&txn.outcome)) else { return txn };
        let connection = self.get(origin.connection).filter(|connection| connection.waits_for(origin.xid));
        match connection {
            Some(connection) if connection.applied(state, watches, &txn, &Effects::default()) => {
                Txn { origin: None, ..txn }
            }
            _ => txn,
        }
    }

    fn tell_events(&self, state: &State, watches: &mut Watches, applied: &Effects) {
        for event in &applied.events {
            let mut fired = 0;
            watches.trigger(event, &mut |id, _, path| {
                fired += 1;
                if let Some(connection) = self.get(id) {
                    connection.event(state, event, path);
                }
            });
            self.count_fired(event.kind, fired);
        }
    }

    fn count_fired(&self, kind: EventKind, fired: u64) {
        let count = match kind {
            _ if fired == 0 => return,
            EventKind::Created => &self.metrics.node_created_watch_count,
            EventKind::Deleted => &self.metrics.node_deleted_watch_count,
            EventKind::DataChanged => &self.metrics.node_changed_watch_count,
            EventKind::ChildrenChanged => &self.metrics.node_children_watch_count,
        };
        count.add(fired);
    }

    /// Wakes the tasks of all connections that got something since the last call: once for a run of entries.
    pub fn flush(&self) {
        let connections = std::mem::take(&mut *self.to_wake.lock());
        if !connections.is_empty() {
            Bell::wake_all(connections);
        }
    }

    /// The connection, if it is this server's and still lives.
    pub fn get(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        if !self.is_ours(id) {
            return None;
        }
        self.by_number.lock().get(&id.number).cloned()
    }

    /// Whether this run of this member has, or had, that connection.
    pub fn is_ours(&self, id: ConnectionId) -> bool {
        (id.member, id.run) == (self.member, self.run)
    }

    /// Tells this start from others of this member (`ConnectionId`).
    #[cfg(test)]
    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    /// A write of that connection of ours goes to the leader now.
    pub fn pass_on(&self, id: ConnectionId) {
        let connection = self.by_number.lock().get(&id.number).cloned();
        if let Some(connection) = connection {
            let mut order = connection.order.lock();
            if !order.ended {
                return order.note_passed_on();
            }
        }
        *self.departed.lock().entry(id.number).or_insert(0) += 1;
    }

    fn applied_for_departed(&self, id: ConnectionId) {
        if let EntryRef::Occupied(mut left) = self.departed.lock().entry_ref(&id.number) {
            *left.get_mut() -= 1;
            if *left.get() == 0 {
                left.remove();
            }
        }
    }

    /// The way to the leader is lost: what was passed on and is not applied here has an unknown outcome. Closes the
    /// connections it came from, and names them: nothing more of theirs may be passed on.
    pub fn break_passed_on(&self) -> Vec<ConnectionId> {
        let mut broken = Vec::new();
        for connection in self.list() {
            if connection.order.lock().passed_on() > 0 {
                connection.close();
                broken.push(connection.id());
            }
        }
        let departed = std::mem::take(&mut *self.departed.lock());
        let id = |number| ConnectionId { member: self.member, run: self.run, number };
        broken.extend(departed.into_keys().map(id));
        broken
    }

    /// Writes passed on to the leader and not applied here, of connections that live and of those that have ended.
    pub fn passed_on(&self) -> usize {
        let living: usize = self.list().iter().map(|connection| connection.order.lock().passed_on()).sum();
        living + self.departed.lock().values().sum::<usize>()
    }

    /// The connection a session has here.
    pub fn of_session(&self, session: SessionId) -> Option<Arc<Connection>> {
        let id = self.by_session.lock().get(&session).copied()?;
        self.get(id)
    }

    /// All, in the order in which they came.
    pub fn list(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<Arc<Connection>> = self.by_number.lock().values().cloned().collect();
        all.sort_unstable_by_key(|connection| connection.id().number);
        all
    }

    pub fn count(&self) -> usize {
        self.by_number.lock().len()
    }

    /// Requests without an answer, of all connections.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Relaxed)
    }

    pub(super) fn outstanding_counter(&self) -> Arc<AtomicUsize> {
        self.outstanding.clone()
    }

    /// From now on no request is taken from a socket; those that were taken are answered. The server shuts down.
    pub fn take_no_more(&self) {
        self.takes_no_more.store(true, Relaxed);
    }

    pub(super) fn takes_requests(&self) -> bool {
        !self.takes_no_more.load(Relaxed)
    }

    /// Closes those of which nothing is under way.
    pub fn close_idle(&self) {
        let all = self.list();
        all.iter()
            .filter(|connection| connection.unanswered() == 0)
            .for_each(|connection| connection.close_after_flush());
    }

    /// Closes every connection: the server no longer serves, or shuts down.
    pub fn close_all(&self) {
        self.list().iter().for_each(|connection| connection.close_after_flush());
    }

    /// The state is replaced by another: what was applied between them, the answers to clients too, is not known. To be
    /// called under the exclusive lock of the state.
    pub fn abandon_all(&self) {
        self.expiry.forget_all();
        self.list().iter().for_each(|connection| connection.abandon());
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn virtual_nodes(&self) -> &dyn VirtualNodes {
        &*self.virtual_nodes
    }

    pub fn plugins(&self) -> &Arc<Plugins> {
        &self.plugins
    }

    /// Where guests are asked, off the connections' tasks.
    pub(super) fn asking(&self) -> &Asking {
        &self.asking
    }

    pub fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    pub fn local_sessions(&self) -> &LocalSessions {
        &self.local_sessions
    }

    /// Ends the sessions that only this member knows and that nobody spoke for. To be asked every tick.
    pub fn expire_local_sessions(&self) {
        for session in self.local_sessions.expire(self.now_us() / 1000) {
            tracing::info!(%session, "expires, known to this member alone");
            if let Some(connection) = self.of_session(session) {
                connection.close_after_flush();
            }
        }
    }

    /// The counters of the whole server.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The server's clock: microseconds since its start, monotonic.
    pub fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    /// What the server's clock said then; 0 if that was before its start.
    pub fn us_at(&self, then: Instant) -> u64 {
        self.clock.us_at(then)
    }

    /// Sessions with a connection here that was heard of at that time or later, or is held back by us, in no order.
    pub fn heard_since(&self, ms: u64) -> Vec<SessionId> {
        let by_number = self.by_number.lock();
        let heard = by_number.values().filter(|connection| connection.heard_since(ms));
        let mut sessions: Vec<SessionId> = heard.map(|connection| connection.session()).collect();
        drop(by_number);
        // What goes to other members is the same in every run of a simulation.
        sessions.sort_unstable();
        sessions
    }

    /// Lets a client in, or says why not.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admission, &'static str> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        let config::Network { connections_max, connections_per_address_max, .. } = self.options.network;
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        let refusal = if connections_max > 0 && counts.all >= connections_max {
            Some("maxCnxns is reached")
        } else if connections_per_address_max > 0 && of_address >= connections_per_address_max {
            Some("maxClientCnxns is reached for this address")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.metrics.connection_rejected.increment();
            return Err(refusal);
        }
        counts.all += 1;
        *counts.by_address.entry(address).or_insert(0) += 1;
        Ok(Admission { home: self.clone(), address, subject: None, bell: None })
    }

    /// A number that no connection has or will have: of somebody who asks without one.
    pub fn new_connection_id(&self) -> ConnectionId {
        ConnectionId { member: self.member, run: self.run, number: self.number.fetch_add(1, Relaxed) + 1 }
    }

    pub(super) fn register(self: &Arc<Self>, admission: Admission, peer: SocketAddr) -> Arc<Connection> {
        let id = self.new_connection_id();
        let connection = Arc::new(Connection::new(self.clone(), admission, id, peer));
        self.by_number.lock().insert(id.number, connection.clone());
        connection
    }

    /// The task of a connection has ended. Under the state's lock, so that nobody arms a watch for it any more.
    pub(super) fn forget(&self, server: &dyn Server, connection: &Connection) {
        let state = server.state();
        let mut watches = server.watches();
        {
            let mut order = connection.order.lock();
            order.ended = true;
            if order.passed_on() > 0 {
                self.departed.lock().insert(connection.id().number, order.passed_on());
            }
        }
        watches.drop_connection(connection.id());
        drop(watches);
        drop(state);
        self.by_number.lock().remove(&connection.id().number);
        self.metrics.connection_drop_count.increment();
        let mut by_session = self.by_session.lock();
        if by_session.get(&connection.session()) == Some(&connection.id()) {
            by_session.remove(&connection.session());
        }
    }

    pub(super) fn has_session(&self, session: SessionId, connection: &Connection) {
        self.by_session.lock().insert(session, connection.id());
    }

    pub(super) fn to_wake(&self, connection: Arc<Connection>) {
        self.to_wake.lock().push(connection);
    }

    /// A session id nobody has, like ZooKeeper's (SessionTrackerImpl.initializeNextSessionId): one byte of member, 40 bits
    /// of the clock, 16 bits of counting. `taken` guards against a clock that was set back.
    pub(super) fn new_session_id(&self, wall_ms: i64, taken: impl Fn(SessionId) -> bool) -> SessionId {
        // 255 in the top byte would make ephemeral owners look like TTL nodes, 128 could make one look like a container.
        let member = i64::from(self.options.server_id.clamp(1, 0x7f)) << 56;
        let first = (((wall_ms << 24) as u64 >> 8) as i64) | member;
        loop {
            let last = self.session.load(Relaxed);
            let id = if last == 0 { first } else { last + 1 };
            let claimed = self.session.compare_exchange(last, id, Relaxed, Relaxed).is_ok();
            if claimed && !taken(SessionId(id)) {
                return SessionId(id);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.home.counts.lock();
        counts.all -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::read::NoVirtualNodes;
    use std::net::Ipv4Addr;

    fn connections(per_address: usize, all: usize) -> Arc<Connections> {
        let mut options = Options::from(&config::Config::default());
        options.network.connections_per_address_max = per_address;
        options.network.connections_max = all;
        Connections::new(
            options,
            Arc::new(super::super::tests::rules()),
            Box::new(NoVirtualNodes),
            Plugins::new(false, crate::plugin::Compiler::here()),
            1,
            9,
            Arc::default(),
            Clock::start(),
        )
    }

    #[test]
    fn limits_are_given_back() {
        let connections = connections(2, 3);
        let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let first = connections.admit(address(1)).ok().unwrap();
        let _second = connections.admit(address(1)).ok().unwrap();
        assert!(connections.admit(address(1)).is_err());
        let _third = connections.admit(address(2)).ok().unwrap();
        assert!(connections.admit(address(3)).is_err());
        drop(first);
        assert!(connections.admit(address(1)).is_ok());
    }

    #[test]
    fn session_ids_are_zookeepers() {
        let connections = connections(0, 0);
        let wall_ms = 0x18c_1234_5678_i64;
        let first = connections.new_session_id(wall_ms, |_| false);
        assert_eq!(first.0, (1 << 56) | ((wall_ms & 0xff_ffff_ffff) << 16));
        let taken = SessionId(first.0 + 1);
        assert_eq!(connections.new_session_id(wall_ms, |id| id == taken).0, first.0 + 2);
    }
}
