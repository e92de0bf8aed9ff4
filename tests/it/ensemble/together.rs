//! An ensemble without failures: one member leads, and every member serves clients.

use super::load::{connect, persistent};
use super::{Ensemble, figure, said};
use zookeeper_client::Client;

#[tokio::test]
async fn three_servers_elect_one_leader() {
    let mut ensemble = Ensemble::start(3);
    // The check is repeated, since on a busy machine another leader may take over in between.
    super::wait_until("one leads and the others follow", || {
        let mut modes: Vec<String> = ensemble.members.iter().filter_map(|it| Some(said(it)?.mode)).collect();
        modes.sort();
        modes == ["follower", "follower", "leader"]
    });
    for (at, member) in ensemble.members.iter().enumerate() {
        let conf = member.ask("conf").expect("answers");
        let file = std::fs::read_to_string(ensemble.configuration(at)).unwrap();
        for line in file.lines().filter(|line| line.starts_with("server.")) {
            assert!(conf.contains(&format!("\n{line}\n")), "{line} in {conf}");
        }
        assert_eq!(figure(member, "zk_quorum_size"), Some(3));
    }
    super::wait_until("both followers are in step", || {
        let leader = ensemble.leader();
        let leader = &ensemble.members[leader];
        figure(leader, "zk_synced_followers") == Some(2) && figure(leader, "zk_learners") == Some(2)
    });
}

/// Every member accepts writes. The writer sees its write at once, and a reader on another member sees it after `sync`.
#[tokio::test]
async fn a_write_on_one_member_is_read_on_the_others() {
    let ensemble = Ensemble::start(3);
    let mut clients = Vec::new();
    for member in &ensemble.members {
        clients.push(connect(&member.address()).await);
    }
    for (at, writer) in clients.iter().enumerate() {
        let path = format!("/of-{at}");
        writer.create(&path, b"0", &persistent()).await.unwrap();
        for round in 1..20 {
            let data = round.to_string().into_bytes();
            writer.set_data(&path, &data, Some(round - 1)).await.unwrap();
            assert_eq!(writer.get_data(&path).await.unwrap().0, data, "a writer reads what it wrote");
            for reader in &clients {
                reader.sync(&path).await.unwrap();
                assert_eq!(reader.get_data(&path).await.unwrap().0, data);
            }
        }
    }
}

/// A watch on one member fires for a write on another. An ephemeral znode is deleted on all members when its session
/// ends.
#[tokio::test]
async fn watches_and_ephemerals_cross_members() {
    let ensemble = Ensemble::start(3);
    let watcher = connect(&ensemble.members[0].address()).await;
    let owner: Client = connect(&ensemble.members[1].address()).await;
    let (none, created) = watcher.check_and_watch_stat("/mine").await.unwrap();
    assert!(none.is_none());
    let ephemeral = zookeeper_client::CreateMode::Ephemeral.with_acls(zookeeper_client::Acls::anyone_all());
    owner.create("/mine", b"", &ephemeral).await.unwrap();
    assert_eq!(created.changed().await.path, "/mine");
    let (stat, deleted) = watcher.check_and_watch_stat("/mine").await.unwrap();
    assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(owner.session_id().0));
    drop(owner);
    assert_eq!(deleted.changed().await.path, "/mine");
    let other = connect(&ensemble.members[2].address()).await;
    other.sync("/").await.unwrap();
    assert!(other.check_stat("/mine").await.unwrap().is_none());
}
