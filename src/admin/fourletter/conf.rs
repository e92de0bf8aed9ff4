//! `conf`: the configuration.

use super::{Facts, Word};
use std::fmt::Write;

pub(super) const CONF: Word = Word::about_tree("conf", conf);

fn conf(facts: &dyn Facts) -> String {
    let (conf, sizes) = (facts.configuration(), facts.directory_sizes());
    let mut out = String::new();
    push_line!(out, "clientPort={}", conf.client_port);
    push_line!(out, "secureClientPort={}", conf.secure_client_port);
    push_line!(out, "dataDir={}", conf.data_dir);
    push_line!(out, "dataDirSize={}", sizes.data_bytes);
    push_line!(out, "dataLogDir={}", conf.data_log_dir);
    push_line!(out, "dataLogSize={}", sizes.log_bytes);
    push_line!(out, "tickTime={}", conf.tick_ms);
    push_line!(out, "maxClientCnxns={}", conf.connections_per_address_max);
    push_line!(out, "minSessionTimeout={}", conf.session_timeout_ms_min);
    push_line!(out, "maxSessionTimeout={}", conf.session_timeout_ms_max);
    push_line!(out, "clientPortListenBacklog={}", conf.listen_backlog);
    push_line!(out, "serverId={}", conf.server_id);
    if let Some(quorum) = conf.quorum {
        push_line!(out, "initLimit={}", quorum.init_limit);
        push_line!(out, "syncLimit={}", quorum.sync_limit);
        out.push_str("electionAlg=3\n");
        push_line!(out, "electionPort={}", quorum.election_port);
        push_line!(out, "quorumPort={}", quorum.quorum_port);
        push_line!(out, "peerType={}", i32::from(quorum.observer));
        if let Some(membership) = quorum.membership {
            out.push_str("membership: \n");
            // ZooKeeper does not end this line.
            out.push_str(&membership);
        }
    }
    out
}
