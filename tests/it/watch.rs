//! Watch: the newest state first, then only newer ones, always the last one.

use std::collections::HashMap;
use std::time::Duration;

use pb::{TaskFilter, TaskState, WatchRequest};
use tonic::Code;
use tonic_types::StatusExt;
use videogen::api::pb;

use crate::house::{House, by_filter, from_revision, next_task, prompted, quick, request, text, told, within};

fn is_final(task: &pb::Task) -> bool {
    matches!(task.state(), TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_state_comes_first_and_then_only_newer_ones() {
    let mut house = House::new().await;
    let task = house.submit(text("kling/kling-3.0")).await;
    let running = house.until(&task.id, |task| task.state() == TaskState::Running).await;

    let seen = house.follow(&task.id).await;
    assert!(seen[0].revision >= running.revision, "no state that is older than now");
    assert!(seen.windows(2).all(|pair| pair[0].revision < pair[1].revision));
    assert!(seen[..seen.len() - 1].iter().all(|task| !is_final(task)));
    assert_eq!(seen.last().unwrap().state(), TaskState::Succeeded);
    assert_eq!(house.follow(&task.id).await, seen[seen.len() - 1..], "of a finished task, its end alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_resumed_after_any_revision_without_a_gap_or_a_double() {
    let mut house = House::new().await;
    let task = house.submit(text("kling/kling-3.0")).await;
    // A client that loses its connection after every message.
    let mut seen = vec![task];
    while !is_final(seen.last().unwrap()) {
        let asked = from_revision(seen.last().unwrap());
        let mut stream = house.client.watch(asked).await.unwrap().into_inner();
        seen.push(next_task(&mut stream).await.unwrap().expect("an end before the final state"));
    }
    assert!(seen.windows(2).all(|pair| pair[0].revision < pair[1].revision));

    let end = seen.pop().unwrap();
    let mut stream = house.client.watch(from_revision(&end)).await.unwrap().into_inner();
    assert!(within(stream.message()).await.unwrap().is_none(), "the client has the end: nothing is left to say");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_the_task_has_not_reached_is_refused() {
    let mut house = House::new().await;
    let task = house.submit(text("kling/kling-3.0")).await;
    let end = house.finished(&task.id).await;
    for ahead in [end.revision + 1, u64::MAX] {
        let asked = WatchRequest { task_id: task.id.clone(), after_revision: ahead, ..Default::default() };
        let refused = house.client.watch(asked).await.unwrap_err();
        assert_eq!(told(&refused), (Code::OutOfRange, "REVISION_AHEAD".into(), vec![]));
        let current = &refused.get_details_error_info().unwrap().metadata["current"];
        assert_eq!(*current, end.revision.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_sleeps_misses_states_but_never_the_end() {
    let mut house = House::new().await;
    let task = house.submit(text("kling/kling-3.0")).await;
    let asked = WatchRequest { task_id: task.id.clone(), ..Default::default() };
    // Readers that take nothing from their streams while the task lives.
    let mut sleepers = Vec::new();
    for _ in 0..20 {
        sleepers.push(house.client.watch(asked.clone()).await.unwrap().into_inner());
    }
    let end = house.finished(&task.id).await;
    for mut sleeper in sleepers {
        let mut last = None;
        while let Some(task) = next_task(&mut sleeper).await.unwrap() {
            assert!(last.as_ref().is_none_or(|last: &pb::Task| last.revision < task.revision));
            last = Some(task);
        }
        assert_eq!(last.as_ref(), Some(&end));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_by_filter_shows_matches_of_before_and_after() {
    let mut house = House::new().await;
    let labelled = |prompt: &str| {
        let mut asked = request(prompted("kling/kling-3.0", prompt));
        asked.labels = [("team".to_owned(), "film".to_owned())].into();
        asked
    };
    let before = house.try_submit(labelled("before")).await.unwrap();
    house.finished(&before.id).await;
    let other = house.submit(text("kling/kling-3.0")).await;

    let filter = TaskFilter { labels: labelled("").labels, ..Default::default() };
    let mut stream = house.client.watch(by_filter(filter)).await.unwrap().into_inner();
    let after = house.try_submit(labelled("after")).await.unwrap();

    let mut seen: HashMap<String, pb::Task> = HashMap::new();
    while seen.values().filter(|task| is_final(task)).count() < 2 {
        let task = next_task(&mut stream).await.unwrap().expect("it goes on until the client leaves");
        assert_ne!(task.id, other.id);
        let older = seen.insert(task.id.clone(), task.clone());
        assert!(older.is_none_or(|older| older.revision < task.revision));
    }
    assert!(seen.contains_key(&before.id) && seen.contains_key(&after.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_by_state_shows_tasks_as_they_come_to_it() {
    let mut house = House::new().await;
    let filter = TaskFilter { states: vec![TaskState::Failed.into()], ..Default::default() };
    let mut stream = house.client.watch(by_filter(filter)).await.unwrap().into_inner();
    house.submit(text("kling/kling-3.0")).await;
    let bad = house.submit(prompted("kling/kling-3.0", "a kite [sim:fail]")).await;
    let shown = next_task(&mut stream).await.unwrap().unwrap();
    assert_eq!((shown.id, shown.state.try_into()), (bad.id, Ok(TaskState::Failed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_of_one_task_or_by_one_filter() {
    let mut house = House::new().await;
    let task = house.submit(text("kling/kling-3.0")).await;
    let filter = Some(TaskFilter::default());
    for (field, asked) in [
        ("task_id", WatchRequest::default()),
        ("filter", WatchRequest { task_id: task.id.clone(), filter: filter.clone(), ..Default::default() }),
        ("after_revision", WatchRequest { after_revision: 1, filter, ..Default::default() }),
    ] {
        let refused = house.client.watch(asked).await.unwrap_err();
        let (code, reason, fields) = told(&refused);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
        assert!(fields.iter().any(|named| named == field), "{fields:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_watches_with_where_to_go_on() {
    let slow = quick(Duration::from_secs(3));
    let mut house = House::with(slow, &[]).await;
    let task = house.submit(text("kling/kling-3.0")).await;
    let asked = WatchRequest { task_id: task.id.clone(), ..Default::default() };
    let mut stream = house.client.watch(asked).await.unwrap().into_inner();
    let mut many = house.client.watch(by_filter(TaskFilter::default())).await.unwrap().into_inner();
    let mut last = next_task(&mut stream).await.unwrap().unwrap();
    let reader = tokio::spawn(async move {
        loop {
            match next_task(&mut stream).await {
                Ok(Some(task)) => last = task,
                Ok(None) => panic!("ended as if the task had"),
                Err(status) => return (last, status),
            }
        }
    });
    let filtered = tokio::spawn(async move {
        loop {
            match next_task(&mut many).await {
                Ok(task) => assert!(task.is_some()),
                Err(status) => return status,
            }
        }
    });
    house.until(&task.id, |task| task.state() == TaskState::Running).await;
    let (ended, foundations) = house.drain().await;
    assert_eq!(ended, videogen::app::Ended::Drained);

    let (last, status) = within(reader).await.unwrap();
    assert_eq!(told(&status), (Code::Unavailable, "WATCH_REOPEN".into(), vec![]));
    let hint = &status.get_details_error_info().unwrap().metadata["last_revision"];
    assert_eq!(*hint, last.revision.to_string());
    assert!(status.get_details_retry_info().is_some());
    let status = within(filtered).await.unwrap();
    assert_eq!(told(&status), (Code::Unavailable, "WATCH_REOPEN".into(), vec![]));

    let mut house = foundations.rebuild().await;
    let mut stream = house.client.watch(from_revision(&last)).await.unwrap().into_inner();
    let mut resumed = last.revision;
    let mut end = None;
    while let Some(task) = next_task(&mut stream).await.unwrap() {
        assert!(task.revision > resumed);
        resumed = task.revision;
        end = Some(task);
    }
    assert_eq!(end.unwrap().state(), TaskState::Succeeded);
    assert_eq!(house.bought(), 1);
}
