//! Checks of dependencies that need no network: their licences, and crates that must have one version only.
//!
//! Known vulnerabilities are not checked here. That needs the advisory database (`cargo audit`).

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Licences whose code may be part of an Apache-2.0 program: they only demand that their text is passed on.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    // LLVM's libFuzzer. Only the fuzz targets contain it.
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Two versions of one of these crates would mean two runtimes, two allocators, or types that do not fit each other.
const ONCE: &[&str] = &[
    "bytes",
    "mimalloc",
    "openraft",
    "parking_lot",
    "redb",
    "ring",
    "rustix",
    "rustls",
    "serde",
    "tokio",
    "tracing",
    "wasmtime",
];

pub(crate) fn check(root: &Path) -> Result<(), String> {
    let mut breaches = Vec::new();
    for folder in ["", "plugins"] {
        let folder = root.join(folder);
        if folder.join("Cargo.toml").is_file() {
            judge(&metadata(&folder)?, &mut breaches)?;
        }
    }
    if breaches.is_empty() { Ok(()) } else { Err(breaches.join("\n")) }
}

/// What `cargo metadata` says, for this host only, so that crates of other systems need not be downloaded. Fails if
/// Cargo.lock is out of date.
fn metadata(folder: &Path) -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &host()?])
        .current_dir(folder)
        .output()
        .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata --locked: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata printed no JSON: {error}"))
}

fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().map_err(|error| format!("cannot run rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

fn judge(metadata: &Value, breaches: &mut Vec<String>) -> Result<(), String> {
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let version = package["version"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or_default();
        versions.entry(name).or_default().insert(version);
        if !allowed(licence) {
            breaches
                .push(format!("{name} {version}: its licence `{licence}` is not in the list in xtask/src/audit.rs"));
        }
    }
    for name in ONCE {
        if let Some(several) = versions.get(name).filter(|several| several.len() > 1) {
            let several: Vec<&str> = several.iter().copied().collect();
            breaches.push(format!(
                "{name} has {} versions ({}) and may have one; `cargo tree -i {name}` says why",
                several.len(),
                several.join(", ")
            ));
        }
    }
    Ok(())
}

/// Whether an SPDX expression leaves a choice that is in the list. `/` is crates.io's old form of OR.
fn allowed(licence: &str) -> bool {
    let text = licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut rest = words.as_slice();
    !words.is_empty() && any(&mut rest) && rest.is_empty()
}

fn any(rest: &mut &[&str]) -> bool {
    let mut verdict = all(rest);
    while let ["OR", tail @ ..] = rest {
        *rest = tail;
        verdict |= all(rest);
    }
    verdict
}

fn all(rest: &mut &[&str]) -> bool {
    let mut verdict = one(rest);
    while let ["AND", tail @ ..] = rest {
        *rest = tail;
        verdict &= one(rest);
    }
    verdict
}

fn one(rest: &mut &[&str]) -> bool {
    match rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let verdict = any(rest);
            let [")", tail @ ..] = rest else { return false };
            *rest = tail;
            verdict
        }
        // An exception only adds permissions.
        [licence, "WITH", _, tail @ ..] | [licence, tail @ ..] => {
            *rest = tail;
            LICENCES.contains(licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions() {
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0", "MIT Apache-2.0", "AND"] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn duplicates_and_licences_are_named() {
        let metadata = serde_json::json!({"packages": [
            {"name": "tokio", "version": "1.0.0", "license": "MIT"},
            {"name": "tokio", "version": "0.3.0", "license": "MIT"},
            {"name": "evil", "version": "6.6.6", "license": "GPL-3.0"},
            {"name": "none", "version": "1.0.0", "license": null},
        ]});
        let mut breaches = Vec::new();
        judge(&metadata, &mut breaches).unwrap();
        assert_eq!(breaches.len(), 3, "{breaches:?}");
    }
}
