//! The look at everything before the first task is served: every envelope, every
//! task, and the set as a whole.

use std::collections::BTreeSet;
use std::path::Path;

use super::open::{OpenError, Opened, broken, inconsistent};
use crate::store::announcement;
use crate::store::contract::StoreError;
use crate::store::envelope::{Kind, unseal};
use crate::store::index::{Index, RequestKey};
use crate::store::rows::{Unread, id_of_head, read_task, salvage_request_id};
use crate::store::set::Sums;
use crate::store::tombstone;
use crate::task::id::TaskId;

impl Opened {
    /// Reads everything once: every envelope is checked, every task indexed, the
    /// set compared with what is noted of it. What is damaged is set aside and does
    /// not keep the others from being served; rows that were lost, resurrected or
    /// exchanged without a trace do.
    pub(super) fn scan(&self, path: &Path) -> Result<Index, OpenError> {
        let mut index = Index::default();
        let mut found = Sums::default();
        let mut damaged = BTreeSet::new();
        for item in self.tree.iter() {
            let (key, row) = item.map_err(|error| broken(path, error))?;
            found.add(&key, &row);
            if unseal(&key, &row).is_err() {
                damaged.extend(key.first());
            }
            self.index_row(&mut index, &key, &row).map_err(|reason| broken(path, reason))?;
        }
        if let Some(difference) = self.set().sums.difference(&found, &damaged) {
            return Err(inconsistent(path, difference));
        }
        if !damaged.is_empty() {
            tracing::error!(kinds = ?damaged, tasks = index.damaged().count(), "damaged rows were set aside");
        }
        Ok(index)
    }

    /// Takes a row into the index, if it is one that the index knows of.
    pub(super) fn index_row(&self, index: &mut Index, key: &[u8], row: &sled::IVec) -> Result<(), StoreError> {
        let Some((kind, name)) = key.split_first() else { return Ok(()) };
        if *kind == Kind::Note as u8 {
            let name = String::from_utf8_lossy(name).into_owned();
            match unseal(key, row) {
                Ok(value) => index.put_note(name, value.to_vec()),
                Err(reason) => tracing::error!(note = name, %reason, "a note is damaged and left out"),
            }
        } else if *kind == Kind::Tombstone as u8 {
            match tombstone::read_row(key, row) {
                Some(tombstone) => index.bury(tombstone),
                None => tracing::error!(?key, "a damaged tombstone is left out"),
            }
        } else if *kind == Kind::Announcement as u8 {
            match announcement::read_row(key, row) {
                Some(announcement) => index.announce(announcement.id, announcement::mark(&announcement)),
                None => tracing::error!(?key, "a damaged announcement is left out"),
            }
        } else if *kind == Kind::Head as u8 {
            match id_of_head(key) {
                Some(id) => self.index_one(index, id, row)?,
                None => tracing::error!(?key, "a key that names no task is left out"),
            }
        }
        Ok(())
    }

    fn index_one(&self, index: &mut Index, id: TaskId, head: &sled::IVec) -> Result<(), StoreError> {
        let get = |key: &[u8]| match key[0] == Kind::Head as u8 {
            true => Ok(Some(head.clone())),
            false => self.get(key),
        };
        let reason = match read_task(id, get) {
            Ok((task, parts)) => {
                index.put(&task, parts);
                return Ok(());
            }
            Err(Unread::Failed(error)) => return Err(error),
            Err(Unread::Damaged(reason)) => reason,
            // Nobody writes yet, so this is no race.
            Err(Unread::Torn | Unread::Absent) => "its rows do not fit together".to_owned(),
        };
        tracing::error!(task_id = %id, reason, "a task is damaged");
        index.quarantine(id, salvage_request_id(head).as_ref().map(RequestKey::of), reason);
        Ok(())
    }
}
