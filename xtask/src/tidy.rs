//! Rules for source files that no tool of Rust's knows.

use crate::layers;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with Rust of ours.
const FOLDERS: &[&str] = &["src", "tests", "xtask/src", "plugins", "fuzz", "sim", "examples", "stand-ins"];

/// What must not be left behind, in pieces so that this file may stand under its own rule.
const LEFT_BEHIND: &[(&str, &str)] = &[("todo", "!("), ("unimplemented", "!("), ("dbg", "!("), ("FIX", "ME")];

/// Folders whose files decide without clock, chance, files, sockets or unordered iteration (architecture: "pure").
pub const PURE: &[&str] = &["src/model", "src/wire", "src/pipeline", "src/state", "src/watch"];
const IMPURE: &[&str] =
    &["tokio::", "std::net::Tcp", "std::fs", "SystemTime::now", "Instant::now", "getrandom::", "crate::environment"];

/// Names every breach with file and line.
pub fn check(root: &Path) -> Result<(), String> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files)?;
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
    if breaches.is_empty() { Ok(()) } else { Err(breaches.join("\n")) }
}

fn check_file(name: &str, text: &str, breaches: &mut Vec<String>) {
    if !text.starts_with("//!") {
        breaches.push(format!("{name}:1: must open with `//!` and a line that says what the file is for"));
    }
    let pure = PURE.iter().any(|folder| name.starts_with(folder));
    let code_end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let mut at = 0;
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
        at += line.len() + 1;
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(|error| format!("read {}: {error}", folder.display()))?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
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
