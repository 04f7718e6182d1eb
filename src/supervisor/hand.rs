//! Which tasks are being worked on, in a small file that outlives the process: a
//! task whose work ends the process is found out by it, rests, and the others go on.
//! The file is written without a sync: it has to survive a crash of the process, not
//! a power cut.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::clock::{since, unix_ms};
use crate::task::id::TaskId;

/// Bytes of one record: the id, whether it is in hand, its crashes, two unused, until
/// when it rests in milliseconds since 1970, and the CRC-32C of all that.
const RECORD: usize = 32;
/// How many tasks can be in hand. More are worked on without being written down.
const RECORDS: u32 = 4096;
/// At how many crashes in a row a task is made to rest.
const CRASHES: u8 = 3;

/// The tasks in hand, and those that were when the process crashed.
#[derive(Debug)]
pub struct Hand {
    file: Option<File>,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    tasks: HashMap<TaskId, Mark>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    place: u32,
    in_hand: bool,
    suspicion: Suspicion,
}

/// What is held against a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspicion {
    /// Crashes in a row while it was in hand.
    pub crashes: u8,
    /// Until when it rests, in milliseconds since 1970; 0 when it does not.
    until_ms: u64,
}

impl Suspicion {
    /// How much longer the task rests, if it does.
    pub fn resting(&self, now: SystemTime) -> Option<Duration> {
        let until = UNIX_EPOCH.checked_add(Duration::from_millis(self.until_ms))?;
        Some(since(until, now)).filter(|left| !left.is_zero())
    }

    /// One crash more. The third in a row costs a rest, which doubles with each
    /// after it, up to 24 times the first.
    fn raised(self, now: SystemTime, rest: Duration) -> Self {
        let crashes = self.crashes.saturating_add(1);
        let until_ms = match crashes.checked_sub(CRASHES) {
            Some(more) => unix_ms(now + (rest * (1 << more.min(5))).min(rest * 24)),
            None => 0,
        };
        Self { crashes, until_ms }
    }
}

impl Hand {
    /// Keeps nothing: for a supervisor without a folder of its own.
    pub fn without_file() -> Self {
        Self { file: None, marks: Mutex::default() }
    }

    /// Opens the file, raises the suspicion against every task that was in hand when
    /// the process ended, and puts that on disk in one write. A file that cannot be
    /// read is begun anew.
    pub fn open(path: &Path, now: SystemTime, rest: Duration) -> std::io::Result<Self> {
        let mut suspects: Vec<(TaskId, Suspicion)> = std::fs::read(path)
            .map(|bytes| read(&bytes))
            .unwrap_or_default()
            .into_iter()
            .map(|(task, in_hand, known)| (task, if in_hand { known.raised(now, rest) } else { known }))
            .filter(|(_, suspicion)| suspicion.crashes > 0)
            .collect();
        suspects.truncate(RECORDS as usize);
        let mut bytes = vec![0; RECORD * RECORDS as usize];
        let mut tasks = HashMap::new();
        for (place, (task, suspicion)) in (0..).zip(suspects) {
            let mark = Mark { place, in_hand: false, suspicion };
            bytes[RECORD * place as usize..][..RECORD].copy_from_slice(&mark.record(task));
            tasks.insert(task, mark);
        }
        let file = replace(path, &bytes)?;
        let free = (tasks.len() as u32..RECORDS).rev().collect();
        Ok(Self { file: Some(file), marks: Mutex::new(Marks { tasks, free }) })
    }

    /// What is held against a task.
    pub fn suspicion(&self, task: TaskId) -> Option<Suspicion> {
        self.with(|marks| marks.tasks.get(&task).map(|mark| mark.suspicion).filter(|it| it.crashes > 0))
    }

    /// Every task that something is held against.
    pub fn suspects(&self) -> Vec<(TaskId, Suspicion)> {
        self.with(|marks| {
            let all = marks.tasks.iter().map(|(task, mark)| (*task, mark.suspicion));
            all.filter(|(_, suspicion)| suspicion.crashes > 0).collect()
        })
    }

    /// Work on a task begins. Whoever drops the guard without saying that it is done
    /// leaves the suspicion as it was.
    pub fn begin(&self, task: TaskId) -> Working<'_> {
        self.with(|marks| {
            if !marks.tasks.contains_key(&task) {
                let Some(place) = marks.free.pop() else { return };
                marks.tasks.insert(task, Mark { place, in_hand: false, suspicion: Suspicion::default() });
            }
            self.put(marks, task, true);
        });
        Working { hand: self, task, done: false }
    }

    /// The task waits for its turn: a crash meanwhile is not its doing.
    pub fn pause(&self, task: TaskId) {
        self.with(|marks| self.put(marks, task, false));
    }

    /// The wait is over, if the task is still worked on.
    pub fn resume(&self, task: TaskId) {
        self.with(|marks| self.put(marks, task, true));
    }

    fn put(&self, marks: &mut Marks, task: TaskId, in_hand: bool) {
        if let Some(mark) = marks.tasks.get_mut(&task).filter(|mark| mark.in_hand != in_hand) {
            mark.in_hand = in_hand;
            self.write(mark.place, &mark.record(task));
        }
    }

    fn end(&self, task: TaskId, done: bool) {
        self.with(|marks| {
            let Some(mark) = marks.tasks.get(&task).copied() else { return };
            if !done && mark.suspicion.crashes > 0 {
                return self.put(marks, task, false);
            }
            self.write(mark.place, &[0; RECORD]);
            marks.tasks.remove(&task);
            marks.free.push(mark.place);
        });
    }

    fn write(&self, place: u32, record: &[u8; RECORD]) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(record, u64::from(place) * RECORD as u64) {
            // Without it a poisonous task is not found out; nothing else depends on it.
            warn!(%error, "the task in hand could not be written down");
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Marks) -> T) -> T {
        work(&mut self.marks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Work under way on one task.
pub struct Working<'a> {
    hand: &'a Hand,
    task: TaskId,
    done: bool,
}

impl Working<'_> {
    /// The step came to its end: nothing is held against the task any more.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.hand.end(self.task, self.done);
    }
}

impl Mark {
    fn record(&self, task: TaskId) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..16].copy_from_slice(&task.to_bytes());
        record[16] = u8::from(self.in_hand);
        record[17] = self.suspicion.crashes;
        record[20..28].copy_from_slice(&self.suspicion.until_ms.to_le_bytes());
        let crc = crc32c::crc32c(&record[..28]);
        record[28..].copy_from_slice(&crc.to_le_bytes());
        record
    }
}

/// The records that are whole.
fn read(bytes: &[u8]) -> Vec<(TaskId, bool, Suspicion)> {
    let read_one = |record: &[u8]| {
        let (body, crc) = record.split_at(28);
        if body.iter().all(|byte| *byte == 0) || crc32c::crc32c(body).to_le_bytes() != crc {
            return None;
        }
        let id: [u8; 16] = body[..16].try_into().ok()?;
        let until_ms = u64::from_le_bytes(body[20..28].try_into().ok()?);
        Some((TaskId::from_bytes(id), body[16] == 1, Suspicion { crashes: body[17], until_ms }))
    };
    bytes.chunks_exact(RECORD).filter_map(read_one).collect()
}

/// Puts a file with these bytes in the place of the earlier one, all or nothing.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn task(number: u64) -> TaskId {
        TaskId::floor(number)
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_000_000)
    }

    #[test]
    fn only_what_is_in_hand_at_a_crash_is_suspected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in-hand");
        let hand = Hand::open(&path, now(), HOUR).unwrap();
        hand.begin(task(1)).done();
        drop(hand.begin(task(2)));
        std::mem::forget(hand.begin(task(3)));
        std::mem::forget(hand.begin(task(4)));
        hand.pause(task(4));
        hand.resume(task(5));
        let hand = Hand::open(&path, now(), HOUR).unwrap();
        let suspects: Vec<_> = hand.suspects().into_iter().map(|(task, it)| (task, it.crashes)).collect();
        assert_eq!(suspects, [(task(3), 1)]);
        drop(hand.begin(task(3)));
        assert!(hand.suspicion(task(3)).is_some(), "a step that did not end clears nobody");
        hand.begin(task(3)).done();
        assert!(Hand::open(&path, now(), HOUR).unwrap().suspects().is_empty());
    }

    #[test]
    fn the_third_crash_in_a_row_costs_an_hour_and_each_after_it_twice_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in-hand");
        let mut rests = Vec::new();
        for _ in 0..10 {
            let hand = Hand::open(&path, now(), HOUR).unwrap();
            let suspicion = hand.suspicion(task(1)).unwrap_or_default();
            rests.push(suspicion.resting(now()).map_or(0, |rest| rest.as_secs() / 3600));
            std::mem::forget(hand.begin(task(1)));
        }
        assert_eq!(rests, [0, 0, 0, 1, 2, 4, 8, 16, 24, 24]);
        let hand = Hand::open(&path, now(), HOUR).unwrap();
        let suspicion = hand.suspicion(task(1)).unwrap();
        assert_eq!(suspicion.resting(now() + 24 * HOUR), None);
        drop(hand);
        let again = Hand::open(&path, now() + HOUR, HOUR).unwrap();
        assert_eq!(again.suspicion(task(1)), Some(suspicion), "a start that it did not cause changes nothing");
    }

    #[test]
    fn a_file_that_is_damaged_harms_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in-hand");
        std::fs::write(&path, vec![7; 100]).unwrap();
        let hand = Hand::open(&path, now(), HOUR).unwrap();
        assert!(hand.suspects().is_empty());
        hand.begin(task(1)).done();
    }

    #[test]
    fn there_is_an_end_to_what_is_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::open(&folder.path().join("in-hand"), now(), HOUR).unwrap();
        (1..5000).for_each(|number| std::mem::forget(hand.begin(task(number))));
        hand.begin(task(6000)).done();
        assert_eq!(std::fs::metadata(folder.path().join("in-hand")).unwrap().len(), 4096 * 32);
    }
}
