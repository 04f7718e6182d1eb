//! Measures the disk once a second, so that nothing is bought that cannot be kept,
//! and makes the ballast when there is room for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::ledger::Ledger;
use crate::ledger::admission::{Admission, Refusal, Room};
use crate::store::ballast::{self, BALLAST_BYTES};

/// How often the disk is measured.
const EACH: Duration = Duration::from_secs(1);
/// A large video as the models make them: 15 s of 4k at 70 Mbit/s.
const LARGE_VIDEO_BYTES: u64 = 128 << 20;
/// What is left to everything else on the disk.
const FLOOR_BYTES: u64 = 256 << 20;

/// The places to be measured.
#[derive(Clone, Debug)]
pub struct Places {
    /// The store's folder; the ballast lies there.
    pub store: PathBuf,
    /// The archive's folder, unless videos go to a bucket.
    pub archive: Option<PathBuf>,
    /// How many videos are fetched at once.
    pub fetches_at_once: u64,
    /// The reserve in bytes, if it was set.
    pub reserve: Option<u64>,
}

/// Measures and tells the ledger's admission.
pub struct RoomKeeper {
    places: Places,
    ledger: Arc<Ledger>,
    admission: Arc<Admission>,
    /// Whether the ballast could not be made; it is not tried every second.
    gave_up: bool,
}

impl RoomKeeper {
    /// Measures for the first time.
    pub async fn start(places: Places, ledger: Arc<Ledger>, admission: Arc<Admission>) -> Self {
        let mut keeper = Self { places, ledger, admission, gave_up: false };
        keeper.look().await;
        keeper
    }

    /// Measures until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut each = tokio::time::interval(EACH);
        each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(each.tick()).await.is_some() {
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let (places, ballast) = (self.places.clone(), !self.gave_up);
        let looked = tokio::task::spawn_blocking(move || {
            let room = measure(&places)?;
            Ok((room, ballast && has_room_for_ballast(room) && !keep_ballast(&places.store)))
        });
        let looked: io::Result<_> = looked.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let room = match looked {
            Ok((room, failed)) => {
                self.gave_up |= failed;
                room
            }
            Err(error) => {
                error!(%error, "the disk cannot be measured; nothing new is taken in");
                Room { free: 0, reserve: u64::MAX }
            }
        };
        metrics::gauge!("videogen_disk_free_bytes").set(room.free as f64);
        metrics::gauge!("videogen_disk_reserve_bytes").set(room.reserve as f64);
        self.tell(room);
    }

    fn tell(&self, room: Room) {
        let before = *self.admission.shown().borrow();
        self.admission.measured(room, self.ledger.open_tasks());
        let now = *self.admission.shown().borrow();
        match (before.map(Refusal::reason), now.map(Refusal::reason)) {
            (before, Some(reason)) if before != Some(reason) => {
                warn!(reason, free = room.free, reserve = room.reserve, "nothing new is taken in");
            }
            (Some(_), None) => info!(free = room.free, "new requests are taken in again"),
            _ => {}
        }
    }
}

/// What is free where there is least, and what must stay so.
fn measure(places: &Places) -> io::Result<Room> {
    let videos = places.archive.as_deref().map(ballast::free_bytes).transpose()?;
    let free = ballast::free_bytes(&places.store)?.min(videos.unwrap_or(u64::MAX));
    let reserve = match places.reserve {
        Some(reserve) => reserve,
        None => {
            let fetches = places.archive.as_ref().map_or(0, |_| places.fetches_at_once);
            default_reserve(fetches, ballast::store_bytes(&places.store)?)
        }
    };
    Ok(Room { free, reserve })
}

/// Room for the videos on their way, for a store that doubles, and some to spare.
fn default_reserve(fetches_at_once: u64, store_bytes: u64) -> u64 {
    (LARGE_VIDEO_BYTES * fetches_at_once).saturating_add(store_bytes.saturating_mul(2)).saturating_add(FLOOR_BYTES)
}

/// Making it must not be what takes the room below the reserve.
fn has_room_for_ballast(room: Room) -> bool {
    room.free >= room.reserve.max(BALLAST_BYTES).saturating_add(BALLAST_BYTES)
}

fn keep_ballast(store: &Path) -> bool {
    let kept = ballast::keep(store);
    if let Err(error) = &kept {
        warn!(%error, "no ballast can be made here; a full disk may keep the store from opening");
    }
    kept.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_covers_the_fetches_and_a_store_that_doubles() {
        assert_eq!(default_reserve(8, 0), 1280 << 20);
        assert_eq!(default_reserve(1, 100 << 20), (128 + 200 + 256) << 20);
        assert_eq!(default_reserve(8, u64::MAX), u64::MAX);
    }

    #[test]
    fn the_ballast_never_takes_the_room_below_the_reserve() {
        let reserve = 1 << 30;
        assert!(has_room_for_ballast(Room { free: reserve + BALLAST_BYTES, reserve }));
        assert!(!has_room_for_ballast(Room { free: reserve + BALLAST_BYTES - 1, reserve }));
        assert!(!has_room_for_ballast(Room { free: BALLAST_BYTES, reserve: 0 }));
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (store, archive) = (folder.path().to_owned(), folder.path().join("absent"));
        let places = Places { store, archive: Some(archive), fetches_at_once: 8, reserve: None };
        assert!(measure(&places).is_err());
        let archive = Some(places.store.clone());
        let room = measure(&Places { archive, reserve: Some(7), ..places.clone() }).unwrap();
        assert!(room.free > 0 && room.reserve == 7);
        let bucket = measure(&Places { archive: None, ..places }).unwrap();
        assert_eq!(bucket.reserve, default_reserve(0, 0), "videos take no room here");
    }
}
