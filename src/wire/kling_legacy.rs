//! Kling's legacy standard: `/v1/videos/...`, the model in a flat body, one query
//! path for each kind.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::liberal;

/// The body of every create. Lengths are texts here, unlike in the new standard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    /// Always sent: the provider's own default is discontinued.
    pub model_name: String,
    /// The words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What not to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// The first frame: a link or bare base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The last frame, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tail: Option<String>,
    /// Pictures of the kinds that take several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_list: Vec<ListedImage>,
    /// `std`, `pro`, `4k`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Text to video only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aspect_ratio: Option<String>,
    /// Whole seconds, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// `on` or `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<String>,
    /// Where to call back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// Our marker; unique per account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_task_id: Option<String>,
    /// Settings by Kling's own names: cfg_scale, camera_control, masks, shots, ...
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A picture in a list; its name differs between the kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListedImage {
    /// multi-image2video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// omni-video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// omni-video: `first_frame`, `end_frame`, or absent for a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
}

/// A task: the data of a create or a query, the body of a callback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Opaque.
    #[serde(deserialize_with = "liberal::as_text")]
    pub task_id: String,
    /// A word that [`super::kling::Status`] reads.
    #[serde(deserialize_with = "liberal::as_text")]
    pub task_status: String,
    /// Why it failed.
    #[serde(deserialize_with = "liberal::as_text")]
    pub task_status_msg: String,
    /// What was sent along.
    #[serde(deserialize_with = "liberal::or_default")]
    pub task_info: TaskInfo,
    /// What was made.
    #[serde(deserialize_with = "liberal::or_default", skip_serializing_if = "Option::is_none")]
    pub task_result: Option<TaskResult>,
    /// Units charged, once that is known.
    #[serde(deserialize_with = "liberal::as_text", skip_serializing_if = "String::is_empty")]
    pub final_unit_deduction: String,
    /// Money charged, once that is known.
    #[serde(deserialize_with = "liberal::or_default", skip_serializing_if = "Option::is_none")]
    pub final_balance_deduction: Option<BalanceDeduction>,
    /// Unix milliseconds.
    #[serde(deserialize_with = "liberal::as_whole")]
    pub created_at: Option<i64>,
    /// Unix milliseconds.
    #[serde(deserialize_with = "liberal::as_whole")]
    pub updated_at: Option<i64>,
}

/// What was sent along with a create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskInfo {
    /// Our marker.
    #[serde(deserialize_with = "liberal::as_text")]
    pub external_task_id: String,
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskResult {
    /// One in practice.
    #[serde(deserialize_with = "liberal::readable")]
    pub videos: Vec<Video>,
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Video {
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

/// Money charged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BalanceDeduction {
    /// As written.
    #[serde(deserialize_with = "liberal::as_text")]
    pub quota: String,
    /// As written.
    #[serde(deserialize_with = "liberal::as_text")]
    pub list_price: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::kling::Envelope;

    #[test]
    fn a_create_round_trips_through_bodies_seen_from_real_clients() {
        for text in [
            r#"{"model_name":"kling-v3","prompt":"..","negative_prompt":"..","sound":"on","mode":"pro","aspect_ratio":"16:9",
                "duration":"7","external_task_id":"..","callback_url":".."}"#,
            r#"{"model_name":"kling-v2-6","prompt":"..","image":"https://..","image_tail":"<raw base64>","cfg_scale":0.5,
                "mode":"pro","duration":"5"}"#,
            r#"{"model_name":"kling-v1-6","image_list":[{"image":".."}],"prompt":".."}"#,
        ] {
            let create: Create = serde_json::from_str(text).unwrap();
            let sample: Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_value(&create).unwrap(), sample);
        }
    }

    #[test]
    fn the_documented_answer_to_a_create_is_read() {
        let envelope = Envelope::read(
            br#"{"code":0,"message":"SUCCEED","request_id":"r-3","data":{"task_id":"900000000000000009",
                "task_status":"submitted","task_info":{"external_task_id":"job-44"},
                "created_at":1790000000000,"updated_at":1790000000000}}"#,
        );
        let task: Task = serde_json::from_value(envelope.unwrap().data).unwrap();
        assert_eq!((task.task_id.as_str(), task.task_status.as_str()), ("900000000000000009", "submitted"));
        assert_eq!(task.task_info.external_task_id, "job-44");
    }

    #[test]
    fn the_documented_finished_task_is_read() {
        let envelope = Envelope::read(
            br#"{"code":0,"message":"SUCCEED","request_id":"r-4","data":{"task_id":"900000000000000009",
                "task_status":"succeed","task_status_msg":"","task_info":{"external_task_id":"job-44"},
                "task_result":{"videos":[{"id":"v9","url":"https://cdn.example/v9.mp4","watermark_url":"","duration":"5.1"}]},
                "watermark_info":{"enabled":false},"final_unit_deduction":"3.5",
                "final_balance_deduction":{"quota":"0","list_price":"0"},
                "created_at":1790000000000,"updated_at":1790000060000}}"#,
        );
        let task: Task = serde_json::from_value(envelope.unwrap().data).unwrap();
        assert_eq!(task.task_result.unwrap().videos[0].url, "https://cdn.example/v9.mp4");
        assert_eq!(task.final_unit_deduction, "3.5");
        assert_eq!(task.final_balance_deduction.unwrap().quota, "0");
        assert_eq!(task.updated_at, Some(1_790_000_060_000));
    }

    #[test]
    fn a_task_is_read_whatever_its_optional_fields_are() {
        let task: Task = serde_json::from_str(
            r#"{"task_id":9,"task_status":"dancing","task_info":null,"task_result":"none","final_unit_deduction":3.5,
                "final_balance_deduction":"none","created_at":null}"#,
        )
        .unwrap();
        assert_eq!((task.task_id.as_str(), task.final_unit_deduction.as_str()), ("9", "3.5"));
        assert_eq!((task.task_result, task.final_balance_deduction, task.created_at), (None, None, None));
    }
}
