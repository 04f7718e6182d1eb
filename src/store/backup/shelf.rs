//! The folder of the backups that a running server makes: one at a time, named by
//! their moment, the oldest taken away when there are enough.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use prost_types::Timestamp;
use tokio::sync::Mutex;

use super::save::UNFINISHED;
use super::{BackupError, Summary, at, save};
use crate::clock::Clock;
use crate::store::contract::TaskStore;
use crate::store::inputs::Files;

const BEGIN: &str = "videogen-";
const END: &str = ".backup";

/// Where backups go.
pub struct Shelf {
    store: Arc<dyn TaskStore>,
    files: Files,
    folder: PathBuf,
    keep: usize,
    clock: Clock,
    turn: Mutex<()>,
}

impl Shelf {
    /// Opens the folder, or makes it, readable by its owner only, and removes what
    /// an interrupted backup has left.
    pub fn open(
        store: Arc<dyn TaskStore>,
        files: Files,
        folder: &Path,
        keep: usize,
        clock: Clock,
    ) -> Result<Self, BackupError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        for name in names(folder).map_err(at(folder))? {
            if name.starts_with(UNFINISHED) {
                fs::remove_file(folder.join(&name)).map_err(at(folder.join(&name)))?;
            }
        }
        Ok(Self { store, files, folder: folder.to_owned(), keep, clock, turn: Mutex::new(()) })
    }

    /// Makes a backup now, and hands back the name of its file.
    pub async fn make(&self) -> Result<(String, Summary), BackupError> {
        let _turn = self.turn.try_lock().map_err(|_| BackupError::Busy)?;
        let now = self.clock.now();
        let name = file_name(now);
        let summary = save(self.store.as_ref(), &self.files, &self.folder.join(&name), now).await?;
        metrics::gauge!("videogen_backup_time_seconds").set(crate::clock::unix_ms(now) as f64 / 1000.0);
        self.prune()?;
        Ok((name, summary))
    }

    /// How long ago the newest backup was made; nothing if there is none.
    pub fn age(&self) -> Result<Option<std::time::Duration>, BackupError> {
        let newest = names(&self.folder).map_err(at(&self.folder))?.into_iter().filter(|name| is_ours(name)).max();
        let Some(name) = newest else { return Ok(None) };
        let made = fs::metadata(self.folder.join(name)).and_then(|meta| meta.modified()).map_err(at(&self.folder))?;
        Ok(Some(crate::clock::since(self.clock.now(), made)))
    }

    fn prune(&self) -> Result<(), BackupError> {
        let mut ours = names(&self.folder).map_err(at(&self.folder))?;
        ours.retain(|name| is_ours(name));
        ours.sort();
        for old in ours.iter().rev().skip(self.keep) {
            fs::remove_file(self.folder.join(old)).map_err(at(self.folder.join(old)))?;
        }
        Ok(())
    }
}

/// The moment in UTC, so that names sort by age: `videogen-20261123T211500.042Z.backup`.
fn file_name(now: SystemTime) -> String {
    let text = Timestamp::from(now).to_string();
    let date: String = text.chars().take(19).filter(|c| c.is_ascii_digit() || *c == 'T').collect();
    format!("{BEGIN}{date}.{:03}Z{END}", crate::clock::unix_ms(now) % 1000)
}

/// Whether a file is one of ours: others are never taken away.
fn is_ours(name: &str) -> bool {
    let Some(moment) = name.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)) else { return false };
    moment.len() == "20261123T211500.042Z".len()
        && moment.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'.' | b'Z'))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_sort_by_age() {
        let at = |ms| file_name(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(1_795_468_500_042), "videogen-20261123T211500.042Z.backup");
        assert!(at(1_795_468_499_999) < at(1_795_468_500_000));
        assert!(is_ours(&at(0)));
        for other in ["videogen-before-the-move.backup", "videogen-.backup", "notes", "videogen-20261123T211500.042Z"] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
