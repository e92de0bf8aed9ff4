//! `rbac`: a policy. Roles say who may do what, and roles are nodes. All settings are optional:
//!
//! | key | meaning |
//! |---|---|
//! | `roles` | the node whose children are roles; default `/rbac/roles` |
//! | `subjects` | the node whose children are subjects; default `/rbac/subjects` |
//! | `otherwise` | the answer if no role allows: `deny`, the default, or `abstain` |
//!
//! The data of a role is `{"allow":[{"path":"/app","verbs":["read","children"]}]}`. A path covers its node and all
//! nodes below. `"*"` is every verb. The data of a subject is a list of roles, `["developer"]`. The name of a subject
//! is the scheme and id of an identity, `jwt:alice`, with `%25` for % and `%2F` for /. Everybody is also the subject
//! `world:anyone`.
//!
//! The plugin remembers nothing between questions. The server caches an answer until a node that the plugin read for it
//! changes. A subject's node that did not exist counts as read: if somebody creates it, the answer is dropped.

use serde_json::Value;
use std::collections::BTreeSet;
use wasmkeeper_plugin::path::is_within;
use wasmkeeper_plugin::{Decision, Level, Policy, Rejection, Settings, Verb, View, log, policy};

/// How many roles one question reads. If a caller has more roles, the first ones count.
const ROLES_MAX: usize = 64;

/// How many bytes of a role's or a subject's data are read. Parsing costs fuel.
const DATA_BYTES_MAX: usize = 32 << 10;

struct Rbac {
    roles: String,
    subjects: String,
    otherwise_deny: bool,
}

policy!(
    Rbac,
    // The settings name the nodes, so the manifest asks for all paths. The operator grants `read:/rbac`.
    r#"{ "name": "rbac", "version": "1.0.0", "pure": true, "grants": [ { "path": "/", "verbs": ["read"] } ] }"#
);

impl Policy for Rbac {
    fn configure(_mount: &str, settings: &str) -> Result<Rbac, String> {
        let mut settings = Settings::parse(settings)?;
        let mut node = |key, default: &str| match settings.text(key)? {
            Some(path) if !path.starts_with('/') || path.len() > 1 && path.ends_with('/') => {
                Err(settings.wrong(key, "a path is required, such as \"/rbac/roles\""))
            }
            path => Ok(path.unwrap_or_else(|| default.into())),
        };
        let (roles, subjects) = (node("roles", "/rbac/roles")?, node("subjects", "/rbac/subjects")?);
        let otherwise_deny = match settings.text("otherwise")?.as_deref() {
            None | Some("deny") => true,
            Some("abstain") => false,
            Some(_) => return Err("otherwise: deny or abstain is required".into()),
        };
        settings.finish()?;
        Ok(Rbac { roles, subjects, otherwise_deny })
    }

    fn authorize(&self, view: &View, verb: Verb, path: &str) -> Decision {
        match self.is_allowed(view, verb, path) {
            Ok(true) => Decision::Allow,
            Ok(false) if !self.otherwise_deny => Decision::Abstain,
            Ok(false) => Decision::Deny(format!("no role allows {} at {path}", verb.name())),
            Err(refused) => Decision::Deny(format!("roles cannot be read: {}", refused.text)),
        }
    }
}

impl Rbac {
    fn is_allowed(&self, view: &View, verb: Verb, path: &str) -> Result<bool, Rejection> {
        let identities = view.identities();
        let subjects = identities.iter().map(|who| (who.scheme.as_str(), who.id.as_str()));
        let mut seen = BTreeSet::new();
        for (scheme, id) in subjects.chain([("world", "anyone")]) {
            let node = format!("{}/{}", self.subjects.trim_end_matches('/'), subject(scheme, id));
            for role in list(&read(view, &node)?, || format!("{node} is no list of roles")) {
                // A name with a slash would lead to another node.
                let Some(role) = role.as_str().filter(|role| !role.is_empty() && !role.contains('/')) else { continue };
                if seen.len() == ROLES_MAX || !seen.insert(role.to_string()) {
                    continue;
                }
                let node = format!("{}/{role}", self.roles.trim_end_matches('/'));
                let role = read(view, &node)?;
                if !role.is_null() && !role.is_object() {
                    allows_nothing(&format!("{node} is no object"));
                }
                let rules = list(&role["allow"], || format!("allow of {node} is no list"));
                if rules.iter().any(|rule| allows(rule, verb, path, &node)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The node's data. Null if there is no node, or if its data cannot be used.
fn read(view: &View, path: &str) -> Result<Value, Rejection> {
    let Some(node) = view.get(path)? else { return Ok(Value::Null) };
    if node.data.len() <= DATA_BYTES_MAX
        && let Ok(value) = serde_json::from_slice(&node.data)
    {
        return Ok(value);
    }
    allows_nothing(&format!("{path} is no JSON of at most {DATA_BYTES_MAX} bytes"));
    Ok(Value::Null)
}

/// Whether a rule of the role allows this. A rule that is not fully understood allows nothing.
fn allows(rule: &Value, verb: Verb, path: &str, role: &str) -> bool {
    let Some(root) = rule["path"].as_str().filter(|root| root.starts_with('/')) else {
        allows_nothing(&format!("{role}: a rule without a path that begins with /"));
        return false;
    };
    let verbs = || format!("{role}: verbs of {root} is no list");
    is_within(path, root) && list(&rule["verbs"], verbs).iter().any(|name| name == "*" || name == verb.name())
}

/// The elements of a list. A value that is neither null nor a list counts as an empty list; `what` is logged about it.
fn list(value: &Value, what: impl Fn() -> String) -> &[Value] {
    if !value.is_null() && !value.is_array() {
        allows_nothing(&what());
    }
    value.as_array().map_or(&[], Vec::as_slice)
}

fn allows_nothing(what: &str) {
    log(Level::Warn, &format!("{what}, and allows nothing"));
}

/// The name of a subject's node.
fn subject(scheme: &str, id: &str) -> String {
    format!("{scheme}:{id}").replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests;
