//! Finds the first field that a JSON document lacks, in one pass that keeps nothing of the document.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The fields that were found are the bits of one `u64`.
pub const FIELDS_MAX: usize = 64;

pub struct NotAnObject;

/// The first of `fields` that the document lacks. A field with the value `null` is there.
pub fn missing<'a>(document: &[u8], fields: &'a [String]) -> Result<Option<&'a str>, NotAnObject> {
    let mut reader = serde_json::Deserializer::from_slice(document);
    let seen = Fields(fields).deserialize(&mut reader).map_err(|_| NotAnObject)?;
    reader.end().map_err(|_| NotAnObject)?;
    Ok(fields.iter().enumerate().find(|(at, _)| seen >> at & 1 == 0).map(|(_, field)| field.as_str()))
}

/// Reads an object as a set of bits: the fields that it has.
struct Fields<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<u64, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<u64, A::Error> {
        let mut seen = 0;
        while let Some(bit) = object.next_key_seed(Field(self.0))? {
            seen |= bit;
            object.next_value::<IgnoredAny>()?;
        }
        Ok(seen)
    }
}

/// Reads a key as the bit of its field, and as 0 if it is none of the fields.
struct Field<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<u64, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<u64, E> {
        Ok(self.0.iter().position(|field| field == key).map_or(0, |at| 1 << at))
    }
}
