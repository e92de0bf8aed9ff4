//! Members fail while clients write: no acknowledged write is lost, and sessions survive.
//!
//! `FAILOVER_ROUNDS` sets how often each failure happens. The default is once or twice.

use super::Ensemble;
use super::load::Load;
use crate::process::DEAF_TO_FILE_SIZES;
use rustix::process::{Resource, Signal};
use std::time::Duration;

/// The number of clients, and the number of writes that must be acknowledged before a test goes on.
const CLIENTS: usize = 6;
const SOME: u64 = 50;

/// How long a member is stopped: longer than an election, shorter than a session's timeout.
const PAUSE: Duration = Duration::from_secs(3);

fn rounds(default: usize) -> usize {
    std::env::var("FAILOVER_ROUNDS").map_or(default, |rounds| rounds.parse().expect("FAILOVER_ROUNDS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_under_load() {
    let mut ensemble = Ensemble::start(3);
    let load = Load::start(&ensemble, CLIENTS).await;
    for _ in 0..rounds(2) {
        load.goes_on(SOME).await;
        let leader = ensemble.leader();
        ensemble.members[leader].kill();
        load.goes_on(SOME).await;
        ensemble.restart(leader);
    }
    load.end().await.is_there(&ensemble).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_killed_under_load() {
    let mut ensemble = Ensemble::start(3);
    let load = Load::start(&ensemble, CLIENTS).await;
    for _ in 0..rounds(1) {
        load.goes_on(SOME).await;
        let follower = ensemble.a_follower();
        ensemble.members[follower].kill();
        load.goes_on(SOME).await;
        ensemble.restart(follower);
    }
    load.end().await.is_there(&ensemble).await;
}

/// All members are killed at once. Acknowledged writes are on a majority of disks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_are_killed_under_load() {
    let mut ensemble = Ensemble::start(3);
    let load = Load::start(&ensemble, CLIENTS).await;
    load.goes_on(SOME).await;
    for member in &mut ensemble.members {
        member.kill();
    }
    for member in &mut ensemble.members {
        member.relaunch();
    }
    ensemble.wait_until_all_serve();
    load.goes_on(SOME).await;
    load.end().await.is_there(&ensemble).await;
}

/// A leader that is stopped is deposed, and becomes a follower once it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_stopped_for_a_while() {
    let mut ensemble = Ensemble::start(3);
    let load = Load::start(&ensemble, CLIENTS).await;
    for _ in 0..rounds(1) {
        load.goes_on(SOME).await;
        let leader = ensemble.leader();
        ensemble.members[leader].signal(Signal::STOP);
        load.goes_on(SOME).await;
        let others: Vec<usize> = (0..3).filter(|&at| at != leader).collect();
        assert!(others.contains(&ensemble.leader_among(&others)));
        ensemble.members[leader].signal(Signal::CONT);
        ensemble.wait_until_all_serve();
        load.goes_on(SOME).await;
    }
    load.end().await.is_there(&ensemble).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_stopped_for_a_while() {
    let mut ensemble = Ensemble::start(3);
    let load = Load::start(&ensemble, CLIENTS).await;
    for _ in 0..rounds(1) {
        load.goes_on(SOME).await;
        let follower = ensemble.a_follower();
        ensemble.members[follower].signal(Signal::STOP);
        load.goes_on(SOME).await;
        tokio::time::sleep(PAUSE).await;
        ensemble.members[follower].signal(Signal::CONT);
        ensemble.wait_until_all_serve();
        // A test of `consensus` checks that the follower deposes no leader. Here a busy machine can cause an election
        // too.
        load.goes_on(SOME).await;
    }
    load.end().await.is_there(&ensemble).await;
}

/// The members restart one after the other, the leader included, as in an upgrade.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_costs_no_session() {
    let mut ensemble = Ensemble::start(3);
    let load = Load::start(&ensemble, CLIENTS).await;
    for _ in 0..rounds(1) {
        for member in 0..3 {
            load.goes_on(SOME).await;
            assert!(ensemble.members[member].terminate(), "{}", ensemble.members[member].said());
            ensemble.restart(member);
        }
    }
    load.goes_on(SOME).await;
    load.end().await.is_there(&ensemble).await;
}

/// A member that cannot write its log ends with a sentence. The others go on, and the member comes back when its disk
/// has room.
async fn disk_full(whose: impl Fn(&mut Ensemble) -> usize) {
    let mut ensemble = Ensemble::start_through(3, &DEAF_TO_FILE_SIZES);
    let load = Load::start(&ensemble, CLIENTS).await;
    load.goes_on(SOME).await;
    let full = whose(&mut ensemble);
    // The log is already longer than this.
    ensemble.members[full].limit(Resource::Fsize, Some(4096));
    load.goes_on(SOME).await;
    assert!(!ensemble.members[full].wait_for_its_end(), "the server exits with a failure");
    let words = ensemble.members[full].said();
    assert!(words.lines().any(|line| line.starts_with("wasmkeeper: ")), "the server ended without a sentence: {words}");
    assert!(!words.contains("panicked"), "{words}");
    load.goes_on(SOME).await;
    ensemble.restart(full);
    load.goes_on(SOME).await;
    load.end().await.is_there(&ensemble).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_a_follower_is_full() {
    disk_full(Ensemble::a_follower).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_the_leader_is_full() {
    disk_full(Ensemble::leader).await;
}
