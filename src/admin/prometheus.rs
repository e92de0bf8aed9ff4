//! `GET /metrics`: the figures of `mntr` in Prometheus' text format, and the figures of plugins with histograms.
//!
//! ZooKeeper's figures have the names that its Prometheus provider uses: those of `mntr` without `zk_`. The names of
//! plugins' figures begin with `plugin_`, and the plugin's name is a label.

use super::fourletter::{Facts, PluginFacts};
use crate::metrics::Timing;
use std::fmt::Write as _;

/// The text of `/metrics`. `mntr`: the text of that four letter word.
pub(crate) fn text(mntr: &str, facts: &dyn Facts) -> String {
    let mut out = String::new();
    for (key, value) in mntr.lines().filter_map(|line| line.strip_prefix("zk_")?.split_once('\t')) {
        // Values that are no numbers, such as the version, are left out.
        if value.parse::<f64>().is_ok() && !key.starts_with("plugin_") {
            let _ = writeln!(out, "{} {value}", name(key));
        }
    }
    let _ = writeln!(out, "server_state{{state=\"{}\"}} 1", facts.mode().name());
    let mut plugins = Vec::new();
    facts.plugins(&mut |plugin| plugins.push(Series::of(plugin)));
    for (index, (series, kind)) in SERIES.iter().enumerate() {
        if plugins.is_empty() {
            break;
        }
        let _ = writeln!(out, "# TYPE {series} {kind}");
        for plugin in &plugins {
            out.push_str(&plugin.0[index]);
        }
    }
    out
}

/// A valid name: Prometheus allows letters, digits, `_` and `:`, and the name of a namespace may have any character.
fn name(key: &str) -> String {
    let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Plugins' series, with their types. All samples of a series must be together, whichever plugin they are of.
const SERIES: [(&str, &str); 10] = [
    ("plugin_state", "gauge"),
    ("plugin_calls_total", "counter"),
    ("plugin_refusals_total", "counter"),
    ("plugin_would_refuse_total", "counter"),
    ("plugin_let_pass_total", "counter"),
    ("plugin_operations_total", "counter"),
    ("plugin_faults_total", "counter"),
    ("plugin_memory_bytes_max", "gauge"),
    ("plugin_fuel", "histogram"),
    ("plugin_seconds", "histogram"),
];

/// The samples of one plugin, in the order of `SERIES`.
struct Series([String; SERIES.len()]);

impl Series {
    fn of(plugin: &PluginFacts<'_>) -> Series {
        let PluginFacts { kind, state, counters, .. } = plugin;
        let label = format!("plugin=\"{}\"", escaped(plugin.name));
        let counts = counters.counts();
        let count = |of: &str| counts.iter().find(|(name, _)| *name == of).map_or(0, |(_, count)| *count);
        let plain = |series: &str, value: u64| format!("{series}{{{label}}} {value}\n");
        let faults = counters
            .all_faults()
            .map(|(class, count)| format!("plugin_faults_total{{{label},class=\"{class}\"}} {count}\n"));
        let memory = counters.memory_bytes_max.load(std::sync::atomic::Ordering::Relaxed);
        Series([
            format!("plugin_state{{{label},kind=\"{kind}\",state=\"{}\"}} 1\n", escaped(state)),
            plain("plugin_calls_total", count("calls")),
            plain("plugin_refusals_total", count("refusals")),
            plain("plugin_would_refuse_total", count("would_refuse")),
            plain("plugin_let_pass_total", count("let_pass")),
            plain("plugin_operations_total", count("operations")),
            faults.collect(),
            plain("plugin_memory_bytes_max", memory),
            histogram("plugin_fuel", &label, &counters.fuel, 1.0),
            histogram("plugin_seconds", &label, &counters.ns, 1e-9),
        ])
    }
}

/// A histogram with buckets at powers of two, from 256 on. Smaller values are so cheap that their differences do not
/// matter.
fn histogram(series: &str, label: &str, timing: &Timing, unit: f64) -> String {
    const FIRST: u64 = 255;
    let mut out = String::new();
    for (end, count) in timing.up_to_doublings().into_iter().filter(|(end, _)| *end >= FIRST) {
        let _ = writeln!(out, "{series}_bucket{{{label},le=\"{:?}\"}} {count}", (end + 1) as f64 * unit);
    }
    let totals = timing.totals();
    let _ = writeln!(out, "{series}_bucket{{{label},le=\"+Inf\"}} {}", totals.count);
    let _ = writeln!(out, "{series}_sum{{{label}}} {:?}", totals.sum as f64 * unit);
    let _ = writeln!(out, "{series}_count{{{label}}} {}", totals.count);
    out
}

/// The value of a label, with escapes.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::counters::Counters;

    #[test]
    fn one_plugins_series() {
        let counters = Counters::default();
        counters.called(3000, 2_000_000);
        counters.called(5, 900);
        let Series(series) =
            Series::of(&PluginFacts { name: "names", kind: "validator", state: "active", counters: &counters });
        assert_eq!(series[0], "plugin_state{plugin=\"names\",kind=\"validator\",state=\"active\"} 1\n");
        assert_eq!(series[1], "plugin_calls_total{plugin=\"names\"} 2\n");
        assert!(series[6].contains("plugin_faults_total{plugin=\"names\",class=\"fuel\"} 0\n"), "{}", series[6]);
        let fuel: Vec<&str> = series[8].lines().collect();
        assert_eq!(fuel.first(), Some(&"plugin_fuel_bucket{plugin=\"names\",le=\"256.0\"} 1"));
        assert!(fuel.contains(&"plugin_fuel_bucket{plugin=\"names\",le=\"4096.0\"} 2"), "{fuel:?}");
        assert!(series[9].contains("plugin_seconds_sum{plugin=\"names\"} 0.0020009"), "{}", series[9]);
    }

    #[test]
    fn names_are_valid_in_prometheus() {
        assert_eq!(name("avg_latency"), "avg_latency");
        assert_eq!(name("my-app_read_per_namespace"), "my_app_read_per_namespace");
        assert_eq!(name("0x"), "_0x");
    }
}
