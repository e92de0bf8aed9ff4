//! Settings of the section `Ensemble`: the list of servers, and how ZooKeeper's members find and follow a leader.

use super::values::{boolean, number};
use super::{Draft, Key, key, nothing, silent};
use crate::model::ensemble::{Server, ServerRole};
use std::path::PathBuf;

const HIERARCHY: &str = "Refused: hierarchical quorums are not supported. Every participant has one vote.";
const CATCH_UP: &str =
    "Concerns how ZooKeeper's members catch up with their leader. Members here catch up by log or by checkpoint.";
const QUORUM_AUTH: &str = "Members do not authenticate to each other by SASL. Use TLS between members.";

pub(super) const KEYS: &[Key] = &[
    key(
        "server.*",
        "ensemble.servers.*",
        "",
        "`server.N=host:peerPort:electionPort[:participant|observer][;[host:]clientPort]`: one line for each server of \
         the ensemble, with N from 1 to 254. In TOML it is the table `[ensemble.servers]` with lines `N = \
         \"host:...\"`. Several addresses of one server are separated by `|`, and IPv6 addresses are in brackets. \
         Members use only the peer port; the election port is accepted and not opened. The list counts at the first \
         start of the ensemble. Later the members in the log count, which `reconfig` and `wasmkeeper cluster` change. \
         An observer has no vote. With one line, or without any, the server is a single server.",
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
        "File with the `server.N` lines, as ZooKeeper writes it on reconfig. The server reads the file and never \
         writes it.",
        |draft, _, value| {
            draft.dynamic_file = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    silent("version", "A line that ZooKeeper writes into dynamic configuration files."),
    key(
        "standaloneEnabled",
        "ensemble.standalone",
        "true",
        "Whether the only server of a list is standalone, like a server without a list: it calls itself standalone and \
         answers `reconfig` with UNIMPLEMENTED. `false`: it is an ensemble of one member, which `reconfig` can extend.",
        |draft, _, value| boolean(value, &mut draft.config.ensemble.standalone),
    ),
    key(
        "quorumListenOnAllIPs",
        "ensemble.listen_on_all_addresses",
        "false",
        "Whether the peer port is open on all addresses of this machine. Otherwise it is open on the addresses that \
         this server's own line names. Set it in a container whose name resolves to an address outside the container. \
         Everyone who reaches one of the machine's addresses can then reach the port.",
        |draft, _, value| boolean(value, &mut draft.listen_on_all),
    ),
    key(
        "peerSecretFile",
        "ensemble.secret_file",
        "",
        "File with the ensemble's secret, which members prove to each other: a token of 64 hexadecimal digits, as \
         `wasmkeeper cluster token` prints it. All members have the same one, or none has one. If it is not set, the \
         file `peer-secret` in the data directory counts; a server that starts alone with a new \
         data directory makes that file. \
         Without a secret, and without TLS between members, everyone who reaches the peer port can speak as a member.",
        |draft, _, value| {
            draft.config.ensemble.secret_file = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "initLimit",
        "ensemble.init_ticks",
        "10",
        "Ticks, 1 to 1000000. Only `conf` shows the number. A member that joins or comes back may take any time to \
         catch up.",
        |draft, _, value| number(value, 1..=1_000_000, &mut draft.config.ensemble.init_ticks),
    ),
    key(
        "syncLimit",
        "ensemble.sync_ticks",
        "5",
        "Ticks, 1 to 1000000. How far a member may be behind the others. A member that has not applied what was \
         committed that long ago sends its clients away until it has, so no read is older. It is at least a third of \
         the shortest session timeout.",
        |draft, _, value| number(value, 1..=1_000_000, &mut draft.config.ensemble.sync_ticks),
    ),
    key(
        "peerType",
        "",
        "participant",
        "`participant` or `observer`. The role in this server's own `server.N` line counts. If it is another role, a \
         warning says so.",
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
        "Must be 3, the only value that ZooKeeper still has. Elections here are Raft's.",
        |_, _, value| if value == "3" { Ok(()) } else { Err("must be 3, or not set".into()) },
    ),
    key(
        "leaderServes",
        "",
        "yes",
        "The leader serves clients like any member. `no` has no effect, and causes a warning.",
        |draft, _, value| {
            let mut serves = true;
            boolean(value, &mut serves)?;
            if !serves {
                draft.unused.push("leaderServes=no".to_owned());
            }
            Ok(())
        },
    ),
    nothing("observerMasterPort", "Observers connect to the leader itself."),
    nothing("observer.*", "Observers connect to the leader like other members."),
    nothing("electionPortBindRetry", "If the peer port cannot be opened, the start fails with an error that says so."),
    nothing("cnxTimeout", "The timeout for connecting to a member is fixed, and the server tries again for ever."),
    key("group.*", "", "", HIERARCHY, hierarchy),
    key("weight.*", "", "", HIERARCHY, hierarchy),
    nothing("connectToLearnerMasterLimit", CATCH_UP),
    nothing("learner.*", CATCH_UP),
    nothing("learnerAsyncSending", CATCH_UP),
    nothing("leader.*", CATCH_UP),
    nothing("commitLogCount", CATCH_UP),
    nothing("maxTimeToWaitForEpoch", CATCH_UP),
    nothing("syncEnabled", "An observer keeps a log and checkpoints like every other member."),
    nothing("fastleader.*", "Elections here are Raft's."),
    nothing(
        "multiAddress.*",
        "If a server has several addresses, members try them in their order. No setting is needed for that.",
    ),
    nothing(
        "oraclePath",
        "An ensemble of two servers cannot survive the loss of one. Use three servers; one of them may be small.",
    ),
    nothing("quorum.*", QUORUM_AUTH),
    nothing("ensembleAuthName", QUORUM_AUTH),
    nothing("tcpKeepAlive", "Members exchange messages ten times a second. A silent connection is closed."),
    nothing(
        "closeSessionTxn.enabled",
        "Closing a session is always one transaction, which deletes all its ephemeral nodes.",
    ),
];

/// Refuses the setting. To ignore a weight would change which votes decide.
fn hierarchy(_: &mut Draft, _: &str, _: &str) -> Result<(), String> {
    Err("is refused: hierarchical quorums are not supported, every participant has one vote; remove the line".into())
}
