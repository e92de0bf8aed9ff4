//! Instances of pure plugins between two calls, of all bindings together.
//!
//! A process has a bounded number of instances (`limits::PLUGIN_INSTANCES_MAX`), and there may be more bindings than
//! that. So the instance that has been idle longest is dropped when there are too many.

use crate::limits;
use crate::plugin::guest::call::Instance;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(crate) struct Idle {
    /// Each instance with the number of its binding. The instance that has been idle longest comes first.
    /// Invariant: at most `limits::PLUGIN_INSTANCES_IDLE_MAX`, and each of them can answer another call.
    instances: Mutex<VecDeque<(u64, Instance)>>,
    numbers: AtomicU64,
}

impl Idle {
    /// A new number for a binding.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes the binding's instance that was used last, since its memory is likely still in the caches.
    pub(crate) fn take(&self, binding: u64) -> Option<Instance> {
        let mut instances = self.instances.lock();
        let at = instances.iter().rposition(|(of, _)| *of == binding)?;
        instances.remove(at).map(|(_, instance)| instance)
    }

    /// Keeps an instance for the next call. Drops the instance that has been idle longest if there are too many.
    pub(crate) fn put(&self, binding: u64, instance: Instance) {
        assert!(instance.can_answer_again(), "an instance is kept that must not answer another call");
        let given_up = {
            let mut instances = self.instances.lock();
            instances.push_back((binding, instance));
            let given_up =
                if instances.len() > limits::PLUGIN_INSTANCES_IDLE_MAX { instances.pop_front() } else { None };
            assert!(instances.len() <= limits::PLUGIN_INSTANCES_IDLE_MAX, "too many instances are idle");
            given_up
        };
        // Dropped outside the lock, because freeing memory takes time.
        drop(given_up);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.instances.lock().len()
    }

    /// Drops all instances of the binding.
    pub(crate) fn clear(&self, binding: u64) {
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
