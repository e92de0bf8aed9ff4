//! Passes requests on to a leader in another member.

use super::{Phase, Proposes, Sequencer};
use crate::replica::ensemble::leader_link::Forwarding;

impl<C: Proposes> Sequencer<C> {
    /// There is a new link to the leader.
    pub(super) fn take_link(&mut self, link: Forwarding) {
        assert!(link.number > self.link_last, "links have growing numbers: {} after {}", link.number, self.link_last);
        self.link_last = link.number;
        self.lose_link();
        if let Phase::Following { link: current } = &mut self.phase {
            *current = Some(link);
        }
    }

    /// The link to the leader has ended. A request that was passed on and is not applied here has an unknown outcome.
    pub(super) fn lose_link(&mut self) {
        if let Phase::Following { link } = &mut self.phase
            && link.take().is_some()
        {
            self.broken.extend(self.replica.order.connections.break_passed_on());
        }
    }

    pub(super) fn may_pass_on(&self) -> bool {
        matches!(&self.phase, Phase::Following { link: Some(link) } if link.takes_requests())
            && self.chain.is_resolved()
            && !self.waiting.is_empty()
    }

    pub(super) fn pass_on(&mut self) {
        let Phase::Following { link: Some(link) } = &self.phase else { return };
        assert!(!self.chain.is_broken(), "requests that are evaluated again are passed on before newer ones");
        while let Some(request) = self.waiting.pop_front() {
            // Requests of the server itself are for a leader to make.
            let Some(connection) = request.connection() else { continue };
            if let Some(call) = request.call {
                call.not_leading(self.replica.ensemble.other_leader());
            } else if self.broken.contains(&connection) {
                self.replica.order.metrics.stale_requests.increment();
            } else if link.is_closed() || !link.takes_requests() {
                // `Event::LinkEnded` is on its way, or the leader hands over.
                return self.waiting.push_front(request);
            } else {
                assert!(request.link.is_none(), "a member passes on only what its own clients ask");
                // Noted before it is sent, because it may be applied here before `send` returns. If the link ends
                // between the two, the connection is closed.
                self.replica.order.connections.pass_on(connection);
                link.send(request.submission);
            }
        }
    }
}
