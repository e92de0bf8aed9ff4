//! The page of all settings, docs/configuration.md, generated from the table.

use super::keys::{Effect, KEYS, Key};
use std::fmt::Write as _;

const OPENING: &str = "\
# Configuration

<!-- Generated from src/config/keys/. Do not edit: `REWRITE=1 cargo test --lib config` writes it anew. -->

    wasmkeeper serve [--config FILE] [--data-dir DIR] [--listen ADDR] [-D key=value]... [--plugins on|off]
                    [--found-without N,N]

Without any configuration the server listens on 127.0.0.1:2181 and keeps its data in `./wasmkeeper-data`.

Most settings have two names, separated by a slash below: the name in a zoo.cfg, and the name in our own format, which
is TOML.

- A FILE that ends in `.toml` is in our own format. Its table `[zookeeper]` takes every key of a zoo.cfg under the name
  that zoo.cfg has for it. A key that does not exist is refused.
- Any other FILE is a zoo.cfg, read as ZooKeeper reads it. Keys without effect here, and unknown keys, are named in one
  warning.
- `-D` takes ZooKeeper's system properties: `zookeeper.` and the name in a zoo.cfg. Properties that have no such prefix
  in ZooKeeper work without it. Properties of the JVM are ignored.
- `--listen`, `--data-dir` and `--plugins` replace the values of the file. Any other setting that has two different
  values is refused, be it in the file and with `-D`, or twice in the file.
- When the server refuses a configuration, it names the file, the line, the key and the remedy.

A switch takes true, yes, on, false, no, off. The default is in brackets.
";

/// `docs/configuration.md`.
pub(crate) fn reference() -> String {
    let mut page = OPENING.to_owned();
    for (heading, keys) in KEYS {
        let _ = write!(page, "\n## {heading}\n\n");
        for key in *keys {
            item(&mut page, &text(key));
        }
    }
    page
}

fn text(key: &Key) -> String {
    let names = match (key.name, key.toml) {
        (zoo_cfg, "") => format!("`{zoo_cfg}`"),
        ("", toml) => format!("`{toml}` (TOML only)"),
        (zoo_cfg, toml) => format!("`{zoo_cfg}` / `{toml}`"),
    };
    match (&key.effect, key.default) {
        (Effect::Set(_), "") => format!("{names}: {}", key.meaning),
        (Effect::Set(_), default) => format!("{names} [{default}]: {}", key.meaning),
        (Effect::Nothing, _) => format!("{names}: no effect, with a warning. {}", key.meaning),
        (Effect::Silent, _) => format!("{names}: no effect. {}", key.meaning),
    }
}

/// One item of a Markdown list, wrapped at `WIDTH` columns.
fn item(page: &mut String, text: &str) {
    let mut line = "-".to_owned();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(page, "{line}");
            line = " ".to_owned();
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(page, "{line}");
}

const WIDTH: usize = 120;

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
