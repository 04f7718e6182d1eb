//! Random lives: any event at any time, under any policy, on a clock that is at
//! times set back. Whatever happens, the invariants hold and the reference agrees.

use proptest::prelude::*;

use super::invariants::{check, check_change};
use super::reference::Reference;
use super::*;
use crate::task::state::AttemptOutcome;

/// The events that a life is made of.
pub(super) fn events() -> Vec<Event> {
    let free = Failure::free(FailureKind::ProviderFailed, "failed, and not billed");
    vec![
        Event::CreateStarted,
        Event::ResendStarted,
        accepted("a"),
        accepted("b"),
        not_sent(),
        throttled(),
        refused(),
        unknown(),
        found(1, "a"),
        found(2, "b"),
        found(3, "c"),
        found(9, "z"),
        Event::WindowOver,
        pending(""),
        pending("rendering"),
        done("link"),
        done("fresh"),
        gave_up(),
        Event::Observed(Observation::Failed { failure: free, charges: vec![charge("2")] }),
        missing(),
        Event::DeadlinePassed,
        Event::CancelRequested,
        answered(CancelOutcome::Requested),
        answered(CancelOutcome::Confirmed),
        answered(CancelOutcome::AskedUpstream),
        answered(CancelOutcome::NotSupported),
        answered(CancelOutcome::TooLate),
        stored(),
        unkept(),
        held(),
        bad_image(),
    ]
}

/// One thing that happens: which, whether only among those that are allowed here,
/// and how many seconds after the one before.
#[derive(Clone, Debug)]
struct Happening {
    choice: prop::sample::Index,
    among_allowed: bool,
    gap: i64,
}

fn happening() -> impl Strategy<Value = Happening> {
    let gap =
        prop_oneof![4 => Just(1), 2 => Just(0), 2 => 0..700i64, 1 => Just(7200), 1 => Just(90_000), 1 => Just(-3600)];
    // Most events are not allowed in most states: left to chance, few lives would
    // get far.
    let parts = (any::<prop::sample::Index>(), prop::bool::weighted(0.8), gap);
    parts.prop_map(|(choice, among_allowed, gap)| Happening { choice, among_allowed, gap })
}

fn policy() -> impl Strategy<Value = UnknownPolicy> {
    let at_least = (1..=3u32).prop_map(|max_paid_attempts| UnknownPolicy::AtLeastOnce { max_paid_attempts });
    prop_oneof![Just(ONCE), at_least]
}

fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let gap = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - gap } else { time + gap }
}

/// Lives a life and shows each step: the task before, the event, the answer, when.
fn live(policy: UnknownPolicy, happenings: &[Happening], mut step: impl FnMut(&Task, &Event, &Applied, SystemTime)) {
    let Life { mut task, mut now } = Life::begin(policy);
    let events = events();
    for happening in happenings {
        now = shifted(now, happening.gap);
        let allowed = |event: &&Event| !happening.among_allowed || apply(&task, event, now) != Applied::NotAllowed;
        let open: Vec<&Event> = events.iter().filter(allowed).collect();
        let Some(event) = (!open.is_empty()).then(|| *happening.choice.get(&open)) else { continue };
        let answer = apply(&task, event, now);
        step(&task, event, &answer, now);
        if let Applied::Next(next) = answer {
            task = *next;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_life_breaks_an_invariant(policy in policy(), happenings in prop::collection::vec(happening(), 0..40)) {
        live(policy, &happenings, |task, event, answer, now| {
            assert_eq!(*answer, apply(task, event, now), "the same question has the same answer");
            if let Applied::Next(next) = answer {
                check_change(task, event, next);
                check(next, now);
            }
        });
    }

    #[test]
    fn the_reference_agrees(policy in policy(), happenings in prop::collection::vec(happening(), 0..40)) {
        let begin = Life::begin(policy).task;
        let timeout = begin.submission.generation_timeout;
        let mut reference = Reference::of(&begin);
        live(policy, &happenings, |task, event, answer, now| {
            reference.follow(event, now.max(task.updated), timeout);
            let task = if let Applied::Next(next) = answer { next } else { task };
            reference.agrees_with(task, event);
        });
    }

    /// Counts the permissions to pay as somebody would who knows nothing of
    /// attempts: each create counts, unless the one before surely was not taken
    /// or the provider takes it for the same.
    #[test]
    fn no_life_pays_more_often_than_its_policy_allows(
        policy in policy(),
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let cap = match policy {
            UnknownPolicy::AtMostOnce => 1,
            UnknownPolicy::AtLeastOnce { max_paid_attempts } => max_paid_attempts,
        };
        let mut paid = 0;
        live(policy, &happenings, |task, event, answer, _| {
            let (Event::CreateStarted, Applied::Next(_)) = (event, answer) else { return };
            let not_taken = task.attempt().is_some_and(|attempt| attempt.outcome == AttemptOutcome::NotSent);
            paid += u32::from(!not_taken);
            assert!(paid <= cap, "{paid} creates");
        });
    }
}
