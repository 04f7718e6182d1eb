//! A secret setting: a value, `{ env = "NAME" }` or `{ file = "PATH" }`. It
//! remembers where it came from, which may be shown, and never shows itself.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::Value;

use super::error::ConfigError;
use super::section::Environment;

/// No provider's key comes near this; a larger file is not a key.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret and its origin.
#[derive(Clone)]
pub struct Secret {
    /// The secret itself.
    pub value: SecretString,
    /// Where it was read from.
    pub origin: Origin,
}

/// Where a secret was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was written down as it is.
    Value,
    /// It came from this environment variable.
    Env(String),
    /// It came from this file.
    File(PathBuf),
}

impl Secret {
    /// Takes a secret from the environment variable, if that is set.
    pub(super) fn from_variable(name: &str, environment: &Environment) -> Option<Self> {
        let text = environment.get(name)?.trim();
        is_usable(text).then(|| Self { value: text.into(), origin: Origin::Env(name.to_owned()) })
    }

    pub(super) fn read(key: &str, value: Value, environment: &Environment) -> Result<Self, ConfigError> {
        let shape = || ConfigError::value(key, "expected a text, { env = \"NAME\" } or { file = \"PATH\" }");
        let (text, origin) = match value {
            Value::String(text) => (text, Origin::Value),
            Value::Table(table) => {
                let mut entries = table.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((kind, Value::String(name))), None) if kind == "env" => {
                        (read_variable(key, &name, environment)?, Origin::Env(name))
                    }
                    (Some((kind, Value::String(path))), None) if kind == "file" => {
                        (read_file(key, Path::new(&path))?, Origin::File(path.into()))
                    }
                    _ => return Err(shape()),
                }
            }
            _ => return Err(shape()),
        };
        let text = text.trim();
        if !is_usable(text) {
            let place = match &origin {
                Origin::Value => "the value".to_owned(),
                Origin::Env(name) => format!("environment variable {name}"),
                Origin::File(path) => format!("file {}", path.display()),
            };
            return Err(ConfigError::value(key, format!("{place} is empty or holds spaces or control characters")));
        }
        Ok(Self { value: text.into(), origin })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?}, ********)", self.origin)
    }
}

/// A line break in the middle would end up in an HTTP header.
fn is_usable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn read_variable(key: &str, name: &str, environment: &Environment) -> Result<String, ConfigError> {
    let missing = || ConfigError::value(key, format!("environment variable {name} is not set"));
    environment.get(name).cloned().ok_or_else(missing)
}

fn read_file(key: &str, path: &Path) -> Result<String, ConfigError> {
    let failed = |what: String| ConfigError::value(key, format!("secret file {}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    check_mode(&file).map_err(failed)?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    if read as u64 > MAX_BYTES {
        return Err(failed(format!("is larger than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// A key that everybody on the machine can read is no secret. A group may read it,
/// as clusters mount their secrets.
#[cfg(unix)]
fn check_mode(file: &std::fs::File) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("is not a regular file".into());
    }
    match metadata.mode() & 0o027 {
        0 => Ok(()),
        _ => Err(format!("is open to others (mode {:04o}); chmod 600 it", metadata.mode() & 0o7777)),
    }
}

#[cfg(not(unix))]
fn check_mode(_: &std::fs::File) -> Result<(), String> {
    Ok(())
}
