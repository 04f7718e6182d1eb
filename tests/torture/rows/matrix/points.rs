//! The forty points at which a process may die or the world may fail, as the
//! reliability notes number them, and what the matrix does at each of them: before
//! and after the step that the point is about.

use super::deeds::Deed;
use crate::load::Hope;

/// One of the forty.
pub struct Point {
    /// Its number, from 1.
    pub number: usize,
    /// The blow before the step, and the one after it.
    pub blows: [Blow; 2],
    /// What else is asked for, so that the point is reached.
    pub extras: &'static [Extra],
    /// What else is set.
    pub setting: Setting,
}

/// How the process dies.
pub enum Blow {
    /// At a failpoint, when it is reached for the time that the seed draws.
    At(&'static str, std::ops::RangeInclusive<u32>),
    /// So many milliseconds after a failpoint, drawn by the seed: for moments that
    /// lie within somebody else's code.
    Soon(&'static str, std::ops::RangeInclusive<u32>),
    /// By these failpoints, as they are written.
    Trap(&'static str),
    /// At the same failpoint, three starts in a row.
    Thrice(&'static str),
    /// At a failpoint of the removal of what was kept long enough, once everything
    /// has come to its end.
    Removing(&'static str),
    /// At a failpoint of the start that follows a kill.
    Starting(&'static str),
    /// At a failpoint of the end that follows SIGTERM.
    Ending(&'static str),
    /// By itself, because the store fails there: nothing kills it.
    FailStop(&'static str),
    /// From outside, after something was done to it.
    After(Deed),
}

/// One more request.
pub struct Extra {
    /// The model.
    pub model: &'static str,
    /// `[sim:...]` directives.
    pub directives: &'static str,
    /// How it may end.
    pub hope: Hope,
    /// How many paid creates it allows.
    pub paid: u32,
}

/// What is unlike the other points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Nothing.
    Plain,
    /// One job at a time for each model.
    Narrow,
    /// Every second poll fails.
    DeafPolls,
    /// Providers call back.
    Callbacks,
    /// A receiver is told of every task, and turns some tries away.
    Webhooks,
    /// Each request has two callers at once.
    TwoCallers,
    /// Callers cancel what they were promised.
    Cancels,
}

const fn extra(model: &'static str, directives: &'static str) -> Extra {
    Extra { model, directives, hope: Hope::Video, paid: 1 }
}

const fn plain(number: usize, before: Blow, after: Blow) -> Point {
    Point { number, blows: [before, after], extras: &[], setting: Setting::Plain }
}

const fn with(number: usize, before: Blow, after: Blow, extras: &'static [Extra], setting: Setting) -> Point {
    Point { number, blows: [before, after], extras, setting }
}

const KLING: &str = "kling/kling-3.0";
const LEGACY: &str = "kling/kling-v2-6";
const FAL: &str = "fal/fal-ai/veo3.1";

/// Two tasks of each cell are in health and pass every point of a task's life.
const fn at(name: &'static str) -> Blow {
    Blow::At(name, 1..=2)
}

/// Commits: the first ones make the database.
const fn commit(name: &'static str) -> Blow {
    Blow::At(name, 3..=7)
}

/// All forty, in order.
pub static POINTS: [Point; 40] = [
    // A request arrives, is committed, is answered.
    plain(1, at("submit.arrived"), at("submit.decoded")),
    plain(2, commit("commit.begin"), commit("commit.flushed")),
    plain(3, commit("commit.synced"), at("submit.answered")),
    plain(4, Blow::After(Deed::LeaveBeforeCommit), Blow::After(Deed::LeaveAfterCommit)),
    plain(5, Blow::After(Deed::KillThenOtherBody), Blow::After(Deed::OtherBodyThenKill)),
    with(6, commit("commit.applied"), at("submit.stored"), &[], Setting::TwoCallers),
    // The paid create.
    with(7, at("queue.slot"), at("queue.claimed"), &[], Setting::Narrow),
    plain(8, at("create.intent"), at("record.SUBMITTING")),
    plain(9, at("recorded.SUBMITTING"), at("create.order")),
    plain(10, Blow::Soon("create.order", 1..=8), Blow::Soon("create.order", 6..=60)),
    plain(11, at("create.answered"), at("create.judged")),
    plain(12, at("create.judged"), at("record.RUNNING")),
    plain(13, at("recorded.RUNNING"), at("poll.asked")),
    with(14, Blow::At("unknown.over", 1..=1), Blow::Soon("unknown.over", 1..=80), TWO_JOBS, Setting::Plain),
    // The job.
    with(15, at("poll.asked"), at("poll.answered"), &[], Setting::DeafPolls),
    with(16, at("poll.answered"), Blow::At("record.RUNNING", 3..=4), LOST, Setting::Plain),
    with(17, at("poll.answered"), at("record.ARCHIVING"), UNKNOWN_WORDS, Setting::Plain),
    with(18, at("recorded.ARCHIVING"), at("shown.SUCCEEDED"), BACKWARDS, Setting::Plain),
    plain(19, Blow::At("poll.answered", 2..=2), at("record.ARCHIVING")),
    // The file.
    plain(20, at("recorded.ARCHIVING"), at("archive.begin")),
    with(21, at("archive.opened"), at("archive.taken"), BAD_FILES, Setting::Plain),
    with(22, Blow::At("link.refused", 1..=1), Blow::At("link.renewed", 1..=1), DEAD_LINKS, Setting::Plain),
    plain(23, Blow::Soon("archive.publish", 1..=8), at("archive.published")),
    plain(24, at("archive.published"), at("record.SUCCEEDED")),
    plain(25, Blow::After(Deed::RemoveVideo), Blow::After(Deed::AlterVideo)),
    plain(
        26,
        Blow::Trap("archive.publish=error;archive.taken=kill@2"),
        Blow::Trap("archive.publish=error;archive.published=kill"),
    ),
    // The end, and who is told.
    plain(27, at("recorded.SUCCEEDED"), at("shown.SUCCEEDED")),
    with(28, at("webhook.send"), Blow::Soon("webhook.send", 1..=30), &[], Setting::Webhooks),
    with(29, at("webhook.taken"), at("webhook.told"), &[], Setting::Webhooks),
    with(30, Blow::At("callback.heard", 1..=1), Blow::At("callback.nudged", 1..=1), EARLY, Setting::Callbacks),
    with(31, Blow::At("callback.heard", 2..=3), Blow::At("callback.nudged", 2..=3), FORGED, Setting::Callbacks),
    with(32, at("cancel.asked"), at("cancel.noted"), &[], Setting::Cancels),
    plain(33, Blow::Removing("retention.removed"), Blow::Removing("retention.deleted")),
    // Every cell repeats all its requests at the end; here the process has died at one.
    plain(34, at("shown.SUCCEEDED"), at("recorded.SUCCEEDED")),
    // The process and its machine.
    plain(35, Blow::Thrice("step.begin"), Blow::Thrice("create.order")),
    plain(36, Blow::After(Deed::ClockAhead), Blow::After(Deed::ClockBack)),
    plain(37, Blow::After(Deed::SecondProcessFirst), Blow::After(Deed::SecondProcess)),
    plain(38, Blow::Ending("drain.begun"), Blow::Ending("drain.finished")),
    plain(39, Blow::Starting("start.opened"), Blow::Starting("start.resumed")),
    plain(40, Blow::FailStop("commit.begin"), Blow::FailStop("commit.flushed")),
];

const TWO_JOBS: &[Extra] = &[Extra { model: FAL, directives: "[sim:accept_drop*1]", hope: Hope::Video, paid: 2 }];
const LOST: &[Extra] = &[Extra { model: LEGACY, directives: "[sim:lost_job]", hope: Hope::Nothing, paid: 1 }];
const UNKNOWN_WORDS: &[Extra] = &[extra(KLING, "[sim:unknown_status]"), extra(FAL, "[sim:unknown_status]")];
const BACKWARDS: &[Extra] = &[extra(KLING, "[sim:backwards]"), extra(FAL, "[sim:backwards]")];
const BAD_FILES: &[Extra] = &[extra(KLING, "[sim:file_cut*1]"), extra(FAL, "[sim:file_truncated*1]")];
const DEAD_LINKS: &[Extra] = &[extra(KLING, "[sim:file_forbidden*1]"), extra(FAL, "[sim:link_expired*1]")];
const EARLY: &[Extra] = &[extra(KLING, "[sim:callback_early]"), extra(FAL, "[sim:callback_early]")];
const FORGED: &[Extra] =
    &[extra(KLING, "[sim:callback_forged][sim:callback_duplicate]"), extra(FAL, "[sim:callback_forged]")];
