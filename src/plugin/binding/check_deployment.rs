//! The check of a deployment: what a write to `/zookeeper/plugins` must pass before it enters the pipeline.
//!
//! The check runs off the sequencer and may take seconds to compile. Only the session that deploys waits. After the
//! check the machine code is there, so that the plugin works from the zxid of its manifest on. A refusal is a sentence
//! that names the mistake and the fix. A refused deployment leaves nothing behind but pieces of the component, which
//! are deleted after an hour.

use super::plugins::Plugins;
use crate::hooks;
use crate::limits;
use crate::model::chores::{self, Place};
use crate::model::control_plane::{CANARY, CRASHES, QUARANTINE};
use crate::model::{Refusal, path};
use crate::pipeline::evaluate::manifest_integrity::{mount_taken, refused};
use crate::plugin::PLUGINS;
use crate::plugin::binding;
use crate::plugin::fault::Fault;
use crate::plugin::guest::call::Instance;
use crate::plugin::guest::failed::Failed;
use crate::plugin::manifest::tree::{self, Tree};
use crate::plugin::manifest::{self, Manifest, Mode};
use crate::wire::request::Request;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Whether a request deploys something, so that `prepare` must check it before it is evaluated.
pub(crate) fn concerns(request: &Request) -> bool {
    let mut concerns = false;
    each(request, &mut |write| concerns |= binds(write.path));
    concerns
}

/// Whether a transaction changes which plugins there are. After such a transaction the registry is made anew, and no
/// later request may be evaluated before that.
pub(crate) fn touches(txn: &crate::model::txn::Txn) -> bool {
    use crate::model::txn::Change;
    txn.changes.iter().any(|change| match change {
        Change::Create { path, .. } | Change::Delete { path } | Change::SetData { path, .. } => binds(path),
        _ => false,
    })
}

/// Whether the data of the node says how a plugin is bound. Other nodes below `PLUGINS` do not: former manifests,
/// timers, owed work.
fn binds(node: &str) -> bool {
    match chores::place(node) {
        Some(Place::Manifest { .. }) => true,
        Some(Place::Other) => {
            let what = node.strip_prefix(PLUGINS).and_then(|rest| rest.split('/').nth(2));
            let what = what.filter(|what| *what != QUARANTINE || hooks::sees_quarantine());
            what.is_some_and(|what| [CANARY, QUARANTINE, CRASHES].contains(&what))
        }
        _ => false,
    }
}

/// A manifest that has passed the check.
#[derive(Debug, PartialEq)]
pub(crate) struct Admitted {
    /// The key of the binding (`Binding::key`).
    pub(crate) key: String,
    pub(crate) manifest: Manifest,
}

/// Checks every manifest that the request writes, and compiles the components. `tree`: the applied tree.
pub(crate) fn prepare(plugins: &Plugins, request: &Request, tree: &dyn Tree) -> Result<Vec<Admitted>, Refusal> {
    let mut written: HashMap<&str, &Bytes> = HashMap::new();
    let mut manifests = Vec::new();
    each(request, &mut |write| {
        if let Some(data) = write.data {
            written.insert(write.path, data);
            manifests.extend(bound_at(write.path).map(|key| (key, data)));
        }
    });
    let after = After { tree, written: &written };
    let admit = |(key, data): (&str, &Bytes)| {
        let admitted = check(plugins, key, data, &after);
        admitted.map(|manifest| Admitted { key: key.into(), manifest }).map_err(|text| refused(key, &text))
    };
    manifests.into_iter().map(admit).collect()
}

/// The key of the binding whose manifest the node holds: `<name>` or `<name>/canary`. None for other nodes.
fn bound_at(path: &str) -> Option<&str> {
    let key = path.strip_prefix(PLUGINS)?.strip_prefix('/')?;
    (!key.contains('/') || key.strip_suffix(CANARY).is_some_and(|rest| rest.find('/') == Some(rest.len() - 1)))
        .then_some(key)
}

/// The tree after the request: pieces and manifests of the same multi count.
struct After<'a> {
    tree: &'a dyn Tree,
    written: &'a HashMap<&'a str, &'a Bytes>,
}

impl After<'_> {
    fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.written.get(path).map(|data| data.to_vec()).or_else(|| self.tree.data(path))
    }
}

/// Refuses a mount that another recipe owns, or a scheme that another authenticator owns. The transaction checks the
/// mount again, because another deployment may come first.
fn check_taken(manifest: &Manifest, name: &str, after: &After<'_>) -> Result<(), String> {
    let (mount, scheme) = (&manifest.mount, &manifest.scheme);
    if manifest.mode == Mode::Off || (mount.is_none() && scheme.is_none()) {
        return Ok(());
    }
    let written = after.written.keys().filter_map(|path| bound_at(path)).map(str::to_owned);
    for other in after.tree.children(PLUGINS).into_iter().chain(written).filter(|other| other != name) {
        let bound = after.data(&path::join(PLUGINS, &other)).and_then(|data| manifest::parse(&data).ok());
        let Some(bound) = bound.filter(|bound| bound.mode != Mode::Off) else { continue };
        match (mount, scheme) {
            (Some(mount), _) if bound.mount.as_ref() == Some(mount) => return Err(mount_taken(mount, &other)),
            (_, Some(scheme)) if bound.scheme.as_ref() == Some(scheme) => {
                return Err(format!(
                    "scheme: {scheme} is that of {other}: choose another, or turn {other} off or remove it"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks one manifest.
fn check(plugins: &Plugins, key: &str, data: &[u8], after: &After<'_>) -> Result<Manifest, String> {
    let name = key.split('/').next().unwrap_or(key);
    manifest::check_name(name)?;
    let manifest = manifest::parse(data)?;
    manifest.check_node(key)?;
    if !manifest.canary.is_empty() {
        check_trial(&manifest, &path::join(PLUGINS, name), after)?;
    }
    let former = after.tree.data(&path::join(PLUGINS, key)).and_then(|former| manifest::parse(&former).ok());
    if manifest.mode == Mode::Off && former.is_some_and(|former| former.is_but_for_its_mode(&manifest)) {
        // Turning off an existing plugin must work on a server where the plugin cannot run.
        return Ok(manifest);
    }
    if !plugins.enabled() {
        // A server without plugins can check only the text of the manifest. That is enough to turn a plugin off or to
        // remove it.
        return match manifest.mode {
            Mode::Off => Ok(manifest),
            _ => Err("this server runs with --plugins off and cannot check it: deploy it with --mode off, or start the server with --plugins on".into()),
        };
    }
    check_room(&manifest, after.tree)?;
    check_taken(&manifest, name, after)?;
    // The pieces are read even if the code is loaded already: other members, and the next start, compile from the
    // pieces.
    let component = tree::read_component(&manifest.component, &|path| after.data(path))?;
    let program = plugins.load(manifest.code(), &|| Ok(component.clone()))?;
    if !program.is(manifest.kind) {
        let kinds: Vec<_> =
            manifest::Kind::ALL.into_iter().filter(|kind| program.is(*kind)).map(manifest::Kind::name).collect();
        return Err(format!("kind: the component is no {}, it is: {}", manifest.kind.name(), kinds.join(", ")));
    }
    let patterns = manifest.patterns()?;
    let setup = binding::setup(&Arc::from(name), &manifest, &patterns, &program.section);
    match Instance::start(&program, &setup) {
        Ok(_) => Ok(manifest),
        Err(Failed { fault: Fault::Settings(text), .. }) => Err(format!("settings: {text}")),
        Err(Failed { fault, evidence, .. }) => {
            let last = evidence.log.last().map_or_else(String::new, |line| format!("; its log: {line}"));
            Err(format!("it failed to start ({}): {}{last}", fault.name(), fault.text()))
        }
    }
}

/// Refuses a version that cannot be on trial beside the version in force at `node`.
fn check_trial(manifest: &Manifest, node: &str, after: &After<'_>) -> Result<(), String> {
    let in_force = after.data(node).and_then(|data| manifest::parse(&data).ok());
    let in_force =
        in_force.ok_or("canary: there is no version in force that it could be tried beside: deploy one first")?;
    if in_force.kind != manifest.kind {
        return Err(format!(
            "canary: it is a {}, and the version in force a {}",
            manifest.kind.name(),
            in_force.kind.name()
        ));
    }
    let place = in_force.place(&in_force.patterns()?);
    match manifest.canary.iter().find(|path| !path::is_within(path, &place)) {
        Some(path) => {
            Err(format!("canary: path {path:?}: it is not within {place}, where the version in force applies"))
        }
        None => Ok(()),
    }
}

/// Refuses a component for which the tree has no room.
fn check_room(manifest: &Manifest, tree: &dyn Tree) -> Result<(), String> {
    let mut components: BTreeMap<String, u64> =
        tree::manifests(tree).into_iter().map(|known| (known.component.sha256, known.component.bytes)).collect();
    components.insert(manifest.component.sha256.clone(), manifest.component.bytes);
    let bytes: u64 = components.values().sum();
    if bytes <= limits::COMPONENTS_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "with it all components, former versions included, would have {} MiB, and {} MiB are allowed: remove plugins that are \
         not needed, or former versions of them (`wasmkeeper plugin versions` lists them)",
        bytes >> 20,
        limits::COMPONENTS_BYTES_MAX >> 20
    ))
}

struct Write<'a> {
    path: &'a str,
    /// None: the request does not write data.
    data: Option<&'a Bytes>,
}

/// Calls `visit` for each write of a request.
fn each<'a>(request: &'a Request, visit: &mut dyn FnMut(Write<'a>)) {
    static EMPTY: Bytes = Bytes::new();
    match request {
        Request::Create(create) => {
            if let Some(path) = &create.path {
                visit(Write { path, data: Some(create.data.as_ref().unwrap_or(&EMPTY)) });
            }
        }
        Request::SetData { path: Some(path), data, .. } => {
            visit(Write { path, data: Some(data.as_ref().unwrap_or(&EMPTY)) })
        }
        Request::Delete { path: Some(path), .. } | Request::SetAcl { path: Some(path), .. } => {
            visit(Write { path, data: None })
        }
        Request::Multi(operations) => operations.iter().for_each(|operation| {
            // A multi contains no multi: the decoder refuses that.
            if !matches!(operation.request, Request::Multi(_)) {
                each(&operation.request, visit);
            }
        }),
        _ => {}
    }
}
