//! Watch events of one connection, sent or withheld.

use super::Connection;
use crate::plugin::policies::Answers;
use crate::session::asking::Job;
use crate::session::judgement::{EventQuestion, EventVerdict};
use crate::session::outbox::{HeldEvent, Holding};
use crate::state::{Event, State};
use crate::wire::encode;
use crate::wire::reply::EventKind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Connection {
    /// Queues a watch event, unless the client may not read the node. If a plugin must be asked about that first, the
    /// event keeps its place in the outbox and waits, and what is queued behind it waits with it.
    pub(crate) fn event(self: &Arc<Self>, state: &State, event: &Event, path: &str) {
        let identities = self.identities();
        let question = EventQuestion { kind: event.kind, path, acl: &event.acl, who: &identities };
        match question.judge(&self.home, state, &Answers::default()) {
            EventVerdict::Withhold => return,
            EventVerdict::Send => self.queue_event(event.zxid.to_wire(), event.kind, path),
            EventVerdict::Unknown => {
                let held = HeldEvent {
                    zxid: event.zxid.to_wire(),
                    kind: event.kind,
                    path: path.into(),
                    acl: event.acl.clone(),
                    identities,
                };
                if self.outbox.hold(held) == Holding::First {
                    self.home.asking().put(Job::Events { connection: self.clone() });
                }
            }
        }
        self.mark();
    }

    /// Sends the oldest held event, or withholds it (`send`). What waited behind the event can then be written.
    pub(crate) fn settle_event(&self, held: &HeldEvent, send: bool) {
        let bytes = self.outbox.settle(|out| {
            if send {
                encode::event(out, held.zxid, held.kind, &held.path);
            }
        });
        if bytes > 0 {
            self.statistics.sent.fetch_add(1, Relaxed);
            self.metrics.packets_sent.increment();
            self.metrics.watch_bytes.add(bytes as u64);
        }
        self.outbox.wake();
    }

    pub(crate) fn queue_event(&self, zxid: i64, kind: EventKind, path: &str) {
        let bytes = self.queue(|out| encode::event(out, zxid, kind, path));
        self.metrics.watch_bytes.add(bytes);
    }
}
