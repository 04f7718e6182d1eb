//! What each answer to a paid create, and each absence of one, is taken for.

use super::*;

#[tokio::test]
async fn a_create_is_sent_as_documented() {
    let socket = Scripted::play(vec![json("200 OK", TAKEN)]).await;
    let callback = Url::parse("https://gw.example/hooks/kling?t=1").unwrap();
    let (spec, model) = (spec(), new("kling-3.0"));
    let base = socket.url.join("/prefix/").unwrap();
    let created = kling_at(&base).submit(Order { callback: Some(&callback), ..order(&spec, &model) }).await;
    let job = Job { id: JobId::new("900000000000000001"), handle: "new".to_owned() };
    assert_eq!(created, Created::Accepted(job));
    let request = socket.seen().remove(0).to_lowercase();
    assert!(request.starts_with("post /prefix/text-to-video/kling-3.0 http/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: bearer key-s3cret-0123\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert_eq!(socket.body()["options"]["callback_url"], "https://gw.example/hooks/kling?t=1");
}

#[tokio::test]
async fn a_legacy_create_is_signed_and_remembers_its_path() {
    let taken = r#"{"code":0,"data":{"task_id":9,"task_status":"submitted"}}"#;
    let socket = Scripted::play(vec![json("200 OK", taken)]).await;
    let (spec, model) = (Spec { start_image: link("a"), ..spec() }, legacy("kling-v2-6"));
    let created = kling_with(&socket.url, pair(), still()).submit(order(&spec, &model)).await;
    let job = Job { id: JobId::new("9"), handle: "legacy:/v1/videos/image2video".to_owned() };
    assert_eq!(created, Created::Accepted(job));
    assert!(socket.seen()[0].contains("Lo4InKBjByDWPQOmiThyjVgipV7I6oLyO8imMxAL2Tc"));
}

/// One word for what a create came to.
fn word(created: &Created) -> String {
    match created {
        Created::Accepted(_) => "accepted".to_owned(),
        Created::Refused(failure) => format!("{:?} {}", failure.kind, failure.provider_code),
        Created::Throttled { after, .. } => format!("throttled {:?}", after.map(|after| after.as_secs())),
        Created::NotSent { .. } => "not sent".to_owned(),
        Created::Unknown { .. } => "unknown".to_owned(),
    }
}

async fn outcome(act: Act, resent: bool) -> String {
    let socket = Scripted::play(vec![act.clone()]).await;
    let (spec, model) = (spec(), new("kling-3.0"));
    let created = kling_for(&act, &socket.url).submit(Order { resent, ..order(&spec, &model) }).await;
    assert_eq!(socket.seen().len(), 1, "a create is sent once");
    assert!(!format!("{created:?}").contains("s3cret"), "{created:?}");
    word(&created)
}

#[tokio::test]
async fn each_row_of_the_error_table_has_its_meaning() {
    for (status, number, first, again) in [
        ("401 Unauthorized", 1000, "ProviderAuth 1000", "unknown"),
        ("401 Unauthorized", 1001, "ProviderAuth 1001", "unknown"),
        ("401 Unauthorized", 1002, "ProviderAuth 1002", "unknown"),
        ("401 Unauthorized", 1003, "ProviderAuth 1003", "unknown"),
        ("401 Unauthorized", 1004, "ProviderAuth 1004", "unknown"),
        ("429 Too Many Requests", 1100, "ProviderFunds 1100", "unknown"),
        ("429 Too Many Requests", 1101, "ProviderFunds 1101", "unknown"),
        ("429 Too Many Requests", 1102, "ProviderFunds 1102", "unknown"),
        ("403 Forbidden", 1103, "ProviderAuth 1103", "unknown"),
        ("400 Bad Request", 1200, "ProviderRefused 1200", "ProviderRefused 1200"),
        ("400 Bad Request", 1201, "ProviderRefused 1201", "unknown"),
        ("404 Not Found", 1202, "ProviderRefused 1202", "ProviderRefused 1202"),
        ("404 Not Found", 1203, "ProviderRefused 1203", "ProviderRefused 1203"),
        ("400 Bad Request", 1300, "Moderated 1300", "Moderated 1300"),
        ("400 Bad Request", 1301, "Moderated 1301", "Moderated 1301"),
        ("429 Too Many Requests", 1302, "throttled None", "throttled None"),
        ("429 Too Many Requests", 1303, "throttled None", "throttled None"),
        ("200 OK", 1303, "throttled None", "throttled None"),
        ("200 OK", 1102, "ProviderFunds 1102", "unknown"),
        ("429 Too Many Requests", 1304, "ProviderAuth 1304", "unknown"),
        ("500 Internal Server Error", 5000, "unknown", "unknown"),
        ("503 Service Unavailable", 5001, "unknown", "unknown"),
        ("504 Gateway Timeout", 5002, "unknown", "unknown"),
        ("200 OK", 5002, "unknown", "unknown"),
        ("400 Bad Request", 5000, "unknown", "unknown"),
        ("418 Teapot", 4242, "ProviderRefused 4242", "unknown"),
        ("200 OK", 4242, "unknown", "unknown"),
        ("408 Request Timeout", 4242, "unknown", "unknown"),
        ("409 Conflict", 4242, "unknown", "unknown"),
        ("425 Too Early", 4242, "unknown", "unknown"),
        ("429 Too Many Requests", 4242, "unknown", "unknown"),
        ("500 Internal Server Error", 1201, "unknown", "unknown"),
    ] {
        let message = "no Bearer key-s3cret-0123";
        assert_eq!(outcome(json(status, code(number, message)), false).await, first, "{status} {number}");
        assert_eq!(outcome(json(status, code(number, message)), true).await, again, "{status} {number} again");
    }
    let taken = json("400 Bad Request", code(1201, "external_task_id already exists"));
    assert_eq!(outcome(taken, false).await, "unknown");
    let later = Act::Answer("429 Too Many", "retry-after: 7\r\n".to_owned(), code(1303, "busy"));
    assert_eq!(outcome(later, false).await, "throttled Some(7)");
}

#[tokio::test]
async fn what_is_not_a_clear_word_of_klings_own_stays_unknown() {
    let page = "<html>bad gateway</html>";
    let long = format!(r#"{{"code":0,"data":{{"id":"1","pad":"{}"}}}}"#, "x".repeat(70_000));
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 200\r\n";
    for (name, act) in [
        ("reset", Act::Reset),
        ("end before the answer", Act::Bytes(String::new())),
        ("end in the headers", Act::Bytes("HTTP/1.1 200 OK\r\ncontent-le".to_owned())),
        ("reset in the headers", Act::BytesThenReset("HTTP/1.1 400 Bad\r\ncontent-le".to_owned())),
        ("end in the body", Act::Bytes(format!("{head}\r\n{TAKEN}"))),
        ("reset in the body", Act::BytesThenReset(format!("{head}\r\n{TAKEN}"))),
        (
            "end in a refusal's body",
            Act::Bytes(format!("HTTP/1.1 400 Bad\r\ncontent-length: 200\r\n\r\n{}", code(1201, ""))),
        ),
        ("drip in the headers", Act::Drip("HTTP/1.1 200 OK\r\nx:".to_owned())),
        ("drip in the body", Act::Drip("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n".to_owned())),
        ("not http", Act::Bytes("SSH-2.0-OpenSSH\r\n".to_owned())),
        ("408", json("408 Request Timeout", "")),
        ("500", json("500 Internal Server Error", "")),
        ("502 page", json("502 Bad Gateway", page)),
        ("200 page", json("200 OK", page)),
        ("401 page", json("401 Unauthorized", page)),
        ("404 page", json("404 Not Found", page)),
        ("429 page", json("429 Too Many Requests", page)),
        ("403 empty", json("403 Forbidden", "")),
        ("200 empty", json("200 OK", "")),
        ("200 cut json", json("200 OK", &TAKEN[..TAKEN.len() - 2])),
        ("200 without id", json("200 OK", r#"{"code":0,"data":{"status":"submitted"}}"#)),
        ("200 without data", json("200 OK", r#"{"code":0,"data":null}"#)),
        ("200 with an id that is a path", json("200 OK", r#"{"code":0,"data":{"id":"../x"}}"#)),
        ("200 of a re-seller", json("200 OK", r#"{"data":{"status":"completed"}}"#)),
        ("accepted and 500", json("500 Internal Server Error", TAKEN)),
        ("over the cap", json("200 OK", long)),
        ("redirect", Act::Answer("307 Temporary", "location: /elsewhere\r\n".to_owned(), String::new())),
    ] {
        assert_eq!(outcome(act, false).await, "unknown", "{name}");
    }
}

#[tokio::test]
async fn only_a_connection_that_never_was_proves_that_nothing_was_sent() {
    let (spec, model) = (spec(), new("kling-3.0"));
    assert_eq!(word(&kling_at(&nobody().await).submit(order(&spec, &model)).await), "not sent");
    // A socket that ends the TLS handshake.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let no_tls = Url::parse(&format!("https://{address}")).unwrap();
    assert_eq!(word(&kling_at(&no_tls).submit(order(&spec, &model)).await), "not sent");
}

#[tokio::test]
async fn a_token_out_of_its_time_is_signed_again_once() {
    let (spec, model) = (spec(), legacy("kling-v3"));
    let ticking = || {
        let now = Arc::new(AtomicU64::new(1_790_000_000));
        let now: Now = Arc::new(move || UNIX_EPOCH + Duration::from_secs(now.fetch_add(1, Ordering::Relaxed)));
        now
    };
    let late = json("401 Unauthorized", code(1004, "expired"));
    let taken = json("200 OK", r#"{"code":0,"data":{"task_id":"9"}}"#);
    let socket = Scripted::play(vec![late.clone(), taken]).await;
    let created = kling_with(&socket.url, pair(), ticking()).submit(order(&spec, &model)).await;
    assert_eq!((word(&created).as_str(), socket.seen().len()), ("accepted", 2));
    let tokens: Vec<String> =
        socket.seen().iter().map(|text| text.lines().find(|l| l.contains("Bearer")).unwrap().to_owned()).collect();
    assert_ne!(tokens[0], tokens[1]);
    let socket = Scripted::play(vec![late]).await;
    let created = kling_with(&socket.url, pair(), ticking()).submit(order(&spec, &model)).await;
    assert_eq!((word(&created).as_str(), socket.seen().len()), ("ProviderAuth 1004", 2));
}

#[tokio::test]
async fn a_pair_of_keys_is_refused_by_us_where_only_a_key_is_taken() {
    let socket = Scripted::play(vec![json("200 OK", TAKEN)]).await;
    let (spec, model) = (spec(), new("kling-3.0"));
    let created = kling_with(&socket.url, pair(), still()).submit(order(&spec, &model)).await;
    let Created::Refused(failure) = created else { panic!("{created:?}") };
    assert_eq!((failure.kind, socket.seen().len()), (FailureKind::ProviderAuth, 0));
    assert!(failure.message.contains("api_key"));
    let odd = model_with_id("../tasks");
    assert_eq!(word(&kling_at(&socket.url).submit(order(&spec, &odd)).await), "ProviderRefused ");
    assert_eq!(socket.seen().len(), 0);
}

fn model_with_id(id: &str) -> Model {
    Model { wire_id: id.to_owned(), ..new("x") }
}

/// What went out for this order, from an adapter made anew as after a restart.
async fn sent(model: &Model, callback: Option<&Url>, resent: bool) -> String {
    let socket = Scripted::play(vec![json("200 OK", TAKEN)]).await;
    let spec = Spec { duration_s: Some(5), ..spec() };
    kling_at(&socket.url).submit(Order { callback, resent, ..order(&spec, model) }).await;
    let request = socket.seen().remove(0);
    request.replace(&socket.url.port().unwrap().to_string(), "PORT")
}

#[tokio::test]
async fn a_create_that_is_sent_again_is_the_same_to_the_last_byte() {
    let callback = Url::parse("https://gw.example/callbacks/vg-job-42-1/c0ffee").unwrap();
    for model in [new("kling-3.0"), legacy("kling-v2-6")] {
        for callback in [None, Some(&callback)] {
            assert_eq!(sent(&model, callback, false).await, sent(&model, callback, true).await);
        }
    }
}

/// The callback's address and the catalog's row may have changed between two
/// sends. That is safe: Kling refuses the second by its marker, whatever else is in
/// it, and a first that never arrived is made by today's settings.
#[tokio::test]
async fn other_settings_change_what_they_set_and_never_the_marker() {
    let moved = Url::parse("https://moved.example/callbacks/vg-job-42-1/c0ffee").unwrap();
    for (model, renamed, marker, callback) in [
        (new("kling-3.0"), new("kling-3.1"), "/options/external_task_id", "/options/callback_url"),
        (legacy("kling-v2-6"), legacy("kling-v2-7"), "/external_task_id", "/callback_url"),
    ] {
        let body =
            |request: String| -> Value { serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap() };
        let first = body(sent(&model, None, false).await);
        let again = body(sent(&renamed, Some(&moved), true).await);
        assert_eq!(first.pointer(marker).unwrap(), "vg-job-42-1");
        assert_eq!(again.pointer(marker), first.pointer(marker));
        assert_eq!(again.pointer(callback).unwrap(), moved.as_str());
        let mut stripped = body(sent(&model, Some(&moved), true).await);
        match stripped.pointer_mut("/options") {
            Some(options) => options.as_object_mut().unwrap().remove("callback_url"),
            None => stripped.as_object_mut().unwrap().remove("callback_url"),
        };
        assert_eq!(stripped, first, "nothing but the callback differs");
    }
}
