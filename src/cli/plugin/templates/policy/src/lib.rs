//! A policy under which everybody reads and only some may write: a start, for you to change.
//!
//! wit/plugin.wit says what a policy is asked and what it may ask. A policy can deny what ACLs allow. It cannot allow
//! what they deny.

use wasmkeeper_plugin::{Decision, Policy, Settings, Verb, View, policy};

struct Writers {
    /// Identities as `scheme:id`, for example `ip:127.0.0.1`.
    writers: Vec<String>,
}

policy!(Writers, include_str!("../manifest.json"));

impl Policy for Writers {
    /// Also runs before a deployment is accepted. The operator sees the error, so it names the setting.
    fn configure(_mount: &str, settings: &str) -> Result<Writers, String> {
        let mut settings = Settings::parse(settings)?;
        let writers = settings.texts("writers")?.unwrap_or_default();
        settings.finish()?;
        Ok(Writers { writers })
    }

    /// Called for each operation that the ACL allows, and for each event of a watch.
    fn authorize(&self, view: &View, verb: Verb, path: &str) -> Decision {
        if matches!(verb, Verb::Read | Verb::Children) {
            return Decision::Allow;
        }
        let is_writer = |scheme: &str, id: &str| self.writers.iter().any(|writer| *writer == format!("{scheme}:{id}"));
        if view.identities().iter().any(|who| is_writer(&who.scheme, &who.id)) {
            return Decision::Allow;
        }
        Decision::Deny(format!("only its writers may change {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmkeeper_plugin::testing::Tree;

    #[test]
    fn only_writers_write() {
        let policy = Writers::configure("/app", r#"{"writers":["ip:10.0.0.1"]}"#).unwrap();
        let tree = Tree::new();
        tree.identify(&[("ip", "10.0.0.2")]);
        assert_eq!(policy.authorize(&tree.view(), Verb::Read, "/app/x"), Decision::Allow);
        assert_eq!(
            policy.authorize(&tree.view(), Verb::Set, "/app/x"),
            Decision::Deny("only its writers may change /app/x".into())
        );
        tree.identify(&[("ip", "10.0.0.1")]);
        assert_eq!(policy.authorize(&tree.view(), Verb::Set, "/app/x"), Decision::Allow);
    }
}
