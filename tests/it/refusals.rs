//! Refusals to start: the server prints a full sentence, and no data are lost.

use crate::process::{Server, command, free_port};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zookeeper_client::{Acls, CreateMode};

/// Runs `serve` until the server refuses to start. Returns its standard error.
fn fails_with(data_dir: &Path, extra: &[&str]) -> String {
    let extra: Vec<String> = extra.iter().map(|argument| argument.to_string()).collect();
    let output = command(data_dir, free_port(), &extra).output().expect("the binary runs");
    assert!(!output.status.success(), "the server should have refused to start");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Server::start(folder.path(), &[]);
    let said = fails_with(folder.path(), &[]);
    assert!(said.contains(folder.path().to_str().unwrap()), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = command(folder.path(), port, &[]).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!("127.0.0.1:{port}")), "{said}");
}

#[test]
fn a_bad_configuration_is_named_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zoo.cfg");
    std::fs::write(&file, "tickTime=2000\nclientPort=many\n").unwrap();
    let said = fails_with(&folder.path().join("data"), &["--config", file.to_str().unwrap()]);
    assert!(said.contains("zoo.cfg") && said.contains("clientPort") && said.contains('2'), "{said}");
    let file = folder.path().join("wasmkeeper.toml");
    std::fs::write(&file, "no_such_key = 1\n").unwrap();
    let said = fails_with(&folder.path().join("data"), &["--config", file.to_str().unwrap()]);
    assert!(said.contains("wasmkeeper.toml") && said.contains("no_such_key"), "{said}");
}

/// A server with ten znodes that has ended cleanly.
async fn ended_well(data: &Path) -> Server {
    let mut server = Server::start(data, &[]);
    let client = server.connect().await;
    for n in 0..10 {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        client.create(&format!("/n{n}"), format!("{n}").as_bytes(), &options).await.unwrap();
    }
    drop(client);
    assert!(server.terminate());
    assert_eq!(server.said(), "", "a healthy server writes nothing to standard error");
    server
}

async fn is_whole(server: &Server) {
    let client = server.connect().await;
    for n in 0..10 {
        assert_eq!(client.get_data(&format!("/n{n}")).await.unwrap().0, format!("{n}").as_bytes());
    }
}

/// Changes every byte of the file.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_checkpoint_is_rebuilt_from_image_or_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = ended_well(folder.path()).await;
    damage(&folder.path().join("checkpoint.redb"));
    server.restart();
    is_whole(&server).await;
    let said = server.said();
    assert!(said.contains("WARN") && said.contains("`checkpoint.redb` cannot be used"), "{said}");
    // The damaged file is kept for inspection, and the rebuilt checkpoint is good.
    assert!(folder.path().join("checkpoint.damaged-1").exists());
    server.kill();
    server.restart();
    is_whole(&server).await;
    assert_eq!(server.said(), said, "the second start writes nothing to standard error");
}

#[tokio::test]
async fn a_missing_checkpoint_is_rebuilt_from_image_or_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = ended_well(folder.path()).await;
    std::fs::remove_file(folder.path().join("checkpoint.redb")).unwrap();
    server.restart();
    is_whole(&server).await;
}

/// The server must not start with an empty or incomplete tree.
#[tokio::test]
async fn without_its_log_a_server_refuses_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(ended_well(folder.path()).await);
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    refused_and_untouched(folder.path(), "log");
}

/// The checkpoint, the image and the oldest segment of the log are damaged. No source of the state is left.
#[tokio::test]
async fn with_no_source_of_state_left_a_server_refuses_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(ended_well(folder.path()).await);
    for file in ["checkpoint.redb", "image"] {
        if folder.path().join(file).exists() {
            damage(&folder.path().join(file));
        }
    }
    let log = folder.path().join("log");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    damage(&segments[0]);
    refused_and_untouched(folder.path(), "log/");
}

fn refused_and_untouched(data: &Path, named: &str) {
    let before = contents(data);
    let said = fails_with(data, &[]);
    assert!(said.contains(named) && said.lines().any(|line| line.starts_with("wasmkeeper: ")), "{said}");
    let after = contents(data);
    for (path, bytes) in before {
        assert!(after.get(&path) == Some(&bytes), "{} was changed", path.display());
    }
}

/// All files below a folder except the lock file, which names the process that holds the folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&entry.path()));
        } else if entry.file_name() != "LOCK" {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}
