//! Requests that wait for work off the sequencer's thread: deployments, changes of the members, transfers of the
//! leadership. Such a request holds back only the requests of its own connection.

use super::{Proposes, QueuedRequest, Sequencer};
use crate::model::ConnectionId;
use crate::model::ensemble::Server;
use crate::pipeline::{Ask, Submission};
use crate::plugin::check_deployment;
use crate::replica::ensemble::reconfig::{self, ReconfigEnd};
use crate::replica::plugins::prepare;
use std::collections::VecDeque;

impl<C: Proposes> Sequencer<C> {
    /// Puts the request in line: after a held request of its connection, or else after all waiting requests. A
    /// deployment is prepared first.
    pub(super) fn admit(&mut self, request: QueuedRequest) {
        assert!(!self.is_void(&request), "a request that was passed on waits in its own leadership only");
        assert!(request.call.is_none() || request.link.is_none(), "native calls are not passed on");
        let connection = request.connection();
        if let Some(held) = connection.and_then(|connection| self.held.get_mut(&connection)) {
            held.push_back(request);
        } else if let (Some(connection), None, Some(_)) = (connection, &request.verdict, self.term())
            && deploys(&request.submission)
        {
            self.hold(connection, VecDeque::new());
            prepare::prepare_deployment(&self.replica, request);
        } else {
            self.waiting.push_back(request);
        }
    }

    fn hold(&mut self, connection: ConnectionId, behind: VecDeque<QueuedRequest>) {
        let before = self.held.insert(connection, behind);
        assert!(before.is_none(), "one request of a connection is worked on at a time");
    }

    /// Work for the request has ended: it goes in line, and the requests behind it follow.
    pub(super) fn prepared(&mut self, mut request: QueuedRequest) {
        let behind = request.connection().and_then(|connection| self.held.remove(&connection)).unwrap_or_default();
        if !self.is_void(&request) {
            if self.term().is_none() {
                request.verdict = None;
            }
            self.waiting.push_back(request);
        }
        for request in behind {
            self.admit(request);
        }
    }

    /// Takes the connection's requests out of the line and holds them. False if the connection is held already. This
    /// happens when a request is evaluated again after its entry was refused, and in the meantime a later request of
    /// the connection, a deployment, has come.
    fn hold_waiting(&mut self, connection: ConnectionId) -> bool {
        if self.held.contains_key(&connection) {
            return false;
        }
        let (behind, others) = self.waiting.drain(..).partition(|request| request.connection() == Some(connection));
        self.waiting = others;
        self.hold(connection, behind);
        true
    }

    /// Changes the members off this thread.
    pub(super) fn take_up_reconfig(&mut self, request: QueuedRequest, servers: Vec<Server>) {
        let (Some(connection), Some(term)) = (request.connection(), self.term()) else { return };
        if !self.hold_waiting(connection) {
            return self.break_connection(&request);
        }
        self.evaluator.reconfigures(true);
        reconfig::reconfigure(&self.replica, request, servers, term);
    }

    /// Hands the leadership over off this thread.
    pub(super) fn take_up_transfer(&mut self, request: QueuedRequest, to: u32) {
        let Some(connection) = request.connection() else { return };
        if !self.hold_waiting(connection) {
            return self.break_connection(&request);
        }
        reconfig::transfer(&self.replica, request, to);
    }

    /// A reconfig that was taken up in `term` has ended.
    pub(super) fn reconfigured(&mut self, mut request: QueuedRequest, term: u64, end: ReconfigEnd) {
        let still_leads = self.term() == Some(term);
        if still_leads {
            self.evaluator.reconfigures(false);
        }
        match end {
            ReconfigEnd::Done(servers) if still_leads => request.submission.ask = Ask::Configure { servers },
            ReconfigEnd::Refused(refusal) if still_leads => request.verdict = Some(Err(refusal)),
            ReconfigEnd::Refused(_) | ReconfigEnd::HandedOver => {}
            // If the members have changed, the next leader sees them, and writes the configuration.
            ReconfigEnd::Done(_) | ReconfigEnd::Unknown => {
                if !self.is_void(&request) {
                    self.break_connection(&request);
                }
                // The requests behind it are dropped with their connection.
                if let Some(connection) = request.connection() {
                    self.held.remove(&connection);
                }
                return;
            }
        }
        self.prepared(request);
    }
}

fn deploys(submission: &Submission) -> bool {
    matches!(&submission.ask, Ask::Request(request) if check_deployment::concerns(request))
}
