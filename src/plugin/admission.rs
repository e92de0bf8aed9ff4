//! What a write to `/zookeeper/plugins` must pass before it enters the pipeline.
//!
//! It runs off the sequencer and may take seconds (compiling), holding back only the session that asked. When it has
//! passed, the machine code is there: activation is then a matter of one zxid. Whatever is wrong is a sentence that
//! names the thing and the fix, and nothing of the deployment stays behind but pieces of the component, which go by
//! themselves after an hour.

use super::PLUGINS;
use super::binding;
use super::call::{Failed, Fault, Instance};
use super::manifest::{self, Manifest, Mode};
use super::registry::Plugins;
use super::tree::{self, Tree};
use crate::hooks;
use crate::limits;
use crate::model::chores::{self, Place};
use crate::model::control_plane::{CANARY, CRASHES, QUARANTINE};
use crate::model::{Refusal, path};
use crate::pipeline::evaluate::manifest_integrity::{mount_taken, refused};
use crate::wire::request::Request;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Whether `prepare` has to see this request before it is evaluated.
pub fn concerns(request: &Request) -> bool {
    let mut concerns = false;
    each(request, &mut |write| concerns |= binds(write.path));
    concerns
}

/// Whether a transaction changes which plugins there are: the registry is made anew once it is applied, and nothing
/// that follows it may be evaluated before.
pub fn touches(txn: &crate::model::txn::Txn) -> bool {
    use crate::model::txn::Change;
    txn.changes.iter().any(|change| match change {
        Change::Create { path, .. } | Change::Delete { path } | Change::SetData { path, .. } => binds(path),
        _ => false,
    })
}

/// Whether the node's data says how a plugin is bound. What else lies below `PLUGINS` - former manifests, timers, owed work -
/// does not.
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

/// A manifest that has been checked.
#[derive(Debug, PartialEq)]
pub struct Admitted {
    /// Where it is bound (`Binding::key`).
    pub key: String,
    pub manifest: Manifest,
}

/// Checks every manifest that the request writes, compiles what it binds, and says what that is. `tree`: the applied one.
pub fn prepare(plugins: &Plugins, request: &Request, tree: &dyn Tree) -> Result<Vec<Admitted>, Refusal> {
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

/// What a manifest at that node would bind: `<name>` or `<name>/canary`.
fn bound_at(path: &str) -> Option<&str> {
    let key = path.strip_prefix(PLUGINS)?.strip_prefix('/')?;
    (!key.contains('/') || key.strip_suffix(CANARY).is_some_and(|rest| rest.find('/') == Some(rest.len() - 1)))
        .then_some(key)
}

/// The tree with what the request writes: pieces and manifests that come in the same multi count as well.
struct After<'a> {
    tree: &'a dyn Tree,
    written: &'a HashMap<&'a str, &'a Bytes>,
}

impl After<'_> {
    fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.written.get(path).map(|data| data.to_vec()).or_else(|| self.tree.data(path))
    }
}

/// Whether another recipe has the mount already, or another authenticator the scheme. A mount may get it meanwhile: the
/// transaction looks again.
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
        // Turning off what is there must also work where it no longer runs.
        return Ok(manifest);
    }
    if !plugins.enabled() {
        // With plugins off only what stands in the manifest can be judged; that is enough to turn one off or remove it.
        return match manifest.mode {
            Mode::Off => Ok(manifest),
            _ => Err("this server runs with --plugins off and cannot check it: deploy it with --mode off, or start the server with --plugins on".into()),
        };
    }
    check_room(&manifest, after.tree)?;
    check_taken(&manifest, name, after)?;
    // The pieces, too, where the code is there already: other members, and the next start, make it of them.
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

/// Whether a version can be on trial beside the one at `node`.
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

/// Whether the tree has room for one more component.
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
    /// None: not a write of data.
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
            // A multi holds no multi; the decoder refuses it.
            if !matches!(operation.request, Request::Multi(_)) {
                each(&operation.request, visit);
            }
        }),
        _ => {}
    }
}
