//! Rules for source files that no tool of Rust's knows.

use crate::layers;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with Rust of ours.
const FOLDERS: &[&str] = &["src", "tests", "xtask/src", "plugins", "fuzz", "sim", "examples", "stand-ins"];

/// What must not be left behind, in pieces so that this file may stand under its own rule.
const LEFT_BEHIND: &[(&str, &str)] = &[("todo", "!("), ("unimplemented", "!("), ("dbg", "!("), ("FIX", "ME")];

/// Folders whose files decide without clock, chance, files, sockets or unordered iteration (architecture: "pure").
pub(crate) const PURE: &[&str] = &["src/model", "src/wire", "src/pipeline", "src/state", "src/watch"];
const IMPURE: &[&str] =
    &["tokio::", "std::net::Tcp", "std::fs", "SystemTime::now", "Instant::now", "getrandom::", "crate::environment"];

/// The types whose order of iteration is not the same on every member.
const HASHED: &[&str] = &["HashMap", "HashSet", "HashTable"];
/// What iterates over a collection.
const ITERATES: &[&str] =
    &[".iter()", ".iter_mut()", ".keys()", ".values()", ".values_mut()", ".drain()", ".retain(", ".into_iter()"];
/// The comment that excuses an iteration over a hash table in a pure folder, with its reason.
const ANY_ORDER: &str = "// In any order: ";

/// Columns of a comment or of a line of Markdown.
const COLUMNS_MAX: usize = 120;

/// Names every breach with file and line.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), "rs", &mut files)?;
    }
    files.sort();
    let mut breaches = Vec::new();
    let mut texts = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        check_file(&name, &text, &mut breaches);
        texts.push((name, text));
    }
    layers::check("src", layers::SERVER, &texts, &mut breaches);
    layers::check("sim/src", layers::SIMULATOR, &texts, &mut breaches);
    layers::check_page(root, &mut breaches);
    let mut pages = Vec::new();
    collect(root, "md", &mut pages)?;
    for path in pages {
        let text = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
        check_page(&path.strip_prefix(root).unwrap_or(&path).display().to_string(), &text, &mut breaches);
    }
    if breaches.is_empty() { Ok(()) } else { Err(breaches.join("\n")) }
}

fn check_file(name: &str, text: &str, breaches: &mut Vec<String>) {
    if !text.starts_with("//!") {
        breaches.push(format!("{name}:1: must open with `//!` and a line that says what the file is for"));
    }
    let pure = PURE.iter().any(|folder| name.starts_with(folder));
    let code_end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let hashed = if pure { hashed_names(text) } else { Vec::new() };
    let mut at = 0;
    let mut before = "";
    for (index, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", index + 1);
        for (head, tail) in LEFT_BEHIND {
            let word = format!("{head}{tail}");
            if line.contains(&word) {
                breaches.push(format!("{place}: `{word}` must not be left behind"));
            }
        }
        if line.ends_with([' ', '\t']) {
            breaches.push(format!("{place}: blanks at the end of the line"));
        }
        let is_comment = line.trim_start().starts_with("//");
        if pure && at < code_end && !is_comment {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                breaches.push(format!("{place}: `{word}` in a pure folder; let it come in as an argument"));
            }
        }
        if at < code_end && !is_comment && !before.trim_start().starts_with(ANY_ORDER) {
            for name in hashed.iter().filter(|name| iterates_over(line, name)) {
                breaches.push(format!(
                    "{place}: the order of `{name}` differs between members; sort it, or say `{ANY_ORDER}why` above"
                ));
            }
        }
        if is_comment {
            check_width(&place, line, breaches);
        }
        before = line;
        at += line.len() + 1;
    }
}

/// Tables, links and code may be wider: they cannot be wrapped.
fn check_width(place: &str, line: &str, breaches: &mut Vec<String>) {
    let columns = line.chars().count();
    let text = line.trim_start_matches([' ', '/', '!']);
    if columns > COLUMNS_MAX && !text.starts_with('|') && text.contains(' ') {
        breaches.push(format!("{place}: {columns} columns; text wraps at {COLUMNS_MAX}"));
    }
}

/// The text of a page wraps. Blocks of code and tables stay as they are.
fn check_page(name: &str, text: &str, breaches: &mut Vec<String>) {
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if !is_code && !line.starts_with("    ") {
            check_width(&format!("{name}:{}", index + 1), line, breaches);
        }
    }
}

/// The fields and variables of a file that are hash tables.
fn hashed_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for kind in HASHED {
            let declares = [format!(": {kind}<"), format!(" = {kind}::")];
            for at in declares.iter().filter_map(|pattern| line.find(pattern.as_str())) {
                let name = line[..at].rsplit(|letter: char| !is_name(letter)).next().unwrap_or_default();
                if !name.is_empty() && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }
    names
}

fn iterates_over(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        if before.ends_with(is_name) || after.starts_with(is_name) {
            return false;
        }
        let owner = before.trim_end_matches(|letter: char| is_name(letter) || letter == '.');
        let is_loop = owner.trim_end_matches("mut ").trim_end_matches('&').ends_with(" in ") && after.starts_with(" {");
        is_loop || ITERATES.iter().any(|call| after.starts_with(call))
    })
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn collect(folder: &Path, ending: &str, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(|error| format!("read {}: {error}", folder.display()))?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, ending, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == ending) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(name: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check_file(name, text, &mut found);
        found
    }

    #[test]
    fn breaches_are_named() {
        assert!(breaches("src/a.rs", "//! What.\nfn a() {}\n").is_empty());
        assert_eq!(breaches("src/a.rs", "fn a() {}\n").len(), 1);
        assert_eq!(breaches("src/a.rs", &format!("//! A.\n{}!()\n", "todo")).len(), 1);
        assert_eq!(breaches("src/a.rs", "//! A.\nfn a() {} \n").len(), 1);
        assert_eq!(breaches("src/wire/a.rs", "//! A.\nuse tokio::net;\n").len(), 1);
        assert!(breaches("src/session/a.rs", "//! A.\nuse tokio::net;\n").is_empty());
        let table = "//! A.\nstruct A {\n    all: HashMap<u8, u8>,\n}\n";
        for iterates in
            ["self.all.keys().count();", "for one in &self.all {", "for (a, b) in &mut all {", "all.drain();"]
        {
            assert_eq!(breaches("src/wire/a.rs", &format!("{table}{iterates}\n")).len(), 1, "{iterates}");
            assert!(breaches("src/wire/a.rs", &format!("{table}// In any order: summed.\n{iterates}\n")).is_empty());
            assert!(breaches("src/peer/a.rs", &format!("{table}{iterates}\n")).is_empty());
        }
        for harmless in ["self.all.len();", "for one in &self.all.sorted() {", "self.small.iter();", "all_of.iter();"] {
            assert!(breaches("src/wire/a.rs", &format!("{table}{harmless}\n")).is_empty(), "{harmless}");
        }
        let wide = format!("//!{}\n", " word".repeat(24));
        assert_eq!(breaches("src/a.rs", &wide).len(), 1);
        assert!(
            breaches(
                "src/wire/a.rs",
                "//! A.\n#[cfg(test)]\nmod tests {\n use crate::layers;
use std::fs;\n}\n"
            )
            .is_empty()
        );
    }
}
