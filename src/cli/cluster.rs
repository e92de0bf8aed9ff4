//! `wasmkeeper cluster`: shows the members of the ensemble and their state, and changes the members.
//!
//! All commands but `token` and `recover` use the ordinary client protocol, to any member. They read
//! `/zookeeper/members`. A change is ZooKeeper's reconfig, and a transfer of the leadership is a write to
//! `/zookeeper/leader`; `clock` reads and writes `/zookeeper/clock` (docs/membership.md). `token` and `recover` work on
//! a data directory.

use super::recover;
use crate::client::{Client, ClientError};
use crate::limits;
use crate::model::ErrorCode;
use crate::model::control_plane::{CLOCK, CONFIG, LEADER, MEMBERS, REJECTION, SET_BACK};
use crate::model::ensemble::{Server, parse_config_text};
use crate::peer::secret::{self, SECRET_FILE};
use crate::wire::request::Request;
use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long connecting and ordinary requests may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How often a command that waits looks again.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a reconfig may take: a new member has to be found, and to catch up.
const CHANGE_TIMEOUT: Duration =
    Duration::from_secs(limits::RECONFIG_PATIENCE.as_secs() + limits::NEWCOMER_PATIENCE.as_secs() + 15);

/// How long a leader may take to appear, after a transfer or while there is none.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// See and change who belongs to the ensemble
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Where any of the servers listens; several addresses separated by commas
    #[arg(long, global = true, env = "WASMKEEPER_SERVER", default_value = "127.0.0.1:2181", value_name = "HOST:PORT")]
    server: String,

    /// Who you are, for example digest:super:password
    #[arg(long, global = true, env = "WASMKEEPER_AUTH", hide_env_values = true, value_name = "SCHEME:CREDENTIAL")]
    auth: Option<String>,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show the members: which one leads, how far each one is, when each one was last heard of
    Status,
    /// Print the members as `server.N` lines, with the configuration's version
    Members,
    /// Add a server, or change a server's addresses or role; waits until the server takes part
    Add {
        /// As in zoo.cfg, with the client port: `server.4=host:2888:3888;2181`, or with `:observer` before the `;`
        #[arg(value_name = "SERVER.N=...")]
        member: String,

        /// How long to wait for the server to be started
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        wait: u64,
    },
    /// Remove members
    Remove {
        #[arg(required = true, value_name = "N")]
        members: Vec<u32>,
    },
    /// Make another member the leader
    Transfer {
        #[arg(value_name = "N")]
        to: u32,
    },
    /// Show how far the time of transactions, and the clock of the server that is asked, are from the members' clocks
    Clock {
        /// Set the time of transactions back to the members' clocks, after most of these were wrong
        #[arg(long)]
        set_back: bool,
    },
    /// Print the ensemble's secret, which members prove to each other
    ///
    /// All members need the same secret. Copy it into the file `peer-secret` in the data directory of each other
    /// server, or name a file that holds it with `peerSecretFile`, and start the servers again.
    Token {
        /// The data directory of a server
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// Make a secret first. The directory must have none
        #[arg(long)]
        new: bool,
    },
    /// Make a stopped server go on without a majority that is lost for good
    Recover(recover::Arguments),
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { server, auth, json, command } = arguments;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ensemble = Ensemble { server, auth, json };
    runtime.block_on(async {
        match command {
            Command::Status => ensemble.status().await,
            Command::Members => ensemble.members().await,
            Command::Add { member, wait } => ensemble.add(&member, Duration::from_secs(wait)).await,
            Command::Remove { members } => ensemble.remove(&members).await,
            Command::Transfer { to } => ensemble.transfer(to).await,
            Command::Clock { set_back } => ensemble.clock(set_back).await,
            Command::Token { data_dir, new } => print_token(&data_dir, new),
            Command::Recover(arguments) => recover::run(arguments),
        }
    })
}

fn print_token(data_dir: &Path, new: bool) -> anyhow::Result<()> {
    ensure!(data_dir.is_dir(), "{} is no directory", data_dir.display());
    let secret = match new {
        true => secret::make(data_dir)?,
        false => secret::read(&data_dir.join(SECRET_FILE))?.with_context(|| {
            format!(
                "{} has no `{SECRET_FILE}`: the ensemble has a secret in the file of `peerSecretFile`, or at another \
                 member, or none; `--new` makes one",
                data_dir.display()
            )
        })?,
    };
    println!("{}", secret.token());
    Ok(())
}

/// The content of `/zookeeper/members`.
#[derive(Deserialize, Debug)]
struct Status {
    asked: u32,
    leader: Option<u32>,
    changing: bool,
    members: Vec<Member>,
}

#[derive(Deserialize, Debug)]
struct Member {
    id: u32,
    state: String,
    votes: bool,
    address: String,
    client: Option<String>,
    incarnation: Option<String>,
    zxid: Option<String>,
    lag: Option<u64>,
    diverged: bool,
    heard_ms_ago: Option<u64>,
}

/// The content of `/zookeeper/clock`.
#[derive(Deserialize, Debug)]
struct Clock {
    ahead_ms: i64,
    offset_ms: i64,
}

struct Ensemble {
    server: String,
    auth: Option<String>,
    json: bool,
}

impl Ensemble {
    async fn connect(&self) -> anyhow::Result<Client> {
        let mut client = Client::connect(&self.server, TIMEOUT).await?;
        if let Some(auth) = &self.auth {
            let (scheme, credential) = auth
                .split_once(':')
                .context("--auth: SCHEME:CREDENTIAL is required, for example digest:super:password")?;
            client.add_auth(scheme, credential.as_bytes()).await?;
        }
        Ok(client)
    }

    async fn status(&self) -> anyhow::Result<()> {
        let mut client = self.connect().await?;
        let text = members_text(&mut client).await?;
        client.close().await?;
        match self.json {
            true => println!("{text}"),
            false => print!("{}", table(&parse(&text)?)),
        }
        Ok(())
    }

    async fn members(&self) -> anyhow::Result<()> {
        let mut client = self.connect().await?;
        let (servers, version, text) = configuration(&mut client).await?;
        client.close().await?;
        if self.json {
            let servers: Vec<_> = servers
                .iter()
                .map(|server| serde_json::json!({"id": server.id, "server": server.to_string()}))
                .collect();
            println!("{}", serde_json::json!({"version": version, "members": servers}));
        } else {
            println!("{text}");
        }
        Ok(())
    }

    async fn add(&self, member: &str, wait: Duration) -> anyhow::Result<()> {
        let server = wanted(member)?;
        let line = format!("server.{}={server}", server.id);
        let until = Instant::now() + wait;
        let mut waits = false;
        loop {
            let changed = self.change(Some(&line), None, Some(server.id)).await;
            match changed {
                Ok(version) => {
                    return self
                        .done(&format!("server {} is a member; the configuration has version {version}", server.id));
                }
                // The server does not answer yet, or another change is under way.
                Err(Failure { again: true, error }) if Instant::now() < until => {
                    if !waits {
                        eprintln!("waits: {error:#}");
                        waits = true;
                    }
                }
                Err(Failure { error, .. }) => return Err(error),
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn remove(&self, members: &[u32]) -> anyhow::Result<()> {
        let mut client = self.connect().await?;
        let (servers, ..) = configuration(&mut client).await?;
        client.close().await?;
        if let Some(id) = members.iter().find(|id| servers.iter().all(|server| server.id != **id)) {
            bail!("there is no member {id}; `wasmkeeper cluster members` lists them");
        }
        let leaving = members.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let until = Instant::now() + LEADER_TIMEOUT;
        loop {
            match self.change(None, Some(&leaving), None).await {
                Ok(version) => {
                    return self
                        .done(&format!("{leaving}: no member any more; the configuration has version {version}"));
                }
                // A leader that is removed hands over first; then its successor has to be asked.
                Err(Failure { again: true, .. }) if Instant::now() < until => sleep(LOOK_INTERVAL).await,
                Err(Failure { error, .. }) => return Err(error),
            }
        }
    }

    /// Sends one reconfig and returns the version of the new configuration. Prints on standard error how far the server
    /// `joining` has caught up.
    async fn change(&self, joins: Option<&str>, leaves: Option<&str>, joining: Option<u32>) -> Result<String, Failure> {
        let mut client = self.connect().await.map_err(Failure::now)?;
        client.set_timeout(CHANGE_TIMEOUT);
        let request = Request::Reconfig {
            joining: joins.map(str::to_owned),
            leaving: leaves.map(str::to_owned),
            new_members: None,
            config_id: -1,
        };
        let changed = {
            let changing = client.call(&request);
            tokio::pin!(changing);
            loop {
                tokio::select! { biased;
                    changed = &mut changing => break changed,
                    () = sleep(2 * LOOK_INTERVAL) => self.tell_progress(joining).await,
                }
            }
        };
        let protocol = |fault| Failure::now(anyhow!("the answer to reconfig cannot be read: {fault:?}"));
        match changed {
            Ok(mut record) => {
                let text = record.buffer().map_err(protocol)?.unwrap_or_default();
                // The change is done, so an error at the end of the session does not matter.
                let _ = client.close().await;
                Ok(version_of(&String::from_utf8_lossy(&text)).unwrap_or_default().to_owned())
            }
            Err(error) => Err(explain(&mut client, error).await),
        }
    }

    async fn tell_progress(&self, joining: Option<u32>) {
        let Some(id) = joining else { return };
        let Ok(mut client) = self.connect().await else { return };
        let Ok(status) = members_text(&mut client).await.and_then(|text| parse(&text)) else { return };
        let _ = client.close().await;
        if let Some(member) = status.members.iter().find(|member| member.id == id && member.state == "joining") {
            match member.lag {
                Some(lag) => eprintln!("server {id} catches up: {lag} entries behind"),
                None => eprintln!("server {id} catches up: not heard of yet"),
            }
        }
    }

    async fn transfer(&self, to: u32) -> anyhow::Result<()> {
        let until = Instant::now() + LEADER_TIMEOUT;
        let mut asked = false;
        loop {
            let leader = match self.leader().await {
                Ok(leader) => leader,
                Err(error) if !asked => return Err(error),
                Err(_) => None,
            };
            if leader == Some(to) {
                return self.done(&format!("server {to} leads"));
            }
            ensure!(
                Instant::now() < until,
                "server {to} does not lead after {} s; `wasmkeeper cluster status` shows who \
                 does, and whether server {to} is there and close behind",
                LEADER_TIMEOUT.as_secs()
            );
            if leader.is_some() {
                let mut client = self.connect().await?;
                match client.set(LEADER, to.to_string().as_bytes(), -1).await {
                    // The old leader may have closed the connection.
                    Ok(_) | Err(ClientError::Lost { .. }) => {}
                    Err(error) => {
                        let failure = explain(&mut client, error).await;
                        if !failure.again {
                            return Err(failure.error);
                        }
                    }
                }
                asked = true;
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn clock(&self, set_back: bool) -> anyhow::Result<()> {
        let mut client = self.connect().await?;
        if set_back && let Err(error) = client.set(CLOCK, SET_BACK, -1).await {
            return Err(explain(&mut client, error).await.error);
        }
        let (data, _) = client.get(CLOCK).await?;
        client.close().await?;
        let text = String::from_utf8_lossy(&data);
        if self.json {
            println!("{text}");
            return Ok(());
        }
        let Clock { ahead_ms, offset_ms } = serde_json::from_str(&text).context("/zookeeper/clock cannot be read")?;
        println!("the time of transactions is {ahead_ms} ms ahead of the members' clocks");
        println!("the clock of the server that was asked is {offset_ms} ms ahead of them");
        Ok(())
    }

    async fn leader(&self) -> anyhow::Result<Option<u32>> {
        let mut client = self.connect().await?;
        let got = client.get(LEADER).await;
        let _ = client.close().await;
        match got {
            Ok((data, _)) => Ok(std::str::from_utf8(&data).ok().and_then(|text| text.parse().ok())),
            Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn done(&self, sentence: &str) -> anyhow::Result<()> {
        match self.json {
            true => println!("{}", serde_json::json!({ "done": sentence })),
            false => println!("{sentence}"),
        }
        Ok(())
    }
}

/// Why a change has failed.
struct Failure {
    /// Whether the change may succeed the next time.
    again: bool,
    error: anyhow::Error,
}

impl Failure {
    fn now(error: anyhow::Error) -> Failure {
        Failure { again: false, error }
    }
}

/// The error, with the text that the server gave for the refusal, if there is one, and with what to do.
async fn explain(client: &mut Client, error: ClientError) -> Failure {
    let Some(code) = error.code() else {
        let again = matches!(error, ClientError::Lost { .. });
        return Failure { again, error: error.into() };
    };
    let words = client.get(REJECTION).await.ok().map(|(words, _)| words);
    let words = words.as_deref().map(String::from_utf8_lossy);
    // The newest refusal comes first.
    let words = words.as_deref().and_then(|words| words.lines().next()).filter(|line| !line.is_empty());
    let hint = match code {
        ErrorCode::NoAuth => {
            "only the superuser changes the ensemble: pass --auth digest:super:PASSWORD; the servers need \
             -D zookeeper.DigestAuthenticationProvider.superDigest=super:HASH for that"
        }
        ErrorCode::ReconfigDisabled => "start the servers with reconfigEnabled=true, all of them",
        ErrorCode::Unimplemented => {
            "this server stands alone and nobody could reach it: give its file a `server.N` line for itself, and start it again"
        }
        ErrorCode::ReconfigInProgress => "another change is under way; try again when it is over",
        ErrorCode::NewConfigNoQuorum => {
            "start the server with this ensemble's `server.N` lines and its own, and an empty data directory"
        }
        _ => "",
    };
    let mut sentence = words.map_or_else(|| error.to_string(), |words| format!("refused: {words}"));
    if !hint.is_empty() {
        let _ = write!(sentence, ": {hint}");
    }
    let again = matches!(code, ErrorCode::NewConfigNoQuorum | ErrorCode::ReconfigInProgress);
    Failure { again, error: anyhow!(sentence) }
}

/// Reads `server.4=...` or `4=...`.
fn wanted(text: &str) -> anyhow::Result<Server> {
    let form = "a member has the form server.N=host:peerPort:electionPort[:observer];clientPort";
    let (key, value) = text.split_once('=').with_context(|| format!("`{text}`: {form}"))?;
    let id =
        key.trim().strip_prefix("server.").unwrap_or(key.trim()).parse().map_err(|_| anyhow!("`{text}`: {form}"))?;
    let server = Server::parse(id, value.trim()).map_err(|why| anyhow!("`{text}` {why}"))?;
    ensure!(server.client.is_some(), "`{text}`: where do clients come in? Write `;clientPort` behind it");
    Ok(server)
}

async fn members_text(client: &mut Client) -> anyhow::Result<String> {
    match client.get(MEMBERS).await {
        Ok((data, _)) => Ok(String::from_utf8_lossy(&data).into_owned()),
        Err(error) if error.code() == Some(ErrorCode::NoNode) => {
            bail!("{} has no {MEMBERS}: is it a ZooKeeper server?", client.server())
        }
        Err(error) => Err(error.into()),
    }
}

fn parse(text: &str) -> anyhow::Result<Status> {
    serde_json::from_str(text).with_context(|| format!("{MEMBERS} is not what this release expects"))
}

/// The configuration: the servers, the version as text, and the whole text.
async fn configuration(client: &mut Client) -> anyhow::Result<(Vec<Server>, String, String)> {
    let (data, _) = client.get(CONFIG).await?;
    let text = String::from_utf8_lossy(&data).into_owned();
    let Some(version) = version_of(&text).map(str::to_owned) else {
        bail!("{}: this server stands alone, its configuration names no servers", client.server());
    };
    let servers = parse_config_text(&text).map_err(|why| anyhow!("{CONFIG}: {why}"))?;
    Ok((servers, version, text))
}

fn version_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("version="))
}

/// The table of members, with columns as wide as what they hold.
fn table(status: &Status) -> String {
    let dash = || "-".to_owned();
    let head = ["ID", "STATE", "ADDRESS", "CLIENTS", "ZXID", "BEHIND", "HEARD", "DISK"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for member in &status.members {
        let state = if member.diverged { format!("{}, diverged", member.state) } else { member.state.clone() };
        let heard = match member.heard_ms_ago {
            _ if member.id == status.asked => "asked".to_owned(),
            Some(ms) => format!("{}.{} s ago", ms / 1000, ms % 1000 / 100),
            None => "never".to_owned(),
        };
        rows.push(vec![
            member.id.to_string(),
            state,
            member.address.clone(),
            member.client.clone().unwrap_or_else(dash),
            member.zxid.clone().unwrap_or_else(dash),
            member.lag.map_or_else(dash, |lag| lag.to_string()),
            heard,
            member.incarnation.as_deref().map_or_else(dash, |hex| hex.chars().take(8).collect()),
        ]);
    }
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    let voters = status.members.iter().filter(|member| member.votes).count();
    let _ = match status.leader {
        Some(leader) => {
            writeln!(text, "\nserver {leader} leads; {voters} voters, of which {} are a majority", voters / 2 + 1)
        }
        None => writeln!(text, "\nno leader; {voters} voters, of which {} must be there to elect one", voters / 2 + 1),
    };
    if status.changing {
        text.push_str("a change of the members is under way\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_for_humans() {
        let text = r#"{"asked":1,"leader":2,"changing":false,"format_level":1,"members":[
            {"id":1,"role":"participant","votes":true,"state":"follower","address":"a:2888:3888","client":"0.0.0.0:2181",
             "server":"","incarnation":"00112233445566","zxid":"0x100000003","applied":7,"lag":2,"format_level":1,
             "diverged":false,"heard_ms_ago":0},
            {"id":20,"role":"observer","votes":false,"state":"observer","address":"bbbb:2888:3888","client":null,"server":"",
             "incarnation":null,"zxid":null,"applied":null,"lag":null,"format_level":null,"diverged":false,
             "heard_ms_ago":null}]}"#;
        assert_eq!(
            table(&parse(text).unwrap()),
            "\
ID  STATE     ADDRESS         CLIENTS       ZXID         BEHIND  HEARD  DISK
1   follower  a:2888:3888     0.0.0.0:2181  0x100000003  2       asked  00112233
20  observer  bbbb:2888:3888  -             -            -       never  -

server 2 leads; 1 voters, of which 1 are a majority
"
        );
    }

    #[test]
    fn members_as_an_operator_writes_them() {
        assert_eq!(wanted("4=h:1:2;3").unwrap(), wanted(" server.4 = h:1:2:participant;0.0.0.0:3").unwrap());
        for (text, why) in [("4", "form"), ("x=h:1:2;3", "form"), ("4=h:1:2", ";clientPort"), ("4=h;3", "no port")] {
            let error = format!("{:#}", wanted(text).unwrap_err());
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
