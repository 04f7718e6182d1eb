//! The keys with which fal signs its callbacks, as it publishes them: fetched when
//! they are first wanted, kept for a day, and fetched again when a signature fits none
//! of them, at most once a minute. While fal cannot be asked, the old ones hold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use tokio::time::Instant;
use tracing::warn;
use url::Url;

use crate::network::{Guard, client_builder, reason};
use crate::wire::signature::{FalHeaders, KeySet, Rejected, verify_fal};

/// How long fetched keys are taken without asking again.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The least time between two fetches.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a fetch may take: a caller waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest document that is read.
const LONGEST: usize = 64 * 1024;

/// fal's published keys.
pub struct PublishedKeys {
    url: Url,
    guard: Guard,
    client: Client,
    known: Mutex<Known>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Arc<KeySet>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

impl PublishedKeys {
    /// The keys at this address, if the guard lets it be called.
    pub fn new(url: Url, guard: Guard) -> Result<Self, reqwest::Error> {
        let client = client_builder(&guard).timeout(PATIENCE).build()?;
        let (known, fetching) = Default::default();
        Ok(Self { url, guard, client, known, fetching })
    }

    /// Checks a callback's signature.
    pub async fn verify(&self, headers: FalHeaders<'_>, body: &[u8], now_s: u64) -> Result<(), Rejected> {
        if let Some(keys) = self.fresh() {
            match verify_fal(&keys, headers, body, now_s) {
                // Perhaps with a key that is newer than ours.
                Err(Rejected::Mismatch | Rejected::Key) => {}
                verdict => return verdict,
            }
        }
        let keys = self.fetch().await;
        verify_fal(&keys, headers, body, now_s)
    }

    /// The keys, unless they are too old to be taken without asking.
    fn fresh(&self) -> Option<Arc<KeySet>> {
        self.with(|known| known.fetched.filter(|at| at.elapsed() < KEPT).map(|_| Arc::clone(&known.keys)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the keys unless that was tried just now, and hands back the best that
    /// are known.
    async fn fetch(&self) -> Arc<KeySet> {
        let _turn = self.fetching.lock().await;
        let too_soon = self.with(|known| known.tried.is_some_and(|at| at.elapsed() < PAUSE));
        if !too_soon {
            self.with(|known| known.tried = Some(Instant::now()));
            match self.ask().await {
                Ok(keys) => self.with(|known| {
                    known.keys = Arc::new(keys);
                    known.fetched = Some(Instant::now());
                }),
                Err(reason) => warn!(reason, "fal's callback keys cannot be fetched; the known ones hold"),
            }
        }
        self.with(|known| Arc::clone(&known.keys))
    }

    async fn ask(&self) -> Result<KeySet, String> {
        let url = self.guard.check_url(self.url.as_str()).map_err(|forbidden| forbidden.to_string())?;
        let mut answer = self.client.get(url).send().await.map_err(reason)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("http {}", answer.status().as_u16()));
        }
        let mut document = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(reason)? {
            document.extend_from_slice(&piece);
            if document.len() > LONGEST {
                return Err("the document is over 64 KiB".to_owned());
            }
        }
        let keys: KeySet = serde_json::from_slice(&document).map_err(|_| "the document is no key set".to_owned())?;
        if keys.has_usable() { Ok(keys) } else { Err("the document holds no usable key".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::routing::get;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;
    use crate::providers::scripted::install_crypto;

    const NOW_S: u64 = 1_790_000_000;

    /// A host of key sets that counts who asks.
    #[derive(Clone, Default)]
    struct Host {
        document: Arc<Mutex<Option<String>>>,
        asked: Arc<AtomicUsize>,
    }

    impl Host {
        /// Publishes from now on; nothing is an error page.
        fn publish(&self, document: Option<String>) {
            *self.document.lock().unwrap() = document;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }

        async fn open(&self) -> Url {
            let host = self.clone();
            let answer = move || async move {
                host.asked.fetch_add(1, Ordering::SeqCst);
                match host.document.lock().unwrap().clone() {
                    Some(document) => (axum::http::StatusCode::OK, document),
                    None => (axum::http::StatusCode::BAD_GATEWAY, String::new()),
                }
            };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, Router::new().route("/jwks.json", get(answer))).await });
            Url::parse(&url).unwrap()
        }
    }

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn published(seeds: &[u8], padding: &str) -> Option<String> {
        let keys = seeds.iter().map(|seed| {
            let x = URL_SAFE_NO_PAD.encode(pair(*seed).public_key());
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}{padding}"}}"#)
        });
        Some(format!(r#"{{"keys":[{}]}}"#, keys.collect::<Vec<_>>().join(",")))
    }

    /// Verifies a message that the key of this seed has signed.
    async fn verify(keys: &PublishedKeys, seed: u8) -> Result<(), Rejected> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let digest = hex(ring::digest::digest(&ring::digest::SHA256, b"{}").as_ref());
        let timestamp = NOW_S.to_string();
        let signature = hex(pair(seed).sign(format!("r\nu\n{timestamp}\n{digest}").as_bytes()).as_ref());
        let headers = FalHeaders { request_id: "r", user_id: "u", timestamp: &timestamp, signature: &signature };
        keys.verify(headers, b"{}", NOW_S).await
    }

    async fn open(host: &Host, allow: &[&str]) -> PublishedKeys {
        install_crypto();
        PublishedKeys::new(host.open().await, Guard::new(allow).unwrap()).unwrap()
    }

    /// As if the last fetch had been this long ago.
    fn age(keys: &PublishedKeys, by: Duration) {
        keys.with(|known| {
            known.tried = known.tried.and_then(|at| at.checked_sub(by));
            known.fetched = known.fetched.and_then(|at| at.checked_sub(by));
        });
    }

    #[tokio::test]
    async fn a_signature_that_fits_no_key_fetches_them_again_once_a_minute() {
        let host = Host::default();
        host.publish(published(&[1], ""));
        let keys = open(&host, &["127.0.0.0/8"]).await;
        assert_eq!(verify(&keys, 1).await, Ok(()));
        for _ in 0..20 {
            assert_eq!(verify(&keys, 2).await, Err(Rejected::Mismatch));
        }
        assert_eq!(host.asked(), 1);
        host.publish(published(&[1, 2], "="));
        assert_eq!(verify(&keys, 2).await, Err(Rejected::Mismatch), "the minute is not over");
        age(&keys, PAUSE);
        assert_eq!(verify(&keys, 2).await, Ok(()));
        assert_eq!(verify(&keys, 1).await, Ok(()));
        assert_eq!(host.asked(), 2);
    }

    #[tokio::test]
    async fn old_keys_hold_while_new_ones_cannot_be_fetched() {
        let host = Host::default();
        host.publish(published(&[1], ""));
        let keys = open(&host, &["127.0.0.0/8"]).await;
        assert_eq!(verify(&keys, 1).await, Ok(()));
        let long = Some(format!(r#"{{"keys":[],"more":"{}"}}"#, "x".repeat(LONGEST)));
        for (round, document) in
            [None, Some("<html>".into()), Some(r#"{"keys":[]}"#.into()), long].into_iter().enumerate()
        {
            host.publish(document);
            age(&keys, PAUSE);
            assert_eq!(verify(&keys, 2).await, Err(Rejected::Mismatch));
            assert_eq!(verify(&keys, 1).await, Ok(()));
            assert_eq!(host.asked(), round + 2);
        }
        age(&keys, KEPT);
        assert_eq!(verify(&keys, 1).await, Ok(()), "a day later too");
        assert_eq!(host.asked(), 6);
    }

    #[tokio::test]
    async fn keys_of_a_day_ago_are_fetched_again() {
        let host = Host::default();
        host.publish(published(&[1], ""));
        let keys = open(&host, &["127.0.0.0/8"]).await;
        assert_eq!(verify(&keys, 1).await, Ok(()));
        host.publish(published(&[2], ""));
        age(&keys, KEPT);
        assert_eq!(verify(&keys, 1).await, Err(Rejected::Mismatch), "it was withdrawn");
    }

    #[tokio::test]
    async fn without_a_key_nothing_verifies() {
        let host = Host::default();
        host.publish(Some(r#"{"keys":[{"kty":"RSA"},{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}"#.into()));
        let keys = open(&host, &["127.0.0.0/8"]).await;
        assert_eq!(verify(&keys, 1).await, Err(Rejected::Key));
    }

    #[tokio::test]
    async fn keys_are_not_fetched_from_where_we_do_not_call() {
        let host = Host::default();
        host.publish(published(&[1], ""));
        let keys = open(&host, &[]).await;
        assert_eq!(verify(&keys, 1).await, Err(Rejected::Key));
        assert_eq!(host.asked(), 0);
    }
}
