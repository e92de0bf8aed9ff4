//! The contract with guests: the types of `wit/plugin.wit`, and conversions from and to the server's types.
//!
//! This module stands below the rest of `plugin`. `report` writes calls down in these types, and `guest` makes the
//! calls.

#![expect(unreachable_pub, reason = "what `bindgen!` writes re-exports these")]

use crate::model::{Identity, NodeKind, Owner, SessionId, Stat, acl, owner};
use crate::pipeline::{NodeCopy, Verb};

/// Generated from `wit/plugin.wit`. The world has the imports and exports of all kinds of plugins. A component has a
/// part of them.
mod generated {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package wasmkeeper:host;
            world every-kind {
                import wasmkeeper:plugin/logging@1.0.0;
                import wasmkeeper:plugin/reading@1.0.0;
                import wasmkeeper:plugin/writing@1.0.0;
                export wasmkeeper:plugin/setup@1.0.0;
                export wasmkeeper:plugin/validation@1.0.0;
                export wasmkeeper:plugin/authorization@1.0.0;
                export wasmkeeper:plugin/authentication@1.0.0;
                export wasmkeeper:plugin/behavior@1.0.0;
                export wasmkeeper:plugin/reconciliation@1.0.0;
            }
        ",
        world: "wasmkeeper:host/every-kind",
        imports: { default: trappable },
        with: {
            "wasmkeeper:plugin/reading.view": super::ViewHandle,
            "wasmkeeper:plugin/writing.transaction": super::TransactionHandle,
        },
        additional_derives: [PartialEq],
    });
}

pub use generated::EveryKind;
pub use generated::exports::wasmkeeper::plugin as exports;
pub use generated::wasmkeeper::plugin::{logging, reading, types, writing};
pub use types::{Change, ChangeKind, Rejection};

/// The type behind a guest's `view` handle. The handle holds nothing: host functions read `HostState::lent`.
pub struct ViewHandle;

/// The type behind a guest's `transaction` handle. The handle holds nothing, as `ViewHandle`.
pub struct TransactionHandle;

impl From<Verb> for types::Verb {
    fn from(verb: Verb) -> types::Verb {
        match verb {
            Verb::Read => types::Verb::Read,
            Verb::Children => types::Verb::Children,
            Verb::Create => types::Verb::Create,
            Verb::Set => types::Verb::Set,
            Verb::Delete => types::Verb::Delete,
            Verb::Acl => types::Verb::Acl,
            Verb::Call => types::Verb::Call,
        }
    }
}

pub fn guest_node(copy: NodeCopy) -> types::Node {
    let stat = guest_stat(&copy.stat);
    types::Node { data: copy.data.map_or_else(Vec::new, |data| data.to_vec()), stat }
}

pub fn guest_stat(stat: &Stat) -> types::Stat {
    types::Stat {
        czxid: stat.czxid.cast_unsigned(),
        mzxid: stat.mzxid.cast_unsigned(),
        pzxid: stat.pzxid.cast_unsigned(),
        ctime: stat.ctime.cast_unsigned(),
        mtime: stat.mtime.cast_unsigned(),
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: match Owner(stat.ephemeral_owner).kind() {
            NodeKind::Ephemeral(session) => session.0.cast_unsigned(),
            _ => 0,
        },
        data_length: stat.data_length.cast_unsigned(),
        num_children: stat.num_children.cast_unsigned(),
    }
}

pub fn guest_node_kind(kind: NodeKind) -> types::NodeKind {
    match kind {
        NodeKind::Persistent => types::NodeKind::Persistent,
        NodeKind::Ephemeral(session) => types::NodeKind::Ephemeral(session.0.cast_unsigned()),
        NodeKind::Container => types::NodeKind::Container,
        NodeKind::Ttl(ms) => types::NodeKind::Ttl(ms.cast_unsigned()),
    }
}

/// The node kind that a guest names. None if a time to live is out of bounds.
pub fn model_node_kind(kind: types::NodeKind) -> Option<NodeKind> {
    Some(match kind {
        types::NodeKind::Persistent => NodeKind::Persistent,
        types::NodeKind::Ephemeral(session) => NodeKind::Ephemeral(SessionId(session.cast_signed())),
        types::NodeKind::Container => NodeKind::Container,
        types::NodeKind::Ttl(ms) => {
            NodeKind::Ttl(i64::try_from(ms).ok().filter(|ms| (1..=owner::TTL_MS_MAX).contains(ms))?)
        }
    })
}

pub fn guest_identity(identity: &Identity) -> types::Identity {
    types::Identity { scheme: identity.scheme.clone(), id: identity.id.clone() }
}

const PERMISSIONS: [(i32, types::Permissions); 5] = [
    (acl::READ, types::Permissions::READ),
    (acl::WRITE, types::Permissions::WRITE),
    (acl::CREATE, types::Permissions::CREATE),
    (acl::DELETE, types::Permissions::DELETE),
    (acl::ADMIN, types::Permissions::ADMIN),
];

/// An ACL entry in the contract's types.
pub fn guest_acl_entry(entry: &acl::AclEntry) -> types::AclEntry {
    let set = PERMISSIONS.iter().filter(|(bit, _)| entry.permissions & bit != 0);
    let permissions = set.fold(types::Permissions::empty(), |all, (_, flag)| all | *flag);
    types::AclEntry { permissions, who: guest_identity(&entry.who) }
}

pub fn model_acl_entry(entry: &types::AclEntry) -> acl::AclEntry {
    let set = PERMISSIONS.iter().filter(|(_, flag)| entry.permissions.contains(*flag));
    let permissions = set.fold(0, |all, (bit, _)| all | bit);
    acl::AclEntry { permissions, who: Identity::new(entry.who.scheme.clone(), entry.who.id.clone()) }
}

/// The longest prefix of `text` that has at most `bytes_max` bytes and ends at a character boundary.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
