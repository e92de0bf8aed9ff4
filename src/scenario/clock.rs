//! The clocks of a scenario. They move only when the scenario says so.

use crate::pipeline::Moment;

/// 2026-01-01T00:00:00Z
pub(crate) const BEGIN_WALL_MS: i64 = 1_767_225_600_000;

pub(crate) struct Clock {
    /// Unix time, in milliseconds.
    pub(crate) wall_ms: i64,
    /// The ensemble's own time, in milliseconds. It never runs backwards.
    pub(crate) ensemble_ms: u64,
    /// The last `Moment::seed`.
    seed: u64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { wall_ms: BEGIN_WALL_MS, ensemble_ms: 0, seed: 0 }
    }

    /// Both clocks go on by that many milliseconds.
    pub(crate) fn tick(&mut self, ms: u32) {
        self.wall_ms += i64::from(ms);
        self.ensemble_ms += u64::from(ms);
    }

    /// The present moment, with another seed at each call.
    pub(crate) fn moment(&mut self) -> Moment {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Moment { wall_ms: self.wall_ms, ensemble_ms: self.ensemble_ms, seed: self.seed }
    }
}

/// `2026-01-31T09:30:00Z` in Unix milliseconds.
pub(crate) fn unix_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |text: &str, separator| -> Option<Vec<i64>> { text.split(separator).map(|part| part.parse().ok()).collect() };
    let (&[year, month, day], &[hour, minute, second]) = (&numbers(date, '-')?[..], &numbers(time, ':')?[..]) else {
        return None;
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The year is taken to begin in March, so that the leap day is its last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(unix_ms("2026-01-01T00:00:00Z"), Some(BEGIN_WALL_MS));
        assert_eq!(unix_ms("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(unix_ms("2024-02-29T12:00:00Z"), Some(1_709_208_000_000));
        assert_eq!(unix_ms("2026-13-01T00:00:00Z"), None);
    }
}
