//! What an answer to a paid create means. The body's code decides, not the HTTP
//! status; whatever is not a clear word of Kling's own stays unknown, because a
//! wrong "no" buys the video a second time.

use serde_json::Value;

use super::order::Place;
use crate::providers::contract::Created;
use crate::providers::http::{Answer, is_usable_id};
use crate::providers::redact::Redactor;
use crate::task::id::JobId;
use crate::task::state::{Failure, FailureKind, Job};
use crate::wire::kling::{Envelope, Meaning, speaks_of_duplicate};
use crate::wire::{kling_legacy as legacy, kling_new as new, liberal};

/// What to do after an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is settled.
    Settled(Created),
    /// Refused for the token's times: nothing was made, and a fresh token may do.
    SignAgain(Failure),
}

/// Judges an answer to a create; `resent` when an earlier one under its marker may
/// have arrived.
pub(super) fn judge(answer: &Answer, place: &Place, resent: bool, redactor: &Redactor) -> Verdict {
    match Envelope::read(&answer.body) {
        // Without Kling's envelope somebody else spoke, an edge or a proxy, and even a
        // plain 4xx of theirs does not tell whether the create went through.
        None => Verdict::Settled(unknown(answer, redactor)),
        Some(_) if answer.status >= 500 => Verdict::Settled(unknown(answer, redactor)),
        Some(envelope) if envelope.meaning() == Meaning::TokenTime => {
            Verdict::SignAgain(refusal(FailureKind::ProviderAuth, &envelope, redactor))
        }
        Some(envelope) => Verdict::Settled(settle(answer, &envelope, place, resent, redactor)),
    }
}

fn settle(answer: &Answer, envelope: &Envelope, place: &Place, resent: bool, redactor: &Redactor) -> Created {
    let refused = |kind| refusal(kind, envelope, redactor);
    match envelope.meaning() {
        Meaning::Ok => accepted(answer, &envelope.data, place, redactor),
        Meaning::Throttled => Created::Throttled { after: answer.retry_after(), reason: answer.described(redactor) },
        Meaning::TokenTime | Meaning::Auth | Meaning::Permission => {
            refuse_unless_resent(refused(FailureKind::ProviderAuth), resent)
        }
        Meaning::Funds => refuse_unless_resent(refused(FailureKind::ProviderFunds), resent),
        // The marker is taken: an earlier create under it arrived.
        Meaning::Parameters if resent && envelope.code == 1201 => unknown(answer, redactor),
        Meaning::Parameters if speaks_of_duplicate(&envelope.message) => unknown(answer, redactor),
        // A request that breaks the rules breaks them every time, so that an earlier
        // send of the same request made nothing either.
        Meaning::Parameters | Meaning::NotFound => Created::Refused(refused(FailureKind::ProviderRefused)),
        Meaning::Moderated => Created::Refused(refused(FailureKind::Moderated)),
        Meaning::Other if is_plain_refusal(answer.status) => {
            refuse_unless_resent(refused(FailureKind::ProviderRefused), resent)
        }
        Meaning::Server | Meaning::Other => unknown(answer, redactor),
    }
}

fn unknown(answer: &Answer, redactor: &Redactor) -> Created {
    Created::Unknown { reason: answer.described(redactor) }
}

/// Whether a 4xx says that nothing was made, whatever its code. These four may
/// be said of a request that is or was being served.
const fn is_plain_refusal(status: u16) -> bool {
    status >= 400 && status < 500 && !matches!(status, 408 | 409 | 425 | 429)
}

/// A refusal that depends on the moment (key, funds, permission) says nothing about
/// an earlier send under the same marker, which may have been taken.
pub(super) fn refuse_unless_resent(failure: Failure, resent: bool) -> Created {
    if resent {
        Created::Unknown { reason: format!("sent again and refused: {} {}", failure.provider_code, failure.message) }
    } else {
        Created::Refused(failure)
    }
}

fn refusal(kind: FailureKind, envelope: &Envelope, redactor: &Redactor) -> Failure {
    let message = redactor.redact(&envelope.message);
    let message = if message.is_empty() { "refused without a reason".to_owned() } else { message };
    Failure::free(kind, message).with_code(envelope.code.to_string())
}

fn accepted(answer: &Answer, data: &Value, place: &Place, redactor: &Redactor) -> Created {
    let id = job_id(data, place);
    if !answer.is_success() || !is_usable_id(&id) {
        return unknown(answer, redactor);
    }
    Created::Accepted(Job { id: JobId::new(id), handle: place.to_handle() })
}

/// The id in the data of a create or a look-up; empty when there is none.
pub(super) fn job_id(data: &Value, place: &Place) -> String {
    match place {
        Place::New => serde_json::from_value(data.clone()).map(|task: new::Task| task.id),
        Place::Legacy(_) => serde_json::from_value(data.clone()).map(|task: legacy::Task| task.task_id),
    }
    .unwrap_or_default()
}

/// The marker in the data of a look-up; empty when there is none.
pub(super) fn marker_in(data: &Value, place: &Place) -> String {
    let marker = match place {
        Place::New => data.get("external_id").or_else(|| data.get("external_task_id")),
        Place::Legacy(_) => data.pointer("/task_info/external_task_id"),
    };
    marker.map(liberal::text).unwrap_or_default()
}
