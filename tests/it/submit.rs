//! Submit: one request id is one task, whatever the network does to the calls.

use std::time::Duration;

use pb::image::Source;
use pb::{Image, ListTasksRequest, SubmitRequest, TaskState};
use serde_json::json;
use tonic::{Code, Request};
use tonic_types::StatusExt;
use videogen::api::pb;

use crate::house::{House, link, options, request, text, told, within};
use crate::picture::png;

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_id_returns_the_first_task() {
    let mut house = House::new().await;
    let asked = request(text("kling/kling-3.0"));
    let first = house.client.submit(asked.clone()).await.unwrap();
    assert!(first.metadata().get("videogen-replayed").is_none());
    let first = first.into_inner().task.unwrap();

    let again = house.client.submit(asked.clone()).await.unwrap();
    assert_eq!(again.metadata().get("videogen-replayed").unwrap(), "true");
    assert_eq!(again.into_inner().task.unwrap().id, first.id);

    let end = house.finished(&first.id).await;
    assert_eq!(house.try_submit(asked).await.unwrap(), end, "the newest state, even after the end");
    assert_eq!(house.bought(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_never_used_for_another_request() {
    let mut house = House::new().await;
    let first = request(text("kling/kling-3.0"));
    let task = house.try_submit(first.clone()).await.unwrap();
    let changes: [fn(&mut SubmitRequest); 4] = [
        |r| r.spec.as_mut().unwrap().prompt.push('!'),
        |r| r.spec.as_mut().unwrap().model = "kling/kling-v2-6".into(),
        |r| r.labels = [("team".to_owned(), "film".to_owned())].into(),
        |r| r.max_paid_attempts = 1,
    ];
    for change in changes {
        let mut other = first.clone();
        change(&mut other);
        let refused = house.try_submit(other).await.unwrap_err();
        assert_eq!(told(&refused), (Code::AlreadyExists, "REQUEST_ID_REUSED".into(), vec![]));
        let resource = refused.get_details_resource_info().unwrap();
        assert_eq!((resource.resource_type.as_str(), resource.resource_name), ("task", task.id.clone()));
    }
    house.finished(&task.id).await;
    assert_eq!(house.bought(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_with_one_request_id_get_one_task() {
    let mut house = House::new().await;
    let asked = request(text("fal/fal-ai/veo3.1"));
    let calls = (0..50).map(|_| {
        let (mut client, asked) = (house.client.clone(), asked.clone());
        async move { client.submit(asked).await.unwrap() }
    });
    let answers = within(futures::future::join_all(calls)).await;
    let fresh = answers.iter().filter(|answer| answer.metadata().get("videogen-replayed").is_none()).count();
    assert_eq!(fresh, 1);
    let mut ids: Vec<_> = answers.into_iter().map(|answer| answer.into_inner().task.unwrap().id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    house.finished(&ids[0]).await;
    assert_eq!(house.bought(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_answers_with_the_normalised_spec_and_stores_nothing() {
    let mut house = House::new().await;
    let mut asked = SubmitRequest {
        validate_only: true,
        spec: Some(pb::Spec { provider_options: options(&json!({"mode": "pro"})), seed: Some(7), ..text("kling-3.0") }),
        ..SubmitRequest::default()
    };
    let task = house.try_submit(asked.clone()).await.unwrap();
    assert_eq!((task.id.as_str(), task.revision, task.state()), ("", 0, TaskState::Unspecified));
    assert_eq!((task.model.as_str(), task.account.as_str()), ("kling/kling-3.0", "kling"));
    let spec = task.spec.unwrap();
    assert_eq!((spec.model.as_str(), spec.resolution.as_str()), ("kling/kling-3.0", "1080p"));
    assert_eq!((spec.seed, spec.provider_options), (None, None));
    assert_eq!(task.warnings.iter().map(|warning| warning.field.as_str()).collect::<Vec<_>>(), ["spec.seed"]);
    assert!(house.is_untouched().await);

    // Nor does it use the request id up.
    asked.request_id = "dry-then-wet".into();
    house.try_submit(asked.clone()).await.unwrap();
    asked.validate_only = false;
    let task = house.client.submit(asked).await.unwrap();
    assert!(task.metadata().get("videogen-replayed").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_stored_as_the_full_name_and_an_ignored_setting_as_a_warning() {
    let mut house = House::new().await;
    let task = house.submit(pb::Spec { seed: Some(7), fps: Some(30), ..text("kling-v3.0-t2v") }).await;
    assert_eq!((task.model.as_str(), task.provider.as_str()), ("kling/kling-v3", "kling"));
    let stored = house.finished(&task.id).await;
    assert_eq!(stored.spec.as_ref().unwrap().model, "kling/kling-v3");
    let warned: Vec<_> = stored.warnings.iter().map(|warning| warning.field.as_str()).collect();
    assert_eq!(warned, ["spec.seed", "spec.fps"]);
    assert_eq!(stored.state(), TaskState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_outside_the_catalog_gets_its_options_as_they_are() {
    let mut house = House::new().await;
    let spec = pb::Spec { provider_options: options(&json!({"warp": 9})), ..text("fal/acme/new-model/text-to-video") };
    let task = house.submit(spec).await;
    assert_eq!(task.warnings[0].field, "spec.model");
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_go_by_link_and_by_value_and_bytes_are_not_sent_back() {
    let mut house = House::new().await;
    let png = png(640, 360, 0);
    let spec = pb::Spec {
        start_image: Some(Image { source: Some(Source::Data(png.into())) }),
        end_image: link("https://example.com/last.png"),
        provider_options: options(&json!({"mode": "pro"})),
        ..text("kling/kling-v2-6")
    };
    let task = house.submit(spec).await;
    let end = house.finished(&task.id).await;
    assert_eq!(end.state(), TaskState::Succeeded, "{:?}", end.failure);
    let spec = end.spec.unwrap();
    assert_eq!(spec.start_image.unwrap().source, Some(Source::Data("".into())));
    assert_eq!(spec.end_image, link("https://example.com/last.png"));
    assert!(house.simulator.ledger()[0].path.contains("image2video"), "{:?}", house.simulator.ledger());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_on_after_a_restart_under_its_id() {
    let mut house = House::new().await;
    let mut tasks = Vec::new();
    for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"] {
        let asked = request(text(model));
        tasks.push((asked.clone(), house.try_submit(asked).await.unwrap().id));
    }
    let (ended, foundations) = house.drain().await;
    assert_eq!(ended, videogen::app::Ended::Drained);

    let mut house = foundations.rebuild().await;
    for (asked, id) in tasks {
        assert_eq!(house.try_submit(asked).await.unwrap().id, id);
        assert_eq!(house.finished(&id).await.state(), TaskState::Succeeded);
    }
    assert_eq!(house.bought(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_and_repeats_gets_one_task() {
    let mut house = House::new().await;
    let asked = request(text("kling/kling-3.0"));
    for tenths in 0..30 {
        // Some leave before the request is out, some between commit and answer.
        let patience = Duration::from_micros(100 * tenths);
        let _ = tokio::time::timeout(patience, house.client.submit(asked.clone())).await;
        let mut hurried = Request::new(asked.clone());
        hurried.set_timeout(patience);
        let _ = house.client.submit(hurried).await;
    }
    let task = house.try_submit(asked).await.unwrap();
    let listed = house.list(ListTasksRequest::default()).await.unwrap().tasks;
    assert_eq!(listed.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), [task.id.as_str()]);
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    assert_eq!(house.bought(), 1);
}
