//! The part of a task that never changes, as it is stored.

use std::time::Duration;

use prost::Message;

use super::words::{read_image_format, write_image_format};
use super::{BadRecord, digest, duration_to_ms, wire};
use crate::task::id::{AccountName, ModelName, RequestId};
use crate::task::spec::{Image, Spec, StoredImage, Submission, UnknownPolicy, Warning, Webhook};

/// Encodes a submission.
pub(in crate::store) fn write_submission(submission: &Submission) -> Vec<u8> {
    let Submission {
        request_id,
        fingerprint,
        spec,
        account,
        generation_timeout,
        typical,
        policy,
        labels,
        warnings,
        webhook,
    } = submission;
    let (policy, max_paid_attempts) = match *policy {
        UnknownPolicy::AtMostOnce => (wire::UnknownPolicy::AtMostOnce, 0),
        UnknownPolicy::AtLeastOnce { max_paid_attempts } => (wire::UnknownPolicy::AtLeastOnce, max_paid_attempts),
    };
    wire::Submission {
        request_id: request_id.as_str().to_owned(),
        fingerprint: fingerprint.to_vec().into(),
        account: account.as_str().to_owned(),
        spec: Some(write_spec(spec)),
        generation_timeout_ms: duration_to_ms(*generation_timeout),
        typical_ms: duration_to_ms(*typical),
        policy: policy as i32,
        max_paid_attempts,
        labels: labels.clone(),
        warnings: warnings.iter().map(write_warning).collect(),
        webhook: webhook.as_ref().map(write_webhook),
    }
    .encode_to_vec()
}

/// Decodes a submission.
pub(in crate::store) fn read_submission(bytes: &[u8]) -> Result<Submission, BadRecord> {
    let wire::Submission {
        request_id,
        fingerprint,
        account,
        spec,
        generation_timeout_ms,
        typical_ms,
        policy,
        max_paid_attempts,
        labels,
        warnings,
        webhook,
    } = wire::Submission::decode(bytes)?;
    let policy = match wire::UnknownPolicy::try_from(policy) {
        Ok(wire::UnknownPolicy::AtMostOnce) => UnknownPolicy::AtMostOnce,
        Ok(wire::UnknownPolicy::AtLeastOnce) => UnknownPolicy::AtLeastOnce { max_paid_attempts },
        Ok(wire::UnknownPolicy::Unspecified) | Err(_) => return Err(BadRecord::UnknownWord("policy", policy)),
    };
    Ok(Submission {
        request_id: RequestId::new(request_id),
        fingerprint: digest(&fingerprint, "the fingerprint")?,
        spec: read_spec(spec.ok_or(BadRecord::Missing("the spec"))?)?,
        account: AccountName::new(account),
        generation_timeout: Duration::from_millis(generation_timeout_ms),
        typical: Duration::from_millis(typical_ms),
        policy,
        labels,
        warnings: warnings.into_iter().map(read_warning).collect(),
        webhook: webhook.map(read_webhook),
    })
}

fn write_spec(spec: &Spec) -> wire::Spec {
    let Spec {
        model,
        prompt,
        negative_prompt,
        start_image,
        end_image,
        reference_images,
        duration_s,
        aspect_ratio,
        resolution,
        generate_audio,
        seed,
        fps,
        provider_options,
    } = spec;
    wire::Spec {
        model: model.as_str().to_owned(),
        prompt: prompt.clone(),
        negative_prompt: negative_prompt.clone(),
        start_image: start_image.as_ref().map(write_image),
        end_image: end_image.as_ref().map(write_image),
        reference_images: reference_images.iter().map(write_image).collect(),
        duration_s: *duration_s,
        aspect_ratio: aspect_ratio.clone(),
        resolution: resolution.clone(),
        generate_audio: *generate_audio,
        seed: *seed,
        fps: *fps,
        provider_options_json: write_options(provider_options),
    }
}

fn read_spec(spec: wire::Spec) -> Result<Spec, BadRecord> {
    let wire::Spec {
        model,
        prompt,
        negative_prompt,
        start_image,
        end_image,
        reference_images,
        duration_s,
        aspect_ratio,
        resolution,
        generate_audio,
        seed,
        fps,
        provider_options_json,
    } = spec;
    Ok(Spec {
        model: ModelName::parse(&model).ok_or(BadRecord::Invalid("the model"))?,
        prompt,
        negative_prompt,
        start_image: start_image.map(read_image).transpose()?,
        end_image: end_image.map(read_image).transpose()?,
        reference_images: reference_images.into_iter().map(read_image).collect::<Result<_, _>>()?,
        duration_s,
        aspect_ratio,
        resolution,
        generate_audio,
        seed,
        fps,
        provider_options: read_options(&provider_options_json)?,
    })
}

type Options = serde_json::Map<String, serde_json::Value>;

fn write_options(options: &Options) -> String {
    if options.is_empty() {
        return String::new();
    }
    serde_json::to_string(options).expect("a JSON map with text keys is always text")
}

fn read_options(text: &str) -> Result<Options, BadRecord> {
    if text.is_empty() {
        return Ok(Options::new());
    }
    serde_json::from_str(text).map_err(|_| BadRecord::Invalid("provider_options"))
}

fn write_image(image: &Image) -> wire::Image {
    let source = match image {
        Image::Uri(uri) => wire::image::Source::Uri(uri.clone()),
        Image::Data(data) => wire::image::Source::Data(data.clone()),
        Image::File(file) => wire::image::Source::File(write_file(file)),
    };
    wire::Image { source: Some(source) }
}

fn read_image(image: wire::Image) -> Result<Image, BadRecord> {
    let wire::Image { source } = image;
    match source.ok_or(BadRecord::Missing("an image's source"))? {
        wire::image::Source::Uri(uri) => Ok(Image::Uri(uri)),
        wire::image::Source::Data(data) => Ok(Image::Data(data)),
        wire::image::Source::File(file) => Ok(Image::File(read_file(file)?)),
    }
}

fn write_file(file: &StoredImage) -> wire::StoredImage {
    let StoredImage { sha256, size, format } = file;
    wire::StoredImage { sha256: sha256.to_vec().into(), size: *size, format: write_image_format(*format) }
}

fn read_file(file: wire::StoredImage) -> Result<StoredImage, BadRecord> {
    let wire::StoredImage { sha256, size, format } = file;
    Ok(StoredImage { sha256: digest(&sha256, "an image's digest")?, size, format: read_image_format(format)? })
}

fn write_warning(warning: &Warning) -> wire::Warning {
    let Warning { field, message } = warning;
    wire::Warning { field: field.clone(), message: message.clone() }
}

fn read_warning(warning: wire::Warning) -> Warning {
    let wire::Warning { field, message } = warning;
    Warning { field, message }
}

fn write_webhook(webhook: &Webhook) -> wire::Webhook {
    let Webhook { url, updates } = webhook;
    wire::Webhook { url: url.clone(), updates: *updates }
}

fn read_webhook(webhook: wire::Webhook) -> Webhook {
    let wire::Webhook { url, updates } = webhook;
    Webhook { url, updates }
}
