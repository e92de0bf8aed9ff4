//! What the steps of CI counted, and the table that closes a run.

use super::process::End;

/// How one step ended. A step that runs no tests of its own counts as one test.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    remark: String,
    is_skipped: bool,
}

impl Outcome {
    pub(crate) fn counted(passed: u64, failed: u64, remark: String) -> Self {
        Self { passed, failed, remark, is_skipped: false }
    }

    /// One failure that is no test's.
    pub(crate) fn failure(remark: String) -> Self {
        Self::counted(0, 1, remark)
    }

    /// The step could not run here. Counts neither as passed nor as failed.
    pub(crate) fn skipped(remark: String) -> Self {
        Self { remark, is_skipped: true, ..Self::default() }
    }

    /// The outcome of a step that did not succeed. A step that the end of the shared time has cut off says nothing
    /// about the code, and counts as skipped.
    pub(crate) fn unfinished(passed: u64, end: &End) -> Self {
        match end {
            End::OutOfTime => Self::skipped(end.to_string()),
            end => Self::counted(passed, 1, end.to_string()),
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.failed > 0, self.is_skipped) {
            (true, _) => "FAILED",
            (false, true) => "skipped",
            (false, false) => "ok",
        }
    }
}

/// The outcome of a step that is one command and counts nothing.
impl From<End> for Outcome {
    fn from(end: End) -> Self {
        match end {
            End::Succeeded => Self::default(),
            end => Self::failure(end.to_string()),
        }
    }
}

#[derive(Default)]
pub(crate) struct Summary {
    lines: Vec<String>,
    passed: u64,
    failed: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, step: &str, outcome: Outcome) {
        self.passed += outcome.passed;
        self.failed += outcome.failed;
        self.lines.push(format!("{step:<14} {:<8} {}", outcome.verdict(), outcome.remark).trim_end().to_owned());
    }

    pub(crate) fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// The last line is what CI reads.
    pub(crate) fn print(&self, seconds: u64) {
        println!("\n== summary ({seconds} s)");
        for line in &self.lines {
            println!("{line}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
    }
}

/// The sum of all numbers that stand directly before `words`, as in `12 passed, 3 failed; 30 passed`.
pub(crate) fn sum_before(text: &str, words: &str) -> u64 {
    let ends = text.match_indices(words).map(|(at, _)| &text[..at]);
    let numbers = ends.map(|head| &head[head.trim_end_matches(|c: char| c.is_ascii_digit()).len()..]);
    numbers.filter_map(|digits| digits.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_before_words_are_added() {
        assert_eq!(sum_before("12 passed; 3 failed;\nx passed\n30 passed in 1.00s", " passed"), 42);
        assert_eq!(sum_before("12 passed; 3 failed;", " failed;"), 3);
        assert_eq!(sum_before("", " passed"), 0);
    }

    #[test]
    fn only_failures_make_a_run_fail() {
        let mut summary = Summary::default();
        summary.add("build", End::Succeeded.into());
        summary.add("plugins", Outcome::skipped("no network".to_owned()));
        summary.add("verify", Outcome::counted(7, 0, String::new()));
        assert!(!summary.has_failures());
        summary.add("kazoo-1", End::TookTooLong(9).into());
        assert!(summary.has_failures());
        assert_eq!((summary.passed, summary.failed), (7, 1));
        assert_eq!(summary.lines[0], "build          ok");
        assert_eq!(summary.lines[1], "plugins        skipped  no network");
    }
}
