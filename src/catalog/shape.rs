//! The shape of a provider option: how it is written in TOML and said to people.

use std::fmt;

use serde::Deserialize;
use toml::Value;

/// What a value must look like.
///
/// In TOML: `"bool"`, `"number 0..1"`, `"integer 1..6"`, `"text 512"`, `"id"`,
/// `"seconds 1..15"`, `["a", "b"]` for a choice, `{ list = SHAPE, length = [1, 6] }`,
/// and any other table for an object, whose optional keys end in `?`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Shape {
    /// True or false.
    Bool,
    /// A number from, to.
    Number(f64, f64),
    /// A whole number from, to.
    Integer(i64, i64),
    /// Text of 1 to so many characters.
    Text(usize),
    /// An identifier, as text or number.
    Id,
    /// A whole number of seconds from, to, which the provider wants as text.
    Seconds(i64, i64),
    /// Any of these words.
    OneOf(Vec<String>),
    /// A list of so many values of one shape.
    List {
        /// The shape of each.
        item: Box<Shape>,
        /// At least so many.
        min: usize,
        /// At most so many.
        max: usize,
    },
    /// An object of known keys.
    Object(Vec<Field>),
}

/// A key of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The key.
    pub name: String,
    /// Whether the object may go without it.
    pub optional: bool,
    /// What its value looks like.
    pub shape: Shape,
}

impl TryFrom<Value> for Shape {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => scalar(&text).ok_or_else(|| format!("{text:?} is not the shape of an option")),
            Value::Array(words) => words.into_iter().map(word).collect::<Result<_, _>>().map(Self::OneOf),
            Value::Table(mut table) => match table.remove("list") {
                Some(item) => list(item, table),
                None => table.into_iter().map(field).collect::<Result<_, _>>().map(Self::Object),
            },
            other => Err(format!("{other} is not the shape of an option")),
        }
    }
}

fn scalar(text: &str) -> Option<Shape> {
    let (kind, range) = text.split_once(' ').unwrap_or((text, ""));
    let ends = range.split_once("..");
    let number = |end: &str| end.parse::<f64>().ok().filter(|n| n.is_finite());
    match (kind, ends) {
        ("bool", None) if range.is_empty() => Some(Shape::Bool),
        ("id", None) if range.is_empty() => Some(Shape::Id),
        ("text", None) => range.parse().ok().map(Shape::Text),
        ("number", Some((from, to))) => Some(Shape::Number(number(from)?, number(to)?)),
        ("integer", Some((from, to))) => Some(Shape::Integer(from.parse().ok()?, to.parse().ok()?)),
        ("seconds", Some((from, to))) => Some(Shape::Seconds(from.parse().ok()?, to.parse().ok()?)),
        _ => None,
    }
}

fn word(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("{other} in a choice is not a word")),
    }
}

fn list(item: Value, mut rest: toml::Table) -> Result<Shape, String> {
    let length = rest.remove("length").map(<[usize; 2]>::deserialize);
    match (length, rest.keys().next()) {
        (_, Some(key)) => Err(format!("unknown key `{key}` in a list")),
        (Some(Ok([min, max])), None) => Ok(Shape::List { item: Box::new(Shape::try_from(item)?), min, max }),
        (_, None) => Err("a list needs length = [LEAST, MOST]".to_owned()),
    }
}

fn field((key, value): (String, Value)) -> Result<Field, String> {
    let name = key.trim_end_matches('?').to_owned();
    Ok(Field { optional: name != key, name, shape: Shape::try_from(value)? })
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Number(from, to) => write!(f, "number from {from} to {to}"),
            Self::Integer(from, to) => write!(f, "whole number from {from} to {to}"),
            Self::Text(max) => write!(f, "text of at most {max} characters"),
            Self::Id => f.write_str("id, as text or number"),
            Self::Seconds(from, to) => write!(f, "whole seconds from {from} to {to}"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::List { item, min, max } => write!(f, "list of {min} to {max}: {item}"),
            Self::Object(fields) => {
                f.write_str("object {")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "; " };
                    let optional = if field.optional { ", optional" } else { "" };
                    write!(f, "{comma}{}: {}{optional}", field.name, field.shape)?;
                }
                f.write_str("}")
            }
        }
    }
}
