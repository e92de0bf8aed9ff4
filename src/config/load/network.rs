//! Where this server listens for clients.

use super::finish::Finish;
use super::{ConfigError, Place};
use crate::config::Config;
use crate::config::keys::Draft;
use crate::model::ensemble::ClientAddress;
use std::net::{SocketAddr, ToSocketAddrs};

impl Finish<'_> {
    pub(super) fn network(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        if draft.listen.is_some() && draft.client_port.is_some() {
            return self
                .refuse("network.listen", "`network.listen` and `clientPort` are both set; remove one of the two");
        }
        if draft.secure_listen.is_some() && draft.secure_port.is_some() {
            let what = "`network.secure_listen` and `secureClientPort` are both set; remove one of the two";
            return self.refuse("network.secure_listen", what);
        }
        let own = config.own_server();
        let of_line = own.and_then(|own| own.client.clone());
        let of_file = self.port_of("clientPort", draft.client_port, draft.client_address.as_ref(), of_line)?;
        if of_file.is_none() && draft.client_address.is_some() {
            return self
                .refuse("clientPortAddress", "`clientPortAddress` is set without `clientPort`; add `clientPort`");
        }
        let of_line = own.and_then(|own| own.secure_client.clone());
        let secure = self.port_of("secureClientPort", draft.secure_port, draft.secure_address.as_ref(), of_line)?;
        if secure.is_none() && draft.secure_address.is_some() {
            let what = "`secureClientPortAddress` is set without `secureClientPort`; add `secureClientPort`";
            return self.refuse("secureClientPortAddress", what);
        }
        config.network.secure = match (&draft.secure_listen, secure) {
            (Some(listen), _) => Some(self.address("network.secure_listen", listen)?),
            (None, Some((host, port))) => Some(self.resolve("secureClientPortAddress", &host, port)?),
            (None, None) => None,
        };
        config.network.client = match (&self.sources.listen, &draft.listen, of_file) {
            (Some(listen), _, _) => Some(
                parse_address(listen)
                    .map_err(|what| ConfigError { place: Place::CommandLine("--listen".into()), what })?,
            ),
            (None, Some(listen), _) => Some(self.address("network.listen", listen)?),
            (None, None, Some((host, port))) => Some(self.resolve("clientPortAddress", &host, port)?),
            (None, None, None) if config.network.secure.is_some() => None,
            (None, None, None) if self.zoo_cfg => {
                return self.refuse("clientPort", "no port to listen on; add the line `clientPort=2181`");
            }
            (None, None, None) => config.network.client,
        };
        let overlap = |one: SocketAddr, other: SocketAddr| {
            let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && (one.ip() == other.ip() || everywhere)
        };
        if let (Some(client), Some(secure)) = (config.network.client, config.network.secure)
            && overlap(client, secure)
        {
            let key = if draft.secure_listen.is_some() { "network.secure_listen" } else { "secureClientPort" };
            return self.refuse(key, format!("port {} is used twice; give TLS a port of its own", client.port()));
        }
        for clients in [config.network.client, config.network.secure].into_iter().flatten() {
            if let Some(peers) = config.ensemble.listen.iter().find(|peers| overlap(clients, **peers)) {
                let what = format!(
                    "port {} is this server's for clients and for its peers; give each a port of its own",
                    peers.port()
                );
                return self.refuse("server.*", what);
            }
        }
        Ok(())
    }

    /// Host and port for clients. `port` and `host`: of the settings; `of_line`: of this server's own `server.N` line.
    fn port_of(
        &self,
        name: &str,
        port: Option<u16>,
        host: Option<&String>,
        of_line: Option<ClientAddress>,
    ) -> Result<Option<(String, u16)>, ConfigError> {
        let anywhere = || host.cloned().unwrap_or_else(|| ANYWHERE.to_owned());
        match (port, of_line) {
            (Some(port), Some(line)) if port != line.port => {
                let what = format!(
                    "`{name}` is {port}, this server's own `server.N` line says {}; remove one of the two",
                    line.port
                );
                self.refuse(name, what)
            }
            (_, Some(line)) => Ok(Some((line.host.unwrap_or_else(anywhere), line.port))),
            (Some(port), None) => Ok(Some((anywhere(), port))),
            (None, None) => Ok(None),
        }
    }

    fn address(&self, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
        parse_address(text).or_else(|what| self.refuse(key, format!("`{key}` {what}")))
    }

    pub(super) fn resolve(&self, key: &str, host: &str, port: u16) -> Result<SocketAddr, ConfigError> {
        resolve(host, port).or_else(|what| self.refuse(key, format!("`{key}` {what}")))
    }
}

/// The address on which ZooKeeper listens if none is set.
const ANYWHERE: &str = "0.0.0.0";

/// The address of `host:port` or `[v6]:port`. A port without a host is one of 127.0.0.1.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let form = || format!("must have the form host:port, such as 127.0.0.1:2181; it is `{text}`");
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(form()) } else { Ok(address) };
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    match port.parse() {
        Ok(port @ 1..) if !host.is_empty() => resolve(host, port),
        _ => Err(form()),
    }
}

pub(super) fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let host = host.trim_matches(['[', ']']);
    let mut found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("names the host `{host}`, which has no address: {error}"))?
        .collect();
    // IPv4 first: most clients take `localhost` for 127.0.0.1.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| format!("names the host `{host}`, which has no address"))
}
