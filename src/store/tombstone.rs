//! What is left of a removed task: enough to refuse a repeat of its request, which
//! would buy the video a second time, and to finish the removal of its file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

use super::contract::Tombstone;
use super::envelope::{Kind, RowTooLarge, seal, unseal};
use super::record::wire;
use super::rows::Row;
use crate::clock::unix_ms;
use crate::task::id::TaskId;

/// The row of a tombstone.
pub(super) fn tombstone_row(tombstone: &Tombstone) -> Result<Row, RowTooLarge> {
    let key = key(tombstone.task);
    let row = seal(&key, &wire::Tombstone { task: Vec::new().into(), ..write(tombstone) }.encode_to_vec())?;
    Ok((key.to_vec(), row))
}

/// The key of a tombstone.
pub(super) fn key(task: TaskId) -> [u8; 17] {
    let mut key = [Kind::Tombstone as u8; 17];
    key[1..].copy_from_slice(&task.to_bytes());
    key
}

/// Reads a row; nothing if it is damaged.
pub(super) fn read_row(key: &[u8], row: &[u8]) -> Option<Tombstone> {
    let task: [u8; 16] = key.get(1..)?.try_into().ok()?;
    let record = wire::Tombstone::decode(unseal(key, row).ok()?).ok()?;
    read(wire::Tombstone { task: task.to_vec().into(), ..record })
}

/// A tombstone as a record.
pub(super) fn write(tombstone: &Tombstone) -> wire::Tombstone {
    let Tombstone { task, request, removed, has_file } = tombstone;
    wire::Tombstone {
        task: task.to_bytes().to_vec().into(),
        request: request.to_vec().into(),
        removed_ms: i64::try_from(unix_ms(*removed)).unwrap_or(i64::MAX),
        has_file: *has_file,
    }
}

/// A record as a tombstone; nothing if it cannot be right.
pub(super) fn read(record: wire::Tombstone) -> Option<Tombstone> {
    let wire::Tombstone { task, request, removed_ms, has_file } = record;
    let removed: SystemTime = UNIX_EPOCH.checked_add(Duration::from_millis(removed_ms.try_into().ok()?))?;
    let task = TaskId::from_bytes(task.as_ref().try_into().ok()?);
    Some(Tombstone { task, request: request.as_ref().try_into().ok()?, removed, has_file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::fixture;

    #[test]
    fn a_tombstone_is_read_as_it_was_written() {
        for has_file in [true, false] {
            let tombstone =
                Tombstone { task: fixture::id(3), request: [9; 16], removed: fixture::created(5), has_file };
            let (key, row) = tombstone_row(&tombstone).unwrap();
            assert_eq!(read_row(&key, &row), Some(tombstone));
            assert_eq!(read_row(&key, &row[1..]), None);
        }
    }
}
