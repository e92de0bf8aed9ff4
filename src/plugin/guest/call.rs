//! One instance of a guest, and one bounded call of it. Whatever the guest does becomes a value.
//!
//! After a fault, the instance must not be used again: its memory may be in any state.

use super::failed::{Failed, fault_of, root_cause};
use super::host::{self, Fuse, HostState};
use super::lend;
use super::looks::Looks;
use super::program::{Budget, Program, Setup};
use super::stand_ins;
use crate::environment::Instant;
use crate::limits;
use crate::pipeline::{Call, Verb};
use crate::plugin::contract::exports::{authentication, authorization, behavior, reconciliation, validation};
use crate::plugin::contract::{self, Change, Rejection, TransactionHandle, ViewHandle};
use crate::plugin::fault::{Evidence, Fault};
use crate::plugin::manifest::Kind;
use crate::plugin::report::counters::Counters;
use crate::plugin::report::tape::{self, Question, Recorder};
use authentication::Login;
use authorization::Decision;
use behavior::{Answer as Handled, Cause, Request};
use wasmtime::Store;
use wasmtime::component::Resource;

/// An instance of one kind that has accepted its settings.
pub(crate) struct Instance {
    store: Store<HostState>,
    guest: Guest,
    budget: Budget,
    /// The fuel that `configure` used.
    pub(crate) configured_for: u64,
    /// The number of calls that the instance has been asked to answer, failed calls included.
    pub(crate) calls: u32,
    /// Invariant: a failed instance answers no other call, since its memory may be in any state.
    failed: bool,
}

/// The exported functions of the instance's kind.
enum Guest {
    Validator(validation::Guest),
    Policy(authorization::Guest),
    Authenticator(authentication::Guest),
    Recipe(behavior::Guest),
    Controller(reconciliation::Guest),
}

impl Guest {
    /// Instantiates the component in `store` and calls `configure`.
    fn configured(program: &Program, setup: &Setup, store: &mut Store<HostState>) -> Result<Guest, Failed> {
        let instance = program.prepared.instantiate(&mut *store).map_err(|error| match Failed::of(&error, store) {
            // Only the start function of the component has run, and Rust guests have none. So the component itself is
            // at fault.
            Failed { fault: Fault::Trap(what), evidence, fuel } => Failed { fault: Fault::Code(what), evidence, fuel },
            failed => failed,
        })?;
        let not_that_kind = || Fault::Code(format!("the component is no {}", setup.kind.name()));
        let exports = &program.exports;
        macro_rules! load {
            ($exported:ident) => {
                exports
                    .$exported
                    .as_ref()
                    .ok_or_else(not_that_kind)?
                    .load(&mut *store, &instance)
                    .map_err(|error| Fault::Code(root_cause(&error)))?
            };
        }
        let guest = match setup.kind {
            Kind::Validator => Guest::Validator(load!(validation)),
            Kind::Policy => Guest::Policy(load!(authorization)),
            Kind::Authenticator => Guest::Authenticator(load!(authentication)),
            Kind::Recipe => Guest::Recipe(load!(behavior)),
            Kind::Controller => Guest::Controller(load!(reconciliation)),
        };
        let configure = exports.setup.load(&mut *store, &instance).map_err(|error| Fault::Code(root_cause(&error)))?;
        let configured = configure.call_configure(&mut *store, &setup.mount, &setup.settings);
        stand_ins::finish_lines(store.data_mut());
        match configured {
            Ok(Ok(())) => Ok(guest),
            Ok(Err(text)) => Err(Fault::Settings(contract::cut(&text, limits::REFUSAL_TEXT_BYTES_MAX).into()).into()),
            Err(error) => Err(Failed::of(&error, store)),
        }
    }
}

/// What one call answered, and what it used.
pub(crate) struct Answer<T> {
    pub(crate) said: Result<T, Fault>,
    pub(crate) fuel: u64,
    /// The guest asked for time, session or other circumstances. The same question may have another answer later.
    pub(crate) circumstances: bool,
    /// What a policy read. Empty for other kinds.
    pub(crate) looks: Looks,
    /// Set if `said` is a fault.
    pub(crate) evidence: Evidence,
}

impl Instance {
    /// As `start`, and returns the fault alone.
    pub(crate) fn new(program: &Program, setup: &Setup) -> Result<Instance, Fault> {
        Instance::start(program, setup).map_err(|failed| failed.fault)
    }

    /// Instantiates and configures. `Fault::Settings` contains the guest's own words.
    pub(crate) fn start(program: &Program, setup: &Setup) -> Result<Instance, Failed> {
        let mut store =
            host::store(&program.engine, setup.name.clone(), setup.grants.clone(), setup.budget.memory_bytes);
        store.data_mut().counters = Some(setup.counters.clone());
        begin(&mut store, limits::PLUGIN_CONFIGURE_FUEL, limits::ms(limits::PLUGIN_CPU_MAX), 0)?;
        let guest = Guest::configured(program, setup, &mut store);
        let left = store.get_fuel().unwrap_or(0);
        assert!(left <= limits::PLUGIN_CONFIGURE_FUEL, "a guest has more fuel after `configure` than it was given");
        let configured_for = limits::PLUGIN_CONFIGURE_FUEL - left;
        match guest {
            Ok(guest) => Ok(Instance { store, guest, budget: setup.budget, configured_for, calls: 0, failed: false }),
            Err(failed) => Err(Failed { fuel: configured_for, ..failed }),
        }
    }

    pub(crate) fn validate(&mut self, call: &Call<'_>, changes: &[Change]) -> Answer<Result<(), Rejection>> {
        self.ask_recorded(
            call,
            || Question::Validate(tape::changes(changes)),
            changes.len(),
            |store, guest| match guest {
                Guest::Validator(guest) => guest.call_validate(store, view(), changes),
                _ => Err(another_kind()),
            },
        )
    }

    pub(crate) fn authorize(&mut self, call: &Call<'_>, verb: Verb, path: &str) -> Answer<Decision> {
        self.ask_recorded(
            call,
            || Question::Authorize(verb, path.into()),
            1,
            |store, guest| match guest {
                Guest::Policy(guest) => guest.call_authorize(store, view(), verb.into(), path),
                _ => Err(another_kind()),
            },
        )
    }

    pub(crate) fn authenticate(&mut self, call: &Call<'_>, credential: &[u8]) -> Answer<Result<Login, Rejection>> {
        self.ask_recorded(
            call,
            || Question::Authenticate,
            1,
            |store, guest| match guest {
                Guest::Authenticator(guest) => guest.call_authenticate(store, view(), credential),
                _ => Err(another_kind()),
            },
        )
    }

    /// Asks whether the id has a valid form. `call`: the guest does not see its circumstances.
    pub(crate) fn check_id(&mut self, call: &Call<'_>, id: &str) -> Answer<Result<(), String>> {
        self.ask_recorded(
            call,
            || Question::CheckId(id.into()),
            1,
            |store, guest| match guest {
                Guest::Authenticator(guest) => guest.call_check_id(store, id),
                _ => Err(another_kind()),
            },
        )
    }

    /// Asks whether the id `held` satisfies the ACL id `wanted`. `call`: the guest does not see its circumstances.
    pub(crate) fn matches(&mut self, call: &Call<'_>, held: &str, wanted: &str) -> Answer<bool> {
        self.ask_recorded(
            call,
            || Question::Matches(held.into(), wanted.into()),
            1,
            |store, guest| match guest {
                Guest::Authenticator(guest) => guest.call_matches(store, held, wanted),
                _ => Err(another_kind()),
            },
        )
    }

    pub(crate) fn handle(&mut self, call: &Call<'_>, request: &Request) -> Answer<Result<Handled, Rejection>> {
        self.ask_recorded(
            call,
            || Question::Handle(request.into()),
            1,
            |store, guest| match guest {
                Guest::Recipe(guest) => guest.call_handle(store, view(), transaction(), request),
                _ => Err(another_kind()),
            },
        )
    }

    pub(crate) fn on_change(
        &mut self,
        call: &Call<'_>,
        cause: Cause,
        changes: &[Change],
    ) -> Answer<Result<(), Rejection>> {
        let question = || Question::OnChange(tape::cause_name(cause).into(), tape::changes(changes));
        self.ask_recorded(call, question, changes.len(), |store, guest| match guest {
            Guest::Recipe(guest) => guest.call_on_change(store, view(), transaction(), cause, changes),
            _ => Err(another_kind()),
        })
    }

    pub(crate) fn on_timer(&mut self, call: &Call<'_>, name: &str) -> Answer<Result<(), Rejection>> {
        self.ask_recorded(
            call,
            || Question::OnTimer(name.into()),
            1,
            |store, guest| match guest {
                Guest::Recipe(guest) => guest.call_on_timer(store, view(), transaction(), name),
                _ => Err(another_kind()),
            },
        )
    }

    pub(crate) fn on_call(
        &mut self,
        call: &Call<'_>,
        method: &str,
        payload: &[u8],
    ) -> Answer<Result<Vec<u8>, Rejection>> {
        self.ask_recorded(
            call,
            || Question::OnCall(method.into(), payload.into()),
            1,
            |store, guest| match guest {
                Guest::Recipe(guest) => guest.call_on_call(store, view(), transaction(), method, payload),
                _ => Err(another_kind()),
            },
        )
    }

    pub(crate) fn recover(
        &mut self,
        call: &Call<'_>,
        after: Option<&str>,
    ) -> Answer<Result<Option<String>, Rejection>> {
        self.ask_recorded(
            call,
            || Question::Recover(after.map(String::from)),
            1,
            |store, guest| match guest {
                Guest::Recipe(guest) => guest.call_recover(store, view(), transaction(), after),
                _ => Err(another_kind()),
            },
        )
    }

    pub(crate) fn reconcile(&mut self, call: &Call<'_>, path: &str) -> Answer<Result<(), Rejection>> {
        self.ask_recorded(
            call,
            || Question::Reconcile(path.into()),
            1,
            |store, guest| match guest {
                Guest::Controller(guest) => guest.call_reconcile(store, view(), transaction(), path),
                _ => Err(another_kind()),
            },
        )
    }

    /// Makes a recorded call again. Returns the answer in the form that recordings use, and the fuel. None if the call
    /// cannot be made from its recording.
    pub(crate) fn play(&mut self, call: &Call<'_>, question: &Question) -> Option<(String, u64)> {
        fn of<T: std::fmt::Debug>(answer: Answer<T>) -> Option<(String, u64)> {
            Some((said(&answer.said), answer.fuel))
        }
        match question {
            Question::Validate(kept) => of(self.validate(call, &tape::changes_of(kept))),
            Question::Authorize(verb, path) => of(self.authorize(call, *verb, path)),
            Question::Authenticate => None,
            Question::CheckId(id) => of(self.check_id(call, id)),
            Question::Matches(held, wanted) => of(self.matches(call, held, wanted)),
            Question::Handle(write) => of(self.handle(call, &write.request()?)),
            Question::OnChange(cause, kept) => {
                of(self.on_change(call, tape::cause_named(cause)?, &tape::changes_of(kept)))
            }
            Question::OnTimer(name) => of(self.on_timer(call, name)),
            Question::OnCall(method, payload) => of(self.on_call(call, method, &payload.bytes()?)),
            Question::Recover(after) => of(self.recover(call, after.as_deref())),
            Question::Reconcile(path) => of(self.reconcile(call, path)),
        }
    }

    fn counters(&self) -> Option<&Counters> {
        self.store.data().counters.as_deref()
    }

    /// As `ask`. Records the call if a recording is on, and notes a slow call.
    fn ask_recorded<T: std::fmt::Debug>(
        &mut self,
        call: &Call<'_>,
        question: impl Fn() -> Question,
        changes: usize,
        run: impl FnOnce(&mut Store<HostState>, &Guest) -> wasmtime::Result<T>,
    ) -> Answer<T> {
        let begun = Instant::now();
        let recorder = self.counters().filter(|counters| counters.tape.is_on()).map(|_| Recorder::new(call));
        let answer = match &recorder {
            Some(recorder) => self.ask(&recorder.wrap(call), changes, run),
            None => self.ask(call, changes, run),
        };
        let took = begun.elapsed();
        let Some(counters) = self.counters() else { return answer };
        if let Some(recorder) = recorder {
            counters.tape.keep(recorder.recorded(question(), call, said(&answer.said), answer.fuel));
        }
        if took >= self.budget.slow {
            counters.slow(took, answer.fuel, &question());
        }
        answer
    }

    /// Asks the guest, with the budget of a call that is told of `changes` changes. After a fault, the instance must
    /// not be used again.
    fn ask<T>(
        &mut self,
        call: &Call<'_>,
        changes: usize,
        run: impl FnOnce(&mut Store<HostState>, &Guest) -> wasmtime::Result<T>,
    ) -> Answer<T> {
        assert!(!self.failed, "an instance is asked again after a fault");
        let changes = changes as u64;
        let own = host::grown(self.budget.fuel, changes);
        let fuel = own.min(call.fuel_max);
        if let Err(fault) = begin(&mut self.store, fuel, self.budget.cpu_ms, changes) {
            self.failed = true;
            return Answer {
                said: Err(fault),
                fuel: 0,
                circumstances: false,
                looks: Looks::default(),
                evidence: Evidence::default(),
            };
        }
        self.store.data_mut().looks = matches!(self.guest, Guest::Policy(_)).then(Looks::default);
        self.calls += 1;
        let guest = &self.guest;
        let said = lend::lend(&mut self.store, |store| &mut store.data_mut().lent, call, |store| run(store, guest));
        stand_ins::finish_lines(self.store.data_mut());
        self.failed = said.is_err();
        let left = self.store.get_fuel().unwrap_or(0);
        assert!(left <= fuel, "a guest has more fuel after its call than it was given");
        let (said, evidence) = match said {
            Ok(said) => (Ok(said), Evidence::default()),
            Err(error) => match Failed::of(&error, &mut self.store) {
                Failed { fault: Fault::Fuel, evidence, .. } if fuel < own => (Err(Fault::Shared), evidence),
                Failed { fault, evidence, .. } => (Err(fault), evidence),
            },
        };
        Answer {
            said,
            fuel: fuel - left,
            circumstances: self.store.data().spent.circumstances,
            looks: self.store.data_mut().looks.take().unwrap_or_default(),
            evidence,
        }
    }

    /// Whether the instance may answer another call: no call has failed, none is running, and there were not too many.
    pub(crate) fn can_answer_again(&self) -> bool {
        !self.failed && self.calls < limits::PLUGIN_INSTANCE_CALLS_MAX && self.store.data().lent.get().is_none()
    }

    /// The bytes of memory that the instance has grown to, and the number of operations on the transaction in the last
    /// call.
    pub(crate) fn took(&self) -> (u64, u64) {
        let state = self.store.data();
        (state.memory.bytes as u64, state.spent.writes)
    }

    /// The number of log lines dropped since the last call of this function.
    pub(crate) fn take_dropped_lines(&mut self) -> u64 {
        std::mem::take(&mut self.store.data_mut().lines.dropped)
    }
}

/// The answer of a guest in the form that recordings use.
fn said<T: std::fmt::Debug>(said: &Result<T, Fault>) -> String {
    match said {
        Ok(said) => format!("{said:?}"),
        Err(fault) => format!("fault {}", fault.name()),
    }
}

fn view() -> Resource<ViewHandle> {
    Resource::new_borrow(0)
}

fn transaction() -> Resource<TransactionHandle> {
    Resource::new_borrow(1)
}

/// A binding asks only instances of its own kind. A recording that somebody has edited may ask another one.
fn another_kind() -> wasmtime::Error {
    wasmtime::format_err!("the instance is of another kind")
}

/// Sets fuel, fuse and counts for one call.
fn begin(store: &mut Store<HostState>, fuel: u64, cpu_ms: u64, changes: u64) -> Result<(), Fault> {
    store.set_fuel(fuel).map_err(|error| fault_of(&error))?;
    store.set_epoch_deadline(1);
    let state = store.data_mut();
    state.fuse = Fuse::new(cpu_ms);
    state.spent = host::Spent { changes, ..Default::default() };
    state.lines.begin();
    Ok(())
}
