//! Links between members are cut while clients write. The clients reach every member all the time.

use super::load::Load;
use super::network::Network;
use super::wait_until;
use crate::process::connector;
use zookeeper_client::Error;

const CLIENTS: usize = 6;
const SOME: u64 = 50;

/// The other members elect a leader. The old leader stops answering, and follows once its links are healed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_cut_off() {
    let Some(network) = Network::new(3) else { return };
    let mut ensemble = network.start();
    let load = Load::start(&ensemble, CLIENTS).await;
    load.goes_on(SOME).await;
    let old = ensemble.leader();
    network.isolate(old);
    let others: Vec<usize> = (0..3).filter(|&at| at != old).collect();
    let new = ensemble.leader_among(&others);
    assert_ne!(new, old);
    load.goes_on(SOME).await;
    // The old leader acknowledges no write. It cannot know the newest state either, so this test asks it for no `sync`.
    let stranded = connector().with_fail_eagerly().connect(&ensemble.members[old].address()).await;
    if let Ok(client) = stranded {
        let written = client.set_data("/load", b"x", None).await;
        assert!(
            matches!(written, Err(error) if !matches!(error, Error::NoNode)),
            "a member cut off acknowledged a write"
        );
    }
    network.heal();
    ensemble.wait_until_all_serve();
    load.goes_on(SOME).await;
    load.end().await.is_there(&ensemble).await;
}

/// Two members do not reach each other, and a third reaches both. One of the three leads, and it is not deposed again
/// and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_and_one_follower_do_not_reach_each_other() {
    let Some(network) = Network::new(3) else { return };
    let mut ensemble = network.start();
    let load = Load::start(&ensemble, CLIENTS).await;
    load.goes_on(SOME).await;
    let (leader, follower) = (ensemble.leader(), ensemble.a_follower());
    network.cut(leader, follower);
    load.goes_on(4 * SOME).await;
    network.heal();
    ensemble.wait_until_all_serve();
    load.goes_on(SOME).await;
    load.end().await.is_there(&ensemble).await;
}

/// The leader's packets arrive nowhere, but it receives everything. It must step down, or writes would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_packet_of_the_leader_arrives() {
    let Some(network) = Network::new(3) else { return };
    let mut ensemble = network.start();
    let load = Load::start(&ensemble, CLIENTS).await;
    load.goes_on(SOME).await;
    let leader = ensemble.leader();
    let others: Vec<usize> = (0..3).filter(|&at| at != leader).collect();
    others.iter().for_each(|&other| network.cut_one_way(leader, other));
    ensemble.leader_among(&others);
    load.goes_on(SOME).await;
    network.heal();
    ensemble.wait_until_all_serve();
    load.end().await.is_there(&ensemble).await;
}

/// No member reaches another, so no write is acknowledged. Once the links are healed, writes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_is_cut_off() {
    let Some(network) = Network::new(3) else { return };
    let mut ensemble = network.start();
    let load = Load::start(&ensemble, CLIENTS).await;
    load.goes_on(SOME).await;
    (0..3).for_each(|member| network.isolate(member));
    wait_until("no member leads", || ensemble.leaders().is_empty());
    network.heal();
    ensemble.wait_until_all_serve();
    load.goes_on(SOME).await;
    load.end().await.is_there(&ensemble).await;
}
