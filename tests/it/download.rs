//! DownloadVideo: the stored bytes from any offset, or why there are none.

use std::fs;
use std::path::PathBuf;

use pb::{DownloadVideoRequest, TaskState};
use tonic::Code;
use tonic_types::StatusExt;
use videogen::api::pb;

use crate::house::{House, prompted, text, told, within};

async fn made(house: &mut House) -> pb::Task {
    let task = house.submit(text("kling/kling-3.0")).await;
    let end = house.finished(&task.id).await;
    assert_eq!(end.state(), TaskState::Succeeded, "{:?}", end.failure);
    end
}

type Damage = fn(&PathBuf);

/// The stored file of a task.
fn file(house: &House, id: &str) -> PathBuf {
    let mut folders = vec![house.videos()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_str().unwrap().contains(id) => return path,
                false => {}
            }
        }
    }
    panic!("no file of {id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_from_any_offset() {
    let mut house = House::new().await;
    let task = made(&mut house).await;
    let (_, whole) = house.download(&task.id, 0).await.unwrap();
    let size = whole.len() as u64;
    assert_eq!(fs::read(file(&house, &task.id)).unwrap(), whole);
    for offset in [1, size / 2, size - 1, size] {
        let (header, rest) = house.download(&task.id, offset).await.unwrap();
        assert_eq!((header.offset, header.artifact.unwrap().size), (offset, size));
        assert!(rest == whole[usize::try_from(offset).unwrap()..], "from {offset}");
    }
    for offset in [size + 1, u64::MAX] {
        let refused = house.download(&task.id, offset).await.unwrap_err();
        assert_eq!(told(&refused), (Code::OutOfRange, "RANGE_INVALID".into(), vec!["offset".into()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_comes_first_and_chunks_are_small() {
    let mut house = House::new().await;
    let task = made(&mut house).await;
    let asked = DownloadVideoRequest { task_id: task.id, offset: 0 };
    let mut stream = house.client.download_video(asked).await.unwrap().into_inner();
    let mut parts = Vec::new();
    while let Some(message) = within(stream.message()).await.unwrap() {
        parts.push(message.part.unwrap());
    }
    assert!(matches!(parts[0], pb::download_video_response::Part::Header(_)));
    for part in &parts[1..] {
        let pb::download_video_response::Part::Chunk(chunk) = part else { panic!("{part:?}") };
        assert!((1..=64 * 1024).contains(&chunk.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_file_before_the_end_and_none_of_a_failed_task() {
    let mut house = House::new().await;
    let early = house.submit(prompted("kling/kling-3.0", "a kite [sim:never_finish]")).await;
    let refused = house.download(&early.id, 0).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "TASK_NOT_FINISHED".into(), vec![]));
    assert!(refused.get_details_retry_info().is_some());

    let failed = house.submit(prompted("kling/kling-3.0", "a kite [sim:fail]")).await;
    house.finished(&failed.id).await;
    let refused = house.download(&failed.id, 0).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "NO_ARTIFACT".into(), vec![]));
    assert!(refused.get_details_retry_info().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_was_stored_is_data_loss() {
    let mut house = House::new().await;
    let damages: [(&str, Damage); 4] = [
        ("deleted", |file| fs::remove_file(file).unwrap()),
        ("empty", |file| fs::write(file, b"").unwrap()),
        ("longer", |file| fs::write(file, [fs::read(file).unwrap(), vec![0]].concat()).unwrap()),
        ("altered", |file| {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let task = made(&mut house).await;
        damage(&file(&house, &task.id));
        let lost = house.download(&task.id, 0).await.expect_err(name);
        assert_eq!(told(&lost), (Code::DataLoss, "ARTIFACT_DAMAGED".into(), vec![]), "{name}");
        assert_eq!(house.get(&task.id).await, task, "{name}: the record stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_links_to_a_folder() {
    let mut house = House::new().await;
    let task = made(&mut house).await;
    let ask = |lifetime| pb::GetDownloadLinkRequest { task_id: task.id.clone(), lifetime };
    let refused = house.client.get_download_link(ask(None)).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "LINKS_UNSUPPORTED".into(), vec![]));
    for (seconds, nanos) in [(0, 999_999_999), (-1, 0), (7 * 86_400, 1), (i64::MAX, 0)] {
        let refused = house.client.get_download_link(ask(Some(prost_types::Duration { seconds, nanos }))).await;
        assert_eq!(
            told(&refused.unwrap_err()),
            (Code::InvalidArgument, "FIELD_INVALID".into(), vec!["lifetime".into()])
        );
    }
    let early = house.submit(prompted("kling/kling-3.0", "a kite [sim:never_finish]")).await;
    let ask = pb::GetDownloadLinkRequest { task_id: early.id, lifetime: None };
    assert_eq!(told(&house.client.get_download_link(ask).await.unwrap_err()).1, "TASK_NOT_FINISHED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_outlives_the_process() {
    let mut house = House::new().await;
    let task = made(&mut house).await;
    let before = house.download(&task.id, 0).await.unwrap();
    let mut house = house.drain().await.1.rebuild().await;
    assert!(house.download(&task.id, 0).await.unwrap() == before);
    assert_eq!(house.get(&task.id).await, task);
}
