//! What was seen behind links, for a while: a good picture for as long as a task
//! usually waits for its create, a refusal only until its cause may be mended. Of
//! many callers who want the same at once, one looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use tokio::time::{Duration, Instant};

use super::fetch::Missed;
use crate::task::picture::Picture;

/// How long a picture is remembered.
const GOOD_FOR: Duration = Duration::from_secs(300);
/// How long a refusal is.
const BAD_FOR: Duration = Duration::from_secs(10);
/// How many links are remembered.
const MOST: usize = 1024;

type Seen = Result<Picture, String>;
type Cell = Arc<tokio::sync::Mutex<Option<(Instant, Seen)>>>;

/// The memory. Links may carry credentials, so it has their digests only.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<[u8; 32], (Instant, Cell)>>);

impl Memory {
    /// What was seen behind this link, or is seen by `look` now.
    pub(super) async fn recall_or<F>(&self, uri: &str, look: impl FnOnce() -> F) -> Result<Picture, Missed>
    where
        F: Future<Output = Result<Picture, Missed>>,
    {
        let cell = self.cell(uri);
        let mut cell = cell.lock().await;
        if let Some((when, seen)) = cell.as_ref()
            && when.elapsed() < if seen.is_ok() { GOOD_FOR } else { BAD_FOR }
        {
            return seen.clone().map_err(Missed::Refused);
        }
        let seen = match look().await {
            Ok(picture) => Ok(picture),
            Err(Missed::Refused(message)) => Err(message),
            Err(Missed::Unclear) => return Err(Missed::Unclear),
        };
        *cell = Some((Instant::now(), seen.clone()));
        seen.map_err(Missed::Refused)
    }

    fn cell(&self, uri: &str) -> Cell {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, uri.as_bytes()).as_ref());
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if cells.len() >= MOST && !cells.contains_key(&key) {
            cells.retain(|_, (asked, cell)| Arc::strong_count(cell) > 1 || now - *asked < GOOD_FOR);
            // Full of what is new: the oldest goes. Whoever waits for it keeps it.
            if cells.len() >= MOST
                && let Some(oldest) = cells.iter().min_by_key(|(_, (asked, _))| *asked).map(|(key, _)| *key)
            {
                cells.remove(&oldest);
            }
        }
        Arc::clone(&cells.entry(key).or_insert_with(|| (now, Cell::default())).1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::task::picture::ImageFormat;

    const PICTURE: Picture = Picture { format: ImageFormat::Png, bytes: None, sides: None };

    /// Looks, counts, and says this.
    async fn look(memory: &Memory, uri: &str, looks: &AtomicUsize, seen: Result<Picture, Missed>) -> bool {
        let look = || async {
            looks.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            seen
        };
        memory.recall_or(uri, look).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_looks_for_all_and_each_answer_lasts_as_long_as_it_may() {
        let (memory, looks) = (Memory::default(), AtomicUsize::new(0));
        let at_once = (0..10).map(|_| look(&memory, "a", &looks, Ok(PICTURE)));
        assert_eq!(futures::future::join_all(at_once).await, [true; 10]);
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        let no = || Err(Missed::Refused("no".to_owned()));
        for (after, seen, known, count) in
            [(299, no(), true, 1), (2, no(), false, 2), (9, Ok(PICTURE), false, 2), (2, Ok(PICTURE), true, 3)]
        {
            tokio::time::sleep(Duration::from_secs(after)).await;
            assert_eq!(look(&memory, "a", &looks, seen).await, known, "look {count}");
            assert_eq!(looks.load(Ordering::Relaxed), count);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unclear_is_looked_at_again_and_the_memory_is_bounded() {
        let (memory, looks) = (Memory::default(), AtomicUsize::new(0));
        assert!(!look(&memory, "a", &looks, Err(Missed::Unclear)).await);
        assert!(look(&memory, "a", &looks, Ok(PICTURE)).await);
        for number in 0..2 * MOST {
            let _cell = memory.cell(&number.to_string());
        }
        assert_eq!(memory.0.lock().unwrap().len(), MOST);
    }
}
