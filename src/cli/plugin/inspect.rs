//! `plugin inspect`: says what a component is and what it asks for, without running it.

use super::look::grants_text;
use super::signing;
use super::source::read_source;
use crate::limits;
use crate::plugin::component::{self, Inspected};
use crate::plugin::manifest::Limits;
use crate::plugin::{binding, stand_ins, tree};
use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct Inspect {
    /// A .wasm file, component or core module, or bundled:NAME
    #[arg(value_name = "FILE|bundled:NAME")]
    source: String,

    /// The component's signature. Default: FILE.sig, if it is there
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(inspect: &Inspect) -> anyhow::Result<()> {
    let component = read_source(&inspect.source)?;
    let inspected = component::inspect(&component).map_err(|sentence| anyhow!("{}: {sentence}", inspect.source))?;
    let mut report = Report::new(&inspect.source, &component, inspected);
    let signature = signing::beside(&inspect.source, inspect.signature.as_deref(), &component)?;
    report.signer = signature.map(|signature| signature.signer);
    if inspect.json {
        println!("{:#}", report.json());
    } else {
        println!("{}", report.text());
    }
    Ok(())
}

/// What `inspect` prints of a component.
pub(super) struct Report {
    source: String,
    inspected: Inspected,
    sha256: String,
    bytes: usize,
    /// The key that has signed the component.
    signer: Option<String>,
}

impl Report {
    pub(super) fn new(source: &str, component: &[u8], inspected: Inspected) -> Report {
        let (sha256, bytes) = (tree::sha256(component), component.len());
        Report { source: source.to_owned(), inspected, sha256, bytes, signer: None }
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.inspected.kinds.iter().map(|kind| kind.name()).collect()
    }

    /// The report as text: one line for each property, without a line break at the end.
    pub(super) fn text(&self) -> String {
        let section = &self.inspected.section;
        let budget = binding::budget(&Limits::default(), section);
        let mut text = self.source.clone();
        let mut line = |name: &str, value: &str| {
            let _ = write!(text, "\n  {name:<8} {value}");
        };
        let named = format!("{} {}", section.name, section.version);
        line(
            "name",
            if self.inspected.described { named.trim() } else { "none: it has no section wasmkeeper:manifest" },
        );
        line("kinds", &self.kinds().join(", "));
        line("pure", if section.pure { "yes: instances are reused" } else { "no: each call has a fresh instance" });
        line("grants", &grants_text(&section.grants));
        for (index, import) in self.inspected.imports.iter().enumerate() {
            let note = if stand_ins::interface(import).is_some() { " (a stand-in, without power)" } else { "" };
            line(if index == 0 { "imports" } else { "" }, &format!("{import}{note}"));
        }
        line(
            "limits",
            &format!(
                "{} fuel{}, {} ms{}, {} bytes of memory{}",
                budget.fuel,
                asked(section.limits.fuel),
                budget.cpu_ms,
                asked(section.limits.deadline_ms),
                budget.memory_bytes,
                asked(section.limits.memory_bytes)
            ),
        );
        line("memory", &format!("{} bytes to begin with", self.inspected.memory_bytes));
        line("size", &format!("{} bytes of at most {}", self.bytes, limits::COMPONENT_BYTES_MAX));
        line("sha256", &self.sha256);
        line("signer", self.signer.as_deref().unwrap_or("none"));
        text
    }

    fn json(&self) -> Value {
        let section = &self.inspected.section;
        let budget = binding::budget(&Limits::default(), section);
        let imports = self.inspected.imports.iter();
        let imports: Vec<Value> = imports
            .map(|import| json!({ "name": import, "stand_in": stand_ins::interface(import).is_some() }))
            .collect();
        json!({
            "source": self.source,
            "name": section.name,
            "version": section.version,
            "described": self.inspected.described,
            "kinds": self.kinds(),
            "pure": section.pure,
            "grants": section.grants,
            "imports": imports,
            "limits": {
                "fuel": { "asked": section.limits.fuel, "effective": budget.fuel },
                "deadline_ms": { "asked": section.limits.deadline_ms, "effective": budget.cpu_ms },
                "memory_bytes": { "asked": section.limits.memory_bytes, "effective": budget.memory_bytes },
            },
            "memory_bytes_at_first": self.inspected.memory_bytes,
            "bytes": self.bytes,
            "bytes_max": limits::COMPONENT_BYTES_MAX,
            "sha256": self.sha256,
            "signer": self.signer,
        })
    }
}

/// The limit that the author asks for, if there is one. It can only lower the server's.
fn asked(limit: Option<u64>) -> String {
    limit.map_or_else(String::new, |asked| format!(" (asked: {asked})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::bundled;

    fn report(component: &[u8]) -> Report {
        Report::new("x.wasm", component, component::inspect(component).unwrap())
    }

    #[test]
    fn a_bundled_plugin() {
        let guard = report(bundled::find("guard").unwrap().component);
        let text = guard.text();
        for words in
            ["guard 1.0.0", "kinds    validator", "grants   read:$mount", "2000000 fuel, 50 ms", "signer   none"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("stand-in"), "{text}");
        let json = guard.json();
        assert_eq!(json["limits"]["fuel"], json!({ "asked": null, "effective": 2_000_000 }));
        assert_eq!(json["imports"][0]["stand_in"], false);
        assert_eq!(json["grants"][0], json!({ "path": "$mount", "verbs": ["read"] }));
    }

    #[test]
    fn a_component_with_stand_ins_and_no_manifest_and_then_with_one() {
        let homesick = include_bytes!(env!("WASMKEEPER_HOMESICK"));
        let text = report(homesick).text();
        assert!(text.contains("none: it has no section") && text.contains("grants   none"), "{text}");
        assert!(text.contains("wasi:cli/stdout@0.2.77 (a stand-in"), "{text}");
        let manifest = br#"{ "name": "homesick", "limits": { "fuel": 5, "memory_bytes": 99999999 } }"#;
        let described = report(&component::with_manifest(homesick.to_vec(), manifest));
        let text = described.text();
        assert!(text.contains("name     homesick\n"), "{text}");
        // What is asked can only lower the server's.
        assert!(text.contains("5 fuel (asked: 5)"), "{text}");
        assert!(text.contains("16777216 bytes of memory (asked: 99999999)"), "{text}");
    }
}
