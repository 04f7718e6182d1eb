//! The archive against hosts on loopback that behave and hosts that do not, and
//! against a disk that somebody has meddled with.

mod host;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use ring::digest::{SHA256, digest};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::network::Forbidden;
use crate::task::state::{Artifact, Output};

use super::sample::{boxed, ftyp, moov, mp4};
use super::*;
use host::{Host, Script, body, file, status};

struct Place {
    archive: Archive,
    home: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ArchiveSettings)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let home = tempfile::tempdir().unwrap();
        let mut settings = ArchiveSettings {
            url: format!("file:{}/videos", home.path().display()),
            reserve_bytes: 0,
            idle_timeout: Duration::from_millis(300),
            ..ArchiveSettings::default()
        };
        change(&mut settings);
        let guard = Guard::new(&["127.0.0.1"]).unwrap();
        Self { archive: Archive::open(&settings, guard).unwrap(), home }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join("videos").join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path().join("videos")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn fetch(&self, url: String) -> Result<Artifact, FetchError> {
        let archive = self.archive.clone();
        // As its caller does it: on any thread.
        let fetching = tokio::spawn(async move {
            let output = Output { url, expires: None };
            archive.fetch(task(), &output, &CancellationToken::new()).await
        });
        fetching.await.unwrap()
    }

    async fn read(&self, artifact: &Artifact, offset: u64) -> Result<Vec<u8>, ReadError> {
        let pieces: Vec<_> = self.archive.read(task(), artifact, offset).await?.try_collect().await?;
        assert!(pieces.iter().all(|piece| piece.len() <= 64 << 10));
        Ok(pieces.concat())
    }
}

fn task() -> TaskId {
    TaskId::floor(1_790_000_000_000)
}

/// Fetches one answer into a new place, which it leaves without any file.
async fn refused(script: Script) -> FetchError {
    let place = Place::with(|settings| settings.max_bytes = 1 << 20);
    let host = Host::start([("/v", script)]).await;
    let error = place.fetch(host.url("/v?signature=canary")).await.unwrap_err();
    assert_eq!(place.names(), Vec::<String>::new(), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    error
}

fn is_transient(error: &FetchError) -> bool {
    matches!(error, FetchError::Transient { .. })
}

fn is_rejected(error: &FetchError) -> bool {
    matches!(error, FetchError::Rejected(_))
}

#[tokio::test]
async fn a_good_video_is_stored_and_read_back() {
    let video = mp4(3_000_000);
    let chunked = {
        let chunks = video.chunks(999_999).map(|c| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat());
        chunks.chain([b"0\r\n\r\n".to_vec()]).collect::<Vec<_>>().concat()
    };
    let answers = [
        file(&video),
        body("content-type: text/html\r\n", &video),
        body("transfer-encoding: chunked\r\n", &chunked),
        body(&format!("content-encoding: gzip\r\ncontent-length: {}\r\n", video.len()), &video),
    ];
    for answer in answers {
        let place = Place::new();
        let host = Host::start([("/v", Script::Close(answer))]).await;
        let artifact = place.fetch(host.url("/v")).await.unwrap();
        assert_eq!(artifact.size, video.len() as u64);
        assert_eq!(artifact.sha256, digest(&SHA256, &video).as_ref());
        assert_eq!((artifact.width, artifact.height), (640, 360));
        assert_eq!(artifact.duration, Some(Duration::from_millis(5500)));
        assert_eq!(place.names(), [format!("{}.mp4", task())]);
        assert!(place.read(&artifact, 0).await.unwrap() == video);
        assert_eq!(host.connections(), 1);
    }
}

#[tokio::test]
async fn a_video_is_read_from_any_offset() {
    let video = mp4(200_000);
    let place = Place::new();
    let host = Host::start([("/v", Script::Close(file(&video)))]).await;
    let artifact = place.fetch(host.url("/v")).await.unwrap();
    for offset in [0, 1, 65_535, 65_536, 65_537, video.len() - 1, video.len()] {
        assert!(place.read(&artifact, offset as u64).await.unwrap() == video[offset..], "{offset}");
    }
    assert_eq!(place.read(&artifact, artifact.size + 1).await, Err(ReadError::BehindEnd));
}

#[tokio::test]
async fn a_cut_answer_is_worth_another_try() {
    let video = mp4(100_000);
    let short = &video[..60_000];
    let announced = format!("content-length: {}\r\n", video.len());
    assert!(is_transient(&refused(Script::Close(body(&announced, short))).await));
    assert!(is_transient(&refused(Script::Close(body("", short))).await));
    let chunk = [format!("{:x}\r\n", video.len()).as_bytes(), short].concat();
    assert!(is_transient(&refused(Script::Close(body("transfer-encoding: chunked\r\n", &chunk))).await));
    assert!(is_transient(&refused(Script::Close(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec())).await));
    assert!(is_transient(&refused(Script::Close(Vec::new())).await));
}

#[tokio::test]
async fn an_answer_that_is_whole_but_no_video_is_rejected() {
    let video = mp4(100_000);
    assert!(is_rejected(&refused(Script::Close(file(b"<html><body>Access expired</body></html>"))).await));
    assert!(is_rejected(&refused(Script::Close(file(b""))).await));
    assert!(is_rejected(&refused(Script::Close(file(&video[..60_000]))).await));
    let soundless = [ftyp(b"isom"), boxed(b"mdat", &[1; 100])].concat();
    assert!(is_rejected(&refused(Script::Close(file(&soundless))).await));
    let tail = [mp4(100), vec![0, 0, 0, 2, b'j', b'u', b'n', b'k']].concat();
    assert!(is_rejected(&refused(Script::Close(file(&tail))).await));
    let gzip = [&[0x1f, 0x8b, 8, 0][..], &[0; 60]].concat();
    assert!(is_rejected(&refused(Script::Close(body("content-encoding: gzip\r\n", &gzip))).await));
}

#[tokio::test]
async fn a_video_over_the_limit_is_rejected_early() {
    let start = [ftyp(b"isom"), moov(), vec![0, 0, 0, 0], b"mdat".to_vec()].concat();
    let endless = Script::Endless(body("", &start), vec![7; 65_536]);
    assert!(is_rejected(&refused(endless).await));
    let announced = body("content-length: 1099511627776\r\n", &start);
    assert!(is_rejected(&refused(Script::Hang(announced)).await));
}

#[tokio::test]
async fn a_host_that_falls_silent_is_left() {
    let begun = Instant::now();
    let video = mp4(100_000);
    let part = body(&format!("content-length: {}\r\n", video.len()), &video[..50_000]);
    assert!(is_transient(&refused(Script::Hang(part)).await));
    assert!(is_transient(&refused(Script::Hang(Vec::new())).await));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_fetch_ends_at_its_deadline_whatever_drips() {
    let place = Place::with(|settings| settings.total_timeout = Duration::from_millis(300));
    let start = [ftyp(b"isom"), moov(), vec![0, 0, 0, 0], b"mdat".to_vec()].concat();
    let host = Host::start([("/v", Script::Endless(body("", &start), vec![7; 10]))]).await;
    assert!(is_transient(&place.fetch(host.url("/v")).await.unwrap_err()));
    let cleared = async {
        while !place.names().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cleared).await.expect("the unfinished file is removed");
}

#[tokio::test]
async fn a_fetch_that_is_told_to_stop_leaves_nothing_behind() {
    let place = Place::new();
    let start = [ftyp(b"isom"), moov(), vec![0, 0, 0, 0], b"mdat".to_vec()].concat();
    let host = Host::start([("/v", Script::Endless(body("", &start), vec![7; 10]))]).await;
    let (stop, output) = (CancellationToken::new(), Output { url: host.url("/v"), expires: None });
    let begun = async {
        while place.names().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (fetched, ()) = tokio::join!(place.archive.fetch(task(), &output, &stop), begun);
    assert_eq!(fetched, Err(FetchError::Stopped));
    assert_eq!(place.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_status_says_what_to_do_next() {
    for code in [401, 403, 404, 410] {
        assert_eq!(refused(Script::Close(status(code, ""))).await, FetchError::LinkExpired { status: code });
    }
    for code in [408, 429, 500, 502, 503, 504, 204, 206, 304] {
        assert!(is_transient(&refused(Script::Close(status(code, ""))).await), "{code}");
    }
    let error = refused(Script::Close(status(429, "retry-after: 17\r\n"))).await;
    assert!(matches!(error, FetchError::Transient { retry_after: Some(wait), .. } if wait.as_secs() == 17));
}

#[tokio::test]
async fn redirects_are_followed_where_we_may_call() {
    let place = Place::new();
    let video = mp4(1000);
    let to = |path: &str| Script::Close(status(302, &format!("location: {path}\r\n")));
    let scripts = [
        ("/v", Script::Close(file(&video))),
        ("/1", to("/v")),
        ("/2", to("/1")),
        ("/3", to("/2")),
        ("/4", to("/3")),
        ("/nowhere", Script::Close(status(302, ""))),
    ];
    let host = Host::start(scripts).await;
    assert_eq!(place.fetch(host.url("/3")).await.unwrap().size, video.len() as u64);
    assert_eq!(host.connections(), 4);
    assert!(is_transient(&place.fetch(host.url("/4")).await.unwrap_err()));
    assert!(is_transient(&place.fetch(host.url("/nowhere")).await.unwrap_err()));
}

#[tokio::test]
async fn nothing_is_sent_to_where_we_may_not_call() {
    let place = Place::new();
    // Either is this machine too, and neither is allowed.
    let inner = match std::net::TcpListener::bind("[::1]:0") {
        Ok(inner) => inner,
        Err(_) => std::net::TcpListener::bind("127.0.0.2:0").unwrap(),
    };
    let inside = format!("http://{}/v", inner.local_addr().unwrap());
    let location = format!("location: {inside}\r\n");
    let metadata = "location: http://169.254.169.254/latest\r\n";
    let scripts = [
        ("/inside", Script::Close(status(302, &location))),
        ("/metadata", Script::Close(status(307, metadata))),
        ("/file", Script::Close(status(302, "location: file:///etc/passwd\r\n"))),
        ("/plain", Script::Close(status(302, "location: http://v.example/\r\n"))),
    ];
    let host = Host::start(scripts).await;
    let table = [
        (inside, Forbidden::Address),
        (host.url("/inside"), Forbidden::Address),
        (host.url("/metadata"), Forbidden::Address),
        (host.url("/file"), Forbidden::Scheme),
        (host.url("/plain"), Forbidden::Scheme),
    ];
    for (url, rule) in table {
        assert_eq!(place.fetch(url.clone()).await, Err(FetchError::Forbidden(rule)), "{url}");
    }
    assert!(nobody_called(&inner));
}

/// However the address is spelled: nobody listening on this machine is called.
/// Whether no connection waits at a listener: whoever calls leaves one, heard or not.
fn nobody_called(listener: &std::net::TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn a_link_to_anywhere_but_the_public_web_is_forbidden() {
    let place = Place::new();
    let settings = ArchiveSettings::clone(&place.archive.settings);
    let strict = Archive::open(&settings, Guard::default()).unwrap();
    let inner = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inner.local_addr().unwrap().port();
    let long = format!("https://example.com/{}", "a".repeat(2048));
    let near = [format!("http://127.0.0.1:{port}/v"), format!("https://localhost:{port}/v")];
    let known: &[&str] = &include!("../../tests/common/forbidden_links.in");
    for url in known.iter().copied().chain(near.iter().map(String::as_str)).chain([long.as_str()]) {
        let output = Output { url: url.to_owned(), expires: None };
        let fetched = strict.fetch(task(), &output, &CancellationToken::new()).await;
        assert!(matches!(fetched, Err(FetchError::Forbidden(_))), "{url}: {fetched:?}");
    }
    assert!(nobody_called(&inner));
    assert_eq!(place.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_is_judged_by_the_addresses_it_leads_to() {
    let host = Host::start([("/v", Script::Close(file(&mp4(1000))))]).await;
    let port = host.address.port();
    let allowed = Place::new();
    assert!(allowed.fetch(format!("http://localhost:{port}/v")).await.is_ok());
    let elsewhere = Guard::new(&["10.0.0.0/8"]).unwrap();
    let settings = ArchiveSettings::clone(&allowed.archive.settings);
    let archive = Archive::open(&settings, elsewhere).unwrap();
    let output = Output { url: format!("http://localhost:{port}/v"), expires: None };
    let fetched = archive.fetch(task(), &output, &CancellationToken::new()).await;
    assert_eq!(fetched, Err(FetchError::Forbidden(Forbidden::Resolved)));
    assert_eq!(host.connections(), 1);
}

#[tokio::test]
async fn a_full_disk_is_no_loss() {
    let place = Place::with(|settings| settings.reserve_bytes = u64::MAX);
    let host = Host::start([("/v", Script::Close(file(&mp4(1000))))]).await;
    assert!(matches!(place.fetch(host.url("/v")).await, Err(FetchError::Storage(_))));

    let place = Place::new();
    fs::remove_dir(place.file("")).unwrap();
    fs::write(place.home.path().join("videos"), "not a folder").unwrap();
    assert!(matches!(place.fetch(host.url("/v")).await, Err(FetchError::Storage(_))));
}

#[tokio::test]
async fn a_failed_fetch_leaves_the_earlier_file_alone() {
    let place = Place::new();
    let video = mp4(5000);
    let cut = body("", &mp4(100_000)[..70_000]);
    let host = Host::start([("/good", Script::Close(file(&video))), ("/cut", Script::Close(cut))]).await;
    let artifact = place.fetch(host.url("/good")).await.unwrap();
    assert!(is_transient(&place.fetch(host.url("/cut")).await.unwrap_err()));
    assert!(place.read(&artifact, 0).await.unwrap() == video);
    assert_eq!(place.fetch(host.url("/good")).await.unwrap(), artifact);
    assert_eq!(place.names().len(), 1);
}

#[tokio::test]
async fn a_file_altered_or_gone_is_damaged() {
    let place = Place::new();
    let host = Host::start([("/v", Script::Close(file(&mp4(100_000))))]).await;
    let artifact = place.fetch(host.url("/v")).await.unwrap();
    let path = place.file(&format!("{}.mp4", task()));
    let mut altered = fs::read(&path).unwrap();
    altered[90_000] ^= 1;
    fs::write(&path, &altered).unwrap();
    assert_eq!(place.read(&artifact, 0).await, Err(ReadError::Damaged));
    fs::write(&path, &altered[..90_000]).unwrap();
    assert_eq!(place.read(&artifact, 5).await, Err(ReadError::Damaged));
    fs::remove_file(&path).unwrap();
    assert_eq!(place.read(&artifact, 0).await, Err(ReadError::Damaged));
}

#[tokio::test]
async fn a_file_without_a_record_is_found_if_it_is_intact() {
    let place = Place::new();
    let host = Host::start([("/v", Script::Close(file(&mp4(100_000))))]).await;
    assert_eq!(place.archive.find(task()).await, None);
    let artifact = place.fetch(host.url("/v")).await.unwrap();
    assert_eq!(place.archive.find(task()).await, Some(artifact));
    let path = place.file(&format!("{}.mp4", task()));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..50_000]).unwrap();
    assert_eq!(place.archive.find(task()).await, None);
}

#[tokio::test]
async fn a_file_is_named_by_what_it_is_not_by_what_it_is_called() {
    let webm = sample::webm(500);
    let quicktime = [ftyp(b"qt  "), boxed(b"mdat", &[7; 50]), moov()].concat();
    for (video, media) in [(webm, Media::WebM), (quicktime, Media::QuickTime)] {
        let place = Place::new();
        let answer = body(&format!("content-type: video/mp4\r\ncontent-length: {}\r\n", video.len()), &video);
        let host = Host::start([("/v.mp4", Script::Close(answer))]).await;
        let artifact = place.fetch(host.url("/v.mp4")).await.unwrap();
        assert_eq!(artifact.media, media);
        assert_eq!(place.names(), [format!("{}.{}", task(), media.extension())]);
        assert!(place.read(&artifact, 0).await.unwrap() == video);
        assert_eq!(place.archive.find(task()).await, Some(artifact));
    }
}

#[tokio::test]
async fn a_deleted_file_is_gone_and_others_stay() {
    let place = Place::new();
    let host = Host::start([("/v", Script::Close(file(&mp4(1000))))]).await;
    place.fetch(host.url("/v")).await.unwrap();
    fs::write(place.file("other.mp4"), "x").unwrap();
    place.archive.delete(task()).await.unwrap();
    place.archive.delete(task()).await.unwrap();
    assert_eq!(place.names(), ["other.mp4"]);
}

#[test]
fn a_name_is_the_tasks_id_and_nothing_else() {
    for media in MEDIA {
        let name = home::file_name(task(), media);
        assert_eq!(name, format!("{}.{}", task(), media.extension()));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'), "{name}");
    }
}
