//! `time-window`: a policy. Writes, or other verbs, are allowed only within weekly windows. Settings:
//!
//! | key | meaning |
//! |---|---|
//! | `windows` | the windows: `"mon-fri 09:00-17:30"`, `"sat,sun 10:00-12:00"`, `"daily 22:00-02:00"`; required |
//! | `utc-offset` | the offset of the clock that the windows refer to, such as `"+02:00"`; default `"+00:00"` |
//! | `verbs` | the verbs that are limited; default `["create","set","delete","acl"]` |
//!
//! The end of a window does not belong to the window. A window whose end is not after its begin ends on the next day.
//! The offset is fixed: daylight saving time is not considered. Within a window the answer is `abstain`: other policies
//! say whether the caller may do it.

use wasmkeeper_plugin::{Decision, Policy, Settings, Verb, View, policy};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u64 = 24 * 60;
const WEEK: u64 = 7 * DAY;

struct TimeWindow {
    verbs: Vec<Verb>,
    /// Begin and end in minutes since Monday. The end may lie in the following week.
    windows: Vec<(u64, u64)>,
    /// How many minutes the clock of the windows is ahead of UTC. If it is behind UTC, a week is added, so that the
    /// number is not negative.
    offset: u64,
    /// The text of a refusal.
    text: String,
}

policy!(TimeWindow, r#"{ "name": "time-window", "version": "1.0.0", "pure": true, "grants": [] }"#);

impl Policy for TimeWindow {
    fn configure(_mount: &str, settings: &str) -> Result<TimeWindow, String> {
        let mut settings = Settings::parse(settings)?;
        let texts = settings.texts("windows")?.filter(|texts| !texts.is_empty());
        let texts = texts.ok_or("windows: a list is required, such as [\"mon-fri 09:00-17:30\"]")?;
        let mut windows = Vec::new();
        for text in &texts {
            let wrong = || settings.wrong("windows", &format!("{text:?} is not of the form \"mon-fri 09:00-17:30\""));
            windows.extend(read_window(text).ok_or_else(wrong)?);
        }
        let offset = settings.text("utc-offset")?.unwrap_or_else(|| "+00:00".into());
        let ahead = read_offset(&offset).ok_or("utc-offset: a text such as \"+02:00\" is required")?;
        let verbs = match settings.texts("verbs")? {
            None => vec![Verb::Create, Verb::Set, Verb::Delete, Verb::Acl],
            Some(names) => names.iter().map(|name| Verb::from_name(name)).collect::<Option<_>>().ok_or_else(|| {
                format!("verbs: names of verbs are required: {}", Verb::ALL.map(Verb::name).join(", "))
            })?,
        };
        settings.finish()?;
        let text = format!("is allowed only {} (UTC{offset})", texts.join("; "));
        Ok(TimeWindow { verbs, windows, offset: ahead, text })
    }

    fn authorize(&self, view: &View, verb: Verb, _path: &str) -> Decision {
        // A verb without limit does not read the time, so the server can cache the answer for good.
        if !self.verbs.contains(&verb) {
            return Decision::Abstain;
        }
        let minutes = view.context().wall_ms / 60_000 + self.offset;
        // The first of January 1970 was a Thursday.
        let now = (minutes + 3 * DAY) % WEEK;
        let within =
            |(begin, end): &(u64, u64)| (*begin..*end).contains(&now) || (*begin..*end).contains(&(now + WEEK));
        if self.windows.iter().any(within) {
            return Decision::Abstain;
        }
        Decision::Deny(format!("{} {}", verb.name(), self.text))
    }
}

fn read_window(text: &str) -> Option<Vec<(u64, u64)>> {
    let (days, times) = text.split_once(' ')?;
    let (begin, end) = times.split_once('-')?;
    let (begin, end) = (read_time(begin)?, read_time(end)?);
    let length = if end > begin { end - begin } else { end + DAY - begin };
    let mut windows = Vec::new();
    for range in if days == "daily" { "mon-sun" } else { days }.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let day = |name| DAYS.iter().position(|day| *day == name);
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7 + 1;
        let begins = (first..first + count).map(|day| (day % 7) as u64 * DAY + begin);
        windows.extend(begins.map(|begin| (begin, begin + length)));
    }
    (begin < DAY).then_some(windows)
}

/// Minutes since midnight, of a text from 00:00 to 24:00.
fn read_time(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':').filter(|(hours, minutes)| hours.len() == 2 && minutes.len() == 2)?;
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}

fn read_offset(text: &str) -> Option<u64> {
    let (sign, time) = text.split_at_checked(1)?;
    let minutes = read_time(time)?;
    match sign {
        "+" => Some(minutes),
        "-" => Some(WEEK - minutes),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
