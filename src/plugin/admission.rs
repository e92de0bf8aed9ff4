//! What a write to `/zookeeper/plugins` must pass before it enters the pipeline.
//!
//! It runs off the sequencer and may take seconds (compiling), holding back only the session that asked. When it has
//! passed, the machine code is there: activation is then a matter of one zxid. Whatever is wrong is a sentence that
//! names the thing and the fix, and nothing of the deployment stays behind but pieces of the component, which go by
//! themselves after an hour.

use super::binding;
use super::call::{Fault, Instance};
use super::manifest;
use super::registry::Plugins;
use super::{PLUGINS, tree};
use crate::model::chores::{self, Place};
use crate::model::{ErrorCode, Refusal, path};
use crate::wire::request::Request;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// Whether `prepare` has to see this request before it is evaluated.
pub fn concerns(request: &Request) -> bool {
    let mut concerns = false;
    each(request, &mut |write| concerns |= binds(write.path));
    concerns
}

/// Whether a transaction changes which plugins there are: the registry is made anew once it is applied, and nothing
/// that follows it may be evaluated before.
pub fn touches(txn: &crate::pipeline::txn::Txn) -> bool {
    use crate::pipeline::txn::Change;
    txn.changes.iter().any(|change| match change {
        Change::Create { path, .. } | Change::Delete { path } | Change::SetData { path, .. } => binds(path),
        _ => false,
    })
}

/// Whether the node's data binds a plugin. What else lies below `PLUGINS` - former manifests, timers, owed work - does not.
fn binds(node: &str) -> bool {
    matches!(chores::place(node), Some(Place::Manifest { .. }))
}

/// Checks every manifest that the request writes, and compiles what it binds. `read` gives the data of a node of the
/// applied tree.
pub fn prepare(plugins: &Plugins, request: &Request, read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<(), Refusal> {
    // Pieces that come in the same multi count as well.
    let mut written: HashMap<&str, &Bytes> = HashMap::new();
    let mut manifests = Vec::new();
    each(request, &mut |write| {
        if let Some(data) = write.data {
            written.insert(write.path, data);
            if path::parent(write.path) == Some(PLUGINS) {
                manifests.push((path::name(write.path), data));
            }
        }
    });
    let pieces = |path: &str| written.get(path).map(|data| data.to_vec()).or_else(|| read(path));
    for (name, data) in manifests {
        let former = read(&path::join(PLUGINS, name));
        check(plugins, name, data, former.as_deref(), &pieces)
            .map_err(|text| Refusal::new(ErrorCode::BadArguments, format!("{name}: the plugin is refused: {text}")))?;
    }
    Ok(())
}

/// Checks one manifest; `former` is the one it replaces.
fn check(
    plugins: &Plugins,
    name: &str,
    data: &[u8],
    former: Option<&[u8]>,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<(), String> {
    manifest::check_name(name)?;
    let manifest = manifest::parse(data)?;
    let former = former.and_then(|former| manifest::parse(former).ok());
    if manifest.mode == manifest::Mode::Off && former.is_some_and(|former| former.component == manifest.component) {
        // Turning off what is there must also work where it no longer runs.
        return Ok(());
    }
    if !plugins.enabled() {
        // With plugins off only what stands in the manifest can be judged; that is enough to turn one off or remove it.
        return match manifest.mode {
            manifest::Mode::Off => Ok(()),
            _ => Err("this server runs with --plugins off and cannot check it: deploy it with --mode off, or start the server with --plugins on".into()),
        };
    }
    let program = plugins.load(&manifest.component, &|| tree::read_component(&manifest.component, read))?;
    if !program.is(manifest.kind) {
        let kinds: Vec<_> =
            manifest::Kind::ALL.into_iter().filter(|kind| program.is(*kind)).map(manifest::Kind::name).collect();
        return Err(format!("kind: the component is no {}, it is: {}", manifest.kind.name(), kinds.join(", ")));
    }
    let patterns = manifest.patterns()?;
    let setup = binding::setup(&Arc::from(name), &manifest, &patterns, &program.section);
    match Instance::new(&program, &setup) {
        Ok(_) => Ok(()),
        Err(Fault::Settings(text)) => Err(format!("settings: {text}")),
        Err(fault) => Err(format!("it failed to start ({}): {}", fault.name(), fault.text())),
    }
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
