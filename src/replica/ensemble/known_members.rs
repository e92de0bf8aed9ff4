//! What other members meet: who is let in, what each of their connections is served by, and what is known of them.
//!
//! The door is there before the member is. An empty member that waits for the others (`bootstrap`) answers greetings;
//! everything else hears `NotReady` until consensus has started.
//!
//! **Who is let in.** A member by its number and incarnation, as the newest roster has them. This member's own log may be
//! behind by just the entry that made somebody a member, and that somebody may be the leader who has it. So whoever is
//! turned away sets off a look around: every member known is asked for its roster, and the next attempt is judged by the
//! newest.
//!
//! **What is known of them.** The leader greets every member every `limits::GATHER_INTERVAL`, takes their reports, and tells
//! each what it has gathered: so any member can answer for all of them.

use crate::consensus::{Membership, Role};
use crate::environment::Instant;
use crate::limits;
use crate::model::Zxid;
use crate::model::ensemble::{Incarnation, Member, Server, ServerRole};
use crate::peer::messages::greeting::{Empty, Greeting, Initialised, Report, Roster, Standing};
use crate::peer::{ConnectError, Connection, Hello, HelloRefusal, Incoming, Me, Peers, Purpose};
use crate::replica::Replica;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::Notify;

/// Where members come in, and what is known of them.
pub struct Door {
    peers: Arc<Peers>,
    /// The servers of this member's file: what an empty member says.
    configured: Vec<(u32, ServerRole)>,
    /// Set once consensus has started.
    inside: OnceLock<Weak<Replica>>,
    /// The newest that was heard of, by this member's log or by others.
    roster: Mutex<Roster>,
    /// The last report of each other member, and when it came.
    reports: Mutex<BTreeMap<u32, (Instant, Report)>>,
    /// Somebody of an ensemble has greeted this member while it was empty: time to ask again.
    pub(crate) greeted: Notify,
    /// Somebody was turned away who may be in a roster that is newer than ours.
    turned_away: Notify,
}

impl Door {
    pub fn new(peers: Arc<Peers>, servers: &[Server]) -> Door {
        Door {
            peers,
            configured: servers.iter().map(|server| (server.id, server.role)).collect(),
            inside: OnceLock::new(),
            roster: Mutex::default(),
            reports: Mutex::default(),
            greeted: Notify::new(),
            turned_away: Notify::new(),
        }
    }

    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    fn me(&self) -> &Me {
        self.peers.me()
    }

    /// From now on connections are served. `roster`: what this member joined by, if its log does not have it yet.
    pub fn open(&self, replica: &Arc<Replica>, roster: Option<Roster>) {
        if let Some(roster) = roster {
            self.learn(&roster);
        }
        self.learn(&roster_of(&replica.consensus().membership()));
        // It is opened once.
        let _ = self.inside.set(Arc::downgrade(replica));
    }

    pub(crate) fn replica(&self) -> Option<Arc<Replica>> {
        self.inside.get()?.upgrade()
    }

    /// Takes the roster if it is newer than what is known.
    pub(crate) fn learn(&self, roster: &Roster) {
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

    /// What this member says of itself.
    pub(crate) fn greeting(&self) -> Greeting {
        let Some(replica) = self.replica() else {
            return Greeting::Empty(Empty {
                incarnation: self.me().incarnation,
                configured: self.configured.clone(),
                format_level: self.me().format_level,
            });
        };
        let report = replica.report();
        let gathered = match report.standing {
            Standing::Leads { .. } => self.reports.lock().iter().map(|(id, (_, report))| (*id, *report)).collect(),
            Standing::Follows { .. } => Vec::new(),
        };
        let roster = self.roster.lock().clone();
        Greeting::Initialised(Box::new(Initialised { cluster: self.me().cluster(), roster, report, gathered }))
    }

    /// Takes in what another member said.
    fn heard(&self, from: u32, greeting: &Greeting) {
        let initialised = match greeting {
            Greeting::Initialised(initialised) => initialised,
            Greeting::Empty(_) => return,
        };
        if self.inside.get().is_none() {
            self.greeted.notify_one();
        }
        if initialised.cluster != self.me().cluster() {
            return;
        }
        self.learn(&initialised.roster);
        let now = Instant::now();
        let mut reports = self.reports.lock();
        reports.insert(from, (now, initialised.report));
        for (id, report) in initialised.gathered.iter().filter(|(id, _)| *id != from && *id != self.me().id) {
            reports.insert(*id, (now, *report));
        }
    }

    /// The last report of a member.
    pub(crate) fn report_of(&self, id: u32) -> Option<(Instant, Report)> {
        self.reports.lock().get(&id).copied()
    }

    /// Asks one member who it is, on a connection for this alone.
    pub(crate) async fn ask(&self, server: &Server) -> Result<Greeting, ConnectError> {
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
        self.heard(with, &answer);
        Ok(answer)
    }

    /// The other end of `exchange`.
    async fn serve_greetings(&self, mut connection: Connection) -> io::Result<()> {
        let from = &connection.hello;
        let (from, incarnation) = (from.from, from.incarnation);
        while let Some(greeting) = connection.reader.next::<Greeting>().await? {
            connection.writer.send(&self.greeting()).await?;
            self.heard(from, &greeting);
            if let (Greeting::Empty(_), Some(replica)) = (&greeting, self.replica()) {
                replica.note_incarnation(from, incarnation);
            }
        }
        Ok(())
    }

    /// Keeps the roster: by the log, and by asking around when somebody was turned away. Ends with consensus.
    pub async fn keep_roster(self: Arc<Self>, replica: Weak<Replica>) {
        let Some(mut membership) = replica.upgrade().map(|replica| replica.consensus().membership_watch()) else {
            return;
        };
        loop {
            let now = roster_of(&membership.borrow_and_update());
            self.learn(&now);
            tokio::select! { biased;
                changed = membership.changed() => if changed.is_err() { return },
                () = self.turned_away.notified() => {
                    let others = self.others();
                    join_all(others.iter().map(|server| self.ask(server))).await;
                    tokio::time::sleep(limits::GREETING_INTERVAL).await;
                }
            }
        }
    }

    /// While this member leads: greets all others, again and again. Ends with consensus.
    pub async fn gather(self: Arc<Self>, replica: Weak<Replica>) {
        let Some(mut role) = replica.upgrade().map(|replica| replica.consensus().role()) else { return };
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
                replica.raise_format_level();
                replica.count_doubts();
                replica.leave_to_one_who_can();
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

    fn others(&self) -> Vec<Server> {
        let roster = self.roster.lock();
        let others = roster.members.iter().map(|member| &member.server).filter(|server| server.id != self.me().id);
        others.cloned().collect()
    }
}

pub fn roster_of(membership: &Membership) -> Roster {
    Roster { at: membership.at.map(|at| (at.term, at.index)), members: membership.members.values().cloned().collect() }
}

impl Incoming for Door {
    fn admit(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        if hello.purpose == Purpose::Greeting {
            return Ok(());
        }
        let Some(replica) = self.replica() else { return Err(HelloRefusal::NotReady { id: self.me().id }) };
        let needed = replica.format_level();
        if hello.format_level < needed {
            return Err(HelloRefusal::TooOld { id: hello.from, format_level: hello.format_level, needed });
        }
        self.knows(hello).inspect_err(|_| self.turned_away.notify_one())
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
                    let consensus = replica.consensus().clone();
                    drop(replica);
                    consensus.serve(connection).await;
                }
                Purpose::Requests => replica.serve_requests(connection).await,
            }
        }
        .boxed()
    }
}

impl Replica {
    /// How this member is.
    pub(crate) fn report(&self) -> Report {
        let consensus = self.consensus();
        let standing = match *consensus.role().borrow() {
            Role::Leader { term } => Standing::Leads { term },
            Role::Follower { leader } => Standing::Follows { leader: leader.and_then(|id| u32::try_from(id).ok()) },
            Role::Stopped => Standing::Follows { leader: None },
        };
        let me = self.door.me();
        Report {
            standing,
            incarnation: me.incarnation,
            zxid: Zxid(self.last_applied.load(Ordering::Acquire)),
            applied: consensus.metrics().applied.map_or(0, |at| at.index),
            format_level: me.format_level,
            diverged: !self.soundness.is_sound(),
            plugins: self.plugins_here(),
        }
    }

    /// An empty member has shown its data directory. One that was made a member before it was there (an observer) has it
    /// noted now; anybody else's is none of ours.
    fn note_incarnation(self: &Arc<Replica>, id: u32, incarnation: Incarnation) {
        let membership = self.consensus().membership();
        let leads = matches!(*self.consensus().role().borrow(), Role::Leader { .. });
        let Some(member) = membership.members.get(&u64::from(id)) else { return };
        if !leads || member.incarnation != Incarnation::default() || membership.changing {
            return;
        }
        let member = Member { server: member.server.clone(), incarnation };
        let replica = self.clone();
        self.runtime.spawn(async move {
            let members: BTreeMap<u64, Member> = membership
                .members
                .iter()
                .map(|(id, member)| (*id, member.clone()))
                .chain([(u64::from(id), member)])
                .collect();
            let changed = replica.consensus().change_membership(membership.at, membership.voters, members).await;
            if let Err(error) = changed {
                tracing::debug!(id, %error, "its data directory is not noted yet: it will ask again");
            }
        });
    }
}
