//! `dump`: sessions, ephemeral nodes and connections, by the time at which they expire.

use super::java::{java_address, java_date};
use super::{Facts, GlobalSessions, Word};
use std::fmt::Write;

pub(super) const DUMP: Word = Word::about_tree("dump", dump);

fn dump(facts: &dyn Facts) -> String {
    let mut out = "SessionTracker dump:\n".to_owned();
    let sessions = facts.sessions();
    if let Some(local) = &sessions.local {
        expiry_sets(&mut out, "Local Session", local, |id| format!("0x{id:x}"));
    }
    match &sessions.global {
        GlobalSessions::Expiring(sets) => {
            let what = if sessions.local.is_some() { "Global Session" } else { "Session" };
            expiry_sets(&mut out, what, sets, |id| format!("0x{id:x}"));
        }
        GlobalSessions::Known(known) => {
            push_line!(out, "Global Sessions({}):", known.len());
            for (id, timeout_ms) in known {
                push_line!(out, "0x{id:x}\t{timeout_ms}ms");
            }
        }
    }
    out.push_str("ephemeral nodes dump:\n");
    let (mut count, mut nodes) = (0, String::new());
    facts.ephemerals(&mut |session, paths| {
        count += 1;
        push_line!(nodes, "0x{session:x}:");
        for path in paths {
            push_line!(nodes, "\t{path}");
        }
    });
    push_line!(out, "Sessions with Ephemerals ({count}):");
    out.push_str(&nodes);
    out.push_str("Connections dump:\n");
    let connections = facts.connection_expiry();
    expiry_sets(&mut out, "Connections", &connections, |(peer, session)| {
        format!("ip: {} sessionId: 0x{session:x}", java_address(peer))
    });
    out
}

/// Prints sets of elements that expire at the same time (ExpiryQueue.java).
fn expiry_sets<T>(out: &mut String, what: &str, sets: &[(i64, Vec<T>)], name: impl Fn(&T) -> String) {
    let all: usize = sets.iter().map(|(_, set)| set.len()).sum();
    push_line!(out, "{what} Sets ({})/({all}):", sets.len());
    for (expires_ms, set) in sets {
        push_line!(out, "{} expire at {}:", set.len(), java_date(*expires_ms));
        for element in set {
            push_line!(out, "\t{}", name(element));
        }
    }
}
