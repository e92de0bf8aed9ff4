//! What operators read of the ensemble: `/zookeeper/leader` and `/zookeeper/members`, which are no nodes of the tree.
//! `Shown` answers them, and with them all other paths that are none: `/zookeeper/trace`, a plugin's `audit`, and what
//! `Plugins::virtual_node` knows.
//!
//! The serving member answers them by what it knows: the members by its own log, how each is by the reports that the
//! leader gathers (`peers`). So they may be some seconds old, and say how old they are.

use crate::consensus::{Membership, Role};
use crate::model::control_plane::{LEADER, MEMBERS, TRACE};
use crate::model::ensemble::{Incarnation, Member};
use crate::peer::messages::greeting::{Report, Standing};
use crate::pipeline::read::VirtualNodes;
use crate::plugin::Plugins;
use crate::replica::Replica;
use crate::replica::ensemble::known_members::Door;
use crate::state::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// What this member shows under `/zookeeper/` beside the tree.
pub struct Shown {
    pub plugins: Arc<Plugins>,
    pub door: Arc<Door>,
}

impl VirtualNodes for Shown {
    fn data(&self, state: &State, path: &str) -> Option<Vec<u8>> {
        match path {
            LEADER => Some(self.door.replica()?.leader()?.to_string().into_bytes()),
            trace if trace.starts_with(TRACE) => self.door.replica()?.provenance.virtual_node(trace),
            MEMBERS => Some(self.door.replica()?.members().to_string().into_bytes()),
            _ => self.plugins.audited(state, path).or_else(|| self.plugins.virtual_node(path)),
        }
    }
}

impl Replica {
    /// The member that leads, as far as is known here.
    fn leader(&self) -> Option<u32> {
        match *self.consensus().role().borrow() {
            Role::Leader { .. } => Some(self.config.server_id),
            Role::Follower { leader } => leader.and_then(|id| u32::try_from(id).ok()),
            Role::Stopped => None,
        }
    }

    fn members(&self) -> Value {
        let membership = self.consensus().membership();
        let leader = self.leader();
        let members: Vec<Value> =
            membership.members.values().map(|member| self.shown(member, &membership, leader)).collect();
        json!({
            "asked": self.config.server_id,
            "leader": leader,
            "changing": membership.changing,
            "format_level": self.format_level(),
            "members": members,
        })
    }

    fn shown(&self, member: &Member, membership: &Membership, leader: Option<u32>) -> Value {
        let server = &member.server;
        let me = server.id == self.config.server_id;
        let known = match me {
            true => Some((0, self.report())),
            false => self.door.report_of(server.id).map(|(at, report)| (at.elapsed().as_millis() as u64, report)),
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
            "lag": self.lag(server.id, leader, report.as_ref()),
            "format_level": report.map(|report| report.format_level),
            "diverged": report.is_some_and(|report| report.diverged),
            "heard_ms_ago": known.map(|(ms, _)| ms),
        })
    }

    /// Entries that a member is behind the leader.
    fn lag(&self, id: u32, leader: Option<u32>, report: Option<&Report>) -> Option<u64> {
        match leader {
            Some(leader) if leader == id => Some(0),
            Some(leader) if leader == self.config.server_id => self.consensus().lag(u64::from(id)),
            Some(leader) => {
                let (_, leading) = self.door.report_of(leader)?;
                matches!(leading.standing, Standing::Leads { .. })
                    .then(|| report.map(|report| leading.applied.saturating_sub(report.applied)))?
            }
            None => None,
        }
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
