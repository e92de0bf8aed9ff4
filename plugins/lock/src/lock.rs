//! The operations on one lock.

use super::{DELAY, Locks, QUEUE, STEP, WAIT_MS_MAX};
use serde_json::{Value, json};
use wasmkeeper_plugin::path::{self, digits};
use wasmkeeper_plugin::{
    Answer, Context, CreateRequest, DeleteRequest, NodeKind, Rejection, Settings, Transaction, View, code, refuse,
};

/// One lock, in one call.
pub struct Lock<'a> {
    pub locks: &'a Locks,
    pub view: &'a View,
    pub txn: &'a Transaction,
    pub context: Context,
    pub path: String,
}

impl Lock<'_> {
    /// Creates the lock's node, for clients that create every parent. The node is a container whatever the client asked
    /// for, so that unused locks disappear.
    pub fn make(&self, asked: &CreateRequest) -> Result<Answer, Rejection> {
        if matches!(asked.kind, NodeKind::Ephemeral(_)) {
            return refuse(code::BAD_ARGUMENTS, "a lock is no ephemeral node; its members are, below it");
        }
        Ok(if self.open()? { Answer::Done(asked.path.clone()) } else { Answer::Pass })
    }

    pub fn join(&self, asked: &CreateRequest) -> Result<Answer, Rejection> {
        let (NodeKind::Ephemeral(session), true) = (asked.kind, asked.sequential) else {
            return refuse(code::BAD_ARGUMENTS, "a lock is joined by an ephemeral sequential node");
        };
        let wait_ms = wait_limit(&asked.data)?.or(self.locks.wait_ms);
        if let Some(path) = self.view.earlier(session, &asked.path)? {
            return Ok(Answer::Done(path));
        }
        self.open()?;
        let free = self.holder()?.is_none() && !self.view.exists(&self.child(DELAY))?;
        if !free && wait_ms == Some(0) {
            return refuse(code::NODE_EXISTS, "the lock is not free, and wait-ms is 0");
        }
        let token = self.context.zxid;
        let data = if free { held(token) } else { String::new() };
        let path = self.txn.create_sequential(&asked.path, data.as_bytes(), asked.kind, &asked.acl)?;
        match free {
            true => self.note_holder(path::name(&path))?,
            false => self.enqueue(path::name(&path), token, wait_ms.map(|ms| self.context.ensemble_ms + ms))?,
        }
        Ok(Answer::Done(path))
    }

    pub fn leave(&self, asked: &DeleteRequest, member: &str) -> Result<Answer, Rejection> {
        let Some(node) = self.view.own(&asked.path)? else { return Ok(Answer::Pass) };
        self.txn.delete(&asked.path, asked.version)?;
        if self.is_holder(member)? {
            self.hand_over()?
        } else {
            self.dequeue(member, node.stat.czxid)?
        }
        Ok(Answer::Done(asked.path.clone()))
    }

    /// Handles a child that was created or deleted without the recipe. Returns whether the child was the holder.
    pub fn changed(&self, child: &str) -> Result<bool, Rejection> {
        let (gone, come) = self.view.turnover(&self.child(child))?;
        let lost = gone.is_some() && self.is_holder(child)?;
        if let (Some(gone), false) = (gone, lost) {
            self.dequeue(child, gone.czxid)?;
        }
        if let Some(come) = come {
            self.enqueue(child, come.czxid, None)?;
        }
        Ok(lost)
    }

    /// Makes the member that has waited longest the holder. Nobody becomes the holder if nobody waits or if there is a
    /// delay.
    pub fn hand_over(&self) -> Result<(), Rejection> {
        if self.view.exists(&self.child(DELAY))? {
            return self.note_nobody();
        }
        for _ in 0..STEP {
            let Some(ticket) = self.view.first_child(&self.child(QUEUE))? else { return self.note_nobody() };
            let node = self.view.get(&self.ticket(&ticket))?;
            let member = node.map_or(String::new(), |node| String::from_utf8_lossy(&node.data).into_owned());
            self.txn.remove(&self.ticket(&ticket))?;
            if !member.is_empty() && self.view.exists(&self.child(&member))? {
                return self.grant(&member);
            }
        }
        self.note_nobody()?;
        self.txn.set_timer(&self.path, 0)
    }

    fn grant(&self, member: &str) -> Result<(), Rejection> {
        self.txn.cancel_timer(&self.child(member));
        self.txn.set_data(&self.child(member), held(self.context.zxid).as_bytes(), None)?;
        self.note_holder(member)
    }

    /// Lets nobody hold the lock for a while, because the session of its holder expired and the holder may not know
    /// that yet.
    pub fn pause(&self) -> Result<(), Rejection> {
        let until = self.context.ensemble_ms + self.locks.delay_ms;
        let data = json!({ "until": until }).to_string();
        self.txn.ensure(&self.child(DELAY), data.as_bytes(), NodeKind::Persistent)?;
        self.wake_at(DELAY, until)?;
        self.note_nobody()
    }

    /// Removes a waiting member, or the delay, if its time is over. A member without a limit stays.
    pub fn end_if_over(&self, child: &str) -> Result<(), Rejection> {
        let Some(node) = self.view.get(&self.child(child))? else { return Ok(()) };
        match read(&node.data)["until"].as_u64() {
            None => Ok(()),
            Some(until) if until > self.context.ensemble_ms => self.wake_at(child, until),
            Some(_) => {
                self.dequeue(child, node.stat.czxid)?;
                self.txn.delete(&self.child(child), None)
            }
        }
    }

    fn enqueue(&self, member: &str, czxid: u64, until: Option<u64>) -> Result<(), Rejection> {
        let ticket = ticket_of(member, czxid);
        self.txn.ensure(&self.child(QUEUE), b"", NodeKind::Container)?;
        self.txn.ensure(&self.ticket(&ticket), member.as_bytes(), NodeKind::Persistent)?;
        let mut data = json!({ "state": "waiting", "ticket": ticket });
        if let Some(until) = until {
            data["until"] = until.into();
            self.wake_at(member, until)?;
        }
        self.txn.set_data(&self.child(member), data.to_string().as_bytes(), None)
    }

    fn dequeue(&self, member: &str, czxid: u64) -> Result<(), Rejection> {
        self.txn.cancel_timer(&self.child(member));
        self.txn.remove(&self.ticket(&ticket_of(member, czxid))).map(drop)
    }

    /// Repairs the members, and then the lock. The lock's node names the holder. Tickets without a member are left to
    /// the next hand-over. Returns where it stopped.
    pub fn mend(&self, after: &str, left: &mut u32) -> Result<Option<String>, Rejection> {
        let holder = self.holder()?;
        let members = self.view.children(&self.path, Some(after), *left)?;
        for member in &members {
            *left -= 1;
            let Some(node) = self.view.get(&self.child(member))? else { continue };
            let (data, ticket) = (read(&node.data), ticket_of(member, node.stat.czxid));
            if node.stat.ephemeral_owner == 0 {
                self.end_if_over(member)?;
            } else if holder.as_ref() == Some(member) {
                if data["state"] != "held" {
                    self.grant(member)?
                }
            } else if data["ticket"] != ticket.as_str() || !self.view.exists(&self.ticket(&ticket))? {
                self.enqueue(member, node.stat.czxid, data["until"].as_u64())?;
            } else {
                self.end_if_over(member)?;
            }
        }
        match holder {
            _ if *left == 0 => return Ok(members.last().cloned()),
            Some(holder) if self.view.exists(&self.child(&holder))? => {}
            // Nobody knows how the session of the holder ended. The delay is the cautious assumption.
            Some(_) if self.locks.delay_ms > 0 => self.pause()?,
            _ => self.hand_over()?,
        }
        Ok(None)
    }

    pub fn holder(&self) -> Result<Option<String>, Rejection> {
        let Some(node) = self.view.get(&self.path)? else { return Ok(None) };
        Ok(read(&node.data)["holder"].as_str().map(Into::into))
    }

    fn is_holder(&self, member: &str) -> Result<bool, Rejection> {
        Ok(self.holder()?.as_deref() == Some(member))
    }

    fn note_holder(&self, member: &str) -> Result<(), Rejection> {
        let data = json!({ "holder": member, "token": self.context.zxid }).to_string();
        self.txn.set_data(&self.path, data.as_bytes(), None)
    }

    fn note_nobody(&self) -> Result<(), Rejection> {
        if self.holder()?.is_some() { self.txn.set_data(&self.path, b"{}", None) } else { Ok(()) }
    }

    /// Creates the lock's node, and the mount's, if they are missing.
    fn open(&self) -> Result<bool, Rejection> {
        if self.view.exists(&self.path)? {
            return Ok(false);
        }
        self.txn.ensure(&self.locks.mount, b"", NodeKind::Persistent)?;
        self.txn.ensure(&self.path, b"{}", NodeKind::Container)
    }

    fn wake_at(&self, child: &str, until: u64) -> Result<(), Rejection> {
        self.txn.set_timer(&self.child(child), self.context.ms_until(until))
    }

    fn child(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn ticket(&self, ticket: &str) -> String {
        format!("{}/{QUEUE}/{ticket}", self.path)
    }
}

/// The limit in `{"wait-ms":5000}`. Data that is not an object is the client's own: lock libraries write an address
/// there.
fn wait_limit(data: &[u8]) -> Result<Option<u64>, Rejection> {
    if data.first() != Some(&b'{') {
        return Ok(None);
    }
    let mut options = Settings::parse(&String::from_utf8_lossy(data))?;
    let wait_ms = options.number("wait-ms", 0..=WAIT_MS_MAX)?;
    options.finish()?;
    Ok(wait_ms)
}

/// Data that is not JSON becomes null, which has no fields.
fn read(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap_or_default()
}

fn held(token: u64) -> String {
    json!({ "state": "held", "token": token }).to_string()
}

fn ticket_of(member: &str, czxid: u64) -> String {
    format!("{czxid:016x}-{}", digits(member).unwrap_or("0000000000"))
}
