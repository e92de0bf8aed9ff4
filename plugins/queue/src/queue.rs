//! The operations on one queue.

use super::{CLAIMS, DEAD, DELAYED, IDLE, ITEMS, MATCHES_MAX, Queues, READY, TAKEN, idle_rank, options, rank};
use serde_json::{Value, json};
use wasmkeeper_plugin::path::{self, digits};
use wasmkeeper_plugin::{
    Answer, Context, CreateRequest, DeleteRequest, NodeKind, Rejection, SetDataRequest, Transaction, View, code, refuse,
};

/// The largest payload. A payload is written twice, and a call may write a bounded number of bytes.
const PAYLOAD_BYTES_MAX: usize = 512 << 10;
pub struct Queue<'a> {
    pub queues: &'a Queues,
    pub view: &'a View,
    pub txn: &'a Transaction,
    pub context: Context,
    pub path: String,
}

impl Queue<'_> {
    pub fn put(&self, asked: &CreateRequest) -> Result<Answer, Rejection> {
        if asked.kind != NodeKind::Persistent || asked.data.len() > PAYLOAD_BYTES_MAX {
            return refuse(code::BAD_ARGUMENTS, "an item is a persistent node of at most 512 KiB");
        }
        options(path::name(&asked.path))?;
        self.open()?;
        let path = match (asked.sequential, digits(&asked.path)) {
            (true, _) => self.txn.create_sequential(&asked.path, &asked.data, asked.kind, &asked.acl)?,
            (false, Some(_)) => return refuse(code::BAD_ARGUMENTS, "ten digits at the end are the queue's to give"),
            (false, None) => {
                self.txn.create(&asked.path, &asked.data, asked.kind, &asked.acl)?;
                asked.path.clone()
            }
        };
        self.admit(path::name(&path), self.context.zxid)?;
        self.match_up(MATCHES_MAX)?;
        Ok(Answer::Done(path))
    }

    pub fn take(&self, asked: &CreateRequest) -> Result<Answer, Rejection> {
        let (NodeKind::Ephemeral(session), true) = (asked.kind, asked.sequential) else {
            return refuse(code::BAD_ARGUMENTS, "a claim is an ephemeral sequential node");
        };
        if let Some(path) = self.view.earlier(session, &asked.path)? {
            return Ok(Answer::Done(path));
        }
        self.open()?;
        let path = self.txn.create_sequential(&asked.path, b"", asked.kind, &asked.acl)?;
        self.serve(path::name(&path))?;
        Ok(Answer::Done(path))
    }

    /// Deletes a claim: its work is done, or it no longer waits.
    pub fn acknowledge(&self, asked: &DeleteRequest, claim: &str) -> Result<Answer, Rejection> {
        let Some(node) = self.view.own(&asked.path)? else { return Ok(Answer::Pass) };
        self.txn.delete(&asked.path, asked.version)?;
        if let Some((item, _, _)) = self.holding(claim, &node.data)? {
            self.txn.cancel_timer(&asked.path);
            self.txn.remove(&self.at(TAKEN, &item))?;
            self.txn.remove(&self.at(ITEMS, &item))?;
        } else {
            self.txn.remove(&self.at(IDLE, &idle_rank(claim, node.stat.mzxid)))?;
        }
        Ok(Answer::Done(asked.path.clone()))
    }

    pub fn retry_or_extend(&self, asked: &SetDataRequest, claim: &str) -> Result<Answer, Rejection> {
        let Some(node) = self.view.own(&asked.path)? else { return Ok(Answer::Pass) };
        let Some((item, attempt, _)) = self.holding(claim, &node.data)? else {
            return refuse(code::BAD_ARGUMENTS, "the claim holds no item");
        };
        // This checks the version that the client named. The data that the client wrote is not kept.
        self.txn.set_data(&asked.path, b"", asked.version)?;
        match asked.data.as_slice() {
            b"extend" => drop(self.assign(&item, attempt, claim)?),
            b"retry" => {
                self.txn.cancel_timer(&asked.path);
                self.give_back(&item, attempt)?;
                self.match_up(MATCHES_MAX)?;
                self.serve(claim)?;
            }
            _ => return refuse(code::BAD_ARGUMENTS, "a claim is set to retry or extend"),
        }
        Ok(Answer::Done(asked.path.clone()))
    }

    /// Withdraws an item that no worker has.
    pub fn cancel(&self, asked: &DeleteRequest, item: &str) -> Result<Answer, Rejection> {
        let Some(stat) = self.view.stat(&asked.path)? else { return Ok(Answer::Pass) };
        if self.view.exists(&self.at(TAKEN, item))? {
            return refuse(code::BAD_ARGUMENTS, "a worker has the item");
        }
        self.forget(item, stat.czxid).map(|()| Answer::Pass)
    }

    /// Handles a claim that was created or deleted without the recipe.
    pub fn claim_changed(&self, claim: &str) -> Result<(), Rejection> {
        let path = self.at(CLAIMS, claim);
        let (gone, come) = self.view.turnover(&path)?;
        if let (Some(gone), Some(node)) = (gone, self.view.original(&path)?) {
            self.txn.cancel_timer(&path);
            match self.holding(claim, &node.data)? {
                Some((item, attempt, _)) => drop(self.give_back(&item, attempt)?),
                None => drop(self.txn.remove(&self.at(IDLE, &idle_rank(claim, gone.mzxid)))?),
            }
        }
        come.map_or(Ok(()), |come| self.note(&self.at(IDLE, &idle_rank(claim, come.mzxid)), 0, claim))
    }

    /// Handles an item that was created or deleted without the recipe.
    pub fn item_changed(&self, item: &str) -> Result<(), Rejection> {
        let was = self.view.original(&self.at(ITEMS, item))?.map(|node| node.stat.czxid);
        let is = self.view.stat(&self.at(ITEMS, item))?.map(|stat| stat.czxid);
        was.filter(|_| was != is).map_or(Ok(()), |was| self.forget(item, was))?;
        is.filter(|_| was != is).map_or(Ok(()), |is| self.admit(item, is))
    }

    pub fn end_claim_if_over(&self, claim: &str) -> Result<(), Rejection> {
        let path = self.at(CLAIMS, claim);
        let Some(node) = self.view.get(&path)? else { return Ok(()) };
        match self.holding(claim, &node.data)? {
            Some((item, attempt, Some(until))) if until <= self.context.ensemble_ms => {
                self.txn.delete(&path, None)?;
                self.give_back(&item, attempt).map(drop)
            }
            Some((_, _, Some(until))) => self.txn.set_timer(&path, self.context.ms_until(until)),
            _ => Ok(()),
        }
    }

    pub fn end_delay_if_over(&self, item: &str) -> Result<(), Rejection> {
        let path = self.at(DELAYED, item);
        let Some((until, _)) = self.entry(&path)? else { return Ok(()) };
        if until > self.context.ensemble_ms {
            return self.txn.set_timer(&path, self.context.ms_until(until));
        }
        self.txn.remove(&path)?;
        self.give_back(item, 0).map(drop)
    }

    /// Gives ready items to waiting claims, the first to the first, while `left` lasts. Another transaction gives out
    /// the rest. Returns what remains of `left`.
    pub fn match_up(&self, mut left: u32) -> Result<u32, Rejection> {
        while left > 0 {
            let Some((idle, _, claim)) = self.first(IDLE, CLAIMS)? else { return Ok(left) };
            let Some((ready, attempts, item)) = self.first(READY, ITEMS)? else { return Ok(left) };
            self.txn.remove(&idle)?;
            self.txn.remove(&ready)?;
            spend(&mut left, self.assign(&item, attempts + 1, &claim)?);
        }
        self.txn.set_timer(&self.path, 0).map(|()| left)
    }

    /// Gives the first ready item to a claim that this transaction has written, or lets the claim wait.
    fn serve(&self, claim: &str) -> Result<(), Rejection> {
        if self.first(IDLE, CLAIMS)?.is_none()
            && let Some((ready, attempts, item)) = self.first(READY, ITEMS)?
        {
            self.txn.remove(&ready)?;
            return self.assign(&item, attempts + 1, claim).map(drop);
        }
        self.note(&self.at(IDLE, &idle_rank(claim, self.context.zxid)), 0, claim)
    }

    /// Gives an item to a claim. Returns the bytes of its payload.
    fn assign(&self, item: &str, attempt: u64, claim: &str) -> Result<usize, Rejection> {
        let payload = self.view.get(&self.at(ITEMS, item))?.map_or(Vec::new(), |node| node.data);
        let mut head = json!({ "item": item, "attempt": attempt });
        if let Some(visibility_ms) = self.queues.visibility_ms {
            head["until"] = (self.context.ensemble_ms + visibility_ms).into();
            self.txn.set_timer(&self.at(CLAIMS, claim), visibility_ms)?;
        }
        let data = [head.to_string().as_bytes(), b"\n", &payload].concat();
        self.txn.set_data(&self.at(CLAIMS, claim), &data, None)?;
        self.note(&self.at(TAKEN, item), attempt, claim)?;
        Ok(payload.len())
    }

    /// Admits a new item: it is ready now, or after its delay.
    fn admit(&self, item: &str, czxid: u64) -> Result<(), Rejection> {
        let (_, delay_ms) = options(item).unwrap_or_default();
        if delay_ms == 0 {
            return self.note(&self.at(READY, &rank(item, czxid)), 0, item);
        }
        self.txn.set_timer(&self.at(DELAYED, item), delay_ms)?;
        self.note(&self.at(DELAYED, item), self.context.ensemble_ms + delay_ms, item)
    }

    /// Returns an item to its place in line. After too many attempts it goes to `dead` instead. Returns the bytes that
    /// were copied.
    fn give_back(&self, item: &str, attempts: u64) -> Result<usize, Rejection> {
        let path = self.at(ITEMS, item);
        self.txn.remove(&self.at(TAKEN, item))?;
        let Some(stat) = self.view.stat(&path)? else { return Ok(0) };
        if attempts < self.queues.attempts_max {
            return self.note(&self.at(READY, &rank(item, stat.czxid)), attempts, item).map(|()| 0);
        }
        let payload = self.view.get(&path)?.map_or(Vec::new(), |node| node.data);
        self.txn.remove(&self.at(DEAD, item))?;
        self.txn.create(&self.at(DEAD, item), &payload, NodeKind::Persistent, &self.view.acl(&path)?)?;
        self.txn.delete(&path, None).map(|()| payload.len())
    }

    /// Removes the entries of an item from the indexes.
    fn forget(&self, item: &str, czxid: u64) -> Result<(), Rejection> {
        self.txn.cancel_timer(&self.at(DELAYED, item));
        let entries = [self.at(READY, &rank(item, czxid)), self.at(DELAYED, item), self.at(TAKEN, item)];
        entries.iter().try_for_each(|entry| self.txn.remove(entry).map(drop))
    }

    /// Adds the entries that claims and items lack. Entries without a claim or an item stay; later calls remove them
    /// when they meet them. Returns where it stopped.
    pub fn mend(&self, after: &str, left: &mut u32) -> Result<Option<String>, Rejection> {
        let (folder, after) = after.split_once('/').unwrap_or((CLAIMS, after));
        if folder == IDLE {
            *left = self.match_up(*left)?;
            return Ok((*left == 0).then(|| format!("{IDLE}/")));
        }
        let page = self.view.children(&self.at(folder, ""), Some(after), *left)?;
        for name in &page {
            let bytes = if folder == CLAIMS { self.mend_claim(name)? } else { self.mend_item(name)? };
            spend(left, bytes);
            if *left == 0 {
                return Ok(Some(format!("{folder}/{name}")));
            }
        }
        Ok(Some(format!("{}/", if folder == CLAIMS { ITEMS } else { IDLE })))
    }

    fn mend_claim(&self, claim: &str) -> Result<usize, Rejection> {
        let path = self.at(CLAIMS, claim);
        let Some(node) = self.view.get(&path)?.filter(|node| node.stat.ephemeral_owner != 0) else { return Ok(0) };
        let Some((item, attempt, _)) = held(&node.data) else {
            return self.note(&self.at(IDLE, &idle_rank(claim, node.stat.mzxid)), 0, claim).map(|()| 0);
        };
        if self.entry(&self.at(TAKEN, &item))?.is_none() && self.view.exists(&self.at(ITEMS, &item))? {
            self.note(&self.at(TAKEN, &item), attempt, claim)?;
        }
        self.end_claim_if_over(claim).map(|()| node.data.len())
    }

    fn mend_item(&self, item: &str) -> Result<usize, Rejection> {
        if let Some((attempts, claim)) = self.entry(&self.at(TAKEN, item))? {
            return if self.view.exists(&self.at(CLAIMS, &claim))? { Ok(0) } else { self.give_back(item, attempts) };
        }
        if self.view.exists(&self.at(DELAYED, item))? {
            return self.end_delay_if_over(item).map(|()| 0);
        }
        let Some(stat) = self.view.stat(&self.at(ITEMS, item))? else { return Ok(0) };
        if self.view.exists(&self.at(READY, &rank(item, stat.czxid)))? { Ok(0) } else { self.give_back(item, 0) }
    }

    /// What a claim holds: the item that it names, unless the item was taken away from it.
    fn holding(&self, claim: &str, data: &[u8]) -> Result<Option<Held>, Rejection> {
        let Some(held) = held(data) else { return Ok(None) };
        Ok(self.entry(&self.at(TAKEN, &held.0))?.filter(|(_, by)| by == claim).map(|_| held))
    }
}

/// The item, the number of the attempt, and until when the claim may hold the item.
type Held = (String, u64, Option<u64>);

/// What the data of a claim says. None while the claim waits.
fn held(data: &[u8]) -> Option<Held> {
    let head: Value = serde_json::from_slice(data.split(|byte| *byte == b'\n').next()?).ok()?;
    Some((head["item"].as_str()?.into(), head["attempt"].as_u64()?, head["until"].as_u64()))
}

/// Takes the cost of a node off `left`: one, and one more for every 16 KiB of data.
fn spend(left: &mut u32, bytes: usize) {
    *left = left.saturating_sub(1 + (bytes >> 14) as u32);
}
