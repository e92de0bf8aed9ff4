//! Authenticators: who a client is. A plugin proves identities of one scheme, and says which of them satisfy an ACL id.
//!
//! Answers to `matches` are cached, because they depend only on the two ids and the settings. Credentials go to the
//! guest and to nobody else: the server neither logs nor records them. The server does log the text with which a guest
//! refuses a login, so that text must not contain the credential.

use crate::limits;
use crate::model::{ErrorCode, Identity, Refusal, SessionId, Zxid};
use crate::pipeline::{Answered, Call, Moment, NoView, Schemes};
use crate::plugin::binding::plugins::Plugins;
use crate::plugin::binding::{Binding, Once};
use std::sync::atomic::Ordering;

/// The identities that a login has proven.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Proof {
    pub(crate) identities: Vec<Identity>,
    /// Unix milliseconds at which the identities stop being proven.
    pub(crate) until_ms: Option<u64>,
}

impl Plugins {
    /// Asks the authenticator of the scheme. None if there is no authenticator, or if it does not accept the
    /// credential.
    pub(crate) fn authenticate(&self, scheme: &str, call: &Call<'_>, credential: &[u8]) -> Option<Proof> {
        let binding = self.registry().authenticator(scheme)?.clone();
        let asked = binding.ask(self.enabled(), Once::Only, call, |instance| instance.authenticate(call, credential));
        match asked.and_then(|said| binding.checked(call, said.answer)) {
            Ok(Ok(login)) if are_good(&login.ids) => Some(Proof {
                identities: login.ids.into_iter().map(|id| Identity::new(scheme, id)).collect(),
                until_ms: login.valid_until_ms,
            }),
            Ok(Ok(_)) => {
                let what = format!(
                    "a login has 1 to {} ids of 1 to {} bytes without control characters",
                    limits::IDENTITIES_MAX,
                    limits::IDENTITY_BYTES_MAX
                );
                let fault = binding.bad_answer(call, what);
                binding.warn(&binding.fault_refusal(&fault, scheme).text);
                None
            }
            Ok(Err(rejection)) => {
                binding.counters.refusals.fetch_add(1, Ordering::Relaxed);
                // The client learns only AUTHFAILED. The log tells the operator why.
                binding.warn(&binding.refusal_about(rejection, scheme).text);
                None
            }
            Err(fault) => {
                binding.warn(&binding.fault_refusal(&fault, scheme).text);
                None
            }
        }
    }
}

fn are_good(ids: &[String]) -> bool {
    let is_good = |id: &String| {
        !id.is_empty() && id.len() <= limits::IDENTITY_BYTES_MAX && !id.contains(|c: char| c.is_control())
    };
    (1..=limits::IDENTITIES_MAX).contains(&ids.len()) && ids.iter().all(is_good)
}

impl Schemes for Plugins {
    fn proves(&self, scheme: &str) -> bool {
        self.has_authenticators() && self.registry().authenticator(scheme).is_some()
    }

    fn matches(&self, session: SessionId, fuel_max: u64, scheme: &str, held: &str, wanted: &str) -> Answered<bool> {
        if !self.has_authenticators() {
            return Answered::unasked(Ok(false));
        }
        let registry = self.registry();
        match registry.authenticator(scheme) {
            Some(binding) if held != wanted => matches(binding, self.enabled(), session, fuel_max, held, wanted),
            binding => Answered::unasked(Ok(binding.is_some())),
        }
    }

    fn known(&self, scheme: &str, held: &str, wanted: &str) -> Option<bool> {
        if !self.has_authenticators() {
            return Some(false);
        }
        let registry = self.registry();
        let Some(binding) = registry.authenticator(scheme) else { return Some(false) };
        if held == wanted {
            return Some(true);
        }
        binding.matches_kept.find(held, wanted)
    }

    fn check_id(&self, session: SessionId, fuel_max: u64, scheme: &str, id: &str) -> Option<Answered<()>> {
        if !self.has_authenticators() {
            return None;
        }
        let binding = self.registry().authenticator(scheme)?.clone();
        let call = call_without_view(session, fuel_max);
        let asked = binding.ask_at_cost(self.enabled(), Once::OrTwice, &call, |instance| instance.check_id(&call, id));
        let said = match asked.said {
            Ok(said) => said.answer.map_err(|text| {
                binding.counters.refusals.fetch_add(1, Ordering::Relaxed);
                Refusal::new(ErrorCode::InvalidAcl, format!("{}: {scheme}:{id}: {text}", binding.name))
            }),
            Err(fault) => {
                let refusal = binding.fault_refusal(&fault, scheme);
                binding.warn(&refusal.text);
                Err(refusal)
            }
        };
        Some(Answered { said, fuel: asked.cost })
    }
}

fn matches(
    binding: &Binding,
    enabled: bool,
    session: SessionId,
    fuel_max: u64,
    held: &str,
    wanted: &str,
) -> Answered<bool> {
    if let Some(known) = binding.matches_kept.find(held, wanted) {
        return Answered::unasked(Ok(known));
    }
    let call = call_without_view(session, fuel_max);
    let asked = binding.ask_at_cost(enabled, Once::OrTwice, &call, |instance| instance.matches(&call, held, wanted));
    let answer = match asked.said {
        Ok(said) => said.answer,
        Err(fault) => {
            let refusal = binding.fault_refusal(&fault, wanted);
            binding.warn(&refusal.text);
            if fault.by_server() {
                return Answered { said: Err(refusal), fuel: asked.cost };
            }
            // Cached, because the guest would fail again, and every request that meets the ACL entry would pay for
            // that.
            false
        }
    };
    binding.matches_kept.keep(held, wanted, answer);
    Answered { said: Ok(answer), fuel: asked.cost }
}

/// A call that shows nothing of the tree. The session is for counting faults.
fn call_without_view(session: SessionId, fuel_max: u64) -> Call<'static> {
    let moment = Moment { wall_ms: 0, ensemble_ms: 0, seed: 0 };
    Call { session, fuel_max, ..Call::looking(&NoView, None, 0, Zxid::ZERO, moment) }
}
