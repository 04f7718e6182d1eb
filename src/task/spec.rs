//! What to make: the request as it is understood after it was read at the edge.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::id::{AccountName, ModelName, RequestId};
use super::picture::ImageFormat;

/// What a video shows and how. Absent settings are left to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The model's full name.
    pub model: ModelName,
    /// What the video shows; empty when there is none.
    pub prompt: String,
    /// What it must not show; empty when there is none.
    pub negative_prompt: String,
    /// The first frame.
    pub start_image: Option<Image>,
    /// The last frame.
    pub end_image: Option<Image>,
    /// Pictures to take the looks from.
    pub reference_images: Vec<Image>,
    /// Length in whole seconds.
    pub duration_s: Option<u32>,
    /// Width to height, "16:9".
    pub aspect_ratio: Option<String>,
    /// "480p", "540p", "720p", "1080p", "4k".
    pub resolution: Option<String>,
    /// Whether sound is made too.
    pub generate_audio: Option<bool>,
    /// Makes a run repeatable.
    pub seed: Option<u32>,
    /// Frames per second.
    pub fps: Option<u32>,
    /// The provider's own settings, by the provider's names.
    pub provider_options: serde_json::Map<String, serde_json::Value>,
}

impl Spec {
    /// A request for `model` that sets nothing else.
    pub fn new(model: ModelName) -> Self {
        Self {
            model,
            prompt: String::new(),
            negative_prompt: String::new(),
            start_image: None,
            end_image: None,
            reference_images: Vec::new(),
            duration_s: None,
            aspect_ratio: None,
            resolution: None,
            generate_audio: None,
            seed: None,
            fps: None,
            provider_options: serde_json::Map::new(),
        }
    }

    /// Every image, with the dotted path of its field.
    pub fn images(&self) -> impl Iterator<Item = (String, &Image)> {
        let frames = [("spec.start_image", &self.start_image), ("spec.end_image", &self.end_image)];
        let frames = frames.into_iter().filter_map(|(field, image)| Some((field.to_owned(), image.as_ref()?)));
        let references = self.reference_images.iter().enumerate();
        frames.chain(references.map(|(n, image)| (format!("spec.reference_images[{n}]"), image)))
    }

    /// The same images, to be changed.
    pub fn images_mut(&mut self) -> impl Iterator<Item = &mut Image> {
        self.start_image.iter_mut().chain(&mut self.end_image).chain(&mut self.reference_images)
    }

    /// The images that are kept in files.
    pub fn files(&self) -> impl Iterator<Item = &StoredImage> {
        let images = self.start_image.iter().chain(&self.end_image).chain(&self.reference_images);
        images.filter_map(|image| match image {
            Image::File(file) => Some(file),
            Image::Uri(_) | Image::Data(_) => None,
        })
    }
}

/// A picture, by link or by value.
#[derive(Clone, PartialEq, Eq)]
pub enum Image {
    /// A public https URL.
    Uri(String),
    /// The encoded picture itself: as it came in, and as it goes out. Tasks of
    /// older versions hold it so, too.
    Data(Bytes),
    /// The encoded picture, in a file beside the tasks. No adapter is shown one.
    File(StoredImage),
}

/// A picture in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Of the file, whose name it is.
    pub sha256: [u8; 32],
    /// Size in bytes.
    pub size: u64,
    /// By its own signature.
    pub format: ImageFormat,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(_) => f.write_str("Uri(..)"),
            Self::Data(data) => write!(f, "Data({} bytes)", data.len()),
            Self::File(file) => write!(f, "File({} bytes)", file.size),
        }
    }
}

/// What to do about a create whose outcome cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// Never risk a second purchase.
    AtMostOnce,
    /// Buy again, up to so many paid creates in all.
    AtLeastOnce {
        /// 1 to 3.
        max_paid_attempts: u32,
    },
}

/// An accepted request: everything about a task that never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The caller's id of the request.
    pub request_id: RequestId,
    /// SHA-256 of the request's content, to tell a repeat from a reuse.
    pub fingerprint: [u8; 32],
    /// What to make.
    pub spec: Spec,
    /// The account that buys it.
    pub account: AccountName,
    /// How long the provider may take once it has begun.
    pub generation_timeout: Duration,
    /// What a generation with this model typically takes.
    pub typical: Duration,
    /// What to do about an unknown outcome.
    pub policy: UnknownPolicy,
    /// The caller's own marks.
    pub labels: BTreeMap<String, String>,
    /// What was ignored or could not be checked.
    pub warnings: Vec<Warning>,
    /// Where this task is announced; the settings say it unless set.
    pub webhook: Option<Webhook>,
}

/// A receiver of announcements.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// A public https URL. A secret: it may carry a token.
    pub url: String,
    /// Whether changes before the end are told too.
    pub updates: bool,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("updates", &self.updates).finish_non_exhaustive()
    }
}

/// Something in a request that was ignored or could not be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Dotted path of the field.
    pub field: String,
    /// For people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_met_under_the_path_of_its_field() {
        let file = |size| StoredImage { sha256: [7; 32], size, format: ImageFormat::Png };
        let mut spec = Spec {
            start_image: Some(Image::File(file(1))),
            end_image: Some(Image::Uri("https://images.example/end.png".to_owned())),
            reference_images: vec![Image::Data(Bytes::from_static(b"png")), Image::File(file(2))],
            ..Spec::new(ModelName::parse("kling/kling-v2-1").expect("it has both parts"))
        };
        let fields: Vec<_> = spec.images().map(|(field, _)| field).collect();
        let paths = ["spec.start_image", "spec.end_image", "spec.reference_images[0]", "spec.reference_images[1]"];
        assert_eq!(fields, paths);
        assert_eq!(spec.files().copied().collect::<Vec<_>>(), [file(1), file(2)]);
        let images: Vec<_> = spec.images().map(|(_, image)| image.clone()).collect();
        assert_eq!(spec.images_mut().map(|image| image.clone()).collect::<Vec<_>>(), images);
        assert_eq!(Spec::new(spec.model.clone()).images().count(), 0);
    }
}
