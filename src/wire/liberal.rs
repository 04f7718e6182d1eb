//! Reading leniently where providers are known to waver: amounts that are numbers
//! on one day and strings on the next, optionals that are null, absent or misshapen.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Text as written, whether it came as a string, a number or a boolean; empty
/// for anything else.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// A whole number, whether it came as a number or as its digits.
pub fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// For `deserialize_with`: [`text`]. Needs `default` beside it.
pub fn as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(text(&Value::deserialize(deserializer)?))
}

/// For `deserialize_with`: [`whole`]. Needs `default` beside it.
pub fn as_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(whole(&Value::deserialize(deserializer)?))
}

/// For `deserialize_with`: the value, or its default when it is null or of
/// another shape than expected. Needs `default` beside it.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// For `deserialize_with`: a list without the members that cannot be read; empty
/// when it is no list. Needs `default` beside it.
pub fn readable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let Value::Array(members) = Value::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    Ok(members.into_iter().filter_map(|member| serde_json::from_value(member).ok()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_in_either_spelling() {
        for (value, as_text, as_number) in [
            (json!("4"), "4", Some(4)),
            (json!(4), "4", Some(4)),
            (json!(0.7), "0.7", Some(0)),
            (json!(null), "", None),
        ] {
            assert_eq!((text(&value).as_str(), whole(&value)), (as_text, as_number), "{value}");
        }
    }
}
