//! Rules across fields: conditions that rows hold as data, and the few of Kling's and
//! fal's that are too special for that, each a function with a name.

use serde_json::Value;

use super::findings::{Findings, either, seconds};
use super::model::{Limits, Model, Needs, Wire};
use crate::task::spec::Spec;

/// Kling's two words for one thing (kling.md section 9).
const MODES: [(&str, &str); 3] = [("std", "720p"), ("pro", "1080p"), ("4k", "4k")];

/// Checks the resolution, and the mode that says the same.
pub fn quality(model: &Model, spec: &mut Spec, findings: &mut Findings) {
    let limits = &model.limits;
    if let Some(resolution) = &mut spec.resolution {
        resolution.make_ascii_lowercase();
        if limits.resolutions.is_empty() {
            findings.unsupported("spec.resolution", format!("is not taken by {}", findings.model));
        } else if !limits.resolutions.contains(resolution) {
            let message = format!("must be {} for {}", either(&limits.resolutions), findings.model);
            findings.invalid("spec.resolution", message);
        }
    }
    let field = "spec.provider_options.mode";
    let Some(mode) = text(spec, "mode").map(str::to_owned) else { return };
    let Some((_, meant)) = MODES.iter().find(|(word, _)| *word == mode) else { return };
    if !is_kling(&model.wire) || findings.blames(field) {
        return;
    }
    if spec.resolution.as_ref().is_some_and(|resolution| resolution != meant) {
        findings.invalid(field, format!("contradicts spec.resolution: {mode} means {meant}"));
    } else if model.wire == Wire::KlingNew {
        // The new standard knows resolutions only.
        spec.provider_options.remove("mode");
        spec.resolution = Some((*meant).to_owned());
    }
}

/// Holds a field that is set against its conditions.
pub fn needs(field: &str, needs: &Needs, limits: &Limits, spec: &Spec, findings: &mut Findings) {
    let mut unmet = Vec::new();
    let mode = mode(limits, spec);
    if !needs.modes.is_empty() && !mode.is_some_and(|mode| needs.modes.iter().any(|m| m == mode)) {
        let quoted: Vec<String> = needs.modes.iter().map(|mode| format!("\"{mode}\"")).collect();
        unmet.push(format!("provider_options.mode {}", either(&quoted)));
    }
    let resolution = spec.resolution.as_ref().or(limits.default_resolution.as_ref());
    if !needs.resolutions.is_empty() && !resolution.is_some_and(|r| needs.resolutions.contains(r)) {
        unmet.push(format!("spec.resolution {}", either(&needs.resolutions)));
    }
    let duration = spec.duration_s.or(limits.default_duration);
    if !needs.durations.is_empty() && !duration.is_some_and(|d| needs.durations.contains(&d)) {
        unmet.push(format!("spec.duration {} s", seconds(&needs.durations)));
    }
    if let Some(audio) = needs.audio.filter(|audio| *audio != spec.generate_audio.unwrap_or(false)) {
        unmet.push(format!("spec.generate_audio {audio}"));
    }
    if let Some(image) = needs.start_image.filter(|image| *image != spec.start_image.is_some()) {
        unmet.push(if image { "spec.start_image".to_owned() } else { "no spec.start_image".to_owned() });
    }
    if !unmet.is_empty() {
        findings.invalid(field, format!("needs {} with {}", unmet.join(" and "), findings.model));
    }
}

/// The mode in force: Kling's legacy models take it from `mode`, which a resolution
/// stands for, and have a default.
fn mode<'a>(limits: &'a Limits, spec: &'a Spec) -> Option<&'a str> {
    let of_resolution = |resolution: &String| MODES.iter().find(|(_, r)| r == resolution).map(|(mode, _)| *mode);
    text(spec, "mode").or_else(|| spec.resolution.as_ref().and_then(of_resolution)).or(limits.default_mode.as_deref())
}

/// Holds every option against its conditions.
pub fn option_needs(limits: &Limits, spec: &Spec, findings: &mut Findings) {
    for (key, conditions) in &limits.option_needs {
        if spec.provider_options.contains_key(key) {
            needs(&format!("spec.provider_options.{key}"), conditions, limits, spec, findings);
        }
    }
}

/// End image, masks and camera exclude one another (kling.md 4.3).
pub fn exclusions(limits: &Limits, spec: &Spec, findings: &mut Findings) {
    let set = |key: &str| limits.options.contains_key(key) && spec.provider_options.contains_key(key);
    for mask in ["static_mask", "dynamic_masks"].into_iter().filter(|mask| set(mask)) {
        let field = format!("spec.provider_options.{mask}");
        if spec.end_image.is_some() {
            findings.invalid(&field, "cannot go with spec.end_image".to_owned());
        } else if set("camera_control") {
            findings.invalid(&field, "cannot go with provider_options.camera_control".to_owned());
        }
    }
    if set("camera_control") && spec.end_image.is_some() {
        let message = "cannot go with spec.end_image".to_owned();
        findings.invalid("spec.provider_options.camera_control", message);
    }
}

/// A simple camera moves along one axis; the other types have nothing to set.
pub fn camera(spec: &Spec, findings: &mut Findings) {
    let Some(Value::Object(camera)) = spec.provider_options.get("camera_control") else { return };
    let field = "spec.provider_options.camera_control.config";
    let simple = camera.get("type").and_then(Value::as_str) == Some("simple");
    match camera.get("config") {
        Some(_) if !simple => findings.invalid(field, "goes only with type \"simple\"".to_owned()),
        Some(Value::Object(axes)) => {
            let moving = axes.values().filter(|axis| axis.as_f64() != Some(0.0)).count();
            if moving != 1 {
                findings.invalid(field, "must have exactly one value that is not 0".to_owned());
            }
        }
        None if simple => findings.invalid(field, "is required with type \"simple\"".to_owned()),
        _ => {}
    }
}

/// The rules of films in several shots, which the two providers write differently.
pub fn shots(model: &Model, spec: &Spec, findings: &mut Findings) {
    if !model.limits.options.contains_key("multi_prompt") {
        return;
    }
    match &model.wire {
        Wire::KlingLegacy => kling_shots(&model.limits, spec, findings),
        Wire::FalQueue(_) if spec.provider_options.contains_key("multi_prompt") && !spec.prompt.is_empty() => {
            let field = "spec.provider_options.multi_prompt";
            findings.invalid(field, "cannot go with spec.prompt: it takes its place".to_owned());
        }
        Wire::KlingNew | Wire::FalQueue(_) => {}
    }
}

/// Whether the shots have prompts of their own, so that the main one may be empty.
pub fn shots_replace_prompt(model: &Model, spec: &Spec) -> bool {
    let has_shots =
        model.limits.options.contains_key("multi_prompt") && spec.provider_options.contains_key("multi_prompt");
    match &model.wire {
        Wire::KlingLegacy => has_shots && multi_shot(spec) && text(spec, "shot_type") == Some("customize"),
        Wire::FalQueue(_) => has_shots,
        Wire::KlingNew => false,
    }
}

/// kling.md 4.2: shots of one's own make "customize", and fill the film exactly.
fn kling_shots(limits: &Limits, spec: &Spec, findings: &mut Findings) {
    let customize = text(spec, "shot_type") == Some("customize");
    if spec.provider_options.contains_key("shot_type") && !multi_shot(spec) {
        findings.invalid("spec.provider_options.shot_type", "needs provider_options.multi_shot true".to_owned());
    }
    let field = "spec.provider_options.multi_prompt";
    let Some(shots) = spec.provider_options.get("multi_prompt") else {
        if customize {
            findings.invalid(field, "is required with shot_type \"customize\"".to_owned());
        }
        return;
    };
    if !customize {
        return findings.invalid(field, "needs provider_options.shot_type \"customize\"".to_owned());
    }
    let length = |shot: &Value| shot.get("duration").and_then(Value::as_str).and_then(|text| text.parse::<u32>().ok());
    // A list with a wrong entry was found wrong by its shape.
    let lengths: Option<Vec<u32>> = shots.as_array().and_then(|shots| shots.iter().map(length).collect());
    let (Some(lengths), Some(whole)) = (lengths, spec.duration_s.or(limits.default_duration)) else { return };
    if lengths.iter().map(|length| u64::from(*length)).sum::<u64>() != u64::from(whole) {
        findings.invalid(field, format!("must have durations that sum to spec.duration, {whole} s"));
    }
}

fn multi_shot(spec: &Spec) -> bool {
    spec.provider_options.get("multi_shot") == Some(&Value::Bool(true))
}

fn text<'a>(spec: &'a Spec, key: &str) -> Option<&'a str> {
    spec.provider_options.get(key).and_then(Value::as_str)
}

/// Whether it is one of Kling's two protocols.
fn is_kling(wire: &Wire) -> bool {
    match wire {
        Wire::KlingNew | Wire::KlingLegacy => true,
        Wire::FalQueue(_) => false,
    }
}
