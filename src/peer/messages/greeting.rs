//! The messages of a Greeting connection: who the two members are, before there is consensus and beside it.
//!
//! The dialer speaks first, and the other member answers, as often as the dialer likes. Every member answers at any
//! time, also an empty one. No message here decides anything by itself. An empty member uses them to wait for its
//! ensemble (`replica::ensemble::bootstrap`), a leader to report on members (`replica::ensemble::known_members`).

use crate::model::Zxid;
use crate::model::ensemble::{Incarnation, Member, Server};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Empty(Empty),
    Initialised(Box<Initialised>),
}

/// A member without a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Empty {
    pub(crate) incarnation: Incarnation,
    /// The servers of its configuration file.
    pub(crate) configured: Vec<Server>,
    /// The highest format level that its release knows.
    pub(crate) format_level: u32,
}

/// A member of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Initialised {
    pub(crate) cluster: u64,
    pub(crate) roster: Roster,
    pub(crate) report: Report,
    /// The reports that the leader has gathered from the others. Empty from every other member.
    pub(crate) gathered: Vec<(u32, Report)>,
}

/// The members as of one entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roster {
    /// Term and index of the entry.
    pub(crate) at: Option<(u64, u64)>,
    pub(crate) members: Vec<Member>,
}

impl Roster {
    pub(crate) fn member(&self, id: u32) -> Option<&Member> {
        self.members.iter().find(|member| member.server.id == id)
    }
}

/// What a member reports about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) standing: Standing,
    pub(crate) incarnation: Incarnation,
    /// The last zxid applied.
    pub(crate) zxid: Zxid,
    /// Index of the last entry applied.
    pub(crate) applied: u64,
    /// The highest format level that its release knows.
    pub(crate) format_level: u32,
    /// Its digest at `zxid` differs from the leader's. It neither applies nor serves.
    pub(crate) diverged: bool,
    /// Which of the active plugins it runs.
    pub(crate) plugins: PluginsHere,
    /// The member's clock, Unix milliseconds.
    pub(crate) wall_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PluginsHere {
    All,
    /// Some plugins cannot run, or are not ready yet.
    NotAll,
    /// It was started with `--plugins off`.
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    Leads { term: u64 },
    Follows { leader: Option<u32> },
}
