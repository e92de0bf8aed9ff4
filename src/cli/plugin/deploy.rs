//! `plugin deploy`: pieces of a component, and one multi for the manifest.

use super::access::{create_if_absent, node_acl, publish, read_manifest};
use super::look::{grants_text, place_text};
use super::options::{byte_count, kind, milliseconds, mode, on_failure, operation, parse_grant, require};
use super::source::read_source;
use crate::cli::client::Client;
use crate::limits;
use crate::model::path;
use crate::plugin::grant::{self, Grant};
use crate::plugin::manifest::{self, Component, Kind, Limits, Manifest, Mode, OnFailure, Operation, Require};
use crate::plugin::pattern::Pattern;
use crate::plugin::{MODULES, PLUGINS, component, tree};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::Value;

#[derive(Args, Debug)]
pub(super) struct Deploy {
    /// A .wasm file, component or core module, or bundled:NAME
    #[arg(value_name = "FILE|bundled:NAME")]
    source: String,

    /// What the plugin is called here; it stands before its refusals
    #[arg(long)]
    name: String,

    /// What of the component is put to work, where it is several kinds: validator, policy, authenticator, recipe, controller
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,

    /// Paths it is asked about (validators, policies, controllers); * is any text in a name, ** any depth below. Default: /**
    #[arg(long = "path", value_name = "GLOB")]
    paths: Vec<String>,

    /// The node that a recipe owns, with all below: /locks for example
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,

    /// The scheme of an authenticator: jwt for example
    #[arg(long)]
    scheme: Option<String>,

    /// Of a policy: allow, if somebody has to allow what is asked
    #[arg(long, value_parser = require, value_name = "allow|none", default_value = "none")]
    require: Require,

    /// Operations it is asked about: create, set, delete, acl; a policy also read, children, call. Default: all
    #[arg(long, value_name = "OP", value_parser = operation, value_delimiter = ',')]
    on: Vec<Operation>,

    /// enforce, audit (count and log what would be refused) or off
    #[arg(long, default_value = "enforce", value_parser = mode)]
    mode: Mode,

    /// What a write gets if the plugin fails: reject or ignore
    #[arg(long, default_value = "reject", value_parser = on_failure, value_name = "reject|ignore")]
    on_failure: OnFailure,

    /// The plugin's settings
    #[arg(long, default_value = "{}", value_name = "JSON|@FILE")]
    settings: String,

    /// What it may look at, for example read:/services; verbs with commas. Default: what it asks for
    #[arg(long = "grant", value_name = "VERB:PATH", value_parser = parse_grant)]
    grants: Vec<Grant>,

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

/// A component and its manifest, whose version is yet to be found.
pub(super) struct Prepared {
    pub name: String,
    pub component: Vec<u8>,
    pub manifest: Manifest,
    /// The author's own words on it.
    described: String,
}

pub(super) fn prepare(deploy: &Deploy) -> anyhow::Result<Prepared> {
    let sentence = |sentence: String| anyhow!(sentence);
    manifest::check_name(&deploy.name).map_err(sentence)?;
    let component = read_source(&deploy.source)?;
    let inspected = component::inspect(&component).map_err(|error| anyhow!("{}: {error}", deploy.source))?;
    let kind = wanted_kind(deploy, &inspected.kinds)?;
    let by_paths = matches!(kind, Kind::Validator | Kind::Policy | Kind::Controller);
    let paths = if deploy.paths.is_empty() && by_paths { vec!["/**".to_string()] } else { deploy.paths.clone() };
    let patterns = paths
        .iter()
        .map(|path| Pattern::parse(path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow!("--path: {error}"))?;
    let section = inspected.section;
    let settings = match deploy.settings.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("--settings: read {file}"))?,
        None => deploy.settings.clone(),
    };
    let settings: Value =
        serde_json::from_str(&settings).context("--settings: JSON is required, for example '{\"max_bytes\":4096}'")?;
    let grants = if deploy.grants.is_empty() {
        let places: Vec<&str> = match &deploy.mount {
            Some(mount) => vec![mount],
            None => patterns.iter().map(Pattern::base).collect(),
        };
        grant::expand(&section.grants, &places)
    } else {
        deploy.grants.clone()
    };
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
        mount: deploy.mount.clone(),
        scheme: deploy.scheme.clone(),
        on: deploy.on.clone(),
        require: deploy.require,
        mode: deploy.mode,
        on_failure: deploy.on_failure,
        settings,
        grants,
        limits: Limits { fuel: deploy.fuel, deadline_ms: deploy.deadline, memory_bytes: deploy.memory },
    };
    // The server reads it as we would.
    manifest::parse(&serde_json::to_vec(&manifest)?).map_err(sentence)?;
    let described = format!("{} {}", section.name, section.version).trim().to_string();
    Ok(Prepared { name: deploy.name.clone(), component, manifest, described })
}

/// The kind that the options name or imply, or the only one that the component is.
fn wanted_kind(deploy: &Deploy, kinds: &[Kind]) -> anyhow::Result<Kind> {
    let implied = match (&deploy.mount, &deploy.scheme) {
        (Some(_), _) => Some(Kind::Recipe),
        (None, Some(_)) => Some(Kind::Authenticator),
        (None, None) => None,
    };
    let names = || kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    match (deploy.kind.or(implied), kinds) {
        (Some(kind), _) if !kinds.contains(&kind) => {
            bail!("{} is no {}; it is: {}", deploy.source, kind.name(), names())
        }
        (Some(kind), _) => Ok(kind),
        (None, [kind]) => Ok(*kind),
        (None, _) => bail!("{} is several kinds, choose one with --kind: {}", deploy.source, names()),
    }
}

pub(super) async fn publish_component(
    client: &mut Client,
    authenticated: bool,
    prepared: Prepared,
) -> anyhow::Result<()> {
    let Prepared { name, component, mut manifest, described } = prepared;
    let acl = node_acl(authenticated);
    let folder = path::join(MODULES, &manifest.component.sha256);
    for node in [PLUGINS, MODULES, &folder] {
        create_if_absent(client, node, b"", &acl).await?;
    }
    for (chunk, bytes) in (0u32..).zip(component.chunks(limits::CHUNK_BYTES_MAX)) {
        create_if_absent(client, &manifest.component.chunk_path(chunk), bytes, &acl).await?;
    }
    let former = read_manifest(client, &name).await?;
    manifest.version = former.as_ref().map_or(1, |(former, _)| former.version.saturating_add(1));
    publish(client, &name, &manifest, former.map(|(_, node_version)| node_version), &acl).await?;

    let what = if described.is_empty() { String::new() } else { format!(" ({described})") };
    println!("{name} version {} is deployed{what}", manifest.version);
    println!("  kind    {}", manifest.kind.name());
    println!("  at      {}", place_text(&manifest));
    println!("  mode    {}, on failure {}", manifest.mode.name(), manifest.on_failure.name());
    println!("  grants  {}", grants_text(&manifest.grants));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plugin::{Arguments, Command, Operator};
    use crate::plugin::grant::Verb;
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
        let prepared = prepare(&deploy(&line)).unwrap();
        assert_eq!(prepared.described, "guard 1.0.0");
        assert_eq!(prepared.manifest.grants, [Grant { path: "/services".into(), verbs: vec![Verb::Read] }]);
        assert_eq!((prepared.manifest.mode, prepared.manifest.kind), (Mode::Enforce, Kind::Validator));
    }

    #[test]
    fn all_options() {
        let line = "bundled:guard --name g --path /a/** --path /b --on create,set --mode audit --on-failure ignore \
                    --grant read,children:/a --fuel 5 --deadline 20ms --memory 1MiB";
        let manifest = prepare(&deploy(&line.split_whitespace().collect::<Vec<_>>())).unwrap().manifest;
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
                Ok(CommandLine { plugin: Arguments { command: Command::Operator(Operator::Deploy(deploy)), .. } }) => {
                    format!("{:#}", prepare(&deploy).err().expect(line))
                }
                Ok(_) => unreachable!("the lines deploy"),
            };
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
