//! A schema: parsed once into a list of demands, and then checked against each document.

use regex_lite::Regex;
use serde_json::{Number, Value};
use std::cmp::Ordering;
use std::fmt;

/// All demands must hold. An empty list accepts every document.
pub struct Schema(Vec<Demand>);

enum Demand {
    /// The schema `false`.
    Never,
    Types(Vec<String>),
    /// `enum` and `const`.
    Among(Vec<Value>),
    /// A bound on a number, the orderings between number and bound that are wrong, and the words for what is required.
    Number(Number, &'static [Ordering], &'static str),
    /// The smallest and the largest length of a text, list or object.
    Size(Kind, usize, usize),
    Pattern(Regex),
    Items(Schema),
    Required(Vec<String>),
    /// `properties`, and `additionalProperties` for all other fields.
    Fields(Vec<(String, Schema)>, Schema),
    AllOf(Vec<Schema>),
    AnyOf(Vec<Schema>),
    OneOf(Vec<Schema>),
    Not(Schema),
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    List,
    Object,
}

/// What is wrong, and where in the document, as a JSON pointer.
#[derive(Debug)]
pub struct Misfit {
    at: String,
    text: String,
}

const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// Keywords that demand nothing of a document.
const NOTES: [&str; 7] = ["$schema", "$id", "$comment", "title", "description", "default", "examples"];

impl Schema {
    /// Parses a schema. `place` is the path to the schema within the settings. An error gives this path and names the
    /// keyword.
    pub fn read(place: &str, schema: &Value) -> Result<Schema, String> {
        let keywords = match schema {
            Value::Bool(true) => return Ok(Schema(Vec::new())),
            Value::Bool(false) => return Ok(Schema(vec![Demand::Never])),
            Value::Object(keywords) => keywords,
            _ => return Err(format!("{place}: a schema is an object, true or false")),
        };
        let mut demands = Vec::new();
        for (keyword, value) in keywords {
            let place = format!("{place}/{keyword}");
            let read = |value: &Value| Schema::read(&place, value);
            demands.push(match keyword.as_str() {
                "type" => Demand::Types(types(&place, value)?),
                "enum" => Demand::Among(list(&place, value)?.clone()),
                "const" => Demand::Among(vec![value.clone()]),
                "minimum" => Demand::Number(number(&place, value)?, &[Ordering::Less], "less than"),
                "maximum" => Demand::Number(number(&place, value)?, &[Ordering::Greater], "more than"),
                "exclusiveMinimum" => {
                    Demand::Number(number(&place, value)?, &[Ordering::Less, Ordering::Equal], "not more than")
                }
                "exclusiveMaximum" => {
                    Demand::Number(number(&place, value)?, &[Ordering::Greater, Ordering::Equal], "not less than")
                }
                "minLength" => Demand::Size(Kind::Text, count(&place, value)?, usize::MAX),
                "maxLength" => Demand::Size(Kind::Text, 0, count(&place, value)?),
                "minItems" => Demand::Size(Kind::List, count(&place, value)?, usize::MAX),
                "maxItems" => Demand::Size(Kind::List, 0, count(&place, value)?),
                "minProperties" => Demand::Size(Kind::Object, count(&place, value)?, usize::MAX),
                "maxProperties" => Demand::Size(Kind::Object, 0, count(&place, value)?),
                "pattern" => {
                    let pattern = Regex::new(&text(&place, value)?);
                    Demand::Pattern(pattern.map_err(|error| format!("{place}: {error}"))?)
                }
                "items" => Demand::Items(read(value)?),
                "required" => Demand::Required(
                    list(&place, value)?.iter().map(|name| text(&place, name)).collect::<Result<_, _>>()?,
                ),
                "properties" => {
                    let fields =
                        value.as_object().ok_or_else(|| format!("{place}: an object of schemas is required"))?;
                    let field = |(name, value): (&String, &Value)| {
                        Ok::<_, String>((name.clone(), Schema::read(&format!("{place}/{name}"), value)?))
                    };
                    let others = keywords.get("additionalProperties").unwrap_or(&Value::Bool(true));
                    let others = Schema::read(&place.replace("properties", "additionalProperties"), others)?;
                    Demand::Fields(fields.iter().map(field).collect::<Result<_, _>>()?, others)
                }
                "additionalProperties" if keywords.contains_key("properties") => continue,
                "additionalProperties" => Demand::Fields(Vec::new(), read(value)?),
                "allOf" => Demand::AllOf(schemas(&place, value)?),
                "anyOf" => Demand::AnyOf(schemas(&place, value)?),
                "oneOf" => Demand::OneOf(schemas(&place, value)?),
                "not" => Demand::Not(read(value)?),
                note if NOTES.contains(&note) => continue,
                _ => {
                    return Err(format!(
                        "{place}: this keyword is not supported; plugins/json-schema/README.md lists those that are"
                    ));
                }
            });
        }
        Ok(Schema(demands))
    }

    /// Checks a document. The error is the first demand that the document does not meet.
    pub fn check(&self, document: &Value) -> Result<(), Misfit> {
        self.0.iter().try_for_each(|demand| demand.check(document))
    }

    fn fits(&self, document: &Value) -> bool {
        self.check(document).is_ok()
    }
}

impl Demand {
    fn check(&self, document: &Value) -> Result<(), Misfit> {
        match (self, document) {
            (Demand::Never, _) => misfit("nothing may be here"),
            (Demand::Types(types), _) if !types.iter().any(|name| is(document, name)) => {
                misfit(format!("must be of type {}", types.join(" or ")))
            }
            (Demand::Among(values), _) if !values.iter().any(|value| equal(value, document)) => match values.as_slice()
            {
                [only] => misfit(format!("must be {only}")),
                _ => misfit(format!("must be one of {}", Value::from(values.clone()))),
            },
            (Demand::Number(bound, not, words), Value::Number(found)) if not.contains(&compare(found, bound)) => {
                misfit(format!("{found} is {words} {bound}"))
            }
            (Demand::Size(kind, least, most), _) => match size(*kind, document) {
                Some((size, unit)) if size < *least => misfit(format!("{size} {unit}, at least {least} are required")),
                Some((size, unit)) if size > *most => misfit(format!("{size} {unit}, at most {most} are allowed")),
                _ => Ok(()),
            },
            (Demand::Pattern(pattern), Value::String(found)) if !pattern.is_match(found) => {
                misfit(format!("must match {pattern}"))
            }
            (Demand::Items(schema), Value::Array(items)) => items
                .iter()
                .enumerate()
                .try_for_each(|(i, item)| schema.check(item).map_err(|wrong| wrong.within(&i.to_string()))),
            (Demand::Required(names), Value::Object(found)) => {
                match names.iter().find(|name| !found.contains_key(*name)) {
                    Some(name) => misfit(format!("field \"{name}\" is missing")),
                    None => Ok(()),
                }
            }
            (Demand::Fields(fields, others), Value::Object(found)) => found.iter().try_for_each(|(name, value)| {
                let schema = fields.iter().find(|(field, _)| field == name).map_or(others, |(_, schema)| schema);
                schema.check(value).map_err(|wrong| wrong.within(name))
            }),
            (Demand::AllOf(schemas), _) => schemas.iter().try_for_each(|schema| schema.check(document)),
            (Demand::AnyOf(schemas), _) if !schemas.iter().any(|schema| schema.fits(document)) => {
                misfit("fits none of what anyOf lists")
            }
            (Demand::OneOf(schemas), _) => match schemas.iter().filter(|schema| schema.fits(document)).count() {
                1 => Ok(()),
                fits => misfit(format!("fits {fits} of what oneOf lists, and must fit one")),
            },
            (Demand::Not(schema), _) if schema.fits(document) => misfit("fits what it must not"),
            _ => Ok(()),
        }
    }
}

fn misfit(text: impl Into<String>) -> Result<(), Misfit> {
    Err(Misfit { at: String::new(), text: text.into() })
}

impl Misfit {
    fn within(self, name: &str) -> Misfit {
        let name = name.replace('~', "~0").replace('/', "~1");
        Misfit { at: format!("/{name}{}", self.at), text: self.text }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.at, self.text) }
    }
}

fn is(document: &Value, name: &str) -> bool {
    match document {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
        Value::Number(number) => {
            name == "number"
                || name == "integer" && (!number.is_f64() || number.as_f64().is_some_and(|n| n.fract() == 0.0))
        }
    }
}

/// Numbers are equal if their values are: 1 is 1.0.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other) == Ordering::Equal,
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| equal(value, other)))
        }
        _ => one == other,
    }
}

fn compare(one: &Number, other: &Number) -> Ordering {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one.cmp(&other),
        // All numbers of JSON can be compared.
        _ => one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal),
    }
}

fn size(kind: Kind, document: &Value) -> Option<(usize, &'static str)> {
    match (kind, document) {
        (Kind::Text, Value::String(text)) => Some((text.chars().count(), "characters")),
        (Kind::List, Value::Array(items)) => Some((items.len(), "items")),
        (Kind::Object, Value::Object(fields)) => Some((fields.len(), "fields")),
        _ => None,
    }
}

fn types(place: &str, value: &Value) -> Result<Vec<String>, String> {
    let types: Vec<String> = match value {
        Value::Array(names) => names.iter().map(|name| text(place, name)).collect::<Result<_, _>>()?,
        name => vec![text(place, name)?],
    };
    match types.iter().find(|name| !TYPES.contains(&name.as_str())) {
        Some(name) => Err(format!("{place}: {name} is no type; there are {}", TYPES.join(", "))),
        None => Ok(types),
    }
}

fn schemas(place: &str, value: &Value) -> Result<Vec<Schema>, String> {
    match list(place, value)?.as_slice() {
        [] => Err(format!("{place}: a list of schemas is required")),
        schemas => schemas.iter().map(|schema| Schema::read(place, schema)).collect(),
    }
}

fn text(place: &str, value: &Value) -> Result<String, String> {
    value.as_str().map(Into::into).ok_or_else(|| format!("{place}: a text is required"))
}

fn list<'a>(place: &str, value: &'a Value) -> Result<&'a Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("{place}: a list is required"))
}

fn number(place: &str, value: &Value) -> Result<Number, String> {
    value.as_number().cloned().ok_or_else(|| format!("{place}: a number is required"))
}

fn count(place: &str, value: &Value) -> Result<usize, String> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| format!("{place}: a count is required"))
}
