//! The messages of a Greeting connection: who the two members are, before there is consensus and beside it.
//!
//! The dialer speaks first, and the other member answers, as often as the dialer likes. Every member answers at any
//! time, also an empty one. No message here decides anything by itself. An empty member uses them to wait for its
//! ensemble (`replica::ensemble::bootstrap`), a leader to report on members (`replica::ensemble::known_members`).

use crate::model::Zxid;
use crate::model::ensemble::{Incarnation, Member, ServerRole};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    Empty(Empty),
    Initialised(Box<Initialised>),
}

/// A member without a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {
    pub incarnation: Incarnation,
    /// Numbers and roles of the servers in its configuration file.
    pub configured: Vec<(u32, ServerRole)>,
    /// The highest format level that its release knows.
    pub format_level: u32,
}

/// A member of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialised {
    pub cluster: u64,
    pub roster: Roster,
    pub report: Report,
    /// The reports that the leader has gathered from the others. Empty from every other member.
    pub gathered: Vec<(u32, Report)>,
}

/// The members as of one entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Term and index of the entry.
    pub at: Option<(u64, u64)>,
    pub members: Vec<Member>,
}

impl Roster {
    pub fn member(&self, id: u32) -> Option<&Member> {
        self.members.iter().find(|member| member.server.id == id)
    }
}

/// The state of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub standing: Standing,
    pub incarnation: Incarnation,
    /// The last zxid applied.
    pub zxid: Zxid,
    /// Index of the last entry applied.
    pub applied: u64,
    /// The highest format level that its release knows.
    pub format_level: u32,
    /// Its digest of `zxid` differs from the leader's. It neither applies nor serves.
    pub diverged: bool,
    /// Which of the active plugins it runs.
    pub plugins: PluginsHere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginsHere {
    All,
    /// Some plugins cannot run, or are not ready yet.
    NotAll,
    /// It was started with `--plugins off`.
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Leads { term: u64 },
    Follows { leader: Option<u32> },
}
