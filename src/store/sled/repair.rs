//! Makes a new store of what can be read of a broken one and of the receipts. The
//! broken one is moved aside, never changed and never removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::StoreSettings;
use super::check::{check, guarded, refuse_half_restored};
use super::open::{LOCK_FILE, OpenError, Opened, broken, lock, open_sled};
use super::receipts::folder_in;
use super::write::Batch;
use crate::store::announcement;
use crate::store::envelope::{Kind, unseal};
use crate::store::inputs;
use crate::store::receipts::{Told, read_all};
use crate::store::rows::{id_of_head, new_rows, read_task};
use crate::store::tombstone;
use crate::task::id::TaskId;
use crate::task::state::Task;

/// Where the copy that is read from stands meanwhile.
const SCRATCH: &str = "repair-scratch";

/// Where the new store is made.
const REBUILT: &str = "repair-new";

/// Stands while the new store takes the place of the broken one.
pub(super) const MOVING: &str = "repair-moving";

/// How long the broken database may take to be read.
const READ_LIMIT: Duration = Duration::from_secs(1800);

/// How many tasks are written at once.
const TASKS_AT_ONCE: usize = 256;

/// What a repair has done.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// What was wrong; nothing was done when this is empty.
    pub findings: Vec<String>,
    /// Tasks in the new store.
    pub tasks: u64,
    /// Those among them that the receipts gave back or knew better.
    pub from_receipts: u64,
    /// Paid tasks that nothing is left of but a receipt without its submission.
    pub lost: Vec<TaskId>,
    /// Where the broken store is now.
    pub aside: Option<PathBuf>,
}

/// Rows that could be read, by key.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the broken database gave.
#[derive(Default)]
struct Salvage {
    tasks: BTreeMap<TaskId, Task>,
    /// Notes, and whatever else belongs to no task.
    others: Rows,
}

impl Salvage {
    fn take(&mut self, rows: &Rows) {
        for id in rows.keys().filter_map(|key| id_of_head(key)) {
            let Ok((task, _)) = read_task(id, |key| Ok(rows.get(key))) else { continue };
            if self.tasks.get(&id).is_none_or(|known| known.revision < task.revision) {
                self.tasks.insert(id, task);
            }
        }
        let of_a_task = |kind: u8| {
            [Kind::Meta, Kind::Head, Kind::StatePart, Kind::SubmissionPart].iter().any(|known| *known as u8 == kind)
        };
        for (key, row) in rows.iter().filter(|(key, _)| key.first().is_some_and(|kind| !of_a_task(*kind))) {
            if unseal(key, row).is_ok() {
                self.others.entry(key.clone()).or_insert_with(|| row.clone());
            }
        }
    }
}

/// Repairs a store that no server has open.
pub fn repair(settings: &StoreSettings) -> Result<Repaired, OpenError> {
    let path = settings.path.as_path();
    let in_folder = |source| OpenError::Folder { path: path.to_owned(), source };
    if !path.is_dir() {
        return Err(in_folder(io::Error::new(io::ErrorKind::NotFound, "there is no store")));
    }
    let _lock = lock(path)?;
    refuse_half_restored(path)?;
    if path.join(MOVING).exists() {
        let aside = take_the_place(path).map_err(in_folder)?;
        let findings = vec!["an earlier repair was cut short".to_owned()];
        return Ok(Repaired { findings, aside: Some(aside), ..Repaired::default() });
    }
    for name in [SCRATCH, REBUILT] {
        remove(&path.join(name)).map_err(in_folder)?;
    }
    let scratch = StoreSettings { path: path.join(SCRATCH), ..settings.clone() };
    copy(path, &scratch.path).map_err(in_folder)?;
    let checked = check(&scratch)?;
    let findings = checked.report.findings.clone();
    drop(checked.opened);
    if findings.is_empty() {
        remove(&scratch.path).map_err(in_folder)?;
        return Ok(Repaired::default());
    }
    let salvage = salvage(path, &scratch).map_err(in_folder)?;
    remove(&scratch.path).map_err(in_folder)?;
    let told = read_all(&folder_in(path)).map_err(in_folder)?;
    let rebuilt = StoreSettings { path: path.join(REBUILT), ..settings.clone() };
    let mut repaired = rebuild(&rebuilt, salvage, &told)?;
    File::create(path.join(MOVING)).and_then(|file| file.sync_all()).map_err(in_folder)?;
    repaired.aside = Some(take_the_place(path).map_err(in_folder)?);
    repaired.findings = findings;
    Ok(repaired)
}

/// Reads all rows that can be read, from the copy. A snapshot that is damaged hides
/// a log that is not, so the copy is read without one as well.
fn salvage(path: &Path, scratch: &StoreSettings) -> io::Result<Salvage> {
    let mut salvage = Salvage::default();
    for with_snapshot in [true, false] {
        remove(&scratch.path)?;
        copy(path, &scratch.path)?;
        if !with_snapshot {
            for entry in fs::read_dir(&scratch.path)?.collect::<io::Result<Vec<_>>>()? {
                if entry.file_name().to_string_lossy().starts_with("snap.") {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        salvage.take(&read_rows(scratch));
    }
    Ok(salvage)
}

/// Reads forward until it fails, then backward: only what lies around the damage is
/// missed.
fn read_rows(settings: &StoreSettings) -> Rows {
    let rows = Arc::new(Mutex::new(Rows::new()));
    for forward in [true, false] {
        let (rows, settings) = (Arc::clone(&rows), settings.clone());
        let read = move || {
            let Ok(db) = open_sled(&settings) else { return };
            // Not dropped while a panic goes by: sled would flush, and panic again.
            let db = ManuallyDrop::new(db);
            let mut iter = db.iter();
            while let Some(Ok((key, row))) = if forward { iter.next() } else { iter.next_back() } {
                let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                rows.insert(key.to_vec(), row.to_vec());
            }
            drop(iter);
            drop(ManuallyDrop::into_inner(db));
        };
        // What was read before it failed is kept.
        let _ = guarded(READ_LIMIT, read);
    }
    std::mem::take(&mut *rows.lock().unwrap_or_else(PoisonError::into_inner))
}

fn rebuild(settings: &StoreSettings, salvage: Salvage, told: &Told) -> Result<Repaired, OpenError> {
    let path = settings.path.as_path();
    let mut repaired = Repaired::default();
    let mut others = Batch::default();
    let rest = salvage.others.clone();
    let tasks = merge(salvage, told, &mut repaired);
    let known: BTreeSet<TaskId> = tasks.iter().map(|task| task.id).collect();
    // What is to be told of a task that is lost has nobody to ask about.
    let has_its_task = |key: &[u8]| announcement::id_of(key).is_none_or(|id| known.contains(&id.task));
    rest.into_iter().filter(|(key, _)| has_its_task(key)).for_each(|(key, row)| others.insert(key, row));
    let opened = Opened::open(settings, None)?;
    let failed = |reason: String| broken(path, reason);
    opened.write(others, Vec::new()).map_err(failed)?;
    for tasks in tasks.chunks(TASKS_AT_ONCE) {
        let mut batch = Batch::default();
        for task in tasks {
            let rows = new_rows(task).map_err(|error| failed(error.to_string()))?;
            rows.puts.into_iter().for_each(|(key, row)| batch.insert(key, row));
        }
        opened.write(batch, Vec::new()).map_err(failed)?;
    }
    let index = opened.scan(path)?;
    opened.keep_receipts(path, &index)?;
    repaired.tasks = tasks.len() as u64;
    Ok(repaired)
}

/// Of each task what is newest: as the database has it, or its receipt. A task that
/// ended and is not in the database may have been removed on purpose; it comes back
/// only if the database gave nothing at all.
fn merge(salvage: Salvage, told: &Told, repaired: &mut Repaired) -> Vec<Task> {
    let Salvage { mut tasks, others } = salvage;
    let buried = |id: &TaskId| others.contains_key(&tombstone::key(*id)[..]);
    tasks.retain(|id, _| !buried(id));
    let nothing = tasks.is_empty();
    for (id, paid) in told.tasks.iter().filter(|(id, _)| !buried(id)) {
        let stored = tasks.get(id);
        if stored.is_some_and(|stored| stored.revision >= paid.revision) {
            continue;
        }
        let task = match stored {
            Some(stored) => paid.task_of(*id, Arc::clone(&stored.submission)),
            None => paid.task(*id),
        };
        match task {
            Ok(task) if stored.is_some() || nothing || task.is_open() => {
                repaired.from_receipts += 1;
                tasks.insert(*id, task);
            }
            Ok(_) => {}
            Err(_) => repaired.lost.push(*id),
        }
    }
    tasks.into_values().collect()
}

/// Moves the broken store into a folder of its own and the new one to its place.
/// May be cut short anywhere and called again.
fn take_the_place(path: &Path) -> io::Result<PathBuf> {
    let rebuilt = path.join(REBUILT);
    let mark = path.join(MOVING);
    let named = fs::read_to_string(&mark)?;
    let aside = match named.is_empty() {
        false => path.join(named),
        true => {
            let name = (1..).map(|number| format!("broken-{number}")).find(|name| !path.join(name).exists());
            let name = name.unwrap_or_default();
            fs::write(&mark, &name)?;
            File::open(&mark)?.sync_all()?;
            path.join(name)
        }
    };
    let done = aside.join("complete");
    fs::create_dir_all(&aside)?;
    if !done.exists() {
        move_all(path, &aside)?;
        File::create(&done)?.sync_all()?;
        File::open(&aside)?.sync_all()?;
        File::open(path)?.sync_all()?;
    }
    if rebuilt.exists() {
        move_all(&rebuilt, path)?;
        File::open(path)?.sync_all()?;
        fs::remove_dir_all(&rebuilt)?;
    }
    fs::remove_file(done)?;
    fs::remove_file(mark)?;
    File::open(path)?.sync_all()?;
    Ok(aside)
}

/// Whether an entry of a store's folder is the repair's own, the lock, or the
/// pictures, which stay with whatever is made of the tasks.
fn is_apart(name: &str) -> bool {
    name == LOCK_FILE || name == inputs::FOLDER || name.starts_with("repair-") || name.starts_with("broken-")
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().filter(|name| !is_apart(name)).collect())
}

fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    names(from)?.into_iter().try_for_each(|name| fs::rename(from.join(&name), to.join(&name)))
}

/// Copies a store's files, the receipts among them.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in names(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
