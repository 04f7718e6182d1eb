//! Kling's answers: only its own clear word settles a paid create.

use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

use super::*;
use crate::catalog::Catalog;
use crate::fuzzing::seed;
use crate::providers::fuzzing::{KEY, PROMPT, answer, assert_created, assert_observed, status};
use crate::task::id::Marker;
use crate::task::spec::Spec;

static KLING: LazyLock<Kling> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let base_url = Url::parse("https://api.example").expect("it is a URL");
    let credentials = KlingCredentials::ApiKey(KEY.into());
    let settings = KlingSettings { base_url, credentials, limits: HttpLimits::default() };
    Kling::new(settings, Arc::new(|| UNIX_EPOCH)).expect("the client can be built")
});

static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| {
    let model = Catalog::built_in().resolve("kling/kling-3.0").expect("it is built in");
    let spec = Spec { prompt: PROMPT.to_owned(), ..Spec::new(model.name.clone()) };
    let marker = Marker::new("vg-job-42-1");
    let order = Order { spec: &spec, model: &model, marker: &marker, callback: None, resent: false, sent: UNIX_EPOCH };
    KLING.redactor.for_order(&order)
});

pub(crate) fn check(data: &[u8]) {
    let Some((case, bytes)) = data.split_first() else { return };
    let Some(answer) = answer(bytes) else { return };
    let place = match case & 1 {
        0 => Place::New,
        _ => Place::read("legacy:/v1/videos/text2video").expect("it is a known path"),
    };
    match case >> 1 & 1 {
        0 => create(&answer, &place, case >> 2 & 1 == 1),
        _ => query(&answer, &place),
    }
}

fn create(answer: &Answer, place: &Place, resent: bool) {
    let envelope = Envelope::read(&answer.body);
    let code = envelope.as_ref().map(|envelope| envelope.code);
    let created = match judge(answer, place, resent, &REDACTOR) {
        Verdict::SignAgain(failure) => {
            assert!(matches!(code, Some(1003 | 1004)) && answer.status < 500);
            Created::Refused(failure)
        }
        Verdict::Settled(created) => created,
    };
    assert_created(&created);
    match &created {
        Created::Accepted(job) => {
            assert!(answer.is_success() && code == Some(0));
            assert_eq!(Place::read(&job.handle).as_ref(), Some(place));
        }
        Created::Refused(_) => assert!(answer.status < 500 && code.is_some_and(|code| code != 0)),
        Created::Throttled { .. } => assert!(answer.status < 500 && matches!(code, Some(1302 | 1303))),
        Created::NotSent { .. } => panic!("an answer proves that it was sent"),
        Created::Unknown { .. } => {}
    }
}

/// A task of a query, read as the one that was asked after.
fn query(answer: &Answer, place: &Place) {
    let Some(envelope) = Envelope::read(&answer.body) else { return };
    let tasks = match envelope.data {
        Value::Array(tasks) => tasks,
        task => vec![task],
    };
    for task in &tasks {
        assert_observed(&KLING.observe(task, place));
        let _ = marker_in(task, place);
    }
    let ids: Vec<String> = tasks.iter().map(|task| job_id(task, place)).collect();
    let asked: Vec<&str> = ids.iter().map(String::as_str).chain(["900000000000000001"]).collect();
    let answers = KLING.by_id(&tasks, &asked);
    assert!(asked.iter().all(|id| answers.contains_key(*id)));
    answers.values().for_each(assert_observed);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"code":0,"message":"SUCCEED","request_id":"r-1","data":{"id":"900000000000000001","status":"submitted",
            "create_time":1790000000000,"update_time":1790000000000,"external_id":"job-42"}}"#,
        r#"{"code":0,"message":"SUCCEED","request_id":"r-2","data":[{"id":"900000000000000001","status":"succeeded",
            "message":"","update_time":1790000060000,"external_id":"job-42",
            "outputs":[{"type":"video","id":"v1","url":"https://cdn.example/v1.mp4","duration":"5.1"}],
            "billing":[{"charge_type":"unit","package_type":"video","amount":"4","list_price":"0.7"}]}]}"#,
        r#"{"code":0,"data":[{"id":900000000000000001,"status":"failed","message":"risk control policy","billing":[]}]}"#,
        r#"{"code":0,"message":"SUCCEED","data":{"task_id":"900000000000000001","task_status":"succeed",
            "task_info":{"external_task_id":"job-42"},"updated_at":1790000060000,"final_unit_deduction":"3.5",
            "final_balance_deduction":{"quota":"0.5"},
            "task_result":{"videos":[{"id":"v","url":"https://cdn.example/v.mp4","duration":"5.1"}]}}}"#,
        r#"{"code":0,"data":{"task_id":"9","task_status":"failed","task_status_msg":"canaryOfThePrompt broke"}}"#,
    ];
    let errors = [
        (200, r#"{"code":"1303","message":"parallel task over resource pack limit"}"#),
        (401, r#"{"code":1000,"message":"Authorization: Bearer canary-of-the-key-0123 is not valid"}"#),
        (401, r#"{"code":1004,"message":"token is expired"}"#),
        (400, r#"{"code":1201,"message":"external_task_id already exists"}"#),
        (400, r#"{"code":1301,"message":"canaryOfThePrompt is sensitive"}"#),
        (429, r#"{"code":1102,"message":"Account balance not enough"}"#),
        (503, "<html><body>busy, canary-of-the-key-0123</body></html>"),
        (500, r#"{"code":5000,"message":"internal"}"#),
        (422, r#"{"code":9999,"message":"?"}"#),
    ];
    let answer = |code: u16, body: &str| [&[status(code), 0], body.as_bytes()].concat();
    let bodies = bodies.iter().flat_map(|body| (0..4).map(move |case| seed(case, answer(200, body))));
    bodies.chain(errors.iter().flat_map(|(code, body)| [0, 5].map(|case| seed(case, answer(*code, body))))).collect()
}
