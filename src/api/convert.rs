//! The only judge of untrusted input: a request as it came in becomes a request
//! that cannot be wrong, or a list of everything that is wrong with it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use prost::Message;
use ring::digest::{SHA256, digest};
use tonic::Status;

use super::accounts::Accounts;
use super::{options, pb, status};
use crate::catalog::{Catalog, ImageLimits, Model, Violation, ViolationKind};
use crate::network::Guard;
use crate::store::contract::Filter;
use crate::task::id::{RequestId, TaskId};
use crate::task::picture::Picture;
use crate::task::spec::{Image, Spec, Submission, UnknownPolicy, Webhook};
use crate::task::state::State;

const PROMPT_BYTES: usize = 8 * 1024;
const REFERENCES: usize = 8;
const LABELS: usize = 32;
const MIN_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How long a link to a file works: unless said, at least and at most.
const DEFAULT_LINK: Duration = Duration::from_secs(15 * 60);
const MIN_LINK: Duration = Duration::from_secs(1);
const MAX_LINK: Duration = Duration::from_secs(7 * 86_400);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What a request is judged by.
pub struct Judge<'a> {
    /// What the models take.
    pub catalog: &'a Catalog,
    /// Who can buy.
    pub accounts: &'a Accounts,
    /// Where links may lead.
    pub guard: &'a Guard,
    /// Whether events can be sent.
    pub webhooks: bool,
}

impl Judge<'_> {
    /// Reads a Submit.
    pub fn submission(&self, request: pb::SubmitRequest) -> Result<Submission, Status> {
        let fingerprint = fingerprint(&request);
        let pb::SubmitRequest {
            request_id,
            spec,
            generation_timeout,
            unknown_outcome_policy,
            max_paid_attempts,
            labels,
            webhook,
            validate_only,
        } = request;
        let mut wrong = Wrong::default();
        if !(validate_only && request_id.is_empty()) {
            check_request_id(&request_id, &mut wrong);
        }
        let generation_timeout = timeout(generation_timeout, &mut wrong);
        let policy = policy(unknown_outcome_policy, max_paid_attempts, &mut wrong);
        check_labels("labels", &labels, LABELS, &mut wrong);
        let webhook = webhook.map(|webhook| self.webhook(webhook, &mut wrong));
        let spec = spec.unwrap_or_default();
        let name = spec.model.clone();
        check_model_name(&name, &mut wrong);
        let Some(model) = self.catalog.resolve(&name) else {
            return Err(wrong.status(None).unwrap_or_else(|| status::model_unknown(&name)));
        };
        let spec = self.spec(&model, spec, &mut wrong);
        let checked = model.check(spec).map_err(|violations| wrong.extend(violations)).ok();
        if let Some(status) = wrong.status(Some(model.name.as_str())) {
            return Err(status);
        }
        let Some(checked) = checked else { return Err(status::field("spec", "is not valid")) };
        if webhook.is_some() && !self.webhooks {
            return Err(status::webhooks_not_configured());
        }
        let account = self.accounts.choose(&model, &request_id)?;
        Ok(Submission {
            request_id: RequestId::new(request_id),
            fingerprint,
            spec: checked.spec,
            account,
            generation_timeout,
            typical: Duration::from_secs(model.typical_s.into()),
            policy,
            labels,
            warnings: checked.warnings,
            webhook,
        })
    }

    fn spec(&self, model: &Model, spec: pb::Spec, wrong: &mut Wrong) -> Spec {
        let pb::Spec {
            model: _,
            prompt,
            negative_prompt,
            start_image,
            end_image,
            reference_images,
            duration,
            aspect_ratio,
            resolution,
            generate_audio,
            seed,
            fps,
            provider_options,
        } = spec;
        check_text("spec.prompt", &prompt, wrong);
        check_text("spec.negative_prompt", &negative_prompt, wrong);
        if reference_images.len() > REFERENCES {
            wrong.add("spec.reference_images", "must be at most 8");
        }
        let references = reference_images.into_iter().take(REFERENCES).enumerate();
        let seed = seed.map(|seed| {
            u32::try_from(seed).unwrap_or_else(|_| wrong.or_zero("spec.seed", "must be at most 4294967295"))
        });
        if fps.is_some_and(|fps| !(1..=120).contains(&fps)) {
            wrong.add("spec.fps", "must be 1 to 120");
        }
        let limits = &model.limits.images;
        Spec {
            model: model.name.clone(),
            prompt,
            negative_prompt,
            start_image: start_image.map(|image| self.image("spec.start_image", image, limits, wrong)),
            end_image: end_image.map(|image| self.image("spec.end_image", image, limits, wrong)),
            reference_images: references
                .map(|(n, image)| self.image(&format!("spec.reference_images[{n}]"), image, limits, wrong))
                .collect(),
            duration_s: duration.and_then(|duration| whole_seconds(duration, wrong)),
            aspect_ratio: word("spec.aspect_ratio", aspect_ratio, wrong),
            resolution: word("spec.resolution", resolution, wrong).map(|word| word.to_ascii_lowercase()),
            generate_audio,
            seed,
            fps,
            provider_options: provider_options.map(|options| self.options(options, wrong)).unwrap_or_default(),
        }
    }

    fn options(&self, fields: prost_types::Struct, wrong: &mut Wrong) -> serde_json::Map<String, serde_json::Value> {
        let options = read_options(fields, wrong);
        for (path, link) in options::links(&options) {
            if let Err(forbidden) = self.guard.check_url(link) {
                wrong.add(&format!("spec.provider_options.{path}"), &forbidden.to_string());
            }
        }
        options
    }

    fn webhook(&self, webhook: pb::Webhook, wrong: &mut Wrong) -> Webhook {
        let pb::Webhook { url, updates } = webhook;
        if let Err(forbidden) = self.guard.check_url(&url) {
            wrong.add("webhook.url", &forbidden.to_string());
        }
        Webhook { url, updates }
    }

    /// A wrong image stays an image, so that the model is not said to lack one.
    fn image(&self, field: &str, image: pb::Image, limits: &ImageLimits, wrong: &mut Wrong) -> Image {
        match image.source {
            Some(pb::image::Source::Uri(uri)) => {
                if let Err(forbidden) = self.guard.check_url(&uri) {
                    wrong.add(field, &forbidden.to_string());
                }
                Image::Uri(uri)
            }
            Some(pb::image::Source::Data(data)) => {
                match Picture::read(&data, Some(data.len() as u64)).map(|picture| limits.complaint(&picture)) {
                    Ok(None) => {}
                    Ok(Some(complaint)) => wrong.add(field, &complaint),
                    Err(none) => wrong.add(field, &format!("{none}; must be a {}", limits.formats_for_people())),
                }
                Image::Data(data)
            }
            None => {
                wrong.add(field, "must have a uri or data");
                Image::Uri(String::new())
            }
        }
    }

    /// Reads a filter.
    pub fn filter(&self, filter: Option<pb::TaskFilter>) -> Result<Filter, Status> {
        let pb::TaskFilter { states, labels, model, create_time_min, create_time_max } = filter.unwrap_or_default();
        let mut wrong = Wrong::default();
        if states.len() > State::ALL.len() {
            wrong.add("filter.states", "must be at most 8");
        }
        check_labels("filter.labels", &labels, 8, &mut wrong);
        let states = states.into_iter().take(State::ALL.len()).filter_map(|number| read_state(number, &mut wrong));
        let states = states.collect();
        let created_from = time("filter.create_time_min", create_time_min, &mut wrong);
        let created_before = time("filter.create_time_max", create_time_max, &mut wrong);
        if !model.is_empty() {
            check_model_name_at("filter.model", &model, &mut wrong);
        }
        wrong.status(None).map_or(Ok(()), Err)?;
        let model = match model.is_empty() {
            true => None,
            false => {
                let found = self.catalog.resolve(&model).ok_or_else(|| status::model_unknown(&model))?;
                Some(found.name.clone())
            }
        };
        Ok(Filter { states, labels, model, created_from, created_before })
    }
}

/// Reads a task id. One that cannot be an id is one that no task has.
pub fn task_id(text: &str) -> Result<TaskId, Status> {
    match text {
        "" => Err(status::field("task_id", "is required")),
        text => text.parse().map_err(|_| status::task_not_found(text)),
    }
}

/// Reads how long a link shall work. No store signs one for longer than a week.
pub fn link_lifetime(lifetime: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(lifetime) = lifetime else { return Ok(DEFAULT_LINK) };
    let read = Duration::try_from(lifetime).ok().filter(|read| (MIN_LINK..=MAX_LINK).contains(read));
    // Signed in whole seconds.
    let read = read.map(|read| Duration::from_secs(read.as_secs()));
    read.ok_or_else(|| status::field("lifetime", "must be 1 second to 7 days"))
}

/// Everything wrong with a request: the first complaint about each field.
#[derive(Default)]
struct Wrong(Vec<Violation>);

impl Wrong {
    fn add(&mut self, field: &str, message: &str) {
        let (field, message) = (field.to_owned(), message.to_owned());
        self.extend(vec![Violation { field, message, kind: ViolationKind::Invalid }]);
    }

    fn extend(&mut self, violations: Vec<Violation>) {
        for violation in violations {
            if self.0.iter().all(|known| known.field != violation.field) {
                self.0.push(violation);
            }
        }
    }

    fn none<T>(&mut self, field: &str, message: &str) -> Option<T> {
        self.add(field, message);
        None
    }

    fn or_zero(&mut self, field: &str, message: &str) -> u32 {
        self.add(field, message);
        0
    }

    fn status(&self, model: Option<&str>) -> Option<Status> {
        (!self.0.is_empty()).then(|| status::fields(&self.0, model))
    }
}

/// The digest of what is asked for: everything but the id and the dry run.
fn fingerprint(request: &pb::SubmitRequest) -> [u8; 32] {
    let content = pb::SubmitRequest { request_id: String::new(), validate_only: false, ..request.clone() };
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, &content.encode_to_vec()).as_ref());
    fingerprint
}

fn check_request_id(id: &str, wrong: &mut Wrong) {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    if id.is_empty() {
        wrong.add("request_id", "is required: choose one per video wanted, so that a repeated call never buys twice");
    } else if id.len() > 128 || !id.bytes().all(valid) {
        wrong.add("request_id", "must be 1 to 128 of A-Z a-z 0-9 . _ : -");
    }
}

fn check_model_name(name: &str, wrong: &mut Wrong) {
    match name {
        "" => wrong.add("spec.model", "is required, as provider/id; ListModels names the models"),
        name => check_model_name_at("spec.model", name, wrong),
    }
}

fn check_model_name_at(field: &str, name: &str, wrong: &mut Wrong) {
    if name.len() > 200 || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        wrong.add(field, "must be at most 200 bytes without white space");
    }
}

fn check_text(field: &str, text: &str, wrong: &mut Wrong) {
    if text.len() > PROMPT_BYTES {
        wrong.add(field, "must be at most 8 KiB");
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        wrong.add(field, "must not hold control characters other than newline and tab");
    }
}

fn check_labels(field: &str, labels: &BTreeMap<String, String>, limit: usize, wrong: &mut Wrong) {
    if labels.len() > limit {
        wrong.add(field, &format!("must be at most {limit}"));
    }
    for (key, value) in labels.iter().take(limit) {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._/-".contains(&b);
        if key.is_empty() || key.len() > 63 || !key.bytes().all(valid) {
            wrong.add(field, "must have keys of 1 to 63 of a-z 0-9 . _ / -");
        } else if value.len() > 255 || value.chars().any(char::is_control) {
            wrong.add(&format!("{field}.{key}"), "must be at most 255 bytes without control characters");
        }
    }
}

fn timeout(timeout: Option<prost_types::Duration>, wrong: &mut Wrong) -> Duration {
    let Some(timeout) = timeout else { return DEFAULT_TIMEOUT };
    let read = Duration::try_from(timeout).ok().filter(|read| (MIN_TIMEOUT..=MAX_TIMEOUT).contains(read));
    read.map(|read| Duration::from_millis(u64::try_from(read.as_millis()).unwrap_or(u64::MAX))).unwrap_or_else(|| {
        wrong.add("generation_timeout", "must be 10 minutes to 24 hours");
        DEFAULT_TIMEOUT
    })
}

fn policy(number: i32, max_paid_attempts: u32, wrong: &mut Wrong) -> UnknownPolicy {
    match pb::UnknownOutcomePolicy::try_from(number) {
        Ok(pb::UnknownOutcomePolicy::AtLeastOnce) => {
            if max_paid_attempts > 3 {
                wrong.add("max_paid_attempts", "must be 1 to 3");
            }
            UnknownPolicy::AtLeastOnce { max_paid_attempts: if max_paid_attempts == 0 { 2 } else { max_paid_attempts } }
        }
        Ok(pb::UnknownOutcomePolicy::AtMostOnce | pb::UnknownOutcomePolicy::Unspecified) => {
            if max_paid_attempts > 1 {
                wrong.add("max_paid_attempts", "is for AT_LEAST_ONCE only");
            }
            UnknownPolicy::AtMostOnce
        }
        Err(_) => {
            wrong.add("unknown_outcome_policy", "is not a known policy");
            UnknownPolicy::AtMostOnce
        }
    }
}

fn whole_seconds(duration: prost_types::Duration, wrong: &mut Wrong) -> Option<u32> {
    match (u32::try_from(duration.seconds), duration.nanos) {
        (Ok(seconds @ 1..=3600), 0) => Some(seconds),
        _ => wrong.none("spec.duration", "must be a whole number of seconds, 1 to 3600"),
    }
}

/// A short setting such as "16:9"; what it may say is the catalog's affair.
fn word(field: &str, text: String, wrong: &mut Wrong) -> Option<String> {
    match text.as_str() {
        "" => None,
        word if word.len() <= 16 && word.bytes().all(|b| b.is_ascii_graphic()) => Some(text),
        _ => wrong.none(field, "must be at most 16 printable characters"),
    }
}

fn read_options(fields: prost_types::Struct, wrong: &mut Wrong) -> serde_json::Map<String, serde_json::Value> {
    options::read(fields).unwrap_or_else(|(path, message)| {
        let field = match path.as_str() {
            "" => "spec.provider_options".to_owned(),
            path => format!("spec.provider_options.{path}"),
        };
        wrong.add(&field, &message);
        serde_json::Map::new()
    })
}

fn read_state(number: i32, wrong: &mut Wrong) -> Option<State> {
    let state = State::ALL.into_iter().find(|state| i32::from(super::render::state(*state)) == number);
    if state.is_none() {
        wrong.add("filter.states", "holds a state that is not known");
    }
    state
}

fn time(field: &str, time: Option<prost_types::Timestamp>, wrong: &mut Wrong) -> Option<SystemTime> {
    let time = time?;
    match SystemTime::try_from(time) {
        Ok(time) if time >= SystemTime::UNIX_EPOCH => Some(time),
        _ => wrong.none(field, "must be a time after 1970"),
    }
}
