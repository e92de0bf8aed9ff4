//! The verdict that the policy `rbac` must give on a request, computed from the znodes and settings at a zxid.
//!
//! The rules come from the plugin's README. This file reads only the ledger and no server, so the two verdicts are
//! independent. If they differ, one of them is wrong.

use crate::net;
use crate::places::{FACTS, POLICED, ROLES, SUBJECTS};
use serde_json::Value;
use wasmkeeper::model::path::is_within;
use wasmkeeper::pipeline::Verb;
use wasmkeeper::plugin::PLUGINS;
use wasmkeeper::plugin::manifest::Manifest;

/// The trees on which a verdict rests. The ledger has one for each zxid.
pub(crate) trait Trees {
    /// The manifest of `plugin` in the tree at `zxid`.
    fn manifest(&self, plugin: &str, zxid: u64) -> Option<Manifest>;
    /// The data of a znode in the tree at `zxid`.
    fn data(&self, path: &str, zxid: u64) -> Option<&[u8]>;
}

/// Whether the policy is asked about that znode.
pub(crate) fn is_policed(path: &str) -> bool {
    is_within(path, POLICED)
}

/// Whether the policy's verdicts may depend on that znode.
pub(crate) fn decides(path: &str) -> bool {
    is_within(path, FACTS) || path == format!("{PLUGINS}/rbac")
}

/// The subject for a client's own address. `rbac` uses it as the name of the subject's znode.
pub(crate) fn subject(client: u32) -> String {
    format!("ip:{}", net::address(net::client_machine(client), 0).ip())
}

/// The subject that every client is.
pub(crate) const ANYONE: &str = "world:anyone";

/// Whether the policy in force at `zxid` allows `client` to do `verb` at `path`.
pub(crate) fn allows(trees: &impl Trees, zxid: u64, client: u32, verb: Verb, path: &str) -> bool {
    if !is_policed(path) {
        return true;
    }
    let Some(manifest) = trees.manifest("rbac", zxid) else { return true };
    let text = |key: &str, default: &str| manifest.settings[key].as_str().unwrap_or(default).to_owned();
    if text("otherwise", "deny") == "abstain" {
        return true;
    }
    let read = |node: String| -> Value {
        let data = trees.data(&node, zxid);
        data.and_then(|data| serde_json::from_slice(data).ok()).unwrap_or_default()
    };
    let allowing = |rule: &Value| {
        let verbs = rule["verbs"].as_array().into_iter().flatten();
        rule["path"].as_str().is_some_and(|root| is_within(path, root))
            && verbs.into_iter().any(|given| given == "*" || given == verb.name())
    };
    let folder = text("roles", ROLES[0]);
    [subject(client), ANYONE.to_owned()].into_iter().any(|who| {
        let roles = read(format!("{SUBJECTS}/{who}"));
        let roles = roles.as_array().into_iter().flatten().filter_map(Value::as_str);
        roles.into_iter().any(|role| {
            let role = read(format!("{folder}/{role}"));
            role["allow"].as_array().is_some_and(|rules| rules.iter().any(allowing))
        })
    })
}
