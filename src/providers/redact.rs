//! What providers and connections say, made fit for logs and answers: one line,
//! capped, without keys, signed links or anything that looks like them.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::contract::Order;

/// The longest message, in bytes.
pub const MESSAGE_CAP: usize = 512;

const HIDDEN: &str = "***";

/// From this length on, an unbroken run of letters and digits is taken for a key or
/// an encoded picture. A UUID has 36.
const OPAQUE_RUN: usize = 41;

/// Words after which a key is named.
const NAMES: [&str; 13] = [
    "authorization",
    "key",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "secret_key",
    "token",
    "access_token",
    "signature",
    "secret",
    "password",
    "credential",
];

/// Redacts, with one account's secrets by value.
#[derive(Default)]
pub struct Redactor {
    secrets: Vec<SecretString>,
}

impl Redactor {
    /// A redactor that knows these secrets. Those of less than four bytes are left
    /// out: they would hide half of every text and protect nothing.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self { secrets: secrets.into_iter().filter(|secret| secret.expose_secret().len() >= 4).collect() }
    }

    /// The same redactor with an order's words hidden too, plainly and as JSON writes
    /// them, and the secret part of its callback's address: refusals like to quote
    /// what they were sent.
    pub fn for_order(&self, order: &Order<'_>) -> Self {
        let words = [&order.spec.prompt, &order.spec.negative_prompt].into_iter();
        let forms = words.flat_map(|words| {
            let quoted = serde_json::Value::from(words.as_str()).to_string();
            [quoted.trim_matches('"').into(), words.as_str().into()]
        });
        let capability = order.callback.and_then(|url| url.path_segments()?.next_back().map(SecretString::from));
        Self::new(self.secrets.iter().cloned().chain(forms).chain(capability))
    }

    /// The text on one line of at most [`MESSAGE_CAP`] bytes.
    pub fn redact(&self, text: &str) -> String {
        self.capped(text, MESSAGE_CAP)
    }

    /// The text on one line of at most `cap` bytes.
    pub fn capped(&self, text: &str, cap: usize) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.expose_secret(), HIDDEN);
        }
        // Far more than is shown; the rest of a long body is not worth the work.
        text.truncate(text.floor_char_boundary(16 * MESSAGE_CAP));
        cut(&hide_words(&words(&text)), cap)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

/// [`Redactor::redact`] without any secret known by value.
pub fn redact(text: &str) -> String {
    Redactor::default().redact(text)
}

/// The text without its links: where a body is shown that nobody understood, their
/// paths may be as secret as their queries.
pub fn without_links(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | ',' | '}' | ']' | '\\');
    let mut shown = String::new();
    let mut rest = text;
    while let Some(sign) = rest.find("://") {
        let scheme = rest[..sign].trim_end_matches(|c: char| c.is_ascii_alphanumeric()).len();
        let end = rest[sign..].find(ends).map_or(rest.len(), |end| sign + end);
        shown.push_str(&rest[..scheme]);
        shown.push_str(HIDDEN);
        rest = &rest[end..];
    }
    shown + rest
}

/// The text with nothing but single spaces between its words.
pub(super) fn one_line(text: &str) -> String {
    words(text).join(" ")
}

fn words(text: &str) -> Vec<&str> {
    text.split(breaks).filter(|word| !word.is_empty()).collect()
}

/// Where words end: at white space, at control characters, and at those invisible
/// ones that turn a line's direction or break it.
fn breaks(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn hide_words(words: &[&str]) -> String {
    let mut line = String::new();
    let mut scheme_before = None;
    for word in words {
        let scheme = scheme_before.take();
        if !line.is_empty() {
            line.push(' ');
        }
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
        match scheme {
            Some(Scheme::Certain) if is_scheme(&bare) => line.push_str(word),
            Some(Scheme::Certain) => line.push_str(HIDDEN),
            Some(Scheme::Likely) if looks_like_key(word) => line.push_str(HIDDEN),
            Some(Scheme::Likely) | None => line.push_str(&hide_in_word(word)),
        }
        scheme_before = Scheme::after(&bare, word);
    }
    line
}

/// What the word after this one is.
#[derive(Clone, Copy)]
enum Scheme {
    /// A key.
    Certain,
    /// A key if it looks like one: "key" is an ordinary word too.
    Likely,
}

impl Scheme {
    fn after(bare: &str, word: &str) -> Option<Self> {
        let last = bare.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        if last == "bearer" || last == "basic" || bare.ends_with("authorization") {
            return Some(Self::Certain);
        }
        let assigns = word.ends_with([':', '=']) || word.ends_with("\":");
        (NAMES.contains(&last) || assigns && NAMES.iter().any(|name| last.ends_with(name))).then_some(Self::Likely)
    }
}

fn is_scheme(bare: &str) -> bool {
    matches!(bare, "bearer" | "key" | "basic")
}

fn looks_like_key(word: &str) -> bool {
    let inner = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    inner.len() >= 8 && (inner.len() >= 20 || inner.bytes().any(|byte| byte.is_ascii_digit()))
}

/// Hides the queries of links, values after the names of keys, and long runs.
fn hide_in_word(word: &str) -> String {
    let word = hide_queries(word);
    let word = hide_assigned(&word);
    hide_runs(&word)
}

fn hide_queries(word: &str) -> String {
    let ends = |c: char| matches!(c, '"' | '\'' | '<' | '>' | ')' | ',' | '}' | ']');
    let mut shown = String::new();
    let mut rest = word;
    while let Some(start) = rest.find("://") {
        let (before, link) = rest.split_at(start);
        let (link, after) = link.split_at(link.find(ends).unwrap_or(link.len()));
        shown.push_str(before);
        shown.push_str(&hide_in_link(link));
        rest = after;
    }
    shown + rest
}

/// Hides what stands before the host and after the path of a link, given from `://`.
fn hide_in_link(link: &str) -> String {
    let inner = &link["://".len()..];
    let host_end = inner.find(['/', '?', '#']).unwrap_or(inner.len());
    let (host, tail) = inner.split_at(host_end);
    let host = host.rsplit_once('@').map_or_else(|| host.to_owned(), |(_, host)| format!("{HIDDEN}@{host}"));
    let tail = tail.find(['?', '#']).map_or_else(|| tail.to_owned(), |query| format!("{}?{HIDDEN}", &tail[..query]));
    format!("://{host}{tail}")
}

/// `token=value`, `"token":"value"` and the like within one word.
fn hide_assigned(word: &str) -> String {
    let mut shown = String::new();
    let mut rest = word;
    while let Some(sign) = rest.find(['=', ':']) {
        let (name, tail) = rest.split_at(sign);
        let named = name.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
        let last = named.rsplit([',', '{', '&', '?', '"', '\'', ';']).next().unwrap_or_default();
        let quotes = tail[1..].len() - tail[1..].trim_start_matches(['"', '\'', '\\']).len();
        let (lead, value) = tail.split_at(1 + quotes);
        let end = value.find([',', '&', '"', '\'', '}', ';', '\\']).unwrap_or(value.len());
        shown.push_str(name);
        shown.push_str(lead);
        if NAMES.iter().any(|name| last.ends_with(name)) && end > 0 {
            shown.push_str(HIDDEN);
            rest = &value[end..];
        } else {
            rest = value;
        }
    }
    shown + rest
}

fn hide_runs(word: &str) -> String {
    let in_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-' | '=');
    let mut shown = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let run = rest.find(|c| !in_run(c)).unwrap_or(rest.len());
        shown.push_str(if run >= OPAQUE_RUN { HIDDEN } else { &rest[..run] });
        rest = &rest[run..];
        let other = rest.find(in_run).unwrap_or(rest.len());
        shown.push_str(&rest[..other]);
        rest = &rest[other..];
    }
    shown
}

fn cut(text: &str, cap: usize) -> String {
    if text.len() <= cap {
        return text.to_owned();
    }
    const MORE: &str = "...";
    let end = text.floor_char_boundary(cap.saturating_sub(MORE.len()));
    format!("{}{MORE}", &text[..end])
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::catalog::Catalog;
    use crate::task::id::Marker;
    use crate::task::spec::Spec;

    #[test]
    fn links_are_left_out_whole() {
        for (text, shown) in [
            (r#"{"u":"https://h/a/b?c","v":1}"#, r#"{"u":"***","v":1}"#),
            ("see http://h/x and ftp://y", "see *** and ***"),
            ("://", "***"),
            ("no link: a/b", "no link: a/b"),
        ] {
            assert_eq!(without_links(text), shown);
        }
    }

    #[test]
    fn keys_are_hidden_wherever_they_stand() {
        for (text, shown) in [
            ("Authorization: Bearer abc", "Authorization: Bearer ***"),
            ("authorization: Key id:s3cret-value", "authorization: Key ***"),
            ("sent Bearer eyJhbGci.abc.def twice", "sent Bearer *** twice"),
            ("bad Key 0a1b2c3d:4e5f", "bad Key ***"),
            ("token=abc123&x=1", "token=***&x=1"),
            (r#"{"api_key":"abc","model":"m"}"#, r#"{"api_key":"***","model":"m"}"#),
            (r#"{"secret": "abcdefgh1"}"#, r#"{"secret": ***"#),
            ("see https://cdn.example/v.mp4?sig=abc&e=1 now", "see https://cdn.example/v.mp4?*** now"),
            ("at https://user:pass@host/x", "at https://***@host/x"),
            ("X-Signature: abcdef0123456789", "X-Signature: ***"),
        ] {
            assert_eq!(redact(text), shown, "{text}");
        }
        let blob = "A".repeat(4000);
        assert_eq!(redact(&format!("image {blob}.")), "image ***.");
    }

    #[test]
    fn ordinary_words_stay() {
        for text in [
            "the key is not valid",
            "duration: unexpected value; permitted: 5, 10",
            "task 11111111-2222-4333-8444-555555555555 at 12:30",
            "external_task_id already exists",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn an_accounts_own_secrets_are_hidden_by_value() {
        let redactor = Redactor::new([SecretString::from("pa ss!"), SecretString::from("x")]);
        assert_eq!(redactor.redact("got pa ss! and x"), "got *** and x");
    }

    #[test]
    fn an_orders_words_are_hidden_in_either_spelling() {
        let model = Catalog::built_in().resolve("fal/fal-ai/veo3.1").unwrap();
        let spec = Spec { prompt: "a \"red\" kite\nat dawn".to_owned(), ..Spec::new(model.name.clone()) };
        let callback = Url::parse("https://gw.example/callbacks/vg-1/c0ffee").unwrap();
        let marker = Marker::new("vg-1");
        let sent = std::time::UNIX_EPOCH;
        let callback = Some(&callback);
        let order = Order { spec: &spec, model: &model, marker: &marker, callback, resent: false, sent };
        let redactor = Redactor::default().for_order(&order);
        assert_eq!(redactor.redact("bad url /callbacks/vg-1/c0ffee"), "bad url /callbacks/vg-1/***");
        assert_eq!(redactor.redact("no: a \"red\" kite\nat dawn!"), "no: ***!");
        assert_eq!(redactor.redact(r#"{"input":"a \"red\" kite\nat dawn"}"#), r#"{"input":"***"}"#);
    }

    #[test]
    fn a_message_is_one_short_line() {
        assert_eq!(redact("a\r\nb\u{0}c\u{1b}[31m\u{2028}d\u{202e}e"), "a b c [31m d e");
        let long = redact(&"é ".repeat(2000));
        assert!(long.len() <= MESSAGE_CAP && long.ends_with("..."));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_in_one_short_line_comes_out(text in ".{0,400}", odd in "[ a-z0-9=:&\"'{}/?#@,\\\\]{0,400}") {
            for text in [text, odd] {
                let line = redact(&text);
                proptest::prop_assert!(line.len() <= MESSAGE_CAP && !line.contains(char::is_control));
            }
        }

        #[test]
        fn a_secret_never_comes_out(before in ".{0,40}", secret in "[a-zA-Z0-9_:-]{8,60}", after in ".{0,40}") {
            let redactor = Redactor::new([SecretString::from(secret.clone())]);
            let line = redactor.redact(&format!("{before}{secret}{after}{secret}"));
            proptest::prop_assert!(!line.contains(&secret));
        }
    }

    #[test]
    fn a_body_made_to_hurt_is_cut_short() {
        for piece in ["://,", "token=", "Bearer ", "{\"", "a"] {
            assert!(redact(&piece.repeat(300_000)).len() <= MESSAGE_CAP, "{piece}");
        }
    }
}
