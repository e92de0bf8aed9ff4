//! Changing who belongs to the ensemble, on the leader and off the sequencer: only the session that asked waits.
//!
//! A reconfig (`pipeline::evaluate::reconfig` has checked what was asked) goes through these steps, and undoes what it did
//! when one of them fails:
//!
//! 1. Enough of the new voters answer; a leader that is not among them has handed over before.
//! 2. Each new member has said who it is: an empty data directory, or one of this ensemble.
//! 3. They learn the log, without a vote, until they are close behind.
//! 4. Consensus changes to exactly these members, if they are still those that this was decided on.
//! 5. The sequencer writes `/zookeeper/config`: that transaction is the answer.
//!
//! What a leader leaves behind that is lost in between, the next one puts right (`put_members_right`): learners
//! that were to become voters go again; a configuration that does not say what the members are is written anew.

use crate::consensus::{Membership, MembershipError, Role};
use crate::environment::Instant;
use crate::limits;
use crate::model::control_plane::CONFIG;
use crate::model::ensemble::{Incarnation, Member, Server};
use crate::model::{ErrorCode, Refusal};
use crate::peer::ConnectError;
use crate::peer::messages::greeting::{Greeting, PluginsHere};
use crate::pipeline::Ask;
use crate::pipeline::evaluate::servers_of;
use crate::replica::Replica;
use crate::replica::ordering::sequencer::{Event, Waiting};
use crate::state::State;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a change of the members ends.
pub enum End {
    /// These are the servers now.
    Done(Vec<Server>),
    /// They are as they were.
    Refused(Refusal),
    /// The leadership was given away, so that another member can go on with it.
    HandedOver,
    /// The leadership was lost: they may be either.
    Unknown,
}

impl From<MembershipError> for End {
    fn from(error: MembershipError) -> End {
        match error {
            MembershipError::Changed | MembershipError::InProgress => {
                End::Refused(ErrorCode::ReconfigInProgress.into())
            }
            MembershipError::Refused(why) => End::Refused(Refusal::new(ErrorCode::BadArguments, why)),
            MembershipError::NoSuccessor => End::Refused(no_quorum(&error.to_string())),
            MembershipError::NotLeader { .. } | MembershipError::Unknown | MembershipError::Stopped => End::Unknown,
        }
    }
}

fn no_quorum(why: &str) -> Refusal {
    Refusal::new(ErrorCode::NewConfigNoQuorum, why)
}

/// Who voting members are, by what the servers are to be.
fn voters(servers: &[Server]) -> BTreeSet<u64> {
    servers.iter().filter(|server| !server.is_observer()).map(|server| u64::from(server.id)).collect()
}

/// Servers that are to be members and are not, and those that are members already, with what they are to be.
fn newcomers(servers: &[Server], membership: &Membership) -> (Vec<Server>, BTreeMap<u64, Member>) {
    let mut new = Vec::new();
    let mut known = BTreeMap::new();
    for server in servers {
        let id = u64::from(server.id);
        match membership.members.get(&id) {
            Some(member) => {
                known.insert(id, Member { server: server.clone(), incarnation: member.incarnation });
            }
            None => new.push(server.clone()),
        }
    }
    (new, known)
}

/// What the members are, for `/zookeeper/config`; None while that is not settled, or if they are one server that nobody
/// can reach.
fn settled(membership: &Membership) -> Option<Vec<Server>> {
    let servers: Vec<Server> = membership.members.values().map(|member| member.server.clone()).collect();
    let reachable = !servers.is_empty() && servers.iter().all(|server| !server.addresses.is_empty());
    (reachable && !membership.changing && voters(&servers) == membership.voters).then_some(servers)
}

/// What the configuration must be set to, so that it says what the members are.
fn config_to_write(state: &State, membership: &Membership) -> Option<Vec<Server>> {
    let servers = settled(membership)?;
    let text = state.node(CONFIG).map(|node| String::from_utf8_lossy(node.data().unwrap_or_default()).into_owned());
    (text.as_deref().and_then(servers_of).as_ref() != Some(&servers)).then_some(servers)
}

impl Replica {
    /// Makes these the servers, and tells the sequencer how it ended.
    pub(crate) fn reconfigure(self: &Arc<Replica>, request: Waiting, servers: Vec<Server>, term: u64) {
        let replica = self.clone();
        self.runtime.spawn(async move {
            let end = replica.change_members(&servers).await;
            replica.inbox.put(Event::Reconfigured { request, term, end });
        });
    }

    async fn change_members(&self, servers: &[Server]) -> End {
        let membership = self.consensus().membership();
        if membership.changing {
            return End::Refused(ErrorCode::ReconfigInProgress.into());
        }
        let voters = voters(servers);
        if !voters.contains(&u64::from(self.config.server_id)) {
            return self.hand_over_to_one_of(&voters, &membership).await;
        }
        let (new, known) = newcomers(servers, &membership);
        let welcomed = join_all(new.iter().map(|server| self.welcome(server))).await;
        let welcomed: Vec<Member> = match welcomed.into_iter().collect() {
            Ok(welcomed) => welcomed,
            Err(refusal) => return End::Refused(refusal),
        };
        if let Err(refusal) = self.has_quorum(&voters, &known, &new).await {
            return End::Refused(refusal);
        }
        let ended = self.learn_and_change(&membership, welcomed.clone(), known, voters).await;
        if matches!(ended, End::Refused(_)) && !welcomed.is_empty() {
            self.forget_learners(&membership).await;
        }
        ended
    }

    async fn learn_and_change(
        &self,
        before: &Membership,
        welcomed: Vec<Member>,
        mut members: BTreeMap<u64, Member>,
        voters: BTreeSet<u64>,
    ) -> End {
        let consensus = self.consensus();
        for member in &welcomed {
            if let Err(error) = consensus.add_learner(member.clone()).await {
                return error.into();
            }
        }
        let learning: Vec<u64> = welcomed.iter().map(|member| u64::from(member.server.id)).collect();
        let learning: Vec<u64> = learning.into_iter().chain(voters.difference(&before.voters).copied()).collect();
        if let Err(end) = self.until_close_behind(learning.iter().filter(|id| voters.contains(id))).await {
            return end;
        }
        if let Err(end) = self.until_they_run_plugins(members.values().chain(&welcomed), &learning, &voters).await {
            return end;
        }
        // Everything but the learners is as it was when this was decided, or consensus refuses.
        let now = consensus.membership();
        let ours = |id: &u64| !welcomed.iter().any(|member| u64::from(member.server.id) == *id);
        let same = now.voters == before.voters
            && now.members.iter().filter(|(id, _)| ours(id)).eq(before.members.iter().filter(|(id, _)| ours(id)));
        if now.changing || !same {
            return End::Refused(ErrorCode::ReconfigInProgress.into());
        }
        members.extend(welcomed.into_iter().map(|member| (u64::from(member.server.id), member)));
        let servers = members.values().map(|member| member.server.clone()).collect();
        match consensus.change_membership(now.at, voters, members).await {
            Ok(()) => End::Done(servers),
            Err(error) => error.into(),
        }
    }

    /// The most caught-up of those that stay leads on.
    async fn hand_over_to_one_of(&self, voters: &BTreeSet<u64>, membership: &Membership) -> End {
        let consensus = self.consensus();
        let able = voters.intersection(&membership.voters).copied();
        let Some(to) = able.min_by_key(|id| consensus.lag(*id).unwrap_or(u64::MAX)) else {
            let why = "no voter of today would stay one: change the members in two steps";
            return End::Refused(Refusal::new(ErrorCode::BadArguments, why));
        };
        match consensus.transfer(Some(to)).await {
            Ok(_) => End::HandedOver,
            Err(error) => error.into(),
        }
    }

    /// Who a server is that is to become a member.
    async fn welcome(&self, server: &Server) -> Result<Member, Refusal> {
        let until = Instant::now() + limits::NEWCOMER_PATIENCE;
        loop {
            let refused = |what: String| Refusal::new(ErrorCode::BadArguments, format!("server {}: {what}", server.id));
            let error = match self.door.ask(server).await {
                Ok(Greeting::Empty(empty)) => {
                    let needed = self.format_level();
                    if empty.format_level < needed {
                        return Err(refused(format!(
                            "its release knows format level {}, and the ensemble's state needs {needed}: bring it to the \
                             release of the others",
                            empty.format_level
                        )));
                    }
                    return Ok(Member { server: server.clone(), incarnation: empty.incarnation });
                }
                // It was a member before: what it has is a part of the same history.
                Ok(Greeting::Initialised(other)) if other.cluster == self.door.peers().me().cluster() => {
                    return Ok(Member { server: server.clone(), incarnation: other.report.incarnation });
                }
                Ok(Greeting::Initialised(_)) => {
                    return Err(refused(
                        "it belongs to another ensemble; give it an empty data directory if it shall leave that".into(),
                    ));
                }
                Err(ConnectError::Rejected(refusal)) if !refusal.passes() => return Err(refused(refusal.to_string())),
                Err(error) => error,
            };
            // As in ZooKeeper, an observer need not be there; its data directory is noted when it comes.
            if server.is_observer() {
                return Ok(Member { server: server.clone(), incarnation: Incarnation::default() });
            }
            if Instant::now() >= until {
                return Err(no_quorum(&format!("server {} does not answer: {error}", server.id)));
            }
            tokio::time::sleep(limits::GREETING_INTERVAL).await;
        }
    }

    /// Whether a majority of the voters to be answers. `new` have done so.
    async fn has_quorum(
        &self,
        voters: &BTreeSet<u64>,
        known: &BTreeMap<u64, Member>,
        new: &[Server],
    ) -> Result<(), Refusal> {
        let me = self.config.server_id;
        let asked =
            known.values().filter(|member| voters.contains(&u64::from(member.server.id)) && member.server.id != me);
        let answers = join_all(asked.map(|member| self.door.ask(&member.server))).await;
        let answering = 1 + answers.iter().filter(|answer| matches!(answer, Ok(Greeting::Initialised(_)))).count();
        let new = new.iter().filter(|server| !server.is_observer()).count();
        if answering + new > voters.len() / 2 {
            return Ok(());
        }
        Err(no_quorum(&format!("{} of the {} participants answer: no majority", answering + new, voters.len())))
    }

    async fn until_close_behind<'a>(&self, members: impl Iterator<Item = &'a u64>) -> Result<(), End> {
        let consensus = self.consensus();
        let until = Instant::now() + limits::RECONFIG_PATIENCE;
        for member in members {
            while consensus.lag(*member).is_none_or(|lag| lag > limits::CLOSE_BEHIND_ENTRIES) {
                if !matches!(*consensus.role().borrow(), Role::Leader { .. }) {
                    return Err(End::Unknown);
                }
                if Instant::now() >= until {
                    let why = format!("server {member} has not caught up within {:?}", limits::RECONFIG_PATIENCE);
                    return Err(End::Refused(no_quorum(&why)));
                }
                tokio::time::sleep(limits::CLOSE_BEHIND_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// A member that is to vote may lead, and so must run every plugin in force.
    async fn until_they_run_plugins(
        &self,
        members: impl Iterator<Item = &Member>,
        learning: &[u64],
        voters: &BTreeSet<u64>,
    ) -> Result<(), End> {
        let until = Instant::now() + limits::RECONFIG_PATIENCE;
        let to_vote = |member: &&Member| {
            let id = u64::from(member.server.id);
            learning.contains(&id) && voters.contains(&id)
        };
        for member in members.filter(to_vote) {
            loop {
                if self.plugins.registry().all().all(|binding| !binding.is_on()) {
                    return Ok(());
                }
                let (lacks, hopeless) = match self.door.ask(&member.server).await {
                    Ok(Greeting::Initialised(other)) => match other.report.plugins {
                        PluginsHere::All => break,
                        PluginsHere::Off => ("it runs with --plugins off", true),
                        PluginsHere::NotAll => ("`wasmkeeper plugin status` says which it lacks, and why", false),
                    },
                    _ => ("it does not answer", false),
                };
                if Instant::now() >= until || hopeless {
                    let why = format!("server {} does not run every plugin in force: {lacks}", member.server.id);
                    return Err(End::Refused(no_quorum(&why)));
                }
                tokio::time::sleep(limits::GREETING_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Back to the members of `before`.
    async fn forget_learners(&self, before: &Membership) {
        let now = self.consensus().membership();
        let members = now.members.into_iter().filter(|(id, _)| before.members.contains_key(id)).collect();
        if let Err(error) = self.consensus().change_membership(now.at, now.voters, members).await {
            tracing::warn!(%error, "members that were to join could not be removed again; the next leader will");
        }
    }

    /// What a new leader finds and had better not leave so. Also gives a server that stands alone the address of its own
    /// line, so that others can join it.
    pub(crate) async fn put_members_right(self: Arc<Replica>) {
        let consensus = self.consensus();
        let mut watch = consensus.membership_watch();
        let Ok(membership) =
            watch.wait_for(|membership| !membership.changing).await.map(|membership| membership.clone())
        else {
            return;
        };
        let own = self.config.own_server();
        let mut members = membership.members.clone();
        // To be voters, and not: their reconfig was cut short.
        members.retain(|id, member| member.server.is_observer() || membership.voters.contains(id));
        if let (1, Some(own), Some(me)) = (members.len(), own, members.get_mut(&u64::from(self.config.server_id))) {
            me.server = own.clone();
            me.incarnation = self.door.peers().me().incarnation;
        }
        if members != membership.members
            && let Err(error) = consensus.change_membership(membership.at, membership.voters, members).await
        {
            tracing::debug!(%error, "the members are not put right");
            return;
        }
        self.submit_configuration();
        self.warn_of_another_file();
    }

    /// None if the configuration says already what the members are.
    pub(crate) fn configuration_to_write(&self) -> Option<Vec<Server>> {
        config_to_write(&self.state.read(), &self.consensus().membership())
    }

    fn submit_configuration(&self) {
        if let Some(servers) = self.configuration_to_write() {
            self.ask(Ask::Configure { servers });
        }
    }

    /// The file's list counts when an ensemble is founded, and never again.
    fn warn_of_another_file(&self) {
        let file = &self.config.ensemble.servers;
        let Some(servers) = settled(&self.consensus().membership()) else { return };
        if !file.is_empty() && *file != servers {
            let lines: Vec<String> = servers.iter().map(|server| format!("server.{}={server}", server.id)).collect();
            tracing::warn!(
                "the file's `server.N` lines are not the members of the ensemble, which are {}. The members count; \
                 change them with `wasmkeeper cluster add` and `remove`, or correct the file",
                lines.join(", ")
            );
        }
    }

    /// Hands the leadership to that member, and gives the request back to the sequencer: whoever leads then answers it.
    pub(crate) fn transfer(self: &Arc<Replica>, mut request: Waiting, to: u32) {
        let replica = self.clone();
        self.runtime.spawn(async move {
            if let Err(error) = replica.consensus().transfer(Some(u64::from(to))).await {
                let code = match error {
                    MembershipError::Refused(_) => ErrorCode::BadArguments,
                    _ => ErrorCode::OperationTimeout,
                };
                request.verdict = Some(Err(Refusal::new(code, error.to_string())));
            }
            replica.inbox.put(Event::Prepared(request));
        });
    }
}
