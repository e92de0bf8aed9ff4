//! Roles in nodes, and what they allow.

use super::{Rbac, subject};
use wasmkeeper_plugin::testing::Tree;
use wasmkeeper_plugin::{Decision, Policy, Verb};

fn tree() -> Tree {
    let tree = Tree::new();
    tree.put("/rbac/roles/reader", r#"{"allow":[{"path":"/app","verbs":["read","children"]}]}"#);
    tree.put(
        "/rbac/roles/writer",
        r#"{"allow":[{"path":"/app/data","verbs":["create","set","delete"]},{"path":"/tmp","verbs":["*"]}]}"#,
    );
    tree.put("/rbac/subjects/jwt:alice", r#"["reader","writer"]"#);
    tree.put("/rbac/subjects/jwt:group:ops", r#"["writer"]"#);
    tree.put("/rbac/subjects/digest:bob:a%2Fb%25=", r#"["reader"]"#);
    tree.grant(&[("/rbac", &["read"])]);
    tree
}

fn asked(tree: &Tree, settings: &str, verb: Verb, path: &str) -> Decision {
    Rbac::configure("/", settings).unwrap().authorize(&tree.view(), verb, path)
}

fn allowed(tree: &Tree, verb: Verb, path: &str) -> bool {
    asked(tree, "{}", verb, path) == Decision::Allow
}

#[test]
fn roles_allow_verbs_below_paths() {
    let tree = tree();
    tree.identify(&[("ip", "10.0.0.1"), ("jwt", "alice")]);
    assert!(allowed(&tree, Verb::Read, "/app") && allowed(&tree, Verb::Children, "/app/data/x"));
    assert!(allowed(&tree, Verb::Set, "/app/data/x") && allowed(&tree, Verb::Call, "/tmp"));
    assert!(!allowed(&tree, Verb::Set, "/app") && !allowed(&tree, Verb::Read, "/application"));
    assert!(!allowed(&tree, Verb::Acl, "/app/data") && !allowed(&tree, Verb::Read, "/"));
    tree.identify(&[("jwt", "group:ops")]);
    assert!(allowed(&tree, Verb::Create, "/app/data/x") && !allowed(&tree, Verb::Read, "/app"));
    tree.identify(&[("digest", "bob:a/b%=")]);
    assert!(allowed(&tree, Verb::Read, "/app"));
    assert_eq!(asked(&tree, "{}", Verb::Set, "/app"), Decision::Deny("no role allows set at /app".into()));
    assert_eq!(asked(&tree, r#"{"otherwise":"abstain"}"#, Verb::Set, "/app"), Decision::Abstain);
}

#[test]
fn a_change_of_roles_is_seen_at_once() {
    let tree = tree();
    tree.identify(&[("jwt", "carol")]);
    assert!(!allowed(&tree, Verb::Read, "/app"));
    tree.put("/rbac/subjects/jwt:carol", r#"["reader"]"#);
    assert!(allowed(&tree, Verb::Read, "/app"));
    tree.put("/rbac/roles/reader", r#"{"allow":[]}"#);
    assert!(!allowed(&tree, Verb::Read, "/app"));
    // Everybody has this role, without any proof.
    tree.identify(&[]);
    tree.put("/rbac/subjects/world:anyone", r#"["writer"]"#);
    assert!(allowed(&tree, Verb::Set, "/tmp/x"));
}

#[test]
fn what_is_not_understood_allows_nothing() {
    let tree = tree();
    tree.identify(&[("jwt", "alice")]);
    for role in [
        "",
        "{",
        "[]",
        r#"{"allow":{}}"#,
        r#"{"allow":[{"verbs":["*"]}]}"#,
        r#"{"allow":[{"path":"app","verbs":["*"]}]}"#,
        r#"{"allow":[{"path":"","verbs":["*"]}]}"#,
        r#"{"allow":[{"path":"/","verbs":"*"}]}"#,
        &" ".repeat(40_000),
    ] {
        tree.put("/rbac/roles/reader", role);
        assert!(!allowed(&tree, Verb::Read, "/app"), "{role}");
    }
    // A role is a child of the node of roles, and no other node.
    tree.put("/rbac/other/all", r#"{"allow":[{"path":"/","verbs":["*"]}]}"#);
    tree.put("/rbac/subjects/jwt:alice", r#"["../other/all", "", 7]"#);
    assert!(!allowed(&tree, Verb::Read, "/app"));
    // Of very many roles, the first ones are read.
    let roles: Vec<String> = (0..100).map(|i| format!("\"r{i}\"")).collect();
    tree.put("/rbac/subjects/jwt:alice", format!("[{}]", roles.join(",")));
    let all = r#"{"allow":[{"path":"/","verbs":["*"]}]}"#;
    tree.put("/rbac/roles/r64", all);
    assert!(!allowed(&tree, Verb::Read, "/app"));
    tree.put("/rbac/roles/r63", all);
    assert!(allowed(&tree, Verb::Read, "/app"));
}

#[test]
fn without_a_grant_everything_is_denied() {
    let tree = tree();
    tree.identify(&[("jwt", "alice")]);
    tree.grant(&[("/elsewhere", &["read"])]);
    let Decision::Deny(text) = asked(&tree, r#"{"otherwise":"abstain"}"#, Verb::Read, "/app") else {
        panic!("not denied")
    };
    assert!(text.starts_with("roles cannot be read: "), "{text}");
}

#[test]
fn settings_are_checked() {
    for (settings, text) in [
        (r#"{"roles":"rbac"}"#, "roles: a path"),
        (r#"{"subjects":"/a/"}"#, "subjects: a path"),
        (r#"{"otherwise":"allow"}"#, "otherwise: deny or abstain"),
        (r#"{"role":"/a"}"#, "role: there is no such setting"),
    ] {
        assert!(Rbac::configure("/", settings).err().unwrap().starts_with(text));
    }
    assert_eq!(subject("digest", "a%b/c"), "digest:a%25b%2Fc");
}
