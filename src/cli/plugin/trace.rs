//! `plugin trace`: shows which plugins had a part in a transaction.

use super::access::explain;
use crate::client::Client;
use crate::model::control_plane::{PLUGINS, TRACE, VERSIONS};
use crate::model::{ErrorCode, path};
use crate::plugin::{manifest, tree};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

#[derive(Args, Debug)]
pub(super) struct Trace {
    /// The transaction's number, as a Stat shows it: 0x100000007, or decimal. Left out: the newest there are
    zxid: Option<String>,
}

pub(super) async fn trace(client: &mut Client, trace: &Trace) -> anyhow::Result<()> {
    let all = match client.get(TRACE).await {
        Ok((data, _)) => serde_json::from_slice::<Value>(&data).context("the server's answer is not understood")?,
        Err(error) if error.code() == Some(ErrorCode::NoNode) => bail!("the server has applied nothing yet"),
        Err(error) => return Err(explain(client, error).await),
    };
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let Some(zxid) = &trace.zxid else {
        let newest: Vec<String> = all["newest"].as_array().into_iter().flatten().map(text).collect();
        if newest.is_empty() {
            println!("no plugin had a part in a transaction from {} to {}", text(&all["first"]), text(&all["last"]));
        } else {
            println!("{}", newest.join("\n"));
        }
        return Ok(());
    };
    let number = match zxid.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => zxid.parse().ok(),
    };
    let number = number.with_context(|| format!("{zxid}: a zxid is required, for example 0x100000007"))?;
    let one = match client.get(&format!("{TRACE}/0x{number:x}")).await {
        Ok((data, _)) => serde_json::from_slice::<Value>(&data).context("the server's answer is not understood")?,
        Err(error) if error.code() == Some(ErrorCode::NoNode) => {
            let (first, last, forgotten) =
                (text(&all["first"]), text(&all["last"]), all["forgotten"].as_u64().unwrap_or(0));
            println!(
                "no plugin had a part in 0x{number:x}, as far as this server knows: it has seen {first} to {last}"
            );
            if forgotten > 0 {
                println!(
                    "and keeps the newest of those that plugins had a part in; {forgotten} older ones are forgotten"
                );
            }
            return Ok(());
        }
        Err(error) => return Err(explain(client, error).await),
    };
    println!("zxid        {}", text(&one["zxid"]));
    match one["asked"].as_object() {
        Some(asked) => println!("asked by    session {}, request {}", text(&asked["session"]), asked["xid"]),
        None => println!("asked by    the server itself: the end of a session, a timer, a recovery, or a call"),
    }
    for made in one["made_by"].as_array().into_iter().flatten() {
        let (plugin, version) = (text(&made["plugin"]), made["version"].as_u64().unwrap_or(0));
        println!("made by     {plugin} version {version}, fuel {}", made["fuel"]);
        let node = path::join(&path::join(&path::join(PLUGINS, &plugin), VERSIONS), &version.to_string());
        match client.get(&node).await.ok().and_then(|(data, _)| manifest::parse(&data).ok()) {
            Some(manifest) => {
                println!("            component {} sha256 {}", manifest.component.source, manifest.component.sha256);
                println!("            settings  sha256 {}", tree::sha256(manifest.settings.to_string().as_bytes()));
            }
            None => println!("            that version is not in the tree any more"),
        }
    }
    let operations = one["operations"].as_array().cloned().unwrap_or_default();
    for operation in &operations {
        println!("{:<11} {}", text(&operation[0]), text(&operation[1]));
    }
    let more = one["operations_count"].as_u64().unwrap_or(0).saturating_sub(operations.len() as u64);
    if more > 0 {
        println!("            and {more} more");
    }
    Ok(())
}
