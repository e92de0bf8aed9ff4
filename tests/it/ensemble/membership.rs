//! Changes of the members: founding, `wasmkeeper cluster`, wiped disks, and recovery after the majority is lost.

use super::{configuration_file, free_ports, wait_until};
use crate::process::{Server, wasmkeeper, words};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::process::Output;

/// The setting that makes `super:test` the superuser.
const SUPERUSER: &str = "zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// Servers that can be started one by one, by number.
pub(super) struct Fleet {
    folder: tempfile::TempDir,
    /// The ports for clients, for peers, and for elections.
    pub(super) ports: Vec<[u16; 3]>,
}

impl Fleet {
    pub(super) fn of(count: usize) -> Fleet {
        let ports = free_ports(count * 3);
        let ports = ports.chunks_exact(3).map(|ports| [ports[0], ports[1], ports[2]]).collect();
        Fleet { folder: tempfile::tempdir().unwrap(), ports }
    }

    /// The server's line in the configuration: `server.N=...`.
    pub(super) fn line(&self, id: usize) -> String {
        let [client, peer, election] = self.ports[id - 1];
        let host = Ipv4Addr::LOCALHOST;
        format!("server.{id}={host}:{peer}:{election}:participant;{host}:{client}")
    }

    fn data_dir(&self, id: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("{id}/data"))
    }

    /// Starts the server with a file that lists these servers, and does not wait until it serves.
    pub(super) fn start(&self, id: usize, listed: &[usize], extra: &[&str]) -> Server {
        let lines: Vec<String> = listed.iter().map(|id| self.line(*id)).collect();
        self.start_with(id, &lines, extra)
    }

    /// Like `start`, with these `server.N` lines.
    fn start_with(&self, id: usize, lines: &[String], extra: &[&str]) -> Server {
        let data_dir = self.data_dir(id);
        std::fs::create_dir_all(&data_dir).unwrap();
        std::fs::write(data_dir.join("myid"), format!("{id}\n")).unwrap();
        self.hand_secret_to(id);
        let file = configuration_file(self.folder.path(), id as u32);
        let text =
            format!("tickTime=1000\nreconfigEnabled=true\ndataDir={}\n{}\n", data_dir.display(), lines.join("\n"));
        std::fs::write(&file, text).unwrap();
        let mut arguments =
            vec!["--config".to_owned(), file.display().to_string(), "-D".to_owned(), SUPERUSER.to_owned()];
        arguments.extend(extra.iter().map(|argument| argument.to_string()));
        Server::launch(&data_dir, (&Ipv4Addr::LOCALHOST.to_string(), self.ports[id - 1][0]), arguments, &[])
    }

    /// A server that founds an ensemble alone makes a secret, which those that join need.
    fn hand_secret_to(&self, id: usize) {
        let file = |id: usize| self.data_dir(id).join("peer-secret");
        if let Some(other) = (1..=self.ports.len()).find(|other| *other != id && file(*other).exists()) {
            std::fs::copy(file(other), file(id)).unwrap();
        }
    }

    fn wipe(&self, id: usize) {
        std::fs::remove_dir_all(self.data_dir(id)).unwrap();
    }
}

pub(super) fn cluster(server: &Server, arguments: &[&str]) -> Output {
    let mut command = wasmkeeper(&["cluster", "--server", &server.address(), "--auth", "digest:super:test"]);
    command.args(arguments).output().unwrap()
}

#[track_caller]
pub(super) fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The output of `cluster status`. `None` if the server does not answer.
pub(super) fn status(server: &Server) -> Option<Value> {
    let output = cluster(server, &["--json", "status"]);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

/// The members' numbers, once one member leads, the others follow, and the leader has heard from each. The result does
/// not name the leader, since on a busy machine the leader may change at any time.
fn members(server: &Server) -> Vec<u64> {
    let mut ids = Vec::new();
    wait_until("all members are heard of", || {
        let Some(status) = status(server) else { return false };
        let members = status["members"].as_array().unwrap();
        ids = members.iter().map(|member| member["id"].as_u64().unwrap()).collect();
        let count = |state: &str| members.iter().filter(|member| member["state"] == state).count();
        let all_heard = members.iter().all(|member| !member["zxid"].is_null());
        count("leader") == 1 && count("follower") == members.len() - 1 && all_heard
    });
    ids
}

fn write(server: &Server, path: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = server.connect().await;
        client.create(path, b"", &super::load::persistent()).await.unwrap();
    });
}

fn has(server: &Server, path: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = server.connect().await;
        client.sync("/").await.unwrap();
        client.check_stat(path).await.unwrap().is_some()
    })
}

/// A server that starts alone makes the ensemble's secret. A server without the secret cannot join, both say so, and
/// the token that `cluster token` prints is the way in.
#[test]
fn who_joins_proves_the_secret() {
    let fleet = Fleet::of(2);
    let one = fleet.start(1, &[1], &["-D", "zookeeper.standaloneEnabled=false"]);
    wait_until("the server serves", || status(&one).is_some());
    let token = |id: usize, options: &[&str]| {
        let data_dir = fleet.data_dir(id);
        let mut command = wasmkeeper(&["cluster", "token", "--data-dir", data_dir.to_str().unwrap()]);
        let output = command.args(options).output().unwrap();
        (done(output), std::fs::read_to_string(data_dir.join("peer-secret")).unwrap())
    };
    let (printed, kept) = token(1, &[]);
    assert_eq!((printed.len(), &printed), (65, &kept));
    let mut two = fleet.start(2, &[1, 2], &[]);
    two.kill();
    std::fs::remove_file(fleet.data_dir(2).join("peer-secret")).unwrap();
    two.relaunch();
    let says = |server: &Server, words: &str| wait_until("a warning", || server.said().contains(words));
    says(&two, "member 1 has the ensemble's secret and member 2 has none");
    says(&one, "member 1 has the ensemble's secret and member 2 has none");
    let refused = cluster(&one, &["add", &fleet.line(2), "--wait", "1"]);
    assert!(!refused.status.success(), "{}", words(&refused));
    two.kill();
    let (other, _) = token(2, &["--new"]);
    assert_ne!(other, kept, "a new one is made where there is none");
    two.relaunch();
    says(&two, "member 2 and member 1 have different secrets");
    two.kill();
    std::fs::write(fleet.data_dir(2).join("peer-secret"), printed).unwrap();
    two.relaunch();
    done(cluster(&one, &["add", &fleet.line(2)]));
    assert_eq!(members(&one), [1, 2]);
}

/// As in the old example of ZooKeeper's official image, each file says `0.0.0.0` of its own server. The members know
/// each other by the lines of the others. Where these differ, nobody founds.
#[test]
fn members_that_name_themselves_0_0_0_0() {
    let fleet = Fleet::of(3);
    // For some seconds other machines reach the members' ports, so the members have a secret.
    std::fs::create_dir_all(fleet.data_dir(2)).unwrap();
    std::fs::write(fleet.data_dir(2).join("peer-secret"), "5e".repeat(32)).unwrap();
    let own = |id: usize| fleet.line(id).replacen("127.0.0.1", "0.0.0.0", 1);
    let lines = |of: usize| (1..=3).map(|id| if id == of { own(id) } else { fleet.line(id) }).collect::<Vec<String>>();
    let two = fleet.start_with(2, &lines(2), &[]);
    let mut differing = lines(3);
    differing[0] = fleet.line(1).replacen("127.0.0.1", "localhost", 1);
    let mut three = fleet.start_with(3, &differing, &[]);
    let one = fleet.start_with(1, &lines(1), &[]);
    for server in [&one, &two, &three] {
        for words in ["where server 1 is", "server 2 has `server.1=127.0.0.1:", "server 3 has `server.1=localhost:"] {
            wait_until("the lines are named", || server.said().contains(words));
        }
    }
    three.kill();
    let three = fleet.start_with(3, &lines(3), &[]);
    assert_eq!(members(&one), [1, 2, 3]);
    write(&two, "/a");
    for server in [&one, &two, &three] {
        wait_until("the server serves", || status(server).is_some());
        assert!(has(server, "/a"));
        let listed = done(cluster(server, &["members"]));
        assert!(listed.starts_with(&[fleet.line(1), fleet.line(2), fleet.line(3)].join("\n")), "{listed}");
    }
    let refused = cluster(&one, &["add", &own(2)]);
    assert!(words(&refused).contains("means another machine to each server"), "{}", words(&refused));
}

/// A standalone server keeps its data while two others join it, one after the other. Then the leader is removed, and
/// joins again as a new member.
#[test]
fn one_server_becomes_three() {
    let fleet = Fleet::of(3);
    let mut one = fleet.start(1, &[], &[]);
    wait_until("the server serves", || status(&one).is_some());
    write(&one, "/from-alone");
    let refused = cluster(&one, &["add", &fleet.line(2)]);
    assert!(words(&refused).contains("give its file a `server.N` line"), "{}", words(&refused));
    assert!(one.terminate());
    let one = fleet.start(1, &[1], &[]);
    let two = fleet.start(2, &[1, 2], &[]);
    wait_until("the server serves", || status(&one).is_some());
    done(cluster(&one, &["add", &fleet.line(2)]));
    let mut three = fleet.start(3, &[1, 2, 3], &[]);
    wait_until("the server serves", || status(&two).is_some());
    done(cluster(&two, &["add", &fleet.line(3)]));
    assert_eq!(members(&three), [1, 2, 3]);
    assert!(has(&three, "/from-alone"));
    let listed = done(cluster(&three, &["members"]));
    assert!(
        listed.starts_with(&format!("{}\n{}\n{}\nversion=", fleet.line(1), fleet.line(2), fleet.line(3))),
        "{listed}"
    );

    done(cluster(&one, &["transfer", "3"]));
    wait_until("it has been handed over", || done(cluster(&one, &["status"])).contains("server 3 leads"));
    done(cluster(&one, &["remove", "3"]));
    write(&one, "/without-three");
    three.kill();
    fleet.wipe(3);
    let three = fleet.start(3, &[1, 2, 3], &[]);
    done(cluster(&two, &["add", &fleet.line(3)]));
    wait_until("the server serves", || status(&three).is_some());
    assert!(has(&three, "/without-three"));
}

/// Every voter may become leader. So a voter must be able to run the plugins in force.
#[test]
fn a_server_that_does_not_run_the_plugins_gets_no_vote() {
    let fleet = Fleet::of(2);
    let one = fleet.start(1, &[1], &[]);
    wait_until("the server serves", || status(&one).is_some());
    let plugin = |server: &Server, arguments: &[&str]| {
        let mut command = wasmkeeper(&["plugin", "--server", &server.address(), "--auth", "digest:super:test"]);
        done(command.args(arguments).output().unwrap())
    };
    plugin(&one, &["deploy", "bundled:guard", "--name", "names", "--path", "/services/**"]);
    let mut two = fleet.start(2, &[1, 2], &["--plugins", "off"]);
    let refused = cluster(&one, &["add", &fleet.line(2), "--wait", "0"]);
    let said = words(&refused);
    assert!(said.contains("server 2 does not run every plugin in force: it runs with --plugins off"), "{said}");
    assert_eq!(members(&one), [1]);
    two.kill();
    let two = fleet.start(2, &[1, 2], &[]);
    done(cluster(&one, &["add", &fleet.line(2)]));
    wait_until("the server serves", || status(&two).is_some());
    let said = plugin(&two, &["status", "names"]);
    assert_eq!(said.lines().filter(|line| line.contains(" active ")).count(), 2, "{said}");
}

/// No server votes before every listed server has connected, except for servers that the operator gives up.
#[test]
fn an_ensemble_is_founded_by_all_of_its_servers() {
    let fleet = Fleet::of(3);
    let all = [1, 2, 3];
    let (mut one, mut two) = (fleet.start(1, &all, &[]), fleet.start(2, &all, &[]));
    wait_until("the server names the servers that it waits for", || one.said().contains("no answer of server 3"));
    wait_until("the server names the servers that it waits for", || two.said().contains("no answer of server 3"));
    assert!(status(&one).is_none() && status(&two).is_none());
    one.kill();
    two.kill();
    let given_up = ["--found-without", "3"];
    let (one, two) = (fleet.start(1, &all, &given_up), fleet.start(2, &all, &given_up));
    wait_until("the server serves", || status(&two).is_some());
    assert_eq!(members(&one), [1, 2]);
    // A server that was given up is not a member when it starts.
    let three = fleet.start(3, &all, &[]);
    wait_until("it says why it waits", || three.said().contains("in which there is no server 3"));
}

/// A server with a wiped disk never votes. Its message tells the operator what to do.
#[test]
fn a_wiped_member_is_refused_until_it_is_removed_and_added() {
    let fleet = Fleet::of(3);
    let all = [1, 2, 3];
    let mut servers: Vec<Server> = all.iter().map(|id| fleet.start(*id, &all, &[])).collect();
    wait_until("the server serves", || status(&servers[0]).is_some());
    write(&servers[0], "/before");
    servers[2].kill();
    fleet.wipe(3);
    servers[2] = fleet.start(3, &all, &[]);
    wait_until("it says why it takes no part", || {
        let said = servers[2].said();
        said.contains("knows server 3 with another data directory") && said.contains("wasmkeeper cluster remove 3")
    });
    assert!(status(&servers[2]).is_none());
    done(cluster(&servers[0], &["remove", "3"]));
    done(cluster(&servers[0], &["add", &fleet.line(3)]));
    wait_until("the server serves", || status(&servers[2]).is_some());
    assert!(has(&servers[2], "/before"));
}

/// The majority is lost for good. On the operator's command one server goes on alone, and refuses the others.
#[test]
fn one_server_goes_on_without_the_majority_on_the_operators_command() {
    let fleet = Fleet::of(3);
    let all = [1, 2, 3];
    let mut servers: Vec<Server> = all.iter().map(|id| fleet.start(*id, &all, &[])).collect();
    wait_until("the server serves", || status(&servers[0]).is_some());
    write(&servers[0], "/kept");
    assert!(has(&servers[2], "/kept"));
    servers.iter_mut().for_each(Server::kill);
    let data_dir = fleet.data_dir(3).display().to_string();
    let recover = |extra: &[&str]| {
        wasmkeeper(&["cluster", "recover", "--data-dir", &data_dir, "--keep", "3"]).args(extra).output().unwrap()
    };
    let asked = recover(&[]);
    assert!(!asked.status.success());
    for what in ["Lost: every write", "members 1, 2 are members no more", "nothing was changed"] {
        assert!(words(&asked).contains(what), "{}", words(&asked));
    }
    done(recover(&["--yes-i-know-what-may-be-lost"]));
    servers[2] = fleet.start(3, &all, &[]);
    wait_until("the server serves", || status(&servers[2]).is_some());
    assert!(has(&servers[2], "/kept"));
    write(&servers[2], "/alone");
    // A server of the old ensemble cannot be added until its disk is empty.
    servers[0] = fleet.start(1, &all, &[]);
    let refused = cluster(&servers[2], &["add", &fleet.line(1), "--wait", "0"]);
    assert!(words(&refused).contains("belongs to the cluster"), "{}", words(&refused));
    servers[0].kill();
    fleet.wipe(1);
    servers[0] = fleet.start(1, &all, &[]);
    done(cluster(&servers[2], &["add", &fleet.line(1)]));
    wait_until("the server serves", || status(&servers[0]).is_some());
    assert!(has(&servers[0], "/kept") && has(&servers[0], "/alone"));
}
