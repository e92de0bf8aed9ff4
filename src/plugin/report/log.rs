//! The last log lines of a plugin on this server: `/zookeeper/plugins/<name>/log`.
//!
//! The lines are the guest's own, and the server's about the plugin: refusals on trial, faults, slow calls. Lines are
//! numbered: `.../log/N` returns the lines after number N, so that a reader who asks again gets each line once. `run`
//! tells two starts of the server apart.

use crate::environment::wall_ms;
use crate::limits;
use crate::plugin::contract;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub(crate) const ALL: [Level; 5] = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Counts the lines of the plugin since the server started, from 1.
    pub(crate) number: u64,
    /// Unix milliseconds.
    pub(crate) ms: i64,
    pub(crate) level: Level,
    pub(crate) text: String,
}

pub(crate) struct Log {
    /// When the plugin was first bound on this server, in Unix milliseconds. It changes with a restart.
    run: i64,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    /// Invariant: the numbers are consecutive, and the last one is `written`.
    lines: VecDeque<Line>,
    /// Invariant: the bytes of all texts in `lines`, and at most `limits::PLUGIN_LOG_RING_BYTES`.
    bytes: usize,
    written: u64,
}

impl Ring {
    fn check(&self) {
        let (count, bytes) = (self.lines.len(), self.bytes);
        assert!(count <= limits::PLUGIN_LOG_RING_LINES && bytes <= limits::PLUGIN_LOG_RING_BYTES, "a log is too large");
        assert!(count > 0 || bytes == 0, "an empty log has {bytes} bytes");
        if let (Some(first), Some(last)) = (self.lines.front(), self.lines.back()) {
            let consecutive = last.number == self.written && last.number - first.number + 1 == count as u64;
            assert!(consecutive, "a log has lost lines between {} and {}", first.number, last.number);
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { run: wall_ms(), ring: Mutex::default() }
    }
}

impl Log {
    /// Adds a line, and drops the oldest lines if there are too many. A text is cut to
    /// `limits::PLUGIN_LOG_LINE_BYTES_MAX` bytes.
    pub(crate) fn push(&self, level: Level, text: &str) {
        let text = contract::cut(text, limits::PLUGIN_LOG_LINE_BYTES_MAX).to_owned();
        let mut ring = self.ring.lock();
        ring.written += 1;
        ring.bytes += text.len();
        let line = Line { number: ring.written, ms: wall_ms(), level, text };
        ring.lines.push_back(line);
        while ring.lines.len() > limits::PLUGIN_LOG_RING_LINES || ring.bytes > limits::PLUGIN_LOG_RING_BYTES {
            let Some(gone) = ring.lines.pop_front() else { break };
            ring.bytes -= gone.text.len();
        }
        ring.check();
    }

    /// The lines after this number.
    pub(crate) fn behind(&self, number: u64) -> Vec<Line> {
        self.ring.lock().lines.iter().filter(|line| line.number > number).cloned().collect()
    }

    /// The lines after this number as JSON: `{"run":...,"lines":[...]}`.
    pub(crate) fn json_behind(&self, number: u64) -> String {
        json!({ "run": self.run, "lines": self.behind(number) }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_bounded() {
        let log = Log::default();
        assert_eq!(log.behind(0), []);
        for index in 0..limits::PLUGIN_LOG_RING_LINES + 10 {
            log.push(Level::Info, &format!("line {index}"));
        }
        let kept = log.behind(0);
        assert_eq!((kept.len(), kept[0].number), (limits::PLUGIN_LOG_RING_LINES, 11));
        let last = kept.last().unwrap().number;
        assert_eq!(log.behind(last - 1).len(), 1);
        assert_eq!(log.behind(last), []);
        let json: serde_json::Value = serde_json::from_str(&log.json_behind(last - 1)).unwrap();
        assert_eq!(
            (json["lines"][0]["level"].as_str(), json["lines"][0]["number"].as_u64()),
            (Some("info"), Some(last))
        );
        let long = "é".repeat(limits::PLUGIN_LOG_LINE_BYTES_MAX);
        for _ in 0..limits::PLUGIN_LOG_RING_LINES {
            log.push(Level::Error, &long);
        }
        let bytes: usize = log.behind(0).iter().map(|line| line.text.len()).sum();
        assert!(bytes <= limits::PLUGIN_LOG_RING_BYTES && bytes > limits::PLUGIN_LOG_RING_BYTES / 2);
    }
}
