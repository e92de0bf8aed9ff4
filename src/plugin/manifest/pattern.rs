//! Patterns: which paths a binding is about. The server matches them before it calls a guest.
//!
//! A pattern is a path. Within a name, `*` stands for any text. The name `**` stands for one or more names. So
//! `/services/**` matches everything below `/services` but not `/services` itself. `/services/*` matches its children,
//! and `/services` that one node.

use crate::model::path;

/// How many `**` a pattern may have. Matching backtracks for each.
const DEEP_MAX: usize = 2;

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Pattern {
    text: String,
    form: Form,
}

/// Nearly all patterns are `Exact` or `Below`, which need no look at single names.
#[derive(Clone, PartialEq, Debug)]
enum Form {
    Exact,
    /// All paths below this one. The text ends with `/`.
    Below(String),
    Names(Vec<Name>),
}

#[derive(Clone, PartialEq, Debug)]
enum Name {
    /// The name `**`.
    Deep,
    /// The pieces between the `*` of a name. A single piece is the name itself.
    Pieces(Vec<String>),
}

impl Pattern {
    /// Parses a pattern. The error is a sentence that names the pattern.
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        if let Err(error) = path::validate(text) {
            return Err(format!("path {text:?}: {error}"));
        }
        if path::is_servers_own(text) {
            return Err(format!("path {text:?}: no plugin is asked about /zookeeper"));
        }
        let form = match text.strip_suffix("**") {
            _ if !text.contains('*') => Form::Exact,
            Some(below) if !below.contains('*') && below.ends_with('/') => Form::Below(below.into()),
            _ => Form::Names(names(text)?),
        };
        Ok(Pattern { text: text.into(), form })
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match &self.form {
            Form::Exact => path == self.text,
            Form::Below(prefix) => path.len() > prefix.len() && path.starts_with(prefix.as_str()),
            Form::Names(names) => path.strip_prefix('/').is_some_and(|rest| !rest.is_empty() && fits(names, rest)),
        }
    }

    /// Whether a path below `path` can match. `path` is at or below `base`.
    pub(crate) fn may_match_below(&self, path: &str) -> bool {
        match &self.form {
            Form::Exact => false,
            Form::Below(_) => true,
            Form::Names(names) => {
                let depth = if path == "/" { 0 } else { path.matches('/').count() };
                names.iter().any(|name| matches!(name, Name::Deep)) || depth < names.len()
            }
        }
    }

    /// The deepest path without `*` that all matching paths are at or below.
    pub(crate) fn base(&self) -> &str {
        match self.text.find('*') {
            None => &self.text,
            Some(star) => match self.text.get(..star).and_then(|before| before.rfind('/')) {
                None | Some(0) => "/",
                Some(slash) => &self.text[..slash],
            },
        }
    }
}

fn names(text: &str) -> Result<Vec<Name>, String> {
    let mut names = Vec::new();
    let mut deep = 0;
    for name in text.trim_start_matches('/').split('/') {
        if name == "**" {
            deep += 1;
            names.push(Name::Deep);
        } else if name.contains("**") {
            return Err(format!("path {text:?}: ** must be a name of its own, as in /services/**"));
        } else {
            names.push(Name::Pieces(name.split('*').map(String::from).collect()));
        }
    }
    if deep > DEEP_MAX {
        return Err(format!("path {text:?}: at most {DEEP_MAX} times **"));
    }
    Ok(names)
}

/// Whether the names of `rest`, separated by `/`, match.
fn fits(names: &[Name], rest: &str) -> bool {
    let Some((first, names)) = names.split_first() else { return false };
    let (name, below) = match rest.split_once('/') {
        Some((name, below)) => (name, Some(below)),
        None => (rest, None),
    };
    match first {
        Name::Pieces(pieces) if !name_fits(pieces, name) => false,
        Name::Pieces(_) => below.map_or(names.is_empty(), |below| fits(names, below)),
        Name::Deep => {
            let mut below = below;
            loop {
                match below {
                    None => return names.is_empty(),
                    Some(_) if names.is_empty() => return true,
                    Some(deeper) if fits(names, deeper) => return true,
                    Some(deeper) => below = deeper.split_once('/').map(|(_, deeper)| deeper),
                }
            }
        }
    }
}

/// Whether the name begins with the first piece, ends with the last one, and has the others in order in between.
fn name_fits(pieces: &[String], name: &str) -> bool {
    let [first, between @ .., last] = pieces else {
        return pieces.first().is_some_and(|only| only == name);
    };
    let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
    for piece in between {
        match rest.find(piece.as_str()) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn which_paths_match() {
        for (pattern, yes, no) in [
            ("/a", vec!["/a"], vec!["/", "/a/b", "/ab"]),
            ("/a/**", vec!["/a/b", "/a/b/c"], vec!["/a", "/ab", "/"]),
            ("/**", vec!["/a", "/a/b"], vec!["/"]),
            ("/a/*", vec!["/a/b"], vec!["/a", "/a/b/c", "/b/b"]),
            ("/a/x-*/*.json", vec!["/a/x-1/c.json", "/a/x-/.json"], vec!["/a/x/c.json", "/a/x-1/c.jso"]),
            ("/*/conf/**", vec!["/a/conf/x", "/b/conf/x/y"], vec!["/a/conf", "/conf/x"]),
            ("/**/leaf", vec!["/a/leaf", "/a/b/leaf", "/leaf/leaf"], vec!["/leaf", "/a/leaf/b"]),
            ("/a*b*c", vec!["/abc", "/aXbYc"], vec!["/ac", "/abcd", "/acb"]),
            ("/aa*aa", vec!["/aaaa"], vec!["/aaa"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for path in yes {
                assert!(parsed.matches(path), "{pattern} {path}");
            }
            for path in no {
                assert!(!parsed.matches(path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn whether_paths_below_can_match() {
        for (pattern, yes, no) in [
            ("/a", vec![], vec!["/a"]),
            ("/a/**", vec!["/a", "/a/b/c"], vec![]),
            ("/a/*", vec!["/a"], vec!["/a/b"]),
            ("/*", vec!["/"], vec!["/a"]),
            ("/*/x/*", vec!["/", "/a", "/a/x"], vec!["/a/x/y"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert!(yes.iter().all(|path| parsed.may_match_below(path)), "{pattern}");
            assert!(!no.iter().any(|path| parsed.may_match_below(path)), "{pattern}");
        }
    }

    #[test]
    fn bases() {
        for (pattern, base) in [("/a/b", "/a/b"), ("/a/**", "/a"), ("/**", "/"), ("/a/x-*/y", "/a"), ("/x*", "/")] {
            assert_eq!(Pattern::parse(pattern).unwrap().base(), base, "{pattern}");
        }
    }

    #[test]
    fn refusals_of_patterns_say_why() {
        for (pattern, word) in [
            ("a", "start with /"),
            ("/a/", "end with /"),
            ("/a/b**", "of its own"),
            ("/zookeeper/**", "/zookeeper"),
            ("/**/**/**/a", "at most"),
        ] {
            assert!(Pattern::parse(pattern).unwrap_err().contains(word), "{pattern}");
        }
    }
}
