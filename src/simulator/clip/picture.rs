//! One picture as an encoder wants it: a plane of luma and two of chroma at half
//! the size, padded to whole macroblocks.

/// One plane of samples.
#[derive(Clone)]
pub(super) struct Plane {
    pub(super) stride: usize,
    pub(super) samples: Vec<u8>,
}

/// Three planes.
#[derive(Clone)]
pub(super) struct Picture {
    /// Luma, and the two planes of chroma.
    pub(super) planes: [Plane; 3],
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// A canvas of red, green and blue that scenes are drawn on.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<[u8; 3]>,
}

impl Plane {
    fn new(width: usize, height: usize) -> Self {
        Self { stride: width, samples: vec![0; width * height] }
    }

    pub(super) fn at(&self, x: usize, y: usize) -> i32 {
        i32::from(self.samples[y * self.stride + x])
    }

    pub(super) fn put(&mut self, x: usize, y: usize, value: i32) {
        self.samples[y * self.stride + x] = value.clamp(0, 255) as u8;
    }
}

impl Picture {
    /// A picture of so many macroblocks.
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        let chroma = Plane::new(columns * 8, rows * 8);
        Self { planes: [Plane::new(columns * 16, rows * 16), chroma.clone(), chroma], columns, rows }
    }

    /// Converts a canvas (BT.709, limited range); its edges are repeated as padding.
    pub(super) fn of(canvas: &Canvas) -> Self {
        let mut picture = Self::new(canvas.width.div_ceil(16), canvas.height.div_ceil(16));
        let [luma, blue, red] = &mut picture.planes;
        let line = |y: usize| {
            let start = y.min(canvas.height - 1) * canvas.width;
            &canvas.pixels[start..start + canvas.width]
        };
        for (y, samples) in luma.samples.chunks_mut(luma.stride).enumerate() {
            let line = line(y);
            for (x, sample) in samples.iter_mut().enumerate() {
                let [r, g, b] = line[x.min(canvas.width - 1)];
                let sum = 11_966 * i32::from(r) + 40_254 * i32::from(g) + 4_064 * i32::from(b);
                *sample = (16 + ((sum + 32_768) >> 16)) as u8;
            }
        }
        let rows = blue.samples.chunks_mut(blue.stride).zip(red.samples.chunks_mut(red.stride));
        for (y, (blues, reds)) in rows.enumerate() {
            let (upper, lower) = (line(2 * y), line(2 * y + 1));
            for (x, (blue, red)) in blues.iter_mut().zip(reds).enumerate() {
                let (first, second) = ((2 * x).min(canvas.width - 1), (2 * x + 1).min(canvas.width - 1));
                let four = [upper[first], upper[second], lower[first], lower[second]];
                let sum = |part: usize| {
                    let [a, b, c, d] = [four[0][part], four[1][part], four[2][part], four[3][part]].map(i32::from);
                    a + b + c + d
                };
                let (r, g, b) = (sum(0), sum(1), sum(2));
                *blue = (128 + ((-6_596 * r - 22_189 * g + 28_784 * b + 131_072) >> 18)) as u8;
                *red = (128 + ((28_784 * r - 26_145 * g - 2_640 * b + 131_072) >> 18)) as u8;
            }
        }
        picture
    }
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[0; 3]; width * height] }
    }

    /// Lays a colour over a pixel; `alpha` 0 leaves it, 256 covers it.
    pub(super) fn blend(&mut self, x: usize, y: usize, colour: [u8; 3], alpha: i32) {
        let pixel = &mut self.pixels[y * self.width + x];
        for (old, new) in pixel.iter_mut().zip(colour) {
            let (under, over) = (i32::from(*old), i32::from(new));
            *old = (under + (((over - under) * alpha) >> 8)) as u8;
        }
    }
}
