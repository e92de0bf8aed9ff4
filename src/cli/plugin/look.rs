//! `plugin list` and `plugin show`.

use super::access::{expect_manifest, explain, read_manifest, virtual_json};
use crate::client::Client;
use crate::model::ErrorCode;
use crate::plugin::PLUGINS;
use crate::plugin::grant::Grant;
use crate::plugin::manifest::{Limits, Manifest};
use serde_json::Value;
use std::fmt::Write as _;

pub(super) async fn list(client: &mut Client) -> anyhow::Result<()> {
    let mut names = match client.children(PLUGINS).await {
        Ok(names) => names,
        Err(error) if error.code() == Some(ErrorCode::NoNode) => Vec::new(),
        Err(error) => return Err(explain(client, error).await),
    };
    if names.is_empty() {
        println!(
            "no plugins; `wasmkeeper plugin deploy bundled:guard --name N --path '/services/**' --settings JSON` deploys one"
        );
        return Ok(());
    }
    names.sort_unstable();
    // The table is printed when it is complete, so that no error stands below half a table.
    let mut table = format!(
        "{:<20} {:<13} {:>7} {:<8} {:<8} {:>10} {:>10} {:>8}  AT\n",
        "NAME", "KIND", "VERSION", "MODE", "STATE", "CALLS", "REFUSALS", "FAULTS"
    );
    for name in names {
        let Some((manifest, _)) = read_manifest(client, &name).await? else { continue };
        let (status, counters) =
            (virtual_json(client, &name, "status").await, virtual_json(client, &name, "counters").await);
        let faults: u64 =
            counters["faults"].as_object().map_or(0, |faults| faults.values().filter_map(Value::as_u64).sum());
        let _ = writeln!(
            table,
            "{name:<20} {:<13} {:>7} {:<8} {:<8} {:>10} {:>10} {faults:>8}  {}",
            manifest.kind.name(),
            manifest.version,
            manifest.mode.name(),
            status["state"].as_str().unwrap_or("?"),
            counters["calls"].as_u64().unwrap_or(0),
            counters["refusals"].as_u64().unwrap_or(0),
            place_text(&manifest)
        );
    }
    print!("{table}");
    Ok(())
}

pub(super) async fn show(client: &mut Client, name: &str) -> anyhow::Result<()> {
    let (manifest, _) = expect_manifest(client, name).await?;
    let (status, counters) = (virtual_json(client, name, "status").await, virtual_json(client, name, "counters").await);
    let asked = if manifest.on.is_empty() { manifest.kind.operations() } else { &manifest.on };
    let operations: Vec<&str> = asked.iter().map(|operation| operation.name()).collect();
    println!("name        {name}, version {}", manifest.version);
    println!(
        "component   {} ({} bytes, sha256 {})",
        manifest.component.source, manifest.component.bytes, manifest.component.sha256
    );
    println!("kind        {}", manifest.kind.name());
    println!("at          {}", place_text(&manifest));
    if !operations.is_empty() {
        println!("on          {}", operations.join(" "));
    }
    println!("mode        {}, on failure {}", manifest.mode.name(), manifest.on_failure.name());
    println!("settings    {}", manifest.settings);
    let grants = |key: &str| serde_json::from_value::<Vec<Grant>>(status[key].clone()).ok();
    if let (Some(asked), Some(granted)) = (grants("asked"), grants("granted")) {
        println!("asks for    {}", grants_text(&asked));
        println!("granted     {}", grants_text(&granted));
    } else {
        println!("grants      {}", grants_text(&manifest.grants));
    }
    println!("limits      {}", limits_text(&manifest.limits, &status["limits"]));
    if let Some(signature) = &manifest.signature {
        println!("signed by   {}", status["signer"].as_str().unwrap_or(&signature.signer));
    }
    println!(
        "state       {}{}",
        status["state"].as_str().unwrap_or("unknown"),
        status["reason"].as_str().map_or_else(String::new, |why| format!(": {why}"))
    );
    println!("instances   {}", status["instances"].as_str().unwrap_or("unknown"));
    println!("counters    of the server asked, since it started");
    if let Some(counters) = counters.as_object() {
        for (key, value) in counters {
            match value.as_object() {
                Some(parts) => {
                    let parts: Vec<String> = parts
                        .iter()
                        .filter(|(_, count)| count.as_u64() != Some(0))
                        .map(|(key, count)| format!("{key} {count}"))
                        .collect();
                    println!("  {key:<18} {}", if parts.is_empty() { "none".into() } else { parts.join(", ") });
                }
                None => println!("  {key:<18} {value}"),
            }
        }
    }
    Ok(())
}

/// Where a plugin applies, in one line.
pub(super) fn place_text(manifest: &Manifest) -> String {
    match (&manifest.mount, &manifest.scheme) {
        (Some(mount), _) => mount.clone(),
        (None, Some(scheme)) => format!("scheme {scheme}"),
        (None, None) => manifest.paths.join(" "),
    }
}

pub(super) fn grants_text(grants: &[Grant]) -> String {
    if grants.is_empty() {
        return "none".into();
    }
    let mut text = String::new();
    for grant in grants {
        let verbs: Vec<&str> = grant.verbs.iter().map(|verb| verb.name()).collect();
        let _ = write!(text, "{}{}:{}", if text.is_empty() { "" } else { " " }, verbs.join(","), grant.path);
    }
    text
}

/// The limits of a call. `effective`: the limits that the server applies, whose defaults the component's own section
/// may have lowered. Null while the server has no code for the component.
fn limits_text(given: &Limits, effective: &Value) -> String {
    let text = |key: &str, given: Option<u64>, unit: &str| match (given, effective[key].as_u64()) {
        (Some(given), _) => format!("{given}{unit}"),
        (None, Some(effective)) => format!("{effective}{unit} (default)"),
        (None, None) => "not known yet".into(),
    };
    format!(
        "fuel {}, deadline {}, memory {}, slow from {}",
        text("fuel", given.fuel, ""),
        text("deadline_ms", given.deadline_ms, " ms"),
        text("memory_bytes", given.memory_bytes, " bytes"),
        text("slow_ms", given.slow_ms, " ms")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_that_were_not_given_are_those_that_the_server_goes_by() {
        let given = Limits { deadline_ms: Some(7), ..Limits::default() };
        let effective = json!({ "fuel": 50_000, "deadline_ms": 7, "memory_bytes": 1 << 20, "slow_ms": 10 });
        let text = "fuel 50000 (default), deadline 7 ms, memory 1048576 bytes (default), slow from 10 ms (default)";
        assert_eq!(limits_text(&given, &effective), text);
        let text = "fuel not known yet, deadline 7 ms, memory not known yet, slow from not known yet";
        assert_eq!(limits_text(&given, &Value::Null), text);
    }
}
