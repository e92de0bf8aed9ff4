//! Looking at a deployment before it is admitted: off the sequencer, since compiling takes seconds.
//!
//! The leader checks and compiles it first, then asks all other members to compile it as well, and admits it once a
//! quorum of voters has the machine code, itself among them: then it can come into force at one zxid, and whoever
//! leads next can run it. Members read the component from their own trees.

use crate::environment::Instant;
use crate::limits;
use crate::model::{ErrorCode, Refusal};
use crate::peer::messages::requests::{FromLeader, ToLeader};
use crate::pipeline::evaluate::deployment::refused;
use crate::pipeline::{Ask, Submission, authorize};
use crate::plugin::admission::{self, Admitted};
use crate::plugin::manifest::{self, Manifest, Mode};
use crate::plugin::tree::{self, Tree};
use crate::replica::Replica;
use crate::replica::ensemble::follower_links::LinkedMember;
use crate::replica::ordering::sequencer::{Event, Waiting};
use crate::wire::request::Request;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Questions to other members that wait for answers.
#[derive(Default)]
pub struct Preparations {
    number: AtomicU64,
    asked: Mutex<HashMap<u64, mpsc::UnboundedSender<Compiled>>>,
}

/// One member's answer: an error is a sentence.
struct Compiled {
    member: u32,
    result: Result<(), String>,
}

impl Preparations {
    pub(crate) fn answered(&self, id: u64, member: u32, result: Result<(), String>) {
        if let Some(asker) = self.asked.lock().get(&id) {
            // Who asked may have its quorum already.
            let _ = asker.send(Compiled { member, result });
        }
    }
}

impl Replica {
    /// Checks and compiles what the submission deploys, and gives it back to the sequencer with the verdict.
    pub(crate) fn prepare_deployment(self: &Arc<Replica>, mut request: Waiting) {
        let replica = self.clone();
        self.runtime.spawn(async move {
            let checked = match may_deploy(&replica, &request.submission) {
                true => {
                    let checking = replica.clone();
                    let checked = replica.heavy.run(move || {
                        let admitted = checking.check_deployment(&request.submission);
                        (request, admitted)
                    });
                    // It catches its panics, and is not cancelled while this runs.
                    let Ok((back, admitted)) = checked.await else { return };
                    request = back;
                    admitted
                }
                false => Ok(Vec::new()),
            };
            let verdict = match checked {
                Ok(admitted) => replica.compiled_by_a_quorum(admitted).await,
                Err(refusal) => Err(refusal),
            };
            request.verdict = Some(verdict);
            replica.inbox.put(Event::Prepared(request));
        });
    }

    fn check_deployment(&self, submission: &Submission) -> Result<Vec<Admitted>, Refusal> {
        let Ask::Request(request) = &submission.ask else { return Ok(Vec::new()) };
        // A panic here must not leave the session waiting for ever.
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.admit(request)));
        looked.unwrap_or_else(|_| Err(Refusal::new(ErrorCode::SystemError, "the plugin could not be checked")))
    }

    fn admit(&self, request: &Request) -> Result<Vec<Admitted>, Refusal> {
        admission::prepare(&self.plugins, request, &NodeByNode(self))
    }

    /// Waits until a quorum of voters has the code of all of these, or cannot come to have it.
    async fn compiled_by_a_quorum(&self, admitted: Vec<Admitted>) -> Result<(), Refusal> {
        for Admitted { key, manifest } in admitted {
            // What is off is called by nobody: each member compiles it when it likes.
            if manifest.mode != Mode::Off {
                self.compiled(&manifest).await.map_err(|text| refused(&key, &text))?;
            }
        }
        Ok(())
    }

    async fn compiled(&self, manifest: &Manifest) -> Result<(), String> {
        let me = self.config.server_id;
        let voters: BTreeSet<u32> =
            self.consensus().membership().voters.iter().filter_map(|id| u32::try_from(*id).ok()).collect();
        let others: BTreeSet<u32> = voters.iter().copied().filter(|id| *id != me).collect();
        // It has compiled it itself, and counts if it votes.
        let needed = (voters.len() / 2 + 1).saturating_sub(usize::from(voters.contains(&me)));
        let id = self.preparations.number.fetch_add(1, Ordering::Relaxed);
        let (asker, mut answers) = mpsc::unbounded_channel();
        self.preparations.asked.lock().insert(id, asker);
        let _question = OpenQuestion { preparations: &self.preparations, id };

        let until = Instant::now() + limits::PREPARE_PATIENCE;
        let text = serde_json::to_vec(manifest).map_err(|error| error.to_string())?;
        let mut links: BTreeMap<u32, u64> = BTreeMap::new();
        let mut failed: BTreeMap<u32, String> = BTreeMap::new();
        let mut done: BTreeSet<u32> = BTreeSet::new();
        while done.len() < needed {
            if others.len() - failed.len() < needed {
                return Err(no_quorum(&voters, me, &done, &failed));
            }
            for LinkedMember { member, link } in self.served.linked() {
                // A link that is new has not been asked; one that is gone will not answer.
                if links.insert(member, link) != Some(link) && !done.contains(&member) {
                    self.served.send(link, FromLeader::Compile { id, manifest: text.clone() });
                }
            }
            let answer = tokio::time::timeout(limits::PREPARE_LOOK_INTERVAL, answers.recv()).await;
            if let Ok(Some(Compiled { member, result })) = answer
                && others.contains(&member)
            {
                match result {
                    Ok(()) => drop(done.insert(member)),
                    Err(why) => drop(failed.insert(member, why)),
                }
            }
            if Instant::now() >= until || !self.leading.load(Ordering::Acquire) {
                return Err(no_quorum(&voters, me, &done, &failed));
            }
        }
        Ok(())
    }

    /// A leader asks this member to compile a component, whose pieces may still be on their way here.
    pub(crate) fn compile_for_leader(self: &Arc<Replica>, id: u64, manifest: &[u8]) {
        let replica = self.clone();
        let manifest = manifest::parse(manifest);
        self.runtime.spawn(async move {
            let result = match manifest {
                Ok(manifest) => replica.clone().compile(manifest).await,
                Err(why) => Err(why),
            };
            replica.way.tell(ToLeader::Compiled { id, result });
        });
    }

    async fn compile(self: Arc<Replica>, manifest: Manifest) -> Result<(), String> {
        if !self.plugins.enabled() {
            return Err("it runs with --plugins off".into());
        }
        let until = Instant::now() + limits::PREPARE_PIECES_PATIENCE;
        while self.lacks_pieces(&manifest) && Instant::now() < until {
            tokio::time::sleep(limits::PREPARE_LOOK_INTERVAL).await;
        }
        let loading = self.clone();
        let loaded = self.heavy.run(move || {
            let read = || tree::read_component(&manifest.component, &|path| loading.data(path));
            loading.plugins.load(manifest.code(), &read).map(drop)
        });
        loaded.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn lacks_pieces(&self, manifest: &Manifest) -> bool {
        let component = &manifest.component;
        let state = self.state.read();
        (0..component.chunks).any(|piece| state.node(&component.chunk_path(piece)).is_none())
    }

    fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.state.read().data(path)
    }
}

/// Who may not deploy is refused by the pipeline; no work is done for them before.
fn may_deploy(replica: &Replica, submission: &Submission) -> bool {
    let identities = submission.caller.as_ref().map_or(&[][..], |caller| &caller.identities);
    authorize::may_deploy(&replica.rules, identities)
}

/// Which members lack its code, and why.
fn no_quorum(voters: &BTreeSet<u32>, me: u32, done: &BTreeSet<u32>, failed: &BTreeMap<u32, String>) -> String {
    let lacking = voters.iter().filter(|id| **id != me && !done.contains(*id));
    let why = |id: &u32| failed.get(id).map_or("has not answered", String::as_str);
    let reasons: Vec<String> = lacking.map(|id| format!("server {id}: {}", why(id))).collect();
    format!(
        "of the {} voting members {} have its code, {} are needed: {}",
        voters.len(),
        done.len() + usize::from(voters.contains(&me)),
        voters.len() / 2 + 1,
        reasons.join("; ")
    )
}

/// A question that is forgotten with its asker.
struct OpenQuestion<'a> {
    preparations: &'a Preparations,
    id: u64,
}

impl Drop for OpenQuestion<'_> {
    fn drop(&mut self) {
        self.preparations.asked.lock().remove(&self.id);
    }
}

/// The applied tree, looked at node by node.
struct NodeByNode<'a>(&'a Replica);

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
