//! ListTasks and GetTask: pages newest first, filters, tokens that fit one filter.

use std::time::Duration;

use pb::{ListTasksRequest, TaskFilter, TaskState};
use tonic::Code;
use videogen::api::pb;

use crate::house::{House, quick, request, text, told};

/// A house where one job runs for ever and all other tasks wait.
async fn waiting_house() -> House {
    let endless = quick(Duration::from_secs(3600));
    House::with(endless, &[("ACCOUNTS__0__MAX_PARALLEL", "1")]).await
}

/// Submits that many tasks and hands back their ids, newest first.
async fn fill(house: &mut House, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        let mut asked = request(text(["kling/kling-3.0", "kling/kling-v3"][n % 2]));
        asked.labels = [("third".to_owned(), (n % 3).to_string())].into();
        ids.push(house.try_submit(asked).await.unwrap().id);
        // The filter by time is told in milliseconds: give each task its own.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ids.reverse();
    ids
}

/// Every id that the pages hold, and how many pages there were.
async fn all(house: &mut House, filter: Option<TaskFilter>, page_size: i32) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let asked = ListTasksRequest { filter: filter.clone(), page_size, page_token };
        let page = house.list(asked).await.unwrap();
        ids.extend(page.tasks.into_iter().map(|task| task.id));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return (ids, pages);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_task_once_newest_first() {
    let mut house = waiting_house().await;
    let ids = fill(&mut house, 120).await;
    for (page_size, pages) in [(0, 3), (1, 120), (7, 18), (60, 2), (120, 1), (500, 1), (501, 1), (i32::MAX, 1)] {
        assert_eq!(all(&mut house, None, page_size).await, (ids.clone(), pages), "{page_size}");
    }
    let refused = house.list(ListTasksRequest { page_size: -1, ..Default::default() }).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "FIELD_INVALID".into(), vec!["page_size".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_begun_is_not_disturbed_by_new_tasks() {
    let mut house = waiting_house().await;
    let ids = fill(&mut house, 10).await;
    let first = house.list(ListTasksRequest { page_size: 4, ..Default::default() }).await.unwrap();
    fill(&mut house, 5).await;
    let asked = ListTasksRequest { page_size: 100, page_token: first.next_page_token, ..Default::default() };
    let second = house.list(asked).await.unwrap();
    let listed: Vec<_> = first.tasks.into_iter().chain(second.tasks).map(|task| task.id).collect();
    assert_eq!(listed, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_by_label_state_model_and_time() {
    let mut house = waiting_house().await;
    let ids = fill(&mut house, 30).await;
    let oldest = ids.last().unwrap().clone();
    let second = ids[ids.len() - 2].clone();
    for first in [&oldest, &second] {
        house.until(first, |task| task.state() == TaskState::Running).await;
    }
    let every = |step: usize, from: usize| ids.iter().rev().skip(from).step_by(step).rev().cloned().collect::<Vec<_>>();
    let middle = house.get(&ids[14]).await.create_time;
    let labels = |value: &str| [("third".to_owned(), value.to_owned())].into();
    let state = |state: TaskState| vec![i32::from(state)];
    let filter = TaskFilter::default;
    for (name, filter, wanted) in [
        ("empty", filter(), ids.clone()),
        ("label", TaskFilter { labels: labels("2"), ..filter() }, every(3, 2)),
        ("label of none", TaskFilter { labels: labels("9"), ..filter() }, vec![]),
        ("running", TaskFilter { states: state(TaskState::Running), ..filter() }, vec![second, oldest]),
        ("queued", TaskFilter { states: state(TaskState::Queued), ..filter() }, ids[..28].to_vec()),
        ("final", TaskFilter { states: state(TaskState::Succeeded), ..filter() }, vec![]),
        ("model", TaskFilter { model: "kling/kling-v3".into(), ..filter() }, every(2, 1)),
        ("alias", TaskFilter { model: "kling-v3.0-t2v".into(), ..filter() }, every(2, 1)),
        ("both", TaskFilter { model: "kling/kling-v3".into(), labels: labels("0"), ..filter() }, every(6, 3)),
        ("until", TaskFilter { create_time_max: middle, ..filter() }, ids[15..].to_vec()),
        ("since", TaskFilter { create_time_min: middle, ..filter() }, ids[..15].to_vec()),
    ] {
        assert_eq!(all(&mut house, Some(filter), 4).await.0, wanted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_fits_the_filter_that_it_was_given_for() {
    let mut house = waiting_house().await;
    fill(&mut house, 3).await;
    let first = house.list(ListTasksRequest { page_size: 1, ..Default::default() }).await.unwrap();
    let good = first.next_page_token;
    let labelled = TaskFilter { labels: [("third".to_owned(), "0".to_owned())].into(), ..Default::default() };
    let cut = &good[..good.len() - 2];
    for (page_token, filter) in [
        ("garbage!", None),
        ("AAAA", None),
        ("%00", None),
        (cut, None),
        (&"A".repeat(60_000), None),
        (good.as_str(), Some(labelled)),
    ] {
        let asked = ListTasksRequest { filter, page_token: page_token.to_owned(), page_size: 1 };
        let refused = house.list(asked).await.unwrap_err();
        let wanted = (Code::InvalidArgument, "PAGE_TOKEN_INVALID".to_owned(), vec!["page_token".to_owned()]);
        assert_eq!(told(&refused), wanted, "{page_token:.20}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_and_list_show_the_same_task() {
    let mut house = House::new().await;
    let task = house.submit(text("kling/kling-3.0")).await;
    let end = house.finished(&task.id).await;
    assert_eq!(house.get(&task.id).await, end);
    assert_eq!(house.list(ListTasksRequest::default()).await.unwrap().tasks, [end]);
}
