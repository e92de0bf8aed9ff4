//! A member that was away comes back: from the log, and, when the others have let that go, from a checkpoint.
//!
//! `AWAY_WRITES` sets how many writes it misses at least (issue: 100,000); a plain test run has fewer.

use super::load::{connect, persistent};
use super::{Ensemble, figure};
use std::sync::Arc;
use zookeeper_client::Client;

/// Writes each client has under way.
const PIPELINED: usize = 50;

async fn write(client: &Client, count: usize, bytes: usize) {
    let data = Arc::new(vec![b'x'; bytes]);
    for first in (0..count).step_by(PIPELINED) {
        let mut under_way = Vec::new();
        for n in first..count.min(first + PIPELINED) {
            let (client, data) = (client.clone(), data.clone());
            under_way.push(tokio::spawn(async move {
                client.set_data(&format!("/away/n{}", n % 100), &data, None).await.expect("writes");
            }));
        }
        for write in under_way {
            write.await.expect("writes");
        }
    }
}

async fn nodes(client: &Client) {
    client.create("/away", b"", &persistent()).await.unwrap();
    for n in 0..100 {
        client.create(&format!("/away/n{n}"), b"", &persistent()).await.unwrap();
    }
}

/// The other members serve, and know by themselves what the one that comes back must have.
async fn has_everything(ensemble: &Ensemble) {
    ensemble.wait_until_level();
    let mut trees = Vec::new();
    for member in &ensemble.members {
        let reader = connect(&member.address()).await;
        reader.sync("/away").await.unwrap();
        let mut tree = Vec::new();
        for n in 0..100 {
            let (data, stat) = reader.get_data(&format!("/away/n{n}")).await.unwrap();
            tree.push((data.len(), stat.mzxid, stat.version));
        }
        trees.push(tree);
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_log() {
    let writes = std::env::var("AWAY_WRITES").map_or(2_000, |writes| writes.parse().expect("AWAY_WRITES is a number"));
    let mut ensemble = Ensemble::start(3);
    let client = connect(&ensemble.addresses()).await;
    nodes(&client).await;
    let away = ensemble.a_follower();
    ensemble.members[away].kill();
    write(&client, writes, 100).await;
    ensemble.restart(away);
    has_everything(&ensemble).await;
}

/// So many bytes that the log behind the last image is let go: see `docs/data-dir.md`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_checkpoint() {
    const BYTES: usize = 900_000;
    let mut ensemble = Ensemble::start(3);
    let client = connect(&ensemble.addresses()).await;
    nodes(&client).await;
    let (leader, away) = (ensemble.leader(), ensemble.a_follower());
    ensemble.members[away].kill();
    for _ in 0..4 {
        write(&client, (80 << 20) / BYTES, BYTES).await;
    }
    // A checkpoint and an image of what was written, so that the log can go: a clean end writes them.
    let other = 3 - leader - away;
    assert!(ensemble.members[other].terminate());
    ensemble.members[other].relaunch();
    super::wait_until("two members serve", || {
        ensemble.leaders().len() == 1 && super::said(&ensemble.members[other]).is_some()
    });
    assert!(ensemble.members[leader].terminate());
    ensemble.members[leader].relaunch();
    super::wait_until("two members serve", || {
        ensemble.leaders().len() == 1 && super::said(&ensemble.members[leader]).is_some()
    });
    ensemble.restart(away);
    has_everything(&ensemble).await;
    let sent: u64 = ensemble.members.iter().filter_map(|member| figure(member, "zk_snap_count")).sum();
    assert!(sent > 0, "it came back by the log alone");
}
