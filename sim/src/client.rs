//! A client of the ensemble that behaves like ZooKeeper's clients. It has one session, which outlives connections. It
//! pipelines requests, and it sets its watches again after a reconnect.
//!
//! The client checks every reply and event when it arrives. Replies come in the order of requests, and zxids never go
//! back. Reads and writes agree with the ledger. Every due event comes, and no other. The client also records the
//! registers' histories.

use crate::ask::{Answer, Ask, Data, data};
use crate::bundled::WEAK;
use crate::coverage::{Situation, met};
use crate::history;
use crate::ledger::{self, Watched, ledger};
use crate::net::{self, CLIENT_PORT, Machine, Net, Stream};
use crate::policy;
use crate::trace::{breach, note, now_us, say};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use wasmkeeper::client::codec::{self as wire, Record, SlotReply};
use wasmkeeper::model::txn::Outcome;
use wasmkeeper::model::{ErrorCode, Stat};
use wasmkeeper::pipeline::Verb;
use wasmkeeper::storage::testing::Dice;
use wasmkeeper::wire::decode::Fault;
use wasmkeeper::wire::frame::Frames;
use wasmkeeper::wire::reply::{ReplyHeader, xid};
use wasmkeeper::wire::request::{ConnectRequest, Request, SetWatches};

pub(crate) struct Client {
    pub(crate) number: u32,
    machine: Machine,
    net: Net,
    members: Vec<Machine>,
    pub(crate) dice: Dice,
    asked_timeout_ms: i32,
    timeout_ms: i32,
    session: i64,
    password: [u8; 16],
    /// The zxid of the newest state that a reply has shown.
    zxid: u64,
    xid: i32,
    stream: Option<Stream>,
    arrived: BytesMut,
    frames: Frames,
    /// Requests sent and not answered, oldest first.
    waiting: VecDeque<Waiting>,
    watches: BTreeMap<(String, bool), Watch>,
    sent_us: u64,
    received_us: u64,
    /// The last member that was dialled.
    pub(crate) member: Option<Machine>,
    answers: Vec<(usize, Answer)>,
    pub(crate) counts: Counts,
    /// For each connection of this session, the xids of the writes that it sent, in order.
    sent: Vec<Vec<i32>>,
    /// The zxid of each acknowledged write, by its xid.
    acknowledged: BTreeMap<i32, u64>,
    /// The zxid of the last write that this connection answered.
    last_write: Option<u64>,
}

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) sessions: u64,
    pub(crate) expired: u64,
    pub(crate) moves: u64,
    pub(crate) events: u64,
    pub(crate) closed: u64,
}

struct Watch {
    watched: Watched,
    /// The client knows the watched state as of this zxid. Only later changes fire the watch.
    since: u64,
    /// Whether the server certainly holds this watch. False if the watch was set again at a policed path: the policy
    /// may have withheld the watch, and the client is not told.
    is_set: bool,
}

struct Waiting {
    xid: i32,
    sent_us: u64,
    what: What,
}

enum What {
    Ping,
    SetWatches,
    Sync,
    Close,
    /// A request of the workload. `at`: its index among the requests of one call of `perform`.
    Ask {
        at: usize,
        ask: Ask,
        begin_us: u64,
    },
}

enum Lost {
    Connection,
    Session,
}

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Lost {
        Lost::Connection
    }
}

impl Client {
    pub(crate) fn new(number: u32, net: Net, members: Vec<Machine>, timeout_ms: i32, seed: u64) -> Client {
        Client {
            number,
            machine: net::client_machine(number),
            net,
            members,
            dice: Dice::new(seed),
            asked_timeout_ms: timeout_ms,
            timeout_ms,
            session: 0,
            password: [0; 16],
            zxid: 0,
            xid: 0,
            stream: None,
            arrived: BytesMut::new(),
            frames: Frames::new(64 << 20),
            waiting: VecDeque::new(),
            watches: BTreeMap::new(),
            sent_us: 0,
            received_us: 0,
            member: None,
            answers: Vec::new(),
            counts: Counts::default(),
            sent: Vec::new(),
            acknowledged: BTreeMap::new(),
            last_write: None,
        }
    }

    /// The session's timeout.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms as u64)
    }

    pub(crate) fn members(&self) -> &[Machine] {
        &self.members
    }

    pub(crate) fn any_member(&mut self) -> Option<Machine> {
        let at = self.dice.below(self.members.len() as u64) as usize;
        self.members.get(at).copied()
    }

    /// Pipelines all requests, and waits until each is answered or lost. Connects first if there is no connection.
    pub(crate) async fn perform(&mut self, asks: Vec<Ask>) -> Vec<Answer> {
        let count = asks.len();
        self.connect().await;
        self.answers.clear();
        let mut out = BytesMut::new();
        for (at, ask) in asks.into_iter().enumerate() {
            self.put(&mut out, at, ask);
        }
        let mut lost = self.write(&out).await.err();
        while lost.is_none() && self.waiting.iter().any(|waiting| matches!(waiting.what, What::Ask { .. })) {
            lost = self.attend(None).await.err();
        }
        if let Some(lost) = lost {
            self.lose(lost);
        }
        let mut answers = vec![Answer::Lost; count];
        for (at, answer) in self.answers.drain(..) {
            answers[at] = answer;
        }
        answers
    }

    /// Sends all requests, and closes the connection without waiting for answers.
    pub(crate) async fn send_and_hang_up(&mut self, asks: Vec<Ask>) {
        self.connect().await;
        let mut out = BytesMut::new();
        for (at, ask) in asks.into_iter().enumerate() {
            self.put(&mut out, at, ask);
        }
        let _ = self.write(&out).await;
        self.lose(Lost::Connection);
    }

    /// Sends only pings for `how_long`, to keep the session.
    pub(crate) async fn rest(&mut self, how_long: Duration) {
        let end = Instant::now() + how_long;
        while Instant::now() < end {
            if self.stream.is_none() {
                sleep_until(end).await;
            } else if let Err(lost) = self.attend(Some(end)).await {
                self.lose(lost);
            }
        }
    }

    /// Closes the connection. The session stays open.
    pub(crate) fn hang_up(&mut self) {
        if self.stream.is_some() {
            self.lose(Lost::Connection);
        }
    }

    /// Closes the session and forgets it.
    pub(crate) async fn close(&mut self) {
        self.connect().await;
        let mut out = BytesMut::new();
        self.xid += 1;
        wire::close_session(&mut out, self.xid);
        self.wait_for(What::Close);
        let mut done = self.write(&out).await;
        while done.is_ok() && !self.waiting.is_empty() {
            done = self.attend(None).await;
        }
        if self.waiting.is_empty() {
            self.counts.closed += 1;
            self.check_requests();
        }
        self.lose(Lost::Session);
    }

    /// Abandons the session, as a client without power would. The session then expires.
    pub(crate) fn vanish(&mut self) {
        self.lose(Lost::Connection);
        self.check_requests();
        self.forget_session();
    }

    /// Connects to random members until one of them accepts the session.
    pub(crate) async fn connect(&mut self) {
        while self.stream.is_none() {
            let Some(member) = self.any_member() else { return };
            if self.connect_to(member).await.is_err() {
                let pause = 10 + self.dice.below(200);
                sleep(Duration::from_millis(pause)).await;
            }
        }
    }

    /// Makes one attempt to connect to `member`.
    pub(crate) async fn connect_to(&mut self, member: Machine) -> Result<(), ()> {
        self.hang_up();
        let patience = Duration::from_millis(self.asked_timeout_ms as u64 / 2);
        let who = self.name();
        let result = timeout(patience, self.try_connect(member)).await;
        let Ok(Ok(())) = result else {
            self.stream = None;
            say(who, || format!("no connection to m{member}"));
            return Err(());
        };
        Ok(())
    }

    async fn try_connect(&mut self, member: Machine) -> io::Result<()> {
        let mut stream = self.net.dial(self.machine, member, CLIENT_PORT).await?;
        let mut out = BytesMut::new();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.zxid as i64,
            timeout_ms: self.asked_timeout_ms,
            session_id: self.session,
            password: Some(Bytes::copy_from_slice(&self.password)),
            read_only: Some(false),
        };
        wire::connect_request(&mut out, &request);
        let sent_us = now_us();
        stream.write_all(&out).await?;
        self.arrived.clear();
        let frame = loop {
            if let Some(frame) = self.frames.next(&mut self.arrived).map_err(io::Error::other)? {
                break frame;
            }
            if stream.read_buf(&mut self.arrived).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let response = wire::connect_response(frame).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        note(&[20, self.number.into(), response.session_id as u64, response.timeout_ms as u64]);
        let who = self.name();
        if response.session_id == 0 {
            say(who, || format!("m{member}: session {:#x} is expired", self.session));
            self.expired();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.session == 0 {
            self.counts.sessions += 1;
        } else {
            if response.session_id != self.session {
                breach(format!("{who} asked for its session {:#x} and got another", self.session));
            }
            if self.member != Some(member) {
                self.counts.moves += 1;
            }
        }
        say(&who, || format!("m{member}: session {:#x}, {} ms", response.session_id, response.timeout_ms));
        self.session = response.session_id;
        self.password = response.password;
        self.timeout_ms = response.timeout_ms;
        self.member = Some(member);
        self.received_us = now_us();
        self.sent_us = now_us();
        self.stream = Some(stream);
        self.sent.push(Vec::new());
        self.last_write = None;
        ledger(|ledger| {
            ledger.set_client(self.session, self.number);
            ledger.heard(self.session, sent_us);
        });
        let mut out = BytesMut::new();
        if !self.watches.is_empty() {
            let mut again = SetWatches { relative_zxid: self.zxid as i64, ..SetWatches::default() };
            for ((path, _), watch) in &mut self.watches {
                match watch.watched {
                    Watched::Data => again.data.push(path.clone()),
                    Watched::Absence => again.exist.push(path.clone()),
                    Watched::Children => again.child.push(path.clone()),
                }
                watch.since = self.zxid;
            }
            wire::request(&mut out, xid::SET_WATCHES, &Request::SetWatches(again));
            self.waiting.push_back(Waiting { xid: xid::SET_WATCHES, sent_us: now_us(), what: What::SetWatches });
            let written = self.write(&out).await;
            if written.is_err() {
                self.lose(Lost::Connection);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        format!("c{}", self.number)
    }

    /// Checks and records a member's answer that the session has expired.
    fn expired(&mut self) {
        self.counts.expired += 1;
        let (session, who) = (self.session, self.name());
        if ledger(|ledger| ledger.session_ended(session)).is_none() {
            breach(format!("{who} is told that its session {session:#x} has expired, and it has not ended"));
        }
        self.check_requests();
        self.forget_session();
    }

    fn forget_session(&mut self) {
        (self.session, self.password) = (0, [0; 16]);
        self.sent.clear();
        self.acknowledged.clear();
        self.watches.clear();
    }

    /// Checks that a prefix of each connection's writes took effect, and that the prefix includes every acknowledged
    /// write.
    pub(crate) fn check_requests(&self) {
        if self.session == 0 {
            return;
        }
        let who = self.name();
        ledger(|ledger| {
            let done: BTreeMap<i32, u64> =
                ledger.requests(self.session).iter().map(|request| (request.xid, request.zxid)).collect();
            for sent in &self.sent {
                let effective: Vec<bool> = sent.iter().map(|xid| done.contains_key(xid)).collect();
                if effective.is_sorted_by(|one, next| one >= next) {
                    continue;
                }
                breach(format!(
                    "{who}: the writes {sent:?} of session {:#x} that took effect are no prefix: {effective:?}",
                    self.session
                ));
            }
            for (xid, zxid) in &self.acknowledged {
                if done.get(xid) != Some(zxid) {
                    breach(format!(
                        "{who}: write #{xid} of session {:#x} was acknowledged with {zxid:#x} and took effect at {:x?}",
                        self.session,
                        done.get(xid)
                    ));
                }
            }
        });
    }

    fn lose(&mut self, lost: Lost) {
        if self.stream.take().is_some() {
            say(self.name(), || "hangs up".to_owned());
        }
        self.arrived.clear();
        for waiting in self.waiting.drain(..) {
            if let What::Ask { ask, begin_us, .. } = waiting.what {
                self.counts.lost += 1;
                history::lost(&ask, begin_us);
            }
        }
        if let Lost::Session = lost {
            self.forget_session();
        }
    }

    fn wait_for(&mut self, what: What) {
        self.waiting.push_back(Waiting { xid: self.xid, sent_us: now_us(), what });
    }

    fn put(&mut self, out: &mut BytesMut, at: usize, ask: Ask) {
        let begin_us = now_us();
        if let Ask::SyncGet { path } = &ask {
            self.xid += 1;
            wire::request(out, self.xid, &Request::Sync { path: Some(path.clone()) });
            self.wait_for(What::Sync);
        }
        self.xid += 1;
        let request = ask.request();
        wire::request(out, self.xid, &request);
        if ask.is_ordered()
            && let Some(sent) = self.sent.last_mut()
        {
            sent.push(self.xid);
        }
        say(self.name(), || format!("asks #{} {ask:?}", self.xid));
        self.wait_for(What::Ask { at, ask, begin_us });
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let patience = self.patience();
        let stream = self.stream.as_mut().ok_or(Lost::Connection)?;
        self.sent_us = now_us();
        timeout(patience, stream.write_all(bytes)).await.map_err(|_| Lost::Connection)??;
        Ok(())
    }

    /// How long the connection may be silent before the client gives it up: two thirds of the timeout, as ZooKeeper's
    /// do.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.timeout_ms as u64 * 2 / 3)
    }

    /// Handles the next frame that arrives, and returns. Also returns at `until`. Sends pings in the meantime.
    async fn attend(&mut self, until: Option<Instant>) -> Result<(), Lost> {
        loop {
            if let Some(frame) = self.frames.next(&mut self.arrived).map_err(|_| Lost::Connection)? {
                self.receive(frame)?;
                return Ok(());
            }
            let silent_us = now_us() - self.received_us;
            let patience_us = self.patience().as_micros() as u64;
            if silent_us >= patience_us {
                say(self.name(), || "hears nothing");
                return Err(Lost::Connection);
            }
            let idle_us = now_us() - self.sent_us;
            let ping_us = self.timeout_ms as u64 * 1000 / 3;
            if idle_us >= ping_us {
                let mut out = BytesMut::new();
                wire::ping(&mut out);
                self.waiting.push_back(Waiting { xid: xid::PING, sent_us: now_us(), what: What::Ping });
                self.write(&out).await?;
                continue;
            }
            let wait = Instant::now() + Duration::from_micros((patience_us - silent_us).min(ping_us - idle_us));
            let wait = until.map_or(wait, |until| wait.min(until));
            let stream = self.stream.as_mut().ok_or(Lost::Connection)?;
            tokio::select! {
                biased;
                read = stream.read_buf(&mut self.arrived) => {
                    if read? == 0 {
                        return Err(Lost::Connection);
                    }
                    self.received_us = now_us();
                }
                () = sleep_until(wait) => {
                    if until.is_some_and(|until| Instant::now() >= until) {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn receive(&mut self, frame: Bytes) -> Result<(), Lost> {
        note(&[21, self.number.into(), crate::trace::hash_of(&frame)]);
        let read = wire::reply(frame).and_then(|(header, record)| match header.xid {
            xid::NOTIFICATION => self.event(header, record),
            _ => self.reply(header, record),
        });
        match read {
            Ok(flow) => flow,
            Err(fault) => {
                breach(format!("{}: a reply cannot be read: {fault}", self.name()));
                Err(Lost::Connection)
            }
        }
    }

    fn event(&mut self, header: ReplyHeader, mut record: Record) -> Result<Result<(), Lost>, Fault> {
        let event = record.event()?;
        let who = self.name();
        say(&who, || format!("hears that {} {} at {:#x}", event.path, event_name(event.kind), header.zxid));
        self.counts.events += 1;
        let met: Vec<(String, bool)> = [false, true].map(|children| (event.path.clone(), children)).to_vec();
        let met: Vec<_> = met.into_iter().filter_map(|key| Some((self.watches.remove(&key)?, key))).collect();
        self.check_event(&event.path, event.kind, header.zxid);
        if met.is_empty() {
            breach(format!("{who} watches nothing that {} {} tells of", event.path, event_name(event.kind)));
        }
        for (watch, key) in met {
            // The event of a change during a disconnection carries no zxid.
            let upto = if header.zxid < 0 { u64::MAX } else { header.zxid as u64 };
            let due = ledger(|ledger| ledger.fires(&event.path, watch.watched, watch.since, upto));
            let fits = match due {
                None => false,
                Some(_) if header.zxid < 0 => true,
                Some(due) => due == (upto, event.kind),
            };
            if fits {
                continue;
            }
            // A deletion is one event for both watches of a path. A change of the children concerns only the child
            // watch.
            if due.is_none() && header.zxid >= 0 && key.1 != (event.kind == CHILDREN) {
                self.watches.insert(key, watch);
                continue;
            }
            breach(format!(
                "{who} hears that {} {} at {:#x}; watched since {:#x}, due is {due:x?}",
                event.path,
                event_name(event.kind),
                header.zxid,
                watch.since
            ));
        }
        Ok(Ok(()))
    }

    /// Checks that the policy allows the client to read the event's znode, on the event's state or on some later one.
    fn check_event(&self, path: &str, kind: i32, zxid: i64) {
        let verb = if kind == CHILDREN { Verb::Children } else { Verb::Read };
        // The event of a change during a disconnection carries no zxid. The policy judges it when the watches are set
        // again.
        let from = if zxid < 0 { self.zxid } else { zxid as u64 };
        ledger(|ledger| {
            let last = ledger.last();
            if !policy::allows(ledger, from, self.number, verb, path) && !ledger.policy_may_have_changed(from, last) {
                let (who, what) = (self.name(), event_name(kind));
                breach(format!("{who} hears that {path} {what} at {zxid:#x}, and the policy forbids that"));
            }
        });
    }

    /// Checks that every event due up to `zxid` has arrived. A reply has just shown the state of `zxid`.
    fn check_watches(&mut self, zxid: u64) {
        let (who, number) = (self.name(), self.number);
        self.watches.retain(|(path, _), watch| {
            let due = ledger(|ledger| ledger.fires(path, watch.watched, watch.since, zxid));
            if let Some((at, kind)) = due {
                let verb = if kind == CHILDREN { Verb::Children } else { Verb::Read };
                // The server asks the policy about an event on the event's state or on a later one.
                let is_withheld = ledger(|ledger| {
                    !policy::allows(ledger, at, number, verb, path)
                        || policy::is_policed(path) && ledger.policy_may_have_changed(at, ledger.last())
                });
                if is_withheld || !watch.is_set {
                    met(Situation::EventWithheld);
                    return false;
                }
                breach(format!(
                    "{who} sees the state of {zxid:#x} and was not told that {path} {} at {at:#x}; watched since {:#x}",
                    event_name(kind),
                    watch.since
                ));
            }
            due.is_none()
        });
    }

    fn reply(&mut self, header: ReplyHeader, record: Record) -> Result<Result<(), Lost>, Fault> {
        let who = self.name();
        let Some(waiting) = self.waiting.pop_front() else {
            breach(format!("{who} gets a reply to #{}, and has asked nothing", header.xid));
            return Ok(Err(Lost::Connection));
        };
        if waiting.xid != header.xid {
            breach(format!("{who} gets a reply to #{} and waits for that to #{}", header.xid, waiting.xid));
            return Ok(Err(Lost::Connection));
        }
        let zxid = header.zxid as u64;
        if zxid < self.zxid {
            breach(format!("{who}: the reply to #{} goes back from {:#x} to {zxid:#x}", header.xid, self.zxid));
        }
        if zxid > ledger(|ledger| ledger.last()) {
            breach(format!("{who}: the reply to #{} tells of {zxid:#x}, which no member has applied", header.xid));
        }
        self.zxid = self.zxid.max(zxid);
        ledger(|ledger| ledger.heard(self.session, waiting.sent_us));
        if let What::SetWatches = waiting.what {
            self.watches_are_set(zxid);
        }
        self.check_watches(zxid);
        let error = match header.error {
            0 => None,
            code => ErrorCode::from_code(code).or(Some(ErrorCode::SystemError)),
        };
        match waiting.what {
            What::Ping | What::SetWatches | What::Sync => {}
            What::Close => return Ok(Ok(())),
            What::Ask { at, ask, begin_us } => {
                let answer = self.answered(&ask, header, error, record, begin_us)?;
                say(who, || format!("is told #{} {answer:?} at {zxid:#x}", header.xid));
                self.answers.push((at, answer));
                if error == Some(ErrorCode::SessionMoved) {
                    return Ok(Err(Lost::Connection));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Updates the watches after SetWatches is answered. By then every change during the disconnection has been told,
    /// with one exception: the server does not report a znode that was created and deleted again.
    fn watches_are_set(&mut self, zxid: u64) {
        for ((path, _), watch) in &mut self.watches {
            let absent = ledger(|ledger| ledger.node(path, zxid).is_none());
            if watch.watched == Watched::Absence && absent {
                watch.since = zxid;
            }
            watch.is_set &= !policy::is_policed(path);
        }
    }

    fn answered(
        &mut self,
        ask: &Ask,
        header: ReplyHeader,
        error: Option<ErrorCode>,
        mut record: Record,
        begin_us: u64,
    ) -> Result<Answer, Fault> {
        self.counts.answered += 1;
        self.counts.refused += u64::from(error.is_some());
        let zxid = header.zxid as u64;
        let answer = if ask.writes() {
            if ask.is_ordered() && !error.is_some_and(|code| ledger::SESSION_LOST.contains(&code)) {
                self.acknowledged.insert(header.xid, zxid);
            }
            self.check_write(ask, header, error);
            match (ask, error) {
                (_, Some(code)) => Answer::Refused(code),
                (Ask::Create { .. } | Ask::Make { .. }, None) => {
                    let path = record.string()?;
                    if ledger(|ledger| ledger.node(&path, zxid).is_none()) {
                        breach(format!("{}: {ask:?} is answered with {path}, which does not exist", self.name()));
                    }
                    Answer::Created(path)
                }
                (Ask::Set { .. } | Ask::CompareAndSet { .. }, None) => {
                    let Stat { version, .. } = record.stat()?;
                    Answer::Node { value: None, version }
                }
                (Ask::All(_) | Ask::SetAll(_) | Ask::CheckedSets { .. }, None) => {
                    let slots = record.multi()?;
                    let failed = slots.iter().find_map(|slot| match slot {
                        SlotReply::Error(code) if *code != 0 => Some(*code),
                        _ => None,
                    });
                    let versions: Vec<i32> = slots
                        .iter()
                        .filter_map(|slot| match slot {
                            SlotReply::Stat(stat) => Some(stat.version),
                            _ => None,
                        })
                        .collect();
                    history::sets_answered(ask, failed, &versions, begin_us);
                    match failed {
                        Some(code) => Answer::Refused(ErrorCode::from_code(code).unwrap_or(ErrorCode::SystemError)),
                        None => Answer::Done,
                    }
                }
                (_, None) => Answer::Done,
            }
        } else {
            self.read_answer(ask, zxid, error, &mut record)?
        };
        history::answered(ask, &answer, begin_us);
        Ok(answer)
    }

    /// Checks that a write's reply agrees with the transaction at the reply's zxid.
    fn check_write(&mut self, ask: &Ask, header: ReplyHeader, error: Option<ErrorCode>) {
        let who = self.name();
        let zxid = header.zxid as u64;
        if self.last_write.is_some_and(|last| last >= zxid) {
            breach(format!(
                "{who}: write #{} has zxid {zxid:#x}, which does not follow the previous write's",
                header.xid
            ));
        }
        self.last_write = Some(zxid);
        ledger(|ledger| {
            let Some(txn) = ledger.transaction(zxid) else { return };
            let origin = txn.origin.map(|origin| (origin.session.0, origin.xid));
            let code = match &txn.outcome {
                Outcome::Refused(refusal) => Some(refusal.code),
                Outcome::Done(_) | Outcome::MultiRefused { .. } => None,
            };
            if origin != Some((self.session, header.xid)) || code != error {
                breach(format!("{who}: {ask:?} is answered {error:?} by {}", ledger::Shown(txn)));
            }
            if let Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. } = &txn.outcome
                && refusal.code == ErrorCode::NoAuth
            {
                met(Situation::WriteForbidden);
                let forbids = |before: u64| {
                    let mut writes = ask.writings().into_iter();
                    writes.any(|(verb, path)| !policy::allows(ledger, before, self.number, verb, path))
                };
                if !ledger.before(zxid).is_some_and(forbids) {
                    breach(format!("{who}: {ask:?} is refused at {zxid:#x}, and the policy allows it"));
                }
            }
            if let Ask::Write { path, data } = ask
                && ledger::is_weak_guarded(path)
                && error == Some(ErrorCode::SystemError)
                && data.0.len() <= ledger::FEW_BYTES
                && !ledger.before(zxid).is_some_and(|before| ledger.is_quarantined(WEAK, before))
            {
                breach(format!("{who}: {ask:?} is refused at {zxid:#x}, and the weak guard can judge it"));
            }
            let Ask::Set { path, value } = ask else { return };
            if error != Some(ErrorCode::BadArguments) || !ledger::is_guarded(path) {
                return;
            }
            met(Situation::GuardRefusal);
            let Some(before) = ledger.before(zxid) else { return };
            ledger.note_trial(path, data(*value).len(), before);
            let allowed = ledger.guard_bytes_max(path, before);
            if allowed.is_none_or(|bytes_max| data(*value).len() <= bytes_max) {
                breach(format!("{who}: {ask:?} is refused at {zxid:#x} by a guard that allows {allowed:?} bytes"));
            }
        });
    }

    /// Checks that a read's reply shows the tree as it was at the reply's zxid.
    fn read_answer(
        &mut self,
        ask: &Ask,
        zxid: u64,
        error: Option<ErrorCode>,
        record: &mut Record,
    ) -> Result<Answer, Fault> {
        let path = match ask {
            Ask::Get { path, .. }
            | Ask::Read { path, .. }
            | Ask::SyncGet { path }
            | Ask::Exists { path, .. }
            | Ask::Children { path, .. } => path,
            Ask::Members => ledger::CONFIG,
            _ => return Ok(Answer::Done),
        };
        let who = self.name();
        if ledger(|ledger| ledger.is_frail_policed(path, zxid)) {
            return match error {
                Some(code @ (ErrorCode::SystemError | ErrorCode::OperationTimeout)) => Ok(Answer::Refused(code)),
                _ => {
                    breach(format!("{who}: {ask:?} is answered {error:?} at {zxid:#x}, and no policy can allow it"));
                    Ok(Answer::Done)
                }
            };
        }
        let verb = if let Ask::Children { .. } = ask { Verb::Children } else { Verb::Read };
        let allowed = ledger(|ledger| policy::allows(ledger, zxid, self.number, verb, path));
        match error {
            Some(ErrorCode::NoAuth) if !allowed => {
                met(Situation::ReadForbidden);
                return Ok(Answer::Refused(ErrorCode::NoAuth));
            }
            Some(ErrorCode::OperationTimeout) if policy::is_policed(path) => {
                met(Situation::ReadUndecided);
                return Ok(Answer::Refused(ErrorCode::OperationTimeout));
            }
            _ if !allowed => {
                breach(format!("{who}: {ask:?} is answered {error:?} at {zxid:#x}, and the policy forbids it"));
            }
            _ => {}
        }
        let node = ledger(|ledger| ledger.node(path, zxid).cloned());
        let answer = match (ask, error) {
            (_, Some(code)) => {
                if (code, node.is_some()) != (ErrorCode::NoNode, false) {
                    breach(format!("{who}: {ask:?} is refused at {zxid:#x} with {}; there is {node:?}", code.name()));
                }
                Answer::Refused(code)
            }
            (Ask::Children { .. }, None) => {
                let names: BTreeSet<String> = record.strings()?.into_iter().collect();
                let same =
                    ledger(|ledger| ledger.children(path, zxid).into_iter().eq(names.iter().map(String::as_str)));
                if !same || node.is_none() {
                    breach(format!("{who}: {path} has not the children {names:?} at {zxid:#x}"));
                }
                Answer::Names(names)
            }
            (_, None) => {
                let data = if let Ask::Exists { .. } = ask { None } else { Some(record.buffer()?) };
                let stat = record.stat()?;
                let same = node.as_ref().is_some_and(|node| {
                    data.as_ref().is_none_or(|data| *data == node.data)
                        && (stat.version, stat.czxid as u64, stat.mzxid as u64, stat.ephemeral_owner)
                            == (node.version, node.czxid, node.mzxid, node.owner)
                });
                if !same {
                    breach(format!("{who}: {path} at {zxid:#x} is {node:?} and not {data:?} {stat:?}"));
                }
                if let (Ask::Members, Some(Some(data))) = (ask, &data) {
                    return Ok(Answer::Text(String::from_utf8_lossy(data).into_owned()));
                }
                let data = data.flatten();
                match ask {
                    Ask::Read { .. } => Answer::Data(Data(data.unwrap_or_default())),
                    _ => Answer::Node { value: data.as_deref().and_then(ledger::value), version: stat.version },
                }
            }
        };
        self.watch(ask, node.is_some(), zxid);
        Ok(answer)
    }

    fn watch(&mut self, ask: &Ask, is_there: bool, zxid: u64) {
        let (path, watched) = match ask {
            Ask::Get { path, watch: true } | Ask::Read { path, watch: true } if is_there => (path, Watched::Data),
            Ask::Exists { path, watch: true } if is_there => (path, Watched::Data),
            Ask::Exists { path, watch: true } => (path, Watched::Absence),
            Ask::Children { path, watch: true } if is_there => (path, Watched::Children),
            _ => return,
        };
        // A second watch of the same path and kind changes nothing: both fire at the same event.
        let watch = Watch { watched, since: zxid, is_set: true };
        let known = self.watches.entry((path.clone(), watched == Watched::Children)).or_insert(watch);
        known.is_set = true;
    }
}

/// The wire's number for the event NodeChildrenChanged.
const CHILDREN: i32 = 4;

fn event_name(kind: i32) -> &'static str {
    match kind {
        1 => "was created",
        2 => "was deleted",
        3 => "changed",
        CHILDREN => "has other children",
        _ => "did something unknown",
    }
}
