//! Kling's new standard: the model in the path, one `/tasks` query for all kinds.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::liberal;

/// The body of every create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    /// Text to video only; elsewhere the prompt is one of the contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What the video is made from, outside text to video.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Content>,
    /// How it is made.
    pub settings: Settings,
    /// What goes with the call.
    pub options: Options,
}

/// One thing that the video is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// `prompt`, `first_frame`, `last_frame`, `refer_image`, `element`, ...
    pub r#type: String,
    /// Of a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A public link, or an image as bare base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of an element; a number or a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element_id: Option<Value>,
}

impl Content {
    /// The words.
    pub fn prompt(text: &str) -> Self {
        Self { r#type: "prompt".to_owned(), text: Some(text.to_owned()), ..Self::default() }
    }

    /// A picture in the part of `kind`.
    pub fn image(kind: &str, url: String) -> Self {
        Self { r#type: kind.to_owned(), url: Some(url), ..Self::default() }
    }

    /// An element that the account owns.
    pub fn element(id: Value) -> Self {
        Self { r#type: "element".to_owned(), element_id: Some(id), ..Self::default() }
    }
}

/// How the video is made; absent fields are left to the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `720p`, `1080p`, `4k`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// `16:9`, `9:16`, `1:1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aspect_ratio: Option<String>,
    /// Whole seconds, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u32>,
    /// `native`, `off`, `original`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// Whether the prompt may be cut into shots; the 3.0 family does unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_shot: Option<bool>,
}

/// What goes with the call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Where to call back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// Our marker; unique per account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_task_id: Option<String>,
    /// `{"enabled": bool}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark_info: Option<Value>,
}

/// A task: the data of a create, an element of a query, the body of a callback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Opaque.
    #[serde(deserialize_with = "liberal::as_text")]
    pub id: String,
    /// A word that [`super::kling::Status`] reads.
    #[serde(deserialize_with = "liberal::as_text")]
    pub status: String,
    /// Why it failed.
    #[serde(deserialize_with = "liberal::as_text")]
    pub message: String,
    /// Unix milliseconds.
    #[serde(deserialize_with = "liberal::as_whole")]
    pub create_time: Option<i64>,
    /// Unix milliseconds.
    #[serde(deserialize_with = "liberal::as_whole")]
    pub update_time: Option<i64>,
    /// What was sent as `external_task_id`.
    #[serde(deserialize_with = "liberal::as_text")]
    pub external_id: String,
    /// What was made.
    #[serde(deserialize_with = "liberal::readable", skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// What was charged, once that is known.
    #[serde(deserialize_with = "liberal::or_default", skip_serializing_if = "Option::is_none")]
    pub billing: Option<Vec<Billing>>,
}

/// Something that was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Output {
    /// `video` for what we are after.
    #[serde(deserialize_with = "liberal::as_text")]
    pub r#type: String,
    /// Of the file.
    #[serde(deserialize_with = "liberal::as_text")]
    pub id: String,
    /// Where it is.
    #[serde(deserialize_with = "liberal::as_text")]
    pub url: String,
    /// Where the copy with a watermark is.
    #[serde(deserialize_with = "liberal::as_text")]
    pub watermark_url: String,
    /// Seconds, as text.
    #[serde(deserialize_with = "liberal::as_text")]
    pub duration: String,
}

/// One charge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Billing {
    /// `cash` or `unit`.
    #[serde(deserialize_with = "liberal::as_text")]
    pub charge_type: String,
    /// Of cash.
    #[serde(deserialize_with = "liberal::as_text", skip_serializing_if = "String::is_empty")]
    pub currency: String,
    /// What was paid from.
    #[serde(deserialize_with = "liberal::as_text")]
    pub package_type: String,
    /// As written.
    #[serde(deserialize_with = "liberal::as_text")]
    pub amount: String,
    /// As written.
    #[serde(deserialize_with = "liberal::as_text")]
    pub list_price: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::kling::Envelope;

    #[test]
    fn a_create_round_trips_through_the_documented_body() {
        for text in [
            r#"{"prompt":"a red kite over dunes","settings":{"resolution":"1080p","aspect_ratio":"16:9","duration":5,
                "audio":"off","multi_shot":false},"options":{"callback_url":"https://gw.example/hooks/kling",
                "external_task_id":"job-42","watermark_info":{"enabled":false}}}"#,
            r#"{"contents":[{"type":"prompt","text":"slow push in"},
                {"type":"first_frame","url":"https://img.example/a.png"},
                {"type":"last_frame","url":"https://img.example/b.png"}],
                "settings":{"resolution":"1080p","duration":5},"options":{"external_task_id":"job-43"}}"#,
        ] {
            let create: Create = serde_json::from_str(text).unwrap();
            let sample: Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_value(&create).unwrap(), sample);
        }
    }

    #[test]
    fn the_documented_answer_to_a_create_is_read() {
        let envelope = Envelope::read(
            br#"{"code":0,"message":"SUCCEED","request_id":"r-1","data":{"id":"900000000000000001","status":"submitted",
                "create_time":1790000000000,"update_time":1790000000000,"external_id":"job-42"}}"#,
        );
        let task: Task = serde_json::from_value(envelope.unwrap().data).unwrap();
        assert_eq!((task.id.as_str(), task.external_id.as_str()), ("900000000000000001", "job-42"));
        assert_eq!((task.create_time, task.billing), (Some(1_790_000_000_000), None));
    }

    #[test]
    fn the_documented_answer_to_a_query_is_read() {
        let envelope = Envelope::read(
            br#"{"code":0,"message":"SUCCEED","request_id":"r-2","data":[{"id":"900000000000000001","status":"succeeded",
                "message":"","create_time":1790000000000,"update_time":1790000060000,"external_id":"job-42",
                "outputs":[{"type":"video","id":"v1","url":"https://cdn.example/v1.mp4","watermark_url":"","duration":"5.1"}],
                "billing":[{"charge_type":"unit","package_type":"video","amount":"4","list_price":"0.7"}]}]}"#,
        );
        let tasks: Vec<Task> = serde_json::from_value(envelope.unwrap().data).unwrap();
        assert_eq!(tasks[0].outputs[0].url, "https://cdn.example/v1.mp4");
        assert_eq!(tasks[0].outputs[0].duration, "5.1");
        assert_eq!(tasks[0].billing.as_ref().unwrap()[0].amount, "4");
    }

    #[test]
    fn a_task_is_read_whatever_its_optional_fields_are() {
        let task: Task = serde_json::from_str(
            r#"{"id":900000000000000001,"status":"dancing","message":null,"update_time":"1790000060000","outputs":null,
                "billing":[{"amount":4,"list_price":0.7,"new":[]}],"new":{}}"#,
        )
        .unwrap();
        assert_eq!(
            (task.id.as_str(), task.status.as_str(), task.message.as_str()),
            ("900000000000000001", "dancing", "")
        );
        assert_eq!(task.update_time, Some(1_790_000_060_000));
        assert_eq!(task.billing.unwrap()[0].list_price, "0.7");
    }
}
