//! One member: joins the tree, watches, pipeline, consensus and storage.
//!
//! A `Replica` has a wing for each thing that it owns. A wing is a folder, and a struct that owns the wing's state:
//!
//! | wing | struct | what |
//! |---|---|---|
//! | `ordering` | `WriteOrder` | the order of writes, from the inbox to the applied tree, and nothing else |
//! | `ensemble` | `Ensemble` | the other members: who they are, who leads, and the links to them |
//! | `plugins` | `PluginWork` | plugins at work, beside the writes that they judge |
//! | `files` | `Files` | the checkpoint and the image, and checkpoints to and from other members |
//! | `operators` | `MemberFacts` | what operators see |
//!
//! These files and folders are not part of a wing:
//!
//! | file | what |
//! |---|---|
//! | `process` | a server process: ports and threads around a member |
//! | `member` | a member, from a data directory to a serving tree, and back |
//! | `ports` | what connections and consensus ask of a member |
//! | `housekeeping` | what a leader does on its own: expiry of sessions, collection of nodes and modules |
//! | `fatal` | ends the process when it cannot keep its promises |
//!
//! A write comes in through `ports`, waits in the inbox of `ordering`, goes from the sequencer to consensus, and
//! comes back through `ports` to `ordering::apply`, which answers the client.
//!
//! **Locks.** They are taken in this order: `Files::checkpointer`, `WriteOrder::boundary`, `WriteOrder::state`,
//! `WriteOrder::watches`, the order of a connection, its outbox. `Files::reader` is taken under the first two, and no
//! lock is taken under it. A thread that holds any other lock of the replica takes no further lock.
//!
//! **Threads.** Each of these threads is a task in a simulated member, where all of them share one thread:
//!
//! | thread | owns |
//! |---|---|
//! | sequencer | the order of waiting requests, and the changes that are evaluated and not applied |
//! | Raft's | calls `StateMachine` (`ports`), which alone writes the tree; serves other members |
//! | clients' | connections, listeners, housekeeping |
//! | checkpoint | writes checkpoints and images |
//! | plugin-reads | asks plugins about reads |

mod ensemble;
mod fatal;
mod files;
mod housekeeping;
mod member;
mod operators;
mod ordering;
mod plugins;
mod ports;
mod process;

#[cfg(test)]
mod tests;

pub use member::Execution;
pub use member::Member;
pub use member::Platform;
pub use operators::member_facts::Listening;
pub use operators::member_facts::MemberFacts;
pub use ordering::delayed_consensus::ProposalFault;
pub(crate) use process::start;

use crate::config::Config;
use crate::consensus::BlockingWork;
use ensemble::Ensemble;
use files::Files;
use ordering::WriteOrder;
use ordering::event::QueuedRequest;
use plugins::PluginWork;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What all threads and tasks of a member share.
pub struct Replica {
    config: Arc<Config>,
    order: WriteOrder,
    ensemble: Ensemble,
    plugins: PluginWork,
    files: Files,
    /// Where short tasks of the replica run: barriers, deployments.
    runtime: Handle,
    /// Where longer work runs.
    heavy: BlockingWork,
}

impl Replica {
    /// Closes the connection that asked, without a reply, on whichever member it is.
    fn close_caller(&self, request: &QueuedRequest) {
        let Some(connection) = request.connection() else { return };
        match request.link {
            None => self.order.close_connection(connection),
            Some(link) => self.ensemble.follower_links.close_connection(link, connection),
        }
    }

    /// This member starts a chain in `term`. A new leadership grants every session its full timeout.
    fn begins_to_lead(&self, term: u64, new_leadership: bool) {
        let now_ms = self.order.clock.now_ms();
        if new_leadership {
            self.order.connections.expiry().grant_all(now_ms);
        }
        self.order.leadership.begin(new_leadership.then_some(now_ms));
        self.ensemble.follower_links.set_leadership(Some(term));
        self.plugins.wake();
    }

    /// Takes in what is known of the members' clocks, and warns if something is wrong with them.
    fn watch_clocks(&self) {
        self.ensemble.refresh_agreed_clock();
        let last_ms = self.order.state.read().wall_ms();
        self.ensemble.watch_clocks(last_ms);
    }

    fn ends_to_lead(&self) {
        self.order.leadership.end();
        self.ensemble.follower_links.set_leadership(None);
    }
}
