//! What a leader does for recipes without being asked: it fires timers that are due, and calls recipes that must put
//! their mount in order.
//!
//! The chores are part of the state (`State::chores`). Each chore is a transaction that the leader submits to its own
//! sequencer. If the transaction does not happen, the state still has the chore, and it is submitted again.

use crate::limits;
use crate::model::chores;
use crate::pipeline::Ask;
use crate::plugin::manifest::Kind;
use crate::replica::Replica;
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Runs until it is aborted.
pub(in crate::replica) async fn do_chores(replica: Arc<Replica>) {
    let mut under_way = UnderWay::default();
    loop {
        let rest = under_way.submit_due(&replica);
        tokio::select! {
            biased;
            () = replica.plugins.chores_wake.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// The chores that are submitted and have not happened yet, by the path of their node: its mzxid, and when the chore
/// was submitted, in milliseconds of the server's clock.
///
/// Invariant: at most `limits::CHORES_IN_FLIGHT_MAX`.
#[derive(Default)]
struct UnderWay(HashMap<String, (i64, u64)>);

impl UnderWay {
    /// Submits the chores that are due. Returns how long it takes until another is due, if nothing changes.
    fn submit_due(&mut self, replica: &Replica) -> Duration {
        let order = &replica.order;
        if !order.leadership.leads() || !replica.ensemble.lease.is_acknowledged() || !order.plugins.enabled() {
            self.0.clear();
            return limits::CHORES_LOOK_INTERVAL;
        }
        let now_ms = order.clock.now_ms();
        let ensemble_ms = order.ensemble_ms();
        let mut due = Vec::new();
        let mut next_ms = ensemble_ms + limits::CHORES_LOOK_INTERVAL.as_millis() as u64;
        {
            let registry = order.plugins.registry();
            let state = order.state.read();
            self.0.retain(|node, (mzxid, since_ms)| {
                now_ms - *since_ms < limits::ms(limits::CHORE_LOST)
                    && state.node(node).is_some_and(|node| node.mzxid() == *mzxid)
            });
            let mut room = limits::CHORES_IN_FLIGHT_MAX.saturating_sub(self.0.len());
            for (plugin, work) in state.chores().iter() {
                // A plugin under quarantine is not called. What comes due meanwhile is still due when the quarantine
                // ends.
                let ready = registry.named(plugin).is_some_and(|binding| {
                    binding.manifest.kind == Kind::Recipe && binding.is_called() && binding.settled()
                });
                if !ready {
                    continue;
                }
                let owed = work.owed().map(|due_ms| (due_ms, None)).into_iter();
                // Timers wait until the mount is in order.
                let timers = work.timers().filter(|_| work.owed().is_none()).map(|(at, name)| (at, Some(name)));
                for (due_ms, timer) in owed.chain(timers) {
                    if due_ms > ensemble_ms {
                        next_ms = next_ms.min(due_ms);
                        break;
                    }
                    if room == 0 {
                        break;
                    }
                    let node = match timer {
                        None => chores::owed_path(plugin),
                        Some(name) => format!("{}/{name}", chores::timers_path(plugin)),
                    };
                    if self.0.contains_key(&node) {
                        continue;
                    }
                    let ask = match timer {
                        None => Ask::Recover { plugin: plugin.to_owned() },
                        Some(name) => {
                            let Some(name) = chores::unescape(name) else { continue };
                            Ask::Timer { plugin: plugin.to_owned(), name }
                        }
                    };
                    let mzxid = state.node(&node).map_or(0, |node| node.mzxid());
                    self.0.insert(node, (mzxid, now_ms));
                    due.push(ask);
                    room -= 1;
                }
            }
        }
        assert!(self.0.len() <= limits::CHORES_IN_FLIGHT_MAX, "{} chores are under way", self.0.len());
        due.into_iter().for_each(|ask| order.ask(ask));
        Duration::from_millis((next_ms - ensemble_ms).max(1))
    }
}
