//! Members that could answer with old data: one that was removed, one that gets heartbeats and no entries, one that was
//! stopped for a while.

use super::membership::{Fleet, cluster, done, status};
use super::{Ensemble, load, said, wait_until};
use crate::process::{Server, connector};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The members' `syncLimit`, five ticks of a second.
const SYNC_LIMIT: Duration = Duration::from_secs(5);

/// Reads `/value` through a client, or gives up after half a second. `None`: no answer.
async fn value(client: &zookeeper_client::Client) -> Option<Vec<u8>> {
    let read = tokio::time::timeout(Duration::from_millis(500), client.get_data("/value")).await;
    read.ok()?.ok().map(|(data, _)| data)
}

/// A server of three is removed, and none of its clients is told anything old for long. It says why it serves nobody,
/// and serves again once it is added again, without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_sends_its_clients_away() {
    let fleet = Fleet::of(3);
    let servers: Vec<Server> = (1..=3).map(|id| fleet.start(id, &[1, 2, 3], &[])).collect();
    wait_until("all serve", || servers.iter().all(|server| said(server).is_some()));
    let removed = servers.iter().position(|server| said(server).is_some_and(|it| it.mode == "follower")).unwrap();
    let (removed, other) = (&servers[removed], &servers[(removed + 1) % 3]);
    let id = servers.iter().position(|server| server.port == removed.port).unwrap() + 1;
    let writer = connector().connect(&other.address()).await.unwrap();
    writer.create("/value", b"old", &load::persistent()).await.unwrap();
    let reader = connector().connect(&removed.address()).await.unwrap();
    reader.sync("/value").await.unwrap();
    assert_eq!(value(&reader).await.as_deref(), Some(&b"old"[..]));
    let (_, _, members) = reader.get_and_watch_data("/zookeeper/config").await.unwrap();

    done(cluster(other, &["remove", &id.to_string()]));
    // Clients hear of the new members while they are still served, as clients that follow this node rely on.
    let told = tokio::time::timeout(Duration::from_secs(10), members.changed()).await.expect("the watch fires");
    assert_eq!(told.event_type, zookeeper_client::EventType::NodeDataChanged);
    writer.set_data("/value", b"new", None).await.unwrap();
    let overwritten = Instant::now();
    wait_until("the removed member serves nobody", || said(removed).is_none());
    assert!(overwritten.elapsed() < SYNC_LIMIT, "that took {:?}", overwritten.elapsed());
    assert_eq!(value(&reader).await, None);
    assert!(removed.said().contains("no member of the ensemble any more"), "{}", removed.said());

    done(cluster(other, &["add", &fleet.line(id)]));
    wait_until("it serves again", || said(removed).is_some());
    let reader = removed.connect().await;
    assert_eq!(value(&reader).await.as_deref(), Some(&b"new"[..]));
}

/// Frames with a longer message hold entries. Heartbeats are shorter.
const LARGE_BYTES: usize = 1_000;

/// Passes connections on to a member, on another address of loopback. While it is lossy, large frames towards the
/// member are lost.
fn lossy_path(port: u16) -> Arc<AtomicBool> {
    let lossy = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).expect("all of 127/8 is loopback");
    let shared = lossy.clone();
    std::thread::spawn(move || {
        for dialer in listener.incoming().map_while(Result::ok) {
            let Ok(member) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            let (back_from, back_to) = (member.try_clone().unwrap(), dialer.try_clone().unwrap());
            let lossy = shared.clone();
            std::thread::spawn(move || {
                let _ = pass_frames(&dialer, &member, &lossy);
                let _ = member.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &back_from, &mut &back_to);
                let _ = back_to.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    lossy
}

/// A frame is the length of its message (little endian), a checksum, and the message.
fn pass_frames(mut from: &TcpStream, mut to: &TcpStream, lossy: &AtomicBool) -> std::io::Result<()> {
    loop {
        let mut frame = vec![0; 8];
        from.read_exact(&mut frame)?;
        let length = u32::from_le_bytes(frame[..4].try_into().expect("four bytes")) as usize;
        frame.resize(8 + length, 0);
        from.read_exact(&mut frame[8..])?;
        if length <= LARGE_BYTES || !lossy.load(Ordering::Relaxed) {
            to.write_all(&frame)?;
        }
    }
}

/// The leader's heartbeats reach a follower, and its entries do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_gets_no_entries_serves_nobody() {
    let fleet = Fleet::of(3);
    let one = fleet.start(1, &[1, 2], &[]);
    let two = fleet.start(2, &[1, 2], &[]);
    wait_until("two serve", || status(&one).is_some() && status(&two).is_some());
    let lossy = lossy_path(fleet.ports[2][1]);
    let three = fleet.start(3, &[1, 2, 3], &[]);
    let line = fleet.line(3).replacen("127.0.0.1", "127.0.0.2", 1);
    done(cluster(&one, &["add", &line]));
    wait_until("the third serves", || said(&three).is_some());
    assert_eq!(said(&three).unwrap().mode, "follower");
    let writer = one.connect().await;
    writer.create("/value", b"old", &load::persistent()).await.unwrap();
    let reader = three.connect().await;
    reader.sync("/value").await.unwrap();

    lossy.store(true, Ordering::Relaxed);
    writer.set_data("/value", &[b'x'; 4 * LARGE_BYTES], None).await.unwrap();
    let overwritten = Instant::now();
    let mut answered = 0;
    while overwritten.elapsed() < SYNC_LIMIT + Duration::from_secs(2) {
        let late = overwritten.elapsed() > SYNC_LIMIT;
        match value(&reader).await {
            Some(old) if old == b"old" => {
                answered += 1;
                assert!(!late, "an old value {:?} after it was overwritten", overwritten.elapsed());
            }
            Some(_) => panic!("the entry arrived: the path is not lossy"),
            None => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answered > 0, "the member was current until its entry was lost");
    assert!(said(&three).is_none());
    assert!(three.said().contains("log entries of the leader are not applied"), "{}", three.said());

    lossy.store(false, Ordering::Relaxed);
    wait_until("it serves again", || said(&three).is_some());
    assert_eq!(value(&three.connect().await).await.map(|data| data.len()), Some(4 * LARGE_BYTES));
}

/// The leader stands still while the others elect another one. A read that waits in its socket is not answered with the
/// old value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_answers_nothing_old() {
    let mut ensemble = Ensemble::start(3);
    let leader = ensemble.leader();
    let others: Vec<usize> = (0..3).filter(|&member| member != leader).collect();
    let readers = futures::future::join_all((0..16).map(|_| ensemble.members[leader].connect())).await;
    let writer = ensemble.members[others[0]].connect().await;
    writer.create("/value", b"old", &load::persistent()).await.unwrap();
    readers[0].sync("/value").await.unwrap();

    ensemble.members[leader].signal(Signal::STOP);
    // A read that comes before the signal has reached all threads is answered, and rightly.
    wait_until("all threads of the leader stand still", || ensemble.members[leader].stands_still());
    let reads: Vec<_> = readers
        .iter()
        .map(|reader| {
            let reader = reader.clone();
            tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(10), reader.get_data("/value")).await })
        })
        .collect();
    ensemble.leader_among(&others);
    let writer = ensemble.members[others[1]].connect().await;
    writer.set_data("/value", b"new", None).await.unwrap();
    // Longer than the leader's word lasts, a third of the shortest session timeout of two ticks.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensemble.members[leader].signal(Signal::CONT);
    for read in reads {
        if let Ok(Ok((data, _))) = read.await.unwrap() {
            assert_eq!(data, b"new", "an old value after a pause");
        }
    }
}
