//! The lives that matter, told one by one: what was bought, what was lost on the
//! way, and what the caller is told in the end.

use super::*;
use crate::task::id::{Marker, Revision};
use crate::task::machine::{Action, next};
use crate::task::state::{Attempt, AttemptOutcome, HISTORY_KEPT};

fn next_of(life: &Life) -> Action {
    next(&life.task, life.now)
}

fn outcomes(life: &Life) -> Vec<AttemptOutcome> {
    life.task.attempts.iter().map(|attempt| attempt.outcome).collect()
}

fn last(life: &Life) -> &Attempt {
    life.task.attempt().expect("a create was begun")
}

#[test]
fn an_ordinary_life_buys_once_and_keeps_the_video() {
    let life = Life::begin(ONCE);
    assert_eq!((life.task.revision, next_of(&life)), (Revision(1), Action::Submit));
    let life = life.sent();
    assert_eq!(next_of(&life), Action::Reconcile, "whoever finds it here does not know how the create went");
    let life = life.then(accepted("a"));
    assert_eq!(next_of(&life), Action::Poll);
    let life = life.then(pending("rendering")).then(done("link"));
    assert_eq!(next_of(&life), Action::Archive);
    let life = life.then(stored());
    assert_eq!((next_of(&life), life.task.revision), (Action::Nothing, Revision(6)));
    assert_eq!(outcomes(&life), [AttemptOutcome::Accepted]);
    assert_eq!(life.task.charges, [charge("1")]);
}

#[test]
fn a_create_that_was_not_sent_is_sent_again_under_the_same_attempt() {
    let life = Life::begin(ONCE).sent().then(not_sent()).sent().then(throttled()).sent();
    assert_eq!(outcomes(&life), [AttemptOutcome::Pending]);
    assert_eq!((last(&life).sends, last(&life).ended), (3, None));
    assert_eq!(last(&life).started + 4 * SECOND, last(&life).sent);
}

#[test]
fn a_lost_answer_is_looked_up_and_the_job_found() {
    let lost = Life::begin(ONCE).sent().lost();
    assert_eq!(next_of(&lost), Action::Reconcile);
    let life = lost.then(found(1, "a"));
    assert!(life.is(State::Running));
    assert_eq!((last(&life).sends, &last(&life).job), (1, &Some(JobId::new("a"))));
    assert!(last(&life).unknown_since.is_some(), "that it was unknown stays visible");
}

#[test]
fn a_create_is_resent_under_the_same_marker() {
    let life = Life::begin(ONCE).sent().lost().then(Event::ResendStarted);
    assert_eq!(life.task.attempts.len(), 1);
    assert_eq!((last(&life).sends, &last(&life).marker), (2, &Marker::of(life.task.id, 1)));
}

#[test]
fn what_befalls_a_resend_says_nothing_of_the_first_send() {
    let lost = Life::begin(ONCE).sent().lost();
    let since = last(&lost).unknown_since;
    for answer in [refused(), not_sent(), throttled(), unknown()] {
        let life = lost.clone().after(MINUTE).then(Event::ResendStarted).then(answer);
        assert!(life.is(State::Reconciling));
        assert_eq!(outcomes(&life), [AttemptOutcome::Unknown]);
        assert_eq!(last(&life).unknown_since, since, "the window is not opened anew");
    }
}

#[test]
fn an_unknown_outcome_ends_in_an_honest_failure_that_can_be_recovered() {
    let life = Life::begin(ONCE).sent().lost();
    assert_eq!(life.judged(&Event::CreateStarted), Applied::NotAllowed);
    let life = life.then(Event::WindowOver);
    assert_eq!((life.failure().kind, life.failure().maybe_charged), (FailureKind::SubmitOutcomeUnknown, true));
    assert_eq!(life.failure().recoverable_until, Some(life.now + 24 * HOUR));
    assert_eq!(next_of(&life), Action::Reconcile);

    let life = life.after(HOUR).then(found(1, "a"));
    assert!(life.is(State::Failed));
    assert_eq!(next_of(&life), Action::Poll);
    let life = life.then(done("link"));
    assert_eq!(next_of(&life), Action::Archive);
    let life = life.then(stored());
    assert!(life.is(State::Succeeded) && life.task.failure.is_none());
}

#[test]
fn who_must_have_the_video_buys_again_up_to_the_cap() {
    let life = Life::begin(TWICE).sent().lost().sent().lost();
    assert_eq!(outcomes(&life), [AttemptOutcome::Unknown; 2]);
    assert_eq!(last(&life).marker, Marker::of(life.task.id, 2));
    assert_eq!(life.judged(&Event::CreateStarted), Applied::NotAllowed);
    let life = life.then(found(1, "a"));
    assert_eq!(outcomes(&life), [AttemptOutcome::Accepted, AttemptOutcome::Unknown], "the first stays adoptable");
}

#[test]
fn an_earlier_unknown_attempt_is_not_forgotten() {
    let second = Life::begin(TWICE).sent().lost().sent();
    let ends = [
        second.clone().then(refused()),
        second.clone().cancel().then(not_sent()),
        second.clone().then(throttled()).cancel(),
        second.then(not_sent()).at_deadline().then(Event::DeadlinePassed),
    ];
    for life in ends {
        assert_eq!((life.failure().kind, life.failure().maybe_charged), (FailureKind::SubmitOutcomeUnknown, true));
        assert_eq!(next_of(&life), Action::Reconcile);
        let life = life.then(found(1, "a")).then(done("link")).then(stored());
        assert!(life.is(State::Succeeded));
    }
}

#[test]
fn nothing_more_is_bought_for_who_has_cancelled() {
    let life = Life::begin(TWICE).sent().lost().cancel();
    assert_eq!(life.judged(&Event::CreateStarted), Applied::NotAllowed);
    let life = life.then(Event::WindowOver);
    assert_eq!(life.failure().kind, FailureKind::SubmitOutcomeUnknown);
}

#[test]
fn a_cancel_before_the_create_is_free_and_certain() {
    let queued = Life::begin(ONCE).cancel();
    let put_back = Life::begin(ONCE).sent().cancel().then(not_sent());
    for life in [queued, put_back] {
        assert!(life.is(State::Cancelled));
        assert_eq!(life.cancellation(), Some(CancelOutcome::Confirmed));
        assert_eq!(next_of(&life), Action::Nothing);
    }
}

#[test]
fn a_wish_to_cancel_waits_until_there_is_a_job_to_stop() {
    let submitting = Life::begin(ONCE).sent().cancel().then(accepted("a"));
    let reconciling = Life::begin(ONCE).sent().lost().cancel().then(found(1, "a"));
    let running = Life::begin(ONCE).running().cancel();
    for life in [submitting, reconciling, running] {
        assert_eq!(next_of(&life), Action::Cancel);
        let stopped = life.clone().then(answered(CancelOutcome::Confirmed));
        assert!(stopped.is(State::Cancelled));
        let asked = life.then(answered(CancelOutcome::AskedUpstream));
        assert_eq!(next_of(&asked), Action::Poll, "asked once, then followed");
        let stopped = asked.then(gave_up());
        assert!(stopped.is(State::Cancelled));
        assert_eq!(stopped.cancellation(), Some(CancelOutcome::Confirmed));
    }
}

#[test]
fn a_video_that_outruns_its_cancel_is_kept() {
    for asked in [false, true] {
        let mut life = Life::begin(ONCE).running().cancel();
        if asked {
            life = life.then(answered(CancelOutcome::AskedUpstream));
        }
        let life = life.then(done("link")).then(stored());
        assert_eq!((life.task.state, life.cancellation()), (State::Succeeded, Some(CancelOutcome::TooLate)));
    }
    let life = Life::begin(ONCE).archiving().cancel().then(stored());
    assert_eq!((life.task.state, life.cancellation()), (State::Succeeded, Some(CancelOutcome::TooLate)));
}

#[test]
fn a_video_that_nobody_can_cancel_goes_on_to_succeed() {
    let life = Life::begin(ONCE).running().cancel().then(answered(CancelOutcome::NotSupported));
    assert_eq!(next_of(&life), Action::Poll);
    let life = life.then(done("link")).then(stored());
    assert_eq!((life.task.state, life.cancellation()), (State::Succeeded, Some(CancelOutcome::NotSupported)));
}

#[test]
fn a_final_task_hears_of_no_cancel() {
    let succeeded = Life::begin(ONCE).archiving().then(stored());
    let failed = Life::begin(ONCE).sent().then(refused());
    for life in [succeeded, failed] {
        assert_eq!(life.judged(&Event::CancelRequested), Applied::NotAllowed);
    }
    assert_eq!(Life::begin(ONCE).cancel().judged(&Event::CancelRequested), Applied::Same);
}

#[test]
fn a_video_after_the_deadline_turns_the_task_around() {
    let life = Life::begin(ONCE).running().at_deadline();
    assert_eq!(next_of(&life), Action::Expire);
    let life = life.then(Event::DeadlinePassed);
    assert_eq!((life.failure().kind, next_of(&life)), (FailureKind::Deadline, Action::Poll));
    let late = life.clone().after(23 * HOUR).then(done("link")).then(stored());
    assert!(late.is(State::Succeeded) && late.task.failure.is_none());
    assert_eq!(late.task.ended, Some(late.now));

    let too_late = life.then(done("link")).after(24 * HOUR);
    assert_eq!(next_of(&too_late), Action::Expire);
    assert_eq!(too_late.judged(&stored()), Applied::NotAllowed);
    let closed = too_late.then(Event::DeadlinePassed);
    assert!(!closed.task.is_open() && closed.failure().recoverable_until.is_none());
    assert_eq!((closed.failure().kind, next_of(&closed)), (FailureKind::Deadline, Action::Nothing));
    assert_eq!(closed.judged(&Event::DeadlinePassed), Applied::NotAllowed);
}

#[test]
fn a_job_that_seems_missing_is_given_up_only_after_ten_minutes() {
    let once = Life::begin(ONCE).running().then(missing());
    let leapt = once.clone().after(HOUR).then(missing());
    assert!(leapt.is(State::Running), "two answers and a clock that leaps are not enough");
    let life = once.then(missing()).then(missing());
    assert_eq!(life.clone().after(597 * SECOND - SECOND).judged(&missing()), Applied::Same);
    let back = life.clone().after(598 * SECOND).then(pending("rendering")).then(missing());
    assert!(back.is(State::Running), "the ten minutes begin anew");
    let lost = life.after(597 * SECOND).then(missing());
    assert_eq!((lost.failure().kind, lost.failure().maybe_charged), (FailureKind::ProviderLostJob, true));
}

#[test]
fn the_deadline_moves_once_when_the_generation_begins() {
    let queued = Life::begin(ONCE);
    assert_eq!(queued.task.deadline, queued.task.created + 24 * HOUR);
    let sent = queued.clone().after(5 * HOUR).sent();
    assert_eq!(sent.task.deadline, queued.task.deadline);
    let running = sent.then(accepted("a"));
    assert_eq!(running.task.deadline, running.now + running.task.submission.generation_timeout);
    let later = running.clone().then(pending("rendering")).then(done("link")).then(done("fresh"));
    assert_eq!(later.task.deadline, running.task.deadline);
}

#[test]
fn the_history_keeps_the_last_entries_only() {
    let mut life = Life::begin(ONCE);
    for _ in 0..HISTORY_KEPT {
        life = life.sent().then(throttled());
    }
    assert_eq!(life.task.history.len(), HISTORY_KEPT);
    assert!(life.task.history.iter().all(|entry| entry.reason != "accepted"));
    assert_eq!(life.task.history.last().map(|entry| entry.time), Some(life.now));
}

#[test]
fn a_poll_that_changed_nothing_writes_nothing() {
    let life = Life::begin(ONCE).running().then(pending("rendering"));
    assert_eq!(life.judged(&pending("rendering")), Applied::Same);
    let life = life.then(done("link"));
    assert_eq!(life.judged(&done("link")), Applied::Same);
}

#[test]
fn every_job_that_was_paid_for_stays_on_record() {
    let second = Life::begin(TWICE).sent().lost().sent();
    let life = second.then(found(1, "a")).then(accepted("b"));
    let jobs: Vec<_> = life.task.attempts.iter().filter_map(|attempt| attempt.job.as_ref()).collect();
    assert_eq!(jobs, [&JobId::new("a"), &JobId::new("b")]);

    assert_eq!((&life.task.job, &life.task.spares), (&Some(job("a")), &vec![job("b")]));

    let twice = Life::begin(ONCE).running().then(found(1, "z"));
    assert!(last(&twice).note.ends_with("further jobs: z"));
    assert_eq!(twice.judged(&found(1, "z")), Applied::Same);
    assert_eq!((&twice.task.job, &twice.task.spares), (&Some(job("a")), &vec![job("z")]));
    let thrice = twice.then(found(1, "y"));
    assert!(last(&thrice).note.ends_with("further jobs: z y"));
    for known in ["a", "z", "y"] {
        assert_eq!(thrice.judged(&found(1, known)), Applied::Same);
    }
}

#[test]
fn only_so_many_further_jobs_are_kept() {
    let bought = ["b", "c", "d", "e", "f"].map(accepted).into_iter().fold(Life::begin(ONCE).running(), Life::then);
    assert_eq!(bought.task.spares, ["b", "c", "d", "e"].map(job));
    assert!(last(&bought).note.ends_with("b c d e f"), "what was paid for stays on record");
}

fn bought_twice() -> Life {
    Life::begin(ONCE).running().then(accepted("z"))
}

fn long_missing(life: Life) -> Life {
    life.then(missing()).then(missing()).after(10 * MINUTE).then(missing())
}

#[test]
fn a_second_job_is_followed_when_the_first_gives_no_video() {
    let ends = [
        bought_twice().then(gave_up()),
        long_missing(bought_twice()),
        bought_twice().then(done("link")).then(unkept()),
        bought_twice().cancel().then(answered(CancelOutcome::NotSupported)).then(gave_up()),
    ];
    for life in ends {
        assert_eq!((&life.task.job, next_of(&life)), (&Some(job("z")), Action::Poll));
        assert!(life.task.spares.is_empty() && life.task.output.is_none() && life.task.failure.is_none());
        let video = life.clone().then(done("other")).then(stored());
        assert!(video.is(State::Succeeded));
        assert!(life.then(gave_up()).is(State::Failed), "there is no third one");
    }
}

#[test]
fn a_second_job_is_followed_after_the_deadline_too() {
    let late = bought_twice().at_deadline().then(Event::DeadlinePassed);
    let ends = [late.clone().then(gave_up()), late.then(done("link")).then(unkept())];
    for life in ends {
        assert!(life.is(State::Failed));
        assert_eq!((&life.task.job, next_of(&life)), (&Some(job("z")), Action::Poll));
        assert!(life.clone().then(done("other")).then(stored()).is(State::Succeeded));
        assert_eq!(next_of(&life.then(gave_up())), Action::Nothing);
    }
}

#[test]
fn a_wish_to_cancel_reaches_the_second_job_too() {
    let asked = bought_twice().cancel().then(answered(CancelOutcome::AskedUpstream));
    let ends = [asked.clone().then(gave_up()), asked.then(answered(CancelOutcome::Confirmed))];
    for life in ends {
        assert_eq!((&life.task.job, next_of(&life)), (&Some(job("z")), Action::Cancel));
        assert!(life.then(answered(CancelOutcome::Confirmed)).is(State::Cancelled));
    }
}

/// Its first create was lost, and the policy bought a second one.
fn bought_after_a_loss() -> Life {
    Life::begin(TWICE).sent().lost().sent().then(accepted("b"))
}

#[test]
fn an_earlier_create_without_an_answer_is_looked_for_when_the_later_job_gives_no_video() {
    let asked = || bought_after_a_loss().cancel().then(answered(CancelOutcome::AskedUpstream));
    let late = || bought_after_a_loss().at_deadline().then(Event::DeadlinePassed);
    let ends = [
        bought_after_a_loss().then(gave_up()),
        long_missing(bought_after_a_loss()),
        bought_after_a_loss().then(done("link")).then(unkept()),
        asked().then(gave_up()),
        asked().then(answered(CancelOutcome::Confirmed)),
        late().then(gave_up()),
        late().then(done("link")).then(unkept()),
    ];
    for life in ends {
        assert_eq!((life.task.state, &life.task.job, next_of(&life)), (State::Failed, &None, Action::Reconcile));
        assert!(life.failure().maybe_charged && life.task.is_recoverable(life.now));
        assert_eq!(life.judged(&found(2, "b")), Applied::Same, "the job that gave no video is not followed again");
        let found = life.then(found(1, "a"));
        assert_eq!((&found.task.job, next_of(&found)), (&Some(job("a")), Action::Poll));
        assert!(found.clone().then(done("other")).then(stored()).is(State::Succeeded));
        assert_eq!(next_of(&found.then(gave_up())), Action::Nothing, "there is no third one");
    }
}

#[test]
fn the_job_of_an_earlier_attempt_is_adopted_whatever_the_later_one_does() {
    let second = || Life::begin(TWICE).sent().lost().sent();
    let queued = second().then(not_sent()).then(found(1, "a"));
    let pending = second().then(found(1, "a"));
    let lost = second().lost().then(found(1, "a"));
    let ends = [AttemptOutcome::NotSent, AttemptOutcome::Unknown, AttemptOutcome::Unknown];
    for (life, later) in [queued, pending, lost].into_iter().zip(ends) {
        assert_eq!((life.task.state, &life.task.job), (State::Running, &Some(job("a"))));
        assert_eq!(outcomes(&life), [AttemptOutcome::Accepted, later]);
        assert_eq!(life.judged(&Event::CreateStarted), Applied::NotAllowed, "nothing more is bought");
    }
    let running = second().then(accepted("b")).then(found(1, "a"));
    assert_eq!((&running.task.job, &running.task.spares), (&Some(job("b")), &vec![job("a")]));
    let after_failure = second().lost().then(Event::WindowOver).then(found(1, "a")).then(found(2, "b"));
    assert_eq!((&after_failure.task.job, &after_failure.task.spares), (&Some(job("a")), &vec![job("b")]));
}

#[test]
fn a_wish_that_could_not_be_passed_on_is_too_late_when_the_task_fails() {
    let ends = [
        Life::begin(ONCE).sent().cancel().then(refused()),
        Life::begin(ONCE).sent().lost().cancel().then(Event::WindowOver),
        Life::begin(ONCE).running().cancel().then(gave_up()),
        Life::begin(ONCE).running().cancel().at_deadline().then(Event::DeadlinePassed),
        long_missing(Life::begin(ONCE).running().cancel()),
        Life::begin(TWICE).sent().lost().sent().then(throttled()).cancel(),
    ];
    for life in ends {
        assert_eq!((life.task.state, life.cancellation()), (State::Failed, Some(CancelOutcome::TooLate)));
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_turn_back_the_task() {
    let life = Life::begin(ONCE).running();
    let Applied::Next(task) = apply(&life.task, &done("link"), life.now - HOUR) else { panic!("it is done") };
    assert_eq!(task.updated, life.now);
}

#[test]
fn a_deadline_that_has_not_passed_is_not_believed() {
    assert_eq!(Life::begin(ONCE).running().judged(&Event::DeadlinePassed), Applied::NotAllowed);
}
