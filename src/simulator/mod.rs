//! The providers' HTTP APIs on loopback, shipped with the product: nobody can try
//! a paid service without paying otherwise. It is also the oracle of the tests,
//! and so it shares no code with the adapters that talk to it.

mod account;
mod answer;
mod body;
mod book;
mod callback;
mod clip;
mod connection;
mod control;
mod directive;
mod fal;
mod faults;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod kling;
mod ledger;
mod settings;
mod signature;
#[cfg(test)]
mod tests;
mod world;

pub use faults::{Fault, FaultKind, Moment, Provider, Standard};
pub use ledger::Entry;
pub use settings::{AccessKey, Settings};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use ring::hmac;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use answer::{Answer, Call};
use book::Book;
use callback::Callbacks;
use clip::Clips;
use connection::{CuttableListener, Scissors};
use faults::Faults;
use ledger::Ledger;
use world::World;

/// The largest request: Kling takes images as base64 within its JSON.
const LARGEST_BODY: usize = 48 * 1_024 * 1_024;

/// How long a stop waits for answers in flight before it abandons them.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Starts simulators.
#[derive(Debug)]
pub struct Simulator;

/// Why a simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener has no address, or the ledger's file cannot be opened.
    #[error("the simulator's listener or ledger")]
    Io(#[from] std::io::Error),
    /// The client for callbacks cannot be made.
    #[error("the simulator's client for callbacks")]
    Client(#[from] reqwest::Error),
    /// The system gives no random numbers.
    #[error("the simulator's random key")]
    Random,
}

/// A simulator at work. Dropping it stops it as well, without waiting.
pub struct Running {
    address: SocketAddr,
    world: Arc<World>,
    server: JoinHandle<()>,
    sender: JoinHandle<()>,
}

impl Simulator {
    /// Begins to answer on a listener that the caller has bound.
    pub async fn start(listener: TcpListener, settings: Settings) -> Result<Running, StartError> {
        let address = listener.local_addr()?;
        let (callbacks, outbox) = Callbacks::new()?;
        let random = ring::rand::SystemRandom::new();
        let world = Arc::new(World {
            ledger: Ledger::open(settings.ledger.as_deref())?,
            link_key: hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| StartError::Random)?,
            settings,
            book: Book::default(),
            faults: Faults::default(),
            clips: Clips::default(),
            callbacks,
            shutdown: CancellationToken::new(),
        });
        let sender = tokio::spawn(callback::run(Arc::clone(&world), outbox));
        let server = tokio::spawn(serve(listener, Arc::clone(&world), address));
        Ok(Running { address, world, server, sender })
    }

    /// Serves until `shutdown` is cancelled, and stops.
    pub async fn serve(
        listener: TcpListener,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Result<(), StartError> {
        let running = Self::start(listener, settings).await?;
        shutdown.cancelled().await;
        running.stop().await;
        Ok(())
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for every provider's account.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every create that was accepted so far, oldest first.
    pub fn ledger(&self) -> Vec<Entry> {
        self.world.ledger.entries()
    }

    /// Puts a fault in force.
    pub fn inject(&self, fault: Fault) {
        self.world.faults.add(fault);
    }

    /// Takes every fault out of force that was not asked for by a prompt.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// Stops listening, gives answers in flight a moment, and joins its tasks.
    pub async fn stop(mut self) {
        self.world.shutdown.cancel();
        if tokio::time::timeout(STOP_GRACE, &mut self.server).await.is_err() {
            self.server.abort();
            // Joined so that the listener is closed for certain; it ends by its abort.
            let _ = (&mut self.server).await;
        }
        if (&mut self.sender).await.is_err() {
            tracing::warn!("the simulator's callbacks ended early");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.world.shutdown.cancel();
        self.server.abort();
    }
}

#[derive(Clone)]
struct Door {
    world: Arc<World>,
    address: Arc<str>,
}

async fn serve(listener: TcpListener, world: Arc<World>, address: SocketAddr) {
    let shutdown = world.shutdown.clone();
    let door = Door { world, address: address.to_string().into() };
    let router = Router::new().fallback(handle).with_state(door);
    let service = router.into_make_service_with_connect_info::<Scissors>();
    let served = axum::serve(CuttableListener(listener), service).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the simulator stopped serving");
    }
}

/// Reads one request, has it answered, and does what the answer says.
async fn handle(
    State(door): State<Door>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return answer::json(413, &json!({"detail": "the body is too large"}));
    };
    let world = door.world;
    let call = Call::new(parts.method, &parts.uri, parts.headers, body, &door.address);
    // In a task of its own: a client that leaves drops this future, and must not leave
    // behind a job that was booked and is in no ledger. The task is short and ends by itself.
    let routed = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { route(&world, &call).await })
    };
    match routed.await.unwrap_or(Answer::Cut) {
        Answer::Reply(reply) => reply,
        Answer::Drip(reply) => drip(&world, reply).await,
        Answer::Cut => cut(&scissors),
        Answer::Hang => {
            world.shutdown.cancelled().await;
            cut(&scissors)
        }
    }
}

async fn route(world: &Arc<World>, call: &Call) -> Answer {
    match call.segments().as_slice() {
        ["simulator", what] => control::answer(world, call, what),
        ["files", id, name] => file::serve(world, call, id, name).await,
        [".well-known", "jwks.json"] => Answer::json(200, &signature::key_set()),
        segments if kling::owns(segments) => kling::answer(world, call).await,
        _ => fal::answer(world, call).await,
    }
}

/// The response is never written: the connection refuses it and closes.
fn cut(scissors: &Scissors) -> Response<Body> {
    scissors.cut();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// Sends an answer a few bytes at a time.
async fn drip(world: &Arc<World>, reply: Response<Body>) -> Response<Body> {
    let (parts, body) = reply.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let size = (whole.len() / 64).max(16);
    let pieces: Vec<Bytes> =
        (0..whole.len()).step_by(size).map(|at| whole.slice(at..(at + size).min(whole.len()))).collect();
    let (pause, shutdown) = (world.settings.drip_pause, world.shutdown.clone());
    let drops = stream::iter(pieces).then(move |piece| {
        let shutdown = shutdown.clone();
        async move {
            tokio::select! {
                () = shutdown.cancelled() => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
                () = tokio::time::sleep(pause) => Ok(piece),
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(drops))
}
