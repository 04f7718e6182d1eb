//! `provider_options` between protobuf's Struct and JSON, within limits: it is the
//! one part of a request whose shape the caller chooses.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number};

/// How many keys at the top.
const KEYS: usize = 64;
/// How many values in all.
const VALUES: usize = 256;
/// How many levels.
const LEVELS: usize = 8;
/// How many bytes, written as JSON.
const BYTES: usize = 16 * 1024;

/// Reads the options, or says what is wrong and where (a dotted path below
/// `spec.provider_options`, empty for the whole).
pub fn read(options: Struct) -> Result<Map<String, serde_json::Value>, (String, String)> {
    let here = |message: &str| (String::new(), message.to_owned());
    if options.fields.len() > KEYS {
        return Err(here("must have at most 64 keys"));
    }
    let mut room = VALUES;
    let read = object(options, "", 1, &mut room)?;
    let bytes = serde_json::to_vec(&read).map_or(usize::MAX, |json| json.len());
    if bytes > BYTES {
        return Err(here("must be at most 16 KiB"));
    }
    Ok(read)
}

/// The links in the options, each with its dotted path: the provider will fetch them.
pub fn links(options: &Map<String, serde_json::Value>) -> Vec<(String, &str)> {
    use serde_json::Value as V;
    let mut links = Vec::new();
    let mut open: Vec<(String, &V)> = options.iter().map(|(key, value)| (key.clone(), value)).collect();
    while let Some((path, value)) = open.pop() {
        match value {
            V::String(text) if is_link(text) => links.push((path, text.as_str())),
            V::Array(items) => {
                open.extend(items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item)));
            }
            V::Object(fields) => open.extend(fields.iter().map(|(key, field)| (format!("{path}.{key}"), field))),
            _ => {}
        }
    }
    links
}

/// Whether the whole text is a link rather than words in which one stands.
fn is_link(text: &str) -> bool {
    let scheme = text.trim_start().split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|it| {
        it.starts_with(|c: char| c.is_ascii_alphabetic()) && it.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

/// Recursion is bounded by `LEVELS`.
fn object(
    fields: Struct,
    path: &str,
    level: usize,
    room: &mut usize,
) -> Result<Map<String, serde_json::Value>, (String, String)> {
    let mut read = Map::new();
    for (key, field) in fields.fields {
        if key.is_empty() || key.len() > 64 || key.chars().any(char::is_control) {
            return Err((path.to_owned(), "must have keys of 1 to 64 bytes without control characters".to_owned()));
        }
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        read.insert(key, value(field, &below, level, room)?);
    }
    Ok(read)
}

fn value(value: Value, path: &str, level: usize, room: &mut usize) -> Result<serde_json::Value, (String, String)> {
    let wrong = |message: &str| Err((path.to_owned(), message.to_owned()));
    let Some(left) = room.checked_sub(1) else {
        return Err((String::new(), "must have at most 256 values".to_owned()));
    };
    *room = left;
    match value.kind {
        None | Some(Kind::NullValue(_)) => Ok(serde_json::Value::Null),
        Some(Kind::BoolValue(flag)) => Ok(flag.into()),
        Some(Kind::StringValue(text)) => Ok(text.into()),
        Some(Kind::NumberValue(number)) => match json_number(number) {
            Some(number) => Ok(number.into()),
            None => wrong("must be a finite number"),
        },
        Some(Kind::StructValue(_) | Kind::ListValue(_)) if level >= LEVELS => {
            wrong("must not be nested deeper than 8 levels")
        }
        Some(Kind::StructValue(fields)) => object(fields, path, level + 1, room).map(Into::into),
        Some(Kind::ListValue(list)) => {
            let items = list.values.into_iter().enumerate();
            items.map(|(index, item)| self::value(item, &format!("{path}[{index}]"), level + 1, room)).collect()
        }
    }
}

/// A Struct knows doubles only: whole ones become integers again, because
/// providers tell 5 and 5.0 apart.
fn json_number(number: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within the exact range")]
        return Some((number as i64).into());
    }
    Number::from_f64(number)
}

/// The options as a Struct again.
pub fn render(options: &Map<String, serde_json::Value>) -> Struct {
    Struct { fields: options.iter().map(|(key, value)| (key.clone(), render_value(value))).collect() }
}

fn render_value(value: &serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(*flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.iter().map(render_value).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(render(fields)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: f64) -> Value {
        Value { kind: Some(Kind::NumberValue(number)) }
    }

    fn one(key: &str, value: Value) -> Struct {
        Struct { fields: [(key.to_owned(), value)].into() }
    }

    fn nested(levels: usize) -> Struct {
        (1..levels).fold(one("leaf", number(1.0)), |inner, _| one("in", Value { kind: Some(Kind::StructValue(inner)) }))
    }

    #[test]
    fn limits_hold_one_over_and_not_at_the_limit() {
        let keys = |count: usize| Struct { fields: (0..count).map(|n| (n.to_string(), number(0.0))).collect() };
        let list = |count: usize| {
            one("list", Value { kind: Some(Kind::ListValue(ListValue { values: vec![number(0.0); count] })) })
        };
        let text = |bytes: usize| one("t", Value { kind: Some(Kind::StringValue("x".repeat(bytes))) });
        let overhead = r#"{"t":""}"#.len();
        for (options, fits) in [
            (keys(64), true),
            (keys(65), false),
            (list(255), true),
            (list(256), false),
            (nested(8), true),
            (nested(9), false),
            (text(BYTES - overhead), true),
            (text(BYTES - overhead + 1), false),
            (one("n", number(f64::NAN)), false),
            (one("n", number(f64::INFINITY)), false),
            (one("", number(0.0)), false),
        ] {
            assert_eq!(read(options.clone()).is_ok(), fits, "{:.80}", format!("{options:?}"));
        }
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let read = read(Struct { fields: [("a".into(), number(5.0)), ("b".into(), number(0.5))].into() });
        assert_eq!(serde_json::to_string(&read.unwrap()).unwrap(), r#"{"a":5,"b":0.5}"#);
    }
}
