//! What holds of every answer that an adapter has read, whoever the provider is:
//! short, printable, without our key or the caller's words, and small enough to be
//! kept.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::LONGEST_LINK;
use super::contract::{Created, Trouble};
use super::http::{Answer, is_usable_id};
use super::redact::MESSAGE_CAP;
use crate::task::event::Observation;
use crate::task::state::{Charge, Failure};

/// Our key, which providers may quote.
pub(super) const KEY: &str = "canary-of-the-key-0123";
/// The caller's words, which they may quote too; the answer to a create must not.
pub(super) const PROMPT: &str = "canaryOfThePrompt";

const STATUSES: [u16; 20] =
    [200, 201, 202, 204, 302, 400, 401, 402, 403, 404, 408, 409, 422, 425, 429, 500, 502, 503, 504, 599];

/// An answer from bytes: two of them for status and headers, then the body.
pub(super) fn answer(bytes: &[u8]) -> Option<Answer> {
    let [status, headers, body @ ..] = bytes else { return None };
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    let mut answer = Answer { status, headers: HeaderMap::new(), body: body.to_vec() };
    let some = [
        (RETRY_AFTER, HeaderValue::from_static("3.5")),
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (HeaderName::from_static("x-fal-request-id"), HeaderValue::from_static("11111111-2222")),
    ];
    for (place, (name, value)) in some.into_iter().enumerate() {
        if headers & 1 << place != 0 {
            answer.headers.insert(name, value);
        }
    }
    Some(answer)
}

/// The byte that stands for a status in a seed.
pub(super) fn status(status: u16) -> u8 {
    let place = STATUSES.iter().position(|known| *known == status).unwrap_or_default();
    u8::try_from(place).unwrap_or_default()
}

pub(super) fn assert_created(created: &Created) {
    assert!(!format!("{created:?}").contains(PROMPT), "{created:?}");
    match created {
        Created::Accepted(job) => {
            assert!(is_usable_id(job.id.as_str()) && job.handle.len() <= 1024, "{job:?}");
        }
        Created::Refused(failure) => assert_failure(failure),
        Created::Throttled { reason, .. } | Created::NotSent { reason } | Created::Unknown { reason } => {
            assert_line(reason, MESSAGE_CAP + 128);
        }
    }
}

pub(super) fn assert_observed(observed: &Result<Observation, Trouble>) {
    match observed {
        Ok(Observation::Pending(progress)) => {
            assert!(progress.log_lines.len() <= 4);
            progress.log_lines.iter().for_each(|line| assert_line(line, 160));
            assert_line(&progress.provider_status, 64);
        }
        Ok(Observation::Succeeded { output, charges }) => {
            assert!((1..=LONGEST_LINK).contains(&output.url.len()), "a link of {} bytes", output.url.len());
            assert_charges(charges);
        }
        Ok(Observation::Failed { failure, charges }) => {
            assert_failure(failure);
            assert_charges(charges);
        }
        Ok(Observation::Missing) => {}
        Err(trouble) => assert_line(&trouble.reason, MESSAGE_CAP),
    }
}

fn assert_failure(failure: &Failure) {
    assert!(!failure.message.is_empty());
    assert_line(&failure.message, MESSAGE_CAP);
    assert_line(&failure.provider_code, 64);
}

fn assert_charges(charges: &[Charge]) {
    assert!(charges.len() <= 16, "{} charges", charges.len());
    for Charge { amount, unit, description } in charges {
        [amount, unit, description].into_iter().for_each(|text| assert_line(text, 4 * 64));
    }
}

fn assert_line(text: &str, cap: usize) {
    assert!(text.len() <= cap && !text.contains(char::is_control), "{text:?}");
    assert!(!text.contains(KEY), "{text:?}");
}
