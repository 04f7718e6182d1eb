//! Whoever wears the door out: too long, too slow, too many.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::door::{call, running};
use super::{NO_POLLS, reachable};
use crate::common::until;
use crate::house::{House, quick, within};

/// A connection on which this much of a call was sent.
async fn begun(house: &House, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(house.addresses.callback).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The status of whatever is answered before the connection closes; nothing when
/// nothing is.
async fn answered(mut stream: TcpStream) -> Option<u16> {
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].parse().unwrap())
}

/// The path of a callback address.
fn path(url: &str) -> &str {
    &url[url.find("/callbacks/").unwrap()..]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_mebibyte_is_heard_and_a_longer_one_is_not() {
    let mut house = reachable(quick(Duration::from_millis(300)), &NO_POLLS).await;
    let (_, url) = running(&mut house, "kling/kling-3.0", "[sim:never_finish] [sim:callback_missing]").await;
    for (length, status) in [(1024 * 1024, 200), (1024 * 1024 + 1, 413)] {
        let body = " ".repeat(length);
        assert_eq!(call(reqwest::Method::POST, &url, &Vec::new(), &body).await.0, status, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_sent_away_and_keeps_no_more_than_a_place() {
    let mut house = reachable(quick(Duration::from_millis(300)), &NO_POLLS).await;
    let (_, url) = running(&mut house, "kling/kling-3.0", "[sim:never_finish] [sim:callback_missing]").await;
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{", path(&url));
    let mut slow = JoinSet::new();
    for _ in 0..64 {
        slow.spawn(answered(begun(&house, &head).await));
    }
    // Each place is taken by somebody who was given the address: the next one is told to
    // come again, and who was given none is not even heard.
    let later = async || call(reqwest::Method::POST, &url, &Vec::new(), "{}").await.0;
    until("all places to be taken", async || later().await == 503).await;
    let silent = answered(begun(&house, "").await);
    let dripping = answered(begun(&house, "POST /callbacks/x/y HTTP/1.1\r\nhost: x\r\nx-a: ").await);
    let (silent, dripping, slow) = tokio::join!(silent, dripping, slow.join_all());
    assert_eq!(slow, vec![Some(408); 64]);
    // Their heads never came: there was nothing to answer.
    assert!(silent.is_none() && matches!(dripping, None | Some(408)), "{silent:?} {dripping:?}");
    assert_eq!(later().await, 200);
}
