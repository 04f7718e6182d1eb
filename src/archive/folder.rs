//! The local folder behind the archive: opens it, keeps it tidy and watches its
//! free space. The files themselves go through `object_store`.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use super::error::ArchiveError;

/// Finds or makes the folder that `archive.url` names. Only its owner may enter a
/// folder that is made here.
pub(super) fn open(url: &str) -> Result<PathBuf, ArchiveError> {
    let folder = parse(url)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| refused(&folder, &error))?;
    fs::canonicalize(&folder).map_err(|error| refused(&folder, &error))
}

/// The store of a folder. A file it reports as written is on the disk, and so is
/// its name.
pub(super) fn store(folder: &Path) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| ArchiveError::Storage(error.to_string()))?;
    Ok(Arc::new(store.with_fsync(true)))
}

/// Removes the unfinished files of interrupted fetches whose names begin with
/// `start`.
pub(super) fn sweep(folder: &Path, start: &str) -> Result<(), ArchiveError> {
    for entry in fs::read_dir(folder).map_err(|error| refused(folder, &error))? {
        let entry = entry.map_err(|error| refused(folder, &error))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(start) && is_unfinished(name)) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(&entry.path(), &error)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Makes the names in the folder durable, those that went included.
pub(super) fn sync(folder: &Path) -> Result<(), ArchiveError> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| refused(folder, &error))
}

/// Bytes that we may still write to the folder's disk.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn parse(url: &str) -> Result<PathBuf, ArchiveError> {
    let bad = || ArchiveError::BadUrl(url.to_owned());
    let (scheme, rest) = url.split_once(':').ok_or_else(bad)?;
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {}
        _ => return Err(bad()),
    }
    // "//" stands before a host, which is the empty one: "///" is this machine's root.
    let folder = match rest.strip_prefix("//") {
        Some(folder) if folder.starts_with('/') => folder,
        Some(_) => return Err(bad()),
        None => rest,
    };
    if folder.is_empty() || folder.contains('\0') { Err(bad()) } else { Ok(PathBuf::from(folder)) }
}

/// `object_store` writes to `NAME#1` and renames it to NAME at the end.
fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn refused(path: &Path, error: &io::Error) -> ArchiveError {
    ArchiveError::Storage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_named_by_a_file_url() {
        let named = |url| parse(url).unwrap();
        assert_eq!(named("file:./videos"), Path::new("./videos"));
        assert_eq!(named("file:videos"), Path::new("videos"));
        assert_eq!(named("file:/srv/videos"), Path::new("/srv/videos"));
        assert_eq!(named("file:///srv/my videos"), Path::new("/srv/my videos"));
        for url in ["", "videos", "/srv", "file:", "file://", "file://host/x", "http://x", "file:a\0b"] {
            assert!(matches!(parse(url), Err(ArchiveError::BadUrl(_))), "{url}");
        }
    }

    #[test]
    fn a_new_folder_is_its_owners_alone_and_leftovers_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let folder = open(&format!("file:{}/a/b", home.path().display())).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for name in ["x.mp4", "x.mp4#1", "y.webm#12", "notes#", "z#1a"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        sweep(&folder, "").unwrap();
        let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["notes#", "x.mp4", "z#1a"]);
    }
}
