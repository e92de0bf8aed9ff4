//! `plugin deploy`: uploads a component in pieces, and deploys it by one multi that writes its manifest.

use super::access::{create_if_absent, node_acl, read_manifest};
use super::look::{grants_text, place_text};
use super::options::{
    byte_count, kind, milliseconds, mode, on_failure, operation, parse_grant, read_settings, require,
};
use super::source::{read_source, say_if_slow};
use super::{cost, life, signing};
use crate::client::Client;
use crate::limits;
use crate::model::path;
use crate::pipeline::Verb;
use crate::plugin::grant::{self, Grant};
use crate::plugin::manifest::{self, Component, Kind, Limits, Manifest, Mode, OnFailure, Require};
use crate::plugin::pattern::Pattern;
use crate::plugin::{MODULES, PLUGINS, binding, component, tree};
use crate::scenario::Deployment;
use anyhow::{anyhow, bail};
use clap::{Args, Parser as _};
use serde_json::Value;
use std::io::IsTerminal as _;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct Deploy {
    /// A .wasm file, component or core module, or bundled:NAME
    #[arg(value_name = "FILE|bundled:NAME")]
    source: String,

    /// The plugin's name. Texts of its refusals begin with it
    #[arg(long)]
    name: String,

    /// Which kind of plugin to deploy, if the component is several: validator, policy, authenticator, recipe,
    /// controller
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,

    /// Paths the plugin is asked about (validators, policies, controllers); * is any text in a name, ** any depth
    /// below. Default: as before, /** if there was no version before
    #[arg(long = "path", value_name = "GLOB")]
    paths: Vec<String>,

    /// The node that a recipe owns, with all nodes below, for example /locks
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,

    /// The scheme of an authenticator, for example jwt
    #[arg(long)]
    scheme: Option<String>,

    /// For a policy: allow, if a request needs a plugin that allows it. Default: as before, none
    #[arg(long, value_parser = require, value_name = "allow|none")]
    require: Option<Require>,

    /// Operations the plugin is asked about: create, set, delete, acl; a policy also read, children, call. Default: as
    /// before, all
    #[arg(long, value_name = "OP", value_parser = operation, value_delimiter = ',')]
    on: Vec<Verb>,

    /// enforce, audit (count and log what would be refused) or off. Default: as before, enforce
    #[arg(long, value_parser = mode)]
    mode: Option<Mode>,

    /// What a write gets if the plugin fails: reject or ignore. Default: as before, reject
    #[arg(long, value_parser = on_failure, value_name = "reject|ignore")]
    on_failure: Option<OnFailure>,

    /// Try the new version beside the one in force. It is asked about this node and all below instead of the version in
    /// force, or, with --mode audit, as well. Then `promote` or `abort`
    #[arg(long, value_name = "PATH")]
    canary: Vec<String>,

    /// The plugin's settings. Default: as before, {}
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,

    /// What the plugin may touch, for example read:/services; verbs separated by commas. Default: what it asks for
    #[arg(long = "grant", value_name = "VERB:PATH", value_parser = parse_grant)]
    grants: Vec<Grant>,

    /// Grant what the plugin asks for beyond the paths it is deployed at, without a question
    #[arg(long)]
    yes: bool,

    /// The component's signature, as `sign` writes it. Default: FILE.sig, if it is there
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// Fuel of one call; two million last about a millisecond
    #[arg(long)]
    fuel: Option<u64>,

    /// CPU time of one call, for example 50ms
    #[arg(long, value_parser = milliseconds, value_name = "DURATION")]
    deadline: Option<u64>,

    /// Memory of one instance, for example 16MiB
    #[arg(long, value_parser = byte_count, value_name = "BYTES")]
    memory: Option<u64>,

    /// A call that takes longer is noted in the plugin's log as slow, for example 10ms
    #[arg(long, value_parser = milliseconds, value_name = "DURATION")]
    slow: Option<u64>,
}

/// A line `deploy ...` of a scenario.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    deploy: Deploy,
}

/// The deployment that a scenario's line `deploy ...` asks for (`scenario::Prepare`).
pub(super) fn of_line(line: &[String], former: &dyn Fn(&str) -> Option<Manifest>) -> Result<Deployment, String> {
    let Line { deploy } = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    let prepared = prepare(&deploy, former(&deploy.name).as_ref()).map_err(|error| format!("{error:#}"))?;
    Ok(prepared.deployment())
}

impl Deploy {
    /// The plugin's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// A component and its manifest, whose version is set when it is deployed.
pub(super) struct Prepared {
    pub(crate) name: String,
    pub(crate) component: Vec<u8>,
    pub(crate) manifest: Manifest,
    /// The grants that the author asks for, at the paths of this deployment.
    asked: Vec<Grant>,
    /// The name and version that the author gave the component.
    described: String,
}

impl Prepared {
    /// The part that a server gets.
    pub(super) fn deployment(self) -> Deployment {
        Deployment { name: self.name, component: self.component, manifest: self.manifest }
    }
}

/// Reads the component and makes its manifest. `former`: the manifest in force, whose values are kept where the options
/// say nothing.
pub(super) fn prepare(deploy: &Deploy, former: Option<&Manifest>) -> anyhow::Result<Prepared> {
    let sentence = |sentence: String| anyhow!(sentence);
    manifest::check_name(&deploy.name).map_err(sentence)?;
    let component = read_source(&deploy.source)?;
    let inspected = component::inspect(&component).map_err(|error| anyhow!("{}: {error}", deploy.source))?;
    let kind = wanted_kind(deploy, &inspected.kinds, former)?;
    // Values of another kind of plugin are not kept.
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
    let kept = former.map_or(Limits::default(), |former| former.limits);
    let given = Limits {
        fuel: deploy.fuel.or(kept.fuel),
        deadline_ms: deploy.deadline.or(kept.deadline_ms),
        memory_bytes: deploy.memory.or(kept.memory_bytes),
        slow_ms: deploy.slow.or(kept.slow_ms),
    };
    let budget = binding::budget(&given, &section);
    if let Some(refusal) = component::memory_refusal(inspected.memory_bytes, budget.memory_bytes) {
        bail!("{}: {refusal}", deploy.source);
    }
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
        limits: given,
    };
    // Checks the manifest as the server will.
    manifest::parse(&serde_json::to_vec(&manifest)?).map_err(sentence)?;
    let described = format!("{} {}", section.name, section.version).trim().to_string();
    Ok(Prepared { name: deploy.name.clone(), component, manifest, asked, described })
}

/// Asks the operator if the component wants to touch more than the paths it is deployed at. `--grant` or `--yes`
/// answers before the question. Components that come with the server are trusted, and what the version in force has
/// been granted is granted again. Fails if the answer is no.
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

/// The grants that the component asks for beyond its paths and beyond those of the version in force.
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

/// The kind of plugin that the options name or imply, or else the only kind that the component is.
fn wanted_kind(deploy: &Deploy, kinds: &[Kind], former: Option<&Manifest>) -> anyhow::Result<Kind> {
    let implied = match (&deploy.mount, &deploy.scheme) {
        (Some(_), _) => Some(Kind::Recipe),
        (None, Some(_)) => Some(Kind::Authenticator),
        (None, None) => None,
    };
    let names = || kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    // A component of several kinds keeps the kind of the version in force.
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

/// Uploads the component and deploys it, or brings it on trial.
pub(super) async fn upload_and_deploy(client: &mut Client, authenticated: bool, deploy: &Deploy) -> anyhow::Result<()> {
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
    say_if_slow(&deploy.source, component.len());
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
    if let Some(cost) = cost::of_a_write(client, &name, &manifest).await? {
        println!("  costs   {cost}");
    }
    if on_trial {
        println!("`wasmkeeper plugin promote {name}` brings it into force, `wasmkeeper plugin abort {name}` drops it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plugin::{Arguments, Command, Operator};
    use crate::plugin::grant::GrantVerb;
    use clap::Parser;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        plugin: Arguments,
    }

    fn deploy(line: &[&str]) -> Deploy {
        let arguments = CommandLine::parse_from(["plugin", "deploy"].iter().chain(line)).plugin;
        match arguments.command {
            Command::Operator(Operator::Deploy(deploy)) => *deploy,
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
        assert_eq!(prepared.manifest.grants, [Grant { path: "/services".into(), verbs: vec![GrantVerb::Read] }]);
        assert_eq!((prepared.manifest.mode, prepared.manifest.kind), (Mode::Enforce, Kind::Validator));
    }

    #[test]
    fn all_options() {
        let line = "bundled:guard --name g --path /a/** --path /b --on create,set --mode audit --on-failure ignore \
                    --grant read,children:/a --fuel 5 --deadline 20ms --memory 2MiB";
        let manifest = prepare(&deploy(&line.split_whitespace().collect::<Vec<_>>()), None).unwrap().manifest;
        assert_eq!(manifest.paths, ["/a/**", "/b"]);
        assert_eq!(manifest.on, [Verb::Create, Verb::Set]);
        assert_eq!((manifest.mode, manifest.on_failure), (Mode::Audit, OnFailure::Ignore));
        assert_eq!(manifest.grants, [Grant { path: "/a".into(), verbs: vec![GrantVerb::Read, GrantVerb::Children] }]);
        assert_eq!(
            manifest.limits,
            Limits { fuel: Some(5), deadline_ms: Some(20), memory_bytes: Some(2 << 20), slow_ms: None }
        );
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
                Ok(CommandLine { plugin: Arguments { command: Command::Operator(Operator::Deploy(deploy)), .. } }) => {
                    format!("{:#}", prepare(&deploy, None).err().expect(line))
                }
                Ok(_) => unreachable!("the lines deploy"),
            };
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
