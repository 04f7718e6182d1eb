//! What a check hands back: the normalised spec, the warnings, the messages.

use serde_json::json;

use super::*;

#[test]
fn what_a_model_ignores_is_dropped_with_a_warning() {
    let mut asked = spec("kling-3.0-turbo");
    (asked.seed, asked.fps, asked.generate_audio) = (Some(7), Some(24), Some(true));
    let checked = check(asked).unwrap();
    let fields: Vec<&str> = checked.warnings.iter().map(|w| w.field.as_str()).collect();
    assert_eq!(fields, ["spec.generate_audio", "spec.seed", "spec.fps"]);
    assert_eq!(checked.spec, spec("kling-3.0-turbo"));
    let mut kept = spec("fal-ai/veo3.1");
    kept.seed = Some(7);
    assert_eq!(check(kept.clone()).unwrap(), Checked { spec: kept, warnings: Vec::new() });
}

#[test]
fn a_spec_is_brought_into_the_form_that_is_sent() {
    let mut asked = spec("kling-3.0");
    pro(&mut asked);
    let normal = check(asked).unwrap().spec;
    assert_eq!((normal.resolution.as_deref(), normal.provider_options.len()), (Some("1080p"), 0));

    let mut asked = spec("kling-v3");
    option(&mut asked, "element_list", json!([{"element_id": 7.0}]));
    let normal = check(asked).unwrap().spec;
    assert_eq!(normal.provider_options["element_list"].to_string(), r#"[{"element_id":7}]"#);

    let normal = check(spec("kling-3.0-omni")).unwrap().spec;
    assert_eq!(normal.aspect_ratio.as_deref(), Some("16:9"));
}

#[test]
fn messages_say_what_is_allowed_and_not_what_was_asked() {
    let message = |spec: Spec| check(spec).unwrap_err().remove(0).message;
    let mut asked = spec("kling-v2-6");
    asked.duration_s = Some(7);
    assert_eq!(message(asked), "must be 5 or 10 s for kling/kling-v2-6");
    let mut asked = spec("kling-3.0");
    asked.negative_prompt = "secret".to_owned();
    assert_eq!(message(asked), "is not taken by kling/kling-3.0; kling/kling-v3 takes it");
    let mut asked = spec("kling-v2-6");
    start_end(&mut asked);
    assert_eq!(message(asked), "needs provider_options.mode \"pro\" with kling/kling-v2-6");
    let mut asked = spec("kling-v2-6");
    option(&mut asked, "mode", json!("standard"));
    assert_eq!(message(asked), "must be std or pro (\"standard\" is spelled \"std\")");
}

#[test]
fn all_wrong_fields_come_at_once_up_to_twenty() {
    let mut asked = spec("kling-3.0");
    for i in 0..64 {
        option(&mut asked, &format!("key{i}"), json!(1));
    }
    assert_eq!(check(asked).unwrap_err().len(), 20);
}

#[test]
fn an_unlisted_fal_model_passes_through_with_a_warning() {
    let mut asked = spec("fal/acme/kite/v9");
    asked.provider_options.insert("strength".to_owned(), json!({"a": [1.0]}));
    let checked = check(asked.clone()).unwrap();
    assert_eq!(checked.spec, asked);
    assert_eq!(checked.warnings[0].field, "spec.model");
    asked.duration_s = Some(5);
    assert_eq!(check(asked).unwrap_err()[0].field, "spec.duration");
}

#[test]
fn a_wrong_value_and_a_strange_setting_are_told_apart() {
    let kind = |spec: Spec| check(spec).unwrap_err().remove(0).kind;
    let mut asked = spec("kling-3.0");
    asked.duration_s = Some(16);
    assert_eq!(kind(asked), ViolationKind::Invalid);
    let mut asked = spec("kling-3.0");
    start(&mut asked);
    wide(&mut asked);
    assert_eq!(kind(asked), ViolationKind::Unsupported);
    let mut asked = spec("kling-v2-6");
    option(&mut asked, "cfg_scale", json!(0.5));
    assert_eq!(kind(asked), ViolationKind::Unsupported);
}

#[test]
fn a_mistyped_option_is_told_its_type() {
    let message = |model: &str, key: &str| {
        let mut asked = spec(model);
        option(&mut asked, key, json!([]));
        check(asked).unwrap_err().remove(0).message
    };
    assert_eq!(message("kling-v1", "cfg_scale"), "must be a number from 0 to 1");
    assert_eq!(message("kling-v3", "multi_shot"), "must be true or false");
    assert_eq!(message("kling-v1", "static_mask"), "must be text of at most 16384 characters");
    assert_eq!(message("kling-v3", "element_list"), "must be a list of 1 to 3");
    assert_eq!(message("kling-v1", "camera_control"), "must be an object");
    assert_eq!(message("kling-v2-master", "cfg_scale"), "is unknown: kling/kling-v2-master takes watermark_info");
}
