//! Lays file, environment and flags over one another into one TOML table. What
//! the keys mean is for the readers; here they are only paths.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::error::ConfigError;

/// Variables with our prefix that are not settings: the settings file's own
/// path, the address that the command line calls, and the log filter.
const NOT_SETTINGS: [&str; 3] = ["VIDEOGEN_CONFIG", "VIDEOGEN_SERVER", "VIDEOGEN_LOG"];

/// More accounts than anybody has; keeps an index from being a memory bomb.
const MAX_INDEX: usize = 1_000;

/// Reads the settings file.
pub(super) fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let failed = |error: std::io::Error| ConfigError::File { path: path.to_owned(), message: error.to_string() };
    parse(path, &std::fs::read_to_string(path).map_err(failed)?)
}

/// Reads the file's text, which never gets into an error, because the line that
/// does not parse may be the one with the key.
pub(super) fn parse(path: &Path, text: &str) -> Result<Table, ConfigError> {
    let failed = |message: String| ConfigError::File { path: path.to_owned(), message };
    text.parse::<Table>().map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        failed(format!("line {line}: not valid TOML: {}", error.message().lines().next().unwrap_or_default()))
    })
}

/// Lays every setting of the environment over the table. Answers with the
/// variable behind each dotted key, for error messages.
pub(super) fn lay_environment(
    table: &mut Table,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut settings: Vec<(Vec<String>, &String, &String)> = environment
        .iter()
        .filter(|(name, value)| is_setting(name) && !value.is_empty())
        .map(|(name, value)| (path_of(name), name, value))
        .collect();
    // By number, so that account 2 is laid before account 10.
    settings.sort_by_key(|(path, ..)| path.iter().map(|part| format!("{part:0>20}")).collect::<Vec<_>>());

    let mut variables = BTreeMap::new();
    for (path, name, value) in settings {
        let key = path.join(".");
        lay(table, &path, Value::String(value.clone()))
            .map_err(|message| ConfigError::value(&key, format!("{message} (from {name})")))?;
        variables.insert(key, name.clone());
    }
    Ok(variables)
}

/// Sets one key, by its parts. An index into a list may be at most one past its
/// end.
pub(super) fn lay(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else { return Err("empty name".into()) };
    let mut table = table;
    let mut parents = parents.iter().peekable();
    while let Some(part) = parents.next() {
        let index = parents.peek().and_then(|next| next.parse::<usize>().ok());
        let entry = table.entry(part.clone());
        table = match index {
            Some(index) => {
                parents.next();
                element(entry.or_insert_with(|| Value::Array(Vec::new())), index)?
            }
            None => {
                let slot = entry.or_insert_with(|| Value::Table(Table::new()));
                if !slot.is_table() {
                    // `{ env = .. }` of a later layer replaces a plain value.
                    *slot = Value::Table(Table::new());
                }
                slot.as_table_mut().ok_or("not a table")?
            }
        };
    }
    table.insert(last.clone(), value);
    Ok(())
}

fn element(list: &mut Value, index: usize) -> Result<&mut Table, String> {
    let list = list.as_array_mut().ok_or("is not a list in the file")?;
    if index > list.len() || index > MAX_INDEX {
        return Err(format!("number {} of the list is missing; numbers count from 0 without gaps", list.len()));
    }
    if index == list.len() {
        list.push(Value::Table(Table::new()));
    }
    list[index].as_table_mut().ok_or_else(|| "is not a list of tables in the file".into())
}

fn path_of(name: &str) -> Vec<String> {
    name.strip_prefix("VIDEOGEN_").unwrap_or(name).split("__").map(str::to_ascii_lowercase).collect()
}

/// Kubernetes puts `VIDEOGEN_PORT`, `VIDEOGEN_SERVICE_HOST` and the like into
/// every container of a namespace that has a service called `videogen`; these
/// must not be taken for spelling mistakes.
fn is_setting(name: &str) -> bool {
    let service_link = !name.contains("__")
        && (name.ends_with("_PORT")
            || name.contains("_PORT_")
            || name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT"));
    name.starts_with("VIDEOGEN_") && !NOT_SETTINGS.contains(&name) && !service_link
}
