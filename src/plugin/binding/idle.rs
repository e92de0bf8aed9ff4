//! Instances of pure plugins between two calls, of all bindings together.
//!
//! There are only so many instances (`limits::PLUGIN_INSTANCES_MAX`), and there may be more bindings: the one that has waited
//! longest gives way, so that one which is needed can be made.

use crate::limits;
use crate::plugin::guest::call::Instance;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub struct Idle {
    /// By the numbers of their bindings; the longest idle first.
    instances: Mutex<VecDeque<(u64, Instance)>>,
    numbers: AtomicU64,
}

impl Idle {
    /// A binding's number here.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The one that was idle last, as its memory is likely still at hand.
    pub fn take(&self, binding: u64) -> Option<Instance> {
        let mut instances = self.instances.lock();
        let at = instances.iter().rposition(|(of, _)| *of == binding)?;
        instances.remove(at).map(|(_, instance)| instance)
    }

    pub fn put(&self, binding: u64, instance: Instance) {
        let given_up = {
            let mut instances = self.instances.lock();
            instances.push_back((binding, instance));
            if instances.len() > limits::PLUGIN_INSTANCES_IDLE_MAX { instances.pop_front() } else { None }
        };
        // Outside the lock: giving back memory takes its time.
        drop(given_up);
    }

    /// The binding needs none of them any more.
    pub fn clear(&self, binding: u64) {
        let gone = {
            let mut instances = self.instances.lock();
            let all = std::mem::take(&mut *instances).into_iter();
            let (gone, kept) = all.partition::<VecDeque<_>, _>(|(of, _)| *of == binding);
            *instances = kept;
            gone
        };
        drop(gone);
    }
}
