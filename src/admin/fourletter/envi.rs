//! `envi`: the process and its machine.

use super::{VERSION, Word};
use std::fmt::Write;

pub(super) const ENVI: Word = Word::about_process("envi", |_| envi());

/// The text of `envi`. ZooKeeper prints Java's system properties. A property that needs Java has ZooKeeper's text for
/// "not available" here.
fn envi() -> String {
    const UNAVAILABLE: &str = "<NA>";
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| UNAVAILABLE.to_owned());
    let kernel = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or_else(|_| UNAVAILABLE.to_owned(), |text| text.trim().to_owned())
    };
    let mut out = "Environment:\n".to_owned();
    push_line!(out, "zookeeper.version={VERSION}");
    push_line!(out, "host.name={}", kernel("hostname"));
    // Tools parse the Java version as a number.
    push_line!(out, "java.version=0");
    for name in ["vendor", "home", "class.path", "library.path"] {
        push_line!(out, "java.{name}={UNAVAILABLE}");
    }
    push_line!(out, "java.io.tmpdir={}", std::env::temp_dir().display());
    push_line!(out, "java.compiler={UNAVAILABLE}");
    push_line!(out, "os.name={}", kernel("ostype"));
    push_line!(out, "os.arch={}", java_arch());
    push_line!(out, "os.version={}", kernel("osrelease"));
    push_line!(out, "user.name={}", variable("USER"));
    push_line!(out, "user.home={}", variable("HOME"));
    let folder = std::env::current_dir().map_or_else(|_| UNAVAILABLE.to_owned(), |dir| dir.display().to_string());
    push_line!(out, "user.dir={folder}");
    let (free, total) = memory_mib();
    push_line!(out, "os.memory.free={free}MB\nos.memory.max={total}MB\nos.memory.total={total}MB");
    out
}

fn java_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}

/// Available memory and all memory, in MiB.
fn memory_mib() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    (field("MemAvailable:").unwrap_or(0) >> 10, field("MemTotal:").unwrap_or(0) >> 10)
}
