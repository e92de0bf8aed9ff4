//! Reads settings, so that an operator's mistake is answered with the key and with what would be right.
//!
//! ```
//! # use wasmkeeper_plugin::Settings;
//! # fn configure(settings: &str) -> Result<(), String> {
//! let mut settings = Settings::parse(settings)?;
//! let bytes_max = settings.number("bytes-max", 1..=1_048_576)?.unwrap_or(4096);
//! settings.finish()?; // Whatever else there is: "byte-max: there is no such setting; there are bytes-max"
//! # Ok(()) }
//! ```

use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// A JSON object of settings. A plugin takes one key after the other and then calls [`Settings::finish`].
pub struct Settings {
    /// What stands before a key in an error, such as `keys[0].`.
    place: String,
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Settings {
    /// Parses the text that `configure` gets.
    pub fn parse(text: &str) -> Result<Settings, String> {
        let value = serde_json::from_str(text).map_err(|error| format!("the settings are not JSON: {error}"))?;
        Settings::within("", value).map_err(|_| "the settings must be a JSON object, such as {}".into())
    }

    /// Reads an object inside the settings. `place` leads to the object, such as `keys[0]`, and stands in errors.
    pub fn within(place: &str, value: Value) -> Result<Settings, String> {
        let Value::Object(left) = value else { return Err(format!("{place}: an object is required")) };
        let place = if place.is_empty() { String::new() } else { format!("{place}.") };
        Ok(Settings { place, left, known: Vec::new() })
    }

    /// The value of a key, whatever its type.
    pub fn value(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key)
    }

    /// A whole number within bounds.
    pub fn number(&mut self, key: &'static str, bounds: RangeInclusive<u64>) -> Result<Option<u64>, String> {
        let wrong = || format!("a number from {} to {} is required", bounds.start(), bounds.end());
        self.read(key, wrong, |value| value.as_u64().filter(|number| bounds.contains(number)))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, String> {
        self.read(key, || "true or false is required".into(), |value| value.as_bool())
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        self.read(key, || "a text is required".into(), full_text)
    }

    /// A list of texts that are not empty. The list may be empty.
    pub fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, String> {
        let texts = |value: &Value| value.as_array()?.iter().map(full_text).collect();
        self.read(key, || "a list of texts is required".into(), texts)
    }

    /// Refuses keys that were not taken.
    pub fn finish(self) -> Result<(), String> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) if self.known.is_empty() => Err(format!("{}{key}: there are no settings here", self.place)),
            Some(key) => {
                Err(format!("{}{key}: there is no such setting; there are {}", self.place, self.known.join(", ")))
            }
        }
    }

    /// An error about one of the keys.
    pub fn wrong(&self, key: &str, text: &str) -> String {
        format!("{}{key}: {text}", self.place)
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        wrong: impl Fn() -> String,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| self.wrong(key, &wrong()))
    }
}

fn full_text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let mut settings =
            Settings::parse(r#"{"a":1,"b":"x","c":["x"],"d":true,"e":{"f":1},"a-ms":99,"n":-1,"t":""}"#).unwrap();
        assert_eq!(settings.number("a", 1..=2), Ok(Some(1)));
        assert_eq!(settings.text("b"), Ok(Some("x".into())));
        assert_eq!(settings.texts("c"), Ok(Some(vec!["x".into()])));
        assert_eq!(settings.flag("d"), Ok(Some(true)));
        assert_eq!(settings.number("none", 1..=2), Ok(None));
        assert_eq!(settings.number("a-ms", 0..=9).unwrap_err(), "a-ms: a number from 0 to 9 is required");
        assert_eq!(settings.number("n", 0..=9).unwrap_err(), "n: a number from 0 to 9 is required");
        assert_eq!(settings.text("t").unwrap_err(), "t: a text is required");
        let inner = settings.value("e").unwrap();
        assert!(settings.finish().is_ok());
        let inner = Settings::within("e", inner).unwrap();
        assert_eq!(inner.finish().unwrap_err(), "e.f: there are no settings here");
        let mut typo = Settings::parse(r#"{"bytes":1}"#).unwrap();
        assert_eq!(typo.number("bytes-max", 1..=2), Ok(None));
        assert_eq!(typo.finish().unwrap_err(), "bytes: there is no such setting; there are bytes-max");
        assert!(Settings::parse("[]").is_err() && Settings::parse("{").is_err());
    }
}
