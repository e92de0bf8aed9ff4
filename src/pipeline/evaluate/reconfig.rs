//! reconfig: the checks of the request, in ZooKeeper's order, and the transaction at the end that sets
//! `/zookeeper/config`.
//!
//! A reconfig has two steps, because in between the members that join must be asked and must catch up. `plan` is
//! evaluated on the view like any request and yields the new servers. Once consensus has those servers as its members,
//! `configure` writes them down. The zxid of that transaction is the version of the configuration.
//!
//! One check comes in another order than in ZooKeeper: a client that may not reconfigure is refused before any server
//! is contacted. ZooKeeper first looks for a quorum of the new configuration.

use super::draft::Draft;
use crate::model::control_plane::CONFIG;
use crate::model::ensemble::{self, Server, config_text, parse_config_text};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal, acl};
use crate::pipeline::ReadView;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version that ZooKeeper gives the node with every configuration.
const NODE_VERSION: i32 = -1;

/// A configuration with fewer voters is refused, so that an ensemble does not become a standalone server by mistake.
/// ZooKeeper does the same while `standaloneEnabled` is on, which is its default.
const VOTERS_MIN: usize = 2;

/// The fields of the request.
pub(crate) struct Wanted<'a> {
    pub(crate) joining: Option<&'a str>,
    pub(crate) leaving: Option<&'a str>,
    pub(crate) new_members: Option<&'a str>,
    /// The version of the configuration that the request must replace. -1: any.
    pub(crate) from_version: i64,
}

/// The servers of the new configuration, by number.
pub(crate) fn plan(draft: &Draft<'_>, wanted: &Wanted<'_>) -> Result<Vec<Server>, Refusal> {
    if !draft.rules.reconfig {
        return Err(ErrorCode::ReconfigDisabled.into());
    }
    let view = draft.view();
    let node = ReadView::node(&view, CONFIG);
    let data = node.as_ref().and_then(|node| node.data.clone()).unwrap_or_default();
    let Some((present, version)) = parse(&String::from_utf8_lossy(&data)) else {
        // A standalone server without a `server.N` line of its own.
        return Err(ErrorCode::Unimplemented.into());
    };
    if draft.reconfiguring {
        return Err(ErrorCode::ReconfigInProgress.into());
    }
    if wanted.from_version != -1 && wanted.from_version != version {
        let text = format!("the configuration has version {version:x}, not {:x}", wanted.from_version);
        return Err(Refusal::new(ErrorCode::BadVersion, text));
    }
    let next = match wanted.new_members {
        Some(all) => whole(all)?,
        None => changed(present, wanted.joining, wanted.leaving)?,
    };
    let voters = next.values().filter(|server| !server.is_observer()).count();
    if voters < VOTERS_MIN {
        return Err(bad(format!("{voters} participants would be left; an ensemble needs at least {VOTERS_MIN}")));
    }
    if let Some(node) = &node {
        draft.require(&node.acl, acl::WRITE)?;
    }
    if let Some(id) = next.keys().find(|id| !u32::try_from(**id).is_ok_and(|id| ensemble::SERVER_IDS.contains(&id))) {
        return Err(bad(format!("server.{id}: a server's number must be from 1 to 254")));
    }
    let next: Vec<Server> = next.into_values().collect();
    // ZooKeeper takes such an observer, and kazoo's own tests add one. It harms nobody else.
    let participants = next.iter().filter(|server| !server.is_observer());
    if let Some((id, local)) = participants.into_iter().find_map(|server| Some((server.id, server.local_address()?))) {
        return Err(bad(format!(
            "server.{id} has the address {local}, which means another machine to each server; give the host at which the \
             others reach server {id}"
        )));
    }
    match ensemble::conflict(next.iter()) {
        Some(conflict) => Err(bad(conflict)),
        None => Ok(next),
    }
}

/// Writes the present members to `/zookeeper/config`.
pub(crate) fn configure(draft: &mut Draft<'_>, servers: &[Server]) -> Slot {
    let record = draft.node(CONFIG).expect("/zookeeper/config is never deleted").to_record();
    let text = config_text(servers.iter(), draft.zxid);
    draft.set_data(Arc::from(CONFIG), record, Some(Bytes::from(text)), NODE_VERSION)
}

/// The servers in the text of a configuration. None: the text is not a configuration.
pub(crate) fn servers_of(text: &str) -> Option<Vec<Server>> {
    parse(text).map(|(servers, _)| servers.into_values().collect())
}

type Servers = BTreeMap<i64, Server>;

fn parse(text: &str) -> Option<(Servers, i64)> {
    let version = text.lines().find_map(|line| line.strip_prefix("version="))?;
    let version = u64::from_str_radix(version.trim(), 16).ok()?.cast_signed();
    let servers = parse_config_text(text).ok()?;
    Some((servers.into_iter().map(|server| (i64::from(server.id), server)).collect(), version))
}

/// All servers of the new configuration, separated by commas or line ends. The client address may be left out: each
/// server's own file has it.
fn whole(text: &str) -> Result<Servers, Refusal> {
    let mut servers = Servers::new();
    for line in text.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once('=').ok_or_else(|| bad(format!("`{line}` is not `server.N=...`")))?;
        let (key, value) = (key.trim(), value.trim());
        if key == "version" {
            continue;
        }
        let Some(number) = key.strip_prefix("server.") else {
            return Err(bad(format!("`{key}` is not `server.N`; groups and weights are not supported")));
        };
        let id = number.parse().map_err(|_| bad(format!("`{key}` is not `server.N`")))?;
        servers.insert(id, server(id, value)?);
    }
    Ok(servers)
}

/// The present servers without those that leave, and with those that join.
fn changed(mut servers: Servers, joining: Option<&str>, leaving: Option<&str>) -> Result<Servers, Refusal> {
    for id in parts(leaving.unwrap_or_default(), ',') {
        servers.remove(&number(id)?);
    }
    for line in parts(joining.unwrap_or_default(), ',') {
        let [key, value] = parts(line, '=').collect::<Vec<_>>()[..] else {
            return Err(bad(format!("`{line}` is not `server.N=host:port:port[:role];clientPort`")));
        };
        let id = number(key.rsplit('.').next().unwrap_or_default())?;
        let server = server(id, value)?;
        if server.client.is_none() {
            return Err(bad(format!("`{line}` does not say where clients come in: write `;clientPort` behind it")));
        }
        servers.insert(id, server);
    }
    Ok(servers)
}

/// Splits as ZooKeeper does: blanks around a part are cut off, empty parts are left out.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty())
}

/// ZooKeeper's parser throws an exception at a text that is not a number, and that becomes MARSHALLINGERROR.
fn number(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| Refusal::new(ErrorCode::MarshallingError, format!("`{text}` is no server's number")))
}

/// Parses a server. Whether `id` is in our range is checked later, because ZooKeeper's errors come first.
fn server(id: i64, value: &str) -> Result<Server, Refusal> {
    let known = u32::try_from(id).ok().filter(|id| ensemble::SERVER_IDS.contains(id));
    let parsed = Server::parse(known.unwrap_or(1), value);
    parsed.map_err(|why| bad(format!("`server.{id}={value}` {why}")))
}

fn bad(text: String) -> Refusal {
    Refusal::new(ErrorCode::BadArguments, text)
}
