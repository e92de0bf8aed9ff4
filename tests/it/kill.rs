//! kill -9 of the real process under load: no acknowledged write is lost, and no sequence number repeats.
//!
//! `KILL_ROUNDS` sets the number of rounds (`cargo xtask kill --rounds 200`). The default is 4.

use crate::process::{Server, connector};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use zookeeper_client::{Acls, CreateMode};

const WORKERS: usize = 8;

#[test]
fn kill_under_load_loses_nothing_acknowledged() {
    let rounds: u64 = std::env::var("KILL_ROUNDS").map_or(4, |rounds| rounds.parse().expect("KILL_ROUNDS is a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let mut acknowledged = Acknowledged::default();
    runtime.block_on(prepare(&server.address()));
    for round in 0..rounds {
        // Each round kills at a different moment. The moments are the same in every run.
        let load_ms = 40 + round * 37 % 160;
        // In every third round the kill hits a server that was asked to end, often while it writes its last checkpoint.
        let ending = (round % 3 == 2).then(|| Duration::from_millis(round * 13 % 80));
        runtime.block_on(load_and_kill(&mut server, Duration::from_millis(load_ms), ending, &mut acknowledged));
        server.restart();
        runtime.block_on(check(&server.address(), round, &acknowledged));
    }
    let sets: u64 = acknowledged.registers.iter().sum();
    let created = acknowledged.sequential.len() as u64;
    println!("{rounds} rounds: {created} creates and {sets} sets were acknowledged, and all of them are there");
    assert!(created > rounds, "the load wrote something");
}

#[derive(Default)]
struct Acknowledged {
    /// The largest value acknowledged for each worker's register.
    registers: [u64; WORKERS],
    /// Paths of all sequential znodes acknowledged so far, in all rounds.
    sequential: HashSet<String>,
}

fn options() -> zookeeper_client::CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

async fn prepare(address: &str) {
    let client = connector().connect(address).await.expect("connects");
    client.create("/kill", b"", &options()).await.expect("creates");
    client.create("/kill/seq", b"", &options()).await.expect("creates");
    for worker in 0..WORKERS {
        client.create(&format!("/kill/r{worker}"), b"0", &options()).await.expect("creates");
    }
}

async fn load_and_kill(server: &mut Server, load: Duration, ending: Option<Duration>, acknowledged: &mut Acknowledged) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (stop, address, start) = (stop.clone(), server.address(), acknowledged.registers[worker]);
        workers.push(tokio::spawn(async move {
            let register = AtomicU64::new(start);
            let mut paths = Vec::new();
            // An error means that the server has ended. The outcome of the failed request is unknown and not counted.
            let _: Result<(), zookeeper_client::Error> = async {
                // The timeout is short. With a long one the client would hold a request back until a server is there
                // again.
                let client = connector().with_session_timeout(Duration::from_secs(4)).connect(&address).await?;
                let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
                while !stop.load(Ordering::Relaxed) {
                    let next = register.load(Ordering::Relaxed) + 1;
                    let (set, created) = tokio::join!(
                        client.set_data(&format!("/kill/r{worker}"), next.to_string().as_bytes(), None),
                        client.create("/kill/seq/n-", b"x", &sequential),
                    );
                    if set.is_ok() {
                        register.store(next, Ordering::Relaxed);
                    }
                    set?;
                    paths.push(format!("/kill/seq/n-{}", created?.1.to_string().trim_start_matches("n-")));
                }
                Ok(())
            }
            .await;
            (worker, register.into_inner(), paths)
        }));
    }
    tokio::time::sleep(load).await;
    if let Some(ending) = ending {
        server.ask_to_end();
        tokio::time::sleep(ending).await;
    }
    server.kill();
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        let (worker, register, paths) = worker.await.expect("a worker ends");
        acknowledged.registers[worker] = acknowledged.registers[worker].max(register);
        for path in paths {
            assert!(acknowledged.sequential.insert(path.clone()), "{path} was given out twice");
        }
    }
}

async fn check(address: &str, round: u64, acknowledged: &Acknowledged) {
    let client = connector().connect(address).await.expect("connects");
    for (worker, &least) in acknowledged.registers.iter().enumerate() {
        let (data, _) = client.get_data(&format!("/kill/r{worker}")).await.expect("reads");
        let value: u64 = String::from_utf8(data).unwrap().parse().unwrap();
        assert!(value >= least, "round {round}: register {worker} is {value}, {least} had been acknowledged");
    }
    let names: HashSet<String> = client.list_children("/kill/seq").await.expect("lists").into_iter().collect();
    for path in &acknowledged.sequential {
        let name = path.rsplit('/').next().unwrap();
        assert!(names.contains(name), "round {round}: {path} had been acknowledged and is gone");
    }
}
