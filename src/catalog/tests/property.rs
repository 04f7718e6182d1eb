//! Whatever is asked for: the check never panics, and what passed passes again
//! unchanged, so that a stored spec can be checked anew.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Any value, a little of it well formed.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-20.0..20.0f64).prop_map(Value::from),
        (0..12i64).prop_map(Value::from),
        prop::sample::select(vec!["std", "pro", "4k", "simple", "customize", "5", "", "https://img.example/m.png"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key =
            prop::sample::select(vec!["type", "config", "pan", "enabled", "mask", "voice_id", "prompt", "duration"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|map| map
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

/// A spec of any model in which every setting may be there.
fn any_spec() -> impl Strategy<Value = Spec> {
    let names: Vec<ModelName> = CATALOG.models().map(|model| model.name.clone()).collect();
    let keys =
        ["mode", "cfg_scale", "camera_control", "static_mask", "multi_shot", "shot_type", "multi_prompt", "voice_list"];
    let rare = |present: bool| if present { Some(image()) } else { None };
    let good = prop::sample::select(vec![
        ("mode", json!("std")),
        ("mode", json!("pro")),
        ("cfg_scale", json!(0.5)),
        ("watermark_info", json!({"enabled": true})),
        ("element_list", json!([{"element_id": 7.0}])),
        ("camera_control", json!({"type": "simple", "config": {"pan": 1}})),
        ("auto_fix", json!(true)),
    ]);
    let wild = (prop::sample::select(keys.to_vec()), any_value());
    let options = prop::collection::vec(prop_oneof![3 => good, 1 => wild], 0..3);
    let frames = (any::<bool>(), prop::bool::weighted(0.3), 0..9usize);
    let words = (prop::option::of(select(["16:9", "1:1", "auto"])), prop::option::of(select(["720p", "1080P", "4k"])));
    let numbers = (prop::option::of(0..20u32), prop::option::of(any::<u32>()), prop::option::of(1..120u32));
    let sound = prop::option::of(any::<bool>());
    (prop::sample::select(names), ".{0,40}", "[a-z]{0,3}", frames, words, numbers, sound, options).prop_map(
        move |(model, prompt, negative_prompt, frames, words, numbers, generate_audio, options)| Spec {
            prompt,
            negative_prompt,
            start_image: rare(frames.0),
            end_image: rare(frames.1),
            reference_images: vec![image(); frames.2.saturating_sub(6)],
            aspect_ratio: words.0,
            resolution: words.1,
            duration_s: numbers.0,
            seed: numbers.1,
            fps: numbers.2,
            generate_audio,
            provider_options: options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            ..Spec::new(model)
        },
    )
}

fn select(words: [&'static str; 3]) -> impl Strategy<Value = String> {
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

proptest! {
    // About one in twenty-five passes.
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_checked_spec_passes_again_unchanged(spec in any_spec()) {
        match check(spec) {
            Ok(checked) => {
                let again = check(checked.spec.clone()).unwrap();
                prop_assert_eq!(again.spec, checked.spec);
                prop_assert_eq!(again.warnings, []);
            }
            Err(found) => prop_assert!(!found.is_empty() && found.len() <= 20),
        }
    }
}
