//! The life of a plugin through the real binary: versions, trials, quarantines, calls that end the server, signatures.
//! With three servers also: which members have compiled which version.
//!
//! Each test uses two threads. One of them waits for the command line, and the client must answer pings in the
//! meantime.

use crate::ensemble::{Ensemble, wait_until};
use crate::process::{Server, wasmkeeper, words};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use zookeeper_client::{Acls, Client, CreateMode, Error};

/// Runs `wasmkeeper plugin ...` against an address. Returns whether it succeeded, and its output.
fn plugin(address: &str, arguments: &[&str]) -> (bool, String) {
    let output = wasmkeeper(&["plugin", "--server", address]).args(arguments).output().expect("it runs");
    (output.status.success(), words(&output))
}

fn succeeds(address: &str, arguments: &[&str]) -> String {
    let (well, words) = plugin(address, arguments);
    assert!(well, "wasmkeeper plugin {arguments:?}: {words}");
    words
}

fn fails(address: &str, arguments: &[&str]) -> String {
    let (well, words) = plugin(address, arguments);
    assert!(!well, "wasmkeeper plugin {arguments:?}: {words}");
    words
}

fn deploy_guard(address: &str, field: &str, more: &[&str]) -> String {
    let settings = requires(field);
    let bound = ["deploy", "bundled:guard", "--name", "names", "--path", "/services/**", "--settings", &settings];
    succeeds(address, &[&bound[..], more].concat())
}

fn requires(field: &str) -> String {
    format!(r#"{{"require_json":["{field}"]}}"#)
}

fn naughty(what: &str) -> Vec<String> {
    let settings = format!(r#"{{"do":"{what}"}}"#);
    let words = [
        "deploy",
        env!("WASMKEEPER_NAUGHTY"),
        "--name",
        "n",
        "--kind",
        "validator",
        "--path",
        "/n/**",
        "--settings",
        &settings,
    ];
    words.iter().map(|word| word.to_string()).collect()
}

fn deploy_naughty(address: &str, what: &str) -> String {
    let words = naughty(what);
    succeeds(address, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn create(client: &Client, path: &str, data: &str) -> Result<(), Error> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, data.as_bytes(), &options).await.map(drop)
}

async fn text(client: &Client, path: &str) -> String {
    String::from_utf8(client.get_data(path).await.unwrap_or_else(|error| panic!("{path}: {error}")).0).unwrap()
}

/// The text of a create's refusal: the newest refusal of the connection.
async fn refusal(client: &Client, path: &str, data: &str) -> String {
    create(client, path, data).await.expect_err(path);
    text(client, "/zookeeper/rejection").await.lines().next().unwrap_or_default().to_owned()
}

async fn status(client: &Client, plugin: &str) -> Value {
    serde_json::from_str(&text(client, &format!("/zookeeper/plugins/{plugin}/status")).await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_deployed_tried_promoted_and_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = server.connect().await;
    let at = server.address();
    create(&client, "/services", "").await.unwrap();
    deploy_guard(&at, "owner", &[]);
    assert!(refusal(&client, "/services/a", "{}").await.contains("owner"));

    // A deployment of settings alone. The component checks them.
    let said = fails(&at, &["settings", "names", r#"{"require_json":3}"#]);
    assert!(said.contains("require_json: a list of field names"), "{said}");
    assert!(succeeds(&at, &["settings", "names", &requires("team")]).contains("version 2"));
    assert!(refusal(&client, "/services/a", "{}").await.contains("team"));

    // A trial on some of the paths. Arguments that are not given keep their values.
    let canary = ["deploy", "bundled:guard", "--name", "names", "--canary", "/services/pay"];
    let said = succeeds(&at, &[&canary[..], &["--settings", &requires("cost")]].concat());
    assert!(said.contains("version 3 is on trial at /services/pay") && said.contains("/services/**"), "{said}");
    assert!(refusal(&client, "/services/pay", "{}").await.contains("cost"));
    assert!(refusal(&client, "/services/a", "{}").await.contains("team"));
    let listed = succeeds(&at, &["versions", "names"]);
    let line = |note: &str| listed.lines().find(|line| line.contains(note)).unwrap_or_default().trim().to_owned();
    assert!(line("in force").starts_with('2') && line("on trial").starts_with('3'), "{listed}");
    succeeds(&at, &["abort", "names"]);
    assert!(refusal(&client, "/services/pay", "{}").await.contains("team"));
    assert!(fails(&at, &["promote", "names"]).contains("no version on trial"));

    // The trial audits beside the version in force. After the promotion that version enforces.
    succeeds(&at, &[&canary[..], &["--settings", &requires("cost"), "--mode", "audit"]].concat());
    create(&client, "/services/pay", r#"{"team":1}"#).await.unwrap();
    assert_eq!(status(&client, "names/canary").await["mode"], "audit");
    assert!(succeeds(&at, &["promote", "names"]).contains("version 4 is in force for all paths, mode enforce"));
    assert!(refusal(&client, "/services/a", "{}").await.contains("cost"));
    assert_eq!(client.get_data("/zookeeper/plugins/names/canary").await.unwrap_err(), Error::NoNode);

    assert!(succeeds(&at, &["rollback", "names", "--to", "1"]).contains("version 1 is in force again"));
    assert!(refusal(&client, "/services/a", "{}").await.contains("owner"));
    assert!(fails(&at, &["rollback", "names"]).contains("no version before 1"));
    assert!(fails(&at, &["rollback", "names", "--to", "9"]).contains("there are 1, 2, 3, 4"));
    // The next deployment gets a new number.
    assert!(deploy_guard(&at, "owner", &["--mode", "off"]).contains("version 5"));
    assert!(succeeds(&at, &["rollback", "names"]).contains("version 4 is in force again, mode enforce"));
    succeeds(&at, &["remove", "names"]);
    create(&client, "/services/a", "{}").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_keeps_failing_is_quarantined_until_it_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let at = server.address();
    let first = server.connect().await;
    create(&first, "/n", "").await.unwrap();
    deploy_naughty(&at, "panic");
    let mut clients = vec![first];
    for _ in 0..3 {
        clients.push(server.connect().await);
    }
    for n in 0..20 {
        create(&clients[n % 4], "/n/x", "").await.unwrap_err();
    }
    wait_until("the plugin is under quarantine", || {
        succeeds(&at, &["status", "n"]).contains("under quarantine: 20 faults")
    });
    let said = refusal(&clients[0], "/n/x", "").await;
    assert!(said.contains("n: /n/x: the plugin is not called: it is under quarantine: 20 faults"), "{said}");
    let faults = succeeds(&at, &["faults", "n"]);
    assert!(faults.contains("it panicked (panic)") && faults.contains("told to"), "{faults}");
    assert!(faults.lines().any(|line| line.trim_start().starts_with("at ") && line.contains("naughty")), "{faults}");

    // The quarantine is part of the replicated state, so a restart keeps it.
    server.kill();
    server.restart();
    let client = server.connect().await;
    assert!(refusal(&client, "/n/x", "").await.contains("quarantine"));
    assert!(succeeds(&at, &["list"]).contains("quarantine"));
    assert!(succeeds(&at, &["release", "n"]).contains("was under quarantine: 20 faults"));
    assert!(refusal(&client, "/n/x", "").await.contains("(panic)"));
    deploy_naughty(&at, "fine");
    create(&client, "/n/x", "").await.unwrap();
}

/// Sends a create that calls a plugin that ends the server, and waits for that end.
#[cfg(debug_assertions)]
async fn end_by_a_call(server: &mut Server) {
    let client = server.connect().await;
    create(&client, "/n/x", "").await.expect_err("the server has ended");
    assert!(!server.wait_for_its_end());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(debug_assertions)]
async fn a_plugin_whose_calls_end_the_server_twice_is_quarantined() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let at = server.address();
    create(&server.connect().await, "/n", "").await.unwrap();
    deploy_naughty(&at, "abort");
    end_by_a_call(&mut server).await;

    // One end may be a coincidence: the server reports it, and calls the plugin again.
    server.restart();
    let client = server.connect().await;
    create(&client, "/elsewhere", "").await.unwrap();
    assert_eq!(client.list_children("/zookeeper/plugins/n/crashes").await.unwrap().len(), 1);
    assert_eq!(status(&client, "n").await["state"], "active");
    drop(client);
    // A kill between two calls does not count against the plugin.
    server.kill();
    server.restart();
    assert_eq!(server.connect().await.list_children("/zookeeper/plugins/n/crashes").await.unwrap().len(), 1);
    end_by_a_call(&mut server).await;

    server.restart();
    let client = server.connect().await;
    let said = refusal(&client, "/n/x", "").await;
    assert!(said.contains("it is under quarantine: two server processes were ended by calls of it"), "{said}");
    assert_eq!(status(&client, "n").await["state"], "quarantine");
    create(&client, "/elsewhere/x", "").await.unwrap();
    // Another version starts without reports against it.
    deploy_naughty(&at, "fine");
    create(&client, "/n/x", "").await.unwrap();
    assert_eq!(client.get_data("/zookeeper/plugins/n/crashes").await.unwrap_err(), Error::NoNode);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_although_a_component_is_missing_or_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let at = server.address();
    let client = server.connect().await;
    create(&client, "/services", "").await.unwrap();
    create(&client, "/n", "").await.unwrap();
    deploy_guard(&at, "owner", &[]);
    deploy_naughty(&at, "fine");
    // The component's pieces are overwritten, its machine code is deleted, and another plugin's manifest is unreadable.
    let manifest: Value = serde_json::from_str(&text(&client, "/zookeeper/plugins/n").await).unwrap();
    let module = format!("/zookeeper/modules/{}", manifest["component"]["sha256"].as_str().unwrap());
    for piece in client.list_children(&module).await.unwrap() {
        client.set_data(&format!("{module}/{piece}"), b"no component", None).await.unwrap();
    }
    assert!(server.terminate());
    std::fs::remove_dir_all(folder.path().join("plugins-cache")).unwrap();
    server.restart();
    let client = server.connect().await;
    assert!(refusal(&client, "/n/x", "").await.contains("(code)"));
    assert!(refusal(&client, "/services/a", "{}").await.contains("owner"));
    let said = succeeds(&at, &["status", "n"]);
    assert!(said.contains("failed") && said.contains("component.bytes says"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_signers_runs_only_plugins_that_they_signed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, other) = (file("key.pem"), file("other.pem"));
    let nobody = "127.0.0.1:1";
    let made = succeeds(nobody, &["keygen", &key]);
    let setting = made.lines().last().unwrap().replace("NAME", "ops");
    succeeds(nobody, &["keygen", &other]);
    assert!(fails(nobody, &["keygen", &key]).contains("create"), "a key is never overwritten");

    let mut server = Server::start(&folder.path().join("data"), &["-D", &format!("zookeeper.{setting}")]);
    let at = server.address();
    let deploy = ["deploy", "bundled:guard", "--name", "names", "--path", "/services/**"];
    let said = fails(&at, &deploy);
    assert!(said.contains("only that ops signed"), "{said}");
    let signature = file("guard.sig");
    succeeds(nobody, &["sign", "bundled:guard", "--key", &other, "--out", &signature]);
    let said = fails(&at, &[&deploy[..], &["--signature", &signature]].concat());
    assert!(said.contains("none of the signers that this server trusts: ops"), "{said}");
    succeeds(nobody, &["sign", "bundled:guard", "--key", &key, "--out", &signature]);
    succeeds(&at, &[&deploy[..], &["--signature", &signature]].concat());
    assert!(succeeds(&at, &["show", "names"]).contains("signed by   ops"));
    assert_eq!(status(&server.connect().await, "names").await["state"], "active");

    // At the next start the key is no longer trusted, and the plugin that it signed is not loaded.
    let another = succeeds(nobody, &["keygen", &file("another.pem")]).lines().last().unwrap().replace("NAME", "ops");
    assert!(server.terminate());
    server.restart_with(&["-D", &format!("zookeeper.{another}")]);
    let status = status(&server.connect().await, "names").await;
    assert!(status["state"] == "failed" && status["reason"].to_string().contains("none of the signers"), "{status}");
}

/// Waits until each of the three members can call the plugin: a deployment waits for two.
fn all_run(address: &str, name: &str) {
    wait_until("all members run the plugin", || {
        let (_, said) = plugin(address, &["status", name]);
        said.lines().filter(|line| line.contains(" active ")).count() == 3
    });
}

/// Restarts a member of an ensemble, with or without plugins.
fn restart_with_plugins(ensemble: &mut Ensemble, member: usize, plugins: &str) {
    let file = ensemble.configuration(member).display().to_string();
    assert!(ensemble.members[member].terminate());
    ensemble.members[member].restart_with(&["--config", &file, "--plugins", plugins]);
    ensemble.wait_until_all_serve();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_comes_into_force_when_a_quorum_has_compiled_it() {
    let mut ensemble = Ensemble::start(3);
    let at = ensemble.addresses();
    let leader = ensemble.leader();
    let others: Vec<usize> = (0..3).filter(|member| *member != leader).collect();
    let client = ensemble.members[others[0]].connect().await;
    create(&client, "/services", "").await.unwrap();

    deploy_guard(&at, "owner", &[]);
    all_run(&at, "names");
    assert!(refusal(&client, "/services/a", "{}").await.contains("owner"));
    succeeds(&at, &["remove", "names"]);
    drop(client);

    // With one member without plugins there is still a quorum.
    restart_with_plugins(&mut ensemble, others[0], "off");
    deploy_guard(&at, "owner", &[]);
    let said = succeeds(&at, &["status", "names"]);
    assert_eq!(said.lines().filter(|line| line.contains("--plugins off")).count(), 1, "{said}");
    // With two such members there is none. The refusal names them and the reason, and nothing changes.
    restart_with_plugins(&mut ensemble, others[1], "off");
    ensemble.leader();
    wait_until("the member with plugins leads, and knows the others", || {
        let (_, said) = plugin(&at, &["settings", "names", &requires("team")]);
        said.contains("of the 3 voting members 1 have its code, 2 are needed")
            && others.iter().all(|other| said.contains(&format!("server {}: it runs with --plugins off", other + 1)))
    });
    let client = ensemble.members[leader].connect().await;
    assert!(refusal(&client, "/services/a", "{}").await.contains("owner"));
    // A version in mode off needs no compiled code.
    succeeds(&at, &["mode", "names", "off"]);
}

/// Changes settings, rolls back and deploys in turn until `stop` is set. Returns how many commands succeeded. A command
/// that fails for lack of a leader or of an answer may have taken effect or not.
fn keep_changing(address: &str, stop: &AtomicBool) -> usize {
    let mut done = 0;
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let settings = requires(["owner", "team", "cost"][round % 3]);
        let anew = ["deploy", "bundled:guard", "--name", "names", "--settings", &settings];
        let arguments: &[&str] = match round % 4 {
            0 | 1 => &["settings", "names", &settings],
            2 => &["rollback", "names"],
            _ => &anew,
        };
        done += usize::from(plugin(address, arguments).0);
    }
    done
}

/// The name of the field that a member's guard requires, read from a refusal.
async fn required(member: &Server) -> String {
    let client = member.connect().await;
    let said = refusal(&client, "/services/a", "{}").await;
    said.split('"').nth(1).unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_run_the_same_version_though_leaders_are_killed_while_versions_change() {
    let mut ensemble = Ensemble::start(3);
    let at = ensemble.addresses();
    create(&ensemble.members[0].connect().await, "/services", "").await.unwrap();
    let owner = requires("owner");
    let first = ["deploy", "bundled:guard", "--name", "names", "--path", "/services/**", "--settings", &owner];
    wait_until("the plugin is deployed", || plugin(&at, &first).0);
    let stop = Arc::new(AtomicBool::new(false));
    let changes = {
        let (at, stop) = (at.clone(), stop.clone());
        tokio::task::spawn_blocking(move || keep_changing(&at, &stop))
    };
    for round in 0..3 {
        // Each round kills at a different moment, since a deployment has several steps.
        tokio::time::sleep(Duration::from_millis(300 + round * 170)).await;
        let leader = ensemble.leader();
        ensemble.members[leader].kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        ensemble.restart(leader);
    }
    stop.store(true, Ordering::SeqCst);
    let changed = changes.await.unwrap();
    assert!(changed > 3, "{changed} changes succeeded");
    all_run(&at, "names");
    ensemble.wait_until_level();
    let client = ensemble.members[0].connect().await;
    let manifest: Value = serde_json::from_str(&text(&client, "/zookeeper/plugins/names").await).unwrap();
    let field = manifest["settings"]["require_json"][0].as_str().unwrap().to_owned();
    let mut told = Vec::new();
    for member in &ensemble.members {
        let status = status(&member.connect().await, "names").await;
        told.push((status["version"].clone(), required(member).await));
    }
    assert_eq!(told, vec![(manifest["version"].clone(), field); 3], "{}", succeeds(&at, &["status", "names"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_plugins_gives_way_to_a_member_that_runs_them() {
    let mut ensemble = Ensemble::start(3);
    let at = ensemble.addresses();
    create(&ensemble.members[0].connect().await, "/services", "").await.unwrap();
    deploy_guard(&at, "owner", &[]);
    let off = ensemble.a_follower();
    restart_with_plugins(&mut ensemble, off, "off");
    // The member without plugins is made leader. It hands leadership over after a while.
    let to = (off + 1).to_string();
    let output = wasmkeeper(&["cluster", "--server", &at, "transfer", &to]).output().expect("it runs");
    wait_until("another member leads", || {
        let leaders = ensemble.leaders();
        leaders.len() == 1 && leaders[0] != off
    });
    let said = ensemble.members[off].said();
    assert!(said.contains("hands over to a member that does"), "{}\n{said}", words(&output));
    let client = ensemble.members[off].connect().await;
    assert!(
        refusal(&client, "/services/a", "{}").await.contains("owner"),
        "the leader judges the writes of every member"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(debug_assertions)]
async fn a_plugin_whose_calls_end_two_members_is_quarantined() {
    let mut ensemble = Ensemble::start(3);
    let at = ensemble.addresses();
    create(&ensemble.members[0].connect().await, "/n", "").await.unwrap();
    deploy_naughty(&at, "abort");
    let mut ended = Vec::new();
    for _ in 0..2 {
        all_run(&at, "n");
        let leader = ensemble.leader();
        let client = ensemble.members[leader].connect().await;
        create(&client, "/n/x", "").await.expect_err("the server has ended");
        assert!(!ensemble.members[leader].wait_for_its_end());
        ensemble.restart(leader);
        ended.push(leader);
        let leader = ensemble.leader();
        let client = ensemble.members[leader].connect().await;
        let reports = async || client.list_children("/zookeeper/plugins/n/crashes").await.unwrap_or_default().len();
        while reports().await < ended.len() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    let client = ensemble.members[0].connect().await;
    assert!(refusal(&client, "/n/x", "").await.contains("under quarantine"));
    create(&client, "/elsewhere", "").await.unwrap();
}
