//! A recipe for counters: a beginning to change into your own.
//!
//! What a recipe is asked and what it may do stands in wit/plugin.wit. Stock clients use this one with what they have:
//!
//! | a client's request | does |
//! |---|---|
//! | create `<mount>/hits` | makes a counter that stands at 0 |
//! | set `<mount>/hits` to `+5`, `-2`, or nothing (`+1`) | counts, without reading before and trying again |
//! | get `<mount>/hits` | the number |

use wasmkeeper_plugin::path::below;
use wasmkeeper_plugin::{
    Answer, Cause, Change, NodeKind, Recipe, Rejection, Request, Settings, Transaction, View, code, recipe, refuse,
};

struct Counters {
    mount: String,
}

recipe!(Counters, include_str!("../manifest.json"));

impl Recipe for Counters {
    /// Runs before a deployment is accepted, too. An error is the operator's answer, so it names the setting.
    fn configure(mount: &str, settings: &str) -> Result<Counters, String> {
        Settings::parse(settings)?.finish()?;
        Ok(Counters { mount: mount.into() })
    }

    /// A client's write at the mount. What is written here and the client's request take effect together or not at all.
    fn handle(&self, view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection> {
        // The mount itself is an ordinary node.
        let Some([_]) = below(&self.mount, request.path()).as_deref() else { return Ok(Answer::Pass) };
        match request {
            Request::Create(asked) if asked.sequential || asked.kind != NodeKind::Persistent => {
                refuse(code::BAD_ARGUMENTS, "a counter is persistent, and has the name that it is given")
            }
            Request::Create(asked) => {
                txn.create(&asked.path, b"0", NodeKind::Persistent, &asked.acl)?;
                Ok(Answer::Done(asked.path))
            }
            Request::SetData(asked) => {
                let Some(node) = view.get(&asked.path)? else {
                    return refuse(code::NO_NODE, "there is no such counter");
                };
                let step = if asked.data.is_empty() { Some(1) } else { number(&asked.data) };
                let Some(step) = step else { return refuse(code::BAD_ARGUMENTS, "+5 or -2 is required, or nothing") };
                let count = number(&node.data).unwrap_or(0).saturating_add(step);
                // The client's version still holds: BADVERSION, if it has another one in mind.
                txn.set_data(&asked.path, count.to_string().as_bytes(), asked.version)?;
                Ok(Answer::Done(asked.path))
            }
            // As if there were no recipe.
            Request::SetAcl(_) | Request::Delete(_) => Ok(Answer::Pass),
        }
    }

    /// What others changed: the superuser, a session's end, other plugins. Counters are no worse for it.
    fn on_change(&self, _: &View, _: &Transaction, _: Cause, _: &[Change]) -> Result<(), Rejection> {
        Ok(())
    }

    /// Puts the mount in order when the recipe starts there. Nothing here depends on anything else.
    fn recover(&self, _: &View, _: &Transaction, _after: Option<String>) -> Result<Option<String>, Rejection> {
        Ok(None)
    }
}

fn number(text: &[u8]) -> Option<i64> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmkeeper_plugin::testing::{Mode, Server};

    #[test]
    fn a_counter_counts() {
        let mut server = Server::<Counters>::new("/counters", "{}");
        let client = server.connect();
        assert_eq!(server.create(client, "/counters/hits", "", Mode::Persistent).unwrap(), "/counters/hits");
        server.set(client, "/counters/hits", "").unwrap();
        server.set(client, "/counters/hits", "+5").unwrap();
        assert_eq!(server.tree.text("/counters/hits"), "6");
        assert_eq!(server.set(client, "/counters/hits", "many").unwrap_err().code, code::BAD_ARGUMENTS);
        assert_eq!(server.set(client, "/counters/misses", "").unwrap_err().code, code::NO_NODE);
        server.delete(client, "/counters/hits").unwrap();
    }
}
