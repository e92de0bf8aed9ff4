//! Turns names into addresses, on threads outside the runtime.
//!
//! The system's resolver blocks, for half a minute if its servers do not answer. So each lookup has a thread of its
//! own: at most one for each name, and at most `limits::PEER_LOOKUPS_MAX` in all. A caller that asks for a name that is
//! being looked up waits for the same answer. So a name whose lookup hangs delays only callers that want this name. It
//! does not delay the end of the process.
//!
//! A name is looked up each time. If that fails, or takes longer than `limits::PEER_LOOKUP_TIMEOUT`, the addresses of
//! the last lookup are used. So members that knew each other find each other without name servers.

use crate::limits;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use tokio::sync::watch;

type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
/// None until the lookup has answered.
type Answer = Option<Result<Vec<IpAddr>, String>>;

pub(crate) struct Resolver {
    lookup: Arc<Lookup>,
    names: Arc<Mutex<Names>>,
}

/// The lock is held for a moment only.
#[derive(Default)]
struct Names {
    /// The lookups that run. Invariant: at most `PEER_LOOKUPS_MAX`.
    under_way: BTreeMap<String, watch::Receiver<Answer>>,
    /// The addresses of the last lookup. Invariant: at most `PEER_LOOKUPS_MAX` names.
    known: BTreeMap<String, Vec<IpAddr>>,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::new(system)
    }
}

impl Resolver {
    /// `lookup` may block.
    fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Resolver {
        Resolver { lookup: Arc::new(lookup), names: Arc::default() }
    }

    /// The addresses of a name, at least one.
    pub(crate) async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let mut answer = self.start_lookup(host)?;
        let answered = async {
            match answer.wait_for(Option::is_some).await {
                Ok(answer) => answer.clone().unwrap_or_else(|| Ok(Vec::new())),
                Err(_) => Err("the lookup failed".to_owned()),
            }
        };
        let error = match tokio::time::timeout(limits::PEER_LOOKUP_TIMEOUT, answered).await {
            Ok(Ok(addresses)) => return Ok(addresses),
            Ok(Err(error)) => error,
            Err(_) => "no answer in time".to_owned(),
        };
        if let Some(known) = self.names.lock().known.get(host) {
            tracing::debug!(host, error, "resolving a name failed; its last addresses are used");
            return Ok(known.clone());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("the name `{host}` cannot be resolved: {error}")))
    }

    /// Starts a lookup, unless one runs for that name.
    fn start_lookup(&self, host: &str) -> io::Result<watch::Receiver<Answer>> {
        let mut names = self.names.lock();
        if let Some(answer) = names.under_way.get(host) {
            return Ok(answer.clone());
        }
        if names.under_way.len() >= limits::PEER_LOOKUPS_MAX {
            return Err(io::Error::other("too many names are being looked up and do not answer"));
        }
        let (tell, answer) = watch::channel(None);
        let (lookup, shared, name) = (Arc::clone(&self.lookup), Arc::clone(&self.names), host.to_owned());
        let thread = std::thread::Builder::new().name("resolve".to_owned());
        thread.spawn(move || {
            let found = match lookup(&name) {
                Ok(found) if found.is_empty() => Err("it has no address".to_owned()),
                Ok(found) => Ok(found),
                Err(error) => Err(error.to_string()),
            };
            let mut names = shared.lock();
            names.under_way.remove(&name);
            if let Ok(addresses) = &found
                && (names.known.len() < limits::PEER_LOOKUPS_MAX || names.known.contains_key(&name))
            {
                names.known.insert(name, addresses.clone());
                assert!(names.known.len() <= limits::PEER_LOOKUPS_MAX, "{} names are kept", names.known.len());
            }
            drop(names);
            tell.send_replace(Some(found));
        })?;
        names.under_way.insert(host.to_owned(), answer.clone());
        let lookups = names.under_way.len();
        assert!(lookups <= limits::PEER_LOOKUPS_MAX, "{lookups} lookups run at once");
        Ok(answer)
    }
}

fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    const ONE: &str = "10.0.0.1";

    fn addresses() -> Vec<IpAddr> {
        vec![ONE.parse().unwrap()]
    }

    /// The result of a lookup, however long its thread takes. `resolve` itself would stop waiting.
    async fn answer(mut lookup: watch::Receiver<Answer>) -> Vec<IpAddr> {
        lookup.wait_for(Option::is_some).await.unwrap().clone().unwrap().unwrap()
    }

    /// A name whose server does not answer has one thread, and other names are found meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_delays_no_other() {
        let (release, hang) = mpsc::channel::<()>();
        let hang = Mutex::new(hang);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let resolver = Resolver::new(move |host| {
            if host == "hangs" {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = hang.lock().recv();
            }
            Ok(addresses())
        });
        for _ in 0..3 {
            assert!(resolver.resolve("hangs").await.unwrap_err().to_string().contains("no answer in time"));
        }
        assert_eq!(resolver.names.lock().under_way.len(), 1);
        assert_eq!(answer(resolver.start_lookup("answers").unwrap()).await, addresses());
        let hanging = resolver.start_lookup("hangs").unwrap();
        drop(release);
        assert_eq!(answer(hanging).await, addresses());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_last_addresses_serve_while_the_name_server_does_not() {
        let works = Arc::new(Mutex::new(true));
        let working = Arc::clone(&works);
        let resolver =
            Resolver::new(
                move |_| {
                    if *working.lock() { Ok(addresses()) } else { Err(io::Error::other("no name server")) }
                },
            );
        assert_eq!(answer(resolver.start_lookup("zk1").unwrap()).await, addresses());
        *works.lock() = false;
        assert_eq!(resolver.resolve("zk1").await.unwrap(), addresses());
        let error = resolver.resolve("zk2").await.unwrap_err().to_string();
        assert!(error.contains("`zk2`"), "{error}");
        let why = resolver.start_lookup("zk3").unwrap().wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(why, Some(Err("no name server".to_owned())));
    }

    #[tokio::test]
    async fn addresses_are_not_looked_up() {
        let resolver = Resolver::new(|_| Err(io::Error::other("asked")));
        assert_eq!(resolver.resolve(ONE).await.unwrap(), addresses());
        assert_eq!(resolver.resolve("::1").await.unwrap(), [IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
        assert!(resolver.resolve("zk1").await.is_err());
    }
}
