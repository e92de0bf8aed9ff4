//! `mntr`: all figures, one on each line.

use super::{Facts, LeaderFigures, Mode, PluginFacts, VERSION, Word};
use crate::metrics::{LastMinMax, Value};
use std::fmt::Write;

pub(super) const MNTR: Word = Word::about_tree("mntr", mntr);

/// The text of `mntr`. HTTP uses it as well, whether or not requests are served.
pub(crate) fn mntr(facts: &dyn Facts) -> String {
    let (figures, metrics) = (facts.figures(), facts.metrics());
    let mut out = String::new();
    push_line!(out, "zk_version\t{VERSION}");
    push_line!(out, "zk_server_state\t{}", facts.mode().name());
    let ensemble = facts.ensemble();
    if let Some(ensemble) = &ensemble {
        push_line!(out, "zk_peer_state\t{}", peer_state(facts.mode()));
        if let Some(master) = ensemble.observer_master_id {
            push_line!(out, "zk_observer_master_id\t{master}");
        }
    }
    let latency = metrics.request_latency();
    push_line!(out, "zk_avg_latency\t{:?}", latency.average());
    let response = &metrics.client_response_size;
    let (files, files_max) = open_files();
    let gauges: [(&str, i128); 22] = [
        ("min_latency", latency.min.into()),
        ("max_latency", latency.max.into()),
        ("packets_received", metrics.packets_received.get().into()),
        ("packets_sent", metrics.packets_sent.get().into()),
        ("num_alive_connections", figures.connections.into()),
        ("outstanding_requests", figures.outstanding.into()),
        ("uptime", figures.uptime_ms.into()),
        ("znode_count", figures.nodes.into()),
        ("watch_count", figures.watches.into()),
        ("ephemerals_count", figures.ephemerals.into()),
        ("approximate_data_size", figures.data_bytes.into()),
        ("global_sessions", figures.global_sessions.into()),
        ("local_sessions", figures.local_sessions.into()),
        ("open_file_descriptor_count", files.into()),
        ("max_file_descriptor_count", files_max.into()),
        ("last_client_response_size", response.last().into()),
        ("min_client_response_size", response.min().into()),
        ("max_client_response_size", response.max().into()),
        ("outstanding_tls_handshake", figures.tls_handshakes.into()),
        ("auth_failed_count", metrics.auth_failed.get().into()),
        ("non_mtls_remote_conn_count", 0),
        ("non_mtls_local_conn_count", 0),
    ];
    for (key, value) in gauges {
        push_line!(out, "zk_{key}\t{value}");
    }
    out.push_str("zk_connection_drop_probability\t0.0\n");
    if let Some(ensemble) = &ensemble {
        push_line!(out, "zk_quorum_size\t{}", ensemble.quorum_size);
        // ZooKeeper does not have these four.
        push_line!(out, "zk_clock_offset_ms\t{}", figures.clock_offset_ms);
        push_line!(out, "zk_wall_time_ahead_ms\t{}", figures.wall_time_ahead_ms);
        push_line!(out, "zk_lag_entries\t{}", ensemble.lag_entries);
        push_line!(out, "zk_lag_ms\t{}", ensemble.lag_ms);
        if let Some(leader) = &ensemble.leader {
            of_leader(&mut out, leader, &metrics.proposal_size);
        }
    }
    metrics.each(&mut |name, value| match value {
        Value::Whole(whole) => push_line!(out, "zk_{name}\t{whole}"),
        Value::Fraction(fraction) => push_line!(out, "zk_{name}\t{fraction:?}"),
    });
    facts.plugins(&mut |plugin| of_plugin(&mut out, plugin));
    out
}

/// Figures of plugins, which ZooKeeper does not have.
fn of_plugin(out: &mut String, plugin: &PluginFacts<'_>) {
    let PluginFacts { name, counters, .. } = plugin;
    for (key, count) in counters.counts() {
        push_line!(out, "zk_plugin_{name}_{key}\t{count}");
    }
    push_line!(out, "zk_plugin_{name}_faults\t{}", counters.all_faults().map(|(_, count)| count).sum::<u64>());
    for (key, timing) in [("fuel", &counters.fuel), ("ns", &counters.ns)] {
        let totals = timing.totals();
        push_line!(out, "zk_plugin_{name}_{key}_total\t{}", totals.sum);
        push_line!(out, "zk_plugin_{name}_{key}_p99\t{}", timing.percentile(0.99));
        push_line!(out, "zk_plugin_{name}_{key}_max\t{}", totals.max);
    }
}

fn of_leader(out: &mut String, leader: &LeaderFigures, proposals: &LastMinMax) {
    push_line!(out, "zk_learners\t{}", leader.learners);
    push_line!(out, "zk_synced_followers\t{}", leader.synced_followers);
    push_line!(out, "zk_synced_non_voting_followers\t{}", leader.synced_non_voting_followers);
    push_line!(out, "zk_synced_observers\t{}", leader.synced_observers);
    push_line!(out, "zk_pending_syncs\t{}", leader.pending_syncs);
    push_line!(out, "zk_leader_uptime\t{}", leader.uptime_ms);
    push_line!(out, "zk_last_proposal_size\t{}", proposals.last());
    push_line!(out, "zk_min_proposal_size\t{}", proposals.min());
    push_line!(out, "zk_max_proposal_size\t{}", proposals.max());
}

fn peer_state(mode: Mode) -> &'static str {
    match mode {
        Mode::Leader => "leading - broadcast",
        Mode::Follower => "following - broadcast",
        Mode::Observer => "observing - broadcast",
        Mode::Standalone | Mode::ReadOnly => "looking",
    }
}

/// How many files this process has open, and how many it may have. 0: the system does not tell.
fn open_files() -> (u64, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    (open, limit.current.unwrap_or(u64::MAX >> 1))
}
