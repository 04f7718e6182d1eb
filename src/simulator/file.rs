//! The links to finished files and what they lead to: the clip, or what a fault
//! makes of it. A link carries its own issue time, so none has to be remembered.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, LOCATION};
use axum::http::{HeaderValue, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use ring::hmac;

use super::account::hex;
use super::answer::{Answer, Call, with_type};
use super::book::{Ending, Job, Stage};
use super::faults::{FaultKind, Moment, Strike};
use super::world::{World, now};

/// Where clouds tell their machines secrets: no provider keeps files there.
const INSIDE: &str = "http://169.254.169.254/latest/meta-data/video.mp4";

/// A fresh link to a job's file.
pub(crate) fn issue(world: &World, job: &Job) -> String {
    if world.job_fault(job, Moment::Result, |kind| kind == FaultKind::LinkInside).is_some() {
        return INSIDE.to_owned();
    }
    let expired = world.job_fault(job, Moment::Result, |kind| kind == FaultKind::LinkExpired).is_some();
    let stem = format!("{}-{}", now(), u8::from(expired));
    format!("{}/files/{}/{stem}-{}.mp4", job.origin, job.id, seal(world, &job.id, &stem))
}

fn seal(world: &World, id: &str, stem: &str) -> String {
    hex(&hmac::sign(&world.link_key, format!("{id}/{stem}").as_bytes()).as_ref()[..10])
}

/// Serves `GET /files/{job}/{token}.mp4`.
pub(crate) async fn serve(world: &Arc<World>, call: &Call, id: &str, name: &str) -> Answer {
    let job = world.book.find(id);
    let Some(job) = job.filter(|job| job.stage(now()) == Stage::Ended && job.ending() == Ending::Success) else {
        return Answer::Reply(with_type(404, "application/xml", "<Error><Code>NoSuchKey</Code></Error>"));
    };
    let strike = world.job_fault(&job, Moment::Download, |_| true);
    let fault = strike.map(|strike| strike.kind);
    if !link_is_good(world, id, name) || matches!(fault, Some(FaultKind::FileForbidden | FaultKind::Refuse)) {
        return Answer::Reply(with_type(403, "application/xml", "<Error><Code>AccessDenied</Code></Error>"));
    }
    let Some(clip) = world.clips.get(&world.scene(&job.prompt), &job.shape, world.settings.short_side).await else {
        return Answer::Reply(with_type(500, "text/plain", "the clip cannot be drawn"));
    };
    let answer = Answer::Reply(video(&clip, clip.len()));
    match strike {
        None => answer,
        Some(_) if call.method == axum::http::Method::HEAD => answer,
        Some(strike) => spoilt(world, strike, clip, answer),
    }
}

fn link_is_good(world: &World, id: &str, name: &str) -> bool {
    let Some((stem, given)) = name.strip_suffix(".mp4").and_then(|token| token.rsplit_once('-')) else { return false };
    let Some((issued, expired)) = stem.split_once('-') else { return false };
    let age = issued.parse().map(|issued| now().saturating_sub(issued)).unwrap_or(u64::MAX);
    let lifetime = world.settings.link_lifetime.map_or(u128::MAX, |lifetime| lifetime.as_millis());
    seal(world, id, stem) == given && expired == "0" && u128::from(age) <= lifetime
}

fn video(bytes: &Bytes, length: usize) -> Response<Body> {
    sized(with_type(200, "video/mp4", bytes.clone()), length)
}

fn sized(mut response: Response<Body>, length: usize) -> Response<Body> {
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn spoilt(world: &Arc<World>, strike: Strike, clip: Bytes, good: Answer) -> Answer {
    let half = clip.slice(..clip.len() / 2);
    match strike.kind {
        FaultKind::FileHtml => Answer::Reply(with_type(200, "text/html", "<html><body>Please sign in</body></html>")),
        FaultKind::FileTruncated => Answer::Reply(video(&half, half.len())),
        FaultKind::FileEmpty => Answer::Reply(video(&Bytes::new(), 0)),
        FaultKind::FileCut => Answer::Reply(sized(broken_off(half), clip.len())),
        FaultKind::FileWrongLength => {
            let announced = clip.len() + 1_000;
            Answer::Reply(sized(broken_off(clip), announced))
        }
        FaultKind::FileLarge => Answer::Reply(large(clip, strike.code.unwrap_or(60))),
        FaultKind::FileRedirectInside => {
            let mut response = with_type(302, "text/plain", "over there");
            response.headers_mut().insert(LOCATION, HeaderValue::from_static(INSIDE));
            Answer::Reply(response)
        }
        FaultKind::FileEndless => Answer::Reply(endless(world, clip)),
        FaultKind::Error => Answer::Reply(with_type(503, "text/plain", "slow down")),
        kind => World::spoil(good, Some(Strike { kind, code: None }), Answer::edge_page),
    }
}

/// Sends what there is and then fails, which makes the server cut the connection.
fn broken_off(bytes: Bytes) -> Response<Body> {
    let pieces = stream::iter([Ok(bytes), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))]);
    with_type(200, "video/mp4", Body::from_stream(pieces))
}

/// The clip and a box of nothing after it, which players skip: at most 3 GiB.
fn large(clip: Bytes, mebibytes: u32) -> Response<Body> {
    let mebibytes = mebibytes.clamp(1, 3072);
    let header = [&(mebibytes << 20).to_be_bytes()[..], b"free"].concat();
    let length = clip.len() + ((mebibytes as usize) << 20);
    let zeros = Bytes::from_static(&[0; 65_536]);
    let first = zeros.slice(header.len()..);
    let rest = (1..mebibytes * 16).map(move |_| zeros.clone());
    let pieces = [clip, header.into(), first].into_iter().chain(rest).map(Ok::<_, std::io::Error>);
    sized(with_type(200, "video/mp4", Body::from_stream(stream::iter(pieces))), length)
}

/// The clip, and zeros after it until the client or the simulator goes away.
fn endless(world: &World, clip: Bytes) -> Response<Body> {
    let shutdown = world.shutdown.clone();
    let zeros = Bytes::from_static(&[0; 65_536]);
    let tail = stream::unfold(shutdown, move |shutdown| {
        let piece = zeros.clone();
        async move { (!shutdown.is_cancelled()).then_some((piece, shutdown)) }
    });
    let pieces = stream::iter([clip]).chain(tail).map(Ok::<_, std::io::Error>);
    with_type(200, "video/mp4", Body::from_stream(pieces))
}
