//! Plugins on reads, events and logins, with the guest `warden`: what waits for a verdict, and in which order replies
//! leave.

#![expect(clippy::disallowed_methods, reason = "guests run on threads in real time")]

use super::*;
use crate::limits::{MULTI_READ_JUDGED_MAX, QUESTIONS_IN_A_ROW};
use crate::plugin::tree::testing::MapTree;
use crate::plugin::tree::{Tree, read_component, sha256};
use crate::plugin::{PLUGINS, manifest};
use crate::state::State;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const NO_AUTH: i32 = -102;

/// A replica whose plugins are asked when the test says so.
struct Policed {
    replica: Arc<Replica>,
    inquirer: Inquirer,
    bound: MapTree,
    admin: Client,
}

impl Policed {
    /// With a policy that decides by roles about `/services` and the nodes below.
    async fn new() -> Policed {
        let mut policed = Policed::without_policies().await;
        policed.bind("w", "roles", json!({ "kind": "policy", "paths": ["/services", "/services/**"] }));
        policed
    }

    async fn without_policies() -> Policed {
        let replica = Replica::new(options());
        let server: Arc<dyn Server> = replica.clone();
        Policed::on(replica, Inquirer::of(&server)).await
    }

    /// Creates the nodes that the tests use.
    async fn on(replica: Arc<Replica>, inquirer: Inquirer) -> Policed {
        let admin = replica.client().await;
        let mut policed = Policed { replica, inquirer, bound: MapTree::default(), admin };
        for path in ["/roles", "/services", "/services/a"] {
            policed.admin.create(path).await;
        }
        policed
    }

    fn bind(&mut self, name: &str, what: &str, manifest: Value) {
        let component = include_bytes!(env!("WASMKEEPER_WARDEN"));
        let named = manifest::Component {
            sha256: sha256(component),
            bytes: component.len() as u64,
            chunks: 1,
            source: String::new(),
        };
        self.bound.set(&named.chunk_path(0), component, 1);
        let plugins = self.replica.connections.plugins();
        let code = manifest::Code { component: &named, signature: None };
        plugins.load(code, &|| read_component(&named, &|path| self.bound.data(path))).unwrap();
        let version = self.bound.0.len();
        let mut all = json!({
            "format": 1, "version": version, "component": named, "settings": { "do": what },
            "grants": [{ "path": "/roles", "verbs": ["read", "children"] }],
        });
        for (key, value) in manifest.as_object().unwrap() {
            all[key] = value.clone();
        }
        let version = version as i64;
        self.bound.set(&format!("{PLUGINS}/{name}"), all.to_string().as_bytes(), version);
        let _tree = self.replica.state.write();
        plugins.refresh(&self.bound);
    }

    fn calls(&self, name: &str) -> u64 {
        let counters = self.replica.connections.plugins().counters_json(name).unwrap();
        serde_json::from_slice::<Value>(&counters).unwrap()["calls"].as_u64().unwrap()
    }

    async fn client(&self, name: &str) -> Client {
        let mut client = self.replica.client().await;
        client.ask(-4, auth("digest", &format!("{name}:x"))).await;
        assert_eq!(client.next().await, (-4, 0));
        client
    }

    async fn role(&mut self, name: &str, role: &str) {
        let path = format!("/roles/{name}");
        let Request::Create(node) = create(&path) else { unreachable!() };
        self.admin.ask(1, Request::Create(node)).await;
        self.admin.next().await;
        let data = Some(Bytes::copy_from_slice(role.as_bytes()));
        self.admin.ask(2, Request::SetData { path: Some(path), data, version: -1 }).await;
        assert_eq!(self.admin.next().await, (2, 0));
    }

    /// Asks plugins everything that waits to be asked.
    fn answer(&mut self) {
        while self.inquirer.run_once() {}
    }

    /// Waits until there is a question, then asks plugins everything that waits.
    async fn answer_when_asked(&mut self) {
        let inquirer = &mut self.inquirer;
        until("a guest is asked", || inquirer.run_once()).await;
        self.answer();
    }

    /// Asks plugins everything that waits, again and again, until `over` is done.
    async fn answering<T>(&mut self, over: impl Future<Output = T>) -> T {
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                over = &mut over => return over,
                () = tokio::task::yield_now() => self.answer(),
            }
        }
    }

    async fn set(&mut self, path: &str) {
        let before = self.replica.state().last_zxid();
        self.replica.submit(Submission::own(Ask::Request(set(path))));
        assert!(self.replica.state().last_zxid() > before);
    }
}

fn auth(scheme: &str, credential: &str) -> Request {
    let credential = Some(Bytes::copy_from_slice(credential.as_bytes()));
    Request::Auth { kind: 0, scheme: Some(scheme.into()), credential }
}

async fn data(client: &mut Client) -> (i32, i32, Bytes) {
    let (header, mut record) = client.reply().await;
    let data = if header.error == 0 { record.buffer().unwrap().unwrap() } else { Bytes::new() };
    (header.xid, header.error, data)
}

async fn rejection(client: &mut Client) -> String {
    client.ask(99, get("/zookeeper/rejection", false)).await;
    String::from_utf8(data(client).await.2.to_vec()).unwrap()
}

#[tokio::test]
async fn a_read_waits_for_its_verdict_and_later_reads_use_it() {
    let mut policed = Policed::new().await;
    policed.role("alice", "read /services").await;
    let (mut alice, mut bob) = (policed.client("alice").await, policed.client("bob").await);
    alice.ask(3, get("/services/a", false)).await;
    bob.ask(3, get("/services/a", false)).await;
    policed.answer_when_asked().await;
    assert_eq!(data(&mut alice).await, (3, 0, Bytes::from_static(b"data")));
    policed.answer();
    assert_eq!(bob.next().await, (3, NO_AUTH));
    assert_eq!(rejection(&mut bob).await, "w: /services/a: no role may read it (xid 3)\n");
    // The verdict is cached now, so no plugin is asked. A path without a policy needs no plugin.
    for _ in 0..3 {
        for (path, denied) in [("/services/a", NO_AUTH), ("/roles", 0)] {
            alice.ask(4, get(path, false)).await;
            bob.ask(4, get(path, false)).await;
            assert_eq!((alice.next().await, bob.next().await), ((4, 0), (4, denied)));
        }
    }
    assert_eq!(policed.calls("w"), 2);
    // A role counts from the zxid on that writes it.
    policed.role("alice", "").await;
    policed.role("bob", "read /services/a").await;
    alice.ask(5, get("/services/a", false)).await;
    bob.ask(5, get("/services/a", false)).await;
    policed.answer_when_asked().await;
    policed.answer();
    assert_eq!(alice.next().await, (5, NO_AUTH));
    policed.answer();
    assert_eq!(bob.next().await, (5, 0));
}

#[tokio::test]
async fn every_read_is_asked_about() {
    let mut policed = Policed::new().await;
    let mut bob = policed.client("bob").await;
    let path = || Some("/services/none".to_owned());
    for request in [
        Request::Exists { path: path(), watch: true },
        Request::GetData { path: path(), watch: true },
        Request::GetAcl { path: path() },
        Request::GetChildren { path: path(), watch: true },
        Request::GetChildren2 { path: path(), watch: true },
        Request::FilteredList { path: path(), watch: true, filter: 0 },
        Request::GetAllChildrenNumber { path: path() },
        Request::GetEphemerals { prefix: Some("/services/".into()) },
        Request::AddWatch { path: path(), mode: 0 },
        Request::AddWatch { path: path(), mode: 1 },
    ] {
        bob.ask(3, request.clone()).await;
        assert_eq!(policed.answering(bob.next()).await, (3, NO_AUTH), "{request:?}");
    }
    assert!(policed.replica.watches.lock().is_empty(), "what is denied sets no watch");
    // Requests about the connection itself need no verdict.
    for request in [Request::WhoAmI, Request::Ping] {
        bob.ask(4, request).await;
        assert_eq!(bob.next().await.1, 0);
    }
    bob.ask(5, Request::CheckWatches { path: path(), kind: 3 }).await;
    assert_eq!(bob.next().await, (5, -121));
}

#[tokio::test]
async fn plugins_are_not_asked_about_what_an_acl_refuses() {
    let policed = Policed::new().await;
    let acl = vec![AclEntry { permissions: acl::ALL, who: Identity::new("digest", "root:x") }];
    let Request::Create(open) = create("/services/secret") else { unreachable!() };
    let closed = Create { acl: Some(acl), ..open };
    policed.replica.submit(Submission::own(Ask::Request(Request::Create(closed))));
    let mut bob = policed.client("bob").await;
    bob.ask(3, get("/services/secret", false)).await;
    assert_eq!(bob.next().await, (3, NO_AUTH));
    assert_eq!(policed.calls("w"), 0);
}

#[tokio::test]
async fn nothing_passes_a_read_that_waits_and_it_sees_what_came_before_it() {
    let mut policed = Policed::new().await;
    policed.role("alice", "read /services\nset /services").await;
    let mut alice = policed.client("alice").await;
    let connection = policed.replica.connection(&alice);
    policed.replica.pause();
    alice.ask(3, set("/services/a")).await;
    alice.ask(4, get("/services/a", false)).await;
    let last = Some(Bytes::from_static(b"last"));
    alice.ask(5, Request::SetData { path: Some("/services/a".into()), data: last, version: -1 }).await;
    alice.ask(6, get("/services/a", false)).await;
    until("the read lets nothing behind it in", || connection.unanswered() == 2).await;
    assert!(!connection.takes_requests());
    policed.replica.release();
    assert_eq!(alice.next().await, (3, 0));
    until("the read is the oldest", || connection.unanswered() == 1).await;
    assert!(!connection.takes_requests());
    // Other clients go on meanwhile.
    policed.admin.ask(7, get("/roles", false)).await;
    assert_eq!(policed.admin.next().await, (7, 0));
    policed.answer_when_asked().await;
    assert_eq!(data(&mut alice).await, (4, 0, Bytes::from_static(b"new")));
    assert_eq!(alice.next().await, (5, 0));
    assert_eq!(data(&mut alice).await, (6, 0, Bytes::from_static(b"last")));
    // With a cached verdict a parked read is answered when its write is applied, and no plugin is asked.
    policed.replica.pause();
    alice.ask(8, set("/services/a")).await;
    alice.ask(9, get("/services/a", false)).await;
    until("two wait", || connection.unanswered() == 2).await;
    policed.replica.release();
    assert_eq!((alice.next().await, data(&mut alice).await.2), ((8, 0), Bytes::from_static(b"new")));
    assert!(!policed.inquirer.run_once());
}

#[tokio::test]
async fn a_policy_that_is_deployed_while_a_read_is_parked_counts_for_the_read() {
    let mut policed = Policed::new().await;
    let mut bob = policed.client("bob").await;
    let connection = policed.replica.connection(&bob);
    policed.replica.pause();
    bob.ask(3, create("/mine")).await;
    bob.ask(4, get("/mine", false)).await;
    bob.ask(5, create("/other")).await;
    until("three wait", || connection.unanswered() == 3).await;
    policed.bind("x", "deny", json!({ "kind": "policy", "paths": ["/mine"] }));
    policed.replica.release();
    assert_eq!(bob.next().await, (3, 0));
    assert_eq!(bob.next().await, (4, ErrorCode::OperationTimeout.code()), "its verdict would come too late");
    assert_eq!(bob.next().await, (5, 0));
}

#[tokio::test]
async fn each_operation_of_a_multi_read_has_its_own_verdict() {
    let mut policed = Policed::new().await;
    policed.role("alice", "read /services/a").await;
    let mut alice = policed.client("alice").await;
    let read = |path: &str| Operation { op: op::GET_DATA, request: get(path, false) };
    let list = |path: &str| {
        let request = Request::GetChildren { path: Some(path.into()), watch: false };
        Operation { op: op::GET_CHILDREN, request }
    };
    let operations = vec![read("/services/a"), read("/services"), list("/services/a"), read("/roles"), read("/none")];
    for _ in 0..2 {
        alice.ask(3, Request::MultiRead(operations.clone())).await;
        let (header, mut record) = policed.answering(alice.reply()).await;
        assert_eq!(header.error, 0);
        let slots = record.multi().unwrap();
        assert!(matches!(&slots[0], SlotReply::Data(..)) && matches!(&slots[3], SlotReply::Data(..)), "{slots:?}");
        assert_eq!(slots[1..3], [NO_AUTH, NO_AUTH].map(SlotReply::Error));
        assert_eq!(slots[4], SlotReply::Error(-101));
    }
    assert_eq!(policed.calls("w"), 3);
}

/// More paths than a guest is asked about in a row, and more than one request may have judged.
#[tokio::test]
async fn a_long_multi_read_is_judged_in_turns_and_within_a_bound() {
    let mut policed = Policed::new().await;
    policed.role("alice", "read /services/a").await;
    let mut alice = policed.client("alice").await;
    let read = |path: String| Operation { op: op::GET_DATA, request: get(&path, false) };
    let asked = 2 * QUESTIONS_IN_A_ROW + 1;
    let mut operations: Vec<Operation> = (0..asked).map(|number| read(format!("/services/{number}"))).collect();
    operations.resize(MULTI_READ_JUDGED_MAX, read("/services/a".into()));
    operations.extend([read("/services/a".into()), read("/roles".into())]);
    alice.ask(3, Request::MultiRead(operations)).await;
    let (header, mut record) = policed.answering(alice.reply()).await;
    assert_eq!(header.error, 0);
    let slots = record.multi().unwrap();
    assert!(slots[..asked].iter().all(|slot| *slot == SlotReply::Error(NO_AUTH)), "{:?}", slots[0]);
    let allowed = |slot: &SlotReply| matches!(slot, SlotReply::Data(..));
    assert!(slots[asked..MULTI_READ_JUDGED_MAX].iter().all(allowed));
    assert_eq!(slots[MULTI_READ_JUDGED_MAX], SlotReply::Error(ErrorCode::ThrottledOp.code()));
    assert!(allowed(&slots[MULTI_READ_JUDGED_MAX + 1]), "no policy judges the path");
}

#[tokio::test]
async fn set_watches_sends_events_and_sets_watches_by_verdict() {
    let mut policed = Policed::new().await;
    policed.admin.create("/services/b").await;
    policed.role("alice", "read /services/a").await;
    let mut alice = policed.client("alice").await;
    let again = SetWatches {
        relative_zxid: 0,
        data: vec!["/services/a".into(), "/services/b".into()],
        exist: vec!["/services/none".into(), "/services/a/none".into()],
        child: vec!["/services/a".into()],
        persistent: vec!["/services/b".into()],
        recursive: vec!["/services/a".into()],
    };
    alice.ask(-8, Request::SetWatches(again)).await;
    policed.answer_when_asked().await;
    assert_eq!(alice.event().await, (3, "/services/a".into()));
    assert_eq!(alice.next().await, (-8, 0));
    let watches = policed.replica.watches.lock();
    let alice_id = policed.replica.connection(&alice).id();
    for (path, watched) in
        [("/services/a", true), ("/services/b", false), ("/services/none", false), ("/services/a/none", true)]
    {
        assert_eq!(watches.has(path, crate::watch::WatcherType::Any, alice_id), watched, "{path}");
    }
}

#[tokio::test]
async fn an_event_keeps_its_place_while_its_verdict_is_awaited() {
    let mut policed = Policed::new().await;
    policed.role("alice", "read /services").await;
    let (mut alice, mut bob) = (policed.client("alice").await, policed.client("bob").await);
    alice.ask(3, get("/services/a", true)).await;
    policed.answer_when_asked().await;
    assert_eq!(alice.next().await, (3, 0), "the reply that sets a watch leaves before its event");
    bob.ask(3, Request::AddWatch { path: Some("/".into()), mode: 1 }).await;
    assert_eq!(bob.next().await, (3, 0));
    // Her role is written anew, so the cached verdict no longer holds.
    policed.role("alice", "read /services/a").await;
    assert_eq!(bob.event().await, (3, "/roles/alice".into()), "nobody is asked about that");
    alice.ask(4, set("/services/a")).await;
    until("it is applied", || policed.replica.connection(&alice).unanswered() == 0).await;
    alice.ask(5, Request::Ping).await;
    let (waiting, held) = (policed.replica.connection(&alice), policed.replica.connection(&bob));
    until("both are held", || waiting.outbox.holds() && held.outbox.holds()).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.outbox.waits(), "what comes behind the event waits with it");
    // Other clients do not wait.
    policed.admin.ask(6, get("/roles", false)).await;
    assert_eq!(policed.admin.next().await, (6, 0));
    policed.answer();
    assert_eq!(alice.event().await, (3, "/services/a".into()), "before the reply to the write that fired it");
    assert_eq!((alice.next().await, alice.next().await), ((4, 0), (-2, 0)));
    // Bob has no role: his event is withheld, and later ones are sent.
    policed.admin.create("/free").await;
    assert_eq!(bob.event().await, (1, "/free".into()));
    // With a cached verdict an event is sent or withheld at once.
    alice.ask(7, get("/services/a", true)).await;
    assert_eq!(alice.next().await, (7, 0));
    policed.set("/services/a").await;
    policed.replica.connections.flush();
    assert_eq!(alice.event().await, (3, "/services/a".into()));
    assert!(!policed.inquirer.run_once());
}

#[tokio::test]
async fn events_about_children_need_the_verb_children() {
    let mut policed = Policed::new().await;
    policed.role("alice", "children /services").await;
    let mut alice = policed.client("alice").await;
    for (xid, mode) in [(3, 0), (4, 0)] {
        alice.ask(xid, Request::AddWatch { path: Some("/services".into()), mode }).await;
        assert_eq!(policed.answering(alice.next()).await, (xid, NO_AUTH), "to watch is to read");
    }
    alice.ask(5, Request::GetChildren { path: Some("/services".into()), watch: true }).await;
    policed.answer_when_asked().await;
    assert_eq!(alice.next().await, (5, 0));
    policed.admin.create("/services/x").await;
    policed.answer();
    assert_eq!(alice.event().await, (4, "/services".into()));
}

#[tokio::test]
async fn a_failing_policy_withholds_events_and_refuses_reads() {
    let mut policed = Policed::new().await;
    let mut alice = policed.client("alice").await;
    alice.ask(3, Request::AddWatch { path: Some("/".into()), mode: 1 }).await;
    assert_eq!(alice.next().await, (3, 0));
    policed.bind("w", "panic", json!({ "kind": "policy", "paths": ["/services/**"] }));
    policed.set("/services/a").await;
    policed.answer();
    policed.admin.create("/free").await;
    assert_eq!(alice.event().await, (1, "/free".into()));
    alice.ask(4, get("/services/a", false)).await;
    policed.answer_when_asked().await;
    assert_eq!(alice.next().await, (4, ErrorCode::SystemError.code()));
    assert!(rejection(&mut alice).await.contains("the plugin failed (panic)"));
}

#[tokio::test]
async fn the_last_reply_waits_for_the_events_before_it() {
    let mut policed = Policed::new().await;
    policed.role("alice", "read /services").await;
    let mut alice = policed.client("alice").await;
    alice.ask(3, Request::AddWatch { path: Some("/".into()), mode: 1 }).await;
    assert_eq!(alice.next().await, (3, 0));
    policed.set("/services/a").await;
    alice.ask(4, Request::CloseSession).await;
    let connection = policed.replica.connection(&alice);
    until("the session is closed", || connection.has_ended()).await;
    policed.answer_when_asked().await;
    assert_eq!(alice.event().await, (3, "/services/a".into()));
    assert_eq!(alice.next().await, (4, 0));
    alice.closed().await;
}

#[tokio::test]
async fn a_connection_may_end_while_plugins_are_asked() {
    let mut policed = Policed::new().await;
    let mut bob = policed.client("bob").await;
    bob.ask(3, Request::AddWatch { path: Some("/".into()), mode: 1 }).await;
    assert_eq!(bob.next().await, (3, 0));
    policed.set("/services/a").await;
    bob.ask(4, get("/services/a", true)).await;
    let connection = policed.replica.connection(&bob);
    until("the read waits", || connection.unanswered() == 1).await;
    connection.close();
    until("the connection is forgotten", || policed.replica.connections.count() == 1).await;
    policed.answer();
    assert!(policed.replica.watches.lock().is_empty());
    assert_eq!(policed.calls("w"), 0);
    // The server notices that a client is gone once the client's read is answered.
    let mut bob = policed.client("bob").await;
    bob.ask(4, get("/services/a", true)).await;
    let connection = policed.replica.connection(&bob);
    until("the read waits", || connection.unanswered() == 1).await;
    drop(bob);
    policed.answer();
    until("the connection is forgotten", || policed.replica.connections.count() == 1).await;
}

/// A server whose tree changes at each read of the state, if the test says so.
struct Restless {
    replica: Arc<Replica>,
    restless: AtomicBool,
    zxid: AtomicU64,
}

impl Restless {
    fn stir(&self) {
        if self.restless.load(Ordering::Relaxed) {
            self.replica.submit(Submission::own(Ask::Request(set("/roles/alice"))));
            self.zxid.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Server for Restless {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.stir();
        self.replica.state()
    }
    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.replica.watches()
    }
    fn submit(&self, submission: Submission) {
        self.replica.submit(submission);
    }
    fn barrier(&self, connection: Arc<Connection>) {
        self.replica.barrier(connection);
    }
    fn serving(&self) -> Serving {
        Serving::Everybody
    }
    fn lease_until_us(&self) -> u64 {
        u64::MAX
    }
    fn connections(&self) -> &Arc<Connections> {
        &self.replica.connections
    }
    fn four_letter_words(&self) -> &dyn FourLetter {
        self.replica.four_letter_words()
    }
}

#[tokio::test]
async fn a_verdict_that_never_holds_is_a_timeout() {
    let replica = Replica::new(options());
    let restless =
        Arc::new(Restless { replica: replica.clone(), restless: AtomicBool::new(false), zxid: AtomicU64::new(0) });
    let server: Arc<dyn Server> = restless.clone();
    let mut policed = Policed::on(replica, Inquirer::of(&server)).await;
    policed.bind("w", "roles", json!({ "kind": "policy", "paths": ["/services/**"] }));
    policed.role("alice", "read /services").await;
    let mut alice = policed.client("alice").await;
    restless.restless.store(true, Ordering::Relaxed);
    alice.ask(3, get("/services/a", true)).await;
    policed.answer_when_asked().await;
    restless.restless.store(false, Ordering::Relaxed);
    assert_eq!(alice.next().await, (3, ErrorCode::OperationTimeout.code()));
    assert_eq!(policed.calls("w"), u64::from(crate::limits::QUESTION_TRIES));
    assert!(restless.zxid.load(Ordering::Relaxed) > 3);
    assert!(policed.replica.watches.lock().is_empty());
}

impl Policed {
    fn bind_scheme(&mut self) {
        self.bind("j", "secret", json!({ "kind": "authenticator", "scheme": "jwt", "grants": [] }));
    }
}

#[tokio::test]
async fn frames_behind_a_login_wait_for_its_verdict() {
    let mut policed = Policed::new().await;
    policed.bind_scheme();
    policed.role("alice", "read /services").await;
    let mut alice = policed.replica.client().await;
    let connection = policed.replica.connection(&alice);
    alice.ask(-4, auth("jwt", "alice:secret")).await;
    alice.ask(3, Request::WhoAmI).await;
    alice.ask(4, get("/services/a", false)).await;
    until("the login waits", || !connection.takes_requests()).await;
    policed.answer_when_asked().await;
    let (header, _) = alice.reply().await;
    assert_eq!((header.xid, header.zxid, header.error), (-4, 0, 0));
    let (header, mut record) = alice.reply().await;
    let identities = record.identities().unwrap();
    assert_eq!(header.xid, 3);
    for id in ["alice", "group-a"] {
        assert!(identities.contains(&Identity::new("jwt", id)), "{identities:?}");
    }
    policed.answer_when_asked().await;
    assert_eq!(alice.next().await, (4, 0));
}

#[tokio::test]
async fn a_failed_login_closes_the_connection() {
    let mut policed = Policed::new().await;
    policed.bind_scheme();
    for credential in ["alice:wrong", "panic:secret", "many:secret"] {
        let mut client = policed.replica.client().await;
        client.ask(-4, auth("jwt", credential)).await;
        policed.answer_when_asked().await;
        assert_eq!(client.next().await, (-4, -115));
        client.closed().await;
    }
    let mut client = policed.replica.client().await;
    client.ask(-4, auth("other", "alice:secret")).await;
    assert_eq!(client.next().await, (-4, -115), "nobody proves that scheme");
}

#[tokio::test]
async fn acls_may_name_identities_that_expire() {
    let mut policed = Policed::new().await;
    policed.bind_scheme();
    let mut alice = policed.replica.client().await;
    let soon = crate::environment::wall_ms() + 200;
    for credential in ["anna:secret", &format!("alice:secret:{soon}")] {
        alice.ask(-4, auth("jwt", credential)).await;
        policed.answer_when_asked().await;
        assert_eq!(alice.next().await, (-4, 0));
    }
    let node = |id: &str| {
        let Request::Create(open) = create(&format!("/of-{}", id.trim_matches('*'))) else { unreachable!() };
        let acl = vec![AclEntry { permissions: acl::ALL, who: Identity::new("jwt", id) }];
        Request::Create(Create { acl: Some(acl), ..open })
    };
    for (id, error) in [("alice", 0), ("b*", 0), ("group*", 0), ("no such", -114)] {
        policed.admin.ask(3, node(id)).await;
        assert_eq!(policed.admin.next().await, (3, error), "{id}");
    }
    assert!(rejection(&mut policed.admin).await.starts_with("j: jwt:no such: an id has no spaces (xid 3)"));
    policed.admin.ask(4, get("/of-alice", false)).await;
    assert_eq!(policed.admin.next().await, (4, NO_AUTH));
    let mut may = async |client: &mut Client, path: &str| {
        client.ask(4, get(path, false)).await;
        policed.answering(client.next()).await.1
    };
    assert_eq!((may(&mut alice, "/of-group").await, may(&mut alice, "/of-b").await), (0, NO_AUTH));
    let began = std::time::Instant::now();
    while may(&mut alice, "/of-alice").await == 0 {
        assert!(began.elapsed().as_secs() < 30, "it never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(crate::environment::wall_ms() >= soon);
    assert_eq!(may(&mut alice, "/of-group").await, 0, "anna has it for good");
    alice.ask(5, Request::WhoAmI).await;
    let (_, mut record) = alice.reply().await;
    let identities = record.identities().unwrap();
    assert!(identities.contains(&Identity::new("jwt", "anna")) && !identities.contains(&Identity::new("jwt", "alice")));
}

#[tokio::test]
async fn authenticators_are_not_asked_while_a_write_is_applied() {
    let mut policed = Policed::new().await;
    policed.bind_scheme();
    let mut alice = policed.replica.client().await;
    alice.ask(-4, auth("jwt", "alice:secret")).await;
    policed.answer_when_asked().await;
    alice.ask(3, Request::AddWatch { path: Some("/".into()), mode: 1 }).await;
    assert_eq!((alice.next().await, alice.next().await), ((-4, 0), (3, 0)));
    let before = policed.calls("j");
    let created = |path: &str, id: &str| {
        let Request::Create(open) = create(path) else { unreachable!() };
        let acl = vec![AclEntry { permissions: acl::ALL, who: Identity::new("jwt", id) }];
        Ask::Request(Request::Create(Create { acl: Some(acl), ..open }))
    };
    for (path, id) in [("/hers", "group*"), ("/his", "b*")] {
        policed.replica.submit(Submission::own(created(path, id)));
    }
    assert_eq!(policed.calls("j"), before + 2, "whether the ids are well formed");
    assert!(policed.replica.connection(&alice).outbox.holds());
    policed.admin.create("/free").await;
    policed.answer();
    assert_eq!(alice.event().await, (1, "/hers".into()));
    assert_eq!(alice.event().await, (1, "/free".into()));
}

impl Policed {
    /// A client that has logged in with the plugin.
    async fn member(&mut self, name: &str) -> Client {
        let mut client = self.replica.client().await;
        client.ask(-4, auth("jwt", &format!("{name}:secret"))).await;
        self.answer_when_asked().await;
        assert_eq!(client.next().await, (-4, 0));
        client
    }

    /// Creates a node whose ACL allows everything to `jwt:ID`, and nothing to others.
    fn node_of(&self, path: &str, id: &str) {
        let Request::Create(open) = create(path) else { unreachable!() };
        let acl = vec![AclEntry { permissions: acl::ALL, who: Identity::new("jwt", id) }];
        let create = Request::Create(Create { acl: Some(acl), ..open });
        self.replica.submit(Submission::own(Ask::Request(create)));
    }
}

#[tokio::test]
async fn a_read_waits_until_authenticators_have_answered_about_the_acl() {
    let mut policed = Policed::without_policies().await;
    policed.bind_scheme();
    let mut alice = policed.member("alice").await;
    policed.node_of("/hers", "group*");
    policed.node_of("/his", "b*");
    let before = policed.calls("j");
    for (request, error) in
        [(get("/his", false), NO_AUTH), (get("/hers", false), 0), (Request::GetAcl { path: Some("/hers".into()) }, 0)]
    {
        alice.ask(3, request).await;
        if policed.calls("j") < before + 4 {
            let connection = policed.replica.connection(&alice);
            until("the read waits", || connection.unanswered() == 1).await;
            policed.answer_when_asked().await;
        }
        assert_eq!(alice.next().await, (3, error));
    }
    // The plugin is asked whether alice and group-a satisfy each of the two ids. The answers are cached.
    assert_eq!(policed.calls("j"), before + 4);
    assert!(!policed.inquirer.run_once());
}

#[tokio::test]
async fn plugins_are_not_asked_about_a_parked_read_while_a_write_is_applied() {
    let mut policed = Policed::without_policies().await;
    policed.bind_scheme();
    let mut alice = policed.member("alice").await;
    policed.node_of("/hers", "group*");
    let connection = policed.replica.connection(&alice);
    let before = policed.calls("j");
    policed.replica.pause();
    alice.ask(3, set("/services/a")).await;
    alice.ask(4, get("/hers", false)).await;
    alice.ask(5, set("/services/a")).await;
    until("the read lets nothing behind it in", || connection.unanswered() == 2).await;
    policed.replica.release();
    assert_eq!(alice.next().await, (3, 0));
    until("the read is the oldest", || connection.unanswered() == 1).await;
    assert_eq!(policed.calls("j"), before);
    policed.answer_when_asked().await;
    assert_eq!(alice.next().await, (4, 0));
    assert_eq!(alice.next().await, (5, 0));
    // Behind a parked read that needs no plugin, more requests are taken.
    policed.replica.pause();
    alice.ask(6, set("/services/a")).await;
    alice.ask(7, get("/services/a", false)).await;
    alice.ask(8, set("/services/a")).await;
    until("three wait", || connection.unanswered() == 3).await;
    policed.replica.release();
    for xid in 6..=8 {
        assert_eq!(alice.next().await, (xid, 0));
    }
}

/// Measures the numbers of docs/performance.md: `cargo test --release --lib -- --ignored --nocapture policies::cost`
#[tokio::test]
#[ignore = "a measurement, which cannot fail"]
async fn cost() {
    let mut policed = Policed::new().await;
    policed.role("alice", "read /services").await;
    let mut alice = policed.client("alice").await;
    alice.ask(3, get("/services/a", false)).await;
    assert_eq!(policed.answering(alice.next()).await, (3, 0));
    let who = policed.replica.connection(&alice).identities();
    let measure = |what: &str, policed: &Policed, path: &str, changing: bool| {
        let connections = &policed.replica.connections;
        let request = get(path, false);
        let best = (0..20).map(|_| {
            let rounds = if changing { 50 } else { 20_000 };
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                if changing {
                    policed.replica.submit(Submission::own(Ask::Request(set("/free"))));
                }
                let state = policed.replica.state();
                let turns = if changing { 1 } else { 100 };
                let began = std::time::Instant::now();
                for _ in 0..turns {
                    let mut inquiry = judgement::Inquiry::default();
                    let (plugins, rules) = (connections.plugins(), connections.rules());
                    let ruled = judgement::rule(plugins, rules, &state, &who, &request, &mut inquiry);
                    assert!(std::hint::black_box(ruled).is_ok_and(|rulings| rulings.iter().all(Option::is_none)));
                }
                spent += began.elapsed() / turns;
            }
            spent.as_nanos() / u128::from(rounds as u64)
        });
        println!("{what}: {} ns", best.min().unwrap());
    };
    policed.admin.create("/free").await;
    measure("a path that matches nothing, one policy", &policed, "/free/of/policies", false);
    measure("a kept verdict, the tree as it was", &policed, "/services/a", false);
    measure("a kept verdict, the tree has changed", &policed, "/services/a", true);
    for name in ["p1", "p2", "p3", "p4", "p5", "p6", "p7"] {
        policed.bind(name, "deny", json!({ "kind": "policy", "paths": ["/other/*/x-*"], "on": ["read"] }));
    }
    measure("a path that matches nothing, eight policies", &policed, "/free/of/policies", false);
}
