//! Misbehaviour as a recipe and a controller.

use crate::{anywhere, told};
use wasmkeeper_plugin::{
    self as plugin, Answer, Cause, Change, NodeKind, Rejection, Request, Transaction, View, code, path, refuse,
};

pub struct Recipe {
    mount: String,
    place: String,
    what: String,
}

impl plugin::Recipe for Recipe {
    fn configure(mount: &str, settings: &str) -> Result<Recipe, String> {
        let told = told(settings)?;
        let (place, what) = told.split_once(' ').unwrap_or(("handle", &told));
        Ok(Recipe { mount: mount.into(), place: place.into(), what: what.into() })
    }

    fn handle(&self, view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection> {
        let path = request.path().to_string();
        match self.at("handle") {
            // Answers that it is done, with the path of a node that it must not name.
            "elsewhere" => return Ok(Answer::Done("/zookeeper".into())),
            "sibling" => return Ok(Answer::Done(format!("{}/other", path::parent(&path)))),
            // Answers that it is done, and has done nothing.
            "nothing" => return Ok(Answer::Done(path)),
            // Sets a timer that sets itself again, for ever.
            "timer" => txn.set_timer("again", 0)?,
            what => self.act(what, view, txn)?,
        }
        Ok(Answer::Pass)
    }

    fn on_change(&self, view: &View, txn: &Transaction, _cause: Cause, _changes: &[Change]) -> Result<(), Rejection> {
        self.act(self.at("on-change"), view, txn)
    }

    fn on_timer(&self, view: &View, txn: &Transaction, name: &str) -> Result<(), Rejection> {
        match name {
            "again" => txn.set_timer("again", 0),
            _ => self.act(self.at("on-timer"), view, txn),
        }
    }

    fn on_call(&self, view: &View, txn: &Transaction, method: &str, payload: &[u8]) -> Result<Vec<u8>, Rejection> {
        match (self.at("on-call"), method) {
            ("huge", _) => return Ok(vec![b'x'; 8 << 20]),
            (_, "timer") => txn.set_timer("once", 0)?,
            (what, _) => self.act(what, view, txn)?,
        }
        Ok(payload.into())
    }

    fn recover(&self, view: &View, txn: &Transaction, after: Option<String>) -> Result<Option<String>, Rejection> {
        match self.at("recover") {
            // There is always one more step, and it is always the same.
            "never" => Ok(Some(format!("{}x", after.unwrap_or_default()))),
            "same" => Ok(Some("same".into())),
            "huge" => Ok(Some("x".repeat(8 << 20))),
            what => self.act(what, view, txn).map(|()| None),
        }
    }
}

impl Recipe {
    /// What to do at this place. Empty if the settings name another place.
    fn at(&self, place: &str) -> &str {
        if self.place == place { &self.what } else { "" }
    }

    fn act(&self, what: &str, view: &View, txn: &Transaction) -> Result<(), Rejection> {
        write(what, &self.mount, txn)?;
        anywhere::act(what, view);
        Ok(())
    }
}

pub struct Controller(String);

impl plugin::Controller for Controller {
    fn configure(_mount: &str, settings: &str) -> Result<Controller, String> {
        told(settings).map(Controller)
    }

    fn reconcile(&self, view: &View, txn: &Transaction, path: &str) -> Result<(), Rejection> {
        match self.0.as_str() {
            // Asks to be called again, for ever.
            "again" => return txn.set_timer(path, 0),
            // Changes what it reads, so that there is always something to do.
            "restless" => {
                let seen = view.get(path)?.map_or(0, |node| node.stat.version);
                return txn.set_data(path, seen.to_string().as_bytes(), None);
            }
            what => write(what, path, txn)?,
        }
        anywhere::act(&self.0, view);
        Ok(())
    }
}

/// Writes too much, or where it must not.
fn write(what: &str, mount: &str, txn: &Transaction) -> Result<(), Rejection> {
    let create = |path: &str, data: &[u8]| txn.create(path, data, NodeKind::Persistent, &[]);
    match what {
        "fail" => refuse(code::SYSTEM_ERROR, "told to"),
        "code" => refuse(-112, "a code that would cost the client its session"),
        "many" => (0..100_000).try_for_each(|at| create(&format!("{mount}/many-{at}"), b"")),
        // The same, but ignores refusals.
        "many-deaf" => loop {
            drop(create(&format!("{mount}/deaf"), b""));
        },
        "bytes" => (0..100).try_for_each(|at| create(&format!("{mount}/bytes-{at}"), &vec![b'x'; 900_000])),
        "big" => create(&format!("{mount}/big"), &vec![b'x'; 4 << 20]),
        "timers" => (0..1_000_000).try_for_each(|at| txn.set_timer(&format!("timer {at}"), 1_000_000)),
        "timer-name" => txn.set_timer(&"x".repeat(100_000), 1),
        "outside" => create("/elsewhere", b""),
        "outside-deaf" => {
            drop(create("/elsewhere", b""));
            drop(create("/zookeeper/naughty", b""));
            drop(txn.set_data("/zookeeper/config", b"mine", None));
            drop(txn.delete("/zookeeper/quota", None));
            Ok(())
        }
        "system" => create("/zookeeper/naughty", b""),
        // A session that does not exist.
        "ghost" => txn.create(&format!("{mount}/ghost"), b"", NodeKind::Ephemeral(u64::MAX), &[]),
        // Does half of it, and then fails.
        "half" => {
            create(&format!("{mount}/half"), b"")?;
            panic!("told to")
        }
        "path" => ["", "x", "/a//b", "/a/../b", "/\0"].into_iter().try_for_each(|path| create(path, b"")),
        _ => Ok(()),
    }
}
