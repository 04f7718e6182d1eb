//! The check of a spec against its model, before anything is spent. Pure. It leaves
//! sizes of images, links and structures to the edge, which knows them.

use super::findings::{Checked, Findings, Violation, either, seconds};
use super::model::{Audio, Input, Limits, Model};
use super::{options, rules};
use crate::task::spec::Spec;

/// The longest prompt of any model, in bytes.
const MAX_PROMPT_BYTES: usize = 8192;

impl Model {
    /// Checks a spec for this model: all wrong fields at once, or the spec in the
    /// form in which every field that is left can be sent.
    pub fn check(&self, mut spec: Spec) -> Result<Checked, Vec<Violation>> {
        let mut findings = Findings::new(&self.name);
        spec.model = self.name.clone();
        if self.unlisted {
            unlisted(&spec, &mut findings);
        } else {
            listed(self, &mut spec, &mut findings);
        }
        findings.verdict(spec)
    }
}

fn listed(model: &Model, spec: &mut Spec, findings: &mut Findings) {
    // First, because the other checks look at modes and shots.
    options::check(&model.limits, spec, findings);
    rules::quality(model, spec, findings);
    prompts(model, spec, findings);
    frames(&model.limits, spec, findings);
    references(&model.limits, spec, findings);
    duration(&model.limits, spec, findings);
    aspect_ratio(&model.limits, spec, findings);
    audio(&model.limits, spec, findings);
    ignored(&model.limits, spec, findings);
    rules::option_needs(&model.limits, spec, findings);
    rules::exclusions(&model.limits, spec, findings);
    rules::camera(spec, findings);
    rules::shots(model, spec, findings);
}

/// An unlisted model gets prompt, options and the settings of common name. The
/// others have a name of their own in every model, which only the caller knows.
fn unlisted(spec: &Spec, findings: &mut Findings) {
    findings.warn("spec.model", "not in the catalog: nothing was checked against the model".to_owned());
    prompt_length("spec.prompt", &spec.prompt, u32::MAX, findings);
    prompt_length("spec.negative_prompt", &spec.negative_prompt, u32::MAX, findings);
    let nameless = [
        ("spec.start_image", spec.start_image.is_some()),
        ("spec.end_image", spec.end_image.is_some()),
        ("spec.reference_images", !spec.reference_images.is_empty()),
        ("spec.duration", spec.duration_s.is_some()),
        ("spec.fps", spec.fps.is_some()),
    ];
    for (field, _) in nameless.into_iter().filter(|(_, set)| *set) {
        let message = "goes into provider_options under the model's own name: this model is not in the catalog";
        findings.unsupported(field, message.to_owned());
    }
}

fn prompts(model: &Model, spec: &Spec, findings: &mut Findings) {
    let limits = &model.limits;
    if spec.prompt.trim().is_empty() && !rules::shots_replace_prompt(model, spec) {
        findings.invalid("spec.prompt", format!("is required by {}", model.name));
    }
    prompt_length("spec.prompt", &spec.prompt, limits.max_prompt_chars, findings);
    if spec.negative_prompt.is_empty() {
        return;
    }
    if limits.max_negative_prompt_chars == 0 {
        let instead = limits.instead.as_ref().map(|name| format!("; {name} takes it")).unwrap_or_default();
        findings.unsupported("spec.negative_prompt", format!("is not taken by {}{instead}", model.name));
    }
    prompt_length("spec.negative_prompt", &spec.negative_prompt, limits.max_negative_prompt_chars, findings);
}

fn prompt_length(field: &str, text: &str, max_chars: u32, findings: &mut Findings) {
    if text.len() > MAX_PROMPT_BYTES {
        findings.invalid(field, format!("must be at most {MAX_PROMPT_BYTES} bytes"));
    } else if text.chars().count() > max_chars as usize {
        findings.invalid(field, format!("must be at most {max_chars} characters for {}", findings.model));
    }
}

fn frames(limits: &Limits, spec: &Spec, findings: &mut Findings) {
    let (start, end) = (spec.start_image.is_some(), spec.end_image.is_some());
    let takes = |input| limits.input.contains(&input);
    if start && !takes(Input::Image) {
        findings.unsupported("spec.start_image", format!("is not taken by {}", findings.model));
    }
    let enough = start || takes(Input::Text) || (end && limits.end_image_alone);
    if !enough {
        findings.invalid("spec.start_image", format!("is required by {}", findings.model));
    }
    match &limits.end_image {
        None if end => findings.unsupported("spec.end_image", format!("is not taken by {}", findings.model)),
        Some(_) if !end && limits.end_image_required => {
            findings.invalid("spec.end_image", format!("is required by {}", findings.model));
        }
        Some(_) if end && !start && !limits.end_image_alone => {
            findings.invalid("spec.end_image", format!("needs spec.start_image with {}", findings.model));
        }
        Some(needs) if end => rules::needs("spec.end_image", needs, limits, spec, findings),
        _ => {}
    }
}

fn references(limits: &Limits, spec: &Spec, findings: &mut Findings) {
    let field = "spec.reference_images";
    let (count, min, max) = (spec.reference_images.len(), limits.min_reference_images, limits.max_reference_images);
    if count > 0 && max == 0 {
        findings.unsupported(field, format!("are not taken by {}", findings.model));
    } else if count > max as usize {
        findings.invalid(field, format!("must be at most {max} for {}", findings.model));
    } else if count < min as usize {
        findings.invalid(field, format!("must be at least {min} for {}", findings.model));
    }
}

fn duration(limits: &Limits, spec: &Spec, findings: &mut Findings) {
    let Some(duration) = spec.duration_s else { return };
    let (all, plain) = (limits.durations.as_slice(), limits.plain_durations.as_slice());
    let is_plain = spec.end_image.is_none()
        && spec.reference_images.is_empty()
        && !spec.provider_options.contains_key("element_list");
    if all.is_empty() {
        findings.unsupported("spec.duration", format!("is fixed with {}", findings.model));
    } else if !all.contains(&duration) {
        findings.invalid("spec.duration", format!("must be {} s for {}", seconds(all), findings.model));
    } else if is_plain && !plain.is_empty() && !plain.contains(&duration) {
        let message = format!("must be {} s for {} from text or a first frame alone", seconds(plain), findings.model);
        findings.invalid("spec.duration", message);
    }
}

fn aspect_ratio(limits: &Limits, spec: &mut Spec, findings: &mut Findings) {
    let field = "spec.aspect_ratio";
    let from_image = spec.start_image.is_some() || spec.end_image.is_some();
    match &spec.aspect_ratio {
        Some(_) if limits.aspect_ratios.is_empty() => {
            findings.unsupported(field, format!("is not taken by {}", findings.model));
        }
        Some(_) if from_image && !limits.aspect_ratio_with_image => {
            findings.unsupported(field, format!("must be unset with an image: {} follows the image", findings.model));
        }
        Some(ratio) if !limits.aspect_ratios.contains(ratio) => {
            findings.invalid(field, format!("must be {} for {}", either(&limits.aspect_ratios), findings.model));
        }
        None if !from_image => spec.aspect_ratio.clone_from(&limits.required_aspect_ratio),
        _ => {}
    }
}

fn audio(limits: &Limits, spec: &mut Spec, findings: &mut Findings) {
    let field = "spec.generate_audio";
    let Some(wanted) = spec.generate_audio else { return };
    let ignored = match (limits.audio, wanted) {
        (Audio::Choice, true) => return rules::needs(field, &limits.audio_needs, limits, spec, findings),
        (Audio::Choice, false) => return,
        (Audio::Never, true) => {
            return findings.unsupported(field, format!("must not be true: {} makes no sound", findings.model));
        }
        (Audio::Always, false) => {
            return findings.unsupported(field, format!("must not be false: {} always makes sound", findings.model));
        }
        (Audio::Never, false) => "makes no sound anyway",
        (Audio::Always, true) => "makes sound anyway",
        (Audio::Unstated, _) => "has no such setting",
    };
    spec.generate_audio = None;
    findings.warn(field, format!("ignored: {} {ignored}", findings.model));
}

fn ignored(limits: &Limits, spec: &mut Spec, findings: &mut Findings) {
    if !limits.seed && spec.seed.take().is_some() {
        findings.warn("spec.seed", format!("ignored: {} takes no seed", findings.model));
    }
    if !limits.fps && spec.fps.take().is_some() {
        findings.warn("spec.fps", format!("ignored: {} takes no frame rate", findings.model));
    }
}
