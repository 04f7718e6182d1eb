//! What people read in a task.

use super::*;
use crate::task::machine::{Action, next};

#[test]
fn a_long_reason_is_cut_at_a_characters_edge() {
    let reason = format!("a{}", "é".repeat(200));
    let life = Life::begin(ONCE).sent().then(Event::CreateNotSent { reason });
    assert_eq!(life.task.attempts[0].note, format!("a{}", "é".repeat(99)));
    assert_eq!(life.task.history.last().map(|entry| entry.reason.len()), Some(119));
}

#[test]
fn a_task_that_never_had_a_turn_says_so() {
    let life = Life::begin(ONCE).at_deadline();
    assert_eq!(next(&life.task, life.now), Action::Expire);
    let life = life.then(Event::DeadlinePassed);
    assert!(life.failure().message.starts_with("no slot became free in time"));
}

#[test]
fn a_task_that_is_held_says_why_once_and_at_the_end() {
    let life = Life::begin(ONCE).then(held());
    assert_eq!(life.task.history.last().map(|entry| entry.reason.as_str()), Some("the account is held"));
    assert_eq!((life.judged(&held()), next(&life.task, life.now)), (Applied::Same, Action::Submit));
    let life = life.at_deadline().then(Event::DeadlinePassed);
    assert_eq!(life.failure().kind, FailureKind::Deadline);
    assert!(life.failure().message.ends_with("at last: the account is held") && !life.failure().maybe_charged);
}

#[test]
fn a_job_that_fails_beside_a_lost_create_tells_of_both() {
    let life = Life::begin(TWICE).sent().lost().sent().then(accepted("b")).then(gave_up());
    let message = &life.failure().message;
    assert!(message.starts_with("the model fell over; the answer to another create was lost"), "{message}");
}
