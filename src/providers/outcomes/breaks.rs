//! Connections that were never made, and those that broke: before the request, in
//! it, and at every byte of the answer.

use std::net::SocketAddr;

use super::socket::{Read, Then};
use super::*;
use crate::providers::scripted::nobody;

/// A picture that fills every buffer on the way.
fn large() -> Option<Image> {
    Some(Image::Data(vec![0xff; 1024 * 1024].into()))
}

async fn never_connects(name: &str, url: &Url, http: &Http) {
    for dialect in Dialect::ALL {
        let end = End { created: create(dialect, url, http, None).await, seen: Seen::default() };
        assert_eq!(end.class(), "not sent", "{dialect:?}: {name}: {:?}", end.created);
        end.check(name);
    }
}

#[tokio::test]
async fn a_create_without_a_connection_was_not_sent() {
    let http = hurried();
    never_connects("refused", &nobody().await, &http).await;
    // The kernel has no route to a broadcast address: no packet leaves.
    never_connects("unreachable", &Url::parse("http://255.255.255.255:9").unwrap(), &http).await;
    // A label of more than 63 letters is no name: nobody is asked.
    let name = format!("http://{}.invalid", "x".repeat(64));
    never_connects("no such name", &Url::parse(&name).unwrap(), &http).await;
}

#[tokio::test]
async fn a_connection_that_takes_too_long_was_not_used() {
    let full = FullHouse::open().await;
    let url = Url::parse(&format!("http://{}", full.address)).unwrap();
    never_connects("connect timeout", &url, &hurried()).await;
}

/// A listener whose queue is full: whoever else knocks is not answered.
struct FullHouse {
    address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _guests: Vec<tokio::net::TcpStream>,
}

impl FullHouse {
    async fn open() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut guests = Vec::new();
        let knock = || tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address));
        while let Ok(Ok(guest)) = knock().await {
            guests.push(guest);
            assert!(guests.len() < 64, "the queue does not fill");
        }
        Self { address, _listener: listener, _guests: guests }
    }
}

#[tokio::test]
async fn a_handshake_that_fails_has_sent_no_request() {
    let http = hurried();
    for (name, say, then) in [
        ("plain bytes", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], Then::Close),
        ("closed", b"", Then::Close),
        ("reset", b"", Then::Reset),
        ("an alert", b"\x15\x03\x03\x00\x02\x02\x28", Then::Close),
        ("silence", b"", Then::Silence),
    ] {
        for dialect in Dialect::ALL {
            let socket = Socket::open(Play { read: Read::Some(1), say: say.to_vec(), then }).await;
            let mut url = socket.url.clone();
            url.set_scheme("https").unwrap();
            let created = create(dialect, &url, &http, None).await;
            let end = End { created, seen: socket.close().await };
            assert_eq!(end.class(), "not sent", "{dialect:?}: {name}: {:?}", end.created);
            // The handshake's own bytes, and none of the request's.
            assert_eq!(end.seen.heard.len(), 1, "{name}");
            end.check(name);
        }
    }
}

#[tokio::test]
async fn a_break_at_any_byte_of_the_request_leaves_the_outcome_unknown() {
    let http = unhurried();
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        let whole = play(dialect, Play::says("", Then::Close), &http, None).await.seen.heard[0].len();
        assert!(whole > 200, "a whole request was seen");
        for then in [Then::Reset, Then::Close, Then::HalfClose] {
            let reads = std::iter::once(Read::Nothing).chain((1..=whole).map(Read::Some));
            rows.extend(reads.map(|read| {
                let play = Play { read, say: Vec::new(), then };
                Row::new(format!("{then:?} after {read:?} of the request"), dialect, play, "unknown")
            }));
        }
    }
    hold(rows, 1800, &http, None).await;
}

#[tokio::test]
async fn a_break_within_a_large_request_leaves_the_outcome_unknown() {
    let http = unhurried();
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        for then in [Then::Reset, Then::Close, Then::HalfClose] {
            for read in [0, 1, 1_000, 65_536, 500_000].map(Read::Some) {
                let play = Play { read, say: Vec::new(), then };
                rows.push(Row::new(format!("{then:?} after {read:?} of a large request"), dialect, play, "unknown"));
            }
        }
        // An answer that comes before the request is through counts all the same.
        let play = Play { read: Read::Some(1_000), say: answer("200 OK", "", &dialect.taken()), then: Then::Silence };
        rows.push(Row::new("taken early", dialect, play, format!("accepted {ID}")));
        let play = Play { read: Read::Some(1_000), say: answer("413 Too Large", "", ""), then: Then::Silence };
        rows.push(Row::new("an early 413 of an edge", dialect, play, "unknown"));
    }
    hold(rows, 45, &http, large()).await;
}

/// The answers whose every byte is tried, and from which one on the id is known.
fn shapes(dialect: Dialect) -> Vec<(&'static str, Vec<u8>, usize)> {
    let body = dialect.taken();
    let plain = answer("200 OK", "", &body);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        20,
        &body[..20],
        body.len() - 20,
        &body[20..]
    );
    let continued = [b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), plain.clone()].concat();
    let refusal = match dialect {
        InFal => answer("422 Unprocessable Entity", "", r#"{"detail":"no"}"#),
        KlingNew | KlingLegacy => answer("400 Bad Request", "", r#"{"code":1200,"message":"no"}"#),
    };
    let mut shapes = vec![
        ("plain", plain.clone(), plain.len()),
        ("chunked", chunked.clone().into_bytes(), chunked.len()),
        ("after a 100", continued.clone(), continued.len()),
        ("refusal", refusal.clone(), refusal.len()),
    ];
    // fal's header names the job as soon as the head is whole.
    if dialect == InFal {
        let named = answer("200 OK", &format!("x-fal-request-id: {ID}\r\n"), &body);
        let head = named.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        shapes.push(("with the id in its head", named, head));
    }
    shapes
}

#[tokio::test]
async fn a_break_at_any_byte_of_the_answer_has_the_class_of_what_is_known_there() {
    let http = unhurried();
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        for (name, whole, known) in shapes(dialect) {
            let settled =
                if name == "refusal" { "refused ProviderRefused".to_owned() } else { format!("accepted {ID}") };
            for then in [Then::Reset, Then::Close, Then::HalfClose] {
                rows.extend((0..=whole.len()).map(|at| {
                    let class = if at < known { "unknown" } else { &settled };
                    let play = Play::says(&whole[..at], then);
                    Row::new(format!("{name}: {then:?} at {at} of {}", whole.len()), dialect, play, class)
                }));
            }
        }
    }
    hold(rows, 4_000, &http, None).await;
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_taken_as_far_as_it_can_be_read() {
    let http = unhurried();
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        let whole = format!("{head}{}", dialect.taken());
        rows.extend((0..=whole.len()).map(|at| {
            let class = if at < whole.len() { "unknown".to_owned() } else { format!("accepted {ID}") };
            Row::new(format!("end at {at}"), dialect, Play::says(&whole.as_bytes()[..at], Then::Close), class)
        }));
    }
    hold(rows, 300, &http, None).await;
}

#[tokio::test]
async fn a_create_whose_answer_does_not_come_in_time_is_unknown() {
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        let whole = answer("200 OK", "", &dialect.taken());
        let body = whole.len() - dialect.taken().len();
        for then in [Then::Silence, Then::Drip] {
            for (name, at) in [("nothing", 0), ("a status line", 15), ("half a head", body - 10), ("a head", body)] {
                let play = Play::says(&whole[..at], then);
                rows.push(Row::new(format!("{name}, then {then:?}"), dialect, play, "unknown"));
            }
        }
        let play = Play::says(&whole[..whole.len() - 1], Then::Silence);
        rows.push(Row::new("all but one byte", dialect, play, "unknown"));
        let play = Play { read: Read::Nothing, say: Vec::new(), then: Then::Silence };
        rows.push(Row::new("nobody reads", dialect, play, "unknown"));
        let play = Play::says("HTTP/1.1 100 Continue\r\n\r\n", Then::Silence);
        rows.push(Row::new("100 and no more", dialect, play, "unknown"));
    }
    hold(rows, 30, &hurried(), None).await;
}
