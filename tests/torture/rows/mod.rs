//! Every row, each in a file of its own. A new one is a file, a `mod` and a place
//! in the list.

mod kills;
mod matrix;
mod network;
mod watch;

use crate::run::Row;

/// Every row, in the order of the plan.
pub const ALL: &[Row] = &[matrix::ROW, kills::ROW, watch::ROW, network::AT_KLING, network::AT_FAL];
