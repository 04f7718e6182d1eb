//! What a simulator can be told before it starts. The defaults make a pleasant
//! demonstration: jobs of about six seconds, no errors that nobody asked for.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// How a simulator behaves when no fault is asked for.
#[derive(Clone)]
pub struct Settings {
    /// How long a job takes, from its create to its end. Each job draws its own
    /// length from this range by its id; an empty range means its start exactly.
    pub latency: Range<Duration>,
    /// The file that every accepted create is appended to, and synced, before it is answered.
    pub ledger: Option<PathBuf>,
    /// How probable it is that a status query fails: by a 5xx, a cut connection or an HTML page.
    pub poll_error_rate: f64,
    /// How long an issued link to a file works; for ever when absent.
    pub link_lifetime: Option<Duration>,
    /// The only API keys taken. Empty takes every key that is not refused.
    pub api_keys: Vec<String>,
    /// API keys answered with 401.
    pub refused_keys: Vec<String>,
    /// Kling's pairs of access key and secret key, for tokens on the legacy standard.
    pub access_keys: Vec<AccessKey>,
    /// Signs Kling's callbacks when present: `whsec_` and base64.
    pub kling_webhook_secret: Option<String>,
    /// The user that fal's callbacks name.
    pub fal_user: String,
    /// How many unfinished Kling jobs one account may have for one model.
    pub parallel_limit: Option<usize>,
    /// Legacy Kling models that are refused as discontinued.
    pub discontinued: Vec<String>,
    /// How late a late callback is, after its job's end.
    pub callback_delay: Duration,
    /// The pause between two pieces of an answer that drips.
    pub drip_pause: Duration,
    /// The shorter side of a clip, in pixels. Tests draw small ones to be quick.
    pub short_side: u32,
    /// How many different clips there are of one shape; absent means one for each
    /// prompt. Few are quick to serve, since only the last clips drawn are kept.
    pub clips: Option<u32>,
    /// How many jobs are remembered; the oldest are forgotten first.
    pub jobs_kept: usize,
}

/// One pair of credentials for signed tokens.
#[derive(Clone)]
pub struct AccessKey {
    /// The token's issuer.
    pub access_key: String,
    /// What the token is signed with.
    pub secret_key: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(5_000)..Duration::from_millis(7_000),
            ledger: None,
            poll_error_rate: 0.0,
            link_lifetime: None,
            api_keys: Vec::new(),
            refused_keys: Vec::new(),
            access_keys: vec![AccessKey { access_key: "ak-example".into(), secret_key: "sk-example".into() }],
            kling_webhook_secret: None,
            fal_user: "user-1".into(),
            parallel_limit: None,
            discontinued: vec!["kling-v1".into()],
            callback_delay: Duration::from_secs(10),
            drip_pause: Duration::from_millis(200),
            short_side: 360,
            clips: None,
            jobs_kept: 200_000,
        }
    }
}

impl Settings {
    /// The defaults, with every job ending after exactly `latency` and small clips.
    pub fn quick(latency: Duration) -> Self {
        Self { latency: latency..latency, short_side: 96, ..Self::default() }
    }
}

impl fmt::Debug for Settings {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("latency", &self.latency)
            .field("ledger", &self.ledger)
            .field("poll_error_rate", &self.poll_error_rate)
            .field("link_lifetime", &self.link_lifetime)
            .field("parallel_limit", &self.parallel_limit)
            .finish_non_exhaustive()
    }
}
