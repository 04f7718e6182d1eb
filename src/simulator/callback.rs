//! Sends the providers' callbacks: when each is due, a few tries, never more than
//! a few at once. They are hints at best, and with a fault not even that.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::book::{Job, Stage};
use super::fal;
use super::faults::{FaultKind, Provider};
use super::kling;
use super::signature::{self, Signer};
use super::world::{World, now};

/// How many callbacks may wait, how many are sent at once, how often each is tried.
const WAITING: usize = 100_000;
const AT_ONCE: usize = 32;
const TRIES: u32 = 4;

/// One callback that will be sent.
#[derive(Clone)]
struct Delivery {
    at: u64,
    job: Arc<Job>,
    stage: Stage,
    signer: Signer,
}

/// The way to the task that sends.
pub(crate) struct Callbacks {
    sender: mpsc::Sender<Delivery>,
    client: reqwest::Client,
}

/// The other end, which the sending task takes.
pub(crate) struct Outbox {
    receiver: mpsc::Receiver<Delivery>,
}

impl Callbacks {
    /// Makes both ends and the client for all deliveries.
    pub(crate) fn new() -> Result<(Self, Outbox), reqwest::Error> {
        // Another part of the process may have chosen already; the choice is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(15))
            .build()?;
        let (sender, receiver) = mpsc::channel(WAITING);
        Ok((Self { sender, client }, Outbox { receiver }))
    }

    /// Plans a new job's callbacks; an early one is sent before this returns.
    pub(crate) async fn plan(&self, job: &Arc<Job>, world: &World) {
        let suffers = |kind| job.suffers(kind).is_some();
        if job.callback_url.is_none() {
            return;
        }
        let signer = if suffers(FaultKind::CallbackUnsigned) { Signer::Nobody } else { Signer::Provider };
        if suffers(FaultKind::CallbackEarly) {
            let early = Delivery { at: 0, job: Arc::clone(job), stage: Stage::Ended, signer };
            // Nobody waits for a slow receiver of a callback that came too early.
            let _ = tokio::time::timeout(Duration::from_secs(2), send_once(world, &early)).await;
        }
        if suffers(FaultKind::CallbackMissing) {
            return;
        }
        let late = if suffers(FaultKind::CallbackLate) { world.settings.callback_delay } else { Duration::ZERO };
        let late = u64::try_from(late.as_millis()).unwrap_or(0);
        let mut planned: Vec<(u64, Stage, Signer)> = Vec::new();
        if job.provider == Provider::Kling {
            planned.extend([(job.created, Stage::Queued, signer), (job.starts, Stage::Running, signer)]);
        }
        planned.extend(job.ends.map(|ends| (ends + late, Stage::Ended, signer)));
        if suffers(FaultKind::CallbackForged) {
            planned.push((job.created, Stage::Ended, Signer::Forger));
        }
        let copies = if suffers(FaultKind::CallbackDuplicate) { 3 } else { 1 };
        for (at, stage, signer) in planned {
            for _ in 0..copies {
                let delivery = Delivery { at, job: Arc::clone(job), stage, signer };
                if self.sender.try_send(delivery).is_err() {
                    tracing::warn!(job = %job.id, "too many callbacks wait; one is left out");
                }
            }
        }
    }
}

/// Sends what is due until the simulator stops.
pub(crate) async fn run(world: Arc<World>, mut outbox: Outbox) {
    let mut waiting: BinaryHeap<Reverse<Delivery>> = BinaryHeap::new();
    let mut sending = JoinSet::new();
    loop {
        let now = now();
        while sending.len() < AT_ONCE && waiting.peek().is_some_and(|Reverse(next)| next.at <= now) {
            if let Some(Reverse(delivery)) = waiting.pop() {
                let world = Arc::clone(&world);
                sending.spawn(async move { send(&world, &delivery).await });
            }
        }
        let pause = waiting.peek().map_or(60_000, |Reverse(next)| next.at.saturating_sub(now).clamp(1, 60_000));
        tokio::select! {
            () = world.shutdown.cancelled() => break,
            Some(delivery) = outbox.receiver.recv(), if waiting.len() < WAITING => waiting.push(Reverse(delivery)),
            Some(_) = sending.join_next() => {}
            () = tokio::time::sleep(Duration::from_millis(pause)), if sending.len() < AT_ONCE => {}
        }
    }
    sending.shutdown().await;
}

/// Tries until the receiver takes it, and gives up quietly.
async fn send(world: &World, delivery: &Delivery) {
    for round in 0..TRIES {
        if send_once(world, delivery).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500 << round)).await;
    }
    tracing::warn!(job = %delivery.job.id, "a callback was not taken");
}

async fn send_once(world: &World, delivery: &Delivery) -> bool {
    let Some(url) = &delivery.job.callback_url else { return true };
    if delivery.stage == Stage::Ended && delivery.signer != Signer::Forger {
        delivery.job.call_back(now());
    }
    let body = body(world, delivery).to_string();
    let mut request = world.callbacks.client.post(url).header("content-type", "application/json");
    for (name, value) in signature::headers(world, &delivery.job, delivery.signer, body.as_bytes()) {
        request = request.header(name, value);
    }
    request.body(body).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// The document; a forger claims a success with a link of its own.
fn body(world: &World, delivery: &Delivery) -> Value {
    let job = &delivery.job;
    let forged = format!("{}/files/forged.mp4", job.origin);
    match (job.provider, delivery.signer) {
        (Provider::Fal, Signer::Forger) => json!({"request_id": job.id, "gateway_request_id": job.id, "status": "OK",
            "payload": {"video": {"url": forged}}}),
        (Provider::Fal, _) => fal::webhook(world, job),
        (_, Signer::Forger) => json!({"id": job.id, "task_id": job.id, "status": "succeeded", "task_status": "succeed",
            "outputs": [{"type": "video", "id": "v0", "url": forged, "duration": "5.0"}],
            "task_result": {"videos": [{"id": "v0", "url": forged, "duration": "5.0"}]}}),
        _ => kling::document::task(world, job, delivery.stage, now()),
    }
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Delivery {}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.stage, &self.job.id).cmp(&(other.at, other.stage, &other.job.id))
    }
}
