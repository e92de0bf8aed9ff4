//! One question to a guest: finds an instance, makes the call, and counts what the call costs.

use super::Binding;
use crate::environment::Instant;
use crate::limits;
use crate::pipeline::Call;
use crate::plugin::fault::{Evidence, Fault};
use crate::plugin::guest::call::{Answer, Instance};
use crate::plugin::guest::failed::Failed;
use crate::plugin::guest::looks::Looks;
use crate::plugin::guest::program::{Program, Setup};
use std::sync::atomic::Ordering;

/// Whether a question may be asked a second time, to check that the answer is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Once {
    Only,
    OrTwice,
}

/// The result of one question.
pub(crate) struct CallResult<T> {
    pub(crate) said: Result<Said<T>, Fault>,
    /// What the question costs the transaction: the fuel of the guest, and a fixed price for the server's own work.
    pub(crate) cost: u64,
}

/// A guest's answer, and what it rests on.
pub(crate) struct Said<T> {
    pub(crate) answer: T,
    /// The guest asked for circumstances that no node shows. The same question may have another answer later.
    pub(crate) circumstances: bool,
    /// What a policy read. Empty for other kinds.
    pub(crate) looks: Looks,
}

impl Binding {
    /// Asks an idle instance, or a new one, and counts the call. `call` says for whom, and how much fuel is left.
    ///
    /// With `Once::OrTwice`, `ask` may run a second time on a fresh instance, to compare the two answers. A call that
    /// changes something needs `Once::Only`.
    pub(crate) fn ask<T: PartialEq>(
        &self,
        enabled: bool,
        once: Once,
        call: &Call<'_>,
        ask: impl Fn(&mut Instance) -> Answer<T>,
    ) -> Result<Said<T>, Fault> {
        self.ask_at_cost(enabled, once, call, ask).said
    }

    /// As `ask`, and returns what the question cost, even if the call failed.
    pub(crate) fn ask_at_cost<T: PartialEq>(
        &self,
        enabled: bool,
        once: Once,
        call: &Call<'_>,
        ask: impl Fn(&mut Instance) -> Answer<T>,
    ) -> CallResult<T> {
        let begun = Instant::now();
        let mut cost = 0;
        let answered = self.answer(enabled, once, call, &mut cost, ask);
        let Answer { said, fuel, circumstances, looks, evidence } =
            answered.unwrap_or_else(|Failed { fault, evidence, .. }| Answer {
                said: Err(fault),
                fuel: 0,
                circumstances: false,
                looks: Looks::default(),
                evidence,
            });
        assert!(fuel <= call.fuel_max, "a call has used more fuel than the transaction had left");
        cost = cost.saturating_add(fuel);
        self.counters.called(fuel, u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if let Err(fault) = &said {
            self.note(fault, call, evidence);
        }
        CallResult { said: said.map(|said| Said { answer: said, circumstances, looks }), cost }
    }

    /// Counts a fault, keeps it for the plugin's author, and blames the plugin if it has failed too often.
    pub(super) fn note(&self, fault: &Fault, call: &Call<'_>, evidence: Evidence) {
        let session = call.session;
        self.counters.failed(fault);
        if !fault.by_guest() {
            return;
        }
        self.counters.last_faults.keep(self.manifest.version, fault, session, evidence);
        // A plugin with too little fuel for large input is not broken. Without this exception, a few clients with large
        // nodes could end the plugin for everybody.
        let by_input = matches!(fault, Fault::Fuel | Fault::Cpu | Fault::Memory)
            && call.told_bytes > limits::PLUGIN_INPUT_BLAMED_BYTES_MAX;
        if by_input {
            return;
        }
        let calls = self.counters.calls.load(Ordering::Relaxed);
        if let Some(reason) = self.record.note(Instant::now(), session, calls) {
            let reason = format!("{reason}, the last: {} ({})", fault.text(), fault.name());
            tracing::error!("plugin {}: {reason}: asking the leader to put it under quarantine", self.key);
            self.supervision.blames.send(self.blame(None, reason));
        }
    }

    fn answer<T: PartialEq>(
        &self,
        enabled: bool,
        once: Once,
        call: &Call<'_>,
        cost: &mut u64,
        ask: impl Fn(&mut Instance) -> Answer<T>,
    ) -> Result<Answer<T>, Failed> {
        if let Some(quarantine) = &self.stands.quarantine {
            return Err(Fault::Quarantine(quarantine.reason.clone()).into());
        }
        if !enabled {
            return Err(Fault::Code("this server runs with --plugins off".into()).into());
        }
        let program = match self.program.get() {
            Some(Ok(program)) => program,
            Some(Err(why)) => return Err(Fault::Code(why.clone()).into()),
            None => return Err(Fault::NotReady.into()),
        };
        if self.supervision.marks.suspects(self.fingerprint) {
            return Err(Fault::NotReady.into());
        }
        if call.fuel_max == 0 {
            return Err(Fault::Shared.into());
        }
        *cost = limits::PLUGIN_CALL_FUEL;
        let _marked = self.supervision.marks.mark(self.fingerprint);
        let setup = self.setup_of(program);
        let reused = self.reused(program);
        let idle = if reused { self.idle.take(self.number) } else { None };
        let mut instance = match idle {
            Some(instance) => instance,
            None => {
                *cost += limits::PLUGIN_INSTANCE_FUEL;
                let started = Instance::start(program, setup);
                let configured_for = match &started {
                    Ok(instance) => instance.configured_for,
                    Err(failed) => failed.fuel,
                };
                *cost += configured_for;
                started?
            }
        };
        let answer = ask(&mut instance);
        let (memory_bytes, operations) = instance.took();
        self.counters.took(memory_bytes, operations);
        let dropped = instance.take_dropped_lines();
        if dropped > 0 {
            self.counters.log_lines_dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        if reused {
            if once == Once::OrTwice
                && instance.calls > 1
                && self.counters.calls.load(Ordering::Relaxed).is_multiple_of(limits::PLUGIN_SAMPLE_EVERY)
            {
                self.compare(program, setup, call, &answer, ask);
            }
            if self.reused(program) && instance.can_answer_again() {
                self.idle.put(self.number, instance);
            }
        }
        Ok(answer)
    }

    /// Asks a fresh instance the same question. If the answers differ, the plugin is not pure, and its instances are no
    /// longer reused.
    fn compare<T: PartialEq>(
        &self,
        program: &Program,
        setup: &Setup,
        call: &Call<'_>,
        answered: &Answer<T>,
        ask: impl Fn(&mut Instance) -> Answer<T>,
    ) {
        let (Ok(mut fresh), Ok(said)) = (Instance::new(program, setup), &answered.said) else { return };
        let Ok(other) = ask(&mut fresh).said else { return };
        // A read is judged while the tree goes on changing. If the guest would now read something else, the two
        // questions were not the same.
        if other != *said && answered.looks.hold(call.view) {
            self.impure.store(true, Ordering::Relaxed);
            self.idle.clear(self.number);
            self.verdicts.clear();
            tracing::warn!("plugin {} says that it is pure, and is not: its instances are no longer reused", self.name);
        }
    }
}
