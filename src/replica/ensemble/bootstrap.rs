//! Before consensus starts: a member with an empty log finds out whether it may found an ensemble, or join one.
//!
//! An empty log may belong to a member that has lost its disk, together with its record of how it has voted. If that
//! member voted again, two leaders could be elected in one term, and writes that a majority had acknowledged could be
//! lost. So an empty member asks all servers that its file names. It neither founds nor votes until one of these holds:
//!
//! - every other server has said that it is empty, too;
//! - an ensemble has this member in its roster, with this very incarnation;
//! - the operator has named the silent servers as gone for good, and all others are empty.
//!
//! If all are empty, the participant with the lowest number founds. The others hear from it that they are members. So
//! there is one first membership.
//!
//! The files may differ in what each says of its own server: `0.0.0.0`, or a name that holds on its own machine only.
//! So a member's addresses are taken from the files of the others (`reconcile`). If these differ, nobody founds, and
//! the lines are logged.
//!
//! If a founder loses its disk before any member has joined, no write is lost: all members are empty again.

use super::known_members::KnownMembers;
use crate::config::Config;
use crate::environment::Instant;
use crate::limits;
use crate::model::ensemble::{Incarnation, Member, Server, ServerRole};
use crate::peer::messages::greeting::{Greeting, Initialised, Roster};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An empty member that asks the others.
#[derive(Clone, Debug)]
pub(crate) struct EmptyMember {
    id: u32,
    incarnation: Incarnation,
    /// The servers of its configuration file, itself among them.
    servers: Vec<Server>,
    /// The servers that the operator says will not come (`--found-without`).
    missing: BTreeSet<u32>,
}

/// What a server said when it was asked.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    /// No answer, and why.
    Silent(String),
    Greeting(Greeting),
}

#[derive(Clone, Debug, PartialEq)]
enum Decision {
    Wait(Reason),
    /// This member founds an ensemble with these members and that id.
    Found {
        members: BTreeMap<u64, Member>,
        cluster: u64,
    },
    /// An ensemble has this member in its roster.
    Join {
        cluster: u64,
        roster: Roster,
    },
}

/// Why a member waits. `Display` makes a sentence of it.
#[derive(Clone, Debug, PartialEq)]
enum Reason {
    // These pass without the operator.
    /// That server founds the ensemble.
    Founder(u32),
    /// The leader is about to note this member's data directory.
    Recorded,
    /// These servers have not answered, and why.
    Silent(Vec<(u32, String)>),
    // These need the operator.
    OtherFile {
        id: u32,
        theirs: Vec<(u32, ServerRole)>,
    },
    /// The files of the others place that server at different addresses. `lines`: of whose file, and what it says.
    OtherLines {
        id: u32,
        lines: Vec<(u32, Server)>,
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

/// What to do. `answers`: of every server of the file but `own`.
fn decide(own: &EmptyMember, answers: &BTreeMap<u32, Answer>) -> Decision {
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

/// The server with the newest roster, if all belong to the same ensemble.
fn newest<'a>(initialised: &[(u32, &'a Initialised)]) -> Result<Option<(u32, &'a Initialised)>, Reason> {
    let Some((first, of_first)) = initialised.first() else { return Ok(None) };
    match initialised.iter().find(|(_, other)| other.cluster != of_first.cluster) {
        Some((second, _)) => Err(Reason::TwoEnsembles(*first, *second)),
        None => Ok(initialised.iter().max_by_key(|(_, one)| one.roster.at).copied()),
    }
}

fn join(own: &EmptyMember, by: u32, initialised: &Initialised) -> Decision {
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

fn found(own: &EmptyMember, answers: &BTreeMap<u32, Answer>) -> Decision {
    let roles = |servers: &[Server]| servers.iter().map(|server| (server.id, server.role)).collect::<BTreeMap<_, _>>();
    let ours = roles(&own.servers);
    let mut incarnations = BTreeMap::from([(own.id, own.incarnation)]);
    let mut files = BTreeMap::from([(own.id, own.servers.as_slice())]);
    let mut silent = Vec::new();
    for server in own.servers.iter().filter(|server| server.id != own.id) {
        match answers.get(&server.id) {
            Some(Answer::Greeting(Greeting::Empty(empty))) => {
                let theirs = roles(&empty.configured);
                if theirs != ours {
                    let theirs = theirs.into_iter().collect();
                    return Decision::Wait(Reason::OtherFile { id: server.id, theirs });
                }
                if incarnations.values().any(|incarnation| *incarnation == empty.incarnation) {
                    return Decision::Wait(Reason::SameDisk(server.id));
                }
                incarnations.insert(server.id, empty.incarnation);
                files.insert(server.id, &empty.configured);
            }
            _ if own.missing.contains(&server.id) => {}
            Some(Answer::Silent(why)) => silent.push((server.id, why.clone())),
            _ => silent.push((server.id, "not asked yet".to_owned())),
        }
    }
    if !silent.is_empty() {
        return Decision::Wait(Reason::Silent(silent));
    }
    let servers = match reconcile(&files) {
        Ok(servers) => servers,
        Err(reason) => return Decision::Wait(reason),
    };
    let members: BTreeMap<u64, Member> = servers
        .into_iter()
        .filter_map(|server| {
            let incarnation = *incarnations.get(&server.id)?;
            Some((u64::from(server.id), Member { server, incarnation }))
        })
        .collect();
    let founder = members.values().find(|member| !member.server.is_observer()).map(|member| member.server.id);
    match founder {
        None => Decision::Wait(Reason::NoParticipant),
        Some(founder) if founder != own.id => Decision::Wait(Reason::Founder(founder)),
        Some(_) => Decision::Found { cluster: cluster(&members), members },
    }
}

/// The founding members, each at the addresses by which the others know it. What a file says of its own server counts
/// only where the others say nothing: its client address, and everything if there are no others. `files`: the servers
/// in the file of each founding member.
fn reconcile(files: &BTreeMap<u32, &[Server]>) -> Result<Vec<Server>, Reason> {
    let line = |file: u32, id: u32| files.get(&file)?.iter().find(|server| server.id == id);
    let member = |id: u32| {
        let own = line(id, id).cloned().unwrap_or_default();
        let others: Vec<(u32, &Server)> =
            files.keys().filter(|file| **file != id).filter_map(|file| Some((*file, line(*file, id)?))).collect();
        let Some((_, first)) = others.first() else { return Ok(own.for_a_membership_of_one()) };
        let agreed = others.iter().all(|(_, server)| server.addresses == first.addresses);
        if !agreed || first.local_address().is_some() {
            let lines = others.into_iter().map(|(file, server)| (file, server.clone())).collect();
            return Err(Reason::OtherLines { id, lines });
        }
        let client = others.iter().find_map(|(_, server)| server.client.clone()).or(own.client);
        let secure_client = others.iter().find_map(|(_, server)| server.secure_client.clone()).or(own.secure_client);
        Ok(Server { client, secure_client, ..(*first).clone() })
    };
    files.keys().map(|id| member(*id)).collect()
}

/// The ensemble's id: a hash of the members' numbers and incarnations, never 0.
fn cluster(members: &BTreeMap<u64, Member>) -> u64 {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for (id, member) in members {
        hash.update(id.to_le_bytes());
        hash.update(member.incarnation);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(first).max(1)
}

/// The ensemble that an empty member founds or joins.
pub(crate) struct Bootstrapped {
    pub(crate) cluster: u64,
    /// The first members, if this member founds the ensemble.
    pub(crate) found: Option<BTreeMap<u64, Member>>,
    /// The members of the ensemble, if this member joins it.
    pub(crate) roster: Option<Roster>,
}

impl EmptyMember {
    pub(in crate::replica) fn new(config: &Config, incarnation: Incarnation) -> EmptyMember {
        let id = config.server_id;
        let mut servers = config.ensemble.servers.clone();
        if servers.is_empty() {
            servers.push(Server { id, ..Server::default() });
        }
        EmptyMember { id, incarnation, servers, missing: config.ensemble.found_without.clone() }
    }

    /// Asks the other servers until it is clear what to do. Logs why it waits, whenever the reason changes.
    pub(in crate::replica) async fn settle(&self, others: &KnownMembers) -> Bootstrapped {
        let began = Instant::now();
        let mut said = None;
        loop {
            let reason = match decide(self, &self.ask(others).await) {
                Decision::Found { members, cluster } => {
                    return Bootstrapped { cluster, found: Some(members), roster: None };
                }
                Decision::Join { cluster, roster } => {
                    return Bootstrapped { cluster, found: None, roster: Some(roster) };
                }
                Decision::Wait(reason) => reason,
            };
            let sentence = reason.to_string();
            // Servers are rarely started at the same moment: this is not worth a warning at first.
            let patient = !reason.needs_help() && began.elapsed() < limits::STARTING_TOGETHER;
            if !patient && said.as_ref() != Some(&sentence) {
                match reason.needs_help() {
                    true => tracing::error!("this server does not take part yet: {sentence}"),
                    false => tracing::warn!("this server waits: {sentence}"),
                }
                said = Some(sentence);
            }
            // A member of an ensemble that greets this one ends the pause.
            let _ = tokio::time::timeout(limits::GREETING_INTERVAL, others.greeted.notified()).await;
        }
    }

    async fn ask(&self, known: &KnownMembers) -> BTreeMap<u32, Answer> {
        let others = self.servers.iter().filter(|server| server.id != self.id);
        let asked = others.map(|server| async move {
            let answer = match known.ask(server).await {
                Ok(greeting) => Answer::Greeting(greeting),
                Err(error) => Answer::Silent(error.to_string()),
            };
            (server.id, answer)
        });
        join_all(asked).await.into_iter().collect()
    }
}

impl Reason {
    /// Whether the operator has to do something.
    fn needs_help(&self) -> bool {
        !matches!(self, Reason::Founder(_) | Reason::Recorded | Reason::Silent(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Founder(id) => write!(f, "every server is empty, and server {id} founds the ensemble"),
            Reason::Recorded => {
                f.write_str("this server is a member, and the leader is about to note its data directory")
            }
            Reason::Silent(silent) => {
                f.write_str(
                    "this server's data directory is empty, and it takes no part before each server of its file has said \
                     whether it is empty, too; there is no answer of ",
                )?;
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
            Reason::OtherLines { id, lines } => {
                write!(f, "the files do not say alike where server {id} is:")?;
                for (file, server) in lines {
                    write!(f, " that of server {file} has `server.{id}={server}`;")?;
                }
                f.write_str(
                    " write the host at which the others reach it into each of these files and start their servers again",
                )
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
            Reason::NoParticipant => {
                f.write_str("all servers of the file are observers; an ensemble needs a participant")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Zxid;
    use crate::model::ensemble::parse_config_text;
    use crate::peer::messages::greeting::{Empty, Report, Standing};

    const FILE: &str = "server.1=a:1:2,server.2=b:1:2,server.3=c:1:2";

    fn disk(id: u32) -> Incarnation {
        [id as u8; 16]
    }

    fn own(id: u32, file: &str) -> EmptyMember {
        let servers = parse_config_text(file).unwrap();
        EmptyMember { id, incarnation: disk(id), servers, missing: BTreeSet::new() }
    }

    fn empty(incarnation: Incarnation, file: &str) -> Answer {
        let servers = parse_config_text(file).unwrap();
        Answer::Greeting(Greeting::Empty(Empty { incarnation, configured: servers, format_level: 1 }))
    }

    fn silent() -> Answer {
        Answer::Silent("nobody listens there".to_owned())
    }

    /// The answer of a member of an ensemble. `members`: numbers and data directories.
    fn member(cluster: u64, at: u64, members: &[(u32, Incarnation)]) -> Answer {
        let members = members.iter().map(|(id, incarnation)| Member {
            server: Server::parse(*id, "x:1:2").unwrap(),
            incarnation: *incarnation,
        });
        let report = Report {
            standing: Standing::Follows { leader: None },
            incarnation: [7; 16],
            zxid: Zxid::ZERO,
            applied: 0,
            format_level: 1,
            diverged: false,
            plugins: crate::peer::messages::greeting::PluginsHere::All,
            wall_ms: 0,
        };
        let roster = Roster { at: Some((1, at)), members: members.collect() };
        Answer::Greeting(Greeting::Initialised(Box::new(Initialised { cluster, roster, report, gathered: Vec::new() })))
    }

    fn ask(own: &EmptyMember, answers: Vec<(u32, Answer)>) -> String {
        match decide(own, &answers.into_iter().collect()) {
            Decision::Wait(reason) => reason.to_string(),
            Decision::Found { members, .. } => format!("found {:?}", members.keys().collect::<Vec<_>>()),
            Decision::Join { cluster, roster } => format!("join {cluster} at {}", roster.at.unwrap().1),
        }
    }

    #[test]
    fn if_all_are_empty_the_lowest_participant_founds() {
        let all = |but: u32| (1..=3).filter(|id| *id != but).map(|id| (id, empty(disk(id), FILE))).collect::<Vec<_>>();
        assert_eq!(ask(&own(1, FILE), all(1)), "found [1, 2, 3]");
        assert!(ask(&own(2, FILE), all(2)).contains("server 1 founds"));
        let observed = "server.1=a:1:2:observer,server.2=b:1:2,server.3=c:1:2";
        let others = |but: u32| (1..=3).filter(|id| *id != but).map(|id| (id, empty(disk(id), observed))).collect();
        assert_eq!(ask(&own(2, observed), others(2)), "found [1, 2, 3]");
        assert!(ask(&own(1, observed), others(1)).contains("server 2 founds"));
        assert_eq!(ask(&own(4, "server.4=a:1:2"), vec![]), "found [4]");
        assert!(ask(&own(4, "server.4=a:1:2:observer"), vec![]).contains("needs a participant"));
    }

    #[test]
    fn one_silent_server_holds_all_of_them_back_until_the_operator_names_it() {
        let mut own = own(1, FILE);
        let answers = || vec![(2, empty(disk(2), FILE)), (3, silent())];
        let said = ask(&own, answers());
        assert!(
            said.contains("no answer of server 3 (nobody listens there)") && said.contains("--found-without"),
            "{said}"
        );
        assert!(ask(&own, vec![]).contains("server 2 (not asked yet), server 3"));
        own.missing = [3].into();
        assert_eq!(ask(&own, answers()), "found [1, 2]");
        // A server that was named as gone for good, and answers after all, does no harm.
        assert_eq!(ask(&own, vec![(2, empty(disk(2), FILE)), (3, empty(disk(3), FILE))]), "found [1, 2, 3]");
        own.id = 2;
        own.incarnation = disk(2);
        own.missing = [1].into();
        assert_eq!(ask(&own, vec![(1, silent()), (3, empty(disk(3), FILE))]), "found [2, 3]");
        // An existing ensemble counts, even if its members were named as gone for good.
        assert!(
            ask(&own, vec![(1, silent()), (3, member(5, 1, &[(1, disk(1)), (3, disk(3))]))]).contains("cluster add")
        );
    }

    #[test]
    fn a_member_joins_its_ensemble_with_the_same_data_directory_only() {
        let own = own(2, FILE);
        let members = |second| [(1, disk(1)), (2, second), (3, disk(3))];
        let of = |second| vec![(1, member(5, 9, &members(second))), (3, silent())];
        assert_eq!(ask(&own, of(disk(2))), "join 5 at 9");
        let wiped = ask(&own, of(disk(9)));
        assert!(wiped.contains("server 1 knows server 2 with another data directory"), "{wiped}");
        assert!(wiped.contains("wasmkeeper cluster remove 2"), "{wiped}");
        assert!(ask(&own, of(Incarnation::default())).contains("about to note"));
        // It changes nothing that the other servers are empty: a majority that lost its disks must not found a second
        // ensemble.
        let two_wiped = vec![(1, member(5, 9, &members(disk(9)))), (3, empty(disk(8), FILE))];
        assert!(ask(&own, two_wiped).contains("another data directory"));
    }

    #[test]
    fn the_newest_roster_counts_and_two_ensembles_are_an_error() {
        let own = own(2, FILE);
        let (without, with) = ([(1, disk(1))], [(1, disk(1)), (2, disk(2))]);
        assert_eq!(ask(&own, vec![(1, member(5, 3, &with)), (3, member(5, 2, &without))]), "join 5 at 3");
        let said = ask(&own, vec![(1, member(5, 2, &with)), (3, member(5, 3, &without))]);
        assert!(said.contains("no server 2") && said.contains("cluster add 'server.2=b:1:2:participant'"), "{said}");
        let said = ask(&own, vec![(1, member(5, 3, &with)), (3, member(6, 2, &with))]);
        assert!(said.contains("servers 1 and 3 belong to two different ensembles"), "{said}");
    }

    #[test]
    fn different_files_and_copied_disks_are_found() {
        let own = own(1, FILE);
        let four = "server.1=a:1:2,server.2=b:1:2,server.3=c:1:2:observer";
        let said = ask(&own, vec![(2, empty(disk(2), FILE)), (3, empty(disk(3), four))]);
        assert!(said.contains("file of server 3") && said.contains("3 (observer)"), "{said}");
        let said = ask(&own, vec![(2, empty(disk(3), FILE)), (3, empty(disk(3), FILE))]);
        assert!(said.contains("server 3 has a copy"), "{said}");
    }

    /// The official image's old example: each file says `0.0.0.0` of its own server.
    #[test]
    fn a_member_is_where_the_others_say() {
        let own = own(1, "server.1=0.0.0.0:1:2;3,server.2=b:1:2,server.3=c:1:2");
        let second = "server.1=a:1:2,server.2=[::]:1:2;4,server.3=c:1:2;5";
        let third = "server.1=a:1:2,server.2=b:1:2,server.3=localhost:1:2;6";
        let answers = |second, third| BTreeMap::from([(2, empty(disk(2), second)), (3, empty(disk(3), third))]);
        let Decision::Found { members, .. } = decide(&own, &answers(second, third)) else { panic!("it founds") };
        let lines: Vec<String> = members.values().map(|member| member.server.to_string()).collect();
        assert_eq!(
            lines,
            ["a:1:2:participant;0.0.0.0:3", "b:1:2:participant;0.0.0.0:4", "c:1:2:participant;0.0.0.0:5"]
        );

        let other = "server.1=elsewhere:1:2,server.2=b:1:2,server.3=c:1:2";
        let said = ask(&own, answers(second, other).into_iter().collect());
        for line in
            ["where server 1 is", "that of server 2 has `server.1=a:1:2:", "server 3 has `server.1=elsewhere:1:2:"]
        {
            assert!(said.contains(line), "{said}");
        }
        let local = "server.1=0.0.0.0:1:2,server.2=b:1:2,server.3=c:1:2";
        assert!(ask(&own, answers(local, local).into_iter().collect()).contains("where server 1 is"));
    }

    /// Others can join once the file names a host that they can use (`repair_membership`).
    #[test]
    fn a_server_alone_founds_without_an_address_that_holds_there_only() {
        let Decision::Found { members, .. } = decide(&own(4, "server.4=0.0.0.0:1:2;3"), &BTreeMap::new()) else {
            panic!("it founds")
        };
        assert_eq!(members[&4].server.addresses, []);
    }

    #[test]
    fn different_members_make_a_different_ensemble_id() {
        let members = |second: Incarnation| {
            let member = |id: u32, incarnation| Member { server: Server::parse(id, "x:1:2").unwrap(), incarnation };
            BTreeMap::from([(1, member(1, disk(1))), (2, member(2, second))])
        };
        assert_eq!(cluster(&members(disk(2))), cluster(&members(disk(2))));
        assert_ne!(cluster(&members(disk(2))), cluster(&members(disk(3))));
    }
}
