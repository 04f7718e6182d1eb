//! The models: what each one takes, as data, and the check of a spec against it.
//! Pure. The rows stand in `models.toml`; an operator's file adds to them.

mod check;
mod file;
mod findings;
mod images;
mod model;
mod options;
mod rules;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::task::id::ModelName;

pub use file::CatalogError;
pub use findings::{Checked, Violation, ViolationKind};
pub use images::ImageLimits;
pub use model::{Audio, DurationForm, Durations, FalInput, Input, Limits, Model, Needs, Wire};
pub use shape::Shape;

/// The rows that come with the service.
const BUILT_IN: &str = include_str!("models.toml");

/// The longest name of a model, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// What an unlisted model is taken to need, in seconds.
const UNLISTED_TYPICAL_S: u32 = 120;

/// Every model known by name.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// By full name.
    models: BTreeMap<String, Arc<Model>>,
    /// Full names by alias.
    aliases: BTreeMap<String, String>,
}

impl Catalog {
    /// The models that come with the service.
    pub fn built_in() -> Self {
        Self::read(&[BUILT_IN]).expect("models.toml is part of the program, and a test reads it")
    }

    /// The built-in models with an operator's TOML on top: a row of a new name adds
    /// a model, a row of a known name replaces the keys that it sets.
    pub fn with(text: &str) -> Result<Self, CatalogError> {
        Self::read(&[BUILT_IN, text])
    }

    /// The model of a full name or alias. A fal model that is in no row is made up:
    /// its input passes through unchecked.
    pub fn resolve(&self, name: &str) -> Option<Arc<Model>> {
        let full = self.aliases.get(name).map_or(name, String::as_str);
        self.models.get(full).cloned().or_else(|| unlisted(name).map(Arc::new))
    }

    /// Every listed model, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    fn read(texts: &[&str]) -> Result<Self, CatalogError> {
        let mut models = BTreeMap::new();
        let mut aliases = BTreeMap::new();
        for model in file::read(texts)? {
            let name = model.name.as_str().to_owned();
            for alias in &model.aliases {
                let other = aliases.insert(alias.clone(), name.clone());
                if other.is_some_and(|other| other != name) {
                    return Err(CatalogError::AliasTaken { model: name, alias: alias.clone() });
                }
            }
            models.insert(name, Arc::new(model));
        }
        // A full name that is another model's alias would be out of reach.
        match models.keys().find(|name| aliases.contains_key(*name)) {
            Some(name) => Err(CatalogError::AliasTaken { model: aliases[name].clone(), alias: name.clone() }),
            None => Ok(Self { models, aliases }),
        }
    }
}

/// A pass-through for `fal/owner/app[/sub...]`. Its id becomes part of a URL, hence
/// the narrow choice of characters.
fn unlisted(name: &str) -> Option<Model> {
    let id = name.strip_prefix("fal/")?;
    let sane = |part: &str| {
        !part.bytes().all(|b| b == b'.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    // `requests` is fal's own word in the paths of status and result.
    let listed = id.split('/').count() >= 2 && id.split('/').all(|part| sane(part) && part != "requests");
    (listed && name.len() <= MAX_NAME_BYTES).then_some(())?;
    Some(Model {
        name: ModelName::parse(name)?,
        aliases: Vec::new(),
        wire: Wire::FalQueue(FalInput::default()),
        wire_id: id.to_owned(),
        typical_s: UNLISTED_TYPICAL_S,
        result_lifetime_s: None,
        limits: Limits::default(),
        unlisted: true,
    })
}
