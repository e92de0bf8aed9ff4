//! `warden`: a policy and an authenticator for the server's tests. The settings are `{"do": "..."}`.
//!
//! As a policy it reads `/roles/<name>` for each name of the caller (`digest` without the hash, other schemes as they
//! are). The node has lines `<verb> <path>`, and a path covers the nodes below. If `do` is `roles` or `allow`, the
//! policy denies what no role allows. If a role allows the request, `roles` abstains and `allow` allows it. The other
//! values of `do` are fixed answers and misbehaviour (`authorize`).
//!
//! As an authenticator it accepts the credential `<name>:<text of do>[:<until ms>]`. It proves the name, and a group
//! named by the name's first letter.

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package wasmkeeper:tests;
        world warden {
            import wasmkeeper:plugin/logging@1.0.0;
            export wasmkeeper:plugin/setup@1.0.0;
            export wasmkeeper:plugin/authorization@1.0.0;
            export wasmkeeper:plugin/authentication@1.0.0;
        }
    ",
    world: "wasmkeeper:tests/warden",
    generate_all,
});

use exports::wasmkeeper::plugin::authentication::{self, Login};
use exports::wasmkeeper::plugin::authorization::{self, Decision};
use exports::wasmkeeper::plugin::setup;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use wasmkeeper::plugin::reading::View;
use wasmkeeper::plugin::types::{Rejection, Verb};

struct Warden;

export!(Warden);

const MANIFEST: &str = r#"{ "name": "warden", "version": "1.0.0", "pure": true,
    "grants": [ { "path": "/roles", "verbs": ["read", "children"] } ] }"#;

#[used]
#[unsafe(link_section = "wasmkeeper:manifest")]
static SECTION: [u8; MANIFEST.len()] = {
    let mut bytes = [0; MANIFEST.len()];
    bytes.copy_from_slice(MANIFEST.as_bytes());
    bytes
};

static DO: OnceLock<String> = OnceLock::new();

fn told() -> &'static str {
    DO.get().map_or("", String::as_str)
}

impl setup::Guest for Warden {
    fn configure(_mount: String, settings: String) -> Result<(), String> {
        let what = settings.rsplit('"').nth(1).ok_or("do: say what to do")?.to_string();
        DO.set(what).map_err(|_| "configured twice".into())
    }
}

impl authorization::Guest for Warden {
    fn authorize(view: &View, verb: Verb, path: String) -> Decision {
        match told() {
            "roles" => by_roles(view, verb, &path, Decision::Abstain),
            "allow" => by_roles(view, verb, &path, Decision::Allow),
            "abstain" => Decision::Abstain,
            "deny" => Decision::Deny("told to".into()),
            // Answers that cannot be cached.
            "context" => match view.context().zxid {
                0 => Decision::Deny("nothing has happened yet".into()),
                _ => Decision::Allow,
            },
            "names" => match view.children("/roles", None, 10) {
                Ok(names) if names.iter().any(|name| name == "open") => Decision::Allow,
                _ => Decision::Deny("closed".into()),
            },
            "panic" => panic!("told to"),
            "spin" => loop {
                std::hint::black_box(0);
            },
            // Says that it is pure, and is not.
            "count" => {
                static CALLS: AtomicU32 = AtomicU32::new(0);
                match CALLS.fetch_add(1, Ordering::Relaxed) {
                    0 => Decision::Allow,
                    calls => Decision::Deny(format!("call {calls}")),
                }
            }
            other => Decision::Deny(format!("cannot do {other}")),
        }
    }
}

fn by_roles(view: &View, verb: Verb, path: &str, allowed: Decision) -> Decision {
    let verb = match verb {
        Verb::Read => "read",
        Verb::Children => "children",
        Verb::Create => "create",
        Verb::Set => "set",
        Verb::Delete => "delete",
        Verb::Acl => "acl",
        Verb::Call => "call",
    };
    let covers = |role: &str| {
        role.split_once(' ').is_some_and(|(of, below)| {
            of == verb && path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    for identity in view.identities() {
        let name = identity.id.split(':').next().unwrap_or_default();
        let Ok(Some(node)) = view.get(&format!("/roles/{name}")) else { continue };
        if String::from_utf8_lossy(&node.data).lines().any(covers) {
            return allowed;
        }
    }
    Decision::Deny(format!("no role may {verb} it"))
}

impl authentication::Guest for Warden {
    fn authenticate(_view: &View, credential: Vec<u8>) -> Result<Login, Rejection> {
        let refused = |text: &str| Rejection { code: -102, text: text.into() };
        let credential = String::from_utf8(credential).map_err(|_| refused("no text"))?;
        let mut parts = credential.split(':');
        let (name, secret, until) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        match (secret, name) {
            (Some(secret), _) if secret != told() => return Err(refused("wrong secret")),
            (None, _) => return Err(refused("no secret")),
            (_, "panic") => panic!("told to"),
            (_, "many") => return Ok(Login { ids: (0..65).map(|at| at.to_string()).collect(), valid_until_ms: None }),
            (_, "odd") => return Ok(Login { ids: vec!["two\nlines".into()], valid_until_ms: None }),
            _ => {}
        }
        let group = format!("group-{}", name.chars().next().unwrap_or('-'));
        Ok(Login { ids: vec![name.into(), group], valid_until_ms: until.and_then(|until| until.parse().ok()) })
    }

    fn check_id(id: String) -> Result<(), String> {
        if id.contains(' ') { Err("an id has no spaces".into()) } else { Ok(()) }
    }

    /// `a*` means every id that begins with `a`.
    fn matches(held: String, wanted: String) -> bool {
        wanted.strip_suffix('*').is_some_and(|prefix| held.starts_with(prefix))
    }
}
