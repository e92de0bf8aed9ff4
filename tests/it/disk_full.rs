//! A full disk: the process ends with a sentence on standard error, and every acknowledged write survives.

use crate::process::{Server, connector};
use rustix::process::Resource;
use std::path::Path;
use std::process::Command;
use zookeeper_client::{Acls, Client, CreateMode, Error};

/// Creates `/n0`, `/n1`, ... until a create is not acknowledged. Before each create it calls `at(n)` and writes
/// `ballast` bytes. Returns the number of acknowledged creates.
async fn write_until_it_fails(client: &Client, ballast: usize, mut at: impl FnMut(usize)) -> usize {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create("/ballast", b"", &options).await.unwrap();
    for n in 0.. {
        at(n);
        let written: Result<(), Error> = async {
            client.set_data("/ballast", &vec![n as u8; ballast], None).await?;
            client.create(&format!("/n{n}"), format!("{n}").as_bytes(), &options).await?;
            Ok(())
        }
        .await;
        if written.is_err() {
            return n;
        }
        assert!(n < 10_000, "the disk should be full by now");
    }
    unreachable!()
}

async fn has_all(server: &Server, acknowledged: usize) {
    let client = server.connect().await;
    for n in 0..acknowledged {
        let (data, _) = client.get_data(&format!("/n{n}")).await.unwrap_or_else(|error| panic!("/n{n}: {error}"));
        assert_eq!(data, format!("{n}").as_bytes());
    }
}

fn ended_with_a_sentence(server: &mut Server) {
    assert!(!server.wait_for_its_end(), "the server exits with a failure");
    let said = server.said();
    let sentence = said.lines().rfind(|line| line.starts_with("wasmkeeper: "));
    let sentence = sentence.unwrap_or_else(|| panic!("the server ended without a sentence: {said}"));
    assert!(sentence.contains("log") || sentence.contains("checkpoint"), "{sentence}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Limits the size of files of the running process, as `ulimit -f` does. A write beyond the limit fails. The log
/// reports that like any other error of the disk.
#[tokio::test]
async fn a_disk_that_refuses_a_write_ends_the_process_and_loses_nothing() {
    const KIB: u64 = 1024;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_deaf_to_file_sizes(folder.path());
    let client = connector().with_fail_eagerly().connect(&server.address()).await.unwrap();
    let acknowledged = write_until_it_fails(&client, 4000, |n| {
        // At this point the log is larger than the limit. Standard error, which is also a file, is smaller.
        if n == 100 {
            server.limit(Resource::Fsize, Some(64 * KIB));
        }
    })
    .await;
    assert!(acknowledged >= 100, "{acknowledged}");
    ended_with_a_sentence(&mut server);
    server.restart();
    has_all(&server, acknowledged).await;
}

/// The last checkpoint cannot be written. The log still has every write.
#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_deaf_to_file_sizes(folder.path());
    let client = connector().with_fail_eagerly().connect(&server.address()).await.unwrap();
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    for n in 0..200 {
        client.create(&format!("/n{n}"), format!("{n}").as_bytes(), &options).await.unwrap();
    }
    drop(client);
    server.limit(Resource::Fsize, Some(8 * 1024));
    server.ask_to_end();
    ended_with_a_sentence(&mut server);
    server.restart();
    has_all(&server, 200).await;
}

/// The server writes to a file system of its own, which becomes full.
#[tokio::test]
async fn a_full_disk_ends_the_process_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Room for two segments of the log and little more.
    let Some(mounted) = Mounted::new(folder.path(), "150m") else { return };
    let mut server = Server::start(folder.path(), &[]);
    let client = server.connect().await;
    let acknowledged = write_until_it_fails(&client, 900_000, |_| {}).await;
    assert!(acknowledged > 0);
    ended_with_a_sentence(&mut server);
    mounted.resize("400m");
    server.restart();
    has_all(&server, acknowledged).await;
    drop((client, server, mounted));
}

/// A mounted tmpfs. Dropping the value unmounts it.
struct Mounted<'a>(&'a Path);

impl Mounted<'_> {
    /// `None` if mounting is not permitted here.
    fn new<'a>(folder: &'a Path, size: &str) -> Option<Mounted<'a>> {
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder).output();
        match output {
            Ok(output) if output.status.success() => Some(Mounted(folder)),
            Ok(output) => {
                println!("skipped: no tmpfs can be mounted here: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("skipped: `mount` cannot be run: {error}");
                None
            }
        }
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(self.0).status().expect("mount ran before");
        assert!(status.success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
