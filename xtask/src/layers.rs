//! The layers of `src/` and of `sim/`, and the check that imports only run down.
//!
//! A file may import (`use crate::x`, `crate::x::y`) from its own room and from rooms below, never from a room above. A
//! room is a folder of `src/`, or a file beside the folders. docs/ARCHITECTURE.md shows the list of `src/`; `cargo
//! xtask fix` writes the list into the page, and `cargo xtask verify` compares the two.

use std::collections::BTreeSet;
use std::path::Path;

/// A room, and what stands in it.
pub(crate) struct Room {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
}

const fn room(name: &'static str, what: &'static str) -> Room {
    Room { name, what }
}

/// The rooms of `src/`, highest first. This is roughly the order in which a request meets them. A new folder gets its
/// place here first.
pub(crate) const SERVER: &[Room] = &[
    room("cli", "the command line: `serve`, `cluster`, `plugin`, `bench`"),
    room("scenario", "an ensemble in memory, driven by scenario files: `plugin test` and our own tests"),
    room("replica", "one member: joins the rooms below, and owns the order of everything"),
    room("simulation", "what a simulated member shows to the simulation"),
    room("session", "listeners, logins, connections, the order of replies, expiry"),
    room("admin", "four letter words and HTTP for operators"),
    room("consensus", "the narrow boundary around openraft"),
    room("peer", "connections between members: hello, frames, dialing, TLS"),
    room("storage", "log, checkpoint, image, recovery"),
    room("tls", "keys, certificates, and whom a member trusts; for clients and for members"),
    room("config", "command line and files to one plain `Config`"),
    room("plugin", "components: host, limits, deployment, bindings"),
    room("pipeline", "the stages of a write, with one file for each operation; reads"),
    room("watch", "which connections are told of which change"),
    room("state", "transactions to tree, sessions, quotas, digests"),
    room("client", "a ZooKeeper client for the command line, the load generator and tests"),
    room("wire", "bytes to requests, replies to bytes"),
    room("model", "the nouns: zxid, session, path, stat, ACL, error codes, transactions"),
    room("linear", "whether a history is linearizable; for tests and `plugin test`"),
    room("hooks", "what the simulation may change in a member: pace, end, one deliberate mistake"),
    room("metrics", "counters and histograms"),
    room("courtesy", "when a busy thread yields its processor"),
    room("environment", "where clocks and chance come from"),
    room("limits", "every bound of the server"),
];

/// The files of `sim/src/`, highest first. What they hold stands in sim/src/main.rs.
pub(crate) const SIMULATOR: &[Room] = &[
    room("campaign", ""),
    room("run", ""),
    room("faults", ""),
    room("workload", ""),
    room("observer", ""),
    room("machine", ""),
    room("client", ""),
    room("history", ""),
    room("ask", ""),
    room("linear", ""),
    room("ledger", ""),
    room("recipes", ""),
    room("policy", ""),
    room("bundled", ""),
    room("places", ""),
    room("coverage", ""),
    room("net", ""),
    room("chance", ""),
    room("trace", ""),
];

/// Names each import from `folder` that does not run down `rooms`, and each room without a place in the list.
pub(crate) fn check(folder: &str, rooms: &[Room], files: &[(String, String)], breaches: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (name, text) in files {
        let Some(inner) = name.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else { continue };
        let room = inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs");
        if room == "lib" || room == "main" {
            continue;
        }
        seen.insert(room.to_owned());
        check_file(name, room, text, rooms, breaches);
    }
    for room in rooms.iter().filter(|room| !seen.contains(room.name)) {
        breaches.push(format!("xtask/src/layers.rs: {folder} has no `{}`: take the room off the list", room.name));
    }
}

fn check_file(name: &str, room: &str, text: &str, rooms: &[Room], breaches: &mut Vec<String>) {
    let place = |wanted: &str| rooms.iter().position(|room| room.name == wanted);
    let Some(here) = place(room) else {
        breaches.push(format!("{name}:1: `{room}` has no place among the layers: give it one in xtask/src/layers.rs"));
        return;
    };
    for (line, other) in imports(text) {
        let Some(there) = place(&other) else { continue };
        if there < here {
            breaches.push(format!(
                "{name}:{line}: `{room}` must not import `{other}`, which is a layer above. Move what both need down: \
                 nouns to `model`, bounds to `limits`, counters to `metrics`, else to the lower of the two. If `{room}` \
                 calls into `{other}`, declare a trait in `{room}` and implement it in `{other}`, or take the value as an \
                 argument. The layers: xtask/src/layers.rs"
            ));
        }
    }
}

/// The first segment behind each `crate::` of the code, with its line. Comments do not count.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Whether the lines belong to a group, `use crate::{`, and how deep the braces are.
    let mut depth = 0_usize;
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        let number = index + 1;
        let mut rest = code;
        if depth > 0 {
            depth = group(rest, depth, number, &mut found);
            continue;
        }
        while let Some(at) = rest.find("crate::") {
            let is_word = rest[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$');
            rest = &rest[at + "crate::".len()..];
            if is_word {
                continue;
            }
            if let Some(inner) = rest.strip_prefix('{') {
                depth = group(inner, 1, number, &mut found);
                break;
            }
            found.push((number, word(rest)));
        }
    }
    found
}

/// Takes the first segments of a group's entries. Returns the depth of the braces behind the line.
fn group(line: &str, mut depth: usize, number: usize, found: &mut Vec<(usize, String)>) -> usize {
    let mut at_entry = true;
    for (at, c) in line.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => at_entry = depth == 1,
            c if at_entry && (c.is_alphanumeric() || c == '_') && depth == 1 => {
                found.push((number, word(&line[at..])));
                at_entry = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    depth
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

// ---- docs/ARCHITECTURE.md

const PAGE: &str = "docs/ARCHITECTURE.md";
const BEGIN: &str = "<!-- layers: written by `cargo xtask fix` from xtask/src/layers.rs -->\n";
const END: &str = "<!-- end of layers -->";

/// Complains if the page's list is not the list above.
pub(crate) fn check_page(root: &Path, breaches: &mut Vec<String>) {
    match page(root) {
        Ok((old, new)) if old == new => {}
        Ok(_) => breaches.push(format!("{PAGE}: its list of layers is stale: run `cargo xtask fix`")),
        Err(why) => breaches.push(why),
    }
}

/// Writes the list into the page.
pub(crate) fn write_page(root: &Path) -> Result<(), String> {
    let (old, new) = page(root)?;
    if old == new {
        return Ok(());
    }
    std::fs::write(root.join(PAGE), new).map_err(|error| format!("write {PAGE}: {error}"))
}

/// The page as it is, and as it should be.
fn page(root: &Path) -> Result<(String, String), String> {
    let old = std::fs::read_to_string(root.join(PAGE)).map_err(|error| format!("read {PAGE}: {error}"))?;
    let parts = old.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let Some((head, tail)) = parts else { return Err(format!("{PAGE}: has no place for the layers: `{BEGIN}`")) };
    let new = format!("{head}{BEGIN}{}{END}{tail}", table(root));
    Ok((old, new))
}

fn table(root: &Path) -> String {
    let mut table = String::from("\n| room | what | pure |\n|---|---|---|\n");
    for Room { name, what } in SERVER {
        let is_folder = root.join("src").join(name).is_dir();
        let file = if is_folder { format!("{name}/mod.rs") } else { format!("{name}.rs") };
        let pure = if crate::tidy::PURE.contains(&format!("src/{name}").as_str()) { "yes" } else { "" };
        table.push_str(&format!("| [`{name}`](../src/{file}) | {what} | {pure} |\n"));
    }
    table.push('\n');
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMS: &[Room] = &[room("top", ""), room("middle", ""), room("bottom", "")];

    fn breaches(name: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let file = name.strip_prefix("src/").unwrap_or(name);
        check_file(name, file.split('/').next().unwrap_or(file).trim_end_matches(".rs"), text, ROOMS, &mut found);
        found
    }

    #[test]
    fn an_upward_import_is_named_with_its_remedy() {
        assert!(breaches("src/middle/a.rs", "use crate::bottom::B;\nuse crate::middle::C;\n").is_empty());
        let found = breaches("src/middle/a.rs", "use std::fs;\nuse crate::top::T;\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("src/middle/a.rs:2: `middle` must not import `top`"), "{}", found[0]);
        assert!(found[0].contains("Move what both need down"));
        assert_eq!(breaches("src/bottom.rs", "fn a() { crate::middle::b(&crate::top::C) }\n").len(), 2);
        assert_eq!(breaches("src/nowhere/a.rs", "").len(), 1);
    }

    #[test]
    fn groups_count_and_comments_do_not() {
        assert_eq!(breaches("src/bottom/a.rs", "use crate::{middle::A, top};\n").len(), 2);
        assert_eq!(
            breaches("src/bottom/a.rs", "use crate::{\n    bottom::{self, top},\n    top::B,\n};\nx();\n").len(),
            1
        );
        assert!(breaches("src/bottom/a.rs", "// crate::top\n//! [`crate::top`]\n/// crate::top\n").is_empty());
        assert!(breaches("src/bottom/a.rs", "use other_crate::top;\n").is_empty());
    }
}
