//! What fal's models say about their input. It is found out when a request runs,
//! not when it is queued, and it names the field as the model's schema does.

use serde_json::{Value, json};

use super::super::book::Shape;

/// How a model writes a duration.
enum Duration {
    /// One of these strings.
    Words(&'static [&'static str]),
    /// A string of a whole number in this range.
    Text(u32, u32),
    /// A whole number in this range.
    Number(i64, i64),
    /// Not checked.
    Free,
}

/// The words of every prompt in the input.
pub(super) fn prompt(body: &Value) -> String {
    if let Some(text) = body["prompt"].as_str() {
        return text.to_owned();
    }
    let shots = body["multi_prompt"].as_array();
    shots.into_iter().flatten().filter_map(|shot| shot["prompt"].as_str()).collect::<Vec<_>>().join(" ")
}

/// The picture's shape, as far as the input tells.
pub(super) fn shape(body: &Value) -> Shape {
    let seconds = match &body["duration"] {
        Value::String(text) => text.trim_end_matches('s').parse().unwrap_or(5),
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(5),
        _ => 5,
    };
    let aspect_ratio = body["aspect_ratio"].as_str().unwrap_or("16:9").chars().take(8).collect();
    Shape { seconds: seconds.clamp(1, 30), aspect_ratio }
}

/// The complaints about an input, or nothing.
pub(super) fn check(model: &str, body: &Value) -> Option<Value> {
    if !body.is_object() {
        return Some(json!([complaint(&["body"], "Input should be a valid dictionary", "dict_type", body)]));
    }
    let mut wrong = Vec::new();
    for field in required(model) {
        if body[*field].as_str().is_none_or(str::is_empty) {
            wrong.push(missing(field, &body[*field]));
        }
    }
    if takes_story(model) && body["prompt"].as_str().is_none() && !body["multi_prompt"].is_array() {
        wrong.push(missing("prompt", &body["prompt"]));
    }
    wrong.extend(check_duration(model, &body["duration"]));
    wrong.extend(check_choice(body, "aspect_ratio", ratios(model)));
    wrong.extend(check_choice(body, "resolution", resolutions(model)));
    for (field, right) in [("generate_audio", Value::is_boolean as fn(&Value) -> bool), ("seed", Value::is_i64)] {
        if !body[field].is_null() && !right(&body[field]) {
            wrong.push(complaint(&["body", field], "Input has the wrong type", "type_error", &body[field]));
        }
    }
    let scale = &body["cfg_scale"];
    if !scale.is_null() && scale.as_f64().is_none_or(|scale| !(0.0..=1.0).contains(&scale)) {
        wrong.push(complaint(&["body", "cfg_scale"], "Input should be between 0 and 1", "less_than_equal", scale));
    }
    (!wrong.is_empty()).then_some(Value::Array(wrong))
}

fn missing(field: &str, input: &Value) -> Value {
    complaint(&["body", field], "Field required", "missing", input)
}

fn complaint(place: &[&str], words: &str, kind: &str, input: &Value) -> Value {
    let url = format!("https://docs.fal.ai/errors#{kind}");
    json!({"loc": place, "msg": words, "type": kind, "url": url, "ctx": {}, "input": input})
}

/// Kling 3.0 takes a story in shots in place of a prompt.
fn takes_story(model: &str) -> bool {
    model.starts_with("fal-ai/kling-video/v3/") && !model.ends_with("/motion-control")
}

/// The text fields that a model cannot do without.
fn required(model: &str) -> &'static [&'static str] {
    let ends = |end: &str| model.ends_with(end);
    let kling = model.strip_prefix("fal-ai/kling-video/").unwrap_or("");
    if ends("/motion-control") {
        return &["image_url", "video_url", "character_orientation"];
    }
    if ends("/first-last-frame-to-video") {
        return &["prompt", "first_frame_url", "last_frame_url"];
    }
    match (kling, ends("/image-to-video")) {
        (kling, true) if kling.starts_with("v3/turbo/") => &["image_url"],
        (kling, true) if kling.starts_with("v3/") => &["start_image_url"],
        (kling, true) if kling.starts_with("v2.6/") => &["start_image_url", "prompt"],
        (kling, true) if kling.starts_with("v2") => &["image_url", "prompt"],
        (kling, false) if kling.starts_with("v2") => &["prompt"],
        ("", true) if model.starts_with("alibaba/wan-3.0/") => &["start_image_url"],
        ("", true) if model.starts_with("fal-ai/luma-dream-machine/") => &["prompt"],
        ("", true) => &["image_url", "prompt"],
        ("", false) if ends("/text-to-video") || model.starts_with("fal-ai/veo3") => &["prompt"],
        _ => &[],
    }
}

fn duration(model: &str) -> Duration {
    let starts = |start: &str| model.starts_with(start);
    match () {
        () if starts("fal-ai/kling-video/v3/") || starts("fal-ai/kling-video/o3/") => Duration::Text(3, 15),
        () if starts("fal-ai/kling-video/v2") => Duration::Words(&["5", "10"]),
        () if starts("fal-ai/veo3") => Duration::Words(&["4s", "6s", "8s"]),
        () if starts("fal-ai/wan-25-preview") => Duration::Words(&["5", "10"]),
        () if starts("fal-ai/wan/v2.7") => Duration::Text(2, 15),
        () if starts("wan/v2.6/") => Duration::Words(&["5", "10", "15"]),
        () if starts("alibaba/wan-3.0/") => Duration::Number(2, 30),
        () if starts("fal-ai/luma-dream-machine/ray-2") => Duration::Words(&["5s", "9s"]),
        () if starts("fal-ai/minimax/hailuo-") => Duration::Words(&["6", "10"]),
        () => Duration::Free,
    }
}

fn check_duration(model: &str, given: &Value) -> Option<Value> {
    if given.is_null() {
        return None;
    }
    let number = || given.as_str().and_then(|text| text.parse::<u32>().ok().filter(|n| n.to_string() == text));
    let (fits, words) = match duration(model) {
        Duration::Words(words) => {
            (given.as_str().is_some_and(|text| words.contains(&text)), format!("Input should be {}", quoted(words)))
        }
        Duration::Text(least, most) => (
            number().is_some_and(|number| (least..=most).contains(&number)),
            format!("Input should be a string from '{least}' to '{most}'"),
        ),
        Duration::Number(least, most) => (
            given.as_i64().is_some_and(|number| (least..=most).contains(&number)),
            format!("Input should be an integer from {least} to {most}"),
        ),
        Duration::Free => (true, String::new()),
    };
    (!fits).then(|| complaint(&["body", "duration"], &words, "literal_error", given))
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" or ")
}

fn ratios(model: &str) -> &'static [&'static str] {
    match () {
        () if model.starts_with("fal-ai/kling-video/") && model.ends_with("/text-to-video") => &["16:9", "9:16", "1:1"],
        () if model.starts_with("fal-ai/veo3") && model.ends_with("/image-to-video") => &["16:9", "9:16", "auto"],
        () if model.starts_with("fal-ai/veo3") => &["16:9", "9:16"],
        () => &[],
    }
}

fn resolutions(model: &str) -> &'static [&'static str] {
    match () {
        () if model.starts_with("fal-ai/veo3.1") => &["720p", "1080p", "4k"],
        () if model.starts_with("fal-ai/veo3") => &["720p", "1080p"],
        () if model.starts_with("fal-ai/wan-25-preview") => &["480p", "720p", "1080p"],
        () if model.starts_with("fal-ai/luma-dream-machine/") => &["540p", "720p", "1080p"],
        () => &[],
    }
}

fn check_choice(body: &Value, field: &str, words: &[&str]) -> Option<Value> {
    let given = &body[field];
    let fits = given.is_null() || words.is_empty() || given.as_str().is_some_and(|text| words.contains(&text));
    let say = || format!("Input should be {}", quoted(words));
    (!fits).then(|| complaint(&["body", field], &say(), "literal_error", given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_judged_as_their_model_does() {
        let kling = "fal-ai/kling-video/v3/pro/text-to-video";
        let table = [
            (kling, json!({"prompt": "x", "duration": "5", "whatever": 1}), None),
            (kling, json!({"multi_prompt": [{"prompt": "x", "duration": "3"}]}), None),
            (kling, json!({"prompt": "x", "duration": 5}), Some("duration")),
            (kling, json!({"prompt": "x", "duration": "5s"}), Some("duration")),
            (kling, json!({"prompt": "x", "duration": "16"}), Some("duration")),
            (kling, json!({"duration": "5"}), Some("prompt")),
            (kling, json!({"prompt": "x", "aspect_ratio": "4:3"}), Some("aspect_ratio")),
            ("fal-ai/kling-video/v3/pro/image-to-video", json!({"image_url": "u"}), Some("start_image_url")),
            ("fal-ai/kling-video/v3/turbo/pro/image-to-video", json!({"start_image_url": "u"}), Some("image_url")),
            ("fal-ai/veo3", json!({"prompt": "x", "duration": "8s"}), None),
            ("fal-ai/veo3", json!({"prompt": "x", "duration": "8"}), Some("duration")),
            ("alibaba/wan-3.0/text-to-video", json!({"prompt": "x", "duration": 5}), None),
            ("alibaba/wan-3.0/text-to-video", json!({"prompt": "x", "duration": "5"}), Some("duration")),
            ("someone/else", json!({}), None),
        ];
        for (model, body, field) in table {
            let found = check(model, &body);
            let named = found.as_ref().and_then(|list| list[0]["loc"][1].as_str());
            assert_eq!(named, field, "{model} {body}");
        }
    }
}
