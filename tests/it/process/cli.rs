//! The client commands as a script calls them: JSON that parses, exit codes that
//! tell what happened, files where they were asked for.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use super::server::{Server, Site};
use crate::common::child::{Ended, Process};

const MODEL: &str = "kling/kling-3.0";

async fn run(server: &str, arguments: &[&str]) -> Ended {
    Process::spawn(&[&["--server", server], arguments].concat(), &[]).ended().await
}

/// Runs a command with `--json`, expects it to end well, and reads its lines.
async fn json(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let ended = run(&server.url(), &[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    lines(&ended)
}

fn lines(ended: &Ended) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    ended.stdout.lines().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_makes_a_video_step_by_step() {
    let site = Site::new(Duration::from_millis(500)).await;
    let server = site.start().await;
    let models = json(&server, &["models"]).await.remove(0);
    let ours = models["models"].as_array().unwrap().iter().find(|model| model["name"] == MODEL).unwrap();
    assert_eq!(ours["configured"], true);

    let submit = ["submit", "a red kite", "-m", MODEL, "--label", "team=films", "--request-id", "once"];
    let task = json(&server, &submit).await.remove(0);
    let id = task["id"].as_str().unwrap();
    assert_eq!(json(&server, &submit).await.remove(0)["id"], id, "the same request is the same task");

    let watched = json(&server, &["watch", id]).await;
    let states: Vec<_> = watched.iter().map(|event| event["task"]["state"].as_str().unwrap()).collect();
    assert_eq!(states.last(), Some(&"SUCCEEDED"), "{states:?}");
    let got = json(&server, &["get", id]).await.remove(0);
    assert_eq!(Some(&got), watched.last().map(|event| &event["task"]));
    let listed = json(&server, &["list", "--label", "team=films"]).await.remove(0);
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1);

    let file = site.path("kite.mp4").display().to_string();
    json(&server, &["download", id, "-o", &file]).await;
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(got["artifact"]["size"], bytes.len());
    assert_eq!(&bytes[4..8], b"ftyp");
    assert_eq!(site.bought().len(), 1);

    let texts: [&[&str]; 4] = [&["models"], &["get", id], &["list"], &["watch", id]];
    for arguments in texts {
        let ended = run(&server.url(), arguments).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains(MODEL) || ended.stdout.contains(id), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_makes_a_video_across_a_restart() {
    let site = Site::new(Duration::from_secs(3)).await;
    let server = site.start().await;
    // The port stays, as it does where a server has a name.
    site.edit("grpc_listen = \"127.0.0.1:0\"", &format!("grpc_listen = \"{}\"", server.address));
    let file = site.path("kite.mp4").display().to_string();
    let url = server.url();
    let generate = ["--server", &url, "generate", "a kite", "-m", MODEL, "-o", &file, "--json"];
    let client = Process::spawn(&generate, &[]);
    site.bought_at_least(1).await;
    server.kill().await;
    let _server = site.start().await;
    let ended = client.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(lines(&ended).last().unwrap()["event"], "file");
    assert_eq!(&std::fs::read(&file).unwrap()[4..8], b"ftyp");
    assert_eq!(site.bought().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_what_happened() {
    let site = Site::new(Duration::from_millis(300)).await;
    let server = site.start().await;
    let url = server.url();
    let file = site.path("none.mp4").display().to_string();
    let fails = ["generate", "a kite [sim:fail]", "-m", MODEL, "-o", &file, "--json"];
    let failed = run(&url, &fails).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let last = lines(&failed).pop().unwrap();
    assert_eq!(last["task"]["state"], "FAILED");
    assert!(!site.path("none.mp4").exists());
    let id = last["task"]["id"].as_str().unwrap();
    let watched = run(&url, &["watch", id]).await;
    assert_eq!(watched.code, Some(1), "{watched:?}");

    let nobody = "0197c2b4-7f5e-7d3a-9f00-000000000001";
    let refused: [(&[&str], &str); 9] = [
        (&["submit", "a kite", "-m", "kling/none"], "MODEL_UNKNOWN"),
        (&["submit", "a kite", "-m", MODEL, "--duration", "99"], "spec.duration"),
        (&["submit", "", "-m", MODEL], "spec.prompt"),
        (&["get", nobody], "TASK_NOT_FOUND"),
        (&["get", "../../etc/passwd"], "TASK_NOT_FOUND"),
        (&["cancel", id], "ALREADY_FINISHED"),
        (&["download", id, "-o", &file], "error"),
        (&["list", "--page-token", "garbage"], "PAGE_TOKEN_INVALID"),
        (&["submit", "a kite", "--no-such-flag"], "--no-such-flag"),
    ];
    for (arguments, word) in refused {
        let ended = run(&url, arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(word), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    }
    assert_eq!(site.bought().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_is_passed_on_and_its_task_ends_cancelled() {
    let site = Site::new(Duration::from_secs(600)).await;
    let server = site.start().await;
    let task = json(&server, &["submit", "a kite", "-m", "fal/fal-ai/veo3.1"]).await.remove(0);
    let id = task["id"].as_str().unwrap();
    site.bought_at_least(1).await;
    let cancelled = json(&server, &["cancel", id]).await.remove(0);
    assert!(cancelled["cancellation"].is_object(), "{cancelled}");
    let watched = run(&server.url(), &["watch", id, "--json"]).await;
    assert_eq!(watched.code, Some(1), "{watched:?}");
    assert_eq!(lines(&watched).last().unwrap()["task"]["state"], "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_as_such() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let commands: [&[&str]; 3] = [&["models"], &["submit", "a kite", "-m", MODEL], &["watch", "some-task"]];
    for arguments in commands {
        let ended = run(&url, arguments).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains(&url), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_leaves_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chef.mp4");
    let ended = Process::spawn(&["demo", "a chef", "-o", file.to_str().unwrap()], &[]).ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(&std::fs::read(&file).unwrap()[4..8], b"ftyp");
}
