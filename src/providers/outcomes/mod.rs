//! Every way in which a paid create can end, for each dialect that one is sent in,
//! and the exact class that it is taken for. What must hold for all of them is
//! asserted with each: only a create of which no byte was seen is called not sent,
//! only an id makes it accepted, nothing is sent twice, no reason tells a secret.

mod answers;
mod breaks;
mod socket;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;
use url::Url;

use self::socket::{Play, Seen, Socket};
use super::contract::{Created, Order, Provider};
use super::fal::{Fal, FalSettings};
use super::http::{Http, HttpLimits};
use super::kling::{Kling, KlingCredentials, KlingSettings};
use super::scripted::{install_crypto, patient, still};
use crate::catalog::{Catalog, Model};
use crate::task::id::Marker;
use crate::task::spec::{Image, Spec};

const KEY: &str = "key-s3cret-0123";
const PROMPT: &str = "a prompt that stays with us";
const CAPABILITY: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";
const ID: &str = "11111111-2222-4333-8444-555555555555";

/// How many rows are played at once.
const AT_ONCE: usize = 48;

/// What a create is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    KlingNew,
    KlingLegacy,
    Fal,
}

use Dialect::{Fal as InFal, KlingLegacy, KlingNew};

impl Dialect {
    const ALL: [Self; 3] = [KlingNew, KlingLegacy, InFal];

    fn is_kling(self) -> bool {
        self != InFal
    }

    fn model(self) -> Arc<Model> {
        let name = match self {
            KlingNew => "kling/kling-3.0",
            KlingLegacy => "kling/kling-v2-6",
            InFal => "fal/fal-ai/veo3.1/image-to-video",
        };
        static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
        CATALOG.resolve(name).unwrap()
    }

    fn provider(self, url: &Url, http: &Http) -> Box<dyn Provider> {
        let (base_url, limits) = (url.clone(), patient());
        if self == InFal {
            let settings = FalSettings { base_url, history_url: None, api_key: KEY.into(), limits };
            return Box::new(Fal::over(http.clone(), settings, still()).unwrap());
        }
        let settings = KlingSettings { base_url, credentials: KlingCredentials::ApiKey(KEY.into()), limits };
        Box::new(Kling::over(http.clone(), settings, still()))
    }

    /// The body of an answer that takes the create.
    fn taken(self) -> String {
        self.naming(&json!(ID))
    }

    /// The same with another id.
    fn naming(self, id: &serde_json::Value) -> String {
        match self {
            KlingNew => json!({"code": 0, "message": "SUCCEED", "data": {"id": id, "status": "submitted"}}),
            KlingLegacy => {
                json!({"code": 0, "message": "SUCCEED", "data": {"task_id": id, "task_status": "submitted"}})
            }
            InFal => json!({"status": "IN_QUEUE", "request_id": id, "queue_position": 0}),
        }
        .to_string()
    }
}

/// A complete answer.
fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// How one create ended, and what the other side saw of it.
struct End {
    created: Created,
    seen: Seen,
}

impl End {
    /// The class in one word, with what tells members of a class apart.
    fn class(&self) -> String {
        match &self.created {
            Created::Accepted(job) => format!("accepted {}", job.id),
            Created::Refused(failure) => format!("refused {:?}", failure.kind),
            Created::Throttled { after, .. } => format!("throttled {:?}", after.map(|after| after.as_secs())),
            Created::NotSent { .. } => "not sent".to_owned(),
            Created::Unknown { .. } => "unknown".to_owned(),
        }
    }

    /// What holds for every row.
    fn check(&self, name: &str) {
        let seen = &self.seen;
        assert!(seen.requests <= 1, "{name}: sent {} times", seen.requests);
        match &self.created {
            Created::NotSent { .. } => assert_eq!(seen.requests, 0, "{name}: it was sent"),
            Created::Accepted(job) => assert!(!job.id.as_str().is_empty() && !job.handle.is_empty(), "{name}"),
            Created::Refused(failure) => assert!(!failure.maybe_charged && seen.requests == 1, "{name}"),
            Created::Throttled { .. } => assert_eq!(seen.requests, 1, "{name}"),
            Created::Unknown { reason } => {
                assert!(!reason.is_empty() && reason.len() <= 512, "{name}: {reason:?}");
                assert!(!reason.contains("://") && !reason.contains("127.0.0.1"), "{name}: {reason}");
            }
        }
        let told = format!("{:?}", self.created);
        for secret in ["s3cret", PROMPT, CAPABILITY] {
            assert!(!told.contains(secret), "{name}: {told}");
        }
    }
}

/// Sends the create of a dialect to a URL, once.
async fn create(dialect: Dialect, url: &Url, http: &Http, image: Option<Image>) -> Created {
    let model = dialect.model();
    let spec = Spec { prompt: PROMPT.to_owned(), start_image: image, ..Spec::new(model.name.clone()) };
    let callback = Url::parse(&format!("https://gw.example/callbacks/vg-1-1/{CAPABILITY}")).unwrap();
    let marker = Marker::new("vg-1-1");
    let (callback, sent) = (Some(&callback), (still())());
    let order = Order { spec: &spec, model: &model, marker: &marker, callback, resent: false, sent };
    dialect.provider(url, http).submit(order).await
}

/// Plays one row.
async fn play(dialect: Dialect, play: Play, http: &Http, image: Option<Image>) -> End {
    let socket = Socket::open(play).await;
    let created = create(dialect, &socket.url, http, image).await;
    End { created, seen: socket.close().await }
}

/// One row: its name, the dialect, what the other side does, and the class.
struct Row {
    name: String,
    dialect: Dialect,
    play: Play,
    class: String,
}

impl Row {
    fn new(name: impl Into<String>, dialect: Dialect, play: Play, class: impl Into<String>) -> Self {
        Self { name: name.into(), dialect, play, class: class.into() }
    }
}

/// Plays every row, many at once, and asserts the class of each and what holds for
/// all. At least so many have to be there: an empty table proves nothing.
async fn hold(rows: Vec<Row>, at_least: usize, http: &Http, image: Option<Image>) {
    assert!(rows.len() >= at_least, "{} rows only", rows.len());
    let played = rows.into_iter().map(|row| {
        let image = image.clone();
        async move {
            let name = format!("{:?}: {}", row.dialect, row.name);
            let end = play(row.dialect, row.play, http, image).await;
            assert_eq!(end.class(), row.class, "{name}: {:?}", end.created);
            end.check(&name);
        }
    });
    futures::stream::iter(played).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// A client that waits as long as it takes.
fn unhurried() -> Http {
    install_crypto();
    Http::new(HttpLimits { create_total: Duration::from_secs(30), ..patient() }).unwrap()
}

/// A client that soon gives up on connections and on answers.
fn hurried() -> Http {
    install_crypto();
    let soon = Duration::from_millis(400);
    Http::new(HttpLimits { connect: soon, create_total: soon * 2, ..patient() }).unwrap()
}
