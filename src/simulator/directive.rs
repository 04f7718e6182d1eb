//! What a prompt asks of its own job, such as `[sim:accept_drop]` or
//! `[sim:latency=2s]`: the way in which a caller through gRPC steers one job.

use std::time::Duration;

use serde::Deserialize;

use super::faults::{FaultKind, Moment, Strike};

/// What a prompt asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Directives {
    /// How long this job takes.
    pub(crate) latency: Option<Duration>,
    pub(crate) wishes: Vec<Wish>,
}

/// One `[sim:...]` of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wish {
    pub(crate) strike: Strike,
    pub(crate) on: Moment,
    pub(crate) times: Option<u32>,
}

impl Directives {
    /// Reads every `[sim:[moment.]name[=value][*times]]`; what it does not know it leaves alone.
    pub(crate) fn read(prompt: &str) -> Self {
        let mut found = Self::default();
        for piece in prompt.split("[sim:").skip(1).take(16) {
            let Some((directive, _)) = piece.split_once(']') else { continue };
            match directive.trim().strip_prefix("latency=") {
                Some(text) => found.latency = read_duration(text).or(found.latency),
                None => found.wishes.extend(Wish::read(directive.trim())),
            }
        }
        found
    }
}

impl Wish {
    fn read(text: &str) -> Option<Self> {
        let (text, times) = match text.split_once('*') {
            Some((text, times)) => (text, Some(times.parse().ok()?)),
            None => (text, None),
        };
        let (text, code) = match text.split_once('=') {
            Some((text, code)) => (text, Some(code.parse().ok()?)),
            None => (text, None),
        };
        let (moment, name) = match text.split_once('.') {
            Some((moment, name)) => (Some(word(moment)?), name),
            None => (None, text),
        };
        let kind: FaultKind = word(name)?;
        Some(Self { strike: Strike { kind, code }, on: moment.unwrap_or(kind.moment()), times })
    }

    /// How often it strikes: a spoilt answer once, so that the caller can recover
    /// from it; everything else, and a plain refusal, as long as the job lives.
    pub(crate) fn limit(&self) -> u32 {
        let lasting = !self.strike.kind.spoils_answer() || self.strike.kind == FaultKind::Refuse;
        self.times.unwrap_or(if lasting { u32::MAX } else { 1 })
    }
}

fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

fn read_duration(text: &str) -> Option<Duration> {
    let (number, scale) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s')?, 1_000),
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_millis(number.saturating_mul(scale)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_steers_its_job() {
        let found = Directives::read("a kite [sim:latency=2s] [sim:fail] [sim:poll.error*3] [sim:refuse=1301] [sim:x]");
        assert_eq!(found.latency, Some(Duration::from_secs(2)));
        let read: Vec<_> = found.wishes.iter().map(|w| (w.strike.kind, w.on, w.times, w.strike.code)).collect();
        assert_eq!(
            read,
            [
                (FaultKind::Fail, Moment::Create, None, None),
                (FaultKind::Error, Moment::Poll, Some(3), None),
                (FaultKind::Refuse, Moment::Create, None, Some(1301)),
            ]
        );
        assert_eq!(Directives::read("[sim:latency=250ms]").latency, Some(Duration::from_millis(250)));
    }
}
