//! The bundled policy `rbac` and authenticator `jwt` through the real binary, with a client from another project.

use crate::process::{Server, connector, wasmkeeper, words};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};
use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, Client, CreateMode, Error, EventType, MultiReadResult, Permission,
};

const KEY: &[u8] = b"many bytes that ought to be random";

/// A token that expires in `seconds`. If negative, the token has already expired.
fn token(subject: &str, groups: &[&str], seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let claims = json!({ "sub": subject, "groups": groups, "exp": now + seconds });
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(json!({ "alg": "HS256" }).to_string()), part(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(hmac(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// HMAC with SHA-256 (RFC 2104) and a key that fits a block.
fn hmac(text: &[u8]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(KEY).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

fn plugin(server: &Server, arguments: &[&str]) {
    let output = wasmkeeper(&["plugin", "--server", &server.address()]).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "wasmkeeper plugin {arguments:?}: {}", words(&output));
}

fn deploy_jwt(server: &Server) {
    let key = json!({ "kid": "test", "alg": "HS256", "secret": URL_SAFE_NO_PAD.encode(KEY) });
    let settings = json!({ "keys": [key] }).to_string();
    plugin(server, &["deploy", "bundled:jwt", "--name", "jwt", "--scheme", "jwt", "--settings", &settings]);
}

fn deploy_rbac(server: &Server, more: &[&str]) {
    let bound = ["deploy", "bundled:rbac", "--name", "rbac", "--path", "/app", "--path", "/app/**"];
    plugin(server, &[&bound[..], &["--grant", "read:/rbac"], more].concat());
}

async fn login(server: &Server, subject: &str, groups: &[&str]) -> Client {
    let token = token(subject, groups, 3_600);
    connector().with_auth("jwt", token.as_bytes()).connect(&server.address()).await.expect("the token is good")
}

async fn create(client: &Client, path: &str, data: &str) -> Result<(), Error> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, data.as_bytes(), &options).await.map(drop)
}

async fn put(client: &Client, path: &str, data: &str) {
    if create(client, path, data).await == Err(Error::NodeExists) {
        client.set_data(path, data.as_bytes(), None).await.unwrap();
    }
}

/// The newest refusal of this connection.
async fn rejection(client: &Client) -> String {
    let text = String::from_utf8(client.get_data("/zookeeper/rejection").await.unwrap().0).unwrap();
    text.lines().next().unwrap_or_default().to_owned()
}

/// A server with `jwt` and `rbac` on `/app`, where alice is a developer, and a client to which no policy applies.
async fn with_roles(server: &Server) -> Client {
    let admin = server.connect().await;
    for path in ["/app", "/app/a", "/rbac", "/rbac/roles", "/rbac/subjects"] {
        create(&admin, path, "first").await.unwrap();
    }
    let developer = r#"{"allow":[{"path":"/app","verbs":["read","set"]}]}"#;
    create(&admin, "/rbac/roles/developer", developer).await.unwrap();
    create(&admin, "/rbac/subjects/jwt:alice", r#"["developer"]"#).await.unwrap();
    deploy_jwt(server);
    admin
}

#[tokio::test]
async fn roles_decide_about_reads_writes_and_events() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let admin = with_roles(&server).await;
    deploy_rbac(&server, &[]);
    let (alice, bob) = (login(&server, "alice", &[]).await, login(&server, "bob", &[]).await);
    for _ in 0..3 {
        assert_eq!(alice.get_data("/app/a").await.unwrap().0, b"first");
        assert_eq!(bob.get_data("/app/a").await.unwrap_err(), Error::NoAuth);
        let said = rejection(&bob).await;
        assert!(said.starts_with("rbac: /app/a: "), "{said}");
        assert_eq!(bob.check_stat("/app/none").await.unwrap_err(), Error::NoAuth, "exists is denied, too");
        assert_eq!(alice.check_stat("/app/none").await.unwrap(), None);
        assert_eq!(alice.list_children("/app").await.unwrap_err(), Error::NoAuth, "the verb children is not allowed");
        assert_eq!(admin.get_data("/rbac").await.unwrap().0, b"first");
    }
    assert_eq!(bob.watch("/app/a", AddWatchMode::Persistent).await.map(drop).unwrap_err(), Error::NoAuth);

    let mut all = bob.watch("/", AddWatchMode::PersistentRecursive).await.unwrap();
    let (_, _, one) = alice.get_and_watch_data("/app/a").await.unwrap();
    assert_eq!(bob.set_data("/app/a", b"bob's", None).await.map(drop).unwrap_err(), Error::NoAuth);
    alice.set_data("/app/a", b"second", None).await.unwrap();
    assert_eq!(one.changed().await.event_type, EventType::NodeDataChanged);
    create(&admin, "/free", "").await.unwrap();
    let heard = all.changed().await;
    assert_eq!(
        (heard.event_type, heard.path.as_str()),
        (EventType::NodeCreated, "/free"),
        "the event about /app was withheld"
    );

    let mut many = alice.new_multi_reader();
    for path in ["/app/a", "/app/none", "/free"] {
        many.add_get_data(path).unwrap();
    }
    many.add_get_children("/app").unwrap();
    let slots = many.commit().await.unwrap();
    assert!(matches!(&slots[0], MultiReadResult::Data { data, .. } if data == b"second"), "{slots:?}");
    assert!(matches!(&slots[1], MultiReadResult::Error { err: Error::NoNode }), "{slots:?}");
    assert!(matches!(&slots[2], MultiReadResult::Data { .. }), "{slots:?}");
    assert!(matches!(&slots[3], MultiReadResult::Error { err: Error::NoAuth }), "{slots:?}");

    // A role that is granted or revoked takes effect at that zxid, for reads and for writes.
    for round in 0..20 {
        put(&admin, "/rbac/subjects/jwt:alice", "[]").await;
        alice.sync("/app").await.unwrap();
        assert_eq!(alice.get_data("/app/a").await.unwrap_err(), Error::NoAuth, "round {round}");
        assert_eq!(alice.set_data("/app/a", b"x", None).await.map(drop).unwrap_err(), Error::NoAuth);
        put(&admin, "/rbac/subjects/jwt:alice", r#"["developer"]"#).await;
        alice.sync("/app").await.unwrap();
        assert_eq!(alice.get_data("/app/a").await.unwrap().0, b"second", "round {round}");
    }
    put(&admin, "/rbac/subjects/jwt:bob", r#"["developer"]"#).await;
    bob.sync("/app").await.unwrap();
    assert_eq!(bob.get_data("/app/a").await.unwrap().0, b"second");
}

#[tokio::test]
async fn if_an_allow_is_required_an_abstention_denies() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    with_roles(&server).await;
    deploy_rbac(&server, &["--settings", r#"{"otherwise":"abstain"}"#]);
    let (alice, bob) = (login(&server, "alice", &[]).await, login(&server, "bob", &[]).await);
    bob.get_data("/app/a").await.unwrap();
    deploy_rbac(&server, &["--settings", r#"{"otherwise":"abstain"}"#, "--require", "allow"]);
    alice.get_data("/app/a").await.unwrap();
    assert_eq!(bob.get_data("/app/a").await.unwrap_err(), Error::NoAuth);
    let said = rejection(&bob).await;
    assert!(said.starts_with("rbac: /app/a: no policy allows it, and one must"), "{said}");
}

#[tokio::test]
async fn acls_name_identities_that_tokens_prove_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    deploy_jwt(&server);
    let alice = login(&server, "alice", &["dev"]).await;
    let users = alice.list_auth_users().await.unwrap();
    for user in ["alice", "group:dev"] {
        assert!(users.iter().any(|known| (known.scheme(), known.user()) == ("jwt", user)), "{users:?}");
    }
    let acls = [
        Acl::new(Permission::ALL, AuthId::new("jwt", "alice")),
        Acl::new(Permission::READ, AuthId::new("jwt", "group:ops")),
    ];
    let listed = CreateMode::Persistent.with_acls(Acls::new(&acls));
    alice.create("/pay", b"data", &listed).await.unwrap();
    // The scheme `auth` stands for the identities of the connection.
    alice.create("/own", b"data", &CreateMode::Persistent.with_acls(Acls::creator_all())).await.unwrap();
    let unknown = [Acl::new(Permission::ALL, AuthId::new("nope", "alice"))];
    let unknown = CreateMode::Persistent.with_acls(Acls::new(&unknown));
    assert_eq!(alice.create("/x", b"", &unknown).await.map(drop).unwrap_err(), Error::InvalidAcl);
    drop(alice);
    server.kill();
    server.restart();

    let (alice, ops) = (login(&server, "alice", &[]).await, login(&server, "olga", &["ops", "dev"]).await);
    alice.set_data("/pay", b"new", None).await.unwrap();
    alice.set_data("/own", b"new", None).await.unwrap();
    assert_eq!(ops.get_data("/pay").await.unwrap().0, b"new");
    assert_eq!(ops.set_data("/pay", b"x", None).await.map(drop).unwrap_err(), Error::NoAuth);
    assert_eq!(ops.get_data("/own").await.unwrap().0, b"new", "olga is in a group that owned the znode");
    let nobody = server.connect().await;
    assert_eq!(nobody.get_data("/pay").await.unwrap_err(), Error::NoAuth);
    nobody.auth("jwt", token("alice", &[], 3_600).as_bytes()).await.unwrap();
    nobody.get_data("/pay").await.unwrap();

    for bad in [token("alice", &[], -3_600), token("alice", &[], 60) + "x", "no token".to_owned()] {
        let client = server.connect().await;
        assert_eq!(client.auth("jwt", bad.as_bytes()).await.unwrap_err(), Error::AuthFailed, "{bad}");
        assert!(!server.said().contains(&bad), "credentials are not logged");
    }
    // Without the authenticator, ACL entries of its scheme match no client.
    plugin(&server, &["remove", "jwt"]);
    assert_eq!(alice.get_data("/pay").await.unwrap_err(), Error::NoAuth);
}
