//! Lets clients in while this member may serve them, and sends them away when something hinders it (`Hindrance`): its
//! serving lease has run out, it is behind, or it was removed.
//!
//! After that the gate opens again only once this member has applied everything that a leader had committed.

use super::Ensemble;
use super::serving_lease::{Hindrance, ticks};
use crate::environment::Instant;
use crate::limits;
use crate::replica::Replica;
use crate::replica::ordering::WriteOrder;
use crate::session::Serving;
use std::sync::Arc;

/// Opens and closes the gate, until the process ends. Nobody is let in before the member has recovered.
pub(in crate::replica) async fn keep_gate(replica: Arc<Replica>) {
    let (order, ensemble) = (&replica.order, &replica.ensemble);
    let mut tick = ticks(ensemble);
    let mut lost_since = Instant::now();
    let mut was_no_member = false;
    loop {
        tick.tick().await;
        if order.connections.local_sessions().count() > 0 {
            order.connections.expire_local_sessions();
        }
        let hindrance = ensemble.hindrance(order);
        let Some(hindrance) = hindrance else {
            lost_since = Instant::now();
            was_no_member = false;
            if ensemble.lease.serving() != Serving::Everybody && ensemble.is_up(order) {
                ensemble.open_gate(order).await;
            }
            continue;
        };
        if ensemble.lease.serving() == Serving::Everybody {
            ensemble.close_gate(order, hindrance);
            // The lease was lost now, even if this process stood still for long.
            lost_since = Instant::now();
        } else if hindrance == Hindrance::NoMember && !was_no_member {
            // The gate was closed before the member learned of its removal.
            ensemble.close_gate(order, hindrance);
        }
        was_no_member = hindrance == Hindrance::NoMember;
        if hindrance == Hindrance::NoLeader {
            ensemble.let_readers_in(lost_since);
        }
    }
}

impl Ensemble {
    /// Lets everybody in: for the only voter, which needs no other member.
    pub(in crate::replica) fn serve_at_once(&self, order: &WriteOrder) {
        self.look_at_quorum(order);
        self.lease.set_serving(Serving::Everybody);
    }

    /// Whether this member has recovered and is not about to end.
    fn is_up(&self, order: &WriteOrder) -> bool {
        order.has_recovered() && !self.is_leaving()
    }

    /// Lets everybody in, once this member has applied what was committed meanwhile.
    async fn open_gate(&self, order: &WriteOrder) {
        let caught_up = tokio::time::timeout(self.lease.lasts(), self.barrier(order)).await;
        if caught_up == Ok(true) && self.hindrance(order).is_none() && self.is_up(order) {
            if self.lease.serving() == Serving::ReadOnly {
                // Clients in read-only mode are disconnected, so that they come back for the full service, here or at
                // another member.
                order.connections.close_all();
                if !order.connections.options().local_sessions {
                    order.connections.local_sessions().forget_all();
                }
            }
            self.lease.set_serving(Serving::Everybody);
            tracing::info!("serves clients");
        }
    }

    fn close_gate(&self, order: &WriteOrder, hindrance: Hindrance) {
        tracing::warn!("this member serves nobody: {hindrance}");
        self.lease.set_serving(Serving::Nobody);
        match hindrance {
            // The queued replies may still leave: they were true while this was a member, and its leases have not run
            // out.
            Hindrance::NoMember => order.connections.close_all(),
            _ => order.connections.list().iter().for_each(|connection| connection.close()),
        }
    }

    /// Lets clients in that only read, if this member has been without a lease for long enough
    /// (`readonlymode.enabled`).
    fn let_readers_in(&self, lost_since: Instant) {
        if self.config.read_only_mode
            && self.lease.serving() == Serving::Nobody
            && lost_since.elapsed() >= limits::READ_ONLY_AFTER
            && !self.is_leaving()
        {
            tracing::info!("serves clients that only read, without an ensemble");
            self.lease.set_serving(Serving::ReadOnly);
        }
    }
}
