//! Images in a request: the bytes that come with it are kept, and arrive at the
//! provider as they came; those that no provider would take are refused first.

use pb::TaskState;
use pb::image::Source;
use prost::bytes::Bytes;
use tonic::Code;
use videogen::api::pb;

use crate::common::until;
use crate::house::{House, options, request, text, told};
use crate::picture::{jpeg, png};

const MIB: usize = 1 << 20;
const LEGACY: &str = "kling/kling-v2-6";
const FAL: &str = "fal/fal-ai/kling-video/v3/pro/image-to-video";

pub fn sha256(data: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, data);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn data(bytes: &[u8]) -> Option<pb::Image> {
    Some(pb::Image { source: Some(Source::Data(Bytes::copy_from_slice(bytes))) })
}

fn from(model: &str, image: &[u8]) -> pb::Spec {
    pb::Spec { start_image: data(image), ..text(model) }
}

/// How many files of pictures there are.
fn files(house: &House) -> usize {
    std::fs::read_dir(house.store().join("inputs")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_very_bytes_arrive_as_each_provider_wants_them() {
    let mut house = House::new().await;
    // Each as large as Kling takes them: far above what a request could have once.
    let (first, last) = (png(640, 360, 10 * MIB), png(360, 640, 10 * MIB));
    assert_eq!(first.len(), 10 * MIB);
    let spec = pb::Spec {
        end_image: data(&last),
        provider_options: options(&serde_json::json!({"mode": "pro"})),
        ..from(LEGACY, &first)
    };
    let kling = house.submit(spec).await;
    let small = jpeg(640, 360);
    let fal = house.submit(from(FAL, &small)).await;
    let new = house.submit(from("kling/kling-3.0", &small)).await;
    for task in [&kling, &fal, &new] {
        let end = house.finished(&task.id).await;
        assert_eq!(end.state(), TaskState::Succeeded, "{:?}", end.failure);
        assert_eq!(end.spec.unwrap().start_image.unwrap().source, Some(Source::Data(Bytes::new())));
    }
    let jobs = house.job_ids(&[&kling.id, &fal.id, &new.id]).await;
    let ledger = house.simulator.ledger();
    let arrived = |id: &str| ledger.iter().find(|entry| entry.job_id == id).unwrap().pictures.clone();
    let raw = |bytes: &[u8]| format!("base64 {}", sha256(bytes));
    assert_eq!(arrived(&jobs[0]), [raw(&first), raw(&last)]);
    assert_eq!(arrived(&jobs[1]), [format!("image/jpeg;base64 {}", sha256(&small))]);
    assert_eq!(arrived(&jobs[2]), [raw(&small)]);
    assert_eq!(files(&house), 3, "the small one is there once");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_beyond_the_models_limits_are_refused_by_name() {
    let mut house = House::new().await;
    let legacy_most = png(300, 750, 10 * MIB);
    let cases: [(&str, &str, Vec<u8>, Option<&str>); 12] = [
        ("at the size", LEGACY, legacy_most, None),
        ("one byte over", LEGACY, png(300, 750, 10 * MIB + 1), Some("10485761 bytes")),
        ("the new standard takes it", "kling/kling-3.0", png(300, 750, 10 * MIB + 1), None),
        ("at the side", LEGACY, jpeg(300, 300), None),
        ("one pixel short", LEGACY, jpeg(300, 299), Some("300 x 299")),
        ("at the ratio", LEGACY, jpeg(750, 300), None),
        ("one pixel long", LEGACY, jpeg(751, 300), Some("751 x 300")),
        ("fal's ratio", FAL, png(300, 751, 0), Some("300 x 751")),
        ("fal's own size", FAL, png(300, 750, 11 * MIB), None),
        ("cut off", LEGACY, png(640, 360, 0)[..20].to_vec(), Some("damaged or cut off")),
        ("a web page", LEGACY, b"<!doctype html>".to_vec(), Some("no jpeg")),
        ("webp", LEGACY, webp(), Some("is a webp; must be a jpeg or png")),
    ];
    for (name, model, bytes, complaint) in cases {
        let asked = pb::SubmitRequest { validate_only: true, ..request(from(model, &bytes)) };
        match (house.try_submit(asked).await, complaint) {
            (Ok(_), None) => {}
            (Err(refused), Some(complaint)) => {
                let wanted = (Code::InvalidArgument, "FIELD_INVALID".to_owned(), vec!["spec.start_image".to_owned()]);
                assert_eq!(told(&refused), wanted, "{name}");
                assert!(refused.message().contains(complaint), "{name}: {}", refused.message());
            }
            (answer, _) => panic!("{name}: {answer:?}"),
        }
    }
    let veo = request(from("fal/fal-ai/veo3.1/image-to-video", &webp()));
    house.try_submit(pb::SubmitRequest { validate_only: true, ..veo }).await.unwrap();
    assert!(house.is_untouched().await);
    assert_eq!(files(&house), 0);
}

fn webp() -> Vec<u8> {
    b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x7f\x02\0\x67\x01\0".to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_and_keeps_nothing_twice() {
    let mut house = House::new().await;
    let asked = request(from(LEGACY, &png(640, 360, 0)));
    let first = house.try_submit(asked.clone()).await.unwrap();
    let (again, other) = (house.try_submit(asked.clone()).await.unwrap(), from(LEGACY, &png(640, 361, 0)));
    assert_eq!(again.id, first.id);
    let reused = house.try_submit(pb::SubmitRequest { spec: Some(other), ..asked }).await.unwrap_err();
    assert_eq!(told(&reused).1, "REQUEST_ID_REUSED");
    house.finished(&first.id).await;
    assert_eq!((files(&house), house.bought()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_submit_takes_more_than_a_little_and_it_too_has_its_limit() {
    let mut house = House::new().await;
    let spec = from(LEGACY, &png(640, 360, 24 * MIB));
    let refused = house.try_submit(request(spec)).await.unwrap_err();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into(), vec![]));
    assert!(refused.message().contains("24 MiB"), "{refused:?}");
    let get = pb::GetTaskRequest { task_id: "x".repeat(65 * 1024) };
    let refused = house.client.get_task(get).await.unwrap_err();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into(), vec![]));
    assert!(refused.message().contains("64 KiB"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_when_the_last_task_that_uses_it_was_kept_long_enough() {
    let mut house = House::new().await;
    let picture = png(640, 360, 0);
    for _ in 0..2 {
        let task = house.submit(from(LEGACY, &picture)).await;
        assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    }
    assert_eq!(files(&house), 1);
    let mut house = house.drain().await.1.rebuild_with(&[("RETENTION__TASKS", "1s")]).await;
    until("the files to go", async || files(&house) == 0).await;
    // The last one's file went after its record.
    assert!(house.list(pb::ListTasksRequest::default()).await.unwrap().tasks.is_empty());
}
