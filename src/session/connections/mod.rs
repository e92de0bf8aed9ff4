//! All connections of this server: what they share, and what others may do with them.
//!
//! | file | holds |
//! |---|---|
//! | `admission` | how many connections there are, and who may come in |
//! | `registry` | the connections by number and by session |
//! | `delivery` | what an applied transaction means for clients |
//! | `departed` | writes on the way to the leader whose connections have ended |
//! | `load` | unanswered requests of all connections |
//! | `session_ids` | new session ids |
//! | `mutations` | mistakes that the simulation makes on purpose |

mod admission;
mod delivery;
mod departed;
mod load;
#[cfg(feature = "simulation")]
mod mutations;
mod registry;
mod session_ids;

pub(super) use admission::Admission;
pub(super) use load::Load;

use super::asking::{Asking, Job};
use super::connection::{Arrival, Connection};
use super::expiry::Expiry;
use super::local_sessions::LocalSessions;
use super::{Options, Server, VirtualNodes};
use crate::environment::Clock;
use crate::limits;
use crate::metrics::Metrics;
use crate::model::txn::Txn;
use crate::model::{ConnectionId, SessionId};
use crate::pipeline::Rules;
use crate::plugin::Plugins;
use crate::state::{Effects, State};
use crate::watch::Watches;
use admission::Admissions;
use delivery::Delivery;
use departed::Departed;
use registry::Registry;
use session_ids::SessionIds;
use std::net::IpAddr;
use std::sync::Arc;

/// The connections of one server. Each part has its own state and lock.
pub struct Connections {
    options: Options,
    rules: Arc<Rules>,
    plugins: Arc<Plugins>,
    virtual_nodes: Box<dyn VirtualNodes + Send + Sync>,
    clock: Clock,
    metrics: Arc<Metrics>,
    admissions: Arc<Admissions>,
    registry: Arc<Registry>,
    departed: Arc<Departed>,
    delivery: Delivery,
    load: Arc<Load>,
    session_ids: SessionIds,
    expiry: Expiry,
    local_sessions: LocalSessions,
    asking: Asking,
}

/// One start of one member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberRun {
    /// The member's number.
    pub(crate) id: u32,
    /// A random number, drawn at each start.
    pub(crate) run: u32,
}

impl Connections {
    /// `virtual_nodes`: what this member shows under `/zookeeper/` besides a session's refusals. `clock`: the member's
    /// clock.
    pub(crate) fn new(
        options: Options,
        rules: Arc<Rules>,
        virtual_nodes: Box<dyn VirtualNodes + Send + Sync>,
        plugins: Arc<Plugins>,
        member: MemberRun,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Arc<Connections> {
        let registry = Arc::new(Registry::new(member.id, member.run));
        let departed = Arc::<Departed>::default();
        Arc::new(Connections {
            rules,
            plugins,
            virtual_nodes,
            clock,
            admissions: Admissions::new(&options.network),
            delivery: Delivery::new(registry.clone(), departed.clone(), metrics.clone()),
            registry,
            departed,
            load: Arc::new(Load::new(options.outstanding_max)),
            session_ids: SessionIds::new(options.server_id),
            expiry: Expiry::new(options.sessions.tick_ms),
            local_sessions: LocalSessions::new(options.sessions.tick_ms),
            asking: Asking::default(),
            metrics,
            options,
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(crate) fn virtual_nodes(&self) -> &dyn VirtualNodes {
        &*self.virtual_nodes
    }

    pub(crate) fn plugins(&self) -> &Arc<Plugins> {
        &self.plugins
    }

    pub(crate) fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    pub(crate) fn local_sessions(&self) -> &LocalSessions {
        &self.local_sessions
    }

    /// Where guests are asked, off the connections' tasks.
    pub(super) fn asking(&self) -> &Asking {
        &self.asking
    }

    pub(super) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    pub(super) fn session_ids(&self) -> &SessionIds {
        &self.session_ids
    }
}

/// Connections come and go.
impl Connections {
    /// Lets a client in. The error names the bound that is reached.
    pub(super) fn admit(&self, address: IpAddr) -> Result<Admission, &'static str> {
        self.admissions.admit(address)
    }

    /// A client was turned away because a limit is reached.
    pub(super) fn count_rejected(&self) {
        self.metrics.connection_rejected.increment();
    }

    pub(super) fn register(self: &Arc<Self>, arrival: Arrival) -> Arc<Connection> {
        let id = self.new_connection_id();
        let connection = Connection::new(self.clone(), arrival, id, self.clock, self.metrics.clone());
        let connection = Arc::new(connection);
        self.registry.enter(connection.clone());
        connection
    }

    /// The connection's task has ended. Holds the state's lock, so that nobody arms a watch for the connection any
    /// more.
    pub(super) fn forget(&self, server: &dyn Server, connection: &Connection) {
        let state = server.state();
        let mut watches = server.watches();
        self.end(connection);
        let forgotten = watches.drop_some(connection.id(), limits::WATCHES_DROPPED_AT_ONCE);
        drop(watches);
        drop(state);
        if !forgotten {
            self.asking.put(Job::Forget { connection: connection.id() });
        }
        self.registry.remove(connection);
        self.metrics.connection_drop_count.increment();
    }

    /// Gives up some of the watches of a connection that has ended. Returns whether none is left.
    pub(super) fn forget_watches(&self, server: &dyn Server, connection: ConnectionId) -> bool {
        let _state = server.state();
        server.watches().drop_some(connection, limits::WATCHES_DROPPED_AT_ONCE)
    }

    /// From now on, nothing is answered on the connection. Its writes that are on their way to the leader move from the
    /// connection's count to that of `Departed`. Both counts change under the lock of the connection's order, so
    /// `pass_on` and `passed_on` miss none.
    fn end(&self, connection: &Connection) {
        let mut order = connection.order.lock();
        self.departed.add(connection.id().number, order.end());
    }

    pub(super) fn takes_up(&self, session: SessionId, connection: &Connection) {
        self.registry.takes_up(session, connection);
    }

    /// An id that no connection has, and none will have: for callers without a connection.
    pub(crate) fn new_connection_id(&self) -> ConnectionId {
        self.registry.new_id()
    }

    /// The connection with that id. None: it belongs to another member, or has ended.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.registry.get(id)
    }

    /// Whether the connection belongs to this run of this member, ended or not.
    pub(crate) fn is_ours(&self, id: ConnectionId) -> bool {
        self.registry.is_ours(id)
    }

    /// The connection that serves the session here.
    pub(crate) fn of_session(&self, session: SessionId) -> Option<Arc<Connection>> {
        self.registry.of_session(session)
    }

    /// All connections, in the order in which they came.
    pub(crate) fn list(&self) -> Vec<Arc<Connection>> {
        self.registry.list()
    }

    pub(crate) fn count(&self) -> usize {
        self.registry.count()
    }

    /// The ensemble's sessions whose connection to this member gave a sign of life at `ms` or later, in order. `ms` is
    /// a time of the member's clock.
    pub(crate) fn heard_since(&self, ms: u64) -> Vec<SessionId> {
        self.registry.heard_since(ms)
    }

    #[cfg(test)]
    pub(crate) fn run(&self) -> u32 {
        self.registry.run()
    }
}

/// Applied transactions.
impl Connections {
    /// Does what a transaction that has just been applied means for clients: sends its events, then the reply to its
    /// writer and the reads behind that write, and closes connections whose session it closed or moved. The caller
    /// calls this for every transaction, under the exclusive lock of the state, before it applies the next one.
    pub(crate) fn applied(&self, state: &State, watches: &mut Watches, txn: &Txn, applied: &Effects) {
        self.expiry.follow(txn, self.clock.now_ms());
        self.local_sessions.follow(txn);
        self.delivery.deliver(state, watches, txn, applied);
    }

    /// Wakes the tasks of all connections that got something since the last call. Called once for a run of log entries.
    pub(crate) fn flush(&self) {
        self.delivery.flush();
    }

    pub(super) fn wake_later(&self, connection: Arc<Connection>) {
        self.delivery.wake_later(connection);
    }

    /// Ends the sessions that only this member knows and that were silent too long. Called every tick.
    pub(crate) fn expire_local_sessions(&self) {
        for session in self.local_sessions.expire(self.clock.now_ms()) {
            tracing::info!(%session, "a local session expires");
            if let Some(connection) = self.of_session(session) {
                connection.close_after_flush();
            }
        }
    }
}

/// Writes on their way to the leader.
impl Connections {
    /// A write of this server's connection goes to the leader now. Called before the write is sent.
    pub(crate) fn pass_on(&self, id: ConnectionId) {
        if self.departed.is_given_up(id.number) {
            return;
        }
        if let Some(connection) = self.registry.get(id) {
            let mut order = connection.order.lock();
            if !order.has_ended() {
                return order.note_passed_on();
            }
        }
        self.departed.add(id.number, 1);
    }

    /// Closes a connection that the leader no longer serves. The writes that the connection passed on may never be
    /// applied, so nobody waits for them.
    pub(crate) fn closed_by_leader(&self, id: ConnectionId) {
        if !self.is_ours(id) {
            return;
        }
        let connection = self.registry.get(id);
        let mut order = connection.as_ref().map(|connection| connection.order.lock());
        self.departed.give_up(id.number);
        if let Some(order) = &mut order {
            order.give_up_passed_on();
        }
        drop(order);
        if let Some(connection) = connection {
            connection.close();
        }
    }

    /// Writes that were passed on to the leader and are not applied here, of connections that live or have ended.
    pub(crate) fn passed_on(&self) -> usize {
        let living: usize = self.list().iter().map(|connection| connection.order.lock().passed_on()).sum();
        living + self.departed.writes()
    }

    /// The link to the leader is lost, so the outcome of what was passed on and is not applied here is unknown. Closes
    /// the connections that the writes came from, and returns their ids: nothing more of theirs may be passed on.
    pub(crate) fn break_passed_on(&self) -> Vec<ConnectionId> {
        let mut broken = Vec::new();
        for connection in self.list() {
            if connection.order.lock().passed_on() > 0 {
                connection.close();
                broken.push(connection.id());
            }
        }
        broken.extend(self.departed.take_all().into_iter().map(|number| self.registry.id(number)));
        broken
    }
}

/// The server's end, and other times at which connections close.
impl Connections {
    /// Unanswered requests of all connections.
    pub(crate) fn outstanding(&self) -> usize {
        self.load.outstanding()
    }

    /// From now on no request is taken from a socket. Requests that were taken are answered. The server shuts down.
    pub(crate) fn take_no_more(&self) {
        self.load.take_no_more();
    }

    /// Closes the connections without unanswered requests.
    pub(crate) fn close_idle(&self) {
        let all = self.list();
        all.iter()
            .filter(|connection| connection.unanswered() == 0)
            .for_each(|connection| connection.close_after_flush());
    }

    /// Closes every connection: the server no longer serves, or shuts down.
    pub(crate) fn close_all(&self) {
        self.list().iter().for_each(|connection| connection.close_after_flush());
    }

    /// Closes all connections at once and answers nothing more on them, because another state replaces this one. The
    /// transactions between the two states are not known here, and neither are the answers to clients. Called under the
    /// exclusive lock of the state.
    pub(crate) fn abandon_all(&self) {
        self.expiry.forget_all();
        for connection in self.list() {
            self.end(&connection);
            connection.close();
        }
    }
}
