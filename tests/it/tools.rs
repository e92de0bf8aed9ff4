//! Tools for authors and operators against real servers: logs, recordings and their replay, audits, traces, HTTP.

use crate::plugins::{fails, succeeds};
use crate::process::{Server, free_port, wasmkeeper, words};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use zookeeper_client::{Acls, Client, CreateMode};

const SUPER_DIGEST: &str = "zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

async fn create(client: &Client, path: &str, data: &str) -> bool {
    client.create(path, data.as_bytes(), &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.is_ok()
}

fn deploy_guard(server: &Server, more: &[&str]) {
    let settings = r#"{"require_json":["owner"]}"#;
    let bound = ["deploy", "bundled:guard", "--name", "names", "--path", "/services/**", "--settings", settings];
    succeeds(server, &[&bound[..], more].concat());
}

/// Sends an HTTP request. Returns the status and the body of the answer.
fn http(port: u16, request: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("HTTP is served");
    write!(socket, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn metrics_and_readiness_by_http() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let on = [format!("zookeeper.admin.serverPort={port}"), "zookeeper.admin.enableServer=true".into()];
    let server = Server::start(folder.path(), &["-D", &on[0], "-D", &on[1]]);
    let client = server.connect().await;
    assert!(create(&client, "/services", "").await);
    deploy_guard(&server, &[]);
    assert!(!create(&client, "/services/a", "{}").await);

    assert_eq!(http(port, "GET /healthz"), (200, "ok\n".into()));
    assert_eq!(http(port, "GET /readyz"), (200, "ok\n".into()));
    let (status, metrics) = http(port, "GET /metrics");
    assert_eq!(status, 200);
    for sample in [
        "\nznode_count ",
        "\nplugin_calls_total{plugin=\"names\"} 1\n",
        "\nplugin_refusals_total{plugin=\"names\"} 1\n",
        "\nplugin_fuel_count{plugin=\"names\"} 1\n",
        "\nplugin_state{plugin=\"names\",kind=\"validator\",state=\"active\"} 1\n",
    ] {
        assert!(metrics.contains(sample), "{sample} is missing: {metrics}");
    }
    let (_, plugins) = http(port, "GET /plugins");
    let plugins: serde_json::Value = serde_json::from_str(&plugins).unwrap();
    assert_eq!(
        (plugins["plugins"][0]["name"].as_str(), &plugins["plugins"][0]["counters"]["calls"]),
        (Some("names"), &1.into())
    );
    assert_eq!(http(port, "GET /nothing").0, 404);
    assert_eq!(http(port, "DELETE /plugins").0, 405);
    let told = server.ask("mntr").unwrap();
    assert!(told.contains("zk_plugin_names_calls\t1\n"), "{told}");
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn a_plugins_log_holds_slow_calls_and_refusals_of_audit_mode() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = server.connect().await;
    assert!(create(&client, "/services", "").await);
    deploy_guard(&server, &["--mode", "audit", "--slow", "0ms"]);
    assert!(create(&client, "/services/a", "{}").await);
    let logged = succeeds(&server, &["logs", "names"]);
    let lines: Vec<&str> = logged.lines().collect();
    assert_eq!(lines.len(), 2, "{logged}");
    assert!(lines[0].contains("warn  slow call: ") && lines[0].contains("/services/a"), "{logged}");
    assert!(lines[1].contains(r#"would have refused: names: /services/a: field"#), "{logged}");
    assert_eq!(succeeds(&server, &["logs", "names", "--level", "error"]), "");
    assert!(fails(&server, &["logs", "nobody"]).contains("there is no plugin nobody"));
}

#[tokio::test]
async fn only_the_superuser_reads_logs_and_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["-D", SUPER_DIGEST]);
    let root = ["--auth", "digest:super:test"];
    let bound = ["deploy", "bundled:guard", "--name", "names", "--path", "/a/**", "--settings", "{}"];
    succeeds(&server, &[&root[..], &bound[..]].concat());
    let client = server.connect().await;
    for node in ["log", "log/0", "recording", "recording/0", "audit", "audit/a"] {
        let denied = client.get_data(&format!("/zookeeper/plugins/names/{node}")).await;
        assert!(matches!(denied, Err(zookeeper_client::Error::NoAuth)), "{node}: {denied:?}");
    }
    assert_eq!(succeeds(&server, &[&root[..], &["logs", "names"]].concat()), "");
}

#[tokio::test]
async fn calls_are_recorded_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = server.connect().await;
    assert!(create(&client, "/services", "").await);
    deploy_guard(&server, &[]);
    assert!(create(&client, "/services/before", r#"{"owner":"a"}"#).await);
    let file = folder.path().join("calls.jsonl");
    let file = file.to_str().unwrap();
    let mut recorder: Command = wasmkeeper(&["plugin", "--server", &server.address(), "record", "names"]);
    recorder.args(["--out", file, "--seconds", "60", "--calls", "6"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut recorder = recorder.spawn().unwrap();
    let mut number = 0;
    while recorder.try_wait().unwrap().is_none() {
        number += 1;
        let data = if number % 2 == 0 { "{}" } else { r#"{"owner":"b"}"# };
        create(&client, &format!("/services/n{number}"), data).await;
    }
    let said = words(&recorder.wait_with_output().unwrap());
    assert!(said.contains("6 calls of names are in "), "{said}");

    let output = wasmkeeper(&["plugin", "replay", file]).output().unwrap();
    let again = words(&output);
    assert!(output.status.success() && again.contains("6 calls, 0 different"), "{again}");
    // The settings in the recording are changed, so the replay gives other answers to the same calls.
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(r#"field \\\"owner\\\" is missing"#), "{text}");
    std::fs::write(file, text.replace(r#"\"require_json\":[\"owner\"]"#, r#"\"require_json\":[\"name\"]"#)).unwrap();
    let output = wasmkeeper(&["plugin", "replay", file]).output().unwrap();
    let other = words(&output);
    assert!(!output.status.success() && other.contains("6 calls, 6 different"), "{other}");
}

#[tokio::test]
async fn existing_znodes_are_audited() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = server.connect().await;
    for node in ["/services", "/services/a", "/services/a/b", "/services/c", "/other"] {
        assert!(create(&client, node, if node.ends_with('b') { r#"{"owner":"x"}"# } else { "{}" }).await);
    }
    deploy_guard(&server, &[]);
    let found = succeeds(&server, &["audit", "names", "--pause-ms", "0"]);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 3, "{found}");
    assert!(lines[0].starts_with("/services/a: ") && lines[1].starts_with("/services/c: "), "{found}");
    assert_eq!(lines[2], "2 of 3 nodes are refused by names");
    assert!(succeeds(&server, &["audit", "names", "--refused-max", "1"]).contains("--refused-max shows more"));
}

#[tokio::test]
async fn transactions_of_a_recipe_are_traced_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    succeeds(&server, &["deploy", "bundled:lock", "--name", "lock", "--mount", "/locks"]);
    assert!(succeeds(&server, &["trace"]).contains("no plugin had a part"));
    let client = server.connect().await;
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let (plain, _) = client.create("/plain", b"", &open).await.unwrap();
    assert!(create(&client, "/locks", "").await);
    let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let (stat, _) = client.create("/locks/db/lock-", b"", &options).await.unwrap();
    let zxid = format!("0x{:x}", stat.czxid);
    let newest = succeeds(&server, &["trace"]);
    assert_eq!(newest.lines().next(), Some(zxid.as_str()), "{newest}");
    let check = |server: &Server| {
        let told = succeeds(server, &["trace", &zxid]);
        for words in [
            "asked by    session 0x".into(),
            "made by     lock version 1, fuel ".into(),
            "component bundled:lock sha256 ".into(),
            "create      /locks/db\n".into(),
            format!("create      /locks/db/lock-{:010}\n", 0),
        ] {
            let words: String = words;
            assert!(told.contains(&words), "{words} is missing: {told}");
        }
        told
    };
    let told = check(&server);
    let plain = format!("0x{:x}", plain.czxid);
    assert!(succeeds(&server, &["trace", &plain]).contains("no plugin had a part in"));
    // The transaction was not in a checkpoint, so the restart replays it.
    server.kill();
    server.restart();
    assert_eq!(check(&server), told);
}

#[tokio::test]
async fn recipes_are_called_by_http_and_by_the_superuser_only() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let on = [format!("zookeeper.admin.serverPort={port}"), "zookeeper.admin.enableServer=true".into()];
    let server = Server::start(folder.path(), &["-D", &on[0], "-D", &on[1], "-D", SUPER_DIGEST]);
    let root = ["--auth", "digest:super:test"];
    let bound = ["deploy", "bundled:lock", "--name", "lock", "--mount", "/locks"];
    succeeds(&server, &[&root[..], &bound[..]].concat());
    let address = format!("127.0.0.1:{port}");
    let call = |more: &[&str]| {
        let line = [&["plugin", "call", "--http", &address], more].concat();
        let output = wasmkeeper(&line).output().unwrap();
        (output.status.success(), words(&output))
    };
    let (well, said) = call(&["lock", "no-such-method"]);
    assert!(!well && said.contains("the superuser's name and password are required"), "{said}");
    let (well, said) = call(&["--auth", "digest:super:wrong", "lock", "no-such-method"]);
    assert!(!well && said.contains("the superuser's name and password are required"), "{said}");
    let (well, said) = call(&["--auth", "digest:super:test", "lock", "no-such-method"]);
    assert!(!well && said.contains("UNIMPLEMENTED"), "{said}");
    let (well, said) = call(&["--auth", "digest:super:test", "nobody", "x"]);
    assert!(!well && said.contains("NONODE nobody: there is no recipe of that name"), "{said}");
}
