//! Words for a terminal: escaping, columns, sizes and times. Whatever came from
//! outside passes through `escape`, so that a prompt cannot drive the terminal.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use super::trouble::Trouble;
use crate::clock::Clock;

/// Prints a line on standard output.
pub(super) fn print(line: &str) -> Result<(), Trouble> {
    let written = writeln!(io::stdout().lock(), "{line}");
    written.map_err(|error| Trouble::Local(format!("standard output: {error}")))
}

/// Prints a line on standard error. Nobody can be told when that fails.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Replaces what could move the cursor, change colours or turn the writing
/// direction.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(c.escape_unicode());
            }
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

/// Escapes and cuts to a number of characters.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let safe = escape(text);
    if safe.chars().count() <= most {
        return safe;
    }
    safe.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Aligns rows under a heading. Cells are expected to be escaped.
pub(super) fn columns(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..heading.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

/// A size in bytes, as people say it.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A length of time in its largest two units: `42s`, `3m05s`, `2h10m`, `4d`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago a time was; nothing for one in the future, as clocks differ.
pub(super) fn since(time: &Timestamp) -> Duration {
    let now = Clock::system().now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let then = Duration::from_secs(u64::try_from(time.seconds).unwrap_or(0));
    now.saturating_sub(then)
}

/// The time of day of a timestamp, in UTC: `18:02:11Z`.
pub(super) fn time_of_day(time: &Timestamp) -> String {
    let second = time.seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// A length of time of the API, as the standard library's; none when negative.
pub(super) fn to_std(duration: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, nanos))
}

/// The short word of an enum value: `TASK_STATE_RUNNING` is `RUNNING`.
pub(super) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_text_cannot_drive_the_terminal() {
        assert_eq!(escape("a\x1b[2J\r\nb\u{202e}c\u{9b}é"), "a\\u{1b}[2J\\r\\nb\\u{202e}c\\u{9b}é");
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("abcd", 4), "abcd");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["1".into(), "long".into()], vec!["22".into(), "x".into()]];
        assert_eq!(columns(&["A", "B"], &rows), "A   B\n1   long\n22  x");
    }

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(span(Duration::from_secs(185)), "3m05s");
        assert_eq!(span(Duration::from_secs(7_800)), "2h10m");
        assert_eq!(size(1_234_567), "1.2 MB");
        assert_eq!(time_of_day(&Timestamp { seconds: 1_764_000_131, nanos: 0 }), "16:02:11Z");
    }
}
