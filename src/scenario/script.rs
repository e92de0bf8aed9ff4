//! A scenario file as text: groups of commands, each with what it is expected to print.
//!
//! ```text
//! # Prose that says why.
//! deploy bundled:guard --name names --path '/services/**'
//!
//! client a: create /services/x {"owner":"pay"}
//! ----
//! a <- ok /services/x
//! ```
//!
//! A command is one line; indented lines after it belong to it. Commands that follow each other are a group. After
//! `----` comes what the group prints, line by line; every such line reads `WHO <- WHAT`. A group without `----` prints
//! nothing. Empty lines and lines that begin with `#` separate groups.

use std::fmt::Write as _;

pub(crate) struct Script {
    pub(crate) parts: Vec<Part>,
}

pub(crate) enum Part {
    /// An empty line or a comment.
    Prose(String),
    Group(Group),
}

#[derive(Default)]
pub(crate) struct Group {
    pub(crate) commands: Vec<Command>,
    pub(crate) expected: Vec<String>,
    /// Whether `----` has been read, so that lines of output follow.
    closed: bool,
}

pub(crate) struct Command {
    /// The number of the line in the file, from 1.
    pub(crate) line: usize,
    /// The line, with the indented lines after it.
    pub(crate) text: String,
}

impl Script {
    /// Any text is a script. A command that means nothing is an error when it runs.
    pub(crate) fn parse(text: &str) -> Script {
        let mut parts = Vec::new();
        let mut group = Group::default();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim_end();
            let indented = line.starts_with([' ', '\t']);
            if line.is_empty() || line.starts_with('#') {
                group.end(&mut parts);
                parts.push(Part::Prose(line.into()));
            } else if line == "----" {
                group.closed = true;
            } else if group.closed && is_output(line) {
                group.expected.push(line.into());
            } else if let (true, false, Some(command)) = (indented, group.closed, group.commands.last_mut()) {
                command.text.push('\n');
                command.text.push_str(line);
            } else {
                if group.closed {
                    group.end(&mut parts);
                }
                group.commands.push(Command { line: number, text: line.into() });
            }
        }
        group.end(&mut parts);
        Script { parts }
    }

    /// The file with other expected lines: `printed` has the lines of each group, in order.
    pub(crate) fn text_with(&self, printed: &[Vec<String>]) -> String {
        let mut printed = printed.iter();
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Prose(line) => drop(writeln!(text, "{line}")),
                Part::Group(group) => {
                    let lines = printed.next().unwrap_or(&group.expected);
                    let commands = group.commands.iter().map(|command| command.text.as_str());
                    let separator = (!lines.is_empty()).then_some("----");
                    for line in commands.chain(separator).chain(lines.iter().map(String::as_str)) {
                        // A string takes all that is written.
                        let _ = writeln!(text, "{line}");
                    }
                }
            }
        }
        text
    }
}

impl Group {
    fn end(&mut self, parts: &mut Vec<Part>) {
        let group = std::mem::take(self);
        if !group.commands.is_empty() {
            parts.push(Part::Group(group));
        }
    }
}

/// `WHO <- WHAT`
fn is_output(line: &str) -> bool {
    line.split_once(" <- ").is_some_and(|(who, _)| !who.is_empty() && !who.contains(char::is_whitespace))
}

/// A word of a command.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// Whether the word stood in quotes or is JSON. A literal is never a keyword.
    pub(crate) literal: bool,
}

/// Splits a command into words. Blanks separate words, `'...'` is taken as it is, `"..."` with `\n`, `\t`, `\0`, `\"`
/// and `\\`, and JSON that begins with `{` or `[` is one word. `"x"*5000` repeats what is quoted.
pub(crate) fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (mut word, behind) = match first {
            '\'' => {
                let (word, behind) = rest[1..].split_once('\'').ok_or("a ' is not closed")?;
                (Word { text: word.into(), literal: true }, behind)
            }
            '"' => quoted(&rest[1..])?,
            '{' | '[' if is_json(rest) => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
                values.next();
                let (word, behind) = rest.split_at(values.byte_offset());
                (Word { text: word.into(), literal: true }, behind)
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (Word { text: rest[..end].into(), literal: false }, &rest[end..])
            }
        };
        rest = behind;
        if word.literal
            && let Some(times) = rest.strip_prefix('*')
        {
            let end = times.find(|c: char| !c.is_ascii_digit()).unwrap_or(times.len());
            let count: usize = times[..end].parse().map_err(|_| "a number is required behind *")?;
            if word.text.len().saturating_mul(count) > REPEATED_BYTES_MAX {
                return Err(format!("at most {REPEATED_BYTES_MAX} bytes can be made with *"));
            }
            word.text = word.text.repeat(count);
            rest = &times[end..];
        }
        words.push(word);
        rest = rest.trim_start();
    }
    Ok(words)
}

/// The largest word that `*` makes, in bytes. More than a server takes in one request.
const REPEATED_BYTES_MAX: usize = 4 << 20;

fn is_json(text: &str) -> bool {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let whole = matches!(values.next(), Some(Ok(_)));
    whole && text[values.byte_offset()..].chars().next().is_none_or(|next| next.is_whitespace() || next == '*')
}

/// The word that begins after an opening `"`, and what follows the closing one.
fn quoted(text: &str) -> Result<(Word, &str), String> {
    let mut word = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Word { text: word, literal: true }, &text[at + 1..])),
            '\\' => word.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, '0')) => '\0',
                Some((_, c @ ('"' | '\\'))) => c,
                _ => return Err("behind \\ stands n, t, 0, \" or \\".into()),
            }),
            c => word.push(c),
        }
    }
    Err("a \" is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_and_back() {
        let text =
            "# Why.\ndeploy x\n\nclient a: get /a\n----\na <- NONODE\nrandom 5 steps\n  close\n----\nrandom <- ok\n";
        let script = Script::parse(text);
        let groups: Vec<&Group> = script
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Group(group) => Some(group),
                Part::Prose(_) => None,
            })
            .collect();
        assert_eq!(groups.len(), 3);
        assert_eq!(
            (groups[0].expected.len(), groups[1].expected.as_slice()),
            (0, ["a <- NONODE".to_owned()].as_slice())
        );
        assert_eq!((groups[2].commands[0].line, groups[2].commands[0].text.as_str()), (7, "random 5 steps\n  close"));
        let same: Vec<Vec<String>> = groups.iter().map(|group| group.expected.clone()).collect();
        assert_eq!(script.text_with(&same), text);
        let other = script.text_with(&[vec![], vec![], vec!["random <- no".into()]]);
        assert!(other.contains("client a: get /a\nrandom 5 steps") && other.ends_with("random <- no\n"), "{other}");
    }

    #[test]
    fn words_in_quotes_json_and_repetitions() {
        let texts = |line| words(line).map(|words| words.into_iter().map(|word| word.text).collect::<Vec<_>>());
        assert_eq!(
            texts("create /a {\"b\": [1, 2]} ephemeral").unwrap(),
            ["create", "/a", "{\"b\": [1, 2]}", "ephemeral"]
        );
        assert_eq!(texts("set /a 'it is' \"two\\nlines\" \"\"").unwrap(), ["set", "/a", "it is", "two\nlines", ""]);
        assert_eq!(texts("set /a \"ab\"*3").unwrap(), ["set", "/a", "ababab"]);
        assert_eq!(texts("{own /a/*} [b").unwrap(), ["{own", "/a/*}", "[b"]);
        assert!(words("set /a \"open").is_err() && words("'").is_err() && words("\"x\"*9999999999").is_err());
    }
}
