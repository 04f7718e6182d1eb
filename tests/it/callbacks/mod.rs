//! Callbacks, through the real door: signed and unsigned, lost, doubled, early and
//! forged.

mod abuse;
mod adoption;
mod alone;
mod door;

use videogen::simulator::{self, Settings};

use crate::house::House;

/// Of the test vector; the simulator signs with it.
pub const SECRET: &str = "whsec_ZXhhbXBsZS1zaWduaW5nLWtleS0wMTIz";

/// Polls so far apart that only a callback can be the cause of what happens.
pub const NO_POLLS: [(&str, &str); 2] = [("POLLING__MIN_INTERVAL", "10m"), ("POLLING__MAX_INTERVAL", "10m")];

/// A house that its providers can reach, with fal's keys where the simulator publishes
/// them; Kling's callbacks are signed if the provider's settings have a secret.
pub async fn reachable(provider: Settings, extra: &[(&str, &str)]) -> House {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let secret = provider.kling_webhook_secret.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let simulator = simulator::Simulator::start(listener, provider).await.unwrap();
    // A port of its own, known before the start.
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let public_url = format!("http://{door}/");
    let keys = format!("{}/.well-known/jwks.json", simulator.base_url());
    let mut settings = vec![
        ("SERVER__CALLBACK_LISTEN", door.as_str()),
        ("CALLBACKS__PUBLIC_URL", public_url.as_str()),
        ("ACCOUNTS__1__JWKS_URL", keys.as_str()),
    ];
    settings.extend(secret.as_deref().map(|secret| ("ACCOUNTS__0__WEBHOOK_SECRET", secret)));
    settings.extend_from_slice(extra);
    House::on(simulator, &settings).await
}
