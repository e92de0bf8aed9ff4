//! Changes who belongs to the ensemble, or who leads it, on the leader and off the sequencer. Only the session that
//! asked waits.
//!
//! `pipeline::evaluate::reconfig` has checked what was asked. A reconfig then goes through these steps, and undoes what
//! it did when one of them fails:
//!
//! 1. A leader that is not among the new voters hands over first. Then a majority of the new voters must answer.
//! 2. Each new member says who it is: an empty data directory, or a former member of this ensemble.
//! 3. The new members learn the log, without a vote, until they are close behind.
//! 4. Consensus changes to these members, if the members are still those that this was decided on. A member that is to
//!    go loses its vote and stays a learner.
//! 5. The sequencer writes `/zookeeper/config`. That transaction is the answer.
//! 6. Members that are to go hear of that transaction, so that their clients learn of the new members and leave. Then
//!    they are dismissed.
//!
//! A participant without a vote is thus on its way into the ensemble, or out of it (`in_transit`). If the leader is
//! lost in between, the next leader repairs what is left (`put_members_right`): members in transit are removed, and a
//! configuration that does not state the members is written anew.

use super::Ensemble;
use crate::consensus::{Membership, MembershipError, Role};
use crate::environment::Instant;
use crate::limits;
use crate::model::control_plane::CONFIG;
use crate::model::ensemble::{Incarnation, Member, Server, ServerRole};
use crate::model::{ErrorCode, Refusal};
use crate::peer::ConnectError;
use crate::peer::messages::greeting::{Greeting, PluginsHere};
use crate::pipeline::Ask;
use crate::pipeline::evaluate::servers_of;
use crate::plugin::Plugins;
use crate::replica::Replica;
use crate::replica::ordering::WriteOrder;
use crate::replica::ordering::event::{Event, QueuedRequest};
use crate::state::State;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a change of the members ends.
pub(crate) enum ReconfigEnd {
    /// These are the servers now.
    Done(Vec<Server>),
    /// The servers are as they were.
    Refused(Refusal),
    /// The leadership was handed over. The next leader carries out the change.
    HandedOver,
    /// The leadership was lost: nobody knows whether the servers have changed.
    Unknown,
}

impl From<MembershipError> for ReconfigEnd {
    fn from(error: MembershipError) -> ReconfigEnd {
        match error {
            MembershipError::Changed | MembershipError::InProgress => {
                ReconfigEnd::Refused(ErrorCode::ReconfigInProgress.into())
            }
            MembershipError::Refused(why) => ReconfigEnd::Refused(Refusal::new(ErrorCode::BadArguments, why)),
            MembershipError::NoSuccessor => ReconfigEnd::Refused(no_quorum(&error.to_string())),
            MembershipError::NotLeader { .. } | MembershipError::Unknown | MembershipError::Stopped => {
                ReconfigEnd::Unknown
            }
        }
    }
}

fn no_quorum(why: &str) -> Refusal {
    Refusal::new(ErrorCode::NewConfigNoQuorum, why)
}

/// The numbers of the servers that have a vote.
fn voters(servers: &[Server]) -> BTreeSet<u64> {
    servers.iter().filter(|server| !server.is_observer()).map(|server| u64::from(server.id)).collect()
}

/// The members whose line says that they vote, and that have no vote.
fn in_transit(membership: &Membership) -> BTreeSet<u64> {
    let waits = |(id, member): &(&u64, &Member)| !member.server.is_observer() && !membership.voters.contains(id);
    membership.members.iter().filter(waits).map(|(id, _)| *id).collect()
}

/// The members that `members` leaves out, as they stay until they are dismissed: in transit.
fn leaving(membership: &Membership, members: &BTreeMap<u64, Member>) -> BTreeMap<u64, Member> {
    let gone = membership.members.iter().filter(|(id, _)| !members.contains_key(id));
    gone.map(|(id, member)| {
        let server = Server { role: ServerRole::Participant, ..member.server.clone() };
        (*id, Member { server, incarnation: member.incarnation })
    })
    .collect()
}

/// Splits `servers` into those that are no members yet, and those that are. The members have the addresses and roles
/// that they are to get.
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
    assert!(
        new.len() + known.len() == servers.len(),
        "each server is a newcomer or a member: the numbers are different"
    );
    (new, known)
}

/// The members, for `/zookeeper/config`. None while they are changing, or if the only server has no address at which
/// others could reach it.
fn settled(membership: &Membership) -> Option<Vec<Server>> {
    let servers: Vec<Server> = membership.members.values().map(|member| member.server.clone()).collect();
    let reachable = !servers.is_empty() && servers.iter().all(|server| !server.addresses.is_empty());
    (reachable && !membership.changing && voters(&servers) == membership.voters).then_some(servers)
}

/// What `/zookeeper/config` must be set to. None if it already states what the members are.
fn config_to_write(state: &State, membership: &Membership) -> Option<Vec<Server>> {
    let servers = settled(membership)?;
    (configured(state).as_ref() != Some(&servers)).then_some(servers)
}

/// The servers that `/zookeeper/config` states.
fn configured(state: &State) -> Option<Vec<Server>> {
    let text = state.node(CONFIG).map(|node| String::from_utf8_lossy(node.data().unwrap_or_default()).into_owned());
    text.as_deref().and_then(servers_of)
}

/// Whether none of `ids` is among the servers.
fn lacks(servers: &[Server], ids: &BTreeSet<u64>) -> bool {
    servers.iter().all(|server| !ids.contains(&u64::from(server.id)))
}

/// Changes the ensemble to these servers, off the sequencer's thread, and tells the sequencer how that ended. Then
/// dismisses those that are no members any more.
pub(in crate::replica) fn reconfigure(replica: &Arc<Replica>, request: QueuedRequest, servers: Vec<Server>, term: u64) {
    let spawned = replica.clone();
    replica.runtime.spawn(async move {
        let replica = spawned;
        let end = replica.ensemble.change_members(&replica.order, &servers).await;
        replica.order.inbox.put(Event::Reconfigured { request, term, end });
        replica.ensemble.dismiss_once_told(&replica.order).await;
    });
}

/// Hands the leadership to member `to`, off the sequencer, and gives the request back to the sequencer. Whichever
/// member leads then answers it.
pub(in crate::replica) fn transfer(replica: &Arc<Replica>, mut request: QueuedRequest, to: u32) {
    let spawned = replica.clone();
    replica.runtime.spawn(async move {
        let replica = spawned;
        if let Err(error) = replica.ensemble.consensus().transfer(Some(u64::from(to))).await {
            let code = match error {
                MembershipError::Refused(_) => ErrorCode::BadArguments,
                _ => ErrorCode::OperationTimeout,
            };
            request.verdict = Some(Err(Refusal::new(code, error.to_string())));
        }
        replica.order.inbox.put(Event::Prepared(request));
    });
}

/// Repairs what a former leader has left behind: removes learners that were to become voters, and writes the
/// configuration if it does not state the members. Also gives a server that stands alone the address of its own line,
/// so that others can join it. Runs once on each new leader.
pub(in crate::replica) async fn put_members_right(replica: Arc<Replica>) {
    let (order, ensemble) = (&replica.order, &replica.ensemble);
    if ensemble.repair_membership().await
        && let Some(servers) = ensemble.configuration_to_write(order)
    {
        order.ask(Ask::Configure { servers });
    }
}

impl Ensemble {
    async fn change_members(&self, order: &WriteOrder, servers: &[Server]) -> ReconfigEnd {
        let membership = match self.until_nobody_is_in_transit().await {
            Ok(membership) => membership,
            Err(error) => return error.into(),
        };
        let voters = voters(servers);
        if !voters.contains(&u64::from(self.config.server_id)) {
            return self.hand_over_to_one_of(&voters, &membership).await;
        }
        let (new, known) = newcomers(servers, &membership);
        let welcomed = join_all(new.iter().map(|server| self.welcome(order, server))).await;
        let welcomed: Vec<Member> = match welcomed.into_iter().collect() {
            Ok(welcomed) => welcomed,
            Err(refusal) => return ReconfigEnd::Refused(refusal),
        };
        if let Err(refusal) = self.has_quorum(&voters, &known, &new).await {
            return ReconfigEnd::Refused(refusal);
        }
        let ended = self.learn_and_change(order, &membership, welcomed.clone(), known, voters).await;
        if matches!(ended, ReconfigEnd::Refused(_)) && !welcomed.is_empty() {
            self.forget_learners(&membership).await;
        }
        ended
    }

    /// Steps 3 and 4.
    async fn learn_and_change(
        &self,
        order: &WriteOrder,
        before: &Membership,
        welcomed: Vec<Member>,
        mut members: BTreeMap<u64, Member>,
        voters: BTreeSet<u64>,
    ) -> ReconfigEnd {
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
        if let Err(end) =
            self.until_they_run_plugins(&order.plugins, members.values().chain(&welcomed), &learning, &voters).await
        {
            return end;
        }
        // The change was decided on these members. If anything but the learners has changed since, it is refused.
        let now = consensus.membership();
        let ours = |id: &u64| !welcomed.iter().any(|member| u64::from(member.server.id) == *id);
        let same = now.voters == before.voters
            && now.members.iter().filter(|(id, _)| ours(id)).eq(before.members.iter().filter(|(id, _)| ours(id)));
        if now.changing || !same {
            return ReconfigEnd::Refused(ErrorCode::ReconfigInProgress.into());
        }
        members.extend(welcomed.into_iter().map(|member| (u64::from(member.server.id), member)));
        assert!(voters.iter().all(|voter| members.contains_key(voter)), "every voter is a member: {voters:?}");
        let servers = members.values().map(|member| member.server.clone()).collect();
        members.extend(leaving(&now, &members));
        match consensus.change_membership(now.at, voters, members).await {
            Ok(()) => ReconfigEnd::Done(servers),
            Err(error) => error.into(),
        }
    }

    /// The membership, once no change is under way and nobody is in transit. An earlier reconfig that has been answered
    /// may still wait to dismiss members; this dismisses them at once.
    async fn until_nobody_is_in_transit(&self) -> Result<Membership, MembershipError> {
        let consensus = self.consensus();
        let mut watch = consensus.membership_watch();
        let unchanging = watch.wait_for(|membership| !membership.changing);
        match tokio::time::timeout(limits::FAREWELL_MAX, unchanging).await {
            Err(_) => return Err(MembershipError::InProgress),
            Ok(Err(_)) => return Err(MembershipError::Stopped),
            Ok(Ok(_)) => {}
        }
        let membership = consensus.membership();
        match in_transit(&membership).is_empty() {
            true => Ok(membership),
            false => self.dismiss(membership).await.map(|()| consensus.membership()),
        }
    }

    /// Step 6. If the members change meanwhile, or this member does not lead any more, another leader or another
    /// reconfig dismisses those that are to go.
    async fn dismiss_once_told(&self, order: &WriteOrder) {
        let consensus = self.consensus();
        let membership = consensus.membership();
        let going = in_transit(&membership);
        if membership.changing || going.is_empty() {
            return;
        }
        let is_current = || consensus.membership().at == membership.at;
        let until = Instant::now() + limits::FAREWELL_MAX;
        let mut told_by = None;
        while Instant::now() < until && is_current() {
            if told_by.is_none() && configured(&order.state.read()).is_some_and(|servers| lacks(&servers, &going)) {
                told_by = order.boundary.lock().position().map(|at| at.index);
            }
            let has_it = |id: &u64| consensus.matching(*id) >= told_by;
            if told_by.is_some() && going.iter().all(has_it) {
                // The word that the entry is committed comes behind the entry.
                tokio::time::sleep(2 * limits::HEARTBEAT).await;
                break;
            }
            tokio::time::sleep(limits::CLOSE_BEHIND_INTERVAL).await;
        }
        while is_current() && matches!(*consensus.role().borrow(), Role::Leader { .. }) {
            match self.dismiss(membership.clone()).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, ?going, "members that are to go are not dismissed yet"),
            }
            tokio::time::sleep(limits::HEARTBEAT).await;
        }
    }

    /// Removes the members that are in transit.
    async fn dismiss(&self, membership: Membership) -> Result<(), MembershipError> {
        let going = in_transit(&membership);
        let Membership { at, voters, mut members, .. } = membership;
        members.retain(|id, _| !going.contains(id));
        self.consensus().change_membership(at, voters, members).await
    }

    /// Hands over to the most caught-up of the voters that stay.
    async fn hand_over_to_one_of(&self, voters: &BTreeSet<u64>, membership: &Membership) -> ReconfigEnd {
        let consensus = self.consensus();
        let able = voters.intersection(&membership.voters).copied();
        let Some(to) = able.min_by_key(|id| consensus.lag(*id).unwrap_or(u64::MAX)) else {
            let why = "no voter of today would stay one: change the members in two steps";
            return ReconfigEnd::Refused(Refusal::new(ErrorCode::BadArguments, why));
        };
        match consensus.transfer(Some(to)).await {
            Ok(_) => ReconfigEnd::HandedOver,
            Err(error) => error.into(),
        }
    }

    /// Step 2: asks a server that is to become a member who it is.
    async fn welcome(&self, order: &WriteOrder, server: &Server) -> Result<Member, Refusal> {
        let until = Instant::now() + limits::NEWCOMER_PATIENCE;
        loop {
            let refused = |what: String| Refusal::new(ErrorCode::BadArguments, format!("server {}: {what}", server.id));
            let error = match self.known_members.ask(server).await {
                Ok(Greeting::Empty(empty)) => {
                    let needed = order.format_level();
                    if empty.format_level < needed {
                        return Err(refused(format!(
                            "its release knows format level {}, and the ensemble's state needs {needed}: bring it to the \
                             release of the others",
                            empty.format_level
                        )));
                    }
                    return Ok(Member { server: server.clone(), incarnation: empty.incarnation });
                }
                // This is a former member. Its log is a part of the same history.
                Ok(Greeting::Initialised(other)) if other.cluster == self.known_members.me().cluster() => {
                    return Ok(Member { server: server.clone(), incarnation: other.report.incarnation });
                }
                Ok(Greeting::Initialised(_)) => {
                    return Err(refused(
                        "it belongs to another ensemble; give it an empty data directory if it shall leave that".into(),
                    ));
                }
                Err(ConnectError::Rejected(refusal)) if !refusal.is_temporary() => {
                    return Err(refused(refusal.to_string()));
                }
                Err(error) => error,
            };
            // As in ZooKeeper, an observer need not be running yet. Its data directory is noted when it first answers.
            if server.is_observer() {
                return Ok(Member { server: server.clone(), incarnation: Incarnation::default() });
            }
            if Instant::now() >= until {
                return Err(no_quorum(&format!("server {} does not answer: {error}", server.id)));
            }
            tokio::time::sleep(limits::GREETING_INTERVAL).await;
        }
    }

    /// Step 1: whether a majority of the new voters answers. The newcomers `new` have already answered.
    async fn has_quorum(
        &self,
        voters: &BTreeSet<u64>,
        known: &BTreeMap<u64, Member>,
        new: &[Server],
    ) -> Result<(), Refusal> {
        let me = self.config.server_id;
        let asked =
            known.values().filter(|member| voters.contains(&u64::from(member.server.id)) && member.server.id != me);
        let answers = join_all(asked.map(|member| self.known_members.ask(&member.server))).await;
        let answering = 1 + answers.iter().filter(|answer| matches!(answer, Ok(Greeting::Initialised(_)))).count();
        let new = new.iter().filter(|server| !server.is_observer()).count();
        if answering + new > voters.len() / 2 {
            return Ok(());
        }
        Err(no_quorum(&format!("{} of the {} participants answer: no majority", answering + new, voters.len())))
    }

    /// Step 3.
    async fn until_close_behind<'a>(&self, members: impl Iterator<Item = &'a u64>) -> Result<(), ReconfigEnd> {
        let consensus = self.consensus();
        let until = Instant::now() + limits::RECONFIG_PATIENCE;
        for member in members {
            while consensus.lag(*member).is_none_or(|lag| lag > limits::CLOSE_BEHIND_ENTRIES) {
                if !matches!(*consensus.role().borrow(), Role::Leader { .. }) {
                    return Err(ReconfigEnd::Unknown);
                }
                if Instant::now() >= until {
                    let why = format!("server {member} has not caught up within {:?}", limits::RECONFIG_PATIENCE);
                    return Err(ReconfigEnd::Refused(no_quorum(&why)));
                }
                tokio::time::sleep(limits::CLOSE_BEHIND_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Waits until every member that is to vote runs the plugins in force, because a voter may lead.
    async fn until_they_run_plugins(
        &self,
        plugins: &Plugins,
        members: impl Iterator<Item = &Member>,
        learning: &[u64],
        voters: &BTreeSet<u64>,
    ) -> Result<(), ReconfigEnd> {
        let until = Instant::now() + limits::RECONFIG_PATIENCE;
        let to_vote = |member: &&Member| {
            let id = u64::from(member.server.id);
            learning.contains(&id) && voters.contains(&id)
        };
        for member in members.filter(to_vote) {
            loop {
                if plugins.registry().all().all(|binding| !binding.is_on()) {
                    return Ok(());
                }
                let (lacks, hopeless) = match self.known_members.ask(&member.server).await {
                    Ok(Greeting::Initialised(other)) => match other.report.plugins {
                        PluginsHere::All => break,
                        PluginsHere::Off => ("it runs with --plugins off", true),
                        PluginsHere::NotAll => ("`wasmkeeper plugin status` says which it lacks, and why", false),
                    },
                    _ => ("it does not answer", false),
                };
                if Instant::now() >= until || hopeless {
                    let why = format!("server {} does not run every plugin in force: {lacks}", member.server.id);
                    return Err(ReconfigEnd::Refused(no_quorum(&why)));
                }
                tokio::time::sleep(limits::GREETING_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Goes back to the members of `before`.
    async fn forget_learners(&self, before: &Membership) {
        let now = self.consensus().membership();
        let members = now.members.into_iter().filter(|(id, _)| before.members.contains_key(id)).collect();
        if let Err(error) = self.consensus().change_membership(now.at, now.voters, members).await {
            tracing::warn!(%error, "members that were to join could not be removed again; the next leader will");
        }
    }

    /// Repairs the membership. Returns false if this member does not lead any more, or if another change of the members
    /// is under way.
    async fn repair_membership(&self) -> bool {
        let consensus = self.consensus();
        let mut watch = consensus.membership_watch();
        let Ok(membership) =
            watch.wait_for(|membership| !membership.changing).await.map(|membership| membership.clone())
        else {
            return false;
        };
        let mut members = membership.members.clone();
        // The reconfig that added them, or removed them, was cut short.
        let in_transit = in_transit(&membership);
        members.retain(|id, _| !in_transit.contains(id));
        let (alone, own) = (members.len() == 1, self.config.own_server());
        if let (true, Some(own), Some(me)) = (alone, own, members.get_mut(&u64::from(self.config.server_id))) {
            me.server = own.for_a_membership_of_one();
            me.incarnation = self.known_members.me().incarnation;
        }
        if members != membership.members
            && let Err(error) = consensus.change_membership(membership.at, membership.voters, members).await
        {
            tracing::debug!(%error, "the members are not put right");
            return false;
        }
        self.warn_of_another_file();
        true
    }

    /// What `/zookeeper/config` must be set to. None if it already states what the members are.
    pub(in crate::replica) fn configuration_to_write(&self, order: &WriteOrder) -> Option<Vec<Server>> {
        config_to_write(&order.state.read(), &self.consensus().membership())
    }

    /// The `server.N` lines of the file count when an ensemble is founded, and never again.
    fn warn_of_another_file(&self) {
        let file = &self.config.ensemble.servers;
        let Some(servers) = settled(&self.consensus().membership()) else { return };
        let agree = |line: &Server| {
            let says_where = line.id != self.config.server_id || line.local_address().is_none();
            servers.iter().any(|server| server.id == line.id && (server == line || !says_where))
        };
        let same = file.len() == servers.len() && file.iter().all(agree);
        if !file.is_empty() && !same {
            let lines: Vec<String> = servers.iter().map(|server| format!("server.{}={server}", server.id)).collect();
            tracing::warn!(
                "the file's `server.N` lines are not the members of the ensemble, which are {}. The members count; \
                 change them with `wasmkeeper cluster add` and `remove`, or correct the file",
                lines.join(", ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u32, role: &str) -> (u64, Member) {
        let server = Server::parse(id, &format!("m{id}:2888:3888:{role}")).unwrap();
        (u64::from(id), Member { server, incarnation: Incarnation::default() })
    }

    /// A removed observer looks like every other member that is to go, and not like one that stays.
    #[test]
    fn members_that_are_to_go_are_in_transit() {
        let all = BTreeMap::from([member(1, "participant"), member(2, "participant"), member(3, "observer")]);
        let mut membership =
            Membership { at: None, voters: BTreeSet::from([1, 2]), changing: false, members: all.clone() };
        assert_eq!(in_transit(&membership), BTreeSet::new());

        let staying = BTreeMap::from([member(1, "participant")]);
        membership.voters.remove(&2);
        membership.members = staying.clone().into_iter().chain(leaving(&membership, &staying)).collect();
        assert_eq!(membership.members.len(), all.len());
        assert_eq!(in_transit(&membership), BTreeSet::from([2, 3]));
        assert_eq!(settled(&membership), None, "the configuration waits until they are gone");
    }
}
