//! Names to addresses, beside the runtime.
//!
//! The system's resolver blocks, for half a minute if its servers do not answer. So each lookup has a thread of its own, at
//! most one for each name and `limits::PEER_LOOKUPS_MAX` altogether; whoever asks for a name that is being looked up waits
//! for the same answer. A name that hangs therefore delays nobody but those who want that name, and not even the end of
//! the process. They are asked for anew each time; if that fails, or takes longer than `limits::PEER_LOOKUP_TIMEOUT`,
//! the addresses of the last time are used, so that members that knew each other find each other without name servers.

use crate::limits;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use tokio::sync::watch;

type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
/// None: it has not answered yet.
type Answer = Option<Result<Vec<IpAddr>, String>>;

pub struct Resolver {
    lookup: Arc<Lookup>,
    names: Arc<Mutex<Names>>,
}

/// The lock is held for moments only.
#[derive(Default)]
struct Names {
    under_way: BTreeMap<String, watch::Receiver<Answer>>,
    /// The addresses of the last time.
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
    pub async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let mut answer = self.ask(host)?;
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

    /// Starts a lookup, unless one is under way for that name.
    fn ask(&self, host: &str) -> io::Result<watch::Receiver<Answer>> {
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
            }
            drop(names);
            tell.send_replace(Some(found));
        })?;
        names.under_way.insert(host.to_owned(), answer.clone());
        Ok(answer)
    }
}

fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}
