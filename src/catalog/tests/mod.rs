//! The catalog as a whole: its file, its names, its rules. Here is how the tests say
//! what is asked for.

mod names;
mod property;
mod results;
mod tables;

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;
use crate::task::spec::{Image, Spec};

/// Read once: most tests need no other.
static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);

/// A setting of a spec, in one word.
type Set = fn(&mut Spec);

fn image() -> Image {
    Image::Uri("https://img.example/a.png".to_owned())
}

fn spec(model: &str) -> Spec {
    let model = CATALOG.resolve(model).unwrap_or_else(|| panic!("{model} is not known"));
    Spec { prompt: "a red kite over dunes".to_owned(), ..Spec::new(model.name.clone()) }
}

fn check(spec: Spec) -> Result<Checked, Vec<Violation>> {
    CATALOG.resolve(spec.model.as_str()).unwrap().check(spec)
}

/// The least that a model can be asked for.
fn minimal(model: &Model) -> Spec {
    let mut spec = Spec { prompt: "a red kite".to_owned(), ..Spec::new(model.name.clone()) };
    spec.start_image = (!model.text_to_video()).then(image);
    spec.end_image = model.limits.end_image_required.then(image);
    spec.reference_images = vec![image(); model.limits.min_reference_images as usize];
    spec
}

fn start(s: &mut Spec) {
    s.start_image = Some(image());
}
fn end(s: &mut Spec) {
    s.end_image = Some(image());
}
fn start_end(s: &mut Spec) {
    start(s);
    end(s);
}
fn option(s: &mut Spec, key: &str, value: Value) {
    s.provider_options.insert(key.to_owned(), value);
}
fn std(s: &mut Spec) {
    option(s, "mode", json!("std"));
}
fn pro(s: &mut Spec) {
    option(s, "mode", json!("pro"));
}
fn four_k(s: &mut Spec) {
    option(s, "mode", json!("4k"));
}
fn ten(s: &mut Spec) {
    s.duration_s = Some(10);
}
fn sound(s: &mut Spec) {
    s.generate_audio = Some(true);
}
fn silent(s: &mut Spec) {
    s.generate_audio = Some(false);
}
fn negative(s: &mut Spec) {
    s.negative_prompt = "rain".to_owned();
}
fn full_hd(s: &mut Spec) {
    s.resolution = Some("1080p".to_owned());
}
fn wide(s: &mut Spec) {
    s.aspect_ratio = Some("16:9".to_owned());
}
fn camera(s: &mut Spec) {
    option(s, "camera_control", json!({"type": "simple", "config": {"pan": 5.0, "zoom": 0}}));
}
fn mask(s: &mut Spec) {
    option(s, "static_mask", json!("https://img.example/mask.png"));
}
fn voice(s: &mut Spec) {
    option(s, "voice_list", json!([{"voice_id": "v1"}]));
}

/// Sends each row through the check and compares the blamed fields, each without the
/// common beginning.
fn table(rows: &[(&str, &[Set], &[&str])]) {
    for (i, (model, sets, expected)) in rows.iter().enumerate() {
        let mut spec = spec(model);
        sets.iter().for_each(|set| set(&mut spec));
        let found = check(spec).err().unwrap_or_default();
        let fields: Vec<&str> = found.iter().map(|v| v.field.strip_prefix("spec.").unwrap()).collect();
        let fields: Vec<&str> = fields.iter().map(|f| f.strip_prefix("provider_options.").unwrap_or(f)).collect();
        assert_eq!(fields, *expected, "row {i}, {model}: {found:?}");
    }
}
