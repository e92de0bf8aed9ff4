//! What plugins have to do without being asked: a leader fires timers that are due, and has mounts put in order.
//!
//! All of it is state (`State::chores`), and each is a transaction that the leader's sequencer asks of itself. It is asked
//! again if it has come to nothing: the state says what is left to do, not this.

use crate::limits;
use crate::model::chores;
use crate::pipeline::Ask;
use crate::plugin::manifest::Kind;
use crate::replica::Replica;
use hashbrown::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Runs until it is aborted.
pub async fn do_chores(replica: Arc<Replica>) {
    let mut under_way = UnderWay::default();
    loop {
        let rest = replica.ask_for_chores(&mut under_way);
        tokio::select! {
            biased;
            () = replica.chores.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// What has been asked for and not yet happened: the node, the mzxid it had, and when, in `Replica::now_ms`.
#[derive(Default)]
struct UnderWay(HashMap<String, (i64, u64)>);

impl Replica {
    /// Ensemble time, while this member leads.
    pub(crate) fn ensemble_ms(&self) -> u64 {
        self.now_ms().saturating_add_signed(self.ensemble_ahead_ms.load(Ordering::Acquire))
    }

    /// Asks for what is due. How long nothing more will be, if nothing changes.
    fn ask_for_chores(&self, under_way: &mut UnderWay) -> Duration {
        if !self.leading.load(Ordering::Acquire) || !self.word.lease_held() || !self.plugins.enabled() {
            under_way.0.clear();
            return limits::CHORES_LOOK_INTERVAL;
        }
        let now_ms = self.now_ms();
        let ensemble_ms = self.ensemble_ms();
        let mut due = Vec::new();
        let mut next_ms = ensemble_ms + limits::CHORES_LOOK_INTERVAL.as_millis() as u64;
        {
            let registry = self.plugins.registry();
            let state = self.state.read();
            under_way.0.retain(|node, (mzxid, since_ms)| {
                now_ms - *since_ms < limits::CHORE_LOST_MS
                    && state.node(node).is_some_and(|node| node.mzxid() == *mzxid)
            });
            let mut room = limits::CHORES_IN_FLIGHT_MAX.saturating_sub(under_way.0.len());
            for (plugin, work) in state.chores().iter() {
                // Under quarantine nothing is tried in vain, so that what is due then is due when that ends.
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
                    if under_way.0.contains_key(&node) {
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
                    under_way.0.insert(node, (mzxid, now_ms));
                    due.push(ask);
                    room -= 1;
                }
            }
        }
        due.into_iter().for_each(|ask| self.ask(ask));
        Duration::from_millis((next_ms - ensemble_ms).max(1))
    }
}
