//! A member that was down catches up: from the log, or from a checkpoint if the others have deleted the log that it
//! needs.
//!
//! `AWAY_WRITES` sets the least number of writes that the member misses. The goal is 100,000; the default is smaller.

use super::load::{connect, persistent};
use super::{Ensemble, figure};
use crate::process::{wasmkeeper, words};
use std::sync::Arc;
use zookeeper_client::{Client, Error};

/// Sets znodes in turn, with `pipelined` writes under way at once. A write whose connection is lost is repeated.
async fn write(client: &Client, count: usize, bytes: usize, pipelined: usize) {
    let data = Arc::new(vec![b'x'; bytes]);
    for first in (0..count).step_by(pipelined) {
        let mut under_way = Vec::new();
        for n in first..count.min(first + pipelined) {
            let (client, data) = (client.clone(), data.clone());
            under_way.push(tokio::spawn(async move {
                let path = format!("/away/n{}", n % 100);
                while let Err(error) = client.set_data(&path, &data, None).await {
                    assert!(matches!(error, Error::ConnectionLoss), "{error}");
                }
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

/// Waits until all members have applied the same zxid, and checks that they have the same data, stats included.
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
    write(&client, writes, 100, 50).await;
    ensemble.restart(away);
    has_everything(&ensemble).await;
}

/// The other members keep 10,000 log entries for members that are down, and the log after the last image: see
/// `docs/data-dir.md`. So this test writes more entries than that, one by one, and more bytes than an image needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_checkpoint() {
    const ENTRIES: usize = 11_000;
    const BYTES: usize = 8_000;
    let mut ensemble = Ensemble::start(3);
    let client = connect(&ensemble.addresses()).await;
    nodes(&client).await;
    let (leader, away) = (ensemble.leader(), ensemble.a_follower());
    ensemble.members[away].kill();
    write(&client, ENTRIES, BYTES, 1).await;
    // A clean end writes a checkpoint and an image, so that the log before them can be deleted.
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
    // A leader deletes entries only while no member is being sent any. So the log of the member that ended as a
    // follower has certainly been shortened, and that member shall lead.
    let to = (other + 1).to_string();
    let transfer = wasmkeeper(&["cluster", "--server", &ensemble.members[leader].address(), "transfer", &to]).output();
    let transfer = transfer.expect("it runs");
    assert!(transfer.status.success(), "{}", words(&transfer));
    super::wait_until("the other member leads", || ensemble.leaders() == [other]);
    ensemble.restart(away);
    has_everything(&ensemble).await;
    let sent: u64 = ensemble.members.iter().filter_map(|member| figure(member, "zk_snap_count")).sum();
    assert!(sent > 0, "the member caught up from the log alone");
}
