//! What a leader does on its own: ends sessions nobody spoke for, removes containers and TTL nodes that are done with,
//! and modules that no plugin names.

use super::Replica;
use super::clocks::wall_ms;
use super::sequencer::Event;
use crate::pipeline::{Ask, Submission};
use std::sync::Arc;
use std::time::Duration;

/// Runs until it is aborted.
pub async fn expire_sessions(replica: Arc<Replica>) {
    // Half a tick, so that a session ends at most half a tick after its bucket.
    let mut tick = tokio::time::interval(Duration::from_millis((replica.expiry.tick_ms() / 2).max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if !replica.leads() {
            continue;
        }
        for session in replica.expiry.due(replica.now_ms()) {
            tracing::info!(%session, "expires");
            replica.ask(Ask::CloseSession { session, expired: true });
        }
    }
}

/// Runs until it is aborted.
pub async fn collect(replica: Arc<Replica>) {
    let containers = replica.config.containers.clone();
    let mut tick = tokio::time::interval(Duration::from_millis(containers.check_interval_ms.max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // At most so many a minute, spread evenly over the rounds of a minute.
    let per_round = (u64::from(containers.max_per_minute) * containers.check_interval_ms).div_ceil(60_000).max(1);
    loop {
        tick.tick().await;
        if !replica.leads() {
            continue;
        }
        let paths = replica.state.read().collectable(wall_ms(), &replica.rules, per_round as usize);
        for path in paths {
            replica.ask(Ask::Collect { path });
        }
    }
}

impl Replica {
    /// A request of the server's own.
    fn ask(&self, ask: Ask) {
        self.inbox.put(Event::Submitted(Submission { caller: None, xid: 0, ask }));
    }
}
