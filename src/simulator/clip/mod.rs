//! The file that a finished job leaves: a real, small MP4 drawn from the prompt,
//! the same for the same request. It is drawn when it is first asked for.

mod bits;
mod cavlc;
mod font;
mod h264;
mod mp4;
mod picture;
mod scene;
mod transform;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

use super::book::Shape;

/// Pictures in a second, and how many of them one key picture serves.
const PACE: u32 = 24;
const KEY_EVERY: u32 = 2 * PACE;

/// How many clips are kept, drawn or being drawn, and how many are drawn at once.
const KEPT: usize = 16;
const AT_ONCE: usize = 2;

type Key = (String, Shape, u32);

/// A clip that is drawn once for all who ask. It goes on when they have left: a
/// client whose patience is shorter than the drawing finds it the next time.
type Drawing = Shared<BoxFuture<'static, Option<Bytes>>>;

/// The clips asked for last.
pub(crate) struct Clips {
    drawings: Mutex<Vec<(Key, Drawing)>>,
    room: Arc<Semaphore>,
}

impl Default for Clips {
    fn default() -> Self {
        Self { drawings: Mutex::default(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Clips {
    /// The clip of a request; none when drawing went wrong.
    pub(crate) async fn get(&self, prompt: &str, shape: &Shape, short_side: u32) -> Option<Bytes> {
        self.drawing((prompt.to_owned(), shape.clone(), short_side)).await
    }

    /// The drawing under way or done, or a new one.
    fn drawing(&self, key: Key) -> Drawing {
        let mut drawings = self.drawings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, drawing)) = drawings.iter().find(|(other, _)| *other == key) {
            return drawing.clone();
        }
        let working = tokio::spawn(draw(Arc::clone(&self.room), key.clone()));
        let drawing = async { working.await.ok().flatten() }.boxed().shared();
        if drawings.len() >= KEPT {
            // Whoever waits for it has a handle of their own.
            drop(drawings.remove(0));
        }
        drawings.push((key, drawing.clone()));
        drawing
    }
}

/// Draws when there is room.
async fn draw(room: Arc<Semaphore>, (prompt, shape, short_side): Key) -> Option<Bytes> {
    let _room = room.acquire_owned().await.ok()?;
    let clip = tokio::task::spawn_blocking(move || render(&prompt, &shape, short_side)).await;
    clip.ok().map(Bytes::from)
}

/// Width and height for a ratio, both even.
fn size(aspect_ratio: &str, short_side: u32) -> (usize, usize) {
    let short = (short_side.clamp(64, 1_080) & !1) as usize;
    let long = (short * 16 / 9) & !1;
    match aspect_ratio {
        "9:16" => (short, long),
        "1:1" => ((short * 4 / 3) & !1, (short * 4 / 3) & !1),
        _ => (long, short),
    }
}

/// Draws and encodes a whole clip. It takes a while: not for an async thread.
fn render(prompt: &str, shape: &Shape, short_side: u32) -> Vec<u8> {
    let (width, height) = size(&shape.aspect_ratio, short_side);
    let seconds = shape.seconds.clamp(1, 30);
    let scene = scene::Scene::new(prompt, width, height, seconds);
    let pictures = groups(&scene, seconds * PACE, (width.div_ceil(16), height.div_ceil(16)));
    mp4::file(&mp4::Track {
        width: width as u16,
        height: height as u16,
        frames_per_second: PACE,
        sequence: h264::sequence_parameters(width, height, PACE),
        parameters: h264::picture_parameters(),
        pictures,
    })
}

/// Draws and encodes every picture, a few groups at a time: a group begins with a key
/// picture and needs nothing from the groups before it.
fn groups(scene: &scene::Scene, pictures: u32, size: (usize, usize)) -> Vec<(Vec<u8>, bool)> {
    let starts: Vec<u32> = (0..pictures).step_by(KEY_EVERY as usize).collect();
    let hands = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let mut drawn = Vec::new();
    for starts in starts.chunks(hands) {
        let finished: Vec<_> = std::thread::scope(|scope| {
            let draw = |&start: &u32| scope.spawn(move || group(scene, start, pictures, size));
            let working: Vec<_> = starts.iter().map(draw).collect();
            working.into_iter().map(|hand| hand.join().unwrap_or_default()).collect()
        });
        drawn.extend(finished.into_iter().flatten());
    }
    drawn
}

fn group(scene: &scene::Scene, start: u32, pictures: u32, (columns, rows): (usize, usize)) -> Vec<(Vec<u8>, bool)> {
    let mut encoder = h264::Encoder::new(columns, rows, start / KEY_EVERY);
    let encode = |number: u32| {
        let picture = picture::Picture::of(&scene.draw(number as f32 / PACE as f32));
        (encoder.encode(&picture, number == start), number == start)
    };
    (start..(start + KEY_EVERY).min(pictures)).map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn clip(aspect_ratio: &str, seconds: u32, side: u32) -> Vec<u8> {
        let shape = Shape { seconds, aspect_ratio: aspect_ratio.into() };
        render("A red kite over golden dunes at sunset [sim:fail]", &shape, side)
    }

    /// The names and lengths of the boxes at the top.
    fn boxes(file: &[u8]) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at + 8 <= file.len() {
            let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
            found.push((String::from_utf8_lossy(&file[at + 4..at + 8]).into_owned(), length));
            at += length;
        }
        assert_eq!(at, file.len());
        found
    }

    #[test]
    fn a_clip_has_its_index_in_front_and_is_the_same_each_time() {
        let file = clip("16:9", 1, 64);
        let names: Vec<_> = boxes(&file).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ftyp", "moov", "mdat"]);
        assert_eq!(file, clip("16:9", 1, 64));
    }

    #[tokio::test]
    async fn a_drawing_goes_on_when_its_client_has_left() {
        let clips = Clips::default();
        let shape = Shape { seconds: 1, aspect_ratio: "16:9".into() };
        assert!(clips.get("x", &shape, 64).now_or_never().is_none());
        let left = clips.drawings.lock().unwrap()[0].1.clone();
        assert_eq!(left.await, clips.get("x", &shape, 64).now_or_never().unwrap());
        assert_eq!(clips.drawings.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_player_reads_every_picture() {
        if Command::new("ffprobe").arg("-version").output().is_err() {
            eprintln!("skipped: there is no ffprobe");
            return;
        }
        for (ratio, seconds, size) in [("16:9", 3, "170,96"), ("9:16", 1, "96,170"), ("1:1", 1, "128,128")] {
            let path = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
            std::fs::write(path.path(), clip(ratio, seconds, 96)).unwrap();
            let asked = "stream=width,height,nb_read_frames";
            let probe = ["-v", "error", "-count_frames", "-show_entries", asked, "-of", "csv=p=0"];
            let output = Command::new("ffprobe").args(probe).arg(path.path()).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            let expected = format!("{size},{}\n", seconds * PACE);
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
    }
}
