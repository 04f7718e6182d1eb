//! A task that was kept long enough is gone for every call, its request id is
//! refused, and its video is off the disk.

use pb::TaskState;
use tonic::Code;
use videogen::api::pb;

use crate::house::{House, prompted, request, text, told, within};

const MODEL: &str = "kling/kling-3.0";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_long_enough_is_gone_and_never_bought_again() {
    let mut house = House::new().await;
    let first = request(text(MODEL));
    let task = house.try_submit(first.clone()).await.unwrap();
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    let (_, foundations) = house.drain().await;
    let mut house = foundations.rebuild_with(&[("RETENTION__TASKS", "1s")]).await;
    let removed = async {
        while std::fs::read_dir(house.videos()).unwrap().count() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within(removed).await;

    let get = pb::GetTaskRequest { task_id: task.id.clone() };
    let absent = (Code::NotFound, "TASK_NOT_FOUND".to_owned(), vec![]);
    assert_eq!(told(&house.client.get_task(get).await.unwrap_err()), absent);
    let watch = pb::WatchRequest { task_id: task.id.clone(), ..Default::default() };
    assert_eq!(told(&house.client.watch(watch).await.unwrap_err()), absent);
    assert_eq!(told(&house.download(&task.id, 0).await.unwrap_err()), absent);
    assert_eq!(told(&house.cancel(&task.id).await.unwrap_err()), absent);
    assert!(house.list(pb::ListTasksRequest::default()).await.unwrap().tasks.is_empty());

    let other = pb::SubmitRequest { spec: Some(prompted(MODEL, "another")), ..first.clone() };
    for repeat in [first.clone(), other] {
        let expired = house.try_submit(repeat).await.unwrap_err();
        assert_eq!(told(&expired), (Code::FailedPrecondition, "REQUEST_ID_EXPIRED".to_owned(), vec![]));
    }
    let (_, foundations) = house.drain().await;
    let mut house = foundations.rebuild_with(&[("SUBMIT__DISK_RESERVE", "1000000TiB")]).await;
    assert_eq!(told(&house.try_submit(first).await.unwrap_err()).1, "REQUEST_ID_EXPIRED", "also after a restart");
    assert_eq!(house.bought(), 1);
}
