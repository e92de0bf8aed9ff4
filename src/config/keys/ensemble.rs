//! Settings of the section `Ensemble`: the list of servers, and how ZooKeeper's members find and follow a leader.

use super::values::{boolean, number};
use super::{Draft, Key, key, nothing, silent};
use crate::model::ensemble::{Server, ServerRole};
use std::path::PathBuf;

const HIERARCHY: &str = "Refused: hierarchical quorums are not supported, every participant has one vote.";
const CATCH_UP: &str =
    "Concerns how ZooKeeper's members catch up with their leader; here they do by log or checkpoint.";
const QUORUM_AUTH: &str = "Members do not prove who they are by SASL; use TLS between members.";

pub(super) const KEYS: &[Key] = &[
    key(
        "server.*",
        "ensemble.servers.*",
        "",
        "`server.N=host:peerPort:electionPort[:participant|observer][;[host:]clientPort]`: the ensemble, one line for each \
         server, N from 1 to 254; in TOML the table `[ensemble.servers]` with lines `N = \"host:...\"`. Several addresses \
         of one server are divided by `|`, IPv6 stands in brackets. All traffic between members goes to the peer port; \
         the election port is accepted and not opened. The list founds the ensemble at its first start; after that the \
         members in the log count, and `reconfig` or `wasmkeeper cluster` changes them. An observer has no vote. One \
         line, or none, is a single server.",
        |draft, name, value| {
            let number = name.rsplit('.').next().and_then(|number| number.parse().ok());
            let id = number.ok_or("must be server.N, with N from 1 to 254")?;
            draft.config.ensemble.servers.push(Server::parse(id, value)?);
            Ok(())
        },
    ),
    key(
        "dynamicConfigFile",
        "",
        "",
        "File with the `server.N` lines, as ZooKeeper writes it on reconfig. Read, never written.",
        |draft, _, value| {
            draft.dynamic_file = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    silent("version", "Line of a dynamic configuration file."),
    key(
        "standaloneEnabled",
        "ensemble.standalone",
        "true",
        "Whether a server that is listed alone calls itself standalone, as one without a list does, and answers \
         `reconfig` with UNIMPLEMENTED. `false`: it is an ensemble of one, which `reconfig` can extend.",
        |draft, _, value| boolean(value, &mut draft.config.ensemble.standalone),
    ),
    key(
        "quorumListenOnAllIPs",
        "ensemble.listen_on_all_addresses",
        "false",
        "Whether the peer port is open on all addresses of this machine instead of those that this server's own line \
         names. For containers, whose name leads to an address that is not theirs. Opens the port to whoever reaches \
         any of them.",
        |draft, _, value| boolean(value, &mut draft.listen_on_all),
    ),
    key(
        "initLimit",
        "ensemble.init_ticks",
        "10",
        "Ticks, 1 to 1000000, shown by `conf`. A member that joins or comes back catches up for as long as it takes: \
         nothing here depends on the number.",
        |draft, _, value| number(value, 1..=1_000_000, &mut draft.config.ensemble.init_ticks),
    ),
    key(
        "syncLimit",
        "ensemble.sync_ticks",
        "5",
        "Ticks, 1 to 1000000, shown by `conf`. Members hear of each other ten times a second and elect a new leader \
         within one: nothing here depends on the number.",
        |draft, _, value| number(value, 1..=1_000_000, &mut draft.config.ensemble.sync_ticks),
    ),
    key(
        "peerType",
        "",
        "participant",
        "`participant` or `observer`. The role in this server's own line counts; another one here is a warning.",
        |draft, _, value| {
            draft.peer_type = Some(match value.to_ascii_lowercase().as_str() {
                "participant" => ServerRole::Participant,
                "observer" => ServerRole::Observer,
                _ => return Err("must be participant or observer".into()),
            });
            Ok(())
        },
    ),
    key(
        "electionAlg",
        "",
        "3",
        "3, as in ZooKeeper, which has given up the others. Elections here are Raft's, whatever it says.",
        |_, _, value| if value == "3" { Ok(()) } else { Err("must be 3, or not set".into()) },
    ),
    key(
        "leaderServes",
        "",
        "yes",
        "The leader serves clients like any member; `no` has no effect, with a warning.",
        |draft, _, value| {
            let mut serves = true;
            boolean(value, &mut serves)?;
            if !serves {
                draft.unused.push("leaderServes=no".to_owned());
            }
            Ok(())
        },
    ),
    nothing("observerMasterPort", "Observers follow the leader itself."),
    nothing("observer.*", "Observers follow the leader as other members do."),
    nothing("electionPortBindRetry", "Where the peer port cannot be opened, the start ends with a sentence."),
    nothing("cnxTimeout", "How long a connection to a member may take to open is fixed, and its trials never end."),
    key("group.*", "", "", HIERARCHY, hierarchy),
    key("weight.*", "", "", HIERARCHY, hierarchy),
    nothing("connectToLearnerMasterLimit", CATCH_UP),
    nothing("learner.*", CATCH_UP),
    nothing("learnerAsyncSending", CATCH_UP),
    nothing("leader.*", CATCH_UP),
    nothing("commitLogCount", CATCH_UP),
    nothing("maxTimeToWaitForEpoch", CATCH_UP),
    nothing("syncEnabled", "An observer keeps a log and checkpoints like every member."),
    nothing("fastleader.*", "Elections here are Raft's."),
    nothing("multiAddress.*", "Several addresses of a server are tried in their order; that needs no setting."),
    nothing("oraclePath", "Two servers cannot outlive one of them; use three, of which one may be small."),
    nothing("quorum.*", QUORUM_AUTH),
    nothing("ensembleAuthName", QUORUM_AUTH),
    nothing("tcpKeepAlive", "Members hear of each other ten times a second; a silent connection is given up."),
    nothing("closeSessionTxn.enabled", "The end of a session is always one transaction with all its ephemeral nodes."),
];

/// Ignoring a weight would change whose votes decide.
fn hierarchy(_: &mut Draft, _: &str, _: &str) -> Result<(), String> {
    Err("is refused: hierarchical quorums are not supported, every participant has one vote; remove the line".into())
}
