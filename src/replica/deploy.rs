//! Looking at a deployment before it is admitted: off the sequencer, since compiling takes seconds.

use super::Replica;
use super::sequencer::{Event, Waiting};
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::{Ask, Submission};
use crate::plugin::admission;
use std::sync::Arc;

impl Replica {
    /// Checks and compiles what the submission deploys, and gives it back to the sequencer with the verdict.
    pub(super) fn prepare_deployment(self: &Arc<Replica>, mut request: Waiting) {
        let replica = self.clone();
        self.runtime.spawn_blocking(move || {
            let verdict = match &request.submission.ask {
                _ if !replica.may_deploy(&request.submission) => Ok(()),
                Ask::Request(request) => {
                    // A panic here must not leave the session waiting for ever.
                    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        admission::prepare(&replica.plugins, request, &|path| replica.data(path))
                    }));
                    looked.unwrap_or_else(|_| {
                        Err(Refusal::new(ErrorCode::SystemError, "the plugin could not be checked"))
                    })
                }
                _ => Ok(()),
            };
            request.verdict = Some(verdict);
            replica.inbox.put(Event::Prepared(request));
        });
    }

    /// Who may not deploy is refused by the pipeline; no work is done for them before.
    fn may_deploy(&self, submission: &Submission) -> bool {
        let is_super = |submission: &Submission| {
            submission.caller.as_ref().is_some_and(|caller| caller.identities.iter().any(|who| who.scheme == "super"))
        };
        self.rules.deploy_by_anyone || self.rules.skip_acl || is_super(submission)
    }

    fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.state.read().node(path).map(|node| node.data().unwrap_or_default().to_vec())
    }
}
