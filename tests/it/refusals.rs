//! Refusals to start: a full sentence, and nothing lost.

use crate::process::{Server, command, free_port};
use std::path::Path;

/// Runs `serve` until it ends by itself; its standard error.
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

#[test]
fn a_log_without_a_checkpoint_it_builds_on_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start(&data, &[]);
    server.terminate();
    let checkpoint =
        std::fs::read_dir(&data).unwrap().flatten().find(|e| e.file_name().to_string_lossy().contains("redb"));
    let checkpoint = checkpoint.expect("a clean end leaves a checkpoint").path();
    let mut bytes = std::fs::read(&checkpoint).unwrap();
    for byte in &mut bytes {
        *byte ^= 0x5a;
    }
    std::fs::write(&checkpoint, bytes).unwrap();
    // The log still reaches back to the beginning, or an image does: either the server starts whole, or it says why not.
    server.restart();
}
