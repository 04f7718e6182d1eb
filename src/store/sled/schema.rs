//! What the store knows about itself: the arrangement of its rows and the note
//! that proves their set; and the way up from an older arrangement.

use std::cmp::Ordering;
use std::path::Path;

use super::open::{OpenError, Opened, broken, inconsistent};
use super::receipts::folder_in;
use crate::clock::Clock;
use crate::store::envelope::{Kind, seal, unseal};
use crate::store::receipts::has_any;
use crate::store::set::{SetNote, Sums};

/// The arrangement of keys and rows that this version writes. 2 added the note of
/// the set, 3 the announcements.
pub(super) const SCHEMA: u32 = 3;

/// The key under which the arrangement is noted.
const SCHEMA_KEY: &[u8] = &[Kind::Meta as u8, b's', b'c', b'h', b'e', b'm', b'a'];

/// The key of the note of the set.
pub(super) const SET_KEY: &[u8] = &[Kind::Meta as u8, b's', b'e', b't'];

impl Opened {
    /// Makes sure that the rows are arranged as this version knows, and reads what
    /// is noted about their set.
    pub(super) fn check_schema(&self, path: &Path) -> Result<(), OpenError> {
        let foreign = |reason: &str| OpenError::Foreign { path: path.to_owned(), reason: reason.to_owned() };
        let Some(row) = self.get(SCHEMA_KEY).map_err(|error| broken(path, error))? else {
            if !self.tree.is_empty() {
                return Err(foreign("it holds rows but no schema note"));
            }
            if has_any(&folder_in(path)).map_err(|source| OpenError::Folder { path: path.to_owned(), source })? {
                return Err(inconsistent(path, "the database is empty, and there are receipts"));
            }
            return self.begin(Sums::default()).map_err(|error| broken(path, error));
        };
        let note = unseal(SCHEMA_KEY, &row).map_err(|error| foreign(&error.to_string()))?;
        let found = u32::from_be_bytes(note.try_into().map_err(|_| foreign("its schema note is no number"))?);
        match (found, found.cmp(&SCHEMA)) {
            (_, Ordering::Equal) => self.read_set(path),
            (_, Ordering::Greater) => Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA }),
            (1, Ordering::Less) => self.note_the_set().map_err(|error| broken(path, error)),
            (2, Ordering::Less) => {
                self.read_set(path)?;
                self.note_schema().map_err(|error| broken(path, error))
            }
            (_, Ordering::Less) => Err(foreign("there is no way up from its schema")),
        }
    }

    fn read_set(&self, path: &Path) -> Result<(), OpenError> {
        let row = self.get(SET_KEY).map_err(|error| broken(path, error))?;
        let row = row.ok_or_else(|| inconsistent(path, "the note of its set is missing"))?;
        let note = unseal(SET_KEY, &row).ok().and_then(SetNote::decode);
        *self.set() = note.ok_or_else(|| inconsistent(path, "the note of its set is damaged"))?;
        Ok(())
    }

    /// From 2 to 3: there are no announcements yet. An older version would not know
    /// that rows of that kind belong to tasks.
    fn note_schema(&self) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        let row = seal(SCHEMA_KEY, &SCHEMA.to_be_bytes()).map_err(|_| "a note is too large".to_owned())?;
        batch.insert(SCHEMA_KEY, row);
        tracing::info!(from = 2, to = 3, "the store now keeps what is to be told to webhooks");
        self.sync(batch)
    }

    /// From 1. Changes no row, so that there is nothing to be backed up: the
    /// rows are counted as they are, and a damaged one stays a damaged one.
    fn note_the_set(&self) -> Result<(), String> {
        let mut sums = Sums::default();
        for item in self.tree.iter() {
            let (key, row) = item.map_err(|error| error.to_string())?;
            sums.add(&key, &row);
        }
        tracing::info!(from = 1, to = SCHEMA, "the store now notes the set of its rows");
        self.begin(sums)
    }

    /// Notes arrangement and set for the first time.
    fn begin(&self, sums: Sums) -> Result<(), String> {
        let [a, b, c, d, e, f, g, h, ..] = Clock::system().secret();
        let note = SetNote { commit: 1, receipt: 0, store: u64::from_be_bytes([a, b, c, d, e, f, g, h]), sums };
        let mut batch = sled::Batch::default();
        for (key, value) in [(SCHEMA_KEY, SCHEMA.to_be_bytes().to_vec()), (SET_KEY, note.encode())] {
            batch.insert(key, seal(key, &value).map_err(|_| "a note is too large".to_owned())?);
        }
        self.sync(batch)?;
        *self.set() = note;
        Ok(())
    }

    /// As another version would leave it.
    #[cfg(test)]
    pub(super) fn write_schema(&self, schema: u32) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        batch.insert(SCHEMA_KEY, seal(SCHEMA_KEY, &schema.to_be_bytes()).map_err(|_| String::new())?);
        self.sync(batch)
    }
}
