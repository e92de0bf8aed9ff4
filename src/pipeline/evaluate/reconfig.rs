//! reconfig: what is asked, checked in ZooKeeper's order; and the transaction at its end, which sets `/zookeeper/config`.
//!
//! Two steps, because the first member that joins has to be asked and to catch up in between: `plan` is judged on the
//! view like any request and yields the servers there shall be; once consensus has them as its members, `configure`
//! writes them down. Its zxid is the version of the configuration.
//!
//! One order differs: who may not reconfigure is told so before any server is spoken to, where ZooKeeper looks for a quorum
//! of the new configuration first.

use super::draft::Draft;
use crate::model::control_plane::CONFIG;
use crate::model::ensemble::{self, Server, config_text, parse_config_text};
use crate::model::txn::Slot;
use crate::model::{ErrorCode, Refusal, acl};
use crate::pipeline::ReadView;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version ZooKeeper gives the node with every configuration.
const NODE_VERSION: i32 = -1;

/// Voters without which a configuration is refused, as ZooKeeper does while `standaloneEnabled` is on, its default: an
/// ensemble does not become a server alone by mistake.
const VOTERS_MIN: usize = 2;

/// What a client asks for, as the protocol has it.
pub struct Wanted<'a> {
    pub joining: Option<&'a str>,
    pub leaving: Option<&'a str>,
    pub new_members: Option<&'a str>,
    /// The version it must replace; -1: any.
    pub from_version: i64,
}

/// The servers that there shall be, by number.
pub fn plan(draft: &Draft<'_>, wanted: &Wanted<'_>) -> Result<Vec<Server>, Refusal> {
    if !draft.rules.reconfig {
        return Err(ErrorCode::ReconfigDisabled.into());
    }
    let view = draft.view();
    let node = ReadView::node(&view, CONFIG);
    let data = node.as_ref().and_then(|node| node.data.clone()).unwrap_or_default();
    let Some((present, version)) = parse(&String::from_utf8_lossy(&data)) else {
        // A server that stands alone and has no `server.N` line of its own.
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
    match ensemble::conflict(next.iter()) {
        Some(conflict) => Err(bad(conflict)),
        None => Ok(next),
    }
}

/// Writes down what the members are now.
pub fn configure(draft: &mut Draft<'_>, servers: &[Server]) -> Slot {
    let record = draft.node(CONFIG).expect("every tree has this node").to_record();
    let text = config_text(servers.iter(), draft.zxid);
    draft.set_data(Arc::from(CONFIG), record, Some(Bytes::from(text)), NODE_VERSION)
}

/// The servers that a configuration's text names, if it is one.
pub fn servers_of(text: &str) -> Option<Vec<Server>> {
    parse(text).map(|(servers, _)| servers.into_values().collect())
}

type Servers = BTreeMap<i64, Server>;

fn parse(text: &str) -> Option<(Servers, i64)> {
    let version = text.lines().find_map(|line| line.strip_prefix("version="))?;
    let version = u64::from_str_radix(version.trim(), 16).ok()?.cast_signed();
    let servers = parse_config_text(text).ok()?;
    Some((servers.into_iter().map(|server| (i64::from(server.id), server)).collect(), version))
}

/// All of them anew: commas or line ends between them. Where clients come in may be left to each server's own file.
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

/// As ZooKeeper splits: parts without the blanks around them, empty ones left out.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty())
}

/// ZooKeeper's parser throws at what is no number, and that becomes MARSHALLINGERROR.
fn number(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| Refusal::new(ErrorCode::MarshallingError, format!("`{text}` is no server's number")))
}

/// The number is looked at later: with one that is out of our range a client must still hear what ZooKeeper says first.
fn server(id: i64, value: &str) -> Result<Server, Refusal> {
    let known = u32::try_from(id).ok().filter(|id| ensemble::SERVER_IDS.contains(id));
    let parsed = Server::parse(known.unwrap_or(1), value);
    parsed.map_err(|why| bad(format!("`server.{id}={value}` {why}")))
}

fn bad(text: String) -> Refusal {
    Refusal::new(ErrorCode::BadArguments, text)
}
