//! Before consensus starts: a member with an empty log finds out whether it may found an ensemble, or join one.
//!
//! An empty log may be the log of a member that has lost its disk and, with it, its votes: were it to vote again, two
//! leaders could be elected in one term, and what a majority acknowledged could be lost. So an empty member asks all that
//! its file names, and neither founds nor votes until every one has said that it is empty, too; or until an ensemble has
//! it among its members under this very incarnation; or until the operator has said which of them are gone for good.
//!
//! All being empty, one founds: the participant with the lowest number. The others hear from it that they are
//! members. So there is one first membership, however the files spell the addresses.
//!
//! Lost with a founder that loses its disk before anybody has joined: nothing, all are empty again.

use super::peers::Door;
use crate::environment::Instant;
use crate::limits;
use crate::model::ensemble::{Incarnation, Member, Server, ServerRole};
use crate::peer::messages::greeting::{Greeting, Initialised, Roster};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The member that asks.
#[derive(Clone, Debug)]
pub struct Own {
    pub id: u32,
    pub incarnation: Incarnation,
    /// As its file names them, itself among them.
    pub servers: Vec<Server>,
    /// Those that the operator says will not come (`--found-without`).
    pub missing: BTreeSet<u32>,
}

/// What a server said when it was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Why there is none.
    None(String),
    Greeting(Greeting),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Wait(Reason),
    /// This member founds: these are the first members, and that is the ensemble's id.
    Found {
        members: BTreeMap<u64, Member>,
        cluster: u64,
    },
    /// An ensemble has it as a member.
    Join {
        cluster: u64,
        roster: Roster,
    },
}

/// Why it waits, as a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// In the order of things: nothing to be done.
    Founder(u32),
    Recorded,
    Silent(Vec<(u32, String)>),
    /// These need somebody.
    OtherFile {
        id: u32,
        theirs: Vec<(u32, ServerRole)>,
    },
    SameDisk(u32),
    OtherIncarnation {
        id: u32,
        by: u32,
    },
    NotAMember {
        id: u32,
        by: u32,
        server: String,
    },
    TwoEnsembles(u32, u32),
    NoParticipant,
}

/// What to do, by all that was said. `answers`: of every server of the file but itself.
pub fn decide(own: &Own, answers: &BTreeMap<u32, Answer>) -> Decision {
    let initialised: Vec<(u32, &Initialised)> = answers
        .iter()
        .filter_map(|(id, answer)| match answer {
            Answer::Greeting(Greeting::Initialised(initialised)) => Some((*id, &**initialised)),
            _ => None,
        })
        .collect();
    match newest(&initialised) {
        Ok(None) => found(own, answers),
        Ok(Some((by, initialised))) => join(own, by, initialised),
        Err(reason) => Decision::Wait(reason),
    }
}

/// The one with the newest roster, if they all speak of the same ensemble.
fn newest<'a>(initialised: &[(u32, &'a Initialised)]) -> Result<Option<(u32, &'a Initialised)>, Reason> {
    let Some((first, of_first)) = initialised.first() else { return Ok(None) };
    match initialised.iter().find(|(_, other)| other.cluster != of_first.cluster) {
        Some((second, _)) => Err(Reason::TwoEnsembles(*first, *second)),
        None => Ok(initialised.iter().max_by_key(|(_, one)| one.roster.at).copied()),
    }
}

fn join(own: &Own, by: u32, initialised: &Initialised) -> Decision {
    match initialised.roster.member(own.id) {
        Some(member) if member.incarnation == own.incarnation => {
            Decision::Join { cluster: initialised.cluster, roster: initialised.roster.clone() }
        }
        Some(member) if member.incarnation == Incarnation::default() => Decision::Wait(Reason::Recorded),
        Some(_) => Decision::Wait(Reason::OtherIncarnation { id: own.id, by }),
        None => {
            let server = own.servers.iter().find(|server| server.id == own.id).map(Server::to_string);
            Decision::Wait(Reason::NotAMember { id: own.id, by, server: server.unwrap_or_default() })
        }
    }
}

fn found(own: &Own, answers: &BTreeMap<u32, Answer>) -> Decision {
    let roles = |servers: &[Server]| servers.iter().map(|server| (server.id, server.role)).collect::<BTreeMap<_, _>>();
    let ours = roles(&own.servers);
    let mut incarnations = BTreeMap::from([(own.id, own.incarnation)]);
    let mut silent = Vec::new();
    for server in own.servers.iter().filter(|server| server.id != own.id) {
        match answers.get(&server.id) {
            Some(Answer::Greeting(Greeting::Empty(empty))) => {
                if empty.configured.iter().copied().collect::<BTreeMap<_, _>>() != ours {
                    return Decision::Wait(Reason::OtherFile { id: server.id, theirs: empty.configured.clone() });
                }
                if incarnations.values().any(|incarnation| *incarnation == empty.incarnation) {
                    return Decision::Wait(Reason::SameDisk(server.id));
                }
                incarnations.insert(server.id, empty.incarnation);
            }
            _ if own.missing.contains(&server.id) => {}
            Some(Answer::None(why)) => silent.push((server.id, why.clone())),
            _ => silent.push((server.id, "not asked yet".to_owned())),
        }
    }
    if !silent.is_empty() {
        return Decision::Wait(Reason::Silent(silent));
    }
    let members: BTreeMap<u64, Member> = own
        .servers
        .iter()
        .filter_map(|server| {
            let incarnation = *incarnations.get(&server.id)?;
            Some((u64::from(server.id), Member { server: server.clone(), incarnation }))
        })
        .collect();
    let founder = members.values().find(|member| !member.server.is_observer()).map(|member| member.server.id);
    match founder {
        None => Decision::Wait(Reason::NoParticipant),
        Some(founder) if founder != own.id => Decision::Wait(Reason::Founder(founder)),
        Some(_) => Decision::Found { cluster: cluster(&members), members },
    }
}

/// The ensemble's id: a hash of numbers and incarnations, never 0.
pub fn cluster(members: &BTreeMap<u64, Member>) -> u64 {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for (id, member) in members {
        hash.update(id.to_le_bytes());
        hash.update(member.incarnation);
    }
    let (first, _) = *hash.finalize().as_slice().as_chunks::<8>().0.first().map(|first| (first, ())).as_ref().expect("32 bytes");
    u64::from_le_bytes(*first).max(1)
}

impl Reason {
    /// Whether somebody has to do something.
    fn needs_help(&self) -> bool {
        !matches!(self, Reason::Founder(_) | Reason::Recorded | Reason::Silent(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Founder(id) => write!(f, "every server is empty, and server {id} founds the ensemble"),
            Reason::Recorded => f.write_str("this server is a member, and the leader is about to note its data directory"),
            Reason::Silent(silent) => {
                f.write_str("this server's data directory is empty, and it takes no part before each server of its file has said whether it is empty, too; there is no answer of ")?;
                for (at, (id, why)) in silent.iter().enumerate() {
                    write!(f, "{}server {id} ({why})", if at == 0 { "" } else { ", " })?;
                }
                f.write_str(". Start them; if they are gone for good, name them with --found-without")
            }
            Reason::OtherFile { id, theirs } => {
                write!(f, "the file of server {id} names other servers or roles than this one's:")?;
                for (id, role) in theirs {
                    write!(f, " {id} ({role})")?;
                }
                f.write_str(". Give both the same `server.N` lines and start them again")
            }
            Reason::SameDisk(id) => write!(
                f,
                "server {id} has a copy of another server's data directory; stop it, empty its directory, start it again"
            ),
            Reason::OtherIncarnation { id, by } => write!(
                f,
                "server {by} knows server {id} with another data directory than this one, which is empty. Has its disk been lost or \
                 exchanged? Bring the old directory back; or run `wasmkeeper cluster remove {id}` and then `wasmkeeper \
                 cluster add` against the ensemble: it then joins as a new one"
            ),
            Reason::NotAMember { id, by, server } => write!(
                f,
                "server {by} belongs to an ensemble in which there is no server {id}; add it with `wasmkeeper cluster add \
                 'server.{id}={server}'`"
            ),
            Reason::TwoEnsembles(one, other) => write!(
                f,
                "servers {one} and {other} belong to two different ensembles; correct the `server.N` lines of this server"
            ),
            Reason::NoParticipant => f.write_str("all servers of the file are observers; an ensemble needs a participant"),
        }
    }
}
