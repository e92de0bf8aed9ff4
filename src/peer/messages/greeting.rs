//! What two members say on a Greeting connection: who each of them is, before and beside all consensus.
//!
//! The dialer speaks first, the other answers, as often as the dialer likes. Everybody answers at any time, an empty member
//! too. Nothing that is said here decides anything by itself: an empty member waits by it (`replica::ensemble::bootstrap`), a leader
//! reports by it (`replica::ensemble::known_members`).

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
    /// Numbers and roles of the servers that its file names.
    pub configured: Vec<(u32, ServerRole)>,
    /// The highest level that its release knows.
    pub format_level: u32,
}

/// A member of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialised {
    pub cluster: u64,
    pub roster: Roster,
    pub report: Report,
    /// What the leader has gathered of the others; empty from everybody else.
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

/// How one member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub standing: Standing,
    pub incarnation: Incarnation,
    /// The last zxid applied.
    pub zxid: Zxid,
    /// Index of the last entry applied.
    pub applied: u64,
    /// The highest level that its release knows.
    pub format_level: u32,
    /// Its digest of `zxid` is another than the leader's: it neither applies nor serves.
    pub diverged: bool,
    /// Which of the plugins in force it runs.
    pub plugins: PluginsHere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginsHere {
    All,
    /// Some cannot be run, or are not ready yet.
    NotAll,
    /// It was started with `--plugins off`.
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Leads { term: u64 },
    Follows { leader: Option<u32> },
}
