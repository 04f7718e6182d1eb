//! The file and the names in it: the built-in rows, and an operator's.

use super::*;

#[test]
fn every_built_in_row_accepts_its_least_and_each_of_its_settings() {
    let catalog = &*CATALOG;
    assert!(catalog.models().count() >= 50);
    for model in catalog.models() {
        let accepts = |spec: Spec| {
            let checked = model.check(spec).unwrap_or_else(|found| panic!("{}: {found:?}", model.name));
            assert_eq!(checked.warnings, [], "{}", model.name);
        };
        accepts(minimal(model));
        for resolution in &model.limits.resolutions {
            accepts(Spec { resolution: Some(resolution.clone()), ..minimal(model) });
        }
        for duration in [&model.limits.durations, &model.limits.plain_durations].map(Durations::as_slice).concat() {
            let plain = model.limits.plain_durations.as_slice();
            if plain.is_empty() || plain.contains(&duration) {
                accepts(Spec { duration_s: Some(duration), ..minimal(model) });
            }
        }
        for ratio in &model.limits.aspect_ratios {
            accepts(Spec { aspect_ratio: Some(ratio.clone()), ..minimal(model) });
        }
    }
}

#[test]
fn a_fal_row_names_every_input_that_it_takes() {
    for model in CATALOG.models() {
        if let Wire::FalQueue(input) = &model.wire {
            assert!(input.start_image.is_some() || !model.image_to_video(), "{}", model.name);
            assert!(input.end_image.is_some() || !model.end_image(), "{}", model.name);
            assert!(input.reference_images.is_some() || model.limits.max_reference_images == 0, "{}", model.name);
            assert_eq!(input.duration.is_some(), !model.limits.durations.as_slice().is_empty(), "{}", model.name);
        }
    }
}

#[test]
fn names_and_aliases_lead_to_their_model() {
    let catalog = &*CATALOG;
    for model in catalog.models() {
        for name in model.aliases.iter().map(String::as_str).chain([model.name.as_str(), model.name.id()]) {
            assert_eq!(catalog.resolve(name).as_ref(), Some(model), "{name}");
        }
    }
    for (alias, name) in [
        ("kling-v3.0-t2v", "kling/kling-v3"),
        ("kling-v3.0-i2v", "kling/kling-v3"),
        ("kling-v3.0", "kling/kling-v3"),
        ("kling-3.0", "kling/kling-3.0"),
        ("kling-v2.6-i2v", "kling/kling-v2-6"),
        ("fal-ai/veo3.1", "fal/fal-ai/veo3.1"),
        ("wan/v2.6/text-to-video", "fal/wan/v2.6/text-to-video"),
    ] {
        assert_eq!(catalog.resolve(alias).unwrap().name.as_str(), name);
    }
    for unknown in
        ["", "kling", "kling/kling-9", "sora", "fal/", "fal/x", "fal/a//b", "fal/a/../b", "fal/a/b?c", "fal/a/requests"]
    {
        assert_eq!(catalog.resolve(unknown), None, "{unknown}");
    }
}

#[test]
fn an_operators_file_adds_and_overrides() {
    let text = r#"
        [[model]]
        name = "kling/kling-v3"
        typical_s = 300
        [[model]]
        name = "fal/acme/kite"
        base = "fal-veo"
        options = { style = ["calm", "wild"], size = "integer 1..4", extra = "@watermark_info" }
    "#;
    let catalog = Catalog::with(text).unwrap();
    let model = catalog.resolve("kling-v3.0").unwrap();
    assert_eq!((model.typical_s, model.limits.durations.as_slice().len()), (300, 13));
    let kite = catalog.resolve("acme/kite").unwrap();
    let keys: Vec<_> = kite.option_keys().map(|(key, kind)| format!("{key}: {kind}")).collect();
    let expected =
        ["extra: object {enabled: true or false}", "size: whole number from 1 to 4", "style: one of calm, wild"];
    assert_eq!(keys, expected);
}

#[test]
fn a_mistake_in_an_operators_file_is_named() {
    let row = |keys: &str| {
        format!("[[model]]\nname = \"fal/a/b\"\nwire = \"fal\"\ntypical_s = 9\ninput = [\"text\"]\n{keys}")
    };
    assert!(Catalog::with(&row("")).is_ok());
    for (text, told) in [
        (row("durration = 5"), vec!["fal/a/b", "durration"]),
        (row("fal = { start = \"x\" }"), vec!["fal/a/b", "start"]),
        (row("end_image = { mode = \"pro\" }"), vec!["fal/a/b", "mode"]),
        (row("options = { a = \"numbr 0..1\" }"), vec!["fal/a/b", "numbr"]),
        (row("options = { a = \"@nothing\" }"), vec!["fal/a/b", "@nothing"]),
        (row("durations = [5]\ndefault_duration = 6"), vec!["fal/a/b", "default_duration"]),
        (row("durations = { from = 1, to = 4000000000 }"), vec!["fal/a/b"]),
        (row("aliases = [\"kling-3.0\"]"), vec!["kling-3.0"]),
        (row("base = \"nothing\""), vec!["fal/a/b", "nothing"]),
        (
            "[shape]\na = { list = \"@a\", length = [0, 1] }\n".to_owned() + &row("options = { x = \"@a\" }"),
            vec!["deeply"],
        ),
        (row("") + &row(""), vec!["fal/a/b", "twice"]),
        ("\n\nx = [".to_owned(), vec!["line 3"]),
        ("[[model]]\nwire = \"fal\"".to_owned(), vec!["no name"]),
        ("[[modle]]\nname = \"x/y\"".to_owned(), vec!["modle"]),
        (
            "[[model]]\nname = \"kling/x\"\nwire = \"fal\"\ntypical_s = 1\ninput = [\"text\"]".to_owned(),
            vec!["provider"],
        ),
    ] {
        let error = Catalog::with(&text).unwrap_err().to_string();
        assert!(told.iter().all(|word| error.contains(word)), "{error}");
    }
}
