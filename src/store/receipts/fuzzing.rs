//! Receipts: whatever the file holds, nothing is read that was not written, and a
//! damaged byte costs nothing.

use std::borrow::Cow;

use super::entry::{HEADER, encode};
use super::*;
use crate::fuzzing::seed;

const STORE: u64 = 0x5eed_0000_1234_5678;

pub(crate) fn check(data: &[u8]) {
    let Some((case, bytes)) = data.split_first() else { return };
    match case % 2 {
        0 => any_file(bytes),
        _ => damaged_file(bytes),
    }
}

fn any_file(bytes: &[u8]) {
    let found = scan(STORE, bytes);
    assert!(found.end <= bytes.len() && found.damaged <= bytes.len());
    let mut told = Told::default();
    let mut end = 0;
    for entry in &found.entries {
        // One that was put together of two damaged copies stands nowhere as it is.
        if let Cow::Borrowed(payload) = entry.payload {
            let place = payload.as_ptr().addr() - bytes.as_ptr().addr() - HEADER;
            assert!(place >= end, "entries overlap");
            let mut written = Vec::new();
            encode(STORE, entry, &mut written);
            written.truncate(written.len() / 2);
            end = place + written.len();
            assert_eq!(&bytes[place..end], written);
        }
        told.take(entry);
    }
    assert!(told.tasks.len() <= found.entries.len() && found.last().is_none_or(|last| last <= told.last));
    for (id, paid) in told.tasks {
        if let Ok(task) = paid.task(id) {
            assert_eq!((task.id, task.revision), (id, paid.revision));
        }
    }
}

/// Every entry stands twice, one right after the other.
fn damaged_file(bytes: &[u8]) {
    let [high, low, mask, rest @ ..] = bytes else { return };
    let payloads: Vec<&[u8]> = rest.split(|byte| *byte == 0).collect();
    let count = u32::try_from(payloads.len()).unwrap_or_default();
    let entries: Vec<_> = (0..count)
        .zip(payloads)
        .map(|(place, payload)| Entry { commit: 7, place, count, payload: payload.into() })
        .collect();
    let mut file = Vec::new();
    entries.iter().for_each(|entry| encode(STORE, entry, &mut file));
    let place = usize::from(u16::from_be_bytes([*high, *low])) % file.len();
    file[place] ^= mask;
    let found = scan(STORE, &file);
    assert_eq!(found.last(), Some(7));
    assert!(entries.iter().all(|entry| found.entries.contains(entry)), "an entry is lost");
    assert!(found.entries.iter().all(|entry| entries.contains(entry)), "an entry was made up");
    assert_eq!(found.damaged == 0, *mask == 0);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let task = crate::store::fuzzing::sample();
    let mut file = Vec::new();
    for (commit, payload) in [(1, beginning()), (2, receipt(task, true)), (3, receipt(task, false))] {
        // Short enough for the fuzzer: most of it is the prompt.
        let payload = if payload.len() > 1024 { beginning() } else { payload };
        encode(STORE, &Entry { commit, place: 0, count: 1, payload: payload.into() }, &mut file);
    }
    vec![
        seed(0, &file),
        seed(0, file.repeat(2)),
        seed(1, b"\x00\x15\x01one\0two\0\0three"),
        seed(1, b"\x00\x00\x00one"),
        // The second copy of an entry, damaged, resembles its neighbour.
        seed(1, b"\x00one\x01one\x00two\x00\x00three"),
    ]
}
