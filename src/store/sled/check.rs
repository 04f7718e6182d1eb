//! The look at everything while nobody serves: each row, the set, and the receipts
//! against the database. What it finds is told, never guessed at.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::StoreSettings;
use super::open::{OpenError, Opened, broken, inconsistent};
use super::receipts::folder_in;
use crate::store::announcement;
use crate::store::backup;
use crate::store::contract::StoreError;
use crate::store::envelope::{Kind, unseal};
use crate::store::index::Index;
use crate::store::receipts::{Told, money_of, read_all};
use crate::store::rows::{part_of, read_task};
use crate::store::set::Sums;
use crate::task::id::TaskId;
use crate::task::spec::{Image, StoredImage};
use crate::task::state::Artifact;

/// How many findings are told in full.
const TOLD: usize = 1000;

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows that were read.
    pub rows: u64,
    /// Tasks that are in order.
    pub tasks: u64,
    /// Tasks that the receipts know.
    pub receipts: u64,
    /// What was mended.
    pub mended: Vec<String>,
    /// What somebody has to look at; at most a thousand.
    pub findings: Vec<String>,
    /// The files that there should be.
    pub artifacts: Vec<(TaskId, Artifact)>,
    /// The pictures that there should be, with the field that each is in.
    pub inputs: Vec<(TaskId, String, StoredImage)>,
}

impl Report {
    fn find(&mut self, finding: String) {
        if self.findings.len() < TOLD {
            self.findings.push(finding);
        }
    }
}

/// A store that is checked stays locked until this is dropped.
pub struct Checked {
    /// What was found.
    pub report: Report,
    pub(super) opened: Option<Opened>,
}

/// Checks a store that no server has open; one of an older arrangement is brought
/// up first. An error says that the check could not run at all.
pub fn check(settings: &StoreSettings) -> Result<Checked, OpenError> {
    let path = settings.path.clone();
    if !path.join("db").exists() && !folder_in(&path).exists() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no store");
        return Err(OpenError::Folder { path, source });
    }
    refuse_half_restored(&path)?;
    let look = || {
        let settings = settings.clone();
        let looked = guarded(CHECK_LIMIT, move || check_opened(&settings));
        looked.unwrap_or_else(|reason| Ok(hopeless(broken(&path, reason))))
    };
    let first = look()?;
    if !first.report.findings.is_empty() {
        return Ok(first);
    }
    // To open a damaged store changes it: sled may read a row that it will not find
    // again. What is in order is so for the next one who opens it, too.
    let mended = first.report.mended.clone();
    drop(first);
    let mut second = look()?;
    second.report.mended.splice(0..0, mended);
    Ok(second)
}

/// Such a store is not one yet.
pub(super) fn refuse_half_restored(path: &Path) -> Result<(), OpenError> {
    match backup::is_half_restored(path) {
        true => Err(backup::name_half_restored(path)),
        false => Ok(()),
    }
}

/// How long a check may take before it is given up.
const CHECK_LIMIT: Duration = Duration::from_secs(3600);

/// Runs in a thread of its own: sled panics on some damaged files, and may wait for
/// ever.
pub(super) fn guarded<T: Send + 'static>(
    limit: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = mpsc::channel();
    let run = move || {
        // Nobody waits any more after the time limit.
        let _ = answer.send(std::panic::catch_unwind(AssertUnwindSafe(run)));
    };
    std::thread::Builder::new().name("store-check".to_owned()).spawn(run).map_err(|error| error.to_string())?;
    match answered.recv_timeout(limit) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_panic)) => Err("sled panicked; the log is damaged".to_owned()),
        Err(_) => Err(format!("sled did not come back in {} s", limit.as_secs())),
    }
}

fn hopeless(error: OpenError) -> Checked {
    Checked { report: Report { findings: vec![error.to_string()], ..Report::default() }, opened: None }
}

fn check_opened(settings: &StoreSettings) -> Result<Checked, OpenError> {
    let path = settings.path.as_path();
    let opened = match Opened::open(settings, None) {
        Err(error @ (OpenError::Broken { .. } | OpenError::Inconsistent { .. } | OpenError::Foreign { .. })) => {
            return Ok(hopeless(error));
        }
        opened => opened?,
    };
    // Not dropped while a panic goes by: sled would flush, and panic again.
    let opened = ManuallyDrop::new(opened);
    let mut report = Report::default();
    let index = match opened.check_rows(&mut report) {
        Ok(index) => index,
        Err(error) => {
            report.find(broken(path, error).to_string());
            return Ok(Checked { report, opened: Some(ManuallyDrop::into_inner(opened)) });
        }
    };
    if let Err(error) = opened.check_receipts(path, &index, &mut report) {
        report.find(error.to_string());
    }
    Ok(Checked { report, opened: Some(ManuallyDrop::into_inner(opened)) })
}

impl Opened {
    /// Every envelope, every task, parts that belong to nobody, and the set.
    fn check_rows(&self, report: &mut Report) -> Result<Index, StoreError> {
        let failed = |error: sled::Error| StoreError::Stopped(format!("read: {error}"));
        let (mut index, mut found, mut damaged) = (Index::default(), Sums::default(), BTreeSet::new());
        for item in self.tree.iter() {
            let (key, row) = item.map_err(failed)?;
            report.rows += 1;
            found.add(&key, &row);
            if let Err(reason) = unseal(&key, &row) {
                damaged.extend(key.first());
                report.find(format!("row {}: {reason}", hex(&key)));
            }
            self.index_row(&mut index, &key, &row)?;
            self.check_part(&index, &key, report);
            check_announcement(&index, &key, report);
        }
        for (id, reason) in index.damaged() {
            report.find(format!("task {id}: {reason}"));
        }
        if let Some(difference) = self.set().sums.difference(&found, &damaged) {
            report.find(difference);
        }
        report.tasks = index.ids().count() as u64;
        Ok(index)
    }

    /// Heads come before parts, so that it is known by then who has which.
    fn check_part(&self, index: &Index, key: &[u8], report: &mut Report) {
        let Some((kind, id, number)) = part_of(key) else { return };
        let parts = index.durable(id).map(|durable| durable.parts).unwrap_or_default();
        let count = if kind == Kind::StatePart { parts.state } else { parts.submission };
        if number >= count && index.damage(id).is_none() {
            report.find(format!("row {} belongs to no task", hex(key)));
        }
    }

    fn check_receipts(&self, path: &Path, index: &Index, report: &mut Report) -> Result<(), OpenError> {
        // What a kill may leave is made good as at any start.
        self.keep_receipts(path, index)?;
        let folder = folder_in(path);
        let read = || read_all(&folder).map_err(|source| OpenError::Folder { path: folder.clone(), source });
        let told = read()?;
        report.receipts = told.tasks.len() as u64;
        for (id, paid) in &told.tasks {
            let stored = index.durable(*id);
            if stored.is_some_and(|stored| stored.revision < paid.revision) {
                report.find(format!("task {id} is older than its receipt"));
            }
            let open = || paid.task(*id).is_ok_and(|task| task.is_open());
            if stored.is_none() && index.damage(*id).is_none() && open() {
                report.find(format!("task {id} has a receipt and is not in the database"));
            }
        }
        let lacking = index.open_and_paid().filter(|id| !knows(&told, index, *id)).count();
        if lacking > 0 && report.findings.is_empty() {
            self.write_receipts_anew(index).map_err(|reason| broken(path, reason))?;
            report.mended.push(format!("receipts of {lacking} tasks were not readable and are written anew"));
        }
        self.find_artifacts(index, report).map_err(|error| inconsistent(path, error))
    }

    fn find_artifacts(&self, index: &Index, report: &mut Report) -> Result<(), StoreError> {
        for id in index.ids() {
            let Ok((task, _)) = read_task(id, |key| self.get(key)) else { continue };
            for (field, image) in task.submission.spec.images() {
                if let Image::File(file) = image {
                    report.inputs.push((id, field, *file));
                }
            }
            if let Some(artifact) = task.artifact {
                report.artifacts.push((id, artifact));
            }
        }
        Ok(())
    }
}

/// Heads come before announcements, too.
fn check_announcement(index: &Index, key: &[u8], report: &mut Report) {
    let Some(id) = announcement::id_of(key) else { return };
    if index.durable(id.task).is_none() && index.damage(id.task).is_none() {
        report.find(format!("row {} belongs to no task", hex(key)));
    }
}

/// Whether the receipts know all that the database knows of a task's money.
fn knows(told: &Told, index: &Index, id: TaskId) -> bool {
    let paid = told.tasks.get(&id).and_then(|paid| paid.task(id).ok());
    let stored = index.durable(id).map(|durable| durable.money);
    paid.map(|task| money_of(&task)) == stored
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
