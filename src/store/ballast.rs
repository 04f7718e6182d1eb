//! A file that does nothing but hold 64 MiB of the disk: sled has to write in order
//! to open, so a disk that fills up while nobody looks would lock the tasks away.
//! Thrown out when that happens, made again when there is room.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Its size.
pub const BALLAST_BYTES: u64 = 64 << 20;

/// Its name in the store's folder.
const BALLAST: &str = "ballast";

/// Makes sure that the folder has its ballast.
pub fn keep(folder: &Path) -> io::Result<()> {
    let path = folder.join(BALLAST);
    if fs::metadata(&path).is_ok_and(|file| file.len() == BALLAST_BYTES) {
        return Ok(());
    }
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
    let taken = fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES);
    if taken.is_err() {
        // Half a ballast would be taken for none, and hold the room all the same.
        release(folder)?;
    }
    Ok(taken?)
}

/// Throws the ballast out; false when there is none.
pub fn release(folder: &Path) -> io::Result<bool> {
    match fs::remove_file(folder.join(BALLAST)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bytes that may still be written to the folder's disk.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that the store takes, its ballast apart.
pub fn store_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // sled may take a snapshot away meanwhile.
        let Ok(file) = entry.metadata() else { continue };
        if file.is_file() && entry.file_name() != BALLAST {
            bytes += file.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_its_room_until_it_is_thrown_out() {
        use std::os::unix::fs::MetadataExt;

        let folder = tempfile::tempdir().unwrap();
        assert!(!release(folder.path()).unwrap());
        // As a full disk may leave it.
        fs::write(folder.path().join(BALLAST), "half").unwrap();
        fs::write(folder.path().join("db"), "tasks").unwrap();
        for _ in 0..2 {
            keep(folder.path()).unwrap();
            let file = fs::metadata(folder.path().join(BALLAST)).unwrap();
            assert_eq!(file.len(), BALLAST_BYTES);
            assert!(file.blocks() * 512 >= BALLAST_BYTES, "it is no hole");
        }
        assert_eq!(store_bytes(folder.path()).unwrap(), 5);
        assert!(release(folder.path()).unwrap());
        assert!(!folder.path().join(BALLAST).exists());
    }
}
