//! A member's report against a plugin. A report of faults says that clients of several sessions met faults. It puts the
//! plugin into quarantine at once. A report of a crash says that a call of the plugin has ended a process. It is kept
//! in the tree, and the second such report against the same version puts the plugin into quarantine.
//!
//! ```text
//! /zookeeper/plugins/<name>/quarantine                      why it is not called (the plugin host chooses the data)
//! /zookeeper/plugins/<name>/crashes/<zxid>-<member>-<run>   one for each process that a call of the plugin has ended
//! ```

use super::draft::{Draft, Existing};
use crate::limits;
use crate::model::control_plane::{CRASHES, PLUGINS, QUARANTINE};
use crate::model::path;
use crate::pipeline::{Blame, ReadView};
use bytes::Bytes;
use std::sync::Arc;

/// Returns whether anything has been written. Nothing is written if another version of the plugin is in force by now,
/// or if the same crash was reported before.
pub(crate) fn evaluate(draft: &mut Draft<'_>, blame: &Blame) -> bool {
    let plugin = path::join(PLUGINS, &blame.plugin);
    if draft.node(&plugin).is_none_or(|node| node.stat().mzxid != blame.manifest_mzxid) {
        return false;
    }
    let is_name = |run: &str| !run.is_empty() && run.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if blame.crashed.as_deref().is_some_and(|run| !is_name(run)) {
        return false;
    }
    if let Some(run) = &blame.crashed {
        let folder = path::join(&plugin, CRASHES);
        let of_this_version = format!("{:016x}-", blame.manifest_mzxid);
        let reports = draft.view().children(&folder, None, limits::PLUGIN_CRASHES_LOOKED_AT_MAX);
        let report = format!("{of_this_version}{run}");
        if reports.contains(&report) {
            return false;
        }
        draft.put(&folder, Bytes::new(), Existing::Keep);
        draft.put(&path::join(&folder, &report), Bytes::new(), Existing::Keep);
        let (same, former) = reports.into_iter().partition::<Vec<_>, _>(|report| report.starts_with(&of_this_version));
        for report in former {
            draft.delete(Arc::from(path::join(&folder, &report)));
        }
        if same.is_empty() {
            return true;
        }
    }
    draft.put(&path::join(&plugin, QUARANTINE), blame.quarantine.clone(), Existing::Set);
    true
}

/// The plugin whose quarantine node has that path. None: the path is not a quarantine node's.
pub(crate) fn released(node: &str) -> Option<&str> {
    let (plugin, name) = node.strip_prefix(PLUGINS)?.strip_prefix('/')?.split_once('/')?;
    (name == QUARANTINE).then_some(plugin)
}
