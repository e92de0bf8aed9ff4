//! Two members at the two ends of a connection: who is admitted, what a dialer learns, limits, TLS.

use super::testing::MemoryNet;
use super::*;
use crate::config::{ClientAuth, PeerTls, Secret, Store, StoreFormat, TlsVersions};
use crate::limits;
use crate::model::ensemble::Server;
use futures::future::BoxFuture;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

const CLUSTER: u64 = 77;
const PORT: u16 = 2888;

/// Sends back what it gets. Member 9 is not admitted.
#[derive(Default)]
struct Echo {
    /// Where member 1 is known to be. Empty: names do not count.
    host_of_1: &'static str,
}

impl ConnectionHandler for Echo {
    fn admit(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        if hello.from == 9 { Err(HelloRefusal::UnknownMember { id: 9 }) } else { Ok(()) }
    }

    fn hosts_of(&self, id: u32) -> Vec<String> {
        if id == 1 && !self.host_of_1.is_empty() { vec![self.host_of_1.to_owned()] } else { Vec::new() }
    }

    fn serve(self: Arc<Self>, mut connection: Connection) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(text)) = connection.reader.next::<String>().await {
                if connection.writer.send(&text).await.is_err() {
                    break;
                }
            }
        })
    }
}

fn me(id: u32) -> LocalMember {
    LocalMember::new(id, [id as u8; 16], limits::FORMAT_LEVEL, CLUSTER)
}

fn server(id: u32, addresses: &str) -> Server {
    Server::parse(id, addresses).unwrap()
}

/// Member `id` listens on host `host`.
async fn serve(net: &MemoryNet, host: &str, id: u32) -> JoinHandle<()> {
    let listener = net.host(host).listen((Ipv4Addr::UNSPECIFIED, PORT).into()).await.unwrap();
    tokio::spawn(accept(listener, me(id), Arc::new(Echo::default())))
}

fn peers(net: &MemoryNet, host: &str, id: u32) -> Peers {
    Peers::new(net.host(host), me(id))
}

async fn echoes(connection: &mut Connection, text: &str) -> io::Result<()> {
    connection.writer.send(&text.to_owned()).await?;
    let back: Option<String> = connection.reader.next().await?;
    assert_eq!(back.as_deref(), Some(text));
    Ok(())
}

fn rejection(result: Result<Connection, ConnectError>) -> HelloRefusal {
    match result {
        Err(ConnectError::Rejected(refusal)) => refusal,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("connected"),
    }
}

#[tokio::test(start_paused = true)]
async fn two_members_know_each_other_before_they_talk() {
    let net = MemoryNet::new();
    let _serving = serve(&net, "b", 2).await;
    let to = server(2, "b:2888:3888");
    let mut connection = peers(&net, "a", 1).connect(&to, Some([2; 16]), Purpose::Requests).await.unwrap();
    let Accepted { cluster, incarnation, format_level, nonce, wall_ms, proof } = connection.welcome;
    assert!((crate::environment::wall_ms() - wall_ms).abs() < 600_000, "the acceptor's clock is told");
    assert_eq!((cluster, incarnation, format_level), (CLUSTER, [2; 16], limits::FORMAT_LEVEL));
    assert_eq!((connection.hello.purpose, proof), (Purpose::Requests, None));
    assert_ne!(nonce, connection.hello.nonce);
    // More bytes than a hello may have.
    echoes(&mut connection, &"x".repeat(1 << 20)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_not_meant_or_not_let_in_learns_why() {
    let net = MemoryNet::new();
    let _serving = serve(&net, "b", 2).await;
    let to = |id| server(id, "b:2888:3888");
    let votes = Purpose::Votes;
    let refused = rejection(peers(&net, "a", 9).connect(&to(2), None, votes).await);
    assert_eq!(refused, HelloRefusal::UnknownMember { id: 9 });
    let refused = rejection(peers(&net, "a", 1).connect(&to(3), None, votes).await);
    assert_eq!(refused, HelloRefusal::NotMe { wanted: 3, is: 2 });
    let stranger = Peers::new(net.host("a"), LocalMember::new(1, [1; 16], 1, 5));
    let refused = rejection(stranger.connect(&to(2), None, votes).await);
    assert_eq!(refused, HelloRefusal::OtherCluster { from: 1, to: 2, dialer: 5, acceptor: CLUSTER });
    let empty = Peers::new(net.host("a"), LocalMember::new(1, [1; 16], 1, 0));
    assert_eq!(empty.connect(&to(2), None, Purpose::Greeting).await.unwrap().welcome.cluster, CLUSTER);
    // The dialer checks too: this is not the data directory that it knows.
    let refused = rejection(peers(&net, "a", 1).connect(&to(2), Some([8; 16]), votes).await);
    assert_eq!(refused, HelloRefusal::OtherIncarnation { id: 2, known: [8; 16], shown: [2; 16] });
}

#[tokio::test(start_paused = true)]
async fn a_hello_of_another_version_is_answered() {
    let net = MemoryNet::new();
    let _serving = serve(&net, "b", 2).await;
    let socket = net.host("a").dial("b", PORT).await.unwrap();
    let (mut reader, mut writer) = frame::split(socket, limits::PEER_HELLO_BYTES_MAX);
    writer.send(&(PROTOCOL + 1, "a later version's hello")).await.unwrap();
    let welcome = reader.next::<Welcome>().await.unwrap();
    let refusal = HelloRefusal::OtherProtocol { dialer: PROTOCOL + 1, acceptor: PROTOCOL };
    assert_eq!(welcome, Some(Welcome::Refused(refusal)));
}

#[tokio::test(start_paused = true)]
async fn each_address_is_tried_in_its_order() {
    let net = MemoryNet::new();
    let _right = serve(&net, "right", 2).await;
    let _other = serve(&net, "other", 2).await;
    net.host("dark");
    net.cut("a", "dark");
    let from = peers(&net, "a", 1);
    let connect = |addresses: &'static str| {
        let to = server(2, addresses);
        let from = &from;
        async move { from.connect(&to, None, Purpose::Appends).await }
    };
    // The dialer goes past an address where nobody listens, a name without address, and a host that does not answer.
    connect("empty:1:1|no-such-name:1:1|dark:2888:1|right:2888:1").await.unwrap();
    let before = tokio::time::Instant::now();
    connect("right:2888:1|dark:2888:1").await.unwrap();
    assert_eq!(before.elapsed(), std::time::Duration::ZERO, "the first one that works is taken");
    net.host("empty");
    assert!(matches!(connect("empty:1:1|right:1:1").await, Err(ConnectError::Refused)));
    // If one address may lead to a living process, the process does not count as gone.
    for unclear in ["empty:1:1|dark:2888:1", "dark:2888:1|empty:1:1", "no-such-name:1:1|empty:1:1"] {
        assert!(matches!(connect(unclear).await, Err(ConnectError::Unreachable(_))), "{unclear}");
    }
    assert!(matches!(from.connect(&Server::default(), None, Purpose::Votes).await, Err(ConnectError::Unreachable(_))));
}

#[tokio::test(start_paused = true)]
async fn gone_and_silent_are_told_apart() {
    let net = MemoryNet::new();
    let serving = serve(&net, "b", 2).await;
    let (from, to) = (peers(&net, "a", 1), server(2, "b:2888:3888"));
    let mut connection = from.connect(&to, None, Purpose::Appends).await.unwrap();
    net.cut("a", "b");
    let before = tokio::time::Instant::now();
    assert!(matches!(from.connect(&to, None, Purpose::Appends).await, Err(ConnectError::Unreachable(_))));
    assert_eq!(before.elapsed(), limits::PEER_CONNECT_TIMEOUT);
    // Bytes that were sent into the cut cable arrive when it is healed.
    {
        let mut echoed = std::pin::pin!(echoes(&mut connection, "late"));
        assert!(futures::poll!(&mut echoed).is_pending());
        net.heal("a", "b");
        echoed.await.unwrap();
    }
    net.reset("a", "b");
    assert_eq!(echoes(&mut connection, "lost").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let mut connection = from.connect(&to, None, Purpose::Appends).await.unwrap();
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    assert!(connection.reader.next::<String>().await.unwrap().is_none(), "its connections end with the acceptor");
    assert!(matches!(from.connect(&to, None, Purpose::Appends).await, Err(ConnectError::Refused)));
}

/// A peer whose process is stopped: its kernel accepts, and the process says nothing.
#[tokio::test(start_paused = true)]
async fn a_welcome_that_does_not_come_is_not_waited_for() {
    let net = MemoryNet::new();
    let _silent = net.host("b").listen((Ipv4Addr::UNSPECIFIED, PORT).into()).await.unwrap();
    let result = peers(&net, "a", 1).connect(&server(2, "b:2888:3888"), None, Purpose::Votes).await;
    assert!(matches!(result, Err(ConnectError::Unreachable(error)) if error.kind() == io::ErrorKind::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn who_says_no_hello_is_dropped() {
    let net = MemoryNet::new();
    let _serving = serve(&net, "b", 2).await;
    let mut silent = net.host("a").dial("b", PORT).await.unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(before.elapsed(), limits::PEER_HELLO_TIMEOUT);
    // The acceptor closes a connection on bytes that are no hello, or on a hello that is too long, and does not wait
    // for more.
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[1, 4, 0, 0, 0, 0, 0, 0], &[0; 8]] {
        let mut stranger = net.host("a").dial("b", PORT).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        let before = tokio::time::Instant::now();
        assert_eq!(stranger.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(before.elapsed() < limits::PEER_HELLO_TIMEOUT, "{bytes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_bounded() {
    let net = MemoryNet::new();
    let _serving = serve(&net, "b", 2).await;
    let (from, to) = (peers(&net, "a", 1), server(2, "b:2888:3888"));
    let mut held = Vec::new();
    for _ in 0..limits::PEER_CONNECTIONS_MAX {
        held.push(from.connect(&to, None, Purpose::Requests).await.unwrap());
    }
    let refused = rejection(from.connect(&to, None, Purpose::Requests).await);
    assert_eq!(refused, HelloRefusal::Full { id: 2 });
    held.pop();
    from.connect(&to, None, Purpose::Requests).await.unwrap();
}

/// Strangers who say nothing fill the room of those who prove themselves. A member comes in all the same.
#[tokio::test(start_paused = true)]
async fn silent_strangers_keep_no_member_out() {
    let net = MemoryNet::new();
    let _serving = serve(&net, "b", 2).await;
    let (from, to) = (peers(&net, "a", 1), server(2, "b:2888:3888"));
    let mut silent = Vec::new();
    for _ in 0..limits::PEER_NEWCOMERS_MAX {
        silent.push(net.host("stranger").dial("b", PORT).await.unwrap());
    }
    let before = tokio::time::Instant::now();
    let mut connection = from.connect(&to, None, Purpose::Requests).await.unwrap();
    assert_eq!(silent[0].read(&mut [0; 1]).await.unwrap(), 0, "the oldest one has gone");
    assert_eq!(before.elapsed(), std::time::Duration::ZERO);
    echoes(&mut connection, "still here").await.unwrap();
    // Nothing of the strangers is left once they had their time, and the member still is there.
    tokio::time::sleep(limits::PEER_HELLO_TIMEOUT).await;
    assert_eq!(silent[1].read(&mut [0; 1]).await.unwrap(), 0);
    echoes(&mut connection, "and here").await.unwrap();
}

fn secret(digits: &str) -> Option<EnsembleSecret> {
    Some(EnsembleSecret::parse(&digits.repeat(32)).unwrap())
}

/// Either end refuses an end without the ensemble's secret, or with another one, and both learn why.
#[tokio::test(start_paused = true)]
async fn members_prove_the_secret_to_each_other() {
    let net = MemoryNet::new();
    for (host, has) in [("with", secret("ab")), ("without", None)] {
        let listener = net.host(host).listen((Ipv4Addr::UNSPECIFIED, PORT).into()).await.unwrap();
        tokio::spawn(accept(listener, me(2).with_secret(has), Arc::new(Echo::default())));
    }
    let dial = |to: &'static str, has: Option<EnsembleSecret>| {
        let from = Peers::new(net.host("a"), me(1).with_secret(has));
        async move { from.connect(&server(2, &format!("{to}:2888:3888")), None, Purpose::Greeting).await }
    };
    let mut connection = dial("with", secret("ab")).await.unwrap();
    assert!(connection.welcome.proof.is_some());
    echoes(&mut connection, "among us").await.unwrap();
    echoes(&mut dial("without", None).await.unwrap(), "among all").await.unwrap();
    assert_eq!(rejection(dial("with", None).await), HelloRefusal::NoSecret { without: 1, with: 2 });
    assert_eq!(rejection(dial("without", secret("ab")).await), HelloRefusal::NoSecret { without: 2, with: 1 });
    assert_eq!(rejection(dial("with", secret("cd")).await), HelloRefusal::OtherSecret { from: 1, to: 2 });
}

/// Somebody at a member's address who proves nothing cannot tell a member that it was removed.
#[tokio::test(start_paused = true)]
async fn a_refusal_without_proof_is_not_believed() {
    let net = MemoryNet::new();
    let mut listener = net.host("b").listen((Ipv4Addr::UNSPECIFIED, PORT).into()).await.unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (mut reader, mut writer) = frame::split(socket, limits::PEER_HELLO_BYTES_MAX);
            let _: Option<Hello> = reader.next().await.unwrap();
            writer.send(&Welcome::Refused(HelloRefusal::UnknownMember { id: 1 })).await.unwrap();
        }
    });
    let from = Peers::new(net.host("a"), me(1).with_secret(secret("ab")));
    match from.connect(&server(2, "b:2888:3888"), None, Purpose::Requests).await {
        Err(ConnectError::Unreachable(error)) => {
            assert!(error.to_string().contains("has not proven itself"), "{error}")
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

/// A stranger who says that it has the secret is not heard, whatever it sends in place of the proof.
#[tokio::test(start_paused = true)]
async fn a_claim_without_proof_is_refused() {
    let net = MemoryNet::new();
    let listener = net.host("b").listen((Ipv4Addr::UNSPECIFIED, PORT).into()).await.unwrap();
    tokio::spawn(accept(listener, me(2).with_secret(secret("ab")), Arc::new(Echo::default())));
    for proof in [None, Some([0; 32]), Some([0xff; 32])] {
        let socket = net.host("stranger").dial("b", PORT).await.unwrap();
        let (mut reader, mut writer) = frame::split(socket, limits::PEER_HELLO_BYTES_MAX);
        let hello = me(1).with_secret(secret("00")).hello(2, Purpose::Greeting).unwrap();
        writer.send(&hello).await.unwrap();
        let Some(Welcome::Accepted(welcome)) = reader.next().await.unwrap() else { panic!("refused too early") };
        // The acceptor's own proof, sent back, proves nothing either.
        let proof = proof.filter(|proof| *proof != [0xff; 32]).or(welcome.proof.filter(|_| proof.is_some()));
        writer.send(&hello::Claim { proof }).await.unwrap();
        let admission = reader.next::<hello::Admission>().await.unwrap();
        assert!(matches!(admission, Some(hello::Admission::Refused(_))), "{admission:?}");
        assert!(reader.next::<hello::Admission>().await.is_ok_and(|more| more.is_none()), "the end");
    }
}

/// Real sockets on this machine.
#[tokio::test]
async fn over_tcp() {
    let net: Arc<dyn Net> = Arc::new(TcpNet::new(None).unwrap());
    let (serving, port) = serve_tcp(&net).await;
    let to = server(2, &format!("127.0.0.1:{port}:1"));
    let from = Peers::new(net, me(1));
    let mut connection = from.connect(&to, None, Purpose::Appends).await.unwrap();
    echoes(&mut connection, "hello").await.unwrap();
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    assert!(matches!(from.connect(&to, None, Purpose::Appends).await, Err(ConnectError::Refused)));
}

async fn serve_tcp(net: &Arc<dyn Net>) -> (JoinHandle<()>, u16) {
    serve_tcp_as(net, Echo::default()).await
}

async fn serve_tcp_as(net: &Arc<dyn Net>, echo: Echo) -> (JoinHandle<()>, u16) {
    let listener = net.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let port = listener.local_address().unwrap().port();
    (tokio::spawn(accept(listener, me(2), Arc::new(echo))), port)
}

/// A CA, and the stores of its members.
struct Ca {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Ca {
    fn new() -> Ca {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// The TLS settings of a member on that host.
    fn member(&self, folder: &Path, host: &str) -> PeerTls {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let serial = std::fs::read_dir(folder).unwrap().count();
        let store = |name: &str, text: &str| {
            let path = folder.join(format!("{serial}-{name}.pem"));
            std::fs::write(&path, text).unwrap();
            Store { path, format: StoreFormat::Pem, password: Secret::default() }
        };
        PeerTls {
            key_store: store("key", &(key.serialize_pem() + &certificate.pem())),
            trust_store: store("trust", &self.pem),
            client_auth: ClientAuth::Need,
            verify_names: true,
            allowed_names: Vec::new(),
            versions: TlsVersions { v1_2: true, v1_3: true },
            cipher_suites: Vec::new(),
            reload: true,
        }
    }
}

/// Tests whether a dialer with these settings gets an echo from an acceptor with those.
async fn secure(acceptor: &PeerTls, dialer: Option<&PeerTls>) -> Result<(), String> {
    secure_as(acceptor, dialer, Echo::default()).await
}

async fn secure_as(acceptor: &PeerTls, dialer: Option<&PeerTls>, echo: Echo) -> Result<(), String> {
    let net: Arc<dyn Net> = Arc::new(TcpNet::new(Some(acceptor)).unwrap());
    let (serving, port) = serve_tcp_as(&net, echo).await;
    let from = Peers::new(Arc::new(TcpNet::new(dialer).unwrap()), me(1));
    let to = server(2, &format!("127.0.0.1:{port}:1"));
    let connected = from.connect(&to, None, Purpose::Appends).await;
    let result = match connected {
        Ok(mut connection) => echoes(&mut connection, "secret").await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    serving.abort();
    result
}

#[tokio::test]
async fn members_show_each_other_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Ca::new(), Ca::new());
    let acceptor = ca.member(folder.path(), "127.0.0.1");
    let dialer = ca.member(folder.path(), "anything");
    for versions in [TlsVersions { v1_2: true, v1_3: false }, TlsVersions { v1_2: false, v1_3: true }] {
        let dialer = PeerTls { versions, ..dialer.clone() };
        assert_eq!(secure(&acceptor, Some(&dialer)).await, Ok(()));
        // First the dialer's certificate comes from a CA that the acceptor does not trust. Then the dialer does not
        // trust the CA of the acceptor's certificate.
        let stranger = PeerTls { key_store: other.member(folder.path(), "anything").key_store, ..dialer.clone() };
        assert!(secure(&acceptor, Some(&stranger)).await.is_err());
        let distrusts = PeerTls { trust_store: other.member(folder.path(), "anything").trust_store, ..dialer };
        let error = secure(&acceptor, Some(&distrusts)).await.unwrap_err();
        assert!(error.contains("127.0.0.1") && error.contains("certificate"), "{error}");
    }
    assert!(secure(&acceptor, None).await.is_err(), "without TLS");
}

#[tokio::test]
async fn the_name_in_the_certificate_counts_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let acceptor = ca.member(folder.path(), "zk2.example");
    let dialer = ca.member(folder.path(), "zk1.example");
    assert!(secure(&acceptor, Some(&dialer)).await.is_err());
    let lenient = PeerTls { verify_names: false, ..dialer };
    assert_eq!(secure(&acceptor, Some(&lenient)).await, Ok(()));
    // Another CA's certificate is still refused.
    let stranger = Ca::new().member(folder.path(), "127.0.0.1");
    assert!(secure(&stranger, Some(&lenient)).await.is_err());
}

/// A certificate of the CA lets its owner speak for the member whose host it names, and for no other member.
#[tokio::test]
async fn a_certificate_speaks_for_its_own_member_only() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let acceptor = ca.member(folder.path(), "127.0.0.1");
    let of = |host: &str| ca.member(folder.path(), host);
    let echo = || Echo { host_of_1: "zk1.example" };
    assert_eq!(secure_as(&acceptor, Some(&of("zk1.example")), echo()).await, Ok(()));
    let error = secure_as(&acceptor, Some(&of("zk3.example")), echo()).await.unwrap_err();
    assert!(error.contains("calls itself member 1 names zk3.example") && error.contains("allowedNames"), "{error}");
    let address = secure_as(&acceptor, Some(&of("10.0.0.1")), echo()).await.unwrap_err();
    assert!(address.contains("names 10.0.0.1"), "{address}");
    let listed = PeerTls { allowed_names: vec!["zk3.example".to_owned()], ..acceptor.clone() };
    assert_eq!(secure_as(&listed, Some(&of("zk3.example")), echo()).await, Ok(()));
    let lenient = PeerTls { verify_names: false, ..acceptor };
    assert_eq!(secure_as(&lenient, Some(&of("zk3.example")), echo()).await, Ok(()));
}

/// Whether dialer and acceptor complete a handshake.
async fn shake_hands(dialer: &tls::Tls, acceptor: &tls::Tls) -> bool {
    let (near, far) = tokio::io::duplex(1 << 16);
    let dial = async {
        let mut stream = dialer.connect("127.0.0.1", near).await?;
        stream.read_u8().await
    };
    let answer = async {
        let mut stream = acceptor.accept(far).0;
        stream.write_u8(7).await?;
        stream.flush().await
    };
    let (dialed, answered) = tokio::join!(dial, answer);
    dialed.is_ok() && answered.is_ok()
}

#[tokio::test]
async fn changed_certificates_are_taken_up_and_broken_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Ca::new(), Ca::new());
    let settings = ca.member(folder.path(), "127.0.0.1");
    let (member, restarted_later) = (tls::Tls::new(&settings).unwrap(), tls::Tls::new(&settings).unwrap());
    assert!(!member.reload().unwrap());
    std::fs::write(&settings.key_store.path, "nothing").unwrap();
    assert!(member.reload().is_err());
    assert!(!member.reload().unwrap(), "told once");
    assert!(shake_hands(&member, &restarted_later).await, "the old ones stay in use");
    let new = other.member(folder.path(), "127.0.0.1");
    std::fs::rename(&new.key_store.path, &settings.key_store.path).unwrap();
    std::fs::rename(&new.trust_store.path, &settings.trust_store.path).unwrap();
    assert!(member.reload().unwrap());
    assert!(shake_hands(&member, &member).await);
    assert!(!shake_hands(&member, &restarted_later).await && !shake_hands(&restarted_later, &member).await);
}

/// A client that speaks TLS and has no certificate.
#[tokio::test]
async fn without_a_certificate_nobody_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let settings = ca.member(folder.path(), "127.0.0.1");
    for (client_auth, heard) in [(ClientAuth::Need, false), (ClientAuth::None, true)] {
        let acceptor = tls::Tls::new(&PeerTls { client_auth, ..settings.clone() }).unwrap();
        let provider = crate::tls::provider(&[]);
        let trusted = crate::tls::ServerCertificates::new(&settings.trust_store, false, &provider).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusted))
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(1 << 16);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let dial = async {
            let mut stream = connector.connect(name, near).await?;
            stream.write_u8(7).await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        let answer = async {
            let mut stream = acceptor.accept(far).0;
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await?;
            stream.flush().await
        };
        let (dialed, answered) = tokio::join!(dial, answer);
        assert_eq!((dialed.is_ok(), answered.is_ok()), (heard, heard), "{client_auth:?}");
    }
}
