//! What to make, from flags to the contract's request: images from links or
//! files, provider options from KEY=VALUE, labels, the time and money allowed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use clap::Args;
use prost::Message;
use prost_types::value::Kind;

use crate::api::pb;
use crate::config::parse_duration;

use super::trouble::Trouble;

/// The contract's bound on a whole request; images by value share it.
const MAX_REQUEST_BYTES: usize = 24 * 1024 * 1024;

/// What to make.
#[derive(Debug, Args)]
#[command(next_help_heading = "The video")]
pub(super) struct SpecArgs {
    /// What the video shows.
    #[arg(value_name = "PROMPT", default_value = "", hide_default_value = true, help_heading = "Arguments")]
    prompt: String,

    /// The model, such as kling/kling-3.0; 'videogen models' lists them.
    #[arg(short, long)]
    model: String,

    /// The first frame: an https URL, or a jpeg, png or webp file (24 MiB in all).
    #[arg(long, value_name = "URL|FILE")]
    start_image: Option<String>,

    /// The last frame.
    #[arg(long, value_name = "URL|FILE")]
    end_image: Option<String>,

    /// A picture that the video takes its looks from. Repeatable.
    #[arg(long, value_name = "URL|FILE")]
    reference_image: Vec<String>,

    /// The length of the video.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u32>,

    /// Width to height, such as 16:9.
    #[arg(long, value_name = "W:H")]
    aspect_ratio: Option<String>,

    /// 480p, 540p, 720p, 1080p or 4k, as the model allows.
    #[arg(long)]
    resolution: Option<String>,

    /// Make sound too.
    #[arg(long, conflicts_with = "no_audio")]
    audio: bool,

    /// Make no sound.
    #[arg(long)]
    no_audio: bool,

    /// Makes a run repeatable where the model takes a seed.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(..=u64::from(u32::MAX)))]
    seed: Option<u64>,

    /// Frames per second, for models that take it.
    #[arg(long, value_name = "NUMBER")]
    fps: Option<u32>,

    /// What the video must not show.
    #[arg(long, value_name = "TEXT")]
    negative_prompt: Option<String>,

    /// Kling's quality mode: std, pro or 4k. Short for --option mode=MODE.
    #[arg(long)]
    mode: Option<String>,

    /// A setting of the provider's own; VALUE is JSON, or else text. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    option: Vec<(String, String)>,
}

/// How to go about it.
#[derive(Debug, Args)]
#[command(next_help_heading = "The task")]
pub(super) struct TaskArgs {
    /// A mark of your own, to list and watch by. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,

    /// How long the provider may take, 10m to 24h [default: 30m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Buy again when nobody knows whether the first purchase was taken, up to N purchases in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3))]
    at_least_once: Option<u32>,

    /// Announce the end of the task to this URL, signed with the server's secret.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,

    /// Announce every other change to it too.
    #[arg(long, requires = "webhook")]
    webhook_updates: bool,

    /// One per video wanted: repeating a command with the same id never buys twice [default: a new UUID]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Builds the request; reads the image files.
pub(super) fn build(spec: SpecArgs, task: TaskArgs, validate_only: bool) -> Result<pb::SubmitRequest, Trouble> {
    let policy = match task.at_least_once {
        Some(_) => pb::UnknownOutcomePolicy::AtLeastOnce,
        None => pb::UnknownOutcomePolicy::Unspecified,
    };
    let request = pb::SubmitRequest {
        request_id: task.request_id.unwrap_or_else(|| Clock::system().task_id().to_string()),
        spec: Some(build_spec(spec)?),
        generation_timeout: task.timeout.map(to_proto),
        unknown_outcome_policy: policy.into(),
        max_paid_attempts: task.at_least_once.unwrap_or(0),
        labels: labels(task.label)?,
        webhook: task.webhook.map(|url| pb::Webhook { url, updates: task.webhook_updates }),
        validate_only,
    };
    match request.encoded_len() {
        0..=MAX_REQUEST_BYTES => Ok(request),
        bytes => Err(Trouble::Usage(format!(
            "the request is {bytes} bytes, more than {MAX_REQUEST_BYTES}; give larger images as https links"
        ))),
    }
}

/// Labels as a map; one given twice is a mistake.
pub(super) fn labels(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Trouble> {
    let mut labels = BTreeMap::new();
    for (key, value) in pairs {
        if labels.contains_key(&key) {
            return Err(Trouble::Usage(format!("--label {key} is given twice")));
        }
        labels.insert(key, value);
    }
    Ok(labels)
}

/// Reads `KEY=VALUE`.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

fn build_spec(args: SpecArgs) -> Result<pb::Spec, Trouble> {
    let options = args.mode.map(|mode| ("mode".to_owned(), mode)).into_iter().chain(args.option);
    Ok(pb::Spec {
        model: args.model,
        prompt: args.prompt,
        negative_prompt: args.negative_prompt.unwrap_or_default(),
        start_image: args.start_image.as_deref().map(image).transpose()?,
        end_image: args.end_image.as_deref().map(image).transpose()?,
        reference_images: args.reference_image.iter().map(|place| image(place)).collect::<Result<_, _>>()?,
        duration: args.duration.map(|seconds| to_proto(Duration::from_secs(seconds.into()))),
        aspect_ratio: args.aspect_ratio.unwrap_or_default(),
        resolution: args.resolution.unwrap_or_default(),
        generate_audio: (args.audio || args.no_audio).then_some(args.audio),
        seed: args.seed,
        fps: args.fps,
        provider_options: provider_options(options)?,
    })
}

/// A link goes as it is, and the server judges it; anything else is a file.
fn image(place: &str) -> Result<pb::Image, Trouble> {
    if place.contains("://") {
        return Ok(pb::Image { source: Some(pb::image::Source::Uri(place.to_owned())) });
    }
    let failed = |what: String| Trouble::Usage(format!("image {place}: {what}"));
    let metadata = std::fs::metadata(Path::new(place)).map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MAX_REQUEST_BYTES as u64 {
        return Err(failed(format!("expected a file of less than {MAX_REQUEST_BYTES} bytes, or an https link")));
    }
    let data = std::fs::read(place).map_err(|error| failed(error.to_string()))?;
    Ok(pb::Image { source: Some(pb::image::Source::Data(data.into())) })
}

fn provider_options(pairs: impl Iterator<Item = (String, String)>) -> Result<Option<prost_types::Struct>, Trouble> {
    let mut fields = BTreeMap::new();
    for (key, text) in pairs {
        if fields.contains_key(&key) {
            return Err(Trouble::Usage(format!("--option {key} is given twice")));
        }
        let value = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
        fields.insert(key, dynamic(value));
    }
    Ok((!fields.is_empty()).then_some(prost_types::Struct { fields }))
}

fn dynamic(value: serde_json::Value) -> prost_types::Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.into_iter().map(dynamic).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.into_iter().map(|(key, value)| (key, dynamic(value))).collect(),
        }),
    };
    kind.into()
}

fn to_proto(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos().cast_signed() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        spec: SpecArgs,
        #[command(flatten)]
        task: TaskArgs,
    }

    fn request(words: &[&str]) -> Result<pb::SubmitRequest, Trouble> {
        let line = Line::parse_from(["submit", "a fox", "-m", "kling/kling-3.0"].iter().chain(words));
        build(line.spec, line.task, false)
    }

    #[test]
    fn an_option_is_json_or_else_text() {
        let cases = [
            ("cfg_scale=0.5", Kind::NumberValue(0.5)),
            ("mode=pro", Kind::StringValue("pro".into())),
            ("mode=4k", Kind::StringValue("4k".into())),
            ("multi_shot=true", Kind::BoolValue(true)),
            ("quoted=\"5\"", Kind::StringValue("5".into())),
            ("formula=a=b", Kind::StringValue("a=b".into())),
        ];
        for (word, kind) in cases {
            let options = request(&["--option", word]).unwrap().spec.unwrap().provider_options.unwrap();
            let (_, value) = options.fields.into_iter().next().unwrap();
            assert_eq!(value.kind, Some(kind), "{word}");
        }
        let twice = request(&["--mode", "pro", "--option", "mode=std"]).unwrap_err();
        assert_eq!(twice.exit_code(), 2);
    }

    #[test]
    fn flags_become_the_spec() {
        let words = ["--duration", "5", "--no-audio", "--start-image", "https://h/a.png", "--timeout", "1h"];
        let request = request(&words).unwrap();
        let spec = request.spec.unwrap();
        assert_eq!((spec.prompt.as_str(), spec.model.as_str()), ("a fox", "kling/kling-3.0"));
        assert_eq!(spec.duration.unwrap().seconds, 5);
        assert_eq!(spec.generate_audio, Some(false));
        assert_eq!(spec.start_image.unwrap().source, Some(pb::image::Source::Uri("https://h/a.png".into())));
        assert_eq!(request.generation_timeout.unwrap().seconds, 3600);
        assert!(spec.provider_options.is_none() && !request.request_id.is_empty());
    }

    #[test]
    fn an_image_is_read_from_a_file_and_a_large_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, b"png").unwrap();
        let small = request(&["--end-image", path.to_str().unwrap()]).unwrap();
        assert_eq!(small.spec.unwrap().end_image.unwrap().source, Some(pb::image::Source::Data("png".into())));
        std::fs::write(&path, vec![0; MAX_REQUEST_BYTES]).unwrap();
        assert_eq!(request(&["--end-image", path.to_str().unwrap()]).unwrap_err().exit_code(), 2);
        assert_eq!(request(&["--end-image", "/absent.png"]).unwrap_err().exit_code(), 2);
    }
}
