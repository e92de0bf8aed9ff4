//! Our own format: TOML. Its tables and keys are the names in `Key::toml`.
//!
//! ```toml
//! plugins = true
//! four_letter_words = ["srvr", "mntr"]
//! [network]
//! listen = "0.0.0.0:2181"
//! [zookeeper]                       # any key of zoo.cfg by its own name
//! "server.1" = "zk1:2888:3888"
//! ```
//! A value becomes the text that `zoo.cfg` would have, so that one rule checks both. Unlike in `zoo.cfg`, an unknown
//! key is refused: in our own format it can only be a mistake.

use super::keys;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A setting in the file. `name` is the full name, with its section.
pub struct Entry {
    pub line: usize,
    pub name: String,
    pub key: &'static keys::Key,
    pub value: String,
}

/// What is wrong, and where.
pub struct Refused {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The table whose keys have their names of zoo.cfg.
const ZOOKEEPER: &str = "zookeeper";

/// Reads a whole file.
pub fn parse(text: &str) -> Result<Vec<Entry>, Refused> {
    let line = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let table = DeTable::parse(text).map_err(|error| Refused {
        line: error.span().map_or(1, |span| line(span.start)),
        what: format!("is not TOML: {}", error.message()),
    })?;
    let mut entries = Vec::new();
    walk("", table.get_ref(), &line, &mut entries)?;
    Ok(entries)
}

/// Reads a table and the tables in it. `prefix`: the name of the table.
fn walk(
    prefix: &str,
    table: &DeTable<'_>,
    line: &dyn Fn(usize) -> usize,
    entries: &mut Vec<Entry>,
) -> Result<(), Refused> {
    for (word, value) in table {
        let at = line(word.span().start);
        let word = word.get_ref();
        let name = if prefix.is_empty() { word.to_string() } else { format!("{prefix}.{word}") };
        if let DeValue::Table(inner) = value.get_ref() {
            walk(&name, inner, line, entries)?;
            continue;
        }
        let key = match name.strip_prefix(ZOOKEEPER).and_then(|rest| rest.strip_prefix('.')) {
            Some(own) => keys::by_name(own),
            None => keys::by_toml(&name),
        };
        let Some(key) = key else {
            let instead = match (keys::like(&name), keys::by_name(&name)) {
                (_, Some(key)) if !key.toml.is_empty() => format!("; here it is called `{}`", key.toml),
                (Some(like), _) => format!("; did you mean `{like}`?"),
                _ => "; docs/configuration.md lists the keys".to_owned(),
            };
            return Err(Refused { line: at, what: format!("`{name}` is no key of this format{instead}") });
        };
        let value = text_of(value).ok_or_else(|| Refused {
            line: at,
            what: format!("`{name}` must be text, a number, true, false or a list"),
        })?;
        entries.push(Entry { line: at, name, key, value });
    }
    Ok(())
}

/// The value as `zoo.cfg` would have it. A list has commas. None: the value has a type that no setting has.
fn text_of(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|it| it.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Array(list) => list_text(list),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn list_text(list: &DeArray<'_>) -> Option<String> {
    let words: Option<Vec<String>> = list.iter().map(text_of).collect();
    words.map(|words| words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keys_and_lists() {
        let text = "plugins = false\nfour_letter_words = [\"srvr\", \"mntr\"]\n[network]\nlisten = \"[::1]:1\"\n\
                    frame_bytes_max = 0x10_0000\n[zookeeper]\n\"server.1\" = \"a:1:2\"\nautopurge.purgeInterval = 1\n";
        let found: Vec<(usize, String, String)> =
            parse(text).unwrap_or_default().into_iter().map(|entry| (entry.line, entry.name, entry.value)).collect();
        let expect = |line: usize, name: &str, value: &str| {
            assert!(found.contains(&(line, name.to_owned(), value.to_owned())), "{name} in {found:?}");
        };
        expect(1, "plugins", "false");
        expect(2, "four_letter_words", "srvr,mntr");
        expect(4, "network.listen", "[::1]:1");
        expect(5, "network.frame_bytes_max", "1048576");
        expect(7, "zookeeper.server.1", "a:1:2");
        expect(8, "zookeeper.autopurge.purgeInterval", "1");
    }

    #[test]
    fn unknown_keys_say_what_was_meant() {
        let refused = |text: &str| match parse(text) {
            Err(refused) => (refused.line, refused.what),
            Ok(_) => panic!("{text} was accepted"),
        };
        let (line, what) = refused("[network]\n\nlissen = \"a\"");
        assert!(line == 3 && what.contains("network.listen"), "{line}: {what}");
        let (_, what) = refused("tickTime = 2000");
        assert!(what.contains("sessions.tick_ms"), "{what}");
        let (line, what) = refused("a = 1\nb = = 2");
        assert!(line == 2 && what.contains("TOML"), "{line}: {what}");
    }
}
