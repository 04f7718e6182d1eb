//! A socket that answers as it is told, for tests of what the adapters make of
//! answers and of their absence.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::Now;
use super::http::{Http, HttpLimits};

/// What the socket does with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// A complete answer: status line's rest, further header lines, body.
    Answer(&'static str, String, String),
    /// These bytes as they are, then the end of the connection.
    Bytes(String),
    /// A reset before any answer.
    Reset,
    /// These bytes, then a reset.
    BytesThenReset(String),
    /// These bytes, then one more every few milliseconds, without end.
    Drip(String),
}

/// A JSON answer.
pub(crate) fn json(status: &'static str, body: impl ToString) -> Act {
    Act::Answer(status, "content-type: application/json\r\n".to_owned(), body.to_string())
}

/// The socket.
pub(crate) struct Scripted {
    pub(crate) url: Url,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Scripted {
    /// Plays the acts, one a request, the last one for ever.
    pub(crate) async fn play(acts: Vec<Act>) -> Self {
        install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let (log, mut next) = (seen.clone(), 0);
        let turn = Arc::new(Mutex::new(move || {
            let act = acts[next.min(acts.len() - 1)].clone();
            next += 1;
            act
        }));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let (log, turn) = (log.clone(), turn.clone());
                tokio::spawn(async move { serve(stream, &log, || (turn.lock().unwrap())()).await });
            }
        });
        Self { url, seen, connections }
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The requests that came in, whole.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The first lines of the requests.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|request| request.lines().next().unwrap_or_default().to_owned()).collect()
    }

    /// The JSON body of the last request.
    pub(crate) fn body(&self) -> serde_json::Value {
        let seen = self.seen();
        let (_, body) = seen.last().unwrap().split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>, turn: impl Fn() -> Act) {
    while let Some(request) = read_request(&mut stream).await {
        log.lock().unwrap().push(request);
        match turn() {
            Act::Answer(status, headers, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::Bytes(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Reset => return reset(stream),
            Act::BytesThenReset(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                let _ = stream.flush().await;
                // Long enough for the bytes to be read before the reset discards them.
                tokio::time::sleep(Duration::from_millis(30)).await;
                return reset(stream);
            }
            Act::Drip(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                return;
            }
        }
    }
}

fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
    drop(stream);
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        text.extend_from_slice(&piece[..count]);
        let all = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = all.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(all);
            }
        }
    }
}

/// A base URL at which nobody listens.
pub(crate) async fn nobody() -> Url {
    install_crypto();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap()
}

/// What `main` does for the process.
pub(crate) fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Limits that a busy machine does not reach.
pub(crate) fn patient() -> HttpLimits {
    let long = Duration::from_secs(10);
    HttpLimits { create_total: long, query_total: long, query_body: 64 * 1024, ..HttpLimits::default() }
}

/// Limits for tests that wait for them.
fn hasty() -> HttpLimits {
    let short = Duration::from_millis(300);
    HttpLimits { create_total: short, query_total: short, ..patient() }
}

/// Clients for a play of this act. They are shared: each new one reads the machine's
/// root certificates again.
pub(crate) fn http_for(act: &Act) -> Http {
    static PATIENT: LazyLock<Http> = LazyLock::new(|| Http::new(patient()).unwrap());
    static HASTY: LazyLock<Http> = LazyLock::new(|| Http::new(hasty()).unwrap());
    install_crypto();
    if matches!(act, Act::Drip(_)) { HASTY.clone() } else { PATIENT.clone() }
}

/// Clients for a play without a drip.
pub(crate) fn http() -> Http {
    http_for(&Act::Reset)
}

/// A clock that stands at 1 790 000 000.
pub(crate) fn still() -> Now {
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    Arc::new(move || now)
}
