//! Disks to be unkind to: one that can be filled, and a small ext4 disk in a file,
//! whose power can be cut: a copy of the file, taken
//! while the file system is mounted and nothing was asked to be written back, holds
//! what a disk would hold that lost its power at that moment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// A mounted disk. It is gone with the value.
pub struct Disk {
    image: PathBuf,
    place: PathBuf,
    cuts: u32,
}

/// Why there can be no such disk here, if there cannot.
pub fn missing() -> Option<String> {
    let root = rustix::process::geteuid().is_root();
    let device = Path::new("/dev/loop-control").exists();
    let formats = Command::new("mkfs.ext4").arg("-V").output().is_ok();
    if root && device && formats { None } else { Some("root, loop devices and mkfs.ext4".to_owned()) }
}

static SWEPT: Once = Once::new();

/// Unmounts what runs have left behind that were killed.
fn sweep() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let owner = place.split_once("/torture-").and_then(|(_, rest)| rest.split('/').next()?.rsplit('-').next());
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            let _ = Command::new("umount").args(["-l", place]).output();
        }
    }
}

impl Disk {
    /// Makes one of so many MiB in a folder.
    pub fn make(folder: &Path, mib: u64) -> Result<Self, String> {
        SWEPT.call_once(sweep);
        let disk = Self { image: folder.join("disk-0.img"), place: folder.join("disk"), cuts: 0 };
        std::fs::create_dir_all(&disk.place).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&disk.image).map_err(|error| error.to_string())?;
        file.set_len(mib << 20).map_err(|error| error.to_string())?;
        let image = disk.image.display().to_string();
        run("mkfs.ext4", &["-q", "-F", &image])?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Goes on with what the disk holds at this moment. Nobody may have a file open on it.
    pub fn cut(&mut self) -> Result<(), String> {
        self.cuts += 1;
        let after = self.image.with_file_name(format!("disk-{}.img", self.cuts));
        let (from, to) = (self.image.display().to_string(), after.display().to_string());
        run("cp", &["--sparse=always", &from, &to])?;
        self.unmount()?;
        std::fs::remove_file(&self.image).map_err(|error| error.to_string())?;
        self.image = after;
        self.mount()
    }

    fn mount(&self) -> Result<(), String> {
        let (image, place) = (self.image.display().to_string(), self.place.display().to_string());
        run("mount", &["-t", "ext4", "-o", "loop", &image, &place])
    }

    fn unmount(&self) -> Result<(), String> {
        run("umount", &[&self.place.display().to_string()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            // Something still looks at it: it goes as soon as nothing does.
            let _ = Command::new("umount").arg("-l").arg(&self.place).output();
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// A disk in memory that can be filled to the last page. It is gone with the value.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes one of so many MiB there.
    pub fn mount(place: &Path, mib: u64) -> Result<Self, String> {
        SWEPT.call_once(sweep);
        std::fs::create_dir_all(place).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", &place.display().to_string()])?;
        Ok(Self(place.to_owned()))
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.0
    }

    /// Fills it until so many bytes are left.
    pub fn leave_free(&self, bytes: u64) -> Result<(), String> {
        let filler = std::fs::File::create(self.0.join("filler")).map_err(|error| error.to_string())?;
        loop {
            let disk = statvfs(&self.0).map_err(|error| error.to_string())?;
            let size = (disk.f_bavail * disk.f_frsize).saturating_sub(bytes).max(1);
            match fallocate(&filler, FallocateFlags::empty(), 0, size) {
                // Somebody was faster: there is less to be had now.
                Err(Errno::NOSPC) => {}
                other => return other.map_err(|error| error.to_string()),
            }
        }
    }

    /// Takes the filling away.
    pub fn clear(&self) -> Result<(), String> {
        std::fs::remove_file(self.0.join("filler")).map_err(|error| error.to_string())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still looks at it keeps it no longer than it looks.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
