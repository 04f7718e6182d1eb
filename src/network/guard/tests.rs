//! The table of URLs that a hostile provider or client may try, and of those that
//! have to get through.

use super::*;

fn strict() -> Guard {
    Guard::default()
}

fn development() -> Guard {
    Guard::new(&["127.0.0.0/8", "::1", "10.1.2.3"]).unwrap()
}

#[test]
fn every_known_way_inside_is_refused() {
    use Forbidden::*;
    let table = [
        ("http://127.0.0.1", Address),
        ("https://127.0.0.1", Address),
        ("https://localhost", LocalName),
        ("https://LOCALHOST./x", LocalName),
        ("https://a.localhost", LocalName),
        ("https://printer.local", LocalName),
        ("https://intranet", LocalName),
        ("https://[::1]", Address),
        ("https://[::]", Address),
        ("https://[::ffff:127.0.0.1]", Address),
        ("https://[::ffff:a9fe:a9fe]", Address),
        ("https://169.254.169.254/latest/meta-data", Address),
        ("https://metadata.google.internal", LocalName),
        ("https://metadata.google.internal./", LocalName),
        ("https://METADATA.google.INTERNAL", LocalName),
        ("https://2130706433", Address),
        ("https://0x7f.1", Address),
        ("https://0x7f000001", Address),
        ("https://017700000001", Address),
        ("https://127.1", Address),
        ("https://0", Address),
        ("https://127.0.0.1.", Address),
        ("https://[fd00::1]", Address),
        ("https://[fe80::1]", Address),
        ("https://[fe80::1%25eth0]", Malformed),
        ("https://100.64.0.1", Address),
        ("https://198.18.0.1", Address),
        ("https://[64:ff9b::7f00:1]", Address),
        ("https://[2002:7f00:1::]", Address),
        ("https://user@evil", UserInfo),
        ("https://user:secret@evil.example", UserInfo),
        ("https://@evil.example", UserInfo),
        ("https://ok.example@127.0.0.1", UserInfo),
        ("https://127.0.0.1#@ok.example", Address),
        ("https://127.0.0.1?@ok.example", Address),
        ("https://ok.exa\tmple", Character),
        ("https://ok.example/\n", Character),
        ("https://ok.example\r\nHost: x", Character),
        ("https://ok.example\\@127.0.0.1", Character),
        ("\u{0}https://ok.example", Character),
        (" https://ok.example", Character),
        ("https://ok.example/\u{85}", Character),
        ("https://\u{ff11}\u{ff12}\u{ff17}.0.0.1", Address),
        ("https://127\u{3002}0\u{3002}0\u{3002}1", Address),
        ("https://\u{24db}ocalhost", LocalName),
        ("https://ok..example", Malformed),
        ("https://ok.example..", Malformed),
        ("http://ok.example", Scheme),
        ("http://8.8.8.8", Scheme),
        ("https://ok.example:8443", Port),
        ("https://8.8.8.8:22", Port),
        ("https://ok.example:80", Port),
        ("file:///etc/passwd", Scheme),
        ("gopher://ok.example", Scheme),
        ("ftp://ok.example", Scheme),
        ("javascript:alert(1)", Scheme),
        ("https:ok.example", Malformed),
        ("https:/ok.example", Malformed),
        ("https:///ok.example", Malformed),
        ("https://", Malformed),
        ("//ok.example", Malformed),
        ("ok.example", Malformed),
        ("", Malformed),
    ];
    for (input, rule) in table {
        assert_eq!(strict().check_url(input).err(), Some(rule), "{input:?}");
    }
}

#[test]
fn a_url_is_limited_in_length() {
    let longest = format!("https://ok.example/{}", "a".repeat(MAX_URL_BYTES - 19));
    assert!(strict().check_url(&longest).is_ok());
    assert_eq!(strict().check_url(&format!("{longest}a")).err(), Some(Forbidden::TooLong));
    // What counts is the form that is called, where each of these takes six bytes.
    let escaped = format!("https://ok.example/{}", "ü".repeat(1000));
    assert_eq!(strict().check_url(&escaped).err(), Some(Forbidden::TooLong));
    let data = format!("data:video/mp4;base64,{}", "A".repeat(MAX_URL_BYTES));
    assert_eq!(strict().check_url(&data).err(), Some(Forbidden::TooLong));
    assert_eq!(strict().check_url("data:text/plain,x").err(), Some(Forbidden::Scheme));
    let host = format!("https://{}.example", "a.".repeat(130).trim_end_matches('.'));
    assert_eq!(strict().check_url(&host).err(), Some(Forbidden::Malformed));
}

#[test]
fn public_https_is_called_in_its_normal_form() {
    let table = [
        ("https://v.example/a.mp4?sig=1", "https://v.example/a.mp4?sig=1"),
        ("HTTPS://V.Example:443/", "https://v.example/"),
        ("https://v.example./", "https://v.example./"),
        ("https://8.8.8.8/x", "https://8.8.8.8/x"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/"),
        ("https://v.example/a@b", "https://v.example/a@b"),
    ];
    for (input, called) in table {
        assert_eq!(strict().check_url(input).map(String::from).as_deref(), Ok(called), "{input:?}");
    }
}

#[test]
fn what_is_allowed_explicitly_may_use_http_and_any_port() {
    let allowed = [
        "http://127.0.0.1:9090/x",
        "https://127.0.0.1:9443",
        "http://2130706433:80",
        "http://[::1]:9090",
        "http://[::ffff:127.0.0.1]:1",
        "http://10.1.2.3",
        "http://localhost:9090",
        "http://simulator:9090",
        "https://files.corp.internal:8443",
    ];
    for input in allowed {
        assert!(development().check_url(input).is_ok(), "{input:?}");
    }
    let refused =
        ["http://10.1.2.4", "http://[::2]", "http://169.254.169.254", "http://v.example", "https://v.example:1"];
    for input in refused {
        assert!(development().check_url(input).is_err(), "{input:?}");
    }
}

#[test]
fn a_local_name_may_not_lead_to_the_internet() {
    let public = "8.8.8.8".parse().unwrap();
    assert!(!development().permits_as("localhost.", public));
    assert!(!development().permits_as("metadata.google.internal", "169.254.169.254".parse().unwrap()));
    assert!(development().permits_as("localhost", "127.0.0.1".parse().unwrap()));
    assert!(development().permits_as("v.example", public));
    assert!(!development().permits_as("v.example", "192.168.0.1".parse().unwrap()));
}

#[test]
fn a_refusal_gives_nothing_away() {
    let error = strict().check_url("https://user:hunter2@v.example/?sig=canary").unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hunter2") && !text.contains("canary"), "{text}");
}

#[test]
fn a_bad_entry_is_an_error_that_names_it() {
    let error = Guard::new(&["127.0.0.0/8", "10.0.0.0/99"]).unwrap_err();
    assert!(error.to_string().contains("10.0.0.0/99"));
}
