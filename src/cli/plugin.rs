//! `wasmkeeper plugin`: deploys plugins and looks after them, through the ordinary client protocol.
//!
//! A deployment is a few creates for the component's pieces and one multi for the manifest (docs/plugins.md). The server
//! judges it; what it refuses is read at `/zookeeper/rejection` and printed.
//!
//! | file | |
//! |---|---|
//! | `life` | versions: into force, on trial, back |
//! | `members` | what each member says of a plugin |
//! | `signing` | keys and signatures |

mod life;
mod members;
mod signing;

use super::client::{Client, ClientError};
use crate::limits;
use crate::model::{AclEntry, ErrorCode, Identity, acl, path};
use crate::plugin::grant::{self, Grant, Verb};
use crate::plugin::manifest::{self, Component, Kind, Limits, Manifest, Mode, OnFailure, Operation, Require};
use crate::plugin::pattern::Pattern;
use crate::plugin::{MODULES, PLUGINS, bundled, compile, component, tree};
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

/// Connecting, and ordinary requests.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A deployment: the leader compiles before it answers, and then a quorum does.
const DEPLOY_TIMEOUT: Duration =
    Duration::from_secs(limits::COMPILE_WALL_SECONDS + limits::PREPARE_PATIENCE.as_secs() + 30);

/// Deploy plugins and look after them
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where the server listens; several addresses separated by commas
    #[arg(long, global = true, env = "WASMKEEPER_SERVER", default_value = "127.0.0.1:2181", value_name = "HOST:PORT")]
    server: String,

    /// Who you are, for example digest:super:password
    #[arg(long, global = true, env = "WASMKEEPER_AUTH", hide_env_values = true, value_name = "SCHEME:CREDENTIAL")]
    auth: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Deploy a component, or a new version or other settings of one
    Deploy(Box<Deploy>),
    /// List the plugins and how they do
    List,
    /// Show one plugin: what it is bound to, its settings, grants, state and counters
    Show { name: String },
    /// Set what refusals do: enforce them, only count and log them (audit), or do not ask the plugin (off)
    Mode {
        name: String,
        #[arg(value_parser = mode)]
        mode: Mode,
    },
    /// Remove a plugin with all its versions
    Remove { name: String },
    /// List the versions there were
    Versions { name: String },
    /// Make the version on trial the one in force, for all paths
    Promote { name: String },
    /// Drop the version on trial
    Abort { name: String },
    /// Bring a former version back into force, with the settings and the mode it had
    Rollback {
        name: String,
        /// Which; the one before by default
        #[arg(long, value_name = "N")]
        to: Option<u32>,
    },
    /// Give a plugin other settings
    Settings {
        name: String,
        #[arg(value_name = "JSON|@FILE")]
        settings: String,
    },
    /// Show on which members it runs, and why not on the others
    Status { name: String },
    /// Show its last faults on each member: backtraces, and what it logged
    Faults { name: String },
    /// Let a plugin be called again that is under quarantine
    Release { name: String },
    /// Make a key that signs plugins, and print what servers are told of it
    Keygen {
        /// The file to be written: PEM, for you alone
        file: PathBuf,
    },
    /// Sign a component
    Sign {
        /// A .wasm file, or bundled:NAME
        #[arg(value_name = "FILE|bundled:NAME")]
        source: String,

        /// The key: a PEM file of `keygen` or of openssl
        #[arg(long, value_name = "FILE")]
        key: PathBuf,

        /// Where the signature goes: FILE.sig by default
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
struct Deploy {
    /// A .wasm file, component or core module, or bundled:NAME
    #[arg(value_name = "FILE|bundled:NAME")]
    source: String,

    /// What the plugin is called here; it stands before its refusals
    #[arg(long)]
    name: String,

    /// What of the component is put to work, where it is several kinds: validator, policy, authenticator, recipe, controller
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,

    /// Paths it is asked about (validators, policies, controllers); * is any text in a name, ** any depth below. Default:
    /// as before, /** if there was no version before
    #[arg(long = "path", value_name = "GLOB")]
    paths: Vec<String>,

    /// The node that a recipe owns, with all below: /locks for example
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,

    /// The scheme of an authenticator: jwt for example
    #[arg(long)]
    scheme: Option<String>,

    /// Of a policy: allow, if somebody has to allow what is asked. Default: as before, none
    #[arg(long, value_parser = require, value_name = "allow|none")]
    require: Option<Require>,

    /// Operations it is asked about: create, set, delete, acl; a policy also read, children, call. Default: as before, all
    #[arg(long, value_name = "OP", value_parser = operation, value_delimiter = ',')]
    on: Vec<Operation>,

    /// enforce, audit (count and log what would be refused) or off. Default: as before, enforce
    #[arg(long, value_parser = mode)]
    mode: Option<Mode>,

    /// What a write gets if the plugin fails: reject or ignore. Default: as before, reject
    #[arg(long, value_parser = on_failure, value_name = "reject|ignore")]
    on_failure: Option<OnFailure>,

    /// Try it beside the version in force: it is asked about this node and all below in that one's place, or, with --mode
    /// audit, as well. Then `promote` or `abort`
    #[arg(long, value_name = "PATH")]
    canary: Vec<String>,

    /// The plugin's settings. Default: as before, {}
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,

    /// What it may touch, for example read:/services; verbs with commas. Default: what it asks for
    #[arg(long = "grant", value_name = "VERB:PATH", value_parser = parse_grant)]
    grants: Vec<Grant>,

    /// Grant what it asks for beyond the place it is deployed at, without being asked
    #[arg(long)]
    yes: bool,

    /// The component's signature, as `sign` writes it. Default: FILE.sig, if it is there
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// Fuel of one call; two million are about a millisecond
    #[arg(long)]
    fuel: Option<u64>,

    /// CPU time of one call, for example 50ms
    #[arg(long, value_parser = milliseconds, value_name = "DURATION")]
    deadline: Option<u64>,

    /// Memory of one instance, for example 16MiB
    #[arg(long, value_parser = byte_count, value_name = "BYTES")]
    memory: Option<u64>,
}

/// `wasmkeeper compile-plugin IN OUT`: the compiling child, for the server's own use.
#[derive(Args, Debug)]
pub struct CompileArguments {
    input: PathBuf,
    output: PathBuf,
}

pub fn compile(arguments: &CompileArguments) -> anyhow::Result<()> {
    compile::child_main(&arguments.input, &arguments.output).map_err(|sentence| anyhow!(sentence))
}

pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { server, auth, command } = arguments;
    let command = match command {
        // These need no server.
        Command::Keygen { file } => return signing::keygen(&file),
        Command::Sign { source, key, out } => return signing::sign(&source, &key, out),
        command => command,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Command::Deploy(deploy) = &command {
            // Whatever can be seen to be wrong is, before the server is troubled.
            prepare(deploy, None)?;
        }
        let mut client = connect(&server, auth.as_deref()).await?;
        let client = &mut client;
        let authenticated = auth.is_some();
        match command {
            Command::Deploy(deploy) => self::deploy(client, authenticated, &deploy).await,
            Command::List => list(client).await,
            Command::Show { name } => show(client, &name).await,
            Command::Mode { name, mode } => set_mode(client, authenticated, &name, mode).await,
            Command::Remove { name } => remove(client, &name).await,
            Command::Versions { name } => life::versions(client, &name).await,
            Command::Promote { name } => life::promote(client, authenticated, &name).await,
            Command::Abort { name } => life::abort(client, &name).await,
            Command::Rollback { name, to } => life::roll_back(client, &name, to).await,
            Command::Settings { name, settings } => life::set_settings(client, authenticated, &name, &settings).await,
            Command::Status { name } => members::status(client, &server, &name).await,
            Command::Faults { name } => members::faults(client, &server, auth.as_deref(), &name).await,
            Command::Release { name } => life::release(client, &name).await,
            Command::Keygen { .. } | Command::Sign { .. } => unreachable!("done above"),
        }
    })
}

async fn connect(server: &str, auth: Option<&str>) -> anyhow::Result<Client> {
    let mut client = Client::connect(server, TIMEOUT).await?;
    if let Some(auth) = auth {
        let (scheme, credential) =
            auth.split_once(':').context("--auth: SCHEME:CREDENTIAL is required, for example digest:super:password")?;
        client.add_auth(scheme, credential.as_bytes()).await?;
    }
    Ok(client)
}

/// A component and its manifest, whose version is yet to be found.
struct Prepared {
    name: String,
    component: Vec<u8>,
    manifest: Manifest,
    /// What its author asks for, at this place.
    asked: Vec<Grant>,
    /// The author's own words on it.
    described: String,
}

/// `former`: the version in force, whose ways are kept where the options say nothing.
fn prepare(deploy: &Deploy, former: Option<&Manifest>) -> anyhow::Result<Prepared> {
    let sentence = |sentence: String| anyhow!(sentence);
    manifest::check_name(&deploy.name).map_err(sentence)?;
    let component = read_source(&deploy.source)?;
    let inspected = component::inspect(&component).map_err(|error| anyhow!("{}: {error}", deploy.source))?;
    let kind = wanted_kind(deploy, &inspected.kinds, former)?;
    // Another kind has other ways.
    let former = former.filter(|former| former.kind == kind);
    let by_paths = matches!(kind, Kind::Validator | Kind::Policy | Kind::Controller);
    let paths = match (former, deploy.paths.as_slice()) {
        (Some(former), []) => former.paths.clone(),
        (None, []) if by_paths => vec!["/**".to_string()],
        (_, paths) => paths.to_vec(),
    };
    let patterns = paths
        .iter()
        .map(|path| Pattern::parse(path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow!("--path: {error}"))?;
    let section = inspected.section;
    let settings = match &deploy.settings {
        Some(settings) => read_settings("--settings", settings)?,
        None => former.map_or_else(|| Value::Object(serde_json::Map::new()), |former| former.settings.clone()),
    };
    let mount = deploy.mount.clone().or_else(|| former?.mount.clone());
    let places: Vec<&str> = match &mount {
        Some(mount) => vec![mount],
        None => patterns.iter().map(Pattern::base).collect(),
    };
    let asked = grant::expand(&section.grants, &places);
    let kept = former.map_or(Limits::default(), |former| former.limits);
    let manifest = Manifest {
        format: 1,
        version: 1,
        component: Component {
            sha256: tree::sha256(&component),
            bytes: component.len() as u64,
            chunks: u32::try_from(component.len().div_ceil(limits::CHUNK_BYTES_MAX))?,
            source: deploy.source.clone(),
        },
        kind,
        paths,
        mount,
        scheme: deploy.scheme.clone().or_else(|| former?.scheme.clone()),
        on: if deploy.on.is_empty() { former.map_or_else(Vec::new, |f| f.on.clone()) } else { deploy.on.clone() },
        require: deploy.require.or_else(|| Some(former?.require)).unwrap_or_default(),
        mode: deploy.mode.or_else(|| Some(former?.mode)).unwrap_or_default(),
        on_failure: deploy.on_failure.or_else(|| Some(former?.on_failure)).unwrap_or_default(),
        canary: deploy.canary.clone(),
        signature: signing::beside(&deploy.source, deploy.signature.as_deref(), &component)?,
        settings,
        grants: if deploy.grants.is_empty() { asked.clone() } else { deploy.grants.clone() },
        limits: Limits {
            fuel: deploy.fuel.or(kept.fuel),
            deadline_ms: deploy.deadline.or(kept.deadline_ms),
            memory_bytes: deploy.memory.or(kept.memory_bytes),
        },
    };
    // The server reads it as we would.
    manifest::parse(&serde_json::to_vec(&manifest)?).map_err(sentence)?;
    let described = format!("{} {}", section.name, section.version).trim().to_string();
    Ok(Prepared { name: deploy.name.clone(), component, manifest, asked, described })
}

/// `JSON` or `@FILE`.
fn read_settings(option: &str, text: &str) -> anyhow::Result<Value> {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("{option}: read {file}"))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text)
        .with_context(|| format!("{option}: JSON is required, for example '{{\"max_bytes\":4096}}'"))
}

/// What a component wants to touch elsewhere than where it is deployed is granted by a word of the operator: by `--grant`,
/// `--yes`, or an answer at the terminal. What comes with the server is trusted as the server is, and what the version
/// before has been granted needs no second word.
fn confirm(deploy: &Deploy, prepared: &Prepared, former: Option<&Manifest>) -> anyhow::Result<()> {
    let elsewhere = elsewhere(prepared, former);
    if elsewhere.is_empty() || deploy.yes || !deploy.grants.is_empty() || deploy.source.starts_with("bundled:") {
        return Ok(());
    }
    let text = grants_text(&elsewhere);
    let say = "grant it with --yes, or say with --grant what it may touch";
    if !std::io::stdin().is_terminal() {
        bail!("{} wants to touch more than the place it is deployed at: {text}: {say}", deploy.source);
    }
    eprint!("{} wants to touch more than the place it is deployed at: {text}\nGrant it? [y/N] ", deploy.source);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing is deployed: {say}"),
    }
}

/// What is asked for beyond its place and what it had before.
fn elsewhere(prepared: &Prepared, former: Option<&Manifest>) -> Vec<Grant> {
    let manifest = &prepared.manifest;
    let patterns: Vec<Pattern> = manifest.patterns().unwrap_or_default();
    let at_its_place = |grant: &&Grant| match &manifest.mount {
        Some(mount) => path::is_within(&grant.path, mount),
        None => patterns.iter().any(|pattern| path::is_within(&grant.path, pattern.base())),
    };
    let had = former.map_or_else(Vec::new, |former| former.grants.clone());
    let had_before = |grant: &&Grant| {
        grant
            .verbs
            .iter()
            .all(|verb| had.iter().any(|had| had.verbs.contains(verb) && path::is_within(&grant.path, &had.path)))
    };
    prepared.asked.iter().filter(|grant| !at_its_place(grant) && !had_before(grant)).cloned().collect()
}

/// The kind that the options name or imply, or the only one that the component is.
fn wanted_kind(deploy: &Deploy, kinds: &[Kind], former: Option<&Manifest>) -> anyhow::Result<Kind> {
    let implied = match (&deploy.mount, &deploy.scheme) {
        (Some(_), _) => Some(Kind::Recipe),
        (None, Some(_)) => Some(Kind::Authenticator),
        (None, None) => None,
    };
    let names = || kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    // One that is several kinds goes on as what it was.
    let before = former.map(|former| former.kind).filter(|kind| kinds.len() > 1 && kinds.contains(kind));
    match (deploy.kind.or(implied).or(before), kinds) {
        (Some(kind), _) if !kinds.contains(&kind) => {
            bail!("{} is no {}; it is: {}", deploy.source, kind.name(), names())
        }
        (Some(kind), _) => Ok(kind),
        (None, [kind]) => Ok(*kind),
        (None, _) => bail!("{} is several kinds, choose one with --kind: {}", deploy.source, names()),
    }
}

/// Where a plugin applies, in one line.
fn place_text(manifest: &Manifest) -> String {
    match (&manifest.mount, &manifest.scheme) {
        (Some(mount), _) => mount.clone(),
        (None, Some(scheme)) => format!("scheme {scheme}"),
        (None, None) => manifest.paths.join(" "),
    }
}

/// The bytes of a component. A core module that carries the contract's types becomes one.
fn read_source(source: &str) -> anyhow::Result<Vec<u8>> {
    if let Some(name) = source.strip_prefix("bundled:") {
        let Some(bundled) = bundled::find(name) else {
            let names: Vec<&str> = bundled::BUNDLED.iter().map(|bundled| bundled.name).collect();
            bail!("there is no bundled plugin {name}; there is {}", names.join(", "));
        };
        return Ok(bundled.component.to_vec());
    }
    let bytes = std::fs::read(source).with_context(|| format!("read {source}"))?;
    if !component::is_core_module(&bytes) {
        return Ok(bytes);
    }
    let encoded =
        wit_component::ComponentEncoder::default().module(&bytes).and_then(|encoder| encoder.validate(true).encode());
    encoded.map_err(|error| {
        anyhow!(
            "{source} is a core WebAssembly module and cannot be made a component: {error:#}; build it with wasmkeeper-plugin or wit-bindgen \
             for wasm32-unknown-unknown"
        )
    })
}

async fn deploy(client: &mut Client, authenticated: bool, deploy: &Deploy) -> anyhow::Result<()> {
    let former = read_manifest(client, &deploy.name).await?;
    let on_trial = !deploy.canary.is_empty();
    let prepared = prepare(deploy, former.as_ref().map(|(former, _)| former))?;
    confirm(deploy, &prepared, former.as_ref().map(|(former, _)| former))?;
    let Prepared { name, component, mut manifest, asked, described } = prepared;
    let acl = node_acl(authenticated);
    let folder = path::join(MODULES, &manifest.component.sha256);
    for node in [PLUGINS, MODULES, &folder] {
        create_if_absent(client, node, b"", &acl).await?;
    }
    for (chunk, bytes) in (0u32..).zip(component.chunks(limits::CHUNK_BYTES_MAX)) {
        create_if_absent(client, &manifest.component.chunk_path(chunk), bytes, &acl).await?;
    }
    manifest.version = life::next_version(client, &name).await?;
    if on_trial {
        life::put_on_trial(client, &name, &manifest, &acl).await?;
    } else {
        life::bring_into_force(client, &name, &manifest, former.map(|(_, node_version)| node_version), &acl).await?;
    }

    let what = if described.is_empty() { String::new() } else { format!(" ({described})") };
    match on_trial {
        false => println!("{name} version {} is deployed{what}", manifest.version),
        true => println!("{name} version {} is on trial at {}{what}", manifest.version, manifest.canary.join(" ")),
    }
    println!("  kind    {}", manifest.kind.name());
    println!("  at      {}", place_text(&manifest));
    println!("  mode    {}, on failure {}", manifest.mode.name(), manifest.on_failure.name());
    println!("  asks    {}", grants_text(&asked));
    println!("  grants  {}", grants_text(&manifest.grants));
    if on_trial {
        println!("`wasmkeeper plugin promote {name}` brings it into force, `wasmkeeper plugin abort {name}` drops it");
    }
    Ok(())
}

async fn list(client: &mut Client) -> anyhow::Result<()> {
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
    println!(
        "{:<20} {:<13} {:>7} {:<8} {:<8} {:>10} {:>10} {:>8}  AT",
        "NAME", "KIND", "VERSION", "MODE", "STATE", "CALLS", "REFUSALS", "FAULTS"
    );
    for name in names {
        let Some((manifest, _)) = read_manifest(client, &name).await? else { continue };
        let (status, counters) =
            (virtual_json(client, &name, "status").await, virtual_json(client, &name, "counters").await);
        let faults: u64 =
            counters["faults"].as_object().map_or(0, |faults| faults.values().filter_map(Value::as_u64).sum());
        println!(
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
    Ok(())
}

async fn show(client: &mut Client, name: &str) -> anyhow::Result<()> {
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
    println!("limits      {}", limits_text(&manifest.limits));
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

async fn set_mode(client: &mut Client, authenticated: bool, name: &str, mode: Mode) -> anyhow::Result<()> {
    let (mut manifest, node_version) = expect_manifest(client, name).await?;
    let former = std::mem::replace(&mut manifest.mode, mode);
    if former == mode {
        println!("{name} is in mode {} already", mode.name());
        return Ok(());
    }
    manifest.version = life::next_version(client, name).await?;
    life::bring_into_force(client, name, &manifest, Some(node_version), &node_acl(authenticated)).await?;
    println!("{name}: mode {}, was {}", mode.name(), former.name());
    Ok(())
}

async fn remove(client: &mut Client, name: &str) -> anyhow::Result<()> {
    expect_manifest(client, name).await?;
    let mut nodes = life::below(client, &path::join(PLUGINS, name)).await?;
    nodes.push(path::join(PLUGINS, name));
    let requests = nodes.into_iter().map(life::delete).collect();
    match client.multi(requests).await {
        Ok(_) => {
            println!(
                "{name} is removed; its component goes from the tree within the hour unless another plugin uses it"
            );
            Ok(())
        }
        Err(error) => Err(explain(client, error).await),
    }
}

/// Only who deploys may read it: settings may hold keys.
fn node_acl(authenticated: bool) -> Vec<AclEntry> {
    if authenticated {
        vec![AclEntry { permissions: acl::ALL, who: Identity::new("auth", "") }]
    } else {
        acl::open_unsafe().to_vec()
    }
}

async fn create_if_absent(client: &mut Client, node: &str, data: &[u8], acl: &[AclEntry]) -> anyhow::Result<()> {
    match client.create_with_acl(node, data, 0, acl).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::NodeExists) => Ok(()),
        Err(error) => Err(explain(client, error).await),
    }
}

/// The manifest and the version of its node.
async fn read_manifest(client: &mut Client, name: &str) -> anyhow::Result<Option<(Manifest, i32)>> {
    manifest::check_name(name).map_err(|error| anyhow!(error))?;
    let node = path::join(PLUGINS, name);
    match client.get(&node).await {
        Ok((data, stat)) => {
            let manifest = manifest::parse(&data).map_err(|error| anyhow!("{node}: {error}"))?;
            Ok(Some((manifest, stat.version)))
        }
        Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(None),
        Err(error) => Err(explain(client, error).await),
    }
}

async fn expect_manifest(client: &mut Client, name: &str) -> anyhow::Result<(Manifest, i32)> {
    let found = read_manifest(client, name).await?;
    found.with_context(|| format!("there is no plugin {name}; `wasmkeeper plugin list` shows those there are"))
}

/// What the server says of itself; null if it says nothing.
async fn virtual_json(client: &mut Client, name: &str, what: &str) -> Value {
    let node = format!("{PLUGINS}/{name}/{what}");
    let data = client.get(&node).await.ok().map(|(data, _)| data);
    data.and_then(|data| serde_json::from_slice(&data).ok()).unwrap_or(Value::Null)
}

/// An error with the server's own words, if it has some.
async fn explain(client: &mut Client, error: ClientError) -> anyhow::Error {
    let Some(code) = error.code() else { return error.into() };
    let words = client.get("/zookeeper/rejection").await.ok().map(|(words, _)| words);
    let words = words.as_deref().map(String::from_utf8_lossy);
    // The newest refusal comes first.
    match words.as_deref().and_then(|words| words.lines().next()).filter(|line| !line.is_empty()) {
        Some(line) => anyhow!("refused: {line}"),
        None if code == ErrorCode::NoAuth => {
            anyhow!("{error}: plugins are the superuser's affair: pass --auth digest:super:PASSWORD")
        }
        None if code == ErrorCode::BadVersion => {
            anyhow!("{error}: somebody else has changed the plugin meanwhile; look and try again")
        }
        None => error.into(),
    }
}

fn grants_text(grants: &[Grant]) -> String {
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

fn limits_text(set: &Limits) -> String {
    let or = |value: Option<u64>, default: u64, unit: &str| match value {
        Some(value) => format!("{value}{unit}"),
        None => format!("{default}{unit} (default)"),
    };
    format!(
        "fuel {}, deadline {}, memory {}",
        or(set.fuel, limits::PLUGIN_FUEL, ""),
        or(set.deadline_ms, limits::PLUGIN_CPU_MS, " ms"),
        or(set.memory_bytes, limits::PLUGIN_MEMORY_BYTES as u64, " bytes")
    )
}

fn mode(text: &str) -> Result<Mode, String> {
    let known = [Mode::Enforce, Mode::Audit, Mode::Off].into_iter().find(|mode| mode.name() == text);
    known.ok_or_else(|| "enforce, audit or off is required".into())
}

fn on_failure(text: &str) -> Result<OnFailure, String> {
    let known = [OnFailure::Reject, OnFailure::Ignore].into_iter().find(|policy| policy.name() == text);
    known.ok_or_else(|| "reject or ignore is required".into())
}

fn operation(text: &str) -> Result<Operation, String> {
    let known = Operation::ALL.into_iter().find(|operation| operation.name() == text);
    known.ok_or_else(|| "create, set, delete, acl, read, children or call is required".into())
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    known.ok_or_else(|| "validator, policy, authenticator, recipe or controller is required".into())
}

fn require(text: &str) -> Result<Require, String> {
    match text {
        "allow" => Ok(Require::Allow),
        "none" => Ok(Require::None),
        _ => Err("allow or none is required".into()),
    }
}

fn parse_grant(text: &str) -> Result<Grant, String> {
    let (verbs, path) = text.split_once(':').ok_or("VERB:PATH is required, for example read:/services")?;
    let verbs = verbs.split(',').map(|verb| {
        Verb::from_name(verb).ok_or_else(|| format!("{verb}: read, children, create, set, delete or acl is required"))
    });
    let grant = Grant { path: path.into(), verbs: verbs.collect::<Result<_, _>>()? };
    grant::check(&grant)?;
    Ok(grant)
}

/// `50ms`, `1s`, or plain milliseconds.
fn milliseconds(text: &str) -> Result<u64, String> {
    let (digits, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 1000),
        (None, None) => (text, 1),
    };
    scaled(digits, factor).ok_or_else(|| "a duration is required, for example 50ms or 1s".into())
}

/// `16MiB`, `64KiB`, or plain bytes.
fn byte_count(text: &str) -> Result<u64, String> {
    let (digits, factor) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(digits), _) => (digits, 1 << 10),
        (None, Some(digits)) => (digits, 1 << 20),
        (None, None) => (text, 1),
    };
    scaled(digits, factor).ok_or_else(|| "a number of bytes is required, for example 16MiB".into())
}

fn scaled(digits: &str, factor: u64) -> Option<u64> {
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        plugin: Arguments,
    }

    fn deploy(line: &[&str]) -> Deploy {
        let arguments = CommandLine::parse_from(["plugin", "deploy"].iter().chain(line)).plugin;
        match arguments.command {
            Command::Deploy(deploy) => *deploy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_readmes_deployment() {
        let line = [
            "bundled:guard",
            "--name",
            "names",
            "--path",
            "/services/**",
            "--settings",
            r#"{"require_json":["owner"]}"#,
        ];
        let prepared = prepare(&deploy(&line), None).unwrap();
        assert_eq!(prepared.described, "guard 1.0.0");
        assert_eq!(prepared.manifest.grants, [Grant { path: "/services".into(), verbs: vec![Verb::Read] }]);
        assert_eq!((prepared.manifest.mode, prepared.manifest.kind), (Mode::Enforce, Kind::Validator));
    }

    #[test]
    fn all_options() {
        let line = "bundled:guard --name g --path /a/** --path /b --on create,set --mode audit --on-failure ignore \
                    --grant read,children:/a --fuel 5 --deadline 20ms --memory 1MiB";
        let manifest = prepare(&deploy(&line.split_whitespace().collect::<Vec<_>>()), None).unwrap().manifest;
        assert_eq!(manifest.paths, ["/a/**", "/b"]);
        assert_eq!(manifest.on, [Operation::Create, Operation::Set]);
        assert_eq!((manifest.mode, manifest.on_failure), (Mode::Audit, OnFailure::Ignore));
        assert_eq!(manifest.grants, [Grant { path: "/a".into(), verbs: vec![Verb::Read, Verb::Children] }]);
        assert_eq!(manifest.limits, Limits { fuel: Some(5), deadline_ms: Some(20), memory_bytes: Some(1 << 20) });
    }

    #[test]
    fn what_is_wrong_is_said_before_the_server_is_asked() {
        for (line, words) in [
            ("bundled:gard --name g", "there is guard"),
            ("bundled:guard --name G", "no name for a plugin"),
            ("bundled:guard --name g --path services", "--path"),
            ("bundled:guard --name g --settings {", "--settings: JSON is required"),
            ("bundled:guard --name g --settings []", "settings: a JSON object"),
            ("bundled:guard --name g --deadline 1h", "a duration is required"),
            ("/nowhere/x.wasm --name g", "read /nowhere/x.wasm"),
        ] {
            let parsed = CommandLine::try_parse_from(["plugin", "deploy"].into_iter().chain(line.split_whitespace()));
            let error = match parsed {
                Err(error) => error.to_string(),
                Ok(CommandLine { plugin: Arguments { command: Command::Deploy(deploy), .. } }) => {
                    format!("{:#}", prepare(&deploy, None).err().expect(line))
                }
                Ok(_) => unreachable!("the lines deploy"),
            };
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn units() {
        assert_eq!((milliseconds("50ms"), milliseconds("1s"), milliseconds("7")), (Ok(50), Ok(1000), Ok(7)));
        assert_eq!((byte_count("16MiB"), byte_count("64KiB"), byte_count("7")), (Ok(16 << 20), Ok(64 << 10), Ok(7)));
        assert!(milliseconds("x").is_err() && byte_count("99999999999999999999").is_err());
    }
}
