//! Bad input: each field one over its limit, each impossible wish. Every one is a
//! clear status that names the field; nothing is stored and nothing is bought.

use std::time::Duration;

use pb::image::Source;
use pb::{Image, SubmitRequest, UnknownOutcomePolicy};
use serde_json::json;
use tonic::Code;
use videogen::api::pb;

use crate::house::{House, link, options, quick, request, text, told};

const MODEL: &str = "kling/kling-v2-6";

type Spoil = fn(&mut SubmitRequest);

/// What is wrong with a request, and the fields that the answer must name.
type Case = (&'static str, Spoil, &'static [&'static str]);

async fn refuses(house: &mut House, reason: &str, cases: &[Case]) {
    for (name, spoil, fields) in cases {
        let mut asked = request(text(MODEL));
        spoil(&mut asked);
        let refused = house.try_submit(asked).await.expect_err(name);
        let (code, told_reason, named) = told(&refused);
        assert_eq!((code, told_reason.as_str()), (Code::InvalidArgument, reason), "{name}: {refused:?}");
        assert_eq!(named, *fields, "{name}: {refused:?}");
        assert!(house.is_untouched().await, "{name}");
    }
}

fn spec(request: &mut SubmitRequest) -> &mut pb::Spec {
    request.spec.as_mut().unwrap()
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn data(bytes: &'static [u8]) -> Option<Image> {
    Some(Image { source: Some(Source::Data(bytes.into())) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_every_limit_is_taken() {
    let mut house = House::new().await;
    let asked = SubmitRequest {
        request_id: "A-z.0_9:".repeat(16),
        generation_timeout: seconds(24 * 3600),
        unknown_outcome_policy: UnknownOutcomePolicy::AtLeastOnce.into(),
        max_paid_attempts: 3,
        labels: (0..32).map(|n| (format!("{n:0>63}"), "v".repeat(255))).collect(),
        validate_only: true,
        spec: Some(pb::Spec {
            prompt: "p".repeat(2500),
            negative_prompt: "n".repeat(2500),
            duration: seconds(10),
            aspect_ratio: "9:16".into(),
            seed: Some(u64::from(u32::MAX)),
            fps: Some(120),
            provider_options: options(&json!({"mode": "pro"})),
            ..text(MODEL)
        }),
        ..SubmitRequest::default()
    };
    house.try_submit(asked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_one_over_its_limit_is_refused_by_name() {
    let mut house = House::new().await;
    let cases: &[Case] = &[
        ("prompt bytes", |r| spec(r).prompt = "p".repeat(8 * 1024 + 1), &["spec.prompt"]),
        ("prompt characters", |r| spec(r).prompt = "p".repeat(2501), &["spec.prompt"]),
        ("prompt missing", |r| spec(r).prompt.clear(), &["spec.prompt"]),
        ("prompt with NUL", |r| spec(r).prompt.push('\0'), &["spec.prompt"]),
        ("negative prompt", |r| spec(r).negative_prompt = "n".repeat(8 * 1024 + 1), &["spec.negative_prompt"]),
        (
            "references",
            |r| spec(r).reference_images = vec![link("https://example.com/a.png").unwrap(); 9],
            &["spec.reference_images"],
        ),
        ("seed", |r| spec(r).seed = Some(1 << 32), &["spec.seed"]),
        ("fps 0", |r| spec(r).fps = Some(0), &["spec.fps"]),
        ("fps 121", |r| spec(r).fps = Some(121), &["spec.fps"]),
        ("no duration", |r| spec(r).duration = seconds(0), &["spec.duration"]),
        ("negative duration", |r| spec(r).duration = seconds(-5), &["spec.duration"]),
        ("long duration", |r| spec(r).duration = seconds(3601), &["spec.duration"]),
        (
            "half a second",
            |r| spec(r).duration = Some(prost_types::Duration { seconds: 5, nanos: 500_000_000 }),
            &["spec.duration"],
        ),
        ("ratio", |r| spec(r).aspect_ratio = "wide as the sea".into(), &["spec.aspect_ratio"]),
        ("long ratio", |r| spec(r).aspect_ratio = "1".repeat(17), &["spec.aspect_ratio"]),
        ("resolution", |r| spec(r).resolution = "8K\n".into(), &["spec.resolution"]),
        ("image without source", |r| spec(r).start_image = Some(Image::default()), &["spec.start_image"]),
        ("no picture", |r| spec(r).start_image = data(b"GIF89a and the rest"), &["spec.start_image"]),
        ("model name", |r| spec(r).model = format!("kling/{}", "m".repeat(195)), &["spec.model"]),
        ("model with space", |r| spec(r).model = "kling/kling v2".into(), &["spec.model"]),
        ("no spec", |r| r.spec = None, &["spec.model"]),
        ("timeout short", |r| r.generation_timeout = seconds(599), &["generation_timeout"]),
        ("timeout long", |r| r.generation_timeout = seconds(24 * 3600 + 1), &["generation_timeout"]),
        ("timeout negative", |r| r.generation_timeout = seconds(-600), &["generation_timeout"]),
        ("policy", |r| r.unknown_outcome_policy = 99, &["unknown_outcome_policy"]),
        ("attempts of one", |r| r.max_paid_attempts = 2, &["max_paid_attempts"]),
        (
            "attempts",
            |r| {
                r.unknown_outcome_policy = UnknownOutcomePolicy::AtLeastOnce.into();
                r.max_paid_attempts = 4;
            },
            &["max_paid_attempts"],
        ),
        ("webhook", |r| r.webhook = Some(pb::Webhook::default()), &["webhook.url"]),
        ("labels", |r| r.labels = (0..33).map(|n| (n.to_string(), String::new())).collect(), &["labels"]),
        ("label key", |r| r.labels = [("k".repeat(64), String::new())].into(), &["labels"]),
        ("label key empty", |r| r.labels = [(String::new(), "v".into())].into(), &["labels"]),
        ("label key words", |r| r.labels = [("Ümlaut".into(), "v".into())].into(), &["labels"]),
        ("label value", |r| r.labels = [("team".into(), "v".repeat(256))].into(), &["labels.team"]),
        ("label line", |r| r.labels = [("team".into(), "a\nb".into())].into(), &["labels.team"]),
    ];
    refuses(&mut house, "FIELD_INVALID", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_malformed_request_id_is_refused_as_such() {
    let mut house = House::new().await;
    let cases: &[Case] = &[
        ("missing", |r| r.request_id.clear(), &["request_id"]),
        ("long", |r| r.request_id = "r".repeat(129), &["request_id"]),
        ("space", |r| r.request_id = "an id".into(), &["request_id"]),
        ("slash", |r| r.request_id = "../id".into(), &["request_id"]),
        ("letters", |r| r.request_id = "ïd".into(), &["request_id"]),
        ("NUL", |r| r.request_id = "id\0".into(), &["request_id"]),
    ];
    refuses(&mut house, "REQUEST_ID_REQUIRED", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_options_are_held_to_their_limits() {
    let mut house = House::new().await;
    fn nested(levels: usize) -> serde_json::Value {
        (1..levels).fold(json!({"leaf": 1}), |inner, _| json!({ "in": inner }))
    }
    fn number(number: f64) -> Option<prost_types::Struct> {
        let kind = Some(prost_types::value::Kind::NumberValue(number));
        Some(prost_types::Struct { fields: [("cfg_scale".to_owned(), prost_types::Value { kind })].into() })
    }
    let cases: &[Case] = &[
        (
            "65 keys",
            |r| {
                let keys: serde_json::Map<_, _> = (0..65).map(|n| (n.to_string(), json!(1))).collect();
                spec(r).provider_options = options(&keys.into());
            },
            &["spec.provider_options"],
        ),
        (
            "257 values",
            |r| spec(r).provider_options = options(&json!({"list": vec![0; 256]})),
            &["spec.provider_options"],
        ),
        (
            "9 levels",
            |r| spec(r).provider_options = options(&nested(9)),
            &["spec.provider_options.in.in.in.in.in.in.in.in"],
        ),
        (
            "16 KiB and 1",
            |r| spec(r).provider_options = options(&json!({"t": "x".repeat(16 * 1024 - 8 + 1)})),
            &["spec.provider_options"],
        ),
        ("NaN", |r| spec(r).provider_options = number(f64::NAN), &["spec.provider_options.cfg_scale"]),
        ("infinity", |r| spec(r).provider_options = number(f64::INFINITY), &["spec.provider_options.cfg_scale"]),
        ("-infinity", |r| spec(r).provider_options = number(f64::NEG_INFINITY), &["spec.provider_options.cfg_scale"]),
    ];
    refuses(&mut house, "FIELD_INVALID", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_model_cannot_make_is_refused_before_anything_is_spent() {
    let mut house = House::new().await;
    let invalid: &[Case] = &[
        ("ratio", |r| spec(r).aspect_ratio = "4:3".into(), &["spec.aspect_ratio"]),
        ("duration", |r| spec(r).duration = seconds(7), &["spec.duration"]),
        ("resolution", |r| spec(r).resolution = "4k".into(), &["spec.resolution"]),
        ("option type", |r| spec(r).provider_options = options(&json!({"mode": 5})), &["spec.provider_options.mode"]),
        (
            "option range",
            |r| {
                spec(r).model = "kling/kling-v1-6".into();
                spec(r).provider_options = options(&json!({"cfg_scale": 1.5}));
            },
            &["spec.provider_options.cfg_scale"],
        ),
        (
            "end frame in std",
            |r| {
                spec(r).start_image = link("https://example.com/first.png");
                spec(r).end_image = link("https://example.com/last.png");
                spec(r).provider_options = options(&json!({"mode": "std"}));
            },
            &["spec.end_image"],
        ),
        ("end frame alone", |r| spec(r).end_image = link("https://example.com/last.png"), &["spec.end_image"]),
    ];
    refuses(&mut house, "FIELD_INVALID", invalid).await;
    let unsupported: &[Case] = &[
        ("option key", |r| spec(r).provider_options = options(&json!({"warp": true})), &["spec.provider_options.warp"]),
        (
            "ratio of an image",
            |r| {
                spec(r).start_image = link("https://example.com/first.png");
                spec(r).aspect_ratio = "16:9".into();
            },
            &["spec.aspect_ratio"],
        ),
        (
            "negative prompt",
            |r| {
                spec(r).model = "kling/kling-3.0".into();
                spec(r).negative_prompt = "rain".into();
            },
            &["spec.negative_prompt"],
        ),
    ];
    refuses(&mut house, "PARAM_UNSUPPORTED", unsupported).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_wrong_fields_are_named_at_once() {
    let mut house = House::new().await;
    let cases: &[Case] = &[(
        "many",
        |r| {
            r.generation_timeout = seconds(1);
            r.labels = [("Team".into(), "a".into()), ("Job".into(), "b".into())].into();
            spec(r).prompt.clear();
            spec(r).duration = seconds(7);
            spec(r).seed = Some(u64::MAX);
            spec(r).start_image = link("http://127.0.0.1.example/");
            spec(r).end_image = link("https://example.com/last.png");
            spec(r).provider_options = options(&json!({"mode": "pro", "warp": 1}));
        },
        &[
            "generation_timeout",
            "labels",
            "spec.seed",
            "spec.start_image",
            "spec.provider_options.warp",
            "spec.prompt",
            "spec.duration",
        ],
    )];
    refuses(&mut house, "FIELD_INVALID", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_knows_or_can_buy_is_refused_as_such() {
    let provider = quick(Duration::from_millis(300));
    let no_fal = [("ACCOUNTS__1__NAME", "kling-2"), ("ACCOUNTS__1__PROVIDER", "kling")];
    let mut house = House::with(provider, &no_fal).await;
    for model in ["kling/kling-99", "nobody/knows", "kling", "fal/", "fal/../../admin", "fal/a/b?c=d"] {
        let unknown = house.try_submit(request(text(model))).await.expect_err(model);
        assert_eq!(told(&unknown), (Code::NotFound, "MODEL_UNKNOWN".into(), vec![]), "{model}");
    }
    for model in ["fal/fal-ai/veo3.1", "fal/fal-ai/some-new-model"] {
        let missing = house.try_submit(request(text(model))).await.expect_err(model);
        let (code, reason, _) = told(&missing);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "PROVIDER_NOT_CONFIGURED"), "{model}");
        assert!(missing.message().contains("fal"), "{}", missing.message());
    }
    assert!(house.is_untouched().await);
}
