//! Which members are let in, what serves each of their connections, and what is known of each.
//!
//! Other members can reach this one before its consensus has started. An empty member that waits for the others
//! (`bootstrap`) answers greetings, and `NotReady` to everything else.
//!
//! **Who is let in.** A member is let in if its number and incarnation are in the newest roster. This member's own log
//! may lack the entry that added another member, and that other member may be the leader. So when this member turns
//! somebody away, it asks every member it knows for its roster. The next attempt is judged by the newest roster.
//!
//! A roster is believed if it stands in this member's log, or if a member sent it in answer to a question. This member
//! asks at addresses that it has from its log or its file. A roster that somebody sends without being asked changes
//! nothing.
//!
//! **What is known of each.** The leader greets every member each `limits::GATHER_INTERVAL`, takes their reports, and
//! tells each member all that it has gathered. So any member can answer for all of them.

use crate::consensus::{Membership, Role};
use crate::environment::{Instant, wall_ms};
use crate::limits;
use crate::model::ensemble::{Incarnation, Member, Server};
use crate::peer::messages::greeting::{Empty, Greeting, Initialised, Report, Roster, Standing};
use crate::peer::{ConnectError, Connection, ConnectionHandler, Hello, HelloRefusal, LocalMember, Peers, Purpose};
use crate::replica::Replica;
use crate::replica::ensemble::follower_links;
use crate::replica::plugins::blame;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::Notify;

/// The members of the ensemble, as far as this one knows them.
pub(crate) struct KnownMembers {
    peers: Arc<Peers>,
    /// The servers of this member's file. An empty member tells others of them. They are asked for a roster, as the
    /// members are.
    configured: Vec<Server>,
    /// Set once consensus has started.
    replica: OnceLock<Weak<Replica>>,
    /// The newest roster, from this member's log or from another member.
    ///
    /// Invariant: its place in the log never goes back.
    roster: Mutex<Roster>,
    /// The last report of each other member, and when it came.
    reports: Mutex<BTreeMap<u32, (Instant, Report)>>,
    /// Notified when a member of an ensemble has greeted this one while it was empty: it is time to ask again.
    pub(super) greeted: Notify,
    /// Notified when a member was turned away that may be in a newer roster.
    turned_away: Notify,
}

impl KnownMembers {
    pub(in crate::replica) fn new(peers: Arc<Peers>, servers: &[Server]) -> KnownMembers {
        KnownMembers {
            peers,
            configured: servers.to_vec(),
            replica: OnceLock::new(),
            roster: Mutex::default(),
            reports: Mutex::default(),
            greeted: Notify::new(),
            turned_away: Notify::new(),
        }
    }

    pub(in crate::replica) fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// What this member tells others of itself.
    pub(in crate::replica) fn me(&self) -> &LocalMember {
        self.peers.me()
    }

    /// From now on all connections are served. `roster`: if this member has just joined, the roster that names it,
    /// which its log may not have yet.
    pub(in crate::replica) fn open(&self, replica: &Arc<Replica>, roster: Option<Roster>) {
        if let Some(roster) = roster {
            self.learn(&roster);
        }
        self.learn(&roster_of(&replica.ensemble.consensus().membership()));
        assert!(self.replica.set(Arc::downgrade(replica)).is_ok(), "consensus starts once");
    }

    /// None before consensus has started.
    pub(in crate::replica) fn replica(&self) -> Option<Arc<Replica>> {
        self.replica.get()?.upgrade()
    }

    /// Takes the roster if it is newer than the one known.
    fn learn(&self, roster: &Roster) {
        let mut known = self.roster.lock();
        if roster.at > known.at {
            *known = roster.clone();
        }
    }

    fn knows(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        let roster = self.roster.lock();
        match roster.member(hello.from) {
            None => Err(HelloRefusal::UnknownMember { id: hello.from }),
            Some(member) if member.incarnation != hello.incarnation => Err(HelloRefusal::OtherIncarnation {
                id: hello.from,
                known: member.incarnation,
                shown: hello.incarnation,
            }),
            Some(_) => Ok(()),
        }
    }

    /// What this member says in a greeting.
    fn greeting(&self) -> Greeting {
        let Some(replica) = self.replica() else {
            return Greeting::Empty(Empty {
                incarnation: self.me().incarnation,
                configured: self.configured.clone(),
                format_level: self.me().format_level,
            });
        };
        let report = report_of(&replica);
        let gathered = match report.standing {
            Standing::Leads { .. } => {
                let clock = |id| self.peers.clocks().of(id);
                let now = |id, report: Report| Report { wall_ms: clock(id).unwrap_or(report.wall_ms), ..report };
                self.reports.lock().iter().map(|(id, (_, report))| (*id, now(*id, *report))).collect()
            }
            Standing::Follows { .. } => Vec::new(),
        };
        let roster = self.roster.lock().clone();
        Greeting::Initialised(Box::new(Initialised { cluster: self.me().cluster(), roster, report, gathered }))
    }

    /// Keeps what a member answered to a question of this one. This member has reached it at an address from its own
    /// log or file, so the answer is believed.
    fn answered(&self, from: u32, greeting: &Greeting) {
        match greeting {
            Greeting::Empty(empty) => {
                if let Some(replica) = self.replica() {
                    note_incarnation(&replica, from, empty.incarnation);
                }
            }
            Greeting::Initialised(initialised) if initialised.cluster == self.me().cluster() => {
                self.learn(&initialised.roster);
                self.keep_reports(from, initialised);
            }
            Greeting::Initialised(_) => {}
        }
    }

    /// Takes a greeting that somebody sent without being asked. In an ensemble without a secret anybody who reaches the
    /// port can claim to be a member, so the greeting decides nothing. It makes an empty member ask its servers again.
    /// A follower keeps the reports that its leader has gathered, only to show them. A leader believes nothing but the
    /// answers to its own questions.
    fn told(&self, from: u32, greeting: &Greeting) {
        let Greeting::Initialised(initialised) = greeting else { return };
        let Some(replica) = self.replica() else { return self.greeted.notify_one() };
        let is_leader = match *replica.ensemble.consensus().role().borrow() {
            Role::Follower { leader } => leader == Some(u64::from(from)),
            Role::Leader { .. } | Role::Stopped => false,
        };
        if is_leader && initialised.cluster == self.me().cluster() {
            self.keep_reports(from, initialised);
        }
    }

    /// Keeps the reports about members. Reports about numbers that are no member's are dropped.
    fn keep_reports(&self, from: u32, initialised: &Initialised) {
        let roster = self.roster.lock();
        let is_other = |id: u32| id != self.me().id && roster.member(id).is_some();
        let gathered = initialised.gathered.iter().filter(|(id, _)| *id != from);
        let now = Instant::now();
        let mut reports = self.reports.lock();
        for (id, report) in gathered.chain([&(from, initialised.report)]).filter(|(id, _)| is_other(*id)) {
            reports.insert(*id, (now, *report));
            self.peers.clocks().note(*id, report.wall_ms);
        }
        reports.retain(|id, _| is_other(*id));
        drop((reports, roster));
        if let Some(replica) = self.replica() {
            replica.watch_clocks();
        }
    }

    /// The last report of a member, and when it came.
    pub(in crate::replica) fn report_of(&self, id: u32) -> Option<(Instant, Report)> {
        self.reports.lock().get(&id).copied()
    }

    /// Asks one member for its greeting, on a connection of its own.
    pub(super) async fn ask(&self, server: &Server) -> Result<Greeting, ConnectError> {
        let mut connection = self.peers.connect(server, None, Purpose::Greeting).await?;
        self.exchange(server.id, &mut connection).await.map_err(ConnectError::Unreachable)
    }

    async fn exchange(&self, with: u32, connection: &mut Connection) -> io::Result<Greeting> {
        let exchanged = async {
            connection.writer.send(&self.greeting()).await?;
            connection.reader.next::<Greeting>().await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        let answer = tokio::time::timeout(limits::GREETING_TIMEOUT, exchanged).await;
        let answer = answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))?;
        self.answered(with, &answer);
        Ok(answer)
    }

    /// The other end of `exchange`.
    async fn serve_greetings(&self, mut connection: Connection) -> io::Result<()> {
        let from = connection.hello.from;
        let silence = || io::Error::from(io::ErrorKind::TimedOut);
        loop {
            let greeting =
                tokio::time::timeout(limits::GREETING_SILENCE_MAX, connection.reader.next::<Greeting>()).await;
            let Some(greeting) = greeting.map_err(|_| silence())?? else { return Ok(()) };
            connection.writer.send(&self.greeting()).await?;
            self.told(from, &greeting);
        }
    }

    /// Keeps the roster up to date, from the log and by asking all members after somebody was turned away. Ends with
    /// consensus.
    pub(in crate::replica) async fn keep_roster(self: Arc<Self>, replica: Weak<Replica>) {
        let Some(mut membership) = replica.upgrade().map(|replica| replica.ensemble.consensus().membership_watch())
        else {
            return;
        };
        loop {
            let now = roster_of(&membership.borrow_and_update());
            self.learn(&now);
            tokio::select! { biased;
                changed = membership.changed() => if changed.is_err() { return },
                () = self.turned_away.notified() => {
                    let others = self.others();
                    let listed = self.configured.iter().filter(|server| server.id != self.me().id);
                    let listed = listed.filter(|server| !others.contains(server));
                    join_all(others.iter().chain(listed).map(|server| self.ask(server))).await;
                    tokio::time::sleep(limits::GREETING_INTERVAL).await;
                }
            }
        }
    }

    /// While this member leads, greets all others again and again, and does what their reports require. Ends with
    /// consensus.
    pub(in crate::replica) async fn gather(self: Arc<Self>, replica: Weak<Replica>) {
        let Some(mut role) = replica.upgrade().map(|replica| replica.ensemble.consensus().role()) else { return };
        let mut kept: BTreeMap<u32, (Server, Connection)> = BTreeMap::new();
        loop {
            let now = *role.borrow_and_update();
            if !matches!(now, Role::Leader { .. }) {
                kept.clear();
                if now == Role::Stopped || role.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let rounds = self.others().into_iter().map(|server| {
                let connection = kept.remove(&server.id).filter(|(to, _)| *to == server);
                self.greet(server, connection.map(|(_, connection)| connection))
            });
            kept = join_all(rounds.collect::<Vec<_>>()).await.into_iter().flatten().collect();
            if let Some(replica) = replica.upgrade() {
                replica.watch_clocks();
                replica.ensemble.raise_format_level(&replica.order);
                replica.ensemble.count_doubts(&replica.order);
                blame::leave_to_one_who_can(&replica);
            }
            tokio::time::sleep(limits::GATHER_INTERVAL).await;
        }
    }

    async fn greet(&self, server: Server, kept: Option<Connection>) -> Option<(u32, (Server, Connection))> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.peers.connect(&server, None, Purpose::Greeting).await.ok()?,
        };
        self.exchange(server.id, &mut connection).await.ok()?;
        Some((server.id, (server, connection)))
    }

    /// All members of the roster but this one.
    fn others(&self) -> Vec<Server> {
        let roster = self.roster.lock();
        let others = roster.members.iter().map(|member| &member.server).filter(|server| server.id != self.me().id);
        others.cloned().collect()
    }
}

fn roster_of(membership: &Membership) -> Roster {
    Roster { at: membership.at.map(|at| (at.term, at.index)), members: membership.members.values().cloned().collect() }
}

impl ConnectionHandler for KnownMembers {
    fn admit(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        if hello.purpose == Purpose::Greeting {
            return Ok(());
        }
        let Some(replica) = self.replica() else { return Err(HelloRefusal::NotReady { id: self.me().id }) };
        let needed = replica.order.format_level();
        if hello.format_level < needed {
            return Err(HelloRefusal::TooOld { id: hello.from, format_level: hello.format_level, needed });
        }
        self.knows(hello).inspect_err(|_| self.turned_away.notify_one())
    }

    fn turned_away(&self) {
        self.turned_away.notify_one();
    }

    fn hosts_of(&self, id: u32) -> Vec<String> {
        let roster = self.roster.lock();
        let member = roster.member(id).map(|member| &member.server);
        let configured = self.configured.iter().find(|server| server.id == id);
        let servers = member.into_iter().chain(configured);
        servers.flat_map(|server| server.addresses.iter().map(|address| address.host.clone())).collect()
    }

    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()> {
        async move {
            let Some(replica) = self.replica() else {
                if connection.hello.purpose == Purpose::Greeting {
                    let _ = self.serve_greetings(connection).await;
                }
                return;
            };
            match connection.hello.purpose {
                Purpose::Greeting => {
                    drop(replica);
                    if let Err(error) = self.serve_greetings(connection).await {
                        tracing::debug!(%error, "a greeting ended");
                    }
                }
                Purpose::Appends | Purpose::Votes | Purpose::Checkpoint => {
                    let consensus = replica.ensemble.consensus().clone();
                    drop(replica);
                    consensus.serve(connection).await;
                }
                Purpose::Requests => follower_links::serve(replica, connection).await,
            }
        }
        .boxed()
    }
}

/// What this member reports of itself.
pub(in crate::replica) fn report_of(replica: &Replica) -> Report {
    let consensus = replica.ensemble.consensus();
    let standing = match *consensus.role().borrow() {
        Role::Leader { term } => Standing::Leads { term },
        Role::Follower { leader } => Standing::Follows { leader: leader.and_then(|id| u32::try_from(id).ok()) },
        Role::Stopped => Standing::Follows { leader: None },
    };
    let me = replica.ensemble.known_members.me();
    Report {
        standing,
        incarnation: me.incarnation,
        zxid: replica.order.last_applied(),
        applied: consensus.metrics().applied.map_or(0, |at| at.index),
        format_level: me.format_level,
        diverged: !replica.order.soundness.is_sound(),
        plugins: replica.plugins.here(),
        wall_ms: wall_ms(),
    }
}

/// An empty member has answered, and shown its data directory. If the member was added before it had ever run (an
/// observer), the leader notes the directory's incarnation now. In all other cases nothing is noted.
fn note_incarnation(replica: &Arc<Replica>, id: u32, incarnation: Incarnation) {
    let consensus = replica.ensemble.consensus();
    let membership = consensus.membership();
    let leads = matches!(*consensus.role().borrow(), Role::Leader { .. });
    let Some(member) = membership.members.get(&u64::from(id)) else { return };
    if !leads || member.incarnation != Incarnation::default() || membership.changing {
        return;
    }
    let member = Member { server: member.server.clone(), incarnation };
    let consensus = consensus.clone();
    replica.runtime.spawn(async move {
        let members: BTreeMap<u64, Member> = membership
            .members
            .iter()
            .map(|(id, member)| (*id, member.clone()))
            .chain([(u64::from(id), member)])
            .collect();
        let changed = consensus.change_membership(membership.at, membership.voters, members).await;
        if let Err(error) = changed {
            tracing::debug!(id, %error, "its data directory is not noted yet: it will ask again");
        }
    });
}
