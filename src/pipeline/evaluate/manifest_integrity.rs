//! Deployments, in their transaction: what was found when they were checked, beside the sequencer, may be otherwise by now. Two
//! may have been checked at the same time, and pieces that nothing named yet may have gone.
//!
//! While a manifest names a component, its pieces cannot be deleted.

use super::draft::Draft;
use crate::model::chores::{self, Place};
use crate::model::control_plane::{CANARY, MODULES, PLUGINS, VERSIONS};
use crate::model::{ErrorCode, Refusal, path};
use crate::pipeline::overlay::path_of;
use crate::pipeline::{Plugins, ReadView};
use std::collections::BTreeSet;

/// Hexadecimal digits of a component's digest.
const DIGEST_DIGITS: usize = 64;

/// Whether what the transaction binds can be bound: each mount to one recipe, and each component is there.
pub fn check(draft: &Draft<'_>, plugins: &mut dyn Plugins) -> Result<(), Refusal> {
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

/// Why a recipe cannot have a mount, and what to do about it.
pub fn mount_taken(mount: &str, by: &str) -> String {
    format!("mount: {mount} is that of {by}: choose another, or turn {by} off or remove it")
}

/// Whether a node may be deleted as far as manifests are concerned, former ones among them: a plugin whose pieces are gone
/// would not run from the next start on.
pub fn require_unnamed(draft: &Draft<'_>, node: &str) -> Result<(), Refusal> {
    let below = node.strip_prefix(MODULES).and_then(|rest| rest.strip_prefix('/'));
    let component = below.and_then(|below| below.split('/').next()).filter(|name| name.len() == DIGEST_DIGITS);
    let Some(component) = component else { return Ok(()) };
    for plugin in draft.view().children(PLUGINS, None, usize::MAX) {
        let plugin = path::join(PLUGINS, &plugin);
        let versions = path::join(&plugin, VERSIONS);
        let former = draft.view().children(&versions, None, usize::MAX);
        let former = former.iter().map(|version| path::join(&versions, version));
        for manifest in former.chain([path::join(&plugin, CANARY), plugin.clone()]) {
            // A digest stands for nothing else, so what is no manifest need not be told apart.
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

/// Why a deployment does not go on, for whoever asked for it.
pub fn refused(plugin: &str, text: &str) -> Refusal {
    Refusal::new(ErrorCode::BadArguments, format!("{plugin}: the plugin is refused: {text}"))
}
