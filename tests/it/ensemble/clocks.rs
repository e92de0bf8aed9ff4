//! Members whose wall clocks are wrong (docs/decisions/0021).

use super::membership::{cluster, done};
use super::{Ensemble, Site, figure, free_ports, wait_until};
use crate::process::{Server, words};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use zookeeper_client::{Acls, CreateMode};

const YEARS_70_S: i64 = 70 * 365 * 86_400;

/// A clock within this time is right. Far more than a busy machine delays a test, far less than 70 years.
const NEAR_MS: i64 = 600_000;

/// Wall time is ahead by the seconds in the file that `AHEAD` names.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) {
        char text[32] = {0};
        int file = open(getenv("AHEAD"), O_RDONLY);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atoll(text);
            close(file);
        }
    }
    return result;
}
"#;

/// The wall clock of a member.
struct Clock(PathBuf);

impl Clock {
    fn set(&self, ahead_s: i64) {
        // The file is replaced at once, so that no reader finds half of it.
        let next = self.0.with_extension("next");
        std::fs::write(&next, ahead_s.to_string()).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }
}

fn build_shim(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(built.success());
    library
}

fn start_with_clocks(folder: &Path, count: usize) -> (Ensemble, Vec<Clock>) {
    let shim = build_shim(folder);
    let clocks: Vec<Clock> = (0..count).map(|at| Clock(folder.join(format!("ahead{at}")))).collect();
    clocks.iter().for_each(|clock| clock.set(0));
    let ports = free_ports(count * 3);
    let sites = ports.chunks_exact(3).zip(&clocks).map(|(ports, clock)| Site {
        host: Ipv4Addr::LOCALHOST.to_string(),
        ports: [ports[0], ports[1], ports[2]],
        through: vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", shim.display()),
            format!("AHEAD={}", clock.0.display()),
        ],
    });
    (Ensemble::start_at(&sites.collect::<Vec<Site>>()), clocks)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Makes a node and returns how far its mtime is ahead of the true time, milliseconds.
fn written_ahead_ms(server: &Server) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = server.connect().await;
        let options = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
        let (stat, _) = client.create("/written", b"", &options).await.unwrap();
        stat.mtime - now_ms()
    })
}

fn is_near(ms: i64) -> bool {
    ms.abs() < NEAR_MS
}

#[test]
fn a_leader_whose_clock_is_70_years_ahead_moves_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ensemble, clocks) = start_with_clocks(folder.path(), 3);
    let leader = ensemble.leader();
    clocks[leader].set(YEARS_70_S);
    let ahead = written_ahead_ms(&ensemble.members[leader]);
    assert!(is_near(ahead), "{ahead} ms");
    let warned = |server: &Server| server.said().contains("s ahead of the members' clocks: correct it");
    wait_until("the leader warns", || warned(&ensemble.members[leader]));
    let offset = figure(&ensemble.members[leader], "zk_clock_offset_ms").unwrap() as i64;
    assert!(is_near(offset - YEARS_70_S * 1000), "{offset} ms");
    let other = ensemble.a_follower();
    assert!(is_near(figure(&ensemble.members[other], "zk_clock_offset_ms").unwrap_or_default() as i64));

    // A new leadership begins with the wrong clock.
    ensemble.members[leader].kill();
    ensemble.restart(leader);
    let id = (leader + 1).to_string();
    done(cluster(&ensemble.members[leader], &["transfer", &id]));
    wait_until("it leads again", || ensemble.leaders() == [leader]);
    let ahead = written_ahead_ms(&ensemble.members[leader]);
    assert!(is_near(ahead), "{ahead} ms");
    assert!(is_near(figure(&ensemble.members[leader], "zk_wall_time_ahead_ms").unwrap() as i64));
}

#[test]
fn an_operator_sets_time_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ensemble, clocks) = start_with_clocks(folder.path(), 3);
    wait_until("there is nothing to set back, and every voter could", || {
        let refused = cluster(&ensemble.members[0], &["clock", "--set-back"]);
        assert!(!refused.status.success());
        words(&refused).contains("not ahead of the members' clocks")
    });
    clocks.iter().for_each(|clock| clock.set(YEARS_70_S));
    wait_until("time follows the majority", || !is_near(written_ahead_ms(&ensemble.members[0])));
    clocks.iter().for_each(|clock| clock.set(0));
    for member in &ensemble.members {
        wait_until("the alarm", || member.said().contains("run `wasmkeeper cluster clock --set-back`"));
        assert!(!is_near(figure(member, "zk_wall_time_ahead_ms").unwrap() as i64));
    }
    assert!(!is_near(written_ahead_ms(&ensemble.members[0])), "time does not go back by itself");
    done(cluster(&ensemble.members[0], &["clock", "--set-back"]));
    for member in &ensemble.members {
        let ahead = written_ahead_ms(member);
        assert!(is_near(ahead), "{ahead} ms");
    }
    let told = done(cluster(&ensemble.members[0], &["clock"]));
    assert!(told.contains("the time of transactions is"), "{told}");
    ensemble.members.iter_mut().for_each(Server::kill);
    ensemble.members.iter_mut().for_each(Server::relaunch);
    ensemble.wait_until_all_serve();
    assert!(is_near(written_ahead_ms(&ensemble.members[0])));
}
