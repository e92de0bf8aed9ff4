//! Clients that write to an ensemble during faults, and remember the acknowledged writes.
//!
//! Each client writes growing numbers into its own register, and creates sequential znodes. A write without an answer
//! may have taken effect or not. The client then writes the next number. So a register holds at least the last number
//! that was acknowledged, and at most the last number that was written. Each client also owns an ephemeral znode: if
//! its session ends, that znode is deleted.

use super::Ensemble;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error};

/// The session timeout. It exceeds every fault of these tests, so no session may end.
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of one client: its session, and its acknowledged writes.
struct Known {
    /// The session that owns the client's ephemeral znode.
    session: i64,
    acknowledged: u64,
    tried: u64,
    /// Paths of the acknowledged sequential znodes.
    created: Vec<String>,
}

/// A running load.
pub(crate) struct Load {
    /// The number of writes acknowledged so far to all clients.
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(Known, Client)>>,
}

/// The result of a load that has ended.
pub(crate) struct Written {
    known: Vec<Known>,
    /// The clients. They keep the sessions open.
    clients: Vec<Client>,
}

pub(crate) fn persistent() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

/// A client that may connect to any member.
pub(crate) async fn connect(addresses: &str) -> Client {
    let connector = Client::connector().with_session_timeout(SESSION_TIMEOUT);
    connector.connect(addresses).await.expect("connects")
}

/// Creates a znode before a test begins. Retries, since on a busy machine members can lose touch for a moment.
async fn is_made(client: &Client, path: &str, data: &[u8], options: &CreateOptions<'_>) {
    let deadline = Instant::now() + crate::process::PATIENCE;
    loop {
        match client.create(path, data, options).await {
            // The previous attempt has taken effect, although its answer was lost.
            Ok(_) | Err(Error::NodeExists) => return,
            Err(Error::ConnectionLoss) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("create {path}: {error}"),
        }
    }
}

impl Load {
    /// Starts `count` clients, which begin to write at once.
    pub(crate) async fn start(ensemble: &Ensemble, count: usize) -> Load {
        let addresses = ensemble.addresses();
        let first = connect(&addresses).await;
        for path in ["/load", "/load/sequence"] {
            is_made(&first, path, b"", &persistent()).await;
        }
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut clients = Vec::new();
        for number in 0..count {
            let client = connect(&addresses).await;
            is_made(&client, &register(number), b"0", &persistent()).await;
            let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
            is_made(&client, &presence(number), b"", &ephemeral).await;
            clients.push(tokio::spawn(write(client, number, acknowledged.clone(), stop.clone())));
        }
        Load { acknowledged, stop, clients }
    }

    /// Waits until this many more writes have been acknowledged.
    pub(crate) async fn goes_on(&self, writes: u64) {
        let from = self.acknowledged.load(Ordering::Relaxed);
        let done = async {
            while self.acknowledged.load(Ordering::Relaxed) < from + writes {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let patience = crate::process::PATIENCE;
        tokio::time::timeout(patience, done).await.expect("writes are acknowledged within a minute");
    }

    pub(crate) async fn end(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Written { known: Vec::new(), clients: Vec::new() };
        for client in self.clients {
            let (known, client) = client.await.expect("a client of the load ends well");
            written.known.push(known);
            written.clients.push(client);
        }
        written
    }
}

impl Written {
    /// Checks that every member has all acknowledged writes, and that every session is open. Each read follows a
    /// `sync`.
    pub(crate) async fn is_there(&self, ensemble: &Ensemble) {
        let mut names = HashSet::new();
        for created in self.known.iter().flat_map(|known| &known.created) {
            assert!(names.insert(created.clone()), "{created} was given out twice");
        }
        for member in &ensemble.members {
            let reader = connect(&member.address()).await;
            reader.sync("/load").await.expect("syncs");
            for (number, known) in self.known.iter().enumerate() {
                let (data, _) = reader.get_data(&register(number)).await.expect("reads");
                let value: u64 = String::from_utf8(data).unwrap().parse().unwrap();
                let (least, most) = (known.acknowledged, known.tried);
                let who = member.address();
                assert!((least..=most).contains(&value), "{who}: register {number}: {value}, not {least} to {most}");
                let stat = reader.check_stat(&presence(number)).await.expect("reads");
                let owner = stat.map(|stat| stat.ephemeral_owner);
                assert_eq!(owner, Some(known.session), "{who}: the session of client {number} has ended");
            }
            let found: HashSet<String> =
                reader.list_children("/load/sequence").await.expect("lists").into_iter().collect();
            let lost: Vec<&String> = names.difference(&found).collect();
            assert!(lost.is_empty(), "{}: acknowledged and gone: {lost:?}", member.address());
        }
        for client in &self.clients {
            client.check_stat("/load").await.expect("the session can still be used");
        }
    }
}

fn register(number: usize) -> String {
    format!("/load/register-{number}")
}

fn presence(number: usize) -> String {
    format!("/load/presence-{number}")
}

async fn write(client: Client, number: usize, count: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> (Known, Client) {
    let session = client.session_id().0;
    let mut known = Known { session, acknowledged: 0, tried: 0, created: Vec::new() };
    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    let register = register(number);
    while !stop.load(Ordering::Relaxed) {
        known.tried += 1;
        let data = known.tried.to_string();
        // Both writes are under way at once: the session pipelines them.
        let (set, created) = tokio::join!(
            client.set_data(&register, data.as_bytes(), None),
            client.create("/load/sequence/n-", b"", &sequential),
        );
        let failed = match (set, created) {
            (Ok(_), Ok((_, sequence))) => {
                known.acknowledged = known.tried;
                known.created.push(format!("n-{sequence}"));
                count.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            (Ok(_), Err(error)) => {
                known.acknowledged = known.tried;
                error
            }
            (Err(error), Ok((_, sequence))) => {
                known.created.push(format!("n-{sequence}"));
                error
            }
            (Err(error), Err(_)) => error,
        };
        assert!(!matches!(failed, Error::SessionExpired), "client {number} has lost its session");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (known, client)
}
