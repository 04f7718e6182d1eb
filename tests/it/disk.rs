//! A small disk of its own for a test, which takes root.

use std::fs::{File, remove_file};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// A mounted disk, gone with the value.
pub struct SmallDisk {
    /// Where it is.
    pub path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of so many MiB there; says so loudly when it cannot.
    pub fn mount(path: PathBuf, mib: u64) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(&path).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self { path });
        }
        println!("SKIPPED: no small disk can be mounted here, which takes root");
        None
    }

    /// Fills it until so many MiB are left.
    pub fn leave_free(&self, mib: u64) {
        self.clear();
        let disk = statvfs(&self.path).unwrap();
        let size = (disk.f_bavail * disk.f_frsize).checked_sub(mib << 20).expect("as much is free");
        let filler = File::create(self.filler()).unwrap();
        if size > 0 {
            fallocate(&filler, FallocateFlags::empty(), 0, size).unwrap();
        }
    }

    /// Takes the filling away.
    pub fn clear(&self) {
        // There is none at first.
        let _ = remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What cannot be unmounted goes with the machine; the test has its answer.
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
    }
}
