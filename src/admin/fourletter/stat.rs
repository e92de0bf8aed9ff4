//! `srvr`: the server in a few lines. `stat`: the same with all connections.

use super::java::java_address;
use super::{ConnectionFacts, Facts, Mode, VERSION, Word};
use std::fmt::Write;

pub(super) const SRVR: Word = Word::about_tree("srvr", |facts| stat(facts, Clients::Omitted));
pub(super) const STAT: Word = Word::about_tree("stat", |facts| stat(facts, Clients::Listed));

/// Whether connections are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    Listed,
    Omitted,
}

fn stat(facts: &dyn Facts, clients: Clients) -> String {
    let mut out = format!("Zookeeper version: {VERSION}\n");
    if facts.mode() == Mode::ReadOnly {
        out.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if clients == Clients::Listed {
        out.push_str("Clients:\n");
        facts.connections(&mut |connection| push_line!(out, "{})", brief(connection)));
        out.push('\n');
    }
    let (figures, metrics) = (facts.figures(), facts.metrics());
    let latency = metrics.request_latency();
    push_line!(out, "Latency min/avg/max: {}/{:?}/{}", latency.min, latency.average(), latency.max);
    push_line!(out, "Received: {}", metrics.packets_received.get());
    push_line!(out, "Sent: {}", metrics.packets_sent.get());
    push_line!(out, "Connections: {}", figures.connections);
    push_line!(out, "Outstanding: {}", figures.outstanding);
    push_line!(out, "Zxid: 0x{:x}", figures.zxid);
    push_line!(out, "Mode: {}", facts.mode().name());
    push_line!(out, "Node count: {}", figures.nodes);
    if facts.mode() == Mode::Leader {
        let sizes = &metrics.proposal_size;
        push_line!(out, "Proposal sizes last/min/max: {}/{}/{}", sizes.last(), sizes.min(), sizes.max());
    }
    out
}

/// The beginning of a connection's line in `stat` and `cons`, without the closing bracket.
pub(super) fn brief(connection: &ConnectionFacts) -> String {
    let ConnectionFacts { peer, interest, queued, received, sent, .. } = connection;
    format!(" {}[{interest:x}](queued={queued},recved={received},sent={sent}", java_address(peer))
}
