//! Images behind links: looked at before anything is spent, once for a Submit and
//! its create, and never where nobody may look.

use std::time::{Duration, Instant};

use pb::{FailureKind, TaskState};
use tonic::Code;
use videogen::api::pb;

use crate::hosts::{Pictures, Says};
use crate::house::{House, link, quick, request, text, told};
use crate::picture::{jpeg, png};

const MIB: usize = 1 << 20;
const LEGACY: &str = "kling/kling-v2-6";
const FAL: &str = "fal/fal-ai/kling-video/v3/pro/image-to-video";

/// A house that looks at images.
async fn house(extra: &[(&str, &str)]) -> House {
    let extra = [&[("SUBMIT__IMAGE_CHECK", "fetch"), ("NETWORK__ALLOW", "127.0.0.1")], extra].concat();
    House::with(quick(Duration::from_millis(300)), &extra).await
}

fn from(model: &str, uri: &str) -> pb::Spec {
    pb::Spec { start_image: link(uri), ..text(model) }
}

/// What a dry run says of this image: nothing, or the end of the sentence.
async fn complaint(house: &mut House, model: &str, uri: &str) -> Option<String> {
    let asked = pb::SubmitRequest { validate_only: true, ..request(from(model, uri)) };
    match house.try_submit(asked).await {
        Ok(task) => {
            assert!(task.warnings.is_empty(), "{:?}", task.warnings);
            None
        }
        Err(refused) => {
            let wanted = (Code::InvalidArgument, "FIELD_INVALID".to_owned(), vec!["spec.start_image".to_owned()]);
            assert_eq!(told(&refused), wanted, "{refused:?}");
            Some(refused.message().strip_prefix("spec.start_image: ").unwrap().to_owned())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_holds_to_the_byte_and_to_the_pixel_on_real_files() {
    let (mut house, host) = (house(&[]).await, Pictures::new().await);
    let cases: [(&str, &str, Vec<u8>, Option<&str>); 11] = [
        ("at the size", LEGACY, png(300, 750, 10 * MIB), None),
        ("one byte over", LEGACY, png(300, 750, 10 * MIB + 1), Some("has 10485761 bytes; must have at most 10485760")),
        ("the new standard takes it", "kling/kling-3.0", png(300, 750, 10 * MIB + 1), None),
        ("at the side", LEGACY, jpeg(300, 300), None),
        ("one short", LEGACY, jpeg(300, 299), Some("is 300 x 299 pixels; each side must have at least 300")),
        ("at the ratio", FAL, jpeg(750, 300), None),
        ("one long", FAL, jpeg(751, 300), Some("is 751 x 300 pixels; no side may be longer than 2.5 times the other")),
        ("empty", LEGACY, Vec::new(), Some("is no jpeg, png or webp")),
        ("a page", LEGACY, b"<!doctype html><p>".to_vec(), Some("is no jpeg, png or webp")),
        ("cut", LEGACY, png(640, 360, 0)[..20].to_vec(), Some("is a damaged or cut off picture")),
        ("gif", LEGACY, b"GIF89a\x80\x02\x68\x01".to_vec(), Some("is no jpeg, png or webp")),
    ];
    for (number, (name, model, file, wanted)) in cases.into_iter().enumerate() {
        let size = file.len();
        let before = host.sent();
        for (way, says) in [("part", Says::File(file.clone())), ("whole", Says::Whole(file))] {
            let uri = host.says(&format!("/{number}-{way}.png"), says);
            assert_eq!(complaint(&mut house, model, &uri).await.as_deref(), wanted, "{name}, {way}");
        }
        // A host that passes over the range is cut off; what its socket holds may be gone.
        assert!(host.sent() - before <= 8 * MIB || size < MIB, "{name}: {}", host.sent() - before);
    }
    assert!(host.asked().iter().all(|asked| asked.ends_with("bytes=0-262143")), "{:?}", host.asked());
    assert!(house.is_untouched().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_says_is_a_verdict_or_is_none() {
    let (mut house, host) = (house(&[]).await, Pictures::new().await);
    for status in [400, 401, 403, 404, 410, 416] {
        let uri = host.says(&format!("/{status}"), Says::Status(status));
        let said = complaint(&mut house, LEGACY, &uri).await.unwrap();
        assert_eq!(said, format!("cannot be fetched: the host answers with HTTP status {status}"));
    }
    let good = host.says("/good.jpg", Says::File(jpeg(640, 360)));
    let mut last = good.clone();
    for hop in 1..=4 {
        last = host.says(&format!("/hop-{hop}"), Says::Redirect([301, 302, 307, 308][hop - 1], last));
        let wanted = (hop == 4).then_some("cannot be fetched: it is redirected more than 3 times".to_owned());
        assert_eq!(complaint(&mut house, LEGACY, &last).await, wanted, "{hop} hops");
    }
    let endless = host.says("/endless", Says::Endless(png(640, 360, 0)));
    assert_eq!(complaint(&mut house, LEGACY, &endless).await, None);

    // Nobody can tell: the task is taken, with a warning that says nothing of the cause.
    let closed = Pictures::new().await;
    let unclear = [
        host.says("/500", Says::Status(500)),
        host.says("/429", Says::Status(429)),
        host.says("/cut", Says::Cut(100_000, png(640, 360, 0)[..500].to_vec())),
        host.says("/hang", Says::Hang),
        "http://127.0.0.1:1/refused.png".to_owned(),
        "http://nowhere.localhost/a.png".to_owned(),
    ];
    drop(closed);
    for uri in unclear {
        let begun = Instant::now();
        let asked = pb::SubmitRequest { validate_only: true, ..request(from(LEGACY, &uri)) };
        match house.try_submit(asked).await {
            Ok(task) => {
                let warning = &task.warnings[0];
                assert_eq!(warning.field, "spec.start_image");
                let wanted = "cannot be fetched now; it is looked at again before anything is bought";
                assert_eq!(warning.message, wanted, "{uri}");
            }
            // A name without an address that may be called is a verdict.
            Err(refused) => assert!(uri.contains("nowhere"), "{uri}: {refused:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{uri}: {:?}", begun.elapsed());
    }
    assert!(house.is_untouched().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_image_of_a_request_is_named_at_once() {
    let (mut house, host) = (house(&[]).await, Pictures::new().await);
    let gone = |n: usize| host.says(&format!("/gone-{n}"), Says::Status(404));
    let good = host.says("/good.png", Says::File(png(640, 360, 0)));
    let spec = pb::Spec {
        start_image: link(&gone(0)),
        end_image: link(&gone(1)),
        reference_images: [link(&good), link(&gone(2))].into_iter().flatten().collect(),
        ..text("kling/kling-3.0-omni")
    };
    let refused = house.try_submit(request(spec)).await.unwrap_err();
    let (code, reason, fields) = told(&refused);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!(fields, ["spec.start_image", "spec.end_image", "spec.reference_images[1]"]);
    assert!(house.is_untouched().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_the_inside_is_not_followed() {
    let (mut house, host) = (house(&[]).await, Pictures::new().await);
    // Nothing allows 127.0.0.2: it is the inside of this test.
    let inside = Pictures::at("127.0.0.2:0").await;
    let near = inside.says("/secret.png", Says::File(png(640, 360, 0)));
    let targets = [
        near.as_str(),
        "http://169.254.169.254/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/",
        "https://2130706434/",
        "//127.0.0.2/x",
        "file:///etc/passwd",
        "https://user@example.com/",
    ];
    for (number, target) in targets.into_iter().enumerate() {
        let uri = host.says(&format!("/{number}"), Says::Redirect(302, target.to_owned()));
        let said = complaint(&mut house, LEGACY, &uri).await.unwrap_or_else(|| panic!("{target}"));
        assert!(said.starts_with("leads to where nothing is called: "), "{target}: {said}");
        assert!(!said.contains(&target[8..]), "{target}: {said}");
    }
    assert!(complaint(&mut house, LEGACY, &near).await.is_some());
    assert_eq!(inside.asked(), [] as [String; 0]);
    assert!(house.is_untouched().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_and_its_create_cost_one_fetch_and_a_repeat_none() {
    let (mut house, host) = (house(&[]).await, Pictures::new().await);
    let uri = host.says("/a.png", Says::File(png(640, 360, 0)));
    let asked = request(from(LEGACY, &uri));
    let task = house.try_submit(asked.clone()).await.unwrap();
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    assert_eq!(house.try_submit(asked).await.unwrap().id, task.id);
    // Another task with the same picture, within the five minutes.
    let other = house.submit(from(LEGACY, &uri)).await;
    assert_eq!(house.finished(&other.id).await.state(), TaskState::Succeeded);
    assert_eq!(host.asked(), ["/a.png bytes=0-262143"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_comes_back_is_bought_from_and_one_that_is_gone_ends_free() {
    let (mut house, host) = (house(&[]).await, Pictures::new().await);
    let (late, gone) = (host.says("/late.png", Says::Status(503)), host.says("/gone.png", Says::Status(503)));
    let (late, gone) = (house.submit(from(LEGACY, &late)).await, house.submit(from(LEGACY, &gone)).await);
    for task in [&late, &gone] {
        assert_eq!(task.warnings.len(), 1, "{:?}", task.warnings);
        let waits = |task: &pb::Task| task.history.iter().any(|entry| entry.reason.starts_with("an image cannot be"));
        assert_eq!(house.until(&task.id, waits).await.state(), TaskState::Queued);
    }
    assert_eq!(house.bought(), 0);
    host.says("/late.png", Says::File(png(640, 360, 0)));
    host.says("/gone.png", Says::Status(404));
    assert_eq!(house.finished(&late.id).await.state(), TaskState::Succeeded);
    let end = house.finished(&gone.id).await;
    let failure = end.failure.unwrap();
    assert_eq!((end.state, failure.kind()), (TaskState::Failed.into(), FailureKind::ImageRejected));
    assert_eq!(failure.message, "spec.start_image: cannot be fetched: the host answers with HTTP status 404");
    assert!(!failure.maybe_charged && end.attempts.is_empty());
    assert_eq!(house.bought(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_with_an_image_has_an_end_that_outlives_a_restart() {
    let house = house(&[("SUBMIT__IMAGE_PATIENCE", "2s")]).await;
    let (mut house, host) = (house, Pictures::new().await);
    let task = house.submit(from(LEGACY, &host.says("/never.png", Says::Status(500)))).await;
    let waits = |task: &pb::Task| task.history.len() > 1;
    house.until(&task.id, waits).await;
    let mut house = house.drain().await.1.rebuild().await;
    let end = house.finished(&task.id).await;
    let failure = end.failure.unwrap();
    assert_eq!(failure.kind(), FailureKind::ImageRejected, "{failure:?}");
    assert_eq!(failure.message, "spec.start_image: cannot be fetched now");
    let told = end.history.iter().filter(|entry| entry.reason.starts_with("an image cannot be")).count();
    assert_eq!((told, house.bought()), (1, 0), "it is told once: {:?}", end.history);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_address_alone_nobody_is_called() {
    let mut house = house(&[("SUBMIT__IMAGE_CHECK", "address")]).await;
    let host = Pictures::new().await;
    let task = house.submit(from(LEGACY, &host.says("/a.png", Says::Status(404)))).await;
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    assert!(complaint(&mut house, LEGACY, "http://127.0.0.2/").await.is_some());
    assert_eq!(host.asked(), [] as [String; 0]);
}
