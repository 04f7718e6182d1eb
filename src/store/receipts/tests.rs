//! Receipts come back whatever became of their file, and nothing passes for one.

use proptest::prelude::*;
use tempfile::TempDir;

use super::entry::{Entry, HEADER, encode, scan};
use super::*;
use crate::task::fixture::{self, task};
use crate::task::state::State;

const STORE: u64 = 0x0123_4567_89ab_cdef;

fn log(folder: &Path) -> ReceiptLog {
    ReceiptLog::open(folder, STORE, &Tail::look(folder, STORE).unwrap()).unwrap()
}

fn append(log: &mut ReceiptLog, commit: u64, receipts: &[Vec<u8>]) {
    log.append(commit, receipts.len(), receipts.iter().cloned().map(Ok)).unwrap();
}

fn only_file(folder: &Path) -> std::path::PathBuf {
    let mut segments = segments(folder).unwrap();
    assert_eq!(segments.len(), 1);
    segments.remove(0).path
}

#[test]
fn a_receipt_tells_the_task() {
    let folder = TempDir::new().unwrap();
    let sent = task(1).next().running().with_prompt_of(5000);
    let done = sent.next().entered(State::Archiving, "the provider is done");
    let mut log = log(folder.path());
    append(&mut log, 3, &[receipt(&sent, true)]);
    append(&mut log, 9, &[receipt(&done, false)]);
    let told = read_all(folder.path()).unwrap();
    assert_eq!((told.last, told.damaged, told.tasks.len()), (9, 0, 1));
    assert_eq!(told.tasks[&done.id].task(done.id).unwrap(), done);
}

#[test]
fn a_receipt_is_due_when_money_facts_change() {
    let queued = task(1);
    assert_eq!(money_of(&queued), 0);
    let running = queued.next().running();
    let mut later = running.next();
    later.progress.percent = Some(40.0);
    later.progress.log_lines = vec!["frame 12".to_owned()];
    assert_ne!(money_of(&running), 0);
    assert_eq!(money_of(&later), money_of(&running));
    let mut second = running.next();
    second.attempts[0].sends += 1;
    let mut another = running.next();
    another.attempts[0].job = None;
    for changed in [second, another, running.next().succeeded(), running.next().entered(State::Reconciling, "")] {
        assert_ne!(money_of(&changed), money_of(&running));
    }
}

#[test]
fn a_log_cut_at_any_byte_ends_with_the_last_whole_commit_and_goes_on() {
    let folder = TempDir::new().unwrap();
    let mut first = log(folder.path());
    append(&mut first, 1, &[receipt(&task(1).running(), true)]);
    let path = only_file(folder.path());
    let before = std::fs::read(&path).unwrap().len();
    append(&mut first, 2, &[receipt(&task(2).running(), true), receipt(&task(3).running(), true)]);
    let bytes = std::fs::read(&path).unwrap();
    // The whole commit but for the second copy of its last receipt.
    let whole = before + (bytes.len() - before) / 4 * 3;
    for length in 0..=bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let tail = Tail::look(folder.path(), STORE).unwrap();
        let expected = if length >= whole { 2 } else { u64::from(length >= before / 2) };
        assert_eq!(tail.last, expected, "{length}");
        // Going on syncs, so not at every byte.
        if length % 41 != 0 {
            continue;
        }
        let mut log = ReceiptLog::open(folder.path(), STORE, &tail).unwrap();
        append(&mut log, 7, &[beginning()]);
        let tail = Tail::look(folder.path(), STORE).unwrap();
        assert_eq!((tail.last, tail.damaged), (7, false), "{length}");
        assert_eq!(read_all(folder.path()).unwrap().damaged, 0, "{length}");
        for segment in segments(folder.path()).unwrap() {
            std::fs::remove_file(segment.path).unwrap();
        }
    }
}

#[test]
fn one_damaged_place_costs_no_receipt() {
    let folder = TempDir::new().unwrap();
    let mut log = log(folder.path());
    let tasks: Vec<_> = (0..3).map(|number| task(number).running()).collect();
    append(&mut log, 5, &tasks.iter().map(|task| receipt(task, true)).collect::<Vec<_>>());
    let path = only_file(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x41;
        std::fs::write(&path, damaged).unwrap();
        let told = read_all(folder.path()).unwrap();
        assert_eq!((told.last, told.damaged), (5, 1), "{position}");
        assert!(tasks.iter().all(|task| told.tasks[&task.id].task(task.id).as_ref() == Ok(task)), "{position}");
        let tail = Tail::look(folder.path(), STORE).unwrap();
        assert_eq!((tail.last, tail.damaged), (5, true), "{position}");
    }
}

#[test]
fn two_damaged_copies_heal_one_another() {
    let task = task(1).running().with_image_of(3000);
    let mut whole = Vec::new();
    let payload = receipt(&task, true);
    encode(STORE, &Entry { commit: 3, place: 0, count: 1, payload: payload.clone().into() }, &mut whole);
    let size = whole.len() / 2;
    for step in 1..200 {
        let mut damaged = whole.clone();
        for (number, place) in [7, 900, size + 1, size + 2000, size + 2001].into_iter().enumerate() {
            let place = (place + step * 13) % size + if number < 2 { 0 } else { size };
            // The mark and the length of the one tell where the other begins.
            if place >= 12 {
                damaged[place] ^= 0x77;
            }
        }
        let found = scan(STORE, &damaged);
        assert_eq!(found.entries[0].payload, payload, "{step}");
        assert!(found.damaged >= 1);
    }
}

#[test]
fn receipts_of_another_store_are_refused() {
    let folder = TempDir::new().unwrap();
    append(&mut log(folder.path()), 1, &[beginning()]);
    assert!(Tail::look(folder.path(), STORE + 1).unwrap_err().to_string().contains("another store"));
}

#[test]
fn a_file_goes_when_all_its_tasks_have_ended() {
    let folder = TempDir::new().unwrap();
    for commit in 1..=3 {
        // A tail that counts as damaged begins a new file.
        let mut tail = Tail::look(folder.path(), STORE).unwrap();
        tail.damaged = true;
        let mut log = ReceiptLog::open(folder.path(), STORE, &tail).unwrap();
        append(&mut log, commit, &[receipt(&task(commit).running(), true)]);
    }
    assert_eq!(prune(folder.path(), |id| id == fixture::id(1)).unwrap(), 1);
    let told = read_all(folder.path()).unwrap();
    // The newest file always stays.
    assert_eq!(told.tasks.keys().copied().collect::<Vec<_>>(), [fixture::id(1), fixture::id(3)]);
    assert_eq!(prune(folder.path(), |_| false).unwrap(), 1);
}

#[test]
fn a_large_file_is_followed_by_a_new_one() {
    let folder = TempDir::new().unwrap();
    let mut log = log(folder.path());
    for commit in 1..=40 {
        append(&mut log, commit, &[receipt(&task(commit).running().with_image_of(500_000), true)]);
        log.rotate();
    }
    assert_eq!(segments(folder.path()).unwrap().len(), 3);
    assert_eq!(Tail::look(folder.path(), STORE).unwrap().last, 40);
    assert_eq!(read_all(folder.path()).unwrap().tasks.len(), 40);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), marks in proptest::collection::vec(0usize..400, 0..9)) {
        let mut bytes = bytes;
        for mark in marks {
            let at = mark.min(bytes.len());
            bytes.splice(at..at, STORE.to_be_bytes());
        }
        let found = scan(STORE, &bytes);
        prop_assert!(found.entries.len() * HEADER <= bytes.len());
        prop_assert!(bytes.is_empty() || found.damaged > 0 || found.end == bytes.len());
    }

    #[test]
    fn entries_between_garbage_are_found(garbage in proptest::collection::vec(any::<u8>(), 1..60), payload in proptest::collection::vec(any::<u8>(), 0..60)) {
        let entry = Entry { commit: 7, place: 0, count: 1, payload: payload.into() };
        let mut bytes = garbage.clone();
        encode(STORE, &entry, &mut bytes);
        bytes.extend_from_slice(&garbage);
        let found = scan(STORE, &bytes);
        prop_assert_eq!(&found.entries, &vec![entry.clone(), entry]);
        prop_assert_eq!(found.damaged, 2);
    }
}
