//! Pictures and free options on their way into a request: how an image is written
//! down, and numbers that lost their wholeness on the way through protobuf.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use crate::task::picture::ImageFormat;
use crate::task::spec::Image;

/// A link as it is, or the picture as base64 alone.
pub fn bare(image: &Image) -> String {
    match image {
        Image::Uri(uri) => uri.clone(),
        Image::Data(data) => STANDARD.encode(data),
        Image::File(_) => unread(),
    }
}

/// A link as it is, or the picture as a data URI.
pub fn data_uri(image: &Image) -> String {
    match image {
        Image::Uri(uri) => uri.clone(),
        Image::Data(data) => {
            // Jpeg is what remains of what is accepted.
            let format = ImageFormat::of(data).unwrap_or(ImageFormat::Jpeg);
            format!("data:{};base64,{}", format.media_type(), STANDARD.encode(data))
        }
        Image::File(_) => unread(),
    }
}

/// An order holds the pictures themselves; an adapter that was handed a file all
/// the same sends nothing that a provider would take for one.
fn unread() -> String {
    debug_assert!(false, "an order with a picture that was not read from its file");
    String::new()
}

/// The same value with `5.0` written `5`: protobuf's Struct knows floats only, and
/// providers refuse a float where they want a whole number.
pub fn whole_numbers(value: &Value) -> Value {
    /// Beyond 2^53 a float no longer tells neighbours apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
                Value::Number(Number::from(float as i64))
            }
            _ => value.clone(),
        },
        Value::Array(members) => members.iter().map(whole_numbers).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), whole_numbers(field)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn pictures_are_written_as_each_provider_wants_them() {
        let png = Image::Data(Bytes::from_static(b"\x89PNG\r\n\x1a\n"));
        assert_eq!(bare(&png), "iVBORw0KGgo=");
        assert_eq!(data_uri(&png), "data:image/png;base64,iVBORw0KGgo=");
        assert_eq!(data_uri(&Image::Data(Bytes::from_static(b"\xff\xd8\xff"))), "data:image/jpeg;base64,/9j/");
        let link = Image::Uri("https://img.example/a.png".to_owned());
        assert_eq!(
            (bare(&link), data_uri(&link)),
            ("https://img.example/a.png".into(), "https://img.example/a.png".into())
        );
    }

    #[test]
    fn whole_floats_become_whole_numbers() {
        let options = json!({"a": 5.0, "b": [0.5, {"c": -10.0}], "d": 1e300, "e": "5.0"});
        assert_eq!(whole_numbers(&options).to_string(), r#"{"a":5,"b":[0.5,{"c":-10}],"d":1e+300,"e":"5.0"}"#);
    }
}
