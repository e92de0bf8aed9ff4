//! The page of all settings, made from the table.

use super::keys::{Effect, KEYS, Key};
use std::fmt::Write as _;

const OPENING: &str = "\
# Configuration

<!-- Generated from src/config/keys/. Do not edit: `REWRITE=1 cargo test --lib config` writes it anew. -->

    wasmkeeper serve [--config FILE] [--data-dir DIR] [--listen ADDR] [-D key=value]... [--plugins on|off]
                    [--found-without N,N]

Without any configuration the server listens on 127.0.0.1:2181 and keeps its data in `./wasmkeeper-data`.

- A FILE ending in `.toml` is our own format: the name behind the slash (the only one, where it has a section in front, as
  in `network.listen`, and no slash); its table `[zookeeper]` takes any key of a zoo.cfg by its own name. A key it does not
  know is refused.
- Any other FILE is a `zoo.cfg` as ZooKeeper reads it: the name before the slash. Keys without effect here, and keys nobody
  knows, are named in one warning.
- `-D` takes ZooKeeper's system properties: `zookeeper.` and the name before the slash (those that are properties without
  that prefix in ZooKeeper work without it). Properties of the JVM are ignored.
- `--listen`, `--data-dir` and `--plugins` replace what the file says. One setting with two different values, in the file and
  `-D` or twice in the file, is refused.
- A refusal names file, line, key and the way out.

A switch takes true, yes, on, false, no, off. The default stands in brackets.
";

/// `docs/configuration.md`.
pub fn reference() -> String {
    let mut page = OPENING.to_owned();
    for (heading, keys) in KEYS {
        let _ = write!(page, "\n## {heading}\n\n");
        for key in *keys {
            line(&mut page, key);
        }
    }
    page
}

fn line(page: &mut String, key: &Key) {
    let names: Vec<String> = [key.name, key.toml].iter().filter(|n| !n.is_empty()).map(|n| format!("`{n}`")).collect();
    let names = names.join(" / ");
    let _ = match (&key.effect, key.default) {
        (Effect::Set(_), "") => writeln!(page, "- {names}: {}", key.meaning),
        (Effect::Set(_), default) => writeln!(page, "- {names} [{default}]: {}", key.meaning),
        (Effect::Nothing, _) => writeln!(page, "- {names}: no effect, with a warning. {}", key.meaning),
        (Effect::Silent, _) => writeln!(page, "- {names}: no effect. {}", key.meaning),
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = super::reference();
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(path, page).unwrap();
            return;
        }
        let stands = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stands == page, "docs/configuration.md is stale; run: REWRITE=1 cargo test --lib config");
    }
}
