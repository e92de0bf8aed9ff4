//! Policies and authenticators, with the guest `warden` in its roles.

use super::*;
use crate::pipeline::{Fuel, ProvenSchemes, Rules, Schemes, Verb, authorize};
use crate::plugin::policies::{Answers, Question};

fn warden() -> &'static [u8] {
    include_bytes!(env!("WASMKEEPER_WARDEN"))
}

/// The data of nodes with their mzxid. `outstanding` names a node with an outstanding change.
#[derive(Default)]
struct Nodes {
    nodes: BTreeMap<String, (String, i64)>,
    pzxid: i64,
    outstanding: Option<&'static str>,
}

impl Nodes {
    fn with(nodes: &[(&str, &str)]) -> Nodes {
        let nodes = nodes.iter().map(|(path, data)| ((*path).to_owned(), ((*data).to_owned(), 1))).collect();
        Nodes { nodes, ..Nodes::default() }
    }

    fn set(&mut self, path: &str, data: &str) {
        let node = self.nodes.entry(path.into()).or_default();
        *node = (data.into(), node.1 + 1);
    }
}

impl ReadView for Nodes {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        let (data, mzxid) = self.nodes.get(path)?;
        let stat = Stat { mzxid: *mzxid, pzxid: self.pzxid, ..Stat::default() };
        Some(NodeCopy { data: Some(Bytes::from(data.clone())), stat, acl: acl::open_unsafe() })
    }
    fn original(&self, path: &str) -> Option<NodeCopy> {
        self.node(path)
    }
    fn children(&self, path: &str, _: Option<&str>, _: usize) -> Vec<String> {
        let names = self.nodes.keys().filter_map(|node| node.strip_prefix(path)?.strip_prefix('/'));
        names.map(str::to_owned).collect()
    }
    fn ephemerals(&self, _: SessionId, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
    fn is_outstanding(&self, path: &str) -> bool {
        self.outstanding == Some(path)
    }
}

fn caller(scheme: &str, id: &str) -> Caller {
    Caller {
        session: SessionId(0x10),
        connection: ConnectionId { member: 1, run: 2, number: 3 },
        identities: Arc::from([Identity::new("ip", "127.0.0.1"), Identity::new(scheme, id)]),
        address: [127, 0, 0, 1].into(),
        port: 4,
        local: false,
    }
}

impl Server {
    fn policy(&mut self, name: &str, what: &str, more: Value) {
        let mut manifest = json!({ "kind": "policy", "grants": [{ "path": "/roles", "verbs": ["read", "children"] }] });
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
        }
        self.deploy(name, warden(), json!({ "do": what }), manifest).unwrap();
    }

    fn may(&mut self, view: &Nodes, caller: &Caller, verb: Verb, path: &str) -> Result<(), Refusal> {
        let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
        self.judge.authorize(&Call::looking(view, Some(caller), 5, Zxid(6), moment), verb, path).said
    }
}

#[test]
fn roles_come_from_nodes_and_an_answer_is_kept_until_one_of_them_changes() {
    let mut server = Server::new();
    server.policy("w", "roles", json!({}));
    let mut view = Nodes::with(&[("/roles/alice", "read /services/a\nset /services/a")]);
    let (alice, bob) = (caller("digest", "alice:hash"), caller("digest", "bob:hash"));
    for _ in 0..3 {
        assert_eq!(server.may(&view, &alice, Verb::Read, "/services/a"), Ok(()));
        assert_eq!(server.may(&view, &alice, Verb::Set, "/services/a/b"), Ok(()));
        let (code, text) = refused(server.may(&view, &bob, Verb::Read, "/services/a"));
        assert_eq!((code, text.as_str()), (ErrorCode::NoAuth, "w: /services/a: no role may read it"));
        // Another `Arc` with the same identities is the same caller.
        let again = caller("digest", "alice:hash");
        assert_eq!(refused(server.may(&view, &again, Verb::Delete, "/services/a")).0, ErrorCode::NoAuth);
    }
    assert_eq!((&server.counters("w")["calls"], &server.counters("w")["refusals"]), (&json!(4), &json!(6)));
    // Bob's role node was absent before, so its creation is a change, too.
    view.set("/roles/bob", "read /services");
    view.set("/roles/alice", "");
    assert_eq!(server.may(&view, &bob, Verb::Read, "/services/a"), Ok(()));
    assert_eq!(refused(server.may(&view, &alice, Verb::Read, "/services/a")).0, ErrorCode::NoAuth);
    assert_eq!(server.counters("w")["calls"], 6);
    // A new version of the plugin does not use the old version's answers.
    server.policy("w", "deny", json!({ "version": 2 }));
    assert!(server.may(&view, &bob, Verb::Read, "/services/a").is_err());
}

#[test]
fn answers_that_rest_on_circumstances_are_not_cached() {
    let mut server = Server::new();
    let alice = caller("digest", "alice:hash");
    server.policy("w", "context", json!({}));
    let view = Nodes::with(&[("/roles/alice", "read /services")]);
    for calls in 1..4 {
        assert_eq!(server.may(&view, &alice, Verb::Read, "/services/a"), Ok(()));
        assert_eq!(server.counters("w")["calls"], calls);
    }
    server.policy("w", "roles", json!({ "version": 2 }));
    let outstanding = Nodes { outstanding: Some("/roles/alice"), ..view };
    for calls in 4..7 {
        assert_eq!(server.may(&outstanding, &alice, Verb::Read, "/services/a"), Ok(()));
        assert_eq!(server.counters("w")["calls"], calls);
    }
    // A list of children is known by the node's pzxid.
    server.policy("w", "names", json!({ "version": 3 }));
    let mut view = Nodes::with(&[("/roles", "")]);
    assert!(server.may(&view, &alice, Verb::Read, "/services/a").is_err());
    view.set("/roles/open", "");
    assert!(server.may(&view, &alice, Verb::Read, "/services/a").is_err(), "kept, as long as pzxid is the same");
    view.pzxid = 9;
    assert_eq!(server.may(&view, &alice, Verb::Read, "/services/a"), Ok(()));
}

#[test]
fn all_that_are_hit_must_agree_and_the_first_by_name_says_why() {
    let mut server = Server::new();
    let (view, alice) = (Nodes::with(&[("/roles/alice", "read /services")]), caller("digest", "alice:hash"));
    server.policy("b", "allow", json!({}));
    assert_eq!(server.may(&view, &alice, Verb::Read, "/services/a"), Ok(()));
    server.policy("c", "deny", json!({ "on": ["read"] }));
    server.policy("d", "deny", json!({ "paths": ["/services/a", "/else/**"] }));
    assert!(refused(server.may(&view, &alice, Verb::Read, "/services/a")).1.starts_with("c: "));
    server.policy("c", "deny", json!({ "mode": "audit", "version": 2 }));
    assert!(refused(server.may(&view, &alice, Verb::Read, "/services/a")).1.starts_with("d: "));
    assert_eq!(server.counters("c")["would_refuse"], 1);
    assert_eq!(server.may(&view, &alice, Verb::Read, "/services/b"), Ok(()));
    assert_eq!(server.may(&view, &alice, Verb::Read, "/nobody/asks"), Ok(()));
}

#[test]
fn where_an_allow_is_required_silence_is_a_deny() {
    let mut server = Server::new();
    let (view, alice) = (Nodes::with(&[("/roles/alice", "read /services")]), caller("digest", "alice:hash"));
    server.policy("a", "abstain", json!({ "require": "allow" }));
    let (code, text) = refused(server.may(&view, &alice, Verb::Read, "/services/a"));
    assert_eq!((code, text.as_str()), (ErrorCode::NoAuth, "a: /services/a: no policy allows it, and one must"));
    // A policy in mode `audit` does not count.
    server.policy("b", "allow", json!({ "mode": "audit" }));
    assert!(server.may(&view, &alice, Verb::Read, "/services/a").is_err());
    server.policy("b", "allow", json!({ "version": 2 }));
    assert_eq!(server.may(&view, &alice, Verb::Read, "/services/a"), Ok(()));
    let mut audit = Server::new();
    audit.policy("a", "abstain", json!({ "require": "allow", "mode": "audit" }));
    assert_eq!(audit.may(&view, &alice, Verb::Read, "/services/a"), Ok(()));
    assert_eq!(audit.counters("a")["would_refuse"], 1);
}

#[test]
fn a_fault_denies_unless_it_is_to_be_ignored_and_is_not_kept() {
    let mut server = Server::new();
    let (view, alice) = (Nodes::default(), caller("digest", "alice:hash"));
    for (what, class) in [("panic", "panic"), ("spin", "fuel")] {
        server.policy("w", what, json!({}));
        for _ in 0..2 {
            let (code, text) = refused(server.may(&view, &alice, Verb::Read, "/services/a"));
            assert_eq!(code, ErrorCode::SystemError);
            assert!(text.contains(class), "{text}");
        }
        assert_eq!(server.counters("w")["faults"][class], 2);
    }
    server.policy("w", "panic", json!({ "on_failure": "ignore", "require": "allow" }));
    assert_eq!(server.may(&view, &alice, Verb::Read, "/services/a"), Ok(()));
    assert_eq!(server.counters("w")["let_pass"], 1);
    let mut off = Server::with(Plugins::new(false, Compiler::here()));
    server.policy("w", "allow", json!({}));
    off.tree = server.tree;
    off.plugins.refresh(&off.tree);
    let (code, text) = refused(off.may(&view, &alice, Verb::Read, "/services/a"));
    assert_eq!(code, ErrorCode::SystemError);
    assert!(text.contains("--plugins off"), "{text}");
}

#[test]
fn the_superuser_and_zookeeper_are_never_asked_about() {
    let mut server = Server::new();
    server.policy("w", "deny", json!({ "paths": ["/**", "/"] }));
    let view = Nodes::default();
    assert_eq!(server.may(&view, &caller("super", ""), Verb::Read, "/services/a"), Ok(()));
    let alice = caller("digest", "alice:hash");
    assert_eq!(server.may(&view, &alice, Verb::Read, "/zookeeper/config"), Ok(()));
    assert_eq!(server.may(&view, &alice, Verb::Children, "/zookeeper"), Ok(()));
    assert!(server.may(&view, &alice, Verb::Read, "/").is_err());
    let who = &caller("super", "").identities;
    assert!(!server.plugins.registry().hits(Question { who, verb: Verb::Read, path: "/a" }));
    assert_eq!(server.counters("w")["calls"], 1);
}

#[test]
fn a_reads_answer_counts_only_while_what_it_rests_on_is_the_same() {
    let mut server = Server::new();
    server.policy("w", "roles", json!({}));
    server.policy("x", "context", json!({}));
    let mut view = Nodes::with(&[("/roles/alice", "read /services")]);
    let alice = caller("digest", "alice:hash");
    let registry = server.plugins.registry();
    let question = Question { who: &alice.identities, verb: Verb::Read, path: "/services/a" };
    let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
    let mut answers = Answers::default();
    assert!(registry.known(question, &view, None, &answers).is_none());
    registry.ask(true, question, &Call::looking(&view, Some(&alice), 0, Zxid(1), moment), &mut answers);
    assert_eq!(registry.known(question, &view, None, &answers).unwrap().decide("/services/a"), Ok(()));
    assert!(registry.known(question, &view, None, &Answers::default()).is_none(), "the second is not kept");
    view.set("/roles/alice", "");
    assert!(registry.known(question, &view, None, &answers).is_none());
    registry.ask(true, question, &Call::looking(&view, Some(&alice), 0, Zxid(2), moment), &mut answers);
    assert!(registry.known(question, &view, None, &answers).unwrap().decide("/services/a").is_err());
    assert_eq!((&server.counters("w")["calls"], &server.counters("x")["calls"]), (&json!(2), &json!(1)));
}

/// A tree that changes at each read: the role allows, then it does not, and so on.
#[derive(Default)]
struct Restless(std::cell::Cell<i64>);

impl ReadView for Restless {
    fn node(&self, _: &str) -> Option<NodeCopy> {
        let looks = self.0.replace(self.0.get() + 1);
        let role = if looks % 2 == 0 { "read /services" } else { "" };
        let stat = Stat { mzxid: looks, ..Stat::default() };
        Some(NodeCopy { data: Some(Bytes::from(role)), stat, acl: acl::open_unsafe() })
    }
    fn original(&self, path: &str) -> Option<NodeCopy> {
        self.node(path)
    }
    fn children(&self, _: &str, _: Option<&str>, _: usize) -> Vec<String> {
        Vec::new()
    }
    fn ephemerals(&self, _: SessionId, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn a_tree_that_changes_between_two_answers_makes_no_policy_impure() {
    let mut server = Server::new();
    server.policy("w", "roles", json!({}));
    let registry = server.plugins.registry();
    let (alice, view) = (caller("digest", "alice:hash"), Restless::default());
    let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
    let call = Call::looking(&view, Some(&alice), 0, Zxid(1), moment);
    let question = Question { who: &alice.identities, verb: Verb::Read, path: "/services/a" };
    for _ in 0..limits::PLUGIN_SAMPLE_EVERY + 2 {
        registry.ask(true, question, &call, &mut Answers::default());
    }
    assert!(view.0.get() as u64 > limits::PLUGIN_SAMPLE_EVERY);
    assert_eq!(server.status("w")["instances"], "reused");
}

impl Server {
    fn authenticator(&mut self, version: u32) {
        let manifest =
            json!({ "kind": "authenticator", "scheme": "jwt", "version": version, "paths": null, "grants": [] });
        self.deploy("j", warden(), json!({ "do": "secret" }), manifest).unwrap();
    }

    fn login(&self, credential: &str) -> Option<crate::plugin::authenticators::Proof> {
        let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
        let view = Nodes::default();
        let call = Call::looking(&view, None, 0, Zxid(1), moment);
        self.plugins.authenticate("jwt", &call, credential.as_bytes())
    }
}

#[test]
fn a_login_proves_ids_of_its_scheme_alone() {
    let mut server = Server::new();
    assert_eq!(server.login("alice:secret"), None, "nobody proves that scheme");
    server.authenticator(1);
    let proof = server.login("alice:secret:99").unwrap();
    assert_eq!(proof.identities, [Identity::new("jwt", "alice"), Identity::new("jwt", "group-a")]);
    assert_eq!(proof.until_ms, Some(99));
    for bad in ["alice:wrong", "alice", "", "panic:secret", "many:secret", "odd:secret"] {
        assert_eq!(server.login(bad), None, "{bad}");
    }
    let counters = server.counters("j");
    assert_eq!((&counters["refusals"], &counters["faults"]["panic"]), (&json!(3), &json!(1)));
    assert_eq!(counters["faults"]["output"], 2);
}

#[test]
fn a_scheme_has_one_authenticator() {
    let mut server = Server::new();
    server.authenticator(1);
    let second =
        |mode: &str| json!({ "kind": "authenticator", "scheme": "jwt", "mode": mode, "paths": null, "grants": [] });
    let (_, text) = super::refused(server.deploy("k", warden(), json!({ "do": "secret" }), second("enforce")));
    assert!(text.contains("scheme: jwt is that of j: choose another, or turn j off or remove it"), "{text}");
    server.deploy("k", warden(), json!({ "do": "secret" }), second("off")).unwrap();
    server.authenticator(2);
}

#[test]
fn access_lists_know_the_scheme_while_it_is_bound() {
    let mut server = Server::new();
    let plugins: Arc<dyn Schemes> = server.plugins.clone();
    let rules = Rules { schemes: ProvenSchemes::new(plugins), ..Rules::default() };
    let entry = |scheme: &str, id: &str| acl::AclEntry { permissions: acl::READ, who: Identity::new(scheme, id) };
    let held = [Identity::new("jwt", "alice"), Identity::new("jwt", "group-a")];
    let held = authorize::Who { identities: &held, session: SessionId(1) };
    let allowed = |id: &str| authorize::allowed(&rules, &[entry("jwt", id)], acl::READ, held);
    let fix = |scheme: &str, id: &str| authorize::fix_acl(&rules, held, Some(&[entry(scheme, id)]), &Fuel::default());
    assert!(!allowed("alice") && fix("jwt", "alice").is_err() && fix("auth", "").is_err());
    server.authenticator(1);
    for _ in 0..3 {
        assert!(allowed("alice") && allowed("group*") && !allowed("b*") && !allowed("bob"));
    }
    // Two identities against three ACL ids that differ from them make six questions.
    assert_eq!(server.counters("j")["calls"], 6);
    assert_eq!(fix("jwt", "anybody").unwrap().to_vec(), [entry("jwt", "anybody")]);
    let refusal = fix("jwt", "no such").unwrap_err();
    assert_eq!((refusal.code, refusal.text.as_str()), (ErrorCode::InvalidAcl, "j: jwt:no such: an id has no spaces"));
    assert_eq!(fix("auth", "").unwrap().to_vec(), [entry("jwt", "alice"), entry("jwt", "group-a")]);
    server.tree.0.remove(&format!("{PLUGINS}/j"));
    server.plugins.refresh(&server.tree);
    assert!(!allowed("alice") && fix("jwt", "alice").is_err() && fix("auth", "").is_err());
}
