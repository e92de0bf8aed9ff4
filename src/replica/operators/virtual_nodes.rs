//! The paths below `/zookeeper/` that operators read and that are no nodes of the tree: `/zookeeper/leader`,
//! `/zookeeper/members`, `/zookeeper/clock`, `/zookeeper/trace`, a plugin's `audit`, and what
//! `Plugins::virtual_node` knows.
//!
//! Each member answers by what it knows itself. Its own log says who the members are. The reports that the leader
//! gathers say how each member is (`ensemble::known_members`). Reports may be some seconds old, and the answer says how
//! old.

use crate::consensus::Membership;
use crate::model::control_plane::{CLOCK, LEADER, MEMBERS, TRACE};
use crate::model::ensemble::{Incarnation, Member};
use crate::peer::messages::greeting::{Report, Standing};
use crate::pipeline::read::VirtualNodes;
use crate::plugin::Plugins;
use crate::replica::Replica;
use crate::replica::ensemble::Ensemble;
use crate::replica::ensemble::known_members::{self, KnownMembers};
use crate::state::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers the paths that are no nodes of the tree.
pub(crate) struct MemberVirtualNodes {
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) known_members: Arc<KnownMembers>,
}

impl VirtualNodes for MemberVirtualNodes {
    fn data(&self, state: &State, path: &str) -> Option<Vec<u8>> {
        match path {
            LEADER => Some(self.known_members.replica()?.ensemble.leader()?.to_string().into_bytes()),
            trace if trace.starts_with(TRACE) => self.known_members.replica()?.order.provenance.virtual_node(trace),
            CLOCK => {
                let drift = self.known_members.replica()?.ensemble.drift(state.wall_ms());
                let told =
                    json!({ "wall_ms": state.wall_ms(), "ahead_ms": drift.ahead_ms, "offset_ms": drift.offset_ms });
                Some(told.to_string().into_bytes())
            }
            MEMBERS => Some(members(&*self.known_members.replica()?).to_string().into_bytes()),
            _ => self.plugins.audited(state, path).or_else(|| self.plugins.virtual_node(path)),
        }
    }
}

/// The content of `/zookeeper/members`.
fn members(replica: &Replica) -> Value {
    let membership = replica.ensemble.consensus().membership();
    let leader = replica.ensemble.leader();
    let members: Vec<Value> =
        membership.members.values().map(|member| shown(replica, member, &membership, leader)).collect();
    json!({
        "asked": replica.config.server_id,
        "leader": leader,
        "changing": membership.changing,
        "format_level": replica.order.format_level(),
        "members": members,
    })
}

fn shown(replica: &Replica, member: &Member, membership: &Membership, leader: Option<u32>) -> Value {
    let ensemble = &replica.ensemble;
    let server = &member.server;
    let known = if server.id == replica.config.server_id {
        Some((0, known_members::report_of(replica)))
    } else {
        let reported = ensemble.known_members.report_of(server.id);
        reported.map(|(at, report)| (at.elapsed().as_millis() as u64, report))
    };
    let report = known.map(|(_, report)| report);
    let votes = membership.voters.contains(&u64::from(server.id));
    let address: Vec<String> = server.addresses.iter().map(|address| address.to_string()).collect();
    json!({
        "id": server.id,
        "role": server.role.to_string(),
        "votes": votes,
        "state": state(member, votes, leader),
        "address": address.join("|"),
        "client": server.client.as_ref().map(|client| client.to_string()),
        "server": server.to_string(),
        "incarnation": (member.incarnation != Incarnation::default()).then(|| hex(&member.incarnation)),
        "zxid": report.map(|report| format!("0x{:x}", report.zxid.0)),
        "applied": report.map(|report| report.applied),
        "lag": lag(ensemble, replica.config.server_id, server.id, leader, report.as_ref()),
        "format_level": report.map(|report| report.format_level),
        "diverged": report.is_some_and(|report| report.diverged),
        "heard_ms_ago": known.map(|(ms, _)| ms),
    })
}

/// How many entries member `id` is behind the leader. `me`: this member.
fn lag(ensemble: &Ensemble, me: u32, id: u32, leader: Option<u32>, report: Option<&Report>) -> Option<u64> {
    match leader {
        Some(leader) if leader == id => Some(0),
        Some(leader) if leader == me => ensemble.consensus().lag(u64::from(id)),
        Some(leader) => {
            let (_, leading) = ensemble.known_members.report_of(leader)?;
            matches!(leading.standing, Standing::Leads { .. })
                .then(|| report.map(|report| leading.applied.saturating_sub(report.applied)))?
        }
        None => None,
    }
}

fn state(member: &Member, votes: bool, leader: Option<u32>) -> &'static str {
    match (leader == Some(member.server.id), member.server.is_observer(), votes) {
        (true, ..) => "leader",
        (false, true, _) => "observer",
        (false, false, true) => "follower",
        (false, false, false) => "joining",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
