//! What strangers try: other users of the machine, clients without a password, connections that stay silent.

use crate::ensemble::{Ensemble, figure};
use crate::process::{PATIENCE, Server, free_port, wasmkeeper, words};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use wasmkeeper::client::Client as OwnClient;
use wasmkeeper::model::ErrorCode;
use wasmkeeper::wire::request::Request;
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, Error, MultiWriteError, Permission};

/// The folder and everything below it, with their permissions.
fn permissions(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = vec![(folder.to_owned(), fs::metadata(folder).unwrap().permissions().mode() & 0o777)];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(permissions(&path)),
            false => found.push((path.clone(), fs::metadata(&path).unwrap().permissions().mode() & 0o777)),
        }
    }
    found
}

/// Session passwords, access lists and settings of plugins lie in the data directory.
#[tokio::test]
async fn other_users_cannot_read_the_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start(&data, &[]);
    let client = server.connect().await;
    client.create("/a", b"1", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.unwrap();
    drop(client);
    assert!(server.terminate(), "{}", server.said());
    let all = permissions(&data);
    assert!(all.len() > 4 && all.iter().all(|(_, mode)| mode & 0o077 == 0), "{all:?}");
    assert!(!server.said().contains("open to other users"), "{}", server.said());

    // As an earlier release left the files.
    for (path, mode) in &all {
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o044)).unwrap();
    }
    server.restart();
    assert_eq!(server.connect().await.get_data("/a").await.unwrap().0, b"1");
    let all = permissions(&data);
    assert!(all.iter().all(|(_, mode)| mode & 0o077 == 0), "{all:?}");
    assert!(server.said().contains("were open to other users"), "{}", server.said());
}

/// A ConnectRequest for a session that is there already.
fn connect_request(session: i64, password: &[u8; 16]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&0i32.to_be_bytes()); // the protocol's version
    frame.extend_from_slice(&0i64.to_be_bytes()); // the last zxid seen
    frame.extend_from_slice(&10_000i32.to_be_bytes());
    frame.extend_from_slice(&session.to_be_bytes());
    frame.extend_from_slice(&16i32.to_be_bytes());
    frame.extend_from_slice(password);
    frame.push(0); // not read-only
    let mut bytes = (frame.len() as i32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&frame);
    bytes
}

/// Session numbers can be guessed, and they show in `ephemeralOwner`. ZooKeeper closes the owner's connection before it
/// looks at the password.
#[tokio::test]
async fn a_session_number_without_the_password_disconnects_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let address = server.address();
    let mut client = OwnClient::connect(&address, Duration::from_secs(40)).await.unwrap();
    let session = client.session_id();
    for _ in 0..3 {
        let mut stranger = TcpStream::connect(server.address()).unwrap();
        stranger.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stranger.write_all(&connect_request(session, &[7; 16])).unwrap();
        let mut answer = Vec::new();
        stranger.read_to_end(&mut answer).unwrap();
        let refused = answer[4..].iter().skip(4).take(12).all(|byte| *byte == 0);
        assert!(refused, "a session of 0 ms with the number 0 is a refusal: {answer:?}");
    }
    // This client does not reconnect. So its connection is the one that it began with.
    client.exists("/zookeeper").await.unwrap();
}

fn post(port: u16, path: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(socket, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Anyone may deploy only where no port can be reached from outside.
#[test]
fn an_open_port_for_http_takes_the_right_to_deploy_from_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let on = [format!("zookeeper.admin.serverPort={port}"), "zookeeper.admin.enableServer=true".into()];
    let inside = ["-D", &on[0], "-D", &on[1]];
    let outside = [&inside[..], &["-D", "zookeeper.admin.serverAddress=0.0.0.0"]].concat();
    let deploy = |server: &Server| {
        let deploy = ["plugin", "--server", &server.address(), "deploy", "bundled:guard", "--name", "names"];
        wasmkeeper(&deploy).output().expect("it runs")
    };
    let mut server = Server::start(folder.path(), &outside);
    let refused = deploy(&server);
    assert!(!refused.status.success() && words(&refused).contains("superuser"), "{}", words(&refused));
    let answer = post(port, "/plugins/names/call/x");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");

    assert!(server.terminate(), "{}", server.said());
    server.restart_with(&inside);
    let deployed = deploy(&server);
    assert!(deployed.status.success(), "{}", words(&deployed));
}

/// Three times as many connections as the server takes, and none of them asks anything.
#[test]
fn silent_connections_for_http_hold_up_no_probe() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let on = [format!("zookeeper.admin.serverPort={port}"), "zookeeper.admin.enableServer=true".into()];
    let server = Server::start(folder.path(), &["-D", &on[0], "-D", &on[1]]);
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut silent: Vec<TcpStream> = (0..192).map(|_| connect()).collect();
    for socket in &mut silent {
        // The server may have closed it already.
        let _ = socket.write_all(b"GET /healthz HTTP/1.1\r\nHost:");
    }
    let mut probe = connect();
    // Without room for the probe, this takes until the first silent connection runs out of time: 5 s.
    probe.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    probe.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    probe.read_to_string(&mut answer).expect("an answer in time");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop((silent, server));
}

/// An operator who does not know that anyone may deploy is told by the server's first lines.
#[test]
fn the_right_of_everybody_to_deploy_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let first_lines = |more: &[&str]| {
        let listen = format!("127.0.0.1:{}", free_port());
        let data = folder.path().to_str().expect("a path in UTF-8");
        let arguments = [&["serve", "--data-dir", data, "--listen", &listen][..], more].concat();
        let mut server = wasmkeeper(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
        let first = lines.next().expect("a line").expect("text");
        server.kill().expect("it runs");
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        server.wait().expect("it ends");
        (first, rest.join("\n"))
    };
    let (first, rest) = first_lines(&[]);
    assert!(first.contains("serves clients on"), "{first}");
    assert!(rest.contains("anyone on this machine may deploy"), "{rest}");
    let superuser = "zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
    assert_eq!(first_lines(&["-D", superuser]).1, "");
}

/// 8 names of 250 kB made an ACL of 62 MB in the log. Now no identity is that long, whatever it proves.
#[tokio::test]
async fn identities_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let address = server.address();
    let connect = || OwnClient::connect(&address, Duration::from_secs(40));
    let mut long = connect().await.unwrap();
    let refused = long.add_auth("digest", &[&[b'n'; 250_000][..], b":secret"].concat()).await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::AuthFailed));
    let mut many = connect().await.unwrap();
    let mut proven = 0;
    let refused = loop {
        let credential = format!("{proven:0>900}:secret");
        match many.add_auth("digest", credential.as_bytes()).await {
            Ok(()) => proven += 1,
            Err(refused) => break refused,
        }
        assert!(proven < 20, "{proven} identities of 900 bytes are proven");
    };
    assert!(proven > 4 && refused.code() == Some(ErrorCode::AuthFailed), "{proven}: {refused}");
}

/// On three servers, a follower's client leaves 3 MB of paths behind. This was one transaction, and with longer paths
/// no leader could bring that transaction to the others.
#[tokio::test]
async fn a_session_with_long_paths_can_be_ended_by_its_client_and_by_its_timeout() {
    let mut ensemble = Ensemble::start(3);
    let follower = ensemble.a_follower();
    let address = ensemble.members[follower].address();
    let connect = |timeout| OwnClient::connect(&address, timeout);
    let path = |n: usize| format!("/{n:0>15000}");
    for ends_itself in [true, false] {
        let mut client = connect(Duration::from_secs(4)).await.unwrap();
        for n in 0..200 {
            client.create(&path(n), b"", 1).await.unwrap();
        }
        match ends_itself {
            true => drop(client.call(&Request::CloseSession).await.unwrap()),
            false => drop(client),
        }
        let mut other = connect(PATIENCE).await.unwrap();
        let began = Instant::now();
        while other.exists(&path(199)).await.unwrap().is_some() || other.exists(&path(0)).await.unwrap().is_some() {
            assert!(began.elapsed() < PATIENCE, "the session does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        other.create("/alive", b"", 0).await.unwrap();
        other.call(&Request::Delete { path: Some("/alive".into()), version: -1 }).await.unwrap();
    }
}

/// Each entry `auth` of an ACL stands for all identities of a connection, so a request of 25 kB becomes a transaction
/// of 11 MB. With longer names, 84 MB unseated the leader.
#[tokio::test]
async fn a_small_request_that_grows_too_large_is_refused_and_nobody_else_notices() {
    let mut ensemble = Ensemble::start(3);
    let (leader, follower) = (ensemble.leader(), ensemble.a_follower());
    let client = ensemble.members[follower].connect().await;
    for n in 0..8 {
        client.auth("digest", format!("{n:0>900}:secret").as_bytes()).await.unwrap();
    }
    let permissions = [Permission::CREATE, Permission::READ, Permission::WRITE, Permission::DELETE, Permission::ADMIN];
    let mut acls: Vec<Acl> = Vec::new();
    for subset in 1..32 {
        let members = permissions.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
        let all = members.map(|(_, permission)| *permission).reduce(|one, other| one | other);
        acls.push(Acl::new(all.expect("a subset with members"), AuthId::authed()));
    }
    let options = CreateMode::Persistent.with_acls(Acls::new(&acls));
    client.create("/one", b"", &options).await.unwrap();
    assert_eq!(client.get_acl("/one").await.unwrap().0.len(), 31 * 8);

    let mut large = client.new_multi_writer();
    for n in 0..50 {
        large.add_create(&format!("/many{n}"), b"", &options).unwrap();
    }
    let refused = large.commit().await.unwrap_err();
    assert!(
        matches!(refused, MultiWriteError::OperationFailed { index: 30.., source: Error::BadArguments(_) }),
        "{refused:?}"
    );
    let said = String::from_utf8(client.get_data("/zookeeper/rejection").await.unwrap().0).unwrap();
    assert!(said.contains("and may have 8388608"), "{said}");
    assert!(client.check_stat("/many0").await.unwrap().is_none());
    // What is just small enough reaches the other members, and the leader stays.
    let mut allowed = client.new_multi_writer();
    for n in 0..30 {
        allowed.add_create(&format!("/many{n}"), b"", &options).unwrap();
    }
    allowed.commit().await.unwrap();
    assert_eq!(ensemble.leader(), leader);
    let weighed = figure(&ensemble.members[leader], "zk_max_proposal_size").unwrap();
    assert!((1 << 22..8 << 20).contains(&weighed), "{weighed}");
}
