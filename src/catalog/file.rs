//! The TOML form of the catalog: bases, shapes and rows, and how they become models.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::{Table, Value};

use super::MAX_NAME_BYTES;
use super::model::{FalInput, Limits, Model, Needs, Wire};
use crate::task::id::ModelName;

/// The keys of a row that say who the model is; all others are its limits.
const IDENTITY: [&str; 7] = ["name", "aliases", "wire", "wire_id", "typical_s", "result_lifetime_s", "fal"];

/// Why a catalog cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The text is not TOML, or has something else than bases, shapes and models.
    #[error("catalog: {0}")]
    File(String),
    /// A row is wrong.
    #[error("catalog, model {model}: {problem}")]
    Row {
        /// The name in the row.
        model: String,
        /// What is wrong, with the key.
        problem: String,
    },
    /// Two models want one name.
    #[error("catalog, model {model}: the alias {alias} is another model's name")]
    AliasTaken {
        /// The model whose alias it is.
        model: String,
        /// The name.
        alias: String,
    },
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Keys that several rows share: a row names one in `base` and overrides it.
    #[serde(default)]
    base: BTreeMap<String, Table>,
    /// Shapes that several options share, written `"@name"` there.
    #[serde(default)]
    shape: BTreeMap<String, Value>,
    #[serde(default)]
    model: Vec<Table>,
}

/// Who a model is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    wire: WireWord,
    wire_id: Option<String>,
    typical_s: u32,
    result_lifetime_s: Option<u64>,
    #[serde(default)]
    fal: FalInput,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireWord {
    KlingNew,
    KlingLegacy,
    Fal,
}

/// Reads files, the later on top of the earlier ones.
pub fn read(texts: &[&str]) -> Result<Vec<Model>, CatalogError> {
    let mut bases = BTreeMap::new();
    let mut shapes = BTreeMap::new();
    let mut rows = BTreeMap::<String, Table>::new();
    for text in texts {
        let file: File = toml::from_str(text).map_err(|e| unreadable(text, &e))?;
        bases.extend(file.base);
        shapes.extend(file.shape);
        let mut seen = BTreeSet::new();
        for row in file.model {
            let name = add(&mut rows, row, &bases)?;
            if !seen.insert(name.clone()) {
                return Err(CatalogError::Row { model: name, problem: "stands twice in one file".to_owned() });
            }
        }
    }
    rows.into_iter()
        .map(|(name, row)| model(row, &shapes).map_err(|problem| CatalogError::Row { model: name, problem }))
        .collect()
}

/// The parser's own text quotes the file over many lines; a log wants one.
fn unreadable(text: &str, error: &toml::de::Error) -> CatalogError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    CatalogError::File(format!("line {}: {}", before.matches('\n').count() + 1, error.message()))
}

/// Puts a row, with its base below it, over the row of the same name, which it hands back.
fn add(
    rows: &mut BTreeMap<String, Table>,
    mut row: Table,
    bases: &BTreeMap<String, Table>,
) -> Result<String, CatalogError> {
    let Some(name) = row.get("name").and_then(Value::as_str).map(str::to_owned) else {
        return Err(CatalogError::File("a [[model]] has no name".to_owned()));
    };
    let target = rows.entry(name.clone()).or_default();
    if let Some(base) = row.remove("base") {
        let table = base.as_str().and_then(|base| bases.get(base));
        let problem = format!("base {base} is not a [base.NAME]");
        target.extend(table.ok_or_else(|| CatalogError::Row { model: name.clone(), problem })?.clone());
    }
    target.extend(row);
    Ok(name)
}

fn model(mut row: Table, shapes: &BTreeMap<String, Value>) -> Result<Model, String> {
    let identity: Table = IDENTITY.iter().filter_map(|key| row.remove_entry(*key)).collect();
    let identity: Identity = identity.try_into().map_err(|e| e.message().to_owned())?;
    if let Some(options) = row.get_mut("options") {
        expand(options, shapes, 0)?;
    }
    let limits: Limits = row.try_into().map_err(|e| e.message().to_owned())?;
    let name = name(&identity)?;
    sound(&limits)?;
    // The provider's own id is always good for a name, too.
    let mut aliases = identity.aliases;
    aliases.push(name.id().to_owned());
    aliases.sort();
    aliases.dedup();
    Ok(Model {
        aliases,
        wire: match identity.wire {
            WireWord::KlingNew => Wire::KlingNew,
            WireWord::KlingLegacy => Wire::KlingLegacy,
            WireWord::Fal => Wire::FalQueue(identity.fal),
        },
        wire_id: identity.wire_id.unwrap_or_else(|| name.id().to_owned()),
        typical_s: identity.typical_s,
        result_lifetime_s: identity.result_lifetime_s,
        limits,
        unlisted: false,
        name,
    })
}

/// Replaces every `"@name"` by the shape of that name. A shape may use others, a few
/// levels deep; a circle ends in an error.
fn expand(value: &mut Value, shapes: &BTreeMap<String, Value>, depth: usize) -> Result<(), String> {
    if depth > 16 {
        return Err("options are nested too deeply".to_owned());
    }
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix('@') {
                *value = shapes.get(name).ok_or_else(|| format!("@{name} is not a [shape]"))?.clone();
                expand(value, shapes, depth + 1)?;
            }
            Ok(())
        }
        Value::Table(table) => table.iter_mut().try_for_each(|(_, inner)| expand(inner, shapes, depth + 1)),
        _ => Ok(()),
    }
}

fn name(identity: &Identity) -> Result<ModelName, String> {
    let name = ModelName::parse(&identity.name).filter(|name| name.as_str().len() <= MAX_NAME_BYTES);
    let name = name.ok_or("name must be provider/id, of at most 200 bytes")?;
    let provider = if identity.wire == WireWord::Fal { "fal" } else { "kling" };
    if name.provider() != provider {
        return Err(format!("wire belongs to the provider {provider}, name does not"));
    }
    if identity.typical_s == 0 {
        return Err("typical_s must be at least 1".to_owned());
    }
    Ok(name)
}

/// Whether the limits agree with one another.
fn sound(limits: &Limits) -> Result<(), String> {
    let durations = limits.durations.as_slice();
    let has_mode = limits.options.contains_key("mode");
    let within = |ok: bool, problem: &str| if ok { Ok(()) } else { Err(problem.to_owned()) };
    within(!limits.input.is_empty(), "input must name text, image or both")?;
    within(limits.default_duration.is_none_or(|d| durations.contains(&d)), "default_duration is not in durations")?;
    let plain = limits.plain_durations.as_slice();
    within(plain.iter().all(|d| durations.contains(d)), "plain_durations are not in durations")?;
    let ratio = limits.required_aspect_ratio.as_ref();
    within(ratio.is_none_or(|r| limits.aspect_ratios.contains(r)), "required_aspect_ratio is not in aspect_ratios")?;
    let resolution = limits.default_resolution.as_ref();
    within(resolution.is_none_or(|r| limits.resolutions.contains(r)), "default_resolution is not in resolutions")?;
    within(limits.default_mode.is_none() || has_mode, "default_mode goes with an option mode")?;
    within(limits.min_reference_images <= limits.max_reference_images, "min_reference_images is above the maximum")?;
    let strange = limits.option_needs.keys().find(|key| !limits.options.contains_key(*key));
    match strange {
        Some(key) => Err(format!("option_needs.{key} is not in options")),
        None => needs_are_sound(limits),
    }
}

/// Whether no condition asks for a length that the model does not make.
fn needs_are_sound(limits: &Limits) -> Result<(), String> {
    let all = limits.option_needs.values().chain(&limits.end_image).chain([&limits.audio_needs]);
    let possible = |needs: &Needs| {
        needs.durations.iter().all(|d| limits.durations.as_slice().contains(d))
            && needs.resolutions.iter().all(|r| limits.resolutions.contains(r))
    };
    if all.into_iter().all(possible) {
        Ok(())
    } else {
        Err("a condition asks for what the model does not make".to_owned())
    }
}
