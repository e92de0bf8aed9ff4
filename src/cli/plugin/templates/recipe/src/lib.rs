//! A recipe for counters: a start, for you to change.
//!
//! wit/plugin.wit says what a recipe is asked and what it may do. Any ZooKeeper client can use this one:
//!
//! | a client's request | does |
//! |---|---|
//! | create `<mount>/hits` | makes a counter with the value 0 |
//! | set `<mount>/hits` to `+5`, `-2`, or nothing (`+1`) | adds, without a read and retries |
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
    /// Also runs before a deployment is accepted. The operator sees the error, so it names the setting.
    fn configure(mount: &str, settings: &str) -> Result<Counters, String> {
        Settings::parse(settings)?.finish()?;
        Ok(Counters { mount: mount.into() })
    }

    /// A client's write at the mount. The recipe's writes and the client's request take effect together or not at all.
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
                // The version that the client gave is still checked: BADVERSION if the node has another one.
                txn.set_data(&asked.path, count.to_string().as_bytes(), asked.version)?;
                Ok(Answer::Done(asked.path))
            }
            // The server carries out the request as if there were no recipe.
            Request::SetAcl(_) | Request::Delete(_) => Ok(Answer::Pass),
        }
    }

    /// Changes by others: the superuser, the end of a session, other plugins. Counters need no repair after them.
    fn on_change(&self, _: &View, _: &Transaction, _: Cause, _: &[Change]) -> Result<(), Rejection> {
        Ok(())
    }

    /// Puts the mount in order when the recipe starts there. Counters do not depend on other nodes.
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
