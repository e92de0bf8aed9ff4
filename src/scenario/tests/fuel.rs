//! What authenticators' answers about ACLs cost, and how much a transaction has.

use super::{Setup, Stage, check, run};
use crate::limits;
use crate::model::{ErrorCode, Refusal, SessionId};
use crate::pipeline::{Answered, ProvenSchemes, Rules, Schemes};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// An authenticator that is in charge of every scheme, and says of every ACL entry that it means somebody else.
#[derive(Default)]
struct Nobody {
    asked: AtomicUsize,
    /// Fuel of each answer.
    fuel: AtomicU64,
}

impl Schemes for Nobody {
    fn proves(&self, _: &str) -> bool {
        true
    }

    fn matches(&self, _: SessionId, fuel_max: u64, _: &str, _: &str, _: &str) -> Answered<bool> {
        self.asked(fuel_max, false)
    }

    fn known(&self, _: &str, _: &str, _: &str) -> Option<bool> {
        None
    }

    fn check_id(&self, _: SessionId, fuel_max: u64, _: &str, _: &str) -> Option<Answered<()>> {
        Some(self.asked(fuel_max, ()))
    }
}

impl Nobody {
    fn asked<T>(&self, fuel_max: u64, answer: T) -> Answered<T> {
        if fuel_max == 0 {
            return Answered::unasked(Err(Refusal::new(ErrorCode::OperationTimeout, "nothing is left")));
        }
        self.asked.fetch_add(1, Relaxed);
        Answered { said: Ok(answer), fuel: self.fuel.load(Relaxed) }
    }

    /// How often an authenticator was asked since the last time.
    fn count(&self) -> usize {
        self.asked.swap(0, Relaxed)
    }
}

/// A stage where client a has proven `x:me`, and an ACL of `entries` entries of scheme `x` that mean others.
fn among_strangers(entries: usize) -> (Stage, Arc<Nobody>, String) {
    let nobody = Arc::new(Nobody::default());
    let mut stage = Stage::new(Setup::bare());
    let rules = (*stage.world.rules).clone();
    stage.world.set_rules(Rules { schemes: ProvenSchemes::new(nobody.clone()), ..rules });
    run(&mut stage, "hold showing answers\n client a: is x:me");
    let strangers: Vec<String> = (0..entries).map(|at| format!("x:{at}:cdrwa")).collect();
    (stage, nobody, strangers.join(","))
}

#[test]
fn a_multi_reads_a_long_acl_once() {
    let entries = limits::ACL_KEPT_ENTRIES_MIN;
    let (mut stage, nobody, strangers) = among_strangers(entries);
    run(&mut stage, &format!("client a: create /a acl {strangers},world:anyone:w"));
    run(&mut stage, &format!("client a: create /b acl {strangers}"));
    nobody.count();
    check(
        &mut stage,
        &[("client a: multi set /a 1 ; set /a 2 ; set /a 3", "a <- ok version 1 ; version 2 ; version 3")],
    );
    assert_eq!(nobody.count(), entries);
    // An answer is cached for this ACL, this permission and this transaction only.
    check(
        &mut stage,
        &[
            ("client a: multi set /a 4 ; set /b 4", "a <- NOAUTH at 2 of 2"),
            ("client a: set-acl /a world:anyone:cdrwa", "a <- NOAUTH"),
        ],
    );
    assert_eq!(nobody.count(), 3 * entries);
}

#[test]
fn authenticators_answers_cost_the_write_fuel() {
    let (mut stage, nobody, strangers) = among_strangers(2);
    run(&mut stage, &format!("client a: create /a acl {strangers},world:anyone:r"));
    run(&mut stage, &format!("client a: create /b acl {strangers},world:anyone:cdrwa"));
    // Each answer takes half of what a transaction has. So two questions may be asked; then the ACL cannot be judged.
    nobody.fuel.store(limits::PLUGIN_TXN_FUEL / 2, Relaxed);
    nobody.count();
    check(
        &mut stage,
        &[
            ("client a: set /a 1", "a <- NOAUTH"),
            ("client a: multi set /b 1 ; set /a 1", "a <- OPERATIONTIMEOUT at 2 of 2 nothing is left"),
        ],
    );
    assert_eq!(nobody.count(), 4);
    // Nobody is asked about the superuser.
    run(&mut stage, "client b: is x:me\n client b: is super:");
    check(&mut stage, &[("client b: set /a 1", "b <- ok version 1")]);
    assert_eq!(nobody.count(), 0);
    // A client that another entry of the ACL means is let in all the same.
    check(&mut stage, &[("client a: multi set /b 1 ; set /b 2", "a <- ok version 1 ; version 2")]);
    let create = format!("client a: create /c acl {strangers}");
    check(&mut stage, &[(&create, "a <- ok /c")]);
    let create = format!("client a: create /d acl {strangers},x:3:cdrwa");
    check(&mut stage, &[(&create, "a <- OPERATIONTIMEOUT nothing is left")]);
}
