//! Links in a request: nothing but the public web, however the address is spelled.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use tonic::Code;
use videogen::api::pb;

use crate::house::{House, link, options, quick, request, text, told};

#[tokio::test(flavor = "multi_thread")]
async fn links_to_anywhere_but_the_public_web_are_refused() {
    let provider = quick(Duration::from_millis(300));
    let settings = [
        ("NETWORK__ALLOW", ""),
        ("SUBMIT__IMAGE_CHECK", "fetch"),
        ("WEBHOOKS__SECRET", crate::common::receiver::SECRET),
    ];
    let mut house = House::with(provider, &settings).await;
    // Whoever is called leaves a connection here.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let inside = listener.local_addr().unwrap();
    let port = inside.port();
    // The same place in every spelling: one that is not judged leaves a connection.
    let near = [
        format!("http://{inside}/"),
        format!("https://{inside}/"),
        format!("https://localhost:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://2130706433:{port}/"),
        format!("https://0x7f.1:{port}/"),
        format!("https://017700000001:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://0:{port}/"),
        format!("https://127.0.0.1.:{port}/"),
        format!("https://127.0.0.1:{port}#@example.com/"),
        format!("https://example.com@127.0.0.1:{port}/"),
        format!("https://\u{ff11}\u{ff12}\u{ff17}.0.0.1:{port}/"),
    ];
    let known: &[&str] = &include!("../common/forbidden_links.in");
    let long = format!("https://example.com/{}", "a".repeat(2048));
    for uri in known.iter().copied().chain(near.iter().map(String::as_str)).chain([long.as_str()]) {
        for (field, place) in [("spec.start_image", 0), ("spec.end_image", 1), ("spec.reference_images[0]", 2)] {
            let (mut spec, bad) = (text("kling/kling-v2-6"), link(uri));
            match place {
                0 => spec.start_image = bad,
                1 => spec.end_image = bad,
                _ => spec.reference_images = bad.into_iter().collect(),
            }
            let refused = house.try_submit(request(spec)).await.expect_err(uri);
            let (code, reason, fields) = told(&refused);
            assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "FIELD_INVALID"), "{uri}");
            assert!(fields.iter().any(|named| named == field), "{uri}: {fields:?}");
        }
        if uri.contains("://") {
            let (spec, field) = (with_option(uri), "spec.provider_options.extra.masks[0]");
            let (code, _, fields) = told(&house.try_submit(request(spec)).await.expect_err(uri));
            assert_eq!((code, fields), (Code::InvalidArgument, vec![field.to_owned()]), "{uri}");
        }
        let webhook = Some(pb::Webhook { url: uri.to_owned(), updates: false });
        let request = pb::SubmitRequest { webhook, ..request(text("kling/kling-v2-6")) };
        let refused = told(&house.try_submit(request).await.expect_err(uri));
        assert_eq!(
            refused,
            (Code::InvalidArgument, "FIELD_INVALID".to_owned(), vec!["webhook.url".to_owned()]),
            "{uri}"
        );
    }
    assert!(house.is_untouched().await);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody was called");
}

/// A model that nobody has described, whose options go to the provider as they are.
fn with_option(link: &str) -> pb::Spec {
    let masks = serde_json::json!({ "extra": { "masks": [link] } });
    pb::Spec { provider_options: options(&masks), ..text("fal/owner/some-app/v2") }
}
