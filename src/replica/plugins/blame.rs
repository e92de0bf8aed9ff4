//! Brings this member's complaints about plugins into the log, and gives the leadership to a member that can run the
//! plugins in force.

use crate::environment::Instant;
use crate::limits;
use crate::peer::messages::greeting::PluginsHere;
use crate::peer::messages::requests::ToLeader;
use crate::pipeline::{Ask, Blame};
use crate::replica::Replica;

/// Brings the complaint to the leader. Without a leader the complaint is lost. It is made again when the plugin fails
/// the next time.
pub(in crate::replica) fn blame(replica: &Replica, blame: Blame) {
    match replica.order.leadership.leads() {
        true => replica.order.ask(Ask::Blame(blame)),
        false => replica.ensemble.leader_link.tell(ToLeader::Blame(blame)),
    }
}

/// The calls of plugins that have ended this process, for a follower to report. They are reported again after
/// `limits::PLUGIN_BLAME_AGAIN`, until they are in the log. Nothing is reported before the tree is up to date,
/// because the tree says which versions are meant. `last`: when they were reported last.
pub(in crate::replica) fn crashes_to_report(replica: &Replica, last: &mut Option<Instant>) -> Vec<Blame> {
    let again = limits::PLUGIN_BLAME_AGAIN;
    if !replica.order.has_recovered() || last.is_some_and(|last| last.elapsed() < again) {
        return Vec::new();
    }
    *last = Some(Instant::now());
    replica.order.plugins.crashes(replica.config.server_id)
}

/// Gives the leadership to a voter that can run the plugins in force, if this leader cannot and there is one that can.
/// If there is none, the failure policy of each plugin decides.
pub(in crate::replica) fn leave_to_one_who_can(replica: &Replica) {
    let ensemble = &replica.ensemble;
    let plugins = &replica.order.plugins;
    let unable = match replica.plugins.here() {
        PluginsHere::All => false,
        PluginsHere::Off => true,
        // A plugin that is still being compiled will be ready soon.
        PluginsHere::NotAll => plugins.settled(),
    };
    if !unable || !replica.order.leadership.leads() || ensemble.is_leaving() {
        return;
    }
    let consensus = ensemble.consensus().clone();
    let membership = consensus.membership();
    let able = membership.voters.iter().copied().filter(|id| {
        let report = u32::try_from(*id).ok().and_then(|id| ensemble.known_members.report_of(id));
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
        lacking = plugins.lacking().join(", "),
        "does not run all plugins: hands over to a member that does"
    );
    replica.runtime.spawn(async move {
        if let Err(error) = consensus.transfer(Some(to)).await {
            tracing::warn!(to, %error, "leads on without all plugins");
        }
    });
}
