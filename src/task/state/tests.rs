//! The words by which the outside knows states and failures, and small questions
//! that a task answers about itself.

use super::*;
use crate::task::fixture;

#[test]
fn each_state_has_its_word_and_three_are_final() {
    let words = ["QUEUED", "SUBMITTING", "RECONCILING", "RUNNING", "ARCHIVING", "SUCCEEDED", "FAILED", "CANCELLED"];
    assert_eq!(State::ALL.map(State::word), words);
    assert_eq!(State::ALL.map(State::is_final), [false, false, false, false, false, true, true, true]);
}

#[test]
fn each_kind_of_failure_has_its_word() {
    let words = [
        (FailureKind::ProviderRefused, "PROVIDER_REFUSED"),
        (FailureKind::Moderated, "MODERATED"),
        (FailureKind::ProviderAuth, "PROVIDER_AUTH"),
        (FailureKind::ProviderFunds, "PROVIDER_FUNDS"),
        (FailureKind::ProviderFailed, "PROVIDER_FAILED"),
        (FailureKind::ProviderLostJob, "PROVIDER_LOST_JOB"),
        (FailureKind::SubmitOutcomeUnknown, "SUBMIT_OUTCOME_UNKNOWN"),
        (FailureKind::ArtifactLost, "ARTIFACT_LOST"),
        (FailureKind::ArtifactRejected, "ARTIFACT_REJECTED"),
        (FailureKind::TargetForbidden, "TARGET_FORBIDDEN"),
        (FailureKind::Deadline, "DEADLINE"),
        (FailureKind::ImageRejected, "IMAGE_REJECTED"),
    ];
    for (kind, word) in words {
        assert_eq!(kind.word(), word);
    }
}

#[test]
fn each_outcome_of_a_cancel_has_its_word() {
    let words = [
        (CancelOutcome::Requested, "REQUESTED"),
        (CancelOutcome::Confirmed, "CONFIRMED"),
        (CancelOutcome::AskedUpstream, "ASKED_UPSTREAM"),
        (CancelOutcome::NotSupported, "NOT_SUPPORTED"),
        (CancelOutcome::TooLate, "TOO_LATE"),
    ];
    for (outcome, word) in words {
        assert_eq!(outcome.word(), word);
    }
}

#[test]
fn each_container_has_its_type_and_its_ending() {
    let named = |media: Media| (media.media_type(), media.extension());
    assert_eq!(named(Media::Mp4), ("video/mp4", "mp4"));
    assert_eq!(named(Media::QuickTime), ("video/quicktime", "mov"));
    assert_eq!(named(Media::WebM), ("video/webm", "webm"));
}

#[test]
fn a_failure_keeps_what_it_says_when_it_gets_a_code() {
    let failure = Failure::charged(FailureKind::Moderated, "not this").with_code("1301");
    assert_eq!((failure.provider_code.as_str(), failure.message.as_str()), ("1301", "not this"));
    assert_eq!((failure.kind, failure.maybe_charged), (FailureKind::Moderated, true));
}

#[test]
fn an_attempt_knows_its_job_and_those_that_its_note_names() {
    let mut attempt = fixture::task(1).running().attempts.remove(0);
    attempt.job = Some(JobId::new("a"));
    attempt.note = "further jobs: b c,d".to_owned();
    let bought = |attempt: &Attempt| ["a", "b", "c", "d", "e"].map(|job| attempt.has_bought(&JobId::new(job)));
    assert_eq!(bought(&attempt), [true, true, true, true, false]);
    attempt.job = None;
    assert_eq!(bought(&attempt), [false; 5], "the note of an attempt without a job names none");
}
