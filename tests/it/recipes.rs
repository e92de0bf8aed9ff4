//! Recipes through the real binary: a stock client uses locks and queues while sessions, servers and leaders end.

use crate::ensemble::Ensemble;
use crate::process::{PATIENCE, Server, connector, wasmkeeper, words};
use bytes::BytesMut;
use serde_json::Value;
use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wasmkeeper::client::codec as wire;
use wasmkeeper::wire::request::{ConnectRequest, create_mode};
use zookeeper_client::{Acls, Client, CreateMode, Error};

fn plugin(server: &Server, arguments: &[&str]) -> (bool, String) {
    let output = wasmkeeper(&["plugin", "--server", &server.address()]).args(arguments).output().expect("it runs");
    (output.status.success(), words(&output))
}

fn deploy(server: &Server, recipe: &str, mount: &str, settings: &str) {
    let source = format!("bundled:{recipe}");
    let bound = ["deploy", &source, "--name", recipe, "--mount", mount, "--settings", settings];
    let (mut well, mut said) = plugin(server, &bound);
    // On a busy machine the leader may change during a deployment, and the command line does not retry.
    for _ in 0..5 {
        if !well {
            std::thread::sleep(Duration::from_secs(1));
            (well, said) = plugin(server, &bound);
        }
    }
    assert!(well, "{said}");
}

fn member() -> zookeeper_client::CreateOptions<'static> {
    CreateMode::EphemeralSequential.with_acls(Acls::anyone_all())
}

fn item() -> zookeeper_client::CreateOptions<'static> {
    CreateMode::PersistentSequential.with_acls(Acls::anyone_all())
}

/// Creates a sequential znode, and tries again if the connection is lost. Returns the path.
async fn create(client: &Client, path: &str, data: &[u8], options: &zookeeper_client::CreateOptions<'_>) -> String {
    persist(|| async { client.create(path, data, options).await.map(|(_, digits)| format!("{path}{digits}")) }).await
}

/// Repeats a request while there is no leader, or no connection to the leader.
async fn persist<T, F: Future<Output = Result<T, Error>>>(mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(Error::ConnectionLoss | Error::Timeout | Error::NoHosts) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(Error::UnexpectedErrorCode(-7)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // If a connection is reset during a write, the client reports an I/O error and not a lost connection.
            Err(error) if error.to_string().contains("(os error ") && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A znode's data as JSON, and its mzxid.
async fn look(client: &Client, path: &str) -> (Value, i64) {
    let (data, stat) = persist(|| client.get_data(path)).await;
    (serde_json::from_slice(&data).unwrap_or(Value::Null), stat.mzxid)
}

async fn state(client: &Client, path: &str) -> String {
    look(client, path).await.0["state"].as_str().unwrap_or_default().to_owned()
}

/// Watches the client's own znode until the lock is held, as the recipe's README describes. Returns the fencing token.
async fn until_held(client: &Client, path: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{path} is not held after a minute");
        let (data, _, changed) = persist(|| client.get_and_watch_data(path)).await;
        let data: Value = serde_json::from_slice(&data).unwrap();
        if data["state"] == "held" {
            return data["token"].as_u64().unwrap();
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), changed.changed()).await;
    }
}

/// Deletes the client's own znode. If the first answer is lost, the znode may already be deleted.
async fn leave(client: &Client, path: &str) {
    let deleted = || async {
        match client.delete(path, None).await {
            Err(Error::NoNode) => Ok(()),
            other => other,
        }
    };
    persist(deleted).await;
}

/// Opens a session that joins a lock and then sends nothing more.
fn lost_member(server: &Server, lock: &str, timeout_ms: i32) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let mut out = BytesMut::new();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms,
        session_id: 0,
        password: Some(vec![0; 16].into()),
        read_only: Some(false),
    };
    wire::connect_request(&mut out, &request);
    wire::create(&mut out, 1, &format!("{lock}/lock-"), b"", create_mode::EPHEMERAL_SEQUENTIAL);
    stream.write_all(&out).unwrap();
    let mut frame = || {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).unwrap();
        bytes::Bytes::from(frame)
    };
    wire::connect_response(frame()).unwrap();
    let (header, mut record) = wire::reply(frame()).unwrap();
    assert_eq!(header.error, 0);
    record.string().unwrap()
}

#[tokio::test]
async fn a_lock_passes_to_the_next_waiter_in_the_zxid_of_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["-D", "zookeeper.tickTime=200"]);
    deploy(&server, "lock", "/locks", "{}");
    let (one, two, three) = (server.connect().await, server.connect().await, server.connect().await);
    // The lock's znode need not exist.
    let first = create(&one, "/locks/db/lock-", b"", &member()).await;
    assert_eq!(
        create(&one, "/locks/db/lock-", b"", &member()).await,
        first,
        "a repeated create returns the existing znode"
    );
    let lost = lost_member(&server, "/locks/db", 600);
    let second = create(&two, "/locks/db/lock-", b"", &member()).await;
    let third = create(&three, "/locks/db/lock-", b"", &member()).await;
    assert_eq!((state(&one, &first).await, state(&two, &second).await), ("held".into(), "waiting".into()));

    // The holder deletes its znode: the lost session's member holds the lock until that session expires, then the next.
    leave(&one, &first).await;
    let token = until_held(&two, &second).await;
    let (_, mzxid) = look(&two, &second).await;
    assert_eq!(mzxid.cast_unsigned(), token);
    assert_eq!(two.check_stat(&lost).await.unwrap(), None);
    let lock = two.check_stat("/locks/db").await.unwrap().unwrap();
    assert_eq!(lock.mzxid, mzxid, "the lock passes in the zxid of its holder's expiry");
    assert_eq!(look(&two, "/locks/db").await.0["holder"], second.rsplit('/').next().unwrap());

    // The holder closes its session.
    drop(two);
    let token_then = until_held(&three, &third).await;
    assert!(token_then > token);
    let error = one.set_data(&third, b"mine", None).await.unwrap_err();
    assert_eq!(error, Error::NoAuth);
    assert_eq!(one.delete(&third, None).await.unwrap_err(), Error::NoAuth);

    // A multi takes effect as a whole or not at all.
    let mut multi = three.new_multi_writer();
    multi.add_delete(&third, None).unwrap();
    multi.add_delete("/nothing", None).unwrap();
    multi.commit().await.unwrap_err();
    assert_eq!(state(&three, &third).await, "held");
    leave(&three, &third).await;
    assert_eq!(look(&three, "/locks/db").await.0, serde_json::json!({}));
}

#[tokio::test]
async fn a_waiters_timer_survives_a_restart_and_fires() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    deploy(&server, "lock", "/locks", "{}");
    let (one, two) = (server.connect().await, server.connect().await);
    let held = create(&one, "/locks/db/lock-", b"", &member()).await;
    let waits = create(&two, "/locks/db/lock-", br#"{"wait-ms":3000}"#, &member()).await;
    assert_eq!(one.list_children("/zookeeper/plugins/lock/timers").await.unwrap().len(), 1);
    server.kill();
    server.restart();
    assert_eq!(state(&one, &held).await, "held");
    let deadline = Instant::now() + PATIENCE;
    while persist(|| two.check_stat(&waits)).await.is_some() {
        assert!(Instant::now() < deadline, "the timer has not fired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(one.list_children("/zookeeper/plugins/lock/timers").await.unwrap().is_empty());
    assert_eq!(state(&one, &held).await, "held");

    // Removing the plugin also removes the state that the plugin keeps.
    create(&two, "/locks/db/lock-", br#"{"wait-ms":60000}"#, &member()).await;
    let (well, said) = plugin(&server, &["remove", "lock"]);
    assert!(well, "{said}");
    assert!(one.list_children("/zookeeper/plugins").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_mount_is_put_in_order_after_changes_without_its_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    deploy(&server, "lock", "/locks", "{}");
    let (one, two) = (server.connect().await, server.connect().await);
    let held = create(&one, "/locks/db/lock-", b"", &member()).await;
    let waits = create(&two, "/locks/db/lock-", b"", &member()).await;
    // Without plugins a session can still end: the recipe then owes its mount the hand-over. Requests at the mount are
    // refused.
    server.terminate();
    server.restart_with(&["--plugins", "off"]);
    persist(|| one.check_stat("/")).await;
    drop(one);
    let deadline = Instant::now() + PATIENCE;
    while persist(|| two.check_stat(&held)).await.is_some() {
        assert!(Instant::now() < deadline, "the session has not ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(state(&two, &waits).await, "waiting");
    assert!(two.check_stat("/zookeeper/plugins/lock/owed").await.unwrap().is_some());
    two.create("/locks/db/lock-", b"", &member()).await.unwrap_err();
    server.terminate();
    server.restart_with(&["--plugins", "on"]);
    until_held(&two, &waits).await;
    let deadline = Instant::now() + PATIENCE;
    while persist(|| two.check_stat("/zookeeper/plugins/lock/owed")).await.is_some() {
        assert!(Instant::now() < deadline, "the mount is not in order");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let next = create(&two, "/locks/other/lock-", b"", &member()).await;
    assert_eq!(state(&two, &next).await, "held");
}

#[tokio::test]
async fn a_queue_hands_each_item_to_one_worker_and_a_lost_workers_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    deploy(&server, "queue", "/queue", "{}");
    let client = server.connect().await;
    create(&client, "/queue/jobs/items/job-", b"one", &item()).await;
    create(&client, "/queue/jobs/items/job-", b"two", &item()).await;
    let (lost, worker) = (server.connect().await, server.connect().await);
    let claim = create(&lost, "/queue/jobs/claims/w-", b"", &member()).await;
    let taken = String::from_utf8(lost.get_data(&claim).await.unwrap().0).unwrap();
    assert!(taken.ends_with("\none"), "{taken}");
    let second = create(&worker, "/queue/jobs/claims/w-", b"", &member()).await;
    assert!(worker.get_data(&second).await.unwrap().0.ends_with(b"\ntwo"));
    leave(&worker, &second).await;
    // There is no item for the next worker until the first worker is gone.
    let third = create(&worker, "/queue/jobs/claims/w-", b"", &member()).await;
    let (data, _, changed) = worker.get_and_watch_data(&third).await.unwrap();
    assert!(data.is_empty());
    drop(lost);
    tokio::time::timeout(PATIENCE, changed.changed()).await.expect("the item comes");
    let again = String::from_utf8(worker.get_data(&third).await.unwrap().0).unwrap();
    assert!(again.ends_with("\none") && again.contains("\"attempt\":2"), "{again}");
    leave(&worker, &third).await;
    assert!(client.list_children("/queue/jobs/items").await.unwrap().is_empty());
}

/// One session holds many locks at many mounts, and another waits for each of them. When the first session ends, one
/// transaction cannot hand over all locks. The server notes the rest as owed, and does it soon.
#[tokio::test]
async fn all_locks_of_an_ended_session_are_handed_over_at_many_mounts() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    const MOUNTS: usize = 12;
    for mount in 0..MOUNTS {
        let (name, mount) = (format!("lock{mount}"), format!("/m{mount}"));
        let (well, said) = plugin(&server, &["deploy", "bundled:lock", "--name", &name, "--mount", &mount]);
        assert!(well, "{said}");
    }
    let (owner, next) = (server.connect().await, server.connect().await);
    let mut waiting = Vec::new();
    for mount in 0..MOUNTS {
        for lock in 0..4 {
            let prefix = format!("/m{mount}/l{lock}/lock-");
            create(&owner, &prefix, b"", &member()).await;
            waiting.push(create(&next, &prefix, b"", &member()).await);
        }
    }
    drop(owner);
    for path in &waiting {
        until_held(&next, path).await;
    }
}

/// Many clients use one lock while leaders are killed again and again. There are never two holders, and tokens only
/// grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_has_one_holder_though_leaders_are_killed() {
    let mut ensemble = Ensemble::start(3);
    let leader = ensemble.leader();
    deploy(&ensemble.members[leader], "lock", "/locks", "{}");
    let holders = Arc::new(AtomicU64::new(0));
    let handed = Arc::new(AtomicU64::new(0));
    let last_token = Arc::new(AtomicU64::new(0));
    let addresses = ensemble.addresses();
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let (addresses, holders, handed, last_token) =
                (addresses.clone(), holders.clone(), handed.clone(), last_token.clone());
            tokio::spawn(async move {
                let client = connector().connect(&addresses).await.unwrap();
                loop {
                    let path = create(&client, "/locks/db/lock-", b"", &member()).await;
                    let token = until_held(&client, &path).await;
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                    let before = last_token.swap(token, Ordering::SeqCst);
                    assert!(token > before, "{token} behind {before}");
                    handed.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    holders.fetch_sub(1, Ordering::SeqCst);
                    leave(&client, &path).await;
                }
            })
        })
        .collect();
    let goes_on = async |handed: &AtomicU64| {
        let (from, deadline) = (handed.load(Ordering::SeqCst), Instant::now() + PATIENCE);
        while handed.load(Ordering::SeqCst) < from + 50 {
            assert!(Instant::now() < deadline, "the lock is stuck");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    for _ in 0..2 {
        goes_on(&handed).await;
        let leader = ensemble.leader();
        ensemble.members[leader].kill();
        goes_on(&handed).await;
        ensemble.restart(leader);
    }
    for client in &clients {
        assert!(!client.is_finished(), "a client gave up");
        client.abort();
    }
}

/// Takes items and acknowledges them, without end. The session survives each change of leaders, so the queue gives none
/// of its items to another worker.
async fn work(addresses: String, done: Arc<Mutex<HashSet<String>>>) {
    let client = connector().connect(&addresses).await.unwrap();
    loop {
        let claim = create(&client, "/queue/jobs/claims/w-", b"", &member()).await;
        let item = loop {
            let (data, _, changed) = persist(|| client.get_and_watch_data(&claim)).await;
            if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
                let head: Value = serde_json::from_slice(&data[..end]).unwrap();
                break head["item"].as_str().unwrap().to_owned();
            }
            let _ = tokio::time::timeout(Duration::from_secs(5), changed.changed()).await;
        };
        leave(&client, &claim).await;
        assert!(done.lock().unwrap().insert(item.clone()), "{item} is acknowledged twice");
    }
}

/// Puts items until told to stop. Returns the items whose put was acknowledged.
async fn produce(addresses: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let client = connector().connect(&addresses).await.unwrap();
    let mut put = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        match client.create("/queue/jobs/items/job-", b"work", &item()).await {
            Ok((_, digits)) => put.push(format!("job-{digits}")),
            // The put may have taken effect, but the item's name is unknown.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    put
}

/// Producers and workers use a queue while leaders are killed again and again. No item is lost, and none is
/// acknowledged twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_loses_no_item_though_leaders_are_killed() {
    let mut ensemble = Ensemble::start(3);
    let leader = ensemble.leader();
    deploy(&ensemble.members[leader], "queue", "/queue", "{}");
    let done = Arc::new(Mutex::new(HashSet::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..2).map(|_| tokio::spawn(produce(ensemble.addresses(), stop.clone()))).collect();
    let workers: Vec<_> = (0..4).map(|_| tokio::spawn(work(ensemble.addresses(), done.clone()))).collect();
    let until = async |what: &str, holds: &dyn Fn(&HashSet<String>) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&done.lock().unwrap()) {
            assert!(!workers.iter().any(|worker| worker.is_finished()), "a worker gave up");
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let goes_on = async || {
        let enough = done.lock().unwrap().len() + 50;
        until("the queue is stuck", &|done| done.len() >= enough).await;
    };
    for _ in 0..2 {
        goes_on().await;
        let leader = ensemble.leader();
        ensemble.members[leader].kill();
        goes_on().await;
        ensemble.restart(leader);
    }
    stop.store(true, Ordering::SeqCst);
    let mut put = Vec::new();
    for producer in producers {
        put.extend(producer.await.expect("a producer ends well"));
    }
    let count = put.iter().collect::<HashSet<_>>().len();
    assert_eq!(count, put.len(), "no name is given out twice");
    until("an item is lost", &|done| put.iter().all(|item| done.contains(item))).await;
    // Items whose put was not answered are also acknowledged in the end.
    let client = ensemble.members[0].connect().await;
    let deadline = Instant::now() + PATIENCE;
    while !persist(|| client.list_children("/queue/jobs/items")).await.is_empty() {
        assert!(Instant::now() < deadline, "an item is left over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(persist(|| client.list_children("/queue/jobs/dead")).await.is_empty());
    workers.iter().for_each(|worker| worker.abort());
}

/// A controller that keeps the number of a folder's children in its child `count`.
#[tokio::test]
async fn a_controller_keeps_the_tree_in_its_desired_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let client = server.connect().await;
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    for node in ["/services", "/services/a", "/services/b"] {
        client.create(node, b"", &persistent).await.unwrap();
    }
    let bound = ["deploy", env!("WASMKEEPER_COUNTS"), "--name", "counts", "--path", "/services/*"];
    let (well, said) = plugin(&server, &bound);
    assert!(well, "{said}");
    // The controller also handles znodes that existed before its deployment.
    becomes(&client, "/services/count", "2").await;
    client.create("/services/c", b"", &persistent).await.unwrap();
    becomes(&client, "/services/count", "3").await;
    client.set_data("/services/count", b"many", None).await.unwrap();
    becomes(&client, "/services/count", "3").await;
    for at in 0..50 {
        client.create(&format!("/services/n{at}"), b"", &persistent).await.unwrap();
    }
    becomes(&client, "/services/count", "53").await;
    server.kill();
    server.restart();
    persist(|| client.delete("/services/c", None)).await;
    becomes(&client, "/services/count", "52").await;
}

async fn becomes(client: &Client, node: &str, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = match persist(|| client.check_stat(node)).await {
            Some(_) => String::from_utf8(persist(|| client.get_data(node)).await.0).unwrap(),
            None => "nothing".into(),
        };
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{node} is {found}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// While the recipe is under quarantine, requests at its mount are refused, and sessions can still end. The server does
/// not call the recipe for those. When the quarantine ends, the recipe does the missed work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipe_does_the_missed_work_after_its_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    deploy(&server, "lock", "/locks", "{}");
    let (one, two, three) = (server.connect().await, server.connect().await, server.connect().await);
    let first = create(&one, "/locks/db/lock-", b"", &member()).await;
    let second = create(&two, "/locks/db/lock-", b"", &member()).await;
    let third = create(&three, "/locks/db/lock-", b"", &member()).await;
    let quarantine = "/zookeeper/plugins/lock/quarantine";
    let reason = br#"{"since_ms":1,"version":1,"reason":"by hand"}"#;
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    three.create(quarantine, &reason[..], &persistent).await.unwrap();
    // The join uses another name, since the quarantined recipe cannot answer that the first join exists.
    let refused = three.create("/locks/db/other-", b"", &member()).await.unwrap_err();
    let (said, _) = three.get_data("/zookeeper/rejection").await.unwrap();
    assert!(String::from_utf8_lossy(&said).contains("under quarantine: by hand"), "{refused}");
    // Two members leave: the holder, and the member next in line.
    drop((one, two));
    let deadline = Instant::now() + PATIENCE;
    for gone in [&first, &second] {
        while three.check_stat(gone).await.unwrap().is_some() {
            assert!(Instant::now() < deadline, "{gone} is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let owed = "/zookeeper/plugins/lock/owed";
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (what, _) = look(&three, owed).await;
    assert_eq!(what["attempts"], 0, "the recipe is not called under quarantine: {what}");
    assert_eq!(state(&three, &third).await, "waiting");
    let (well, said) = plugin(&server, &["release", "lock"]);
    assert!(well, "{said}");
    until_held(&three, &third).await;
    assert!(three.check_stat(owed).await.unwrap().is_none());
}
