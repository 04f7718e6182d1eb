//! Complete answers: every status, in the provider's own words, in nobody's and in
//! an edge's, and the forms that an answer can be written in.

use super::socket::Then;
use super::*;

const PAGE: &str = "<html><head><title>see https://edge.example/why?ray=1</title></head></html>";

/// A complete answer on a connection that then ends.
fn complete(status: &str, headers: &str, body: &str) -> Play {
    Play::says(answer(status, headers, body), Then::Close)
}

/// An error in the provider's own shape, which quotes everything that it was sent.
fn own_words(dialect: Dialect, code: i64) -> String {
    let quoted = format!("no: Bearer {KEY}, {PROMPT}, https://gw.example/callbacks/vg-1-1/{CAPABILITY}");
    match dialect {
        InFal => json!({"detail": quoted, "error_type": "some_error"}),
        KlingNew | KlingLegacy => json!({"code": code, "message": quoted, "request_id": "r"}),
    }
    .to_string()
}

#[tokio::test]
async fn each_status_has_its_class() {
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        for status in 200..=599 {
            let line = format!("{status} Whatever");
            let told = match (dialect, status) {
                // 204, 205 and 304 have no body.
                (_, 200..=299 | 304) => "unknown",
                (InFal, 402) => "refused ProviderFunds",
                (InFal, 401 | 403) => "refused ProviderAuth",
                (InFal, 429) => "throttled None",
                (_, 408 | 409 | 425 | 429) => "unknown",
                (_, 400..=499) => "refused ProviderRefused",
                _ => "unknown",
            };
            let own = complete(&line, "", &own_words(dialect, 4242));
            rows.push(Row::new(format!("{status} in its own words"), dialect, own, told));
            let bare = match (dialect, status) {
                (InFal, 402) => "refused ProviderFunds",
                (InFal, 401 | 403) => "refused ProviderAuth",
                _ => "unknown",
            };
            rows.push(Row::new(format!("{status} and nothing"), dialect, complete(&line, "", ""), bare));
            rows.push(Row::new(format!("{status} page"), dialect, complete(&line, "", PAGE), "unknown"));
            if status >= 300 && status != 304 {
                // It names a job, and says that there is none.
                let row = complete(&line, "", &dialect.taken());
                let class = match (dialect, status) {
                    (InFal, 401 | 403) => "refused ProviderAuth",
                    (InFal, 402) => "refused ProviderFunds",
                    _ => "unknown",
                };
                rows.push(Row::new(format!("{status} with a job"), dialect, row, class));
            }
        }
    }
    hold(rows, 4_000, &unhurried(), None).await;
}

#[tokio::test]
async fn each_code_of_klings_has_its_class_whatever_the_status() {
    let mut rows = Vec::new();
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.is_kling()) {
        for (codes, class) in [
            (vec![1000, 1001, 1002, 1003, 1004, 1103, 1304], "refused ProviderAuth"),
            (vec![1100, 1101, 1102], "refused ProviderFunds"),
            (vec![1200, 1201, 1202, 1203], "refused ProviderRefused"),
            (vec![1300, 1301], "refused Moderated"),
            (vec![1302, 1303], "throttled None"),
            (vec![0, 5000, 5001, 5002], "unknown"),
        ] {
            for code in codes {
                for status in ["200 OK", "400 Bad Request", "404 Not Found", "429 Too Many Requests"] {
                    let row = complete(status, "", &own_words(dialect, code));
                    rows.push(Row::new(format!("{code} with {status}"), dialect, row, class));
                }
                for status in ["500 Oops", "503 Busy", "504 Late"] {
                    let row = complete(status, "", &own_words(dialect, code));
                    rows.push(Row::new(format!("{code} with {status}"), dialect, row, "unknown"));
                }
            }
        }
        let duplicate = r#"{"code":1201,"message":"external_task_id vg-1-1 already exists"}"#;
        rows.push(Row::new("duplicate", dialect, complete("400 Bad Request", "", duplicate), "unknown"));
    }
    hold(rows, 300, &unhurried(), None).await;
}

#[tokio::test]
async fn whoever_is_one_too_many_is_told_when_to_come_back() {
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        for (header, after) in [("7", "Some(7)"), ("0", "Some(0)"), ("soon", "None"), ("999999", "Some(3600)")] {
            let row = complete("429 Too Many", &format!("retry-after: {header}\r\n"), &own_words(dialect, 1302));
            rows.push(Row::new(format!("later: {header}"), dialect, row, format!("throttled {after}")));
        }
    }
    hold(rows, 12, &unhurried(), None).await;
}

#[tokio::test]
async fn only_an_id_that_can_be_used_makes_a_create_accepted() {
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        let long = "i".repeat(129);
        for hostile in ["", "../x", "a/b", "a?b", "a#b", "a b", "a,b", ".", "..", "\r\nx: y", "é", "%2e%2e", &long] {
            let row = complete("200 OK", "", &dialect.naming(&json!(hostile)));
            rows.push(Row::new(format!("id {hostile:?}"), dialect, row, "unknown"));
        }
        for odd in [json!(null), json!({}), json!([ID]), json!(-0.5e300)] {
            let row = complete("200 OK", "", &dialect.naming(&odd));
            rows.push(Row::new(format!("id {odd}"), dialect, row, "unknown"));
        }
        let row = complete("200 OK", "", &dialect.naming(&json!(900_000_000_000_000_001_u64)));
        rows.push(Row::new("an id that is a number", dialect, row, "accepted 900000000000000001"));
        for body in [
            "{}",
            "[]",
            "null",
            "7",
            "\"x\"",
            "{\"code\":0}",
            "{\"code\":0,\"data\":null}",
            "{\"data\":{\"id\":\"9\"}}",
        ] {
            rows.push(Row::new(format!("without an id: {body}"), dialect, complete("200 OK", "", body), "unknown"));
        }
        for bytes in [&b"\xff\xfe\x00"[..], b"\x00\x00", "\u{feff}{}".as_bytes()] {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
            let play = Play::says([head.as_bytes(), bytes].concat(), Then::Close);
            rows.push(Row::new(format!("not even text: {bytes:?}"), dialect, play, "unknown"));
        }
        for status in ["200 OK", "201 Created", "202 Accepted"] {
            let row = complete(status, "", &dialect.taken());
            rows.push(Row::new(status, dialect, row, format!("accepted {ID}")));
        }
    }
    hold(rows, 80, &unhurried(), None).await;
}

#[tokio::test]
async fn an_answer_is_read_in_every_form_that_http_allows_and_in_no_other() {
    let mut rows = Vec::new();
    for dialect in Dialect::ALL {
        let body = dialect.taken();
        let accepted = format!("accepted {ID}");
        let raw = |text: String| Play::says(text, Then::Close);
        let head = "HTTP/1.1 200 OK\r\n";
        let length = body.len();
        let whole = format!("{head}content-length: {length}\r\n\r\n{body}");
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
        // The most that is read of an answer.
        const CAP: usize = 64 * 1024;
        let padded = |size: usize| format!("{body}{}", " ".repeat(size - length));
        for (name, text, class) in [
            ("plain", whole.clone(), accepted.as_str()),
            ("100 first", format!("{interim}{whole}"), &accepted),
            ("100 twice", format!("{interim}{interim}{whole}"), &accepted),
            ("hints first", format!("{hints}{whole}"), &accepted),
            ("100 and the end", interim.to_owned(), "unknown"),
            ("101", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_owned(), "unknown"),
            ("http 1.0", format!("HTTP/1.0 200 OK\r\n\r\n{body}"), &accepted),
            ("http 2", format!("HTTP/2 200\r\n\r\n{body}"), "unknown"),
            ("not http", "SSH-2.0-OpenSSH_9\r\n".to_owned(), "unknown"),
            ("no status", "HTTP/1.1\r\n\r\n".to_owned(), "unknown"),
            ("length too long", format!("{head}content-length: {}\r\n\r\n{body}", length + 1), "unknown"),
            ("length too short", format!("{head}content-length: {}\r\n\r\n{body}", length - 1), "unknown"),
            ("length no number", format!("{head}content-length: x\r\n\r\n{body}"), "unknown"),
            ("two lengths", format!("{head}content-length: {length}\r\ncontent-length: 7\r\n\r\n{body}"), "unknown"),
            ("bad chunk", format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"), "unknown"),
            (
                "chunk too long",
                format!("{head}transfer-encoding: chunked\r\n\r\nfff\r\n{body}\r\n0\r\n\r\n"),
                "unknown",
            ),
            (
                "gzip in name only",
                format!("{head}content-encoding: gzip\r\ncontent-length: {length}\r\n\r\n{body}"),
                &accepted,
            ),
            ("header without end", format!("{head}x: {}", "y".repeat(500_000)), "unknown"),
            ("200 headers", format!("{head}{}\r\n{body}", "x: y\r\n".repeat(200)), "unknown"),
            ("at the cap", format!("{head}content-length: {CAP}\r\n\r\n{}", padded(CAP)), &accepted),
            ("over the cap", format!("{head}content-length: {}\r\n\r\n{}", CAP + 1, padded(CAP + 1)), "unknown"),
            ("over the cap in no length", format!("{head}\r\n{}", padded(CAP + 1)), "unknown"),
            ("a redirect", "HTTP/1.1 307 There\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n".to_owned(), "unknown"),
        ] {
            rows.push(Row::new(name, dialect, raw(text), class));
        }
        let packed = [format!("{head}content-encoding: gzip\r\ncontent-length: 20\r\n\r\n").as_bytes(), GZIP].concat();
        rows.push(Row::new("gzip", dialect, Play::says(packed, Then::Close), "unknown"));
    }
    hold(rows, 70, &unhurried(), None).await;
}

/// Nothing at all, packed.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
