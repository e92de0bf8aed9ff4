//! What the policy `rbac` says of a request, worked out from the nodes and settings of a zxid as its README has it.
//!
//! It reads the ledger and asks no server: where both say something else, one of them is wrong.

use crate::bundled::POLICED;
use crate::client;
use crate::ledger::Ledger;
use crate::net;
use serde_json::Value;
use wasmkeeper::model::path::is_within;
use wasmkeeper::pipeline::Verb;
use wasmkeeper::plugin::PLUGINS;

/// Where roles and subjects are. Settings choose among the folders of roles.
pub const FACTS: &str = "/rbac";
pub const ROLES: [&str; 2] = ["/rbac/roles", "/rbac/others"];
pub const SUBJECTS: &str = "/rbac/subjects";

/// Whether the policy is asked about that node.
pub fn is_policed(path: &str) -> bool {
    is_within(path, POLICED)
}

/// Whether what it says may depend on that node.
pub fn decides(path: &str) -> bool {
    is_within(path, FACTS) || path == format!("{PLUGINS}/rbac")
}

/// The subject that a client is by itself, as its node is named.
pub fn subject(client: u32) -> String {
    format!("ip:{}", net::address(client::machine(client), 0).ip())
}

/// The subject that everybody is.
pub const ANYONE: &str = "world:anyone";

/// Whether the policy in force with the tree of that zxid lets the client do that.
pub fn allows(ledger: &Ledger, zxid: u64, client: u32, verb: Verb, path: &str) -> bool {
    if !is_policed(path) {
        return true;
    }
    let Some(manifest) = ledger.manifest("rbac", zxid) else { return true };
    let text = |key: &str, default: &str| manifest.settings[key].as_str().unwrap_or(default).to_owned();
    if text("otherwise", "deny") == "abstain" {
        return true;
    }
    let read = |node: String| -> Value {
        let data = ledger.node(&node, zxid).and_then(|node| node.data.as_deref());
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
