//! Pictures that came with requests, over a kill, a backup, the loss of the disk
//! and the check: a stored request is complete, or it is said what is missing.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use pb::TaskState;
use pb::image::Source;
use videogen::api::pb;

use super::server::Site;
use crate::common::child::{Ended, Process};
use crate::house::{options, quick, request, text, told, within};
use crate::images::sha256;
use crate::picture::png;

async fn run(site: &Site, arguments: &[&str]) -> Ended {
    let settings = site.path("settings.toml").display().to_string();
    let arguments = [arguments, &["--config", &settings]].concat();
    Process::spawn(&arguments, &site.environment).ended().await
}

fn from(picture: &[u8]) -> pb::Spec {
    let image = pb::Image { source: Some(Source::Data(picture.to_vec().into())) };
    pb::Spec { start_image: Some(image), ..text("kling/kling-v2-6") }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_outlive_a_kill_a_lost_disk_and_a_restore() {
    let site = Site::with(quick(Duration::from_millis(500))).await;
    // One after the other, so that most of them wait when the process is killed.
    site.edit("max_parallel = 1000", "max_parallel = 1");
    let pictures: Vec<_> = (0..4).map(|number| png(640, 360 + number, 1 << 20)).collect();
    let mut server = site.start().await;
    let mut tasks = Vec::new();
    for picture in pictures.iter().chain([&pictures[3]]) {
        tasks.push(server.submit(request(from(picture))).await);
    }
    server.kill().await;
    let inputs = site.path("store/inputs");
    let files = || std::fs::read_dir(&inputs).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(files().len(), 4, "the same picture is there once");
    let clean = run(&site, &["fsck", "--deep", "--json"]).await;
    assert_eq!(clean.code, Some(0), "{clean:?}");
    let report: serde_json::Value = serde_json::from_str(&clean.stdout).unwrap();
    assert_eq!(report["images"], 5, "{report}");

    let file = site.path("tasks.backup").display().to_string();
    assert_eq!(run(&site, &["backup", &file]).await.code, Some(0));
    std::fs::remove_dir_all(site.path("store")).unwrap();
    let restored = run(&site, &["restore", "--as-it-was", &file]).await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(run(&site, &["fsck", "--deep"]).await.code, Some(0));

    let victim = files().remove(0);
    let (whole, mut altered) = (std::fs::read(&victim).unwrap(), std::fs::read(&victim).unwrap());
    altered[500_000] ^= 1;
    std::fs::write(&victim, altered).unwrap();
    assert_eq!(run(&site, &["fsck"]).await.code, Some(0), "its size is right");
    let deep = run(&site, &["fsck", "--deep"]).await;
    assert!(deep.code == Some(2) && deep.stdout.contains("the image spec.start_image of task"), "{deep:?}");
    std::fs::remove_file(&victim).unwrap();
    let missing = run(&site, &["fsck"]).await;
    assert!(missing.code == Some(2) && missing.stdout.contains("No such file"), "{missing:?}");
    std::fs::write(&victim, whole).unwrap();

    // What a kill between the file and its task leaves.
    std::fs::write(inputs.join("0".repeat(64)), b"nobody's").unwrap();
    let mut server = site.start().await;
    assert_eq!(files().len(), 4, "the start has swept");
    for task in &tasks {
        let end = server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
        assert_eq!(end.attempts.len(), 1, "{end:?}");
    }
    let arrived: HashSet<_> = site.bought().into_iter().flat_map(|entry| entry.pictures).collect();
    assert_eq!(arrived, pictures.iter().map(|picture| format!("base64 {}", sha256(picture))).collect());
    assert_eq!(site.bought().len(), 5);
    assert_eq!(server.stop().await.code, Some(0));
}

/// What the process holds, in MiB.
fn held(server: &super::server::Server, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_requests_at_once_are_taken_in_turns() {
    let site = Site::with(quick(Duration::from_millis(300))).await;
    let server = site.start().await;
    let idle = held(&server, "VmRSS:");
    let most = 10 << 20;
    let mut spec = from(&png(640, 360, most));
    spec.end_image = from(&png(360, 640, most)).start_image;
    spec.provider_options = options(&serde_json::json!({"mode": "pro"}));
    let submits = (0..8).map(|_| {
        let (mut client, asked) = (server.client.clone(), request(spec.clone()));
        async move {
            // Whoever is told that it is too much comes again, as told.
            loop {
                match client.submit(asked.clone()).await {
                    Ok(answer) => return answer.into_inner().task.unwrap(),
                    Err(status) => {
                        assert_eq!(told(&status).1, "LARGE_REQUESTS", "{status:?}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }
    });
    let tasks = within(join_all(submits)).await;
    let taken = held(&server, "VmHWM:");
    let mut server = server;
    for task in &tasks {
        server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
    }
    let sent = held(&server, "VmHWM:");
    println!("MiB: {idle} idle, {taken} at most as 8 requests of 20 MiB came in, {sent} as they were sent on");
    // Eight at once would take three times their 160 MiB to come in alone.
    assert!(sent - idle < 400, "{sent} MiB: too many were in memory at once");
    assert_eq!(site.bought().len(), 8);
}
