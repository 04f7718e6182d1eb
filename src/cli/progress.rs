//! Shows how a task goes on: a moving line on a terminal, a line per state change
//! elsewhere, a JSON line per revision for programs.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::api::pb;

use super::text::{escape, print, say, shorten, since, span, time_of_day, to_std};
use super::trouble::Trouble;
use super::{json, summary};

/// An estimate never says that the work is nearly done: it cannot know.
const MOST_ESTIMATED: f64 = 95.0;

/// Where progress goes.
pub(super) enum Progress {
    /// A moving line on standard error.
    Bar { bar: ProgressBar, task: Option<Box<pb::Task>> },
    /// A line on standard error for each state.
    Lines { last: Option<pb::TaskState> },
    /// A line on standard output for each revision.
    Json,
}

impl Progress {
    /// Chooses by what standard error is.
    pub(super) fn new(json: bool) -> Self {
        if json {
            return Self::Json;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { last: None };
        }
        let style = ProgressStyle::with_template("{spinner} {bar:24} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(1_000).with_style(style.progress_chars("━╸ ").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        Self::Bar { bar, task: None }
    }

    /// Shows a newer state.
    pub(super) fn show(&mut self, task: &pb::Task) -> Result<(), Trouble> {
        match self {
            Self::Json => return print(&json!({"event": "task", "task": json::task(task)}).to_string()),
            Self::Lines { last } if *last == Some(task.state()) => {}
            Self::Lines { last } => {
                *last = Some(task.state());
                say(&line(task));
            }
            Self::Bar { task: shown, .. } => {
                *shown = Some(Box::new(task.clone()));
                self.tick();
            }
        }
        Ok(())
    }

    /// Moves what moves by itself: the clock, the spinner and an estimate.
    pub(super) fn tick(&self) {
        let Self::Bar { bar, task: Some(task) } = self else { return };
        let percent = percent(task);
        bar.set_position(percent.map_or(0.0, |percent| percent.value * 10.0) as u64);
        bar.set_message(status(task, percent));
        bar.tick();
    }

    /// Tells something that is not a state, such as a lost connection.
    pub(super) fn note(&self, text: &str) {
        match self {
            Self::Bar { bar, .. } => bar.suspend(|| say(text)),
            Self::Lines { .. } | Self::Json => say(text),
        }
    }

    /// Takes the moving line away.
    pub(super) fn clear(&self) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}

/// How far, and on whose word.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Percent {
    value: f64,
    estimated: bool,
}

/// The provider's own percent, or an estimate that moves with the clock.
fn percent(task: &pb::Task) -> Option<Percent> {
    if summary::is_final(task) {
        return None;
    }
    let progress = task.progress.as_ref()?;
    let told = progress.percent.filter(|percent| percent.is_finite()).map(|percent| percent.clamp(0.0, 100.0));
    if let (Some(value), false) = (told, progress.estimated) {
        return Some(Percent { value, estimated: false });
    }
    let running = task.start_time.as_ref().filter(|_| task.state() == pb::TaskState::Running).map(since);
    let typical = progress.typical_duration.as_ref().and_then(to_std).filter(|typical| !typical.is_zero());
    let moving = running.zip(typical).map(|(running, typical)| estimate(running, typical));
    let value = moving.into_iter().chain(told).reduce(f64::max)?;
    Some(Percent { value: value.min(MOST_ESTIMATED), estimated: true })
}

fn estimate(running: Duration, typical: Duration) -> f64 {
    (100.0 * running.as_secs_f64() / typical.as_secs_f64()).min(MOST_ESTIMATED)
}

/// The words beside the bar.
fn status(task: &pb::Task, percent: Option<Percent>) -> String {
    let mut parts = vec![json::state(task.state())];
    parts.extend(percent.map(|percent| format!("{}{:.0} %", if percent.estimated { "~" } else { "" }, percent.value)));
    parts.extend(queue_position(task).map(|ahead| format!("{ahead} ahead")));
    parts.extend(task.create_time.as_ref().map(|create| span(since(create))));
    let last_log = task.progress.as_ref().and_then(|progress| progress.log_lines.last());
    parts.extend(last_log.map(|line| shorten(line, 40)));
    parts.join("  ")
}

fn queue_position(task: &pb::Task) -> Option<u32> {
    task.progress.as_ref()?.queue_position
}

/// One plain line: when, which state, what is new in it.
pub(super) fn line(task: &pb::Task) -> String {
    let time = task.update_time.as_ref().map(time_of_day).unwrap_or_default();
    let state = json::state(task.state());
    let detail = match task.state() {
        pb::TaskState::Queued => queue_position(task).map(|ahead| format!("{ahead} ahead")).unwrap_or_default(),
        pb::TaskState::Running if !task.provider_job_id.is_empty() => format!("job {}", task.provider_job_id),
        pb::TaskState::Succeeded => task.artifact.as_ref().map(summary::video).unwrap_or_default(),
        pb::TaskState::Failed => task.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
        _ => task.history.last().map(|entry| entry.reason.clone()).unwrap_or_default(),
    };
    format!("{time} {state:<11} {}", escape(&detail)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(progress: pb::Progress) -> pb::Task {
        pb::Task {
            state: pb::TaskState::Running.into(),
            start_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            progress: Some(progress),
            ..Default::default()
        }
    }

    #[test]
    fn an_estimate_is_marked_and_never_nears_the_end() {
        let typical_duration = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let task = running(pb::Progress { typical_duration, ..Default::default() });
        assert_eq!(percent(&task), Some(Percent { value: 95.0, estimated: true }));
        assert!(status(&task, percent(&task)).contains("~95 %"));
        assert_eq!(estimate(Duration::from_secs(15), Duration::from_secs(60)), 25.0);
    }

    #[test]
    fn the_providers_own_percent_is_shown_as_it_is() {
        let task = running(pb::Progress { percent: Some(99.0), ..Default::default() });
        assert_eq!(percent(&task), Some(Percent { value: 99.0, estimated: false }));
        assert!(status(&task, percent(&task)).contains(" 99 %"));
    }

    #[test]
    fn nothing_known_shows_no_percent() {
        assert_eq!(percent(&running(pb::Progress::default())), None);
    }

    #[test]
    fn a_line_tells_time_state_and_job() {
        let mut task = running(pb::Progress::default());
        task.provider_job_id = "9000\x07".into();
        task.update_time = Some(prost_types::Timestamp { seconds: 64_931, nanos: 0 });
        assert_eq!(line(&task), "18:02:11Z RUNNING     job 9000\\u{7}");
    }
}
