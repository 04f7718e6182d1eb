//! Where a job of fal's is reached: the paths of the submit's answer where they
//! can be trusted, otherwise rebuilt by fal's rule. Kept relative to the base URL,
//! so that a handle never leads to another host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::wire::fal::{Queued, app_of, is_plain_path};

/// The longest owner and app, and the longest job id: three paths of them stay
/// within a handle's 1 KiB.
const LONGEST_APP: usize = 120;
const LONGEST_ID: usize = 100;

/// What [`crate::task::state::Job::handle`] holds for fal, as compact JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Where to ask.
    #[serde(rename = "s")]
    pub(super) status: String,
    /// Where the result is.
    #[serde(rename = "r")]
    pub(super) result: String,
    /// Where to cancel.
    #[serde(rename = "c")]
    pub(super) cancel: String,
    /// When it was submitted, in Unix seconds; unknown for adopted jobs.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    submitted_s: Option<u64>,
}

impl Place {
    /// By fal's rule: owner and app only. Nothing when the model's id has none, or
    /// when the handle would outgrow its limit.
    pub(super) fn by_rule(model_id: &str, id: &str) -> Option<Self> {
        let app = app_of(model_id).filter(|app| is_plain_path(model_id) && app.len() <= LONGEST_APP)?;
        if id.len() > LONGEST_ID {
            return None;
        }
        let result = format!("/{app}/requests/{id}");
        Some(Self { status: format!("{result}/status"), cancel: format!("{result}/cancel"), result, submitted_s: None })
    }

    /// From the answer to a submit. Its URLs are remote input: each is taken only
    /// if it stays at the base URL and names the job.
    pub(super) fn of_answer(queued: &Queued, model_id: &str, base: &Url, now: SystemTime) -> Option<Self> {
        let rule = Self::by_rule(model_id, &queued.request_id)?;
        let trusted = |url: &str, otherwise: String| trusted_path(url, &queued.request_id, base).unwrap_or(otherwise);
        Some(Self {
            status: trusted(&queued.status_url, rule.status),
            result: trusted(&queued.response_url, rule.result),
            cancel: trusted(&queued.cancel_url, rule.cancel),
            submitted_s: now.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()),
        })
    }

    /// The handle.
    pub(super) fn to_handle(&self) -> String {
        serde_json::to_string(self).expect("three texts and a number are always JSON")
    }

    /// Reads a handle; nothing when it could lead anywhere but to a plain path.
    pub(super) fn read(handle: &str) -> Option<Self> {
        let place: Self = serde_json::from_str(handle).ok()?;
        let plain = |path: &str| path.strip_prefix('/').is_some_and(is_plain_path);
        let all_plain = plain(&place.status) && plain(&place.result) && plain(&place.cancel);
        all_plain.then_some(place)
    }

    /// Until when a file surely lives that lives for `lifetime` from its making:
    /// it was made after the submit.
    pub(super) fn expiry(&self, lifetime: Duration) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.submitted_s?))?.checked_add(lifetime)
    }
}

/// The URL's path below the base URL, if it is of the same origin, plain, and about
/// this job.
fn trusted_path(url: &str, id: &str, base: &Url) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let bare =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if url.origin() != base.origin() || !bare {
        return None;
    }
    let path = url.path().strip_prefix(base.path().trim_end_matches('/'))?.strip_prefix('/')?;
    (is_plain_path(path) && path.split('/').any(|segment| segment == id)).then(|| format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "fal-ai/kling-video/v3/pro/text-to-video";

    fn place(base: &str, url: &str) -> Place {
        let queued = Queued {
            request_id: "r-1".to_owned(),
            status_url: format!("{url}/status"),
            response_url: format!("{url}/response"),
            cancel_url: format!("{url}/cancel"),
            ..Queued::default()
        };
        Place::of_answer(&queued, MODEL, &Url::parse(base).unwrap(), UNIX_EPOCH + Duration::from_secs(7)).unwrap()
    }

    #[test]
    fn urls_of_the_answer_are_kept_where_they_stay_at_home() {
        let kept = place("https://queue.fal.run", "https://queue.fal.run/other/app/requests/r-1");
        assert_eq!(kept.status, "/other/app/requests/r-1/status");
        assert_eq!(kept.result, "/other/app/requests/r-1/response");
        let kept = place("http://127.0.0.1:9090/fal/", "http://127.0.0.1:9090/fal/other/app/requests/r-1");
        assert_eq!(kept.cancel, "/other/app/requests/r-1/cancel");
        assert_eq!(Place::read(&kept.to_handle()), Some(kept));
    }

    #[test]
    fn urls_that_lead_elsewhere_are_rebuilt_by_the_rule() {
        for url in [
            "https://evil.example/fal-ai/x/requests/r-1",
            "http://queue.fal.run/fal-ai/x/requests/r-1",
            "https://queue.fal.run:8443/fal-ai/x/requests/r-1",
            "https://queue.fal.run@evil.example/fal-ai/x/requests/r-1",
            "https://user:pass@queue.fal.run/fal-ai/x/requests/r-1",
            "https://queue.fal.run/fal-ai/x/requests/another",
            "https://queue.fal.run/a/%2e%2e/r-1%2f..",
            "https://queue.fal.run/a/b/r-1?next=",
            "/fal-ai/x/requests/r-1",
            "",
        ] {
            let rebuilt = place("https://queue.fal.run", url);
            assert_eq!(rebuilt.status, "/fal-ai/kling-video/requests/r-1/status", "{url}");
            assert_eq!(rebuilt.result, "/fal-ai/kling-video/requests/r-1", "{url}");
        }
    }

    #[test]
    fn a_handle_that_was_tampered_with_is_not_read() {
        for handle in ["", "{}", r#"{"s":"/a/../b","r":"/a","c":"/a"}"#, r#"{"s":"https://x/","r":"/a","c":"/a"}"#] {
            assert_eq!(Place::read(handle), None, "{handle}");
        }
    }

    #[test]
    fn a_handle_is_short_whatever_the_model_is_called() {
        let place = Place::by_rule(&format!("{}/{}", "o".repeat(60), "a".repeat(59)), &"i".repeat(100)).unwrap();
        assert!(place.to_handle().len() <= 1024);
        assert_eq!(Place::read(&place.to_handle()), Some(place));
        assert_eq!(Place::by_rule(&format!("{}/{}", "o".repeat(60), "a".repeat(60)), "i"), None);
        assert_eq!(Place::by_rule("a/b", &"i".repeat(101)), None);
    }
}
