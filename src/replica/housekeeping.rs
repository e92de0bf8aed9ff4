//! What a leader does on its own: ends expired sessions, and removes empty containers, expired TTL nodes, and modules
//! that no plugin names.

use super::Replica;
use crate::environment::wall_ms;
use crate::limits;
use crate::model::path;
use crate::pipeline::Ask;
use crate::plugin::tree;
use crate::wire::request::Request;
use std::sync::Arc;
use std::time::Duration;

/// Ends sessions that have expired. Runs until it is aborted.
pub(crate) async fn expire_sessions(replica: Arc<Replica>) {
    let order = &replica.order;
    let expiry = order.connections.expiry();
    // Half a tick, so that a session ends at most half a tick after its bucket.
    let mut tick = tokio::time::interval(Duration::from_millis((expiry.tick_ms() / 2).max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // A leader that is cut off cannot end a session, and its requests would pile up.
        if !order.leadership.leads() || !replica.ensemble.lease.is_acknowledged() {
            continue;
        }
        for session in expiry.due(order.clock.now_ms()) {
            tracing::info!(%session, "expires");
            order.ask(Ask::CloseSession { session, expired: true });
        }
    }
}

/// Removes empty containers and expired TTL nodes. Runs until it is aborted.
pub(crate) async fn collect(replica: Arc<Replica>) {
    let order = &replica.order;
    let containers = replica.config.containers.clone();
    let mut tick = tokio::time::interval(Duration::from_millis(containers.check_interval_ms.max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The configured number a minute, spread evenly over the rounds of a minute.
    let per_round = (u64::from(containers.per_minute_max) * containers.check_interval_ms).div_ceil(60_000).max(1);
    loop {
        tick.tick().await;
        if !order.leadership.leads() {
            continue;
        }
        let never_used_ms = order.rules.container_never_used_ms;
        let paths = order.state.read().collectable(wall_ms(), never_used_ms, per_round as usize);
        for path in paths {
            order.ask(Ask::Collect { path });
        }
    }
}

/// Removes pieces of components that no manifest has named for an hour, and their machine code. Runs until it is
/// aborted.
pub(crate) async fn remove_unused_modules(replica: Arc<Replica>) {
    let mut tick = tokio::time::interval(limits::MODULES_LOOK_INTERVAL);
    loop {
        tick.tick().await;
        let sweeping = replica.clone();
        let swept = replica.heavy.run(move || {
            let named = tree::named(&*sweeping.order.state.read());
            sweeping.order.plugins.sweep_code(&named);
        });
        // An error is a panic. Code that is left behind only takes room.
        let _ = swept.await;
        if !replica.order.leadership.leads() {
            continue;
        }
        let paths = tree::garbage(&*replica.order.state.read(), wall_ms());
        for path in paths {
            assert!(path::is_within(&path, crate::plugin::MODULES), "only modules are removed here: {path}");
            replica.order.ask(Ask::Request(Request::Delete { path: Some(path), version: -1 }));
        }
    }
}
