//! Checks whether a history is linearizable. It is if there is an order in which each operation happens at one moment
//! between its begin and its end, and every answer is the one that a sequential model gives in this order.
//!
//! The search is Wing and Gong's, with Lowe's memory of configurations: it takes one of the operations that may come
//! first, then the next, and goes back if none fits. It uses only the model, and what was answered when. The simulation
//! checks registers (`sim/`), and `plugin test` checks recipes (`scenario/models`). Objects that share no state are
//! checked separately.
//!
//! An operation without an answer may have happened at any time after its begin, or never.

use std::collections::HashSet;
use std::hash::Hash;

/// A sequential model of an object: how it answers if operations happen one after the other.
pub trait Model {
    type State: Clone + Eq + Hash;
    /// A request with its answer.
    type Action;

    /// The state after the action. None if the action cannot happen in this state, or cannot get this answer.
    fn after(&self, state: &Self::State, action: &Self::Action) -> Option<Self::State>;

    /// For an action without an answer: whether all such actions are alike, so that the search tries one of them only.
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
    /// No order exists. `stuck_at` is the index of the operation that the search could not get past in its furthest
    /// try.
    Not {
        stuck_at: usize,
    },
    /// The search gave up after `STEPS_MAX` steps.
    Undecided,
}

/// The number of steps after which the search gives up: some seconds. The history of a run takes a hundredth of it.
const STEPS_MAX: u64 = 20_000_000;

/// Checks `operations`, which may be in any order. `initial`: the state before all of them.
pub fn check<M: Model>(model: &M, initial: M::State, operations: &[Operation<M::Action>]) -> Verdict {
    Search::new(model, initial, operations).run()
}

#[derive(Clone, Copy)]
enum Moment {
    Begin(usize),
    End(usize),
}

/// The index of the head of the list of moments.
const HEAD: usize = 0;

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Operation<M::Action>],
    /// In order of time; entry 0 is the list's head.
    moments: Vec<Moment>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The index in `moments` of each operation's end. `HEAD` if the operation has none.
    end_of: Vec<usize>,
    ends_left: usize,
    state: M::State,
    taken: Vec<u64>,
    known: HashSet<(Vec<u64>, M::State)>,
}

/// How far the search has come among the operations that may come next.
#[derive(Clone, Copy)]
struct Place {
    /// The index of the moment at hand.
    at: usize,
    /// Whether operations without an answer are tried now. They come last, since most of them have not happened.
    unanswered: bool,
    /// Whether an anonymous action was tried from here. Trying another would be the same.
    passed_anonymous: bool,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, initial: M::State, operations: &'a [Operation<M::Action>]) -> Search<'a, M> {
        // Begins come before ends at the same moment, so that the operations count as concurrent.
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
        // The place and the state before each operation that was taken.
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
                // The operation that ends here must be taken before this moment.
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
                    // The next operation is tried instead.
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

    /// Whether the search has not had these operations taken with this state before.
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

    /// Undoes the latest `unlink` that has not been undone.
    fn link(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
    }
}
