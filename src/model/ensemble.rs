//! The servers of an ensemble, in the form of `server.N=` lines, `/zookeeper/config` and `reconfig`
//! (QuorumPeer.QuorumServer).
//!
//! The text is ZooKeeper's: `host:peerPort:electionPort[|...][:role][;[host:]clientPort[;[host:]securePort]]`, with
//! IPv6 hosts in brackets. A server that was parsed prints as text that parses to the same server. Names are not
//! resolved here, but each time somebody connects. Groups and weights (hierarchical quorums) are refused.

use super::Zxid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The numbers that a server can have. The number is the top byte of the session ids that the server gives out. With 0,
/// its sessions could not be told from ids that clients make up. With 255, session ids would look like TTL nodes.
pub(crate) const SERVER_IDS: RangeInclusive<u32> = 1..=254;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Within `SERVER_IDS`.
    pub id: u32,
    /// Where its peers reach it, in the order in which they try. Several addresses are several networks of one machine.
    pub addresses: Vec<PeerAddress>,
    pub role: ServerRole,
    /// Where clients reach it. None: only the server's own file says so.
    pub client: Option<ClientAddress>,
    /// Where clients reach it with TLS.
    pub secure_client: Option<ClientAddress>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerAddress {
    /// A name, or an address; IPv6 without its brackets.
    pub host: String,
    /// The port for all traffic between members.
    pub peer_port: u16,
    /// Kept and shown because ZooKeeper's text has it. Nothing listens there.
    pub election_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientAddress {
    /// None: all addresses of the machine, `0.0.0.0` in the text.
    pub host: Option<String>,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ServerRole {
    /// Votes and may lead.
    #[default]
    Participant,
    /// Follows and serves clients, without a vote.
    Observer,
}

/// Identifies a data directory: random bytes, drawn when the directory is created. A wiped disk gets another
/// incarnation.
pub(crate) type Incarnation = [u8; 16];

/// A member as consensus keeps it. The default (id 0, no address) exists only because openraft requires one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) server: Server,
    pub(crate) incarnation: Incarnation,
}

impl Server {
    /// Reads the text behind `server.N=`. The error is a text that completes the sentence "`server.N=value` ...".
    pub(crate) fn parse(id: u32, value: &str) -> Result<Server, String> {
        let refused = |what: String| {
            format!("must have the form server.N=host:port:port[:participant|observer][;[host:]clientPort]: {what}")
        };
        if !SERVER_IDS.contains(&id) {
            return Err(format!("has the number {id}; a server's number must be from 1 to 254"));
        }
        let mut parts = value.split(';').map(str::trim);
        let (addresses, role) = peers(parts.next().unwrap_or_default()).map_err(refused)?;
        let client = parts.next().map_or(Ok(None), client).map_err(refused)?;
        let secure_client = parts.next().map_or(Ok(None), client_with_tls).map_err(refused)?;
        if let Some(more) = parts.next() {
            return Err(refused(format!("`;{more}` is too much")));
        }
        Ok(Server { id, addresses, role, client, secure_client })
    }

    pub(crate) fn is_observer(&self) -> bool {
        self.role == ServerRole::Observer
    }

    /// The first address whose host is `0.0.0.0` or `::`. That host stands for the machine on which it is read. So a
    /// server may say it of itself in its own file, and no membership may say it of a participant.
    pub(crate) fn local_address(&self) -> Option<&PeerAddress> {
        self.addresses.iter().find(|address| address.host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()))
    }

    /// The server as a membership of one may say it: without addresses if one of them means something else elsewhere.
    pub(crate) fn for_a_membership_of_one(&self) -> Server {
        let addresses = if self.local_address().is_some() { Vec::new() } else { self.addresses.clone() };
        Server { addresses, ..self.clone() }
    }
}

impl fmt::Display for Server {
    /// The text behind `server.N=`. The role is always written, as in ZooKeeper.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { "|" })?;
        }
        write!(f, ":{}", self.role)?;
        match (&self.client, &self.secure_client) {
            (None, None) => Ok(()),
            (Some(client), None) => write!(f, ";{client}"),
            (Some(client), Some(secure)) => write!(f, ";{client};{secure}"),
            (None, Some(secure)) => write!(f, ";;{secure}"),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", Host(&self.host), self.peer_port, self.election_port)
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Host(self.host.as_deref().unwrap_or(ANYWHERE)), self.port)
    }
}

impl fmt::Display for ServerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServerRole::Participant => "participant",
            ServerRole::Observer => "observer",
        })
    }
}

/// The data of `/zookeeper/config`: one line for each server, in the order of their numbers, and the version, which is
/// the zxid of the change.
pub(crate) fn config_text<'a>(servers: impl Iterator<Item = &'a Server>, version: Zxid) -> String {
    let sorted: BTreeMap<u32, &Server> = servers.map(|server| (server.id, server)).collect();
    let mut text: String = sorted.values().map(|server| format!("server.{}={server}\n", server.id)).collect();
    text.push_str(&format!("version={:x}", version.0));
    text
}

/// Reads the text of [`config_text`], and the members in a `reconfig`: lines, or the same separated by commas. Returns
/// the servers in the order of their numbers. The result may be empty.
pub(crate) fn parse_config_text(text: &str) -> Result<Vec<Server>, String> {
    let mut servers: BTreeMap<u32, Server> = BTreeMap::new();
    for line in text.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("`{line}` must have the form server.N=host:port:port"));
        };
        let key = key.trim();
        if key == "version" {
            continue;
        }
        if key.starts_with("group.") || key.starts_with("weight.") {
            return Err(format!("`{key}`: hierarchical quorums are not supported; every participant has one vote"));
        }
        let id = key.strip_prefix("server.").and_then(|number| number.parse().ok());
        let id: u32 = id.ok_or_else(|| format!("`{key}` must have the form server.N, with N from 1 to 254"))?;
        let server = Server::parse(id, value.trim()).map_err(|why| format!("`{line}` {why}"))?;
        if servers.insert(id, server).is_some() {
            return Err(format!("server {id} stands there twice; give every server a number of its own"));
        }
    }
    Ok(servers.into_values().collect())
}

/// A sentence that names two servers with the same address. None: there are no such servers. A client address that
/// stands for all addresses of a machine never conflicts, because it does not say which machine.
pub(crate) fn conflict<'a>(servers: impl Iterator<Item = &'a Server>) -> Option<String> {
    let mut taken: BTreeMap<(&str, u16), u32> = BTreeMap::new();
    for server in servers {
        let peers = server.addresses.iter().map(|address| (address.host.as_str(), address.peer_port));
        let clients = [&server.client, &server.secure_client].into_iter().flatten();
        let clients = clients.filter_map(|address| Some((address.host.as_deref()?, address.port)));
        for (host, port) in peers.chain(clients) {
            if let Some(other) = taken.insert((host, port), server.id) {
                let address = format!("{}:{port}", Host(host));
                return Some(match other == server.id {
                    true => format!("server {other} has the address {address} twice; give it one port for each use"),
                    false => format!("the servers {other} and {} both have the address {address}", server.id),
                });
            }
        }
    }
    None
}

/// Stands in the text for all addresses of the machine.
const ANYWHERE: &str = "0.0.0.0";

/// Prints a host, with brackets around an IPv6 address.
struct Host<'a>(&'a str);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// Parses `host:port:port[:role]`, several of them separated by `|`. The role may stand behind any of them. No two of
/// them may have different roles.
fn peers(text: &str) -> Result<(Vec<PeerAddress>, ServerRole), String> {
    let mut addresses = Vec::new();
    let mut role = None;
    for one in text.split('|').map(str::trim) {
        let (host, rest) = host_and_rest(one)?;
        let mut parts = rest.split(':');
        let peer_port = port(parts.next().unwrap_or_default(), "the peer port")?;
        let election_port = port(parts.next().unwrap_or_default(), "the election port")?;
        if let Some(name) = parts.next() {
            let named = match name.trim().to_ascii_lowercase().as_str() {
                "participant" => ServerRole::Participant,
                "observer" => ServerRole::Observer,
                _ => return Err(format!("the role `{name}` is neither participant nor observer")),
            };
            if role.is_some_and(|role| role != named) {
                return Err("its addresses name two roles".to_owned());
            }
            role = Some(named);
        }
        if let Some(more) = parts.next() {
            return Err(format!("`:{more}` is too much"));
        }
        addresses.push(PeerAddress { host: host.to_owned(), peer_port, election_port });
    }
    Ok((addresses, role.unwrap_or_default()))
}

fn client(text: &str) -> Result<Option<ClientAddress>, String> {
    client_address(text, "the client port")
}

fn client_with_tls(text: &str) -> Result<Option<ClientAddress>, String> {
    client_address(text, "the secure client port")
}

/// Parses `[host:]port`, or nothing.
fn client_address(text: &str, what: &str) -> Result<Option<ClientAddress>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.contains(':') {
        return Ok(Some(ClientAddress { host: None, port: port(text, what)? }));
    }
    let (host, rest) = host_and_rest(text)?;
    let host = if host == ANYWHERE { None } else { Some(host.to_owned()) };
    Ok(Some(ClientAddress { host, port: port(rest, what)? }))
}

/// Splits `[::1]:2888` or `host:2888:3888` into the host and the text behind its colon.
fn host_and_rest(text: &str) -> Result<(&str, &str), String> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:"),
        None => text.split_once(':'),
    }
    .ok_or_else(|| format!("`{text}` has no port"))?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']' | '|' | ';' | ',' | '=');
    if host.is_empty() {
        return Err(format!("`{text}` has no host"));
    }
    if host.contains(odd) {
        return Err(format!("`{host}` is no host"));
    }
    Ok((host, rest))
}

fn port(text: &str, what: &str) -> Result<u16, String> {
    match text.trim().parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("{what} must be a number from 1 to 65535; it is `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(value: &str) -> Server {
        Server::parse(1, value).unwrap()
    }

    /// The text, and how the server is printed.
    #[test]
    fn zookeepers_server_lines_parse_and_print() {
        for (value, printed) in [
            ("zk1:2888:3888", "zk1:2888:3888:participant"),
            ("zk1:2888:3888;2181", "zk1:2888:3888:participant;0.0.0.0:2181"),
            ("zk1:2888:3888:observer;10.0.0.1:2181", "zk1:2888:3888:observer;10.0.0.1:2181"),
            ("zk1:2888:3888:OBSERVER", "zk1:2888:3888:observer"),
            ("[::1]:2888:3888;[::1]:2181", "[::1]:2888:3888:participant;[::1]:2181"),
            (" a:1:2 | b:3:4 ; 5 ", "a:1:2|b:3:4:participant;0.0.0.0:5"),
            ("a:1:2:observer|b:3:4:observer", "a:1:2|b:3:4:observer"),
            ("a:1:2;3;4", "a:1:2:participant;0.0.0.0:3;0.0.0.0:4"),
            ("a:1:2;;b:4", "a:1:2:participant;;b:4"),
            ("a:1:2;", "a:1:2:participant"),
        ] {
            assert_eq!(parsed(value).to_string(), printed, "{value}");
        }
        assert_eq!(parsed("a:1:2;0.0.0.0:3"), parsed("a:1:2;3"));
        assert_eq!(parsed("[fe80::1]:1:2").addresses.first().map(|it| it.host.as_str()), Some("fe80::1"));
    }

    #[test]
    fn a_malformed_server_line_is_refused_with_the_reason() {
        for (value, why) in [
            ("", "no port"),
            ("zk1", "no port"),
            ("zk1:2888", "the election port"),
            ("zk1:0:3888", "the peer port"),
            ("zk1:2888:x", "the election port"),
            ("zk1:1:2:king", "neither participant nor observer"),
            ("zk1:1:2:observer:3", "too much"),
            (":1:2", "no host"),
            ("z k:1:2", "no host"),
            ("a:1:2|", "no port"),
            ("a:1:2:observer|b:1:2:participant", "two roles"),
            ("zk1:1:2;70000", "the client port"),
            ("zk1:1:2;a:3:4", "the client port"),
            ("zk1:1:2;3;x", "the secure client port"),
            ("zk1:1:2;3;4;5", "too much"),
        ] {
            let error = Server::parse(1, value).unwrap_err();
            assert!(error.contains(why), "{value}: {error}");
        }
        for id in [0, 255, u32::MAX] {
            assert!(Server::parse(id, "a:1:2").unwrap_err().contains("1 to 254"), "{id}");
        }
    }

    #[test]
    fn a_configuration_prints_and_parses() {
        let (two, one) = (Server::parse(2, "b:1:2:observer").unwrap(), parsed("a:1:2;3"));
        let text = config_text([&two, &one].into_iter(), Zxid(0x1_0000_000a));
        assert_eq!(text, "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:observer\nversion=10000000a");
        assert_eq!(parse_config_text(&text).unwrap(), [one.clone(), two.clone()]);
        assert_eq!(parse_config_text("server.2=b:1:2:observer, server.1 = a:1:2;3").unwrap(), [one, two]);
        assert_eq!(parse_config_text("\n").unwrap(), []);
        for (text, why) in [
            ("server.1=a:1:2\nserver.1=b:1:2", "twice"),
            ("server.1=a:1:2\ngroup.1=1:2", "hierarchical quorums are not supported"),
            ("weight.1=3", "hierarchical quorums are not supported"),
            ("server.x=a:1:2", "server.N"),
            ("server.1", "server.N"),
            ("tickTime=3", "server.N"),
            ("server.300=a:1:2", "1 to 254"),
        ] {
            let error = parse_config_text(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn two_servers_cannot_share_an_address() {
        let conflict = |text: &str| conflict(parse_config_text(text).unwrap().iter());
        assert_eq!(conflict("server.1=a:1:2;9,server.2=b:1:2;9"), None);
        assert_eq!(conflict("server.1=a:1:1"), None);
        for (text, names) in [
            ("server.1=a:1:2,server.2=a:1:3", ["servers 1 and 2", "a:1"]),
            ("server.1=a:1:2;[::1]:7,server.3=b:1:2;[::1]:7", ["servers 1 and 3", "[::1]:7"]),
            ("server.1=a:1:2,server.2=b:1:2;a:1", ["servers 1 and 2", "a:1"]),
            ("server.4=a:1:2;a:1", ["server 4", "twice"]),
        ] {
            let error = conflict(text).unwrap();
            assert!(names.iter().all(|name| error.contains(name)), "{text}: {error}");
        }
    }

    fn any_host() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z][a-z0-9.-]{0,12}", Just("10.1.2.3".to_owned()), Just("fe80::1".to_owned())]
    }

    fn any_client() -> impl Strategy<Value = Option<ClientAddress>> {
        proptest::option::of(
            (proptest::option::of(any_host()), 1..=u16::MAX).prop_map(|(host, port)| ClientAddress { host, port }),
        )
    }

    fn any_server() -> impl Strategy<Value = Server> {
        let address = (any_host(), 1..=u16::MAX, 1..=u16::MAX)
            .prop_map(|(host, peer_port, election_port)| PeerAddress { host, peer_port, election_port });
        let role = prop_oneof![Just(ServerRole::Participant), Just(ServerRole::Observer)];
        (SERVER_IDS, proptest::collection::vec(address, 1..4), role, any_client(), any_client()).prop_map(
            |(id, addresses, role, client, secure_client)| Server { id, addresses, role, client, secure_client },
        )
    }

    proptest! {
        #[test]
        fn a_printed_configuration_parses_to_the_same_servers(servers in proptest::collection::vec(any_server(), 0..6), version: u64) {
            let servers: BTreeMap<u32, Server> = servers.into_iter().map(|server| (server.id, server)).collect();
            let text = config_text(servers.values(), Zxid(version));
            prop_assert_eq!(parse_config_text(&text), Ok(servers.into_values().collect()));
        }

        #[test]
        fn no_text_panics(text in "(server\\.[0-9]{1,3}=)?[a-z0-9:;|\\[\\],= .\n-]{0,40}") {
            if let Ok(servers) = parse_config_text(&text) {
                let printed = config_text(servers.iter(), Zxid::ZERO);
                prop_assert_eq!(parse_config_text(&printed), Ok(servers));
            }
        }
    }
}
