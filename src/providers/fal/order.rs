//! From an order to fal's input: the body is the model's own input, whose names
//! the catalog knows; a model that it does not know gets the common ones.

use serde_json::{Map, Value, json};

use crate::catalog::{DurationForm, FalInput};
use crate::providers::input;
use crate::task::spec::Spec;

/// The input of a model, with this seed where the caller left it open.
pub(super) fn input(spec: &Spec, names: &FalInput, own_seed: Option<u32>) -> Map<String, Value> {
    let mut fields = Map::new();
    set_texts(&mut fields, spec, names);
    set_images(&mut fields, spec, names);
    if let (Some(seconds), Some(form)) = (spec.duration_s, names.duration) {
        fields.insert("duration".to_owned(), duration(seconds, form));
    }
    if let Some(on) = spec.generate_audio {
        fields.insert("generate_audio".to_owned(), on.into());
    }
    if let Some(seed) = spec.seed.or(own_seed) {
        fields.insert("seed".to_owned(), seed.into());
    }
    for (name, value) in &spec.provider_options {
        // The prompt was checked and is what the task shows; an option must not
        // replace it unseen.
        if name != "prompt" || spec.prompt.is_empty() {
            fields.insert(name.clone(), input::whole_numbers(value));
        }
    }
    fields
}

fn set_texts(fields: &mut Map<String, Value>, spec: &Spec, names: &FalInput) {
    let resolution = spec.resolution.as_ref().map(|resolution| match names.resolution_upper_case {
        true => resolution.to_uppercase(),
        false => resolution.clone(),
    });
    let texts = [
        ("prompt", Some(spec.prompt.clone())),
        ("negative_prompt", Some(spec.negative_prompt.clone())),
        ("aspect_ratio", spec.aspect_ratio.clone()),
        ("resolution", resolution),
    ];
    for (name, text) in texts {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            fields.insert(name.to_owned(), text.into());
        }
    }
}

fn set_images(fields: &mut Map<String, Value>, spec: &Spec, names: &FalInput) {
    for (name, image) in [(&names.start_image, &spec.start_image), (&names.end_image, &spec.end_image)] {
        if let (Some(name), Some(image)) = (name, image) {
            fields.insert(name.clone(), input::data_uri(image).into());
        }
    }
    if let (Some(name), false) = (&names.reference_images, spec.reference_images.is_empty()) {
        let images: Vec<String> = spec.reference_images.iter().map(input::data_uri).collect();
        fields.insert(name.clone(), images.into());
    }
}

fn duration(seconds: u32, form: DurationForm) -> Value {
    match form {
        DurationForm::Text => json!(seconds.to_string()),
        DurationForm::TextWithUnit => json!(format!("{seconds}s")),
        DurationForm::Number => json!(seconds),
    }
}
