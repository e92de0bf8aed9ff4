//! Clocks and chance: everything that comes into the program from outside, other than bytes.
//!
//! The whole server asks here, so that the simulation can supply its own. Then a run depends on its seed alone. The
//! monotonic clock is tokio's, which the simulation pauses and moves. Wall time and random bytes come from the thread's
//! `Source`, if the thread has one.

use std::io;
pub use tokio::time::Instant;

/// Unix time in milliseconds, from this machine's clock. That clock may jump, and it may go back.
pub fn wall_ms() -> i64 {
    #[cfg(feature = "simulation")]
    if let Some(ms) = simulated::ask(|source| source.wall_ms()) {
        return ms;
    }
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Random bytes of the kernel, good enough for secrets.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if simulated::ask(|source| source.fill_random(bytes)).is_some() {
        return Ok(());
    }
    Ok(getrandom::fill(bytes)?)
}

/// A random number from the same source as `fill_random`.
pub fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The simulation's side.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Wall clock and randomness of one simulated member.
    pub trait Source {
        fn wall_ms(&self) -> i64;
        fn fill_random(&self, bytes: &mut [u8]);
    }

    thread_local! {
        static SOURCE: RefCell<Option<Rc<dyn Source>>> = const { RefCell::new(None) };
    }

    /// From now on this thread asks `source`; None: the real world again.
    pub fn replace(source: Option<Rc<dyn Source>>) {
        SOURCE.with_borrow_mut(|current| *current = source);
    }

    pub(super) fn ask<T>(question: impl FnOnce(&dyn Source) -> T) -> Option<T> {
        SOURCE.with_borrow(|source| source.as_deref().map(question))
    }
}
