//! `plugin audit`: asks a validator about nodes that were there before the validator.

use super::access::{expect_manifest, explain};
use crate::client::Client;
use crate::plugin::PLUGINS;
use crate::plugin::audit::Slice;
use anyhow::{Context, bail};
use clap::Args;
use std::time::Duration;

#[derive(Args, Debug)]
pub(super) struct Audit {
    name: String,

    /// How many refused nodes to show at most
    #[arg(long, default_value_t = 1000)]
    refused_max: usize,

    /// Pause between two slices of the tree, in milliseconds: the server looks at a slice for at most 5 ms
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
}

pub(super) async fn audit(client: &mut Client, audit: &Audit) -> anyhow::Result<()> {
    expect_manifest(client, &audit.name).await?;
    let base = format!("{PLUGINS}/{}/audit", audit.name);
    let (mut asked, mut refused, mut node) = (0, 0, base.clone());
    loop {
        let answer = match client.get(&node).await {
            Ok((answer, _)) => answer,
            Err(error) => return Err(explain(client, error).await),
        };
        let slice: Slice = serde_json::from_slice(&answer).context("the server's answer is not understood")?;
        if let Some(error) = slice.error {
            bail!("{}: {error}", audit.name);
        }
        asked += slice.asked;
        for one in &slice.refused {
            if refused == audit.refused_max {
                println!("there are more than {refused} that are refused; --refused-max shows more");
                return Ok(());
            }
            println!("{}: {}", one.path, one.text);
            refused += 1;
        }
        let Some(next) = slice.next else { break };
        node = format!("{base}{next}");
        tokio::time::sleep(Duration::from_millis(audit.pause_ms)).await;
    }
    println!("{refused} of {asked} nodes are refused by {}", audit.name);
    Ok(())
}
