//! The table of the design, cell by cell: every situation that a task can be in
//! against every event. It is written from the design and the failure model, not
//! from the code; where they disagree one of them has a fault.

use super::*;
use crate::task::state::State;

/// The events, in the order of the columns. `a` is the job of the first attempt,
/// `b` of the second; `z` is a job nobody expects, 9 an attempt that never was.
fn columns() -> Vec<Event> {
    vec![
        Event::CreateStarted,
        Event::ResendStarted,
        //
        accepted("a"),
        accepted("z"),
        not_sent(),
        throttled(),
        refused(),
        unknown(),
        //
        found(1, "a"),
        found(2, "b"),
        found(9, "z"),
        //
        Event::WindowOver,
        //
        pending(""),
        pending("rendering"),
        done("link"),
        done("fresh"),
        gave_up(),
        missing(),
        // Before the task's limit, at it, and when a failure is past recovery.
        Event::DeadlinePassed,
        Event::DeadlinePassed,
        Event::DeadlinePassed,
        //
        Event::CancelRequested,
        //
        answered(CancelOutcome::Requested),
        answered(CancelOutcome::Confirmed),
        answered(CancelOutcome::AskedUpstream),
        answered(CancelOutcome::NotSupported),
        answered(CancelOutcome::TooLate),
        //
        stored(),
        unkept(),
        //
        held(),
        bad_image(),
    ]
}

/// The column of a deadline that has truly passed.
const DEADLINE_COLUMN: usize = 19;
/// The column of a deadline at which nothing can be recovered any more.
const OVER_COLUMN: usize = 20;

/// A row: the situation in words, how it comes about, what each event makes of it.
type Row = (&'static str, fn() -> Life, &'static str);

/// `..` is not allowed, `==` changes nothing, any other pair is the state of the
/// changed task: Qu Su Re Ru Ar Ok Fa Ca.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    //                                  start   | accept z notsent  unknown| found    |wind| old new link    missing | early  over |canc| req   asked   late |stored |held
    //                                     resend       thrott refused       1  2  9         fresh gaveup        late            conf   nosup       unkept  image
    ("queued: fresh", fresh,              "Su .. | .. .. .. .. .. .. | .. .. .. | .. | .. .. .. .. .. .. | .. Fa Fa | Ca | .. .. .. .. .. | .. .. | Qu Fa"),
    ("queued: put back", put_back,        "Su .. | .. .. .. .. .. .. | Ru .. .. | .. | .. .. .. .. .. .. | .. Fa Fa | Ca | .. .. .. .. .. | .. .. | Qu Fa"),
    ("queued: the first unaccounted", put_back_second,
                                          "Su .. | .. .. .. .. .. .. | Ru Ru .. | .. | .. .. .. .. .. .. | .. Fa Fa | Fa | .. .. .. .. .. | .. .. | Qu Fa"),

    ("submitting", || fresh().sent(),     ".. .. | Ru Ru Qu Qu Fa Re | Ru .. .. | .. | .. .. .. .. .. .. | .. .. .. | Su | .. .. .. .. .. | .. .. | Su .."),
    ("submitting: unwanted", || fresh().sent().cancel(),
                                          ".. .. | Ru Ru Ca Ca Fa Re | Ru .. .. | .. | .. .. .. .. .. .. | .. .. .. | == | .. .. .. .. .. | .. .. | Su .."),
    ("submitting: resent", resent,        ".. .. | Ru Ru Re Re Re Re | Ru .. .. | .. | .. .. .. .. .. .. | .. .. .. | Su | .. .. .. .. .. | .. .. | Su .."),
    ("submitting: resent, unwanted", || resent().cancel(),
                                          ".. .. | Ru Ru Re Re Re Re | Ru .. .. | .. | .. .. .. .. .. .. | .. .. .. | == | .. .. .. .. .. | .. .. | Su .."),
    ("submitting: second attempt", second,".. .. | Ru Ru Qu Qu Fa Re | Ru Ru .. | .. | .. .. .. .. .. .. | .. .. .. | Su | .. .. .. .. .. | .. .. | Su .."),
    ("submitting: second, unwanted", || second().cancel(),
                                          ".. .. | Ru Ru Fa Fa Fa Re | Ru Ru .. | .. | .. .. .. .. .. .. | .. .. .. | == | .. .. .. .. .. | .. .. | Su .."),

    ("reconciling: at most once", lost,   ".. Su | Ru Ru .. .. .. .. | Ru .. .. | Fa | .. .. .. .. .. .. | .. .. .. | Re | .. .. .. .. .. | .. .. | Re .."),
    ("reconciling: unwanted", || lost().cancel(),
                                          ".. Su | Ru Ru .. .. .. .. | Ru .. .. | Fa | .. .. .. .. .. .. | .. .. .. | == | .. .. .. .. .. | .. .. | Re .."),
    ("reconciling: may buy again", || second_allowed(),
                                          "Su Su | Ru Ru .. .. .. .. | Ru .. .. | Fa | .. .. .. .. .. .. | .. .. .. | Re | .. .. .. .. .. | .. .. | Re .."),
    ("reconciling: may, but unwanted", || second_allowed().cancel(),
                                          ".. Su | Ru Ru .. .. .. .. | Ru .. .. | Fa | .. .. .. .. .. .. | .. .. .. | == | .. .. .. .. .. | .. .. | Re .."),
    ("reconciling: has bought again", || second().lost(),
                                          ".. Su | Ru Ru .. .. .. .. | Ru Ru .. | Fa | .. .. .. .. .. .. | .. .. .. | Re | .. .. .. .. .. | .. .. | Re .."),

    ("running", running,                  ".. .. | == Ru .. .. .. .. | == .. .. | .. | == Ru Ar Ar Fa Ru | .. Fa Fa | Ru | .. .. .. .. .. | .. .. | Ru .."),
    ("running: second attempt", || second().then(accepted("b")),
                                          ".. .. | Ru Ru .. .. .. .. | Ru == .. | .. | == Ru Ar Ar Fa Ru | .. Fa Fa | Ru | .. .. .. .. .. | .. .. | Ru .."),
    ("running: missing", || running().then(missing()),
                                          ".. .. | == Ru .. .. .. .. | == .. .. | .. | Ru Ru Ar Ar Fa Ru | .. Fa Fa | Ru | .. .. .. .. .. | .. .. | Ru .."),
    ("running: missing for long", || running().then(missing()).then(missing()).after(10 * MINUTE),
                                          ".. .. | == Ru .. .. .. .. | == .. .. | .. | Ru Ru Ar Ar Fa Fa | .. Fa Fa | Ru | .. .. .. .. .. | .. .. | Ru .."),
    ("running: unwanted", unwanted,       ".. .. | == Ru .. .. .. .. | == .. .. | .. | == Ru Ar Ar Fa Ru | .. Fa Fa | == | == Ca Ru Ru Ru | .. .. | Ru .."),
    ("running: asked to stop", || unwanted().then(answered(CancelOutcome::AskedUpstream)),
                                          ".. .. | == Ru .. .. .. .. | == .. .. | .. | == Ru Ar Ar Ca Ru | .. Fa Fa | == | == Ca == Ru Ru | .. .. | Ru .."),
    ("running: cannot be stopped", || unwanted().then(answered(CancelOutcome::NotSupported)),
                                          ".. .. | == Ru .. .. .. .. | == .. .. | .. | == Ru Ar Ar Fa Ru | .. Fa Fa | == | == Ca Ru == Ru | .. .. | Ru .."),
    ("running: too late to stop", || unwanted().then(answered(CancelOutcome::TooLate)),
                                          ".. .. | == Ru .. .. .. .. | == .. .. | .. | == Ru Ar Ar Fa Ru | .. Fa Fa | == | == Ca Ru Ru == | .. .. | Ru .."),
    ("running: bought twice", bought_twice,
                                          ".. .. | == == .. .. .. .. | == .. .. | .. | == Ru Ar Ar Ru Ru | .. Fa Fa | Ru | .. .. .. .. .. | .. .. | Ru .."),
    ("running: bought twice, asked to stop", || bought_twice().cancel().then(answered(CancelOutcome::AskedUpstream)),
                                          ".. .. | == == .. .. .. .. | == .. .. | .. | == Ru Ar Ar Ru Ru | .. Fa Fa | == | == Ru == Ru Ru | .. .. | Ru .."),
    ("running: bought twice, long missing", || bought_twice().then(missing()).then(missing()).after(10 * MINUTE),
                                          ".. .. | == == .. .. .. .. | == .. .. | .. | Ru Ru Ar Ar Ru Ru | .. Fa Fa | Ru | .. .. .. .. .. | .. .. | Ru .."),

    ("archiving", archiving,              ".. .. | == Ar .. .. .. .. | == .. .. | .. | == == == Ar == == | .. .. .. | Ar | .. .. .. .. .. | Ok Fa | Ar .."),
    ("archiving: unwanted", || archiving().cancel(),
                                          ".. .. | == Ar .. .. .. .. | == .. .. | .. | == == == Ar == == | .. .. .. | == | .. .. .. .. .. | Ok Fa | Ar .."),

    ("archiving: bought twice", || bought_twice().then(done("link")),
                                          ".. .. | == == .. .. .. .. | == .. .. | .. | == == == Ar == == | .. .. .. | Ar | .. .. .. .. .. | Ok Ru | Ar .."),

    ("succeeded", || archiving().then(stored()),
                                          ".. .. | == Ok .. .. .. .. | == .. .. | .. | == == == == == == | .. .. .. | .. | .. .. .. .. .. | .. .. | .. .."),

    ("failed: for good", || fresh().sent().then(refused()),
                                          ".. .. | Fa Fa .. .. .. .. | Fa .. .. | .. | == == == == == == | .. .. .. | .. | .. .. .. .. .. | .. .. | .. .."),
    ("failed: outcome unknown", window_over,
                                          ".. .. | Fa Fa .. .. .. .. | Fa .. .. | .. | == == == == == == | .. .. Fa | .. | .. .. .. .. .. | Ok Fa | Fa .."),
    ("failed: unknown, then found", || window_over().then(found(1, "a")),
                                          ".. .. | == Fa .. .. .. .. | == .. .. | .. | == == Fa Fa Fa == | .. .. Fa | .. | .. .. .. .. .. | Ok Fa | Fa .."),
    ("failed: out of time", late,         ".. .. | == Fa .. .. .. .. | == .. .. | .. | == == Fa Fa Fa == | .. .. Fa | .. | .. .. .. .. .. | Ok Fa | Fa .."),
    ("failed: the late video is here", || late().then(done("link")),
                                          ".. .. | == Fa .. .. .. .. | == .. .. | .. | == == == Fa == == | .. .. Fa | .. | .. .. .. .. .. | Ok Fa | Fa .."),
    ("failed: out of time, bought twice", || bought_twice().at_deadline().then(Event::DeadlinePassed),
                                          ".. .. | == == .. .. .. .. | == .. .. | .. | == == Fa Fa Fa == | .. .. Fa | .. | .. .. .. .. .. | Ok Fa | Fa .."),
    ("failed: out of time, and closed", || late().past_recovery().then(Event::DeadlinePassed),
                                          ".. .. | == Fa .. .. .. .. | == .. .. | .. | == == == == == == | .. .. .. | .. | .. .. .. .. .. | .. .. | .. .."),
    ("failed: late and given up", || late().then(gave_up()),
                                          ".. .. | == Fa .. .. .. .. | == .. .. | .. | == == == == == == | .. .. .. | .. | .. .. .. .. .. | .. .. | .. .."),
    ("failed: too late to recover", || late().then(done("link")).after(24 * HOUR),
                                          ".. .. | == Fa .. .. .. .. | == .. .. | .. | == == == == == == | Fa Fa Fa | .. | .. .. .. .. .. | .. .. | Fa .."),
    ("failed: too late to be found", || window_over().after(24 * HOUR),
                                          ".. .. | Fa Fa .. .. .. .. | Fa .. .. | .. | == == == == == == | Fa Fa Fa | .. | .. .. .. .. .. | .. .. | Fa .."),

    ("cancelled: before the create", || fresh().cancel(),
                                          ".. .. | .. .. .. .. .. .. | .. .. .. | .. | == == == == == == | .. .. .. | == | .. .. .. .. .. | .. .. | .. .."),
    ("cancelled: by the provider", || unwanted().then(answered(CancelOutcome::Confirmed)),
                                          ".. .. | == Ca .. .. .. .. | == .. .. | .. | == == == == == == | .. .. .. | == | .. .. .. .. .. | .. .. | .. .."),
];

fn fresh() -> Life {
    Life::begin(ONCE)
}

fn put_back() -> Life {
    fresh().sent().then(not_sent())
}

fn lost() -> Life {
    fresh().sent().lost()
}

fn resent() -> Life {
    lost().then(Event::ResendStarted)
}

fn second_allowed() -> Life {
    Life::begin(TWICE).sent().lost()
}

fn second() -> Life {
    second_allowed().sent()
}

fn put_back_second() -> Life {
    second().then(not_sent())
}

fn running() -> Life {
    fresh().running()
}

fn bought_twice() -> Life {
    running().then(accepted("z"))
}

fn unwanted() -> Life {
    running().cancel()
}

fn archiving() -> Life {
    fresh().archiving()
}

fn window_over() -> Life {
    lost().then(Event::WindowOver)
}

fn late() -> Life {
    running().at_deadline().then(Event::DeadlinePassed)
}

/// The cell's notation for what became of the task.
fn notation(applied: &Applied) -> &'static str {
    let task = match applied {
        Applied::NotAllowed => return "..",
        Applied::Same => return "==",
        Applied::Next(task) => task,
    };
    match task.state {
        State::Queued => "Qu",
        State::Submitting => "Su",
        State::Reconciling => "Re",
        State::Running => "Ru",
        State::Archiving => "Ar",
        State::Succeeded => "Ok",
        State::Failed => "Fa",
        State::Cancelled => "Ca",
    }
}

#[test]
fn every_situation_answers_every_event_as_the_design_says() {
    let mut wrong = Vec::new();
    for (situation, life, cells) in ROWS {
        let cells: Vec<&str> = cells.split_whitespace().filter(|cell| *cell != "|").collect();
        assert_eq!(cells.len(), columns().len(), "{situation}");
        for (column, (event, expected)) in columns().iter().zip(cells).enumerate() {
            let life = match column {
                DEADLINE_COLUMN => life().at_deadline(),
                OVER_COLUMN => life().past_recovery(),
                _ => life(),
            };
            let is = notation(&life.judged(event));
            if is != expected {
                wrong.push(format!("{situation} + {event:?}: is {is}, should be {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_table_leaves_out_no_state_and_no_event() {
    for state in State::ALL {
        assert!(ROWS.iter().any(|(_, life, _)| life().is(state)), "{state:?}");
    }
    let mut kinds: Vec<u32> = columns().iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (0..KINDS).collect::<Vec<_>>());
}

const KINDS: u32 = 24;

/// Numbers the events: one that is added to the machine asks here for its column.
fn kind(event: &Event) -> u32 {
    match event {
        Event::CreateStarted => 0,
        Event::ResendStarted => 1,
        Event::CreateAccepted(_) => 2,
        Event::CreateNotSent { .. } => 3,
        Event::CreateThrottled { .. } => 4,
        Event::CreateRefused(_) => 5,
        Event::CreateUnknown { .. } => 6,
        Event::JobFound { .. } => 7,
        Event::WindowOver => 8,
        Event::Observed(Observation::Pending(_)) => 9,
        Event::Observed(Observation::Succeeded { .. }) => 10,
        Event::Observed(Observation::Failed { .. }) => 11,
        Event::Observed(Observation::Missing) => 12,
        Event::DeadlinePassed => 13,
        Event::CancelRequested => 14,
        Event::CancelAnswered(CancelOutcome::Requested) => 15,
        Event::CancelAnswered(CancelOutcome::Confirmed) => 16,
        Event::CancelAnswered(CancelOutcome::AskedUpstream) => 17,
        Event::CancelAnswered(CancelOutcome::NotSupported) => 18,
        Event::CancelAnswered(CancelOutcome::TooLate) => 19,
        Event::ArtifactStored(_) => 20,
        Event::ArtifactFailed(_) => 21,
        Event::Held { .. } => 22,
        Event::ImageRejected(_) => 23,
    }
}
