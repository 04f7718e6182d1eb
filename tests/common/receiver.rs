//! A receiver of events, on loopback: verifies what comes, notes it, and answers as it
//! is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use videogen::wire::signature::verify_standard;

/// The secret that receivers verify with.
pub const SECRET: &str = "whsec_dGhlLXNlY3JldC1vZi10aGUtdGVzdHMtcmVjZWl2ZXI=";

/// An event that came and was signed as it should be.
#[derive(Clone, Debug)]
pub struct Event {
    /// `webhook-id`
    pub id: String,
    /// Path and query that it came to.
    pub path: String,
    /// How many signatures it bore.
    pub signatures: usize,
    /// The whole body.
    pub body: Value,
    /// What was answered.
    pub status: u16,
}

impl Event {
    /// `task.succeeded` and so on.
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    /// The task's id.
    pub fn task(&self) -> &str {
        self.body["data"]["id"].as_str().unwrap()
    }
}

/// How to answer: by the path and by how many came before.
pub type Manner = dyn Fn(&str, usize) -> Reply + Send + Sync;

/// An answer.
pub enum Reply {
    /// With this status.
    Status(u16),
    /// With this status and where to go instead.
    Elsewhere(String),
    /// None for so long.
    Late(Duration),
}

/// A receiver at work; it ends with the test's runtime.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    came: Arc<Mutex<Vec<Event>>>,
    count: watch::Receiver<usize>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn new() -> Self {
        Self::with(|_, _| Reply::Status(204)).await
    }

    /// One that answers so.
    pub async fn with(manner: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (counted, count) = watch::channel(0);
        let came: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (noted, manner): (_, Arc<Manner>) = (Arc::clone(&came), Arc::new(manner));
        let router = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let (noted, manner, counted) = (Arc::clone(&noted), Arc::clone(&manner), counted.clone());
            async move {
                let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                let reply = manner(&path, noted.lock().unwrap().len());
                let (status, wait) = match &reply {
                    Reply::Status(status) => (*status, Duration::ZERO),
                    Reply::Elsewhere(_) => (302, Duration::ZERO),
                    Reply::Late(wait) => (200, *wait),
                };
                noted.lock().unwrap().push(read(path, &headers, &body, status));
                counted.send_modify(|count| *count += 1);
                tokio::time::sleep(wait).await;
                answer(status, &reply)
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, came, count }
    }

    /// A URL that leads here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything that came, in its order.
    pub fn came(&self) -> Vec<Event> {
        self.came.lock().unwrap().clone()
    }

    /// Waits until one has come that is as wanted; all that came by then.
    pub async fn until_any(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let came = Arc::clone(&self.came);
        let any = |_: &usize| came.lock().unwrap().iter().any(&wanted);
        super::within(self.count.wait_for(any)).await.unwrap();
        self.came()
    }

    /// Waits until so many have come.
    pub async fn until(&mut self, count: usize) -> Vec<Event> {
        super::within(self.count.wait_for(|came| *came >= count)).await.unwrap();
        self.came()
    }
}

fn answer(status: u16, reply: &Reply) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    match reply {
        Reply::Elsewhere(url) => (status, [("location", url.clone())]).into_response(),
        _ => status.into_response(),
    }
}

/// Verifies it as a receiver should, and fails the test if it is not right.
fn read(path: String, headers: &HeaderMap, body: &[u8], status: u16) -> Event {
    let header = |name: &str| headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap();
    assert_eq!(header("content-type"), "application/json");
    let (id, timestamp, signatures) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    verify_standard(SECRET, id, timestamp, signatures, body, now).expect("the signature is right");
    let body = serde_json::from_slice(body).unwrap();
    Event { id: id.to_owned(), path, signatures: signatures.split(' ').count(), body, status }
}
