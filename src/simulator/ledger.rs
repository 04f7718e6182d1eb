//! The simulator's own books: one line for every create that it accepted, written
//! and synced before the answer leaves. Tests hold VideoGen's books against these.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::faults::{Provider, Standard};

/// One accepted create.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// Who sold it.
    pub provider: Provider,
    /// In which of Kling's standards.
    pub standard: Standard,
    /// The path it was posted to.
    pub path: String,
    /// A short digest of the credential, never the credential.
    pub account: String,
    /// The buyer's own id for the job, where the provider takes one.
    pub marker: Option<String>,
    /// SHA-256 of the request's body, in hexadecimal.
    pub body_sha256: String,
    /// The pictures that came by value: how each was written, and SHA-256 of what it
    /// decodes to.
    #[serde(default)]
    pub pictures: Vec<String>,
    /// The job that was sold.
    pub job_id: String,
    /// The model.
    pub model: String,
    /// What was asked for.
    pub prompt: String,
    /// What became of the answer: `ok`, or the fault that struck it.
    pub answered: String,
}

/// How many entries are kept in memory; the file keeps all.
const KEPT: usize = 200_000;

/// The book, in memory and in a file.
pub(crate) struct Ledger {
    entries: Mutex<VecDeque<Entry>>,
    file: Option<Arc<Mutex<File>>>,
}

impl Ledger {
    /// Opens the file for appending, if there is to be one.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = match path {
            Some(path) => Some(OpenOptions::new().create(true).append(true).open(path)?),
            None => None,
        };
        Ok(Self { entries: Mutex::default(), file: file.map(|file| Arc::new(Mutex::new(file))) })
    }

    /// Writes one entry down, durably where there is a file.
    pub(crate) async fn append(&self, entry: Entry) -> io::Result<()> {
        if let Some(file) = self.file.clone() {
            let mut line = serde_json::to_vec(&entry).map_err(io::Error::other)?;
            line.push(b'\n');
            tokio::task::spawn_blocking(move || write_line(&file, &line)).await.map_err(io::Error::other)??;
        }
        let mut entries = self.lock();
        if entries.len() >= KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
        Ok(())
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        // Each change is one push: a panic elsewhere leaves no half entry.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_line(file: &Mutex<File>, line: &[u8]) -> io::Result<()> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.write_all(line)?;
    file.sync_data()
}
