//! Tasks to fill a store with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use uuid::Uuid;

use videogen::store::SledStore;
use videogen::store::contract::{Creation, TaskStore};
use videogen::task::id::{AccountName, ModelName, RequestId, TaskId};
use videogen::task::machine;
use videogen::task::spec::{Spec, Submission, UnknownPolicy};
use videogen::task::state::{State, Task};

/// Puts that many tasks into a store, 256 at a time.
pub async fn fill(store: &Arc<SledStore>, tasks: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let fillers = (0..256).map(|_| {
        let (store, next) = (Arc::clone(store), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= tasks {
                    return;
                }
                let creation = store.create(Arc::new(task(number))).await.expect("the store works");
                assert_eq!(creation, Creation::Created);
            }
        })
    });
    for filler in join_all(fillers).await {
        filler.expect("fillers do not panic");
    }
}

/// A running task; the same for the same number, and ids grow with it.
pub fn task(number: u64) -> Task {
    let ms = 1_795_392_000_000 + u128::from(number);
    let created = SystemTime::UNIX_EPOCH + Duration::from_millis(ms as u64);
    let model = ModelName::parse("kling/kling-v2-1").expect("it has both parts");
    let submission = Submission {
        request_id: RequestId::new(format!("request-{number}")),
        fingerprint: [7; 32],
        spec: Spec { prompt: noise(number, 900), ..Spec::new(model) },
        account: AccountName::new("main"),
        generation_timeout: Duration::from_secs(3600),
        typical: Duration::from_secs(180),
        policy: UnknownPolicy::AtMostOnce,
        labels: BTreeMap::new(),
        warnings: Vec::new(),
        webhook: None,
    };
    let id = TaskId::new(Uuid::from_u128(ms << 80 | 7 << 76 | 0b10 << 62 | u128::from(number)));
    Task { state: State::Running, ..machine::accept(id, Arc::new(submission), created) }
}

/// Hardly compressible text, the same for the same number.
pub fn noise(number: u64, bytes: usize) -> String {
    let mut noise = number;
    let mut text = String::new();
    while text.len() < bytes {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{noise:x}"));
    }
    text
}
