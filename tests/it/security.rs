//! Authentication and authorization through the real binary: TLS, certificates, SASL, digests, ACLs.

use crate::process::{Server, connector, four_letters, free_port, wasmkeeper, words};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use wasmkeeper::client::Client as OwnClient;
use wasmkeeper::model::ErrorCode;
use zookeeper_client::{Acl, Acls, AuthId, AuthUser, Client, CreateMode, Error, Permission, SaslOptions};

/// The setting that makes `super:test` the superuser, as in ZooKeeper's documentation.
const SUPER_DIGEST: &str = "zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// The setting that allows the scheme `sasl` in ACLs.
const SASL_PROVIDER: &str = "zookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";

/// A certificate authority for a test, with a folder for the certificates that it issues.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a key and a certificate to one file `name`.pem, in the form of ZooKeeper's PEM stores.
    fn issue(&self, name: &str, common_name: &str) -> PathBuf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = self.file(&format!("{name}.pem"));
        std::fs::write(&path, key.serialize_pem() + &certificate.pem()).unwrap();
        path
    }

    fn trust_store(&self) -> PathBuf {
        let path = self.file("trust.pem");
        std::fs::write(&path, self.issuer.pem()).unwrap();
        path
    }

    /// The settings of a server that has a certificate of this authority and trusts clients with such a certificate.
    fn settings(&self) -> Vec<String> {
        vec![
            format!("zookeeper.ssl.keyStore.location={}", self.issue("server", "server").display()),
            format!("zookeeper.ssl.trustStore.location={}", self.trust_store().display()),
        ]
    }

    /// A client's handshake with `port`; `identity`: the file with its key and certificate.
    async fn handshake(&self, port: u16, identity: Option<&Path>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let chain = CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect();
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(file).unwrap()).unwrap()
            }
        };
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }

    /// A client over TLS. It connects to a local port of this test, which forwards the bytes to the server over TLS.
    async fn connect(self: &Arc<Self>, port: u16, identity: Option<PathBuf>) -> Result<Client, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let authority = self.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if let Ok(mut far) = authority.handshake(port, identity.as_deref()).await {
                    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
                }
            }
        });
        connector().with_fail_eagerly().connect(&address).await
    }
}

/// Puts `-D` in front of each setting.
fn arguments<'a>(properties: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    properties.into_iter().flat_map(|property| ["-D", property]).collect()
}

fn strings(properties: &[String]) -> impl Iterator<Item = &str> {
    properties.iter().map(String::as_str)
}

async fn own(server: &Server) -> OwnClient {
    OwnClient::connect(&server.address(), Duration::from_secs(30)).await.expect("connects")
}

fn options(acls: &[Acl]) -> zookeeper_client::CreateOptions<'_> {
    CreateMode::Persistent.with_acls(Acls::new(acls))
}

fn only(scheme: &str, who: &str) -> Vec<Acl> {
    vec![Acl::new(Permission::ALL, AuthId::new(scheme, who))]
}

#[tokio::test]
async fn certificates_are_required_and_are_identities() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Arc::new(Authority::new()));
    let secure = free_port();
    let mut settings = authority.settings();
    settings.push(format!("zookeeper.secureClientPort={secure}"));
    settings.push("zookeeper.secureClientPortAddress=127.0.0.1".into());
    settings.push("zookeeper.X509AuthenticationProvider.superUser=CN=root".into());
    let server = Server::start(folder.path(), &arguments(strings(&settings)));

    let bob = authority.connect(secure, Some(authority.issue("bob", "bob"))).await.unwrap();
    assert!(bob.list_auth_users().await.unwrap().contains(&AuthUser::new("x509", "CN=bob")));
    bob.create("/bobs", b"secret", &options(&only("x509", "CN=bob"))).await.unwrap();
    assert_eq!(bob.get_data("/bobs").await.unwrap().0, b"secret");
    bob.create("/mine", b"", &CreateMode::Persistent.with_acls(Acls::creator_all())).await.unwrap();
    assert_eq!(bob.get_acl("/mine").await.unwrap().0, only("x509", "CN=bob"));

    let eve = authority.connect(secure, Some(authority.issue("eve", "eve"))).await.unwrap();
    assert_eq!(eve.get_data("/bobs").await.unwrap_err(), Error::NoAuth);
    assert_eq!(server.connect().await.get_data("/bobs").await.unwrap_err(), Error::NoAuth);
    let root = authority.connect(secure, Some(authority.issue("root", "root"))).await.unwrap();
    assert_eq!(root.get_data("/bobs").await.unwrap().0, b"secret");

    // A client without a certificate, with one of another authority, or without TLS gets no connection.
    assert!(authority.connect(secure, None).await.is_err());
    let stranger = Authority::new();
    assert!(authority.connect(secure, Some(stranger.issue("bob", "bob"))).await.is_err());
    assert!(connector().with_fail_eagerly().connect(&format!("127.0.0.1:{secure}")).await.is_err());
    assert_eq!(bob.get_data("/bobs").await.unwrap().0, b"secret");
}

/// A server that other hosts can reach accepts deployments only if it has a superuser.
#[tokio::test]
async fn a_server_reachable_from_outside_needs_a_superuser_for_deployments() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let mut settings = authority.settings();
    settings.push(format!("zookeeper.secureClientPort={}", free_port()));
    settings.push("zookeeper.secureClientPortAddress=0.0.0.0".into());
    let server = Server::start(folder.path(), &arguments(strings(&settings)));
    let deploy = ["plugin", "--server", &server.address(), "deploy", "bundled:guard", "--name", "names"];
    let output = wasmkeeper(&deploy).output().expect("it runs");
    let said = words(&output);
    assert!(!output.status.success() && said.contains("superDigest") && said.contains("--auth"), "{said}");
    assert_eq!(own(&server).await.exists("/zookeeper/plugins").await.unwrap().map(drop), None);
}

#[tokio::test]
async fn one_port_serves_clients_with_and_without_tls() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Arc::new(Authority::new()));
    let mut settings = authority.settings();
    settings.push("zookeeper.client.portUnification=true".into());
    settings.push("zookeeper.ssl.clientAuth=want".into());
    let server = Server::start(folder.path(), &arguments(strings(&settings)));
    let plain = server.connect().await;
    plain.create("/both", b"x", &options(&[Acl::new(Permission::ALL, AuthId::anyone())])).await.unwrap();
    let bob = authority.connect(server.port, Some(authority.issue("bob", "bob"))).await.unwrap();
    assert_eq!(bob.get_data("/both").await.unwrap().0, b"x");
    assert!(bob.list_auth_users().await.unwrap().contains(&AuthUser::new("x509", "CN=bob")));
    let nobody = authority.connect(server.port, None).await.unwrap();
    // The data need more than one TLS record in each direction.
    let large = vec![7; 300_000];
    nobody.set_data("/both", &large, None).await.unwrap();
    assert_eq!(plain.get_data("/both").await.unwrap().0, large);
    assert_eq!(nobody.get_data("/both").await.unwrap().0, large);
    assert_eq!(four_letters(server.port, "ruok").as_deref(), Some("imok"));
}

#[tokio::test]
async fn new_certificates_are_loaded_without_a_restart() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Arc::new(Authority::new()));
    let mut settings = authority.settings();
    settings.push("zookeeper.client.portUnification=true".into());
    settings.push("zookeeper.ssl.clientAuth=none".into());
    settings.push("zookeeper.client.certReload=true".into());
    let server = Server::start(folder.path(), &arguments(strings(&settings)));
    let before = authority.connect(server.port, None).await.unwrap();
    let shown = async || {
        let stream = authority.handshake(server.port, None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let old = shown().await;

    // If the file is broken, the server goes on with the old certificate.
    std::fs::write(authority.file("server.pem"), "broken").unwrap();
    while !server.said().contains("the old TLS certificates stay in use") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(shown().await, old);

    authority.issue("server", "server");
    while shown().await == old {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    before.check_stat("/").await.expect("a connection outlives the certificate it began with");
}

/// A JAAS file with two users.
fn jaas(folder: &Path) -> String {
    let file = folder.join("jaas.conf");
    let text = "Server {\n    org.apache.zookeeper.server.auth.DigestLoginModule required\n    \
                user_bob=\"bobs-password\"\n    user_root=\"roots-password\";\n};\n";
    std::fs::write(&file, text).unwrap();
    format!("java.security.auth.login.config={}", file.display())
}

async fn sasl(server: &Server, user: &'static str, password: &'static str) -> Result<Client, Error> {
    let connector = connector().with_fail_eagerly().with_sasl(SaslOptions::digest_md5(user, password));
    connector.connect(&server.address()).await
}

#[tokio::test]
async fn sasl_users_are_identities() {
    let folder = tempfile::tempdir().unwrap();
    let (login, data) = (jaas(folder.path()), folder.path().join("data"));
    let server = Server::start(&data, &arguments([&login, SASL_PROVIDER, "zookeeper.superUser=root"]));
    let bob = sasl(&server, "bob", "bobs-password").await.unwrap();
    assert!(bob.list_auth_users().await.unwrap().contains(&AuthUser::new("sasl", "bob")));
    bob.create("/bobs", b"secret", &options(&only("sasl", "bob"))).await.unwrap();
    bob.create("/mine", b"", &CreateMode::Persistent.with_acls(Acls::creator_all())).await.unwrap();
    assert_eq!(bob.get_acl("/mine").await.unwrap().0, only("sasl", "bob"));
    // SASL is not required: other clients may connect, but may not read bob's znodes.
    assert_eq!(server.connect().await.get_data("/bobs").await.unwrap_err(), Error::NoAuth);
    let root = sasl(&server, "root", "roots-password").await.unwrap();
    assert_eq!(root.get_data("/bobs").await.unwrap().0, b"secret");
    for (user, password) in [("bob", "wrong"), ("nobody", "bobs-password")] {
        assert!(sasl(&server, user, password).await.is_err());
    }
    assert!(!server.said().contains("bobs-password"));
}

#[tokio::test]
async fn sasl_can_be_required() {
    let folder = tempfile::tempdir().unwrap();
    let (login, data) = (jaas(folder.path()), folder.path().join("data"));
    let require = "zookeeper.sessionRequireClientSASLAuth=true";
    let server = Server::start(&data, &arguments([&login, SASL_PROVIDER, require]));
    let bob = sasl(&server, "bob", "bobs-password").await.unwrap();
    bob.create("/a", b"", &options(&only("sasl", "bob"))).await.unwrap();
    let mut nobody = own(&server).await;
    let refused = nobody.get("/").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::SessionClosedRequireSaslAuth), "{refused}");
    nobody.get("/").await.expect_err("the connection is closed");
    let mut digest = own(&server).await;
    digest.add_auth("digest", b"bob:bobs-password").await.unwrap();
    assert_eq!(digest.get("/").await.unwrap_err().code(), Some(ErrorCode::SessionClosedRequireSaslAuth));
    assert!(sasl(&server, "bob", "wrong").await.is_err());
    bob.check_stat("/a").await.unwrap();
}

/// A SASL exchange that fails, byte by byte. `zookeeper.allowSaslFailedClients` decides whether the connection goes on.
#[tokio::test]
async fn a_failed_exchange_ends_the_connection_unless_it_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let (login, data) = (jaas(folder.path()), folder.path().join("data"));
    let mut server = Server::start(&data, &arguments([&login, SASL_PROVIDER]));
    let exchange = |token: &'static [u8]| wasmkeeper::wire::request::Request::Sasl { token: Some(token.into()) };
    let mut client = own(&server).await;
    client.call(&exchange(b"")).await.expect("a challenge");
    let refused = client.call(&exchange(b"username=\"bob\"")).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::AuthFailed), "{refused}");
    client.get("/").await.expect_err("the connection is closed");

    server.terminate();
    server.restart_with(&arguments([&login, SASL_PROVIDER, "zookeeper.allowSaslFailedClients=true"]));
    let mut client = own(&server).await;
    client.call(&exchange(b"")).await.expect("a challenge");
    client.call(&exchange(b"username=\"bob\"")).await.expect("the connection stays");
    client.get("/").await.expect("without an identity one may still read what all may");
}

#[tokio::test]
async fn digests_acls_and_the_superuser() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &arguments([SUPER_DIGEST]));
    let alice = server.connect().await;
    alice.auth("digest", b"alice:pw").await.unwrap();
    alice.create("/alices", b"secret", &CreateMode::Persistent.with_acls(Acls::creator_all())).await.unwrap();
    let other = server.connect().await;
    assert_eq!(other.get_data("/alices").await.unwrap_err(), Error::NoAuth);
    assert_eq!(other.set_data("/alices", b"", None).await.unwrap_err(), Error::NoAuth);
    assert_eq!(
        other.create("/alices/x", b"", &options(&only("world", "anyone"))).await.map(drop).unwrap_err(),
        Error::NoAuth
    );
    other.auth("digest", b"super:wrong").await.unwrap();
    assert_eq!(other.get_data("/alices").await.unwrap_err(), Error::NoAuth);
    other.auth("digest", b"super:test").await.unwrap();
    assert_eq!(other.get_data("/alices").await.unwrap().0, b"secret");

    // All clients may read, and only alice may do more.
    let mut acls = alice.get_acl("/alices").await.unwrap().0;
    acls.push(Acl::new(Permission::READ, AuthId::anyone()));
    alice.set_acl("/alices", &acls, None).await.unwrap();
    let third = server.connect().await;
    assert_eq!(third.get_data("/alices").await.unwrap().0, b"secret");
    assert_eq!(third.set_data("/alices", b"", None).await.unwrap_err(), Error::NoAuth);
    assert_eq!(third.set_acl("/alices", &acls, None).await.unwrap_err(), Error::NoAuth);
}

#[tokio::test]
async fn authentication_can_be_enforced() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["zookeeper.enforce.auth.enabled=true", "zookeeper.enforce.auth.schemes=digest"];
    let server = Server::start(folder.path(), &arguments(settings));
    let mut nobody = own(&server).await;
    let refused = nobody.get("/").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::SessionClosedRequireSaslAuth), "{refused}");
    nobody.get("/").await.expect_err("the connection is closed");
    let mut alice = own(&server).await;
    alice.add_auth("digest", b"alice:pw").await.unwrap();
    alice.create("/a", b"", 0).await.unwrap();
}
