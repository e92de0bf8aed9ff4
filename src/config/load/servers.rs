//! The list of servers, and which of them this server is.

use super::finish::Finish;
use super::network::resolve;
use super::{ConfigError, Place};
use crate::config::Config;
use crate::config::keys::Draft;
use crate::model::ensemble::{self, PeerAddress, SERVER_IDS};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

impl Finish<'_> {
    /// Checks the list of servers as a whole.
    pub(super) fn servers(&self, config: &mut Config) -> Result<(), ConfigError> {
        let servers = &mut config.ensemble.servers;
        servers.sort_by_key(|server| server.id);
        if let Some([one, _]) = servers.array_windows().find(|[one, next]| one.id == next.id) {
            let what = format!("server {} is listed twice; give every server a number of its own", one.id);
            return self.refuse("server.*", what);
        }
        if let Some(why) = ensemble::conflict(servers.iter()) {
            return self.refuse("server.*", format!("{why}; correct one of the lines"));
        }
        let participants = servers.iter().filter(|server| !server.is_observer()).count();
        if participants == 0 && !servers.is_empty() {
            let what = "all servers listed are observers, and nobody could elect a leader; leave at least one \
                        participant";
            return self.refuse("server.*", what);
        }
        if servers.len() > 1 && participants.is_multiple_of(2) {
            config.warnings.push(format!(
                "{participants} participants are listed, which outlive the loss of {} of them, as one participant less \
                 would; an odd number is better",
                participants / 2 - 1
            ));
        }
        Ok(())
    }

    /// This server's number: from the setting, from the file `myid` as in ZooKeeper, or from the only server listed.
    pub(super) fn server_id(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        if let Some(id) = draft.server_id {
            config.server_id = id;
            return Ok(());
        }
        let path = config.storage.data_dir.join("myid");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match config.ensemble.servers.as_slice() {
                [] => return Ok(()),
                [only] => {
                    config.server_id = only.id;
                    return Ok(());
                }
                servers => {
                    let what = format!(
                        "does not exist, and {} servers are listed: it must hold the number of this one, N of its \
                         `server.N`; write it: mkdir -p {} && echo N > {}",
                        servers.len(),
                        config.storage.data_dir.display(),
                        path.display()
                    );
                    return Err(ConfigError { place: Place::File(path), what });
                }
            },
            Err(error) => {
                let what = format!("cannot be read: {error}; it must hold this server's number, or not exist");
                return Err(ConfigError { place: Place::File(path), what });
            }
        };
        match text.trim().parse() {
            Ok(id) if SERVER_IDS.contains(&id) => config.server_id = id,
            _ => {
                let what =
                    format!("must hold this server's number, 1 to 254, and nothing else; it holds `{}`", text.trim());
                return Err(ConfigError { place: Place::Line(path, 1), what });
            }
        }
        Ok(())
    }

    /// Finds this server in the list, and the addresses on which it listens for other members.
    pub(super) fn own_server(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        for id in &self.sources.found_without {
            let listed = config.ensemble.servers.iter().any(|server| server.id == *id);
            if !listed || *id == config.server_id {
                return Err(ConfigError {
                    place: Place::CommandLine("--found-without".into()),
                    what: format!("{id} is not the number of another server that is listed as `server.{id}`"),
                });
            }
            config.ensemble.found_without.insert(*id);
        }
        if config.ensemble.servers.is_empty() {
            return Ok(());
        }
        let Some(own) = config.own_server().cloned() else {
            let listed: Vec<String> = config.ensemble.servers.iter().map(|server| server.id.to_string()).collect();
            let what = format!(
                "this server is number {} (from {}), which is not among the servers listed: {}; add its line, or \
                 correct the number",
                config.server_id,
                if draft.server_id.is_some() {
                    "`server_id`".into()
                } else {
                    format!("the file myid in {}", config.storage.data_dir.display())
                },
                listed.join(", ")
            );
            return self.refuse("server.*", what);
        };
        let others = config.ensemble.servers.iter().filter(|server| server.id != own.id);
        if let Some((id, local)) = others.filter_map(|server| Some((server.id, server.local_address()?))).next() {
            let what = format!(
                "the line server.{id} has the address {local}, which leads back to this machine (this is server {}); \
                 give the host at which the others reach server {id}; only its own file may say {}",
                own.id, local.host
            );
            return self.refuse("server.*", what);
        }
        if let Some(role) = draft.peer_type.filter(|role| *role != own.role) {
            let warning =
                format!("`peerType` is {role}, and the line server.{} says {}: the line counts", own.id, own.role);
            config.warnings.push(warning);
        }
        for PeerAddress { host, peer_port, .. } in &own.addresses {
            let address = match (draft.listen_on_all, host.contains(':')) {
                (true, false) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, *peer_port)),
                (true, true) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, *peer_port)),
                (false, _) => resolve(host, *peer_port).or_else(|what| {
                    let hint = "correct the line, or set `quorumListenOnAllIPs=true` to listen on all addresses";
                    self.refuse("server.*", format!("this server's own line server.{} {what}; {hint}", own.id))
                })?,
            };
            if !config.ensemble.listen.contains(&address) {
                config.ensemble.listen.push(address);
            }
        }
        Ok(())
    }
}
