//! Whether a history is linearizable: whether every operation can have happened at one moment between its begin and its
//! end, so that all one after the other make sense to a sequential model of the thing.
//!
//! Wing and Gong's search with Lowe's memory of configurations: take the operations that may come first one after the
//! other, go back where none fits. It knows the model and what was answered when, nothing else. The simulation has it judge
//! registers (`sim/`), `plugin test` recipes (`cli/plugin/scenario/models`). Things that do not share a state are
//! judged apart.
//!
//! An operation without an answer may have happened at any time after its begin, or never.

use std::collections::HashSet;
use std::hash::Hash;

/// What operations are about, as it is if they happen one after the other.
pub trait Model {
    type State: Clone + Eq + Hash;
    /// What was asked, and what was answered.
    type Action;

    /// What the action leaves of the state; none if it cannot come now, or not with that answer.
    fn after(&self, state: &Self::State, action: &Self::Action) -> Option<Self::State>;

    /// Of actions without an answer: which one of those it is makes no difference.
    fn is_anonymous(&self, _action: &Self::Action) -> bool {
        false
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<A> {
    pub begin: u64,
    /// None: no answer came.
    pub end: Option<u64>,
    pub action: A,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// The index of an operation whose answer fits nowhere: the one the search got least far beyond.
    Not {
        stuck_at: usize,
    },
    /// Given up after `STEPS_MAX`.
    Undecided,
}

/// Steps of the search after which it gives up: some seconds. Histories of a run take a hundredth.
const STEPS_MAX: u64 = 20_000_000;

/// `operations`: in any order. `initial`: the state before all of them.
pub fn check<M: Model>(model: &M, initial: M::State, operations: &[Operation<M::Action>]) -> Verdict {
    Search::new(model, initial, operations).run()
}

#[derive(Clone, Copy)]
enum Moment {
    Begin(usize),
    End(usize),
}

/// One end of the list of moments.
const HEAD: usize = 0;

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Operation<M::Action>],
    /// In order of time; entry 0 is the list's head.
    moments: Vec<Moment>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where each operation's end stands; `HEAD` if it has none.
    end_of: Vec<usize>,
    ends_left: usize,
    state: M::State,
    taken: Vec<u64>,
    known: HashSet<(Vec<u64>, M::State)>,
}

/// How far the search has come in what may come next.
#[derive(Clone, Copy)]
struct Place {
    /// The moment looked at.
    at: usize,
    /// What was answered has been tried; now what was not. Most often such a thing has not happened.
    unanswered: bool,
    /// An anonymous action was tried from here: another would be no other try.
    passed_anonymous: bool,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, initial: M::State, operations: &'a [Operation<M::Action>]) -> Search<'a, M> {
        // At the same moment begins come before ends: such operations count as concurrent.
        let mut moments: Vec<(u64, bool, Moment)> = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            moments.push((operation.begin, false, Moment::Begin(index)));
            if let Some(end) = operation.end {
                moments.push((end, true, Moment::End(index)));
            }
        }
        moments.sort_by_key(|&(at, is_end, _)| (at, is_end));
        let mut end_of = vec![HEAD; operations.len()];
        let mut list = vec![Moment::End(usize::MAX)];
        for (at, (_, _, moment)) in moments.into_iter().enumerate() {
            if let Moment::End(index) = moment {
                end_of[index] = at + 1;
            }
            list.push(moment);
        }
        let count = list.len();
        Search {
            model,
            operations,
            next: (0..count).map(|at| (at + 1) % count).collect(),
            previous: (0..count).map(|at| (at + count - 1) % count).collect(),
            moments: list,
            ends_left: end_of.iter().filter(|&&end| end != HEAD).count(),
            end_of,
            state: initial,
            taken: vec![0; operations.len().div_ceil(64)],
            known: HashSet::new(),
        }
    }

    fn run(mut self) -> Verdict {
        // Where what was taken begins, and what was so before it.
        let mut trail: Vec<(Place, M::State)> = Vec::new();
        let mut place = self.start();
        let mut furthest = (0, 0);
        for _ in 0..STEPS_MAX {
            if self.ends_left == 0 {
                return Verdict::Linearizable;
            }
            match self.moments[place.at] {
                Moment::Begin(index) => {
                    if self.may_be_tried(index, &mut place)
                        && let Some(state) = self.model.after(&self.state, &self.operations[index].action)
                        && self.is_new(index, &state)
                    {
                        let before = std::mem::replace(&mut self.state, state);
                        trail.push((place, before));
                        self.take(place.at, index);
                        place = self.start();
                    } else {
                        place.at = self.next[place.at];
                    }
                }
                // What ends here had to be taken before.
                Moment::End(_) if !place.unanswered => place = Place { at: self.next[HEAD], unanswered: true, ..place },
                Moment::End(index) => {
                    if place.at > furthest.0 {
                        furthest = (place.at, index);
                    }
                    let Some((before, state)) = trail.pop() else {
                        return Verdict::Not { stuck_at: furthest.1 };
                    };
                    self.state = state;
                    self.give_back(before.at);
                    // The next is tried in its place.
                    place = Place { at: self.next[before.at], ..before };
                }
            }
        }
        Verdict::Undecided
    }

    fn start(&self) -> Place {
        Place { at: self.next[HEAD], unanswered: false, passed_anonymous: false }
    }

    fn may_be_tried(&self, index: usize, place: &mut Place) -> bool {
        let unanswered = self.end_of[index] == HEAD;
        if unanswered != place.unanswered {
            return false;
        }
        let anonymous = unanswered && self.model.is_anonymous(&self.operations[index].action);
        !(anonymous && std::mem::replace(&mut place.passed_anonymous, true))
    }

    /// Whether the search was never there.
    fn is_new(&mut self, index: usize, state: &M::State) -> bool {
        let mut taken = self.taken.clone();
        taken[index / 64] |= 1 << (index % 64);
        self.known.insert((taken, state.clone()))
    }

    fn take(&mut self, begin: usize, index: usize) {
        self.taken[index / 64] |= 1 << (index % 64);
        self.unlink(begin);
        if self.end_of[index] != HEAD {
            self.unlink(self.end_of[index]);
            self.ends_left -= 1;
        }
    }

    fn give_back(&mut self, begin: usize) {
        let Moment::Begin(index) = self.moments[begin] else { unreachable!("only begins are taken") };
        self.taken[index / 64] &= !(1 << (index % 64));
        if self.end_of[index] != HEAD {
            self.link(self.end_of[index]);
            self.ends_left += 1;
        }
        self.link(begin);
    }

    fn unlink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    /// Undoes the last `unlink` that was not undone.
    fn link(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
    }
}
