//! `plugin record` writes a plugin's calls on a server into a file. `plugin replay` makes the same calls again, here.

#![expect(clippy::disallowed_methods, reason = "a command runs on real time")]

use super::access::{expect_manifest, explain};
use super::source::read_source;
use super::test::compiler;
use crate::client::Client;
use crate::limits;
use crate::model::ErrorCode;
use crate::pipeline::Call;
use crate::plugin::call::Instance;
use crate::plugin::grant::Grants;
use crate::plugin::program::{Budget, Program, Setup};
use crate::plugin::tape::{FORMAT, Header, Player, Recorded};
use crate::plugin::{PLUGINS, Plugins, manifest, tree};
use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the server is asked for more calls: well within `limits::RECORDING_LEASE`.
const INTERVAL: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
pub(super) struct Record {
    name: String,

    /// Where to write the calls
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// For how long
    #[arg(long, default_value_t = 30)]
    seconds: u64,

    /// End after so many calls
    #[arg(long)]
    calls: Option<u64>,
}

#[derive(Args, Debug)]
pub(super) struct Replay {
    /// What `plugin record` wrote
    recording: PathBuf,

    /// The component to ask; left out, the recorded one, if it comes with this program
    #[arg(value_name = "FILE|bundled:NAME")]
    component: Option<String>,
}

pub(super) async fn record(client: &mut Client, record: &Record) -> anyhow::Result<()> {
    let name = &record.name;
    expect_manifest(client, name).await?;
    let header = get(client, &format!("{PLUGINS}/{name}/recording")).await?;
    let header: Header = serde_json::from_str(&header).context("the server's answer is not understood")?;
    ensure!(header.format == FORMAT, "the server records in format {}, and this program knows {FORMAT}", header.format);
    let file = File::create(&record.out).with_context(|| format!("create {}", record.out.display()))?;
    let mut file = BufWriter::new(file);
    writeln!(file, "{}", serde_json::to_string(&header)?)?;
    let (begun, mut last, mut calls, mut lost) = (Instant::now(), None, 0, 0);
    // The server may still keep calls of an earlier recording: those are skipped.
    while begun.elapsed() < Duration::from_secs(record.seconds) && record.calls.is_none_or(|wanted| calls < wanted) {
        let lines = get(client, &format!("{PLUGINS}/{name}/recording/{}", last.unwrap_or(0))).await?;
        let first_look = last.is_none();
        for line in lines.lines() {
            let call: Recorded = serde_json::from_str(line).context("the server's answer is not understood")?;
            if let Some(last) = last.filter(|last| call.number > last + 1) {
                lost += call.number - last - 1;
            }
            last = Some(call.number);
            if !first_look && record.calls.is_none_or(|wanted| calls < wanted) {
                writeln!(file, "{line}")?;
                calls += 1;
            }
        }
        last = last.or(Some(0));
        if lines.is_empty() || first_look {
            tokio::time::sleep(INTERVAL).await;
        }
    }
    file.flush().with_context(|| format!("write {}", record.out.display()))?;
    println!("{calls} calls of {name} are in {}", record.out.display());
    if lost > 0 {
        println!("{lost} are lost: there were more at once than the server keeps");
    }
    if calls == 0 {
        println!(
            "only the server that is asked is recorded; writes are judged where the leader is: `wasmkeeper cluster status`"
        );
    }
    Ok(())
}

async fn get(client: &mut Client, node: &str) -> anyhow::Result<String> {
    match client.get(node).await {
        Ok((data, _)) => String::from_utf8(data.to_vec()).with_context(|| format!("{node}: the answer is no text")),
        Err(error) if error.code() == Some(ErrorCode::NoNode) => {
            bail!("{node}: the server asked does not run the plugin")
        }
        Err(error) => Err(explain(client, error).await),
    }
}

pub(super) fn replay(replay: &Replay) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(&replay.recording).with_context(|| format!("read {}", replay.recording.display()))?;
    let mut lines = text.lines().zip(1..);
    let (first, _) = lines.next().context("the recording is empty")?;
    let header: Header = serde_json::from_str(first).context("line 1: this is no recording")?;
    ensure!(header.format == FORMAT, "the recording has format {}, and this program knows {FORMAT}", header.format);
    let source = replay.component.as_ref().unwrap_or(&header.source);
    let component = read_source(source).with_context(|| {
        format!("the recorded component is {} ({}): name it, or another to compare", header.source, header.sha256)
    })?;
    let same = tree::sha256(&component) == header.sha256;
    println!("{source} is {} component that was recorded", if same { "the" } else { "another than the" });
    let program = program(&component)?;
    let setup = Setup {
        name: header.plugin.as_str().into(),
        kind: header.kind,
        mount: header.mount.as_str().into(),
        settings: header.settings.as_str().into(),
        grants: Grants::new(&header.grants).into(),
        budget: Budget {
            fuel: header.fuel,
            cpu_ms: header.cpu_ms,
            memory_bytes: usize::try_from(header.memory_bytes)?.min(limits::PLUGIN_MEMORY_BYTES_MAX),
            slow: Duration::MAX,
        },
        counters: Default::default(),
    };
    let (mut calls, mut different, mut passed_over, mut fuel) = (0u64, 0u64, 0u64, (0u64, 0u64));
    for (line, number) in lines {
        let recorded: Recorded = serde_json::from_str(line).with_context(|| format!("line {number}: not a call"))?;
        match play(&program, &setup, &recorded)? {
            None => passed_over += 1,
            Some(played) => {
                calls += 1;
                fuel = (fuel.0 + recorded.fuel, fuel.1 + played.fuel);
                if !played.differences.is_empty() {
                    different += 1;
                    println!("line {number}: {:?}", recorded.question);
                    played.differences.iter().for_each(|difference| println!("    {difference}"));
                }
            }
        }
    }
    println!("{calls} calls, {different} different; fuel {} recorded, {} now", fuel.0, fuel.1);
    if passed_over > 0 {
        println!("{passed_over} calls of authenticate are passed over: credentials are not recorded");
    }
    if different > 0 {
        bail!("{different} of {calls} calls differ");
    }
    Ok(())
}

/// The component, compiled for this machine and ready to run.
pub(super) fn program(component: &[u8]) -> anyhow::Result<std::sync::Arc<Program>> {
    let named = manifest::Component {
        sha256: tree::sha256(component),
        bytes: component.len() as u64,
        chunks: 0,
        source: String::new(),
    };
    let code = manifest::Code { component: &named, signature: None };
    Plugins::new(true, compiler()).load(code, &|| Ok(component.to_vec())).map_err(|sentence| anyhow!(sentence))
}

struct Played {
    differences: Vec<String>,
    fuel: u64,
}

/// Makes a recorded call again. None: the call cannot be made again. Each call gets an instance of its own, since the
/// state that earlier calls leave in an instance is not recorded.
fn play(program: &Program, setup: &Setup, recorded: &Recorded) -> anyhow::Result<Option<Played>> {
    let failed = |fault: crate::plugin::fault::Fault| anyhow!("it does not start ({}): {}", fault.name(), fault.text());
    let mut instance = Instance::new(program, setup).map_err(failed)?;
    let player = Player::new(recorded);
    let (caller, writers) = (recorded.around.caller(), recorded.around.writers());
    let mut call =
        Call::looking(&player, caller.as_ref(), recorded.around.xid, recorded.around.zxid(), recorded.around.moment());
    call.session = crate::model::SessionId(recorded.around.session);
    call.writer = Some(&player);
    call.writers = &writers;
    let Some((said, fuel)) = instance.play(&call, &recorded.question) else { return Ok(None) };
    let mut differences = Vec::new();
    if said != recorded.said {
        differences.push(format!("it said {}, and says {said}", recorded.said));
    }
    if let Some((before, now)) = player.wrote_otherwise() {
        differences.push(format!("it wrote {before:?}, and writes {now:?}"));
    }
    for unheard in player.unheard() {
        differences.push(format!("it asks what the recording does not know: {unheard:?}"));
    }
    Ok(Some(Played { differences, fuel }))
}
