//! Takes keys out of one table of the settings. Whatever is left over at the end
//! is an error, so that a misspelt key cannot pass for its default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use toml::{Table, Value};
use url::Url;

use super::bytes::parse_bytes;
use super::duration::parse_duration;
use super::error::ConfigError;
use super::secret::Secret;

/// The environment that secrets may name.
pub(super) type Environment = BTreeMap<String, String>;

/// One table, with the dotted path that leads to it.
pub(super) struct Section {
    path: String,
    table: Table,
}

impl Section {
    pub(super) fn new(path: impl Into<String>, table: Table) -> Self {
        Self { path: path.into(), table }
    }

    /// The full dotted name of a key of this table.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// An error about a key of this table.
    pub(super) fn wrong(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::value(self.name(key), message)
    }

    /// The table under a key; an absent one is empty.
    pub(super) fn section(&mut self, key: &str) -> Result<Section, ConfigError> {
        match self.table.remove(key) {
            None => Ok(Section::new(self.name(key), Table::new())),
            Some(Value::Table(table)) => Ok(Section::new(self.name(key), table)),
            Some(_) => Err(self.wrong(key, "expected a table")),
        }
    }

    /// The tables of a list such as `[[accounts]]`.
    pub(super) fn sections(&mut self, key: &str) -> Result<Vec<Section>, ConfigError> {
        let name = self.name(key);
        let wrong = || ConfigError::value(&name, format!("expected a list of tables, [[{name}]]"));
        let list = match self.table.remove(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(wrong()),
        };
        let named = list.into_iter().enumerate().map(|(index, item)| match item {
            Value::Table(table) => Ok(Section::new(format!("{name}.{index}"), table)),
            _ => Err(wrong()),
        });
        named.collect()
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(Value::String(_)) => Err(self.wrong(key, "must not be empty")),
            Some(_) => Err(self.wrong(key, "expected a text in quotes")),
        }
    }

    /// True or false; the environment brings it as text.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(flag)),
            Some(Value::String(text)) if text.trim() == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text.trim() == "false" => Ok(Some(false)),
            Some(_) => Err(self.wrong(key, "expected true or false")),
        }
    }

    /// A number; the environment brings it as text.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, ConfigError> {
        let number = match self.table.remove(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => Some(number as f64),
            Some(Value::Float(number)) => Some(number),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, "expected a number")),
        }
    }

    pub(super) fn duration(&mut self, key: &str) -> Result<Option<Duration>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => parse_duration(&text).map(Some).map_err(|message| self.wrong(key, message)),
            Some(_) => Err(self.wrong(key, "expected a length of time in quotes, such as \"30s\"")),
        }
    }

    pub(super) fn bytes(&mut self, key: &str) -> Result<Option<u64>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => parse_bytes(&text).map(Some).map_err(|message| self.wrong(key, message)),
            Some(_) => Err(self.wrong(key, "expected an amount of bytes in quotes, such as \"2GiB\"")),
        }
    }

    /// A whole number from 1.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u32>, ConfigError> {
        let Some(number) = self.number(key)? else { return Ok(None) };
        if number.fract() != 0.0 || !(1.0..=f64::from(u32::MAX)).contains(&number) {
            return Err(self.wrong(key, "expected a whole number from 1"));
        }
        Ok(Some(number as u32))
    }

    pub(super) fn address(&mut self, key: &str) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let wrong = |_| self.wrong(key, "expected ADDRESS:PORT, such as 127.0.0.1:50051 or [::]:50051");
        text.parse().map(Some).map_err(wrong)
    }

    /// A web address. Credentials in it are refused: they would be shown.
    pub(super) fn url(&mut self, key: &str) -> Result<Option<Url>, ConfigError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        match url {
            None => Err(self.wrong(key, "expected a URL that begins with https:// or http://")),
            Some(url) if !url.username().is_empty() || url.password().is_some() => {
                Err(self.wrong(key, "must not hold a user name or password"))
            }
            Some(url) if url.fragment().is_some() => Err(self.wrong(key, "must not hold a #fragment")),
            Some(url) => Ok(Some(url)),
        }
    }

    /// A list of texts; in the environment separated by commas.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<String>, ConfigError> {
        let texts: Option<Vec<String>> = match self.table.remove(key) {
            None => Some(Vec::new()),
            Some(Value::String(text)) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        let texts = texts.ok_or_else(|| self.wrong(key, "expected a list of texts"))?;
        Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }

    pub(super) fn secret(&mut self, key: &str, environment: &Environment) -> Result<Option<Secret>, ConfigError> {
        let name = self.name(key);
        self.table.remove(key).map(|value| Secret::read(&name, value, environment)).transpose()
    }

    /// Refuses whatever nobody took.
    pub(super) fn finish(self, variables: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let Some((key, value)) = self.table.iter().next() else { return Ok(()) };
        let mut key = self.name(key);
        let mut value = value;
        // Follow an unknown table to the key that was written.
        while let Some((inner, next)) = value.as_table().and_then(|table| table.iter().next()) {
            key = format!("{key}.{inner}");
            value = next;
        }
        let variable = variables.get(&key).cloned();
        Err(ConfigError::UnknownKey { key, variable })
    }
}
