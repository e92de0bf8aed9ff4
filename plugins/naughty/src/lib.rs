//! `naughty`: misbehaves on request, for the tests of the server's defences. It is of all five kinds.
//!
//! The settings `{"do": "..."}` say what it does. For a validator, a policy, an authenticator or a controller that is
//! one word. For a recipe it is two words, where and what, such as `on-change panic`, and the recipe behaves everywhere
//! else. `configure-...` misbehaves in `configure`.
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

/// What to do, from the settings: the last quoted text. Without a JSON library.
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
