//! What a create body of the new standard may say: the fields, their JSON types
//! and the matrix of models, written down once more and apart from the adapters.

use serde_json::Value;

use super::super::body::{Fields, Wrong, is_link, kling_image};
use super::super::book::Shape;
use super::{Flaw, Wanted};

/// The models of a kind.
pub(super) fn models(kind: &str) -> &'static [&'static str] {
    match kind {
        "text-to-video" | "image-to-video" => &["kling-3.0-turbo", "kling-3.0", "kling-2.6", "kling-2.5-turbo"],
        "omni-video" => &["kling-3.0-omni", "kling-o1"],
        "motion-control" => &["kling-3.0", "kling-2.6"],
        _ => &[],
    }
}

/// What the `contents` of a body hold.
#[derive(Default)]
struct Contents<'a> {
    prompt: Option<&'a str>,
    first_frame: bool,
    last_frame: bool,
    references: usize,
    videos: usize,
    base_video: bool,
    characters: usize,
    elements: usize,
}

/// Checks one body and reads what is needed from it.
pub(super) fn check(kind: &str, model: &str, body: &Value) -> Result<Wanted, Flaw> {
    let fields = Fields::of(body)?;
    let longest = if model.starts_with("kling-3.0") && model != "kling-3.0-omni" { 3_072 } else { 2_500 };
    let contents = match kind {
        "text-to-video" => {
            let prompt = Some(fields.required("prompt", longest)?);
            Contents { prompt, ..Contents::default() }
        }
        _ => contents(fields, longest)?,
    };
    frames(kind, model, &contents)?;
    let empty = serde_json::Map::new();
    let settings = fields.object("settings")?.unwrap_or(Fields(&empty));
    let shape = shape(kind, model, settings, &contents)?;
    audio(kind, model, settings)?;
    settings.boolean("multi_shot")?;
    let options = fields.object("options")?.unwrap_or(Fields(&empty));
    let watermark = match options.object("watermark_info")? {
        Some(info) => info.boolean("enabled")?.unwrap_or(false),
        None => false,
    };
    Ok(Wanted {
        prompt: contents.prompt.unwrap_or("").to_owned(),
        model: model.to_owned(),
        shape,
        marker: options.text("external_task_id", 256)?.filter(|marker| !marker.is_empty()).map(str::to_owned),
        callback_url: options.text("callback_url", 2_048)?.filter(|url| !url.is_empty()).map(str::to_owned),
        watermark,
        ignored: ignored(kind, fields, settings, options),
    })
}

fn ignored(kind: &str, fields: Fields<'_>, settings: Fields<'_>, options: Fields<'_>) -> Vec<String> {
    let top: &[&str] = match kind {
        "text-to-video" => &["prompt", "settings", "options"],
        _ => &["contents", "settings", "options"],
    };
    let mut ignored = fields.unknown(top);
    ignored.extend(settings.unknown(&[
        "resolution",
        "aspect_ratio",
        "duration",
        "audio",
        "multi_shot",
        "character_orientation",
    ]));
    ignored.extend(options.unknown(&["callback_url", "external_task_id", "watermark_info"]));
    ignored
}

fn contents(fields: Fields<'_>, longest: usize) -> Result<Contents<'_>, Wrong> {
    let items = fields.objects("contents", 32)?;
    if items.is_empty() {
        return Err("contents is required".to_owned());
    }
    let mut found = Contents::default();
    for item in items {
        let kind = item.required("type", 64)?;
        match kind {
            "prompt" => found.prompt = Some(item.required("text", longest)?),
            "first_frame" | "last_frame" | "refer_image" | "image" => {
                kling_image("url", item.required("url", usize::MAX)?)?;
                found.first_frame |= kind == "first_frame";
                found.last_frame |= kind == "last_frame";
                found.references += usize::from(kind == "refer_image");
                found.characters += usize::from(kind == "image");
            }
            "feature_video" | "base_video" | "video" => {
                if !is_link(item.required("url", 4_096)?) {
                    return Err("url of a video must be a public URL".to_owned());
                }
                found.videos += 1;
                found.base_video |= kind == "base_video";
            }
            "element" => found.elements += 1,
            "voice" => {}
            other => return Err(format!("contents type {other} is not supported")),
        }
    }
    Ok(found)
}

fn frames(kind: &str, model: &str, contents: &Contents<'_>) -> Result<(), Wrong> {
    if contents.last_frame && !contents.first_frame {
        return Err("last_frame requires first_frame".to_owned());
    }
    if kind == "image-to-video" && !contents.first_frame {
        return Err("first_frame is required".to_owned());
    }
    if kind == "image-to-video" && model == "kling-3.0-turbo" && contents.last_frame {
        return Err("last_frame is not supported by this model".to_owned());
    }
    if contents.elements > 3 && kind == "image-to-video" {
        return Err("at most 3 elements are allowed".to_owned());
    }
    if kind == "omni-video" {
        if contents.prompt.is_none() {
            return Err("prompt is required".to_owned());
        }
        let most = if contents.videos > 0 || contents.elements > 0 { 4 } else { 7 };
        if contents.references > most || contents.videos > 1 {
            return Err(format!("at most {most} reference images and one video are allowed"));
        }
        if contents.base_video && contents.first_frame {
            return Err("base_video excludes frames".to_owned());
        }
    }
    // The notes do not name the type of the character's image: any image is taken for it.
    let images = contents.characters + contents.references + usize::from(contents.first_frame);
    if kind == "motion-control" && (images != 1 || contents.videos != 1) {
        return Err("motion control takes one image and one video".to_owned());
    }
    Ok(())
}

fn shape(kind: &str, model: &str, settings: Fields<'_>, contents: &Contents<'_>) -> Result<Shape, Wrong> {
    let four_k = matches!(model, "kling-3.0" | "kling-3.0-omni") && kind != "motion-control";
    let resolutions: &[&str] = if four_k { &["720p", "1080p", "4k"] } else { &["720p", "1080p"] };
    settings.choice("resolution", resolutions)?;
    let ratio = settings.choice("aspect_ratio", &["16:9", "9:16", "1:1"])?;
    if kind == "image-to-video" && ratio.is_some() {
        return Err("aspect_ratio is not supported for image to video".to_owned());
    }
    if kind == "omni-video" && ratio.is_none() && !contents.first_frame && contents.videos == 0 {
        return Err("aspect_ratio is required without a first frame or a video".to_owned());
    }
    let seconds = settings.integer("duration")?;
    if kind == "motion-control" {
        settings.refuse(&["duration"], "is not supported for motion control")?;
        let orientation = settings.choice("character_orientation", &["image", "video"])?;
        orientation.ok_or("character_orientation is required")?;
    }
    let seconds = seconds.unwrap_or(5);
    let fits = match model {
        "kling-3.0" | "kling-3.0-turbo" | "kling-3.0-omni" => (3..=15).contains(&seconds),
        "kling-o1" if contents.references == 0 && contents.videos == 0 && !contents.last_frame => {
            matches!(seconds, 5 | 10)
        }
        "kling-o1" => (3..=10).contains(&seconds),
        _ => matches!(seconds, 5 | 10),
    };
    if !fits {
        return Err(format!("duration {seconds} is not supported by {model}"));
    }
    let seconds = u32::try_from(seconds).unwrap_or(5);
    Ok(Shape { seconds, aspect_ratio: ratio.unwrap_or("16:9").to_owned() })
}

fn audio(kind: &str, model: &str, settings: Fields<'_>) -> Result<(), Wrong> {
    let words: &[&str] = match (kind, model) {
        ("motion-control", _) | (_, "kling-o1") => &["original", "off"],
        (_, "kling-3.0-omni") => &["native", "original", "off"],
        (_, "kling-3.0" | "kling-2.6") => &["native", "off"],
        _ => return settings.refuse(&["audio"], "is not supported by this model"),
    };
    let audio = settings.choice("audio", words)?;
    let resolution = settings.choice("resolution", &["720p", "1080p", "4k"])?;
    if model == "kling-2.6" && audio == Some("native") && resolution != Some("1080p") {
        return Err("native audio requires 1080p".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(kind: &str, model: &str, body: Value) -> Option<String> {
        check(kind, model, &body).err().map(|Flaw(_, words)| words)
    }

    #[test]
    fn text_bodies_are_judged_by_type_and_range() {
        let judge = |body| wrong("text-to-video", "kling-3.0", body);
        assert_eq!(judge(json!({"prompt": "a kite", "settings": {"duration": 5, "audio": "off"}})), None);
        assert_eq!(judge(json!({"settings": {}})).as_deref(), Some("prompt is required"));
        assert_eq!(judge(json!({"prompt": 7})).as_deref(), Some("prompt must be a string"));
        for duration in [json!("5"), json!(5.5), json!(2), json!(16)] {
            assert!(judge(json!({"prompt": "x", "settings": {"duration": duration}})).is_some(), "{duration}");
        }
        assert!(judge(json!({"prompt": "x", "settings": {"audio": true}})).is_some());
        assert!(judge(json!({"prompt": "x", "settings": {"resolution": "480p"}})).is_some());
        assert!(judge(json!({"prompt": "x", "settings": {"aspect_ratio": "4:3"}})).is_some());
        assert!(wrong("text-to-video", "kling-2.6", json!({"prompt": "x", "settings": {"duration": 7}})).is_some());
    }

    #[test]
    fn frames_need_their_order() {
        let item = |kind: &str| json!({"type": kind, "url": "https://img.example/a.png"});
        let judge = |model, items: Value| wrong("image-to-video", model, json!({"contents": items}));
        assert_eq!(judge("kling-3.0", json!([item("first_frame"), item("last_frame")])), None);
        assert!(judge("kling-3.0", json!([item("last_frame")])).is_some());
        assert!(judge("kling-3.0-turbo", json!([item("first_frame"), item("last_frame")])).is_some());
        assert!(judge("kling-3.0", json!([{"type": "first_frame", "url": "data:image/png;base64,AA=="}])).is_some());
        assert_eq!(judge("kling-3.0", json!([{"type": "first_frame", "url": "AAECAw=="}])), None);
        let ratio = json!({"contents": [item("first_frame")], "settings": {"aspect_ratio": "1:1"}});
        assert!(wrong("image-to-video", "kling-3.0", ratio).is_some());
    }

    #[test]
    fn fields_of_the_other_standard_are_noticed() {
        let body = json!({"prompt": "x", "negative_prompt": "y", "options": {"external_task_id": "m-1"}});
        let Ok(wanted) = check("text-to-video", "kling-3.0", &body) else { panic!("refused") };
        assert_eq!(wanted.marker.as_deref(), Some("m-1"));
        assert_eq!(wanted.ignored, ["negative_prompt"]);
    }
}
