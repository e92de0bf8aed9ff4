//! Authenticators: who somebody is. A plugin proves identities of one scheme, and says which of them an entry of an
//! access list means.
//!
//! Answers to `matches` are kept: they depend on the two ids and the settings alone. Credentials are handed to the guest
//! and to nobody else; neither they nor what the guest says of them is logged.

use super::binding::{Binding, Once};
use super::registry::Plugins;
use crate::limits;
use crate::model::{ErrorCode, Identity, Refusal, SessionId, Zxid};
use crate::pipeline::{Call, Moment, NoView, Schemes};
use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;

/// What somebody has proven.
#[derive(Clone, PartialEq, Debug)]
pub struct Proof {
    pub identities: Vec<Identity>,
    /// Unix milliseconds from which on they are no longer proven.
    pub until_ms: Option<u64>,
}

/// Answers to `matches`, by the id that is held and the one that is wanted. Emptied when full.
#[derive(Default)]
pub struct Matches(Mutex<HashMap<Held, bool>>);

/// The id that is held, and the one that is wanted.
type Held = (Box<str>, Box<str>);

#[derive(Hash)]
struct Pair<'a>(&'a str, &'a str);

impl Equivalent<Held> for Pair<'_> {
    fn equivalent(&self, key: &Held) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1
    }
}

impl Plugins {
    /// Asks the authenticator of that scheme; None if it does not take the credential for good, or there is none.
    pub fn authenticate(&self, scheme: &str, call: &Call<'_>, credential: &[u8]) -> Option<Proof> {
        let binding = self.registry().authenticator(scheme)?.clone();
        let asked = binding.ask(self.enabled(), Once::Only, call, |instance| instance.authenticate(call, credential));
        match asked.and_then(|said| binding.sensible(call, said.said)) {
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
                let fault = binding.senseless(call, what);
                binding.warn(&binding.fault_refusal(&fault, scheme).text);
                None
            }
            Ok(Err(rejection)) => {
                binding.counters.refusals.fetch_add(1, Ordering::Relaxed);
                // The client hears no more than AUTHFAILED; somebody must be able to find out why.
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

    fn matches(&self, session: SessionId, scheme: &str, held: &str, wanted: &str) -> bool {
        if !self.has_authenticators() {
            return false;
        }
        let registry = self.registry();
        let Some(binding) = registry.authenticator(scheme) else { return false };
        held == wanted || matches(binding, self.enabled(), session, held, wanted)
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
        binding.matches_kept.0.lock().get(&Pair(held, wanted)).copied()
    }

    fn check_id(&self, session: SessionId, scheme: &str, id: &str) -> Option<Result<(), Refusal>> {
        if !self.has_authenticators() {
            return None;
        }
        let binding = self.registry().authenticator(scheme)?.clone();
        let call = blind(session);
        let asked = binding.ask(self.enabled(), Once::OrTwice, &call, |instance| instance.check_id(&call, id));
        Some(match asked {
            Ok(said) => said.said.map_err(|text| {
                binding.counters.refusals.fetch_add(1, Ordering::Relaxed);
                Refusal::new(ErrorCode::InvalidAcl, format!("{}: {scheme}:{id}: {text}", binding.name))
            }),
            Err(fault) => {
                let refusal = binding.fault_refusal(&fault, scheme);
                binding.warn(&refusal.text);
                Err(refusal)
            }
        })
    }
}

fn matches(binding: &Binding, enabled: bool, session: SessionId, held: &str, wanted: &str) -> bool {
    if let Some(known) = binding.matches_kept.0.lock().get(&Pair(held, wanted)) {
        return *known;
    }
    let call = blind(session);
    let answer = match binding.ask(enabled, Once::OrTwice, &call, |instance| instance.matches(&call, held, wanted)) {
        Ok(said) => said.said,
        Err(fault) => {
            binding.warn(&binding.fault_refusal(&fault, wanted).text);
            if fault.by_server() {
                return false;
            }
            // Kept: asked again it would fail again, and each request that meets the entry would pay for it.
            false
        }
    };
    let mut kept = binding.matches_kept.0.lock();
    if kept.len() >= limits::MATCHES_KEPT_MAX {
        kept.clear();
    }
    kept.insert((held.into(), wanted.into()), answer);
    answer
}

/// A call that shows nothing; the session is for those who look after faults.
fn blind(session: SessionId) -> Call<'static> {
    let moment = Moment { wall_ms: 0, ensemble_ms: 0, seed: 0 };
    Call { session, ..Call::looking(&NoView, None, 0, Zxid::ZERO, moment) }
}
