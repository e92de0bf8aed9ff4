//! `naughty`: a validator that misbehaves on request, for the tests of the server's defences. The settings are
//! `{"do": "..."}`; `configure-...` misbehaves while it is configured, everything else while it is asked.

use std::sync::atomic::{AtomicU32, Ordering};
use wasmkeeper_plugin::{Change, Level, Rejection, Validator, View, log, validator};

struct Naughty(String);

validator!(
    Naughty,
    r#"{ "name": "naughty", "version": "1.0.0", "grants": [ { "path": "$mount", "verbs": ["read", "children"] } ] }"#
);

impl Validator for Naughty {
    fn configure(_mount: &str, settings: &str) -> Result<Naughty, String> {
        // No JSON library: the last quoted text is what to do.
        let what = settings.rsplit('"').nth(1).ok_or("do: say what to do")?.to_string();
        match what.as_str() {
            "configure-spin" => spin(),
            "configure-panic" => panic!("told to"),
            "configure-refuse" => Err("do: refused".into()),
            "configure-long" => Err("x".repeat(100_000)),
            _ => Ok(Naughty(what)),
        }
    }

    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection> {
        match self.0.as_str() {
            "fine" => Ok(()),
            "spin" => spin(),
            "panic" => panic!("told to"),
            // Whoever can choose a name chooses whether it fails.
            "trap-on-evil" => match changes.iter().any(|change| change.path.contains("evil")) {
                true => panic!("evil"),
                false => Ok(()),
            },
            // A server of a test build ends itself by this line: a stand-in for whatever could make a call do that.
            "abort" => {
                log(Level::Error, "wasmkeeper-test: end this process");
                Ok(())
            }
            "overflow" => {
                std::hint::black_box(descend(1));
                Ok(())
            }
            "nest" => {
                nest(&AtomicU32::new(0));
                Ok(())
            }
            "grow" => {
                let mut kept = Vec::new();
                loop {
                    kept.push(vec![1u8; 1 << 20]);
                    std::hint::black_box(&kept);
                }
            }
            "code" => Err(Rejection { code: -112, text: "a code that would cost the client its session".into() }),
            "code-ok" => Err(Rejection { code: 0, text: "a refusal that is none".into() }),
            "code-quota" => Err(Rejection { code: -125, text: "that is enough".into() }),
            "long" => Err(Rejection::new("ä".repeat(100_000))),
            "huge" => Err(Rejection::new("x".repeat(8 << 20))),
            "outside" => view.get("/elsewhere").map(|_| ()),
            "system" => view.get("/zookeeper/config").map(|_| ()),
            "names" => view.children("/services", None, 10).map(|_| ()),
            "read-all" => loop {
                view.get(&changes[0].path)?;
            },
            "chat" => {
                for line in 0..10_000 {
                    log(Level::Info, &format!("line {line}"));
                }
                Ok(())
            }
            // Impure: the second call of an instance answers otherwise than the first.
            "remember" => {
                static CALLS: AtomicU32 = AtomicU32::new(0);
                match CALLS.fetch_add(1, Ordering::Relaxed) {
                    0 => Ok(()),
                    calls => Err(Rejection::new(format!("call {calls}"))),
                }
            }
            other => Err(Rejection::new(format!("cannot do {other}"))),
        }
    }
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Uses up the memory that the compiler has set aside for variables: what most Rust programs would run into.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the misbehaviour")]
fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    descend(depth + 1) + frame[(depth % 64) as usize]
}

/// Uses up the stack of calls itself.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the misbehaviour")]
fn nest(depth: &AtomicU32) {
    depth.fetch_add(1, Ordering::Relaxed);
    nest(depth);
    depth.fetch_sub(1, Ordering::Relaxed);
}
