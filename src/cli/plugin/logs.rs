//! `plugin logs`: prints what a plugin has logged on the server that is asked.

use super::access::{expect_manifest, explain};
use crate::client::Client;
use crate::model::ErrorCode;
use crate::plugin::PLUGINS;
use crate::plugin::log::{Level, Line};
use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use std::time::Duration;

/// How often `-f` asks for more lines.
const INTERVAL: Duration = Duration::from_millis(300);

#[derive(Args, Debug)]
pub(super) struct Logs {
    name: String,

    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,

    /// The least important lines to show: trace, debug, info, warn or error
    #[arg(long, default_value = "trace", value_parser = level)]
    level: Level,
}

fn level(text: &str) -> Result<Level, String> {
    let known = Level::ALL.into_iter().find(|level| level.name() == text);
    known.ok_or_else(|| "trace, debug, info, warn or error is required".into())
}

/// The server's answer (`plugin::log`).
#[derive(Deserialize)]
struct Behind {
    run: i64,
    lines: Vec<Line>,
}

pub(super) async fn show(client: &mut Client, logs: &Logs) -> anyhow::Result<()> {
    expect_manifest(client, &logs.name).await?;
    let (mut run, mut last) = (None, 0);
    loop {
        let Behind { run: answered, lines } = behind(client, &logs.name, last).await?;
        if run.is_some_and(|run| run != answered) {
            println!("-- the server has started anew --");
            (run, last) = (Some(answered), 0);
            continue;
        }
        for line in &lines {
            if run.is_some() && line.number > last + 1 {
                println!("-- {} lines are lost: there were too many at once --", line.number - last - 1);
            }
            last = line.number;
            if line.level >= logs.level {
                println!("{} {:<5} {}", time(line.ms), line.level.name(), line.text.escape_debug());
            }
        }
        run = Some(answered);
        if !logs.follow {
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn behind(client: &mut Client, name: &str, number: u64) -> anyhow::Result<Behind> {
    let node = format!("{PLUGINS}/{name}/log/{number}");
    match client.get(&node).await {
        Ok((data, _)) => serde_json::from_slice(&data).with_context(|| format!("{node}: the answer is not understood")),
        // The plugin was removed meanwhile, or this server has not bound it yet.
        Err(error) if error.code() == Some(ErrorCode::NoNode) => {
            anyhow::bail!("{name}: the server asked does not run it")
        }
        Err(error) => Err(explain(client, error).await),
    }
}

/// The time of the day in UTC: `09:30:00.250`.
fn time(unix_ms: i64) -> String {
    let ms = unix_ms.rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_day() {
        assert_eq!(time(1_767_225_600_250), "00:00:00.250");
        assert_eq!(time(1_767_225_600_000 - 1), "23:59:59.999");
        assert!(level("warn") == Ok(Level::Warn) && level("loud").is_err());
    }
}
