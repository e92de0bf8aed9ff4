//! How a plugin that misbehaves, or has much to do, affects other clients. The tests assert that other clients are
//! served. They also print how long that takes, which is meaningful on a quiet machine with a release build:
//!
//!     cargo test --release --test it -- --nocapture --test-threads 1 bystanders
//!
//! The environment variables `MOUNTS` (default 12) and `WRITES` (default 200) set the size. docs/performance.md has
//! figures.

use crate::process::{PATIENCE, Server, wasmkeeper, words};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zookeeper_client::{Acls, Client, CreateMode, Error};

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn succeeds(server: &Server, arguments: &[&str]) {
    let output = wasmkeeper(&["plugin", "--server", &server.address()]).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "wasmkeeper plugin {arguments:?}: {}", words(&output));
}

async fn create(client: &Client, path: &str) -> Result<(), Error> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, b"", &options).await.map(drop)
}

/// Sets `path` again and again, until `end` is set and at least `at_least` sets are done. Returns how long each set
/// took.
async fn sets(client: &Client, path: &str, at_least: usize, end: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    while took.len() < at_least || !end.load(Ordering::Acquire) {
        let begun = Instant::now();
        client.set_data(path, b"100 bytes or so", None).await.expect("other clients' writes succeed");
        took.push(begun.elapsed());
    }
    took
}

fn say(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |part: usize| took[(took.len() * part / 1000).min(took.len() - 1)].as_micros();
    println!("{what:<28} {:>6} sets, p50 {:>6} us, p99 {:>6} us, max {:>6} us", took.len(), at(500), at(990), at(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_guest_misbehaves() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let writes = setting("WRITES", 200);
    let (bystander, attacker) = (server.connect().await, Arc::new(server.connect().await));
    create(&bystander, "/other").await.unwrap();
    say("no guest misbehaves", sets(&bystander, "/other", writes, &AtomicBool::new(true)).await);
    for what in ["spin", "grow", "trap", "chat", "remember", "forge", "huge", "nest", "outside"] {
        let (top, glob, settings) = (format!("/{what}"), format!("/{what}/**"), format!(r#"{{"do":"{what}"}}"#));
        create(&attacker, &top).await.unwrap();
        let component = ["deploy", env!("WASMKEEPER_NAUGHTY"), "--kind", "validator", "--name", what];
        succeeds(&server, &[&component[..], &["--path", &glob, "--settings", &settings]].concat());
        let end = Arc::new(AtomicBool::new(false));
        let attack = tokio::spawn({
            let (attacker, end) = (attacker.clone(), end.clone());
            async move {
                let mut refused = 0;
                for n in 0.. {
                    if end.load(Ordering::Acquire) {
                        return (n, refused);
                    }
                    refused += usize::from(create(&attacker, &format!("{top}/{n}")).await.is_err());
                }
                unreachable!()
            }
        });
        let ended = AtomicBool::new(true);
        say(what, sets(&bystander, "/other", writes, &ended).await);
        end.store(true, Ordering::Release);
        let (asked, refused) = attack.await.unwrap();
        println!("{:<28} {asked:>6} calls meanwhile, {refused} refused", "");
        assert!(asked > 0);
        // A guest may log much, and it may keep state between calls.
        assert!(refused == asked || matches!(what, "chat" | "remember"), "{what}: {refused} of {asked} refused");
        succeeds(&server, &["remove", what]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_session_ends_that_holds_locks_at_many_mounts() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (mounts, writes) = (setting("MOUNTS", 12), setting("WRITES", 200));
    for mount in 0..mounts {
        let (name, mount) = (format!("lock{mount}"), format!("/m{mount}"));
        succeeds(&server, &["deploy", "bundled:lock", "--name", &name, "--mount", &mount]);
    }
    let (bystander, owner, next) = (server.connect().await, server.connect().await, server.connect().await);
    create(&bystander, "/other").await.unwrap();
    let member = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let mut waiting = Vec::new();
    for mount in 0..mounts {
        let prefix = format!("/m{mount}/l/lock-");
        owner.create(&prefix, b"", &member).await.unwrap();
        let (_, digits) = next.create(&prefix, b"", &member).await.unwrap();
        waiting.push(format!("{prefix}{digits}"));
    }
    say("no session ends", sets(&bystander, "/other", writes, &AtomicBool::new(true)).await);

    let end = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let end = end.clone();
        // Only sets during the hand-over count.
        async move { sets(&bystander, "/other", 1, &end).await }
    });
    let begun = Instant::now();
    drop(owner);
    for path in &waiting {
        loop {
            let (data, _, changed) = next.get_and_watch_data(path).await.unwrap();
            if String::from_utf8_lossy(&data).contains("\"held\"") {
                break;
            }
            tokio::time::timeout(PATIENCE, changed.changed()).await.expect("every lock is handed over");
        }
    }
    let took = begun.elapsed();
    end.store(true, Ordering::Release);
    say(&format!("{mounts} locks are handed over"), writing.await.unwrap());
    println!("{:<28} the last of them after {took:?}", "");
}
