//! What can be wrong with the settings. Every variant names the key it is
//! about, and none repeats a value: the value may be a secret.

use std::path::PathBuf;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file cannot be read or is not TOML.
    #[error("settings file {}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A key that no part reads: most likely a spelling mistake.
    #[error("{key}: unknown setting{}", hint(.variable))]
    UnknownKey {
        /// The full dotted key.
        key: String,
        /// The environment variable that set it, if one did.
        variable: Option<String>,
    },
    /// A value of the wrong type or out of range.
    #[error("{key}: {message}")]
    Value {
        /// The full dotted key.
        key: String,
        /// What would be right.
        message: String,
    },
}

impl ConfigError {
    /// Says what would be right for a key.
    pub(super) fn value(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value { key: key.into(), message: message.into() }
    }

    /// The dotted key the error is about; none when the whole file is wrong.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::File { .. } => None,
            Self::UnknownKey { key, .. } | Self::Value { key, .. } => Some(key),
        }
    }
}

fn hint(variable: &Option<String>) -> String {
    variable.as_ref().map(|name| format!(" (from the environment variable {name})")).unwrap_or_default()
}
