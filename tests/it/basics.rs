//! The first steps of a user, with a client from another project (kezhuw's zookeeper-client).

use crate::process::{Server, four_letters};
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use std::time::Duration;
use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, Client, CreateMode, CreateOptions, Error, EventType, Permission,
};

fn persistent() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

fn ephemeral() -> CreateOptions<'static> {
    CreateMode::Ephemeral.with_acls(Acls::anyone_all())
}

#[tokio::test]
async fn writes_reads_and_watches() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (one, two) = (server.connect().await, server.connect().await);
    one.create("/app", b"first", &persistent()).await.unwrap();
    let (data, stat, watcher) = two.get_and_watch_data("/app").await.unwrap();
    assert_eq!((data.as_slice(), stat.version), (&b"first"[..], 0));
    one.set_data("/app", b"second", Some(0)).await.unwrap();
    let event = watcher.changed().await;
    assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeDataChanged, "/app"));
    assert_eq!(two.get_data("/app").await.unwrap().0, b"second");
    assert_eq!(one.set_data("/app", b"third", Some(0)).await, Err(Error::BadVersion));

    let mut below = two.watch("/app", AddWatchMode::PersistentRecursive).await.unwrap();
    for name in ["a", "b", "c"] {
        one.create(&format!("/app/{name}"), b"", &persistent()).await.unwrap();
    }
    for name in ["a", "b", "c"] {
        let event = below.changed().await;
        assert_eq!((event.event_type, event.path), (EventType::NodeCreated, format!("/app/{name}")));
    }
    assert_eq!(one.delete("/app", None).await, Err(Error::NotEmpty));
}

#[tokio::test]
async fn a_multi_happens_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = server.connect().await;
    let mut good = client.new_multi_writer();
    good.add_create("/m", b"1", &persistent()).unwrap();
    good.add_set_data("/m", b"2", Some(0)).unwrap();
    good.commit().await.unwrap();
    assert_eq!(client.get_data("/m").await.unwrap().0, b"2");
    let mut bad = client.new_multi_writer();
    bad.add_set_data("/m", b"3", None).unwrap();
    bad.add_delete("/none", None).unwrap();
    bad.commit().await.unwrap_err();
    assert_eq!(client.get_data("/m").await.unwrap().0, b"2");
}

#[tokio::test]
async fn an_ephemeral_node_ends_with_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (owner, other) = (server.connect().await, server.connect().await);
    owner.create("/e", b"", &ephemeral()).await.unwrap();
    let (stat, watcher) = other.check_and_watch_stat("/e").await.unwrap();
    assert_eq!(stat.unwrap().ephemeral_owner, owner.session_id().0);
    drop(owner);
    assert_eq!(watcher.changed().await.event_type, EventType::NodeDeleted);
}

#[tokio::test]
async fn all_data_survive_a_clean_restart_and_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let client = server.connect().await;
    for n in 0..100 {
        client.create(&format!("/n{n}"), format!("{n}").as_bytes(), &persistent()).await.unwrap();
    }
    client.create("/mine", b"", &ephemeral()).await.unwrap();
    assert!(server.terminate(), "the server exits with success after SIGTERM");
    server.restart();
    // The client reconnects to its session, so the ephemeral znode still exists.
    client.sync("/").await.ok();
    check_numbers(&server.connect().await, 100).await;
    assert!(server.connect().await.check_stat("/mine").await.unwrap().is_some());
    server.kill();
    server.restart();
    check_numbers(&server.connect().await, 100).await;
}

#[tokio::test]
async fn an_expired_session_loses_its_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &["-D", "zookeeper.tickTime=200"]);
    let client = Client::connector().with_session_timeout(Duration::from_millis(600)).connect(&server.address()).await;
    client.unwrap().create("/gone", b"", &ephemeral()).await.unwrap();
    // The server is killed before the session is closed, and no client uses the session after the restart.
    server.kill();
    server.restart();
    let other = server.connect().await;
    while other.check_stat("/gone").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn four_letter_words_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let words = "conf cons crst dirs dump envi gtmk hash isro mntr ruok srst srvr stat wchc wchp wchs";
    for word in words.split(' ') {
        let answer = four_letters(server.port, word).expect("answers");
        assert!(!answer.is_empty() && !answer.contains("whitelist") || word == "hash", "{word}: {answer}");
    }
    assert!(four_letters(server.port, "srvr").unwrap().contains("Mode: standalone"));
}

async fn check_numbers(client: &Client, count: usize) {
    for n in 0..count {
        assert_eq!(client.get_data(&format!("/n{n}")).await.unwrap().0, format!("{n}").as_bytes());
    }
}

/// One connection pipelines expensive requests: each checks an ACL of 20,000 entries. Other connections are served
/// before all of them are done.
#[tokio::test]
async fn expensive_requests_of_one_connection_do_not_block_other_connections() {
    const DEAR: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let greedy = server.connect().await;
    // The entry that allows the read comes last.
    let nobody = |n: usize| Acl::new(Permission::READ, AuthId::new("ip", &format!("10.{}.{}.1", n / 250, n % 250)));
    let everybody = Acl::new(Permission::READ, AuthId::new("world", "anyone"));
    let list: Vec<Acl> = (0..20_000).map(nobody).chain([everybody]).collect();
    greedy.create("/dear", b"", &CreateMode::Persistent.with_acls(Acls::new(&list))).await.unwrap();
    // Some of these connections share a thread with the greedy one.
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(server.connect().await);
    }
    let mut dear: FuturesUnordered<_> = (0..DEAR).map(|_| greedy.get_data("/dear")).collect();
    dear.next().await.unwrap().unwrap();
    let asked = join_all(others.iter().map(|other| other.check_stat("/")));
    tokio::pin!(asked);
    let mut answered = 1;
    loop {
        tokio::select! {
            biased;
            all = &mut asked => {
                assert!(all.into_iter().all(|stat| stat.is_ok()));
                break;
            }
            one = dear.next() => {
                one.expect("others are answered first").unwrap();
                answered += 1;
            }
        }
    }
    assert!(answered < DEAR, "others were answered last");
}
