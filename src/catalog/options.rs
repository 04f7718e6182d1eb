//! The check of `provider_options` by type and range. It walks the known shapes, not
//! the data, so that no input makes it go deep.

use serde_json::{Map, Value};

use super::findings::{Findings, either};
use super::model::Limits;
use super::shape::{Field, Shape};
use crate::task::spec::Spec;

/// How much of an unknown key is said back.
const MAX_KEY_CHARS: usize = 64;

/// Checks every option. Whole numbers that came as 5.0, as they do through
/// `google.protobuf.Struct`, become 5: providers refuse the other form.
pub fn check(limits: &Limits, spec: &mut Spec, findings: &mut Findings) {
    for (key, value) in &mut spec.provider_options {
        let path = format!("spec.provider_options.{}", printable(key));
        match limits.options.get(key) {
            Some(shape) => walk(shape, value, &path, findings),
            None => findings.unsupported(&path, unknown(limits, findings)),
        }
    }
}

fn unknown(limits: &Limits, findings: &Findings) -> String {
    let known: Vec<&str> = limits.options.keys().map(String::as_str).collect();
    match known.as_slice() {
        [] => format!("is unknown: {} takes no provider options", findings.model),
        _ => format!("is unknown: {} takes {}", findings.model, known.join(", ")),
    }
}

fn walk(shape: &Shape, value: &mut Value, path: &str, findings: &mut Findings) {
    match shape {
        Shape::List { item, min, max } => list(item, *min..=*max, value, path, findings),
        Shape::Object(fields) => match value {
            Value::Object(object) => members(fields, object, path, findings),
            _ => findings.invalid(path, "must be an object".to_owned()),
        },
        _ => match scalar(shape, value) {
            Some(normal) => *value = normal,
            None => findings.invalid(path, complaint(shape, value)),
        },
    }
}

/// The value in its normal form, if it has the shape.
fn scalar(shape: &Shape, value: &Value) -> Option<Value> {
    let in_chars = |text: &str, max: usize| !text.is_empty() && text.chars().count() <= max;
    match (shape, value) {
        (Shape::Bool, Value::Bool(_)) => Some(value.clone()),
        (Shape::Number(from, to), Value::Number(number)) => {
            number.as_f64().filter(|n| from <= n && n <= to).map(|_| value.clone())
        }
        (Shape::Integer(from, to), _) => whole(value).filter(|n| from <= n && n <= to).map(Value::from),
        (Shape::Text(max), Value::String(text)) => in_chars(text, *max).then(|| value.clone()),
        (Shape::Id, Value::String(text)) => in_chars(text, 128).then(|| value.clone()),
        (Shape::Id, _) => whole(value).filter(|n| *n >= 0).map(Value::from),
        (Shape::Seconds(from, to), _) => {
            let number = value.as_str().map_or_else(|| whole(value), |text| text.parse().ok());
            number.filter(|n| from <= n && n <= to).map(|n| Value::from(n.to_string()))
        }
        (Shape::OneOf(words), Value::String(text)) => words.contains(text).then(|| value.clone()),
        _ => None,
    }
}

/// The whole number that a value is, in either form.
fn whole(value: &Value) -> Option<i64> {
    /// Beyond this, neighbouring whole numbers are the same double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = || value.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT).map(|n| n as i64);
    value.as_i64().or_else(float)
}

fn complaint(shape: &Shape, value: &Value) -> String {
    let hint = match shape {
        Shape::OneOf(words) if value == "standard" && words.iter().any(|word| word == "std") => {
            " (\"standard\" is spelled \"std\")"
        }
        Shape::OneOf(words) if value == "professional" && words.iter().any(|word| word == "pro") => {
            " (\"professional\" is spelled \"pro\")"
        }
        _ => "",
    };
    match shape {
        Shape::OneOf(words) => format!("must be {}{hint}", either(words)),
        Shape::Bool => "must be true or false".to_owned(),
        Shape::Id => format!("must be an {shape}"),
        Shape::Number(..) | Shape::Integer(..) => format!("must be a {shape}"),
        other => format!("must be {other}"),
    }
}

fn list(item: &Shape, length: std::ops::RangeInclusive<usize>, value: &mut Value, path: &str, findings: &mut Findings) {
    match value {
        Value::Array(items) if length.contains(&items.len()) => {
            for (i, value) in items.iter_mut().enumerate() {
                walk(item, value, &format!("{path}[{i}]"), findings);
            }
        }
        _ => findings.invalid(path, format!("must be a list of {} to {}", length.start(), length.end())),
    }
}

fn members(fields: &[Field], object: &mut Map<String, Value>, path: &str, findings: &mut Findings) {
    for key in object.keys().filter(|key| !fields.iter().any(|field| field.name == **key)) {
        let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        findings.invalid(&format!("{path}.{}", printable(key)), format!("is unknown, known are {}", known.join(", ")));
    }
    for field in fields {
        let path = format!("{path}.{}", field.name);
        match object.get_mut(&field.name) {
            Some(value) => walk(&field.shape, value, &path, findings),
            None if field.optional => {}
            None => findings.invalid(&path, "is required".to_owned()),
        }
    }
}

/// A key that is fit to be said back.
fn printable(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(MAX_KEY_CHARS).collect()
}
