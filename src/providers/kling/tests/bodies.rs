//! What exactly a create sends, for each kind of order and in both standards.

use super::*;

fn options(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn body_of(spec: &Spec, model: &Model) -> (String, Value) {
    let draft = Draft::of(&order(spec, model)).unwrap();
    (draft.path, serde_json::from_slice(&draft.body).unwrap())
}

#[test]
fn orders_become_bodies_of_the_new_standard() {
    let sent = object!({"external_task_id": "vg-job-42-1"});
    let text = Spec {
        duration_s: Some(5),
        resolution: Some("1080p".into()),
        aspect_ratio: Some("16:9".into()),
        generate_audio: Some(false),
        seed: Some(7),
        fps: Some(24),
        negative_prompt: "blur".into(),
        ..spec()
    };
    let framed = Spec { start_image: link("a"), end_image: link("b"), ..text.clone() };
    let data = Spec { start_image: Some(Image::Data(vec![0xff, 0xd8, 0xff].into())), ..spec() };
    let shots = options(object!({"multi_shot": true, "mode": "pro", "watermark_info": {"enabled": false},
        "element_list": [{"element_id": 12.0}], "cfg_scale": 0.5}));
    let shots = Spec { provider_options: shots, start_image: link("a"), generate_audio: Some(true), ..spec() };
    let omni = Spec { reference_images: vec![link("r").unwrap()], aspect_ratio: Some("1:1".into()), ..spec() };
    for (spec, id, path, body) in [
        (
            &text,
            "kling-3.0",
            "/text-to-video/kling-3.0",
            object!({"prompt": "a red kite", "options": sent,
            "settings": {"resolution": "1080p", "aspect_ratio": "16:9", "duration": 5, "audio": "off", "multi_shot": false}}),
        ),
        (
            &text,
            "kling-2.6",
            "/text-to-video/kling-2.6",
            object!({"prompt": "a red kite", "options": sent,
            "settings": {"resolution": "1080p", "aspect_ratio": "16:9", "duration": 5, "audio": "off"}}),
        ),
        (
            &spec(),
            "kling-3.0-turbo",
            "/text-to-video/kling-3.0-turbo",
            object!({"prompt": "a red kite", "options": sent,
            "settings": {"multi_shot": false}}),
        ),
        (
            &framed,
            "kling-3.0",
            "/image-to-video/kling-3.0",
            object!({"options": sent, "contents": [
                {"type": "prompt", "text": "a red kite"}, {"type": "first_frame", "url": "https://img.example/a.png"},
                {"type": "last_frame", "url": "https://img.example/b.png"}],
            "settings": {"resolution": "1080p", "duration": 5, "audio": "off", "multi_shot": false}}),
        ),
        (
            &data,
            "kling-2.5-turbo",
            "/image-to-video/kling-2.5-turbo",
            object!({"options": sent, "settings": {}, "contents": [
            {"type": "prompt", "text": "a red kite"}, {"type": "first_frame", "url": "/9j/"}]}),
        ),
        (
            &shots,
            "kling-3.0",
            "/image-to-video/kling-3.0",
            object!({"contents": [
                {"type": "prompt", "text": "a red kite"}, {"type": "first_frame", "url": "https://img.example/a.png"},
                {"type": "element", "element_id": 12}],
            "settings": {"resolution": "1080p", "audio": "native", "multi_shot": true},
            "options": {"external_task_id": "vg-job-42-1", "watermark_info": {"enabled": false}}}),
        ),
        (
            &omni,
            "kling-3.0-omni",
            "/omni-video/kling-3.0-omni",
            object!({"options": sent, "contents": [
                {"type": "prompt", "text": "a red kite"}, {"type": "refer_image", "url": "https://img.example/r.png"}],
            "settings": {"aspect_ratio": "1:1", "multi_shot": false}}),
        ),
    ] {
        assert_eq!(body_of(spec, &new(id)), (path.to_owned(), body), "{path}");
    }
}

#[test]
fn orders_become_bodies_of_the_legacy_standard() {
    let text = Spec {
        negative_prompt: "blur".into(),
        duration_s: Some(7),
        resolution: Some("1080p".into()),
        aspect_ratio: Some("16:9".into()),
        generate_audio: Some(true),
        ..spec()
    };
    let framed = Spec {
        start_image: link("a"),
        end_image: Some(Image::Data(vec![0xff, 0xd8, 0xff].into())),
        aspect_ratio: Some("16:9".into()),
        provider_options: options(
            object!({"mode": "pro", "cfg_scale": 0.5, "model_name": "another", "image": "another"}),
        ),
        ..spec()
    };
    let camera = options(
        object!({"mode": "std", "camera_control": {"type": "simple", "config": {"horizontal": 5.0, "vertical": 0.0}}}),
    );
    let camera = Spec { provider_options: camera, duration_s: Some(5), ..spec() };
    let masks = options(object!({"static_mask": "https://img.example/m.png",
        "dynamic_masks": [{"mask": "https://img.example/d.png", "trajectories": [{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 4.0}]}]}));
    let masks = Spec { provider_options: masks, start_image: link("a"), ..spec() };
    let shots = options(object!({"multi_shot": true, "shot_type": "customize", "voice_list": [{"voice_id": "v"}],
        "multi_prompt": [{"index": 1.0, "prompt": "one", "duration": "3"}], "watermark_info": {"enabled": true}}));
    let shots = Spec { provider_options: shots, prompt: String::new(), ..spec() };
    let end_only = Spec { end_image: link("b"), ..spec() };
    let master = Spec { resolution: Some("720p".into()), ..spec() };
    let several = Spec { reference_images: vec![link("r").unwrap(), link("s").unwrap()], ..spec() };
    let omni = Spec { start_image: link("a"), end_image: link("b"), ..several.clone() };
    for (spec, id, path, body) in [
        (
            &text,
            "kling-v3",
            TEXT,
            object!({"prompt": "a red kite", "negative_prompt": "blur", "sound": "on", "mode": "pro",
            "aspect_ratio": "16:9", "duration": "7"}),
        ),
        (
            &framed,
            "kling-v2-6",
            IMAGE,
            object!({"prompt": "a red kite", "image": "https://img.example/a.png",
            "image_tail": "/9j/", "cfg_scale": 0.5, "mode": "pro"}),
        ),
        (&end_only, "kling-v1-6", IMAGE, object!({"prompt": "a red kite", "image_tail": "https://img.example/b.png"})),
        (
            &camera,
            "kling-v1",
            TEXT,
            object!({"prompt": "a red kite", "mode": "std", "duration": "5",
            "camera_control": {"type": "simple", "config": {"horizontal": 5, "vertical": 0}}}),
        ),
        (
            &masks,
            "kling-v1-5",
            IMAGE,
            object!({"prompt": "a red kite", "image": "https://img.example/a.png",
            "static_mask": "https://img.example/m.png", "dynamic_masks": [{"mask": "https://img.example/d.png",
            "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}]}),
        ),
        (
            &shots,
            "kling-v3",
            TEXT,
            object!({"multi_shot": true, "shot_type": "customize", "voice_list": [{"voice_id": "v"}],
            "multi_prompt": [{"index": 1, "prompt": "one", "duration": "3"}], "watermark_info": {"enabled": true}}),
        ),
        (&master, "kling-v2-1-master", TEXT, object!({"prompt": "a red kite"})),
        (
            &several,
            "kling-v1-6",
            "/v1/videos/multi-image2video",
            object!({"prompt": "a red kite", "image_list": [
            {"image": "https://img.example/r.png"}, {"image": "https://img.example/s.png"}]}),
        ),
        (
            &omni,
            "kling-v3-omni",
            "/v1/videos/omni-video",
            object!({"prompt": "a red kite", "image_list": [
            {"image_url": "https://img.example/a.png", "type": "first_frame"},
            {"image_url": "https://img.example/b.png", "type": "end_frame"},
            {"image_url": "https://img.example/r.png"}, {"image_url": "https://img.example/s.png"}]}),
        ),
    ] {
        let mut body = body;
        body["model_name"] = id.into();
        body["external_task_id"] = "vg-job-42-1".into();
        assert_eq!(body_of(spec, &legacy(id)), (path.to_owned(), body), "{id} {path}");
    }
}
