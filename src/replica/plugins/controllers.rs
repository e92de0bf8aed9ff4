//! Calls controllers on the leader, beside the requests: for every path under their watch that has changed, until a
//! call finds nothing more to do.
//!
//! Controllers are level-triggered. A path is queued, not a change, and a path is queued once, however often it
//! changes. A new leader, and a controller that is put to work, begin with every path there is. The writes of a call
//! become one request of the identity `plugin:<name>`. The request takes effect only if nothing that the call looked at
//! has changed. Otherwise the controller is called again. A failed call is repeated after a pause that grows.

use crate::admin::http::CallError;
use crate::limits;
use crate::model::txn::Txn;
use crate::model::{Identity, Refusal, chores, path};
use crate::pipeline::overlay::path_of;
use crate::pipeline::reconcile::{OptimisticTransaction, Reconciled};
use crate::pipeline::view::LockedTree;
use crate::pipeline::{Ask, Call, Moment};
use crate::plugin::binding::{Binding, Once};
use crate::plugin::manifest::Kind;
use crate::plugin::registry::Registry;
use crate::replica::Replica;
use crate::replica::ordering::WriteOrder;
use crate::replica::plugins::{PluginWork, calls};
use futures::FutureExt;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// The paths that transactions have changed since the task last looked.
#[derive(Default)]
pub(crate) struct ChangedPaths {
    /// Whether the task looks: this member leads, and there are controllers.
    watched: AtomicBool,
    inner: Mutex<Paths>,
}

#[derive(Default)]
struct Paths {
    /// Invariant: at most `limits::CONTROLLER_PATHS_MAX`, and empty if `all`.
    changed: Vec<Arc<str>>,
    /// There were too many paths to keep: every path may have changed.
    all: bool,
}

impl ChangedPaths {
    /// Notes the paths of a transaction that has been applied. Called for each.
    pub(super) fn note(&self, txn: &Txn) {
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
        assert!(paths.changed.len() <= limits::CONTROLLER_PATHS_MAX, "{} changed paths are kept", paths.changed.len());
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    fn take(&self) -> Paths {
        std::mem::take(&mut *self.inner.lock())
    }
}

/// Runs until it is aborted.
pub(in crate::replica) async fn run_controllers(replica: Arc<Replica>) {
    let mut at_work: BTreeMap<Arc<str>, Controller> = BTreeMap::new();
    let mut calls: JoinSet<EndedCall> = JoinSet::new();
    loop {
        let rest = drive(&replica, &mut at_work, &mut calls);
        tokio::select! {
            biased;
            Some(ended) = calls.join_next() => {
                // An error means that the task was aborted.
                let Ok(ended) = ended else { continue };
                take_end(&mut at_work, ended, replica.order.clock.now_ms());
            }
            () = replica.plugins.controllers_wake.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// One controller, and what it has to do.
struct Controller {
    binding: Arc<Binding>,
    /// Tells this controller from an earlier one of the same name, which may still have calls running.
    identity: Arc<()>,
    /// The paths to call it for, in order.
    ///
    /// Invariant: each once, and at most `limits::CONTROLLER_PATHS_MAX`.
    queue: VecDeque<String>,
    /// The paths in `queue`.
    queued: BTreeSet<String>,
    /// The paths that it is called for now.
    running: BTreeSet<String>,
    /// The paths in `running` that have changed since their calls began.
    again: BTreeSet<String>,
    /// The paths whose calls failed or were overtaken, sorted by the time of the next call, in milliseconds of the
    /// server's clock.
    ///
    /// Invariant: each has an entry in `attempts`.
    later: BTreeSet<(u64, String)>,
    /// For each path: how many calls in a row have failed or were overtaken, and when the path is due again.
    ///
    /// Invariant: at most `limits::CONTROLLER_PATHS_MAX`.
    attempts: BTreeMap<String, (u32, u64)>,
    /// A failed path was not kept, because too many have failed. Once there are fewer, all paths are looked for again.
    forgot: bool,
    /// Nodes whose subtrees are still to be searched for paths under its watch.
    search: Vec<String>,
    /// The turn at which it was last called.
    turn: u64,
}

/// A call that has ended.
struct EndedCall {
    name: Arc<str>,
    /// `Controller::identity` of the controller that was called.
    identity: Arc<()>,
    path: String,
    end: CallEnd,
}

/// How a call ended.
enum CallEnd {
    Done,
    /// Something that the call looked at has changed.
    Overtaken,
    Failed,
}

impl Controller {
    fn new(binding: Arc<Binding>) -> Controller {
        let mut controller = Controller {
            binding,
            identity: Arc::default(),
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
            // Once there is room, all paths are looked for again.
            self.search_all();
        } else if !self.queued.contains(path) && !self.waits(path) {
            self.queued.insert(path.to_owned());
            self.queue.push_back(path.to_owned());
        }
        self.check();
    }

    /// Checks what must hold after each change.
    fn check(&self) {
        assert!(self.queue.len() == self.queued.len(), "a path is queued once");
        assert!(self.queue.len() <= limits::CONTROLLER_PATHS_MAX, "{} paths are queued", self.queue.len());
        assert!(self.attempts.len() <= limits::CONTROLLER_PATHS_MAX, "{} failed paths are kept", self.attempts.len());
        assert!(self.later.len() <= self.attempts.len(), "each path that is called for later has its attempts counted");
    }

    /// Whether a call for the path has failed, and the path is not due yet.
    fn waits(&self, path: &str) -> bool {
        self.attempts.get(path).is_some_and(|(_, due_ms)| self.later.contains(&(*due_ms, path.to_owned())))
    }

    fn begin(&mut self) -> Option<String> {
        let path = self.queue.pop_front()?;
        self.queued.remove(&path);
        let is_new = self.running.insert(path.clone());
        assert!(is_new, "one call at a time is made for a path: {path}");
        self.check();
        Some(path)
    }

    fn ended(&mut self, path: String, end: CallEnd, now_ms: u64) {
        self.running.remove(&path);
        let changed = self.again.remove(&path);
        let pause = |attempts: u32| match end {
            CallEnd::Done => None,
            CallEnd::Overtaken => Some(limits::ms(limits::CONTROLLER_OVERTAKEN) << attempts.min(6)),
            CallEnd::Failed => Some(
                (limits::ms(limits::PLUGIN_BACK_OFF_MIN) << attempts.min(16))
                    .min(limits::ms(limits::CONTROLLER_BACK_OFF_MAX)),
            ),
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
        self.check();
    }

    /// Queues the paths that are due again.
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

/// Finds out what controllers have to do, and begins some of it. Returns how long it takes until something is due, if
/// nothing changes.
fn drive(
    replica: &Arc<Replica>,
    at_work: &mut BTreeMap<Arc<str>, Controller>,
    calls: &mut JoinSet<EndedCall>,
) -> Duration {
    let (order, work) = (&replica.order, &replica.plugins);
    let leads = order.leadership.leads() && work.plugins.enabled();
    let registry = work.plugins.registry();
    let is_ready = registry.of(Kind::Controller).any(|binding| binding.settled());
    if !leads || !is_ready {
        work.changed.watched.store(false, Ordering::Release);
        work.changed.take();
        at_work.clear();
        return limits::CHORES_LOOK_INTERVAL;
    }
    // From here on changed paths are noted. Paths that were there before are found by searching the tree.
    work.changed.watched.store(true, Ordering::Release);
    let now_ms = order.clock.now_ms();
    follow(at_work, &registry);
    let changed = work.changed.take();
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
        search_some(order, controller);
        rest = rest.min(take_up_timers(order, name, controller));
        if let Some((due_ms, _)) = controller.later.first() {
            rest = rest.min(Duration::from_millis(due_ms.saturating_sub(now_ms).max(1)));
        }
        if !controller.search.is_empty() && controller.queue.len() < limits::CONTROLLER_PATHS_MAX {
            rest = Duration::from_millis(1);
        }
    }
    while calls.len() < limits::CONTROLLER_CALLS_MAX {
        let Some((name, path)) = next_call(at_work) else { break };
        let Some(controller) = at_work.get(&name) else { break };
        let (replica, binding, identity) = (replica.clone(), controller.binding.clone(), controller.identity.clone());
        calls.spawn(async move {
            // A panic is a bug of the server. The other controllers go on, and this call counts as failed.
            let end = AssertUnwindSafe(reconcile(&replica, binding, &path)).catch_unwind().await;
            EndedCall { name, identity, path, end: end.unwrap_or(CallEnd::Failed) }
        });
    }
    rest
}

/// Searches a piece of the tree for paths that a controller watches. The piece is small, because applying needs the
/// exclusive lock and must not wait long.
fn search_some(order: &WriteOrder, controller: &mut Controller) {
    let state = order.state.read();
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

/// Queues the paths of timers that are due. A controller's timer is named by the path that it wants to be called for.
/// Returns when the next one may be due.
fn take_up_timers(order: &WriteOrder, name: &str, controller: &mut Controller) -> Duration {
    let ensemble_ms = order.ensemble_ms();
    let state = order.state.read();
    let Some((_, work)) = state.chores().iter().find(|(plugin, _)| *plugin == name) else {
        return limits::CHORES_LOOK_INTERVAL;
    };
    for (due_ms, timer) in work.timers().take(limits::CONTROLLER_SEARCHED_AT_ONCE) {
        if due_ms > ensemble_ms {
            return Duration::from_millis(due_ms - ensemble_ms);
        }
        // While the timer's call runs, the timer is still there. The call's writes remove it.
        if let Some(path) = chores::unescape(timer).filter(|path| !controller.running.contains(path)) {
            controller.enqueue(&path);
        }
    }
    limits::CHORES_LOOK_INTERVAL
}

/// Calls the controller for a path, and submits its writes.
async fn reconcile(replica: &Arc<Replica>, binding: Arc<Binding>, path: &str) -> CallEnd {
    let (asking, asked, about) = (replica.clone(), binding.clone(), path.to_owned());
    let worked_out = replica.heavy.run(move || work_out(&asking.order, &asking.plugins, &asked, about)).await;
    let work = match worked_out {
        Ok(Ok(Some(work))) => work,
        Ok(Ok(None)) => return CallEnd::Done,
        Ok(Err(refusal)) => {
            binding.warn(&refusal.text);
            return CallEnd::Failed;
        }
        Err(_) => return CallEnd::Failed,
    };
    let identities = Arc::from([Identity::new("plugin", &*binding.name)]);
    let ask = Ask::Reconcile(Box::new(work));
    match calls::submit(&replica.order, ask, identities, (Ipv4Addr::LOCALHOST, 0).into()).await {
        Ok(_) => CallEnd::Done,
        Err(CallError::Refused(refusal)) => {
            binding.counters.refusals.fetch_add(1, Ordering::Relaxed);
            let why = if refusal.text.is_empty() { refusal.code.name() } else { &refusal.text };
            binding.warn(&format!("{}: {path}: what it worked out was refused: {why}", binding.name));
            CallEnd::Failed
        }
        Err(CallError::NotLeading { .. } | CallError::Unknown) => CallEnd::Overtaken,
    }
}

/// Calls the guest. None: it found nothing to do.
fn work_out(
    order: &WriteOrder,
    plugins: &PluginWork,
    binding: &Binding,
    path: String,
) -> Result<Option<Reconciled>, Refusal> {
    let moment = {
        let state = order.state.read();
        // The times of the last transaction applied.
        Moment { wall_ms: state.wall_ms(), ensemble_ms: state.ensemble_ms(), seed: state.last_zxid().0 }
    };
    let tree = LockedTree(|| order.state.read());
    let optimistic = OptimisticTransaction::new(&tree);
    let call = Call { writer: Some(&optimistic), ..Call::looking(&optimistic, None, 0, order.last_applied(), moment) };
    let asked =
        binding.ask_at_cost(plugins.plugins.enabled(), Once::Only, &call, |instance| instance.reconcile(&call, &path));
    match asked.said.and_then(|said| binding.checked(&call, said.answer)) {
        Ok(Ok(())) => {}
        Ok(Err(rejection)) => return Err(binding.refusal_about(rejection, &path)),
        Err(fault) => return Err(binding.fault_refusal(&fault, &path)),
    }
    let (conditions, steps) = optimistic.finish();
    let timer = chores::timer_path(&binding.name, &path);
    if steps.is_empty() && order.state.read().node(&timer).is_none() {
        return Ok(None);
    }
    let (plugin, version) = (binding.name.to_string(), binding.manifest.version);
    Ok(Some(Reconciled { plugin, version, fuel: asked.cost, path, conditions, steps }))
}

/// The next path of the controller that has waited longest. So a controller that always has something to do does not
/// keep the others from their turns.
fn next_call(at_work: &mut BTreeMap<Arc<str>, Controller>) -> Option<(Arc<str>, String)> {
    let turn = at_work.values().map(|controller| controller.turn).max()? + 1;
    let waiting = at_work.iter_mut().filter(|(_, controller)| !controller.queue.is_empty());
    let (name, controller) = waiting.min_by_key(|(_, controller)| controller.turn)?;
    controller.turn = turn;
    Some((name.clone(), controller.begin()?))
}

/// Tells a controller that its call has ended. The end of a call of a former controller of that name is ignored.
fn take_end(at_work: &mut BTreeMap<Arc<str>, Controller>, ended: EndedCall, now_ms: u64) {
    let EndedCall { name, identity, path, end } = ended;
    if let Some(controller) = at_work.get_mut(&name).filter(|now| Arc::ptr_eq(&now.identity, &identity)) {
        controller.ended(path, end, now_ms);
    }
}

/// Puts the controllers of the registry to work. A new version begins anew; a controller under quarantine does not
/// work.
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
    use crate::plugin::binding::{Stands, Supervision};
    use crate::plugin::manifest;
    use serde_json::json;

    /// A controller at work on `/<name>/*`, with nothing to do. It has no code, and is not called.
    fn controller(name: &str) -> (Arc<str>, Controller) {
        let manifest = json!({
            "format": 1, "version": 1, "kind": "controller", "paths": [format!("/{name}/*")],
            "component": { "sha256": "0".repeat(64), "bytes": 10, "chunks": 1 },
        });
        let manifest = manifest::parse(manifest.to_string().as_bytes()).unwrap();
        let (slot, counters, watched, idle) = (Arc::default(), Arc::default(), Supervision::default(), Arc::default());
        let binding = Binding::new(name, manifest, Stands::default(), slot, counters, watched, idle).unwrap();
        let mut controller = Controller::new(Arc::new(binding));
        assert_eq!(std::mem::take(&mut controller.search), [format!("/{name}")], "it begins with all paths");
        (name.into(), controller)
    }

    /// The controllers that are called next, at most `at_most`. The one named `busy` gets a new path after each call.
    fn turns(at_work: &mut BTreeMap<Arc<str>, Controller>, at_most: usize) -> String {
        let mut order = Vec::new();
        while order.len() < at_most
            && let Some((name, path)) = next_call(at_work)
        {
            let controller = at_work.get_mut(&name).unwrap();
            controller.ended(path.clone(), CallEnd::Done, 0);
            if &*name == "busy" {
                controller.enqueue(&path);
            }
            order.push(name);
        }
        order.join(" ")
    }

    #[test]
    fn a_busy_controller_leaves_others_their_turns() {
        let mut at_work = BTreeMap::from(["busy", "few", "late"].map(controller));
        let enqueue = |at_work: &mut BTreeMap<Arc<str>, Controller>, name: &str, paths: &[&str]| {
            paths.iter().for_each(|path| at_work.get_mut(name).unwrap().enqueue(path));
        };
        enqueue(&mut at_work, "busy", &["/busy/a", "/busy/b"]);
        enqueue(&mut at_work, "few", &["/few/a", "/few/b", "/few/a"]);
        assert_eq!(turns(&mut at_work, 7), "busy few busy few busy busy busy");
        // A controller that had nothing to do for long has the next turn, and no more than every second one.
        enqueue(&mut at_work, "late", &["/late/a", "/late/b", "/late/c"]);
        assert_eq!(turns(&mut at_work, 7), "late busy late busy late busy busy");
        at_work.remove("busy");
        assert_eq!(turns(&mut at_work, 1), "");
    }

    #[test]
    fn a_call_of_a_former_controller_changes_nothing() {
        let mut at_work = BTreeMap::from([controller("x")]);
        let former = at_work["x"].identity.clone();
        at_work.extend([controller("x")]);
        at_work.get_mut("x").unwrap().enqueue("/x/a");
        let (name, path) = next_call(&mut at_work).unwrap();
        let ended = |identity| EndedCall { name: name.clone(), identity, path: path.clone(), end: CallEnd::Failed };
        take_end(&mut at_work, ended(former), 0);
        assert!(at_work["x"].running.contains("/x/a") && at_work["x"].later.is_empty());
        let current = at_work["x"].identity.clone();
        take_end(&mut at_work, ended(current), 0);
        assert!(at_work["x"].running.is_empty() && at_work["x"].later.len() == 1);
    }

    #[test]
    #[should_panic = "one call at a time is made for a path"]
    fn two_calls_for_one_path_are_a_bug() {
        let (_, mut controller) = controller("x");
        controller.enqueue("/x/a");
        controller.running.insert("/x/a".to_owned());
        controller.begin();
    }

    #[test]
    fn failed_paths_beyond_the_bound_are_looked_for_again_when_there_is_room() {
        let (_, mut full) = controller("x");
        let path = |number: usize| format!("/x/{number}");
        for number in 0..CONTROLLER_PATHS_MAX {
            full.ended(path(number), CallEnd::Failed, 0);
        }
        assert!(!full.forgot);
        full.ended(path(CONTROLLER_PATHS_MAX), CallEnd::Failed, 0);
        assert!(full.forgot && full.attempts.len() == CONTROLLER_PATHS_MAX && full.later.len() == CONTROLLER_PATHS_MAX);
        // The paths that are kept are called for again, each time after a longer pause.
        full.take_up_late(limits::ms(limits::PLUGIN_BACK_OFF_MIN));
        assert_eq!((full.queue.len(), full.later.len()), (CONTROLLER_PATHS_MAX, 0));
        let first = full.begin().unwrap();
        full.ended(first.clone(), CallEnd::Failed, limits::ms(limits::PLUGIN_BACK_OFF_MIN));
        assert_eq!(full.later.first(), Some(&(3 * limits::ms(limits::PLUGIN_BACK_OFF_MIN), first)));
        assert!(full.forgot && full.search.is_empty());
        // All paths are looked for again once half of the kept ones are done.
        while full.attempts.len() >= CONTROLLER_PATHS_MAX / 2 {
            full.take_up_late(0);
            assert!(full.forgot && full.search.is_empty());
            let path = full.begin().unwrap();
            full.ended(path, CallEnd::Done, 0);
        }
        full.take_up_late(0);
        assert!(!full.forgot);
        assert_eq!(full.search, ["/x"]);
    }

    #[test]
    fn paths_that_the_queue_has_no_room_for_are_looked_for_again() {
        let (_, mut full) = controller("x");
        for number in 0..CONTROLLER_PATHS_MAX {
            full.enqueue(&format!("/x/{number}"));
        }
        assert!(full.search.is_empty());
        full.enqueue("/x/more");
        assert_eq!((full.queue.len(), full.search.as_slice()), (CONTROLLER_PATHS_MAX, &["/x".to_owned()][..]));
    }
}
