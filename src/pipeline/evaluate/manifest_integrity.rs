//! That plugin manifests and what they name agree: each mount belongs to one recipe, and the pieces of each component
//! exist.
//!
//! A deployment is checked beside the sequencer before it is evaluated (`plugin::check_deployment`). Its transaction
//! must check the references again, because they may have changed since: two deployments may have been checked at the
//! same time, and pieces that no manifest named yet may have been deleted. While a manifest names a component, its
//! pieces cannot be deleted.

use super::draft::Draft;
use crate::model::chores::{self, Place};
use crate::model::control_plane::{CANARY, MODULES, PLUGINS, VERSIONS};
use crate::model::{ErrorCode, Refusal, path};
use crate::pipeline::overlay::path_of;
use crate::pipeline::{Plugins, ReadView};
use std::collections::BTreeSet;

/// Hexadecimal digits of a component's digest.
const DIGEST_DIGITS: usize = 64;

/// Checks the manifests that the transaction writes: no other recipe has the same mount, and the component's pieces
/// exist.
pub(crate) fn check(draft: &Draft<'_>, plugins: &mut dyn Plugins) -> Result<(), Refusal> {
    let place = |change| path_of(change).and_then(|path| chores::place(path));
    let bound = |place| if let Some(Place::Manifest { plugin }) = place { Some(plugin) } else { None };
    let written: BTreeSet<&str> = draft.changes.iter().filter_map(|change| bound(place(change))).collect();
    for plugin in written {
        let Some(manifest) = data(draft, &path::join(PLUGINS, plugin)) else { continue };
        if let Some(piece) = plugins.pieces(&manifest).into_iter().find(|piece| draft.node(piece).is_none()) {
            return Err(refused(plugin, &format!("{piece} has gone since it was checked: upload the component again")));
        }
        let Some(mount) = plugins.starts_recipe(&manifest) else { continue };
        for other in draft.view().children(PLUGINS, None, usize::MAX).iter().filter(|other| *other != plugin) {
            let others = data(draft, &path::join(PLUGINS, other)).and_then(|manifest| plugins.starts_recipe(&manifest));
            if others.as_ref() == Some(&mount) {
                return Err(refused(plugin, &mount_taken(&mount, other)));
            }
        }
    }
    Ok(())
}

/// The text that says that another recipe has the mount, and what to do about it.
pub(crate) fn mount_taken(mount: &str, by: &str) -> String {
    format!("mount: {mount} is that of {by}: choose another, or turn {by} off or remove it")
}

/// BADARGUMENTS if the node is a piece of a component that a manifest names, or a former version of a manifest. A
/// plugin without its pieces would not run after the next start.
pub(crate) fn require_unnamed(draft: &Draft<'_>, node: &str) -> Result<(), Refusal> {
    let below = node.strip_prefix(MODULES).and_then(|rest| rest.strip_prefix('/'));
    let component = below.and_then(|below| below.split('/').next()).filter(|name| name.len() == DIGEST_DIGITS);
    let Some(component) = component else { return Ok(()) };
    for plugin in draft.view().children(PLUGINS, None, usize::MAX) {
        let plugin = path::join(PLUGINS, &plugin);
        let versions = path::join(&plugin, VERSIONS);
        let former = draft.view().children(&versions, None, usize::MAX);
        let former = former.iter().map(|version| path::join(&versions, version));
        for manifest in former.chain([path::join(&plugin, CANARY), plugin.clone()]) {
            // A digest means nothing but the component, so data that is no manifest needs no special case.
            let text = data(draft, &manifest).unwrap_or_default();
            if String::from_utf8_lossy(&text).contains(component) {
                let text =
                    format!("{node}: {manifest} names that component: remove the plugin, or that version of it, first");
                return Err(Refusal::new(ErrorCode::BadArguments, text));
            }
        }
    }
    Ok(())
}

fn data(draft: &Draft<'_>, path: &str) -> Option<bytes::Bytes> {
    Some(ReadView::node(&draft.view(), path)?.data.unwrap_or_default())
}

/// The refusal of a deployment.
pub(crate) fn refused(plugin: &str, text: &str) -> Refusal {
    Refusal::new(ErrorCode::BadArguments, format!("{plugin}: the plugin is refused: {text}"))
}
