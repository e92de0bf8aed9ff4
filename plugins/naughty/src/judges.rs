//! Misbehaviour as a validator, a policy and an authenticator.

use crate::{anywhere, told};
use std::sync::atomic::{AtomicU32, Ordering};
use wasmkeeper_plugin::{self as plugin, Change, Decision, Login, Rejection, Verb, View, code, refuse};

/// How often this instance has been asked.
static CALLS: AtomicU32 = AtomicU32::new(0);

pub struct Validator(String);
pub struct Policy(String);
pub struct Authenticator(String);

impl plugin::Validator for Validator {
    fn configure(_mount: &str, settings: &str) -> Result<Validator, String> {
        told(settings).map(Validator)
    }

    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection> {
        match self.0.as_str() {
            "fine" | "chat" | "long-line" => {}
            "code" => return refuse(-112, "a code that would cost the client its session"),
            "code-ok" => return refuse(0, "a refusal that is none"),
            "code-quota" => return refuse(code::QUOTA_EXCEEDED, "that is enough"),
            "long" => return Err(Rejection::new("ä".repeat(100_000))),
            "huge" => return Err(Rejection::new("x".repeat(8 << 20))),
            "outside" => return view.get("/elsewhere").map(drop),
            "system" => return view.get("/zookeeper/config").map(drop),
            "names" => return view.children("/services", None, 10).map(drop),
            "read-all" => loop {
                view.get(&changes[0].path)?;
            },
            // A client that can choose a name can choose whether the guest fails.
            "trap-on-evil" if changes.iter().any(|change| change.path.contains("evil")) => panic!("evil"),
            "trap-on-evil" => return Ok(()),
            // A server of a test build ends itself at this log line. It stands for any defect by which a call could do
            // that.
            "abort" => plugin::log(plugin::Level::Error, "wasmkeeper-test: end this process"),
            "spin" | "panic" | "trap" | "overflow" | "nest" | "grow" | "forge" => {}
            // Impure: the second call of an instance has another answer than the first.
            "remember" => match CALLS.fetch_add(1, Ordering::Relaxed) {
                0 => {}
                calls => return Err(Rejection::new(format!("call {calls}"))),
            },
            other => return Err(Rejection::new(format!("cannot do {other}"))),
        }
        anywhere::act(&self.0, view);
        Ok(())
    }
}

impl plugin::Policy for Policy {
    fn configure(_mount: &str, settings: &str) -> Result<Policy, String> {
        told(settings).map(Policy)
    }

    fn authorize(&self, view: &View, _verb: Verb, path: &str) -> Decision {
        match self.0.as_str() {
            "allow" => return Decision::Allow,
            "deny" => return Decision::Deny("told to".into()),
            "garbage" => return Decision::Deny("\0\n\u{202e}\u{feff}\"}{".into()),
            "long" => return Decision::Deny("ä".repeat(100_000)),
            "huge" => return Decision::Deny("x".repeat(8 << 20)),
            "read-path" => drop(view.get(path)),
            "remember" if CALLS.fetch_add(1, Ordering::Relaxed) > 0 => return Decision::Deny("a later call".into()),
            what => anywhere::act(what, view),
        }
        Decision::Abstain
    }
}

impl plugin::Authenticator for Authenticator {
    fn configure(_scheme: &str, settings: &str) -> Result<Authenticator, String> {
        told(settings).map(Authenticator)
    }

    fn authenticate(&self, view: &View, credential: &[u8]) -> Result<Login, Rejection> {
        let name = String::from_utf8_lossy(credential).into_owned();
        let (ids, valid_until_ms) = match self.0.as_str() {
            "none" => (vec![], None),
            "many" => ((0..1000).map(|id| format!("{name}{id}")).collect(), None),
            "empty" => (vec![String::new()], None),
            "odd" => (vec!["a\nb".into(), "super:x".into(), "\0".into()], None),
            "huge" => (vec!["x".repeat(8 << 20)], None),
            "past" => (vec![name], Some(1)),
            "code" => return refuse(-112, "a code that would cost the client its session"),
            "refuse" => return refuse(code::NO_AUTH, "told to"),
            what => {
                anywhere::act(what, view);
                (vec![name], None)
            }
        };
        Ok(Login { ids, valid_until_ms })
    }

    fn check_id(&self, _id: &str) -> Result<(), String> {
        match self.0.as_str() {
            "check-spin" => anywhere::spin(),
            "check-panic" => panic!("told to"),
            "check-long" => Err("ä".repeat(100_000)),
            "check-refuse" => Err("told to".into()),
            _ => Ok(()),
        }
    }

    fn matches(&self, _held: &str, _wanted: &str) -> bool {
        match self.0.as_str() {
            "match-spin" => anywhere::spin(),
            "match-panic" => panic!("told to"),
            "match-all" => true,
            // The answer is cached, so it must not depend on how often the guest was asked.
            "match-turns" => CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2),
            _ => false,
        }
    }
}
