//! Takes the connections of the callback door. It is open to the public, so each has
//! a short life, there are only so many, and none of them reaches the other doors.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Door;

/// How many connections there are at once; one more is closed at once.
const CONNECTIONS: usize = 512;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection lives: for the head, the body, and the answer.
const LIFE: Duration = Duration::from_secs(30);
/// The most that is kept of what is not read yet.
const BUFFER: usize = 16 * 1024;
/// The rest after a connection that could not be taken, for want of descriptors, say.
const AFTER_TROUBLE: Duration = Duration::from_millis(50);

/// Serves the door until it closes; then what is being heard is heard to its end.
pub async fn serve(listener: TcpListener, door: Door, closing: CancellationToken) {
    let service = TowerToHyperService::new(door.router());
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = open.join_next() => {}
            taken = listener.accept() => match taken {
                Ok((stream, _)) if open.len() < CONNECTIONS => {
                    open.spawn(speak(stream, service.clone()));
                }
                Ok(_) => metrics::counter!("videogen_callbacks_total", "outcome" => "crowded").increment(1),
                Err(error) => {
                    warn!(%error, "a connection to the callback door could not be taken");
                    tokio::time::sleep(AFTER_TROUBLE).await;
                }
            },
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// One request, one connection.
async fn speak(stream: TcpStream, service: TowerToHyperService<axum::Router>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER).keep_alive(false);
    // How it ends is the caller's affair; what was heard is counted where it was heard.
    let _ = tokio::time::timeout(LIFE, http.serve_connection(TokioIo::new(stream), service)).await;
}
