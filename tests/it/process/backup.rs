//! The rehearsal: a backup of a server under load, the server's end, and another
//! one that goes on with the tasks elsewhere; then the ways in which it must fail.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use pb::TaskState;
use videogen::api::pb;
use videogen::simulator;

use super::server::{Server, Site, bought_once};
use crate::common::child::{Ended, Process};
use crate::common::until;
use crate::house::{prompted, quick, request, text};

const MODEL: &str = "kling/kling-3.0";

/// A place whose server may make backups.
async fn site(latency: Duration) -> Site {
    let site = Site::with(quick(latency)).await;
    let backups = site.path("backups").display().to_string();
    site.edit("[polling]", &format!("[backup]\npath = \"{backups}\"\n\n[polling]"));
    site
}

async fn run(site: &Site, arguments: &[&str]) -> Ended {
    let settings = site.path("settings.toml").display().to_string();
    let arguments = [arguments, &["--config", &settings]].concat();
    Process::spawn(&arguments, &site.environment).ended().await
}

async fn order_backup(server: &Server, admin: &str) -> serde_json::Value {
    assert!(server.process.log().contains("listening admin="));
    let answer = reqwest::Client::new().post(format!("http://{admin}/backup")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

fn admin_of(server: &Server) -> String {
    let log = server.process.log();
    let line = log.lines().find_map(|line| line.strip_prefix("listening admin="));
    line.expect("the door is announced").to_owned()
}

async fn ready(server: &Server) -> String {
    until("the admin door", async || server.process.log().contains("listening admin=")).await;
    admin_of(server)
}

fn is_bought(task: &pb::Task) -> bool {
    !task.provider_job_id.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_lost_and_its_tasks_go_on_elsewhere_without_a_second_purchase() {
    let site = site(Duration::from_secs(6)).await;
    let mut server = site.start().await;
    let admin = ready(&server).await;
    let mut known = Vec::new();
    for number in 0..12 {
        let model = if number % 2 == 0 { MODEL } else { "fal/fal-ai/veo3.1" };
        let task = server.submit(request(prompted(model, &format!("shot {number}")))).await;
        known.push(server.until_task(&task.id, is_bought).await);
    }
    // Load while the backup is made: these may or may not be in it.
    let mut client = server.client.clone();
    let load = tokio::spawn(async move {
        let mut accepted = 0;
        while client.submit(request(prompted(MODEL, &format!("load {accepted}")))).await.is_ok() {
            accepted += 1;
        }
        accepted
    });
    let made = order_backup(&server, &admin).await;
    server.kill().await;
    assert!(load.await.unwrap() > 0, "there was load");
    let file = site.path("backups").join(made["file"].as_str().unwrap()).display().to_string();
    assert!(made["tasks"].as_u64().unwrap() >= 12, "{made}");

    // The disk with the store is gone; the videos folder goes to the new place too.
    fs::remove_dir_all(site.path("store")).unwrap();
    let (lost, found) = (site.path("store").display().to_string(), site.path("elsewhere").display().to_string());
    site.edit(&lost, &found);
    let restored = run(&site, &["restore", &file]).await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert!(restored.stdout.contains(&format!("{} tasks restored", made["tasks"])), "{restored:?}");
    assert!(restored.stderr.contains("buys a second video"), "{restored:?}");

    let mut server = site.start().await;
    for task in &known {
        let end = server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
        assert_eq!((&end.provider_job_id, end.attempts.len()), (&task.provider_job_id, 1));
        let again =
            pb::SubmitRequest { request_id: task.request_id.clone(), spec: task.spec.clone(), ..Default::default() };
        assert_eq!(server.submit(again).await.id, task.id, "its request id is known");
    }
    assert_eq!(server.tasks().await.len() as u64, made["tasks"].as_u64().unwrap());
    let bought = site.bought();
    let jobs: HashSet<_> = known.iter().map(|task| task.provider_job_id.as_str()).collect();
    assert_eq!(bought.iter().filter(|entry| jobs.contains(entry.job_id.as_str())).count(), 12);
    assert!(bought_once(&bought), "nothing is bought twice: {bought:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_bought_after_the_backup_is_found_and_not_bought_again() {
    let site = site(Duration::from_secs(1)).await;
    // Nothing gets through until the backup is made.
    site.simulator.inject(simulator::Fault::new(simulator::FaultKind::RateLimited).on(simulator::Moment::Create));
    let mut server = site.start().await;
    let admin = ready(&server).await;
    let task = server.submit(request(text(MODEL))).await;
    let throttled =
        server.until_task(&task.id, |task| task.state() == TaskState::Queued && !task.attempts.is_empty()).await;
    assert!(!is_bought(&throttled));
    let made = order_backup(&server, &admin).await;
    server.until_task(&task.id, is_bought).await;
    server.kill().await;
    assert_eq!(site.bought().len(), 1);

    fs::remove_dir_all(site.path("store")).unwrap();
    let file = site.path("backups").join(made["file"].as_str().unwrap()).display().to_string();
    assert_eq!(run(&site, &["restore", &file]).await.code, Some(0));
    let mut server = site.start().await;
    let end = server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
    assert_eq!((end.attempts.len(), site.bought().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_at_rest_moves_in_a_file() {
    let site = site(Duration::from_millis(100)).await;
    let mut server = site.start().await;
    let task = server.submit(request(text(MODEL))).await;
    let task = server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
    let file = site.path("tasks.backup").display().to_string();
    let in_use = run(&site, &["backup", &file]).await;
    assert!(in_use.code == Some(1) && in_use.stderr.contains("in use by another process"), "{in_use:?}");
    server.stop().await;

    let made = run(&site, &["backup", &file]).await;
    assert!(made.code == Some(0) && made.stdout.contains("1 tasks"), "{made:?}");
    let again = run(&site, &["backup", &file]).await;
    assert!(again.code == Some(1) && again.stderr.contains("exists"), "{again:?}");
    let occupied = run(&site, &["restore", &file]).await;
    assert!(occupied.code == Some(2) && occupied.stderr.contains("is not empty"), "{occupied:?}");

    fs::remove_dir_all(site.path("store")).unwrap();
    let absent = run(&site, &["backup", &site.path("none").display().to_string()]).await;
    assert!(absent.code == Some(2) && !site.path("store").exists(), "{absent:?}");
    let moved = run(&site, &["restore", "--as-it-was", &file]).await;
    assert!(moved.code == Some(0) && !moved.stderr.contains("warning"), "{moved:?}");
    let mut server = site.start().await;
    assert_eq!(server.task(&task.id).await, task);
    assert_eq!(site.bought().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_refused_and_nothing_is_made() {
    let site = site(Duration::ZERO).await;
    site.start().await.stop().await;
    let file = site.path("tasks.backup");
    assert_eq!(run(&site, &["backup", &file.display().to_string()]).await.code, Some(0));
    fs::remove_dir_all(site.path("store")).unwrap();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let mut newer = whole.clone();
    newer[11] += 1;
    for (bytes, words) in [
        (&whole[..whole.len() - 3], "it ends early"),
        (&flipped, "is damaged"),
        (&newer, "made by a newer version"),
        (b"PK\x03\x04 another program's archive".as_slice(), "is no backup of VideoGen"),
    ] {
        fs::write(&file, bytes).unwrap();
        let refused = run(&site, &["restore", &file.display().to_string()]).await;
        assert!(refused.code == Some(1) && refused.stderr.contains(words), "{refused:?}");
        assert!(!refused.stderr.contains("panicked") && !site.path("store").exists(), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_made_by_themselves_and_the_oldest_go() {
    let site = site(Duration::ZERO).await;
    site.edit("[backup]", "[backup]\nevery = \"1s\"\nkeep = 2");
    let server = site.start().await;
    let names = |folder: &Path| -> HashSet<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let folder = site.path("backups");
    until("a first backup", async || !names(&folder).is_empty()).await;
    let first = names(&folder);
    until("the first to be replaced", async || names(&folder).is_disjoint(&first)).await;
    assert!(names(&folder).len() <= 3, "two, and one in the making");
    let settings = site.path("settings.toml").display().to_string();
    let admin = ready(&server).await;
    let environment = [("VIDEOGEN_SERVER__ADMIN_LISTEN".to_owned(), admin)];
    let asked = Process::spawn(&["backup", "--config", &settings], &environment).ended().await;
    assert!(asked.code == Some(0) && asked.stdout.contains("videogen-"), "{asked:?}");
    assert_eq!(server.stop().await.code, Some(0));
    let unreached = Process::spawn(&["backup", "--config", &settings], &environment).ended().await;
    assert_eq!(unreached.code, Some(3), "{unreached:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_is_refused_to_browsers_and_without_a_folder() {
    let site = Site::new(Duration::ZERO).await;
    let server = site.start().await;
    let admin = ready(&server).await;
    let order = reqwest::Client::new().post(format!("http://{admin}/backup"));
    assert_eq!(order.try_clone().unwrap().header("origin", "http://evil.example").send().await.unwrap().status(), 403);
    assert_eq!(order.send().await.unwrap().status(), 404);
    assert_eq!(reqwest::get(format!("http://{admin}/backup")).await.unwrap().status(), 405);
}
