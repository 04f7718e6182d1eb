//! What a clip shows: a landscape whose colours and shapes follow from the words of
//! the prompt, moving all the time, with the prompt itself underneath.

use std::f32::consts::TAU;

use ring::digest;

use super::font;
use super::picture::Canvas;

/// Words that decide a colour, as a place on the wheel of hues.
const COLOURED: [(&str, f32); 24] = [
    ("red", 0.0),
    ("fire", 0.03),
    ("desert", 0.08),
    ("dune", 0.08),
    ("orange", 0.07),
    ("sunset", 0.05),
    ("gold", 0.12),
    ("yellow", 0.14),
    ("sun", 0.11),
    ("forest", 0.36),
    ("green", 0.35),
    ("grass", 0.3),
    ("sea", 0.5),
    ("ocean", 0.52),
    ("water", 0.53),
    ("sky", 0.56),
    ("blue", 0.6),
    ("night", 0.68),
    ("space", 0.72),
    ("purple", 0.77),
    ("neon", 0.85),
    ("pink", 0.92),
    ("flower", 0.9),
    ("rose", 0.95),
];

/// One row of hills.
struct Hills {
    base: f32,
    height: f32,
    /// How many waves fit the picture's width, and how fast they pass.
    waves: [f32; 3],
    speed: f32,
    offset: f32,
    colour: [u8; 3],
}

/// One light that drifts.
struct Orb {
    centre: [f32; 2],
    swing: [f32; 2],
    turns: [f32; 2],
    phase: f32,
    radius: f32,
    colour: [u8; 3],
}

/// Everything of a clip that does not change from picture to picture.
pub(super) struct Scene {
    background: Canvas,
    hills: Vec<Hills>,
    orbs: Vec<Orb>,
    caption: Vec<String>,
    seconds: f32,
    bar: usize,
    scale: usize,
}

/// Numbers that follow from a text, one after the other.
struct Lot {
    bytes: Vec<u8>,
    next: usize,
}

impl Lot {
    fn of(text: &str) -> Self {
        Self { bytes: digest::digest(&digest::SHA512, text.as_bytes()).as_ref().to_vec(), next: 0 }
    }

    /// A number between two others.
    fn between(&mut self, least: f32, most: f32) -> f32 {
        self.next = (self.next + 1) % (self.bytes.len() - 1);
        let drawn = u16::from_be_bytes([self.bytes[self.next], self.bytes[self.next + 1]]);
        least + (most - least) * f32::from(drawn) / 65_535.0
    }
}

impl Scene {
    /// Draws what stands still and decides on what moves.
    pub(super) fn new(prompt: &str, width: usize, height: usize, seconds: u32) -> Self {
        let words = without_directives(prompt);
        let mut lot = Lot::of(&words);
        let hue = hue(&words, &mut lot);
        let scale = (width.min(height) / 180).max(1);
        let bar = if height >= 180 { (LINES * font::LINE + 6) * scale } else { font::LINE * scale + 2 };
        let mut scene = Self {
            background: sky(width, height, hue, &mut lot),
            hills: (0..3).map(|layer| hills(layer, hue, &mut lot)).collect(),
            orbs: (0..7).map(|number| orb(number, hue, &mut lot)).collect(),
            caption: wrap(&words, (width - 8 * scale) / (font::ADVANCE * scale), if height >= 180 { LINES } else { 1 }),
            seconds: seconds as f32,
            bar,
            scale,
        };
        scene.write_caption();
        scene
    }

    /// The picture at a time, in seconds.
    pub(super) fn draw(&self, time: f32) -> Canvas {
        let (width, height) = (self.background.width, self.background.height);
        let ground = height - self.bar;
        let mut canvas = Canvas { width, height, pixels: self.background.pixels.clone() };
        for orb in &self.orbs {
            self.draw_orb(&mut canvas, orb, time, ground);
        }
        for hills in &self.hills {
            draw_hills(&mut canvas, hills, time, ground);
        }
        let done = (width as f32 * (time / self.seconds).min(1.0)) as usize;
        for y in ground..ground + 2 * self.scale {
            for x in 0..done.min(width) {
                canvas.blend(x, y, self.orbs[0].colour, 256);
            }
        }
        canvas
    }

    fn draw_orb(&self, canvas: &mut Canvas, orb: &Orb, time: f32, ground: usize) {
        let (width, height) = (canvas.width as f32, ground as f32);
        let angle = |turn: f32| TAU * (turn * time / 10.0 + orb.phase);
        let x = width * (orb.centre[0] + orb.swing[0] * angle(orb.turns[0]).sin());
        let y = height * (orb.centre[1] + orb.swing[1] * angle(orb.turns[1]).cos());
        let radius = orb.radius * width.min(height);
        let reach = radius * 1.6;
        let range = |middle: f32, end: f32| {
            let clip = |value: f32| value.clamp(0.0, end) as usize;
            clip(middle - reach)..clip(middle + reach + 1.0)
        };
        for py in range(y, height) {
            for px in range(x, width) {
                let away = (px as f32 - x).hypot(py as f32 - y);
                // A firm disc with an edge of one pixel, and a glow around it.
                let disc = (radius - away + 0.5).clamp(0.0, 1.0);
                let glow = (1.0 - away / reach).max(0.0);
                let alpha = (disc * 0.85).max(glow * glow * 0.6);
                canvas.blend(px, py, orb.colour, (alpha * 256.0) as i32);
            }
        }
    }

    fn write_caption(&mut self) {
        let canvas = &mut self.background;
        for y in canvas.height - self.bar..canvas.height {
            for x in 0..canvas.width {
                canvas.pixels[y * canvas.width + x] = [16, 17, 22];
            }
        }
        let step = font::LINE * self.scale;
        let spare = self.bar - self.caption.len() * step;
        let mut top = canvas.height - self.bar + spare / 2 + 2 * self.scale;
        for line in &self.caption {
            let width = line.chars().count() * font::ADVANCE * self.scale;
            font::write(canvas, line, (canvas.width.saturating_sub(width)) / 2, top, self.scale, [236, 238, 244]);
            top += step;
        }
        font::write(canvas, "SIMULATED", 4 * self.scale, 4 * self.scale, self.scale, [255, 255, 255]);
    }
}

/// How many lines of the prompt are shown.
const LINES: usize = 2;

/// The prompt as its author would read it aloud.
fn without_directives(prompt: &str) -> String {
    let mut words = String::new();
    let mut rest = prompt;
    while let Some((before, after)) = rest.split_once("[sim:") {
        words.push_str(before);
        rest = after.split_once(']').map_or("", |(_, after)| after);
    }
    words.push_str(rest);
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hue(words: &str, lot: &mut Lot) -> f32 {
    let drawn = lot.between(0.0, 1.0);
    let lower = words.to_lowercase();
    let fits = |word: &str, name: &str| word == name || word.strip_suffix('s') == Some(name);
    let mut split = lower.split(|letter: char| !letter.is_alphanumeric());
    let found = split.find_map(|word| COLOURED.iter().find(|(name, _)| fits(word, name)));
    found.map_or(drawn, |(_, hue)| hue + (drawn - 0.5) * 0.03)
}

/// Lines of at most `most` letters; what is too long ends in dots.
fn wrap(text: &str, most: usize, lines: usize) -> Vec<String> {
    let mut wrapped: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let last = wrapped.len() - 1;
        let length = wrapped[last].chars().count();
        if length > 0 && length + 1 + word.chars().count() > most {
            wrapped.push(word.to_owned());
        } else {
            let space = if length > 0 { " " } else { "" };
            wrapped[last] = format!("{}{space}{word}", wrapped[last]);
        }
    }
    let cut = wrapped.len() > lines;
    wrapped.truncate(lines);
    let count = wrapped.len();
    for (place, line) in wrapped.iter_mut().enumerate() {
        if line.chars().count() > most || (cut && place + 1 == count) {
            *line = line.chars().take(most.saturating_sub(3)).chain("...".chars()).collect();
        }
    }
    wrapped
}

fn sky(width: usize, height: usize, hue: f32, lot: &mut Lot) -> Canvas {
    let mut canvas = Canvas::new(width, height);
    let (top, low) = (colour(hue + 0.08, 0.75, 0.32), colour(hue + lot.between(-0.06, 0.02), 0.5, 0.98));
    for y in 0..height {
        let way = (y as f32 / (height as f32 * 0.8)).min(1.0);
        for x in 0..width {
            canvas.pixels[y * width + x] = top;
            canvas.blend(x, y, low, (way * way * 256.0) as i32);
        }
    }
    canvas
}

fn hills(layer: u8, hue: f32, lot: &mut Lot) -> Hills {
    let near = f32::from(layer);
    Hills {
        base: 0.62 + 0.13 * near,
        height: lot.between(0.05, 0.1),
        waves: [lot.between(0.7, 1.4), lot.between(1.8, 2.9), lot.between(3.5, 5.5)],
        speed: 0.02 + 0.035 * near,
        offset: lot.between(0.0, 1.0),
        colour: colour(hue + 0.02 - 0.03 * near, 0.55 + 0.1 * near, 0.62 - 0.19 * near),
    }
}

fn orb(number: u8, hue: f32, lot: &mut Lot) -> Orb {
    let sun = number == 0;
    Orb {
        centre: [lot.between(0.2, 0.8), if sun { 0.34 } else { lot.between(0.12, 0.55) }],
        swing: [lot.between(0.08, 0.22), lot.between(0.03, 0.1)],
        turns: [lot.between(0.4, 1.2), lot.between(0.6, 1.6)],
        phase: lot.between(0.0, 1.0),
        radius: if sun { 0.15 } else { lot.between(0.015, 0.05) },
        colour: if sun { colour(hue + 0.05, 0.22, 1.0) } else { colour(hue + lot.between(-0.12, 0.2), 0.35, 1.0) },
    }
}

fn draw_hills(canvas: &mut Canvas, hills: &Hills, time: f32, ground: usize) {
    for x in 0..canvas.width {
        let along = x as f32 / canvas.width as f32 + hills.speed * time + hills.offset;
        let shapes = hills.waves.iter().zip([0.6, 0.3, 0.1]);
        let wave: f32 = shapes.map(|(waves, weight)| weight * (TAU * waves * along).sin()).sum();
        let edge = ((hills.base - hills.height * wave) * ground as f32).clamp(0.0, ground as f32 - 1.0);
        let first = edge as usize;
        // The first pixel is covered in part, so that the edge glides.
        canvas.blend(x, first, hills.colour, ((1.0 - edge.fract()) * 256.0) as i32);
        for y in first + 1..ground {
            canvas.pixels[y * canvas.width + x] = hills.colour;
        }
    }
}

/// A colour by its place on the wheel, its strength and its brightness.
fn colour(hue: f32, strength: f32, brightness: f32) -> [u8; 3] {
    [5.0, 3.0, 1.0].map(|offset| {
        let place = (offset + hue.rem_euclid(1.0) * 6.0) % 6.0;
        let fall = place.min(4.0 - place).clamp(0.0, 1.0);
        ((brightness - brightness * strength * fall) * 255.0) as u8
    })
}
