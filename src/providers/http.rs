//! How providers are called: one client for paid creates, one for everything else,
//! each answer read whole under a cap, and the proof that a create was never sent.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method};
use url::Url;

use super::contract::Trouble;
use super::redact::{Redactor, without_links};
use crate::failpoint::{failpoint, hastened};

/// How long calls may take and how much they may answer.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// For name, connection and TLS handshake.
    pub connect: Duration,
    /// For a paid create, to the last byte of its answer.
    pub create_total: Duration,
    /// Bytes of the answer to a paid create.
    pub create_body: usize,
    /// For any other call, to the last byte of its answer.
    pub query_total: Duration,
    /// Bytes of the answer to any other call.
    pub query_body: usize,
    /// Bytes of the answer to a call that lists what others have written.
    pub listing_body: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            create_total: hastened(Duration::from_secs(60)),
            create_body: 64 * 1024,
            query_total: Duration::from_secs(20),
            query_body: 1024 * 1024,
            listing_body: 16 * 1024 * 1024,
        }
    }
}

/// A call, ready to be sent.
pub struct Call {
    /// How.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// With which headers.
    pub headers: HeaderMap,
    /// With which JSON.
    pub body: Option<Vec<u8>>,
}

/// A complete answer.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    /// Leaves out what the provider said: it is not redacted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Answer {
    /// Whether the status is 2xx.
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// A header's text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// When the provider wants to be asked again, when it says so in seconds. A
    /// date would need a clock and is not sent by these providers.
    pub fn retry_after(&self) -> Option<Duration> {
        const LONGEST: f64 = 3600.0;
        let seconds: f64 = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST)))
    }

    /// Whether the body is a web page: the word of something before the provider.
    pub fn is_html(&self) -> bool {
        let start = self.body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
        self.body.get(start) == Some(&b'<') || self.header("content-type").starts_with("text/html")
    }

    /// What is known of an answer that cannot be used, for people.
    pub fn described(&self, redactor: &Redactor) -> String {
        const SHOWN: usize = 200;
        let text = redactor.capped(&without_links(&String::from_utf8_lossy(&self.body)), SHOWN);
        if text.is_empty() {
            format!("http {}, empty body", self.status)
        } else {
            format!("http {}: {text}", self.status)
        }
    }

    /// The same as a trouble.
    pub fn trouble(&self, redactor: &Redactor) -> Trouble {
        let denied = matches!(self.status, 401 | 403);
        Trouble { reason: self.described(redactor), retry_after: self.retry_after(), denied }
    }
}

/// A paid create without a complete answer.
#[derive(Debug)]
pub enum Lost {
    /// Proved never to have left.
    NotSent(String),
    /// It may have arrived.
    Unknown {
        /// For people.
        reason: String,
        /// The answer's status and headers, where they came whole and the body did not.
        head: Option<Answer>,
    },
}

/// Both clients of one account.
#[derive(Clone)]
pub struct Http {
    create: Client,
    query: Client,
    limits: HttpLimits,
}

impl Http {
    /// Builds the clients. Wants rustls' crypto provider installed.
    pub fn new(limits: HttpLimits) -> Result<Self, reqwest::Error> {
        // A create gets a connection of its own: then nothing can be lost on one that
        // the other side closed while idle, and "before" and "after" connecting are
        // told apart with certainty.
        let create = common(limits).pool_max_idle_per_host(0).timeout(limits.create_total).build()?;
        let query = common(limits).timeout(limits.query_total).build()?;
        Ok(Self { create, query, limits })
    }

    /// Sends a paid create, once.
    pub async fn create(&self, call: Call) -> Result<Answer, Lost> {
        let answer = exchange(&self.create, call, self.limits.create_body).await;
        failpoint!("create.answered");
        match answer {
            Ok(answer) => Ok(answer),
            // The only accepted proof: the connector itself gave up, so no byte of the
            // request had a connection to leave on.
            Err(Broken::Call(error)) if error.is_connect() => Err(Lost::NotSent(cause(&error))),
            Err(broken) => Err(Lost::Unknown { reason: broken.reason(), head: broken.head() }),
        }
    }

    /// Sends any other call, once.
    pub async fn query(&self, call: Call) -> Result<Answer, Trouble> {
        self.asked(call, self.limits.query_body).await
    }

    /// Sends a call whose answer is a long list, once.
    pub async fn listing(&self, call: Call) -> Result<Answer, Trouble> {
        self.asked(call, self.limits.listing_body).await
    }

    async fn asked(&self, call: Call, cap: usize) -> Result<Answer, Trouble> {
        let answer = exchange(&self.query, call, cap).await;
        answer.map_err(|broken| Trouble { reason: broken.reason(), retry_after: None, denied: false })
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The settings of both clients: nothing may be sent twice or elsewhere behind our
/// back.
fn common(limits: HttpLimits) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("videogen/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(limits.connect)
}

/// A call without a complete answer.
enum Broken {
    /// There is no answer.
    Call(reqwest::Error),
    /// The head is whole, the body is not.
    Body { head: Answer, error: reqwest::Error },
    /// The head is whole, the body is longer than we read.
    TooLong { head: Answer },
}

impl Broken {
    fn reason(&self) -> String {
        match self {
            Self::Call(error) => cause(error),
            Self::Body { head, error } => format!("http {}, {}", head.status, cause(error)),
            Self::TooLong { head } => format!("http {}, body over the limit", head.status),
        }
    }

    fn head(self) -> Option<Answer> {
        match self {
            Self::Call(_) => None,
            Self::Body { head, .. } | Self::TooLong { head } => Some(Answer { body: Vec::new(), ..head }),
        }
    }
}

async fn exchange(client: &Client, call: Call, cap: usize) -> Result<Answer, Broken> {
    let mut request = client.request(call.method, call.url).headers(call.headers);
    if let Some(body) = call.body {
        request = request.body(body);
    }
    let mut response = request.send().await.map_err(Broken::Call)?;
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut answer = Answer { status, headers, body: Vec::new() };
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if answer.body.len() + chunk.len() > cap => return Err(Broken::TooLong { head: answer }),
            Ok(Some(chunk)) => answer.body.extend_from_slice(&chunk),
            Ok(None) => return Ok(answer),
            Err(error) => return Err(Broken::Body { head: answer, error }),
        }
    }
}

/// What went wrong, down to its first cause, without the URL: its query may hold a
/// callback's secret.
fn cause(error: &reqwest::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let phase = if error.is_connect() {
        "connecting"
    } else if error.is_timeout() {
        "waiting for the answer"
    } else if error.is_body() || error.is_decode() {
        "reading the answer"
    } else {
        "sending"
    };
    // An error without sources would print its URL.
    let root_is_itself = std::error::Error::source(error).is_none();
    if root_is_itself { format!("{phase}: connection trouble") } else { format!("{phase}: {root}") }
}

/// `path`, which begins with a slash, under the base URL and whatever path it has.
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Whether a provider's id can stand in a path and in a list without changing
/// either.
pub fn is_usable_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&id.len()) && id.bytes().all(plain) && id.bytes().any(|byte| byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::scripted::{Act, Scripted, json, patient};

    #[test]
    fn paths_go_behind_whatever_the_base_has() {
        for (base, joined) in [
            ("https://host", "https://host/tasks"),
            ("https://host/", "https://host/tasks"),
            ("http://127.0.0.1:9090/kling/?x=1#y", "http://127.0.0.1:9090/kling/tasks"),
        ] {
            assert_eq!(join(&Url::parse(base).unwrap(), "/tasks").as_str(), joined);
        }
    }

    #[test]
    fn an_id_that_could_bend_a_path_or_a_list_is_not_usable() {
        assert!(is_usable_id("900000000000000001") && is_usable_id("vg-1_2.3"));
        for id in ["", ".", "..", "a/b", "a,b", "a?b", "a b", "é", &"a".repeat(129)] {
            assert!(!is_usable_id(id), "{id}");
        }
    }

    #[test]
    fn the_wish_to_be_asked_later_is_read_in_seconds_and_bounded() {
        for (text, seconds) in
            [("3", Some(3)), (" 0 ", Some(0)), ("99999999", Some(3600)), ("-1", None), ("NaN", None), ("soon", None)]
        {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            let answer = Answer { status: 429, headers, body: Vec::new() };
            assert_eq!(answer.retry_after(), seconds.map(Duration::from_secs), "{text}");
        }
    }

    fn get(url: &Url) -> Call {
        Call { method: Method::GET, url: url.clone(), headers: HeaderMap::new(), body: None }
    }

    #[tokio::test]
    async fn a_create_has_a_connection_of_its_own_and_a_query_has_not() {
        let socket = Scripted::play(vec![json("200 OK", "{}")]).await;
        let http = Http::new(patient()).unwrap();
        for _ in 0..3 {
            http.create(get(&socket.url)).await.unwrap();
        }
        assert_eq!(socket.connections(), 3);
        for _ in 0..3 {
            http.query(get(&socket.url)).await.unwrap();
        }
        assert_eq!(socket.connections(), 4);
    }

    #[tokio::test]
    async fn nothing_is_repeated_or_followed_behind_our_back() {
        for act in [
            Act::Answer("302 Found", "location: /elsewhere\r\n".to_owned(), String::new()),
            Act::Answer("503 Busy", "retry-after: 0\r\n".to_owned(), String::new()),
            Act::Reset,
            Act::Bytes(String::new()),
        ] {
            let socket = Scripted::play(vec![act]).await;
            let http = Http::new(patient()).unwrap();
            let _ = http.create(get(&socket.url)).await;
            assert_eq!(socket.seen().len(), 1);
            let _ = http.query(get(&socket.url)).await;
            assert_eq!(socket.seen().len(), 2);
        }
    }

    #[tokio::test]
    async fn an_error_never_shows_the_url() {
        let socket = Scripted::play(vec![Act::Reset]).await;
        let url = socket.url.join("/x?fal_webhook=capability").unwrap();
        let lost = Http::new(patient()).unwrap().create(get(&url)).await.err();
        let Some(Lost::Unknown { reason, head: None }) = &lost else { panic!("{lost:?}") };
        assert!(!reason.contains("capability") && !reason.contains("127.0.0.1"), "{reason}");
    }
}
