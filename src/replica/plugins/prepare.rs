//! Has a deployment checked, and compiled on a quorum, before the sequencer admits it. Compiling takes seconds, so this
//! happens off the sequencer.
//!
//! The leader checks and compiles the component first, then asks all other members to compile it as well. It admits the
//! deployment once a quorum of voters has the machine code, itself included. Then the plugin can come into force at one
//! zxid, and whichever voter leads next can run it. Each member reads the component from its own tree.

use crate::environment::Instant;
use crate::limits;
use crate::model::{ErrorCode, Refusal};
use crate::peer::messages::requests::{FromLeader, ToLeader};
use crate::pipeline::evaluate::manifest_integrity::refused;
use crate::pipeline::{Ask, Submission, authorize};
use crate::plugin::check_deployment::{self, Admitted};
use crate::plugin::manifest::{self, Manifest, Mode};
use crate::plugin::tree::{self, Tree};
use crate::replica::Replica;
use crate::replica::ensemble::follower_links::FollowerLinkId;
use crate::replica::ordering::WriteOrder;
use crate::replica::ordering::event::{Event, QueuedRequest};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// The leader's questions to other members that wait for answers (`FromLeader::Compile`).
#[derive(Default)]
pub(crate) struct Preparations {
    /// The number of the next question.
    number: AtomicU64,
    /// By number.
    ///
    /// Invariant: a number is used once, and leaves the map with its question.
    asked: Mutex<HashMap<u64, mpsc::UnboundedSender<Compiled>>>,
}

/// One member's answer. An error is a sentence.
struct Compiled {
    member: u32,
    result: Result<(), String>,
}

impl Preparations {
    /// A member has answered.
    pub(in crate::replica) fn answered(&self, id: u64, member: u32, result: Result<(), String>) {
        if let Some(asker) = self.asked.lock().get(&id) {
            // An error means that the question has its quorum already.
            let _ = asker.send(Compiled { member, result });
        }
    }

    /// Opens a question.
    fn ask(&self) -> (OpenQuestion<'_>, mpsc::UnboundedReceiver<Compiled>) {
        let id = self.number.fetch_add(1, Ordering::Relaxed);
        let (asker, answers) = mpsc::unbounded_channel();
        let before = self.asked.lock().insert(id, asker);
        assert!(before.is_none(), "a question's number is used once: {id}");
        (OpenQuestion { preparations: self, id }, answers)
    }
}

/// A question that waits for answers. It is forgotten when this value is dropped.
struct OpenQuestion<'a> {
    preparations: &'a Preparations,
    id: u64,
}

impl Drop for OpenQuestion<'_> {
    fn drop(&mut self) {
        self.preparations.asked.lock().remove(&self.id);
    }
}

/// Checks and compiles what the request deploys, off the sequencer, and gives the request back with the verdict.
pub(in crate::replica) fn prepare_deployment(replica: &Arc<Replica>, mut request: QueuedRequest) {
    let spawned = replica.clone();
    replica.runtime.spawn(async move {
        let replica = spawned;
        let checked = match may_deploy(&replica.order, &request.submission) {
            true => {
                let checking = replica.clone();
                let checked = replica.heavy.run(move || {
                    let admitted = check(&checking.order, &request.submission);
                    (request, admitted)
                });
                // `check` catches its panics, and nothing cancels the work while this task runs.
                let Ok((back, admitted)) = checked.await else { return };
                request = back;
                admitted
            }
            false => Ok(Vec::new()),
        };
        let verdict = match checked {
            Ok(admitted) => compiled_by_a_quorum(&replica, admitted).await,
            Err(refusal) => Err(refusal),
        };
        request.verdict = Some(verdict);
        replica.order.inbox.put(Event::Prepared(request));
    });
}

/// Whether the caller may deploy plugins. If not, the pipeline refuses the request, and nothing is compiled for it.
fn may_deploy(order: &WriteOrder, submission: &Submission) -> bool {
    let identities = submission.caller.as_ref().map_or(&[][..], |caller| &caller.identities);
    authorize::may_deploy(&order.rules, identities)
}

fn check(order: &WriteOrder, submission: &Submission) -> Result<Vec<Admitted>, Refusal> {
    let Ask::Request(request) = &submission.ask else { return Ok(Vec::new()) };
    let prepare = || check_deployment::prepare(&order.plugins, request, &NodeByNode(order));
    // Otherwise the session would wait for ever after a panic.
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(prepare));
    checked.unwrap_or_else(|_| Err(Refusal::new(ErrorCode::SystemError, "the plugin could not be checked")))
}

/// Waits until a quorum of voters has the code of all of these. Returns an error if that can no longer happen.
async fn compiled_by_a_quorum(replica: &Replica, admitted: Vec<Admitted>) -> Result<(), Refusal> {
    for Admitted { key, manifest } in admitted {
        // A plugin that is off is not called: each member compiles it when it has time.
        if manifest.mode != Mode::Off {
            compiled(replica, &manifest).await.map_err(|text| refused(&key, &text))?;
        }
    }
    Ok(())
}

/// Which voters have compiled the component of one deployment.
struct Quorum {
    me: u32,
    voters: BTreeSet<u32>,
    /// How many voters besides this member must have compiled the component. This member has compiled it.
    needed: usize,
    /// The voters that have compiled the component. Invariant: this member is not among them, and none of them is in
    /// `failed`.
    done: BTreeSet<u32>,
    /// The voters that failed to compile it, and why. Invariant: this member is not among them.
    failed: BTreeMap<u32, String>,
}

impl Quorum {
    fn new(me: u32, voters: BTreeSet<u32>) -> Quorum {
        // This member counts if it votes.
        let needed = (voters.len() / 2 + 1).saturating_sub(usize::from(voters.contains(&me)));
        Quorum { me, voters, needed, done: BTreeSet::new(), failed: BTreeMap::new() }
    }

    fn is_reached(&self) -> bool {
        self.done.len() >= self.needed
    }

    /// Whether enough voters have failed, so that the quorum cannot be reached any more.
    fn is_out_of_reach(&self) -> bool {
        let others = self.voters.len() - usize::from(self.voters.contains(&self.me));
        others - self.failed.len() < self.needed
    }

    fn answered(&mut self, Compiled { member, result }: Compiled) {
        if member == self.me || !self.voters.contains(&member) {
            return;
        }
        match result {
            Ok(()) => {
                self.failed.remove(&member);
                self.done.insert(member);
            }
            Err(_) if self.done.contains(&member) => {}
            Err(why) => drop(self.failed.insert(member, why)),
        }
        let answers = self.done.len() + self.failed.len();
        assert!(answers <= self.voters.len(), "each voter has one answer: {answers} of {}", self.voters.len());
    }

    /// Which members lack the code, and why.
    fn lacking(&self) -> String {
        let lacking = self.voters.iter().filter(|id| **id != self.me && !self.done.contains(*id));
        let why = |id: &u32| self.failed.get(id).map_or("has not answered", String::as_str);
        let reasons: Vec<String> = lacking.map(|id| format!("server {id}: {}", why(id))).collect();
        format!(
            "of the {} voting members {} have its code, {} are needed: {}",
            self.voters.len(),
            self.done.len() + usize::from(self.voters.contains(&self.me)),
            self.voters.len() / 2 + 1,
            reasons.join("; ")
        )
    }
}

async fn compiled(replica: &Replica, manifest: &Manifest) -> Result<(), String> {
    let ensemble = &replica.ensemble;
    let voters = ensemble.consensus().membership().voters;
    let voters = voters.iter().filter_map(|id| u32::try_from(*id).ok()).collect();
    let mut quorum = Quorum::new(replica.config.server_id, voters);
    let (question, mut answers) = replica.plugins.preparations.ask();
    let until = Instant::now() + limits::PREPARE_PATIENCE;
    let text = serde_json::to_vec(manifest).map_err(|error| error.to_string())?;
    let mut asked: BTreeMap<u32, FollowerLinkId> = BTreeMap::new();
    while !quorum.is_reached() {
        if quorum.is_out_of_reach() {
            return Err(quorum.lacking());
        }
        for link in ensemble.follower_links.all() {
            // A member with a new link is asked again: a link that has ended brings no answer.
            if asked.insert(link.member, link) != Some(link) && !quorum.done.contains(&link.member) {
                let message = FromLeader::Compile { id: question.id, manifest: text.clone() };
                ensemble.follower_links.send(link, message);
            }
        }
        let answer = tokio::time::timeout(limits::PREPARE_LOOK_INTERVAL, answers.recv()).await;
        if let Ok(Some(answer)) = answer {
            quorum.answered(answer);
        }
        if Instant::now() >= until || !replica.order.leadership.leads() {
            return Err(quorum.lacking());
        }
    }
    Ok(())
}

/// A leader asks this member to compile a component, whose pieces may still be on their way here.
pub(in crate::replica) fn compile_for_leader(replica: &Arc<Replica>, id: u64, manifest: &[u8]) {
    let spawned = replica.clone();
    let manifest = manifest::parse(manifest);
    replica.runtime.spawn(async move {
        let replica = spawned;
        let result = match manifest {
            Ok(manifest) => compile(&replica, manifest).await,
            Err(why) => Err(why),
        };
        replica.ensemble.leader_link.tell(ToLeader::Compiled { id, result });
    });
}

async fn compile(replica: &Arc<Replica>, manifest: Manifest) -> Result<(), String> {
    if !replica.order.plugins.enabled() {
        return Err("it runs with --plugins off".into());
    }
    let until = Instant::now() + limits::PREPARE_PIECES_PATIENCE;
    while lacks_pieces(&replica.order, &manifest) && Instant::now() < until {
        tokio::time::sleep(limits::PREPARE_LOOK_INTERVAL).await;
    }
    let loading = replica.clone();
    let loaded = replica.heavy.run(move || {
        let read = || tree::read_component(&manifest.component, &|path| loading.order.data(path));
        loading.order.plugins.load(manifest.code(), &read).map(drop)
    });
    loaded.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn lacks_pieces(order: &WriteOrder, manifest: &Manifest) -> bool {
    let component = &manifest.component;
    let state = order.state.read();
    (0..component.chunks).any(|piece| state.node(&component.chunk_path(piece)).is_none())
}

/// The applied tree, with the lock taken for each node on its own.
struct NodeByNode<'a>(&'a WriteOrder);

impl Tree for NodeByNode<'_> {
    fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.0.data(path)
    }

    fn children(&self, path: &str) -> Vec<String> {
        self.0.state.read().children(path)
    }

    fn mzxid(&self, path: &str) -> Option<i64> {
        self.0.state.read().mzxid(path)
    }

    fn ctime(&self, path: &str) -> Option<i64> {
        self.0.state.read().ctime(path)
    }
}
