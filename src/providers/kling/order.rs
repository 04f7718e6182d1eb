//! From an order to the body of Kling's create, in either standard, and the place
//! where the job can be asked after.

use serde_json::{Map, Value};

use crate::catalog::{Model, Wire};
use crate::providers::contract::Order;
use crate::providers::input;
use crate::task::spec::Spec;
use crate::task::state::{Failure, FailureKind};
use crate::wire::fal::is_plain_path;
use crate::wire::{kling_legacy as legacy, kling_new as new};

/// Where a job of ours is asked after; what [`crate::task::state::Job::handle`]
/// holds for Kling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `/tasks`.
    New,
    /// The create's own path.
    Legacy(&'static str),
}

const TEXT: &str = "/v1/videos/text2video";
const IMAGE: &str = "/v1/videos/image2video";
const IMAGES: &str = "/v1/videos/multi-image2video";
const OMNI: &str = "/v1/videos/omni-video";

/// Legacy options that have a setting of their own and are never taken from the
/// provider's options: they would change what was bought or who it belongs to.
const OWNED: [&str; 12] = [
    "model_name",
    "prompt",
    "negative_prompt",
    "image",
    "image_tail",
    "image_list",
    "mode",
    "aspect_ratio",
    "duration",
    "sound",
    "callback_url",
    "external_task_id",
];

impl Place {
    /// Where a job for this spec is asked after; nothing when the model is not
    /// Kling's.
    pub(super) fn of(spec: &Spec, model: &Model) -> Option<Self> {
        match model.wire {
            Wire::KlingNew => Some(Self::New),
            Wire::KlingLegacy if is_omni(model) => Some(Self::Legacy(OMNI)),
            Wire::KlingLegacy if !spec.reference_images.is_empty() => Some(Self::Legacy(IMAGES)),
            Wire::KlingLegacy if has_frames(spec) => Some(Self::Legacy(IMAGE)),
            Wire::KlingLegacy => Some(Self::Legacy(TEXT)),
            Wire::FalQueue(_) => None,
        }
    }

    /// The handle.
    pub(super) fn to_handle(&self) -> String {
        match self {
            Self::New => "new".to_owned(),
            Self::Legacy(path) => format!("legacy:{path}"),
        }
    }

    /// Reads a handle. Only paths that we know are taken: a handle is never a way to
    /// call somewhere else.
    pub(super) fn read(handle: &str) -> Option<Self> {
        if handle == "new" {
            return Some(Self::New);
        }
        let path = handle.strip_prefix("legacy:")?;
        [TEXT, IMAGE, IMAGES, OMNI].into_iter().find(|known| *known == path).map(Self::Legacy)
    }
}

/// A create, ready to be addressed and signed.
#[derive(Debug)]
pub(super) struct Draft {
    /// From the base URL.
    pub(super) path: String,
    /// Where the job will be asked after.
    pub(super) place: Place,
    /// JSON.
    pub(super) body: Vec<u8>,
}

impl Draft {
    /// Translates an order.
    pub(super) fn of(order: &Order<'_>) -> Result<Self, Failure> {
        let refused = |message: &str| Failure::free(FailureKind::ProviderRefused, message);
        let Some(place) = Place::of(order.spec, order.model) else {
            return Err(refused("the model is not one of kling's"));
        };
        let (path, body) = match &place {
            Place::New => (new_path(order)?, serde_json::to_vec(&new_body(order))),
            Place::Legacy(path) => ((*path).to_owned(), serde_json::to_vec(&legacy_body(order, path))),
        };
        let body = body.map_err(|_| refused("the request cannot be written as json"))?;
        Ok(Self { path, place, body })
    }
}

fn has_frames(spec: &Spec) -> bool {
    spec.start_image.is_some() || spec.end_image.is_some()
}

fn is_omni(model: &Model) -> bool {
    matches!(model.wire_id.as_str(), "kling-3.0-omni" | "kling-o1" | "kling-v3-omni" | "kling-video-o1")
}

fn text_option<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    spec.provider_options.get(name).and_then(Value::as_str)
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn new_path(order: &Order<'_>) -> Result<String, Failure> {
    let id = &order.model.wire_id;
    if id.contains('/') || !is_plain_path(id) {
        return Err(Failure::free(FailureKind::ProviderRefused, "the model's wire id cannot stand in a path"));
    }
    let kind = if is_omni(order.model) {
        "omni-video"
    } else if has_frames(order.spec) {
        "image-to-video"
    } else {
        "text-to-video"
    };
    Ok(format!("/{kind}/{id}"))
}

fn new_body(order: &Order<'_>) -> new::Create {
    let spec = order.spec;
    let from_text = !is_omni(order.model) && !has_frames(spec);
    new::Create {
        prompt: if from_text { given(&spec.prompt) } else { None },
        contents: new_contents(spec, from_text),
        settings: new_settings(order),
        options: new::Options {
            callback_url: order.callback.map(|url| url.as_str().to_owned()),
            external_task_id: Some(order.marker.as_str().to_owned()),
            watermark_info: spec.provider_options.get("watermark_info").cloned(),
        },
    }
}

fn new_contents(spec: &Spec, from_text: bool) -> Vec<new::Content> {
    let mut contents = Vec::new();
    if !from_text && !spec.prompt.is_empty() {
        contents.push(new::Content::prompt(&spec.prompt));
    }
    let frames = [("first_frame", &spec.start_image), ("last_frame", &spec.end_image)];
    for (kind, image) in frames {
        contents.extend(image.as_ref().map(|image| new::Content::image(kind, input::bare(image))));
    }
    contents.extend(spec.reference_images.iter().map(|image| new::Content::image("refer_image", input::bare(image))));
    if let Some(Value::Array(elements)) = spec.provider_options.get("element_list") {
        let ids = elements.iter().filter_map(|element| element.get("element_id"));
        contents.extend(ids.map(|id| new::Content::element(input::whole_numbers(id))));
    }
    contents
}

fn new_settings(order: &Order<'_>) -> new::Settings {
    let (spec, id) = (order.spec, order.model.wire_id.as_str());
    let resolution = spec.resolution.as_deref().or_else(|| resolution_of(text_option(spec, "mode")?));
    // The turbo models have no audio setting: what they do is fixed.
    let audio = spec.generate_audio.filter(|_| !id.contains("turbo"));
    let multi_shot = spec.provider_options.get("multi_shot").and_then(Value::as_bool);
    new::Settings {
        resolution: resolution.map(str::to_owned),
        // Otherwise it follows the image.
        aspect_ratio: spec.aspect_ratio.clone().filter(|_| !has_frames(spec)),
        duration: spec.duration_s,
        audio: audio.map(|on| if on { "native" } else { "off" }.to_owned()),
        // The 3.0 family cuts into shots unless told not to, which nobody asked for.
        multi_shot: multi_shot.or_else(|| id.starts_with("kling-3.0").then_some(false)),
    }
}

fn resolution_of(mode: &str) -> Option<&'static str> {
    match mode {
        "std" => Some("720p"),
        "pro" => Some("1080p"),
        "4k" => Some("4k"),
        _ => None,
    }
}

fn mode_of(resolution: &str) -> Option<&'static str> {
    match resolution {
        "720p" => Some("std"),
        "1080p" => Some("pro"),
        "4k" => Some("4k"),
        _ => None,
    }
}

fn legacy_body(order: &Order<'_>, path: &str) -> legacy::Create {
    let spec = order.spec;
    // The master models have one quality and no mode.
    let has_mode = !order.model.wire_id.ends_with("-master");
    let mode = text_option(spec, "mode").or_else(|| mode_of(spec.resolution.as_deref()?).filter(|_| has_mode));
    let frame = |image: &Option<_>| image.as_ref().filter(|_| path == IMAGE).map(input::bare);
    legacy::Create {
        model_name: order.model.wire_id.clone(),
        prompt: given(&spec.prompt),
        negative_prompt: given(&spec.negative_prompt),
        image: frame(&spec.start_image),
        image_tail: frame(&spec.end_image),
        image_list: legacy_images(spec, path),
        mode: mode.map(str::to_owned),
        // Otherwise it follows the image.
        aspect_ratio: spec.aspect_ratio.clone().filter(|_| !has_frames(spec)),
        duration: spec.duration_s.map(|seconds| seconds.to_string()),
        sound: spec.generate_audio.map(|on| if on { "on" } else { "off" }.to_owned()),
        callback_url: order.callback.map(|url| url.as_str().to_owned()),
        external_task_id: Some(order.marker.as_str().to_owned()),
        more: legacy_options(spec),
    }
}

fn legacy_images(spec: &Spec, path: &str) -> Vec<legacy::ListedImage> {
    let references = spec.reference_images.iter().map(input::bare);
    match path {
        OMNI => {
            let frames = [("first_frame", &spec.start_image), ("end_frame", &spec.end_image)];
            let frames = frames.into_iter().filter_map(|(kind, image)| {
                let url = input::bare(image.as_ref()?);
                Some(legacy::ListedImage { image_url: Some(url), r#type: Some(kind.to_owned()), image: None })
            });
            let references = references.map(|url| legacy::ListedImage { image_url: Some(url), ..Default::default() });
            frames.chain(references).collect()
        }
        IMAGES => references.map(|url| legacy::ListedImage { image: Some(url), ..Default::default() }).collect(),
        _ => Vec::new(),
    }
}

fn legacy_options(spec: &Spec) -> Map<String, Value> {
    let free = spec.provider_options.iter().filter(|(name, _)| !OWNED.contains(&name.as_str()));
    free.map(|(name, value)| (name.clone(), input::whole_numbers(value))).collect()
}
