//! One model: how it is named, how it is spoken to, what it takes. The limits are
//! read from TOML as they stand here: each field is a key of a row.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::images::ImageLimits;
use super::shape::Shape;
use crate::task::id::ModelName;

/// A row of the catalog.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The full name.
    pub name: ModelName,
    /// Other names that are accepted for it.
    pub aliases: Vec<String>,
    /// How it is spoken to.
    pub wire: Wire,
    /// Its name there: Kling's path id or `model_name`, fal's endpoint id.
    pub wire_id: String,
    /// What a generation typically takes, in seconds.
    pub typical_s: u32,
    /// How long a result's link works, in seconds, when the provider says so.
    pub result_lifetime_s: Option<u64>,
    /// What it takes.
    pub limits: Limits,
    /// Whether it is in no row: its input passes through unchecked.
    pub unlisted: bool,
}

impl Model {
    /// Whether it makes a video from text alone.
    pub fn text_to_video(&self) -> bool {
        self.limits.input.contains(&Input::Text)
    }

    /// Whether it makes a video from a start image.
    pub fn image_to_video(&self) -> bool {
        self.limits.input.contains(&Input::Image)
    }

    /// Whether it takes an end image, at least in some combination.
    pub fn end_image(&self) -> bool {
        self.limits.end_image.is_some()
    }

    /// Whether `generate_audio` is a choice.
    pub fn audio_choice(&self) -> bool {
        self.limits.audio == Audio::Choice
    }

    /// Whether it takes a negative prompt.
    pub fn negative_prompt(&self) -> bool {
        self.limits.max_negative_prompt_chars > 0
    }

    /// The keys of `provider_options`, each with its type and range for people.
    pub fn option_keys(&self) -> impl Iterator<Item = (&str, String)> {
        self.limits.options.iter().map(|(key, shape)| (key.as_str(), shape.to_string()))
    }
}

/// The protocols that models are spoken to in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Kling, model in the path, `/tasks` to query.
    KlingNew,
    /// Kling, `/v1/videos/...`, model in the body.
    KlingLegacy,
    /// fal's queue, with the model's own input names.
    FalQueue(FalInput),
}

/// What a fal model calls the things whose names differ from model to model.
/// Everything else goes by its common name: `prompt`, `negative_prompt`,
/// `aspect_ratio`, `resolution`, `generate_audio`, `seed`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FalInput {
    /// The field of the first frame: `image_url`, `start_image_url`, `first_frame_url`.
    pub start_image: Option<String>,
    /// The field of the last frame.
    pub end_image: Option<String>,
    /// The field of the reference images.
    pub reference_images: Option<String>,
    /// How a length is written, for models that take one.
    pub duration: Option<DurationForm>,
    /// Whether resolutions are written "768P" rather than "768p".
    pub resolution_upper_case: bool,
}

/// How a fal model writes a length of five seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DurationForm {
    /// `"5"`
    Text,
    /// `"5s"`
    TextWithUnit,
    /// `5`
    Number,
}

/// What a model takes. Absent lists and zeros mean that it has no such setting.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// What a video can be made from.
    pub input: Vec<Input>,
    /// The longest prompt, in characters.
    pub max_prompt_chars: u32,
    /// The longest negative prompt, in characters; 0 takes none.
    pub max_negative_prompt_chars: u32,
    /// The model to name to whoever asks for what this one lacks.
    pub instead: Option<String>,
    /// The lengths it makes, in seconds.
    pub durations: Durations,
    /// The lengths when it is given nothing but text or a first frame, if fewer.
    pub plain_durations: Durations,
    /// The length that the provider takes when none is asked for.
    pub default_duration: Option<u32>,
    /// The aspect ratios it makes.
    pub aspect_ratios: Vec<String>,
    /// Whether it takes an aspect ratio beside a first frame.
    pub aspect_ratio_with_image: bool,
    /// The ratio to send when none is asked for and no frame gives it, where the
    /// provider insists on one.
    pub required_aspect_ratio: Option<String>,
    /// The resolutions it makes.
    pub resolutions: Vec<String>,
    /// The resolution that the provider takes when none is asked for.
    pub default_resolution: Option<String>,
    /// The same of Kling's `mode`.
    pub default_mode: Option<String>,
    /// What an end image needs; absent when it takes none.
    pub end_image: Option<Needs>,
    /// Whether an end image goes without a start image.
    pub end_image_alone: bool,
    /// Whether there must be an end image.
    pub end_image_required: bool,
    /// How many reference images it needs.
    pub min_reference_images: u32,
    /// How many reference images it takes.
    pub max_reference_images: u32,
    /// What its images must be like.
    pub images: ImageLimits,
    /// Whether sound is a choice.
    pub audio: Audio,
    /// What sound needs.
    pub audio_needs: Needs,
    /// Whether it takes a seed.
    pub seed: bool,
    /// Whether it takes frames per second.
    pub fps: bool,
    /// The keys of `provider_options`.
    pub options: BTreeMap<String, Shape>,
    /// What some of these keys need.
    pub option_needs: BTreeMap<String, Needs>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            input: Vec::new(),
            // The service's own limit of 8 KiB.
            max_prompt_chars: 8192,
            max_negative_prompt_chars: 0,
            instead: None,
            durations: Durations::default(),
            plain_durations: Durations::default(),
            default_duration: None,
            aspect_ratios: Vec::new(),
            aspect_ratio_with_image: false,
            required_aspect_ratio: None,
            resolutions: Vec::new(),
            default_resolution: None,
            default_mode: None,
            end_image: None,
            end_image_alone: false,
            end_image_required: false,
            min_reference_images: 0,
            max_reference_images: 0,
            images: ImageLimits::default(),
            audio: Audio::default(),
            audio_needs: Needs::default(),
            seed: false,
            fps: false,
            options: BTreeMap::new(),
            option_needs: BTreeMap::new(),
        }
    }
}

/// What a video can be made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Text alone.
    Text,
    /// A first frame.
    Image,
}

/// What a model does about sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audio {
    /// It has no such setting, and nobody says what it does.
    #[default]
    Unstated,
    /// It makes none.
    Never,
    /// It always makes some.
    Always,
    /// The caller chooses.
    Choice,
}

/// Conditions that a setting stands under. Empty ones always hold.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Needs {
    /// Any of these modes.
    pub modes: Vec<String>,
    /// Any of these resolutions.
    pub resolutions: Vec<String>,
    /// Any of these lengths, in seconds.
    pub durations: Vec<u32>,
    /// Sound on, or sound off.
    pub audio: Option<bool>,
    /// A start image, or none.
    pub start_image: Option<bool>,
}

/// Lengths in seconds, rising: written `[5, 10]` or `{ from = 3, to = 15 }`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "DurationsForm")]
pub struct Durations(Vec<u32>);

impl Durations {
    /// The lengths.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }
}

/// How lengths are written.
#[derive(Deserialize)]
#[serde(untagged)]
enum DurationsForm {
    List(Vec<u32>),
    Range { from: u32, to: u32 },
}

impl TryFrom<DurationsForm> for Durations {
    type Error = &'static str;

    fn try_from(form: DurationsForm) -> Result<Self, Self::Error> {
        let list = match form {
            DurationsForm::List(list) => list,
            // The bound keeps a slip of the pen from becoming a list of millions.
            DurationsForm::Range { from, to } if from <= to && to <= 3600 => (from..=to).collect(),
            DurationsForm::Range { .. } => return Err("a range of durations runs upwards and ends at most at 3600"),
        };
        let rising = list.windows(2).all(|pair| pair[0] < pair[1]);
        if rising { Ok(Self(list)) } else { Err("durations are listed from short to long") }
    }
}
