//! What a create body of the legacy standard may say. Here a duration is a string
//! and sound is a word: whoever sends the new standard's types is refused.

use serde_json::Value;

use super::super::body::{Fields, Wrong, is_link, kling_image};
use super::super::book::Shape;
use super::{Flaw, Wanted};

const LONGEST: usize = 2_500;

/// The fields that any kind may carry.
const COMMON: [&str; 7] =
    ["model_name", "prompt", "mode", "duration", "watermark_info", "callback_url", "external_task_id"];

/// The fields of one kind, beyond the common ones.
fn own_fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "text2video" => &[
            "negative_prompt",
            "sound",
            "cfg_scale",
            "camera_control",
            "aspect_ratio",
            "multi_shot",
            "shot_type",
            "multi_prompt",
            "voice_list",
            "element_list",
        ],
        "image2video" => &[
            "negative_prompt",
            "sound",
            "cfg_scale",
            "camera_control",
            "multi_shot",
            "shot_type",
            "multi_prompt",
            "voice_list",
            "element_list",
            "image",
            "image_tail",
            "static_mask",
            "dynamic_masks",
        ],
        "multi-image2video" => &["image_list", "negative_prompt", "aspect_ratio"],
        "omni-video" => &[
            "image_list",
            "element_list",
            "video_list",
            "sound",
            "aspect_ratio",
            "multi_shot",
            "shot_type",
            "multi_prompt",
        ],
        "motion-control" => &["image_url", "video_url", "character_orientation", "keep_original_sound", "element_list"],
        _ => &["video_id", "negative_prompt", "cfg_scale"],
    }
}

/// The models of a kind.
fn models(kind: &str) -> &'static [&'static str] {
    match kind {
        "text2video" => &[
            "kling-v1",
            "kling-v1-6",
            "kling-v2-master",
            "kling-v2-1-master",
            "kling-v2-5-turbo",
            "kling-v2-6",
            "kling-v3",
        ],
        "image2video" => &[
            "kling-v1",
            "kling-v1-5",
            "kling-v1-6",
            "kling-v2-master",
            "kling-v2-1",
            "kling-v2-1-master",
            "kling-v2-5-turbo",
            "kling-v2-6",
            "kling-v3",
        ],
        "multi-image2video" => &["kling-v1-6"],
        "omni-video" => &["kling-video-o1", "kling-v3-omni"],
        "motion-control" => &["kling-v2-6", "kling-v3"],
        _ => &["kling-v1", "kling-v1-5", "kling-v1-6"],
    }
}

fn default_model(kind: &str) -> &'static str {
    match kind {
        "multi-image2video" | "video-extend" => "kling-v1-6",
        "omni-video" => "kling-video-o1",
        "motion-control" => "kling-v2-6",
        _ => "kling-v1",
    }
}

/// Checks one body and reads what is needed from it.
pub(super) fn check(
    kind: &str,
    body: &Value,
    discontinued: &[String],
    parent: impl FnOnce(&str) -> bool,
) -> Result<Wanted, Flaw> {
    let fields = Fields::of(body)?;
    let model = fields.text("model_name", 100)?.unwrap_or(default_model(kind));
    if !models(kind).contains(&model) {
        return Err(Flaw(1203, format!("model_name {model} does not exist or is not supported here")));
    }
    if discontinued.iter().any(|name| name == model) {
        return Err(Flaw(1201, format!("model {model} has been discontinued")));
    }
    let prompt = prompt(kind, fields)?;
    fields.text("negative_prompt", LONGEST)?;
    fields.number("cfg_scale", 0.0, 1.0)?;
    let mode = mode(kind, model, fields)?;
    let sound = fields.choice("sound", &["on", "off"])?;
    sound_fits(model, mode, sound)?;
    let shape = shape(kind, model, fields)?;
    match kind {
        "image2video" => frames(model, mode, sound, shape.seconds, fields)?,
        "multi-image2video" => images(fields)?,
        "omni-video" => references(fields)?,
        "motion-control" => motion(fields)?,
        "video-extend" if !parent(fields.required("video_id", 100)?) => {
            return Err(Flaw(1201, "video_id does not exist".to_owned()));
        }
        _ => {}
    }
    camera(fields)?;
    let watermark = match fields.object("watermark_info")? {
        Some(info) => info.boolean("enabled")?.unwrap_or(false),
        None => false,
    };
    let known: Vec<&str> = COMMON.iter().chain(own_fields(kind)).copied().collect();
    Ok(Wanted {
        prompt,
        model: model.to_owned(),
        shape,
        marker: fields.text("external_task_id", 256)?.filter(|marker| !marker.is_empty()).map(str::to_owned),
        callback_url: fields.text("callback_url", 2_048)?.filter(|url| !url.is_empty()).map(str::to_owned),
        watermark,
        ignored: fields.unknown(&known),
    })
}

/// The prompt; of a story in shots, all of their prompts.
fn prompt(kind: &str, fields: Fields<'_>) -> Result<String, Wrong> {
    fields.boolean("multi_shot")?;
    let story = fields.choice("shot_type", &["customize", "intelligence"])? == Some("customize");
    let shots = fields.objects("multi_prompt", 6)?;
    if story && !shots.is_empty() {
        return story_prompt(&shots, fields);
    }
    if matches!(kind, "text2video" | "multi-image2video" | "omni-video") {
        return fields.required("prompt", LONGEST).map(str::to_owned);
    }
    Ok(fields.text("prompt", LONGEST)?.unwrap_or("").to_owned())
}

fn story_prompt(shots: &[Fields<'_>], fields: Fields<'_>) -> Result<String, Wrong> {
    let mut seconds = 0;
    let mut words = Vec::new();
    for shot in shots {
        shot.integer("index")?.ok_or("index is required in multi_prompt")?;
        words.push(shot.required("prompt", 512)?);
        let length: u32 = shot.required("duration", 3)?.parse().map_err(|_| "duration of a shot must be a number")?;
        seconds += length;
    }
    let whole = fields.text("duration", 3)?.unwrap_or("5");
    if whole.parse() != Ok(seconds) {
        return Err("durations of multi_prompt must add up to duration".to_owned());
    }
    Ok(words.join(" "))
}

fn mode<'a>(kind: &str, model: &str, fields: Fields<'a>) -> Result<&'a str, Wrong> {
    let four_k = matches!(model, "kling-v3" | "kling-v3-omni") && kind != "motion-control";
    let words: &[&str] = if four_k { &["std", "pro", "4k"] } else { &["std", "pro"] };
    let mode = fields.choice("mode", words)?;
    Ok(mode.unwrap_or(if kind == "omni-video" { "pro" } else { "std" }))
}

fn sound_fits(model: &str, mode: &str, sound: Option<&str>) -> Result<(), Wrong> {
    if sound != Some("on") {
        return Ok(());
    }
    match model {
        "kling-v2-6" if mode != "pro" => Err("sound requires mode pro".to_owned()),
        "kling-v2-6" | "kling-v3" | "kling-v3-omni" => Ok(()),
        _ => Err(format!("sound is not supported by {model}")),
    }
}

fn shape(kind: &str, model: &str, fields: Fields<'_>) -> Result<Shape, Wrong> {
    let ratio = match kind {
        "image2video" | "motion-control" | "video-extend" => None,
        _ => fields.choice("aspect_ratio", &["16:9", "9:16", "1:1"])?,
    };
    let text = fields.text("duration", 3)?.unwrap_or("5");
    let seconds: u32 = text.parse().map_err(|_| "duration is invalid".to_owned())?;
    let fits = match model {
        "kling-v3" | "kling-v3-omni" => (3..=15).contains(&seconds),
        "kling-video-o1" => (3..=10).contains(&seconds),
        _ => matches!(seconds, 5 | 10),
    };
    if !fits || text != seconds.to_string() {
        return Err(format!("duration {text} is not supported by {model}"));
    }
    Ok(Shape { seconds, aspect_ratio: ratio.unwrap_or("16:9").to_owned() })
}

fn frames(model: &str, mode: &str, sound: Option<&str>, seconds: u32, fields: Fields<'_>) -> Result<(), Wrong> {
    let (image, tail) = (fields.text("image", usize::MAX)?, fields.text("image_tail", usize::MAX)?);
    let masks = fields.has("static_mask") || fields.has("dynamic_masks");
    let camera = fields.has("camera_control");
    for (name, image) in [("image", image), ("image_tail", tail)] {
        image.map_or(Ok(()), |image| kling_image(name, image))?;
    }
    if image.is_none() && tail.is_none() {
        return Err("image is required".to_owned());
    }
    if usize::from(tail.is_some()) + usize::from(masks) + usize::from(camera) > 1 {
        return Err("image_tail, masks and camera_control exclude one another".to_owned());
    }
    if tail.is_none() {
        return Ok(());
    }
    let fits = match (model, image.is_some()) {
        ("kling-v1-5" | "kling-v1-6", _) => mode == "pro",
        (_, false) => return Err("image is required".to_owned()),
        ("kling-v1", _) => seconds == 5,
        ("kling-v2-1" | "kling-v2-5-turbo", _) => mode == "pro",
        ("kling-v2-6", _) => mode == "pro" && sound != Some("on"),
        ("kling-v3", _) => true,
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("image_tail is not supported by {model} in mode {mode}")) }
}

fn images(fields: Fields<'_>) -> Result<(), Wrong> {
    let list = fields.objects("image_list", 4)?;
    if list.is_empty() {
        return Err("image_list is required".to_owned());
    }
    list.iter().try_for_each(|item| kling_image("image", item.required("image", usize::MAX)?))
}

fn references(fields: Fields<'_>) -> Result<(), Wrong> {
    let mut kinds = Vec::new();
    for item in fields.objects("image_list", 7)? {
        kling_image("image_url", item.required("image_url", usize::MAX)?)?;
        kinds.extend(item.choice("type", &["first_frame", "end_frame"])?);
    }
    if kinds.contains(&"end_frame") && !kinds.contains(&"first_frame") {
        return Err("end_frame requires first_frame".to_owned());
    }
    for item in fields.objects("video_list", 1)? {
        if !is_link(item.required("video_url", 4_096)?) {
            return Err("video_url must be a public URL".to_owned());
        }
        item.choice("refer_type", &["feature", "base"])?;
        item.choice("keep_original_sound", &["yes", "no"])?;
    }
    Ok(())
}

fn motion(fields: Fields<'_>) -> Result<(), Wrong> {
    kling_image("image_url", fields.required("image_url", usize::MAX)?)?;
    if !is_link(fields.required("video_url", 4_096)?) {
        return Err("video_url must be a public URL".to_owned());
    }
    fields.choice("character_orientation", &["image", "video"])?.ok_or("character_orientation is required")?;
    fields.choice("keep_original_sound", &["yes", "no"])?;
    Ok(())
}

fn camera(fields: Fields<'_>) -> Result<(), Wrong> {
    let Some(camera) = fields.object("camera_control")? else { return Ok(()) };
    let types = ["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"];
    let kind = camera.choice("type", &types)?;
    let Some(config) = camera.object("config")? else {
        let missing = kind == Some("simple");
        return if missing { Err("config is required for type simple".to_owned()) } else { Ok(()) };
    };
    let mut moving = 0;
    for axis in ["horizontal", "vertical", "pan", "tilt", "roll", "zoom"] {
        moving += usize::from(config.number(axis, -10.0, 10.0)?.is_some_and(|value| value != 0.0));
    }
    if moving == 1 { Ok(()) } else { Err("exactly one value of config must be other than zero".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(kind: &str, body: Value) -> Option<String> {
        check(kind, &body, &["kling-v1".to_owned()], |id| id == "v1").err().map(|Flaw(_, words)| words)
    }

    #[test]
    fn bodies_seen_from_real_clients_are_taken() {
        let text = json!({"model_name": "kling-v3", "prompt": "x", "negative_prompt": "y", "sound": "on", "mode": "pro",
            "aspect_ratio": "16:9", "duration": "7", "external_task_id": "a", "callback_url": "https://a.example"});
        let image = json!({"model_name": "kling-v2-6", "prompt": "x", "image": "https://a.example/a.png",
            "image_tail": "AAECAw==", "cfg_scale": 0.5, "mode": "pro", "duration": "5"});
        let motion = json!({"model_name": "kling-v3", "video_url": "https://a.example/a.mp4", "prompt": "x",
            "character_orientation": "image", "mode": "std", "image_url": "https://a.example/a.png",
            "keep_original_sound": "yes"});
        let several = json!({"model_name": "kling-v1-6", "image_list": [{"image": "https://a.example/a.png"}],
            "prompt": "x"});
        assert_eq!(wrong("text2video", text), None);
        assert_eq!(wrong("image2video", image), None);
        assert_eq!(wrong("motion-control", motion), None);
        assert_eq!(wrong("multi-image2video", several), None);
        assert_eq!(wrong("video-extend", json!({"video_id": "v1"})), None);
    }

    #[test]
    fn the_table_of_refusals() {
        let table = [
            ("text2video", json!({"prompt": "x"}), "discontinued"),
            ("text2video", json!({"model_name": "kling-v9", "prompt": "x"}), "does not exist"),
            ("text2video", json!({"model_name": "kling-v3", "prompt": "x", "duration": 5}), "string"),
            ("text2video", json!({"model_name": "kling-v3", "prompt": "x", "duration": "05"}), "not supported"),
            ("text2video", json!({"model_name": "kling-v2-6", "prompt": "x", "duration": "7"}), "not supported"),
            ("text2video", json!({"model_name": "kling-v3", "prompt": "x", "mode": "standard"}), "mode"),
            ("text2video", json!({"model_name": "kling-v3", "prompt": "x", "sound": true}), "string"),
            ("text2video", json!({"model_name": "kling-v2-6", "prompt": "x", "sound": "on"}), "mode pro"),
            ("text2video", json!({"model_name": "kling-v1-6", "prompt": "x", "cfg_scale": 2}), "cfg_scale"),
            ("image2video", json!({"model_name": "kling-v3", "prompt": "x"}), "image is required"),
            ("image2video", json!({"model_name": "kling-v3", "image": "data:image/png;base64,AA=="}), "data:"),
            (
                "image2video",
                json!({"model_name": "kling-v2-master", "image": "AAAA", "image_tail": "AAAA"}),
                "image_tail",
            ),
            ("video-extend", json!({"video_id": "v2"}), "video_id"),
            ("motion-control", json!({"image_url": "AAAA", "video_url": "https://a.example"}), "orientation"),
        ];
        for (kind, body, expected) in table {
            let words = wrong(kind, body.clone()).unwrap_or_default();
            assert!(words.contains(expected), "{kind} {body}: {words}");
        }
    }
}
