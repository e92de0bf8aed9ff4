//! Windows on a clock.

use super::TimeWindow;
use wasmkeeper_plugin::testing::Tree;
use wasmkeeper_plugin::{Decision, Policy, Verb};

/// Midnight at the begin of Monday, the fifth of January 2026, UTC.
const MONDAY_MS: u64 = 1_767_571_200_000;

/// Whether `set` may be done on that day (0 is Monday) at that time, UTC.
fn open(settings: &str, day: u64, hours: u64, minutes: u64) -> bool {
    let tree = Tree::new();
    tree.circumstances(|context| context.wall_ms = MONDAY_MS + ((day * 24 + hours) * 60 + minutes) * 60_000);
    let policy = TimeWindow::configure("/", settings).unwrap();
    policy.authorize(&tree.view(), Verb::Set, "/a") == Decision::Abstain
}

#[test]
fn windows_begin_and_end() {
    let office = r#"{"windows":["mon-fri 09:00-17:30","sat 10:00-12:00"]}"#;
    assert!(open(office, 0, 9, 0) && open(office, 4, 17, 29) && open(office, 5, 11, 59));
    assert!(!open(office, 0, 8, 59) && !open(office, 4, 17, 30) && !open(office, 5, 12, 0) && !open(office, 6, 11, 0));
    let night = r#"{"windows":["sun 22:00-02:00"]}"#;
    assert!(open(night, 6, 22, 0) && open(night, 6, 23, 59) && open(night, 0, 1, 59) && open(night, 7, 1, 59));
    assert!(!open(night, 0, 2, 0) && !open(night, 0, 22, 0) && !open(night, 6, 1, 0));
    let weekend = r#"{"windows":["fri-mon 00:00-24:00"]}"#;
    assert!(open(weekend, 4, 0, 0) && open(weekend, 6, 23, 59) && open(weekend, 0, 12, 0) && !open(weekend, 1, 0, 0));
    let always = r#"{"windows":["daily 00:00-00:00"]}"#;
    assert!((0..7).all(|day| open(always, day, 0, 0) && open(always, day, 23, 59)));
}

#[test]
fn the_offset_moves_them() {
    let east = r#"{"windows":["mon 00:00-01:00"],"utc-offset":"+02:00"}"#;
    assert!(open(east, 6, 22, 0) && open(east, 6, 22, 59) && !open(east, 6, 23, 0) && !open(east, 0, 0, 0));
    let west = r#"{"windows":["sun 23:00-24:00"],"utc-offset":"-05:30"}"#;
    assert!(open(west, 0, 4, 30) && open(west, 0, 5, 29) && !open(west, 0, 5, 30));
}

#[test]
fn only_these_verbs_and_with_words() {
    let policy =
        TimeWindow::configure("/", r#"{"windows":["mon 09:00-10:00"],"verbs":["read"],"utc-offset":"+01:00"}"#)
            .unwrap();
    let tree = Tree::new();
    tree.circumstances(|context| context.wall_ms = MONDAY_MS);
    assert_eq!(policy.authorize(&tree.view(), Verb::Set, "/a"), Decision::Abstain);
    let denied = Decision::Deny("read is allowed only mon 09:00-10:00 (UTC+01:00)".into());
    assert_eq!(policy.authorize(&tree.view(), Verb::Read, "/a"), denied);
}

#[test]
fn settings_are_checked() {
    for (settings, text) in [
        ("{}", "windows: a list"),
        (r#"{"windows":[]}"#, "windows: a list"),
        (r#"{"windows":["mon"]}"#, "windows: \"mon\" is not"),
        (r#"{"windows":["mon 9:00-10:00"]}"#, "windows:"),
        (r#"{"windows":["mon 09:00-24:01"]}"#, "windows:"),
        (r#"{"windows":["mo 09:00-10:00"]}"#, "windows:"),
        (r#"{"windows":["mon 24:00-01:00"]}"#, "windows:"),
        (r#"{"windows":["mon 09:00-10:00"],"utc-offset":"2"}"#, "utc-offset:"),
        (r#"{"windows":["mon 09:00-10:00"],"verbs":["write"]}"#, "verbs:"),
    ] {
        let error = TimeWindow::configure("/", settings).err().unwrap();
        assert!(error.starts_with(text), "{error}");
    }
}
