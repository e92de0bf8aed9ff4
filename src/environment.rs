//! Clocks and chance: everything that comes into the program from outside, other than bytes.
//!
//! The whole server asks here, so that the simulation can supply its own. Then a run depends on its seed alone. The
//! monotonic clock is tokio's, which the simulation pauses and moves. Wall time and random bytes come from the thread's
//! `Source`, if the thread has one.

use std::io;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use tokio::time::Instant;

/// Unix time in milliseconds, from this machine's clock. That clock may jump, and it may go back.
pub(crate) fn wall_ms() -> i64 {
    #[cfg(feature = "simulation")]
    if let Some(ms) = simulated::ask(|source| source.wall_ms()) {
        return ms;
    }
    #[expect(clippy::disallowed_methods, reason = "wall time enters the program here")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The server's monotonic clock: time since the server's start.
///
/// A member has one. Its folders hand the clock on as a value, so that times of different folders can be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// What `suspended_us` returned then.
    suspended_us: u64,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Clock {
        Clock { started: Instant::now(), suspended_us: suspended_us() }
    }

    /// Microseconds since the start.
    pub(crate) fn now_us(&self) -> u64 {
        self.us_at(Instant::now())
    }

    /// Milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }

    /// Microseconds since the start, those included in which this machine was suspended. The other clocks stand still
    /// meanwhile. What other members were told to expect goes by this clock.
    pub(crate) fn lease_us(&self) -> u64 {
        self.now_us().saturating_add(self.suspended_us())
    }

    /// How many microseconds of the time since the start this machine was suspended.
    pub(crate) fn suspended_us(&self) -> u64 {
        suspended_us().saturating_sub(self.suspended_us)
    }

    /// What `now_us` returned at `then`; 0 if `then` is before the start.
    pub(crate) fn us_at(&self, then: Instant) -> u64 {
        then.saturating_duration_since(self.started).as_micros() as u64
    }
}

/// How many microseconds this machine has been suspended since it booted. Never falls. May be a little too small for a
/// moment, if this thread pauses between two readings.
fn suspended_us() -> u64 {
    #[cfg(feature = "simulation")]
    if let Some(us) = simulated::ask(|source| source.suspended_us()) {
        return us;
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, Timespec, clock_gettime};
        static MOST_US: AtomicU64 = AtomicU64::new(0);
        let us = |time: Timespec| time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000);
        // In this order a pause in between makes the difference smaller, never larger.
        let with_suspension = us(clock_gettime(ClockId::Boottime));
        let without = us(clock_gettime(ClockId::Monotonic));
        let us = u64::try_from(with_suspension.saturating_sub(without)).unwrap_or(0);
        // Whole tenths of a second, so that the time between the two readings makes no noise.
        let us = us / 100_000 * 100_000;
        MOST_US.fetch_max(us, Ordering::Relaxed).max(us)
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// Random bytes of the kernel, good enough for secrets.
pub(crate) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if simulated::ask(|source| source.fill_random(bytes)).is_some() {
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "randomness enters the program here")]
    let filled = getrandom::fill(bytes);
    Ok(filled?)
}

/// A random number from the same source as `fill_random`.
pub(crate) fn random_u64() -> io::Result<u64> {
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
        /// How long the member's machine has been suspended.
        fn suspended_us(&self) -> u64 {
            0
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_clock_counts_from_its_start_and_no_time_is_before_that() {
        let before = Instant::now();
        tokio::time::advance(Duration::from_micros(5)).await;
        let clock = Clock::start();
        assert_eq!((clock.now_us(), clock.now_ms()), (0, 0));
        tokio::time::advance(Duration::from_micros(2_999)).await;
        assert_eq!((clock.now_us(), clock.now_ms()), (2_999, 2));
        assert_eq!((clock.us_at(before), clock.us_at(Instant::now())), (0, 2_999));
    }
}
