//! Invariants: what must hold of the tree after every transaction of a random run. The author of a scenario writes
//! them.
//!
//! ```text
//! at most 1 of /locks/db/* ~ held
//! each /queue/jobs/items/* : exactly 1 of /queue/jobs/ready/* ~ {}, /queue/jobs/taken/{}
//! never falls: token of /locks/db
//! ```
//!
//! `SELECTOR ~ TEXT` selects nodes whose data contain TEXT. In `each`, `{}` is the last name of the node that `each` is
//! at. The number after `never falls` is a field of the node's JSON. A node that is not there, or lacks the field, is
//! skipped.

use super::script::{Word, words};
use crate::plugin::pattern::Pattern;
use std::collections::BTreeMap;

/// Nodes by path, with their data.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

pub(crate) struct Invariant {
    /// As the scenario has it.
    text: String,
    claim: Claim,
}

enum Claim {
    Count(Count),
    Each { of: Selector, count: Count },
    NeverFalls { field: String, of: Selector, seen: Option<f64> },
}

struct Count {
    least: usize,
    most: usize,
    of: Vec<Selector>,
}

struct Selector {
    path: String,
    contains: Option<String>,
}

impl Invariant {
    /// The error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Invariant, String> {
        let words = words(text)?;
        let claim = match words.first().map(|word| word.text.as_str()) {
            Some("each") => {
                let colon = words.iter().position(|word| word.text == ":").ok_or("each SELECTOR : ... is required")?;
                Claim::Each { of: selector(&words[1..colon])?, count: count(&words[colon + 1..])? }
            }
            Some("never") => match words.as_slice() {
                [_, falls, field, of, rest @ ..] if falls.text == "falls:" && of.text == "of" => {
                    Claim::NeverFalls { field: field.text.clone(), of: selector(rest)?, seen: None }
                }
                _ => return Err("never falls: FIELD of SELECTOR is required".into()),
            },
            _ => Claim::Count(count(&words)?),
        };
        Ok(Invariant { text: text.trim().into(), claim })
    }

    /// The error says what does not hold, and where.
    pub(crate) fn check(&mut self, tree: &Tree) -> Result<(), String> {
        let broken = match &mut self.claim {
            Claim::Count(count) => count.broken(tree, ""),
            Claim::Each { of, count } => of.select(tree, "").find_map(|(path, _)| {
                let name = crate::model::path::name(path);
                count.broken(tree, name).map(|broken| format!("{path}: {broken}"))
            }),
            Claim::NeverFalls { field, of, seen } => of.select(tree, "").find_map(|(path, data)| {
                // Only the first JSON value counts: some recipes append a payload.
                let mut values = serde_json::Deserializer::from_slice(data).into_iter::<serde_json::Value>();
                let json = values.next()?.ok()?;
                let now = json.get(field.as_str())?.as_f64()?;
                let before = seen.replace(now)?;
                (now < before).then(|| format!("{path}: {before} became {now}"))
            }),
        };
        broken.map_or(Ok(()), |broken| Err(format!("{}: {broken}", self.text)))
    }
}

impl Count {
    fn broken(&self, tree: &Tree, name: &str) -> Option<String> {
        let found: Vec<&str> =
            self.of.iter().flat_map(|selector| selector.select(tree, name)).map(|(path, _)| path).collect();
        let fits = (self.least..=self.most).contains(&found.len());
        (!fits)
            .then(|| if found.is_empty() { "there is none".into() } else { format!("there are {}", found.join(", ")) })
    }
}

impl Selector {
    fn select<'a>(&self, tree: &'a Tree, name: &str) -> impl Iterator<Item = (&'a str, &'a Vec<u8>)> + use<'a> {
        let pattern = Pattern::parse(&self.path.replace("{}", name)).ok();
        let contains = self.contains.as_ref().map(|text| text.replace("{}", name));
        let base = pattern.as_ref().map_or(String::new(), |pattern| pattern.base().to_owned());
        let within = move |path: &&String| base == "/" || path.starts_with(base.as_str());
        let start = pattern.as_ref().map_or(String::new(), |pattern| pattern.base().to_owned());
        tree.range(start..).take_while(move |(path, _)| within(path)).filter_map(move |(path, data)| {
            let matches = pattern.as_ref().is_some_and(|pattern| pattern.matches(path))
                && contains.as_ref().is_none_or(|text| has(data, text.as_bytes()));
            matches.then_some((path.as_str(), data))
        })
    }
}

fn has(data: &[u8], text: &[u8]) -> bool {
    text.is_empty() || data.windows(text.len()).any(|window| window == text)
}

/// `at most 1 of A, B ~ text`
fn count(words: &[Word]) -> Result<Count, String> {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let sentence = "at most N of, at least N of or exactly N of is required";
    let number = |text: &str| text.parse::<usize>().map_err(|_| sentence.to_owned());
    let (least, most, rest) = match texts.as_slice() {
        ["at", "most", n, "of", ..] => (0, number(n)?, 4),
        ["at", "least", n, "of", ..] => (number(n)?, usize::MAX, 4),
        ["exactly", n, "of", ..] => (number(n)?, number(n)?, 3),
        _ => return Err(sentence.into()),
    };
    let mut of = Vec::new();
    let mut part = Vec::new();
    for word in &words[rest..] {
        let ends = !word.literal && word.text.ends_with(',');
        let text = if ends { word.text.trim_end_matches(',') } else { &word.text };
        part.push(Word { text: text.into(), literal: word.literal });
        if ends {
            of.push(selector(&part)?);
            part.clear();
        }
    }
    of.push(selector(&part)?);
    Ok(Count { least, most, of })
}

fn selector(words: &[Word]) -> Result<Selector, String> {
    let (path, contains) = match words {
        [path] => (path, None),
        [path, tilde, text] if tilde.text == "~" => (path, Some(text.text.clone())),
        _ => return Err("PATTERN or PATTERN ~ TEXT is required".into()),
    };
    Pattern::parse(&path.text.replace("{}", "x"))?;
    Ok(Selector { path: path.text.clone(), contains })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(nodes: &[(&str, &str)]) -> Tree {
        nodes.iter().map(|(path, data)| ((*path).to_owned(), data.as_bytes().to_vec())).collect()
    }

    #[test]
    fn counts() {
        let mut one = Invariant::parse("at most 1 of /locks/db/* ~ held").unwrap();
        let held = tree(&[("/locks/db", "{}"), ("/locks/db/a", "held"), ("/locks/db/b", "waiting")]);
        assert_eq!(one.check(&held), Ok(()));
        let twice = tree(&[("/locks/db/a", "held"), ("/locks/db/b", "held"), ("/other/db/c", "held")]);
        assert_eq!(
            one.check(&twice),
            Err("at most 1 of /locks/db/* ~ held: there are /locks/db/a, /locks/db/b".into())
        );
    }

    #[test]
    fn each_item_is_in_one_place() {
        let text = "each /q/items/* : exactly 1 of /q/ready/* ~ {}, /q/taken/{}";
        let mut each = Invariant::parse(text).unwrap();
        let fine = tree(&[("/q/items/a", ""), ("/q/items/b", ""), ("/q/ready/1", "0 a"), ("/q/taken/b", "")]);
        assert_eq!(each.check(&fine), Ok(()));
        let lost = tree(&[("/q/items/a", ""), ("/q/taken/b", "")]);
        assert_eq!(each.check(&lost), Err(format!("{text}: /q/items/a: there is none")));
    }

    #[test]
    fn numbers_that_never_fall() {
        let mut token = Invariant::parse("never falls: token of /l").unwrap();
        for data in [r#"{"token":5}"#, "{}", r#"{"token":5}"#, r#"{"token":7}"#] {
            assert_eq!(token.check(&tree(&[("/l", data)])), Ok(()));
        }
        assert!(token.check(&tree(&[("/l", r#"{"token":6}"#)])).unwrap_err().ends_with("/l: 7 became 6"));
    }

    #[test]
    fn an_invariant_that_cannot_be_read_is_an_error() {
        for text in ["at most of /a", "each /a exactly 1 of /b", "never falls token of /a", "at most 1 of a/b", ""] {
            assert!(Invariant::parse(text).is_err(), "{text}");
        }
    }
}
