//! Controllers: called by the leader, beside the requests, for every path under their watch that has changed, until what they
//! find needs nothing more.
//!
//! Level-triggered: what is queued is a path, not a change, and a path once, however often it changes. A new leader, and a
//! controller that is put to work, begin with every path there is. What a call worked out is one request of the identity
//! `plugin:<name>`, on condition that nothing it looked at has changed; else it is called again. What fails is tried again
//! later and later.

use crate::admin::http::CallError;
use crate::limits;
use crate::model::txn::Txn;
use crate::model::{Identity, Refusal, Zxid, chores, path};
use crate::pipeline::desk::{Desk, Reconciled};
use crate::pipeline::overlay::path_of;
use crate::pipeline::view::LockedTree;
use crate::pipeline::{Ask, Call, Moment};
use crate::plugin::binding::{Binding, Once};
use crate::plugin::manifest::Kind;
use crate::plugin::registry::Registry;
use crate::replica::Replica;
use futures::FutureExt;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// What has been applied since the task last looked.
#[derive(Default)]
pub struct Changed {
    /// Whether anybody looks: this member leads, and there are controllers.
    watched: AtomicBool,
    inner: Mutex<Paths>,
}

#[derive(Default)]
struct Paths {
    changed: Vec<Arc<str>>,
    /// There were too many: everything has to be looked at.
    all: bool,
}

impl Changed {
    /// To be told of each applied transaction.
    pub fn note(&self, txn: &Txn) {
        if !self.watched.load(Ordering::Acquire) {
            return;
        }
        let mut paths = self.inner.lock();
        if paths.changed.len() + txn.changes.len() > limits::CONTROLLER_PATHS_MAX {
            *paths = Paths { changed: Vec::new(), all: true };
        }
        if !paths.all {
            paths.changed.extend(txn.changes.iter().filter_map(path_of).cloned());
        }
    }

    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    fn take(&self) -> Paths {
        std::mem::take(&mut *self.inner.lock())
    }
}

/// Runs until it is aborted.
pub async fn run_controllers(replica: Arc<Replica>) {
    let mut at_work: BTreeMap<Arc<str>, Controller> = BTreeMap::new();
    let mut calls: JoinSet<(Arc<str>, String, End)> = JoinSet::new();
    loop {
        let rest = replica.drive_controllers(&mut at_work, &mut calls);
        tokio::select! {
            biased;
            Some(ended) = calls.join_next() => {
                // Only a task that was aborted has no end to tell.
                let Ok((plugin, path, end)) = ended else { continue };
                if let Some(controller) = at_work.get_mut(&plugin) {
                    controller.ended(path, end, replica.now_ms());
                }
            }
            () = replica.controllers_wake.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// One controller, and what it has to do.
struct Controller {
    binding: Arc<Binding>,
    queue: VecDeque<String>,
    /// Those in `queue`.
    queued: BTreeSet<String>,
    running: BTreeSet<String>,
    /// Changed while they ran.
    again: BTreeSet<String>,
    /// What failed or was overtaken, with how often in a row; by when it is to be tried again, in `Replica::now_ms`.
    later: BTreeSet<(u64, String)>,
    attempts: BTreeMap<String, (u32, u64)>,
    /// Too many have failed to keep them all: everything is looked for again when there are fewer.
    forgot: bool,
    /// Nodes whose subtrees are still to be looked through for paths under its watch.
    search: Vec<String>,
    /// Whose turn it was when it was last called.
    turn: u64,
}

/// How a call ended.
enum End {
    Done,
    /// Something it looked at has changed.
    Overtaken,
    Failed,
}

impl Controller {
    fn new(binding: Arc<Binding>) -> Controller {
        let mut controller = Controller {
            binding,
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            running: BTreeSet::new(),
            again: BTreeSet::new(),
            later: BTreeSet::new(),
            attempts: BTreeMap::new(),
            forgot: false,
            search: Vec::new(),
            turn: 0,
        };
        controller.search_all();
        controller
    }

    fn search_all(&mut self) {
        self.search = self.binding.watched_from();
    }

    fn enqueue(&mut self, path: &str) {
        if self.running.contains(path) {
            self.again.insert(path.to_owned());
        } else if self.queue.len() >= limits::CONTROLLER_PATHS_MAX {
            // It begins anew when there is room.
            self.search_all();
        } else if !self.queued.contains(path) && !self.waits(path) {
            self.queued.insert(path.to_owned());
            self.queue.push_back(path.to_owned());
        }
    }

    /// Whether it has failed and its time has not come yet.
    fn waits(&self, path: &str) -> bool {
        self.attempts.get(path).is_some_and(|(_, due_ms)| self.later.contains(&(*due_ms, path.to_owned())))
    }

    fn begin(&mut self) -> Option<String> {
        let path = self.queue.pop_front()?;
        self.queued.remove(&path);
        self.running.insert(path.clone());
        Some(path)
    }

    fn ended(&mut self, path: String, end: End, now_ms: u64) {
        self.running.remove(&path);
        let changed = self.again.remove(&path);
        let pause = |attempts: u32| match end {
            End::Done => None,
            End::Overtaken => Some(limits::CONTROLLER_OVERTAKEN_MS << attempts.min(6)),
            End::Failed => {
                Some((limits::PLUGIN_BACK_OFF_MS_MIN << attempts.min(16)).min(limits::CONTROLLER_BACK_OFF_MS_MAX))
            }
        };
        let attempts = self.attempts.get(&path).map_or(0, |(attempts, _)| *attempts);
        match pause(attempts) {
            Some(_) if self.attempts.len() >= limits::CONTROLLER_PATHS_MAX && attempts == 0 => self.forgot = true,
            Some(ms) => {
                let due_ms = now_ms + ms;
                self.attempts.insert(path.clone(), (attempts + 1, due_ms));
                self.later.insert((due_ms, path));
            }
            None => {
                self.attempts.remove(&path);
                if changed {
                    self.enqueue(&path);
                }
            }
        }
    }

    /// What is to be tried again by now.
    fn take_up_late(&mut self, now_ms: u64) {
        while self.later.first().is_some_and(|(due_ms, _)| *due_ms <= now_ms) {
            let Some((_, path)) = self.later.pop_first() else { break };
            self.enqueue(&path);
        }
        if self.forgot && self.attempts.len() < limits::CONTROLLER_PATHS_MAX / 2 {
            self.forgot = false;
            self.search_all();
        }
    }
}

impl Replica {
    /// Finds out what controllers have to do, and begins some of it. How long nothing more will come up by itself.
    fn drive_controllers(
        self: &Arc<Replica>,
        at_work: &mut BTreeMap<Arc<str>, Controller>,
        calls: &mut JoinSet<(Arc<str>, String, End)>,
    ) -> Duration {
        let leads = self.leading.load(Ordering::Acquire) && self.plugins.enabled();
        let registry = self.plugins.registry();
        let mut ready = registry.of(Kind::Controller).filter(|binding| binding.settled()).peekable();
        if !leads || ready.peek().is_none() {
            self.changed.watched.store(false, Ordering::Release);
            self.changed.take();
            at_work.clear();
            return limits::CHORES_LOOK_INTERVAL;
        }
        // From here on changes are noted; what was before is found by looking through the tree.
        self.changed.watched.store(true, Ordering::Release);
        drop(ready);
        let now_ms = self.now_ms();
        follow(at_work, &registry);
        let changed = self.changed.take();
        let mut rest = limits::CHORES_LOOK_INTERVAL;
        for (name, controller) in at_work.iter_mut() {
            if changed.all {
                controller.search_all();
            }
            for path in &changed.changed {
                if controller.binding.watches(path) {
                    controller.enqueue(path);
                }
            }
            controller.take_up_late(now_ms);
            self.search_some(controller);
            rest = rest.min(self.take_up_timers(name, controller));
            if let Some((due_ms, _)) = controller.later.first() {
                rest = rest.min(Duration::from_millis(due_ms.saturating_sub(now_ms).max(1)));
            }
            if !controller.search.is_empty() && controller.queue.len() < limits::CONTROLLER_PATHS_MAX {
                rest = Duration::from_millis(1);
            }
        }
        while calls.len() < limits::CONTROLLER_CALLS_MAX {
            let Some((name, binding, path)) = next_call(at_work) else { break };
            let replica = self.clone();
            calls.spawn(async move {
                // A panic is a defect of ours; the others go on, and this one is tried again as one that failed.
                let end = AssertUnwindSafe(replica.reconcile(binding, &path)).catch_unwind().await;
                (name, path, end.unwrap_or(End::Failed))
            });
        }
        rest
    }

    /// Looks through a piece of the tree for paths that a controller watches: so little at a time that applying, which needs
    /// the tree for itself, does not wait long.
    fn search_some(&self, controller: &mut Controller) {
        let state = self.state.read();
        for _ in 0..limits::CONTROLLER_SEARCHED_AT_ONCE {
            if controller.queue.len() >= limits::CONTROLLER_PATHS_MAX {
                return;
            }
            let Some(found) = controller.search.pop() else { return };
            let Some(node) = state.node(&found) else { continue };
            if controller.binding.watches_below(&found) {
                let mut names: Vec<&str> = node.children().collect();
                names.sort_unstable();
                controller.search.extend(names.into_iter().rev().map(|name| path::join(&found, name)));
            }
            if controller.binding.watches(&found) {
                controller.enqueue(&found);
            }
        }
    }

    /// A controller's timers are named by the paths it wants to be called for.
    fn take_up_timers(&self, name: &str, controller: &mut Controller) -> Duration {
        let ensemble_ms = self.ensemble_ms();
        let state = self.state.read();
        let Some((_, work)) = state.chores().iter().find(|(plugin, _)| *plugin == name) else {
            return limits::CHORES_LOOK_INTERVAL;
        };
        for (due_ms, timer) in work.timers().take(limits::CONTROLLER_SEARCHED_AT_ONCE) {
            if due_ms > ensemble_ms {
                return Duration::from_millis(due_ms - ensemble_ms);
            }
            // While its call runs the timer is still there; it goes with what that came to.
            if let Some(path) = chores::unescape(timer).filter(|path| !controller.running.contains(path)) {
                controller.enqueue(&path);
            }
        }
        limits::CHORES_LOOK_INTERVAL
    }

    async fn reconcile(self: &Arc<Replica>, binding: Arc<Binding>, path: &str) -> End {
        let (replica, asked, about) = (self.clone(), binding.clone(), path.to_owned());
        let worked_out = self.heavy.run(move || replica.work_out(&asked, about)).await;
        let work = match worked_out {
            Ok(Ok(Some(work))) => work,
            Ok(Ok(None)) => return End::Done,
            Ok(Err(refusal)) => {
                binding.warn(&refusal.text);
                return End::Failed;
            }
            Err(_) => return End::Failed,
        };
        let identities = Arc::from([Identity::new("plugin", &*binding.name)]);
        match self.submit_call(Ask::Reconcile(Box::new(work)), identities, (Ipv4Addr::LOCALHOST, 0).into()).await {
            Ok(_) => End::Done,
            Err(CallError::Refused(refusal)) => {
                binding.counters.refusals.fetch_add(1, Ordering::Relaxed);
                let why = if refusal.text.is_empty() { refusal.code.name() } else { &refusal.text };
                binding.warn(&format!("{}: {path}: what it worked out was refused: {why}", binding.name));
                End::Failed
            }
            Err(CallError::NotLeading { .. } | CallError::Unknown) => End::Overtaken,
        }
    }

    /// Calls the guest. None: there is nothing to be done.
    fn work_out(&self, binding: &Binding, path: String) -> Result<Option<Reconciled>, Refusal> {
        let moment = {
            let state = self.state.read();
            // The state's clocks: those of the last transaction applied.
            Moment { wall_ms: state.wall_ms(), ensemble_ms: state.ensemble_ms(), seed: state.last_zxid().0 }
        };
        let tree = LockedTree(|| self.state.read());
        let desk = Desk::new(&tree);
        let zxid = Zxid(self.last_applied.load(Ordering::Acquire));
        let call = Call { bench: Some(&desk), ..Call::looking(&desk, None, 0, zxid, moment) };
        let asked =
            binding.ask_at_cost(self.plugins.enabled(), Once::Only, &call, |instance| instance.reconcile(&call, &path));
        match asked.said.and_then(|said| binding.sensible(&call, said.answer)) {
            Ok(Ok(())) => {}
            Ok(Err(rejection)) => return Err(binding.refusal_about(rejection, &path)),
            Err(fault) => return Err(binding.fault_refusal(&fault, &path)),
        }
        let (conditions, steps) = desk.into_notes();
        let timer = chores::timer_path(&binding.name, &path);
        if steps.is_empty() && self.state.read().node(&timer).is_none() {
            return Ok(None);
        }
        let (plugin, version) = (binding.name.to_string(), binding.manifest.version);
        Ok(Some(Reconciled { plugin, version, fuel: asked.cost, path, conditions, steps }))
    }
}

/// The next path of whoever has waited longest: one that always has something to do leaves the others their turns.
fn next_call(at_work: &mut BTreeMap<Arc<str>, Controller>) -> Option<(Arc<str>, Arc<Binding>, String)> {
    let turn = at_work.values().map(|controller| controller.turn).max()? + 1;
    let waiting = at_work.iter_mut().filter(|(_, controller)| !controller.queue.is_empty());
    let (name, controller) = waiting.min_by_key(|(_, controller)| controller.turn)?;
    controller.turn = turn;
    Some((name.clone(), controller.binding.clone(), controller.begin()?))
}

/// Puts those to work that the registry has, each version anew; those under quarantine have none.
fn follow(at_work: &mut BTreeMap<Arc<str>, Controller>, registry: &Registry) {
    let bound = |name: &str| registry.named(name).filter(|binding| binding.manifest.kind == Kind::Controller);
    at_work.retain(|name, controller| {
        bound(name).is_some_and(|binding| binding.is_called() && binding.stands == controller.binding.stands)
    });
    for binding in registry.of(Kind::Controller).filter(|binding| binding.is_called() && binding.settled()) {
        at_work.entry(binding.name.clone()).or_insert_with(|| Controller::new(binding.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CONTROLLER_PATHS_MAX;
    use crate::plugin::binding::{Stands, Watched};
    use crate::plugin::manifest;
    use serde_json::json;

    /// At work on `/<name>/*`, with nothing to do. Its code is not there, and is not asked for.
    fn controller(name: &str) -> (Arc<str>, Controller) {
        let manifest = json!({
            "format": 1, "version": 1, "kind": "controller", "paths": [format!("/{name}/*")],
            "component": { "sha256": "0".repeat(64), "bytes": 10, "chunks": 1 },
        });
        let manifest = manifest::parse(manifest.to_string().as_bytes()).unwrap();
        let (slot, counters, watched, idle) = (Arc::default(), Arc::default(), Watched::default(), Arc::default());
        let binding = Binding::new(name, manifest, Stands::default(), slot, counters, watched, idle).unwrap();
        let mut controller = Controller::new(Arc::new(binding));
        assert_eq!(std::mem::take(&mut controller.search), [format!("/{name}")], "it begins with every path there is");
        (name.into(), controller)
    }

    /// Whose calls come next, at most so many. The one named `busy` has something more to do each time.
    fn turns(at_work: &mut BTreeMap<Arc<str>, Controller>, at_most: usize) -> String {
        let mut order = Vec::new();
        while order.len() < at_most
            && let Some((name, _, path)) = next_call(at_work)
        {
            let controller = at_work.get_mut(&name).unwrap();
            controller.ended(path.clone(), End::Done, 0);
            if &*name == "busy" {
                controller.enqueue(&path);
            }
            order.push(name);
        }
        order.join(" ")
    }

    #[test]
    fn one_that_always_has_something_to_do_leaves_others_their_turns() {
        let mut at_work = BTreeMap::from(["busy", "few", "late"].map(controller));
        let enqueue = |at_work: &mut BTreeMap<Arc<str>, Controller>, name: &str, paths: &[&str]| {
            paths.iter().for_each(|path| at_work.get_mut(name).unwrap().enqueue(path));
        };
        enqueue(&mut at_work, "busy", &["/busy/a", "/busy/b"]);
        enqueue(&mut at_work, "few", &["/few/a", "/few/b", "/few/a"]);
        assert_eq!(turns(&mut at_work, 7), "busy few busy few busy busy busy");
        // Who had nothing to do for long has the next turn, and no more than its turns.
        enqueue(&mut at_work, "late", &["/late/a", "/late/b", "/late/c"]);
        assert_eq!(turns(&mut at_work, 7), "late busy late busy late busy busy");
        at_work.remove("busy");
        assert_eq!(turns(&mut at_work, 1), "");
    }

    #[test]
    fn what_is_forgotten_at_the_bound_is_looked_for_again_when_there_is_room() {
        let (_, mut full) = controller("x");
        let path = |number: usize| format!("/x/{number}");
        for number in 0..CONTROLLER_PATHS_MAX {
            full.ended(path(number), End::Failed, 0);
        }
        assert!(!full.forgot);
        full.ended(path(CONTROLLER_PATHS_MAX), End::Failed, 0);
        assert!(full.forgot && full.attempts.len() == CONTROLLER_PATHS_MAX && full.later.len() == CONTROLLER_PATHS_MAX);
        // Those that are kept are tried again, and later and later.
        full.take_up_late(limits::PLUGIN_BACK_OFF_MS_MIN);
        assert_eq!((full.queue.len(), full.later.len()), (CONTROLLER_PATHS_MAX, 0));
        let first = full.begin().unwrap();
        full.ended(first.clone(), End::Failed, limits::PLUGIN_BACK_OFF_MS_MIN);
        assert_eq!(full.later.first(), Some(&(3 * limits::PLUGIN_BACK_OFF_MS_MIN, first)));
        assert!(full.forgot && full.search.is_empty());
        // Half of them have to be done before it begins anew.
        while full.attempts.len() >= CONTROLLER_PATHS_MAX / 2 {
            full.take_up_late(0);
            assert!(full.forgot && full.search.is_empty());
            let path = full.begin().unwrap();
            full.ended(path, End::Done, 0);
        }
        full.take_up_late(0);
        assert!(!full.forgot);
        assert_eq!(full.search, ["/x"]);
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_looked_for_again() {
        let (_, mut full) = controller("x");
        for number in 0..CONTROLLER_PATHS_MAX {
            full.enqueue(&format!("/x/{number}"));
        }
        assert!(full.search.is_empty());
        full.enqueue("/x/more");
        assert_eq!((full.queue.len(), full.search.as_slice()), (CONTROLLER_PATHS_MAX, &["/x".to_owned()][..]));
    }
}
