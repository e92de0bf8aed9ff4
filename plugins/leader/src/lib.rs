//! `leader`: a recipe for elections by ZooKeeper clients. A member joins with an ephemeral sequential node, whose data
//! the others shall see. The node of the election says who leads and in which epoch, and is the only node to watch.
//! README.md describes the client's side.
//!
//! | node, below the mount | kind | data |
//! |---|---|---|
//! | `scheduler` | as it was created, else a container | `{"epoch":4294967297,"leader":"host-a-0000000000"}`, a newline, that member's data; `{}` while nobody leads |
//! | `scheduler/host-a-0000000000` | ephemeral | the member's own |
//!
//! Members stand in line by the zxid that last wrote their node, then by digits. The first one leads. So a member that
//! sets its own data goes to the end of the line. The epoch is the zxid of the election. The recipe keeps no other
//! state.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use wasmkeeper_plugin::path::{below, digits};
use wasmkeeper_plugin::{
    Answer, Cause, Change, CreateRequest, DeleteRequest, NodeKind, PAGE, Recipe, Rejection, Request, SetDataRequest,
    Settings, Stat, Transaction, View, code, recipe, refuse,
};

/// The largest number of members of one election. A change of the leader reads all of them.
const MEMBERS_MAX: u64 = 500;
const MEMBERS_DEFAULT: u64 = 100;
/// The largest size of a member's data, in bytes. The data is copied into the election's node.
const DATA_BYTES_MAX: usize = 64 << 10;
/// How many nodes one step of recovery reads.
const STEP: u32 = 500;

struct Elections {
    mount: String,
    members_max: u64,
}

recipe!(
    Elections,
    r#"{ "name": "leader", "version": "1.0.0", "pure": true,
        "grants": [ { "path": "$mount", "verbs": ["read", "children", "create", "set", "delete"] } ] }"#
);

impl Recipe for Elections {
    fn configure(mount: &str, settings: &str) -> Result<Elections, String> {
        let mut settings = Settings::parse(settings)?;
        let members_max = settings.number("members-max", 1..=MEMBERS_MAX)?.unwrap_or(MEMBERS_DEFAULT);
        settings.finish()?;
        Ok(Elections { mount: mount.trim_end_matches('/').into(), members_max })
    }

    fn handle(&self, view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection> {
        let parts = below(&self.mount, request.path()).unwrap_or_default();
        match (&request, parts.as_slice()) {
            // The mount is an ordinary node. An election with members cannot be deleted.
            (_, []) | (Request::Delete(_), [_]) => Ok(Answer::Pass),
            (Request::Create(asked), [name]) if !asked.sequential => self.election(view, txn, name).make(asked),
            (Request::Create(asked), [name, _]) => self.election(view, txn, name).join(asked),
            (Request::SetData(asked), [name, _]) => self.election(view, txn, name).resign(asked),
            (Request::Delete(asked), [name, _]) => self.election(view, txn, name).leave(asked),
            _ => refuse(code::NO_AUTH, "elections are joined, resigned from and left; all else here is the recipe's"),
        }
    }

    fn on_change(&self, view: &View, txn: &Transaction, _cause: Cause, changes: &[Change]) -> Result<(), Rejection> {
        let parts = |change| below(&self.mount, change).unwrap_or_default();
        let touched: BTreeSet<&str> =
            changes.iter().filter_map(|change| parts(&change.path).first().copied()).collect();
        touched.into_iter().try_for_each(|name| self.election(view, txn, name).elect())
    }

    /// The method `resign` sends the leader of an election to the end of the line. The payload is the election's name.
    /// Returns the election's data.
    fn on_call(&self, view: &View, txn: &Transaction, method: &str, payload: &[u8]) -> Result<Vec<u8>, Rejection> {
        if method != "resign" {
            return refuse(code::UNIMPLEMENTED, format!("{method}: there is no such method; there is resign"));
        }
        let name = String::from_utf8_lossy(payload);
        let election = self.election(view, txn, &name);
        let leader = if name.is_empty() || name.contains('/') { None } else { election.standing()?.0 };
        let Some(leader) = leader else { return refuse(code::NO_NODE, format!("nobody leads {name}")) };
        if let Some(member) = view.get(&election.member(&leader))? {
            txn.set_data(&election.member(&leader), &member.data, None)?;
        }
        election.elect()?;
        Ok(view.get(&election.path)?.map_or(Vec::new(), |node| node.data))
    }

    fn recover(&self, view: &View, txn: &Transaction, after: Option<String>) -> Result<Option<String>, Rejection> {
        view.recover_each(&self.mount, after, STEP, |name, _, left| {
            let election = self.election(view, txn, name);
            let members = view.stat(&election.path)?.map_or(0, |stat| stat.num_children);
            *left = left.saturating_sub(members);
            election.elect().map(|()| None)
        })
    }
}

impl Elections {
    fn election<'a>(&'a self, view: &'a View, txn: &'a Transaction, name: &str) -> Election<'a> {
        Election { elections: self, view, txn, path: format!("{}/{name}", self.mount) }
    }
}

/// One election, in one call.
struct Election<'a> {
    elections: &'a Elections,
    view: &'a View,
    txn: &'a Transaction,
    path: String,
}

impl Election<'_> {
    /// Creates the election's node, of the requested kind. Clients that create every parent do that, and so does a
    /// client that wants the node to stay.
    fn make(&self, asked: &CreateRequest) -> Result<Answer, Rejection> {
        if matches!(asked.kind, NodeKind::Ephemeral(_)) {
            return refuse(code::BAD_ARGUMENTS, "an election is no ephemeral node; its members are, below it");
        }
        if self.view.exists(&self.path)? {
            return Ok(Answer::Pass);
        }
        self.txn.create(&self.path, b"{}", asked.kind, &asked.acl)?;
        Ok(Answer::Done(asked.path.clone()))
    }

    fn join(&self, asked: &CreateRequest) -> Result<Answer, Rejection> {
        let (NodeKind::Ephemeral(session), true) = (asked.kind, asked.sequential) else {
            return refuse(code::BAD_ARGUMENTS, "an election is joined by an ephemeral sequential node");
        };
        if let Some(path) = self.view.earlier(session, &asked.path)? {
            return Ok(Answer::Done(path));
        }
        let members = self.view.stat(&self.path)?.map(|stat| u64::from(stat.num_children));
        if members.is_some_and(|members| members >= self.elections.members_max) {
            return refuse(code::QUOTA_EXCEEDED, format!("members-max of {} is reached", self.elections.members_max));
        }
        within_bounds(&asked.data)?;
        if members.is_none() {
            self.txn.ensure(&self.elections.mount, b"", NodeKind::Persistent)?;
            self.txn.create(&self.path, b"{}", NodeKind::Container, &[])?;
        }
        let path = self.txn.create_sequential(&asked.path, &asked.data, asked.kind, &asked.acl)?;
        self.elect()?;
        Ok(Answer::Done(path))
    }

    /// Sends a member to the end of the line, with this data from now on.
    fn resign(&self, asked: &SetDataRequest) -> Result<Answer, Rejection> {
        if self.view.own(&asked.path)?.is_none() {
            return Ok(Answer::Pass);
        }
        within_bounds(&asked.data)?;
        self.txn.set_data(&asked.path, &asked.data, asked.version)?;
        self.elect()?;
        Ok(Answer::Done(asked.path.clone()))
    }

    fn leave(&self, asked: &DeleteRequest) -> Result<Answer, Rejection> {
        if self.view.own(&asked.path)?.is_none() {
            return Ok(Answer::Pass);
        }
        self.txn.delete(&asked.path, asked.version)?;
        self.elect()?;
        Ok(Answer::Done(asked.path.clone()))
    }

    /// Makes the first member in line the leader, if it does not lead yet. That happens if the leader is gone, or has
    /// written its node since it was elected. If the leader was elected in this very transaction, the zxids do not show
    /// which came first, so the line is read again.
    fn elect(&self) -> Result<(), Rejection> {
        let (leader, epoch) = self.standing()?;
        let elected_now = epoch == self.view.context().zxid;
        let stands = |stat: Stat| is_member(&stat) && (stat.mzxid < epoch || stat.mzxid == epoch && !elected_now);
        if let Some(leader) = &leader
            && self.view.stat(&self.member(leader))?.is_some_and(stands)
        {
            return Ok(());
        }
        let mut line = BTreeSet::new();
        for name in self.view.children(&self.path, None, PAGE)? {
            if let Some(stat) = self.view.stat(&self.member(&name))?.filter(is_member) {
                line.insert((stat.mzxid, digits(&name).map(String::from), name));
            }
        }
        let Some((_, _, first)) = line.pop_first() else {
            return if leader.is_some() { self.txn.set_data(&self.path, b"{}", None) } else { Ok(()) };
        };
        let mut data = json!({ "leader": first, "epoch": self.view.context().zxid }).to_string().into_bytes();
        if let Some(member) = self.view.get(&self.member(&first))? {
            data.push(b'\n');
            data.extend(member.data);
        }
        if elected_now && self.view.get(&self.path)?.is_some_and(|node| node.data == data) {
            return Ok(());
        }
        self.txn.set_data(&self.path, &data, None)
    }

    /// The leader and its epoch, as the election's node has them.
    fn standing(&self) -> Result<(Option<String>, u64), Rejection> {
        let Some(node) = self.view.get(&self.path)? else { return Ok((None, 0)) };
        let head = node.data.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let head: Value = serde_json::from_slice(head).unwrap_or_default();
        Ok((head["leader"].as_str().map(Into::into), head["epoch"].as_u64().unwrap_or_default()))
    }

    fn member(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

fn is_member(stat: &Stat) -> bool {
    stat.ephemeral_owner != 0
}

fn within_bounds(data: &[u8]) -> Result<(), Rejection> {
    if data.len() <= DATA_BYTES_MAX {
        return Ok(());
    }
    refuse(code::BAD_ARGUMENTS, format!("a member's data has at most {DATA_BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests;
