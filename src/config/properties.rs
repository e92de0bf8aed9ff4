//! The syntax of `zoo.cfg`: Java's properties files, as `java.util.Properties.load` reads them.
//!
//! - A logical line ends at a line break that `\` does not escape.
//! - `#` and `!` begin a comment.
//! - `=`, `:` or blanks separate the key from the value.
//! - `\t \n \r \f \uXXXX` are escapes. `\` before any other character stands for that character.
//! - Keys and values are trimmed, as in ZooKeeper.
//! - The file is UTF-8, unlike in Java. ASCII files are the same in both.
//!
//! Only a broken `\u` escape is refused: any other line is a key with a value, as in Java.

/// One `key=value`, with the line of the key. Lines are counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Property {
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// A broken `\u` escape.
#[derive(Debug, PartialEq, Eq)]
pub struct BadEscape {
    pub(crate) line: usize,
}

/// Reads a whole file. A key may occur more than once.
pub fn parse(text: &str) -> Result<Vec<Property>, BadEscape> {
    let mut properties = Vec::new();
    for (line, logical) in logical_lines(text) {
        let (key, value) = divide(&logical);
        let key = unescape(key).ok_or(BadEscape { line })?.trim().to_owned();
        let value = unescape(value).ok_or(BadEscape { line })?.trim().to_owned();
        properties.push(Property { line, key, value });
    }
    Ok(properties)
}

/// The logical lines, without comments and blank lines. Each has the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut logical: Vec<(usize, String)> = Vec::new();
    let mut continued = false;
    // A lone \r also ends a line in Java. Files from old tools have it.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_start_matches(is_blank);
        if !continued && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let open = backslashes % 2 == 1;
        let body = if open { line.strip_suffix('\\').unwrap_or(line) } else { line };
        match logical.last_mut() {
            Some((_, whole)) if continued => whole.push_str(body),
            _ => logical.push((index + 1, body.to_owned())),
        }
        continued = open;
    }
    logical
}

/// Key and value, separated at the first `=`, `:` or blank that is not escaped.
fn divide(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, c)| {
            let ends = !escaped && (matches!(c, '=' | ':') || is_blank(*c));
            escaped = *c == '\\' && !escaped;
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// The text without escapes. None: a `\u` has no four hexadecimal digits, or a surrogate has no other half.
fn unescape(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut buffer = [0; 2];
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                        return None;
                    }
                    units.push(u16::from_str_radix(&digits, 16).ok()?);
                    continue;
                }
                Some(other) => other,
            },
            other => other,
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text).unwrap().into_iter().map(|p| (p.line, p.key, p.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{text:?}");
        let (_, key, value) = all.remove(0);
        (key, value)
    }

    #[test]
    fn separators_and_blanks() {
        for text in ["tickTime=2000", " tickTime = 2000 ", "tickTime:2000", "tickTime 2000", "tickTime\t=\t2000\t"] {
            assert_eq!(one(text), ("tickTime".into(), "2000".into()), "{text:?}");
        }
        assert_eq!(one("key"), ("key".into(), String::new()));
        assert_eq!(one("key=a=b:c"), ("key".into(), "a=b:c".into()));
        assert_eq!(one("a\\=b=c"), ("a=b".into(), "c".into()));
    }

    #[test]
    fn comments_continuations_and_line_numbers() {
        let text = "# one\r\n! two\r\n\r\na=1\\\r\n   ,2\\\n#3\r\nb=4";
        assert_eq!(pairs(text), [(4, "a".into(), "1,2#3".into()), (7, "b".into(), "4".into())]);
        assert_eq!(one("path=c:\\\\dir\\\\"), ("path".into(), "c:\\dir\\".into()));
    }

    #[test]
    fn escapes() {
        assert_eq!(one("k=\\u00e4\\t\\q").1, "ä\tq");
        assert_eq!(one("k=\\ud83d\\ude00").1, "😀");
        assert_eq!(parse("a=1\nk=\\u12"), Err(BadEscape { line: 2 }));
        assert_eq!(parse("k=\\u+123"), Err(BadEscape { line: 1 }));
        assert_eq!(parse("k=\\ud83d"), Err(BadEscape { line: 1 }));
    }
}
