//! fal's history of requests, and the times of day in it.

use serde::Deserialize;
use serde_json::Value;

use super::liberal;

/// One page of the history.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Page {
    /// The requests.
    #[serde(deserialize_with = "liberal::readable")]
    pub items: Vec<Item>,
    /// Where the next page begins.
    #[serde(deserialize_with = "liberal::as_text")]
    pub next_cursor: String,
    /// Whether there is one.
    #[serde(deserialize_with = "liberal::or_default")]
    pub has_more: bool,
}

impl Page {
    /// Reads an answer; nothing when it is not a page.
    pub fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        body.get("items")?.as_array()?;
        serde_json::from_value(body).ok()
    }
}

/// One request of the past.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Item {
    /// fal's id of the job.
    #[serde(deserialize_with = "liberal::as_text")]
    pub request_id: String,
    /// The model.
    #[serde(deserialize_with = "liberal::as_text")]
    pub endpoint_id: String,
    /// When it was sent, as RFC 3339.
    #[serde(deserialize_with = "liberal::as_text")]
    pub sent_at: String,
    /// What it was sent; null where payloads are not kept.
    pub json_input: Value,
}

const DAY_S: u64 = 24 * 3600;

/// Seconds since 1970 as `2026-10-01T00:00:00Z`.
pub fn timestamp(unix_s: u64) -> String {
    let (days, second) = (unix_s / DAY_S, unix_s % DAY_S);
    // The calendar repeats every 400 years of 146,097 days; counted from a 1 March, the
    // leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Seconds since 1970 of an RFC 3339 time, fractions cut off; nothing when it is
/// none, or before 1970.
pub fn unix_s(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let bytes = text.as_bytes();
    let marked = marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark));
    if !marked || !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let sound = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sound || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (year, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month_from_march + 2) / 5 + day - 1;
    let local = days.checked_sub(719_468)? * DAY_S + hour * 3600 + minute * 60 + second;
    local.checked_add_signed(-offset_s(text.get(19..)?)?)
}

/// The offset behind the seconds: none, `Z`, or `+02:00`.
fn offset_s(rest: &str) -> Option<i64> {
    let rest =
        rest.strip_prefix('.').map_or(rest, |fraction| fraction.trim_start_matches(|c: char| c.is_ascii_digit()));
    if matches!(rest, "" | "Z" | "z") {
        return Some(0);
    }
    let sign = match rest.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = rest.get(1..)?.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_page_is_read() {
        let page = Page::read(
            br#"{"items":[{"request_id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","endpoint_id":"fal-ai/flux/dev",
                "started_at":"2025-01-01T00:00:05Z","sent_at":"2025-01-01T00:00:01Z","ended_at":"2025-01-01T00:00:08Z",
                "status_code":200,"duration":7.8,"json_input":{"prompt":"cat astronaut"},"json_output":{"status":"ok"}}],
                "next_cursor":"Mg==","has_more":true}"#,
        )
        .unwrap();
        assert_eq!((page.next_cursor.as_str(), page.has_more, page.items.len()), ("Mg==", true, 1));
        assert_eq!(page.items[0].json_input["prompt"], "cat astronaut");
        assert_eq!(unix_s(&page.items[0].sent_at), Some(1_735_689_601));
        let last =
            Page::read(br#"{"items":[{"request_id":"r","json_input":null}],"next_cursor":null,"has_more":false}"#);
        assert_eq!(
            last.map(|page| (page.next_cursor, page.items[0].json_input.clone())),
            Some((String::new(), Value::Null))
        );
        for other in ["", "<html>", "[]", "{}", r#"{"items":7}"#, r#"{"detail":"no"}"#] {
            assert_eq!(Page::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn times_are_written_and_read() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_209_845, "2024-02-29T12:30:45Z"),
            (1_790_000_000, "2026-09-21T14:13:20Z"),
        ] {
            assert_eq!((timestamp(unix).as_str(), unix_s(text)), (text, Some(unix)));
        }
        for text in [
            "2026-09-21T14:13:20.123456Z",
            "2026-09-21T16:13:20+02:00",
            "2026-09-21 14:13:20",
            "2026-09-21T13:13:20.5-01:00",
        ] {
            assert_eq!(unix_s(text), Some(1_790_000_000), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-09-21",
            "2026-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-09-21T14:13:20+xx",
            "2026-09-21T14:13:20é",
        ] {
            assert_eq!(unix_s(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(unix in 0..200_000_000_000_u64) {
            proptest::prop_assert_eq!(unix_s(&timestamp(unix)), Some(unix));
        }

        #[test]
        fn no_text_is_too_odd(text in ".{0,40}", near in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[Z+.:0-9-]{0,8}") {
            let _ = (unix_s(&text), unix_s(&near));
        }
    }
}
