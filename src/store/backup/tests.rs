//! The file as an enemy has it, and the way there and back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::entry::{Entries, Entry, write_header, write_note, write_task, write_tombstone};
use super::frame::{BadFile, FORMAT, MAGIC, Writer};
use super::{BackupError, Shelf, Summary, Waiting, restore, save, verify};
use crate::clock::Clock;
use crate::store::contract::{Creation, Filter, TaskStore, Tombstone};
use crate::store::inputs::Files;
use crate::store::{self, SledStore, StoreSettings};
use crate::task::announcement::{Announcement, Topic};
use crate::task::fixture::{self, task};
use crate::task::state::{AttemptOutcome, FailureKind, State, Task};

fn made() -> SystemTime {
    fixture::created(1000)
}

/// A store with tasks of every sort.
async fn filled() -> (Arc<SledStore>, Vec<Task>) {
    let store = SledStore::temporary().await.unwrap();
    let tasks = vec![
        task(0).running(),
        task(1).succeeded(),
        task(2).failed(FailureKind::Deadline).labelled("team", "red"),
        task(3).with_image_of(60 * 1024).with_prompt_of(8000).running(),
        task(4),
    ];
    for task in &tasks {
        store.create(Arc::new(task.clone())).await.unwrap();
    }
    let told = Announcement::of(&tasks[2], Topic::Failed);
    store.announce(told).await.unwrap();
    // Of a revision that its task comes to while the backup is made.
    store.announce(Announcement::of(&tasks[0].next(), Topic::Updated)).await.unwrap();
    let removed = task(9).succeeded();
    store.create(Arc::new(removed.clone())).await.unwrap();
    store.remove(removed.revision, removed.id, made()).await.unwrap().unwrap();
    store.write_note("callback_key", vec![7; 32]).await.unwrap();
    (store, tasks)
}

/// The pictures of stores that have none.
fn files() -> Files {
    Files::of(Path::new("/nowhere"))
}

async fn backed_up(folder: &Path) -> (PathBuf, Vec<Task>) {
    let (store, tasks) = filled().await;
    let file = folder.join("tasks.backup");
    let summary = save(store.as_ref(), &files(), &file, made()).await.unwrap();
    assert_eq!(summary, Summary { tasks: 5, notes: 1, tombstones: 1, announcements: 2, inputs: 0, damaged: 0 });
    (file, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_holds_what_was_backed_up() {
    let folder = TempDir::new().unwrap();
    let (file, tasks) = backed_up(folder.path()).await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");

    let into = folder.path().join("a/store");
    assert_eq!(restore(&file, &into, Waiting::AsItWas).await.unwrap(), verify(&file).unwrap());
    let restored = store::open(&StoreSettings::new(&into)).await.unwrap();
    for task in &tasks {
        assert_eq!(restored.load(task.id).await.unwrap().as_deref(), Some(task));
    }
    assert_eq!(restored.list(&Filter::default(), None, 9).await.unwrap().len(), tasks.len());
    assert_eq!(restored.notes().await.unwrap(), [("callback_key".to_owned(), vec![7; 32])]);
    let told = Announcement::of(&tasks[2], Topic::Failed);
    assert_eq!(restored.announcements(None, None, 9).await.unwrap(), [told]);
    let known = restored.recall(&tasks[1].submission.request_id).await.unwrap();
    assert_eq!(known, Some(Creation::Earlier(Arc::new(tasks[1].clone()))));
    let removed = restored.recall(&task(9).submission.request_id).await.unwrap();
    assert_eq!(removed, Some(Creation::Removed(fixture::id(9))), "never bought again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waited_may_have_been_bought_since() {
    let folder = TempDir::new().unwrap();
    let (file, tasks) = backed_up(folder.path()).await;
    let into = folder.path().join("store");
    restore(&file, &into, Waiting::MayBeBought).await.unwrap();
    let restored = store::open(&StoreSettings::new(&into)).await.unwrap();
    let waited = restored.load(tasks[4].id).await.unwrap().unwrap();
    assert_eq!((waited.state, waited.attempts.len()), (State::Submitting, 1));
    assert_eq!((waited.attempts[0].outcome, waited.attempts[0].started), (AttemptOutcome::Pending, made()));
    for task in &tasks[..4] {
        assert_eq!(restored.load(task.id).await.unwrap().as_deref(), Some(task));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_empty_folder_is_restored_into_and_nothing_is_overwritten() {
    let folder = TempDir::new().unwrap();
    let (file, _) = backed_up(folder.path()).await;
    let taken = save(filled().await.0.as_ref(), &files(), &file, made()).await.unwrap_err();
    assert!(matches!(&taken, BackupError::Io { path, .. } if *path == file), "{taken}");

    let into = folder.path().join("store");
    fs::create_dir(&into).unwrap();
    fs::write(into.join("something"), "theirs").unwrap();
    let refused = restore(&file, &into, Waiting::AsItWas).await.unwrap_err();
    assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
    fs::remove_file(into.join("something")).unwrap();
    restore(&file, &into, Waiting::AsItWas).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_short_is_not_served() {
    let folder = TempDir::new().unwrap();
    let (file, _) = backed_up(folder.path()).await;
    let into = folder.path().join("store");
    restore(&file, &into, Waiting::AsItWas).await.unwrap();
    fs::write(into.join("unfinished-restore"), "").unwrap();
    let Err(refused) = store::open(&StoreSettings::new(&into)).await else { panic!("half a store was opened") };
    assert!(refused.to_string().contains("restore into it was cut short"), "{refused}");
    let again = restore(&file, &into, Waiting::AsItWas).await.unwrap_err();
    assert!(matches!(again, BackupError::NotEmpty { .. }), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_leaves_no_store_behind() {
    let folder = TempDir::new().unwrap();
    let (file, _) = backed_up(folder.path()).await;
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let newer = [MAGIC.as_slice(), &(FORMAT + 1).to_be_bytes(), &whole[12..]].concat();
    for (bytes, words) in [
        (&whole[..whole.len() - 1], "it ends early"),
        (&whole[..100], "it ends early"),
        (&[][..], "is no backup of VideoGen"),
        (b"a letter to a friend".as_slice(), "is no backup of VideoGen"),
        (&flipped, "is damaged"),
        (&newer, "made by a newer version (format 3, this version knows 2)"),
    ] {
        fs::write(&file, bytes).unwrap();
        let into = folder.path().join("store");
        let refused = restore(&file, &into, Waiting::AsItWas).await.unwrap_err().to_string();
        assert!(refused.contains(words) && refused.contains("tasks.backup"), "{refused}");
        assert!(!into.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shelf_keeps_the_newest_and_touches_nothing_else() {
    let folder = TempDir::new().unwrap();
    let shelf = folder.path().join("backups");
    fs::create_dir(&shelf).unwrap();
    fs::write(shelf.join("videogen-before-the-move.backup"), "theirs").unwrap();
    fs::write(shelf.join(".videogen-backup-x"), "half").unwrap();
    let (store, _) = filled().await;
    let own = Shelf::open(store, files(), &shelf, 2, Clock::system()).unwrap();
    assert_eq!(own.age().unwrap(), None);
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(own.make().await.unwrap().0);
        // Names are of whole milliseconds.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(own.age().unwrap().unwrap() < Duration::from_secs(60));
    let mut names: Vec<_> =
        fs::read_dir(&shelf).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [made[2].as_str(), made[3].as_str(), "videogen-before-the-move.backup"]);
    let (one, other) = tokio::join!(own.make(), own.make());
    assert!(one.is_ok() && matches!(other, Err(BackupError::Busy)), "one at a time");
}

fn tombstone(number: u64) -> Tombstone {
    Tombstone { task: fixture::id(number), request: [3; 16], removed: made(), has_file: true }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_removed_while_the_backup_was_made_is_restored_as_removed() {
    let folder = TempDir::new().unwrap();
    let mut writer = Writer::new();
    write_header(&mut writer, made());
    write_task(&mut writer, &task(1).succeeded());
    write_tombstone(&mut writer, &tombstone(1));
    writer.trailer(&Summary { tasks: 1, tombstones: 1, ..Summary::default() });
    let file = folder.path().join("tasks.backup");
    fs::write(&file, writer.take()).unwrap();
    let into = folder.path().join("store");
    restore(&file, &into, Waiting::AsItWas).await.unwrap();
    let restored = store::open(&StoreSettings::new(&into)).await.unwrap();
    assert_eq!(restored.load(fixture::id(1)).await.unwrap(), None);
    let known = restored.recall(&task(1).submission.request_id).await.unwrap();
    assert_eq!(known, Some(Creation::Removed(fixture::id(1))));
}

/// A small file.
fn small(mut writer: Writer) -> Vec<u8> {
    write_header(&mut writer, made());
    write_note(&mut writer, "callback_key".into(), vec![7; 32]);
    write_task(&mut writer, &task(1).running());
    write_tombstone(&mut writer, &tombstone(2));
    writer.trailer(&Summary { tasks: 1, notes: 1, tombstones: 1, ..Summary::default() });
    writer.take()
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, BadFile> {
    let mut entries = Entries::open(bytes, bytes.len() as u64)?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next()? {
        found.push(entry);
    }
    Ok(found)
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let whole = small(Writer::new());
    assert_eq!(read(&whole).unwrap().len(), 3);
    assert_eq!(read(&small(Writer::of(1))).unwrap().len(), 3, "an older version made it");
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "length {length}");
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).is_err(), "bit {bit}");
    }
    assert!(read(&[whole.as_slice(), b"x"].concat()).is_err(), "a byte more");
}

#[test]
fn records_that_are_left_out_or_doubled_are_noticed() {
    for (tasks, copies) in [(1, 0), (1, 2), (2, 1), (0, 1)] {
        let mut writer = Writer::new();
        write_header(&mut writer, made());
        (0..copies).for_each(|_| write_task(&mut writer, &task(1)));
        writer.trailer(&Summary { tasks, ..Summary::default() });
        let bad = read(&writer.take()).unwrap_err();
        assert!(bad.to_string().contains("another number of records"), "{bad}");
    }
}

/// A reader that refuses to be asked for more than there is.
struct Bounded<'a>(&'a [u8]);

impl std::io::Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        assert!(into.len() <= self.0.len(), "{} bytes of room for {} of file", into.len(), self.0.len());
        self.0.read(into)
    }
}

fn survives(bytes: &[u8]) {
    let Ok(mut entries) = Entries::open(Bounded(bytes), bytes.len() as u64) else { return };
    while let Ok(Some(_)) = entries.next() {}
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_answered_with_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        survives(&bytes);
        prop_assert!(read(&bytes).is_err());
        prop_assert!(read(&[MAGIC.as_slice(), &FORMAT.to_be_bytes(), &bytes].concat()).is_err());
    }

    #[test]
    fn records_of_anything_never_panic(bodies in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..64)), 0..6)) {
        let mut file = Writer::new();
        write_header(&mut file, made());
        let mut bytes = file.take();
        for (kind, content) in bodies {
            let body = [&[if kind < 200 { kind % 6 } else { 255 }][..], &content].concat();
            bytes.extend((body.len() as u32).to_be_bytes());
            bytes.extend(crc32c::crc32c(&body).to_be_bytes());
            bytes.extend(body);
        }
        survives(&bytes);
    }

    #[test]
    fn a_changed_file_is_never_believed(place in 0_usize..100_000, byte in 1_u8.., length in 1_usize..9) {
        let mut bytes = small(Writer::new());
        let place = place % bytes.len();
        let end = (place + length).min(bytes.len());
        bytes[place..end].iter_mut().for_each(|b| *b ^= byte);
        survives(&bytes);
        prop_assert!(read(&bytes).is_err());
    }
}
