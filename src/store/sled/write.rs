//! How rows change: one batch, and with it the note that proves the set; then the
//! sync.

use std::collections::{BTreeMap, BTreeSet};

use super::open::Opened;
use super::schema::SET_KEY;
use crate::failpoint::failpoint;
use crate::store::envelope::{seal, unseal};
use crate::store::set::SetNote;

/// Rows to be written and removed together.
#[derive(Debug, Default)]
pub(super) struct Batch(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Batch {
    /// Writes a row. Of two changes of one key the later one counts.
    pub(super) fn insert(&mut self, key: impl Into<Vec<u8>>, row: impl Into<Vec<u8>>) {
        self.0.insert(key.into(), Some(row.into()));
    }

    /// Removes a row; it is no error if there is none.
    pub(super) fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.0.insert(key.into(), None);
    }
}

impl Opened {
    /// Applies a batch and waits until it and the receipts of the money facts in it
    /// are on the disk. Blocks. There is one caller at a time; after an error there
    /// must be no further one.
    pub(super) fn write(&self, batch: Batch, receipts: Vec<Vec<u8>>) -> Result<(), String> {
        let commit = self.commit(batch, !receipts.is_empty())?;
        match receipts.len() {
            0 => Ok(()),
            count => self.append_receipts(commit, count, receipts.into_iter().map(Ok)),
        }
    }

    /// Applies a batch and waits until it is on the disk; its number.
    pub(super) fn commit(&self, batch: Batch, has_receipts: bool) -> Result<u64, String> {
        let mut set = self.set();
        let mut next = self.noted(&set, &batch)?;
        if has_receipts {
            next.receipt = next.commit;
        }
        let row = seal(SET_KEY, &next.encode()).map_err(|_| "the note of the set is too large".to_owned())?;
        let mut sled = sled::Batch::default();
        sled.insert(SET_KEY, row);
        for (key, row) in batch.0 {
            match row {
                Some(row) => sled.insert(key, row),
                None => sled.remove(key),
            }
        }
        self.sync(sled)?;
        failpoint!("commit.synced");
        *set = next;
        Ok(set.commit)
    }

    /// Applies what sled is to change and waits until it is on the disk.
    pub(super) fn sync(&self, batch: sled::Batch) -> Result<(), String> {
        failpoint!("commit.begin" => "write: a failpoint".to_owned());
        self.tree.apply_batch(batch).map_err(|error| format!("write: {error}"))?;
        failpoint!("commit.applied");
        self.db.flush().map_err(|error| format!("flush: {error}"))?;
        failpoint!("commit.flushed" => "sync: a failpoint".to_owned());
        // sled's flush is no fsync: without this a power cut loses what was
        // acknowledged, or the whole database.
        self.log.sync_data().map_err(|error| format!("sync: {error}"))
    }

    /// The note after the batch: what it replaces is taken out, what it brings is
    /// put in.
    fn noted(&self, set: &SetNote, batch: &Batch) -> Result<SetNote, String> {
        let mut next = SetNote { commit: set.commit + 1, ..set.clone() };
        let mut anew = BTreeSet::new();
        for (key, row) in &batch.0 {
            if let Some(old) = self.tree.get(key).map_err(|error| format!("read: {error}"))? {
                // What a damaged row had been cannot be taken out any more.
                if unseal(key, &old).is_err() {
                    anew.extend(key.first());
                }
                next.sums.remove(key, &old);
            }
            if let Some(row) = row {
                next.sums.add(key, row);
            }
        }
        for kind in anew {
            self.sum_anew(kind, &mut next, batch)?;
        }
        Ok(next)
    }

    /// Sums up the rows of a kind as they will be after the batch.
    fn sum_anew(&self, kind: u8, next: &mut SetNote, batch: &Batch) -> Result<(), String> {
        next.sums.clear(kind);
        for item in self.tree.scan_prefix([kind]) {
            let (key, row) = item.map_err(|error| format!("read: {error}"))?;
            if !batch.0.contains_key(key.as_ref()) {
                next.sums.add(&key, &row);
            }
        }
        let written = batch.0.iter().filter(|(key, _)| key.first() == Some(&kind));
        written.filter_map(|(key, row)| Some((key, row.as_ref()?))).for_each(|(key, row)| next.sums.add(key, row));
        Ok(())
    }
}
