//! What the house does for itself while it serves: it looks after the room on the
//! disk, makes backups, and removes what was kept long enough. Each part runs until it is told to stop, and must not end before.

pub mod backups;
pub mod retention;
pub mod room;
