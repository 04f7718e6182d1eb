//! The files of tasks: read, linked to, and waited for while the archive cannot take
//! them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::BoxStream;

use super::{Ledger, LedgerError};
use crate::archive::ReadError;
use crate::task::id::TaskId;
use crate::task::state::{Artifact, Task};

/// The tasks whose file the archive could not take when it was tried last. Memory
/// only: the next try tells it anew.
#[derive(Debug, Default)]
pub(super) struct Unkept(Mutex<HashSet<TaskId>>);

impl Unkept {
    fn with<T>(&self, work: impl FnOnce(&mut HashSet<TaskId>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn forget(&self, id: TaskId) {
        self.with(|tasks| tasks.remove(&id));
    }
}

impl Ledger {
    /// Notes that the archive cannot take a task's file, until the task moves on.
    pub fn note_unkept(&self, id: TaskId) {
        self.unkept.with(|tasks| tasks.insert(id));
    }

    /// Whether the archive could not take a task's file when it was tried last.
    pub fn is_unkept(&self, id: TaskId) -> bool {
        self.unkept.with(|tasks| tasks.contains(&id))
    }

    /// The stored file of a task from an offset on.
    pub async fn open_video(
        &self,
        id: TaskId,
        offset: u64,
    ) -> Result<(Arc<Task>, Artifact, BoxStream<'static, Result<Bytes, ReadError>>), LedgerError> {
        let task = self.get(id).await?;
        let Some(artifact) = task.artifact.clone() else { return Err(LedgerError::NoArtifact(task)) };
        if offset > artifact.size {
            return Err(LedgerError::OutOfRange { size: artifact.size });
        }
        let read = self.archive.read(id, &artifact, offset).await;
        let bytes = read.map_err(|error| LedgerError::Damaged { task: id, error })?;
        Ok((task, artifact, bytes))
    }

    /// A link to the stored file of a task that works for so long, and when it ends.
    pub async fn link_video(
        &self,
        id: TaskId,
        lifetime: Duration,
    ) -> Result<(Arc<Task>, Artifact, String, SystemTime), LedgerError> {
        let task = self.get(id).await?;
        let Some(artifact) = task.artifact.clone() else { return Err(LedgerError::NoArtifact(task)) };
        let expires = self.clock.now() + lifetime;
        match self.archive.link(id, &artifact, lifetime).await {
            Ok(Some(link)) => Ok((task, artifact, link, expires)),
            Ok(None) => Err(LedgerError::NoLinks),
            Err(error) => Err(LedgerError::Damaged { task: id, error }),
        }
    }
}
