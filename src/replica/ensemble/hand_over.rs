//! Gives the leadership away before this member ends, so that nobody has to wait for an election.

use super::Ensemble;
use crate::consensus::Role;
use crate::environment::Instant;
use crate::limits;
use crate::session::Connections;

impl Ensemble {
    /// Gives the leadership to another voter, if there is one. First waits until no client of any member waits for this
    /// leader, but not longer than `limits::DRAIN_MAX`. Requests that are still under way then may be left without an
    /// answer.
    pub(in crate::replica) async fn hand_over(&self, connections: &Connections) {
        let Some(consensus) = self.started_consensus() else { return };
        if !matches!(*consensus.role().borrow(), Role::Leader { .. }) || consensus.membership().voters.len() < 2 {
            return;
        }
        self.follower_links.hold_all_back();
        let until = Instant::now() + limits::DRAIN_MAX;
        while (self.follower_links.any_submits() || connections.outstanding() > 0) && Instant::now() < until {
            tokio::time::sleep(limits::DRAIN_LOOK_INTERVAL).await;
        }
        match consensus.transfer(None).await {
            Ok(leader) => tracing::info!(leader, "has handed over"),
            Err(error) => tracing::warn!(%error, "goes without having handed over"),
        }
    }
}
