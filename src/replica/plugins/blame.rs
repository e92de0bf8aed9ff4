//! What this member has to say against plugins, on its way into the log; and who of the members can run those in force.

use crate::environment::Instant;
use crate::limits;
use crate::peer::messages::greeting::PluginsHere;
use crate::peer::messages::requests::ToLeader;
use crate::pipeline::{Ask, Blame};
use crate::replica::Replica;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Replica {
    /// Brings it to whoever leads. If nobody does it is lost, and said again when the plugin fails the next time.
    pub(crate) fn blame(&self, blame: Blame) {
        match self.leading.load(Ordering::Acquire) {
            true => self.ask(Ask::Blame(blame)),
            false => self.way.tell(ToLeader::Blame(blame)),
        }
    }

    /// What a follower has to report of calls that have ended its process; again after a while, until it is in the log. Which
    /// versions are meant is known once the tree is up to date. `last`: when this was answered last.
    pub(crate) fn crashes_to_report(&self, last: &mut Option<Instant>) -> Vec<Blame> {
        let again = std::time::Duration::from_millis(limits::PLUGIN_BLAME_AGAIN_MS);
        if !self.recovered.load(Ordering::Acquire) || last.is_some_and(|last| last.elapsed() < again) {
            return Vec::new();
        }
        *last = Some(Instant::now());
        self.plugins.crashes(self.config.server_id)
    }

    pub(crate) fn plugins_here(&self) -> PluginsHere {
        match self.plugins.enabled() {
            false => PluginsHere::Off,
            true if self.plugins.lacking().is_empty() => PluginsHere::All,
            true => PluginsHere::NotAll,
        }
    }

    /// A leader that cannot run what is in force gives the leadership to a voter that can, if there is one; the rest is the
    /// failure policy's.
    pub(crate) fn leave_to_one_who_can(self: &Arc<Replica>) {
        let unable = match self.plugins_here() {
            PluginsHere::All => false,
            PluginsHere::Off => true,
            // What is still being compiled will be there.
            PluginsHere::NotAll => self.plugins.settled(),
        };
        if !unable || !self.leading.load(Ordering::Acquire) || self.leaving.load(Ordering::Acquire) {
            return;
        }
        let consensus = self.consensus().clone();
        let membership = consensus.membership();
        let able = membership.voters.iter().copied().filter(|id| {
            let report = u32::try_from(*id).ok().and_then(|id| self.door.report_of(id));
            report.is_some_and(|(at, report)| {
                at.elapsed() < limits::REPORT_COUNTS_MAX && report.plugins == PluginsHere::All && !report.diverged
            })
        });
        let behind = |id: &u64| consensus.lag(*id).unwrap_or(u64::MAX);
        let Some(to) = able.min_by_key(behind).filter(|id| behind(id) <= limits::CLOSE_BEHIND_ENTRIES) else { return };
        if membership.changing {
            return;
        }
        tracing::warn!(
            to,
            lacking = self.plugins.lacking().join(", "),
            "does not run all plugins: hands over to a member that does"
        );
        self.runtime.spawn(async move {
            if let Err(error) = consensus.transfer(Some(to)).await {
                tracing::warn!(to, %error, "leads on without all plugins");
            }
        });
    }
}
