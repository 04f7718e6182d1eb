//! Starts that cannot succeed: each ends by itself, says which setting or folder
//! is to be mended, and leaves everything as it was.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pb::TaskState;
use videogen::api::pb;

use super::server::Site;
use crate::disk::SmallDisk;
use crate::house::{request, text};

/// Expects a start with these changed settings to be refused in words that hold
/// all of these.
async fn refused(site: &Site, from: &str, to: &str, words: &[&str]) {
    site.edit(from, to);
    refused_as_it_is(site, words).await;
    site.edit(to, from);
}

async fn refused_as_it_is(site: &Site, words: &[&str]) {
    let ended = site.start_in_vain().await;
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    let message = ended.stderr.lines().find(|line| line.starts_with("error: "));
    let message = message.unwrap_or_else(|| panic!("no message: {}", ended.stderr));
    for word in words {
        assert!(message.contains(word), "{word} is missing in: {message}");
    }
    assert!(!ended.stderr.contains("-key-of-the-test"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

const KEY: &str = "api_key = \"kling-key-of-the-test\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_settings_is_named_and_nothing_is_made() {
    let site = Site::new(Duration::ZERO).await;
    refused(&site, "shutdown_grace", "shutdown_grase", &["server.shutdown_grase", "unknown setting"]).await;
    refused(&site, "[polling]", "[poling]", &["poling.", "unknown setting"]).await;
    refused(&site, "\"20s\"", "\"soon\"", &["server.shutdown_grace"]).await;
    refused(&site, "[store]", "[store", &["settings.toml", "line 7", "not valid TOML"]).await;
    refused(&site, "127.0.0.0/8", "127.0.0.0/99", &["network.allow"]).await;
    let file = format!("file:{}", site.path("videos").display());
    refused(&site, &file, "ftp://bucket/videos", &["archive.url", "expected file:FOLDER"]).await;
    assert!(!site.path("store").exists() && !site.path("videos").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_had_is_named() {
    let site = Site::new(Duration::ZERO).await;
    let missing = "api_key = { env = \"NO_SUCH_VARIABLE\" }";
    refused(&site, KEY, missing, &["accounts.0.api_key", "NO_SUCH_VARIABLE", "not set"]).await;

    let secret = site.path("kling.key");
    let from_file = format!("api_key = {{ file = \"{}\" }}", secret.display());
    refused(&site, KEY, &from_file, &["accounts.0.api_key", "kling.key", "No such file"]).await;
    std::fs::write(&secret, "kling-key-of-the-test\n").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    refused(&site, KEY, &from_file, &["accounts.0.api_key", "kling.key", "chmod 600"]).await;
    std::fs::write(&secret, "").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    refused(&site, KEY, &from_file, &["accounts.0.api_key", "kling.key", "is empty"]).await;
    std::fs::remove_file(&secret).unwrap();
    std::fs::create_dir(&secret).unwrap();
    refused(&site, KEY, &from_file, &["accounts.0.api_key", "kling.key"]).await;
    assert!(!site.path("store").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_catalog_is_named_before_the_store_is_touched() {
    let site = Site::new(Duration::ZERO).await;
    let catalog = site.path("models.toml");
    let setting = format!("[catalog]\npath = \"{}\"\n\n[network]", catalog.display());
    site.edit("[network]", &setting);
    refused_as_it_is(&site, &["catalog.path", "models.toml", "No such file"]).await;
    for (text, word) in [("[[model]", "line 1"), ("[[model]]\nname = \"kling/kling-3.0\"\ncolour = 3\n", "colour")] {
        std::fs::write(&catalog, text).unwrap();
        refused_as_it_is(&site, &["catalog.path", "models.toml", word]).await;
    }
    assert!(!site.path("store").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_by_its_setting() {
    let site = Site::new(Duration::ZERO).await;
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for key in ["grpc_listen", "callback_listen", "admin_listen"] {
        let free = format!("{key} = \"127.0.0.1:0\"");
        let setting = format!("server.{key}");
        refused(&site, &free, &format!("{key} = \"{taken}\""), &[&setting, &taken]).await;
    }
    assert!(!site.path("store").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_store_is_refused_and_the_first_goes_on() {
    let site = Site::new(Duration::from_secs(1)).await;
    let mut server = site.start().await;
    let task = server.submit(request(text("kling/kling-3.0"))).await;
    let store = site.path("store").display().to_string();
    refused_as_it_is(&site, &["store.path", &store, "in use by another process"]).await;

    server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
    assert_eq!(server.stop().await.code, Some(0));
    let mut server = site.start().await;
    assert_eq!(server.task(&task.id).await.state(), TaskState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_ours_is_left_alone() {
    let site = Site::new(Duration::ZERO).await;
    let store = site.path("store").display().to_string();
    std::fs::write(site.path("store"), "a file, not a folder").unwrap();
    refused_as_it_is(&site, &["store.path", &store]).await;
    assert_eq!(std::fs::read(site.path("store")).unwrap(), b"a file, not a folder");
    std::fs::remove_file(site.path("store")).unwrap();

    let somebodys = sled::open(site.path("store")).unwrap();
    somebodys.insert("theirs", "their data").unwrap();
    somebodys.flush().unwrap();
    drop(somebodys);
    refused_as_it_is(&site, &["store.path", &store, "not a readable VideoGen store"]).await;
    let somebodys = sled::open(site.path("store")).unwrap();
    assert_eq!(somebodys.get("theirs").unwrap().unwrap(), "their data");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_at_the_start() {
    let site = Site::new(Duration::ZERO).await;
    let Some(disk) = SmallDisk::mount(site.path("disk"), 1) else { return };
    let small = disk.path.join("store").display().to_string();
    let store = site.path("store").display().to_string();
    refused(&site, &store, &small, &["store.path", &small, "disk full"]).await;

    // Full to the last byte.
    std::fs::write(disk.path.join("filler"), vec![0; 2 << 20]).unwrap_err();
    refused(&site, &store, &small, &["store.path", "disk full"]).await;
    let files = std::fs::read_dir(disk.path.join("store")).unwrap().count();
    assert!(files <= 1, "nothing but the lock is made");
    assert_eq!(site.start().await.stop().await.code, Some(0));
}
