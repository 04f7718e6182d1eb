//! The check and the repair as an operator runs them: exit codes, and what they
//! say about a store whose server runs, was stopped, was killed or has rotted.

use std::time::Duration;

use pb::TaskState;
use videogen::api::pb;

use super::server::Site;
use crate::common::child::{Ended, Process};
use crate::house::{request, text};

async fn run(site: &Site, command: &str) -> Ended {
    let settings = site.path("settings.toml").display().to_string();
    let arguments: Vec<_> = command.split(' ').chain(["--config", &settings]).collect();
    Process::spawn(&arguments, &site.environment).ended().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_checked_and_rebuilt_without_its_server() {
    let site = Site::new(Duration::from_secs(1)).await;
    let mut server = site.start().await;
    let done = server.submit(request(text("kling/kling-3.0"))).await;
    server.until_task(&done.id, |task| task.state() == TaskState::Succeeded).await;

    let beside = run(&site, "fsck").await;
    assert_eq!(beside.code, Some(3), "{beside:?}");
    assert!(beside.stderr.contains("in use"), "{beside:?}");

    let open = server.submit(request(text("kling/kling-v2-6"))).await;
    site.bought_at_least(2).await;
    server.kill().await;
    let clean = run(&site, "fsck --deep --json").await;
    assert_eq!(clean.code, Some(0), "{clean:?}");
    let report: serde_json::Value = serde_json::from_str(&clean.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["tasks"], &report["videos"]), (&"clean".into(), &2.into(), &1.into()));
    assert_eq!(run(&site, "repair --from-receipts").await.code, Some(0));

    let video = std::fs::read_dir(site.path("videos")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(video, b"another file").unwrap();
    let altered = run(&site, "fsck --deep").await;
    assert_eq!(altered.code, Some(2), "{altered:?}");
    assert!(altered.stdout.contains(&format!("the video of task {}", done.id)), "{altered:?}");

    // The database is gone; what was bought comes back and goes on.
    std::fs::write(site.path("store/db"), b"not a database").unwrap();
    let refused = site.start_in_vain().await;
    assert!(refused.stderr.contains("videogen repair --from-receipts"), "{refused:?}");
    assert_eq!(run(&site, "fsck").await.code, Some(2));
    let repaired = run(&site, "repair --from-receipts").await;
    assert_eq!(repaired.code, Some(1), "{repaired:?}");
    assert_eq!(run(&site, "fsck").await.code, Some(0));
    let mut server = site.start().await;
    server.until_task(&open.id, |task| task.state() == TaskState::Succeeded).await;
    assert_eq!(site.bought().len(), 2);
    assert_eq!(server.stop().await.code, Some(0));
}
