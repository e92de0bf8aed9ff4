//! Models of recipes: what a recipe answers if its clients come one after the other. A random run checks whether there
//! is an order in which the model gives the answers that clients got. A model looks at requests and answers only, not
//! at the server's tree and not at the order in which the server evaluated the requests.
//!
//! ```text
//! model lock at /locks/db, delay 300
//! model queue at /queue/jobs, visibility 2000, attempts 5
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `lock` | one holder, first come first served; tokens grow |
//! | `queue` | each item to one worker at a time, in order, until it is done |
//!
//! `crate::linear` searches for the order. A request without an answer may have happened or not. The same holds for
//! steps that happen without a request once their time has come: the end of a wait, of a delay, of a claim. A model
//! only says that such a step does not happen earlier.

mod lock;
mod queue;

use crate::linear::{self, Operation, Verdict};
use crate::model::SessionId;
use crate::wire::request::{Request, create_mode};

/// What clients asked and were answered in a run of a scenario.
#[derive(Default)]
pub(crate) struct Record {
    /// The number of requests sent and answers received so far. Each has a moment of its own.
    moment: u64,
    exchanges: Vec<Exchange>,
    /// Ensemble times, each with the first moment at which that time had been reached.
    times: Vec<(u64, u64)>,
}

pub(crate) struct Exchange {
    /// The number by which the answer finds its request. 0 once the request is answered.
    number: i32,
    client: String,
    session: SessionId,
    asked: Asked,
    begin: u64,
    begin_ms: u64,
    end: Option<u64>,
    /// As the scenario prints it.
    answer: String,
}

#[derive(Clone)]
pub(crate) enum Asked {
    Request(Request),
    /// The end of the session.
    End {
        expired: bool,
    },
}

impl Record {
    pub(crate) fn asks(&mut self, number: i32, client: &str, session: SessionId, asked: Asked, now_ms: u64) {
        let begin = self.next(now_ms);
        let (client, answer) = (client.to_owned(), String::new());
        self.exchanges.push(Exchange { number, client, session, asked, begin, begin_ms: now_ms, end: None, answer });
    }

    /// Notes the answer to the request with this number.
    pub(crate) fn answers(&mut self, number: i32, answer: &str, now_ms: u64) {
        let end = self.next(now_ms);
        if let Some(exchange) = self.exchanges.iter_mut().rev().find(|exchange| exchange.number == number) {
            (exchange.end, exchange.answer, exchange.number) = (Some(end), answer.to_owned(), 0);
        }
    }

    fn next(&mut self, now_ms: u64) -> u64 {
        self.moment += 1;
        if self.times.last().is_none_or(|(ms, _)| *ms < now_ms) {
            self.times.push((now_ms, self.moment));
        }
        self.moment
    }

    /// A step that may happen without a request from `due_ms` on. None if the run ended before that time.
    fn by_itself<A>(&self, due_ms: u64, action: A) -> Option<Step<A>> {
        let (_, begin) = self.times.iter().find(|(ms, _)| *ms >= due_ms)?;
        Some(Step { operation: Operation { begin: *begin, end: None, action }, exchange: None })
    }
}

impl Exchange {
    fn step<A>(&self, at: usize, action: A) -> Step<A> {
        Step { operation: Operation { begin: self.begin, end: self.end, action }, exchange: Some(at) }
    }

    /// The operations of the request, each with its answer. The answer is None if the client got none. A multi that was
    /// refused has no operations here.
    fn parts(&self) -> Vec<(&Request, Option<&str>)> {
        let answer = self.end.map(|_| self.answer.as_str());
        match (&self.asked, answer) {
            (Asked::End { .. }, _) => Vec::new(),
            (Asked::Request(Request::Multi(operations)), None) => {
                operations.iter().map(|operation| (&operation.request, None)).collect()
            }
            (Asked::Request(Request::Multi(operations)), Some(answer)) => {
                let answers = answer.strip_prefix("ok ").map(|rest| rest.split(" ; ")).into_iter().flatten();
                operations.iter().map(|operation| &operation.request).zip(answers.map(Some)).collect()
            }
            (Asked::Request(request), answer) => {
                vec![(request, answer.map(|text| text.strip_prefix("ok ").unwrap_or(text)))]
            }
        }
    }

    fn text(&self) -> String {
        let asked = match &self.asked {
            Asked::End { expired: false } => "close".into(),
            Asked::End { expired: true } => "expire".into(),
            Asked::Request(Request::Multi(operations)) => format!("multi of {}", operations.len()),
            Asked::Request(request) => match request {
                Request::Create(create) => format!("create {}", create.path.as_deref().unwrap_or_default()),
                Request::Delete { path, .. } => format!("delete {}", path.as_deref().unwrap_or_default()),
                Request::SetData { path, .. } => format!("set {}", path.as_deref().unwrap_or_default()),
                Request::GetData { path, .. } => format!("get {}", path.as_deref().unwrap_or_default()),
                other => format!("{other:?}"),
            },
        };
        format!("{} {}: {asked} <- {}", self.client, self.session, self.answer)
    }
}

/// An action, and the index of its exchange. None: the action happens without a request.
struct Step<A> {
    operation: Operation<A>,
    exchange: Option<usize>,
}

/// `model KIND at PATH, ...` of a random block.
pub(crate) struct Model {
    /// As the scenario has it.
    text: String,
    kind: Kind,
}

enum Kind {
    Lock(lock::Lock),
    Queue(queue::Queue),
}

impl Model {
    /// `text`: what follows the word `model`. The error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Model, String> {
        let sentence =
            || "model lock at PATH[, delay MS] or model queue at PATH[, visibility MS][, attempts N] is required";
        let mut parts = text.split(',').map(str::trim);
        let head: Vec<&str> = parts.next().unwrap_or_default().split_whitespace().collect();
        let [kind, "at", path] = head.as_slice() else { return Err(sentence().into()) };
        let mut kind = match *kind {
            "lock" => Kind::Lock(lock::Lock { path: (*path).into(), delay_ms: 0 }),
            "queue" => Kind::Queue(queue::Queue { path: (*path).into(), visibility_ms: None, attempts_max: 5 }),
            _ => return Err(sentence().into()),
        };
        for part in parts {
            let (key, value) = part.split_once(' ').ok_or_else(sentence)?;
            let value: u64 = value.trim().parse().map_err(|_| format!("{part}: a number is required"))?;
            match (&mut kind, key) {
                (Kind::Lock(lock), "delay") => lock.delay_ms = value,
                (Kind::Queue(queue), "visibility") => queue.visibility_ms = Some(value),
                (Kind::Queue(queue), "attempts") => queue.attempts_max = value,
                _ => return Err(sentence().into()),
            }
        }
        Ok(Model { text: text.into(), kind })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns how many answers fit the model. The error names an answer that does not fit.
    pub(crate) fn check(&self, record: &Record) -> Result<usize, String> {
        match &self.kind {
            Kind::Lock(lock) => self.judge(lock, lock.steps(record), record),
            Kind::Queue(queue) => self.judge(queue, queue.steps(record), record),
        }
    }

    fn judge<M: linear::Model>(&self, model: &M, steps: Vec<Step<M::Action>>, record: &Record) -> Result<usize, String>
    where
        M::State: Default,
    {
        /// How many exchanges are printed, the one that does not fit included.
        const TOLD: usize = 12;
        let (operations, exchanges): (Vec<_>, Vec<_>) =
            steps.into_iter().map(|step| (step.operation, step.exchange)).unzip();
        match linear::check(model, M::State::default(), &operations) {
            Verdict::Linearizable => Ok(operations.iter().filter(|operation| operation.end.is_some()).count()),
            Verdict::Undecided => Err(format!("model {}: no order is found, nor that there is none", self.text)),
            Verdict::Not { stuck_at } => {
                let mut before: Vec<&Exchange> =
                    exchanges[..=stuck_at].iter().filter_map(|at| at.map(|at| &record.exchanges[at])).collect();
                before.drain(..before.len().saturating_sub(TOLD));
                let told: String = before.iter().map(|exchange| format!("\n    {}", exchange.text())).collect();
                Err(format!("model {}: in no order can the last of these be answered so{told}", self.text))
            }
        }
    }
}

/// The name of `node` if it is a child of `parent`.
fn below<'a>(parent: &str, node: Option<&'a str>) -> Option<&'a str> {
    node?.strip_prefix(parent)?.strip_prefix('/').filter(|name| !name.contains('/'))
}

/// Whether a create of the sequential node `asked` can have made `path`.
fn made_of(path: &str, asked: &str) -> bool {
    path.strip_prefix(asked).is_some_and(|digits| digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()))
}

const EPHEMERAL_SEQUENTIAL: i32 = create_mode::EPHEMERAL_SEQUENTIAL;

#[cfg(test)]
mod tests {
    use super::super::{requests, script};
    use super::*;

    /// Parses exchanges, one on each line: `CLIENT SESSION: REQUEST <- ANSWER`. A line that begins with `>` has only
    /// the request. A line that begins with `<` has the answer to the oldest request that has none. `tick MS` advances
    /// the time.
    fn record(lines: &str) -> Record {
        let mut record = Record::default();
        let (mut now_ms, mut number) = (0, 0);
        let mut asked = std::collections::VecDeque::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(ms) = line.strip_prefix("tick ") {
                now_ms += ms.parse::<u64>().unwrap();
            } else if let Some(answer) = line.strip_prefix("< ") {
                record.answers(asked.pop_front().unwrap(), answer, now_ms);
            } else {
                number += 1;
                let (question, answer) = line.split_once(" <- ").map_or((line, None), |(q, a)| (q, Some(a)));
                let (session, request) = question.trim_start_matches("> ").split_once(": ").unwrap();
                let what = match request {
                    "close" => Asked::End { expired: false },
                    "expire" => Asked::End { expired: true },
                    request => Asked::Request(requests::parse(&script::words(request).unwrap()).unwrap().request),
                };
                record.asks(number, session, SessionId(session.parse().unwrap()), what, now_ms);
                match answer {
                    Some(answer) => record.answers(number, answer, now_ms),
                    None if line.starts_with("> ") => asked.push_back(number),
                    None => {}
                }
            }
        }
        record
    }

    fn fits(model: &str, lines: &str) -> bool {
        match Model::parse(model).unwrap().check(&record(lines)) {
            Ok(answers) => answers > 0,
            Err(told) => {
                assert!(told.contains("in no order"), "{told}");
                false
            }
        }
    }

    const JOINED: &str = "1: create /l/m- ephemeral sequential <- ok /l/m-0000000000
                          2: create /l/m- ephemeral sequential <- ok /l/m-0000000001
                          3: create /l/m- ephemeral sequential <- ok /l/m-0000000002
                          1: get /l/m-0000000000 <- ok {\"state\":\"held\",\"token\":7}
                          2: get /l/m-0000000001 <- ok {\"state\":\"waiting\"}\n";

    #[test]
    fn a_lock() {
        let fits = |rest: &str| fits("lock at /l", &format!("{JOINED}{rest}"));
        let held = |session: u8, member: u8, token: u8| {
            format!("{session}: get /l/m-000000000{member} <- ok {{\"state\":\"held\",\"token\":{token}}}\n")
        };
        let left = "1: delete /l/m-0000000000 <- ok\n";
        assert!(fits("") && fits(left) && fits(&(left.to_owned() + &held(2, 1, 9))));
        assert!(!fits(&held(2, 1, 9)), "two holders");
        assert!(!fits(&(left.to_owned() + &held(3, 2, 9))), "not whose turn it is");
        assert!(!fits(&(left.to_owned() + &held(2, 1, 7))), "a token that does not grow");
        assert!(!fits(&(left.to_owned() + "2: get /l/m-0000000001 <- ok {\"state\":\"waiting\"}")), "a free lock");
        assert!(!fits("1: get /l/m-0000000000 <- NONODE") && !fits("1: delete /l/m-0000000000 <- NONODE"));
        assert!(!fits("1: create /l/m- ephemeral sequential <- ok /l/m-0000000003"), "joined twice");
        assert!(fits("1: create /l/m- ephemeral sequential <- ok /l/m-0000000000"));
        assert!(!fits("2: delete /l/m-0000000000 <- ok"), "another's");
        assert!(fits("4: create /l/m- {\"wait-ms\":0} ephemeral sequential <- NODEEXISTS lock: is not free"));
        assert!(!fits("4: create /l/m- {\"wait-ms\":0} ephemeral sequential <- ok /l/m-0000000003"));
        assert!(fits("1: expire <- ok\n 2: close <- ok\n 3: get /l <- ok {\"holder\":\"m-0000000002\",\"token\":9}"));
        assert!(!fits("1: expire <- ok\n 2: close <- ok\n 3: get /l <- ok {}"), "somebody waits");
        // A request that was under way at the same time may have happened before or after. A request without an answer
        // may not have happened.
        assert!(fits(&format!("> 1: delete /l/m-0000000000\n {} < ok", held(2, 1, 9))));
        assert!(fits(&format!("> 1: delete /l/m-0000000000\n {} < ok", held(1, 0, 7))));
        assert!(fits(&format!("1: delete /l/m-0000000000\n {}", held(2, 1, 9))));
        assert!(fits(&format!("1: delete /l/m-0000000000\n {}", held(1, 0, 7))));
        assert!(!fits(&format!("1: delete /l/m-0000000000\n {}{}", held(2, 1, 9), held(1, 0, 7))));
        assert!(fits(
            "4: create /l/m- ephemeral sequential\n 4: create /l/m- ephemeral sequential <- ok /l/m-0000000003"
        ));
    }

    #[test]
    fn a_lock_and_time() {
        let waits = "4: create /l/m- {\"wait-ms\":100} ephemeral sequential <- ok /l/m-0000000003\n";
        let after = |ms| format!("{JOINED}{waits}tick {ms}\n 4: get /l/m-0000000003 <- NONODE");
        assert!(fits("lock at /l", &after(100)));
        assert!(!fits("lock at /l", &after(99)), "its patience has not ended");
        let expired = |ms, holds| {
            format!(
                "{JOINED} 1: expire <- ok\n tick {ms}\n 2: get /l/m-0000000001 <- ok {{\"state\":\"{holds}\",\"token\":9}}"
            )
        };
        assert!(fits("lock at /l, delay 300", &expired(300, "held")));
        assert!(fits("lock at /l, delay 300", &expired(299, "waiting")));
        assert!(!fits("lock at /l, delay 300", &expired(299, "held")), "the delay has not passed");
        assert!(!fits("lock at /l", &expired(299, "waiting")), "there is none");
    }

    #[test]
    fn a_queue() {
        let put = "1: create /q/items/j- one sequential <- ok /q/items/j-0000000000
                   1: create /q/items/j- two sequential <- ok /q/items/j-0000000001
                   1: create /q/items/j?priority=9- top sequential <- ok /q/items/j?priority=9-0000000002
                   2: create /q/claims/w- ephemeral sequential <- ok /q/claims/w-0000000000\n";
        let fits = |rest: &str| fits("queue at /q, visibility 1000, attempts 2", &format!("{put}{rest}"));
        let has = |session: u8, claim: &str, attempt: u8, item: &str, payload: &str| {
            let data = format!("{{\"attempt\":{attempt},\"item\":\"{item}\"}}\\n{payload}");
            format!("{session}: get /q/claims/{claim} <- ok {data}\n")
        };
        let first = has(2, "w-0000000000", 1, "j?priority=9-0000000002", "top");
        let other = "3: create /q/claims/v- ephemeral sequential <- ok /q/claims/v-0000000001\n";
        let then = |attempt, item, payload| has(3, "v-0000000001", attempt, item, payload);
        assert!(fits(&first));
        assert!(!fits(&has(2, "w-0000000000", 1, "j-0000000000", "one")), "not the first");
        assert!(!fits(&has(2, "w-0000000000", 1, "j?priority=9-0000000002", "one")), "another's payload");
        assert!(!fits("2: get /q/claims/w-0000000000 <- ok \"\""), "there are items");
        assert!(fits(&format!("{other}{}", then(1, "j-0000000000", "one"))));
        assert!(!fits(&format!("{other}{}", then(1, "j?priority=9-0000000002", "top"))), "twice at once");
        assert!(
            !fits(&format!(
                "2: delete /q/claims/w-0000000000 <- ok\n {other}{}",
                then(2, "j?priority=9-0000000002", "top")
            )),
            "done"
        );
        // The item comes back when the session ends, by a request, or in time; but not more often than its attempts
        // allow.
        for lost in ["2: expire <- ok\n", "2: close <- ok\n"] {
            assert!(fits(&format!("{lost}{other}{}", then(2, "j?priority=9-0000000002", "top"))));
        }
        let retry = "2: set /q/claims/w-0000000000 retry <- ok version 2\n";
        assert!(fits(&format!("{retry}{}", has(2, "w-0000000000", 2, "j?priority=9-0000000002", "top"))));
        assert!(fits(&format!("{retry}{retry}{}", has(2, "w-0000000000", 1, "j-0000000000", "one"))));
        assert!(fits("tick 1000\n 2: get /q/claims/w-0000000000 <- NONODE"));
        assert!(!fits("tick 999\n 2: get /q/claims/w-0000000000 <- NONODE"));
        let later = "1: create /q/items/j?priority=9&delay-ms=50- d sequential <- ok /q/items/j?priority=9&delay-ms=50-0000000003\n";
        assert!(fits(&format!("{later}tick 50\n{other}{}", then(1, "j?priority=9&delay-ms=50-0000000003", "d"))));
        assert!(!fits(&format!("{later}tick 49\n{other}{}", then(1, "j?priority=9&delay-ms=50-0000000003", "d"))));
        // An item whose put got no answer may be there.
        let lost = "1: create /q/items/j?priority=9- more sequential\n";
        assert!(fits(&format!("{lost}{other}{}", then(1, "j?priority=9-0000000003", "more"))));
        assert!(fits(&format!("{lost}{other}{}", then(1, "j-0000000000", "one"))));
    }

    #[test]
    fn what_is_no_model_is_said() {
        for text in ["lock", "lock at", "fork at /l", "lock at /l, visibility 5", "queue at /q, attempts many"] {
            assert!(Model::parse(text).is_err(), "{text}");
        }
    }
}
