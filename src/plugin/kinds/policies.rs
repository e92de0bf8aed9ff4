//! Policies: who may do what. Which policies are asked about an operation, and what their answers mean together.
//!
//! A deny wins: of all policies that match, the first `deny` in the order of their names decides. If a binding requires
//! an `allow`, a policy in mode `enforce` must give one. A fault denies, unless the binding ignores faults. No policy
//! is asked about nodes below `/zookeeper`, nor about the superuser's requests.
//!
//! A write is judged in one step (`Registry::authorize`). A read takes two steps, because no guest may run under the
//! tree's lock. `Registry::known` checks whether the cached and given answers suffice. `Registry::ask` asks the guests
//! for the missing ones. Then the reader calls `known` again: an answer counts only if what it rests on is unchanged
//! when the read happens.

use crate::limits;
use crate::model::{ErrorCode, Identity, Refusal, Zxid, path};
use crate::pipeline::{Answered, Call, ReadView, Verb, authorize};
use crate::plugin::binding::registry::Registry;
use crate::plugin::binding::verdicts::Verdict;
use crate::plugin::binding::{Binding, CallResult, Once};
use crate::plugin::contract::exports::authorization::Decision;
use crate::plugin::fault::Fault;
use crate::plugin::manifest::{Mode, OnFailure, Require};
use smallvec::SmallVec;
use std::sync::Arc;

/// The question to a policy: may these identities do that at this path?
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) who: &'a Arc<[Identity]>,
    pub(crate) verb: Verb,
    pub(crate) path: &'a str,
}

impl Question<'_> {
    /// Whether no policy is asked, whatever the bindings say.
    pub(crate) fn exempt(&self) -> bool {
        path::is_servers_own(self.path) || authorize::is_super(self.who)
    }
}

/// The guests' answers to one question of one operation. Answers that cannot be cached are here, too.
#[derive(Default)]
pub(crate) struct Answers(SmallVec<[(Arc<Binding>, Answer); 1]>);

#[derive(Clone)]
enum Answer {
    Verdict(Arc<Verdict>),
    Fault(Fault),
}

/// The answers of all policies that match a question.
pub(crate) struct Known<'a>(SmallVec<[(&'a Arc<Binding>, Answer); 2]>);

impl Registry {
    /// Whether a policy is asked about this.
    pub(crate) fn hits(&self, question: Question<'_>) -> bool {
        self.hit(question).next().is_some() && !question.exempt()
    }

    /// The answers of all policies that match. None if a guest must be asked first. Counts nothing: `Known::decide`
    /// counts.
    ///
    /// `applied`: the last zxid of the applied tree, if `view` shows exactly that tree.
    pub(crate) fn known(
        &self,
        question: Question<'_>,
        view: &dyn ReadView,
        applied: Option<Zxid>,
        answers: &Answers,
    ) -> Option<Known<'_>> {
        let mut known = Known(SmallVec::new());
        for binding in self.hit(question) {
            if known.0.is_empty() && question.exempt() {
                break;
            }
            known.0.push((binding, answers.of(binding, question, view, applied)?));
        }
        Some(known)
    }

    /// Asks the guests whose answers `known` lacks. The guests may read `call.view`, which may change meanwhile.
    pub(crate) fn ask(&self, enabled: bool, question: Question<'_>, call: &Call<'_>, answers: &mut Answers) {
        for binding in self.hit(question) {
            if answers.of(binding, question, call.view, None).is_none() {
                answers.0.retain(|(asked, _)| !Arc::ptr_eq(asked, binding));
                let (answer, _) = ask(binding, enabled, question, call);
                answers.0.push((binding.clone(), answer));
            }
        }
    }

    /// Judges at once, and asks guests if need be. Operations of the server itself have no caller and are allowed.
    pub(crate) fn authorize(&self, enabled: bool, call: &Call<'_>, verb: Verb, path: &str) -> Answered<()> {
        let mut fuel = 0;
        Answered { said: self.authorize_at_cost(enabled, call, verb, path, &mut fuel), fuel }
    }

    fn authorize_at_cost(
        &self,
        enabled: bool,
        call: &Call<'_>,
        verb: Verb,
        path: &str,
        fuel: &mut u64,
    ) -> Result<(), Refusal> {
        let Some(caller) = call.caller.filter(|_| !self.is_empty()) else { return Ok(()) };
        let question = Question { who: &caller.identities, verb, path };
        let mut sum = Sum::new(path);
        for binding in self.hit(question) {
            if question.exempt() {
                return Ok(());
            }
            let kept = Answers::default().of(binding, question, call.view, None);
            let answer = kept.unwrap_or_else(|| {
                let (answer, cost) = ask(binding, enabled, question, &call.after(*fuel));
                *fuel = fuel.saturating_add(cost);
                answer
            });
            sum.add(binding, &answer)?;
        }
        sum.end()
    }

    fn hit(&self, question: Question<'_>) -> impl Iterator<Item = &Arc<Binding>> {
        let operation = question.verb;
        self.policies().iter().filter(move |binding| binding.matches(operation, question.path))
    }
}

impl Answers {
    fn of(
        &self,
        binding: &Arc<Binding>,
        question: Question<'_>,
        view: &dyn ReadView,
        applied: Option<Zxid>,
    ) -> Option<Answer> {
        let holds = |verdict: &Arc<Verdict>| verdict.holds(view, applied);
        if let Some((_, given)) = self.0.iter().find(|(asked, _)| Arc::ptr_eq(asked, binding)) {
            return match given {
                Answer::Verdict(verdict) if !holds(verdict) => None,
                given => Some(given.clone()),
            };
        }
        let kept = binding.verdicts.find(question.who, question.verb, question.path);
        kept.filter(holds).map(Answer::Verdict)
    }
}

/// Asks one guest, and caches the answer if possible. Returns the answer and its cost.
fn ask(binding: &Binding, enabled: bool, question: Question<'_>, call: &Call<'_>) -> (Answer, u64) {
    let Question { who, verb, path } = question;
    let CallResult { said, cost } =
        binding.ask_at_cost(enabled, Once::OrTwice, call, |instance| instance.authorize(call, verb, path));
    let said = match said {
        Ok(said) => said,
        Err(fault) => return (Answer::Fault(fault), cost),
    };
    let again = said.circumstances || said.looks.passing || said.looks.list.len() > limits::VERDICT_LOOKS_MAX;
    let verdict = Arc::new(Verdict::new(said.answer, said.looks.list));
    if binding.is_pure() && !again {
        binding.verdicts.keep(who, verb, path, verdict.clone());
    }
    (Answer::Verdict(verdict), cost)
}

impl Known<'_> {
    /// The decision. It counts refusals, so it is called once for each operation.
    pub(crate) fn decide(&self, path: &str) -> Result<(), Refusal> {
        let mut sum = Sum::new(path);
        for (binding, answer) in &self.0 {
            sum.add(binding, answer)?;
        }
        sum.end()
    }
}

struct Sum<'a> {
    path: &'a str,
    /// Whether a policy in mode `enforce` has allowed. One in mode `audit` does not count.
    allowed: bool,
    /// The bindings that require an `allow` and have not given one.
    requires: SmallVec<[&'a Arc<Binding>; 2]>,
}

impl<'a> Sum<'a> {
    fn new(path: &'a str) -> Sum<'a> {
        Sum { path, allowed: false, requires: SmallVec::new() }
    }

    /// Adds one more answer. An error ends the judgement.
    fn add(&mut self, binding: &'a Arc<Binding>, answer: &Answer) -> Result<(), Refusal> {
        match answer {
            Answer::Fault(fault) => {
                binding.failed(fault, self.path)?;
                if binding.manifest.on_failure == OnFailure::Ignore {
                    return Ok(());
                }
            }
            Answer::Verdict(verdict) => match &verdict.decision {
                Decision::Allow => {
                    self.allowed |= binding.manifest.mode == Mode::Enforce;
                    return Ok(());
                }
                Decision::Abstain => {}
                Decision::Deny(text) => binding.refuse(self.refusal(binding, text))?,
            },
        }
        if binding.manifest.require == Require::Allow {
            self.requires.push(binding);
        }
        Ok(())
    }

    fn end(self) -> Result<(), Refusal> {
        let mut unmet = self.requires.iter().filter(|_| !self.allowed);
        unmet.try_for_each(|binding| binding.refuse(self.refusal(binding, "no policy allows it, and one must")))
    }

    /// The refusal "plugin: path: text".
    fn refusal(&self, binding: &Binding, text: &str) -> Refusal {
        Refusal::new(ErrorCode::NoAuth, format!("{}: {}: {text}", binding.name, self.path))
    }
}
