//! Reads one field of a request's JSON at a time, with the type that the real
//! API insists on. Nothing is shared with the adapters: this is their judge.

use serde_json::{Map, Value};

use super::account::sha256;

/// A JSON object under examination. A null field counts as absent.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a Map<String, Value>);

/// What is wrong with a field, in the words of the answer.
pub(crate) type Wrong = String;

impl<'a> Fields<'a> {
    /// The document itself must be an object.
    pub(crate) fn of(value: &'a Value) -> Result<Self, Wrong> {
        value.as_object().map(Self).ok_or_else(|| "request body must be a JSON object".to_owned())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A string of at most `most` characters.
    pub(crate) fn text(&self, name: &str, most: usize) -> Result<Option<&'a str>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| format!("{name} must be a string"))?;
        if text.chars().count() > most {
            return Err(format!("{name} must not exceed {most} characters"));
        }
        Ok(Some(text))
    }

    /// A string that must be there and must not be empty.
    pub(crate) fn required(&self, name: &str, most: usize) -> Result<&'a str, Wrong> {
        match self.text(name, most)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(format!("{name} is required")),
        }
    }

    /// One of a few words.
    pub(crate) fn choice(&self, name: &str, words: &[&str]) -> Result<Option<&'a str>, Wrong> {
        let text = self.text(name, 100)?;
        match text {
            Some(text) if !words.contains(&text) => Err(format!("{name} must be one of {}", words.join(", "))),
            _ => Ok(text),
        }
    }

    /// A whole number, not a string and not 5.0.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| format!("{name} must be an integer"))
    }

    /// A number within bounds.
    pub(crate) fn number(&self, name: &str, least: f64, most: f64) -> Result<Option<f64>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| format!("{name} must be a number"))?;
        if !(least..=most).contains(&number) {
            return Err(format!("{name} must be between {least} and {most}"));
        }
        Ok(Some(number))
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| format!("{name} must be a boolean"))
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_object().map(|map| Some(Fields(map))).ok_or_else(|| format!("{name} must be an object"))
    }

    /// A list of objects, empty when absent.
    pub(crate) fn objects(&self, name: &str, most: usize) -> Result<Vec<Fields<'a>>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(|| format!("{name} must be an array"))?;
        if list.len() > most {
            return Err(format!("{name} must not have more than {most} items"));
        }
        list.iter().map(|item| Fields::of(item).map_err(|_| format!("{name} must be an array of objects"))).collect()
    }

    /// The fields that a request may not carry here.
    pub(crate) fn refuse(&self, names: &[&str], why: &str) -> Result<(), Wrong> {
        match names.iter().find(|name| self.has(name)) {
            Some(name) => Err(format!("{name} {why}")),
            None => Ok(()),
        }
    }

    /// The fields that the API would pass over without a word.
    pub(crate) fn unknown(&self, known: &[&str]) -> Vec<String> {
        self.0.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect()
    }
}

/// An http(s) URL.
pub(crate) fn is_link(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// A public URL or raw base64, never a data URI.
pub(crate) fn kling_image(name: &str, text: &str) -> Result<(), Wrong> {
    use base64::Engine as _;
    if text.starts_with("data:") {
        return Err(format!("{name} must be raw base64 without a data: prefix"));
    }
    let raw = || base64::engine::general_purpose::STANDARD.decode(text).is_ok_and(|bytes| !bytes.is_empty());
    if is_link(text) || raw() { Ok(()) } else { Err(format!("{name} must be a URL or base64")) }
}

/// The pictures that a body holds by value, in its own order.
pub(crate) fn pictures(body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(body) = serde_json::from_slice(body) {
        gather(&body, &mut found);
    }
    found
}

fn gather(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.extend(picture(text)),
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| gather(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// How a picture is written, and what it is; nothing for any other text.
fn picture(text: &str) -> Option<String> {
    use base64::Engine as _;
    const SHORTEST: usize = 64;
    let (written, base64) = match text.strip_prefix("data:") {
        Some(uri) => uri.split_once(',')?,
        None => ("base64", text),
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).ok()?;
    (bytes.len() >= SHORTEST).then(|| format!("{written} {}", sha256(&bytes)))
}
