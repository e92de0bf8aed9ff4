//! Plugins at work on a member, beside the writes that they judge.
//!
//! | file | what |
//! |---|---|
//! | `prepare` | has a deployment checked, and compiled on a quorum, before it is admitted |
//! | `calls` | native calls of recipes |
//! | `chores` | timers of plugins, and mounts that must be put in order |
//! | `controllers` | calls controllers for every path under their watch that has changed |
//! | `blame` | brings complaints about plugins into the log; hands over to a member that can run all plugins |

pub(super) mod blame;
pub(super) mod calls;
pub(super) mod chores;
pub(super) mod controllers;
pub(super) mod prepare;

use crate::model::txn::Batch;
use crate::peer::messages::greeting::PluginsHere;
use crate::plugin::Plugins;
use crate::replica::ordering::apply::Applied;
use controllers::ChangedPaths;
use prepare::Preparations;
use std::sync::Arc;
use tokio::sync::Notify;

/// What plugins have to do on this member.
pub(crate) struct PluginWork {
    plugins: Arc<Plugins>,
    pub(super) preparations: Preparations,
    /// Wakes `chores`: there is a new chore, or an old one is done.
    chores_wake: Notify,
    /// The paths that controllers may have to look at.
    changed: ChangedPaths,
    /// Wakes `controllers`.
    controllers_wake: Notify,
}

impl PluginWork {
    pub(super) fn new(plugins: Arc<Plugins>) -> PluginWork {
        PluginWork {
            plugins,
            preparations: Preparations::default(),
            chores_wake: Notify::new(),
            changed: ChangedPaths::default(),
            controllers_wake: Notify::new(),
        }
    }

    /// The batch has been applied.
    pub(super) fn applied(&self, batch: &Batch, applied: Applied) {
        batch.txns.iter().for_each(|txn| self.changed.note(txn));
        if applied.chores_changed {
            self.chores_wake.notify_one();
        }
        if applied.plugins_changed || self.changed.is_watched() {
            self.controllers_wake.notify_one();
        }
    }

    /// This member leads now, so it does the plugins' chores and calls controllers.
    pub(super) fn wake(&self) {
        self.chores_wake.notify_one();
        self.controllers_wake.notify_one();
    }

    /// Which of the plugins in force this member can run.
    pub(super) fn here(&self) -> PluginsHere {
        match self.plugins.enabled() {
            false => PluginsHere::Off,
            true if self.plugins.lacking().is_empty() => PluginsHere::All,
            true => PluginsHere::NotAll,
        }
    }
}
