//! What a leader does on its own: ends sessions nobody spoke for, removes containers and TTL nodes that are done with,
//! and modules that no plugin names.

use super::Replica;
use crate::environment::wall_ms;
use crate::limits;
use crate::model::path;
use crate::pipeline::Ask;
use crate::plugin::tree;
use crate::wire::request::Request;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Runs until it is aborted.
pub async fn expire_sessions(replica: Arc<Replica>) {
    // Half a tick, so that a session ends at most half a tick after its bucket.
    let mut tick = tokio::time::interval(Duration::from_millis((replica.connections.expiry().tick_ms() / 2).max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // A leader that is cut off can end nothing, and what it asked for would pile up.
        if !replica.leading.load(Ordering::Acquire) || !replica.word.lease_held() {
            continue;
        }
        for session in replica.connections.expiry().due(replica.connections.now_us() / 1000) {
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
    let per_round = (u64::from(containers.per_minute_max) * containers.check_interval_ms).div_ceil(60_000).max(1);
    loop {
        tick.tick().await;
        if !replica.leading.load(Ordering::Acquire) {
            continue;
        }
        let paths =
            replica.state.read().collectable(wall_ms(), replica.rules.container_never_used_ms, per_round as usize);
        for path in paths {
            replica.ask(Ask::Collect { path });
        }
    }
}

/// Runs until it is aborted. Pieces of components that no manifest names go an hour after they came, and so does their code.
pub async fn remove_unused_modules(replica: Arc<Replica>) {
    let mut tick = tokio::time::interval(limits::MODULES_LOOK_INTERVAL);
    loop {
        tick.tick().await;
        let sweeping = replica.clone();
        let swept = replica.heavy.run(move || {
            let named = tree::named(&*sweeping.state.read());
            sweeping.plugins.sweep_code(&named);
        });
        // Only a panic is an error, and what is left lying there costs nothing but room.
        let _ = swept.await;
        if !replica.leading.load(Ordering::Acquire) {
            continue;
        }
        let paths = tree::garbage(&*replica.state.read(), wall_ms());
        for path in paths {
            debug_assert!(path::is_within(&path, crate::plugin::MODULES), "only modules go this way");
            replica.ask(Ask::Request(Request::Delete { path: Some(path), version: -1 }));
        }
    }
}
