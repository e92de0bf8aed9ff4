//! Replies, events and nodes as a scenario prints them.

use crate::model::txn::{Change, Outcome, Slot, Txn};
use crate::model::{AclEntry, NodeKind, Owner, SessionId, Stat, acl};
use crate::wire::reply::{Body, EventKind, MultiSlot};
use crate::wire::request::{Operation, Request};

/// The answer to a write. `stats`: what each slot's node looks like once the transaction is applied (`Effects::slots`),
/// or nothing before that.
pub(crate) fn written(request: Option<&Request>, txn: &Txn, stats: &[Stat]) -> String {
    let refused = |code: &str, text: &str| if text.is_empty() { code.to_owned() } else { format!("{code} {text}") };
    match &txn.outcome {
        Outcome::Refused(refusal) => refused(refusal.code.name(), &one_line(&refusal.text)),
        Outcome::MultiRefused { failed, operations, refusal } => {
            let code = format!("{} at {} of {operations}", refusal.code.name(), failed + 1);
            refused(&code, &one_line(&refusal.text))
        }
        Outcome::Done(slots) => {
            let none = Stat::default();
            let stat = |at: usize| stats.get(at).unwrap_or(&none);
            match request {
                Some(Request::Multi(operations)) => {
                    let each = operations.iter().zip(slots).enumerate();
                    let texts =
                        each.map(|(at, (Operation { request, .. }, slot))| slot_text(request, slot, stat(at), txn));
                    format!("ok {}", texts.collect::<Vec<_>>().join(" ; ")).trim_end().to_owned()
                }
                Some(request) => match slots.first().map(|slot| slot_text(request, slot, stat(0), txn)) {
                    Some(text) if text != "ok" => format!("ok {text}"),
                    _ => "ok".into(),
                },
                None => "ok".into(),
            }
        }
    }
}

fn slot_text(request: &Request, slot: &Slot, stat: &Stat, txn: &Txn) -> String {
    match request {
        Request::Create(_) => match slot {
            Slot::Path(path) => path.clone(),
            slot => match change(slot, txn) {
                Some(Change::Create { path, .. }) => path.to_string(),
                _ => "ok".into(),
            },
        },
        Request::SetData { .. } => match change(slot, txn) {
            Some(Change::SetData { version, .. }) => format!("version {version}"),
            _ => format!("version {}", stat.version),
        },
        Request::SetAcl { .. } => match change(slot, txn) {
            Some(Change::SetAcl { aversion, .. }) => format!("aversion {aversion}"),
            _ => format!("aversion {}", stat.aversion),
        },
        _ => "ok".into(),
    }
}

fn change<'a>(slot: &Slot, txn: &'a Txn) -> Option<&'a Change> {
    match slot {
        Slot::Change(at) => txn.changes.get(*at as usize),
        _ => None,
    }
}

/// The answer to a read.
pub(crate) fn read(body: &Body<'_>, with_stat: bool, names: &dyn Fn(SessionId) -> String) -> String {
    let stat = |stat: &Stat| stat_text(stat, names);
    let and_stat = |text: String, of: &Stat| if with_stat { format!("{text} | {}", stat(of)) } else { text };
    let text = match body {
        Body::DataStat(bytes, of) => and_stat(data(*bytes), of),
        Body::Stat(of) => stat(of),
        Body::AclStat(list, of) => and_stat(acl_text(list), of),
        Body::Children(children) => list(children),
        Body::ChildrenStat(children, of) => and_stat(list(children), of),
        Body::Paths(paths) => list(paths),
        Body::Number(number) => number.to_string(),
        Body::Identities(identities) => {
            let texts = identities.iter().map(|who| format!("{}:{}", who.scheme, who.id));
            texts.collect::<Vec<_>>().join(" ")
        }
        Body::Multi(slots) | Body::BrokenMulti(slots) => {
            let slot = |slot: &MultiSlot<'_>| match slot {
                MultiSlot::Data(bytes, _) => data(*bytes),
                MultiSlot::Children(children) => list(children),
                MultiSlot::Error(code) => code.to_string(),
                other => format!("{other:?}"),
            };
            let text = slots.iter().map(slot).collect::<Vec<_>>().join(" ; ");
            // A server that cannot read an operation answers those before it, and ends the reply there.
            if matches!(body, Body::BrokenMulti(_)) { format!("(cut off) {text}") } else { text }
        }
        other => format!("{other:?}"),
    };
    format!("ok {text}").trim_end().to_owned()
}

/// Names in order. The order in which the tree has them means nothing.
fn list(names: &[&str]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.join(" ")
}

fn stat_text(stat: &Stat, names: &dyn Fn(SessionId) -> String) -> String {
    let kind = kind(Owner(stat.ephemeral_owner), names).map_or_else(String::new, |kind| format!(" {kind}"));
    format!(
        "czxid {:x} mzxid {:x} version {} children {} bytes {}{kind}",
        stat.czxid, stat.mzxid, stat.version, stat.num_children, stat.data_length
    )
}

/// The kind of a node, with its owner or time to live. None: persistent.
pub(crate) fn kind(owner: Owner, names: &dyn Fn(SessionId) -> String) -> Option<String> {
    match owner.kind() {
        NodeKind::Persistent => None,
        NodeKind::Ephemeral(session) => Some(format!("ephemeral of {}", names(session))),
        NodeKind::Container => Some("container".into()),
        NodeKind::Ttl(ms) => Some(format!("ttl {ms}")),
    }
}

/// Bytes in one line.
pub(crate) fn data(bytes: Option<&[u8]>) -> String {
    /// Of longer data only the length is printed.
    const SHOWN_BYTES_MAX: usize = 400;
    match bytes {
        None => "null".into(),
        Some([]) => "\"\"".into(),
        Some(bytes) if bytes.len() > SHOWN_BYTES_MAX => format!("({} bytes)", bytes.len()),
        Some(bytes) => one_line(&String::from_utf8_lossy(bytes)),
    }
}

pub(crate) fn one_line(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

pub(crate) fn event(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Created => "created",
        EventKind::Deleted => "deleted",
        EventKind::DataChanged => "changed",
        EventKind::ChildrenChanged => "children",
    }
}

/// The letters of zkCli.
const PERMISSIONS: [(i32, char); 5] =
    [(acl::CREATE, 'c'), (acl::DELETE, 'd'), (acl::READ, 'r'), (acl::WRITE, 'w'), (acl::ADMIN, 'a')];

/// `world:anyone:cdrwa`, entries separated by commas.
pub(crate) fn acl_text(list: &[AclEntry]) -> String {
    let entry = |entry: &AclEntry| {
        let set = PERMISSIONS.iter().filter(|(bit, _)| entry.permissions & bit != 0);
        format!("{}:{}:{}", entry.who.scheme, entry.who.id, set.map(|(_, letter)| letter).collect::<String>())
    };
    list.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// The permission bits of a text such as `cdrwa`. None if a letter is unknown.
pub(crate) fn permissions(letters: &str) -> Option<i32> {
    letters
        .chars()
        .try_fold(0, |bits, letter| PERMISSIONS.iter().find(|(_, known)| *known == letter).map(|(bit, _)| bits | bit))
}
