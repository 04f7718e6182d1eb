//! Every row, each in a file of its own. A new one is a file, a `mod` and a place
//! in the list.

mod callbacks;
mod full_disk;
mod io_errors;
mod kills;
mod matrix;
mod network;
mod power;
mod rot;
mod script;
mod syscalls;
mod watch;

use crate::run::Row;
use crate::{disk, strace};

/// Every row, in the order of the plan.
pub const ALL: &[Row] = &[
    matrix::ROW,
    kills::ROW,
    syscalls::ROW,
    io_errors::ROW,
    full_disk::ROW,
    power::ROW,
    rot::ROW,
    network::AT_KLING,
    network::AT_FAL,
    watch::ROW,
    callbacks::ROW,
];

/// What a row needs and this machine has not.
pub fn missing(row: &Row) -> Option<String> {
    match row.name {
        "syscalls" | "io-errors" => strace::missing(),
        "power" | "full-disk" => disk::missing(),
        _ => None,
    }
}

/// Whether what the row needs could be installed where it is missing.
pub fn can_be_installed(row: &Row) -> bool {
    matches!(row.name, "syscalls" | "io-errors")
}
