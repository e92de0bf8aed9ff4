//! `naughty`: misbehaves on request, for the tests of the server's defences. It is of all five kinds, and the settings
//! `{"do": "..."}` say what it does: one word for a validator, a policy, an authenticator or a controller; for a recipe
//! two, where and what, such as `on-change panic`, and everywhere else it behaves. `configure-...` misbehaves while it is
//! configured.
//!
//! | file | what it does |
//! |---|---|
//! | `anywhere` | what any call can do: loops, panics, memory, stack, log, forged handles |
//! | `judges` | as a validator, a policy and an authenticator |
//! | `writers` | as a recipe and a controller |

mod anywhere;
mod judges;
mod writers;

use wasmkeeper_plugin::plugin;

plugin! {
    manifest: r#"{ "name": "naughty", "version": "1.0.0", "grants": [
        { "path": "$mount", "verbs": ["read", "children", "create", "set", "delete", "acl"] } ] }"#,
    validator: judges::Validator,
    policy: judges::Policy,
    authenticator: judges::Authenticator,
    recipe: writers::Recipe,
    controller: writers::Controller,
}

/// What to do, from the settings. No JSON library: it is the last quoted text.
fn told(settings: &str) -> Result<String, String> {
    let what = settings.rsplit('"').nth(1).ok_or("do: say what to do")?.to_string();
    match what.as_str() {
        "configure-spin" => anywhere::spin(),
        "configure-panic" => panic!("told to"),
        "configure-refuse" => Err("do: refused".into()),
        "configure-long" => Err("x".repeat(100_000)),
        _ => Ok(what),
    }
}
