//! `wchs`: how many watches there are. `wchc`: watches by session. `wchp`: watches by path.

use super::{Facts, Word};
use std::fmt::Write;

pub(super) const WCHS: Word = Word::about_tree("wchs", wchs);
pub(super) const WCHC: Word = Word::about_tree("wchc", wchc);
pub(super) const WCHP: Word = Word::about_tree("wchp", wchp);

fn wchs(facts: &dyn Facts) -> String {
    let (mut connections, mut paths, mut watches) = (0, 0, 0);
    facts.watches_by_session(&mut |_, watched| {
        connections += 1;
        watches += watched.len();
    });
    facts.watches_by_path(&mut |_, _| paths += 1);
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}

fn wchc(facts: &dyn Facts) -> String {
    let mut out = String::new();
    facts.watches_by_session(&mut |session, paths| {
        push_line!(out, "0x{session:x}");
        for path in paths {
            push_line!(out, "\t{path}");
        }
    });
    out.push('\n');
    out
}

fn wchp(facts: &dyn Facts) -> String {
    let mut out = String::new();
    facts.watches_by_path(&mut |path, sessions| {
        push_line!(out, "{path}");
        for session in sessions {
            push_line!(out, "\t0x{session:x}");
        }
    });
    out.push('\n');
    out
}
