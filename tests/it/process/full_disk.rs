//! A real disk that fills up: new requests are refused first, what was bought
//! waits at its provider and is kept in the end, and the store opens in any case.

use std::time::Duration;

use pb::TaskState;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use videogen::api::pb;

use super::server::{Server, Site};
use crate::common::until;
use crate::disk::SmallDisk;
use crate::house::{quick, request, text, told, within};

const MODEL: &str = "kling/kling-3.0";

/// A place with store and videos on a disk of 400 MiB.
async fn site(latency: Duration) -> Option<(Site, SmallDisk)> {
    let site = Site::with(quick(latency)).await;
    let disk = SmallDisk::mount(site.path("disk"), 400)?;
    for name in ["store", "videos"] {
        let large = site.path(name).display().to_string();
        site.edit(&large, &disk.path.join(name).display().to_string());
    }
    site.edit("[polling]", "[submit]\ndisk_reserve = \"128MiB\"\n\n[polling]");
    Some((site, disk))
}

async fn submit_is(server: &Server, wanted: ServingStatus) {
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let request = HealthCheckRequest { service: "videogen.v1.VideoGen/Submit".to_owned() };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    let seen = async { while stream.message().await.unwrap().unwrap().status() != wanted {} };
    within(seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_refuses_new_tasks_first_and_loses_nothing() {
    let Some((site, disk)) = site(Duration::from_secs(4)).await else { return };
    let mut server = site.start().await;
    let bought = server.submit(request(text(MODEL))).await;
    server.until_task(&bought.id, |task| task.state() == TaskState::Running).await;

    // Less than the reserve, and less than a fetch leaves free.
    disk.leave_free(40);
    submit_is(&server, ServingStatus::NotServing).await;
    let refused = server.client.submit(request(text(MODEL))).await.unwrap_err();
    assert_eq!(told(&refused).1, "STORAGE_LOW");
    until("a fetch without room", async || server.log_of(&bought.id).contains("it waits at the provider")).await;
    let waiting = server.task(&bought.id).await;
    assert_eq!(waiting.state(), TaskState::Archiving);
    assert_eq!(waiting.warnings.iter().map(|warning| warning.field.as_str()).collect::<Vec<_>>(), ["artifact"]);

    disk.clear();
    submit_is(&server, ServingStatus::Serving).await;
    let end = server.until_task(&bought.id, |task| task.state() == TaskState::Succeeded).await;
    assert_eq!((end.attempts.len(), site.bought().len()), (1, 1));
    let next = server.submit(request(text(MODEL))).await;
    server.until_task(&next.id, |task| task.state() == TaskState::Succeeded).await;
    assert_eq!(site.bought().len(), 2);
    assert_eq!(server.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ballast_lets_the_store_open_on_a_full_disk() {
    let Some((site, disk)) = site(Duration::from_millis(100)).await else { return };
    let ballast = disk.path.join("store/ballast");
    let mut server = site.start().await;
    let task = server.submit(request(text(MODEL))).await;
    server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
    assert!(ballast.exists());
    server.kill().await;

    disk.leave_free(0);
    let mut server = site.start().await;
    assert!(!ballast.exists());
    assert_eq!(server.task(&task.id).await.state(), TaskState::Succeeded);
    submit_is(&server, ServingStatus::NotServing).await;
    disk.clear();
    submit_is(&server, ServingStatus::Serving).await;
    until("a new ballast", async || ballast.exists()).await;
    assert_eq!(server.stop().await.code, Some(0));

    // Without the ballast it would not have opened.
    std::fs::remove_file(&ballast).unwrap();
    disk.leave_free(0);
    assert!(site.start_in_vain().await.stderr.contains("disk full"));
}
